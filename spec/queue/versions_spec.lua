-- A store of an older version is migrated as it is opened, whole or not at all. (A newer one: sqlite_spec, redis_spec.)
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local stores = require "spec.support.stores"

local group, names, terms = stores.group, stores.names, stores.terms

-- A cfpurge whose stores are of version 2: lanes have a note, and old items say they are old.
local later = {}

function later.sqlite(body)
  local schema = require "cfpurge.queue.sqlite_schema"
  schema.VERSION = 2
  schema.migrations[1] = { "ALTER TABLE lanes ADD note TEXT", "UPDATE items SET item = '\"old\"'" }
  local ok, raised = pcall(body)
  schema.VERSION, schema.migrations[1] = 1, nil
  assert(ok, raised)
end

function later.redis(body)
  local changed = { "cfpurge.queue.redis", "cfpurge.queue.redis_lanes", "cfpurge.queue.redis_migrations" }
  local before = {}
  for _, name in ipairs(changed) do before[name] = require(name) end
  local count
  package.loaded[changed[2]], count = before[changed[2]]:gsub("(local VERSION, [%u, ]+= )1,", "%12,")
  assert(count == 1)
  package.loaded[changed[3]] = before[changed[3]] .. [==[
    migrations[1] = function()
      for _, id in ipairs(call('HVALS', P .. 'lanes')) do
        for _, key in ipairs(call('HKEYS', P .. 'item:' .. id)) do
          local item = get('item:' .. id, key)
          item.item = '"old"'
          set('item:' .. id, key, item)
        end
      end
    end
  ]==]
  package.loaded[changed[1]] = nil
  local ok, raised = pcall(body)
  for _, name in ipairs(changed) do package.loaded[name] = before[name] end
  assert(ok, raised)
end

for _, store in ipairs(stores) do describe("an older store, " .. store.name, function()
  after_each(stores.close)

  it("is migrated once, with all that is in it, and is then too new for the older cfpurge", function()
    local first, _, zone, target = store.queue()
    assert(first:add { tags = { "a", "b" } })
    first:close()
    later[store.name](function()
      local queues = {}
      for i = 1, 2 do queues[i] = store.queue({ store = target }, { zone_id = zone }) end
      assert.same({ added = 1, merged = 1 }, queues[1]:add { tags = { "c", "a" } })
      assert.same({ added = 1, merged = 1 }, queues[2]:add { tags = { "c", "d" } })
      assert.equal(4, queues[2]:status().waiting)
      local rules = store.rules(target)
      local claim = rules.claim(terms())
      assert.equal(4, #claim.items)
      local old = 0
      for _, item in ipairs(claim.items) do old = old + (item.item == '"old"' and 1 or 0) end
      assert.equal(1, old) -- "a" was added again
    end)
    local queue = store.queue({ store = target }, { zone_id = zone })
    local result, err = queue:add { tags = { "e" } }
    assert.same({ nil, "store", "newer" }, { result, err.kind, err.reason })
  end)

  it("whose migration fails stays what it was", function()
    local rules = store.rules()
    rules.add({ group("z", "tags", { "a" }) }, { capacity = 10 })
    assert.equal("a", names(rules.claim(terms())))
    if store.name == "sqlite" then
      local queue, _, _, target = store.queue()
      assert(queue:add { tags = { "a" } })
      queue:close()
      local schema = require "cfpurge.queue.sqlite_schema"
      schema.VERSION, schema.migrations[1] = 2, { "UPDATE items SET item = 'lost'", "ALTER TABLE nowhere ADD note TEXT" }
      local result, err = store.queue({ store = target }):add { tags = { "b" } }
      schema.VERSION, schema.migrations[1] = 1, nil
      assert.same({ nil, "store", { tags = { "b" } } }, { result, err.kind, err.remaining })
      local again = store.rules(target)
      assert.equal('"a"', again.claim(terms()).items[1].item)
    end
  end)
end) end
