-- Tarantool with its recipe: a purge waits in its fiber, and the others go on.
local elsewhere = require "spec.support.where"
if elsewhere "unwatched in:tarantool" then return end

local edge = require "spec.support.edge"
local program = require "spec.hosts.program"
local recipe = require "spec.support.recipe"

describe("Tarantool", function()
  local env

  setup(function() env = "RECIPE=" .. recipe.folder { recipe = recipe.block "lua tarantool" } .. "/recipe " end)
  teardown(recipe.clean)

  local function run(zone)
    return recipe.run(recipe.env(zone) .. env .. "tarantool spec/hosts/tarantool.lua")
  end

  it("purges in a fiber, and the others go on", function()
    local zone = edge.zone()
    edge.script(zone, { { delay = 0.3, pass = true } })
    local said, status = run(zone)
    assert.equal("0", status, said)
    assert.matches("^1\t", said)
    assert.is_true(tonumber(said:match "turns: (%d+)") >= 10, said)
  end)

  it("says in its log what the API refuses, and without a token says so as it starts", function()
    local zone = edge.zone()
    edge.script(zone, { { status = 403, json = { success = false, errors = { { code = 10000, message = "no" } } } } })
    assert.matches("purge: permission_denied: no", (run(zone)))
    assert.matches("no credential", (run()))
  end)

  it("carries the contract", function()
    assert.same({}, program.contract("tarantool", { env = env }))
  end)
end)
