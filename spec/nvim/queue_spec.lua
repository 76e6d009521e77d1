-- The plugin with a queue: nothing is lost, whatever becomes of the editor, the API and the token. lua/cfpurge/nvim.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local nvim = require "spec.support.nvim"
local stores = require "spec.support.stores"

if elsewhere "luajit" then return end

describe("the Neovim plugin with a queue", function()
  local file
  setup(function() file = os.tmpname() end)
  teardown(function()
    stores.close()
    os.remove(file)
  end)

  local function status(target)
    local seen = assert(stores[1].queue({ store = target }):status())
    return { waiting = seen.waiting, in_flight = seen.in_flight }
  end

  for _, store in ipairs(stores) do
    it("tells what is stored, and what was accepted: " .. store.name, function()
      local value, zone = nvim.run([[
        setup { queue = args.target }
        vim.cmd "Purge tags=a,b"
        return await(2)
      ]], { args = { target = store.target() } })
      assert.equal("INFO cfpurge: stored: 2 items\nINFO cfpurge: accepted: 2 items", value.told)
      assert.same({ '{"tags":["a","b"]}' }, nvim.bodies(zone))
    end)
  end

  it("stores what is purged without a credential, and the next editor sends it as it starts", function()
    local target = stores.target "sqlite"
    local value, zone = nvim.run([[
      args.token = nil
      setup { queue = args.target }
      vim.cmd "Purge tags=a"
      return await(2)
    ]], { args = { target = target } })
    assert.matches("^WARN cfpurge: invalid_request: api_token: no credential: .*; purges are stored and not sent\n"
      .. "INFO cfpurge: stored: a$", value.told)
    assert.equal(0, #edge.requests(zone))
    value = nvim.run([[
      args.zone = args.first
      setup { queue = args.target }
      return await(1)
    ]], { args = { target = target, first = zone } })
    assert.equal("INFO cfpurge: accepted: 1 item", value.told)
    assert.equal(1, edge.counts(zone).accepted)
  end)

  it("sends nothing where work is false", function()
    local target = stores.target "sqlite"
    local value, zone = nvim.run([[
      setup { queue = args.target, work = false }
      vim.cmd "Purge tags=a"
      local value = await(2, 600)
      vim.cmd "checkhealth cfpurge"
      value.health = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), " ")
      return value
    ]], { args = { target = target } })
    assert.equal("INFO cfpurge: stored: a", value.told)
    assert.matches("queue: " .. target .. ": 1 wait, 0 were refused; ", value.health, 1, true)
    assert.matches("credential: none is needed", value.health, 1, true)
    assert.equal(0, #edge.requests(zone))
    assert.same({ waiting = 1, in_flight = 0 }, status(target))
  end)

  it("tells what was refused for good, and which zone rests", function()
    local value = nvim.run([[
      setup { queue = args.target }
      vim.cmd "Purge https://elsewhere.test/1"
      await(2)
      vim.cmd "Purge tags=a"
      return await(4)
    ]], { args = { target = stores.target "sqlite" }, answers = { { pass = true }, { status = 403 } } })
    local lines = {}
    for line in value.told:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.matches("^WARN cfpurge: zone %x+: refused: https://elsewhere.test/1: Unable to purge", lines[2])
    assert.matches("^WARN cfpurge: zone %x+ rests: HTTP 403", lines[4])
  end)

  it("loses nothing of what is written with :wq, the API being down", function()
    local target = stores.target "sqlite"
    local seen, zone, out = nvim.run([[
      setup({ queue = args.target, on_save = function() return { tags = { "a" } } end }, { exit_grace = 0.3 })
      vim.cmd("edit " .. args.file)
      vim.schedule(function() vim.cmd "wq" end)
      host.stay = true
    ]], { fails = true, args = { target = target, file = file }, answers = { { delay = 30, times = 0 } } })
    assert.equal(0, seen, out)
    assert.equal(0, edge.counts(zone).accepted)
    assert.same({ waiting = 1, in_flight = 0 }, status(target))
  end)

  it("says at :wq what could not be stored", function()
    local seen, _, out = nvim.run([[
      setup { queue = "redis://127.0.0.1:1/0", on_save = function() return { tags = { "a" } } end }
      vim.cmd("edit " .. args.file)
      vim.schedule(function() vim.cmd "wq" end)
      vim.api.nvim_create_autocmd("VimLeave", { callback = function() io.stderr:write(told[1], "\n") end })
      host.stay = true
    ]], { fails = true, args = { file = file } })
    assert.equal(0, seen, out)
    assert.matches("ERROR cfpurge: a: cancelled", out, 1, true)
    assert.matches("cfpurge: 1 call not answered by the store of cfpurge.queue: redis://127.0.0.1:1/0", out, 1, true)
  end)
end)
