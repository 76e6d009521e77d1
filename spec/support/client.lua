-- Clients for the specs: on the edge, over plain HTTP on loopback, with a zone of their own.
--
--   client.new(options?)       -> client, its zone's id, and what edge.zone says of it; options as for cfpurge.new
--   client.options(options?)   the same options as a table (zone made, credential and base_url filled in), for core.new
--   client.lua(code, env?)     runs the code in another process of the same Lua -> what it printed; of CLOUDFLARE_*
--                              and the proxy variables it sees only what `env` has
--   client.close()             closes all clients that came from here or were given to client.keep(client): for
--                              teardown, so that one spec's connections are not another's
--   client.over_tls(options?)  the options with the edge over TLS and HTTP/2 beneath them
--   client.once(options, params?)  one purge by a client of its own -> result, err, what arrived, stats
--   client.run(client)         steps it until nothing is in flight
--   client.kind_of(result, err)  how a request ended, in a word
--   client.logbook()           -> log, note: note(name, more?) is an on_done; log[name] lists the kinds it was given
--   client.without_zone(options?)  a client that has no zone of its own, and tries once
--   client.play(answers, options?) one purge whose first answers are these: result, err, what arrived, its retry events
--   client.beneath(options?, wrap?, make?)  -> client, the core's client inside it, its zone: for what the Lua layer does
--                              not offer; what wrap(core's) returns stands in its place; make is client.new by default
--   client.OK                  the body of an answer that accepts
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"

local M = { OK = '{"success":true,"errors":[],"messages":[],"result":{"id":"accepted"}}' }

function M.options(options)
  local filled = { base_url = edge.up().API_HTTP, api_token = edge.env.TOKEN }
  if options and (options.api_key or options.api_email) then filled.api_token = nil end
  for name, value in pairs(options or {}) do filled[name] = value end
  local about
  if not filled.zone_id then filled.zone_id, about = edge.zone() end
  return filled, filled.zone_id, about
end

local kept = setmetatable({}, { __mode = "k" })

function M.keep(client)
  kept[client] = true
  return client
end

function M.close()
  for client in pairs(kept) do client:close() end
end

function M.new(options)
  local filled, zone, about = M.options(options)
  return M.keep(assert(cfpurge.new(filled))), zone, about
end

function M.over_tls(options)
  local filled = { base_url = edge.up().API_TLS, ca_file = edge.env.CA_FILE }
  for name, value in pairs(options or {}) do filled[name] = value end
  return filled
end

function M.once(options, params)
  local c, zone = M.new(options)
  local result, err = c:purge(params or { tags = { "a" } })
  local stats = c:stats()
  c:close()
  return result, err, edge.requests(zone), stats
end

function M.run(c)
  local last = os.time() + 20
  while c:step(10) > 0 do assert(os.time() < last, "it never ends") end
end

function M.kind_of(result, err)
  return result and "accepted" or err and err.kind or "nothing"
end

function M.logbook()
  local log = {}
  return log, function(name, more)
    log[name] = {}
    return function(result, err)
      table.insert(log[name], M.kind_of(result, err))
      if more then return more(result, err) end
    end
  end
end

function M.without_zone(options)
  local filled = M.options { zone_id = "unused" }
  filled.zone_id, filled.max_retries = nil, 0
  for name, value in pairs(options or {}) do filled[name] = value end
  return M.keep(assert(cfpurge.new(filled)))
end

function M.play(answers, options)
  local retries, zone = {}, edge.zone()
  local filled = { zone_id = zone, on_event = function(event)
    if event.name == "retry" then retries[#retries + 1] = event end
  end }
  for name, value in pairs(options or {}) do filled[name] = value end
  edge.script(zone, answers)
  local c = M.new(filled)
  local result, err = c:purge { tags = { "a" } }
  c:close()
  return result, err, edge.requests(zone), retries
end

function M.beneath(options, wrap, make)
  local new, inner = core.new, nil
  core.new = function(...)
    inner = assert(new(...))
    return wrap and wrap(inner) or inner
  end
  local ok, client, zone = pcall(make or M.new, options)
  core.new = new
  assert(ok, client)
  return client, inner, zone
end

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local cleared = { "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY", "CLOUDFLARE_ZONE_ID",
  "CLOUDFLARE_BASE_URL", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY" }

function M.lua(code, env)
  local lua = os.getenv "CFPURGE_LUA" or arg[-1]
  local words = { "env" }
  for _, name in ipairs(cleared) do words[#words + 1] = "-u " .. name end
  for name, value in pairs(env or {}) do words[#words + 1] = quoted(name .. "=" .. value) end
  local child = io.popen(table.concat(words, " ") .. " " .. lua .. " -e " .. quoted(code) .. " 2>&1")
  local said = child:read "*a"
  child:close()
  return said
end

return M
