-- The plugin where Neovim's users have it: installed, from LuaRocks, or as a clone; its help and its health check.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"

if elsewhere "luajit" then return end

local NVIM = "nvim --headless -u NONE -i NONE -n"
local built = os.getenv("LUA_CPATH"):match "^([^;]*)/[^/]*/%?%.so"

-- What Neovim prints that is started with these words, without the paths of the specs.
local function nvim(env, words)
  return host.must(("env -u LUA_PATH -u LUA_CPATH -u CLOUDFLARE_API_TOKEN %s timeout -k 2 30 %s %s -c qa!"):format(env, NVIM,
    words)) .. "\n"
end

describe("the Neovim plugin", function()
  local dir = host.dir() .. "/nvim"
  setup(function() host.must("rm -rf " .. dir .. " && mkdir -p " .. dir) end)

  -- Purges, has a help file, and is healthy, with these directories where they are named.
  local function works(before)
    local zone = edge.zone()
    local env = ("CLOUDFLARE_BASE_URL=%s CLOUDFLARE_ZONE_ID=%s CLOUDFLARE_API_TOKEN=%s"):format(edge.up().API_HTTP, zone,
      edge.env.TOKEN)
    local out = nvim(env, ([[%s -c 'lua require("cfpurge.nvim").setup()' \
      -c 'lua vim.notify = function(text) told = text end' -c 'Purge tags=a' \
      -c 'lua vim.wait(9000, function() return told end, 5) print(told)' \
      -c 'help cfpurge-setup' -c 'echo "\n" .. expand("%%:t") .. "\n"' -c 'checkhealth cfpurge' -c '%%print']]):format(before))
    assert.matches("cfpurge: accepted: a", out, 1, true)
    assert.equal(1, edge.counts(zone).accepted)
    assert.matches("\ncfpurge.txt\r?\n", out)
    assert.matches("cfpurge/core.so %d", out)
    assert.matches("libcurl/%d", out)
    assert.matches("credential: there", out)
    assert.is_nil(out:find(edge.env.TOKEN, 1, true))
  end

  local paths = " --cmd \"lua package.path = '%s/?.lua;%s/?/init.lua;' .. package.path\""
    .. " --cmd \"lua package.cpath = '%s/?.so;' .. package.cpath\""

  it("works where make has installed it", function()
    host.must(("env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s install LUA=luajit PREFIX=%s BUILD=%s"):format(dir, built))
    local share = dir .. "/share/lua/5.1"
    works(paths:format(share, share, dir .. "/lib/lua/5.1"))
  end)

  it("works as a clone whose directory is in the runtime path", function()
    host.must(("mkdir -p %s/clone/build && cp -r lua %s/clone && cp -r %s/luajit %s/clone/build"):format(dir, dir, built, dir))
    works(("--cmd 'set rtp^=%s/clone'"):format(dir))
  end)

  it("is loaded before the first purge, and what takes long by another thread", function()
    local file = assert(io.open(dir .. "/ahead.lua", "w"))
    file:write [[
      local real, is_mapped = require, nil
      function require(name)
        if name == "cfpurge.core" and is_mapped == nil then
          local maps = io.open "/proc/self/maps"
          is_mapped = maps:read "*a":find("cfpurge/core.so", 1, true) ~= nil
          maps:close()
        end
        return real(name)
      end
      require "cfpurge.nvim".setup()
      print("at once: ", package.loaded["cfpurge.core"])
      vim.wait(9000, function() return type(package.loaded.cfpurge) == "table" end, 2)
      print("\nahead: ", type(package.loaded.cfpurge), is_mapped)
    ]]
    file:close()
    local out = nvim("", ("--cmd 'set rtp^=%s/clone' -c 'luafile %s/ahead.lua'"):format(dir, dir))
    assert.matches("at once:%s+nil%s+ahead:%s+table%s+true", out)
  end)

  it("says what is missing, before its setup as well", function()
    host.must(("mkdir -p %s/bare && cp -r lua %s/bare"):format(dir, dir))
    local bare = ("--cmd 'set rtp^=%s/bare'"):format(dir)
    local out = nvim("", bare .. " -c 'checkhealth cfpurge' -c '%print'")
    assert.matches("cfpurge/core.so: module 'cfpurge.core' not found", out, 1, true)
    out = nvim("", bare .. [[ -c 'lua require("cfpurge.nvim").setup()' -c 'Purge tags=a' -c 'Purge tags=a']])
    assert.equal(2, select(2, out:gsub("cfpurge: module 'cfpurge.core' not found %(:checkhealth cfpurge%)", "")))
    out = nvim("", ("--cmd 'set rtp^=%s/clone' -c 'checkhealth cfpurge' -c '%%print'"):format(dir))
    assert.matches("setup was not called", out, 1, true)
    assert.matches("no credential", out)
  end)

  it("has the tags of its help file", function()
    host.must(("cp -r lua/cfpurge/nvim/runtime/doc %s && rm %s/doc/tags"):format(dir, dir))
    nvim("", ("-c 'helptags %s/doc'"):format(dir))
    assert.equal("", host.must(("diff lua/cfpurge/nvim/runtime/doc/tags %s/doc/tags"):format(dir)))
  end)
end)
