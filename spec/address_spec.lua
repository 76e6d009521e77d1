-- Where a credential may go: base_url, proxy and clear text, csrc/engine/address.
local cfpurge = require "cfpurge"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local TAGS = { tags = { "a" } }

local function new(options)
  options.api_token, options.zone_id = "t", "z"
  return cfpurge.new(options)
end

local function accepted(options)
  local client, _, err = new(options)
  assert(client, tostring(err) .. " " .. tostring(options.base_url) .. " " .. tostring(options.proxy))
  client:close()
end

local function refused(options, field, message)
  local client, _, err = new(options)
  assert.is_nil(client, tostring(options[field]))
  assert.same({ "invalid_request", field }, { err.kind, err.field })
  assert.truthy(err.message:find(message, 1, true), err.message)
end

describe("base_url", function()
  teardown(clients.close)

  setup(function() edge.up() end)

  it("is an absolute http(s) URL without user, query and fragment", function()
    for _, url in ipairs { "https://api.example", "https://api.example/", "HTTPS://API.example/client/v4",
      "https://api.example:8443/a/b///", "https://[2001:db8::1]:443/v4", "https://127.0.0.1/" } do
      accepted { base_url = url }
    end
    for _, url in ipairs { "api.example", "/client/v4", "//api.example/", "ftp://api.example/", "file:///etc/passwd",
      "https://", "https://:443/", "http:", "https://api.example:99999/", "https://api.example:x/",
        " https://api.example",
      "https://api.example/a b", "https://[::1", "javascript:alert(1)" } do
      refused({ base_url = url, allow_http = true }, "base_url", "must be an absolute http(s) URL")
    end
    for _, url in ipairs { "https://me@api.example/", "https://me:word@api.example/", "https://:word@api.example/",
      "http://127.0.0.1@api.example/", "http://localhost:80@api.example/" } do
      refused({ base_url = url, allow_http = true }, "base_url", "must not hold a user or password")
    end
    for _, url in ipairs { "https://api.example/?a", "https://api.example?a=b", "https://api.example/#a",
      "https://api.example?", "https://api.example/#" } do
      refused({ base_url = url }, "base_url", "must not have a query or fragment")
    end
  end)

  it("may end in slashes and have any path", function()
    local client, zone = clients.new()
    for ending, path in pairs { [""] = "", ["/"] = "", ["///"] = "", ["/more/a%20b/"] = "/more/a%20b" } do
      edge.reset(zone)
      edge.script(zone, { { body = clients.OK } })
      assert(client:purge(TAGS, { base_url = edge.env.API_HTTP .. ending }))
      assert.equal("/client/v4" .. path .. "/zones/" .. zone .. "/purge_cache", edge.requests(zone)[1].path)
    end
  end)
end)

describe("a credential in clear text", function()
  teardown(clients.close)

  local loopback = { "http://127.0.0.1/", "http://127.0.0.1:8080/client/v4", "http://127.1.2.3", "http://localhost:1/",
    "HTTP://LOCALHOST/", "http://[::1]/", "http://[::1]:8080" }
  local elsewhere = { "http://api.example/", "http://10.0.0.1/", "http://128.0.0.1/", "http://127.0.0.1.example/",
    "http://localhost.example/", "http://127.example/", "http://mylocalhost/", "http://[2001:db8::1]/",
      "http://0.0.0.0/", "http://127.0.0.1.2/", "http://127.0..0.1/", "http://127.256.0.1/",
    "http://[::ffff:10.0.0.1]/", "http://127.0.0.1%2eexample/", "http://api.cloudflare.com/client/v4" }
  local remote = { "http://proxy.example:3128", "proxy.example:3128", "socks5://10.0.0.1:1080",
    "https://proxy.example" }
  local own = { "http://127.0.0.1:3128", "127.0.0.1:3128", "socks5h://localhost:1080", "http://me:word@127.0.0.1:3128" }

  it("leaves for loopback only, or where allow_http says so", function()
    for _, url in ipairs(loopback) do accepted { base_url = url } end
    for _, url in ipairs(elsewhere) do
      refused({ base_url = url }, "base_url", "would send the credential in clear text")
      refused({ base_url = url, allow_http = false }, "base_url", "would send the credential in clear text")
      accepted { base_url = url, allow_http = true }
    end
  end)

  it("goes to loopback through no other machine", function()
    for _, proxy in ipairs(remote) do
      refused({ base_url = loopback[1], proxy = proxy }, "base_url", "would send the credential in clear text")
      accepted { base_url = loopback[1], proxy = proxy, allow_http = true }
      accepted { base_url = "https://api.example", proxy = proxy }
    end
    for _, proxy in ipairs(own) do
      accepted { base_url = loopback[1], proxy = proxy }
      refused({ base_url = elsewhere[1], proxy = proxy }, "base_url", "would send the credential in clear text")
      accepted { base_url = "https://api.example", proxy = proxy }
    end
    accepted { base_url = loopback[1], proxy = "" }
    refused({ base_url = elsewhere[1], proxy = "" }, "base_url", "would send the credential in clear text")
  end)

  it("leaves by no option of a call either", function()
    local client, zone = clients.new()
    for _, options in ipairs { { base_url = elsewhere[1] }, { proxy = remote[1] },
      { base_url = loopback[1], proxy = remote[1] }, { base_url = elsewhere[1], allow_http = false } } do
      local result, err = client:purge(TAGS, options)
      assert.is_nil(result)
      assert.same({ "invalid_request", "base_url", TAGS }, { err.kind, err.field, err.remaining })
    end
    assert.equal(0, edge.counts(zone).requests)
    -- allow_http of a client can be taken back by a call, and one of a call ends with it.
    local open = clients.new { allow_http = true, max_retries = 0 }
    local _, err = open:purge(TAGS, { allow_http = false, base_url = elsewhere[1] })
    assert.equal("base_url", err.field)
    assert.equal("connection", select(2, client:purge(TAGS, { allow_http = true, base_url = "http://0.0.0.0:1",
      max_retries = 0 })).kind)
    _, err = client:purge(TAGS, { base_url = "http://0.0.0.0:1" })
    assert.equal("base_url", err.field)
  end)
end)

