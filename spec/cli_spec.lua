-- lua/cfpurge/cli.lua and cli/*.lua: the command, as a process.
local cjson = require("cjson").new()
local command = require "spec.support.command"
local edge = require "spec.support.edge"

local zone, about, host, run

-- The bodies that arrived.
local function bodies()
  local list = {}
  for i, request in ipairs(edge.requests(zone)) do list[i] = request.body end
  return list
end

-- A text in which a.example is the zone's host.
local function here(text) return (text:gsub("a%.example", host)) end

-- A status, nothing on standard output, and one line on standard error that matches.
local function refused(status, pattern, words, options)
  local out, err, ended = run(words, options)
  assert.equal(status, ended, err)
  assert.equal("", out)
  assert.truthy(err:find("^cfpurge: [^\n]*\n$"), err)
  assert.truthy(err:find(pattern), err)
end

local function refusal(code, message)
  return { status = 400, json = { success = false, errors = { { code = code, message = message } }, messages = {} } }
end

describe("the command", function()
  before_each(function()
    zone, about = edge.zone()
    host, run = about.name, command.of(zone)
  end)
  after_each(command.clean)

  it("sends each kind, and says what was accepted", function()
    for _, words in ipairs { { "files", "https://" .. host .. "/x", "https://" .. host .. "/y" }, { "tags", "a", "b" },
      { "hosts", host, "b." .. host }, { "prefixes", host .. "/x", host .. "/y" } } do
      edge.reset(zone)
      local out, err, status = run(words)
      assert.equal("", err)
      assert.equal(0, status)
      assert.truthy(out:find "^accepted: 2 items in 1 request, %d+%.%d s\n$", out)
      assert.same({ ('{"%s":["%s","%s"]}'):format(words[1], words[2], words[3]) }, bodies())
    end
  end)

  it("purges everything only when that is meant", function()
    refused(2, "%-%-yes", { "everything" })
    assert.same({}, bodies())
    local out, _, status = run { "everything", "--yes" }
    assert.equal(0, status)
    assert.truthy(out:find "^accepted: everything in 1 request")
    assert.same({ '{"purge_everything":true}' }, bodies())
  end)

  it("reads items from a file or standard input, an item a line", function()
    local text = here "https://a.example/1\n\n  https://a.example/2 \r\n"
      .. here '{"url":"https://a.example/3","headers":{"CF-Device-Type":"mobile"}}'
    local expected = here '{"files":["https://a.example/1","https://a.example/2",'
      .. here '{"url":"https://a.example/3","headers":{"CF-Device-Type":"mobile"}}]}'
    assert.equal(0, select(3, run({ "files" }, { stdin = text })))
    assert.equal(0, select(3, run({ "files", "--from", "-" }, { stdin = text })))
    assert.equal(0, select(3, run { "files", "--from", command.file(text) }))
    assert.same({ expected, expected, expected }, bodies())
  end)

  it("leaves standard input alone where items were given, and takes both with --from", function()
    run({ "tags", "a" }, { stdin = "b\n" })
    run({ "tags", "a", "--from", "-" }, { stdin = "b\n" })
    assert.same({ '{"tags":["a"]}', '{"tags":["a","b"]}' }, bodies())
  end)

  it("sends a list of any length", function()
    local lines = {}
    for i = 1, 250 do lines[i] = ("https://%s/%d"):format(host, i) end
    local out, _, status = run({ "files" }, { stdin = table.concat(lines, "\n") })
    assert.equal(0, status)
    assert.truthy(out:find "^accepted: 250 items in 3 requests", out)
    assert.equal(250, edge.counts(zone).items)
  end)

  it("takes names and ids of zones and environments", function()
    run({ "tags", "a", "--zone", about.name }, { zone = false })
    run({ "tags", "a", "--zone", zone, "--environment", "staging" }, { zone = false })
    run { "tags", "a", "--environment", about.environments.production, "--invalidate" }
    local paths = {}
    for _, request in ipairs(edge.requests(zone)) do
      if request.method == "POST" then paths[#paths + 1] = request.path:gsub("^/client/v4/zones/" .. zone, "") end
    end
    assert.same({ "/purge_cache", "/environments/" .. about.environments.staging .. "/purge_cache",
      "/environments/" .. about.environments.production .. "/invalidate_cache" }, paths)
  end)

  it("purges every variant", function()
    local out = run({ "files", "--device", "mobile,desktop", "--country", "CH" },
      { stdin = here "https://a.example/1\n" })
    assert.truthy(out:find "^accepted: 2 items", out)
    run { "files", "--language", "de", "--origin", "https://o.example", here "https://a.example/2" }
    assert.same({
      here '{"files":[{"url":"https://a.example/1","headers":{"CF-Device-Type":"mobile","CF-IPCountry":"CH"}},'
        .. here '{"url":"https://a.example/1","headers":{"CF-Device-Type":"desktop","CF-IPCountry":"CH"}}]}',
      here '{"files":[{"url":"https://a.example/2","headers":{"Accept-Language":"de","Origin":"https://o.example"}}]}',
    }, bodies())
  end)

  it("shows with --dry-run what it would send, and sends nothing", function()
    local out, err, status = run { "tags", "a", "b", "--dry-run", "--plan", "free" }
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal(('POST /zones/%s/purge_cache {"tags":["a","b"]}\n'):format(zone)
      .. "would send: 2 items in 1 request, 0.0 s\n", out)
    local told = cjson.decode((run { "tags", "a", "--dry-run", "--json" }))
    assert.same({ tags = { "a" } }, told.requests[1].body)
    assert.equal(0, select(3, run { "everything", "--dry-run" }))
    assert.same({}, bodies())
  end)

  it("tells the outcome as JSON", function()
    local out, err = run { "tags", "a", "--json" }
    local told = cjson.decode(out)
    assert.equal("", err)
    assert.equal(1, told.accepted)
    assert.equal(1, told.requests)
    assert.equal(1, #told.ids)
    edge.script(zone, { refusal(1016, "bad tag") })
    out, err = run { "tags", "a", "--json" }
    told = cjson.decode(out)
    assert.truthy(err:find "bad tag", err)
    assert.equal(0, told.accepted)
    assert.equal("bad_request", told.error.kind)
    assert.equal(1016, told.error.code)
    assert.same({ "a" }, told.remaining)
  end)

  it("is quiet with --quiet, but not about errors and what remains", function()
    assert.equal("", (run { "tags", "a", "-q" }))
    edge.script(zone, { refusal(1016, "bad tag") })
    local out, err, status = run { "tags", "a", "--quiet" }
    assert.equal("a\n", out)
    assert.truthy(err:find "bad tag", err)
    assert.equal(1, status)
  end)

  it("writes what was not accepted, ready to be read again", function()
    local item = here '{"url":"https://a.example/3","headers":{"CF-Device-Type":"mobile","Origin":"https://o.example"}}'
    local list = command.file(here "https://a.example/1\nnonsense\n" .. item .. "\n{no json\n")
    local bad = refusal(1016, "bad header")
    bad.match, bad.times = "o.example", 0
    edge.script(zone, { bad })
    local out, err, status = run { "files", "--from", list, "--remaining", list, "--in-flight", "1" }
    assert.equal(1, status, err)
    assert.equal("", out)
    assert.truthy(err:find("cfpurge: " .. list .. ":2: nonsense and 1 more: must be an absolute http(s) URL\n", 1, true), err)
    assert.truthy(err:find("\ncfpurge: " .. list .. ":3: {", 1, true), err)
    assert.truthy(err:find("1 accepted, 3 not; go on with --from " .. list, 1, true), err)
    assert.equal("nonsense\n" .. item .. "\n{no json\n", command.read(list))
    edge.reset(zone)
    local rest = command.file()
    out, err, status = run { "files", "--from", list, "--remaining", rest }
    assert.equal(1, status, err)
    assert.equal("", out)
    assert.equal("nonsense\n{no json\n", command.read(rest))
    assert.same({ '{"files":[' .. item .. "]}" }, bodies())
  end)

  it("empties the file of what remains when all was accepted", function()
    local rest = command.file "old\n"
    assert.equal(0, select(3, run { "tags", "a", "--remaining", rest }))
    assert.equal("", command.read(rest))
    refused(2, "%-%-remaining: ", { "tags", "a", "--remaining", "/nowhere/rest" })
  end)

  it("tells a wrong use from wrong items", function()
    refused(2, "unknown option '%-%-token' %(see: cfpurge tags %-%-help%)", { "tags", "a", "--token", "t" })
    refused(2, "must be one of", { "tags", "a", "--plan", "gold" })
    refused(2, "%-%-retries: 'many' is no number", { "tags", "a", "--retries", "many" })
    refused(2, "%-%-retries: 'nan' is no number", { "tags", "a", "--retries", "nan" })
    refused(2, "CLOUDFLARE_ZONE_ID: must be", { "tags", "a" }, { zone = "a/b" })
    refused(2, "a name is given by %-%-zone\n", { "tags", "a" }, { zone = "example.com" })
    refused(2, "in clear text: use https\n", { "tags", "a" }, { env = { CLOUDFLARE_BASE_URL = "http://10.0.0.1" } })
    refused(2, "%-%-remaining: names no file", { "tags", "a", "--remaining", "-" })
    refused(2, "%-%-remaining: names no file", { "tags", "a", "--remaining=" })
    -- Of two only the last would be obeyed.
    for _, option in ipairs { "--from", "--device", "--retries", "--zone" } do
      refused(2, "option '" .. option:gsub("%-", "%%-") .. "' must be used at most 1 time",
        { "files", here "https://a.example/", option, "1", option, "2" })
    end
    refused(2, "%-%-retries: must be a whole number", { "tags", "a", "--retries", "1.5" })
    refused(2, "in place of %-%-retries", { "tags", "a", "--retries", "1", "--retry-for", "5" })
    refused(2, "%-%-timeout: must be", { "tags", "a", "--timeout", "0" })
    refused(2, "%-%-zone: must be", { "tags", "a", "--zone", "no zone" })
    refused(2, "no zone: give %-%-zone, or set CLOUDFLARE_ZONE_ID", { "tags", "a" }, { zone = false })
    refused(2, "%-%-from: .*nowhere", { "tags", "--from", "/nowhere" })
    refused(2, "must not be empty", { "tags" })
    refused(2, "%-%-device", { "files", here "https://a.example/", "--device", "," })
    refused(2, "nonsense: must be an absolute", { "files", here "https://a.example/", "nonsense" })
    assert.same({}, bodies())
  end)

  it("takes credentials from the environment or a file", function()
    local token = command.file("\239\187\191  " .. edge.env.TOKEN .. " \r\n")
    assert.equal(0, select(3, run({ "tags", "a", "--token-file", token }, { env = { CLOUDFLARE_API_TOKEN = false } })))
    assert.equal(0, select(3, run({ "tags", "a" }, { env = {
      CLOUDFLARE_API_TOKEN = false, CLOUDFLARE_EMAIL = edge.env.EMAIL, CLOUDFLARE_API_KEY = edge.env.API_KEY } })))
    refused(3, "CLOUDFLARE_API_TOKEN", { "tags", "a" }, { env = { CLOUDFLARE_API_TOKEN = false } })
    refused(3, "nowhere", { "tags", "a", "--token-file", "/nowhere" })
    refused(3, "its first line is empty", { "tags", "a", "--token-file", command.file "\239\187\191 \n" })
    refused(3, "%-%-token%-file: /: Is a directory", { "tags", "a", "--token-file", "/" })
    for text, problem in pairs { ["two words"] = "must not hold spaces", ['"' .. edge.env.TOKEN .. '"'] = "must not hold quotes",
      ["Bearer " .. edge.env.TOKEN] = 'must not begin with "Bearer "', ["a\194\160b"] = "must be ASCII" } do
      refused(3, "%-%-token%-file: " .. problem, { "tags", "a", "--token-file", command.file(text) })
      refused(3, "CLOUDFLARE_API_TOKEN: " .. problem, { "tags", "a" }, { env = { CLOUDFLARE_API_TOKEN = text } })
    end
    local out, err, status = run({ "tags", "a" }, { env = { CLOUDFLARE_API_TOKEN = "wrong-token" } })
    assert.equal("a\n", out)
    assert.equal(3, status)
    assert.truthy(err:find "check the token", err)
    assert.falsy(err:find "wrong%-token", err)
    out, err, status = run({ "tags", "a" }, { env = { CLOUDFLARE_API_TOKEN = edge.env.TOKEN_NO_PURGE } })
    assert.equal("a\n", out)
    assert.equal(3, status)
    assert.truthy(err:find "permission Cache Purge", err)
  end)

  it("gives back what it has read where a name is unknown", function()
    for _, words in ipairs { { "--zone", "unknown.example" }, { "--zone", host, "--environment", "unknown" } } do
      local out, err, status = run({ "tags", words[1], words[2], words[3], words[4] }, { stdin = "a\nb\n", zone = false })
      assert.same({ "a\nb\n", 1 }, { out, status })
      assert.truthy(err:find("none named", 1, true), err)
    end
  end)

  it("ends with 4 where no usable answer came", function()
    local closed, secure = { CLOUDFLARE_BASE_URL = edge.env.API_CLOSED }, { CLOUDFLARE_BASE_URL = edge.env.API_TLS }
    local out, err, status = run({ "tags", "a", "--retries", "0" }, { env = closed })
    assert.equal(4, status)
    assert.equal("a\n", out)
    assert.truthy(err:find "check the network", err)
    out, err, status = run({ "tags", "a" }, { env = secure })
    assert.equal("a\n", out)
    assert.equal(4, status)
    assert.truthy(err:find "%-%-ca%-file", err)
    assert.equal(0, select(3, run({ "tags", "a", "--ca-file", edge.env.CA_FILE }, { env = secure })))
    edge.script(zone, { { delay = 5, pass = true } })
    assert.equal(4, select(3, run { "tags", "a", "--retries", "0", "--timeout", "0.2" }))
  end)

  it("tells its use", function()
    local out, _, status = run { "files", "--help" }
    assert.equal(0, status)
    assert.truthy(out:find "^Usage: cfpurge files")
    assert.equal(out, (run { "help", "files" }))
    assert.equal(out, (run { "--zone", "z", "files", "--help" }))
    local help = run { "--help" }
    assert.truthy(help:find "Examples:\n  cfpurge files https" and help:find "Exit status: 0 all was accepted")
    assert.equal(help, (run { "help" }))
    assert.same({ "", help, 2 }, { run {} })
    local version = assert(io.open "VERSION"):read "*a"
    for _, word in ipairs { "--version", "-V" } do assert.equal("cfpurge " .. version, (run { word })) end
  end)

  it("says in a line that lua-argparse is missing", function()
    local env = { LUA_INIT = "package.preload.argparse = function() error([[module 'argparse' not found:\nmore]], 0) end" }
    local out, err, status = run({ "tags", "a" }, { env = env })
    assert.same({ "", "cfpurge: lua-argparse is missing: module 'argparse' not found\n", 1 }, { out, err, status })
  end)

  it("stops at a signal, and accounts for every item", function()
    local lines = {}
    for i = 1, 1000 do lines[i] = ("https://%s/%d"):format(host, i) end
    local waits = {}
    for signal in pairs { INT = 2, TERM = 15, HUP = 1 } do
      local its = edge.zone { name = about.name }
      edge.script(its, { { pass = true }, { delay = 30, times = 20, pass = true } })
      local pid, wait = command.start({ "files", "--in-flight", "2" }, { zone = its, stdin = table.concat(lines, "\n") })
      edge.requests(its, 3)
      os.execute(("kill -%s %s"):format(signal, pid))
      waits[signal] = wait
    end
    for signal, number in pairs { INT = 2, TERM = 15, HUP = 1 } do
      local out, err, status = waits[signal]()
      assert.equal(128 + number, status, signal .. ": " .. err)
      assert.truthy(err:find "^cfpurge: interrupted; 100 accepted, 900 not\n$", signal .. ": " .. err)
      local seen, count = {}, 0
      for line in out:gmatch "[^\n]+" do
        count = count + (seen[line] and 0 or 1)
        seen[line] = true
      end
      assert.equal(900, count, signal)
    end
  end)

  it("waits for what is in flight at the first signal, and not at the second", function()
    for _, times in ipairs { 1, 2 } do
      edge.reset(zone)
      edge.script(zone, { { delay = 1, pass = true } })
      local pid, wait = command.start({ "tags", "a" }, { zone = zone })
      edge.requests(zone, 1)
      os.execute(("for i in $(seq %d); do kill -INT %s; sleep 0.3; done"):format(times, pid))
      local out, err, status = wait()
      assert.equal(130, status, err)
      if times == 1 then
        assert.truthy(out:find "^accepted: 1 item", out)
      else
        assert.same({ "a\n", "cfpurge: interrupted; 0 accepted, 1 not\n" }, { out, err })
      end
    end
  end)

  it("gives its account where the second signal comes before it has seen the first", function()
    edge.script(zone, { { delay = 30, pass = true } })
    local pid, wait = command.start({ "tags", "a" }, { zone = zone })
    edge.requests(zone, 1)
    os.execute(("for it in STOP INT TERM CONT; do kill -$it %s; done"):format(pid))
    local out, err, status = wait()
    assert.same({ "a\n", "cfpurge: interrupted; 0 accepted, 1 not\n" }, { out, err })
    assert.truthy(status == 130 or status == 143, status)
  end)

  it("stops the loop of a shell", function()
    local script = command.file(("for i in 1 2 3; do %s; echo turn; done"):format(command.line({ "tags", "a" }, { zone = zone })))
    edge.script(zone, { { delay = 30, pass = true } })
    -- A terminal's Ctrl-C goes to all in the foreground.
    local pipe = io.popen(("setsid bash -c 'trap - INT; echo $$; exec bash %s' 2>&1 </dev/null"):format(script))
    local group = pipe:read "*l"
    edge.requests(zone, 1)
    os.execute(("kill -s INT -- -%s; sleep 0.3; kill -s INT -- -%s"):format(group, group))
    local said = pipe:read "*a"
    pipe:close()
    assert.falsy(said:find "turn", said)
    assert.equal(1, #edge.requests(zone))
  end)

  it("leaves SIGHUP to nohup", function()
    edge.script(zone, { { delay = 1, pass = true } })
    local out = command.file()
    local pipe = io.popen(("{ nohup %s >%s 2>&1 & echo $!; wait; }"):format(command.line({ "tags", "a" }, { zone = zone }), out))
    local pid = pipe:read "*l"
    edge.requests(zone, 1)
    os.execute("kill -HUP " .. pid)
    pipe:read "*a"
    pipe:close()
    assert.truthy(command.read(out):find "accepted: 1 item", command.read(out))
  end)

  -- While it waits for a line that never comes, the first signal changes nothing: a line is not to be cut in two.
  it("ends where it waits for a line, by a third signal or by a second one two seconds later", function()
    for signal, number in pairs { INT = 2, TERM = 15, HUP = 1 } do
      local path = command.file()
      os.execute(("rm %s && mkfifo %s"):format(path, path))
      local pid, wait = command.start({ "tags", "--from", path }, { zone = zone })
      -- Lua's own program catches SIGINT as well: the command has looked out for both when SIGTERM is caught.
      command.wait_until_caught(pid)
      local again = ("kill -%s %s"):format(signal, pid)
      os.execute(("%s; sleep 0.3; %s; sleep 0.3; %s"):format(again, again, again))
      local out, err, status = wait()
      assert.same({ "", "", 128 + number }, { out, err, status })
    end
    assert.same({}, bodies())
  end)
end)
