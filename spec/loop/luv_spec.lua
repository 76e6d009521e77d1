-- Neovim and plain luv, the real programs. Neovim brings LuaJIT with it, whatever runs the specs: once is enough.
local elsewhere = require "spec.support.where"
local program = require "spec.hosts.program"
local edge = require "spec.support.edge"
local host = require "spec.support.host"

-- Counts a client's steps; `watched` lists the descriptors that the loop polls.
local HELPERS = [[
  local uv = host.uv
  local function counted(client)
    local step = client.step
    client.steps = 0
    function client:step(...)
      self.steps = self.steps + 1
      return step(self, ...)
    end
    return client
  end
  local polls, new_poll = {}, uv.new_poll
  function uv.new_poll(...)
    polls[#polls + 1] = new_poll(...)
    return polls[#polls]
  end
  local function watched()
    local list = {}
    for _, handle in ipairs(polls) do
      if not handle:is_closing() then list[#list + 1] = handle:fileno() .. (handle:is_active() and "" or " idle") end
    end
    return table.concat(list, ",")
  end
  local function after(milliseconds, fn)
    local timer = uv.new_timer()
    timer:start(milliseconds, 0, function() timer:close() fn() end)
  end
  local ticks = 0
  local function tick()
    local timer = uv.new_timer()
    timer:start(5, 5, function() ticks = ticks + 1 end)
    return timer
  end
]]

local function run(name, code, options)
  return program.run(name, HELPERS .. code, options)
end

local SLOW = { { delay = 0.5, pass = true, times = 0 } }

local function both(name)
  it("a purge in a coroutine lets the others go on and costs nothing", function()
    local value = run(name, [[
      local client, timer = counted(new()), tick()
      local fd
      host.spawn(function() fd = watched() end)
      local other
      host.spawn(function() other = client:purge { tags = { "b" } } end)
      local during = watched()
      assert(client:purge { tags = { "a" } })
      host.wait_until(function() return other end)
      timer:close()
      return { ticks = ticks, steps = client.steps, before = fd, during = during,
        fileno = tostring(client:fileno()), after = watched() }
    ]], { answers = SLOW })
    assert.is_true(value.ticks > 2, value.ticks .. " ticks")
    assert.is_true(value.steps <= 40, value.steps .. " steps")
    assert.same({ "", value.fileno, "" }, { value.before, value.during, value.after })
  end)

  it("a purge outside any coroutine keeps the loop going and costs nothing", function()
    local value = run(name, [[
      local client, timer, called = counted(new()), tick(), 0
      local before = os.clock()
      after(20, function() called = called + 1 end)
      if rawget(_G, "vim") then vim.schedule(function() called = called + vim.api.nvim_get_current_buf() end) end
      local result = assert(client:purge { tags = { "a" } })
      timer:close()
      return { ticks = ticks, cpu = os.clock() - before, steps = client.steps, called = called }
    ]], { answers = SLOW, main = true })
    assert.is_true(value.ticks > 2, value.ticks .. " ticks")
    assert.is_true(value.steps <= 40, value.steps .. " steps")
    if not host.watched then assert.is_true(value.cpu < 0.25, value.cpu .. " s") end
    assert.equal(name == "nvim" and 2 or 1, value.called)
  end)

  it("a purge in a callback of libuv names start, and sends nothing", function()
    local value, _, zone = run(name, [[
      local client, result, err, request, failure, started, done = new()
      after(1, function()
        result, err = client:purge { tags = { "a" } }
        request = assert(client:start { tags = { "b" } })
        result, failure = request:wait()
        started = assert(client:start({ tags = { "c" } }, nil, function(result)
          local vim = rawget(_G, "vim")
          done = result and (not vim and 0 or vim.in_fast_event() and -1 or vim.api.nvim_buf_line_count(0))
        end))
      end)
      host.wait_until(function() return done and request:done() end)
      return { kind = err.kind, text = err.message, second = failure.kind, ok = request:result() ~= nil, done = done }
    ]])
    assert.equal("invalid_request", value.kind)
    assert.matches("start", value.text)
    assert.equal("invalid_request", value.second)
    assert.is_true(value.ok)
    assert.equal(name == "nvim" and 1 or 0, value.done)
    assert.equal(2, edge.counts(zone).requests)
  end)

  it("a coroutine that was begun in a callback of libuv may wait", function()
    local value = run(name, [[
      local client, seen = new()
      after(1, function()
        host.spawn(function()
          assert(client:purge { tags = { "a" } })
          seen = not rawget(_G, "vim") and 1 or vim.in_fast_event() and -1 or vim.api.nvim_buf_line_count(0)
        end)
      end)
      host.wait_until(function() return seen end)
      return { seen = seen }
    ]])
    assert.equal(1, value.seen)
  end)

  it("somebody else wakes the coroutine that waits", function()
    local value = run(name, [[
      local client, thread, ended = new()
      host.spawn(function()
        thread = coroutine.running()
        ended = client:purge { tags = { "a" } }
      end)
      assert(coroutine.resume(thread))
      local early = ended
      host.wait_until(function() return ended end)
      return { early = early ~= nil, accepted = ended.accepted }
    ]])
    assert.same({ early = false, accepted = 1 }, value)
  end)

  it("who has waited is not woken once more where it waits for something else", function()
    local value = run(name, [[
      local client, waited, ended = new(), nil, false
      local task = coroutine.create(function()
        local task = coroutine.running()
        client:start({ tags = { "a" } }, nil, function() coroutine.resume(task) end):wait()
        local before = uv.hrtime()
        local timer = uv.new_timer()
        timer:start(300, 0, function() timer:close() coroutine.resume(task) end)
        coroutine.yield()
        waited = (uv.hrtime() - before) / 1e6
      end)
      assert(coroutine.resume(task))
      host.wait_until(function() return waited end)
      if coroutine.close then
        task = coroutine.create(function() client:purge { tags = { "b" } } end)
        assert(coroutine.resume(task))
        assert(coroutine.close(task))
        host.wait_until(function() return client:in_flight() == 0 end)
        assert(client:purge { tags = { "c" } })
      end
      return { waited = waited }
    ]])
    assert.is_true(value.waited > 250, value.waited)
  end)

  it("what a coroutine raises is not raised where it was woken", function()
    local status, out = run(name, [[
      local client = new()
      host.spawn(function()
        client:purge { tags = { "a" } }
        error("raised", 0)
      end)
      io.stderr:write("\nclose: ", tostring(pcall(client.close, client)), "\n")
      host.wait_until(function() return false end)
    ]], { fails = true, limit = name == "luv" and 20 or 5 })
    assert.matches("close: true", out)
    assert.matches("raised%s+stack traceback", out)
    assert.equal(name == "luv" and 255 or 124, status)
  end)

  it("a client that nobody holds goes on", function()
    local value = run(name, [[
      local done
      new():start({ tags = { "a" } }, nil, function(result) done = result end)
      collectgarbage() collectgarbage()
      host.wait_until(function() collectgarbage() return done end)
      return { accepted = done.accepted, watched = watched() }
    ]])
    assert.same({ accepted = 1, watched = "" }, value)
  end)
end

describe("luv", function()
  if elsewhere "luv" then return end
  it("the contract holds", function()
    -- Those that raise: luv ends the process there.
    assert.same({}, program.contract("luv", { skips = "raises", stores = { "sqlite", "redis" } }))
  end)

  both "luv"

  for what, ending in pairs {
    ["what was in flight has ended"] = "client:start({ tags = { 'a' } })",
    ["the client was closed with purges in flight"] = "client:start { tags = { 'a' } } client:close()",
    ["the last purge was cancelled"] = "client:start({ tags = { 'a' } }):cancel()",
  } do
    it("the loop ends by itself after " .. what, function()
      local value, out = run("luv", "local client = new() host.client = client " .. ending
        .. " return { fd = watched() }", { answers = { { delay = 0.2, pass = true } } })
      assert.equal(what:find "in flight has" ~= nil, value.fd ~= "")
      assert.matches("the loop ended", out)
    end)
  end

  it("an on_done that raises ends the process as any callback does there, after the others were told", function()
    local status, out = run("luv", [[
      local client = new()
      for i = 1, 3 do
        client:start({ tags = { "n" .. i } }, nil, function()
          io.stdout:write("told ", i, "\n")
          if i == 2 then client:close() error("raised", 0) end
        end)
      end
      return {}
    ]], { fails = true, answers = { { match = "n2", pass = true }, { delay = 5, times = 0 } } })
    assert.equal(255, status)
    assert.matches("Uncaught Error: raised", out)
    for i = 1, 3 do assert.matches("told " .. i, out) end
  end)

  it("a handle that somebody else has closed leaves nobody waiting", function()
    local value = run("luv", [[
      local client = new()
      local request = assert(client:start { tags = { "a" } })
      uv.walk(function(handle) if not handle:is_closing() then handle:close() end end)
      local result = assert(request:wait())
      local second = assert(client:start { tags = { "b" } })
      uv.walk(function(handle) if not handle:is_closing() then handle:close() end end)
      uv.run()
      local left, third = second:done(), assert(client:start { tags = { "c" } })
      uv.run()
      local done = second:done() and third:done()
      client:close()
      return { accepted = result.accepted, left = left, done = done }
    ]], { main = true })
    assert.same({ accepted = 1, left = false, done = true }, value)
  end)
end)

describe("Neovim", function()
  if elsewhere "luajit" then return end
  it("the contract holds", function()
    assert.same({}, program.contract("nvim", { stores = { "sqlite", "redis" } }))
  end)

  both "nvim"

  it("an on_done may use the editor's functions", function()
    local value = run("nvim", [[
      local client, done = new()
      assert(client:start({ tags = { "a" } }, nil, function(result)
        vim.api.nvim_buf_set_lines(0, 0, -1, false, { result.id })
        vim.cmd "normal! yyp"
        done = true
      end))
      host.wait_until(function() return done end)
      return { lines = vim.api.nvim_buf_line_count(0), fast = vim.in_fast_event() }
    ]])
    assert.equal(2, value.lines)
  end)

  it("vim.json serves where there is no lua-cjson", function()
    local value = run("nvim", [[
      local client = new()
      local result, err = client:purge { tags = { "b" } }
      return { cjson = pcall(require, "cjson"), code = err.code, text = err.errors[1].message, ok = result ~= nil,
        again = client:purge { tags = { "a" } } ~= nil }
    ]], { cpath = "", main = true, answers = { { match = '"b"', status = 400, json = {
      success = false, errors = { { code = 1012, message = "refused" } }, messages = {} } } } })
    assert.same({ cjson = false, code = 1012, text = "refused", ok = false, again = true }, value)
  end)

  -- 0.7.2 does not interrupt vim.wait where it was given a function; later ones answer so.
  it("Ctrl-C ends the waiting of a purge, and the purge", function()
    local value = run("nvim", [[
      local client, wait = new(), vim.wait
      vim.wait = function() return false, -2 end
      local _, err = client:purge { tags = { "a" } }
      vim.wait = wait
      return { kind = err.kind, again = client:purge { tags = { "b" } } ~= nil }
    ]], { main = true })
    assert.same({ kind = "cancelled", again = true }, value)
  end)

  for _, ending in ipairs { "qa!", "cquit 0" } do
    it("it ends at once with purges in flight: " .. ending, function()
      local began = os.time()
      local status, out = run("nvim", [[
        local client = new()
        for i = 1, 4 do client:start({ tags = { "a" } }, nil, function() end) end
        host.spawn(function() client:purge { tags = { "b" } } end)
        after(100, vim.schedule_wrap(function() vim.cmd "]] .. ending .. [[" end))
        host.stay = true
        return {}
      ]], { fails = true, answers = { { delay = 30, pass = true, times = 0 } } })
      assert.equal(0, status, out)
      assert.is_true(os.time() - began <= 15)
    end)
  end
end)
