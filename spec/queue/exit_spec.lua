-- A host that ends with a queue at work: what an add has stored is there for the next one, whatever was in flight.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local program = require "spec.hosts.program"
local stores = require "spec.support.stores"

if elsewhere "engine" then return end

-- One is in flight, one is added behind it, one is being added as the process ends.
local CODE = [[
  local client = new()
  local queue = assert(cfpurge.queue { store = args.target, client = client, lease = 0.3, linger = 0.01 })
  assert(queue:work())
  assert(queue:add { tags = { "first" } })
  host.wait_until(function() return client:in_flight() == 1 end, { queue })
  assert(queue:add { tags = { "second" } })
  assert(queue:start { tags = { "third" } })
  os.exit(0, args.closes) -- with its state, or at once
]]

for _, store in ipairs(stores) do describe("a host that ends with a queue at work, " .. store.name, function()
  teardown(stores.close)

  for _, name in ipairs { "blocking", "own", "luv", "cqueues" } do
    it("loses nothing: " .. name, function()
      local target = store.target()
      local status, out, zone = program.run(name, CODE, { fails = true, args = { target = target, closes = name ~= "luv" },
        answers = { { match = "first", delay = 20 } } })
      assert.equal(0, status, out)
      local queue = store.queue({ store = target }, { zone_id = zone })
      local left = queue:status()
      assert.is_true(left.waiting + left.in_flight >= 2, left.waiting .. " " .. left.in_flight)
      assert(queue:drain { deadline = 20 })
      local sent = {}
      for _, request in ipairs(edge.requests(zone)) do
        for tag in request.body:gmatch '"(%l+)"' do sent[tag] = (sent[tag] or 0) + 1 end
      end
      assert.is_true(sent.first == 2 and sent.second == 1)
    end)
  end
end) end
