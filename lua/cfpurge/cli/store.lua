--- The store of the command's queue: where it is, and the queue over it.
local core = require "cfpurge.core"

local M = {}

-- For users of a machine who name none.
local function default_store()
  local folder = os.getenv "XDG_STATE_HOME"
  if not folder or folder:sub(1, 1) ~= "/" then
    folder = os.getenv "HOME"
    if not folder or folder:sub(1, 1) ~= "/" then
      return nil, "no store: HOME is no path: give --queue=STORE, or set CFPURGE_QUEUE"
    end
    folder = folder .. "/.local/state"
  end
  folder = folder .. "/cfpurge"
  local ok, problem = core.make_folder(folder)
  if not ok then
    return nil, ("--queue: %s: %s"):format(folder, problem)
  end
  return folder .. "/queue.db"
end

--- The store that the arguments name, or CFPURGE_QUEUE, or else the user's own. Nil where a purge names none: it is
--- sent.
---@param args table what was parsed
---@return string? store, string? problem
function M.of(args)
  local named, environment = args.queue and args.queue[1], os.getenv "CFPURGE_QUEUE"
  named = named ~= "" and named or nil
  if named and (named:find "^rediss?://[^?]*:[^?]*@" or named:find "^unix://[^/?]*:[^/?]*@") then
    return nil, "--queue: its password could be seen among the arguments: set CFPURGE_QUEUE"
  elseif named or (environment and environment ~= "") then
    return named or environment
  elseif args.queue or args.kind == "queue" then
    return default_store()
  end
end

--- Without its login, also one that should have been %-encoded.
function M.shown(store)
  return (store:gsub("^(rediss?://).*@", "%1"):gsub("^(%a+://)[^/?]*@", "%1"))
end

--- The queue over it; an error is in the words of the command.
---@param options table of cfpurge.queue
---@param is_asked? boolean of a store that is not there nothing can be told: nobody has added to it
---@return cfpurge.Queue? queue, cfpurge.Error? err
function M.open(store, options, is_asked)
  if is_asked and not store:find "^%a+://" then
    local file, problem, code = io.open(store)
    if file then
      file:close()
    elseif code == 2 then
      return nil, core.error("store", ("--queue: %s: the first purge that is added makes the store"):format(problem))
    end
  end
  local _, _, everybody_writes = core.file_rights(store)
  if everybody_writes then
    return nil, core.error("invalid_request", "--queue: " .. store
      .. ": everybody can write it, and have what they like purged: chmod o-w", { field = "store" })
  end
  options.store = store
  local queue, _, err = require "cfpurge.queue".new(options)
  if err and err.field == "store" then
    err.message = err.message:gsub("^store: ", "--queue: ")
  end
  return queue, err
end

return M
