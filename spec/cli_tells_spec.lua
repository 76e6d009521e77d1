-- What the command shows, and to whom: lua/cfpurge/cli/text.lua, report.lua, failure.lua.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local lists = require "spec.support.lists"
local text = require "cfpurge.cli.text"

local zone, about, run

describe("what the command tells", function()
  before_each(function()
    zone, about = edge.zone()
    run = command.of(zone)
  end)
  after_each(command.clean)

  it("is told although nobody reads standard output any more", function()
    local lines = {}
    for i = 1, 20000 do lines[i] = "tag-" .. i end
    for _, option in ipairs { "--quiet", "--json" } do
      edge.reset(zone)
      edge.script(zone, { lists.refusal(10000, 403) })
      local err = command.file()
      local line = command.line({ "tags", "--in-flight", "1", option }, { zone = zone })
      host.must(("{ %s <%s 2>%s; echo $? >>%s; } | head -c 1"):format(line, command.file(table.concat(lines, "\n")), err, err))
      local said = command.read(err)
      assert.truthy(said:find("^cfpurge: refused 10000 "), said)
      assert.truthy(said:find("\ncfpurge: 0 accepted, 20,000 not; ", 1, true), said)
      assert.truthy(said:find("\ncfpurge: standard output: Broken pipe\n3\n$"), said)
    end
  end)

  it("groups causes by what is wrong, and names the file's line", function()
    local url = "https://" .. about.name .. "/"
    local list = command.file("# all of them\n\n" .. url .. "1\nnonsense\n" .. url .. "2\nrubbish\n")
    local _, err = run { "files", "--from", list }
    assert.equal(("cfpurge: %s:4: nonsense and 1 more: must be an absolute http(s) URL\ncfpurge: 2 accepted, 2 not\n"):format(
      list), err)
    -- Every variant of a line stands in that line, and what has none counts once.
    list = command.file(url .. "1\n{\"url\":1}\n" .. url .. "2\nnonsense\n")
    _, err = run { "files", "--device", "mobile,desktop", "--from", list }
    assert.truthy(err:find(list .. ":2: ", 1, true), err)
    assert.truthy(err:find(list .. ":4: ", 1, true), err)
    -- A server that names the item says the same of each.
    list = command.file "bad-1\nbad-2\ngood\n"
    local answers = {}
    for i = 1, 2 do
      answers[i] = { match = ('^{"tags":%%["bad%%-%d"%%]}$'):format(i), times = 0, status = 400, json = { success = false,
        errors = { { code = 1016, message = ("bad-%d is wrong"):format(i) } }, messages = {} } }
    end
    answers[3] = { match = "bad", times = 0, status = 400, json = { success = false,
      errors = { { code = 1016, message = "one is wrong" } }, messages = {} } }
    edge.script(zone, answers)
    _, err = run { "tags", "--from", list }
    assert.truthy(err:find("^cfpurge: " .. list .. ":1: bad%-1 and 1 more: "), err)
  end)

  it("cuts what is long, and obeys no control byte", function()
    local long = ("x"):rep(179000)
    local _, err = run({ "files" }, { stdin = long .. "\n" })
    assert.truthy(#err < 400 and err:find(("x"):rep(100) .. "...: must be an absolute", 1, true), err)
    _, err = run({ "hosts" }, { stdin = "\27[31mred\194\155m\255.example\n" })
    assert.falsy(err:gsub("\n$", ""):find "[%c\194\255]", err)
    for _, option in ipairs { "--quiet", "--json" } do
      local out = run { "files", "https://a.example/\194\1552J", "--dry-run", option }
      assert.truthy(out:find("a.example/\\u009b2J", 1, true), out)
    end
    assert.same({ "a b c", "\239\191\189x", "\239\191\189\239\191\189", "gr\195\188n" },
      { text.printable "a\27b\194\155c", text.valid "\255x", text.valid "\237\160" , text.valid "gr\195\188n" })
    assert.equal("ab...", text.cut("ab\195\188c", 3))
  end)

  it("has one schema as JSON, in valid UTF-8", function()
    local members = { "accepted", "attempts", "error", "failures", "ids", "messages", "pages", "queued", "ray_id",
      "remaining", "remaining_file", "requests", "seconds" }
    local function told(words, options)
      local out = run(words, options)
      assert.equal(out, text.valid(out))
      local names, object = {}, cjson.decode(out)
      for name in pairs(object) do names[#names + 1] = name end
      table.sort(names)
      assert.same(members, names)
      return object
    end
    assert.same(cjson.null, told({ "tags", "a", "--json" }).error)
    assert.equal("invalid_request", told({ "tags", "a", "--json", "--plan", "gold" }).error.kind)
    assert.equal("invalid_request", told({ "--json", "tag" }).error.kind)
    assert.equal("invalid_request", told({ "everything", "--json" }).error.kind)
    assert.equal("invalid_request", told({ "tags", "a", "--json", "--token-file", "/nowhere" }).error.kind)
    edge.script(zone, { lists.refusal(10000, 403) })
    local object = told { "tags", "a", "--json" }
    assert.same({ "permission_denied", "credential", { "a" } }, { object.error.kind, object.error.about, object.remaining })
    assert.equal(1, told({ "everything", "--yes", "--json" }).requests)
    edge.reset(zone)
    assert.equal("files[1].url", told({ "files", '{"url":1}', "--json" }).error.field)
    assert.equal(cjson.null, told({ "files", "--json" }, { stdin = '{"url":1e999}\n' }).failures[1].items[1].url)
    object = told({ "tags", "--json" }, { stdin = "gr\252n\ngood\n" })
    assert.same({ "gr\239\191\189n" }, object.remaining)
  end)

  it("is right about where to look", function()
    for words, said in pairs {
      [{ "file", "a" }] = "unknown command 'file'; Did you mean 'files'? (see: cfpurge --help)",
      [{ "--zone", zone, "file", "a" }] = "(see: cfpurge --help)",
      [{ "--zone", zone, "-q" }] = "cfpurge: a command is required (see: cfpurge --help)",
      [{ "--zone", zone, "tags", "--plan", "gold" }] = "(see: cfpurge tags --help)",
      [{ "queue", "failed", "--kind", "tag" }] = "(see: cfpurge queue failed --help)",
      [{ "queue", "work", "--profile", "none" }] = "(see: cfpurge queue work --help)",
      [{ "queue", "wrok" }] = "(see: cfpurge queue --help)",
    } do
      local _, err, status = run(words)
      assert.equal(2, status)
      assert.truthy(err:find(said, 1, true), err)
    end
    assert.equal(0, select(3, run({ "--zone", zone, "-q", "tags", "a" }, { zone = false })))
    assert.equal(0, select(3, run { "--retries=0", "--invalidate", "tags", "a" }))
    assert.equal(0, select(3, run { "--", "tags", "a" }))
  end)

  it("says that a star is no wildcard", function()
    local url = "https://" .. about.name .. "/*"
    local out, err = run { "files", url }
    assert.truthy(out:find "^accepted: 1 item")
    assert.equal("cfpurge: " .. url .. ": the * is no wildcard, it stands for itself\n", err)
    assert.equal("", (select(2, run { "files", url, "--quiet" })))
  end)

  it("has one cause for a sitemap that is given as a list", function()
    local list = command.file(("<?xml version='1.0'?><urlset>" .. ("<url/>"):rep(9000) .. "</urlset>"):rep(2, "\n"))
    local rest = command.file "old\n"
    local out, err, status = run { "files", "--from", list, "--remaining", rest }
    assert.same({ "", 2, "old\n" }, { out, status, command.read(rest) })
    assert.equal(("cfpurge: --from %s: line 1: it looks like XML or HTML, not like one item a line; "
      .. "--sitemap reads a sitemap\n"):format(list), err)
  end)

  it("blames the token only where the API does", function()
    local function failed(answer)
      edge.reset(zone)
      answer.times = 0
      edge.script(zone, { answer })
      local _, err, status = run { "tags", "a", "--retries", "0" }
      return status, err
    end
    local status, err = failed { status = 403, headers = { ["Content-Type"] = "text/html" }, body = "<html>no</html>" }
    assert.truthy(status == 4 and err:find("in front of the API", 1, true), err)
    status, err = failed { status = 400, json = { success = false, errors = { { code = 6003, message = "Invalid request headers",
      error_chain = { { code = 6111, message = "Invalid format for Authorization header" } } } } } }
    assert.truthy(status == 3 and err:find("check the token", 1, true) and err:find("Invalid format for Auth", 1, true), err)
    status, err = failed { status = 400, json = { success = false, errors = { { code = 1107, message = "not in the plan" } } } }
    assert.truthy(status == 1 and err:find("the zone's plan has no such purge", 1, true), err)
  end)
end)
