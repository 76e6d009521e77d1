--- Tells the progress line and the outcome; failures are told by cli/failure.lua.
--
-- Standard output has the outcome, or what was not accepted, an item a line; standard error has everything else.
local core = require "cfpurge.core"
local text = require "cfpurge.cli.text"

local count_of, duration, grouped, rounded = text.count_of, text.duration, text.grouped, text.rounded

local Report = {}
Report.__index = Report

-- ---- lines on standard error ----

function Report:line(line)
  self:clear()
  io.stderr:write("cfpurge: ", text.printable(tostring(line)), "\n")
end

--- The call was wrong.
function Report:usage(problem)
  local command = (self.kind and self.kind .. " " or "") .. (self.action and self.action .. " " or "")
  self:refused((problem:gsub("%s*\n%s*", "; ")), (" (see: cfpurge %s--help)"):format(command))
end

--- Nothing was begun.
function Report:refused(problem, hint)
  self:line(problem .. (hint or ""))
  if self.json then
    self:outcome { error = { kind = "invalid_request", message = problem, retryable = false } }
  end
end

-- ---- standard output ----

-- `finish` tells what fails.
function Report:wrote(ok, problem)
  self.unwritten = self.unwritten or not ok and problem
end

function Report:write(...)
  self:wrote(io.write(...))
end

--- The outcome as one JSON object, which has the same members whatever came of it. What remains is written as it is
--- read.
---@param outcome table
---@param next_item? function
---@return integer count of what remains
function Report:outcome(outcome, next_item)
  local json = require "cfpurge.cli.json"
  local count = 0
  local function member(name, value)
    self:write('"', name, '":', json.encode(value), ",")
  end
  self:write "{"
  for _, name in ipairs { "accepted", "queued", "requests", "attempts", "seconds" } do
    member(name, outcome[name] or 0)
  end
  for _, name in ipairs { "ids", "messages", "failures", "pages" } do
    member(name, outcome[name] or {})
  end
  for _, name in ipairs { "ray_id", "error", "remaining_file" } do
    member(name, outcome[name] or json.null)
  end
  self:write '"remaining":['
  for item in next_item or function() end do
    self:write(count > 0 and "," or "", json.encode(item))
    count = count + 1
  end
  self:write("]}\n")
  return count
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

--- Is there a line that shows how far it is? Then the client's events are wanted.
---@return function? on_event
function Report:listener()
  return self.has_line and function(event)
    if event.name == "retry" then
      self.retry = { ends = core.now() + event.wait, why = event.status and "HTTP " .. event.status or event.kind }
    elseif event.name == "response" and not event.kind then
      self.retry = nil
    end
  end or nil
end

--- The purge goes to a queue's store, which needs no line.
function Report:queues(store)
  self.is_queued, self.has_line, self.store = true, false, require "cfpurge.cli.store".shown(store)
end

---@return function? on_progress
function Report:progress()
  if self.has_line then
    self.interval, self.begun = 0.1, core.now()
    return function(progress)
      self.state = progress
    end
  end
end

-- By the pacer, where that is slower than it went so far.
local function seconds_left(rate, done, total, bucket, per_request)
  local left = rate > 0 and (total - done) / rate or 0
  if bucket and bucket.rate and bucket.rate > 0 then
    local tokens = math.ceil(math.max(total - done, 0) / per_request)
    left = math.max(left, (tokens - math.min(bucket.left, tokens)) / bucket.rate)
  end
  return left
end

