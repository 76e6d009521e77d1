-- The READMEs of those who carry this on say what is so: csrc/README.md and spec/README.md.
local elsewhere = require "spec.support.where"
if elsewhere "once" then return end

local command = require "spec.support.command"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local readme = require "spec.support.readme"

local TEXTS = { ["csrc/README.md"] = readme.inside, ["spec/README.md"] = readme.specs }

local files = command.output "find ./* .ci .debian -name build -prune -o -type f -print"

-- The lines of the shell's blocks, without what stands behind #.
local function lines(text)
  local found = {}
  for _, block in ipairs(readme.blocks("sh", { text })) do
    for line in block:gmatch "[^\n]+" do found[#found + 1] = line:gsub("%s+#.*$", "") end
  end
  return found
end

for path, text in pairs(TEXTS) do
  describe(path, function()
    it("names files that there are", function()
      local seen = 0
      -- Those of the cases are in spec/cases_spec.lua.
      for name in text:gsub("\n## Cases.*", ""):gmatch "`([%w_./-]+%.[chl]u?a?)`" do
        if not name:find "NAME" then
          seen = seen + 1
          assert.truthy(files:find("/" .. name .. "\n", 1, true), name)
        end
      end
      assert.is_true(seen > 5)
    end)

    it("has no block that is not run here", function()
      local blocks = select(2, text:gsub("\n```%w", ""))
      assert.equal(#readme.blocks("sh", { text }), blocks)
    end)

    it("names make's targets, and specs that there are", function()
      local makefile = command.read "Makefile"
      local shown = table.concat(lines(text), "\n")
      for inline in text:gmatch "`(make [^`]+)`" do shown = shown .. "\n" .. inline end
      local count = 0
      for target, words in shown:gmatch "make ([%l%d]+)([^\n]*)" do
        count = count + 1
        assert.truthy(makefile:find("\n" .. target .. ":", 1, true), target)
        for spec in words:gmatch "spec/[%w_/]+%.lua" do assert.truthy(files:find("/" .. spec .. "\n", 1, true), spec) end
      end
      assert.is_true(count >= 2)
    end)

    for _, line in ipairs(lines(text)) do
      -- What builds is not built from within a run.
      if line:find "^spec/run" then
        it("runs: " .. line, function()
          local printed = command.output("env -u WATCH -u CFPURGE_WATCH JOBS=1 " .. line .. " 2>&1")
          assert.truthy(printed:find "\n%d+ passed, 0 failed, %d+ skipped\n$", printed)
        end)
      end
    end
  end)
end

describe("csrc/README.md", function()
  it("names structs and functions that there are, where it says", function()
    local seen = 0
    for struct, file in readme.inside:gmatch "\n| `struct ([%w_]+)` | `([%w_/.]+)` |" do
      seen = seen + 1
      assert.truthy(command.read("csrc/" .. file):find("struct " .. struct .. " {", 1, true), struct)
    end
    assert.is_true(seen >= 8)
    local code = command.output "cat csrc/*/*.[ch]"
    for name in readme.inside:gmatch "`(cf_[%w_]+)`" do assert.truthy(code:find(name, 1, true), name) end
  end)
end)

describe("spec/README.md", function()
  local function section(head)
    return readme.specs:match("\n## " .. head .. "\n(.-)\n## ")
  end

  it("lists calls that the edge's handle has", function()
    local seen = 0
    for name in section "The edge":gmatch "`edge%.(%l+)" do
      seen = seen + 1
      assert.is_function(edge[name], name)
    end
    assert.is_true(seen >= 8)
  end)

  it("lists the bench's files and sections", function()
    local seen = 0
    for file, sections in section "The bench":gmatch "\n| `([%w/.]+)` | ([^|]+) |" do
      local code = command.read("spec/bench/" .. file)
      for name in sections:gmatch "`(%w+)`" do
        seen = seen + 1
        assert.truthy(file == "bulk.sh" or code:find('{ "' .. name .. '",', 1, true), name)
      end
    end
    assert.is_true(seen >= 15)
  end)

  describe("says what a refusal is about:", function()
    for about, codes in section "What is known of the API":gmatch "\n| [^|`]+ | `(%l+)` | ([%d, ]+) |" do
      it(about .. " " .. codes, function()
        for code in codes:gmatch "%d+" do
          local _, found = host.system().verdict(400, ('{"success":false,"errors":[{"code":%s,"message":""}]}'):format(code))
          assert.same({ code, about }, { code, found })
        end
      end)
    end

    it("each has a source", function()
      local _, links = section "What is known of the API":gsub("%]%(https://[%w.]+/[^)]+%)", "")
      assert.is_true(links >= 10)
    end)
  end)
end)

teardown(command.clean)
