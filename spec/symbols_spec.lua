-- What core.so shares with its host: one name that it gives, and none that it had better not ask for.
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"

describe("core.so", function()
  local file
  for place in package.cpath:gmatch "[^;]+" do
    local path = place:gsub("?", "cfpurge/core")
    local found = io.open(path)
    if found then
      found:close()
      file = file or path
    end
  end

  local function names(which)
    local set = {}
    for line in host.must("nm -D " .. which .. " " .. file):gmatch "[^\n]+" do
      set[line:match "%s%a%s+([%w_]+)" or line] = true
    end
    return set
  end

  it("exports luaopen_cfpurge_core alone", function()
    if elsewhere "unwatched uncounted" then return end
    assert.same({ luaopen_cfpurge_core = true }, names "--defined-only")
  end)

  it("compares without the locale, and has no light userdata: old LuaJITs on arm64 cannot hold every address", function()
    local imports = names "--undefined-only"
    assert.is_true(imports.lua_pushstring and imports.curl_multi_add_handle, lua)
    for _, name in ipairs { "strcasecmp", "strncasecmp", "tolower", "toupper", "isalpha", "isspace", "lua_pushlightuserdata" } do
      assert.is_nil(imports[name], name)
    end
  end)
end)
