-- What is refused here of a list as it is read: it costs no request, equal causes share one failure, and what remains is
-- exact. lua/cfpurge/bulk/source.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"
local peer = require "spec.support.peer"
local sources = require "cfpurge.bulk.source"

local tags, iterator = lists.tags, lists.iterator

-- A list, or what an iterator gives at most.
local function items_of(remaining, most)
  local items = {}
  for item in iterator(remaining) do
    items[#items + 1] = item
    if #items == most then break end
  end
  return items
end

describe("items that are refused as they are read", function()
  teardown(clients.close)
  after_each(command.clean)

  local client, zone
  before_each(function() client, zone = clients.new { max_retries = 0 } end)

  -- So many tags, of which each tenth is wrong.
  local function each_tenth(count)
    local list, wrong, places = tags(count), {}, {}
    for i = 10, count, 10 do
      list[i], wrong[#wrong + 1], places[#places + 1] = "wrong " .. i, "wrong " .. i, i
    end
    return list, wrong, places
  end

  it("cost no request, and share one failure", function()
    local list, wrong, places = each_tenth(1000)
    local _, err = client:purge { tags = iterator(list) }
    assert.same({ 900, 9, 9, wrong }, { err.accepted, err.requests, edge.counts(zone).requests, err.remaining.tags })
    assert.same({ 1, wrong, places, 10, "tags[10]" }, { #err.failures, err.failures[1].items, err.failures[1].places,
      err.failures[1].at, err.failures[1].error.field })
    edge.reset(zone)
    -- Of a table the first 1,000 are checked before anything is sent.
    local long = tags(1000)
    for i, tag in ipairs(list) do long[1000 + i] = tag:gsub("^t", "u") end
    _, err = client:purge { tags = long }
    assert.same({ 1900, 19, wrong, 1010 }, { err.accepted, err.requests, err.remaining.tags, err.failures[1].at })
  end)

  it("are named to the part that is wrong", function()
    local url = "https://a.example/"
    edge.script(zone, { { times = 0, body = clients.OK } })
    for field, item in pairs { [".url"] = { url = "x" }, [".headers"] = { url = url, headers = 5 },
      [".headers.Origin"] = { url = url, headers = { Origin = 5 } }, [".nope"] = { url = url, nope = 1 }, [""] = 5 } do
      local long = {}
      for i = 1, 1000 do long[i] = url .. i end
      long[1001] = item
      for _, list in ipairs { iterator(long), long } do
        local _, err = client:purge { files = list }
        local cause = err.failures[1].error
        assert.same({ 1000, "files[1001]" .. field, 1 }, { err.accepted, cause.field,
          (cause.message:find("files[1001]" .. field .. ": ", 1, true)) })
      end
    end
  end)

  it("are named in a short message, however long a key is", function()
    for _, list in ipairs { { { [("k"):rep(100000)] = 1 } },
      { { url = "https://a.example/", headers = { [("\195\164"):rep(50000)] = 5 } } } } do
      local _, err = client:purge { files = iterator(list) }
      assert.is_true(#err.failures[1].error.message < 200, #err.failures[1].error.message)
      assert.truthy(err.failures[1].error.field:find "%.[k\195\164]+%.%.%.$")
    end
  end)

  it("are counted as failed while it goes on", function()
    local last
    local list = each_tenth(1000)
    client:purge({ tags = iterator(list) }, { on_progress = function(progress) last = progress end })
    assert.same({ 900, 900, 100 }, { last.accepted, last.sent, last.failed })
  end)

  it("fail by each cause, and their lines are known", function()
    local lines = { "# a comment", "#tag" }
    for i = 1, 200 do lines[#lines + 1] = "t" .. i .. (i % 5 == 0 and "\n#wrong tag" .. i or "") end
    lines[#lines + 1] = "a,b"
    client, zone = clients.new { plan = "free", max_retries = 0 }
    local reader = assert(cfpurge.lines(command.file(table.concat(lines, "\n")), "tags"))
    local _, err = client:purge { tags = function() return reader() end }
    assert.same({ 201, 3, 2 }, { err.accepted, edge.counts(zone).requests, #err.failures })
    local spaces, comma = err.failures[1], err.failures[2]
    assert.same({ 40, "#wrong tag5", "#wrong tag200" }, { #spaces.items, spaces.items[1], spaces.items[40] })
    assert.same({ 7, 3, 242 }, { spaces.places[1], 3, comma.at })
    for i, place in ipairs(spaces.places) do assert.equal(2 + 6 * i, reader:place(place)) end
    assert.same({ 243, "tags[242]: must not have a comma: no tag has one, give several one by one" },
      { reader:place(comma.at), comma.error.message })
  end)

  it("stand at their place in what remains, between those that the API refused", function()
    for _, list in ipairs { (each_tenth(500)), (each_tenth(2500)) } do
      for i = 10, 1000, #list > 1000 and 10 or 2000 do list[i] = "t" .. i end
      for _, form in ipairs { "iterator", #list > 1000 and "table" or nil } do
        edge.reset(zone)
        edge.script(zone, { { times = 1, pass = true }, { status = 401, body = "{}", times = 0 } })
        local _, err = client:purge({ tags = form == "table" and list or iterator(list) }, { max_in_flight = 1 })
        local expected, sent = {}, {}
        for i = 1, err.accepted do sent[lists.sent(zone)[i]] = true end
        for _, tag in ipairs(list) do expected[#expected + 1] = not sent[tag] and tag or nil end
        assert.equal(100, err.accepted)
        assert.same(expected, items_of(err.remaining.tags))
        local last = 0
        for _, failure in ipairs(err.failures) do
          assert.is_true(failure.at > last)
          last = failure.at
          for i, item in ipairs(failure.items) do
            assert.equal(list[failure.places and failure.places[i] or failure.at + i - 1], item)
          end
        end
      end
    end
  end)

  it("end a list where so many came in a row, and nothing was accepted", function()
    local n = 0
    local _, err = client:purge { tags = function()
      n = n + 1
      return "wrong " .. n
    end }
    assert.same({ "invalid_request", 0, 1000, 0 }, { err.kind, err.accepted, n, edge.counts(zone).requests })
    assert.matches("1000 items in a row were refused here, and none was accepted: tags%[1%]: must be", err.message)
    assert.same({ 1, 1000 }, { #err.failures, #err.failures[1].items })
    local items = items_of(err.remaining.tags, 1500)
    assert.same({ "wrong 1", "wrong 1000", "wrong 1001", "wrong 1500" },
      { items[1], items[1000], items[1001], items[1500] })
    -- What was read before them is sent first, and where it is accepted the list goes on.
    local list = { "good" }
    for i = 1, 1200 do list[1 + i] = "wrong " .. i end
    list[#list + 1] = "better"
    _, err = client:purge { tags = iterator(list) }
    assert.same({ 2, 1, 1200 }, { err.accepted, #err.failures, #err.remaining.tags })
    edge.script(zone, { lists.refusal(1, 400) })
    _, err = client:purge { tags = iterator(list) }
    assert.same({ 0, 2, "good" }, { err.accepted, #err.failures, err.failures[1].items[1] })
    assert.same(list, items_of(err.remaining.tags))
    -- A table as well.
    edge.script(zone, { lists.refusal(1, 400) })
    local long = tags(1000)
    for i = 1, 3000 do long[1000 + i] = "wrong " .. i end
    _, err = client:purge { tags = long }
    assert.same({ 0, long }, { err.accepted, items_of(err.remaining.tags) })
  end)

  it("are any number, in turns, and are held once", function()
    local n, longest, last = 0, 0, 0
    local request
    local growth = peer.growth(function()
      request = assert(client:start { tags = function()
        n = n + 1
        return n <= 200000 and (n % 1000 == 1 and "t" .. n or "wrong tag") or nil
      end })
      while not request:done() do
        client:step(1)
        longest, last = math.max(longest, n - last), n
      end
    end)
    local _, err = request:result()
    assert.same({ 200, 1, 199800 }, { err.accepted, #err.failures, #err.failures[1].items })
    assert.is_true(longest <= 2 * sources.TURN + 100, longest)
    if not host.watched then assert.is_true(growth < 40 * 1024 * 1024, growth) end
  end)

  it("of many causes are bounded too", function()
    local list = {}
    for i = 1, 900 do list[i] = "t" .. string.char(0xe4 + math.floor(i / 64) % 4, 0x80 + i % 64, 0x80 + i % 60) end
    local _, err = client:purge { tags = iterator(list) }
    assert.same({ list, 51 }, { err.remaining.tags, #err.failures })
  end)
end)
