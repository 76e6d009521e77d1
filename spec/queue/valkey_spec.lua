-- Valkey is a Redis to us: what holds for both stores, and what Redis must hold, is run once more with its server, where
-- Debian has one (from 13 on).
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"

describe("Valkey", function()
  it("holds what Redis holds", function()
    if elsewhere "once unwatched" then return end
    local there = io.popen "command -v valkey-server"
    local path = there:read "*a"
    there:close()
    if path == "" then return pending "no valkey-server" end
    local specs = {}
    for _, name in ipairs { "store", "add", "outcome", "turn", "queue", "claims", "settle", "interleave", "budget",
      "versions", "redis" } do
      specs[#specs + 1] = ("spec/queue/%s_spec.lua"):format(name)
    end
    local said = host.must(("CFPURGE_VALKEY=1 timeout -k 2 280 lua5.4 %s --output=plainTerminal -- %s 2>&1"):format(
      host.must "command -v busted":match "%S+", table.concat(specs, " ")))
    assert.is_true(tonumber(said:match "(%d+) successes / 0 failures / 0 errors") > 60, said)
  end)
end)
