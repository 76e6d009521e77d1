-- What can match nothing at Cloudflare is refused here, and the item and the character are named: csrc/base/rules.
local clients = require "spec.support.client"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

local unpack = unpack or table.unpack

local good = { files = "https://a.example/", tags = "tag", hosts = "a.example", prefixes = "a.example/x" }
local BOM, NBSP, ZWSP = "\239\187\191", "\194\160", "\226\128\139"
local UNSEEN = "must not have white space or invisible characters: it has "

-- kind, item, what is said of it
local cases = {
  { "tags", "news,sport", "must not have a comma: no tag has one, give several one by one" },
  { "tags", "news, sport", "must not have a comma" },
  { "tags", '"news"', "must not have a quote" },
  { "tags", '["a","b"]', "must not have a quote" },
  { "tags", "news sport", "must be printable ASCII without spaces: it has U+0020 (space)" },
  { "tags", "news" .. NBSP, "it has U+00A0 (no-break space)" },
  { "tags", BOM .. "news", "it has U+FEFF (byte order mark)" },
  { "tags", "caf\195\169", "it has U+00E9" },
  { "tags", "caf\233", "bytes that are no UTF-8" },
  { "hosts", "a.example,b.example", "must not have a comma in the host name: give several one by one" },
  { "hosts", "a.example b.example", UNSEEN .. "U+0020 (space)" },
  { "hosts", " a.example", UNSEEN .. "U+0020 (space)" },
  { "hosts", "a.example" .. NBSP, UNSEEN .. "U+00A0 (no-break space)" },
  { "hosts", BOM .. "a.example", UNSEEN .. "U+FEFF (byte order mark)" },
  { "hosts", "a." .. ZWSP .. "example", UNSEEN .. "U+200B (zero width space)" },
  { "hosts", "a.example\r", UNSEEN .. "U+000D (carriage return)" },
  { "hosts", "a.example\n", UNSEEN .. "U+000A (line feed)" },
  { "hosts", "a.example\t", UNSEEN .. "U+0009 (tab)" },
  { "hosts", "a\0.example", UNSEEN .. "U+0000 (NUL)" },
  { "hosts", "a.example\127", UNSEEN .. "U+007F" },
  { "hosts", "a\226\128\131.example", UNSEEN .. "U+2003" },
  { "hosts", "*.example.com", "must not have a wildcard in the host name" },
  { "hosts", '"a.example"', "must not have a quote in the host name" },
  { "hosts", '["a.example","b.example"]', "must not have a quote in the host name" },
  { "prefixes", "a/b c/d", UNSEEN .. "U+0020 (space)" },
  { "prefixes", "a.example/b" .. NBSP, UNSEEN .. "U+00A0 (no-break space)" },
  { "prefixes", ZWSP .. "a.example/b", UNSEEN .. "U+200B (zero width space)" },
  { "prefixes", "a.example,b.example/c", "must not have a comma in the host name" },
  { "prefixes", "*.example.com/b", "must not have a wildcard in the host name" },
  { "prefixes", '"a.example/b"', "must not have a quote in the host name" },
  { "files", "https://a/1 https://a/2", "must be one URL: give several one by one: it has U+0020 (space)" },
  { "files", "https://a/1" .. NBSP .. "HTTP://a/2", "must be one URL" },
  { "files", "https://a/1?b=c \194\133https://a/2", "must be one URL" },
  { "files", "https://a.example" .. NBSP .. "/", UNSEEN .. "U+00A0 (no-break space)" },
  { "files", "https://a.example" .. NBSP, UNSEEN .. "U+00A0 (no-break space)" },
  { "files", "https://a. example/", UNSEEN .. "U+0020 (space)" },
  { "files", "https://*.example.com/", "must not have a wildcard in the host name" },
  { "files", "https://a.example,b.example/", "must not have a comma in the host name" },
  { "files", BOM .. "https://a.example/", "must be an absolute http(s) URL: it has U+FEFF (byte order mark)" },
  { "files", " https://a.example/", "must be an absolute http(s) URL: it has U+0020 (space)" },
  { "files", '"https://a.example/"', "must be an absolute http(s) URL" },
}

describe("what can match nothing", function()
  teardown(clients.close)
  after_each(command.clean)

  local client, zone
  before_each(function()
    client, zone = clients.new { max_retries = 0 }
    edge.script(zone, { { times = 0, body = clients.OK } })
  end)

  it("is refused in a table before anything is sent", function()
    for _, case in ipairs(cases) do
      local kind, item, said = unpack(case)
      local _, err = client:purge { [kind] = { good[kind], item } }
      assert.same({ "invalid_request", kind .. "[2]", { good[kind], item } }, { err.kind, err.field, err.remaining[kind] })
      assert.truthy(err.message:find(kind .. "[2]: ", 1, true) and err.message:find(said, 1, true), err.message)
    end
    local _, err = client:purge { files = { { url = "https://a.example" .. NBSP .. "/" } } }
    assert.same({ "files[1].url", "files[1].url: " .. UNSEEN .. "U+00A0 (no-break space)" }, { err.field, err.message })
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("fails alone in an iterator", function()
    for _, case in ipairs(cases) do
      local kind, item, said = unpack(case)
      local _, err = client:purge { [kind] = lists.iterator { good[kind], item, good[kind] } }
      assert.same({ 2, 1, { item }, kind .. "[2]" },
        { err.accepted, #err.failures, err.remaining[kind], err.failures[1].error.field })
      assert.truthy(err.failures[1].error.message:find(said, 1, true), err.failures[1].error.message)
    end
    assert.equal(#cases, edge.counts(zone).requests)
  end)

  it("leaves alone what may match", function()
    local fine = {
      tags = { "l'equipe", "'news'", "a;b", "*", "#", "{a}", "[a]", "\\" },
      hosts = { "a.example:8443", "\228\190\139\227\129\136.example", "xn--a", "a_b.example",
        -- A zero width non-joiner is part of names in Persian.
        "\217\134\216\167\217\133\217\135\226\128\140\216\167\219\140.example" },
      prefixes = { "a.example/b,c", "a.example/*", 'a.example/"b"', "a.example/\226\152\131" },
      files = { "https://a.example/*", "https://a.example/a,b", "https://a.example/a b", "https://a.example/\194\160",
        "https://a.example/?to=https://b.example/", "https://a.example/https://b.example/", "https://a.example/a https:/b",
        'https://a.example/["a","b"]', "https://a.example/a shttps://b.example/", "https://a.example?a b" },
    }
    for kind, items in pairs(fine) do
      local result, err = client:purge { [kind] = items }
      assert.equal(#items, result and result.accepted, tostring(err))
    end
  end)
end)
