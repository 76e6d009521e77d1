-- What an error is, and what is never in one: csrc/binding/error, and the secrets.
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local TAGS = { tags = { "a" } }

describe("an error", function()
  teardown(clients.close)

  it("has the fields that all have, and says what it is", function()
    local err = core.error("cancelled", "by the caller")
    assert.same({ kind = "cancelled", message = "by the caller", errors = {}, messages = {}, attempts = 0, accepted = 0,
      retryable = false }, setmetatable(err, nil))
    err = core.error("server", "down", { status = 503, code = 1012, ray_id = "8f3a-FRA", retryable = true, x = 1 })
    assert.same({ 503, 1012, true, 1 }, { err.status, err.code, err.retryable, err.x })
    assert.equal("server: down; status 503; code 1012; ray_id 8f3a-FRA", tostring(err))
    assert.equal("closed: gone", tostring(core.error("closed", "gone")))
  end)

  it("is text in a concatenation, on either side", function()
    local err, other = core.error("api", "m", { status = 418 }), core.error("closed", "gone")
    assert.equal("purge: api: m; status 418", "purge: " .. err)
    assert.equal("api: m; status 418!", err .. "!")
    assert.equal("5api: m; status 4185", 5 .. err .. 5)
    assert.equal("api: m; status 418closed: gone", err .. other)
    assert.equal("other closed: gone", setmetatable({}, { __tostring = function() return "other " end }) .. other)
    for _, wrong in ipairs { {}, true, print } do
      local ok, raised = pcall(function() return err .. wrong end)
      assert.is_false(ok)
      assert.truthy(tostring(raised):find("attempt to concatenate a " .. type(wrong) .. " value", 1, true), raised)
    end
    assert.is_false(pcall(function() return nil .. err end))
  end)

  it("is text whatever a caller put into it", function()
    local function fail() error "a metamethod ran" end
    for _, value in ipairs { 5, true, {}, print, setmetatable({}, { __tostring = fail, __index = fail }) } do
      for _, name in ipairs { "kind", "message", "status", "code", "ray_id" } do
        local err = core.error("api", "m")
        err[name] = value
        assert.is_string(tostring(err))
      end
    end
    local err = core.error("api", "m", { status = 400 })
    err.kind, err.message = nil, nil
    assert.equal("error: ; status 400", tostring(err))
    local to_string = getmetatable(err).__tostring
    for _, wrong in ipairs { 5, "x", true } do assert.is_false(pcall(to_string, wrong)) end
    assert.is_false(pcall(to_string))
    assert.is_false(pcall(core.error))
    assert.is_false(pcall(core.error, "api"))
    assert.is_false(pcall(core.error, "api", {}))
  end)

  it("of an answer carries what support asks for", function()
    local client, zone = clients.new { max_retries = 1 }
    edge.script(zone, { { times = 2, status = 503, headers = { ["Retry-After"] = "0", ["CF-Ray"] = "8f3a-FRA" },
      json = { success = false, errors = { { code = 1012, message = "down" } },
        messages = { { message = "sorry" } } } } })
    local result, err = client:purge { tags = { "a", "b" } }
    assert.is_nil(result)
    assert.truthy(err.elapsed > 0)
    local failure = err.failures[1]
    assert.same({ 1, { "a", "b" }, "server", 503, 1 },
      { #err.failures, failure.items, failure.error.kind, failure.error.status, err.requests })
    assert.equal(tostring(err), tostring(failure.error))
    err.elapsed, err.failures = nil, nil
    assert.equal("server: down; status 503; code 1012; ray_id 8f3a-FRA", tostring(err))
    assert.same({ kind = "server", message = "down", status = 503, code = 1012, ray_id = "8f3a-FRA", attempts = 2,
      retry_after = 0, retryable = true, accepted = 0, requests = 1, ids = {}, remaining = { tags = { "a", "b" } },
      errors = { { code = 1012, message = "down" } }, messages = { { message = "sorry" } } }, setmetatable(err, nil))
  end)

  it("has the same metatable wherever it comes from", function()
    local _, _, refused = cfpurge.new { api_token = "t", timeout = -1 }
    local client = clients.new { max_retries = 0 }
    local _, unsent = client:purge {}
    local _, unanswered = client:purge(TAGS, { base_url = edge.env.API_CLOSED })
    client:close()
    local _, closed = client:purge(TAGS)
    assert.same({ "invalid_request", "invalid_request", "connection", "closed" },
      { refused.kind, unsent.kind, unanswered.kind, closed.kind })
    assert.equal(TAGS, closed.remaining)
    for _, err in ipairs { refused, unsent, unanswered, closed } do
      assert.equal(getmetatable(core.error("api", "m")), getmetatable(err))
      assert.equal(1, (tostring(err):find(err.kind .. ": " .. err.message, 1, true)))
    end
    assert.equal("cfpurge.error", getmetatable(closed).__name)
  end)
end)

it("the message of an error is one line, whatever the caller's names and the server's words hold", function()
  local client, zone = clients.new()
  edge.script(zone, { { status = 400, json = { success = false, errors = { { code = 1, message = "a\nb\27[31mc",
    error_chain = { { code = 2, message = "d\r\ne" } } } } } }, { status = 400, json = { error = "a\nb" } } })
  for i, text in ipairs { "bad_request: a?b?[31mc: d??e; status", "bad_request: a?b; status", "iterator raised: a?b" } do
    local _, err = client:purge { tags = i < 3 and { "a" } or function() error("a\nb", 0) end }
    assert.truthy(tostring(err):find(text, 1, true), tostring(err))
  end
  for _, params in ipairs { { ["ta\r\ngs"] = {} }, { files = { { url = "https://a.example/", ["he\nad\127"] = 1 } } },
    { files = { { url = "https://a.example/", headers = { ["a\r\nb"] = "c\n" } } } }, { tags = { ["x\ny"] = 1, "a" } } } do
    local _, err = client:purge(params)
    assert.is_nil(err.message:find "%c", err.message)
    assert.truthy(err.message:find("?", 1, true), err.message)
  end
  clients.close()
end)

describe("a secret", function()
  teardown(clients.close)

  -- Markers with bytes that JSON may write in another way.
  local TOKEN, KEY, EMAIL = "MARKERtoken/with<quote\\and+more", "MARKERkey/144c9def\\", "MARKER+me@mail.example"
  local credentials = { { api_token = TOKEN }, { api_email = EMAIL, api_key = KEY } }

  -- All text that can be reached from a value.
  local function dump(value, seen, out)
    if type(value) == "table" and not seen[value] then
      seen[value] = true
      for k, v in pairs(value) do
        dump(k, seen, out)
        dump(v, seen, out)
      end
      dump(getmetatable(value), seen, out)
    end
    out[#out + 1] = tostring(value)
    return out
  end

  local function clean(...)
    for i = 1, select("#", ...) do
      local text = table.concat(dump((select(i, ...)), {}, {}), "\n")
      assert.falsy(text:find("MARKER", 1, true), text)
    end
  end

  local function json(text) return (text:gsub('[\\"]', "\\%0")) end
  local function escaped(text)
    return (text:gsub(".", function(c) return ("\\u%04x"):format(c:byte()) end))
  end
  local function php(text) return (json(text):gsub("/", "\\/")) end

  it("of less than eight bytes is in too many words to be masked", function()
    for secret, message in pairs { purge = "purge failed", ["purge-it"] = "*** failed" } do
      local client, zone = clients.new { api_token = secret, max_retries = 0 }
      edge.script(zone, { { status = 403, body = '{"errors":[{"code":1,"message":"' .. secret .. ' failed"}]}' } })
      assert.equal(message, select(2, client:purge(TAGS)).message)
    end
  end)

  it("is in no error, event, tostring or statistics, even when the server repeats it", function()
    for _, options in ipairs(credentials) do
      local events = {}
      options.max_retries, options.on_event = 0, function(event) events[#events + 1] = event end
      local client, inner, zone = clients.beneath(options)
      for _, secret in ipairs { options.api_token or KEY, not options.api_token and EMAIL or nil } do
        for _, write in ipairs { json, php, escaped } do
          local text = write("Bearer " .. secret .. " and " .. secret)
          for _, body in ipairs {
            '{"success":false,"errors":[{"code":10000,"message":"%s"}],"messages":[{"message":"%s"}]}',
            '{"success":false,"errors":["%s"],"messages":["%s"]}',
            '{"errors":[{"message":"%s","documentation_url":"%s","source":{"pointer":"%s"}}]}',
            '{"errors":[{"message":"\\u0000%s","%s":"%s"}]}',
            '{"errors":"%s","result":{"id":"%s"}}', '{"%s":"%s', "<html>%s</html>" } do
            for _, status in ipairs { 200, 403, 502 } do
              edge.script(zone, { { status = status, body = (body:gsub("%%s", function() return text end)),
                headers = { ["CF-Ray"] = "ray " .. secret, ["Retry-After"] = secret, Ratelimit = secret } } })
              local result, err = client:purge(TAGS)
              assert.is_nil(result)
              clean(err, tostring(err), client:stats(), client:metrics())
              assert.truthy(err.ray_id)
              if err.code then assert.equal("Bearer *** and ***", err.message) end
            end
          end
        end
        edge.script(zone, { { body = '{"success":true,"messages":["' .. json(secret) .. '"]}' },
          { raw = "HTTP/1.1 200 " .. secret .. "\r\nContent-Length: 9\r\n\r\n" }, { raw = secret .. "\r\n\r\n" } })
        local result = assert(client:purge(TAGS))
        clean(result)
        for _ = 1, 2 do clean((select(2, client:purge(TAGS)))) end
      end
      clean(tostring(client), tostring(inner), events)
      assert.truthy(#events > 100)
      -- Not in what was refused, or never arrived, or was ended by the caller either.
      clean(select(2, client:purge({ tags = {} })), select(2, client:purge(TAGS, { base_url = edge.env.API_CLOSED })),
        select(2, client:purge(TAGS, { api_token = TOKEN .. "\n" })), select(2, client:purge(TAGS,
          { api_key = KEY .. "\0" })))
      edge.script(zone, { { hang = 5 } })
      local request = client:start(TAGS)
      request:cancel()
      clean(select(2, request:result()))
      request = client:start(TAGS)
      client:close()
      clean(select(2, request:result()), events, tostring(client), client:stats(), client:metrics())
    end
  end)

  it("is in nothing that new refuses", function()
    for _, options in ipairs(credentials) do
      for _, more in ipairs { { timeout = 0 }, { zone_id = "a/b" }, { base_url = "http://api.example" }, { x = 1 },
        { proxy = "ftp://MARKER:MARKER@p.example" }, { base_url = "https://MARKER:MARKER@api.example/" },
        { default_headers = { ["X-Secret"] = "MARKER\n" } } } do
        for name, value in pairs(options) do if name:find "^api" then more[name] = value end end
        local client, message, err = cfpurge.new(more)
        assert.is_nil(client)
        assert.equal(tostring(err), message)
        clean(err)
      end
    end
    local _, _, err = cfpurge.new { api_token = TOKEN .. "\r\n" }
    assert.equal("api_token", err.field)
    clean(err)
    local _, raised = pcall(cfpurge.new, { api_token = TOKEN, timeout = "MARKER" })
    clean(raised)
  end)

  it("is in no answer of a proxy either", function()
    local client = clients.new { max_retries = 0, api_token = TOKEN }
    for _, proxy in ipairs { "http://MARKER:MARKERword@127.0.0.1:1", "socks5h://MARKER:MARKERword@127.0.0.1:1" } do
      local _, err = client:purge(TAGS, { proxy = proxy })
      assert.equal("connection", err.kind)
      clean(err)
    end
    local _, err = client:purge(TAGS, { proxy = edge.env.PROXY_AUTH:gsub("://", "://MARKER:MARKERword@") })
    assert.same({ "api", 407 }, { err.kind, err.status })
    clean(err)
  end)
end)
