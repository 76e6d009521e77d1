-- Input that is meant to do harm: what a caller passes on, and the environment. A header, a path, the host's time and
-- memory stay what they are. What params and options refuse byte by byte is in params_spec and options_spec.
local elsewhere = require "spec.support.where"
local cfpurge = require "cfpurge"
local cjson = require("cjson").new()
local edge = require "spec.support.edge"
local clients = require "spec.support.client"
local host = require "spec.support.host"
local peer = require "spec.support.peer"

local env = edge.up()
local OK = clients.OK
local TAGS = { tags = { "a" } }
local MIB = 1024 * 1024

-- An error or a raised message, but an end, and nothing that is not text.
local function refused(f, ...)
  local ok, result, err = pcall(f, ...)
  assert.is_true(not ok or result == nil)
  local said = ok and tostring(err) or result
  assert.is_string(said)
  return said
end

describe("hostile input", function()
  teardown(function()
    clients.close()
    peer.stop()
  end)

  local client, zone
  setup(function() client, zone = clients.new { max_retries = 0 } end)
  before_each(function()
    edge.reset(zone)
    edge.script(zone, { { times = 0, body = OK } })
  end)

  it("in a name stays one value of the query", function()
    for _, name in ipairs { "a&page=9", "a#b", "a/../../user", "%2e%2e/x", "a b", "a\r\nX-Injected: 1", "a\0b", "?",
      "é", "\255\254", ("n"):rep(300), "a+b;c=d", "\\..\\x" } do
      local server = peer.start { { read = "\r\n\r\n" },
        { send = 'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"success":true,"result":[]}' } }
      local other = clients.new { base_url = "http://" .. server.address .. "/v4", max_retries = 0 }
      local ok, _, err = pcall(other.purge, other, TAGS, { zone = name })
      other:close()
      assert.is_truthy(not ok or err)
      local log = server.log()
      if err and err.kind == "not_found" then log = server.log(1) end
      if log[1] then
        local line, rest = log[1].received:match "^([^\r]*)\r\n(.*)$"
        local sent = line:match "^GET /v4/zones%?name=([%w%%._~-]*)&page=1&per_page=50 HTTP/1.1$"
        assert.is_truthy(sent, line)
        sent = sent:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
        assert.equal(name == "é" and "xn--9ca" or name, sent)
        assert.is_nil(rest:find("X-Injected", 1, true))
      end
    end
  end)

  it("in an item is data in the body, wherever it points", function()
    local odd = { "https://a.example/../../zones/x", "https://a.example/%2e%2e/?x#y", "http://[::1]:99999/",
      "https://a\\b/", "https://a.example/\"}],\"purge_everything\":true,\"x\":[{\"",
      "https://a.example/</script>${x}`id`$(id)",
      "https://127.0.0.1:1/", "https://a.example/\226\128\174" }
    assert(client:purge { files = odd })
    local request = edge.requests(zone)[1]
    assert.same({ files = odd }, cjson.decode(request.body))
    assert.equal("/client/v4/zones/" .. zone .. "/purge_cache", request.path)
    assert(client:purge { files = { { url = odd[1], headers = { ["Host"] = "x", ["Authorization"] = "y",
      ["a: b"] = "c: d", ["Content-Length"] = "0" } } } })
    request = edge.requests(zone)[2]
    assert.equal("Bearer " .. env.TOKEN, request.headers.authorization)
    assert.equal(tostring(#request.body), request.headers["content-length"])
  end)

  it("may be a table within itself", function()
    local params = {}
    params.files = params
    refused(client.purge, client, params)
    params = { files = {} }
    params.files[1] = params.files
    refused(client.purge, client, params)
    params.files[1] = { url = "https://a.example/", headers = params }
    refused(client.purge, client, params)
    params.files[1].headers = params.files[1]
    refused(client.purge, client, params)
    local options = {}
    options.default_headers, options.rate, options.loop = options, options, options
    refused(client.purge, client, TAGS, options)
    refused(cfpurge.new, options)
    refused(client.purge, client, client)
    refused(client.purge, client, _G)
    refused(client.purge, client, TAGS, _G)
    refused(client.purge, client, setmetatable({}, { __index = function() error "ran" end,
      __len = function() return 1e9 end,
      __pairs = function() error "ran" end, __tostring = function() error "ran" end, __name = 5 }))
    assert.equal(0, edge.counts(zone).requests)
    assert(client:purge(TAGS))
  end)

  it("may change while it is sent", function()
    -- A list of up to 1,000 items is kept as it was; of a longer one what is gone when it is to be sent is told of.
    for size, accepted in pairs { [450] = 450, [1450] = 200 } do
      local list, options = {}, { max_in_flight = 2 }
      for i = 1, size do list[i] = "t" .. i end
      local params, events = { tags = list }, 0
      local other, id = clients.new { max_retries = 0, on_event = function()
        events = events + 1
        for i = #list, 1, -1 do list[i] = events % 2 == 0 and {} or nil end
        params.tags, params.files, options.max_in_flight, options.zone_id = nil, { 5 }, "x", "../x"
      end }
      edge.script(id, { { times = 0, body = OK } })
      local result, err = other:purge(params, options)
      local count = 0
      for _, request in ipairs(edge.requests(id)) do count = count + #cjson.decode(request.body).tags end
      assert.same({ accepted, accepted }, { (result or err).accepted, count })
      if not result then
        assert.equal("tags[201]", err.field)
        assert.same({}, err.remaining.tags)
      end
    end
    local other = clients.new { max_retries = 0 }
    -- An iterator that changes what it gave, and what it was called with.
    local given, n = {}, 0
    local result = other:purge { files = function()
      n = n + 1
      for _, item in ipairs(given) do item.url, item.headers = {}, 5 end
      given[n] = { url = "https://a.example/" .. n }
      return n <= 250 and given[n] or nil
    end }
    assert.is_truthy(result == nil or result.accepted <= 250)
  end)

  it("may come from an iterator that gives anything, ends never, or comes back to the client", function()
    for _, item in ipairs { 5, true, {}, print, "", "\0", ("x"):rep(2000), { url = 5 } } do
      local n = 0
      local result, err = client:purge { tags = function()
        n = n + 1
        return n <= 3 and item or nil
      end }
      assert.is_nil(result)
      assert.equal(0, err.accepted)
    end
    local n, deep = 0, 0
    local result = client:purge { tags = function()
      n = n + 1
      if n == 1 and deep < 3 then
        deep = deep + 1
        client:purge(TAGS)
        client:step(0)
      end
      return n < 150 and "t" .. n or nil
    end }
    assert.equal(149, result.accepted)
    local request
    n = 0
    local growth = peer.growth(function()
      request = client:start { tags = function()
        n = n + 1
        if n == 50000 then request:cancel() end
        return "endless" .. n
      end }
      request:wait()
    end)
    local err = select(2, request:result())
    assert.equal("cancelled", err.kind)
    assert.is_true(n < 52000, n)
    if not host.watched then assert.is_true(growth < 48 * MIB, growth) end
  end)

  it("may be ten million items: refused by the first that is wrong, with no copy made of the rest", function()
    if elsewhere "once unwatched" then return end
    local list = {}
    for i = 1, 10000000 do list[i] = "t" end
    list[250] = ""
    local growth, result, err = peer.growth(function() return client:purge { tags = list } end)
    assert.is_nil(result)
    assert.equal("tags[250]", err.field)
    assert.is_true(growth < 16 * MIB, growth)
    assert.equal(0, edge.counts(zone).requests)
  end)

  it("may be one request of 200,000 items: what that took is given back, whether it was refused or not", function()
    if elsewhere "once unwatched" then return end
    -- What is freed goes back to the system at once.
    local MALLOC = { MALLOC_MMAP_THRESHOLD_ = "100000", MALLOC_TRIM_THRESHOLD_ = "100000" }
    for _, last in ipairs { "t", "" } do
      local kept = host.run([[
        local function resident() return tonumber(io.open("/proc/self/statm"):read "*a":match "%d+ (%d+)") * 4096 end
        local client = require "cfpurge.core".new { api_token = "t0k3n-0123456789", zone_id = "z", max_items = 1000000 }
        local list = {}
        for i = 1, 200000 do list[i] = "t" .. i end
        list[#list + 1] = args.last
        assert((client:check { tags = list } ~= nil) == (args.last == "t"))
        local before = resident()
        client:close()
        return before - resident()]], { args = { last = last }, env = MALLOC })
      assert.is_true(kept < 4 * MIB, kept)
    end
  end)

  it("in the environment changes neither whom we trust nor where we go", function()
    local dir = host.dir() .. "/hostile"
    host.must("mkdir -p " .. dir)
    local file = assert(io.open(dir .. "/.curlrc", "w"))
    file:write("insecure\nproxy = http://127.0.0.1:1\nheader = \"X-Injected: 1\"\nlocation\noutput = /tmp/x\n")
    file:close()
    local own = edge.zone()
    local program = [[
      local kinds = {}
      for i, case in ipairs { { edge.env.API_TLS, edge.env.CA_FILE }, { edge.env.API_TLS }, { edge.env.API_HTTP } } do
        local c = client.new { base_url = case[1], ca_file = case[2], zone_id = args.zone, max_retries = 0 }
        local result, err = c:purge { tags = { "a" } }
        kinds[i] = result and "accepted" or err.kind
      end
      return kinds]]
    for _, variables in ipairs {
      { HOME = dir, CURL_HOME = dir, XDG_CONFIG_HOME = dir },
      { CURL_CA_BUNDLE = env.CA_FILE, SSL_CERT_FILE = env.CA_FILE, SSL_CERT_DIR = env.EDGE .. "/ssl",
        REQUESTS_CA_BUNDLE = env.CA_FILE, CURL_SSL_BACKEND = "nss" },
      { HTTP_PROXY = "http://127.0.0.1:1", http_proxy = "http://me:word@127.0.0.1:1",
        ftp_proxy = "http://127.0.0.1:1" },
      { NO_PROXY = "*", no_proxy = ("x,"):rep(10000) },
      -- valgrind itself needs one.
      { LUA_INIT = "", TMPDIR = host.watched and env.EDGE or "/nonexistent" },
      { NETRC = dir .. "/.curlrc", LD_BIND_NOW = "1", RES_OPTIONS = "timeout:1", LOCALDOMAIN = "evil.example" },
    } do
      assert.same({ "accepted", "tls", "accepted" }, host.run(program, { args = { zone = own }, env = variables }))
    end
    for _, request in ipairs(edge.requests(own)) do
      assert.is_nil(request.headers["x-injected"])
      assert.equal("Bearer " .. env.TOKEN, request.headers.authorization)
    end
  end)
end)
