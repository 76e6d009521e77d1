-- The command in a terminal: what it asks, shows and gives up.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local command = require "spec.support.command"
local edge = require "spec.support.edge"
local lists = require "spec.support.lists"

local zone, about, host

describe("the command in a terminal", function()
  local has_tmux = os.execute "command -v tmux >/dev/null 2>&1"
  local base, count, socket = "cfpurge-" .. tostring({}):match "%w+$", 0, nil
  local function tmux(words)
    local pipe = io.popen(("tmux -L %s -f /dev/null %s 2>&1"):format(socket, words))
    local said = pipe:read "*a"
    pipe:close()
    return said
  end
  -- Each in a server of its own: one that ends takes no new session.
  local function type_in(line)
    count = count + 1
    socket = base .. "-" .. count
    local script = command.file("trap : INT\n" .. line .. "\necho status=$?\nexec cat\n")
    tmux(("new-session -d -s t -x 100 -y 40 'sh %s'"):format(script))
  end
  local TELLS_PID = "sh -c 'echo pid=$$.; exec \"$@\"' - "
  -- Waits until the screen matches.
  local function screen(pattern)
    local ends = os.time() + 20
    local seen
    repeat
      seen = tmux "capture-pane -p -t t"
    until seen:find(pattern) or os.time() > ends
    assert.truthy(seen:find(pattern), seen)
    return seen
  end

  local function wait_until_it_reads()
    command.wait_until_caught(screen("pid=%d+%."):match "pid=(%d+)")
  end

  before_each(function()
    assert(has_tmux == true or has_tmux == 0)
    zone, about = edge.zone()
    host = about.name
  end)
  after_each(function()
    tmux "kill-server"
    command.clean()
  end)

  it("asks before everything", function()
    local line = command.line({ "everything", "--zone", about.name })
    for _, answer in ipairs { "n", "C-c", "y" } do
      type_in(TELLS_PID .. line)
      screen("Purge everything of " .. about.name:gsub("%p", "%%%0") .. "%? %[y/N%]")
      wait_until_it_reads()
      tmux("send-keys -t t " .. answer .. (answer == "C-c" and "" or " Enter"))
      if answer == "y" then
        screen "accepted: everything in 1 request.*status=0"
      else
        screen("cfpurge: nothing was purged.*status=" .. (answer == "C-c" and 130 or 2))
        assert.same({}, edge.requests(zone))
      end
      tmux "kill-server"
    end
    assert.same(1, edge.counts(zone).accepted)
  end)

  it("wants items", function()
    type_in(command.line({ "tags" }, { zone = zone }))
    screen "tags: nothing to purge: give items, %-%-from FILE or standard input.*status=2"
  end)

  it("gives up the line that Ctrl-C interrupts", function()
    type_in(TELLS_PID .. command.line({ "tags", "--from", "-" }, { zone = zone }))
    wait_until_it_reads()
    tmux "send-keys -t t typed Enter"
    screen "typed\n"
    tmux "send-keys -t t C-c"
    screen "typed\ncfpurge: interrupted; 0 accepted, 1 not\nstatus=130"
  end)

  it("shows how far it is, and stops at Ctrl-C", function()
    local lines = {}
    for i = 1, 1000 do lines[i] = ("https://%s/%d"):format(host, i) end
    local list = command.file(table.concat(lines, "\n") .. "\n")
    edge.script(zone, { { pass = true, times = 3 }, { delay = 30, times = 20, pass = true } })
    type_in(command.line({ "files", "--from", list, "--in-flight", "2" }, { zone = zone }))
    screen "300 accepted, [%d,]+/s, 30%%, [%d.]+ %a+ left"
    tmux "send-keys -t t C-c"
    local seen = screen "cfpurge: interrupted; 300 accepted, 700 not; 680 more not shown.*status=130"
    assert.falsy(seen:find "left")
    assert.truthy(seen:find("\nhttps://" .. host .. "/320\n", 1, true), seen)
  end)

  it("shows what the pacer waits for, and how long it will take by the plan", function()
    local tags = {}
    for i = 1, 2900 do tags[i] = "tag-" .. i end
    local list = command.file(table.concat(tags, "\n"))
    type_in(command.line({ "tags", "--plan", "free", "--from", list }, { zone = zone }))
    screen "2,500 accepted, [%d,]+/s, 8%d%%, 4%d s left, waits [%d.]+ s for the limit of requests"
    tmux "send-keys -t t C-c"
    screen "cfpurge: interrupted; 2,500 accepted, 400 not; 380 more not shown.*status=130"
  end)

  it("shows what is sent again and why, in the width that there is", function()
    edge.script(zone, { { times = 0, status = 503, body = "{}", headers = { ["Retry-After"] = "9" } } })
    type_in(command.line({ "tags", "a" }, { zone = zone }))
    screen "\n?0 accepted, retrying in %d s %(HTTP 503%), 0/s"
    tmux "resize-window -t t -x 30"
    screen "retrying in %d s %(\n"
    tmux "send-keys -t t C-c"
    screen "interrupted; 0 accept\n?ed, 1 not.*status=130"
  end)

  it("has nothing to show of a list of zones that takes its time, and asks for no bytes of a terminal", function()
    type_in(command.line({ "zones", "--retries", "1" }, { env = { CLOUDFLARE_BASE_URL = edge.env.API_CLOSED } }))
    screen "cfpurge: .*connect.*\nstatus=4"
    tmux "kill-server"
    type_in(command.line({ "everything", "--zone", "a\27[2Jb\rc" }, { env = { CLOUDFLARE_ZONE_ID = false } }))
    screen "Purge everything of a %[2Jb c%? %[y/N%]"
  end)

  it("does not repeat what was typed, and cuts what it shows", function()
    edge.script(zone, { lists.refusal(1016) })
    type_in(command.line({ "tags", "typed-tag" }, { zone = zone }) .. " 2>/dev/null")
    assert.falsy(screen "status=1":find "typed%-tag")
    tmux "kill-server"
    type_in(command.line({ "hosts", "--from", command.file("\27[2Jx" .. ("y"):rep(200) .. "\n") }, { zone = zone }))
    assert.truthy(screen "status=2":find "%[2Jxyy")
  end)
end)
