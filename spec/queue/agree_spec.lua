-- Both stores say the same of the same: random transitions, one after the other, on one of each.
local elsewhere = require "spec.support.where"
if elsewhere "once text" then return end

local cjson = require("cjson").new()
local stores = require "spec.support.stores"

local ROUNDS, STEPS = 3, 60

local function pick(...)
  return (select(math.random(select("#", ...)), ...))
end

local function sorted(list)
  table.sort(list)
  return table.concat(list, "; ")
end

-- A delay is far off: nothing of it depends on how fast this runs.
local function random_add()
  local everything, op = math.random(4) == 1, pick("purge", "invalidate")
  local groups, known = {}, {}
  for i = 1, everything and 1 or math.random(2) do
    local kind = everything and "everything" or pick("tags", "hosts")
    local names, seen = {}, {}
    for _ = 1, everything and 0 or math.random(4) do
      local name = pick("a", "b", "c", "d", "e", "f")
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
    end
    local group = stores.group(pick("z", "y"), kind, names, { environment = pick("", "e"), op = op })
    if everything then group.items = { { "", "" } } end
    local lane = group.zone .. group.environment .. kind
    if i == 1 or not known[lane] then groups[#groups + 1] = group end
    known[lane] = true
  end
  return groups, { delay = pick(0, 0, 0, 1000, 2000), again = pick(false, false, 500) or nil,
    capacity = pick(1000, 1000, 18) }
end

local function random_outcome(claim)
  local function some(make)
    local list = {}
    for _, item in ipairs(claim.items) do
      if math.random(2) == 1 then list[#list + 1] = make(item.key) end
    end
    return list
  end
  local function key(name) return name end
  local what = math.random(5)
  if what == 1 then return stores.settled { waiting = "all" } end
  if what == 2 then return stores.settled { waiting = some(key) } end
  if what == 3 then return stores.settled { failed = some(function(name) return { name, '{"kind":"x"}' } end) } end
  local moved = what == 4 and claim.kind ~= "everything" and claim.zone ~= "x" and some(key) or {}
  return stores.settled { moved = moved[1] and { { "x", moved } } or nil }
end

local function shown(claim)
  return table.concat({ claim.zone, claim.environment, claim.op, claim.kind, stores.names(claim) }, "|")
end

-- Which lane is next may differ: so all that are ready are claimed. In SQLite a lane may seem ready and not be.
local function claim_all(rules)
  local claims, names, misses = {}, {}, 0
  while misses < 10 do
    local claim = rules.claim(stores.terms())
    if claim then
      claims[shown(claim)] = claim
      names[#names + 1] = shown(claim)
    end
    misses = claim and 0 or misses + 1
  end
  return claims, sorted(names)
end

local function sweep(rules)
  local idle = stores.terms { linger = 1e6, full = { files = 1e5, others = 1e5 } }
  while rules.status().sweeps do assert(not rules.claim(idle)) end
end

local function state(rules)
  local status, failed = rules.status(), {}
  for i, row in ipairs((rules.failed({}, 500))) do
    failed[i] = table.concat({ row.zone, row.environment, row.op, row.kind, row.item }, "|")
  end
  return ("%d wait, %d in flight, %s due, failed: %s"):format(status.waiting, status.in_flight,
    status.oldest and "some" or "none", sorted(failed))
end

describe("SQLite and Redis", function()
  teardown(stores.close)

  it("agree", function()
    for round = 1, ROUNDS do
      math.randomseed(round)
      local both, log, flying = { stores.of.sqlite.rules(), stores.of.redis.rules() }, {}, {}
      local function agree(what, first, second)
        log[#log + 1] = ("%s -> %s"):format(what, first)
        assert(first == second, ("round %d: %s\n%s"):format(round, tostring(second), table.concat(log, "\n")))
      end
      for _ = 1, STEPS do
        local what = math.random(10)
        if what <= 5 then
          local groups, options = random_add()
          local said = {}
          for i, rules in ipairs(both) do
            local added, problem = rules.add(groups, options)
            said[i] = added and added.added .. "/" .. added.merged or problem:match "queue_full"
          end
          agree("add " .. cjson.encode { groups, options }, said[1], said[2])
        elseif what <= 7 then
          local mine, first = claim_all(both[1])
          local other, second = claim_all(both[2])
          agree("claim", first, second)
          for name, claim in pairs(mine) do flying[#flying + 1] = { claim, other[name], name } end
          table.sort(flying, function(a, b) return a[1].fence < b[1].fence end)
        elseif what <= 9 and flying[1] then
          local pair = table.remove(flying, math.random(#flying))
          local outcome = random_outcome(pair[1])
          agree("settle " .. pair[3] .. " " .. cjson.encode(outcome), tostring(both[1].settle(pair[1].fence, outcome)),
            tostring(both[2].settle(pair[2].fence, outcome)))
        elseif what == 10 then
          local filter = pick({}, { zone = "z" }, { kind = "tags" })
          agree("retry", both[1].retry(filter, 500).count, both[2].retry(filter, 500).count)
        end
        sweep(both[1])
        sweep(both[2])
        agree("state", state(both[1]), state(both[2]))
      end
      for _, rules in ipairs(both) do rules.handle:close() end
    end
  end)
end)
