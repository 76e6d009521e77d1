-- What may be purged, and how it is written: csrc/binding/params.
local cjson = require("cjson").new()
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local clients = require "spec.support.client"

local KINDS = { "purge_everything", "files", "tags", "hosts", "prefixes" }
local GOOD = { files = "https://a.example/", tags = "tag", hosts = "a.example", prefixes = "a.example/x" }
local MORE = { files = "https://a.example/%d", tags = "tag%d", hosts = "h%d.example", prefixes = "a.example/%d" }

local function items(kind, count)
  local list = {}
  for i = 1, count do list[i] = MORE[kind]:format(i) end
  return list
end

describe("params", function()
  teardown(clients.close)

  local client, zone

  setup(function() client, zone = clients.new() end)
  before_each(function()
    edge.reset(zone)
    edge.script(zone, { { times = 0, body = clients.OK } })
  end)

  -- The body that reached the API.
  local function sent(params, options)
    local result, err = client:purge(params, options)
    assert(result, err)
    local requests = edge.requests(zone)
    return requests[#requests].body
  end

  local function refused(params, field, message, options)
    local result, err = client:purge(params, options)
    assert.is_nil(result, field)
    assert.equal("invalid_request", err.kind)
    assert.equal(field, err.field)
    assert.truthy(err.message:find(message, 1, true), err.message .. " does not say: " .. message)
    assert.equal(params, err.remaining)
    assert.same({ 0, 0, false }, { err.attempts, err.accepted, err.retryable })
    assert.is_nil(err.status)
  end

  local function nothing_sent() assert.equal(0, edge.counts(zone).requests) end

  describe("as JSON", function()
    it("is one compact object, byte for byte", function()
      for _, case in ipairs {
        { { purge_everything = true }, '{"purge_everything":true}' },
        { { tags = { "a", "b" } }, '{"tags":["a","b"]}' },
        { { tags = { "!#$%&'()*+-./:;<=>?@[\\]^_`{|}~" } },
          [[{"tags":["!#$%&'()*+-./:;<=>?@[\\]^_`{|}~"]}]] },
        { { hosts = { "www.a.example", "a.example:8080" } }, '{"hosts":["www.a.example","a.example:8080"]}' },
        { { prefixes = { "a.example/b/", "a.example", "a.example/x/http://y" } },
          '{"prefixes":["a.example/b/","a.example","a.example/x/http://y"]}' },
        { { files = { "https://a.example/", { url = "http://a.example/b" }, { url = "http://a.example/c",
          headers = {} },
          { url = "http://a.example/d", headers = { Origin = "https://b.example", ["CF-Device-Type"] = "mobile",
            ["Accept-Language"] = "", ["CF-IPCountry"] = "DE" } }, "https://a.example/e" } },
          '{"files":["https://a.example/",{"url":"http://a.example/b"},{"url":"http://a.example/c","headers":{}},'
          .. '{"url":"http://a.example/d","headers":{"Accept-Language":"",'
          .. '"CF-Device-Type":"mobile","CF-IPCountry":"DE",'
          .. '"Origin":"https://b.example"}},"https://a.example/e"]}' },
        { { tags = { "a" }, zone_id = zone, environment_id = "e" }, '{"tags":["a"]}' },
      } do
        assert.equal(case[2], (sent(case[1])))
      end
    end)

    it("writes headers in the order of their names, whatever the table's", function()
      for round = 1, 20 do
        local headers, names = {}, {}
        for i = 16, 1, -1 do
          local name = ("h%d"):format((i * 7 + round * 5) % 97) .. ("x"):rep(i % 3)
          headers[name], names[#names + 1] = "v", name
        end
        table.sort(names)
        local body = sent { files = { { url = GOOD.files, headers = headers } } }
        assert.equal('{"files":[{"url":"https://a.example/","headers":{"' .. table.concat(names,
          '":"v","') .. '":"v"}}]}', body)
      end
      local many = {}
      for i = 1, 40 do many["name" .. i] = "value" .. i end
      assert.same(many, cjson.decode(sent { files = { { url = GOOD.files, headers = many } } }).files[1].headers)
    end)

    it("is read back as what went in", function()
      local seed = 20261121
      local function random(most)
        seed = (seed * 16807) % 2147483647
        return seed % most + 1
      end
      local pieces = { '"', "\\", "/", " ", "a", "bcdefghi", "é", "ß", "€", "日本", "😀", "\\u0041",
        "</script>", "\194\128",
        "\239\191\191", "\244\143\191\191", "\226\128\168", "%00", "{}", "~" }
      local function text(prefix)
        local parts = { prefix, ("p"):rep(random(9) - 1) }
        for _ = 1, random(24) do parts[#parts + 1] = pieces[random(#pieces)] end
        return table.concat(parts)
      end
      for _ = 1, 6 do
        local files = {}
        for i = 1, 100 do
          local url = text "https://a.example/"
          files[i] = random(2) == 1 and url or { url = url, headers = { [text "n"] = text "", Origin = text "" } }
        end
        assert.same({ files = files }, cjson.decode(sent { files = files }))
        local prefixes = {}
        for i = 1, 50 do
          -- No prefix has white space.
          prefixes[i] = "a.example" .. i .. "/" .. text "b":gsub("[/ ]", "-"):gsub("\194\128", "-"):gsub("\226\128\168", "-")
        end
        assert.same({ prefixes = prefixes }, cjson.decode(sent { prefixes = prefixes }))
      end
    end)
  end)

  describe("lists", function()
    it("of one request hold as many items as the plan says", function()
      local most = {
        { {}, 100, 100 }, { { plan = "free" }, 100, 100 }, { { plan = "pro" }, 100, 100 }, { { plan = "business" },
          100, 100 },
        { { plan = "enterprise" }, 100, 500 }, { { max_items = 30 }, 30, 30 },
        { { plan = "enterprise", max_items = 501 }, 501, 501 }, { { plan = "enterprise", max_items = 1 }, 1, 1 },
      }
      for _, case in ipairs(most) do
        case[1].zone_id = zone
        local other = clients.keep(assert(core.new(clients.options(case[1]))))
        for _, kind in ipairs { "files", "tags", "hosts", "prefixes" } do
          local most_here = kind == "files" and case[3] or case[2]
          assert.equal(most_here, assert(other:purge { [kind] = items(kind, most_here) }).accepted)
          local _, err = other:purge { [kind] = items(kind, most_here + 1) }
          assert.equal("invalid_request", err.kind)
          assert.equal(kind, err.field)
          assert.equal(("%s: has %d items, and one request holds %d"):format(kind, most_here + 1, most_here),
            err.message)
        end
        other:close()
      end
      local other = clients.keep(core.new(clients.options { zone_id = zone }))
      assert(other:purge({ tags = items("tags", 2) }, { max_items = 2 }))
      assert.equal("tags", select(2, other:purge({ tags = items("tags", 3) }, { max_items = 2 })).field)
    end)

    it("may be large", function()
      local files = {}
      for i = 1, 500 do files[i] = ("https://a.example/%d/"):format(i) .. ("\\é"):rep(500) end
      assert.same(files, cjson.decode(sent({ files = files }, { max_items = 500 })).files)
    end)

    it("are neither empty, nor anything but lists", function()
      for _, kind in ipairs { "files", "tags", "hosts", "prefixes" } do
        local good = GOOD[kind]
        refused({ [kind] = {} }, kind, "must not be empty")
        refused({ [kind] = { good, nil, good } }, #{ good, nil, good } == 3 and kind .. "[2]" or kind, "hole")
        refused({ [kind] = { [2] = good } }, kind, "hole")
        refused({ [kind] = { [1000000] = good } }, kind, "hole")
        refused({ [kind] = { good, [3] = good } }, #{ good, [3] = good } == 3 and kind .. "[2]" or kind, "hole")
        for _, key in ipairs { "x", "1", "n", "1\0" } do
          refused({ [kind] = { good, [key] = good } }, kind, "is not a list: it has the key \"" .. key:match "^%w+")
          refused({ [kind] = { [key] = good } }, kind, "is not a list")
        end
        for _, key in ipairs { 0, -1, 1.5, 0.5 } do
          refused({ [kind] = { good, good, [key] = good } }, kind, "is not a list: it has the key " .. key)
        end
        refused({ [kind] = { good, [true] = good } }, kind, "is not a list: it has a key that is a boolean")
        -- Whatever the order in which the table gives its keys, none is lost in silence.
        for n = 1, 40 do
          local list = { ["k" .. n] = good }
          for i = 1, n do list[i] = good end
          refused({ [kind] = list }, kind, "is not a list")
          list = { [0] = good }
          for i = n, 1, -1 do list[i] = good end
          refused({ [kind] = list }, kind, "is not a list")
        end
      end
      nothing_sent()
    end)
  end)

  describe("rules", function()
    it("want exactly one kind", function()
      refused({}, "params", "one of purge_everything, files, tags, hosts, prefixes is needed")
      refused({ zone_id = zone }, "params", "is needed")
      for i, one in ipairs(KINDS) do
        for j, two in ipairs(KINDS) do
          if i < j then
            local params = { [one] = GOOD[one] and { GOOD[one] } or true, [two] = { GOOD[two] } }
            local _, err = client:purge(params)
            assert.equal("invalid_request", err.kind)
            assert.truthy(err.field == one or err.field == two)
            assert.truthy(err.message:find(one, 1, true) and err.message:find(two, 1, true))
            assert.equal(params, err.remaining)
          end
        end
      end
      refused({ purge_everything = false }, "purge_everything", "must be true")
      nothing_sent()
    end)

    it("know every key", function()
      refused({ file = { GOOD.files } }, "file", "no such parameter")
      refused({ tags = { "a" }, plan = "pro" }, "plan", "no such parameter")
      refused({ tags = { "a" }, [""] = "" }, "params", "no such parameter")
      refused({ GOOD.files }, "params", "not a list")
      refused({ tags = { "a" }, [true] = 1 }, "params", "not a name")
      for _, kind in ipairs(KINDS) do
        refused({ [kind .. "\0x"] = GOOD[kind] and { GOOD[kind] } or true }, kind, "no such parameter")
      end
      refused({ tags = { "a" }, ["zone_id\0"] = zone }, "zone_id", "no such parameter")
      local function pair(key) return { files = { GOOD.files, { url = GOOD.files, [key] = "x" } } } end
      refused(pair "header", "files[2].header", "a file is { url, headers }")
      refused(pair "url\0x", "files[2].url", "a file is { url, headers }")
      refused(pair "headers\0", "files[2].headers", "a file is { url, headers }")
      refused(pair(1), "files[2].(key)", "a file is { url, headers }")
      refused({ files = { {} } }, "files[1].url", "missing")
      refused({ files = { { headers = {} } } }, "files[1].url", "missing")
      refused({ files = { { url = GOOD.files, headers = { [""] = "x" } } } }, "files[1].headers.", "must not be empty")
      nothing_sent()
    end)

    it("want absolute http(s) URLs for files, and leave the rest to the API", function()
      for _, url in ipairs { "", "a.example", "a.example/b", "//a.example/b", "/b", "ftp://a.example/",
        "https:/a.example",
        "https://", "http://", "https:///b", "https://?b", "https://#b", "https://:443/", " https://a.example/",
        "httpss://a.example/", "javascript:alert(1)", "https//a.example" } do
        refused({ files = { url } }, "files[1]", "must be an absolute http(s) URL")
        refused({ files = { GOOD.files, { url = url } } }, "files[2].url", "must be an absolute http(s) URL")
      end
      nothing_sent()
      local fine = { "http://x", "https://x", "HTTP://A.EXAMPLE/", "hTTps://A.Example/Path",
        "https://例え.テスト/パス",
        "https://xn--r8jz45g.example/", "https://a.example:8443/x?y=1&z=%20#part", "https://a.example?x",
          "https://a.example#x",
        "https://a.example/*", "https://a.example/a b/ c", "https://user:word@a.example/",
          "https://[2001:db8::1]:80/",
        "https://a.example/%zz|^`<>{}", "https://a.example/\"quoted\\\"", "https://a.example//../.",
          "https://a_b.example/",
        "https://a.example/" .. ("x"):rep(8000), "https://a.example/x:y", "https://a.example/x:/y", "https://a.example/x:",
        "https://a.example/?u=https://b.example/", "https://a.example/ftp://b.example/", "https://a.example/S://" }
      assert.same(fine, cjson.decode(sent { files = fine }).files)
    end)

    it("are told of by the beginning of a long header's name, which ends with a whole character", function()
      local ok, raised = pcall(function()
        return client:purge { files = { { url = "https://a.example/", headers = { [("x"):rep(99) .. "\195\169."] = {} } } } }
      end)
      assert.is_false(ok)
      assert.truthy(raised:find("headers." .. ("x"):rep(99) .. "...: string expected, got table", 1, true), raised)
    end)

    it("want tags of 1 to 1024 printable ASCII characters without spaces", function()
      for _, tag in ipairs { "", ("t"):rep(1025) } do refused({ tags = { "ok", tag } }, "tags[2]", "1 to 1024") end
      for _, tag in ipairs { " ", "a b", "é", "\239\187\191a", "a\tb", "a\n", "a\0", "a\127", "\255" } do
        refused({ tags = { tag } }, "tags[1]", "printable ASCII")
      end
      nothing_sent()
      assert.equal('{"tags":["' .. ("t"):rep(1024) .. '"]}', (sent { tags = { ("t"):rep(1024) } }))
      assert.equal('{"tags":["t"]}', (sent { tags = { "t" } }))
    end)

    it("want hosts without scheme and path", function()
      for _, host in ipairs { "https://a.example", "a.example/", "a.example/b", "/" } do
        refused({ hosts = { host } }, "hosts[1]", "without scheme and path")
      end
      refused({ hosts = { "" } }, "hosts[1]", "must not be empty")
      nothing_sent()
      assert.equal('{"hosts":["A.Example","例え.テスト"]}', (sent { hosts = { "A.Example", "例え.テスト" } }))
    end)

    it("want prefixes without scheme, query, fragment and a 32nd separator", function()
      refused({ prefixes = { "" } }, "prefixes[1]", "must begin with a host name")
      refused({ prefixes = { "/b" } }, "prefixes[1]", "must begin with a host name")
      refused({ prefixes = { "//a.example" } }, "prefixes[1]", "must begin with a host name")
      for _, scheme in ipairs { "https", "HTTP", "ftp" } do
        refused({ prefixes = { scheme .. "://a.example/b" } }, "prefixes[1]", "must not have a scheme")
      end
      for _, prefix in ipairs { "a.example/?b", "a.example?", "a.example/b#c", "a.example#" } do
        refused({ prefixes = { "a.example", prefix } }, "prefixes[2]", "must not have a query or fragment")
      end
      refused({ prefixes = { "a.example" .. ("/x"):rep(32) } }, "prefixes[1]", "31 path separators")
      refused({ prefixes = { "a.example" .. ("/"):rep(32) } }, "prefixes[1]", "31 path separators")
      nothing_sent()
      local fine = { "a.example" .. ("/x"):rep(31), "a.example" .. ("/"):rep(31), "a.example:8080/x", "a.example/*",
        "a.example:/", "a.example:/b" }
      assert.same(fine, cjson.decode(sent { prefixes = fine }).prefixes)
    end)

    it("want ids by their pattern", function()
      for _, id in ipairs { "", ("a"):rep(33), "a/b", "a b", "..", "a?b", "a#b", "a%2f", "é", "a\0b", "a\r\nX: y",
        "a." } do
        for _, name in ipairs { "zone_id", "environment_id" } do
          refused({ tags = { "a" }, [name] = id }, name, "1 to 32 letters, digits, '_' or '-'")
        end
        local params = { tags = { "a" } }
        local _, err = client:purge_environment(id, params)
        assert.same({ "invalid_request", "environment_id" }, { err.kind, err.field })
        assert.same({ tags = params.tags, environment_id = id }, err.remaining)
      end
      nothing_sent()
      sent({ tags = { "a" }, environment_id = "-_azAZ09" })
      local _, err = client:purge { tags = { "a" }, zone_id = ("Z"):rep(32) }
      assert.is_nil(err and err.field)
    end)
  end)

  describe("a wrong type", function()
    local function call(method, ...)
      client[method](client, ...)
    end
    local where = debug.getinfo(call, "S")
    local line = ("%s:%d: "):format(where.short_src, where.linedefined + 1)

    it("raises at the caller's line and names the field", function()
      local url = GOOD.files
      for _, case in ipairs {
        { "table expected, got number", 5 },
        { "table expected, got nil" },
        { "purge_everything: boolean expected, got number", { purge_everything = 1 } },
        { "purge_everything: boolean expected, got string", { purge_everything = "true" } },
        { "files: table expected, got string", { files = url } },
        { "tags: table expected, got boolean", { tags = false } },
        { "files[3]: string or table expected, got number", { files = { url, url, 5 } } },
        { "files[1]: string or table expected, got boolean", { files = { false } } },
        { "files[2].url: string expected, got number", { files = { url, { url = 5 } } } },
        { "files[1].headers: table expected, got string", { files = { { url = url, headers = "" } } } },
        { "files[1].headers: table expected, got userdata", { files = { { url = url, headers = cjson.null } } } },
        { "files[1].headers.Origin: string expected, got number", { files = { { url = url,
          headers = { Origin = 5 } } } } },
        { "files[1].headers.(key): string expected, got number", { files = { { url = url, headers = { "x" } } } } },
        { "tags[1]: string expected, got number", { tags = { 5 } } },
        { "hosts[2]: string expected, got table", { hosts = { "a", {} } } },
        { "prefixes[1]: string expected, got function", { prefixes = { print } } },
        { "zone_id: string expected, got number", { tags = { "a" }, zone_id = 5 } },
        { "environment_id: string expected, got table", { tags = { "a" }, environment_id = {} } },
      } do
        local _, raised = pcall(call, "purge", case[2])
        assert.equal(line .. "bad argument #1 to 'purge' (" .. case[1] .. ")", raised)
        _, raised = pcall(call, "start", case[2])
        assert.equal(line .. "bad argument #1 to 'start' (" .. case[1] .. ")", raised)
        _, raised = pcall(call, "purge_environment", "e", case[2])
        assert.equal(line .. "bad argument #2 to 'purge_environment' (" .. case[1] .. ")", raised)
      end
      for _, kind in ipairs { "files", "tags", "hosts", "prefixes" } do
        local name = "purge_" .. kind
        local _, raised = pcall(call, name, "x")
        assert.equal(("%sbad argument #1 to '%s' (%s: table or function expected, got string)")
          :format(line, name, kind), raised)
        _, raised = pcall(call, name, { true })
        assert.equal(1, (raised:find(("%sbad argument #1 to '%s' (%s[1]: string"):format(line, name, kind), 1, true)))
      end
      local _, raised = pcall(call, "purge_environment", 5, { tags = { "a" } })
      assert.equal(line .. "bad argument #1 to 'purge_environment' (environment_id: string expected, got number)",
        raised)
      nothing_sent()
    end)
  end)

  it("leave the caller's tables as they were, and run none of their metamethods", function()
    local function fail() error "a metamethod ran" end
    local trap = { __index = fail, __newindex = fail, __len = fail, __pairs = fail, __ipairs = fail,
      __tostring = fail, __eq = fail, __concat = fail, __unm = fail }
    local function build(wrap)
      return wrap { files = wrap { GOOD.files, wrap { url = GOOD.files,
        headers = wrap { Origin = "https://b.example" } } } },
        wrap { timeout = 5, default_headers = wrap { ["X-A"] = "b" } }
    end
    local params, options = build(function(t) return setmetatable(t, trap) end)
    local plain, plain_options = build(function(t) return t end)
    local body = sent(params, options)
    assert.same(plain, cjson.decode(body))
    local _, err = client:purge(setmetatable({ tags = setmetatable({ "a", "" }, trap) }, trap))
    assert.equal("tags[2]", err.field)
    local function bare(t)
      local copy = {}
      for k, v in next, t do copy[k] = type(v) == "table" and bare(v) or v end
      return copy
    end
    assert.same(plain, bare(params))
    assert.same(plain_options, bare(options))
    refused({ tags = setmetatable({}, { __index = { "a" }, __len = function() return 1 end }) }, "tags",
      "must not be empty")
    refused(setmetatable({}, { __index = { tags = { "a" } } }), "params", "is needed")
  end)
end)