local function progress_text(report, state, seconds, total, bucket)
  local done, rate = state.accepted + state.failed, state.accepted / seconds
  local is_files = report.kind == "files"
  local parts = { grouped(state.accepted) .. " accepted" }
  if state.failed > 0 then
    parts[#parts + 1] = grouped(state.failed) .. " not"
  end
  local retry = report.retry
  if retry and retry.ends > core.now() - 1 then
    parts[#parts + 1] = ("retrying in %.0f s (%s)"):format(math.max(retry.ends - core.now(), 0), retry.why)
  end
  parts[#parts + 1] = grouped(rate) .. "/s"
  if total and total > 0 then
    parts[#parts + 1] = ("%.0f%%"):format(math.min(100 * done / total, 100))
    local left = seconds_left(rate, done, total, bucket, is_files and 1 or 100)
    if left > 0 then
      parts[#parts + 1] = duration(left) .. " left"
    end
  end
  if bucket and bucket.wait >= 0.05 then
    local noun = is_files and "URLs" or "requests"
    parts[#parts + 1] = ("waits %s for the limit of %s"):format(duration(bucket.wait), noun)
  end
  return table.concat(parts, ", ")
end

function Report:draw(client)
  local now = self.begun and core.now()
  if now and now - self.begun >= 0.3 and now - (self.drawn or 0) >= 0.1 then
    local state = self.state or { accepted = 0, failed = 0 }
    local line = progress_text(self, state, now - self.begun, self.source and self.source:total(),
      client:stats().buckets[self.kind == "files" and "urls" or "requests"])
    -- In the last column the terminal would begin a new line.
    io.stderr:write("\r", line:sub(1, (core.terminal_width(2) or 80) - 1), "\27[K")
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

function Report:planned(result)
  local json = require "cfpurge.cli.json"
  if self.json then
    local requests = {}
    for i, request in ipairs(result.requests) do
      requests[i] = { path = request.path, items = request.items, body = json.raw(request.body) }
    end
    local seconds = rounded(result.seconds)
    self:write(json.encode { dry_run = true, items = result.items, seconds = seconds, requests = requests }, "\n")
    return
  end
  for _, request in ipairs(result.requests) do
    self:write("POST ", request.path, " ", json.encode(json.raw(request.body)), "\n")
  end
  if not self.quiet then
    self:write(("would send: %s in %s, %s\n"):format(count_of(result.items, "item"),
      count_of(#result.requests, "request"), duration(result.seconds)))
  end
end

--- All is in the queue.
---@param added cfpurge.Added
function Report:queued(added, seconds)
  local count = added.added + added.merged
  if self.json then
    self:outcome { queued = count, seconds = rounded(seconds) }
  elseif not self.quiet then
    self:write("queued: ", self.kind == "everything" and "everything" or count_of(count, "item"),
      added.merged > 0 and (" (%s waited already)"):format(grouped(added.merged)) or "", ", ", duration(seconds), "\n")
  end
end

---@param pages table|false|nil what --check has found
function Report:success(result, pages)
  if result.dry_run then
    self:planned(result)
  elseif self.json then
    self:outcome {
      accepted = result.accepted, requests = result.requests, attempts = result.attempts, ids = result.ids,
      messages = result.messages, ray_id = result.ray_id, seconds = rounded(result.elapsed), pages = pages or nil,
    }
  elseif not self.quiet then
    local what = self.kind == "everything" and "everything" or count_of(result.accepted, "item")
    self:write("accepted: ", what, " in ", count_of(result.requests, "request"), ", ", duration(result.elapsed), "\n")
  end
end

--- A star is legal and has no meaning, which surprises.
function Report:note_star(source)
  if source.star and not self.quiet then
    self:line(("%s: the * is no wildcard, it stands for itself"):format(text.cut(source.star, 100)))
  end
end

---@param err cfpurge.Error
---@param source table? where the items came from
---@param params table? what was asked for
function Report:failure(err, source, params)
  require "cfpurge.cli.failure"(self, err, source, params)
end

return {
  ---@param args table what was parsed, or what is known of it
  new = function(args)
    return setmetatable({
      kind = args.kind, action = args.action, json = args.json, quiet = args.quiet, interval = 0.5,
      has_line = not args.quiet and not args.dry_run and core.is_terminal(2),
    }, Report)
  end,
}
