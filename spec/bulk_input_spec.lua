-- What is refused here of a long list, before it is sent or as its iterator gives it. lua/cfpurge/bulk and validate.
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local lists = require "spec.support.lists"

local tags, iterator = lists.tags, lists.iterator

describe("bad input", function()
  teardown(clients.close)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  it("in a table is refused by its place before anything is sent", function()
    local function with(i, value)
      local list = tags(450)
      list[i] = value
      return { tags = list }
    end
    for _, i in ipairs { 1, 100, 101, 333, 450 } do
      local params = with(i, "a b")
      local result, err = client:purge(params)
      assert.same({ nil, "invalid_request", "tags[" .. i .. "]" }, { result, err.kind, err.field })
      assert.truthy(err.message:find("tags[" .. i .. "]", 1, true))
      assert.equal(params, err.remaining)
      local ok, raised = pcall(client.purge, client, with(i, 5))
      assert.is_false(ok)
      assert.truthy(raised:find("bad argument #1 to 'purge' (tags[" .. i .. "]: string expected, got number)", 1, true),
        raised)
    end
    for _, i in ipairs { 1, 128, 225, 256, 449 } do
      local params = with(i, nil)
      params.tags[i] = nil
      local result, err = client:purge(params)
      assert.same({ nil, "invalid_request" }, { result, err.kind })
      assert.truthy(err.message:find("hole", 1, true) or err.message:find("not a list", 1, true), err.message)
    end
    local params = with(1, "a")
    params.tags.name = "b"
    local _, err = client:purge(params)
    assert.same({ "invalid_request", "tags" }, { err.kind, err.field })
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("beside a list of any form is refused before anything is sent", function()
    for _, list in ipairs { tags(200), iterator(tags(200)) } do
      for field, params in pairs { nope = { tags = list, nope = 1 }, zone_id = { tags = list, zone_id = "a/b" },
        environment_id = { tags = list, environment_id = "" } } do
        local result, err = client:purge(params)
        assert.same({ nil, "invalid_request", field, params }, { result, err.kind, err.field, err.remaining })
      end
      local result, err = client:purge { tags = list, hosts = { "a.example" } }
      assert.same({ nil, "invalid_request" }, { result, err.kind })
      err = select(2, client:purge({ tags = list }, { nope = 1 }))
      assert.same({ "invalid_request", "nope" }, { err.kind, err.field })
      assert.has_error(function() client:purge({ tags = list }, { timeout = "5" }) end)
      assert.has_error(function() client:purge({ tags = list }, { on_progress = 5 }) end)
      assert.has_error(function() client:purge_tags "a" end)
    end
    assert.equal("invalid_request", select(2, client:purge { tags = function() end }).kind)
    assert.equal("invalid_request", select(2, client:purge { tags = {} }).kind)
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("in an iterator fails alone", function()
    local list = tags(250)
    list[1], list[100], list[101], list[180] = "a b", 5, "", {}
    local result, err = client:purge { tags = iterator(list) }
    assert.same({ nil, "partial", 246, 4 }, { result, err.kind, err.accepted, #err.failures })
    assert.same({ "a b", 5, "", {} }, err.remaining.tags)
    local fields = {}
    for i, failure in ipairs(err.failures) do
      fields[i] = failure.error.field
      assert.truthy(failure.error.message:find(fields[i], 1, true), failure.error.message)
    end
    assert.same({ "tags[1]", "tags[100]", "tags[101]", "tags[180]" }, fields)
    assert.equal(246, edge.counts(zone).items)
  end)
end)
