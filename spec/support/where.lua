-- Where a spec runs: what is the same on every Lua is shown once, and what cannot be watched is not. It stands first in a
-- file, a describe or a test, and what is left out counts as skipped:
--
--   local elsewhere = require "spec.support.where"
--   if elsewhere "engine" then return end
--
--   engine         of C alone, or of a program of its own: on lua5.4 and luajit
--   once           the same, and slow: on lua5.4
--   proof          slow, and seldom another outcome than CI's: in `make proof` alone
--   text           of Lua alone, with no memory of ours: the sanitizers and valgrind learn nothing from it
--   unwatched      it preloads, measures time, or has a build of its own: it fails where the memory is watched
--   uncounted      the counters of make coverage would make it fail: it measures time, or looks at core.so itself
--   openssl        it says what libcurl does with OpenSSL: not where it has another TLS library
--   yields         an iterator or a callback yields there: not on Lua 5.1, which cannot across a pcall
--   cqueues luv copas    where this Lua has the module: Debian does not have it for every one
--   lua5.4 luajit  of these Luas alone: what is built for them, a host that has no other
--   in:FILE        of a program that may be missing, or of a module of one: on the Lua that it is linked with
--
-- All words must hold. CFPURGE_WHOLE=1 (`make proof`) lifts the first four, which save time.
local busted = require "busted"
local output = require "spec.support.command".output

local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
local watched = (os.getenv "CFPURGE_WATCH" or "") ~= ""
local whole = (os.getenv "CFPURGE_WHOLE" or "") ~= ""

local function is_there(name)
  for place in (package.path .. ";" .. package.cpath):gmatch "[^;]+" do
    local file = io.open((place:gsub("%?", name)))
    if file then return file:close() end
  end
end

-- Debian 13 and sid have copas for Luas for which they have not all that it asks for. Here it would be taken for the host.
local function why_no_copas()
  local said = output(lua .. [[ -e 'require "copas"' 2>/dev/null && echo there]])
  return said == "" and "no copas for this Lua"
end

local WHY = {
  engine = not whole and lua ~= "lua5.4" and lua ~= "luajit" and "the same on every Lua: lua5.4 and luajit show it",
  once = not whole and lua ~= "lua5.4" and "the same on every Lua: lua5.4 shows it",
  proof = not whole and "slow: make proof has the time",
  text = not whole and watched and "of Lua alone: nothing to watch",
  unwatched = watched and "not where the memory is watched",
  uncounted = os.getenv "CFPURGE_LINES" ~= nil and "not where lines are counted",
  openssl = not require("cfpurge.core").libcurl():find("OpenSSL/", 1, true) and "libcurl has another TLS library than OpenSSL",
  yields = coroutine.wrap(function() return pcall(coroutine.yield) end)() ~= nil and "no yield across pcall on this Lua",
  cqueues = not is_there "cqueues" and "no cqueues for this Lua",
  luv = not is_there "luv" and "no luv for this Lua",
  copas = why_no_copas,
}

-- Why not in this program; LuaJIT is the one that a program can have within.
local function why_not_in(program)
  local said = output(([[PATH=$PATH:/usr/sbin:/usr/games
    at=$(command -v %s || ls %s 2>/dev/null) && echo there && ldd $at 2>&1]]):format(program, program))
  local its = said:match "liblua(%d%.%d)"
  return not said:find "^there" and program .. " is not installed"
    or lua ~= (its and "lua" .. its or "luajit") and program .. " has another Lua"
end

-- Within a test `pending` is another function than outside.
local running
busted.subscribe({ "test", "start" }, function(element)
  running = element
  return nil, true
end)
busted.subscribe({ "test", "end" }, function()
  running = nil
  return nil, true
end)

return function(words)
  local reason
  if words:find "lua[%dj]" and not (" " .. words .. " "):find(" " .. lua .. " ", 1, true) then
    reason = "not on " .. lua
  end
  for word in words:gmatch "%S+" do
    local why = WHY[word]
    if type(why) == "function" then why = why() end
    if word:find "^in:" then why = why_not_in(word:sub(4)) end
    if why == nil and not word:find "^lua" then error("where.lua knows no " .. word, 2) end
    reason = reason or why
  end
  if reason then (running and running.env or busted).pending(reason) end
  return reason ~= nil and reason ~= false
end
