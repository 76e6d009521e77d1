-- What people type in the field: each case by table, iterator and command, and by a file where it is about one.
-- spec/README.md says where the cases stand that have specs of their own.
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
      end)
    end)
  end
end)
