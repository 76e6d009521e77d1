-- The fuzz targets of spec/fuzz, each over its seeds and a second beyond: what was once found stays found, and they keep
-- compiling. `make fuzz` runs them for longer.
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"


describe("the fuzz targets", function()
  it("find nothing", function()
    if elsewhere "lua5.4 unwatched" then return end
    local said = host.must(("BUILD=%s timeout 300 spec/fuzz/run 1"):format(host.dir()))
    for _, target in ipairs { "answer", "options", "pacer", "params", "policy", "queue", "reply", "retry", "verdict" } do
      local executions = said:match(target .. "%s+(%d+) executions")
      assert.truthy(executions and tonumber(executions) > 5, said)
    end
  end)
end)
