-- A real nginx for the specs, on sockets in a directory of its own.
--
--   nginx.start(options?)   options: workers (1), http, main, init, init_worker, exit_worker (pieces of the
--                           configuration), plan (values for host.plan), conf (in place of openresty.conf),
--                           env (NAME=value ...), cpath (in place of the runner's own)
--   nginx.recipe(zone, workers?, conf?)   the options for the reference's nginx, or this nginx.conf, which purges that
--                           zone of the edge
--   it:run(phase, code, args?)     runs the Lua in that phase (openresty.lua) and returns what it returned; phases that
--                           cannot answer keep it: it is fetched from there
--   it:begin(phase, code, args?)   sends the request; the function that it returns waits for the values
--   it:run_tls(phase, code, args?) the same in a phase of a TLS handshake
--   it.master (a pid), it:signal(name), it:ended(), it:log(), it:problems(expected...), it:stop(signal?)
local socket = require "socket"
local unix = require "socket.unix"
local output = require "spec.support.command".output
local edge = require "spec.support.edge"
local json = require("cjson").new()

local M = {}
local It = {}
It.__index = It

local answering = { rewrite = true, access = true, content = true, timer = true, abort = true }

function M.read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

local function new_socket()
  return unix.stream and unix.stream() or unix()
end

function M.wait_until(fn, seconds, what)
  local limit = socket.gettime() + (seconds or 10)
  while true do
    local value = fn()
    if value then
      return value
    elseif socket.gettime() > limit then
      error("waited in vain for " .. (what or "it"), 2)
    end
    socket.sleep(0.005)
  end
end

local function fill(text, names)
  return (text:gsub("@([%u_]+)@", function(name)
    return names[name:lower()] or ""
  end))
end

function M.start(options)
  options = options or {}
  local env = edge.up()
  local dir = output("mktemp -d " .. env.EDGE .. "/nginx.XXXXXX"):gsub("\n", "")
  local root = output "pwd":gsub("\n", "")
  os.execute(("chmod 755 %s && mkdir -m 777 %s/tmp"):format(dir, dir))
  local plan = { root = root, base_url = env.API_HTTP, token = env.TOKEN, ca_file = env.CA_FILE }
  for key, value in pairs(options.plan or {}) do
    plan[key] = value
  end
  local lines = {}
  for key, value in pairs(plan) do
    lines[#lines + 1] = key .. "=" .. value .. "\n"
  end
  write(dir .. "/plan", table.concat(lines))
  local names = {
    dir = dir, root = root, cpath = options.cpath or package.cpath:gsub(";;$", ""), ssl = env.EDGE .. "/ssl",
    user = output "id -un":gsub("\n", ""), workers = tostring(options.workers or 1),
  }
  for _, name in ipairs { "http", "main", "init", "init_worker", "exit_worker" } do
    names[name] = options[name]
  end
  write(dir .. "/nginx.conf", fill(options.conf or M.read "spec/hosts/openresty.conf", names))
  local it = setmetatable({ dir = dir, seen = 0 }, It)
  os.execute(("ln -s /usr/lib/nginx/modules %s/modules"):format(dir))
  local parent = M.read "/proc/self/stat":match "^%d+"
  os.execute(("%s %s/spec/hosts/nginx %s %s"):format(options.env or "", root, dir, parent))
  local up = M.wait_until(function()
    local connection = new_socket()
    local connected = connection:connect(dir .. "/http.sock")
    connection:close()
    it.master = (M.read(dir .. "/nginx.pid") or ""):match "%d+"
    return connected and it.master and "yes" or it:ended() and "no"
  end, 30, "nginx to start")
  if up == "no" then
    error("nginx did not start: " .. M.read(dir .. "/output") .. it:log(), 2)
  end
  return it
end

function M.recipe(zone, workers, conf)
  conf = conf or M.read "spec/hosts/recipe.conf"
  conf = conf:gsub("listen 127.0.0.1:8080;", "listen unix:@DIR@/http.sock;")
  conf = conf:gsub("http {", [[%0
    lua_package_path "@ROOT@/lua/?.lua;@ROOT@/lua/?/init.lua;;";
    lua_package_cpath "@CPATH@;;";
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;]])
  return {
    workers = workers, conf = "daemon off; user @USER@; pid nginx.pid; error_log error.log notice;\n"
      .. "worker_processes @WORKERS@; env CLOUDFLARE_BASE_URL;\n" .. conf,
    env = ("CLOUDFLARE_API_TOKEN=%s CLOUDFLARE_ZONE_ID=%s CLOUDFLARE_BASE_URL=%s"):format(edge.up().TOKEN, zone,
      edge.env.API_HTTP),
  }
end

local function escape(text)
  return (text:gsub("[^%w]", function(byte)
    return ("%%%02X"):format(byte:byte())
  end))
end

local function values(text)
  local answer = json.decode(text)
  local list = type(answer.values) == "table" and answer.values or {}
  for i = 1, answer.count do
    if list[i] == json.null then
      list[i] = nil
    end
  end
  if not answer.ok then
    error(tostring(list[1]), 3)
  end
  return unpack(list, 1, answer.count)
end

--- Sends bytes and returns the socket; `path` is another server's.
function It:open(bytes, path)
  local connection = new_socket()
  connection:settimeout(20)
  assert(connection:connect(path or self.dir .. "/http.sock"))
  assert(connection:send(bytes))
  return connection
end

function It:request(path)
  return self:open(("GET %s HTTP/1.0\r\nHost: nginx\r\n\r\n"):format(path))
end

--- The body of what a connection answers.
function M.receive(connection)
  local text, problem, partial = connection:receive "*a"
  connection:close()
  text = text or partial
  return text:match "\r\n\r\n(.*)$" or error(("no answer: %s %q"):format(tostring(problem), text), 3)
end

function It:begin(phase, code, args)
  args = json.encode(args or { none = true })
  local connection = self:request(("/%s?code=%s&args=%s"):format(phase, escape(code), escape(args)))
  return function()
    local text = M.receive(connection)
    if not answering[phase] then
      text = self:run("content", ([[
        wait_until(function() return memory.%s end)
        local text = memory.%s
        memory.%s = nil
        return text
      ]]):format(phase, phase, phase))
    end
    return values(text)
  end, connection
end

function It:run(phase, code, args)
  return self:begin(phase, code, args)()
end

--- Runs the code in a phase of a TLS handshake.
function It:run_tls(phase, code, args)
  self:run("content", "on_tls[args.phase] = args", { phase = phase, code = code, args = args or { none = true } })
  -- A session is fetched by who comes back.
  local more = phase == "ssl_session_fetch" and "-reconnect" or ""
  output(("openssl s_client -unix %s/tls.sock -tls1_2 -no_ticket %s </dev/null 2>&1"):format(self.dir, more))
  local text = self:run("content", "on_tls[args.phase] = nil; return memory[args.phase]", { phase = phase })
  return values(text)
end

function It:signal(name)
  os.execute(("kill -%s %s 2>/dev/null"):format(name, self.master))
end

--- Its exit status, nil while it runs.
function It:ended()
  return tonumber(M.read(self.dir .. "/ended") or "")
end

function It:log()
  return M.read(self.dir .. "/error.log")
end

--- Lines of a warning and worse since the last call; those that contain one of `expected` do not count.
function It:problems(...)
  local text, list = self:log(), {}
  for line in text:sub(self.seen + 1):gmatch "[^\n]+" do
    local bad = line:match "%[warn%]" or line:match "%[error%]" or line:match "%[crit%]" or line:match "%[alert%]"
      or line:match "%[emerg%]" or line:match "signal 11" or line:match "signal 6"
    for _, expected in ipairs { ... } do
      bad = bad and not line:find(expected, 1, true)
    end
    if bad then
      list[#list + 1] = line
    end
  end
  self.seen = #text
  return table.concat(list, "\n")
end

function It:stop(signal)
  if not self:ended() then
    self:signal(signal or "TERM")
    M.wait_until(function()
      return self:ended()
    end, 15, "nginx to end")
  end
  return self:ended()
end

return M
