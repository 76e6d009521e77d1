-- mpv with its recipe, without a window: a purge from a script message, and no frame of 60 Hz lost to it.
local elsewhere = require "spec.support.where"
if elsewhere "unwatched in:mpv" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"
local program = require "spec.hosts.program"
local recipe = require "spec.support.recipe"

describe("mpv", function()
  local path

  setup(function() path = recipe.folder { ["purge.lua"] = recipe.block "lua mpv" } .. "/purge.lua" end)
  teardown(recipe.clean)

  local function play(zone, words)
    return recipe.run(("%s RECIPE=%s %s --script=spec/hosts/mpv.lua"):format(recipe.env(zone), path,
      (words or "mpv --idle"):gsub("mpv", "mpv --no-config --vo=null --ao=null --term-osd=force", 1)), 60)
  end

  it("shows what has become of the purge of a message, also where it is left at once", function()
    local zone = edge.zone()
    local said, status = play(zone)
    assert.equal("0", status, said)
    assert.matches("accepted: 1", said)
    assert.equal('{"tags":["news"]}', edge.requests(zone, 1)[1].body)
    edge.script(zone, { { delay = 0.3, pass = true } })
    play(zone, "SECONDS=0.1 mpv --idle")
    assert.equal(2, edge.counts(zone).accepted)
  end)

  it("shows what the API refuses, and without a token says so as it starts", function()
    local zone = edge.zone()
    edge.script(zone, { { status = 403, json = { success = false, errors = { { code = 10000, message = "no" } } } } })
    assert.matches("permission_denied: no", (play(zone)))
    assert.matches("no credential", (play(nil, "mpv av://lavfi:testsrc=duration=0.1")))
  end)

  it("loses no frame to purges in flight", function()
    host.tries(function()
      local zone = edge.zone()
      edge.script(zone, { { delay = 0.1, pass = true, times = 0 } })
      local said = play(zone, "TURNS=3 MESSAGES=20 mpv av://lavfi:testsrc=size=64x64:rate=60")
      local with, without, longest = said:match "late: (%d+) with, (%d+) without; longest (%S+)"
      assert.equal(60, edge.counts(zone).accepted, said)
      return tonumber(with) <= tonumber(without) and tonumber(longest) < 1 / 60, said
    end)
  end)

  it("carries the contract", function()
    assert.same({}, program.contract("mpv", { skips = "spawn" }))
  end)
end)
