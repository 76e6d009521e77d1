-- `cfpurge check` and `--check`: lua/cfpurge/cli/check.lua, on the edge's caches.
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

  it("waits until no page is a HIT from before, and says which is", function()
    check({}, "/old")
    edge.get("production", host, "/old")
    os.execute "sleep 1.1"
    local out, err, status = check({ "--wait", "0" }, "/old")
    assert.same({ "cfpurge: 1 page still from before\n", 1 }, { err, status })
    assert.truthy(out:find("HIT", 1, true), out)
    assert.equal(0, select(3, check({ "--wait", "5" }, "/new")))
  end)

  it("says where there is no answer, of all pages", function()
    local out, err, status = command.run({ "check", "http://127.0.0.1:1/", item "/there" }, {})
    assert.same({ "", 4 }, { err, status })
    assert.truthy(out:find "^http://127%.0%.0%.1:1/: [^\n]+\n[^\n]+ status 200", out)
    assert.equal(2, select(3, command.run({ "check", "file:///etc/passwd" , "--wait" }, {})))
    out = command.run({ "check", "file:///etc/passwd" }, {})
    assert.truthy(out:find "[Pp]rotocol", out)
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
end)
