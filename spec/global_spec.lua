-- What there is once a process: forks, threads, signals.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"
local cjson = require("cjson").new()

local env = edge.up()
local servers = {
  { name = "in clear text", base = env.API_HTTP },
  { name = "over HTTP/2", base = env.API_TLS },
  { name = "over TLS and HTTP/1.1", base = env.API_TLS1 },
}

-- In the program of host.run: inherit(function) runs it in a forked child, which then ends as a Lua program does, state
-- closed and all; returned is a function that waits for the child and gives what the function returned.
local prelude = [[
  local function inherit(f)
    local path = os.tmpname()
    local pid = system.fork()
    if pid == 0 then
      local ok, value = pcall(f)
      local file = io.open(path, "w")
      file:write(json.encode { ok = ok, value = ok and value or tostring(value) })
      file:close()
      f = nil
      collectgarbage()
      collectgarbage()
      os.exit(0, true)
    end
    return function()
      local code = system.wait(pid)
      local text = io.open(path):read "*a"
      os.remove(path)
      assert(code == 0, "the child ended with " .. code)
      local report = json.decode(text)
      assert(report.ok, report.value)
      return report.value
    end
  end
  -- Purges distinct tags; the answers that were another's, and those that failed.
  local function purge_many(c, name, count)
    local wrong = {}
    for i = 1, count do
      local tag = name .. i
      local result, err = c:purge { tags = { tag } }
      if not result or result.id ~= tag or result.attempts ~= 1 then
        wrong[#wrong + 1] = tag .. ": " .. (result and result.id or tostring(err))
      end
    end
    return table.concat(wrong, "; ")
  end
]]

-- A zone that answers each tag with an id of the same name.
local function echoing(names, count)
  local zone, answers = edge.zone(), {}
  for _, name in ipairs(names) do
    for i = 1, count do
      local tag = name .. i
      answers[#answers + 1] = { match = ('"%s"'):format(tag), json = { success = true, result = { id = tag } } }
    end
  end
  edge.script(zone, answers)
  return zone
end

local function connections_of(zone)
  local by_name = {}
  for _, request in ipairs(edge.requests(zone)) do
    local name = cjson.decode(request.body).tags[1]:match "^%a+"
    by_name[name] = by_name[name] or {}
    by_name[name][request.connection] = true
  end
  return by_name
end

local function keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  return list
end

describe("a client made and used before a fork", function()
  it("spreads its retries otherwise in each child", function()
    local zone = edge.zone()
    edge.script(zone, { { times = 0, status = 503, json = { success = false } } })
    local waits = host.run(prelude .. [[
      local waits = {}
      local c = client.new { base_url = args.base, zone_id = args.zone, max_retries = 2, max_retry_wait = 60,
        on_event = function(event) if event.name == "retry" then waits[#waits + 1] = event.wait end end }
      local children = {}
      for i = 1, 3 do
        children[i] = inherit(function()
          c:purge { tags = { "a" } }
          return waits
        end)
      end
      for i = 1, 3 do children[i] = children[i]() end
      return children]], { args = { base = env.API_HTTP, zone = zone } })
    assert.equal(2, #waits[1])
    assert.not_same(waits[1], waits[2])
    assert.not_same(waits[2], waits[3])
    assert.not_same(waits[1], waits[3])
  end)

  for _, server in ipairs(servers) do
    it("goes on in parent and children at once, and no answer goes astray, " .. server.name, function()
      local names, count = { "warm", "parent", "childone", "childtwo", "grandchild", "after" }, 150
      local zone = echoing(names, count)
      local report = host.run(prelude .. [[
        local c = client.new { base_url = args.base, ca_file = edge.env.CA_FILE, zone_id = args.zone, max_retries = 0 }
        local report = { warm = purge_many(c, "warm", 1) }
        local one = inherit(function()
          local grandchild = inherit(function() return purge_many(c, "grandchild", args.count) end)
          return { mine = purge_many(c, "childone", args.count), grandchild = grandchild() }
        end)
        local two = inherit(function() return purge_many(c, "childtwo", args.count) end)
        report.parent = purge_many(c, "parent", args.count)
        local ended = one()
        report.childone, report.grandchild, report.childtwo = ended.mine, ended.grandchild, two()
        report.after = purge_many(c, "after", args.count)
        report.connections = c:stats().connections
        c:close()
        return report]], { args = { base = server.base, zone = zone, count = count } })
      for _, name in ipairs(names) do assert.equal("", report[name], name) end
      -- The parent's connection outlived its children; each of them had one of its own.
      assert.equal(1, report.connections)
      local used = connections_of(zone)
      assert.equal(1, #keys(used.warm))
      assert.same(used.warm, used.parent)
      assert.same(used.warm, used.after)
      local all = {}
      for name, set in pairs(used) do
        assert.equal(1, #keys(set), name)
        all[keys(set)[1]] = true
      end
      assert.equal(4, #keys(all))
      assert.equal(5 * count + 1, edge.counts(zone).requests)
    end)

    it("ends what is in flight once in each, and sends it once, " .. server.name, function()
      local zone = edge.zone()
      edge.script(zone, { { match = '"slow"', delay = 1.5, json = { success = true, result = { id = "slow" } } },
        { match = '"again"', status = 503, headers = { ["Retry-After"] = "2" } } })
      local report = host.run(prelude .. [[
        local c, events = nil, {}
        c = client.new { base_url = args.base, ca_file = edge.env.CA_FILE, zone_id = args.zone,
          on_event = function(event) if event.name == "done" then events[#events + 1] = event.kind or "fine" end end }
        assert(c:purge { tags = { "warm" } })
        local ended = { slow = {}, again = {} }
        local requests = {}
        local function start(tag)
          requests[tag] = c:start({ tags = { tag } }, nil, function(result, err)
            table.insert(ended[tag], result and (result.id or "null") or err.kind .. err.remaining.tags[1])
          end)
        end
        start "slow"
        start "again"
        while c:stats().waiting == 0 or edge.counts(args.zone).requests < 3 do c:step(0.05) end
        local fd = c:fileno()
        local function report()
          local result = c:purge { tags = { "mine" } }
          return { ended = ended, done = requests.slow:done(), mine = result and result.accepted,
            in_flight = c:stats().in_flight,
            started = c:start({ tags = { "b" } }):wait().accepted, events = events, fileno = c:fileno() ~= nil }
        end
        local child = inherit(function()
          events = {}
          c:step(0)
          return report()
        end)()
        while c:step(5) > 0 do end
        local parent = { ended = ended, in_flight = c:stats().in_flight, same = fd == c:fileno() }
        c:close()
        return { child = child, parent = parent }]], { args = { base = server.base, zone = zone } })
      local child, parent = report.child, report.parent
      assert.same({ slow = { "closedslow" }, again = { "closedagain" } }, child.ended)
      assert.is_true(child.done)
      assert.equal(1, child.mine)
      assert.equal(1, child.started)
      assert.is_true(child.fileno)
      assert.equal(0, child.in_flight)
      assert.equal("closed", child.events[1])
      assert.equal("closed", child.events[2])
      assert.equal(1, #parent.ended.again)
      assert.is_nil(parent.ended.again[1]:find "closed")
      assert.same({ "slow" }, parent.ended.slow)
      assert.is_true(parent.same)
      local slow = 0
      for _, request in ipairs(edge.requests(zone)) do slow = slow + (request.body:find '"slow"' and 1 or 0) end
      assert.equal(1, slow)
    end)
  end

  it("may be closed, collected and left alone in the child, and the parent never notices", function()
    for _, server in ipairs(servers) do
      local zone = echoing({ "p" }, 60)
      local report = host.run(prelude .. [[
        local c = client.new { base_url = args.base, ca_file = edge.env.CA_FILE, zone_id = args.zone, max_retries = 0 }
        local wrong = {}
        local at = 0
        local function some()
          for _ = 1, 10 do
            at = at + 1
            local result, err = c:purge { tags = { "p" .. at } }
            if not result or result.id ~= "p" .. at then wrong[#wrong + 1] = tostring(err or result.id) end
          end
        end
        some()
        inherit(function() c:close() end)()
        some()
        inherit(function() c = nil collectgarbage() collectgarbage() end)()
        some()
        inherit(function() c:step(0) c:stats() c:timeout() end)()
        some()
        inherit(function() c:start { tags = { "never sent" } } end)()
        some()
        -- A child that is gone without a word.
        local pid = system.fork()
        if pid == 0 then c:fileno() system.exit(0) end
        system.wait(pid)
        some()
        return { wrong = wrong, connections = c:stats().connections }]], { args = { base = server.base, zone = zone } })
      assert.same({}, report.wrong)
      assert.equal(1, report.connections)
    end
  end)

  it("closes nothing of a child that has closed all it was given and opened others", function()
    local report = host.run(prelude .. [[
      local c = client.new { base_url = args.base, ca_file = edge.env.CA_FILE }
      assert(c:purge { tags = { "a" } })
      c:fileno()
      return inherit(function()
        for fd = 3, 255 do system.close(fd) end
        local files = {}
        for i = 1, 100 do files[i] = assert(io.open("/dev/zero")) end
        local id = assert(c:purge { tags = { "b" } }).id
        c:close()
        for i, file in ipairs(files) do assert(file:read(1), i) end
        return id ~= nil
      end)()]], { args = { base = env.API_TLS } })
    assert.is_true(report)
  end)
end)

describe("states in threads of their own", function()
  for _, server in ipairs(servers) do
    it("purge at once, and libcurl is set up once, " .. server.name, function()
      local names = {}
      for i = 1, 8 do names[i] = "t" .. ("x"):rep(i) .. "n" end
      local zone = echoing(names, 30)
      local report = host.run([[
        local given = ("package.path, package.cpath, BASE, CA, ZONE, TOKEN = %q, %q, %q, %q, %q, %q\n"):format(
          package.path, package.cpath, args.base, edge.env.CA_FILE, args.zone, edge.env.TOKEN)
        local results = system.threads(8, given .. [=[
          local cfpurge = require "cfpurge"
          local name = "t" .. ("x"):rep(...) .. "n"
          for round = 1, 3 do
            local c = assert(cfpurge.new { base_url = BASE, ca_file = CA, zone_id = ZONE, api_token = TOKEN })
            for i = 1, 10 do
              local tag = name .. (round - 1) * 10 + i
              local result, err = c:purge { tags = { tag } }
              if not result or result.id ~= tag then return tostring(err or result.id) end
            end
            c:close()
          end
          return "fine"]=])
        return { results = results, inits = system.global_inits() }]],
        { args = { base = server.base, zone = zone }, preload = not host.watched })
      assert.same({ "fine", "fine", "fine", "fine", "fine", "fine", "fine", "fine" }, report.results)
      assert.equal(not host.watched and 1 or nil, report.inits)
      assert.equal(240, edge.counts(zone).requests)
    end)
  end
end)

describe("SIGPIPE", function()
  it("does not reach the host, whose handling stays as it was", function()
    host.build("sigpipe", "-DCF_SIGPIPE_ALWAYS")
    for _, build in ipairs { false, "sigpipe" } do
      for _, handling in ipairs { "count", "default" } do
        local report = host.run([[
          system.sigpipe(args.handling)
          local failed = {}
          local big = {}
          for i = 1, 100 do big[i] = ("https://www.example.com/%d/%s"):format(i, ("x"):rep(9000)) end
          for _, name in ipairs { "API_HTTP", "API_TLS", "API_TLS1", "API_IDLE", "API_IDLE_TLS" } do
            local base = edge.env[name]
            local port = tonumber(base:match ":(%d+)/")
            local c, zone = client.new { base_url = base, ca_file = edge.env.CA_FILE, max_retry_wait = 0.01 }
            edge.script(zone, { { close = true }, { pass = true }, { idle_close = 0, cut = 5, body = "{}........" } })
            for i = 1, name:find "IDLE" and 3 or 6 do
              local result, err = c:purge(i % 2 == 0 and { files = big } or { tags = { "a" } })
              if not result then failed[#failed + 1] = name .. i .. tostring(err) end
              if name:find "IDLE" then
                local patience, open, closed = system.now() + 5, nil, nil
                repeat
                  open, closed = system.peers(port)
                until open == closed or system.now() > patience
              end
            end
            c:start { tags = { "a" } }
            c:step(0)
            c:close()
          end
          local came, now, blocked, pending = system.sigpipe()
          return { came = came, now = now, blocked = blocked, pending = pending, failed = failed }]],
          { args = { handling = handling }, build = build or nil })
        assert.same({ came = 0, now = handling, blocked = false, pending = false }, { came = report.came,
          now = report.now, blocked = report.blocked, pending = report.pending })
      end
    end
  end)

  it("is taken away where the guard is up, and one of the host's own is left to it", function()
    -- spec/hosts/system.c has the guard as it is for a libcurl that raises.
    local report = host.run [[
      local seen = {}
      system.sigpipe "count"
      for _ = 1, 3 do system.guarded_sigpipe() end
      seen[1] = { system.sigpipe() }
      system.sigpipe "block"
      system.guarded_sigpipe() -- the host has it blocked: none is left pending
      seen[2] = { system.sigpipe() }
      system.sigpipe "raise"
      system.guarded_sigpipe() -- one was pending: it is the host's
      seen[3] = { system.sigpipe() }
      system.sigpipe "unblock"
      seen[4] = { system.sigpipe() }
      return seen]]
    assert.same({ { 0, "count", false, false }, { 0, "count", true, false }, { 0, "count", true, true },
      { 1, "count", false, false } }, report)
  end)
end)

it("a client costs no descriptor before it is used, and leaves none behind", function()
  local function descriptors()
    local n = 0
    for fd = 0, 255 do
      local file = io.open("/proc/self/fdinfo/" .. fd)
      if file then n = n + 1 file:close() end
    end
    return n
  end
  collectgarbage()
  collectgarbage()
  local before = descriptors()
  local c = client.new()
  assert.equal(before, descriptors())
  for _ = 1, 3 do
    assert(c:purge { tags = { "a" } })
    c:start { tags = { "b" } }
    c:step(0)
    c:close()
    assert.equal(before, descriptors())
    c = client.new { base_url = env.API_TLS, ca_file = env.CA_FILE }
  end
  c:close()
end)
