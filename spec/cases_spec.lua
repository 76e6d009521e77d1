-- spec/README.md: each case from the field names a spec that has such a test.
local read = require("spec.support.command").read

describe("spec/README.md", function()
  it("names specs that are there, with the tests that it says", function()
    local rows, named = 0, {}
    for row in read "spec/README.md":match "\n## Cases from the field\n(.*)":gmatch "\n(|[^\n]+)" do
      local file, words = row:match "| `([%w_/]+_spec%.lua)`: ([^|]+) |$"
      if file then
        rows = rows + 1
        named[file] = named[file] or read("spec/" .. file)
        assert.truthy(named[file]:find(words, 1, true), file .. ": " .. words)
      else
        assert.truthy(row:find "^|%-" or row:find "^| [^|]+ | right | the spec", row)
      end
    end
    assert.is_true(rows > 0)
  end)
end)
