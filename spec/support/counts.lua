-- An output handler of busted: its plain terminal, and a file ($CFPURGE_COUNTS) that holds the name of the spec
-- that is running and, once all are done, "passed failed skipped". spec/run reads it, so a crash has a name.
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.plainTerminal"(options)

  local function note(...)
    local file = assert(io.open(os.getenv "CFPURGE_COUNTS", "w"))
    assert(file:write(...))
    assert(file:close())
  end

  busted.subscribe({ "test", "start" }, function(element)
    note(handler.getFullName(element), "\n")
    return nil, true
  end)
  busted.subscribe({ "exit" }, function()
    note(("%d %d %d\n"):format(handler.successesCount, handler.failuresCount + handler.errorsCount,
      handler.pendingsCount))
    return nil, true
  end)

  return handler
end
