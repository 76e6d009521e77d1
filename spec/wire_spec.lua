-- The bytes that go over the wire: every kind of purge, by every credential, path, way to begin it, and protocol.
local cjson = require("cjson").new()
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

-- A line of headers each, in order: which comes first is libcurl's business.
local function sorted(head)
  local lines = {}
  for line in head:gmatch "([^\r\n]+)\r\n" do lines[#lines + 1] = line end
  local first = table.remove(lines, 1)
  table.sort(lines)
  return { first, lines }
end

describe("over the wire", function()
  teardown(clients.close)

  local env, zone, environment, host, kinds, credentials

  setup(function()
    env = edge.up()
    local about
    zone, about = edge.zone()
    environment, host = about.environments.production, about.name
    local url = "https://" .. host .. "/"
    kinds = {
      { { purge_everything = true }, '{"purge_everything":true}' },
      { { files = { url } }, '{"files":["' .. url .. '"]}' },
      { { files = { { url = url, headers = { Origin = "https://b.example", ["CF-Device-Type"] = "mobile" } } } },
        '{"files":[{"url":"' .. url .. '","headers":{"CF-Device-Type":"mobile","Origin":"https://b.example"}}]}' },
      { { tags = { "one", "two" } }, '{"tags":["one","two"]}' },
      { { hosts = { host } }, '{"hosts":["' .. host .. '"]}' },
      { { prefixes = { host .. "/a" } }, '{"prefixes":["' .. host .. '/a"]}' },
    }
    credentials = {
      { { api_token = env.TOKEN }, { "Authorization: Bearer " .. env.TOKEN } },
      { { api_email = env.EMAIL, api_key = env.API_KEY },
        { "X-Auth-Email: " .. env.EMAIL, "X-Auth-Key: " .. env.API_KEY } },
    }
  end)
  before_each(function() edge.reset(zone) end)

  -- Every kind by every credential at both paths, through `send(options, params, environment_id)`.
  local function each(send, check)
    for _, kind in ipairs(kinds) do
      for _, credential in ipairs(credentials) do
        for _, at in ipairs { false, environment } do
          local options = { zone_id = zone }
          for name, value in pairs(credential[1]) do options[name] = value end
          edge.reset(zone)
          local result, err = send(options, kind[1], at or nil)
          assert(result, err)
          assert.equal(#(kind[1].tags or { 1 }), result.accepted)
          assert.truthy(result.id:match "^%x+$" and #result.id == 32)
          local requests = edge.requests(zone)
          assert.equal(1, #requests)
          assert.equal(1, edge.counts(zone).accepted)
          assert.equal(kind[2], requests[1].body)
          check(requests[1], "/client/v4/zones/" .. zone .. (at and "/environments/" .. at or "") .. "/purge_cache",
            credential[2], #kind[2])
        end
      end
    end
  end

  local function check_http1(request, path, credential, size)
    local lines = { "Host: " .. env.API_HTTP:match "//([^/]+)", "User-Agent: cfpurge/" .. core.version,
      "Content-Type: application/json", "Accept: application/json", "Accept-Encoding: identity",
      "Content-Length: " .. size }
    for _, line in ipairs(credential) do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({ "POST " .. path .. " HTTP/1.1", lines }, sorted(request.raw_header))
  end

  it("goes what was asked, byte for byte, by a client", function()
    each(function(options, params, at)
      options.base_url = env.API_HTTP
      local client = clients.keep(assert(core.new(options)))
      if at then return client:purge_environment(at, params) end
      return client:purge(params)
    end, check_http1)
  end)

  -- In another process, since what they keep in theirs is never closed.
  it("goes the same by the functions that need no client", function()
    each(function(options, params, at)
      options.base_url = env.API_HTTP
      local said = clients.lua(([[
        local core, decode = require "cfpurge.core", require("cjson").decode
        local at, params, options = %s, decode [=[%s]=], decode [=[%s]=]
        local result, err
        if at then result, err = core.purge_environment(at, params, options)
        else result, err = core.purge(params, options) end
        print(require("cjson").encode { result = result, err = tostring(err) })
      ]]):format(at and ("%q"):format(at) or "nil", cjson.encode(params), cjson.encode(options)))
      local ok, answer = pcall(cjson.decode, said)
      assert(ok, said)
      return answer.result, answer.err
    end, check_http1)
  end)

  it("goes the same by start, step and take", function()
    each(function(options, params, at)
      options.base_url = env.API_HTTP
      local client = clients.keep(assert(core.new(options)))
      local id = assert(client:start(params, nil, at))
      repeat until client:step(10) == 0
      local taken, result, err = client:take()
      assert.equal(id, taken)
      return result, err
    end, check_http1)
  end)

  it("goes the same over TLS and HTTP/2", function()
    each(function(options, params, at)
      options.base_url, options.ca_file = env.API_TLS, env.CA_FILE
      local client = clients.keep(assert(core.new(options)))
      if at then return client:purge_environment(at, params) end
      return client:purge(params)
    end, function(request, path, credential, size)
      assert.same({ "POST", path, "HTTP/2.0" }, { request.method, request.path, request.protocol })
      local expected = { host = request.headers.host, ["user-agent"] = "cfpurge/" .. core.version,
        ["content-type"] = "application/json", accept = "application/json", ["accept-encoding"] = "identity",
        ["content-length"] = tostring(size) }
      for _, line in ipairs(credential) do
        local name, value = line:match "^(.-): (.*)$"
        expected[name:lower()] = value
      end
      assert.same(expected, request.headers)
      assert.truthy(request.tls)
    end)
  end)

  it("goes no Expect before a large body, and no compression is asked for", function()
    local files = {}
    for i = 1, 100 do files[i] = "https://" .. host .. "/" .. ("x"):rep(20000) .. i end
    assert(clients.new({ zone_id = zone }):purge { files = files })
    local request = edge.requests(zone)[1]
    assert.same({ nil, "identity" }, { request.headers.expect, request.headers["accept-encoding"] })
    assert.equal(#'{"files":[""]}' + #table.concat(files, '","'), #request.body)
  end)
end)
