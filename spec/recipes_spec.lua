-- The READMEs' recipes without a token: the message stands where their user looks.
local elsewhere = require "spec.support.where"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local command = require "spec.support.command"
local host = require "spec.support.host"
local readme = require "spec.support.readme"
local recipe = require "spec.support.recipe"

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local MESSAGE = "no credential"

local unset = { "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY", "CLOUDFLARE_ZONE_ID" }

-- What it printed, on both channels.
local function output(line)
  return command.output(("env -u %s %s 2>&1"):format(table.concat(unset, " -u "), line))
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

describe("without a token", function()
  local path = os.tmpname()
  teardown(function() os.remove(path) end)

  local lists = readme.blocks "lua"
  for i, block in ipairs(lists) do
    it("Lua block " .. i .. " says so", function()
      local said = output(("timeout -k 2 20 %s %s"):format(lua, write(path, block)))
      assert.truthy(said:find(MESSAGE, 1, true) or said:find("no zone_id", 1, true), said)
      assert.is_nil(said:find("got table", 1, true), said)
    end)
  end

  it("a program of cqueues says so", function()
    local said = clients.lua [[
      local is_there, cqueues = pcall(require, "cqueues")
      if not is_there then print "no cqueues" return end
      local loop = cqueues.new()
      loop:wrap(function() assert(require "cfpurge".new()) end)
      assert(loop:loop())]]
    if said == "no cqueues\n" then return pending "no cqueues for this Lua" end
    assert.matches(MESSAGE, said)
  end)

  it("a program of copas says so", function()
    local said = clients.lua [[
      local is_there, copas = pcall(require, "copas")
      if not is_there then print "no copas" return end
      copas.addthread(function() assert(require "cfpurge".new()) end)
      for _ = 1, 3 do copas.step(0.01) end]]
    if said == "no copas\n" then return pending "no copas for this Lua" end
    assert.matches(MESSAGE, said)
  end)

  it("the C programs say so, and of a wrong URL what is wrong", function()
    if elsewhere "lua5.4 unwatched" then return end
    local dir = host.dir() .. "/recipe"
    host.must("env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -s libcfpurge.a LUA=lua5.4 BUILD=" .. dir
      .. " CPPFLAGS= LDFLAGS= CFLAGS='-O1 -g'")
    for name, label in pairs { purge = "c", embed = "c frames" } do
      local source = ("%s/%s.c"):format(dir, name)
      local line = readme.block(label):match " %* (cc .-) %*/" or readme.block(label):match " %*   (cc .-) %*/"
      write(source, readme.block(label) .. "\n")
      host.must((line:gsub("build/lua5.4", dir .. "/lua5.4"):gsub(name .. "%.c", source):gsub(" %-o .*", ""))
        .. (" -Wall -Wextra -Werror -o %s/%s"):format(dir, name))
    end
    assert.matches("^purge: invalid_request: api_token: " .. MESSAGE, output("CLOUDFLARE_ZONE_ID=z " .. dir .. "/purge"))
    assert.equal("accepted: 1\n", output(recipe.env(edge.zone()) .. dir .. "/purge"))
    assert.matches("invalid_request: api_token: " .. MESSAGE, output(dir .. "/embed 1 https://a.example/"))
    assert.matches("^invalid_request: files%[1%]: must be an absolute",
      output("CLOUDFLARE_API_TOKEN=t CLOUDFLARE_ZONE_ID=z " .. dir .. "/embed 1 /a"))
  end)

  if lua == "luajit" then
    it("the Neovim plugin says so when a page is written, and what is missing without a zone", function()
      write(path, readme.block "lua nvim")
      local content = host.dir() .. "/content"
      host.must("mkdir -p " .. content)
      local nvim = ("nvim --headless -u NONE -i NONE -n -c 'luafile %s' -c 'edit %s/a.md' -c 'silent write!' -c qa!"):format(
        path, content)
      assert.matches(MESSAGE, output(nvim))
      assert.matches("invalid_request: no zone_id", output("CLOUDFLARE_API_TOKEN=t " .. nvim))
    end)

    it("nginx says so as it starts", function()
      local dir = host.dir() .. "/recipe"
      host.must("mkdir -p " .. dir .. " && ln -sfn /usr/lib/nginx/modules " .. dir .. "/modules")
      local conf = readme.block "nginx":gsub("http {", ([[%%0
        lua_package_path "%s/lua/?.lua;%s/lua/?/init.lua;;";
        lua_package_cpath "%s";]]):format(host.must "printf %s \"$PWD\"", host.must "printf %s \"$PWD\"", package.cpath))
      conf = conf:gsub("listen 127.0.0.1:8080;", "listen unix:" .. dir .. "/http.sock;")
      write(dir .. "/nginx.conf", "daemon off; error_log stderr; pid " .. dir .. "/pid;\n" .. conf)
      local said = output(("timeout -k 2 10 /usr/sbin/nginx -p %s -c %s/nginx.conf"):format(dir, dir))
      assert.matches("init_by_lua error: [^\n]*" .. MESSAGE, said)
    end)
  end
end)
