-- The hosts of README.md, each short block as it stands in the real program.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local nginx = require "spec.hosts.nginx"
local readme = require "spec.support.readme"
local recipe = require "spec.support.recipe"

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"

-- What a server that the block runs in answers, where all is well and where the API refuses.
local function check(ask, zone)
  local status, body = ask "news"
  assert.same({ 200, "accepted: 1" }, { status, (body:gsub("\n$", "")) })
  assert.equal('{"tags":["news"]}', edge.requests(zone)[1].body)
  edge.script(zone, { { status = 403, json = { success = false, errors = { { code = 10000, message = "not yours" } } } } })
  assert.equal(502, (ask "sport"))
end

describe("README's short block", function()
  local zone
  before_each(function() zone = edge.zone() end)
  after_each(recipe.clean)

  for module in readme.block "lua loops":gmatch 'require "(%l+)"' do
    if module ~= "cfpurge" then
      it("runs: " .. module, function()
        if elsewhere "engine" then return end
        if not recipe.run(("%s -e 'require %q'"):format(lua, module)):find "^$" then
          return pending("no " .. module .. " for this Lua")
        end
        -- What all have, and the line of this one. The loop of copas 1.2 never ends.
        local block = readme.block "lua loops" .. "\n"
        local line = assert(block:match("\n(local %l+ = require \"" .. module .. "\"[^\n]*\n)"))
        local ends = "local say = print function print(...) say(...) os.exit(0) end "
        local dir = recipe.folder { ["a.lua"] = ends .. block:match "^(.-\nend\n)" .. line }
        assert.equal("accepted: 1\n", (recipe.run(recipe.env(zone) .. lua .. " " .. dir .. "/a.lua")))
        assert.equal(1, edge.counts(zone).accepted)
      end)
    end
  end

  it("runs: nginx", function()
    if elsewhere "luajit" then return end
    local it_runs = nginx.start(nginx.recipe(zone, 1, readme.block "nginx" .. "\n"))
    check(function(tag)
      local connection = it_runs:open("GET /purge?tag=" .. tag .. " HTTP/1.0\r\n\r\n")
      local text = connection:receive "*a"
      connection:close()
      return tonumber(text:match "^%S+ (%d+)"), text:match "\r\n\r\n(.*)$"
    end, zone)
    assert.matches("purge: permission_denied: not yours", it_runs:log())
    it_runs:stop()
  end)

  it("runs: HAProxy", function()
    if elsewhere "unwatched in:haproxy" then return end
    local block, port = readme.block "lua haproxy", recipe.port()
    local dir = recipe.folder { ["purge.lua"] = block .. "\n" }
    local load, use = block:match "^%-%- global: (lua%-load .-) +frontend: (http%-request [^\n]+)"
    local path = recipe.folder { cfg = ("global\n  %s\ndefaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n"
      .. "  timeout connect 5s\nfrontend site\n  bind 127.0.0.1:%d\n  %s\n"):format(
      load:gsub("/etc/haproxy", dir), port, use) } .. "/cfg"
    recipe.serve(recipe.env(zone) .. "haproxy -db -f " .. path, port)
    check(function(tag) return recipe.get(port, "/purge?tag=" .. tag) end, zone)
  end)

  it("runs: Prosody", function()
    if elsewhere "unwatched lua5.4" then return end
    local port = recipe.port()
    local dir = recipe.folder { ["mod_purge.lua"] = readme.block "lua prosody" .. "\n" }
    local path = recipe.folder { ["prosody.cfg.lua"] = ([[
      run_as_root, pidfile, data_path, certificates, plugin_paths = true, "@/pid", "@", "@", { "@" }
      log = { { levels = { min = "warn" }, to = "console" } }
      http_ports, http_interfaces, http_default_host, https_ports = { %d }, { "127.0.0.1" }, "localhost", {}
      modules_enabled = { "purge" }
      modules_disabled = { "s2s", "c2s", "offline", "tls", "dialback", "admin_shell", "admin_socket" }
      VirtualHost "localhost"]]):gsub("@", dir):format(port) } .. "/prosody.cfg.lua"
    local log = recipe.serve(recipe.env(zone) .. "prosody -F --config " .. path, port)
    check(function(tag) return recipe.get(port, "/purge/" .. tag, "") end, zone)
    assert.matches("purge: permission_denied: not yours", log())
  end)
end)
