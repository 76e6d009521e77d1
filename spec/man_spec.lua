-- The manual has what the command has: lua/cfpurge.1, lua/cfpurge/cli/arguments.lua.
local elsewhere = require "spec.support.where"
local command = require "spec.support.command"

describe("the manual", function()
  if elsewhere "once text" then return end
  teardown(command.clean)

  -- The commands that a help lists; its options go into `options`.
  local function told_by(words, options)
    local help, commands = command.run(words), {}
    for line in help:gmatch "[^\n]+" do
      for option in (line:match "^   (%-[%w, -]+)" or ""):gmatch "%f[%w-]%-([%w-]+)" do options[option] = true end
      if line:find "^Commands:" then commands.begin = true end
      commands[#commands + 1] = commands.begin and line:match "^   (%l+)" or nil
    end
    return commands
  end

  local function sorted(set)
    local list = {}
    for name in pairs(set) do list[#list + 1] = name end
    table.sort(list)
    return list
  end

  it("has every command and every option, and no other", function()
    local options, commands, listed, named = {}, { help = true }, {}, {}
    for _, kind in ipairs(told_by({ "help" }, options)) do
      local actions = told_by({ "help", kind }, options)
      for _, action in ipairs(actions) do
        commands[kind .. " " .. action] = true
        told_by({ "help", kind, action }, options)
      end
      commands[kind] = not actions[1] or nil
    end
    for line in command.read "lua/cfpurge.1":gmatch "[^\n]+" do
      local name = line:match "^%.It Cm (.+)"
      if name then named[name] = true end
      for option in line:gmatch(line:find "^%.It" and "Fl (%S+)" or "^$") do listed[option] = true end
    end
    assert.same(sorted(commands), sorted(named))
    assert.same(sorted(options), sorted(listed))
  end)
end)
