-- Copies and parts of tables, and iterators over them: lua/cfpurge/tables.
local tables = require "cfpurge.tables"
local host = require "spec.support.host"
local lists = require "spec.support.lists"

describe("tables", function()
  it("are copied without their metamethods", function()
    local from = setmetatable({ 1, a = "b" }, { __pairs = error, __index = error })
    local copy = tables.copy(from)
    assert.same({ 1, a = "b" }, copy)
    assert.is_nil(getmetatable(copy))
    assert.same({}, tables.copy(nil))
    local seen = {}
    for name, value in tables.entries(from) do seen[name] = value end
    assert.same(copy, seen)
  end)

  it("are given in parts, and one after another", function()
    assert.same({ "t2", "t3" }, tables.slice(lists.tags(5), 2, 3))
    assert.same({ "t5" }, tables.slice(lists.tags(5), 5, 9))
    assert.same({ "t1", "t1", "t2" }, lists.all(tables.chained(lists.tags(1), tables.each(lists.tags(2)))))
  end)

  -- Compiled for one kind of table, it meets another where nothing can be compiled.
  it("are copied in finalizers as well, where LuaJIT's own loop over them hangs", function()
    assert.equal("ended", host.run([[
      local tables = require "cfpurge.tables"
      local function finalizer()
        for _ = 1, 50 do
          for _, from in ipairs { { "x", a = "text", b = {} }, {} } do
            tables.copy(from)
            for name in tables.entries(from) do from[name] = nil end
          end
        end
      end
      for _ = 1, 20 do
        for i = 1, 300 do
          for name in tables.entries(tables.copy { a = i, b = i, c = i, d = i }) do assert(name) end
        end
        if newproxy then
          getmetatable(newproxy(true)).__gc = finalizer
        else
          setmetatable({}, { __gc = finalizer })
        end
        collectgarbage()
        collectgarbage()
      end
      return "ended"]], { limit = 20 }))
  end)
end)
