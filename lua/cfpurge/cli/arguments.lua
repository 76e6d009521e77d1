--- The command's arguments: its words, its options, its help.
local core = require "cfpurge.core"
local tables = require "cfpurge.tables"

local M = {}

local commands = {
  { "files", "url", "Purges URLs.", "cfpurge files https://www.example.com/a.css https://www.example.com/b.css" },
  { "tags", "tag", "Purges every page that carries one of these Cache-Tags.",
    "cfpurge tags --from tags.txt --plan pro --remaining rest.txt" },
  { "hosts", "host", "Purges every page of these hosts.", "cfpurge hosts www.example.com img.example.com" },
  { "prefixes", "prefix", "Purges every page below these prefixes, which are a host and a path.",
    "cfpurge prefixes www.example.com/blog" },
  { "everything", nil, "Purges the whole cache of the zone, or of one environment.",
    "cfpurge everything --zone example.com --environment staging --yes" },
  { "check", "url", "Asks for pages, and tells what the cache says of them.",
    "cfpurge check --wait 30 https://www.example.com/a.css" },
  { "zones", nil, "Lists the zones that the credential sees.", "cfpurge zones --json" },
  { "queue", nil, "Sends what waits in the queue, and tells what it holds.", "cfpurge queue work --plan pro" },
}

local actions = {
  { "work", "Sends what waits, until SIGTERM or SIGINT: then what is in flight ends first.", "--plan pro" },
  { "drain", "Sends what waits, and ends when nothing is left.", "--timeout 300" },
  { "status", "Tells how much waits, what rests and why.", "--json" },
  { "failed", "Lists what was refused for good, each with its error.", "--kind tags --limit 10" },
  { "retry", "Has what was refused wait again.", "--zone example.com" },
  { "discard", "Forgets what was refused.", "--older-than 86400" },
}

--- The options that make variants of a URL: the option, the header, an example.
M.variants = {
  { "device", "CF-Device-Type", "mobile,desktop,tablet" },
  { "country", "CF-IPCountry", "CH,DE" },
  { "language", "Accept-Language", "de,fr" },
  { "origin", "Origin", "https://a.example,https://b.example" },
}

-- All other options that begin with -- have a value.
local takes_no_value = {
  ["--invalidate"] = true, ["--dry-run"] = true, ["--json"] = true, ["--quiet"] = true, ["--yes"] = true,
  ["--help"] = true, ["--version"] = true, ["--check"] = true, ["--queue"] = true, ["--prometheus"] = true,
  ["--"] = true,
}

-- An option once: the last of two would be obeyed, and the first not.
local function add_option(command, name, value)
  return command:option(name):argname(value):overwrite(false)
end

local function add_items(command, kind, item, verb)
  command:argument("items"):args "*":argname("<" .. item .. ">")
    :description(("What to %s. Without any, and without --from, the lines of standard input are read."):format(verb))
  local lines = item == "url" and " A line is a URL, or {\"url\": ..., \"headers\": {...}}." or ""
  add_option(command, "--from", "<file>")
    :description("Reads the items from this file, one a line; - is standard input." .. lines)
  for _, axis in ipairs(item == "url" and M.variants or {}) do
    add_option(command, "--" .. axis[1], "<list>")
      :description(("%s each URL once for each %s of the list, such as %s."):format(
        kind == "files" and "Purges" or "Asks for", axis[2], axis[3]))
  end
end

local function add_number(command, name, value)
  return add_option(command, name, value):convert(function(text)
    local number = tonumber(text)
    -- LuaJIT and 5.1 read "nan".
    return number == number and number or nil, ("%s: '%s' is no number"):format(name, text)
  end)
end

local function add_wait(command, what)
  add_number(command, "--wait", "<seconds>"):description(
    "Asks again for so long, until no page is a HIT that is older than " .. what .. ".")
end

local function add_source(command, kind, item)
  add_items(command, kind, item, "purge")
  add_option(command, "--remaining", "<file>"):description("Writes the items that were not accepted to this file, "
    .. "which --from can read. Without it they go to standard output.")
  if kind == "files" then
    add_option(command, "--sitemap", "<file|url>")
      :description "Purges the URLs of a sitemap or of an index of sitemaps; it may be compressed (.gz)."
    command:flag "--check":description "Asks for the first 100 pages afterwards, and tells what the cache says."
    add_wait(command, "the purge")
  end
end

