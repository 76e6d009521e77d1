-- End to end over TLS and HTTP/2: what is purged is gone from real caches, what is not stays.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local cfpurge = require "cfpurge"
local edge = require "spec.support.edge"

local env = edge.up()
local CACHES = { "production", "staging" }

-- A page is {host, path, headers?}; @ in a host, a path or a purge stands for the zone's name, so that each test has
-- hosts of its own.
local zone_id, zone, client, held

local function fill(value)
  if type(value) == "string" then return (value:gsub("@", zone.name)) end
  if type(value) ~= "table" then return value end
  local filled = {}
  for key, item in pairs(value) do filled[key] = fill(item) end
  return filled
end

local function get(cache, page)
  local status, seen, version = edge.get(cache, page[1], page[2], page[3])
  assert.equal(200, status)
  return seen, version
end

local function describe_page(cache, page)
  local text = cache .. " " .. page[1] .. page[2]
  for name, value in pairs(page[3] or {}) do text = text .. " " .. name .. "=" .. value end
  return text
end

-- Kept pages are looked at first: a look at a page that is gone brings it back.
local function stays(pages, caches)
  for _, page in ipairs(pages) do
    for _, cache in ipairs(caches or CACHES) do
      local seen, version = get(cache, page)
      assert.equal("HIT", seen, describe_page(cache, page))
      assert.equal(held[cache][page], version, describe_page(cache, page))
    end
  end
end

-- Puts every page into every cache and then has a newer version of each at the origin.
local function make_stale(pages)
  for _, page in ipairs(pages) do
    for _, cache in ipairs(CACHES) do
      local _, version = get(cache, page)
      held[cache][page] = version
    end
  end
  for _, page in ipairs(pages) do edge.bump((page[1]:gsub("^https?://", "")), page[2]) end
  stays(pages)
end

local function gone(pages, caches)
  for _, page in ipairs(pages) do
    for _, cache in ipairs(caches or CACHES) do
      local seen, version = get(cache, page)
      assert.equal("MISS", seen, describe_page(cache, page))
      assert.is_true(version > held[cache][page], describe_page(cache, page))
    end
  end
end

-- name, the purge, the pages that go, the pages that stay.
local MOBILE, DESKTOP = { ["CF-Device-Type"] = "mobile" }, { ["CF-Device-Type"] = "desktop" }
local GERMANY, FRANCE = { ["CF-IPCountry"] = "DE" }, { ["CF-IPCountry"] = "FR" }
local GERMAN, FRENCH = { ["Accept-Language"] = "de" }, { ["Accept-Language"] = "fr" }
local ORIGIN, PORT = { Origin = "https://app.example" }, { Origin = "https://app.example:8443" }
local BOTH = { ["CF-Device-Type"] = "mobile", ["CF-IPCountry"] = "DE" }

