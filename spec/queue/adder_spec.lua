-- A queue without a client, which only adds: lua/cfpurge/queue/making.lua.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"
local stores = require "spec.support.stores"
local tables = require "cfpurge.tables"

local CODE = [[
  local queue = assert(require "cfpurge".queue { store = os.getenv "STORE" })
  local added, err = queue:add { tags = { "a", "b" } }
  print(added and added.added or err)
]]

for _, store in ipairs(stores) do describe("a queue without a client, " .. store.name, function()
  teardown(stores.close)

  it("adds without a credential, and another process sends", function()
    local sender, _, zone, target = store.queue()
    assert.equal("2", clients.lua(CODE, { STORE = target, CLOUDFLARE_ZONE_ID = zone }):match "[^\n]*")
    assert.matches("no zone_id", clients.lua(CODE, { STORE = target }))
    assert(sender:drain { deadline = 10 })
    assert.equal(2, edge.counts(zone).items)
  end)

  it("has a zone of its own, and tells what it holds", function()
    local zone, about = edge.zone()
    local target = store.target()
    local queue = assert(cfpurge.queue { store = target, zone = about.name, loop = "blocking" })
    assert.equal(1, assert(queue:add { tags = { "a" } }).added)
    assert.same({ 1, false }, { queue:status().waiting, queue:status().working })
    assert.same({ 0, 0, 0 }, { #queue:failed(), queue:retry(), queue:discard() })
    local _, err = queue:add { tags = { "a,b" } }
    assert.equal("tags[1]", err.field)
    queue:close()
    -- The queue's zone goes before its client's.
    local other = clients.new()
    local sender = assert(cfpurge.queue { store = target, client = other, zone_id = zone })
    assert(sender:add { tags = { "b" } })
    assert(sender:drain { deadline = 10 })
    assert.equal(2, edge.counts(zone).items)
    sender:close()
  end)

  it("gives a list back where nobody can wait for it", function()
    local queue = assert(cfpurge.queue { store = store.target(), zone_id = "z",
      loop = { drive = function() end, wait = function() return false, "not here" end } })
    local list = lists.tags(3000)
    for _, tags in ipairs { list, lists.iterator(list) } do
      local added, err = queue:add { tags = tags }
      assert.same({ nil, "invalid_request", "not here" }, { added, err.kind, err.message })
      local left = 0
      for _ in tables.each(err.remaining.tags) do left = left + 1 end
      assert.equal(3000, left + (err.accepted or 0))
    end
    queue:close()
  end)

  it("says what is missing where it is to send", function()
    local queue = assert(cfpurge.queue { store = store.target(), zone_id = "z" })
    local ok, raised = pcall(queue.work, queue)
    assert.is_false(ok)
    assert.matches("no client that sends", raised)
    local _, err = queue:drain()
    assert.same({ "invalid_request", "client" }, { err.kind, err.field })
    assert.is_false(queue:active())
    queue:close()
  end)
end) end

describe("a filter of what failed", function()
  it("is refused where it has no kind that there is", function()
    local queue = assert(cfpurge.queue { store = stores.of.sqlite.target(), zone_id = "z" })
    for _, method in ipairs { "failed", "retry", "discard" } do
      local found, err = queue[method](queue, { kind = "tag" })
      assert.same({ nil, "kind: one of files, tags, hosts, prefixes, everything expected", "kind" },
        { found, err and err.message, err and err.field })
      assert(queue[method](queue, { kind = "everything" }))
    end
    queue:close()
    stores.close()
  end)
end)

describe("the zone of a queue", function()
  it("is refused by name where it is wrong", function()
    local client = clients.new()
    for field, options in pairs {
      zone = { zone = "a.example", zone_id = "a" }, zone_id = { zone_id = "a/b" }, loop = { loop = "none" },
      client = { client = {} },
    } do
      options.store = os.tmpname()
      local queue, _, err = cfpurge.queue(options)
      os.remove(options.store)
      assert.same({ nil, field }, { queue, err and err.field })
    end
    local _, _, err = cfpurge.queue { store = "/tmp/none.db", client = client, loop = "blocking" }
    assert.equal("loop", err.field)
  end)

  it("is not auto of what has no host", function()
    local queue = assert(cfpurge.queue { store = stores.of.sqlite.target(), zone = "auto" })
    local _, err = queue:add { tags = { "a" } }
    assert.same({ "invalid_request", "zone" }, { err.kind, err.field })
    assert(queue:add { hosts = { "a.example" } })
    queue:close()
    stores.close()
  end)
end)
