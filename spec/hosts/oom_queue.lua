-- The scenarios of spec/hosts/oom.c that add to a queue, one a store; functions as those of oom.lua. Each run has a
-- zone of its own. What was reported as added must be in the store: added again, it is merged.
local name = ...
local target = os.getenv("OOM_" .. name:upper())
local zone = "z" .. tostring({}):match "0x(%x+)" .. os.time()
local cfpurge

local function complain(...)
  error(string.format(...), 0)
end

-- What is learnt has its place before memory runs out: { tags, result, err, done }
local calls, S = {}, { queue = false, status = false }

local function call(...)
  local made = { tags = { ... }, result = false, err = false, done = 0 }
  made.params = { tags = made.tags }
  made.on_done = function(result, err)
    made.done, made.result, made.err = made.done + 1, result or false, err or false
  end
  calls[#calls + 1] = made
end

local function open()
  return cfpurge.queue { store = target, zone_id = zone }
end

local function prepare()
  cfpurge = require "cfpurge"
  call("t1", "t2")
  call "t3"
  call "t4"
end

local function run()
  S.queue = open() or false
  if not S.queue then return end
  calls[1].result, calls[1].err = S.queue:add(calls[1].params)
  S.queue:start(calls[2].params, nil, calls[2].on_done)
  while S.queue:step() > 0 do end
  S.status = S.queue:status()
  S.queue:start(calls[3].params, nil, calls[3].on_done)
  S.queue:step(0)
  S.queue:close()
end

local function settle(queue)
  local last = os.time() + 10
  repeat
    local ok, left = pcall(queue.step, queue, 1)
    if not ok and left ~= "not enough memory" then complain("step: %s", tostring(left)) end
    if os.time() > last then complain "it never ends" end
  until ok and left == 0
end

local function check(ok, raised)
  if not ok and not tostring(raised):find "not enough memory$" then complain("raised: %s", tostring(raised)) end
  if S.queue then
    settle(S.queue)
    local result, err = S.queue:add { tags = { "works" } }
    if not result and err.kind ~= "closed" then complain("the next add: %s", tostring(err)) end
    S.queue:close()
  end
  local other = assert(open())
  for _, made in ipairs(calls) do
    if made.done > 1 then complain("on_done ran %d times", made.done) end
    local err = made.err
    if made.result then
      local again = assert(other:add(made.params))
      if again.added > 0 then complain("%s was reported added", made.tags[1]) end
    elseif err and (err.kind ~= "store" and err.kind ~= "closed" and not tostring(err):find "memory") then
      complain("%s", tostring(err))
    elseif err and #err.remaining.tags ~= #made.tags then
      complain("%d remain", #err.remaining.tags)
    end
  end
  other:close()
end

return prepare, run, check
