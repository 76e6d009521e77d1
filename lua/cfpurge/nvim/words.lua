--- The words of `:Purge` and `:PurgeEverything`: what they mean, and how they are completed.
local M = {}

local places = { zone = true, environment = true }

-- Asked for when a word is there: the plugin is loaded before the core is, which sender.lua looks after, and where the
-- core is missing it has to say so.
local function kinds()
  local is_there, core = pcall(require, "cfpurge.core")
  return is_there and core.kinds or {}
end

local function add(params, kind, items)
  params[kind] = params[kind] or {}
  vim.list_extend(params[kind], items)
end

-- A URL may have commas.
local function items_of(kind, value)
  return kind == "files" and value ~= "" and { value } or vim.split(value, ",", { plain = true, trimempty = true })
end

--- The lines of a buffer that name something.
---@return string[]
local function lines(first, last)
  local items = {}
  for _, line in ipairs(vim.api.nvim_buf_get_lines(0, first - 1, last, false)) do
    items[#items + 1] = line:match "^%s*(%S.-)%s*$"
  end
  return items
end

--- What a command is to purge: the words are URLs, or tags=a,b, zone=... and so on. The lines of a range are items too,
--- of the kind that the words name, or else URLs.
---@param command table as nvim_create_user_command gives it
---@return cfpurge.Params? params, table|string options_or_problem
function M.parse(command)
  local params, place, last_kind = {}, {}, nil
  for _, word in ipairs(command.fargs) do
    local name, value = word:match "^(%w+)=(.*)$"
    if places[name] then
      place[name] = value
    elseif vim.tbl_contains(kinds(), name) then
      last_kind = name
      add(params, name, items_of(name, value))
    elseif name then
      return nil, ("%s=: no such argument: URLs, or %s=, zone=, environment="):format(name,
        table.concat(kinds(), "=, "))
    else
      add(params, "files", { word })
    end
  end
  if command.range and command.range > 0 then
    add(params, last_kind or "files", lines(command.line1, command.line2))
  end
  local options, clients = {}, require "cfpurge.cli.client"
  clients.zone_options(place, options)
  clients.environment_options(place, options)
  return params, options
end

--- What may stand where `lead` does.
---@param urls string[]
---@return string[]
function M.complete(lead, urls)
  local words = {}
  for _, kind in ipairs(kinds()) do
    words[#words + 1] = kind ~= "files" and kind .. "=" or nil
  end
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, vim.list_extend(vim.list_extend(words, { "zone=", "environment=" }), urls))
end

--- The same for `:PurgeEverything`.
---@return string[]
function M.complete_place(lead)
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, { "zone=", "environment=" })
end

return M
