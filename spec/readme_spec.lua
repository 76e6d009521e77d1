-- The READMEs of users say what is so: their blocks run as they stand and print what they say, their tables match the code.
local cfpurge = require "cfpurge"
local command = require "spec.support.command"
local core = require "cfpurge.core"
local edge = require "spec.support.edge"
local keys = require "spec.support.keys"
local readme = require "spec.support.readme"

local env = edge.up()
local read, blocks = command.read, readme.blocks

-- ---- the tables of the reference ----

-- The rows of the table whose head begins so, each a list of cells.
local function rows(head)
  local at = readme.reference:find("\n" .. head, 1, true)
  assert(at, "no table: " .. head)
  local found, line_number = {}, 0
  for line in readme.reference:sub(at + 1):gmatch "([^\n]*)\n" do
    if line:sub(1, 1) ~= "|" then break end
    line_number = line_number + 1
    if line_number > 2 then
      local cells = {}
      for cell in line:gmatch "|([^|]*)" do cells[#cells + 1] = cell:match "^%s*(.-)%s*$" end
      found[#found + 1] = cells
    end
  end
  return found
end

local function code(cell) return cell:match "^`(.-)`$" end

-- The names in the first column, sorted; of `purge(params)` the part before the bracket.
local function names(head)
  local found = {}
  for i, cells in ipairs(rows(head)) do found[i] = code(cells[1]):match "^[%w_]+" end
  table.sort(found)
  return found
end

-- ---- a purge that ends as the edge is told ----

local zone = edge.zone()
local TAGS = { tags = { "news" } }

local function new(options)
  local all = { zone_id = zone, api_token = env.TOKEN, base_url = env.API_HTTP, proxy = "", max_retries = 0 }
  for name, value in pairs(options or {}) do all[name] = value end
  return assert(cfpurge.new(all))
end

local function failure(answer, options)
  if answer then edge.script(zone, { answer }) end
  local client = new(options)
  local result, err = client:purge(TAGS)
  client:close()
  assert.is_nil(result)
  return err
end

local function envelope(status)
  return { status = status, json = { success = false, errors = { { code = 1, message = "no" } } } }
end

local function started()
  local client = new()
  edge.script(zone, { { hang = 10 } })
  return client, assert(client:start(TAGS))
end

-- How each kind comes about that is no status; without an answer, by the options alone.
local provoke = {
  invalid_request = function() return (select(2, new():purge { tags = {} })) end,
  partial = function()
    edge.script(zone, { { match = "bad", status = 422, json = { success = false, errors = {} } } })
    local client = new()
    local _, err = client:purge({ tags = { "bad", "good" } }, { max_items = 1 })
    client:close()
    return err
  end,
  api = function() return failure { status = 200, json = { success = false } } end,
  connection = function() return failure(nil, { base_url = env.API_CLOSED }) end,
  tls = function() return failure(nil, { base_url = env.API_EXPIRED, ca_file = env.CA_FILE }) end,
  timeout = function() return failure({ delay = 5 }, { timeout = 0.1 }) end,
  bad_response = function() return failure { status = 200, body = "<html>" } end,
  cancelled = function()
    local client, request = started()
    request:cancel()
    client:close()
    return (select(2, request:result()))
  end,
  store = function()
    local queue = assert(cfpurge.queue { store = "/nowhere/queue.db", zone_id = "x" })
    local _, err = queue:add(TAGS)
    queue:close()
    return err
  end,
  queue_full = function()
    local client = new { max_queued = 1 }
    assert(client:start(TAGS))
    local _, err = client:start(TAGS)
    client:close()
    return err
  end,
  closed = function()
    local client, request = started()
    client:close()
    return (select(2, request:result()))
  end,
}

describe("the README", function()
  after_each(function()
    edge.reset(zone)
  end)

  describe("runs:", function()
    local lua = os.getenv "CFPURGE_LUA" or "lua5.4"
    local environment = ("CLOUDFLARE_BASE_URL='%s' CLOUDFLARE_API_TOKEN='%s' CLOUDFLARE_ZONE_ID='%s'")
      :format(env.API_HTTP, env.TOKEN, env.ZONE_ID)

    -- What it printed, and its exit status in the last line.
    local function run(block)
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(block)
      file:close()
      local pipe = io.popen(("%s %s %s 2>&1; echo $?"):format(environment, lua, path))
      local printed = pipe:read "*a"
      pipe:close()
      os.remove(path)
      return printed
    end

    for i, block in ipairs(blocks "lua") do
      it("Lua block " .. i .. ", which prints what stands behind -->", function()
        local expected = {}
        for line in block:gmatch "%-%-> ([^\n]*)" do expected[#expected + 1] = line .. "\n" end
        assert.equal(table.concat(expected) .. "0\n", run(block))
      end)
    end

    it("five lines that reach the API", function()
      local five = blocks "lua"[1]
      assert.equal(4, select(2, five:gsub("\n", "")))
      local before = edge.counts(env.ZONE_ID).accepted
      run(five)
      assert.equal(before + 1, edge.counts(env.ZONE_ID).accepted)
    end)

    -- What spec/loop/init_spec.lua, spec/embed_spec.lua and spec/loop/openresty_workers_spec.lua run.
    for label, path in pairs { ["lua host"] = "spec/hosts/custom.lua", ["c frames"] = "spec/hosts/embed.c",
      ["nginx metrics"] = "spec/hosts/recipe.conf" } do
      it("the host in " .. path, function()
        assert.equal(read(path), readme.block(label) .. "\n")
      end)
    end

    if lua == "luajit" then
      it("the Neovim plugin, in Neovim", function()
        local dir = os.tmpname()
        os.remove(dir)
        assert(os.execute("mkdir -p " .. dir .. "/content"))
        local file = assert(io.open(dir .. "/init.lua", "w"))
        file:write("vim.notify = function(text) notified = text end\n", blocks "lua nvim"[1])
        file:close()
        local pipe = io.popen(("%s XDG_STATE_HOME=%s nvim --headless -u NONE -c 'luafile %s/init.lua' "
          .. "-c 'edit %s/content/news.md' -c 'silent write' -c 'lua vim.wait(9000, function() return notified end, 5)' "
          .. "-c 'lua io.stdout:write(tostring(notified))' -c 'qa!' 2>&1"):format(environment, dir, dir, dir))
        local printed = pipe:read "*a"
        pipe:close()
        os.execute("rm -r " .. dir)
        assert.equal("cfpurge: accepted: https://www.example.com/news", printed)
      end)
    end

    describe("the command", function()
      local texts = blocks "text"
      -- Sessions begin with a prompt, and the other one is the usage.
      local usage, sessions = nil, {}
      for _, text in ipairs(texts) do
        local is_session = text:find "^%$ "
        usage = usage or not is_session and text
        sessions[#sessions + 1] = is_session and text .. "\n" or nil
      end
      local dir = os.tmpname()
      os.remove(dir)
      setup(function() assert(os.execute("mkdir " .. dir)) end)
      teardown(function()
        os.execute("rm -r " .. dir)
        command.clean()
      end)

      local function shell(line)
        local pipe = io.popen(("cd %s; cfpurge() { %s \"$@\"; }; { %s; } 2>&1"):format(dir,
          command.line({}, { zone = env.ZONE_ID, env = { HOME = dir, XDG_STATE_HOME = dir } }), line))
        local printed = pipe:read "*a"
        pipe:close()
        return printed
      end

      for _, session in ipairs(sessions) do
        it("a session: " .. session:match "[^\n]+", function()
          for line, expected in (session .. "$"):gmatch "%$ ([^\n]+)\n(.-)%f[%$]" do
            assert.equal(expected, (shell(line):gsub("%d+%.%d s\n", "0.0 s\n"):gsub("ray %x+%-EDG", "ray 8f2a6c1be0d5c2a1-FRA")))
          end
        end)
      end

      it("with its config file", function()
        local name = "z" .. zone .. ".example"
        local about = select(2, edge.zone { name = name })
        assert.is_truthy(about.environments.production)
        local config = readme.block "ini":gsub("shop%.example", name)
        shell(("mkdir -p .config/cfpurge && umask 077 && cat >.config/cfpurge/config <<'END'\n%s\nEND\necho %s "
          .. ">.config/cfpurge/shop.token"):format(config, env.TOKEN))
        assert.equal("accepted: 1 item in 1 request, 0.0 s\n",
          (shell "cfpurge tags news --profile shop":gsub("%d+%.%d s\n", "0.0 s\n")))
      end)

      it("with every option that it lists, and no other", function()
        local listed, there = {}, {}
        for option in usage:gmatch "%-%-[%l-]+" do listed[option] = true end
        for _, kind in ipairs { "files", "everything", "queue drain", "queue status", "queue failed" } do
          for option in shell("cfpurge " .. kind .. " --help"):gmatch "%-%-[%l-]+" do there[option] = true end
        end
        there["--help"] = nil
        assert.same(keys(there), keys(listed))
      end)
    end)

    it("no make target that the Makefile has not", function()
      local makefile, found = read "Makefile", 0
      for _, block in ipairs(blocks "sh") do
        for line in block:gmatch "[^\n]+" do
          local target = line:match "^make (%l+)"
          if target then
            found = found + 1
            assert.truthy(makefile:find("\n" .. target .. ":", 1, true), target)
          end
        end
      end
      assert.is_true(found >= 3)
    end)
  end)

  describe("lists the options:", function()
    local listed, by_name = {}, {}
    for _, cells in ipairs(rows "| name | type |") do
      local scope = cells[5]:match "^%((%l+)%)"
      listed[#listed + 1] = {
        name = code(cells[1]), type = cells[2], default = code((cells[3]:gsub("VERSION", core.version))), env = code(cells[4]),
        scope = scope == "new" and "client" or scope or "request",
      }
      local option = listed[#listed]
      by_name[option.name] = option
      option.default = option.default and option.default:gsub("VERSION", core.version)
    end

    it("those of the schema, in its order, and no other", function()
      local there, said = {}, {}
      for i, option in ipairs(core.options) do there[i] = option.name end
      for i, option in ipairs(listed) do said[i] = option.name end
      assert.same(there, said)
    end)

    it("those of the annotations, and no other", function()
      local types = read "lua/cfpurge/types.lua"
      for class, scopes in pairs { RequestOptions = "request", Options = "client", CallOptions = "call" } do
        local there, annotated = {}, {}
        for _, option in ipairs(core.options) do there[option.name] = option.scope == scopes or nil end
        for field in types:match("@class cfpurge%." .. class .. "[ :].-\n\n"):gmatch "@field ([%w_]+)" do
          annotated[field] = true
        end
        assert.same(there, annotated)
      end
    end)

    for _, option in ipairs(core.options) do
      it(option.name, function()
        local default = option.default
        assert.same({
          name = option.name, type = option.type, env = option.env, scope = option.scope,
          default = default ~= nil and tostring(default) or nil,
        }, by_name[option.name])
      end)
    end

    it("takes those for new only there, and those for a call only there", function()
      local _, _, err = cfpurge.new { environment_id = "x", api_token = "x" }
      assert.equal("environment_id", err.field)
      local client = new()
      for name, value in pairs { plan = "pro", loop = "blocking", on_event = print } do
        _, err = client:purge(TAGS, { [name] = value })
        assert.equal(name, err.field)
      end
      client:close()
    end)
  end)

  describe("lists the methods", function()
    local function methods(object)
      local found = {}
      for name in pairs(getmetatable(object).__index) do
        if not name:find "^__" then found[#found + 1] = name end
      end
      table.sort(found)
      return found
    end

    it("of a client", function()
      assert.same(methods(new()), names "| method of a client |")
    end)

    it("of a request", function()
      local client, request = started()
      client:close()
      assert.same(methods(request), names "| method of a request |")
    end)

    it("of a queue", function()
      local path = os.tmpname()
      local queue = assert(cfpurge.queue { store = path .. ".db", zone_id = zone })
      local listed = {}
      for _, cells in ipairs(rows "| method of a queue |") do
        for name in cells[1]:gmatch "`([%w_]+)" do listed[#listed + 1] = name end
      end
      table.sort(listed)
      local there = methods(queue)
      queue:close()
      os.execute("rm -f " .. path .. "*")
      assert.same(there, listed)
    end)

    it("and what stats() has", function()
      local said = readme.reference:match "\n`stats%(%)` has(.-)\n\n"
      local found = {}
      for name in said:gmatch "`([%w_]+)`" do found[#found + 1] = name end
      table.sort(found)
      local client = new()
      assert.same(keys(client:stats()), found)
      client:close()
    end)

    it("and what an event has", function()
      local said, found, events, seen = readme.reference:match "\nAn event has(.-)\n\n", {}, {}, {}
      for name in said:gmatch "`([%w_]+)`" do found[#found + 1] = name end
      edge.script(zone, { { status = 503, headers = { ["Retry-After"] = 0 } } })
      local client = new { max_retries = 1, on_event = function(event)
        for name in pairs(event) do seen[name] = true end
        events[event.name] = true
      end }
      assert(client:purge(TAGS))
      client:close()
      table.sort(found)
      assert.same(keys(seen, events), found)
    end)
  end)

  it("lists the metrics", function()
    local client, path = new { plan = "pro" }, os.tmpname()
    assert(client:purge(TAGS))
    local queue = assert(cfpurge.queue { store = path .. ".db", client = client })
    local found, listed = {}, {}
    for name in queue:metrics():gmatch "# TYPE (%S+)" do found[name] = true end
    for _, cells in ipairs(rows "| metric | its labels | |") do
      for name in cells[1]:gmatch "`([%w_]+)`" do listed[name] = true end
    end
    queue:close()
    client:close()
    os.execute("rm -f " .. path .. "*")
    assert.same(keys(found), keys(listed))
  end)

  it("lists the fields of a result", function()
    local client = new()
    local result = assert(client:purge(TAGS))
    client:close()
    assert.same(keys(result), names "| field of a result |")
  end)

  it("lists the fields of an error", function()
    local refused = provoke.invalid_request()
    local limited = failure { status = 429, headers = { ["Retry-After"] = 61 },
      json = { success = false, errors = { { code = 10100, message = "later" } } } }
    assert.same(keys(refused, limited), names "| field of an error |")
    assert.is_nil(refused.elapsed)
    assert.equal(0, refused.attempts)
    assert.equal(61, limited.retry_after)
    assert.same(TAGS, { tags = limited.remaining.tags })
  end)

  describe("lists the kinds of errors:", function()
    local listed = rows "| kind | when | retried |"

    it("the metrics have those that a request to the API may end with", function()
      local others = { accepted = true, invalid_request = true, partial = true, queue_full = true, store = true,
        cancelled = true, closed = true }
      local found, outcomes, client = {}, {}, new()
      for _, cells in ipairs(listed) do found[code(cells[1])] = not others[code(cells[1])] or nil end
      for outcome in client:metrics():gmatch 'cfpurge_requests_total{outcome="([%l_]+)"' do
        outcomes[outcome] = not others[outcome] or nil
      end
      client:close()
      assert.same(found, outcomes)
    end)

    for _, cells in ipairs(listed) do
      local kind, status, retried = code(cells[1]), cells[2]:match "^status (%d+)", cells[3]
      it(kind, function()
        local answer = status and envelope(tonumber(status))
        if answer and status == "429" then answer.headers = { ["Retry-After"] = 61 } end
        local err = answer and failure(answer) or provoke[kind]()
        assert.equal(kind, err.kind)
        if retried == "yes" or retried == "no" then assert.equal(retried == "yes", err.retryable) end
      end)
    end

    it("what is said of the two that are retried in part", function()
      for status, kind in pairs { [405] = "api", [408] = "api", [599] = "server", [302] = "api" } do
        local err = failure(envelope(status))
        assert.equal(kind, err.kind)
        assert.equal(status == 408 or status == 599, err.retryable)
      end
      assert.is_false(failure({ status = 200, body = "<html>" }).retryable)
      local cut = failure { status = 200, json = { success = true }, cut = 3 }
      assert.equal("bad_response", cut.kind)
      assert.is_true(cut.retryable)
    end)
  end)
end)
