-- The plugin in a real Neovim, for specs: of lua/cfpurge/nvim.
--
--   value, zone, out = nvim.run(code, options?)   runs `code` as program.run does, in a fresh zone. In it there are
--       setup(options, client?)   of the plugin, whose client goes to that zone; plugin is the module
--       await(count, limit?)      waits until the user was told so many lines (in limit ms) -> { told = all of them }
--     In code, in the value and in what bodies() returns SITE stands for the zone's name.
--   nvim.bodies(zone)   those that the API was sent, the oldest first
local edge = require "spec.support.edge"
local program = require "spec.hosts.program"

local M = {}

local BEFORE = [[
  local plugin, told = require "cfpurge.nvim", {}
  function vim.notify(text, level, options)
    assert(not vim.in_fast_event() and options.title == "cfpurge")
    told[#told + 1] = ("%s %s"):format(({ [2] = "INFO", [3] = "WARN", [4] = "ERROR" })[level], text)
  end
  local function await(count, limit)
    vim.wait(limit or 9000, function() return #told >= count end, 2)
    return { told = table.concat(told, "\n") }
  end
  local function setup(options, client)
    options.client = vim.tbl_extend("force", { zone_id = args.zone, base_url = args.base_url, api_token = args.token },
      client or {})
    plugin.setup(options)
  end
]]

function M.run(code, options)
  options = options or {}
  options.main = true
  options.args = options.args or {}
  options.args.zone, options.args.site = edge.zone()
  options.args.site = options.args.site.name
  edge.script(options.args.zone, options.answers or {})
  local value, out = program.run("nvim", BEFORE .. code:gsub("SITE", options.args.site), options)
  for name, text in pairs(options.fails and {} or value) do value[name] = tostring(text):gsub(options.args.site, "SITE") end
  return value, options.args.zone, out
end

function M.bodies(zone)
  local list = {}
  for i, seen in ipairs(edge.requests(zone)) do list[i] = seen.body:gsub("z%x+%.test", "SITE") end
  return list
end

return M
