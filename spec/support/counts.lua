-- An output handler of busted: its plain terminal, and what spec/run reads. $CFPURGE_COUNTS holds the name of the spec that is
-- running, so that a crash has a name, and once all are done "passed failed skipped". $CFPURGE_COUNTS.failed has a line for
-- each failure: where, which spec, a tab, and the message with its newlines as "\n".
return function(options)
  local busted = require "busted"
  require "spec.support.cases"
  local handler = require "busted.outputHandlers.plainTerminal"(options)

  local function write(name, mode, ...)
    local file = assert(io.open(os.getenv "CFPURGE_COUNTS" .. name, mode))
    assert(file:write(...))
    assert(file:close())
  end

  local function failed(failure)
    local trace = failure.element.trace or failure.trace or {}
    local message = type(failure.message) == "string" and failure.message or require "pl.pretty".write(failure.message)
    write(".failed", "a", ("%s:%s: %s\t%s\n"):format(trace.short_src or failure.name, trace.currentline or 0, failure.name,
      (message:gsub("\n", "\\n"))))
  end

  busted.subscribe({ "test", "start" }, function(element)
    write("", "w", handler.getFullName(element), "\n")
    return nil, true
  end)
  busted.subscribe({ "exit" }, function()
    for _, list in ipairs { handler.failures, handler.errors } do
      for _, failure in ipairs(list) do failed(failure) end
    end
    write("", "w", ("%d %d %d\n"):format(handler.successesCount, handler.failuresCount + handler.errorsCount,
      handler.pendingsCount))
    return nil, true
  end)

  return handler
end
