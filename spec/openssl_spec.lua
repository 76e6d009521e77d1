-- A program that brings an OpenSSL of its own (spec/hosts/openssl.c), in each way that the linker knows.
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
package.path, package.cpath = %q, %q
assert(require "cfpurge".new { %s }:purge { tags = { "a" } })
local found = {}
for line in io.lines "/proc/self/maps" do found[line:match "%%s(/%%S*libssl%%S*)" or 1] = true end
found[1] = nil
local path = next(found)
print("accepted with " .. path, next(found, path))]]

local function run(program, flags)
  host.must(("cc -std=c11 %s -Wall -Wextra -Werror -o %s/%s $(pkg-config --cflags lua5.4) %s "
    .. "$(pkg-config --libs lua5.4)"):format(host.flags, dir, program, flags))
  local options = {}
  for name, value in pairs((client.options(client.over_tls { max_retries = 0 }))) do
    options[#options + 1] = ("%s = %q"):format(name, value)
  end
  local file = assert(io.open(dir .. "/" .. program .. ".lua", "w"))
  file:write(SCRIPT:format(package.path, package.cpath, table.concat(options, ", ")))
  file:close()
  return host.must(("timeout -k 2 20 %s/%s %s/%s.lua"):format(dir, program, dir, program))
end

describe("a program with an OpenSSL of its own", function()
  for name, case in pairs {
    ["of the same version"] = { "same", "spec/hosts/openssl.c " .. STATIC, system },
    ["of another version"] = { "other", "spec/hosts/openssl.c spec/hosts/old_openssl.c -Wl,-E", "OpenSSL 1.1.1w" },
  } do
    it("is refused where it exports a static one " .. name, function()
      local said = run(case[1], case[2])
      assert.equal(case[3], said:match "^OpenSSL %S+")
      local told = said:match "cfpurge: [^\n]*"
      assert.truthy(told and told:find("libcurl is linked with " .. system .. ",", 1, true), said)
      assert.truthy(told:find("exports (" .. case[3] .. ")", 1, true), told)
      for _, remedy in ipairs { "-Wl,--exclude-libs,libssl.a:libcrypto.a", "shared OpenSSL", '"TLS libraries"' } do
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
      assert.equal(case[4], said:match "\naccepted with (%S+)/libssl[^/]*\tnil\n", said)
    end)
  end
end)
