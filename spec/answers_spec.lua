-- No purge is told another's answer, where one host speaks HTTP/2 on some connections and HTTP/1.1 on others. The server's
-- answer has the purge's tag as its id, it refuses each tag that ends in 7, and it counts each sending that it reads.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local api = require "spec.support.api"
local clients = require "spec.support.client"

local function sum(counts)
  local total = 0
  for _, times in pairs(counts.seen) do total = total + times end
  return total
end

-- All are told what the server said to them, and all that it does not refuse are accepted in the end.
local function told_rightly(server, c, tags, options, width)
  local ended = api.burst(c, tags, options, width)
  local wrong = api.wrong(ended, server.counts().seen)
  assert(not wrong[1], ("%d wrong: %s"):format(#wrong, tostring(wrong[1])))
  local good = 0
  for _, tag in ipairs(tags) do
    local one = ended[tag]
    assert.is_true(one.result ~= nil or one.err.kind == "bad_request", tag .. ": " .. tostring(one.err))
    good = good + (tag:find "7$" and 0 or 1)
  end
  assert.equal(good, api.accepted(ended))
end

describe("where connections of one host speak different protocols", function()
  local server
  setup(function() server = api.start() end)
  teardown(function()
    clients.close()
    api.stop()
  end)

  local function mix(settings)
    server.reset()
    for _, name in ipairs { "alpn", "delay", "streams", "goaway", "reset", "refuse", "half", "cut", "idle" } do
      if settings[name] == nil then settings[name] = false end
    end
    server.set(settings)
  end

  local is_whole = (os.getenv "CFPURGE_LUA" or "lua5.4") == "lua5.4"
  for _, case in ipairs(is_whole and { { 2, 60 }, { 8, 160 }, { 32, 320 }, { 200, 600 } } or { { 32, 160 } }) do
    local width, count = case[1], case[2]

    it("every second speaks HTTP/2, and only for ten requests: " .. width .. " in flight", function()
      mix { alpn = "alternate", goaway = 10, delay = 0.01 }
      told_rightly(server, api.client(server, { max_retries = 4 }), api.tags(count), nil, width)
      clients.close()
    end)

    it("a balancer stands before one machine of each: " .. width .. " in flight", function()
      mix { alpn = "alternate", streams = math.ceil(width / 8), delay = 0.01 }
      for _ = 1, 2 do
        local c = api.client(server, { max_retries = 4 })
        told_rightly(server, c, api.tags(count / 4), nil, width)
        server.close "fin" -- the next ones begin anew
        told_rightly(server, c, api.tags(count / 4), nil, width)
        c:close()
      end
    end)

    it("HTTP_1_1_REQUIRED resets some streams: " .. width .. " in flight", function()
      mix { alpn = "h2", reset = { code = 13, every = 10 }, delay = 0.01 }
      told_rightly(server, api.client(server, { max_retries = 6 }), api.tags(count), nil, width)
      clients.close()
    end)

    it("a proxy that ends the TLS itself is on the way of half of the calls: " .. width .. " in flight", function()
      mix { alpn = "h2", delay = 0.01 }
      local calls = 0
      told_rightly(server, api.client(server, { max_retries = 4 }), api.tags(count), function()
        calls = calls + 1
        return calls % 4 < 2 and { proxy = server.proxy } or nil
      end, width)
      local opened = server.counts().opened
      assert.is_true(opened.h1 > 0 and opened.h2 > 0)
      clients.close()
    end)
  end

  it("a list remains exactly, each item in a request of its own", function()
    mix { alpn = "alternate", goaway = 10, delay = 0.01 }
    local tags, refused = api.tags(200, "list"), {}
    for _, tag in ipairs(tags) do refused[#refused + 1] = tag:find "7$" and tag or nil end
    local result, err = api.client(server, { max_retries = 4, max_in_flight = 32 }):purge({ tags = tags }, { max_items = 1 })
    assert.is_nil(result)
    assert.same(refused, err.remaining.tags)
    assert.equal(#tags - #refused, err.accepted)
    local counts = server.counts()
    for _, tag in ipairs(tags) do assert.is_truthy(counts.seen[tag], tag .. " was never sent") end
    assert.is_true(sum(counts) <= err.attempts, sum(counts) .. " sent in " .. err.attempts .. " attempts")
    clients.close()
  end)
end)
