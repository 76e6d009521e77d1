-- Which items are the same to the API: csrc/base/distinct, and the sets by which long lists are made distinct.
local cjson = require("cjson").new()
local clients = require "spec.support.client"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"

describe("equal items", function()
  local client
  setup(function() client = core.new(clients.options()) end)
  teardown(function() client:close() end)

  local function kept(kind, list)
    local _, body, count = assert(client:check { [kind] = list })
    local items = cjson.decode(body)[kind]
    assert.equal(#items, count)
    return items
  end

  it("are sent once, and only equal ones", function()
    for _, case in ipairs {
      { "tags", { "a", "A", "b", "B", "a" }, { "a", "b" } },
      { "hosts", { "a.example", "A.Example", "b.example" }, { "a.example", "b.example" } },
      { "prefixes", { "a.example/x", "A.example/x", "a.example/X", "b.example", "B.example" },
        { "a.example/x", "a.example/X", "b.example" } },
      { "files", { "https://a.example/x", "HTTPS://A.example/x", "https://a.example/X", "http://a.example/x",
        "https://a.example/x?A", "https://a.example/x?a" },
        { "https://a.example/x", "https://a.example/X", "http://a.example/x", "https://a.example/x?A",
          "https://a.example/x?a" } },
    } do
      assert.same(case[3], kept(case[1], case[2]))
      local set, items = client:set(), {}
      for _, item in ipairs(case[2]) do
        if client:add(set, case[1], item) then items[#items + 1] = item end
      end
      assert.same(case[3], items)
    end
  end)

  it("leave the places of the others right where one request fails", function()
    local purging = assert(require("cfpurge").new(clients.options { base_url = edge.env.API_CLOSED,
      zone_id = edge.env.ZONE_ID, max_retries = 0 }))
    local list = { "a", "A", "b" }
    local request = assert(purging:start { tags = list })
    for how, err in pairs { purge = select(2, purging:purge { tags = list }), start = select(2, request:wait()) } do
      assert.same({ { "a", "b" }, { 1, 3 } }, { err.failures[1].items, err.failures[1].places }, how)
    end
    purging:close()
  end)

  it("are found among many", function()
    local list, expected = {}, {}
    for i = 1, 100 do
      list[i] = (i % 2 == 0 and "T" or "t") .. ("%d"):format(math.floor((i + 1) / 2))
      if i % 2 == 1 then expected[#expected + 1] = list[i] end
    end
    assert.same(expected, kept("tags", list))
  end)

  it("are found in a set of any size", function()
    local set, count = client:set(), 0
    for _ = 1, 2 do
      for i = 1, 100000 do count = count + (client:add(set, "tags", "tag" .. i) and 1 or 0) end
    end
    assert.equal(100000, count)
    assert.is_false(client:add(set, "tags", "TAG77777"))
    local is_new, err = client:add(set, "tags", "a b")
    assert.same({ nil, "item", "invalid_request" }, { is_new, err.field, err.kind })
    assert.has_error(function() client:add(set, "tags", 5) end)
    assert.has_error(function() client:add({}, "tags", "a") end)
  end)
end)
