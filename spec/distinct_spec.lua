-- Which items are the same to the API: csrc/base/distinct, and the key by which long lists are told apart.
local cjson = require("cjson").new()
local clients = require "spec.support.client"
local core = require "cfpurge.core"

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
      local keys, count = {}, 0
      for _, item in ipairs(case[2]) do
        local key = client:key(case[1], item)
        if not keys[key] then keys[key], count = true, count + 1 end
      end
      assert.equal(#case[3], count)
    end
  end)

  it("are found among many", function()
    local list, expected = {}, {}
    for i = 1, 100 do
      list[i] = (i % 2 == 0 and "T" or "t") .. ("%d"):format(math.floor((i + 1) / 2))
      if i % 2 == 1 then expected[#expected + 1] = list[i] end
    end
    assert.same(expected, kept("tags", list))
    assert.is_nil(client:key("tags", "a b"))
  end)
end)
