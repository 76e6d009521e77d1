-- What is added to cfpurge has all of its parts: csrc/README.md, "How to add", lists them.
local core = require "cfpurge.core"
local loops = require "cfpurge.loop"
local making = require "cfpurge.queue.making"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local keys = require "spec.support.keys"
local stores = require "spec.support.stores"

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

describe("a kind", function()
  local types = command.read "lua/cfpurge/types.lua"
  teardown(function()
    stores.close()
    command.clean()
  end)

  -- An item of each: a new kind needs one here.
  local function item_of(kind, name)
    return ({ files = "https://" .. name .. "/", tags = "a", hosts = name, prefixes = name .. "/a" })[kind]
  end

  for _, kind in ipairs(core.kinds) do
    it("is purged from a list, an iterator, the queue and the command: " .. kind, function()
      local queue, client, zone, _, about = stores.of.sqlite.queue()
      local item = assert(item_of(kind, about.name), "no item")
      assert.equal(1, assert(client:purge { [kind] = { item } }).accepted)
      assert.equal(1, assert(client["purge_" .. kind](client, { item })).accepted)
      local rest = { item }
      assert.equal(1, assert(client:purge { [kind] = function() return table.remove(rest) end }).accepted)
      assert.same({ added = 1, merged = 0 }, queue:add { [kind] = { item } })
      assert(queue:drain { deadline = 20 })
      local out, err, status = command.run({ kind, item }, { zone = zone })
      assert.equal(0, status, out .. err)
      local asked = edge.requests(zone)
      assert.equal(5, #asked)
      for _, request in ipairs(asked) do assert.equal('{"' .. kind .. '":[', request.body:match '^{"%l+":%[') end
    end)

    it("is annotated: " .. kind, function()
      local first = "\n---@class cfpurge." .. kind:gsub("^%l", string.upper) .. "Params: cfpurge.Place\n---@field "
      assert.truthy(types:find(first .. kind .. " ", 1, true))
      assert.truthy(types:match "alias cfpurge%.ListKind [^\n]+":find('"' .. kind .. '"', 1, true))
    end)
  end
end)

describe("a loop", function()
  local reference = command.read "lua/README.md"

  for name in pairs(loops.names) do
    it("has a spec, which runs the contract, and a row of the reference: " .. name, function()
      assert.is_true(exists("spec/loop/" .. name .. "_spec.lua"))
      assert.truthy(command.read("spec/loop/" .. name .. "_spec.lua"):find "contract")
      assert.truthy(reference:find("\n| `" .. name .. "` |", 1, true))
    end)
  end
end)

describe("a store", function()
  -- Of the stores' modules; `durable` asks a server, and UNIT and durability are values.
  local function transitions(name)
    local found = keys((require("cfpurge.queue." .. name)))
    for i = #found, 1, -1 do
      if found[i] == "durable" then table.remove(found, i) end
    end
    return found
  end

  for _, store in ipairs(making.stores) do
    it("has each transition, is in the contract's specs, and has a rock: " .. store.name, function()
      assert.same(transitions(making.stores[1].name), transitions(store.name))
      assert.is_table(stores.of[store.name])
      assert.is_true(exists("cfpurge-" .. store.name .. "-scm-1.rockspec"))
      assert.truthy(command.read "Makefile":find("\n" .. store.name .. "_O ", 1, true))
      assert.truthy(command.read ".debian/rules":find(store.name .. ".so", 1, true))
    end)
  end
end)
