-- How a text is written as JSON, and which is none: csrc/base/json, which copies eight plain bytes at a time.
local cjson = require("cjson").new()
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local URL = "https://a.example/"

local UNSEEN = "must not have white space or invisible characters"

-- Where a list holds a text: the item, or a part of it; what is said of a control character.
local PLACES = {
  { "files[1]", function(text) return { files = { text } } end, URL },
  { "files[1].url", function(text) return { files = { { url = text } } } end, URL },
  { "files[1].headers.Origin", function(text)
    return { files = { { url = URL, headers = { Origin = text } } } }
  end, "" },
  { "hosts[1]", function(text) return { hosts = { text } } end, "a", UNSEEN },
  { "prefixes[1]", function(text) return { prefixes = { text } } end, "a.example/", UNSEEN },
}

describe("a text", function()
  teardown(clients.close)

  local client, writer, zone

  setup(function()
    client, zone = clients.new()
    writer = clients.keep(assert(core.new(clients.options { zone_id = zone })))
    edge.script(zone, { { times = 0, body = clients.OK } })
  end)
  before_each(function()
    edge.reset(zone)
    edge.script(zone, { { times = 0, body = clients.OK } })
  end)

  -- What a file's header of this value is written as; or nil and the error.
  local function written(text)
    local path, body = writer:check { files = { { url = URL, headers = { A = text } } } }
    if not path then return nil, body end
    return body:match '^{"files":%[{"url":"https://a%.example/","headers":{"A":(.*)}}%]}$'
  end

  local function refused(params, field, message)
    local result, err = client:purge(params)
    assert.is_nil(result, field)
    assert.equal("invalid_request", err.kind)
    assert.equal(field, err.field)
    assert.truthy(err.message:find(message, 1, true), err.message .. " does not say: " .. message)
    assert.equal(params, err.remaining)
  end

  it("has its quotes and backslashes escaped, wherever they stand, and nothing else", function()
    for at = 0, 9 do
      for _, case in ipairs { { '"', '\\"' }, { "\\", "\\\\" }, { '"\\', '\\"\\\\' }, { "/", "/" }, { "\194\128", "\194\128" },
        { "\226\128\168", "\226\128\168" }, { "~ ", "~ " } } do
        for _, rest in ipairs { "", "s", ("s"):rep(7), ("s"):rep(8), ("s"):rep(20) } do
          local before = ("p"):rep(at)
          assert.equal('"' .. before .. case[2] .. rest .. '"', written(before .. case[1] .. rest))
        end
      end
    end
    local long = ('"'):rep(100000) .. ("\\"):rep(100000)
    assert.equal(long, cjson.decode("[" .. written(long) .. "]")[1])
    assert.equal('""', written "")
  end)

  it("holds no control character, wherever it stands", function()
    for code = 0, 127 do
      if code < 32 or code == 127 then
        for at = 0, 9 do
          for _, place in ipairs(PLACES) do
            local text = place[3] .. ("p"):rep(at) .. string.char(code) .. ("s"):rep(9 - at)
            refused(place[2](text), place[1], place[4] or "must not hold control characters")
          end
        end
      end
    end
    refused({ files = { { url = URL, headers = { ["a\0b"] = "" } } } }, "files[1].headers.a",
      "control characters")
    refused({ files = { { url = URL, headers = { ["a\nb"] = "" } } } }, "files[1].headers.a\nb",
      "control characters")
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("is valid UTF-8, wherever it stands", function()
    local bad = { "\128", "\191", "\192\128", "\193\191", "\224\128\128", "\224\159\191", "\237\160\128", "\237\191\191",
      "\240\128\128\128", "\240\143\191\191", "\244\144\128\128", "\245\128\128\128", "\254", "\255", "\194", "\224\160",
      "\240\144\128", "\194a", "\225\128a", "\241\128\128a", "\195\195\169" }
    for _, bytes in ipairs(bad) do
      for at = 0, 9 do
        for _, place in ipairs(PLACES) do
          refused(place[2](place[3] .. ("p"):rep(at) .. bytes), place[1], "is not valid UTF-8")
          refused(place[2](place[3] .. ("p"):rep(at) .. bytes .. "tailtail"), place[1], "is not valid UTF-8")
        end
      end
    end
    assert.equal(0, edge.counts(zone).requests)
    for _, bytes in ipairs { "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128", "\239\191\191",
      "\240\144\128\128", "\244\143\191\191" } do
      local files = {}
      for at = 0, 9 do
        files[#files + 1] = URL .. ("p"):rep(at) .. bytes
        files[#files + 1] = URL .. ("p"):rep(at) .. bytes .. "tailtail"
      end
      edge.reset(zone)
      edge.script(zone, { { times = 0, body = clients.OK } })
      assert(client:purge { files = files })
      assert.equal('{"files":["' .. table.concat(files, '","') .. '"]}', edge.requests(zone)[1].body)
    end
  end)

  it("is UTF-8 by the definition of it, for every pair of bytes that a character can begin with", function()
    -- A code point as UTF-8: what is not the encoding of one is no character.
    local function encoded(point)
      if point < 0x80 then return string.char(point) end
      local bytes, lead = {}, point < 0x800 and 0xc0 or point < 0x10000 and 0xe0 or 0xf0
      for _ = 1, lead == 0xc0 and 1 or lead == 0xe0 and 2 or 3 do
        table.insert(bytes, 1, string.char(0x80 + point % 64))
        point = math.floor(point / 64)
      end
      return string.char(lead + point) .. table.concat(bytes)
    end
    local function is_character(bytes)
      local lead = bytes:byte()
      local point = lead % (#bytes == 2 and 0x20 or #bytes == 3 and 0x10 or 0x08)
      for i = 2, #bytes do point = point * 64 + bytes:byte(i) % 64 end
      return point <= 0x10ffff and not (point >= 0xd800 and point <= 0xdfff) and encoded(point) == bytes
    end
    local count = 0
    local function check(...)
      local bytes = string.char(...)
      local text, err = written(bytes)
      if is_character(bytes) then
        count = count + 1
        if text ~= '"' .. bytes .. '"' then error(("%q was refused: %s"):format(bytes, tostring(err))) end
      elseif text then
        error(("%q was taken"):format(bytes))
      end
    end
    for lead = 0x80, 0xff do
      for second = 0x20, 0xff do
        check(lead, second)
        for _, third in ipairs(lead >= 0xe0 and { 0x41, 0x7e, 0x80, 0xbf, 0xc0, 0xff } or {}) do
          check(lead, second, third)
          for _, fourth in ipairs(lead >= 0xf0 and { 0x41, 0x80, 0xbf, 0xc0 } or {}) do
            check(lead, second, third, fourth)
          end
        end
      end
    end
    assert.equal(30 * 64 + 15 * 64 * 2 + (3 * 64 + 48 + 16) * 4, count)
  end)
end)
