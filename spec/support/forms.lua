-- One purge in each form in which a user may ask for it, and what became of it, told alike.
--
--   forms.each(run)          run(form) for "table", "iterator" and "command"
--   forms.purge(form, ask)   ask is { kind, items, zone, options?, words?, env? }: the last are the client's options, and
--                            the command's words and environment that mean the same. What it returns:
--     text       tostring of the error, or the command's standard error; "" where all was accepted
--     remaining  what was not accepted, sorted; the command's come from its standard output
--     requests, accepted   how many requests and accepted items the edge counted for the zone
--     result, err          of the library
--     exit                 of the command
local cfpurge = require "cfpurge"
local cjson = require("cjson").new()
local clients = require "spec.support.client"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

local M = {}

local function by_command(ask)
  local words, stdin = { ask.kind }, nil
  for _, word in ipairs(ask.words or {}) do words[#words + 1] = word end
  local lines = {}
  for i, item in ipairs(ask.items) do lines[i] = type(item) == "table" and cjson.encode(item) or item end
  if #lines > 20 then
    stdin = table.concat(lines, "\n") .. "\n"
  else
    words[#words + 1] = "--"
    for _, line in ipairs(lines) do words[#words + 1] = line end
  end
  local zone = not (ask.options and ask.options.zone) and ask.zone or nil
  local out, err, status = command.run(words, { stdin = stdin, zone = zone, env = ask.env })
  local remaining = {}
  for line in out:gmatch "[^\n]+" do remaining[#remaining + 1] = line end
  return { text = status == 0 and "" or err, remaining = status == 0 and {} or remaining, exit = status, said = out .. err }
end

local function by_library(ask, items)
  local options = clients.options { zone_id = ask.zone }
  for name, value in pairs(ask.options or {}) do options[name] = value end
  if options.zone then options.zone_id = nil end
  local client = clients.keep(assert(cfpurge.new(options)))
  local result, err = client:purge { [ask.kind] = items }
  return { result = result, err = err, text = err and tostring(err) or "",
    remaining = err and err.remaining and err.remaining[ask.kind] or {} }
end

function M.purge(form, ask)
  local before = edge.counts(ask.zone)
  local outcome
  if form == "command" then
    outcome = by_command(ask)
  else
    outcome = by_library(ask, form == "iterator" and lists.iterator(ask.items) or ask.items)
  end
  outcome.remaining = lists.all(outcome.remaining)
  local counts = edge.counts(ask.zone)
  outcome.requests, outcome.accepted = counts.requests - before.requests, counts.items - before.items
  return outcome
end

function M.each(run)
  for _, form in ipairs { "table", "iterator", "command" } do run(form) end
end

return M
