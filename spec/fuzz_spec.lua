-- The fuzz targets of spec/fuzz, each over its seeds: what was once found stays found, and they keep compiling. `make fuzz`
-- looks for more, at random.
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"

describe("the fuzz targets", function()
  it("find nothing", function()
    if elsewhere "lua5.4 unwatched" then return end
    local said = host.must(("BUILD=%s timeout 300 spec/fuzz/run 0"):format(host.dir()))
    for _, target in ipairs { "answer", "options", "pacer", "params", "policy", "queue", "reply", "retry", "verdict" } do
      local executions = said:match(target .. "%s+(%d+) executions")
      local seeds = tonumber(host.must("ls spec/fuzz/seeds/" .. target .. " | wc -l"))
      assert.truthy(seeds > 0 and executions and tonumber(executions) >= seeds, said)
    end
  end)
end)
