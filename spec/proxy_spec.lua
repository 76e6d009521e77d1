-- A purge through a proxy: how it is asked, what it sees, and what an error shows of it.
local edge = require "spec.support.edge"
local client = require "spec.support.client"
local host = require "spec.support.host"

local env = edge.up()
local once, over_tls = client.once, client.over_tls
local tags = { tags = { "a" } }

local function port_of(url)
  return tonumber(url:match ":(%d+)/")
end

describe("a proxy", function()
  local function proxied_for(zone)
    local found = {}
    for _, entry in ipairs(edge.proxied()) do
      if entry.headers["user-agent"] == zone then found[#found + 1] = entry end
    end
    return found
  end

  -- The user agent marks the proxy's record, CONNECT included.
  local function through(proxy, options)
    local zone = edge.zone()
    local filled = { proxy = proxy, zone_id = zone, user_agent = zone, max_retries = 0 }
    for name, value in pairs(options or {}) do filled[name] = value end
    local result, err, seen = once(filled)
    return result, err, seen, proxied_for(zone)
  end

  local harmless = { host = 1, ["user-agent"] = 1, ["proxy-connection"] = 1, ["proxy-authorization"] = 1 }

  local function shows_no_secret(entry)
    for name, value in pairs(entry.headers) do
      assert.is_truthy(harmless[name], name)
      assert.is_nil(tostring(value):find(env.TOKEN, 1, true))
    end
  end

  it("is asked in absolute form for http", function()
    local result, err, seen, entries = through(env.PROXY)
    assert.is_nil(err)
    assert.equal(1, result.attempts)
    assert.equal(1, #seen)
    assert.equal(1, #entries)
    assert.equal("POST", entries[1].method)
    assert.equal(env.API_HTTP .. "/zones/" .. seen[1].path:match "/zones/(%w+)" .. "/purge_cache", entries[1].target)
  end)

  it("that wants another login is asked once", function()
    local wrong = env.PROXY_AUTH:gsub("//", "//edge:not-the-password@")
    local result, err, seen, entries = through(wrong, over_tls { max_retries = 3 })
    assert.is_nil(result)
    assert.same({ "connection", false, 1 }, { err.kind, err.retryable, err.attempts })
    assert.is_nil(tostring(err):find("not-the-password", 1, true))
    assert.same({ 0, 1 }, { #seen, #entries })
  end)

  it("carries a tunnel for https and sees no credential", function()
    for _, base in ipairs { env.API_TLS, env.API_TLS1 } do
      local result, err, seen, entries = through(env.PROXY, over_tls { base_url = base,
        default_headers = { ["X-Extra"] = "mine" } })
      assert.is_nil(err)
      assert.equal(1, result.attempts)
      assert.equal("Bearer " .. env.TOKEN, seen[1].headers.authorization)
      assert.equal("mine", seen[1].headers["x-extra"])
      assert.equal(1, #entries)
      assert.equal("CONNECT", entries[1].method)
      assert.equal("localhost:" .. port_of(base), entries[1].target)
      shows_no_secret(entries[1])
    end
  end)

  it("does not stand in the way of verification", function()
    local _, err, seen = through(env.PROXY, { base_url = env.API_TLS })
    assert.equal("tls", err.kind)
    assert.same({}, seen)
  end)

  it("keeps the tunnel for the next purge", function()
    local zone = edge.zone()
    local c = client.new(over_tls { proxy = env.PROXY, zone_id = zone, user_agent = zone })
    for _ = 1, 5 do assert(c:purge(tags)) end
    assert.equal(1, #proxied_for(zone))
    c:close()
  end)

  it("is given its own credentials, and the API is not", function()
    for _, options in ipairs { {}, over_tls() } do
      local result, err, seen, entries = through(env.PROXY_AUTH_URL, options)
      assert.is_nil(err)
      assert.equal(1, result.attempts)
      assert.is_nil(seen[1].headers["proxy-authorization"])
      assert.equal(200, entries[#entries].status)
      assert.is_truthy(entries[#entries].headers["proxy-authorization"])
    end
  end)

  it("that wants a password is an error, and the error shows none", function()
    local wrong = env.PROXY_AUTH:gsub("//", "//edge:s3cr3t-of-proxy@")
    for kind, options in pairs { api = {}, connection = over_tls() } do
      for _, proxy in ipairs { env.PROXY_AUTH, wrong } do
        local result, err, seen, entries = through(proxy, options)
        assert.is_nil(result)
        assert.equal(kind, err.kind)
        assert.equal(407, err.status or tonumber(err.message:match "407"))
        assert.is_nil(tostring(err):find("s3cr3t", 1, true))
        assert.same({}, seen)
        if kind == "connection" then shows_no_secret(entries[1]) end
      end
    end
  end)

  -- libcurl quotes them, and those of the environment we have not seen.
  it("that libcurl cannot use is in no error", function()
    local password = "s3cr3t-of-proxy"
    local proxies = {}
    for i, proxy in ipairs { "odd://me:%s@127.0.0.1:1", "http://me:%s@127.0.0.1:99999999", "http://me:%s@[::1",
      "http://me:it's/%s@127.0.0.1:1", "http://me:%s", "http://me:a\r\nb%s@a b", "http://me:%s" .. ("x"):rep(300) .. "@[" } do
      proxies[i] = proxy:format(password)
    end
    local said = host.run([[
      local said = {}
      for i, proxy in ipairs(args.proxies) do
        system.setenv("https_proxy", proxy)
        local c = client.new(args.options)
        local _, err = c:purge { tags = { "a" } }
        said[i] = err.kind .. ": " .. err.message
        system.setenv("https_proxy")
        local made, message = require("cfpurge").new { api_token = "t", zone_id = "z", proxy = proxy }
        assert(not made)
        said[#args.proxies + i] = message
      end
      return said]], { args = { proxies = proxies, options = over_tls { max_retries = 0 } } })
    assert.equal(2 * #proxies, #said)
    for _, text in ipairs(said) do
      assert.is_nil(text:find("s3cr3t", 1, true) or text:find "%c", text)
    end
    assert.equal("connection: Unsupported proxy scheme for '" .. ("*"):rep(#proxies[1]) .. "'", said[1])
  end)

  it("that is not there is a connection error", function()
    local closed = env.API_CLOSED:match "^(http://[^/]+)"
    for _, options in ipairs { {}, over_tls() } do
      local _, err = through(closed, options)
      assert.equal("connection", err.kind)
      assert.is_true(err.retryable)
    end
  end)

  it("comes from the environment too, by the usual variables", function()
    local P, closed = env.PROXY, env.API_CLOSED:match "^(http://[^/]+)"
    local cases = {
      -- what is set, options, and how the proxy is asked (nil: not at all)
      { { https_proxy = P }, over_tls(), "CONNECT" },
      { { HTTPS_PROXY = P }, over_tls(), "CONNECT" },
      { { all_proxy = P }, over_tls(), "CONNECT" },
      { { ALL_PROXY = P }, over_tls(), "CONNECT" },
      { { https_proxy = P, all_proxy = closed }, over_tls(), "CONNECT" },
      { { http_proxy = P }, over_tls(), nil },
      { { https_proxy = P, no_proxy = "localhost" }, over_tls(), nil },
      { { https_proxy = P, NO_PROXY = "example.com,localhost" }, over_tls(), nil },
      { { https_proxy = P, no_proxy = "*" }, over_tls(), nil },
      { { https_proxy = P, no_proxy = "example.com" }, over_tls(), "CONNECT" },
      { { https_proxy = closed }, over_tls { proxy = "" }, nil },
      { { https_proxy = closed }, over_tls { proxy = P }, "CONNECT" },
      { { no_proxy = "*" }, over_tls { proxy = P }, "CONNECT" },
      { { http_proxy = P }, { allow_http = true }, "POST" },
      { { all_proxy = P }, { allow_http = true }, "POST" },
      { { http_proxy = P, no_proxy = "127.0.0.1" }, { allow_http = true }, nil },
      -- A web server's child finds a client's "Proxy:" header under this name.
      { { HTTP_PROXY = closed }, { allow_http = true }, nil },
      -- Clear text was allowed because it does not leave the machine: then it does not.
      { { http_proxy = P }, {}, nil },
      { { all_proxy = closed }, {}, nil },
    }
    local zones, args = {}, {}
    for i, case in ipairs(cases) do
      zones[i] = edge.zone()
      case[2].zone_id, case[2].user_agent, case[2].max_retries = zones[i], zones[i], 0
      args[i] = { env = case[1], options = case[2] }
    end
    local problems = host.run([[
      local problems = {}
      for i, case in ipairs(args) do
        for name, value in pairs(case.env) do system.setenv(name, value) end
        local c = client.new(case.options)
        local _, err = c:purge { tags = { "a" } }
        problems[i] = err and tostring(err) or "none"
        for name in pairs(case.env) do system.setenv(name) end
      end
      return problems]], { args = args })
    for i, case in ipairs(cases) do
      assert.equal("none", problems[i], "case " .. i)
      local entry = proxied_for(zones[i])[1]
      assert.equal(case[3], entry and entry.method, "case " .. i)
    end
  end)
end)
