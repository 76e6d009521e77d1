-- What the command tells where something was not accepted: lua/cfpurge/cli/failure.lua, and the files of cli/items.lua.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

local unpack = unpack or table.unpack
local zone, about, run

describe("the command's account of a failure", function()
  before_each(function()
    zone, about = edge.zone()
    run = command.of(zone)
  end)
  after_each(command.clean)

  it("has as JSON each cause with its items, and what remains", function()
    local refused = lists.refusal(1016)
    refused.match = '"bad'
    edge.script(zone, { refused })
    -- Nothing is sent of a list that has an item which breaks a rule.
    assert.equal(2, select(3, run { "tags", "a", "bad-1", "b", "c d", "bad-2", "--json" }))
    local out, err, status = run({ "tags", "--json" }, { stdin = "a\nbad-1\nb\nc d\nbad-2\n" })
    assert.equal(1, status, err)
    local told = cjson.decode(out)
    assert.same({ 2, { "bad-1", "c d", "bad-2" } }, { told.accepted, told.remaining })
    assert.same({ "invalid_request", "bad_request", "bad_request" }, (function()
      local kinds = {}
      for i, failure in ipairs(told.failures) do kinds[i] = failure.error.kind end
      table.sort(kinds, function(a, b) return a > b end)
      return kinds
    end)())
    local items = {}
    for _, failure in ipairs(told.failures) do
      for _, item in ipairs(failure.items) do items[#items + 1] = item end
    end
    table.sort(items)
    assert.same({ "bad-1", "bad-2", "c d" }, items)
    assert.truthy(err:find "\n", err)
  end)

  it("has an empty list as JSON where nothing remains to be shown", function()
    local rest = command.file()
    edge.script(zone, { lists.refusal(1016) })
    local out, err = run { "tags", "a", "--json", "--remaining", rest }
    local told = cjson.decode(out)
    assert.same({ "bad_request", "a\n" }, { told.error.kind, command.read(rest) })
    assert.same({ {}, rest }, { told.remaining, told.remaining_file })
    assert.truthy(err:find("0 accepted, 1 not", 1, true), err)
  end)

  it("says no more where the causes say it all", function()
    local _, err, status = run({ "tags" }, { stdin = "a b\n" })
    assert.equal("cfpurge: standard input:1: a b: must be printable ASCII without spaces: it has U+0020 (space)\n", err)
    assert.equal(2, status)
  end)

  it("says that nothing was read behind a thousand wrong ones", function()
    local _, err, status = run({ "tags" }, { stdin = ("a b\n"):rep(1500) .. "good\n" })
    assert.equal("cfpurge: standard input:1: a b and 999 more: must be printable ASCII without spaces: it has U+0020 (space)\n"
      .. "cfpurge: 1000 items in a row were refused here, and none was accepted: nothing behind them was read\n", err)
    assert.equal(2, status)
  end)

  it("names ten causes, and how many more there are", function()
    local answers, lines = {}, {}
    for i = 1, 13 do
      answers[i] = { match = ('"bad-%d"'):format(i), times = 0, status = 400, json = { success = false,
        errors = { { code = 1016, message = "cause " .. i } }, messages = {} } }
      lines[i] = "bad-" .. i
    end
    lines[#lines + 1] = "good"
    edge.script(zone, answers)
    local out, err, status = run({ "tags", "--in-flight", "1" }, { stdin = table.concat(lines, "\n") })
    assert.equal(1, status)
    assert.equal(table.concat(lines, "\n", 1, 13) .. "\n", out)
    local _, causes = err:gsub("cfpurge: standard input:(%d+): bad%-%1: cause %1 %(HTTP 400, code 1016, ray %w+%-%w+%)\n", "")
    assert.equal(10, causes, err)
    assert.truthy(err:find("\ncfpurge: and 3 causes more\n", 1, true), err)
    assert.truthy(err:find("1 accepted, 13 not", 1, true), err)
  end)

  it("ends with 1 where some was accepted, whatever came of the rest", function()
    for status, expected in pairs { [503] = { 4, 1 }, [403] = { 3, 1 } } do
      local failing = { times = 0, status = status, json = { success = false, errors = { { code = 10000, message = "no" } } } }
      for i, answers in ipairs { { failing }, { { pass = true }, failing } } do
        edge.reset(zone)
        edge.script(zone, answers)
        local _, err, ended = run({ "tags", "--in-flight", "1", "--retries", "0", "--quiet" },
          { stdin = table.concat(lists.tags(150), "\n") })
        assert.equal(expected[i], ended, err)
      end
    end
  end)

  it("counts the items of one cause", function()
    local refused = lists.refusal(1016)
    refused.match = '"bad'
    edge.script(zone, { refused })
    local _, err = run({ "tags" }, { stdin = "bad-1\nbad-2\ngood\nbad-3\n" })
    assert.truthy(err:find("cfpurge: standard input:1: bad-1 and 2 more: refused 1016 (HTTP 400, ray ", 1, true), err)
  end)

  it("says what to do next", function()
    local function next_step(answer, words, options)
      edge.reset(zone)
      edge.script(zone, { answer })
      local line = { "tags", "a", "--retries", "0" }
      for _, word in ipairs(words or {}) do line[#line + 1] = word end
      return (select(2, run(line, options)))
    end
    for said, case in pairs {
      ["try again in 90 s, and give --plan"] = { status = 429, headers = { ["Retry-After"] = "90" }, times = 0 },
      ["try again in 3 min, and give --plan"] = { status = 429, headers = { ["Retry-After"] = "180" }, times = 0 },
      ["try again in 3.0 h, and give --plan"] = { status = 429, headers = { ["Retry-After"] = "10800" }, times = 0 },
      ["; try again later\n"] = { status = 503, body = "{}" },
      ["check --zone and --environment"] = { status = 404, body = "{}" },
      ["check what stands between"] = { body = "<html>" },
    } do
      local err = next_step(case)
      assert.truthy(err:find(said, 1, true), said .. " is not in: " .. err)
    end
    -- A server that speaks no TLS is no matter of certificates.
    local err = next_step({ pass = true }, {}, { env = { CLOUDFLARE_BASE_URL = (edge.env.API_HTTP:gsub("^http", "https")) } })
    assert.truthy(err:find("something between may break TLS", 1, true) or err:find("check the network", 1, true), err)
  end)

  it("writes what remains to a device as well, and says where it cannot", function()
    edge.script(zone, { lists.refusal(1016) })
    local out, err, status = run { "tags", "a", "--remaining", "/dev/stdout" }
    assert.same({ "a\n", 1 }, { out, status })
    assert.truthy(err:find("go on with --from /dev/stdout", 1, true), err)
    -- A directory has the name.
    out, err, status = run { "tags", "a", "--remaining", "/tmp" }
    assert.same({ "", 2 }, { out, status })
    assert.truthy(err:find("--remaining: /tmp: Is a directory", 1, true), err)
  end)

  it("says where standard output could not be written", function()
    local function run_full(...)
      local line = command.line({ "tags", "a", ... }, { zone = zone })
      local pipe = io.popen(("{ %s; echo $? >&2; } 2>&1 >/dev/full"):format(line))
      local said = pipe:read "*a"
      pipe:close()
      return said
    end
    local problem = "cfpurge: standard output: No space left on device\n1\n"
    for _, words in ipairs { {}, { "--json" }, { "--dry-run" }, { "--dry-run", "--json" } } do
      assert.equal(problem, run_full(unpack(words)))
    end
    assert.equal("0\n", run_full "--quiet")
    edge.script(zone, { lists.refusal(1016) })
    for _, word in ipairs { "--quiet", "--json" } do
      assert.equal("cfpurge: refused 1016\ncfpurge: 0 accepted, 1 not\n" .. problem, (run_full(word):gsub(" %b()", "")))
    end
  end)

  it("keeps an item's own headers beside the variants", function()
    local url = "https://" .. about.name .. "/1"
    local line = ('{"url":"%s","headers":{"Origin":"https://o.example","cf-ipcountry":"DE"}}'):format(url)
    assert.equal(0, select(3, run({ "files", "--device", "mobile", "--country", "CH" }, { stdin = line .. "\n" })))
    assert.same({ { url = url, headers = { ["CF-Device-Type"] = "mobile", ["CF-IPCountry"] = "CH",
      Origin = "https://o.example" } } }, (lists.sent(zone, "files")))
  end)
end)
