-- What a zone has taught of the size of requests: lua/cfpurge/sizes.
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local lists = require "spec.support.lists"

describe("the size of requests that a zone has taught", function()
  teardown(clients.close)

  local now = core.now
  after_each(function() rawset(core, "now", now) end)

  local function sizes_of(client, zone, options)
    edge.reset(zone)
    edge.limits { zone = zone, max_items = 30 }
    assert.equal(60, assert(client:purge({ tags = lists.tags(60) }, options)).accepted)
    return (select(2, lists.sent(zone)))
  end

  it("is that zone's, and no other's", function()
    local client, zone = clients.new { max_in_flight = 1 }
    local other = edge.zone()
    assert.same({ 60, 30, 30 }, sizes_of(client, zone))
    assert.same({ 30, 30 }, sizes_of(client, zone))
    assert.same({ 30, 30 }, sizes_of(client, zone, { zone_id = zone }))
    assert.same({ 60, 30, 30 }, sizes_of(client, other, { zone_id = other }))
    assert.same({ 30, 30 }, sizes_of(client, other, { zone_id = other }))
    local plan = assert(client:purge({ tags = lists.tags(60) }, { dry_run = true }))
    assert.same({ 30, 30 }, { plan.requests[1].items, plan.requests[2].items })
  end)

  it("is forgotten after an hour, and not by a smaller request", function()
    local client, zone = clients.new { max_in_flight = 1 }
    sizes_of(client, zone)
    assert(client:purge({ tags = lists.tags(60) }, { max_items = 10 }))
    assert.same({ 30, 30 }, sizes_of(client, zone))
    core.now = function() return now() + 3601 end
    assert.same({ 60, 30, 30 }, sizes_of(client, zone))
    core.now = now
    assert.is_true(#sizes_of(client, zone) <= 3)
  end)
end)
