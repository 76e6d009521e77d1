-- The fuzz targets of spec/fuzz, each over its seeds and a second beyond: what was once found stays found, and they keep
-- compiling. `make fuzz` runs them for longer.
local host = require "spec.support.host"

-- Whatever Lua runs the specs: the targets have their own. Once is enough.
local elsewhere = (os.getenv "CFPURGE_LUA" or "lua5.4") ~= "lua5.4"

describe("the fuzz targets", function()
  it("find nothing", function()
    if elsewhere or host.watched then return pending "built once, with sanitizers of their own" end
    local said = host.must(("BUILD=%s timeout 300 spec/fuzz/run 1"):format(host.dir()))
    for _, target in ipairs { "answer", "options", "pacer", "params", "retry" } do
      local executions = said:match(target .. "%s+(%d+) executions")
      assert.truthy(executions and tonumber(executions) > 20, said)
    end
  end)
end)