local function add_json(command)
  command:flag "--json":description "Tells the outcome as one JSON object."
end

local function add_ca_file(command)
  add_option(command, "--ca-file", "<file>"):description "Trusts the certificates of this file beside the system's."
end

local function add_timeout(command)
  add_number(command, "--timeout", "<seconds>"):description "Waits so long for the answer of one attempt (60)."
end

local function add_common(command)
  add_json(command)
  command:flag "-q --quiet":description "Tells nothing but what goes wrong, and the items that were not accepted."
  add_timeout(command)
  add_ca_file(command)
end

local function add_login(command)
  add_option(command, "--token-file", "<file>")
    :description "Takes the API token from the first line of this file (CLOUDFLARE_API_TOKEN)."
  add_option(command, "--profile", "<name>"):description(
    "Takes zone, plan, token_file and environment from this section of ~/.config/cfpurge/config (CFPURGE_CONFIG).")
end

local function add_credential(command)
  add_number(command, "--retries", "<n>"):description "Sends a request that failed so many times again (2)."
  add_number(command, "--retry-for", "<seconds>"):description "Sends it again for so long, in place of --retries."
  add_login(command)
end

local function add_sending(command)
  command:option "--plan":overwrite(false):choices { "free", "pro", "business", "enterprise", "auto" }
    :description "Goes as fast as the zone's plan allows, and no faster; auto asks the API for the plan."
  add_number(command, "--in-flight", "<n>"):description "Sends so many requests at the same time (8)."
end

local function add_queue(command, description)
  command:option "--queue":args "?":argname "=<store>":overwrite(false):description(description
    .. " --queue=STORE names it: a file, or redis://host:6379/0 (CFPURGE_QUEUE; ~/.local/state/cfpurge/queue.db).")
end

local function add_adding(command)
  add_queue(command, "Stores the purge in the queue, and sends nothing: `cfpurge queue work` does.")
  add_number(command, "--delay", "<seconds>"):description "With --queue: it is sent in so many seconds, not before."
  add_number(command, "--again", "<seconds>")
    :description "With --queue: it is sent once more, so many seconds after it was accepted."
end

local function add_options(command)
  add_option(command, "--zone", "<zone>"):description
    "The zone, by its name or its id (CLOUDFLARE_ZONE_ID); auto finds the zone of each URL, host and prefix."
  add_option(command, "--environment", "<name>")
    :description "Purges in this environment of the zone alone, by its name or its id."
  command:flag "--invalidate":description "Makes the pages stale, to be revalidated, and drops none."
  add_sending(command)
  command:flag "--dry-run":description "Shows the requests that would be sent, and sends none."
  add_adding(command)
  add_credential(command)
  add_common(command)
end

