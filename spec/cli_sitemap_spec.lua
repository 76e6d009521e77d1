-- `cfpurge files --sitemap`: lua/cfpurge/cli/sitemap.lua.
local elsewhere = require "spec.support.where"
if elsewhere "engine" then return end

local command = require "spec.support.command"
local edge = require "spec.support.edge"

local NAMESPACE = ' xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'

describe("the command, given a sitemap,", function()
  local zone, host
  before_each(function()
    local about
    zone, about = edge.zone()
    host = about.name
  end)
  after_each(command.clean)

  local function urlset(from, to)
    local parts = { '<?xml version="1.0" encoding="UTF-8"?>\n<urlset' .. NAMESPACE .. ">" }
    for i = from, to do
      parts[#parts + 1] = ("<url><loc>\n https://%s/%d?a=1&amp;b=2 </loc><lastmod>2026-01-01</lastmod></url>"):format(host, i)
    end
    return table.concat(parts) .. "</urlset>"
  end
  local function index(...)
    local parts = { "<sitemapindex" .. NAMESPACE .. ">" }
    for _, url in ipairs { ... } do parts[#parts + 1] = "<sitemap><loc>" .. url .. "</loc></sitemap>" end
    return table.concat(parts) .. "</sitemapindex>"
  end
  local function purge(sitemap) return command.run({ "files", "--sitemap", sitemap }, { zone = zone }) end
  -- A page of a zone's own, which plays a script.
  local function page(text, headers)
    local other = edge.zone()
    edge.script(other, { { times = 0, body = text, headers = headers } })
    return edge.env.API_HTTP .. "/zones/" .. other
  end
  local function purged()
    local urls = {}
    for _, request in ipairs(edge.requests(zone)) do
      for url in request.body:gmatch '"(https:[^"]+)"' do urls[#urls + 1] = url end
    end
    return urls
  end

  it("purges its URLs", function()
    local out, err, status = purge(command.file(urlset(1, 250)))
    assert.same({ "", 0 }, { err, status })
    assert.truthy(out:find "^accepted: 250 items in 3 requests", out)
    local urls, seen = purged(), {}
    for _, url in ipairs(urls) do seen[url] = true end
    assert.equal(250, #urls)
    for i = 1, 250 do assert.is_true(seen[("https://%s/%d?a=1&b=2"):format(host, i)], i) end
  end)

  it("unpacks it", function()
    local path = command.file(urlset(1, 3))
    os.execute("gzip -c " .. path .. " > " .. path .. ".gz")
    local out = purge(path .. ".gz")
    os.remove(path .. ".gz")
    assert.truthy(out:find "^accepted: 3 items", out)
  end)

  it("reads it from a pipe and from a compressed page", function()
    local path = command.file(urlset(1, 3))
    local line = command.line({ "files", "--sitemap", "/dev/stdin" }, { zone = zone })
    local pipe = io.popen("cat " .. path .. " | " .. line .. " 2>&1")
    local out = pipe:read "*a"
    pipe:close()
    assert.truthy(out:find "^accepted: 3 items", out)
    pipe = io.popen("gzip -c " .. path .. " | " .. line .. " 2>&1")
    out = pipe:read "*a"
    pipe:close()
    assert.truthy(out:find("/dev/stdin: is compressed and no file that can be read twice", 1, true), out)
    pipe = io.popen("gzip -c " .. path)
    local packed = pipe:read "*a"
    pipe:close()
    local other = edge.zone()
    edge.script(other, { { times = 0, raw = "HTTP/1.1 200 OK\r\nContent-Length: " .. #packed .. "\r\n\r\n" .. packed } })
    out = command.run({ "files", "--sitemap", edge.env.API_HTTP .. "/zones/" .. other }, { zone = zone })
    assert.truthy(out:find "^accepted: 3 items", out)
  end)

  it("is read to its end after a Ctrl-C, which gzip is sent too", function()
    local path, rest = command.file(urlset(1, 20000)), command.file()
    os.execute("gzip -c " .. path .. " > " .. path .. ".gz")
    edge.script(zone, { { pass = true }, { delay = 30, times = 0, pass = true } })
    local pipe = io.popen("echo $$; exec setsid " .. command.line({ "files", "--sitemap", path .. ".gz", "--in-flight", "1",
      "--remaining", rest }, { zone = zone }) .. " 2>&1")
    local group = pipe:read "*l"
    edge.requests(zone, 2)
    os.execute(("kill -INT -%s; sleep 0.2; kill -INT -%s"):format(group, group))
    local said = pipe:read "*a"
    pipe:close()
    os.remove(path .. ".gz")
    assert.equal("cfpurge: interrupted; 100 accepted, 19,900 not; go on with --from " .. rest .. "\n", said)
  end)

  it("needs lua-expat, and says so", function()
    if elsewhere "uncounted" then return end -- by LUA_INIT
    local _, err, status = command.run({ "files", "--sitemap", command.file(urlset(1, 3)) }, { zone = zone,
      env = { LUA_INIT = "package.preload.lxp = function() error 'none' end" } })
    assert.equal(2, status)
    assert.truthy(err:find("the module lxp of lua-expat is not there", 1, true), err)
  end)

  it("follows an index, three deep, by URLs and without the credential", function()
    local first, second = page(urlset(1, 2)), page(urlset(3, 4))
    local out, err, status = purge(command.file(index(page(index(first, second)), page(urlset(5, 5)))))
    assert.same({ "", 0 }, { err, status })
    assert.truthy(out:find "^accepted: 5 items", out)
    for _, url in ipairs { first, second } do
      local seen = edge.requests(url:match "[^/]+$")[1]
      assert.same({ "GET", nil }, { seen.method, seen.headers.authorization })
    end
    local deep = page(index(page(index(page(index(page(urlset(1, 1))))))))
    out, err, status = purge(deep)
    assert.same({ "", 1 }, { out, status ~= 0 and 1 })
    assert.truthy(err:find("an index lists an index that lists an index", 1, true), err)
  end)

  it("says what is wrong with it, and where", function()
    for text, pattern in pairs {
      ["<html><body/></html>"] = "it is no sitemap: it begins with <html>",
      ['<!DOCTYPE a [<!ENTITY b "c">]><urlset/>'] = "a sitemap declares no document type",
      ["<urlset><url><loc>https://x.example/"] = "line 1: ",
      [""] = "is empty or no file",
      [index "file:///etc/passwd"] = "file:///etc/passwd: an index lists URLs",
      [index "http://127.0.0.1:1/x"] = "http://127.0.0.1:1/x: ",
    } do
      local _, err, status = purge(command.file(text))
      assert.truthy(err:find(pattern, 1, true), err)
      assert.is_true(status ~= 0)
    end
    local _, err = purge "/nowhere/sitemap.xml"
    assert.truthy(err:find("--sitemap /nowhere/sitemap.xml: No such file", 1, true), err)
    assert.equal(2, select(3, command.run({ "files", "--sitemap", "x", "https://a.example/" }, { zone = zone })))
    assert.same({}, purged())
  end)

  it("hints at it where one is given as a list", function()
    local _, err = command.run({ "files", "--from", command.file(urlset(1, 9000)) }, { zone = zone })
    assert.truthy(#err < 400 and err:find("line 1: it looks like XML", 1, true) and err:find("--sitemap", 1, true), err)
  end)
end)
