-- LÖVE with its recipe, under Xvfb: a purge from a key, and no frame of 60 Hz lost to it.
local elsewhere = require "spec.support.where"
if elsewhere "unwatched in:love in:xvfb-run" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"
local program = require "spec.hosts.program"
local recipe = require "spec.support.recipe"

describe("LÖVE", function()
  local path

  setup(function() path = recipe.folder { ["main.lua"] = recipe.block "lua love" } .. "/main.lua" end)
  teardown(recipe.clean)

  local function play(zone, more)
    return recipe.run(("%s RECIPE=%s %s xvfb-run -a love spec/hosts/love"):format(recipe.env(zone), path, more or ""), 60)
  end

  it("shows what has become of the purge of a key", function()
    local zone = edge.zone()
    local said, status = play(zone)
    assert.equal("0", status, said)
    assert.matches("accepted: 1\n", said)
    assert.equal('{"tags":["news"]}', edge.requests(zone, 1)[1].body)
  end)

  it("shows what the API refuses, and without a token says so as it starts", function()
    local zone = edge.zone()
    edge.script(zone, { { status = 403, json = { success = false, errors = { { code = 10000, message = "no" } } } } })
    assert.matches("permission_denied: no", play(zone))
    assert.matches("no credential", (play()))
  end)

  it("loses no frame to purges in flight", function()
    host.tries(function()
      local zone = edge.zone()
      edge.script(zone, { { delay = 0.1, pass = true, times = 0 } })
      local said = play(zone, "TURNS=3 PRESSES=20")
      local with, without = said:match "late: (%d+) with, (%d+) without"
      assert.equal(60, edge.counts(zone).accepted, said)
      return tonumber(with) <= tonumber(without), said
    end)
  end)

  it("carries the contract", function()
    assert.same({}, program.contract("love", { skips = "spawn" }))
  end)
end)
