-- A C program with Lua, cfpurge and lua-cjson linked in (spec/hosts/embed.c, which the README shows as it stands):
-- built as its first lines say, run in an empty directory.
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local cjson = require("cjson").new()

local env = edge.up()
local dir = host.dir() .. "/embed"
-- Whatever Lua runs the specs: the program has its own. Once is enough.
local elsewhere = (os.getenv "CFPURGE_LUA" or "lua5.4") ~= "lua5.4"

local function build()
  host.must("env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s libcfpurge.a LUA=lua5.4 BUILD=" .. dir
    .. " CPPFLAGS= LDFLAGS= CFLAGS='-O1 -g'")
  local command = io.open("spec/hosts/embed.c"):read "*a":match " %*   (cc .-) %*/"
  host.must(command:gsub("build/lua5.4", dir .. "/lua5.4"):gsub("embed%.c", "spec/hosts/embed.c")
    .. " -Wall -Wextra -Werror -o " .. dir .. "/program")
  host.must("mkdir -p " .. dir .. "/empty")
end

-- Runs it for a zone; the outcome of each URL, the last line, and what the dynamic linker said.
local function run(zone, seconds, urls, more)
  local command = "(cd %s/empty && env -i %s CLOUDFLARE_API_TOKEN=%s CLOUDFLARE_ZONE_ID=%s ../program %s %s 2>../log)"
  local out = host.must(command:format(dir, more, env.TOKEN, zone, seconds, table.concat(urls, " ")))
  local outcomes, last = {}, nil
  for line in out:gmatch "[^\n]+" do
    last = cjson.decode(line)
    if last.url then
      assert.is_nil(outcomes[last.url])
      outcomes[last.url] = last.outcome
    end
  end
  return outcomes, last, io.open(dir .. "/log"):read "*a"
end

describe("a C program that embeds it", function()
  if elsewhere or host.watched then return pending "built once, and not watched" end
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

  it("loads nothing of ours, of Lua's or of cjson's Lua module", function()
    local zone, about = edge.zone()
    local base = "https://www." .. about.name .. "/"
    local outcomes, _, log = run(zone, 5, { base .. "a" }, "LD_DEBUG=files CLOUDFLARE_BASE_URL=" .. env.API_HTTP)
    assert.equal("accepted", outcomes[base .. "a"])
    assert.is_truthy(log:find("libcurl", 1, true))
    assert.is_nil(log:find("cfpurge", 1, true))
    assert.is_nil(log:find("core.so", 1, true))
    assert.is_nil(log:find("/lua/", 1, true))
    -- No file could have been found: its own script has emptied both paths.
    assert.is_truthy(io.open("spec/hosts/embed.c"):read "*a":find("package.path, package.cpath = '', ''", 1, true))
  end)

  it("exports nothing that could clash with what it is linked with", function()
    local clashes = {}
    for line in host.must("nm -g --defined-only " .. dir .. "/lua5.4/libcfpurge.a"):gmatch "[^\n]+" do
      local name = line:match "^%x+ %a (%S+)$"
      if name and not name:find "^cf_" and name ~= "luaopen_cfpurge_core" then clashes[#clashes + 1] = name end
    end
    assert.same({}, clashes)
  end)
end)
