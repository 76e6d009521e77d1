-- Where libcurl refuses a call: each one in turn that it may refuse (spec/hosts/failing_curl.c), in every part of a purge.
local elsewhere = require "spec.support.where"
if elsewhere "engine unwatched openssl" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"

local env = edge.up()

-- A client and a purge with the k-th call refused, then purges without: { what failed, how new ended, how the purge did, how
-- the next ones did } for each k, until there is no k-th call.
local SWEEP = [[
  local cfpurge = require "cfpurge"
  local seen, k = {}, 0
  while k < 1000 do
    k = k + 1
    local options, calls, outcome = {}, 0, nil
    for name, value in pairs(args.options) do options[name] = value end
    system.setenv("SPEC_FAILED", "")
    system.setenv("SPEC_FAIL", tostring(k))
    local made, _, err = cfpurge.new(options)
    if made then
      local request, problem = made:start({ tags = { "a" } }, nil, function(result, failure)
        calls = calls + 1
        outcome = failure or result
      end)
      if request then
        request:wait()
      else
        calls, outcome = 1, problem
      end
      if outcome.kind and outcome.remaining.tags[1] ~= "a" then outcome = { kind = "without what remains" } end
    end
    local failed = os.getenv "SPEC_FAILED"
    system.setenv("SPEC_FAIL", "0")
    if failed == "" then
      made:close()
      break
    end
    local after = {}
    for i = 1, made and 2 or 0 do
      local result, problem = made:purge { tags = { "b" } }
      after[i] = result and "accepted" or tostring(problem)
    end
    seen[#seen + 1] = { failed = failed, made = made and "made" or err.kind, calls = calls,
      outcome = outcome and (outcome.kind or "accepted") or "none", after = table.concat(after, " ") }
    if made then made:close() end
  end
  return { seen = seen, last = k }
]]

-- Options without which a purge does as well: both QUICK_EXIT (an older libcurl has none), HTTP_VERSION (there is one without
-- HTTP/2), what a proxy's TLS trusts, how many streams and connections there may be, how old these may be; HTTPHEADER and
-- POSTFIELDS are taken away again from a handle that is kept.
local OPTIONAL = { ["curl_easy_setopt 322"] = true, ["curl_easy_setopt 84"] = true, ["curl_easy_setopt 10246"] = true,
  ["curl_easy_setopt 40310"] = true, ["curl_easy_setopt 288"] = true,
  ["curl_easy_setopt 10247"] = true, ["curl_easy_setopt 10023"] = true, ["curl_easy_setopt 10015"] = true,
  ["curl_multi_setopt 16"] = true, ["curl_multi_setopt 21"] = true, ["curl_multi_setopt 7"] = true }

describe("a call that libcurl refuses", function()
  local by_proxy = { base_url = env.API_HTTP, proxy = env.PROXY }
  local cases = {
    ["over HTTP, by a proxy"] = { by_proxy },
    ["over HTTP/2"] = { { base_url = env.API_TLS, ca_file = env.CA_FILE } },
    -- CURLE_UNSUPPORTED_PROTOCOL: no network's fault either, which another attempt might mend.
    ["for another reason"] = { by_proxy, "1" },
  }
  for name, case in pairs(cases) do
    it("ends that purge alone, with the right error: " .. name, function()
      local options, code = case[1], case[2]
      options.api_token, options.max_retries, options.zone_id = env.TOKEN, 0, edge.zone()
      local told = host.run(SWEEP, { preload = "failing_curl", args = { options = options }, env = { SPEC_CODE = code } })
      assert.truthy(told.last > 40 and told.last < 1000, told.last)
      for _, one in ipairs(told.seen) do
        if one.made ~= "made" then
          assert.truthy(one.failed:find "^curl_url", one.failed)
          assert.equal("invalid_request", one.made)
        else
          assert.equal("accepted accepted", one.after, one.failed)
          assert.equal(1, one.calls, one.failed)
          if not OPTIONAL[one.failed] then assert.truthy(one.outcome ~= "accepted", one.failed) end
          assert.truthy(one.outcome == "accepted" or one.outcome == "connection" or one.outcome == "tls",
            one.failed .. " " .. one.outcome)
        end
      end
    end)
  end
end)

describe("a step that libcurl refuses", function()
  it("in the middle of an answer ends that attempt, and another is made", function()
    local zone = edge.zone()
    edge.script(zone, { { body = "{", length = 500, hang = 1 } })
    local told = host.run([[
      local made = assert(require "cfpurge".new(args.options))
      local result, err
      assert(made:start({ tags = { "a" } }, nil, function(...) result, err = ... end))
      local started = system.now()
      while system.now() - started < 0.5 do made:step(0.1) end
      system.setenv("SPEC_FAIL", "1")
      assert(made:drain(10))
      return { attempts = result and result.attempts or tostring(err), failed = os.getenv "SPEC_FAILED" }
    ]], { preload = "failing_curl", args = { options = { base_url = env.API_HTTP, api_token = env.TOKEN, zone_id = zone } } })
    assert.same({ attempts = 2, failed = "curl_multi_socket_action 0" }, told)
  end)
end)

