-- The plugin in Neovim: its commands, what it tells its user, and what it sends. lua/cfpurge/nvim.
local elsewhere = require "spec.support.where"
local edge = require "spec.support.edge"
local nvim = require "spec.support.nvim"

if elsewhere "luajit" then return end

local run, bodies = nvim.run, nvim.bodies

describe("the Neovim plugin", function()
  it("purges URLs, tags, hosts and prefixes by :Purge, and tells what was accepted", function()
    local value, zone = run [[
      setup {}
      vim.cmd "Purge https://SITE/x,y https://SITE/?a=b%20|c"
      await(1)
      vim.cmd "Purge tags=news,sport tags=culture"
      await(2)
      vim.cmd "Purge hosts=SITE"
      await(3)
      vim.cmd "Purge prefixes=SITE/blog"
      return await(4)
    ]]
    assert.equal("INFO cfpurge: accepted: 2 items\nINFO cfpurge: accepted: 3 items\nINFO cfpurge: accepted: SITE\n"
      .. "INFO cfpurge: accepted: SITE/blog", value.told)
    assert.same({ '{"files":["https://SITE/x,y","https://SITE/?a=b%20|c"]}',
      '{"tags":["news","sport","culture"]}', '{"hosts":["SITE"]}', '{"prefixes":["SITE/blog"]}' }, bodies(zone))
  end)

  it("purges the lines of a range, and tells how far it is", function()
    local value, zone = run([[
      local lines = { "", "  https://SITE/first  " }
      for i = 1, 300 do lines[i + 2] = "https://SITE/" .. i end
      vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
      setup({}, { max_in_flight = 1 })
      vim.cmd "%Purge"
      vim.wait(9000, function() return (told[#told] or ""):find "301 items" end, 2)
      local value = await(#told)
      vim.api.nvim_buf_set_lines(0, 0, -1, false, { "news", "sport" })
      vim.cmd "2Purge tags="
      value.last = await(#told + 1).told:match "[^\n]*$"
      return value
    ]], { answers = { { delay = 0.6, pass = true, times = 3 } } })
    -- Once a second: a slow machine tells more than once.
    assert.matches("^INFO cfpurge: %d00 accepted of 301\n.*INFO cfpurge: accepted: 301 items$", value.told)
    assert.equal("INFO cfpurge: accepted: sport", value.last)
    assert.equal('{"tags":["sport"]}', bodies(zone)[5])
  end)

  it("purges the current file's URL by :Purge and by the mapping", function()
    local value, zone = run [[
      setup { mapping = "<leader>p", url = function(file)
        local page = file:match "/content/(.*)%.md$"
        return page and "https://SITE/" .. page
      end }
      vim.cmd "Purge"
      vim.cmd "edit /tmp/content/blog/one.md"
      vim.cmd "Purge"
      vim.cmd "edit /tmp/content/two.md"
      vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes("\\p", true, false, true), "xm", false)
      return await(3)
    ]]
    assert.matches("^ERROR cfpurge: this file has no URL\nINFO cfpurge: accepted: https://SITE/", value.told)
    assert.equal(2, edge.counts(zone).accepted)
    local sent = table.concat(bodies(zone), "\n")
    assert.matches('"https://SITE/blog/one"', sent, 1, true)
    assert.matches('"https://SITE/two"', sent, 1, true)
  end)

  it("completes the words of its commands", function()
    local value = run [[
      setup { url = function() return { "https://SITE/", "https://IMG.SITE/" } end }
      vim.cmd "edit /tmp/x.md"
      local function all(line) return table.concat(vim.fn.getcompletion(line, "cmdline"), " ") end
      return { all = all "Purge ", t = all "Purge t", urls = all "Purge tags=a h", place = all "PurgeEverything " }
    ]]
    assert.same({ all = "tags= hosts= prefixes= zone= environment= https://SITE/ https://IMG.SITE/", t = "tags=",
      urls = "hosts= https://SITE/ https://IMG.SITE/", place = "zone= environment=" }, value)
  end)

  it("goes to the zone and the environment that a command names", function()
    local id, zone = edge.zone()
    local value = run([[
      setup({}, { zone_id = ("0"):rep(32) })
      vim.cmd("Purge tags=a zone=" .. args.name)
      await(1)
      vim.cmd("Purge tags=b environment=" .. args.environment .. " zone=" .. args.id)
      return await(2)
    ]], { args = { name = zone.name, id = id, environment = "staging" } })
    assert.equal("INFO cfpurge: accepted: a\nINFO cfpurge: accepted: b", value.told)
    local seen = edge.requests(id)
    assert.matches("/environments/" .. zone.environments.staging .. "/purge_cache$", seen[#seen].path)
  end)

  for answer, accepted in pairs { Yes = 1, No = 0 } do
    it("asks before :PurgeEverything: " .. answer, function()
      local value, zone = run([[
        setup {}
        local prompt
        function vim.ui.select(choices, options, on_choice)
          prompt = options.prompt .. " " .. table.concat(choices, " ")
          on_choice(args.answer)
        end
        vim.cmd "PurgeEverything"
        local value = await(1, args.answer == "No" and 100 or nil)
        value.prompt = prompt
        return value
      ]], { args = { answer = answer } })
      assert.equal("Purge everything of " .. zone .. "? No Yes", value.prompt)
      assert.equal(accepted == 1 and "INFO cfpurge: accepted: everything" or "", value.told)
      assert.equal(accepted, #edge.requests(zone))
    end)
  end

  it("does not ask with a !, and takes no items for everything", function()
    local value, zone = run [[
      setup {}
      function vim.ui.select() error "asked" end
      vim.cmd "PurgeEverything! tags=a"
      vim.cmd "PurgeEverything!"
      return await(2)
    ]]
    assert.equal("ERROR cfpurge: PurgeEverything takes zone= and environment= alone\n"
      .. "INFO cfpurge: accepted: everything", value.told)
    assert.same({ '{"purge_everything":true}' }, bodies(zone))
  end)

  it("purges what on_save says of a file that is written, and its URL where on_save is true", function()
    local file = os.tmpname()
    local value, zone = run([[
      setup { on_save = function(path) return path == args.file and { tags = { "page" } } or nil end }
      vim.cmd("edit " .. args.file)
      vim.cmd "silent write"
      await(1)
      vim.cmd("silent write! " .. args.file .. ".other")
      setup { on_save = true, url = function(path) return path == args.file and "https://SITE/page" end }
      vim.cmd "silent write"
      return await(2)
    ]], { args = { file = file } })
    os.remove(file)
    os.remove(file .. ".other")
    assert.equal("INFO cfpurge: accepted: page\nINFO cfpurge: accepted: https://SITE/page", value.told)
    assert.same({ '{"tags":["page"]}', '{"files":["https://SITE/page"]}' }, bodies(zone))
  end)

  it("tells what went wrong", function()
    local value, zone = run [[
      setup {}
      vim.cmd "Purge tag=a"
      vim.cmd "Purge tags=a hosts=SITE"
      vim.cmd "Purge"
      vim.cmd "Purge https://SITE/1 /2"
      vim.cmd "Purge https://SITE/1 https://elsewhere.test/2 https://elsewhere.test/3"
      return await(5)
    ]]
    local lines = {}
    for line in value.told:gmatch "[^\n]+" do lines[#lines + 1] = line:match "^ERROR cfpurge: (.*)" end
    assert.equal("tag=: no such argument: URLs, or files=, tags=, hosts=, prefixes=, zone=, environment=", lines[1])
    assert.matches("^a: invalid_request: one kind a request", lines[2])
    assert.equal("give URLs, or setup { url = ... }", lines[3])
    assert.equal("2 items: invalid_request: files[2]: must be an absolute http(s) URL", lines[4])
    assert.matches("^3 items: partial: 2 items not accepted, 1 accepted: bad_request: Unable to purge https://elsewhere",
      lines[5])
    assert.matches("; not accepted: https://elsewhere.test/2, https://elsewhere.test/3$", lines[5])
    assert.equal(1, edge.counts(zone).accepted)
  end)

  it("tells what is wrong with what its user's functions return", function()
    local file = os.tmpname()
    local value = run([[
      local returned = 5
      setup { url = function() return returned end, on_save = function() return returned end }
      vim.cmd("edit " .. args.file)
      vim.cmd "Purge"
      vim.cmd "silent write"
      returned = { tags = "news" }
      vim.cmd "silent write"
      return await(4)
    ]], { args = { file = file } })
    os.remove(file)
    assert.equal("ERROR cfpurge: url: a URL or a list of URLs expected, got a number\nERROR cfpurge: this file has no URL\n"
      .. 'ERROR cfpurge: on_save: a purge expected, such as { tags = { "news" } }, got a number\n'
      .. "ERROR cfpurge: tags: table expected, got string", value.told)
  end)

  it("goes by the options of its last setup, and ends what the one before has begun", function()
    local value, zone = run([[
      setup({ on_save = error, mapping = "<leader>q" }, { zone_id = args.zone })
      vim.cmd "Purge tags=first"
      setup({ mapping = "<leader>p", url = function() return "https://SITE/" end }, { zone_id = args.zone })
      collectgarbage()
      vim.cmd "edit /tmp/some.md"
      vim.api.nvim_feedkeys("\\p", "xm", false)
      vim.api.nvim_exec_autocmds("BufWritePost", { group = "cfpurge.nvim" })
      return await(2)
    ]], { answers = { { delay = 0.1, pass = true } } })
    assert.matches("INFO cfpurge: accepted: https://SITE/", value.told, 1, true)
    assert.matches("INFO cfpurge: accepted: first", value.told, 1, true)
    assert.equal(2, edge.counts(zone).accepted)
  end)

  it("tells what is tried again and why, and how a purge by Lua ends", function()
    local value = run([[
      setup {}
      local function on_done(result) told[#told + 1] = "done " .. result.accepted end
      local request = plugin.purge({ tags = { "a" } }, nil, on_done)
      assert(request and not request:done())
      return await(3)
    ]], { answers = { { status = 503 } } })
    assert.matches("^WARN cfpurge: HTTP 503: tries again in [%d.]+ s\nINFO cfpurge: accepted: a\ndone 1$", value.told)
  end)

  it("refuses wrong options by their names", function()
    local value = run [[
      local function refused(options) return select(2, pcall(plugin.setup, options)):match "cfpurge.*" end
      return { name = refused { on_svae = true }, type = refused { queue = 1 }, url = refused { on_save = true } }
    ]]
    assert.same({ name = "cfpurge.nvim: setup: on_svae: no such option",
      type = "cfpurge.nvim: setup: queue: boolean or string expected, got number",
      url = "cfpurge.nvim: setup: on_save: true goes with url" }, value)
  end)
end)
