-- The reader of files with an item a line: lua/cfpurge/lines.lua.
local cfpurge = require "cfpurge"
local command = require "spec.support.command"

-- The items of a file with this text, and the line of each.
local function read(text, kind)
  local lines = assert(cfpurge.lines(command.file(text), kind))
  local items, places = {}, {}
  for item in lines do items[#items + 1] = item end
  for i = 1, #items do places[i] = lines:place(i) end
  assert.is_nil(lines())
  assert.same({ nil, nil }, { lines:place(0), lines:place(#items + 1) })
  return items, places, lines
end

describe("cfpurge.lines", function()
  after_each(command.clean)

  it("skips a byte order mark, carriage returns, blank lines and the space around an item", function()
    local items, places, lines = read "\239\187\191a\r\n\r\n \t b\t\n\n\n\nc"
    assert.same({ { "a", "b", "c" }, { 1, 3, 7 }, 3, 19 }, { items, places, lines.count, lines.bytes })
    assert.same({ "a", "\239\187\191b" }, (read "a\n\239\187\191b\n"))
    assert.same({}, (read "\239\187\191\r\n"))
    assert.same({}, (read ""))
  end)

  it("skips comments; tags may begin with #", function()
    local text = "# one\n#two\n  # three\n\t#four\nfive\n#\n"
    for _, kind in ipairs { "files", "hosts", "prefixes" } do
      local items, places = read(text, kind)
      assert.same({ { "five" }, { 5 } }, { items, places }, kind)
    end
    for _, kind in ipairs { "tags", false } do
      local items, places = read(text, kind or nil)
      assert.same({ { "#two", "#four", "five", "#" }, { 2, 4, 5, 6 } }, { items, places })
    end
  end)

  it("reads the JSON objects of files, and of nothing else", function()
    local object = '{"url":"https://a.example/","headers":{"Origin":"https://b.example"}}'
    local items = read(object .. "\n  {broken\n{}\n[1]\n", "files")
    assert.same({ { url = "https://a.example/", headers = { Origin = "https://b.example" } }, "{broken", "{}", "[1]" },
      items)
    assert.same({ object }, (read(object, "tags")))
    assert.same({ object }, (read(object)))
  end)

  it("tells the line of an item whatever lies between, and stays small", function()
    local seed, parts, expected, line = 4711, {}, {}, 0
    for i = 1, 3000 do
      seed = (seed * 16807) % 2147483647
      for _ = 1, i < 1000 and 1 or seed % 3 do
        parts[#parts + 1], line = "", line + 1
      end
      parts[#parts + 1], line = "t" .. i, line + 1
      expected[i] = line
    end
    local items, places = read(table.concat(parts, "\n"))
    assert.same({ 3000, expected }, { #items, places })
    -- A comment above each item is no reason to remember each item.
    local lines = select(3, read(("# x\nt\n"):rep(5000)))
    assert.same({ 5000, 10000, 1 }, { lines.count, lines:place(5000), #lines.firsts })
  end)

  it("reads an open file from where it stands, and leaves it open", function()
    local file = io.open(command.file "header\na\nb\n")
    file:read "*l"
    local lines = cfpurge.lines(file, "tags")
    assert.same({ "a", "b", nil }, { lines(), lines(), lines() })
    assert.equal("file", io.type(file))
    file:close()
    assert.has_error(function() cfpurge.lines(file) end,
      "bad argument #1 to 'lines' (a path or an open file expected, got closed file)")
  end)

  it("says why a file cannot be opened, and raises where it cannot be read", function()
    local lines, err = cfpurge.lines "/nowhere/list"
    assert.same({ nil, "invalid_request", "path" }, { lines, err.kind, err.field })
    assert.matches("/nowhere/list: No such file", err.message, 1, true)
    lines = assert(cfpurge.lines "/")
    assert.has_error(function() lines() end, "/: Is a directory")
    assert.same({ "/: Is a directory", nil }, { lines.problem, lines() })
    assert.has_error(function() cfpurge.lines(5) end)
    assert.has_error(function() cfpurge.lines() end)
    assert.has_error(function() cfpurge.lines("x", "urls") end,
      "bad argument #2 to 'lines' (one of files, tags, hosts, prefixes expected)")
  end)

  it("raises once for a file that has no lines of items", function()
    for text, said in pairs {
      ["\255\254h\0t\0t\0p\0"] = "line 1: it is UTF-16: save it as UTF-8",
      ["\254\255\0h\0t\0t\0p"] = "line 1: it is UTF-16: save it as UTF-8",
      ['\239\187\191<?xml version="1.0"?>\n<urlset>'] = "line 1: it looks like XML or HTML, not like one item a line",
      ["\n\n  <urlset xmlns='x'>" .. ("<url><loc>https://a.example/</loc></url>"):rep(4000)] =
        "line 3: it looks like XML, not like one item a line",
      ["<!DOCTYPE html>"] = "line 1: it looks like XML or HTML, not like one item a line",
      ["<HTML>"] = "line 1: it looks like HTML, not like one item a line",
    } do
      local path = command.file(text)
      for _, kind in ipairs { "files", "tags" } do
        local lines = cfpurge.lines(path, kind)
        assert.has_error(function() lines() end, path .. ": " .. said)
        assert.same({ path .. ": " .. said, nil }, { lines.problem, lines() })
      end
    end
    assert.same({ "<b>", "<?x" }, (read "<b>\n<?x\n"))
  end)
end)
