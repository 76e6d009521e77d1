-- The manual, the helps and the completions have what the command has: lua/cfpurge.1, lua/cfpurge/cli/arguments.lua.
local elsewhere = require "spec.support.where"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local keys = require "spec.support.keys"

local function new_folder() return command.output "mktemp -d /tmp/cfpurge-man.XXXXXX":match "%S+" end

-- The commands that a help lists; its options go into `options`.
local function told_by(help, options)
  local commands = {}
  for line in help:gmatch "[^\n]+" do
    for option in (line:match "^   (%-[%w, -]+)" or ""):gmatch "%f[%w-]%-([%w-]+)" do options[option] = true end
    if line:find "^Commands:" then commands.begin = true elseif not line:find "^ " then commands.begin = nil end
    commands[#commands + 1] = commands.begin and line:match "^   (%l+)" or nil
  end
  return commands
end

describe("the command's", function()
  if elsewhere "once text" then return end

  local helps, options, commands, man = {}, {}, {}, command.read "lua/cfpurge.1"

  setup(function()
    local function ask(words)
      local name = table.concat(words, " ")
      helps[name] = command.run { "help", words[1], words[2] }
      return told_by(helps[name], options)
    end
    for _, kind in ipairs(ask {}) do
      local actions = ask { kind }
      for _, action in ipairs(actions) do
        ask { kind, action }
        commands[kind .. " " .. action] = true
      end
      commands[kind] = not actions[1] or nil
    end
  end)
  teardown(command.clean)

  it("manual has every command and every option, and no other", function()
    local listed, named = {}, {}
    for line in man:gmatch "[^\n]+" do
      local name = line:match "^%.It Cm (.+)"
      if name then named[name] = true end
      for option in line:gmatch(line:find "^%.It" and "Fl (%S+)" or "^$") do listed[option] = true end
    end
    assert.same(keys(commands), keys(named))
    assert.same(keys(options), keys(listed))
  end)

  it("helps have no line of more than 80 columns, and each an example", function()
    for name, help in pairs(helps) do
      for line in help:gmatch "[^\n]+" do assert.truthy(#line <= 80, line) end
      assert.truthy(help:find("\nExamples?:\n  [^\n]*cfpurge " .. name), name .. ": " .. help)
    end
  end)

  it("examples run", function()
    local zone = edge.zone { name = "example.com" }
    local folder = new_folder()
    local env = { CLOUDFLARE_API_TOKEN = edge.token { zones = { zone } }, HOME = folder, https_proxy = edge.env.PROXY }
    local line = command.line({}, { zone = zone, env = env })
    -- A worker is ended when it has begun to catch SIGTERM, bit 14 of the mask.
    local shell = ([[cd %s; cfpurge() {
      case $1 in check) set -- "$@" --ca-file '%s' ;; esac
      [ "$2" = work ] || { %s "$@"; return; }
      %s "$@" &
      until [ $(($(sed -n 's/^SigCgt:.*\(.....\)$/0x\1/p' /proc/$!/status) >> 14 & 1)) = 1 ]; do sleep 0.02; done
      kill $!; wait $!
    }
    ]]):format(folder, edge.env.CA_FILE, line, line)
    local function run(script)
      local said, status = command.file(), command.file()
      os.execute(("{ %s\n%s\n} >%s 2>&1 </dev/null; echo $? >%s"):format(shell, script, said, status))
      assert.equal("0\n", command.read(status), script .. ": " .. command.read(said))
    end
    run "echo news >tags.txt; cfpurge tags --from tags.txt --queue"
    local scripts = {}
    for _, help in pairs(helps) do
      for example in help:match "\nExamples?:\n(.*)":gmatch "  ([^\n]+)" do scripts[example] = true end
    end
    for script in man:gmatch "%.Bd %-literal[^\n]*\n(.-)\n%.Ed" do scripts[script:gsub("\\e", "\\")] = true end
    assert.is_true(#keys(scripts) > 20)
    for _, script in ipairs(keys(scripts)) do run(script) end
    os.execute("rm -r " .. folder)
  end)

  -- What each shell makes of a line and a tab.
  local lines = {
    { "cfpurge pre", "prefixes" }, { "cfpurge files --zone x --dev", "--device" }, { "cfpurge tags --plan bus", "business" },
    { "cfpurge queue work --lea", "--lease" }, { "cfpurge queue failed --kind ho", "hosts" }, { "cfpurge comp", "completion" },
  }
  local shells = {
    bash = [[. %s; for line; do
      COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _cfpurge; echo "${COMPREPLY[*]}"; done]],
    fish = [[source %s; for line in $argv; complete -C $line; end]],
    -- An editor in a terminal of its own, which writes its line to a file.
    zsh = [==[file=%s; zmodload zsh/zpty; zpty z zsh -f -i
      zpty -w z "fpath=(${file:h} \$fpath); autoload -Uz compinit; compinit -u -D"
      zpty -w z "tell() { print -r -- \$BUFFER >>$file.lines; BUFFER= }; zle -N tell"
      zpty -w z "bindkey '^X' tell '^I' complete-word; echo re''ady"; zpty -r -m z said '*ready*'
      for line; do
        zpty -w -n z "$line"$'\t\x18'; n=$((n + 1))
        for i in {1..200}; do [[ $(cat $file.lines 2>&-| wc -l) -ge n ]] && break; sleep 0.02; done
      done; cat $file.lines]==],
  }
  for shell, code in pairs(shells) do
    it("completions are those of " .. shell, function()
      if command.output("command -v " .. shell) == "" then return pending(shell .. " is not installed") end
      local script, err, status = command.run { "completion", shell }
      assert.equal(0, status, err)
      local folder = new_folder()
      local file = assert(io.open(folder .. "/_cfpurge", "w"))
      file:write(script):close()
      local program, words = command.file((code:format(folder .. "/_cfpurge"))), {}
      for i, line in ipairs(lines) do words[i] = "'" .. line[1] .. "'" end
      local said = command.output(("timeout -k 1 30 %s %s %s 2>&1"):format(shell, program, table.concat(words, " ")))
      local i = 0
      for line in said:gmatch "[^\n]+" do
        i = i + 1
        assert.truthy((" " .. line .. " "):find("[ %s]" .. lines[i][2]:gsub("%p", "%%%0") .. "%s"), line)
      end
      assert.equal(#lines, i)
      os.execute("rm -r " .. folder)
    end)
  end
end)
