-- The control calls, for specs and for a person with curl: JSON in, JSON out.
--
--   GET  /control/ready                     the edge's own id
--   POST /control/zone     {id, name, account, environments, ...}   a new zone: all optional, and answered in full
--                          account: zones of one account share its limits
--                          status, plan: what lists say of it ("active", none: they say "free")
--                          lacks: kinds that its plan has not got: they are refused by 1107
--                          refuses: items that are refused by 1016
--                          under200: refusals of a body come under HTTP 200, with 1016 behind their own code; their
--                          result is null where this is "null", and an id where it is "id"
--                          gone: 403 or 404: it is in no list, and whatever is asked of it is answered so
--                          blind: true: every body is accepted unread, nothing is remembered (for benchmarks)
--   POST /control/change   {zone, ...}                         changes these of it; false takes one away
--   POST /control/token    {zones, purge, read}                a token for these zones; false takes that right away
--   POST /control/script   {zone, answers, append}             see play.lua; replaces the script unless append
--   GET  /control/requests ?zone=ID[&wait=N[&timeout=S]]       what arrived, oldest first; waits until there are N
--   GET  /control/counts   ?zone=ID                            {requests, accepted, items, refused, limited, scripted}
--   POST /control/reset    {zone}                              empties its record, script, counts and limits
--   POST /control/limits   {zone, plan, factor, ...}  see limits.lua; a zone alone: off again
--   POST /control/bump     {host, path}                        a new version of that page, of the host, or of all
local cjson = require "cjson"
local access = require "access"
local state = require "state"
local origin = require "origin"
local limits = require "limits"

local M = {}
local get, post = {}, {}

local function find(id)
  local zone = state.zones[id or state.env.ZONE_ID]
  return zone or error({ 404, "no such zone: " .. tostring(id) })
end

function get.ready() return state.env.EDGE_ID end

function get.requests(args)
  local zone = find(args.zone)
  local wait, patience = tonumber(args.wait) or 0, ngx.now() + (tonumber(args.timeout) or 10)
  while zone.counts.requests < wait and ngx.now() < patience do ngx.sleep(0.002) end
  local list = {}
  for n = zone.first, zone.last do list[#list + 1] = zone.record[n] end
  return state.list(list)
end

function get.counts(args)
  return cjson.encode(find(args.zone).counts)
end

-- What an answer depends on; false takes it away.
local function change(zone, args)
  for _, name in ipairs { "status", "plan", "under200", "gone", "blind" } do
    if args[name] ~= nil then zone[name] = args[name] or nil end
  end
  if args.plan ~= nil then zone.own_plan = zone.plan end
  for _, name in ipairs { "lacks", "refuses" } do
    if args[name] ~= nil then
      local set = {}
      for _, item in ipairs(args[name] or {}) do set[item] = true end
      zone[name] = set
    end
  end
end

function post.zone(args)
  local zone = state.add_zone {
    id = args.id, name = args.name, account = args.account, environments = args.environments,
  }
  change(zone, args)
  return cjson.encode { id = zone.id, name = zone.name, account = zone.account, environments = zone.environments }
end

function post.change(args)
  change(find(args.zone), args)
  return "{}"
end

function post.token(args)
  for _, id in ipairs(args.zones or {}) do find(id) end
  return cjson.encode { token = access.token(args) }
end

function post.script(args)
  local zone = find(args.zone)
  if not args.append then zone.script = {} end
  for _, answer in ipairs(args.answers) do zone.script[#zone.script + 1] = answer end
  return cjson.encode { waiting = #zone.script }
end

function post.reset(args)
  local zone = find(args.zone)
  state.reset(zone)
  limits.set(zone, {})
  return "{}"
end

function post.limits(args)
  limits.set(find(args.zone), args)
  return "{}"
end

function post.bump(args)
  return cjson.encode { version = origin.bump(args.host, args.path) }
end

function M.serve()
  local method, name = ngx.req.get_method(), ngx.var.uri:match "^/control/(%w+)$"
  local call = (method == "GET" and get or method == "POST" and post or {})[name]
  local body = state.body()
  if not call then return state.send(404, '{"error":"no such control call"}') end
  local ok, answer = pcall(function()
    return call(method == "GET" and ngx.req.get_uri_args() or cjson.decode(body == "" and "{}" or body))
  end)
  if ok then return state.send(200, answer) end
  local refused = type(answer) == "table"
  state.send(refused and answer[1] or 400, cjson.encode { error = refused and answer[2] or tostring(answer) })
end

return M
