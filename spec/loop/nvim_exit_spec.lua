-- Neovim ends with purges in flight: they reach the API, or the user is told. lua/cfpurge/loop/luv.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local host = require "spec.support.host"
local program = require "spec.hosts.program"
local stores = require "spec.support.stores"

if elsewhere "luajit" then return end

-- A page is written, as README's recipe has it, and the editor left by `how`.
local LEAVE = [[
  local client = new(args.grace and { exit_grace = args.grace })
  vim.api.nvim_create_autocmd("BufWritePost", { callback = function()
    for i = 1, args.count or 1 do
      assert(client:start({ tags = { args.tag or "t" .. i } }, nil, function(result, err)
        io.stdout:write("told ", result and "accepted" or err.kind, "\n")
      end))
    end
  end })
  vim.cmd("edit " .. args.file)
  vim.schedule(function() vim.cmd(args.how) end)
  host.stay = true
]]

describe("Neovim that is left", function()
  local file

  setup(function() file = os.tmpname() end)
  teardown(function()
    stores.close()
    os.remove(file)
  end)

  local function leave(args, delay)
    args.file = file
    local status, out, zone = program.run("nvim", LEAVE, { fails = true, args = args, main = true,
      answers = { { delay = delay, pass = true, times = 0 } } })
    assert.equal(0, status, out)
    return out, edge.counts(zone)
  end

  for how, command in pairs { wq = "wq", x = "call setline(1, getpid()) | x" } do
    for _, delay in ipairs { 0.02, 0.2 } do
      it((":%s with the API %d ms away has reached it, ten times of ten"):format(how, delay * 1000), function()
        for _ = 1, 10 do
          local out, counts = leave({ how = command }, delay)
          assert.matches("told accepted", out)
          assert.equal(1, counts.accepted)
        end
      end)
    end
  end

  it("waits for exit_grace, and then says what did not reach the API", function()
    local began = os.time()
    local out = leave({ how = "wq", count = 3, grace = 0.5 }, 30)
    assert.is_true(os.time() - began <= 10)
    assert.equal(3, select(2, out:gsub("told cancelled", "")))
    assert.matches("cfpurge: 3 purges did not reach the API: cancelled", out)
  end)

  -- The store has what was added meanwhile, and waits for nobody's lease.
  for _, delay in ipairs { 0.3, 30 } do
    it(("ends what a queue is sending, or gives it back: the API %g s away"):format(delay), function()
      local began, target = os.time(), stores.target "sqlite"
      local status, out, zone = program.run("nvim", [[
        local client = new { exit_grace = 1 }
        local queue = assert(cfpurge.queue { store = args.target, client = client, linger = 0.01 })
        assert(queue:work())
        assert(queue:add { tags = { "a" } })
        vim.wait(5000, function() return client:in_flight() == 1 end, 2)
        assert(queue:start { tags = { "a" } })
        vim.schedule(function() vim.cmd "qa!" end)
        host.stay = true
      ]], { fails = true, main = true, args = { target = target }, answers = { { delay = delay, pass = true } } })
      assert.equal(0, status, out)
      assert.is_true(os.time() - began <= 10)
      assert.equal(delay < 1 and 1 or 0, edge.counts(zone).accepted)
      local seen = stores.of.sqlite.queue({ store = target }):status()
      assert.same({ 1, 0 }, { seen.waiting, seen.in_flight })
    end)
  end

  it("shows it to the user before it goes", function()
    host.must "command -v tmux"
    local zone = edge.zone()
    edge.script(zone, { { delay = 30, pass = true, times = 0 } })
    local script = os.tmpname()
    local handle = assert(io.open(script, "w"))
    handle:write(([[
      package.path, package.cpath = %q, %q
      local client = require "cfpurge".new { base_url = %q, api_token = %q, zone_id = %q, exit_grace = 0.3 }
      vim.api.nvim_create_autocmd("BufWritePost", { callback = function() assert(client:start { tags = { "a" } }) end })
    ]]):format(package.path, package.cpath, edge.env.API_HTTP, edge.env.TOKEN, zone))
    handle:close()
    local tmux = "tmux -L cfpurge" .. zone
    local ok, seen = pcall(function()
      host.must(("%s -f /dev/null new-session -d -x 100 -y 20 'nvim -u NONE -i NONE -n --cmd \"luafile %s\" %s; sleep 60'")
        :format(tmux, script, file))
      local function shown(words)
        local screen
        for _ = 1, 100 do
          screen = host.must(tmux .. " capture-pane -p")
          if screen:find(words, 1, true) then break end
          host.must "sleep 0.1"
        end
        return screen
      end
      shown "\n~"
      host.must(tmux .. " send-keys :wq Enter")
      local screen = shown "did not reach the API"
      host.must "sleep 1"
      return { early = screen, late = host.must(tmux .. " capture-pane -p") }
    end)
    os.execute(tmux .. " kill-server")
    os.remove(script)
    assert(ok, seen)
    assert.matches("cfpurge: 1 purge did not reach the API", seen.early)
    -- It stays, until a key is pressed or five seconds are over.
    assert.matches("did not reach the API", seen.late)
  end)
end)
