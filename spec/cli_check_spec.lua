-- `cfpurge check` and `--check`: lua/cfpurge/cli/check.lua, on the edge's caches.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"

describe("the command", function()
  local zone, about, host, base
  before_each(function()
    zone, about = edge.zone()
    host = about.name
    base = edge.env.CACHE_production
  end)
  after_each(command.clean)

  -- The caches know a page by its Host, and answer on an address of their own.
  local function item(path) return cjson.encode { url = base .. path, headers = { Host = host } } end
  local function check(words, path)
    words[#words + 1] = item(path)
    table.insert(words, 1, "check")
    return command.run(words, { zone = zone })
  end

  it("tells what the cache says of a page", function()
    local out, err, status = check({}, "/seen")
    assert.same({ "", 0 }, { err, status })
    assert.truthy(out:find(base .. "/seen: MISS, age 0 s, status 200", 1, true), out)
    out = check({}, "/seen")
    assert.truthy(out:find(": HIT, age %d+ s, status 200"), out)
    local page = cjson.decode((check({ "--json" }, "/seen"))).pages[1]
    assert.same({ base .. "/seen", 200, "HIT" }, { page.url, page.status, page.cache })
  end)

  it("tells the tags that the origin sends, which the cache keeps from visitors", function()
    local function tags_at(at)
      local page = cjson.encode { url = at .. "/t/news,sport/x", headers = { Host = host } }
      return cjson.decode((command.run({ "check", "--json", page }, {}))).pages[1].tags
    end
    assert.same({ "news,sport", nil }, { tags_at(edge.env.ORIGIN), tags_at(base) })
  end)

  it("waits until no page is a HIT from before, and says which is", function()
    check({}, "/old")
    edge.get("production", host, "/old")
    local out, err, status = check({ "--wait", "0" }, "/old")
    assert.same({ "cfpurge: 1 page still from before\n", 1 }, { err, status })
    assert.truthy(out:find("HIT", 1, true), out)
    assert.equal(0, select(3, check({ "--wait", "5" }, "/new")))
  end)

  it("says where there is no answer, of all pages", function()
    local out, err, status = command.run({ "check", "http://127.0.0.1:1/", item "/there" }, {})
    assert.same({ "", 4 }, { err, status })
    assert.truthy(out:find "^http://127%.0%.0%.1:1/: [^\n]+\n[^\n]+ status 200", out)
    assert.equal(4, select(3, command.run({ "check", "--wait", "0", "http://127.0.0.1:1/", item "/there" }, {})))
    assert.equal(2, select(3, command.run({ "check", "file:///etc/passwd" , "--wait" }, {})))
    out = command.run({ "check", "file:///etc/passwd" }, {})
    assert.truthy(out:find "[Pp]rotocol", out)
    for _, headers in ipairs { [[{"A":"x\r\nB: y"}]], [[{"A\r\nB":"y"}]], [[{"A: x":"y"}]] } do
      local page = ('{"url":"%s/zones","headers":%s}'):format(edge.env.API_HTTP, headers)
      out, err, status = command.run({ "check", page }, {})
      assert.truthy(out:find("is no header, or has a control character", 1, true), out)
      assert.same({ "", 4 }, { err, status })
    end
  end)

  it("sends no credential with it", function()
    local out = command.run({ "check", edge.env.API_HTTP .. "/zones" }, {})
    assert.truthy(out:find("status 400", 1, true), out)
  end)

  it("looks at the pages of a purge of files", function()
    edge.get("production", host, "/a")
    local out, err, status = command.run({ "files", "--check", "--wait", "5", "https://" .. host .. "/a" }, { zone = zone })
    -- Nobody resolves the edge's hosts: each of them is told of.
    assert.same({ "", 4 }, { err, status })
    assert.truthy(out:find("^accepted: 1 item [^\n]+\nhttps://" .. host:gsub("%p", "%%%0") .. "/a: [^\n]+\n$"), out)
  end)

  it("sees through a visitor's eyes that a purge has worked, and has it in its JSON object", function()
    local url = "http://" .. host .. "/a"
    local options = { zone = zone, env = { http_proxy = edge.env.PROXY } }
    edge.get("production", "http://" .. host, "/a")
    local out, err, status = command.run({ "check", "--wait", "0", url }, options)
    assert.same({ "cfpurge: 1 page still from before\n", 1 }, { err, status }, out)
    out, err, status = command.run({ "files", "--check", "--wait", "5", "--json", url }, options)
    assert.same({ "", 0 }, { err, status })
    local told = cjson.decode(out)
    assert.same({ 1, url, "MISS", false }, { told.accepted, told.pages[1].url, told.pages[1].cache, told.pages[1].old })
    edge.get("production", "http://" .. host, "/a")
    out, err, status = command.run({ "files", "--check", "--wait", "5", url }, options)
    assert.same({ "", 0 }, { err, status })
    assert.truthy(out:find("^accepted: 1 item [^\n]+\n" .. url:gsub("%p", "%%%0") .. ": MISS"), out)
    -- A list that was not read to its end is told by the status, however new the pages are.
    assert.equal(1, select(3, command.run({ "files", "--check", "--quiet", url, "--from", "/" }, options)))
  end)

  it("judges a page by its age when it was looked at, however long the others take", function()
    edge.get("production", "http://" .. host, "/old")
    local slow = edge.zone()
    edge.script(slow, { { times = 0, delay = 2.2, body = "slow" } })
    local _, err, status = command.run({ "check", "--wait", "0", item "/old", edge.env.API_HTTP .. "/zones/" .. slow }, {})
    assert.same({ "cfpurge: 1 page still from before\n", 1 }, { err, status })
  end)

  it("waits for what is served stale, too", function()
    local other = edge.zone()
    edge.script(other, { { times = 1, headers = { ["CF-Cache-Status"] = "STALE", Age = "99" } },
      { times = 0, headers = { ["CF-Cache-Status"] = "MISS" } } })
    local url = edge.env.API_HTTP .. "/zones/" .. other
    local out, err, status = command.run({ "check", "--wait", "9", "-q", url }, {})
    assert.same({ "", "", 0 }, { out, err, status })
    assert.equal(2, #edge.requests(other))
  end)

  it("trusts the CAs of --ca-file, and waits no longer than --timeout", function()
    local page = edge.env.API_TLS .. "/zones"
    local out, _, status = command.run({ "check", page, "--ca-file", edge.env.CA_FILE }, {})
    assert.truthy(status == 0 and out:find("status 400", 1, true), out)
    local other, key = command.file(), command.file()
    os.execute("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout " .. key .. " -out " .. other .. " 2>/dev/null")
    out, _, status = command.run({ "check", page, "--ca-file", other }, {})
    assert.truthy(status == 4 and out:find("certificate", 1, true), out)
    out, _, status = command.run({ "check", page, "--ca-file", "/nowhere" }, {})
    assert.truthy(status == 4 and out:find("/nowhere No such file", 1, true), out)
    local slow = edge.zone()
    edge.script(slow, { { times = 0, delay = 3, body = "slow" } })
    out, _, status = command.run({ "check", "--timeout", "0.2", edge.env.API_HTTP .. "/zones/" .. slow }, {})
    assert.truthy(status == 4 and out:find("timed out", 1, true), out)
  end)

  it("says what cannot be asked for", function()
    local wrong = { '{"headers":{}}', '{"url":1}', '{"url":"x","headers":{"a":[]}}', '{"url":"x","headers":1}' }
    for _, text in ipairs(wrong) do
      local out, err, status = command.run({ "check", text }, {})
      assert.same({ "", 4 }, { err, status })
      assert.truthy(out:find(": must be a URL, or an object with a url and headers\n", 1, true), out)
    end
    local out, err, status = command.run({ "check", "--json" }, { stdin = "\n" })
    assert.same({ "cfpurge: check: nothing to ask for\n", 2 }, { err, status })
    assert.equal("check: nothing to ask for", cjson.decode(out).error.message)
    out, err, status = command.run({ "files", "--wait", "3", "https://a.example/" }, { zone = zone })
    assert.same({ "", "cfpurge: --wait: goes with --check (see: cfpurge files --help)\n", 2 }, { out, err, status })
  end)
end)
