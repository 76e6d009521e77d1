--- Neovim's plugin: `:Purge`, `:PurgeEverything`, a mapping, and purges of what is written. `:help cfpurge`.
local sender = require "cfpurge.nvim.sender"
local words = require "cfpurge.nvim.words"

local M = {}
local options = {}

-- The help file and the health check stand beside us, and what was built in a clone is found there.
local here = vim.fn.fnamemodify(debug.getinfo(1, "S").source:sub(2), ":p:h")
local built = vim.fn.fnamemodify(here, ":h:h:h") .. "/build/luajit"
vim.opt.runtimepath:append(here .. "/runtime")
if vim.fn.filereadable(built .. "/cfpurge/core.so") == 1 then
  package.cpath = built .. "/?.so;" .. package.cpath
end

local function tell_problem(problem)
  sender.tell("ERROR", problem)
end

-- ---- the URLs of a file ----

local function urls_of(file)
  local urls = options.url and file ~= "" and options.url(file) or {}
  if type(urls) == "string" then
    return { urls }
  elseif type(urls) ~= "table" then
    tell_problem("url: a URL or a list of URLs expected, got a " .. type(urls))
    return {}
  end
  return urls
end

local function current_urls()
  return urls_of(vim.api.nvim_buf_get_name(0))
end

-- ---- the commands ----

local function purge(command)
  if not sender.get_or_tell() then
    return
  end
  local params, call = words.parse(command)
  if not params then
    return tell_problem(call)
  elseif not next(params) then
    params.files = current_urls()
    if not params.files[1] then
      return tell_problem(options.url and "this file has no URL" or "give URLs, or setup { url = ... }")
    end
  end
  sender.purge(params, call)
end

local function purge_everything(command)
  if not sender.get_or_tell() then
    return
  end
  local params, call = words.parse(command)
  if not params or next(params) then
    return tell_problem(params and "PurgeEverything takes zone= and environment= alone" or call)
  end
  local function go(answer)
    if answer == "Yes" then
      sender.purge({ purge_everything = true }, call)
    end
  end
  if command.bang then
    return go "Yes"
  end
  local own = options.client or {}
  local zone = call.zone or call.zone_id or own.zone or own.zone_id or os.getenv "CLOUDFLARE_ZONE_ID" or "the zone"
  local environment = call.environment or call.environment_id
  vim.ui.select({ "No", "Yes" }, {
    prompt = ("Purge everything of %s%s?"):format(zone, environment and ", " .. environment or ""),
  }, go)
end

local function add_commands()
  local add = vim.api.nvim_create_user_command
  add("Purge", purge, {
    nargs = "*", range = true, desc = "purges URLs, tags, hosts or prefixes from Cloudflare's cache",
    complete = function(lead)
      return words.complete(lead, current_urls())
    end,
  })
  add("PurgeEverything", purge_everything, {
    nargs = "*", bang = true, desc = "purges all of a zone from Cloudflare's cache", complete = words.complete_place,
  })
end

-- ---- what is written ----

local function saved(event)
  local params
  if options.on_save == true then
    local urls = urls_of(event.match)
    params = urls[1] and { files = urls }
  else
    params = options.on_save(event.match)
  end
  if params and type(params) ~= "table" then
    tell_problem("on_save: a purge expected, such as { tags = { \"news\" } }, got a " .. type(params))
  elseif params then
    sender.purge(params)
  end
end

-- ---- setup ----

local types = {
  client = "table", queue = "boolean string", work = "boolean", url = "function", on_save = "boolean function",
  mapping = "string",
}

local function problem_of(given)
  for name, value in pairs(given) do
    local expected = types[name]
    if not expected then
      return ("%s: no such option"):format(name)
    elseif not expected:find(type(value), 1, true) then
      return ("%s: %s expected, got %s"):format(name, expected:gsub(" ", " or "), type(value))
    end
  end
  return given.on_save == true and not given.url and "on_save: true goes with url" or nil
end

--- Adds the commands, the mapping and the purges of what is written. Called again, the new options hold.
---@param given? cfpurge.nvim.Options
function M.setup(given)
  given = given or {}
  local problem = problem_of(given)
  if problem then
    error("cfpurge.nvim: setup: " .. problem, 2)
  end
  options = given
  sender.set(given)
  add_commands()
  local group = vim.api.nvim_create_augroup("cfpurge.nvim", { clear = true })
  if given.on_save then
    vim.api.nvim_create_autocmd("BufWritePost", { group = group, callback = saved, desc = "cfpurge: what is written" })
  end
  if given.mapping then
    vim.keymap.set("n", given.mapping, "<Cmd>Purge<CR>", { desc = "cfpurge: purges this file's URLs" })
  end
end

M.purge = sender.purge

return M
