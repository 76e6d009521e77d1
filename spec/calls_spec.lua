-- Calls as people write them: a dot in place of a colon, options left out, a table that can be called, tables that are
-- used again, a wait inside a callback of its own.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"
local elsewhere = require "spec.support.where"
local program = require "spec.hosts.program"

local TAGS = { tags = { "a" } }

-- Those of `list`, one by one.
local function callable(list)
  local next_item = lists.iterator(list)
  return setmetatable({}, { __call = function() return next_item() end })
end

describe("a dot in place of a colon", function()
  teardown(clients.close)

  local function raised(object, what, ...)
    local ok, text = pcall(object[what], ...)
    assert.is_false(ok, what)
    return text
  end

  it("is told by every method of a client", function()
    local client = clients.new()
    for name, method in pairs(getmetatable(client).__index) do
      if type(method) == "function" and not name:find "^__" then
        local expected = ("bad argument #1 to '%s' (cfpurge client expected)"):format(name)
        for _, first in ipairs { {}, TAGS, 5, "a" } do
          assert.truthy(raised(client, name, first, first):find(expected, 1, true), name)
        end
        assert.truthy(raised(client, name):find(expected, 1, true), name)
      end
    end
    assert.equal(0, client:stats().attempts)
  end)

  it("is told at the caller's line", function()
    local client = clients.new()
    local ok, text = pcall(function() client.purge { tags = { "a" } } end)
    assert.is_false(ok)
    assert.matches("calls_spec%.lua:%d+: bad argument #1 to 'purge' %(cfpurge client expected%)$", text)
    local request = client:start(TAGS)
    ok, text = pcall(function() request.wait() end)
    assert.is_false(ok)
    assert.matches("calls_spec%.lua:%d+: bad argument #1 to 'wait' %(cfpurge request expected%)$", text)
    request:wait()
  end)

  it("is told by every method of a request", function()
    local client = clients.new()
    local request = client:start(TAGS)
    for name in pairs(getmetatable(request).__index) do
      if not name:find "^__" then
        for _, first in ipairs { {}, TAGS, 5, client } do
          assert.truthy(raised(request, name, first):find("(cfpurge request expected)", 1, true), name)
        end
      end
    end
    assert(request:wait())
  end)
end)

