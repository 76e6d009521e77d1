-- `cfpurge zones`, and the zones and plans that the command finds by itself: lua/cfpurge/cli/zones.lua.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"

describe("the command", function()
  after_each(command.clean)

  local function two_zones()
    local a, about_a = edge.zone { plan = "pro" }
    local b, about_b = edge.zone { plan = "free", status = "pending" }
    return { a, b }, { about_a, about_b }, { CLOUDFLARE_API_TOKEN = edge.token { zones = { a, b } } }
  end

  it("lists the zones that its credential sees", function()
    local ids, about, env = two_zones()
    local out, err, status = command.run({ "zones" }, { env = env })
    assert.same({ "", 0 }, { err, status })
    local rows = {}
    for line in out:gmatch "[^\n]+" do rows[#rows + 1] = line end
    assert.equal(3, #rows)
    assert.truthy(rows[1]:find "^ID +NAME +STATUS +PLAN +ACCOUNT$", out)
    for i, status_and_plan in ipairs { "active +pro", "pending +free" } do
      assert.truthy(out:find(ids[i] .. " +" .. about[i].name:gsub("%p", "%%%0") .. " +" .. status_and_plan .. " +%S"), out)
    end
  end)

  it("lists them as JSON", function()
    local ids, about, env = two_zones()
    local out, _, status = command.run({ "zones", "--json" }, { env = env })
    local names = {}
    for _, zone in ipairs(cjson.decode(out).zones) do
      names[zone.id] = { zone.name, zone.status, zone.plan, type(zone.account.id) }
    end
    assert.equal(0, status)
    assert.same({ [ids[1]] = { about[1].name, "active", "pro", "string" },
      [ids[2]] = { about[2].name, "pending", "free", "string" } }, names)
    out = command.run({ "zones", "--json" }, { env = { CLOUDFLARE_API_TOKEN = edge.token { zones = {} } } })
    assert.equal('{"zones":[]}\n', out)
  end)

  it("says why it cannot list them", function()
    local out, err, status = command.run({ "zones" }, { env = { CLOUDFLARE_API_TOKEN = "nobodys_token_0123456789" } })
    assert.same({ "", 3 }, { out, status })
    assert.truthy(err:find("check the token", 1, true), err)
    out, err, status = command.run({ "zones", "--json" }, { env = { CLOUDFLARE_API_TOKEN = false } })
    assert.truthy(err:find "no credential")
    assert.equal(3, status)
    assert.equal("no credential: set CLOUDFLARE_API_TOKEN, or give --token-file", cjson.decode(out).error.message)
    assert.equal(2, select(3, command.run { "zones", "--zone", "x" }))
  end)

  it("sends each URL, host and prefix to its own zone", function()
    local ids, about, env = two_zones()
    local function sent(kind, prefix)
      for _, id in ipairs(ids) do edge.reset(id) end
      local words = { kind, "--zone", "auto", prefix .. about[1].name .. "/1", prefix .. about[2].name .. "/2" }
      local out, err, status = command.run(words, { env = env })
      assert.same({ "", 0 }, { err, status })
      assert.truthy(out:find "^accepted: 2 items in 2 requests", out)
      return edge.counts(ids[1]).accepted, edge.counts(ids[2]).accepted
    end
    assert.same({ 1, 1 }, { sent("files", "https://www.") })
    assert.same({ 1, 1 }, { sent("prefixes", "") })
  end)

  it("keeps what belongs to no zone", function()
    local _, about, env = two_zones()
    local url = "https://nobodys.invalid/"
    local out, err, status = command.run({ "files", "--zone", "auto" },
      { env = env, stdin = "https://" .. about[1].name .. "/\n" .. url .. "\n" })
    assert.same({ url .. "\n", 1 }, { out, status })
    assert.truthy(err:find("^cfpurge: standard input:2: " .. url .. ": "), err)
    _, err, status = command.run({ "tags", "--zone", "auto", "a" }, { env = env })
    assert.equal(2, status)
    assert.truthy(err:find("^cfpurge: %-%-zone: "), err)
  end)

  it("goes as fast as the plan of the zone that it asks for", function()
    local ids, _, env = two_zones()
    edge.limits { zone = ids[1], plan = "pro" }
    local out, err, status = command.run({ "tags", "--plan", "auto", "--zone", ids[1], "a" }, { env = env })
    assert.same({ "", 0 }, { err, status })
    assert.truthy(out:find "^accepted: 1 item")
    local asked = false
    for _, request in ipairs(edge.requests(ids[1])) do asked = asked or request.method == "GET" end
    assert.truthy(asked)
  end)
end)