describe("proxy", function()
  teardown(clients.close)

  local client, zone

  setup(function() client, zone = clients.new() end)
  before_each(function() edge.reset(zone) end)

  local function seen(from)
    local count = 0
    for _, entry in ipairs(edge.proxied(from)) do
      for _, value in pairs(entry) do
        if type(value) == "string" and value:find(zone, 1, true) then
          count = count + 1
          break
        end
      end
    end
    return count
  end

  it("is a URL of a known scheme", function()
    for _, proxy in ipairs { "http://p.example", "https://p.example:3128", "socks4://p.example", "socks4a://p.example",
      "SOCKS5://p.example:1080", "socks5h://me:word@p.example", "p.example:3128", "p.example", "me:word@p.example:1",
      "[::1]:3128" } do
      accepted { proxy = proxy }
    end
    for _, proxy in ipairs { "ftp://p.example", "file:///x", "gopher://p.example", "http://", "http://p.example:99999",
      "5ttp:/[::1]", "http:/[::1]", "p example", "sock5://p.example" } do
      refused({ proxy = proxy }, "proxy", "must be a URL with the scheme")
    end
    for _, proxy in ipairs { "ftp://me:password@p.example", "http://me:password@p.example:99999", "http:/me:password@p",
      "http://me:password@p.example/\r\nX: y", "http://me:password\r\n@p.example" } do
      local _, message, err = new { proxy = proxy }
      err = err or message
      assert.equal("proxy", err.field)
      assert.is_nil(tostring(err):find "password")
      assert.is_nil(tostring(err):find "%c")
    end
  end)

  it("of an option carries the purge", function()
    local before = #edge.proxied()
    assert(client:purge(TAGS, { proxy = edge.env.PROXY }))
    assert.equal(1, edge.counts(zone).accepted)
    assert.equal(1, seen(before + 1))
    assert(client:purge(TAGS))
    assert.equal(1, seen(before + 1))
  end)

  it("of the environment is not asked about loopback, unless allow_http leaves it to the environment", function()
    local variables = { http_proxy = edge.env.PROXY, all_proxy = edge.env.PROXY }
    local function purge(more)
      return clients.lua(("print(require('cfpurge').new{api_token='%s', zone_id='%s', base_url='%s' %s}"
        .. ":purge{tags={'a'}} and 'ok')"):format(edge.env.TOKEN, zone, edge.env.API_HTTP, more), variables)
    end
    local before = #edge.proxied()
    assert.equal("ok\n", purge "")
    assert.equal(0, seen(before + 1))
    assert.equal("ok\n", purge ", allow_http = true, proxy = ''")
    assert.equal(0, seen(before + 1))
    assert.equal("ok\n", purge ", allow_http = true")
    assert.equal(1, seen(before + 1))
    assert.equal(3, edge.counts(zone).accepted)
  end)
end)
