-- Knot Resolver with its recipe: a purge waits in a coroutine of its worker, and the resolver goes on.
local elsewhere = require "spec.support.where"
if elsewhere "unwatched in:kresd" then return end

local edge = require "spec.support.edge"
local program = require "spec.hosts.program"
local recipe = require "spec.support.recipe"

describe("Knot Resolver", function()
  local env

  setup(function() env = "KRESD_NO_LISTEN=1 RECIPE=" .. recipe.folder { recipe = recipe.block "lua knot" } .. "/recipe " end)
  teardown(recipe.clean)

  local function run(zone)
    local folder, root = recipe.folder()
    return recipe.run(("%s %s kresd -n -c %s/spec/hosts/knot.conf %s"):format(recipe.env(zone), env, root, folder))
  end

  it("purges in a coroutine, and the resolver goes on", function()
    local zone = edge.zone()
    edge.script(zone, { { delay = 0.5, pass = true } })
    local said, status = run(zone)
    assert.equal("0", status, said)
    assert.is_true(tonumber(said:match "longest turn: (%S+)") < 0.4, said)
    assert.equal(1, edge.counts(zone).accepted)
  end)

  it("says in its log what the API refuses, and without a token says so as it starts", function()
    local zone = edge.zone()
    edge.script(zone, { { status = 403, json = { success = false, errors = { { code = 10000, message = "no" } } } } })
    assert.matches("purge: permission_denied: no", (run(zone)))
    assert.matches("no credential", (run()))
  end)

  it("carries the contract", function()
    assert.same({}, program.contract("knot", { env = env }))
  end)
end)
