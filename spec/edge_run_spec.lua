-- `make edge`: it ends with the terminal, the program or the person that started it, and leaves nothing behind.
local elsewhere = require "spec.support.where"
if elsewhere "once text" then return end

local function output(line)
  local pipe = io.popen(line .. " 2>/dev/null")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function within(seconds, what)
  for _ = 1, seconds * 10 do
    local found = what()
    if found then return found end
    os.execute "sleep 0.1"
  end
  return false
end

describe("make edge", function()
  local dir, tmux
  before_each(function()
    dir = output "mktemp -d /tmp/cfpurge-run.XXXXXX":match "%S+"
    tmux = "env TMPDIR=" .. dir .. " tmux -f /dev/null -L " .. dir:match "[^/]+$" .. " "
  end)
  after_each(function()
    output(tmux .. "kill-server")
    for edge in output("ls -d " .. dir .. "/cfpurge-edge.*"):gmatch "%S+" do output("spec/edge/edge stop " .. edge) end
    output("rm -rf " .. dir)
  end)

  -- The processes that work in the directory; their ids, and what each is.
  local function running()
    local found = {}
    for pid, words in output "ps -eo pid,args":gmatch "(%d+) ([^\n]+)" do
      if words:find(dir .. "/cfpurge-edge", 1, true) then found[#found + 1] = { pid = pid, words = words } end
    end
    return found
  end

  local ends = {
    ["its terminal goes"] = function() output(tmux .. "kill-session") end,
    ["Ctrl-C is pressed"] = function() output(tmux .. "send-keys C-c") end,
    ["it is killed"] = function() output("pkill -KILL -P " .. output(tmux .. "display -p '#{pane_pid}'")) end,
    ["make is killed"] = function() output("kill -KILL " .. output(tmux .. "display -p '#{pane_pid}'")) end,
  }
  for name, finish in pairs(ends) do
    it("leaves nothing where " .. name, function()
      output(tmux .. "new-session -d 'exec make -s edge'")
      assert.truthy(within(20, function() return output(tmux .. "capture-pane -p -S -99"):find "The edge runs" end))
      assert.is_true(#running() >= 4)
      finish()
      assert.truthy(within(8, function() return #running() == 0 and output("ls " .. dir) == "" end))
    end)
  end
end)
