--- Profiles: sections of a file, with what each call would otherwise repeat.
local core = require "cfpurge.core"

local M = {}

-- What a section may hold, and the argument that it stands for.
local known = { zone = true, plan = true, token_file = true, environment = true }

-- Who may write it decides what is purged, or as whom. Others who can read a file with a token have the token.
---@return string? problem
function M.check_rights(path, report)
  local others_write, others_read = core.file_rights(path)
  if others_write then
    return path .. ": others than its owner can write it: chmod go-w"
  elseif others_read then
    report:line(path .. ": others can read it: chmod go-r")
  end
end

local function path_of_config()
  local path = os.getenv "CFPURGE_CONFIG"
  if path and path ~= "" then
    return path
  end
  local folder = os.getenv "XDG_CONFIG_HOME"
  if not folder or folder:sub(1, 1) ~= "/" then
    folder = (os.getenv "HOME" or "") .. "/.config"
  end
  return folder .. "/cfpurge/config"
end

-- A path in the file: ~ is the home, and a relative one begins where the file is.
local function whole_path(value, config)
  if value:sub(1, 2) == "~/" then
    return (os.getenv "HOME" or "") .. value:sub(2)
  elseif value:sub(1, 1) ~= "/" then
    return (config:match "^(.*/)" or "") .. value
  end
  return value
end

-- The section of this name; or nil and what is wrong, with the line.
local function section_of(text, path, wanted)
  local found, name, number = nil, nil, 0
  for whole in text:gmatch "([^\n]*)\n?" do
    number = number + 1
    local line = (number == 1 and whole:gsub("^\239\187\191", "") or whole):match "^%s*(.-)%s*$"
    local section, key, value = line:match "^%[%s*(.-)%s*%]$", line:match "^([%w_]+)%s*=%s*(.-)$"
    local problem
    if section then
      problem = section == wanted and found and "a second section of this name"
      name, found = section, section == wanted and {} or found
    elseif key and not known[key] then
      problem = ("'%s': zone, plan, token_file and environment are known"):format(key)
    elseif key and not name then
      problem = "stands before the first [section]"
    elseif key and (value == "" or (name == wanted and found[key])) then
      problem = ("'%s' is %s"):format(key, value == "" and "empty" or "there twice")
    elseif key and name == wanted then
      found[key] = value
    elseif not key and line ~= "" and not line:find "^[#;]" then
      problem = "is neither [section] nor name = value"
    end
    if problem then
      return nil, ("%s:%d: %s"):format(path, number, problem)
    end
  end
  return found, not found and ("%s: there is no section [%s]"):format(path, wanted) or nil
end

--- Fills in what the arguments leave open from the profile that they name. An argument goes before the profile, and the
--- profile before the environment.
---@return string? problem
function M.apply(args, report)
  local path = path_of_config()
  local file, problem = io.open(path)
  if not file then
    return "--profile: " .. problem
  end
  problem = M.check_rights(path, report)
  local text, section
  if not problem then
    -- A directory can be opened, but not read.
    text, problem = file:read "*a"
    problem = not text and path .. ": " .. problem or nil
  end
  file:close()
  if text then
    section, problem = section_of(text, path, args.profile)
  end
  if problem then
    return "--profile: " .. problem
  end
  for name, value in pairs(section) do
    args[name] = args[name] or (name == "token_file" and whole_path(value, path) or value)
  end
end

return M
