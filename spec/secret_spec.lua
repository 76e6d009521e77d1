-- Our own copies of a credential are overwritten: a C program (spec/hosts/secret.c) purges in every way that there is, closes,
-- collects, and looks at each block of ours as it is freed, and at those that are left.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local cjson = require("cjson").new()

local env = edge.up()
local dir = host.dir() .. "/secret"

local function build()
  host.must("env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s libcfpurge.a LUA=lua5.4 BUILD=" .. dir
    .. " CPPFLAGS= LDFLAGS= CFLAGS='-O1 -g'")
  host.must(("cc -std=c11 -O1 -g -Icsrc -Wall -Wextra -Werror spec/hosts/secret.c %s/lua5.4/libcfpurge.a -o %s/secret "):format(
    dir, dir) .. "-Wl,--export-dynamic $(pkg-config --cflags --libs lua5.4 libcurl) -lm")
end

local serial = 0

-- Forty letters that nothing else has, no ten of them twice.
local function marker()
  serial = serial + 1
  return ("Secret%04dabcdefghijklmnopqrstuvwxyzABCD"):format(serial)
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
  local out = host.must(("CA_FILE=%s %s/secret spec/hosts/secret.lua %s %s %s %s '%s'"):format(env.CA_FILE, dir,
    table.concat(markers), scenario, zone, base, proxy or ""))
  return cjson.decode(out:match "(%b{})%s*$")
end

describe("the memory that we freed, and what is left when all clients are closed", function()
  if elsewhere "lua5.4 unwatched" then return end
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
        assert.same({ 0, 0 }, { seen.after, seen.freed })
      end)
    end
  end
end)
