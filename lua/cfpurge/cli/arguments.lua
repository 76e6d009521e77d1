--- The command's arguments: its words, its options, its help.
local core = require "cfpurge.core"

local M = {}

local commands = {
  { "files", "url", "Purges URLs.", "cfpurge files https://www.example.com/a.css https://www.example.com/b.css" },
  { "tags", "tag", "Purges every page that carries one of these Cache-Tags.",
    "cfpurge tags --from tags.txt --plan pro --remaining rest.txt" },
  { "hosts", "host", "Purges every page of these hosts.", "cfpurge hosts www.example.com img.example.com" },
  { "prefixes", "prefix", "Purges every page below these prefixes, which are a host and a path.",
    "cfpurge prefixes www.example.com/blog" },
  { "everything", nil, "Purges the whole cache of the zone, or of one environment.",
    "cfpurge everything --zone example.com --environment staging" },
  { "check", "url", "Asks for pages, and tells what the cache says of them.",
    "cfpurge check --wait 30 https://www.example.com/a.css" },
  { "zones", nil, "Lists the zones that the credential sees.", "cfpurge zones --json" },
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
  ["--help"] = true, ["--version"] = true, ["--check"] = true,
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
    return tonumber(text), ("%s: '%s' is no number"):format(name, text)
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

local function add_common(command)
  command:flag "--json":description "Tells the outcome as one JSON object."
  command:flag "-q --quiet":description "Tells nothing but errors and the items that were not accepted."
  add_number(command, "--timeout", "<seconds>"):description "Waits so long for the answer of one attempt (60)."
  add_option(command, "--ca-file", "<file>"):description "Trusts the certificates of this file beside the system's."
end

local function add_credential(command)
  add_number(command, "--retries", "<n>"):description "Sends a request that failed so many times again (2)."
  add_number(command, "--retry-for", "<seconds>"):description "Sends it again for so long, in place of --retries."
  add_option(command, "--token-file", "<file>")
    :description "Takes the API token from the first line of this file (CLOUDFLARE_API_TOKEN)."
  add_option(command, "--profile", "<name>"):description(
    "Takes zone, plan, token_file and environment from this section of ~/.config/cfpurge/config (CFPURGE_CONFIG).")
end

local function add_options(command)
  add_option(command, "--zone", "<zone>"):description
    "The zone, by its name or its id (CLOUDFLARE_ZONE_ID); auto finds the zone of each URL, host and prefix."
  add_option(command, "--environment", "<name>")
    :description "Purges in this environment of the zone alone, by its name or its id."
  command:flag "--invalidate":description "Makes the pages stale, to be revalidated, and drops none."
  command:option "--plan":overwrite(false):choices { "free", "pro", "business", "enterprise", "auto" }
    :description "Goes as fast as the zone's plan allows, and no faster; auto asks the API for the plan."
  command:flag "--dry-run":description "Shows the requests that would be sent, and sends none."
  add_number(command, "--in-flight", "<n>"):description "Sends so many requests at the same time (8)."
  add_credential(command)
  add_common(command)
end

local function tell_version()
  print("cfpurge " .. core.version)
  os.exit(0)
end

-- Options cost time to make: where `named` is a command, only that one has them.
local function parser_for(named)
  local parser = require "argparse"("cfpurge", "Purges Cloudflare's cache.")
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
  parser:help_max_width(100):require_command(true):command_target "kind"
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
  return parser:add_complete_command "completion"
end

-- The arguments with the command first, wherever it stands; and that word.
local function ordered(argv)
  local i = 1
  while argv[i] and argv[i]:find "^%-." do
    i = i + ((argv[i]:find "^%-%-" and not argv[i]:find("=", 1, true) and not takes_no_value[argv[i]]) and 2 or 1)
  end
  local words = { argv[i] }
  for j = 1, #argv do
    if j ~= i then
      words[#words + 1] = argv[j]
    end
  end
  return words, argv[i]
end

--- What was asked for; or what is wrong with it, and of which command. Help and the version end the process.
---@param argv string[]
---@return table? args, string? problem, string? kind
function M.parse(argv)
  local words, first = ordered(argv)
  if first == "help" then
    words = { words[2] }
    words[#words + 1] = "--help"
    first = words[1]
  elseif not words[1] then
    -- Nothing was purged: that is no success.
    io.stderr:write(parser_for():get_help(), "\n")
    os.exit(2)
  end
  local kind
  for _, entry in ipairs(commands) do
    kind = entry[1] == first and first or kind
  end
  local ok, args = parser_for(kind):pparse(words)
  return ok and args or nil, not ok and args or nil, kind
end

return M
