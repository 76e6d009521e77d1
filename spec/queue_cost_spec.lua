-- Requests that wait cost the others nothing: no step grows with them or works long, a client takes so many and no more, and
-- a single purge goes ahead of a list's parts.
local elsewhere = require "spec.support.where"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local socket = require "socket"

local env = edge.up()
local TAGS = { tags = { "a" } }
local MANY, FEW = 20000, 100

local function none() end

local function run(c)
  while c:step(1) > 0 do end
end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

describe("a client's queue", function()
  teardown(clients.close)

  it("takes `max_queued` requests and no more", function()
    local c = clients.new { max_queued = 10, loop = "blocking" }
    local accepted = 0
    local function on_done(result) accepted = accepted + (result and 1 or 0) end
    for _ = 1, 10 do assert(c:start(TAGS, nil, on_done)) end
    local request, err = c:start(TAGS, nil, error)
    assert.is_nil(request)
    assert.same({ "queue_full", 0 }, { err.kind, err.attempts }, tostring(err))
    local _, again = c:purge(TAGS)
    assert.equal("queue_full", again.kind)
    assert.equal(10, c:stats().started)
    run(c)
    assert.equal(10, accepted)
    assert(c:purge(TAGS))
    c:close()
  end)

  it("takes a list of any length all the same, and 100,000 requests by default", function()
    local c = clients.new { max_queued = 10, loop = "blocking" }
    local tags = {}
    for i = 1, 60 do tags[i] = "t" .. i end
    assert.equal(60, assert(c:purge({ tags = tags }, { max_items = 1 })).accepted)
    c:close()
    if host.watched then return end -- it takes its time
    c = clients.new { rate = { requests = 0.001, requests_bucket = 1 }, loop = "blocking" }
    for _ = 1, 100000 do assert(c:start(TAGS, nil, none)) end
    assert.equal("queue_full", select(2, c:start(TAGS, nil, none)).kind)
    c:close()
  end)

  it("lets a single purge go ahead of a list's parts that wait for the same bucket", function()
    local c, zone = clients.new { rate = { requests = 20, requests_bucket = 1 }, loop = "blocking" }
    local list, single, ended = {}, nil, false
    for i = 1, 24 do list[i] = "part-" .. i end
    assert(c:start({ tags = list }, { max_items = 1 }, function() ended = true end))
    while #edge.requests(zone) < 3 do c:step(0.01) end
    local before = #edge.requests(zone)
    assert(c:start({ tags = { "single" } }, nil, function(result) single = result end))
    while not ended do c:step(1) end
    assert.is_table(single)
    local at
    for i, request in ipairs(edge.requests(zone)) do
      if request.body:find("single", 1, true) then at = i end
    end
    -- One may have been on its way.
    assert.is_true(at <= before + 2, ("the %dth of %d was the single one, started after %d"):format(at, 25, before))
    assert.equal(25, #edge.requests(zone))
    c:close()
  end)

  -- Clients with FEW and with MANY that wait for their turn.
  local function waiting(count)
    local c = clients.new { rate = { requests = 0.001, requests_bucket = 1 }, loop = "blocking" }
    local requests = {}
    for i = 1, count do requests[i] = assert(c:start(TAGS, nil, none)) end
    for _ = 1, 20 do c:step(0.01) end
    return c, requests
  end

  if elsewhere "once unwatched" then return end

  -- Seconds of `times` calls of f, the median of seven runs with few and with many in turn.
  local function compare(times, few, many)
    local a, b = {}, {}
    local function clock(f)
      local start = socket.gettime()
      for i = 1, times do f(i) end
      return socket.gettime() - start
    end
    for i = 1, 7 do a[i], b[i] = clock(few), clock(many) end
    return median(a), median(b)
  end

  it("costs a step nothing: " .. MANY .. " or " .. FEW .. " that wait", function()
    local few, many = waiting(FEW), waiting(MANY)
    host.tries(function()
      local a, b = compare(100, function() few:step(0) end, function() many:step(0) end)
      return b <= 3 * a, ("100 steps: %.6f s, with many %.6f s"):format(a, b)
    end)
    few:close()
    many:close()
  end)

  it("costs a start and a cancel nothing", function()
    local few, many = waiting(FEW), waiting(MANY)
    host.tries(function()
      local a, b = compare(100, function() assert(few:start(TAGS, nil, none)):cancel() end,
        function() assert(many:start(TAGS, nil, none)):cancel() end)
      return b <= 3 * a, ("100 starts and cancels: %.6f s, with many %.6f s"):format(a, b)
    end)
    few:close()
    many:close()
  end)

  for _, order in ipairs { "first", "last", "close" } do
    it("ends at once, cancelled one by one from either end, or by close: " .. order, function()
      local c, requests = waiting(MANY)
      local start = os.clock()
      if order == "close" then
        c:close()
      else
        local first, last, by = 2, MANY, 1 -- the bucket lets the first one go
        if order == "last" then first, last, by = last, first, -by end
        for i = first, last, by do assert.is_true(requests[i]:cancel()) end
      end
      local seconds = os.clock() - start
      assert.is_true(seconds < 2, order .. ": " .. seconds)
      c:close()
    end)
  end

  for name, url in pairs { ["HTTP/1.1"] = env.API_HTTP, ["HTTP/2"] = env.API_TLS } do
    it("is worked off in short steps, 5000 over " .. name, function()
      host.tries(function()
        local c = clients.new { zone_id = edge.zone { blind = true }, base_url = url, ca_file = env.CA_FILE, loop = "blocking" }
        local refused, steps = 0, {}
        assert(c:purge(TAGS)) -- reading a file of certificates takes long, once
        local function on_done(result) refused = refused + (result and 0 or 1) end
        for _ = 1, 5000 do assert(c:start(TAGS, nil, on_done)) end
        repeat
          local start = os.clock() -- others may have the processor meanwhile
          local left = c:step(0)
          steps[#steps + 1] = os.clock() - start
          if steps[#steps] < 0.0005 then socket.sleep(0.0005) end -- the server needs the processor too
        until left == 0
        c:close()
        assert.equal(0, refused)
        table.sort(steps)
        local long = steps[#steps]
        return long < 0.05 and steps[math.ceil(#steps * 0.95)] < 0.02,
          ("the longest of %d steps took %.1f ms, 95%% up to %.1f ms"):format(#steps, long * 1000,
            steps[math.ceil(#steps * 0.95)] * 1000)
      end)
    end)
  end
end)