describe("a libcurl that was built without", function()
  local function with(options)
    options.api_token, options.max_retries, options.zone_id = env.TOKEN, 0, edge.zone()
    return { options = options }
  end

  it("TLS purges by http, and new says what an https base_url lacks", function()
    local told = host.run([[
      local cfpurge = require "cfpurge"
      local made = assert(cfpurge.new(args.options))
      local result, err = made:purge { tags = { "a" } }
      local _, first = made:purge({ tags = { "a" } }, { base_url = "https://api.example.com" })
      local _, second, default = cfpurge.new { api_token = "x", zone_id = args.options.zone_id }
      return { accepted = result and result.accepted or tostring(err), call = tostring(first), new = second,
        kind = default.kind, field = default.field }
    ]], { preload = "failing_curl", args = with { base_url = env.API_HTTP }, env = { SPEC_WITHOUT = "tls" } })
    assert.same({ accepted = 1, call = "invalid_request: base_url: needs TLS, and this libcurl was built without it",
      new = "invalid_request: base_url: needs TLS, and this libcurl was built without it", kind = "invalid_request",
      field = "base_url" }, told)
  end)

  it("HTTP/2 speaks HTTP/1.1, as many requests at once", function()
    local args = with { base_url = env.API_TLS, ca_file = env.CA_FILE }
    edge.script(args.options.zone_id, { { times = 20, delay = 0.5, pass = true } })
    local told = host.run([[
      local made, kinds, started = assert(require "cfpurge".new(args.options)), {}, system.now()
      for i = 1, 20 do
        made:start({ tags = { "n" .. i } }, nil, function(result, err) kinds[i] = result and "accepted" or tostring(err) end)
      end
      assert(made:drain())
      return { kinds = kinds, took = system.now() - started }
    ]], { preload = "failing_curl", args = args, env = { SPEC_WITHOUT = "http2" } })
    for i = 1, 20 do assert.equal("accepted", told.kinds[i]) end
    for _, request in ipairs(edge.requests(args.options.zone_id, 20)) do assert.equal("HTTP/1.1", request.protocol) end
    -- Four at a time, as many connections as HTTP/2 has, would take 2.5 s.
    assert.truthy(told.took < 2, told.took)
  end)
end)

describe("a libcurl that says it is", function()
  for version, name in pairs { ["0x081700"] = "8.23", ["0x080600"] = "8.6", ["0x075600"] = "7.86" } do
    it(name .. " purges on the connections that it keeps", function()
      for _, base in ipairs { "API_HTTP", "API_TLS" } do
        local options = { base_url = env[base], ca_file = env.CA_FILE, api_token = env.TOKEN, zone_id = edge.zone() }
        local told = host.run([[
          local made = assert(require "cfpurge".new(args.options))
          local ids = {}
          for i = 1, 5 do ids[i] = assert(made:purge { tags = { "a" .. i } }).accepted end
          return { ids = ids, connections = made:stats().connections }
        ]], { preload = "failing_curl", args = { options = options }, env = { SPEC_VERSION = version } })
        assert.same({ ids = { 1, 1, 1, 1, 1 }, connections = 1 }, told)
        assert.equal(5, edge.counts(options.zone_id).items)
      end
    end)
  end
end)

describe("what a client fetches of the system before its process gives that up", function()
  it("are the addresses of its names, by which it then purges", function()
    local options = { base_url = env.API_HTTP:gsub("127%.0%.0%.1", "localhost"), api_token = env.TOKEN, zone_id = edge.zone() }
    local told = host.run([[
      local core = require "cfpurge.core"
      local made, seen = assert(core.new(args.options)), {}
      seen.preload = made:preload()
      seen.accepted = made:purge { tags = { "a" } } ~= nil
      seen.proxies = {}
      for i, proxy in ipairs { "http://[::1]:3128", "localhost", "https://localhost", "socks5h://localhost:1080", "" } do
        args.options.proxy = proxy
        seen.proxies[i] = assert(core.new(args.options)):preload()
      end
      args.options.proxy = "http://localhost:1"
      local client = assert(core.new(args.options))
      seen.problems = {}
      for call = 1, 4 do
        system.setenv("SPEC_FAIL", tostring(call))
        seen.problems[call] = select(2, client:preload()) or "none"
      end
      system.setenv("SPEC_FAIL", "0")
      client:close()
      seen.closed = client:preload()
      return seen
    ]], { preload = "failing_curl", args = { options = options } })
    local memory = "out of memory"
    assert.same({ preload = true, accepted = true, proxies = { true, true, true, true, true },
      problems = { memory, memory, memory, memory }, closed = true }, told)
  end)
end)
