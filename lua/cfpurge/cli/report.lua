--- Tells the progress line and the outcome; failures are told by cli/failure.lua.
--
-- Standard output has the outcome, or what was not accepted, an item a line; standard error has everything else.
local core = require "cfpurge.core"

local Report = {}
Report.__index = Report

local function grouped(n)
  local text = ("%.0f"):format(n)
  while true do
    local more, found = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
    text = more
    if found == 0 then
      return text
    end
  end
end

local function count_of(n, noun)
  return ("%s %s%s"):format(grouped(n), noun, n == 1 and "" or "s")
end

local function duration(seconds)
  if seconds < 10 then
    return ("%.1f s"):format(seconds)
  elseif seconds < 120 then
    return ("%.0f s"):format(seconds)
  elseif seconds < 7200 then
    return ("%.0f min"):format(seconds / 60)
  end
  return ("%.1f h"):format(seconds / 3600)
end

-- ---- lines on standard error ----

function Report:line(text)
  self:clear()
  io.stderr:write("cfpurge: ", (tostring(text):gsub("[%s%c]+", " ")), "\n")
end

function Report:usage(problem)
  self:line(("%s (see: cfpurge %s--help)"):format(problem, self.kind and self.kind .. " " or ""))
end

-- ---- standard output ----

-- `finish` tells what fails.
function Report:wrote(ok, problem)
  self.unwritten = self.unwritten or not ok and problem
end

function Report:write(...)
  self:wrote(io.write(...))
end

---@param status integer
---@return integer status also of what was written
function Report:finish(status)
  self:wrote(io.flush())
  if self.unwritten then
    self:line("standard output: " .. self.unwritten)
    return math.max(status, 1)
  end
  return status
end

-- ---- the progress line ----

---@return function? on_progress
function Report:progress()
  if self.has_line then
    self.interval, self.begun = 0.1, core.now()
    return function(progress)
      self.state = progress
    end
  end
end

local function progress_text(state, seconds, total, bucket, noun)
  local done, rate = state.accepted + state.failed, state.accepted / seconds
  local parts = { grouped(state.accepted) .. " accepted" }
  if state.failed > 0 then
    parts[#parts + 1] = grouped(state.failed) .. " not"
  end
  parts[#parts + 1] = grouped(rate) .. "/s"
  if total and total > 0 then
    parts[#parts + 1] = ("%.0f%%"):format(math.min(100 * done / total, 100))
    if rate > 0 then
      parts[#parts + 1] = duration(math.max(total - done, 0) / rate) .. " left"
    end
  end
  if bucket and bucket.wait >= 0.05 then
    parts[#parts + 1] = ("waits %s for the limit of %s"):format(duration(bucket.wait), noun)
  end
  return table.concat(parts, ", ")
end

function Report:draw(client)
  local now = self.has_line and core.now()
  if now and now - self.begun >= 0.3 and now - (self.drawn or 0) >= 0.1 then
    local noun = self.kind == "files" and "urls" or "requests"
    local state = self.state or { accepted = 0, failed = 0 }
    local text = progress_text(state, now - self.begun, self.source and self.source:total(),
      client:stats().buckets[noun], noun == "urls" and "URLs" or noun)
    io.stderr:write("\r", text:sub(1, 79), "\27[K")
    io.stderr:flush()
    self.drawn = now
  end
end

function Report:clear()
  if self.drawn then
    io.stderr:write "\r\27[K"
    self.drawn = nil
  end
end

-- ---- all was accepted ----

local function rounded(seconds)
  return math.floor(seconds * 1000 + 0.5) / 1000
end

function Report:planned(result)
  if self.json then
    local json = require "cfpurge.cli.json"
    local requests = {}
    for i, request in ipairs(result.requests) do
      requests[i] = { path = request.path, items = request.items, body = json.raw(request.body) }
    end
    local seconds = rounded(result.seconds)
    self:write(json.encode { dry_run = true, items = result.items, seconds = seconds, requests = requests }, "\n")
    return
  end
  for _, request in ipairs(result.requests) do
    self:write("POST ", request.path, " ", request.body, "\n")
  end
  if not self.quiet then
    self:write(("would send: %s in %s, %s\n"):format(count_of(result.items, "item"),
      count_of(#result.requests, "request"), duration(result.seconds)))
  end
end

function Report:success(result)
  if result.dry_run then
    self:planned(result)
  elseif self.json then
    self:write(require "cfpurge.cli.json".encode {
      accepted = result.accepted, requests = result.requests, attempts = result.attempts, ids = result.ids,
      messages = result.messages, ray_id = result.ray_id, seconds = rounded(result.elapsed),
    }, "\n")
  elseif not self.quiet then
    local what = self.kind == "everything" and "everything" or count_of(result.accepted, "item")
    self:write("accepted: ", what, " in ", count_of(result.requests, "request"), ", ", duration(result.elapsed), "\n")
  end
end

---@param err cfpurge.Error
---@param source table? where the items came from
---@param params table? what was asked for
function Report:failure(err, source, params)
  require "cfpurge.cli.failure"(self, err, source, params)
end

return {
  grouped = grouped,
  duration = duration,

  ---@param args table what was parsed
  new = function(args)
    return setmetatable({
      kind = args.kind, json = args.json, quiet = args.quiet, interval = 0.5,
      has_line = not args.quiet and not args.dry_run and core.is_terminal(2),
    }, Report)
  end,
}