local KINDS = tables.slice(core.kinds, 1, #core.kinds)
KINDS[#KINDS + 1] = "everything"

local function add_filter(command)
  add_option(command, "--zone", "<zone>"):description "Of this zone alone, as the purge named it."
  add_option(command, "--environment", "<name>"):description "Of this environment alone, by its name or its id."
  command:option "--kind":overwrite(false):target "kind_of_purge":description "Of this kind alone."
    :choices(KINDS)
  add_number(command, "--older-than", "<seconds>"):description "What was refused longer ago than this."
end

local function add_service(command)
  add_sending(command)
  add_number(command, "--lease", "<seconds>")
    :description "Where it dies, others wait so long for what it had in flight (60)."
  add_login(command)
  add_ca_file(command)
  command:flag "-q --quiet":description "Tells nothing but what goes wrong."
end

-- The options of each action of `cfpurge queue`.
local options_of = {
  work = function(command)
    add_service(command)
    add_timeout(command)
  end,
  drain = function(command)
    add_service(command)
    add_number(command, "--timeout", "<seconds>"):description(
      "Ends after so long; what is left waits. Without it drain stays while a zone rests.")
    add_json(command)
  end,
  status = function(command)
    add_json(command)
    command:flag "--prometheus":description "Tells it as Prometheus reads it."
  end,
  failed = function(command)
    add_filter(command)
    add_number(command, "--limit", "<n>"):description "Lists so many at most, the oldest (100)."
    add_json(command)
  end,
}
for _, name in ipairs { "retry", "discard" } do
  options_of[name] = function(command)
    add_filter(command)
    add_json(command)
  end
end

local function add_actions(command)
  command:require_command(true):command_target "action"
  for _, entry in ipairs(actions) do
    local action = command:command(entry[1]):description(entry[2])
      :epilog(("Example:\n  cfpurge queue %s %s"):format(entry[1], entry[3]))
    add_queue(action, "The queue's store.")
    options_of[entry[1]](action)
  end
end

local function tell_version()
  print("cfpurge " .. core.version)
  os.exit(0)
end

-- Options cost time to make: where `named` is a command, only that one has them.
local function parser_for(named)
  local found, argparse = pcall(require, "argparse")
  if not found then
    io.stderr:write("cfpurge: lua-argparse is missing: ", tostring(argparse):match "^[^\n]*[^\n:]", "\n")
    os.exit(1)
  end
  local parser = argparse("cfpurge", "Purges Cloudflare's cache.")
    :epilog(table.concat({
      "Examples:",
      "  cfpurge files https://www.example.com/a.css --zone example.com",
      "  cfpurge tags --from tags.txt --plan pro --remaining rest.txt",
      "  printf '%s\\n' www.example.com/blog www.example.com/shop | cfpurge prefixes",
      "",
      "`cfpurge help files` tells the options of files. Options may stand before the command as well.",
      "The credential is CLOUDFLARE_API_TOKEN, or CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY, of the environment.",
      "Exit status: 0 all was accepted, 1 some was not, 2 wrong use, 3 the credential, 4 no usable answer; "
        .. "129, 130 or 143 where a signal ended it.",
    }, "\n"))
  parser:help_max_width(80):require_command(true):command_target "kind"
  parser:flag "-V --version":description "Tells the version.":action(tell_version)
  for _, entry in ipairs(commands) do
    local kind, item = entry[1], entry[2]
    local command = parser:command(kind):description(entry[3]):epilog("Example:\n  " .. entry[4])
    if kind == named or not named then
      if kind == "check" then
        add_items(command, kind, item, "ask for")
        add_wait(command, "the command")
        add_common(command)
      elseif kind == "zones" then
        add_credential(command)
        add_common(command)
      elseif kind == "queue" then
        add_actions(command)
      else
        if item then
          add_source(command, kind, item)
        else
          command:flag "-y --yes":description "Does not ask."
        end
        add_options(command)
      end
    end
  end
  parser:add_complete_command {
    name = "completion", description = "Writes a completion script for this shell.",
    epilog = "Example:\n  cfpurge completion fish >cfpurge.fish",
  }
  return parser:add_help_command {
    name = "help", description = "Tells the options of a command.", epilog = "Example:\n  cfpurge help queue work",
  }
end

-- Where the first word stands that is no option, from `i` on.
local function word_from(argv, i)
  while argv[i] and argv[i]:find "^%-." do
    i = i + ((argv[i]:find "^%-%-" and not argv[i]:find("=", 1, true) and not takes_no_value[argv[i]]) and 2 or 1)
  end
  return i
end

-- The arguments with the command first, wherever it stands, and what the queue is to do behind it; and the command.
-- Without a value --queue must not take the word behind it.
local function ordered(argv)
  local first = word_from(argv, 1)
  local words, second = { argv[first] }, argv[first] == "queue" and word_from(argv, first + 1)
  words[2] = argv[second]
  local is_over
  for i, word in ipairs(argv) do
    is_over = is_over or word == "--"
    if i ~= first and i ~= second then
      words[#words + 1] = word == "--queue" and not is_over and "--queue=" or word
    end
  end
  return words, argv[first]
end

-- The word, where it names one of them.
local function named_in(entries, word)
  for _, entry in ipairs(entries) do
    if entry[1] == word then
      return word
    end
  end
end

--- What was asked for; or what is wrong with it, and of which command. Help and the version end the process.
---@param argv string[]
---@return table? args, string? problem, string? kind, string? action
function M.parse(argv)
  local words, first = ordered(argv)
  if first == "help" then
    words[#words + 1] = "--help"
    table.remove(words, 1)
    first = words[1]
  elseif not words[1] then
    -- Nothing was purged: that is no success.
    io.stderr:write(parser_for():get_help(), "\n")
    os.exit(2)
  end
  local kind = named_in(commands, first)
  local action = named_in(kind == "queue" and actions or {}, words[2])
  local ok, args = parser_for(kind):pparse(words)
  -- Without a command its options are unknown.
  return ok and args or nil, not ok and (first and args or "a command is required") or nil, kind, action
end

return M
