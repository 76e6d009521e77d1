-- A core image of the host holds no credential once its clients are closed: a C program (spec/hosts/secret.c) purges in
-- every way that there is, closes, collects, and then reads all of its own memory.
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local cjson = require("cjson").new()

local env = edge.up()
local dir = host.dir() .. "/secret"
-- Whatever Lua runs the specs: the program has its own. Once is enough.
local elsewhere = (os.getenv "CFPURGE_LUA" or "lua5.4") ~= "lua5.4"

local function build()
  host.must(("mkdir -p %s && cc -O1 -g -Wall -Wextra -Werror spec/hosts/secret.c -o %s/secret "):format(dir, dir)
    .. "-Wl,--export-dynamic $(pkg-config --cflags --libs lua5.4)")
end

local random = assert(io.open "/dev/urandom")

-- Forty of the ten symbols that HPACK writes in five bits.
local function marker()
  return (random:read(40):gsub(".", function(c)
    local i = c:byte() % 10 + 1
    return ("012aceiost"):sub(i, i)
  end))
end

local function run(scenario, base, proxy)
  local zone = edge.zone()
  local markers = { marker(), marker(), marker() }
  local function answer(tag, more, times)
    local entry = { match = '"' .. tag .. '"', times = times or 0 }
    for name, value in pairs(more) do entry[name] = value end
    return entry
  end
  local echo = scenario == "key" and markers[1] .. " " .. markers[2] or markers[1]
  edge.script(zone, {
    answer("denied", { status = 403, json = { success = false, errors = { { code = 10000, message = "denied" } } } }),
    answer("busy", { status = 503, headers = { ["Retry-After"] = "0" }, json = { success = false } }, 1),
    answer("echo", { status = 400, headers = { ["CF-Ray"] = markers[1], ["X-Echo"] = echo },
      body = ('{"success":false,"errors":[{"code":1,"message":"%s"}]}'):format(echo) }),
    answer("cut", { headers = { ["CF-Ray"] = markers[1] }, body = markers[1], length = 100, hang = 20 }),
    answer("late", { delay = 20 }),
    answer("never", { delay = 20 }),
    { times = 0, json = { success = true, errors = {}, messages = {}, result = { id = "x" } } },
  })
  local command = ("printf %s | CA_FILE=%s %s/secret spec/hosts/secret.lua %s %s %s '%s'")
    :format(table.concat(markers), env.CA_FILE, dir, scenario, zone, base, proxy or "")
  -- With SECRET_VERBOSE it tells where it found them.
  local out = host.must(command)
  if os.getenv "SECRET_VERBOSE" then io.stderr:write(out) end
  return cjson.decode(out:match "(%b{})%s*$")
end

describe("the memory of a host that has closed its clients", function()
  if elsewhere or host.watched then return pending "built once, and not watched" end
  build()

  for name, case in pairs {
    ["over HTTP/1.1"] = { env.API_HTTP }, ["over HTTP/1.1 and TLS"] = { env.API_TLS1 },
    ["over HTTP/2"] = { env.API_TLS }, ["over HTTP/2 and TLS 1.2"] = { env.API_TLS12 },
    ["over HTTP/1.1 through a proxy"] = { env.API_HTTP, env.PROXY },
    ["over HTTP/2 through a proxy"] = { env.API_TLS, env.PROXY },
  } do
    for _, scenario in ipairs { "token", "key" } do
      it(("holds no %s that went %s"):format(scenario, name), function()
        local seen = run(scenario, case[1], case[2])
        assert.same({ plain = "accepted", again = "accepted", denied = "permission_denied", busy = "accepted",
          echo = "bad_request", late = "timeout", ["long-headers"] = "accepted", another = "accepted",
          ["bad option"] = "invalid_request", bulk = "accepted", never = "closed", collected = "accepted",
          untaken = { accepted = 2, bad_request = 1, permission_denied = 1, timeout = 1, closed = 2 },
          masked = scenario == "key" and "*** ***" or "***" }, seen.kinds)
        -- It does find them while they are in use.
        assert.is_true(seen.before > 0)
        assert.equal(0, seen.after)
      end)
    end
  end
end)
