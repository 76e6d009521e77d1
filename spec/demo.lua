-- make demo: each kind of purge, by both operations and by `zone = "auto"`, on an edge of its own: what was stale is
-- fresh, the rest stays. Then the command purges, directly and through a queue (demo_command.lua).
-- Every page in the table has a newer version at the origin, so a cache that shows the old one is seen to hold it.
local cfpurge = require "cfpurge"
local edge = require "spec.support.edge"

local ZONE, OTHER = "demo.test", "other.test"

-- {name of the kind, its params, the page that must go, the neighbour that must stay}; @ is the operation's own letter,
-- so that no row meets a page of another.
local function rows_of(letter)
  local function fill(text) return (text:gsub("@", letter)) end
  local function page(host, path, device)
    return {
      host = fill(host), path = fill(path), headers = device and { ["CF-Device-Type"] = device },
      label = fill(host .. path) .. (device and ", " .. device or ""),
    }
  end
  local function url(path) return "https://" .. ZONE .. fill(path) end
  return {
    { "purge_everything", { purge_everything = true }, page(ZONE, "/all-@"), page(OTHER, "/all-@") },
    { "files", { files = { url "/@.css", url "/@.js" } }, page(ZONE, "/@.css"), page(ZONE, "/@.css?v=2") },
    { "files {url, headers}", { files = { { url = url "/vary/@", headers = { ["CF-Device-Type"] = "mobile" } } } },
      page(ZONE, "/vary/@", "mobile"), page(ZONE, "/vary/@", "desktop") },
    { "tags", { tags = { fill "News-@" } }, page(ZONE, "/t/news-@,sport/x"), page(ZONE, "/t/news-@-old/x") },
    { "hosts", { hosts = { fill "img-@." .. ZONE } }, page("img-@." .. ZONE, "/x"), page("a.img-@." .. ZONE, "/x") },
    { "prefixes", { prefixes = { ZONE .. fill "/blog-@" } }, page(ZONE, "/blog-@/x"), page(ZONE, "/blog-@-old/x") },
  }
end

-- Each purge is of both zones, and each item finds its own.
local function rows_of_auto()
  local function page(host, path) return { host = host, path = path, label = host .. path } end
  return {
    { "files of two zones", { files = { "https://" .. ZONE .. "/auto.css", "https://" .. OTHER .. "/auto.css" } },
      page(OTHER, "/auto.css"), page(ZONE, "/auto.css?v=2") },
    { "hosts of two zones", { hosts = { "auto." .. ZONE, "auto." .. OTHER } }, page("auto." .. OTHER, "/x"),
      page("a.auto." .. OTHER, "/x") },
    { "prefixes of two zones", { prefixes = { ZONE .. "/auto", OTHER .. "/auto" } }, page(OTHER, "/auto/x"),
      page(ZONE, "/automatic") },
  }
end

-- ---- pages ----

local function look(cache, page)
  local status, seen, version = edge.get(cache, page.host, page.path, page.headers)
  assert(status == 200, ("%s: status %s"):format(page.label, tostring(status)))
  return { version = version, seen = seen, text = ("v%d %s"):format(version, tostring(seen)) }
end

local function is(found, version, seen)
  return found.version == version and found.seen == seen
end

-- ---- rows ----

