--- What becomes of a queue's items, a line each: `cfpurge queue work` writes it, Neovim's plugin shows it.
local core = require "cfpurge.core"
local text = require "cfpurge.cli.text"
local text_of = require "cfpurge.cli.items".text_of

-- Seconds between two lines that say the same.
local AGAIN = 600

local Log = {}
Log.__index = Log

-- Once in a while, where nothing has changed.
function Log:once(name, line)
  local told = self.told[name]
  if not told or told.line ~= line or core.now() >= told.at + AGAIN then
    self.told[name] = { line = line, at = core.now() }
    self.report:line(line)
  end
end

local function place_of(event)
  local environment = event.environment or event.environment_id
  return "zone " .. event.zone .. (environment and ", " .. environment or "")
end

function Log:note(event)
  local name, err = event.name, event.error
  local said = err and text.cut(err.message, 400) .. text.origin_of(err)
  if name == "accepted" then
    self.accepted = self.accepted + event.items
    if self.told[event.zone] then
      self.told[event.zone] = nil
      self:say(("zone %s goes on"):format(event.zone))
    end
  elseif name == "failed" then
    self.failed = self.failed + 1
    local item = event.item and text.cut(text_of(event.item), 100) or "everything"
    self.report:line(("%s: refused: %s: %s"):format(place_of(event), item, said))
  elseif name == "rest" then
    self:once(event.zone, ("zone %s rests: %s"):format(event.zone, said))
  elseif name == "held" then
    self:once(name, ("held back for %s: %s"):format(text.duration(event.seconds), said))
  else
    self:once(name, said)
  end
end

function Log:say(line)
  if not self.report.quiet then
    self.report:line(line)
  end
end

---@param report table `line(self, text)`; `quiet`: only what goes wrong
return function(report)
  return setmetatable({ report = report, told = {}, accepted = 0, failed = 0 }, Log)
end
