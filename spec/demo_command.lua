-- The last part of make demo, which README.md has for a picture: the command. A page is seen in the cache, is purged,
-- and is seen to be fetched anew. Then pages are purged through a queue while its worker is killed and the API is down;
-- afterwards all are fresh, and what was acknowledged was sent once.
local core = require "cfpurge.core"
local edge = require "spec.support.edge"

local CHECKED, HOST, HALF, PATIENCE = "www.demo.test", "queue.test", 10, 30

local function output(line)
  local child = assert(io.popen(line))
  local said = child:read "*a"
  child:close()
  return said
end

local function wait_until(is_so, what)
  local ends = core.now() + PATIENCE
  while not is_so() do
    assert(core.now() < ends, what .. ": it did not come")
    core.sleep(0.05)
  end
end

-- The command of this tree, which has its files in `dir`, its token there too, and trusts the edge.
local function command_in(dir, env, zone)
  local file = assert(io.open(dir .. "/cfpurge.lua", "w"))
  file:write 'os.exit(require "cfpurge.cli"(arg))'
  file:close()
  output(("umask 077; echo %s >%s/token"):format(env.TOKEN, dir))
  return ("env -u CLOUDFLARE_API_TOKEN https_proxy=%s NO_PROXY=localhost CLOUDFLARE_ZONE_ID=%s "
    .. "CLOUDFLARE_BASE_URL=%s %s %s/cfpurge.lua "):format(env.PROXY, zone, env.API_TLS, arg[-1], dir)
end

local function without(dir, text)
  return (text:gsub(dir:gsub("%p", "%%%0") .. "/", ""))
end

-- Runs the command as it is told; what it said, which is told too. The folder of its files is left out.
local function run(cfpurge, dir, words, more)
  print("$ cfpurge " .. words)
  local said = output(cfpurge .. words:gsub("(%-%-from )", "%1" .. dir .. "/") .. " " .. (more or "") .. " 2>&1")
  io.write(without(dir, said))
  return said
end

local function show_check(env, dir, zone)
  local cfpurge, url = command_in(dir, env, zone), "https://" .. CHECKED .. "/page"
  local trusted = "--ca-file " .. env.CA_FILE
  output(cfpurge .. "check " .. url .. " " .. trusted)
  local before = run(cfpurge, dir, "check " .. url, trusted)
  local purge = run(cfpurge, dir, "files " .. url, trusted .. " --token-file " .. dir .. "/token")
  local after = run(cfpurge, dir, "check " .. url, trusted)
  return (before:find ": HIT," and purge:find "^accepted: 1 " and after:find ": MISS,") ~= nil
end

local function show_queue(env, dir)
  local zone = edge.zone { name = HOST }
  local cfpurge, said = command_in(dir, env, zone):gsub("https_proxy=", "CFPURGE_QUEUE=" .. dir .. "/queue.db %0"), 0
  -- Its process id. It ends by itself where this one is killed; its log is told as it grows.
  local function work()
    local words, pid = "queue work --lease 1", nil
    print("$ cfpurge " .. words .. " &")
    local line = ("%s%s --token-file %s/token --ca-file %s"):format(cfpurge, words, dir, env.CA_FILE)
    os.execute(("rm -f %s/pid; timeout 60 sh -c 'echo $$ >%s/pid; exec %s' >>%s/log 2>&1 &"):format(dir, dir, line,
      dir))
    wait_until(function()
      pid = output("cat " .. dir .. "/pid 2>&1"):match "^%d+"
      return pid
    end, "the worker")
    return pid
  end
  local function tell_log()
    local log = output("cat " .. dir .. "/log")
    io.write(without(dir, log:sub(said + 1)))
    said = #log
  end
  local function urls(half)
    local list = {}
    for i = 1, HALF do list[i] = ("https://%s/%s-%d"):format(HOST, half, i) end
    return list
  end
  local function add(half)
    local file = assert(io.open(("%s/%s.txt"):format(dir, half), "w"))
    file:write(table.concat(urls(half), "\n"), "\n")
    file:close()
    run(cfpurge, dir, ("files --queue --from %s.txt"):format(half))
  end
  local function each_page(look)
    local count = 0
    for _, half in ipairs { "a", "b" } do
      for i = 1, HALF do count = count + (look(("/%s-%d"):format(half, i)) and 1 or 0) end
    end
    return count
  end
  local function times_sent(url)
    local count = 0
    for _, request in ipairs(edge.requests(zone)) do
      count = count + (request.body:find('"' .. url .. '"', 1, true) and 1 or 0)
    end
    return count
  end

  -- Each page is in the cache, and older than the origin's.
  each_page(function(path)
    edge.get("production", HOST, path)
    edge.bump(HOST, path)
  end)
  add "a"
  local worker = work()
  wait_until(function() return edge.counts(zone).items == HALF end, "the first purge")
  wait_until(function() return output(cfpurge .. "queue status --json"):find '"in_flight":0,.*"waiting":0' end,
    "its acknowledgement")
  tell_log()
  edge.script(zone, { { delay = 20, pass = true } })
  add "b"
  edge.requests(zone, 2)
  print("The worker is killed with -9 while these are in flight, and the API goes down.")
  edge.script(zone, { { times = 0, status = 503, body = "down" } })
  output("kill -9 " .. worker)
  worker = work()
  wait_until(function() return output("cat " .. dir .. "/log"):find " rests: " end, "the API's fault")
  tell_log()
  print "The API is back."
  edge.script(zone, {})
  wait_until(function() return edge.counts(zone).items == 2 * HALF end, "the second purge")
  output(("kill -TERM %s; while kill -0 %s 2>/dev/null; do sleep 0.05; done"):format(worker, worker))
  tell_log()
  local gone = each_page(function(path)
    return select(2, edge.get("production", HOST, path)) == "MISS"
  end)
  local once = 0
  for _, url in ipairs(urls "a") do once = once + (times_sent(url) == 1 and 1 or 0) end
  print(("%d of %d pages were fetched anew; of %d that were acknowledged before the kill, %d were sent once.")
    :format(gone, 2 * HALF, HALF, once))
  return gone == 2 * HALF and once == HALF
end

---@param env table the edge's
---@param dir string a folder of its own
---@param zone string the zone's id of the page that is checked
---@return boolean is_right
return function(env, dir, zone)
  local is_seen = show_check(env, dir, zone)
  return show_queue(env, dir) and is_seen
end
