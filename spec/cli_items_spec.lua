-- What the command reads and what it leaves in files: lua/cfpurge/cli/items.lua.
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

local zone

local function run(words, options)
  options = options or {}
  options.zone = zone
  return command.run(words, options)
end

describe("the command and its files", function()
  before_each(function() zone = edge.zone() end)
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
end)
