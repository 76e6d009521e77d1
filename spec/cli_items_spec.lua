-- What the command reads and what it leaves in files: lua/cfpurge/cli/items.lua.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

local unpack = unpack or table.unpack
local zone, about, run

describe("the command and its files", function()
  before_each(function()
    zone, about = edge.zone()
    run = command.of(zone)
  end)
  after_each(command.clean)

  it("leaves the file of what remains alone in a dry run", function()
    local list = command.file "a\nb\n"
    for _, words in ipairs { { "tags", "--from", list }, { "tags", "a b" } } do
      words[#words + 1] = "--dry-run"
      words[#words + 1] = "--remaining=" .. list
      run(words)
      assert.equal("a\nb\n", command.read(list))
    end
    assert.equal(0, select(3, run { "tags", "a", "--dry-run", "--remaining", "/nowhere/rest" }))
    assert.same({}, edge.requests(zone))
  end)

  it("begins where standard input stands", function()
    local line = command.line({ "tags" }, { zone = zone })
    local pipe = io.popen(("{ read -r header; %s; } <%s"):format(line, command.file "header\na\nb\n"))
    local out = pipe:read "*a"
    pipe:close()
    assert.truthy(out:find("accepted: 2 items", 1, true), out)
    assert.same({ "a", "b" }, (lists.sent(zone)))
  end)

  it("refuses a line with a NUL, and glues nothing to it", function()
    local good = "https://" .. about.name .. "/" .. ("c"):rep(5000)
    local list, rest = command.file("https://" .. about.name .. "/a\0junk\nb/secret\n" .. good), command.file ""
    local _, err, status = run { "files", "--from", list, "--remaining", rest }
    assert.same({ 1, "https://" .. about.name .. "/a\0junk\nb/secret\n" }, { status, command.read(rest) }, err)
    assert.same({ good }, (lists.sent(zone, "files")))
    local closed = io.open(rest)
    closed:close()
    assert.has_error(function() require "cfpurge.core".read_line(closed) end)
    edge.reset(zone)
    assert.equal(2, select(3, run({ "tags" }, { stdin = "n\0e\0w\0s\0\n\0" })))
    assert.same({}, edge.requests(zone))
  end)

  it("names what is wrong with a JSON item, and takes the others", function()
    local url = "https://" .. about.name .. "/"
    for form, said in pairs {
      ['{"url":"URL","headers":null}'] = ": headers: table expected",
      ['{"url":"URL","headers":"mobile"}'] = ": headers: table expected",
      ['{"url":"URL","headers":{"Origin":1}}'] = ": headers.Origin: string expected",
      ['{"url":"URL","header":{"Origin":"https://o.example"}}'] = ": header: unknown",
      ['{"url":1}'] = ": url: string expected",
      ['{"headers":{"Origin":"https://o.example"}}'] = ": url: missing",
      ["{}"] = ": must be an absolute",
    } do
      local item = form:gsub("URL", url)
      for _, option in ipairs { "--plan=enterprise", "--device=mobile" } do
        edge.reset(zone)
        local lines = { url .. 1, item, url .. 2 }
        local out, err, status = run({ "files", option }, { stdin = table.concat(lines, "\n") })
        assert.same({ 1, 2 }, { status, (edge.counts(zone).items) }, err)
        assert.truthy(err:find("cfpurge: standard input:2: ", 1, true) and err:find(said, 1, true), err)
        assert.truthy(err:find("2 accepted, 1 not", 1, true), err)
        assert.truthy(out:find "^%b{}\n$", out)
        -- As an argument, and in a dry run, nothing of the list is right.
        for _, words in ipairs { { "files", option, item }, { "files", option, "--dry-run" } } do
          out, err, status = run(words, { stdin = item })
          assert.same({ "", 2 }, { out, status }, err)
          assert.truthy(err:find("^cfpurge: [^\n]*\n$") and err:find(said, 1, true), err)
        end
      end
    end
    assert.equal("{}\n", (run({ "files" }, { stdin = url .. "\n{}" })))
  end)

  it("tells where a list could not be read to its end, and what came of the rest", function()
    local said, rest = "--from /: Is a directory", command.file "old\n"
    local out, err, status = run { "tags", "--from", "/", "--json" }
    assert.same({ "cfpurge: " .. said .. "\n", 2, said }, { err, status, cjson.decode(out).error.message })
    -- The file of what remains may be the one that is read.
    out, err, status = run { "tags", "a", "--from", "/", "--remaining", rest }
    assert.truthy(out:find("accepted: 1 item ", 1, true), out)
    assert.same({ "cfpurge: " .. said .. "\n", 1, "old\n" }, { err, status, command.read(rest) })
    edge.script(zone, { lists.refusal(10000, 403) })
    local words = { "tags", "--from", "/", "--in-flight", "1", unpack(lists.tags(150)) }
    out, err, status = run(words)
    assert.same({ 3, table.concat(lists.tags(150), "\n") .. "\n" }, { status, out })
    assert.truthy(err:find("0 accepted, 150 not; " .. said, 1, true), err)
    words[#words + 1] = "--remaining=" .. rest
    err = select(2, run(words))
    local kept = err:match("; go on with %-%-from (" .. rest .. "%.%w+)")
    assert.same({ out, "old\n" }, { command.read(kept), command.read(rest) })
    os.remove(kept)
    assert.truthy(err:find(said .. "; go on with --from " .. kept, 1, true), err)
  end)
end)