-- Fills `line` and says whether all is as it must be. With an environment, staging is a cache that must not be touched.
local function show(line, client, row, environment_id)
  local params, page, neighbour = row[2], row[3], row[4]
  local old, kept = look("production", page).version, look("production", neighbour).version
  local there = environment_id and look("staging", page).version
  edge.bump(page.host, page.path)
  if page.host .. page.path ~= neighbour.host .. neighbour.path then edge.bump(neighbour.host, neighbour.path) end
  local new = look(edge.env.ORIGIN, page).version

  local before, near = look("production", page), look("production", neighbour)
  line.page, line.before = page.label, before.text
  local right = old < new and is(before, old, "HIT") and is(near, kept, "HIT")

  local result, err
  if environment_id then
    result, err = client:purge_environment(environment_id, params)
  else
    result, err = client:purge(params)
  end
  line.purge = result and ("accepted %d, id %s"):format(result.accepted, tostring(result.id):sub(1, 6)) or tostring(err)
  local items = params[next(params)]
  right = right and result and result.accepted == (items == true and 1 or #items)

  local after = look("production", page)
  line.after = after.text
  right = right and is(after, new, "MISS")

  near = look("production", neighbour)
  line.neighbour, line.stays = neighbour.label, near.text
  right = right and is(near, kept, "HIT")

  if environment_id then
    local staging = look("staging", page)
    line.staging = staging.text
    right = right and is(staging, there, "HIT")
  end
  return right
end

local columns = { "operation", "kind", "page", "before", "purge", "after", "neighbour", "stays", "staging", "verdict" }
local titles = {
  operation = "operation", kind = "kind", page = "page", before = "before", purge = "the purge", after = "after",
  neighbour = "neighbour", stays = "stays", staging = "staging", verdict = "",
}

local function print_table(lines)
  local width = {}
  for _, line in ipairs(lines) do
    for _, name in ipairs(columns) do width[name] = math.max(width[name] or 0, #(line[name] or "-")) end
  end
  for _, line in ipairs(lines) do
    local cells = {}
    for i, name in ipairs(columns) do
      local cell = line[name] or "-"
      cells[i] = cell .. (" "):rep(width[name] - #cell)
    end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
end

local function count_requests(zones)
  local count, secure = 0, 0
  for _, zone in ipairs(zones) do
    for _, request in ipairs(edge.requests(zone)) do
      count = count + 1
      if request.protocol == "HTTP/2.0" and request.tls then secure = secure + 1 end
    end
  end
  return count, secure
end

local function demo(env, dir)
  local id, zone = edge.zone { name = ZONE }
  local other = edge.zone { name = OTHER }
  local function client_of(options)
    options.base_url, options.ca_file, options.proxy = env.API_TLS, env.CA_FILE, ""
    return assert(cfpurge.new(options))
  end
  local client = client_of { zone_id = id, api_token = env.TOKEN }
  local auto = client_of { zone = "auto", api_token = edge.token { zones = { id, other } } }
  local production = zone.environments.production
  local lines, right = { titles }, 0
  for _, part in ipairs {
    { "purge", rows_of "z", client }, { "purge_environment", rows_of "e", client, production },
    { "zone = \"auto\"", rows_of_auto(), auto },
  } do
    for _, row in ipairs(part[2]) do
      local line = { operation = part[1], kind = row[1] }
      local ok, fine = pcall(show, line, part[3], row, part[4])
      line.verdict = not ok and "FAILED: " .. tostring(fine) or fine and "ok" or "WRONG"
      right = right + (ok and fine and 1 or 0)
      lines[#lines + 1] = line
    end
  end
  auto:close()
  local rows, requests, secure = #lines - 1, count_requests { id, other }
  print(("%s with a private CA; behind it Varnish, as production and as staging.\n"):format(env.API_TLS))
  print_table(lines)
  print(("\n%d of %d rows right; %d of %d requests came over TLS and HTTP/2."):format(right, rows, secure, requests))
  print ""
  client:close()
  return require "spec.demo_command"(env, dir, id) and right == rows and secure == requests
end

-- ---- the edge ----

local function first_line(file)
  local line = assert(file):read "*l"
  file:close()
  return line
end

-- Once started the edge watches our process id and ends with us even where we are killed; until then the trap does.
local function start(dir, stop)
  local pid = first_line(io.open "/proc/self/stat"):match "^%d+"
  local status = os.execute(("trap '%s' TERM HUP; spec/edge/edge start %s %s"):format(stop, dir, pid))
  assert(status == true or status == 0, "the edge did not start")
  edge.env = {}
  for line in io.lines(dir .. "/env") do
    local key, value = line:match "^([%w_]+)=(.*)$"
    edge.env[key] = value
  end
  return edge.env
end

local dir = assert(first_line(io.popen "mktemp -d /tmp/cfpurge-demo.XXXXXX"), "no directory")
local stop = ("spec/edge/edge stop %s; rm -rf %s"):format(dir, dir)
local ok, fine = pcall(function() return demo(start(dir, stop), dir) end)
os.execute(stop)
if not ok then io.stderr:write("demo: ", tostring(fine), "\n") end
os.exit(ok and fine and 0 or 1)
