-- A dry run: what would go out, and nothing goes. lua/cfpurge/plan.
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

describe("a dry run", function()
  teardown(clients.close)

  it("names every request as it would go out, and sends none", function()
    local client, zone = clients.new { plan = "pro" }
    local list = {}
    for i = 1, 250 do list[i] = "t" .. i end
    local i = 0
    for _, tags in ipairs { list, function() i = i + 1 return list[i] end } do
      local result = assert(client:purge({ tags = tags }, { dry_run = true }))
      assert.same({ true, 250, 3, 0 }, { result.dry_run, result.items, #result.requests, result.seconds })
      assert.same({ 100, 100, 50 }, { result.requests[1].items, result.requests[2].items, result.requests[3].items })
      assert.equal("/zones/" .. zone .. "/purge_cache", result.requests[1].path)
      assert.equal('{"tags":["' .. table.concat(list, '","', 201) .. '"]}', result.requests[3].body)
    end
    local all = assert(client:purge_everything { dry_run = true })
    assert.same({ 1, '{"purge_everything":true}' }, { all.items, all.requests[1].body })
    local soft = assert(client:invalidate({ tags = { "a" } }, { dry_run = true }))
    assert.equal("/zones/" .. zone .. "/invalidate_cache", soft.requests[1].path)
    assert.equal(0, edge.counts(zone).requests)
    local slow = assert(client:purge({ tags = list }, { dry_run = true, max_items = 1 }))
    assert.truthy(slow.seconds >= 45 and slow.seconds < 46, slow.seconds)
  end)

  it("is refused as the purge would be", function()
    local client = clients.new()
    local result, err = client:purge({ tags = { "a b" } }, { dry_run = true })
    assert.same({ nil, "invalid_request", "tags[1]" }, { result, err.kind, err.field })
    err = select(2, client:purge({ tags = {} }, { dry_run = true }))
    assert.equal("invalid_request", err.kind)
    assert.has_error(function() client:purge({ tags = { 5 } }, { dry_run = true }) end)
    for _, tags in ipairs { { "a" }, function() return "a" end } do
      err = select(2, client:purge({ tags = tags }, { dry_run = true, max_items = 0 }))
      assert.same({ "invalid_request", "max_items" }, { err.kind, err.field })
      assert.has_error(function() client:purge({ tags = tags }, { dry_run = true, timeout = "5" }) end)
    end
  end)
end)
