-- C programs with Lua, cfpurge and lua-cjson linked in, run in an empty directory: spec/hosts/embed.c, which lua/README.md
-- shows as it stands, built as its first lines say; and spec/hosts/embedded.c, which runs the contract.
local elsewhere = require "spec.support.where"
local command = require "spec.support.command"
local contract = require "spec.hosts.contract"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local cjson = require("cjson").new()

local env = edge.up()
local dir = host.dir() .. "/embed"

local function build()
  host.must("env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s libcfpurge.a LUA=lua5.4 BUILD=" .. dir
    .. " CPPFLAGS= LDFLAGS= CFLAGS='-O1 -g'")
  local line = command.read("spec/hosts/embed.c"):match " %*   (cc .-) %*/":gsub("build/lua5.4", dir .. "/lua5.4")
  for source, program in pairs { embed = "program", embedded = "contract" } do
    host.must(line:gsub("embed%.c", "spec/hosts/" .. source .. ".c") .. " -Wall -Wextra -Werror -o " .. dir .. "/" .. program)
  end
  host.must("mkdir -p " .. dir .. "/empty")
end

-- A Lua chunk that has these files in itself: whoever requires one of them finds it.
local function preload(files)
  local parts = {}
  for path in files:gmatch "%S+" do
    local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    parts[#parts + 1] = ("package.preload[%q] = assert(load(%q, %q))\n"):format(name, command.read(path), "=" .. path)
  end
  return table.concat(parts)
end

-- Runs it for a zone; the outcome of each URL, the last line, and what the dynamic linker said.
local function run(zone, seconds, urls, more)
  local line = "(cd %s/empty && env -i %s CLOUDFLARE_API_TOKEN=%s CLOUDFLARE_ZONE_ID=%s ../program %s %s 2>../log)"
  local out = host.must(line:format(dir, more, env.TOKEN, zone, seconds, table.concat(urls, " ")))
  local outcomes, last = {}, nil
  for told in out:gmatch "[^\n]+" do
    last = cjson.decode(told)
    if last.url then
      assert.is_nil(outcomes[last.url])
      outcomes[last.url] = last.outcome
    end
  end
  return outcomes, last, command.read(dir .. "/log")
end

describe("a C program that embeds it", function()
  if elsewhere "lua5.4 unwatched" then return end
  build()

  for name, transport in pairs {
    plain = "CLOUDFLARE_BASE_URL=" .. env.API_HTTP,
    TLS = ("CLOUDFLARE_BASE_URL=%s CA_FILE=%s"):format(env.API_TLS, env.CA_FILE),
  } do
    it("goes on drawing while it purges, " .. name, function()
      local zone, about = edge.zone()
      local base = "https://www." .. about.name .. "/"
      edge.script(zone, { { match = "slow", delay = 2, pass = true }, { match = "never", delay = 20, pass = true },
        { match = "/bad", status = 403, json = { success = false, errors = {} } } })
      local outcomes, last = run(zone, 3, { base .. "a", base .. "slow", base .. "never", base .. "bad" }, transport)
      assert.same({ [base .. "a"] = "accepted", [base .. "slow"] = "accepted", [base .. "never"] = "cancelled",
        [base .. "bad"] = "permission_denied" }, outcomes)
      assert.equal(4, #edge.requests(zone))
      -- Sixty frames a second until it gave up; a sleep may be late, a frame is never.
      assert.is_true(last.frames > 90 and last.frames <= 182, last.frames)
      -- A frame may meet a busy machine, but none has waited for an answer.
      assert.is_true(last.longest < 1500000, last.longest)
    end)
  end

  for name, options in pairs { plain = {}, TLS = { tls = true } } do
    it("the contract holds in its frames, with the Lua layer from memory, " .. name, function()
      options.stores = {}
      local text = contract.prepare(edge, options)
      local file = assert(io.open(dir .. "/contract.lua", "w"))
      local hosts = "spec/hosts/contract.lua spec/hosts/checks.lua spec/hosts/scenarios.lua "
        .. "spec/hosts/queue_scenarios.lua spec/hosts/embedded.lua"
      file:write(preload(host.must("find lua/cfpurge " .. hosts .. " -name '*.lua'")),
        "package.preload['spec.hosts.embedded'](require 'spec.hosts.contract', (function() ", text, " end)())")
      file:close()
      local out = host.must(("cd %s/empty && timeout -k 2 60 ../contract < ../contract.lua"):format(dir))
      assert.same({}, contract.verify(edge, text, out, out))
    end)
  end

  it("loads nothing of ours, of Lua's or of cjson's Lua module", function()
    local zone, about = edge.zone()
    local base = "https://www." .. about.name .. "/"
    local outcomes, _, log = run(zone, 5, { base .. "a" },
      "LUA_PATH=/none/? LUA_CPATH=/none/? LD_DEBUG=files CLOUDFLARE_BASE_URL=" .. env.API_HTTP)
    assert.equal("accepted", outcomes[base .. "a"])
    assert.is_truthy(log:find("libcurl", 1, true))
    assert.is_nil(log:find("cfpurge", 1, true))
    assert.is_nil(log:find("core.so", 1, true))
    assert.is_nil(log:find("/lua/", 1, true))
  end)

  it("exports nothing that could clash with what it is linked with", function()
    local clashes = {}
    for line in host.must("nm -g --defined-only " .. dir .. "/lua5.4/libcfpurge.a"):gmatch "[^\n]+" do
      local name = line:match "^%x+ %a (%S+)$"
      -- gcc's own, on i386: it is hidden, and every object may have it.
      local ours = name and (name:find "^cf_" or name:find "^__x86%.get_pc_thunk" or name == "luaopen_cfpurge_core")
      if name and not ours then clashes[#clashes + 1] = name end
    end
    assert.same({}, clashes)
  end)
end)