describe("start", function()
  teardown(clients.close)

  it("takes an on_done in the place of the options", function()
    local client = clients.new()
    local calls = {}
    for _, params in ipairs { TAGS, { tags = lists.tags(150) }, { tags = lists.iterator(lists.tags(3)) } } do
      assert(client:start(params, function(result, err) calls[#calls + 1] = result or err end)):wait()
    end
    assert.same({ 1, 150, 3 }, { calls[1].accepted, calls[2].accepted, calls[3].accepted })
    assert.has_error(function() client:start(TAGS, print, print) end,
      "bad argument #2 to 'start' (table expected, got function)")
  end)
end)

describe("a table that can be called", function()
  teardown(clients.close)

  local client, zone, about
  before_each(function() client, zone, about = clients.new { max_retries = 0 } end)

  it("is an iterator of every kind", function()
    local urls = {}
    for i = 1, 120 do urls[i] = "https://" .. about.name .. "/" .. i end
    for kind, list in pairs { tags = lists.tags(120), files = urls, hosts = { about.name },
      prefixes = { about.name .. "/a" } } do
      for _, how in ipairs { "purge", "purge_" .. kind, "start", "named", "dry" } do
        edge.reset(zone)
        local given = callable(list)
        given[1] = list[1]
        local result
        if how == "purge" then
          result = assert(client:purge { [kind] = given })
        elseif how == "start" then
          result = assert(client:start { [kind] = given }:wait())
        elseif how == "named" then
          result = assert(client:purge({ [kind] = given }, { zone = about.name }))
        elseif how == "dry" then
          result = assert(client:purge({ [kind] = given }, { dry_run = true }))
          result.accepted = result.items
        else
          result = assert(client[how](client, given))
        end
        assert.equal(#list, result.accepted, how)
        assert.equal(how == "dry" and 0 or #list, edge.counts(zone).items, how)
      end
    end
  end)

  it("is what remains, where it was not read to its end", function()
    edge.script(zone, { { status = 403, json = { success = false, errors = {} } } })
    local _, err = client:purge({ tags = callable(lists.tags(1000)) }, { max_in_flight = 1 })
    assert.equal("permission_denied", err.kind)
    edge.script(zone, {})
    assert.equal(1000, assert(client:purge(err.remaining)).accepted)
    _, err = client:purge({ tags = callable(lists.tags(5)) }, { timeout = -1 })
    assert.equal("timeout", err.field)
    assert.equal(5, assert(client:purge(err.remaining)).accepted)
  end)
end)

describe("what a list was called with", function()
  teardown(clients.close)

  it("is what it was when it began", function()
    local client, zone, about = clients.new { max_retries = 0 }
    for _, form in ipairs { "table", "function", "named", "short" } do
      edge.reset(zone)
      edge.script(zone, { { match = '"t1"', status = 413, body = "" } })
      local list = lists.tags(form == "short" and 4 or 900)
      local headers, own = { ["X-Mine"] = "before" }, {}
      for i, item in ipairs(list) do own[i] = item end
      local options = { default_headers = headers, max_in_flight = 1 }
      if form == "named" then options.zone = about.name end
      local request = assert(client:start({ tags = form == "function" and lists.iterator(list) or own }, options))
      headers["X-Mine"], headers["X-More"], options.max_in_flight = "after", "after", 50
      for i = 1, #own do own[i] = "changed" end
      assert.equal(#list, assert(request:wait()).accepted, form)
      local sent, requests = {}, edge.requests(zone)
      for i, seen in ipairs(requests) do
        assert.same({ "before" }, { seen.headers["x-mine"], seen.headers["x-more"] }, form)
        for item in seen.body:gmatch '"(t%d+)"' do sent[item] = i end
      end
      for _, item in ipairs(list) do assert.truthy(sent[item], form .. " " .. item) end
    end
  end)
end)

describe("waiting for a request inside a callback of its own", function()
  teardown(clients.close)

  -- What each of them was told; `client` waits however its host does.
  local CODE = [[
    local client, seen, request = new { max_in_flight = 2 }, {}, nil
    local function told(what)
      local result, err = request:wait()
      seen[what] = result and "a result" or err.kind .. ": " .. err.message
    end
    local i = 0
    request = client:start({ tags = function()
      i = i + 1
      if i == 250 then told "iterator" end
      if i == 260 then coroutine.wrap(told) "nested" end
      return i <= 450 and "t" .. i or nil
    end }, { on_progress = function() told "on_progress" end }, function() told "on_done" end)
    host.wait_until(function() return request:done() end, { client })
    seen.accepted = request:result().accepted
    return seen
  ]]
  local hosts = { "blocking", "frame", "luv", "cqueues", "copas", "own" }
  if rawget(_G, "jit") then hosts[#hosts + 1] = "nvim" end

  for _, name in ipairs(hosts) do
    it("is refused: " .. name, function()
      if (name == "luv" or name == "cqueues" or name == "copas") and elsewhere(name) then return end
      local REFUSED = "invalid_request: wait: the request cannot end before its own callback has returned"
      assert.same({ iterator = REFUSED, nested = REFUSED, on_progress = REFUSED, on_done = "a result", accepted = 450 },
        (program.run(name, CODE, { limit = 20 })))
    end)
  end

  it("is no hindrance to those who wait elsewhere", function()
    if elsewhere "yields cqueues" then return end
    local value = program.run("cqueues", [[
      local cqueues = require "cqueues"
      local client, i, result = new(), 0, nil
      local request
      host.spawn(function()
        request = client:start { tags = function()
          i = i + 1
          if i == 2 then cqueues.sleep(0.2) end
          return i <= 3 and "t" .. i or nil
        end }
      end)
      host.spawn(function()
        cqueues.sleep(0.05)
        while not request do cqueues.sleep(0.01) end
        result = assert(request:wait()).accepted
      end)
      host.wait_until(function() return result end)
      return { result = result }]])
    assert.same({ result = 3 }, value)
  end)
end)

describe("cfpurge.variants", function()
  it("refuses an iterator in the place of its URLs", function()
    for got, urls in pairs { ["an iterator"] = callable { "https://a.example/" }, ["function"] = print } do
      assert.has_error(function() cfpurge.variants(urls, { device = { "mobile" } }) end,
        "bad argument #1 to 'variants' (urls: table expected, got " .. got .. ")")
    end
  end)
end)
