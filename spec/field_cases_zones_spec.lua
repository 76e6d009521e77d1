-- Zones of the field, by table, iterator and command: names as people write them, several of one name, `zone = "auto"`.
local clients = require "spec.support.client"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local forms = require "spec.support.forms"

edge.up()

describe("a zone of the field", function()
  teardown(function()
    clients.close()
    command.clean()
  end)

  local function purge(form, kind, items, zone, name, token)
    return forms.purge(form, { kind = kind, items = items, zone = zone, words = { "--zone", name },
      options = { zone = name, api_token = token }, env = { CLOUDFLARE_API_TOKEN = token } })
  end

  it("is found however its name is written", function()
    local id, zone = edge.zone()
    for _, name in ipairs { zone.name, zone.name:upper(), zone.name .. ".", zone.name:upper() .. "." } do
      forms.each(function(form)
        local outcome = purge(form, "tags", { "a" }, id, name)
        assert.same({ 1, "" }, { outcome.accepted, outcome.text }, form .. ": " .. name)
      end)
    end
  end)

  it("is the active one of several, or is refused with all ids", function()
    local moved, zone = edge.zone { status = "moved" }
    local active = edge.zone { name = zone.name, account = "other" }
    forms.each(function(form)
      local outcome = purge(form, "tags", { "a" }, active, zone.name)
      assert.same({ 1, "" }, { outcome.accepted, outcome.text }, form)
    end)
    edge.change(moved, { status = "active" })
    forms.each(function(form)
      local outcome = purge(form, "tags", { "a" }, active, zone.name)
      assert.equal(0, outcome.accepted)
      for _, id in ipairs { moved, active } do assert.truthy(outcome.text:find(id, 1, true), form .. ": " .. outcome.text) end
    end)
    assert.equal(0, edge.counts(moved).accepted)
  end)

  it("is the one with the longest name that fits the item's host, and what fits none fails alone", function()
    local id, zone = edge.zone()
    local inner = edge.zone { name = "shop." .. zone.name }
    edge.zone { name = "x" .. zone.name }
    local token = edge.token { zones = { id, inner } }
    local function ask(kind, items, ours, theirs)
      for i, item in ipairs(items) do items[i] = item:gsub("@", zone.name) end
      forms.each(function(form)
        local there = edge.counts(inner).items
        local outcome = purge(form, kind, items, id, "auto", token)
        local text = form .. ": " .. outcome.text
        assert.same({ ours, theirs }, { outcome.accepted, edge.counts(inner).items - there }, text)
        assert.same({ items[#items] }, outcome.remaining, text)
        assert.truthy(outcome.text:find "zone", text)
      end)
    end
    ask("files", { "https://@/1", "https://SHOP.@/2", "http://www.shop.@:8080/3", "https://www.@/4", "https://x@/5" }, 2, 2)
    ask("hosts", { "www.@", "shop.@", "a.b.shop.@", "x@" }, 1, 2)
    ask("prefixes", { "@/a", "www.shop.@/b", "ashop.@/c", "elsewhere.test/d" }, 2, 1)
  end)

  it("is not to be found for tags by auto", function()
    local id = edge.zone()
    local token = edge.token { zones = { id } }
    forms.each(function(form)
      local outcome = purge(form, "tags", { "a" }, id, "auto", token)
      assert.same({ 0, 0 }, { outcome.requests, outcome.accepted })
      assert.truthy(outcome.text:find "zone", outcome.text)
    end)
  end)
end)