local cases = {
  { "everything", { purge_everything = true },
    { { "@", "/" }, { "www.@", "/a?b=c" }, { "img.@", "/t/news/x" }, { "http://www.@", "/a" },
      { "www.@", "/vary/x", MOBILE } },
    { { "www.other-@", "/" }, { "x@", "/" } } },

  { "files: each one named, and no other", { files = { "https://www.@/a.css", "https://www.@/b.css", "https://@/" } },
    { { "www.@", "/a.css" }, { "www.@", "/b.css" }, { "@", "/" } },
    { { "www.@", "/a.css.map" }, { "www.@", "/a" }, { "www.@", "/A.css" }, { "www.@", "/a.css/" },
      { "img.@", "/a.css" }, { "www.@", "/" } } },
  { "files: the query is part of the URL, and its order", { files = { "https://www.@/a?x=1&y=2" } },
    { { "www.@", "/a?x=1&y=2" } },
    { { "www.@", "/a" }, { "www.@", "/a?x=1" }, { "www.@", "/a?y=2&x=1" } } },
  { "files: http and https are two pages", { files = { "http://www.@/a" } },
    { { "http://www.@", "/a" } }, { { "https://www.@", "/a" } } },
  { "files: the case of scheme and host does not matter, nor the default port",
    { files = { "HTTPS://WWW.@/Case", "https://www.@:443/port" } },
    { { "www.@", "/Case" }, { "www.@", "/port" } }, { { "www.@", "/case" } } },
  { "files: UTF-8 as it is written, escapes as they are",
    { files = { "https://www.@/caf\195\169", "https://www.@/a%20b" } },
    { { "www.@", "/caf%C3%A9" }, { "www.@", "/a%20b" } }, { { "www.@", "/cafe" }, { "www.@", "/a+b" } } },
  { "files: quotes, backslashes and pattern characters are only characters", { files = { [[https://www.@/a"b\c.*]] } },
    { { "www.@", [[/a"b\c.*]] } }, { { "www.@", [[/a"b\c.d]] }, { "www.@", "/a" } } },

  { "files: the variant of a device", { files = { { url = "https://www.@/vary/x", headers = MOBILE } } },
    { { "www.@", "/vary/x", MOBILE } },
    { { "www.@", "/vary/x" }, { "www.@", "/vary/x", DESKTOP }, { "www.@", "/vary/y", MOBILE } } },
  { "files: the variant of a country", { files = { { url = "https://www.@/vary/x", headers = GERMANY } } },
    { { "www.@", "/vary/x", GERMANY } }, { { "www.@", "/vary/x" }, { "www.@", "/vary/x", FRANCE } } },
  { "files: the variant of a language", { files = { { url = "https://www.@/vary/x", headers = GERMAN } } },
    { { "www.@", "/vary/x", GERMAN } }, { { "www.@", "/vary/x" }, { "www.@", "/vary/x", FRENCH } } },
  { "files: the variant of an origin", { files = { { url = "https://www.@/vary/x", headers = ORIGIN } } },
    { { "www.@", "/vary/x", ORIGIN } }, { { "www.@", "/vary/x" }, { "www.@", "/vary/x", PORT } } },
  { "files: the variant of a device in a country", { files = { { url = "https://www.@/vary/x", headers = BOTH } } },
    { { "www.@", "/vary/x", BOTH } }, { { "www.@", "/vary/x", MOBILE }, { "www.@", "/vary/x", GERMANY } } },
  { "files: a string is the variant without headers", { files = { "https://www.@/vary/x" } },
    { { "www.@", "/vary/x" } }, { { "www.@", "/vary/x", MOBILE }, { "www.@", "/vary/x", GERMAN } } },
  { "files: both forms in one list", { files = {
      "https://www.@/a", { url = "https://www.@/vary/x", headers = MOBILE }, { url = "https://www.@/b" },
      { url = "https://www.@/c", headers = {} }, "https://www.@/vary/y" } },
    { { "www.@", "/a" }, { "www.@", "/vary/x", MOBILE }, { "www.@", "/b" }, { "www.@", "/c" }, { "www.@", "/vary/y" } },
    { { "www.@", "/vary/x" }, { "www.@", "/vary/y", MOBILE }, { "www.@", "/d" } } },

  { "tags: every page that has one of them", { tags = { "news", "sport" } },
    { { "www.@", "/t/news/x" }, { "img.@", "/t/news,art/x" }, { "@", "/t/art,sport,x/y" },
      { "http://www.@", "/t/sport/x" } },
    { { "www.@", "/t/art/x" }, { "www.@", "/t/newsroom/x" }, { "www.@", "/t/old-news/x" }, { "www.@", "/news" },
      { "www.other-@", "/t/news/x" } } },
  { "tags: their case does not matter", { tags = { "NEWS", "Sport" } },
    { { "www.@", "/t/news/x" }, { "www.@", "/t/SPORT/x" }, { "www.@", "/t/News,art/x" } },
    { { "www.@", "/t/ART/x" } } },
  { "tags: pattern characters are only characters", { tags = { "a.*", [['q'\]] } },
    { { "www.@", "/t/a.*/x" }, { "www.@", "/t/'q'%5C/x" } },
    { { "www.@", "/t/abc/x" }, { "www.@", "/t/q/x" } } },

  { "hosts: all pages of each, and of no other", { hosts = { "img.@", "WWW.@" } },
    { { "img.@", "/" }, { "img.@", "/a/b?c" }, { "www.@", "/a" }, { "http://img.@", "/" } },
    { { "@", "/" }, { "a.img.@", "/" }, { "imgs.@", "/" }, { "img.other-@", "/" } } },
  { "hosts: the apex is not its subdomains", { hosts = { "@" } },
    { { "@", "/" }, { "@", "/a" } }, { { "www.@", "/" } } },

  { "prefixes: whole segments of a path", { prefixes = { "www.@/blog" } },
    { { "www.@", "/blog" }, { "www.@", "/blog/" }, { "www.@", "/blog/a/b?c" }, { "www.@", "/blog?page=2" },
      { "http://www.@", "/blog/a" } },
    { { "www.@", "/blogroll" }, { "www.@", "/blog-old/a" }, { "www.@", "/Blog/a" }, { "www.@", "/x/blog/a" },
      { "img.@", "/blog/a" }, { "www.@", "/" } } },
  { "prefixes: with a slash at the end", { prefixes = { "www.@/blog/", "img.@/a/b/" } },
    { { "www.@", "/blog/" }, { "www.@", "/blog/a" }, { "img.@", "/a/b/c" } },
    { { "www.@", "/blog" }, { "img.@", "/a/c" } } },
  { "prefixes: a host alone", { prefixes = { "WWW.@" } },
    { { "www.@", "/" }, { "www.@", "/a" } }, { { "@", "/" }, { "img.@", "/a" }, { "a.www.@", "/" } } },
}

local function expected_items(params)
  local kind = next(params)
  return kind == "purge_everything" and 1 or #params[kind]
end

describe("the edge", function()
  before_each(function()
    zone_id, zone = edge.zone()
    edge.zone { name = "other-" .. zone.name }
    edge.zone { name = "x" .. zone.name }
    held = { production = {}, staging = {} }
    client = assert(cfpurge.new {
      zone_id = zone_id, api_token = env.TOKEN, base_url = env.API_TLS, ca_file = env.CA_FILE, proxy = "",
    })
  end)

  after_each(function()
    client:close()
  end)

  for _, case in ipairs(cases) do
    local name, params, goes, keeps = case[1], case[2], case[3], case[4]

    it("purges " .. name, function()
      local lost, kept = fill(goes), fill(keeps)
      make_stale(lost)
      make_stale(kept)
      local result = assert(client:purge(fill(params)))
      assert.equal(expected_items(params), result.accepted)
      stays(kept)
      gone(lost)
    end)

    it("purges in one environment " .. name, function()
      local lost, kept = fill(goes), fill(keeps)
      make_stale(lost)
      make_stale(kept)
      local result = assert(client:purge_environment(zone.environments.staging, fill(params)))
      assert.equal(expected_items(params), result.accepted)
      stays(kept)
      stays(lost, { "production" })
      gone(lost, { "staging" })
    end)
  end

  it("is asked once for each purge, over TLS and HTTP/2, on one connection", function()
    assert(client:purge { tags = { "a" } })
    assert(client:purge_environment(zone.environments.production, { tags = { "a" } }))
    local requests = edge.requests(zone_id)
    assert.equal(2, #requests)
    for _, request in ipairs(requests) do
      assert.equal("HTTP/2.0", request.protocol)
      assert.truthy(request.tls)
      assert.equal(requests[1].connection, request.connection)
    end
    assert.equal("/client/v4/zones/" .. zone_id .. "/purge_cache", requests[1].path)
    assert.equal(("/client/v4/zones/%s/environments/%s/purge_cache"):format(zone_id, zone.environments.production),
      requests[2].path)
  end)

  it("accepts a purge of what no cache holds", function()
    local result = assert(client:purge { files = { "https://www." .. zone.name .. "/never" } })
    assert.equal(1, result.accepted)
    assert.equal(result.id, result.ids[1])
  end)

  it("purges again what has come back", function()
    local pages = fill { { "www.@", "/t/news/x" } }
    for _ = 1, 3 do
      make_stale(pages)
      assert(client:purge { tags = { "news" } })
      gone(pages)
    end
  end)

  it("purges by the conveniences and by start", function()
    local pages = fill {
      { "www.@", "/a" }, { "www.@", "/t/news/x" }, { "img.@", "/" }, { "www.@", "/blog/a" }, { "@", "/x" },
    }
    make_stale(pages)
    assert(client:purge_files(fill { "https://www.@/a" }))
    assert(client:purge_tags { "news" })
    assert(client:purge_hosts(fill { "img.@" }))
    stays { pages[4], pages[5] }
    gone { pages[1], pages[2], pages[3] }
    assert(client:start({ prefixes = fill { "www.@/blog" } }, { environment_id = zone.environments.staging })):wait()
    stays({ pages[4] }, { "production" })
    gone({ pages[4] }, { "staging" })
    stays { pages[5] }
    assert(client:purge_everything())
    gone { pages[5] }
  end)

  it("purges what an error says remained", function()
    local pages, kept = fill { { "www.@", "/a" }, { "www.@", "/vary/x", MOBILE } }, fill { { "www.@", "/vary/x" } }
    make_stale(pages)
    make_stale(kept)
    edge.script(zone_id, { { status = 403, json = { success = false, errors = {}, messages = {} } } })
    local params = { files = fill { "https://www.@/a", { url = "https://www.@/vary/x", headers = MOBILE } } }
    local result, err = client:purge_environment(zone.environments.production, params)
    assert.is_nil(result)
    assert.equal("permission_denied", err.kind)
    stays(pages)
    assert(client:purge(err.remaining))
    stays(kept)
    stays(pages, { "staging" })
    gone(pages, { "production" })
  end)

  describe("leaves the caches as they were where a purge", function()
    local everything, not_found = { purge_everything = true }, ("0"):rep(32)
    local refusals = {
      { "has a token without the permission", "permission_denied", everything, { api_token = env.TOKEN_NO_PURGE } },
      { "has an unknown token", "authentication", everything, { api_token = "unknown" } },
      { "is for another zone", "permission_denied", everything, { zone_id = not_found } },
      { "is for an unknown environment", "not_found", everything, { environment_id = not_found } },
      { "names one URL of another zone", "bad_request", { files = { "https://www.@/a", "https://www.other-@/a" } },
        { isolate = false } },
      { "names one host of another zone", "bad_request", { hosts = { "www.@", "www.other-@" } }, { isolate = false } },
      { "names one prefix of another zone", "bad_request", { prefixes = { "www.@/", "www.other-@/" } },
        { isolate = false } },
      { "breaks a rule in its last item", "invalid_request", { tags = { "news", "two words" } } },
      { "has an empty list", "invalid_request", { tags = {} } },
      { "asks for two kinds", "invalid_request", { purge_everything = true, tags = { "news" } } },
    }
    for _, refusal in ipairs(refusals) do
      it(refusal[1], function()
        local pages = fill { { "www.@", "/a" }, { "www.@", "/t/news/x" }, { "www.other-@", "/a" } }
        make_stale(pages)
        local result, err = client:purge(fill(refusal[3]), refusal[4])
        assert.is_nil(result)
        assert.equal(refusal[2], err.kind)
        stays(pages)
      end)
    end

    it("is over the limit", function()
      local pages = fill { { "www.@", "/t/news/x" } }
      make_stale(pages)
      edge.limits { zone = zone_id, plan = "free", headers = false } -- or the client would slow down
      for _ = 1, 25 do assert(client:purge { tags = { "other" } }) end
      -- One that has not heard how little is left.
      local other = assert(cfpurge.new { zone_id = zone_id, api_token = env.TOKEN, base_url = env.API_HTTP, proxy = "" })
      local result, err = other:purge({ tags = { "news" } }, { max_retry_wait = 0 })
      other:close()
      assert.is_nil(result)
      assert.equal("rate_limited", err.kind)
      stays(pages)
    end)
  end)
end)
