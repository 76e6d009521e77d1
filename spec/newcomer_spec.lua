-- README.md alone, which somebody reads who has five minutes: it is short, its picture is what the demo prints, its links
-- lead somewhere, and what its tables say of kinds and symptoms is so.
local cfpurge = require "cfpurge"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local elsewhere = require "spec.support.where"
local readme = require "spec.support.readme"
local recipe = require "spec.support.recipe"

local env = edge.up()
local lua = os.getenv "CFPURGE_LUA" or "lua5.4"

-- The cells of the rows below this head.
local function rows(head)
  local found = {}
  local at = assert(select(2, readme.first:find("\n| " .. head .. " |[^\n]*\n|[-|]+\n")), head)
  for line in readme.first:sub(at + 1):gmatch "([^\n]*)\n" do
    if line:sub(1, 1) ~= "|" then break end
    local cells = {}
    for cell in line:gmatch "| ([^|]*) " do cells[#cells + 1] = cell end
    found[#found + 1] = cells
  end
  return found
end

local function new(options)
  local all = { zone_id = env.ZONE_ID, api_token = env.TOKEN, base_url = env.API_HTTP, proxy = "", max_retries = 0 }
  for name, value in pairs(options or {}) do all[name] = value end
  return assert(cfpurge.new(all))
end

describe("README.md", function()
  teardown(recipe.clean)

  it("has at most 300 lines, each short enough for a terminal but for tables", function()
    local count = 0
    for line in readme.first:gmatch "([^\n]*)\n" do
      count = count + 1
      local _, more = line:gsub("[\128-\191]", "")
      assert.is_true(#line - more <= 130 or line:sub(1, 1) == "|", line)
    end
    assert.is_true(count <= 300, count)
  end)

  it("and the reference have no link that leads nowhere", function()
    local text = { ["README.md"] = readme.first, ["lua/README.md"] = readme.reference }
    local found = 0
    for from, words in pairs(text) do
      for link in words:gmatch "%]%(([^)]+)%)" do
        if not link:find "^https:" then
          found = found + 1
          local file, anchor = link:match "^([^#]*)#?(.*)$"
          file = file == "" and from or from:match "^.*/" and file:gsub("^%.%./", "") or file
          local there, headings = text[file] or command.read(file), {}
          for heading in there:gmatch "\n##+ ([^\n]+)" do
            headings[heading:lower():gsub("[^%w -]", ""):gsub(" ", "-")] = true
          end
          assert.is_true(anchor == "" or headings[anchor], from .. ": " .. link)
        end
      end
    end
    assert.is_true(found > 20)
  end)

  it("shows what make demo prints, but for times and names of a run", function()
    if elsewhere "once unwatched" then return end
    local program = command.file [[
      local edge = require "spec.support.edge"
      local dir = table.remove(arg)
      os.exit(require "spec.demo_command"(edge.up(), dir, (edge.zone { name = "demo.test" })) and 0 or 1)]]
    local dir = recipe.folder()
    local said, status = recipe.run(("env CFPURGE_EDGE=%s %s %s %s"):format(env.EDGE, lua, program, dir), 60)
    local function same(text)
      return (text:gsub("%d+%.%d s", "T"):gsub("ray %x+%-EDG", "ray"):gsub("age %d+", "age"):gsub("zone %x+", "zone"))
    end
    assert.equal(same(readme.block "console" .. "\n"), same(said))
    assert.equal("0", status)
    command.clean()
  end)

  describe("of the kinds", function()
    local kinds = rows "kind"

    it("names each", function()
      local found = {}
      for _, cells in ipairs(kinds) do found[#found + 1] = cells[1]:match "`(.*)`" end
      local client = new()
      for _, kind in ipairs(found) do
        local method = kind:find "^purge_" and kind or "purge_" .. kind
        assert.is_function(client[method], method)
      end
      client:close()
      assert.equal(5, #found)
    end)

    for _, cells in ipairs(kinds) do
      it("has an example that is accepted: " .. cells[2], function()
        local client = new()
        local params = (loadstring or load)("return " .. cells[2]:match "`(.*)`")()
        assert.is_truthy(params[cells[1]:match "`(.*)`"])
        assert.equal(1, assert(client:purge(params)).accepted)
        client:close()
      end)
    end

    for words, params in pairs {
      ["hosts: no `*`"] = { hosts = { "*.example.com" } }, ["hosts: no scheme"] = { hosts = { "https://www.example.com" } },
      ["hosts: no port"] = { hosts = { "www.example.com:443" } }, ["tags: no comma"] = { tags = { "a,b" } },
      ["prefixes: no scheme"] = { prefixes = { "https://www.example.com/a" } },
      ["prefixes: no query"] = { prefixes = { "www.example.com/a?b" } },
    } do
      it("is right in what each cannot: " .. words, function()
        local client = new()
        local kind, cannot = words:match "^(%l+): (.*)$"
        for _, cells in ipairs(kinds) do
          if cells[1] == "`" .. kind .. "`" then assert.is_truthy(cells[4]:find(cannot:match "%S+$", 1, true)) end
        end
        local result, err = client:purge(params)
        client:close()
        assert.is_nil(result)
        assert.matches("_request$", err.kind)
      end)
    end
  end)

  it("names kinds of errors that the reference has, and what it can be told", function()
    local found = 0
    for _, cells in ipairs(rows "`err.kind`") do
      for kind in cells[1]:gmatch "`([%l_]+)`" do
        found = found + 1
        assert.is_truthy(readme.reference:find("\n| `" .. kind .. "` |", 1, true), kind)
      end
    end
    assert.is_true(found >= 8)
  end)

  describe("of the symptoms has what is really said:", function()
    local said = {}
    for _, cells in ipairs(rows "symptom") do said[cells[1]] = true end

    local function has(words)
      assert.is_true(said[words] or false, words)
      return (words:match "`(.-)`":gsub("%.%.%.$", ""))
    end

    it("TLS", function()
      local words, client = has "`unable to get local issuer certificate`", new { base_url = env.API_TLS }
      local _, err = client:purge { tags = { "news" } }
      if elsewhere "openssl" then return end
      assert.is_truthy(tostring(err):find(words, 1, true), tostring(err))
    end)

    it("no credential", function()
      local printed = recipe.run(recipe.env() .. lua .. " -e 'assert(require \"cfpurge\".new())'")
      assert.is_truthy(printed:find(has "`no credential`", 1, true), printed)
    end)

    it("10000", function()
      local words, client = has "`code 10000`", new { api_token = "none" }
      local _, err = client:purge { tags = { "news" } }
      assert.is_truthy(tostring(err):find(words, 1, true), tostring(err))
    end)

    it("another Lua's module", function()
      if elsewhere "once unwatched" then return end
      local words = has "`undefined symbol: lua_...`, `module 'cfpurge.core' not found`"
      local other = os.getenv("LUA_CPATH"):match "^([^;]*)/[^/]*/%?%.so" .. "/luajit"
      if not io.open(other .. "/cfpurge/core.so") then return pending "LuaJIT's module is not built" end
      local printed = recipe.run(("env LUA_CPATH='%s/?.so;;' lua5.4 -e 'require \"cfpurge\"'"):format(other))
      assert.is_truthy(printed:find(words, 1, true), printed)
    end)
  end)

  it("has checks of an installation that run", function()
    local found = 0
    for _, cells in ipairs(rows "for") do
      local check = cells[3]:match "^`(lua%S* %-e .*)`$"
      if check then
        found = found + 1
        assert.equal(cfpurge._VERSION .. "\n", (recipe.run((check:gsub("^%S+", lua)))))
      end
    end
    assert.is_true(found >= 3)
  end)
end)
