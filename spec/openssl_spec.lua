-- A program that brings an OpenSSL of its own (spec/hosts/openssl.c), in each way that the linker knows; and a libcurl with
-- GnuTLS, one of the ways out.
local elsewhere = require "spec.support.where"
if elsewhere "lua5.4 unwatched" then return end

local client = require "spec.support.client"
local host = require "spec.support.host"

local dir = host.dir() .. "/openssl"
local STATIC = "-Wl,-E -l:libssl.a -l:libcrypto.a $(pkg-config --static --libs-only-l libcrypto | sed s/-lcrypto//)"
local libdir = host.must("mkdir -p " .. dir .. " && realpath $(pkg-config --variable=libdir libssl)"):match "%S+"
local system = host.must "openssl version":match "^OpenSSL %S+"

-- How a purge over TLS ended, and the one libssl that the program then has in memory.
local SCRIPT = [[
local ok, store = pcall(require, "cfpurge.redis")
if ok then print(select(2, pcall(store.open, "rediss://127.0.0.1/"))) end
assert(require "cfpurge".new { %s }:purge { tags = { "a" } })
local found = {}
for line in io.lines "/proc/self/maps" do found[line:match "%%s(/%%S*libssl%%S*)" or 1] = true end
found[1] = nil
local path = next(found)
print("accepted with " .. path, next(found, path))]]

local function run(program, flags, script, cpath)
  host.must(("cc -std=c11 %s -Wall -Wextra -Werror -o %s/%s $(pkg-config --cflags lua5.4) %s "
    .. "$(pkg-config --libs lua5.4)"):format(host.flags, dir, program, flags))
  local options = {}
  for name, value in pairs((client.options(client.over_tls { max_retries = 0 }))) do
    options[#options + 1] = ("%s = %q"):format(name, value)
  end
  local file = assert(io.open(dir .. "/" .. program .. ".lua", "w"))
  file:write(("package.path, package.cpath = %q, %q\n"):format(package.path, (cpath or "") .. package.cpath),
    (script or SCRIPT):format(table.concat(options, ", ")))
  file:close()
  return host.must(("timeout -k 2 20 %s/%s %s/%s.lua"):format(dir, program, dir, program))
end

describe("a program with an OpenSSL of its own", function()
  if elsewhere "openssl" then return end
  for name, case in pairs {
    ["of the same version"] = { "same", "spec/hosts/openssl.c " .. STATIC, system },
    ["of another version"] = { "other", "spec/hosts/openssl.c spec/hosts/old_openssl.c -Wl,-E", "OpenSSL 1.1.1w" },
  } do
    it("is refused where it exports a static one " .. name, function()
      local said = run(case[1], case[2])
      assert.equal(case[3], said:match "^OpenSSL %S+")
      local store = said:match "TLS to Redis is linked with (OpenSSL %S+),"
      assert.equal(not said:find("built without TLS to Redis", 1, true) and system or nil, store, said)
      local told = said:match "cfpurge: [^\n]*"
      assert.truthy(told and told:find("libcurl is linked with " .. system .. ",", 1, true), said)
      assert.truthy(told:find("exports (" .. case[3] .. ")", 1, true), told)
      for _, remedy in ipairs { "-Wl,--exclude-libs,libssl.a:libcrypto.a", "shared OpenSSL", '"TLS libraries"',
        "would call another one that this program exports" } do -- the last is a symptom in README.md
        assert.truthy(told:find(remedy, 1, true), told)
      end
    end)
  end

  for name, case in pairs {
    ["a static one that it keeps for itself"] = { "hidden",
      "spec/hosts/openssl.c " .. STATIC .. " -Wl,--exclude-libs,libssl.a:libcrypto.a", system, libdir },
    ["a shared one, which serves libcurl too"] = { "shared", "spec/hosts/openssl.c -lssl -lcrypto -Wl,--disable-new-dtags,-rpath,"
      .. dir, system, dir },
    ["a shared one of another version, which does not"] = { "beside", "spec/hosts/openssl.c " .. dir .. "/libold.so",
      "OpenSSL 1.1.1w", libdir },
  } do
    it("is served where it has " .. name, function()
      host.must(("cp -L %s/libssl.so.* %s/libcrypto.so.* %s"):format(libdir, libdir, dir))
      host.must(("cc -std=c11 %s -shared -fPIC -Wl,--default-symver -o %s/libold.so spec/hosts/old_openssl.c"):format(
        host.flags, dir))
      local said = run(case[1], case[2])
      assert.equal(case[3], said:match "^OpenSSL %S+")
      assert.falsy(said:find("TLS to Redis is linked", 1, true), said)
      assert.equal(case[4], said:match "\naccepted with (%S+)/libssl[^/]*\tnil\n", said)
    end)
  end
end)

-- The core that runs here, on another libcurl: both have one interface.
describe("a libcurl with GnuTLS", function()
  local script = [[
local core = require "cfpurge.core"
print(core.libcurl())
local options = { %s }
local c = require "cfpurge".new(options)
local one, two = c:start { tags = { "a" } }, c:start { tags = { "b" } }
local longest, left = 0, 2
while left > 0 do
  local before = os.clock()
  left = c:step(10)
  longest = math.max(longest, os.clock() - before)
end
assert(one:result())
assert(two:result())
print(("connections %%d, longest %%.1f ms"):format(c:stats().connections, longest * 1000))
options.ca_file = nil
print(select(2, require "cfpurge".new(options):purge { tags = { "a" } }))]]

  it("is served, and in a program that exports a static OpenSSL", function()
    local build = package.cpath:match "([^;]*)/lua5%.4/%?%.so"
    local objects = host.must("cd csrc && ls base/*.c engine/*.c binding/*.c"):gsub("(%w+)(/%S+)%.c\n", function(layer, file)
      return build .. (layer == "binding" and "/lua5.4" or "") .. "/obj/" .. layer .. file .. ".o "
    end)
    host.must(("mkdir -p %s/core/cfpurge && cc %s -shared -o %s/core/cfpurge/core.so %s -l:libcurl-gnutls.so.4"):format(
      dir, host.flags, dir, objects))
    local said = run("gnutls", "spec/hosts/openssl.c " .. STATIC, script, dir .. "/core/?.so;")
    assert.truthy(said:find(" GnuTLS/", 1, true), said)
    -- Both purges are streams of one connection, once it has told that it is HTTP/2.
    local connections, longest = said:match "\nconnections (%d+), longest (%S+) ms\n"
    assert.equal("1", connections, said)
    print("a new connection with GnuTLS: " .. longest .. " ms in one call")
    assert.truthy(said:find("\ntls: ", 1, true), said)
  end)
end)
