--- `cfpurge zones`: the zones that the credential sees.
local text = require "cfpurge.cli.text"

local COLUMNS = { "id", "name", "status", "plan", "account" }

local function row_of(zone)
  local account = zone.account or {}
  return { id = zone.id, name = zone.name, status = zone.status or "", plan = zone.plan or "",
    account = account.name or account.id or "" }
end

local function tell_table(report, zones)
  local widths, rows = {}, { { id = "ID", name = "NAME", status = "STATUS", plan = "PLAN", account = "ACCOUNT" } }
  for _, zone in ipairs(zones) do
    rows[#rows + 1] = row_of(zone)
  end
  for _, row in ipairs(rows) do
    for _, column in ipairs(COLUMNS) do
      row[column] = text.printable(row[column])
      widths[column] = math.max(widths[column] or 0, #row[column])
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, column in ipairs(COLUMNS) do
      cells[i] = row[column] .. (" "):rep(widths[column] - #row[column])
    end
    report:write((table.concat(cells, "  "):gsub(" +$", "")), "\n")
  end
end

---@param report table cli/report.lua's
---@param zones cfpurge.Zone[]
return function(report, zones)
  if report.json then
    local json = require "cfpurge.cli.json"
    report:write(json.encode { zones = zones }, "\n")
  elseif not report.quiet or zones[1] then
    tell_table(report, zones)
  end
end
