-- What people type in the field: each case by table, iterator and command, and by a file where it is about one.
-- spec/README.md says where the cases stand that have specs of their own.
local cfpurge = require "cfpurge"
local clients = require "spec.support.client"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local forms = require "spec.support.forms"

edge.up()

local NBSP, BOM, ZERO_WIDTH = "\194\160", "\239\187\191", "\226\128\139"

-- kind, the item (@ is the zone's name), and words of the message.
local refused = {
  { "tags", "news,sport", "comma" }, { "tags", '"news"', "quote" }, { "tags", '["a","b"]', "quote" },
  { "tags", "two words", "space" },
  { "hosts", "a.@,b.@", "comma" }, { "hosts", "a.@ b.@", "space" }, { "hosts", "*.@", "wildcard" },
  { "hosts", "www.@" .. NBSP, "U+00A0" }, { "hosts", BOM .. "www.@", "U+FEFF" },
  { "hosts", "w" .. ZERO_WIDTH .. "w.@", "U+200B" },
  { "prefixes", "@/a @/b", "space" }, { "prefixes", "*.@/a", "wildcard" }, { "prefixes", "www.@" .. NBSP .. "/a", "U+00A0" },
  { "files", "https://www.@/1 https://www.@/2", "space" }, { "files", "https://www.@" .. NBSP .. "/", "U+00A0" },
  { "files", BOM .. "https://www.@/", "U+FEFF" }, { "files", "https://*.@/", "wildcard" },
}

-- kind, the item that is sent as it is.
local sent = { { "files", "https://www.@/*" }, { "files", "https://www.@/a,b'c" }, { "tags", "a:b|c/d" }, { "tags", "it's" } }

describe("what people type", function()
  teardown(function()
    clients.close()
    command.clean()
  end)

  for _, case in ipairs(refused) do
    it(("is refused before anything is sent: %s %q"):format(case[1], case[2]), function()
      forms.each(function(form)
        local id, zone = edge.zone()
        local item = case[2]:gsub("@", zone.name)
        local outcome = forms.purge(form, { kind = case[1], items = { item }, zone = id })
        assert.same({ 0, 0 }, { outcome.requests, outcome.accepted })
        assert.truthy(outcome.text:find(case[3], 1, true), form .. ": " .. outcome.text)
        if form == "command" then
          assert.is_true(outcome.exit == 1 or outcome.exit == 2)
        else
          assert.equal("invalid_request", outcome.err.kind)
          assert.truthy(outcome.text:find(case[1] .. "[1]", 1, true), outcome.text)
        end
      end)
    end)
  end

  for _, case in ipairs(sent) do
    it(("is sent as it is: %s %s"):format(case[1], case[2]), function()
      forms.each(function(form)
        local id, zone = edge.zone()
        local item = case[2]:gsub("@", zone.name)
        local outcome = forms.purge(form, { kind = case[1], items = { item }, zone = id })
        assert.same({ 1, 1, "" }, { outcome.requests, outcome.accepted, outcome.text })
        assert.truthy(edge.requests(id)[1].body:gsub("\\/", "/"):find(item, 1, true))
        if form == "command" and item:find("*", 1, true) then
          assert.truthy(outcome.said:find "wildcard", outcome.said)
        end
      end)
    end)
  end

  it("costs no request where it is refused: 1,000 items, every tenth bad", function()
    forms.each(function(form)
      local id = edge.zone()
      local items, bad = {}, {}
      for i = 1, 1000 do
        items[i] = i % 10 == 0 and "bad," .. i or "t" .. i
        if i % 10 == 0 then bad[#bad + 1] = items[i] end
      end
      table.sort(bad)
      local outcome = forms.purge(form, { kind = "tags", items = items, zone = id })
      if form == "table" then -- it is known before anything is sent
        assert.same({ 0, 0, "invalid_request" }, { outcome.requests, outcome.accepted, outcome.err.kind })
      else
        assert.same({ 9, 900 }, { outcome.requests, outcome.accepted }, form .. ": " .. outcome.text)
        assert.same(bad, outcome.remaining)
      end
    end)
  end)

  it("may have comments, which cost nothing: 200 tags, 40 lines with #, the plan free", function()
    local lines = {}
    for i = 1, 200 do
      if i % 5 == 0 then lines[#lines + 1] = "# part " .. i end
      lines[#lines + 1] = "t" .. i
    end
    local text = table.concat(lines, "\n")
    local function fresh()
      local id = edge.zone()
      edge.limits { zone = id, plan = "free", overall = false }
      return id
    end
    local id = fresh()
    local client = clients.new { zone_id = id, plan = "free" }
    assert.equal(200, assert(client:purge { tags = cfpurge.lines(command.file(text), "tags") }).accepted)
    assert.is_true(edge.counts(id).requests <= 3)
    -- As items they are bad ones, and each remains.
    local options = { plan = "free", deadline = 20 }
    local outcome = forms.purge("iterator", { kind = "tags", items = lines, zone = fresh(), options = options })
    assert.same({ 200, 40 }, { outcome.accepted, #outcome.remaining }, outcome.text)
    assert.is_true(outcome.requests <= 3)
    outcome = forms.purge("command", { kind = "tags", items = lines, zone = fresh(), words = { "--plan", "free" } })
    assert.same({ 0, 200 }, { outcome.exit, outcome.accepted }, outcome.text)
    assert.is_true(outcome.requests <= 3)
  end)

  it("may be a file from an editor: a byte order mark, CRLF, blank lines, and a bad one by its line", function()
    local id, zone = edge.zone()
    local path = command.file((BOM .. "https://www.@/1\r\n\r\nhttps://www.@/2\r\n  \r\n/3\r\n# done\r\n"):gsub("@", zone.name))
    local _, err, status = command.of(id) { "files", "--from", path }
    assert.same({ 1, 2 }, { status, edge.counts(id).items })
    assert.truthy(err:find(path .. ":5", 1, true), err)
    edge.reset(id)
    local lines = cfpurge.lines(path, "files")
    local _, failed = clients.new { zone_id = id }:purge { files = lines }
    assert.same({ 2, { "/3" } }, { failed.accepted, failed.remaining.files })
    assert.equal(5, lines:place(3))
    assert.equal(2, edge.counts(id).items)
  end)

  it("may be a sitemap by mistake: one cause, once", function()
    local id, zone = edge.zone()
    local parts = { '<?xml version="1.0"?><urlset>' }
    for i = 1, 3000 do parts[#parts + 1] = ("<url><loc>https://www.%s/%d</loc></url>"):format(zone.name, i) end
    for _, between in ipairs { "\n", "" } do
      local path = command.file(table.concat(parts, between))
        local out, err, status = command.of(id) { "files", "--from", path }
      assert.is_true(status ~= 0)
      assert.truthy(err:find "XML" and err:find "%-%-sitemap", err)
      assert.is_true(#out + #err < 600, #out + #err)
        local done, why = pcall(function()
        return assert(clients.new { zone_id = id }:purge { files = cfpurge.lines(path, "files") })
      end)
      assert.is_false(done)
      assert.truthy(tostring(why):find "XML", tostring(why))
    end
    assert.equal(0, edge.counts(id).requests)
  end)

  it("may be a token file from an editor", function()
    local id = edge.zone()
    local token = edge.env.TOKEN
    local function with(text) return command.run({ "tags", "a", "--token-file", command.file(text) }, { zone = id,
      env = { CLOUDFLARE_API_TOKEN = false } }) end
    for _, text in ipairs { BOM .. token, token .. "\r\n", BOM .. token .. "\n" } do
      assert.equal(0, (select(3, with(text))))
    end
    assert.equal(3, edge.counts(id).items)
    for _, text in ipairs { '"' .. token .. '"', "'" .. token .. "'", "Bearer " .. token, token .. " " .. token } do
      local _, err, status = with(text)
      assert.is_true(status == 2 or status == 3, err)
      assert.truthy(err:find "token", err)
      assert.is_nil(err:find(token, 1, true))
    end
    assert.equal(3, edge.counts(id).requests)
  end)

  it("may be habits: assert(cfpurge.new()), error(err), \"purge: \" .. err, a dot for a colon", function()
    local words = "api_token: no credential"
    for code, expected in pairs {
      ["assert(require 'cfpurge'.new())"] = words,
      ["local _, message = require 'cfpurge'.new() print('new: ' .. message)"] = "new: .*" .. words,
      ["local _, _, err = require 'cfpurge'.new() print('new: ' .. err)"] = "new: .*" .. words,
      ["local _, _, err = require 'cfpurge'.new() error(tostring(err))"] = words,
      ["local _, err = require 'cfpurge'.new { api_token = 'x', zone_id = 'y' }:purge { tags = {} } print('purge: ' .. err)"] =
        "purge: .*tags",
      ["require 'cfpurge'.new { api_token = 'x', zone_id = 'y' }.purge { tags = { 'a' } }"] =
        "bad argument #1 to 'purge' %(cfpurge client expected",
    } do
      assert.truthy(clients.lua(code):find(expected), code .. "\n" .. clients.lua(code))
    end
  end)
end)
