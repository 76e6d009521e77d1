-- Every combination of URLs and key headers: lua/cfpurge/variants.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

describe("variants", function()
  teardown(clients.close)

  it("gives every combination once, and its count first", function()
    local next_item, count = cfpurge.variants({ "u1", "u2" },
      { device = { "mobile", "desktop" }, country = { "DE", "FR", "US" }, language = { "de" }, origin = { "o" } })
    assert.equal(12, count)
    local seen, read = {}, 0
    for item in next_item do
      local h = item.headers
      local key = table.concat({ item.url, h["CF-Device-Type"], h["CF-IPCountry"], h["Accept-Language"], h.Origin }, " ")
      assert.is_nil(seen[key])
      seen[key], read = true, read + 1
    end
    assert.equal(12, read)
    assert.is_true(seen["u2 desktop US de o"])
    assert.is_nil(next_item())
    assert.equal(2, select(2, cfpurge.variants({ "u1", "u2" }, {})))
  end)

  it("refuses what is no list of values", function()
    for problem, headers in pairs { ["device: table expected"] = { device = "mobile" },
      ["country: must not be empty"] = { country = {} }, ["cookie: not device"] = { cookie = { "a" } } } do
      local ok, raised = pcall(cfpurge.variants, { "u" }, headers)
      assert.is_false(ok)
      assert.truthy(raised:find(problem, 1, true), raised)
    end
  end)

  it("refuses what is no table", function()
    for problem, arguments in pairs { ["#1 to 'variants' (urls: table expected, got string)"] = { "https://a.test/", {} },
      ["#1 to 'variants' (urls: table expected, got nil)"] = { nil, {} },
      ["#2 to 'variants' (headers: table expected, got nil)"] = { {}, nil } } do
      local ok, raised = pcall(function()
        local next_item = cfpurge.variants(arguments[1], arguments[2])
        return next_item
      end)
      assert.is_false(ok)
      assert.truthy(raised:find("variants_spec", 1, true), raised)
      assert.truthy(raised:find(problem, 1, true), raised)
    end
  end)

  it("goes through purge, which knows how many there are", function()
    local client, zone, about = clients.new()
    local list, total = {}, nil
    for i = 1, 60 do list[i] = "https://" .. about.name .. "/vary/" .. i end
    local result = assert(client:purge({ files = (cfpurge.variants(list, { device = { "mobile", "desktop" } })) },
      { on_progress = function(progress) total = progress.total end }))
    assert.same({ 120, 120, 120 }, { result.accepted, total, edge.counts(zone).items })
  end)
end)
