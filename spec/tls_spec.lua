-- Whom a connection trusts is found without stalling the host: no call of ours may cost more than 5 ms of CPU with OpenSSL.
local elsewhere = require "spec.support.where"
if elsewhere "engine openssl" then return end

local edge = require "spec.support.edge"
local host = require "spec.support.host"

local env = edge.up()

-- The dearest call of each of `args.clients` fresh clients, in milliseconds of CPU, and how their purges ended:
-- each with a connection of its own, in a process that has made none before.
local program = [[
  local core = require "cfpurge.core"
  local dearest, kinds = {}, {}
  local function measured(i, f, ...)
    local before = system.cpu()
    local a, b, c = f(...)
    dearest[i] = math.max(dearest[i] or 0, (system.cpu() - before) * 1000)
    return a, b, c
  end
  for i = 1, args.clients do
    local options = client.options { base_url = args.base, ca_file = args.ca_file, max_retries = 0 }
    local c = measured(i, core.new, options)
    assert(measured(i, c.start, c, { tags = { "a" } }))
    while measured(i, c.step, c, 10) > 0 do end
    local id, result, err = measured(i, c.take, c)
    assert(id)
    kinds[i] = result and "accepted" or err.kind
    c:close()
  end
  return { dearest = dearest, kinds = kinds }]]

local function median(list)
  local sorted = {}
  for i, value in ipairs(list) do sorted[i] = value end
  table.sort(sorted)
  return sorted[math.ceil(#sorted / 2)]
end

local function run(args, options)
  options = options or {}
  args.clients = args.clients or 9
  local report = host.run(program, { args = args, build = options.build, preload = options.preload, env = options.env })
  return report.dearest, report.kinds
end

local function all(kind, kinds)
  for _, one in ipairs(kinds) do assert.equal(kind, one) end
end

local function file_with(name, ...)
  local path = host.dir() .. "/" .. name
  assert(os.execute(("mkdir -p %s && cat %s >%s"):format(host.dir(), table.concat({ ... }, " "), path)))
  return path
end

describe("a cold verified connection with the system's CA directory", function()
  for name, case in pairs {
    ["that a private CA vouches for, over HTTP/2"] = { "API_TLS", true, "accepted" },
    ["that a private CA vouches for, over TLS 1.2"] = { "API_TLS12", true, "accepted" },
    ["that nobody vouches for"] = { "API_TLS", false, "tls" },
  } do
    it("costs no call 5 ms: one " .. name, function()
      if elsewhere "unwatched" then return end
      host.tries(function()
        local dearest, kinds = run { base = env[case[1]], ca_file = case[2] and env.CA_FILE or nil }
        all(case[3], kinds)
        return median(dearest) <= 5, table.concat(dearest, " ")
      end)
    end)
  end
end)

describe("where the system has only a bundle", function()
  local BUILD = "bundle"
  before_each(function() host.build(BUILD, "-DCF_TLS_BUNDLE_ONLY") end)

  it("it is read once a process: only the first connection is slow", function()
    if elsewhere "unwatched" then return end
    local bundle = file_with("bundle.pem", "/etc/ssl/certs/ca-certificates.crt", env.CA_FILE)
    local settings = { build = BUILD, preload = true, env = { SPEC_CAINFO = bundle } }
    host.tries(function()
      local dearest, kinds = run({ base = env.API_TLS }, settings)
      all("accepted", kinds)
      local first = table.remove(dearest, 1)
      return median(dearest) <= 5 and first > 3 * median(dearest), first .. ", then " .. table.concat(dearest, " ")
    end)
  end)

  it("it refuses as well as a directory", function()
    local _, kinds = run({ base = env.API_TLS, clients = 3 }, { build = BUILD })
    all("tls", kinds)
    _, kinds = run({ base = env.API_WRONGHOST, ca_file = env.CA_FILE, clients = 3 }, { build = BUILD })
    all("tls", kinds)
  end)

  it("ca_file is trusted beside it, and only where it was given", function()
    if elsewhere "unwatched" then return end
    local ask = [[
      local kinds = {}
      for i, file in ipairs(args) do
        local c = client.new { base_url = edge.env.API_TLS, ca_file = file ~= "" and file or nil }
        local result, err = c:purge { tags = { "a" } }
        kinds[i] = result and "accepted" or err.kind
        c:close()
      end
      return kinds]]
    local bundle = file_with("edge-only.pem", env.CA_FILE)
    local other = host.other_ca()
    local outcomes = host.run(ask, { args = { other, "", other, "", other },
      build = BUILD, preload = true, env = { SPEC_CAINFO = bundle } })
    assert.same({ "accepted", "accepted", "accepted", "accepted", "accepted" }, outcomes)
    -- A private CA must not slip into the store that all later connections share.
    outcomes = host.run(ask, { args = { env.CA_FILE, "", env.CA_FILE, "" }, build = BUILD })
    assert.same({ "accepted", "tls", "accepted", "tls" }, outcomes)
  end)

  it("no bundle at all trusts nobody but ca_file", function()
    if elsewhere "unwatched" then return end
    for _, build in ipairs { BUILD, false } do
      local settings = { build = build or nil, preload = true, env = { SPEC_CAINFO = "", SPEC_CAPATH = "" } }
      local _, kinds = run({ base = env.API_TLS, clients = 2 }, settings)
      all("tls", kinds)
      _, kinds = run({ base = env.API_TLS, ca_file = env.CA_FILE, clients = 2 }, settings)
      all("accepted", kinds)
    end
  end)

  it("a libcurl with several TLS libraries is asked for the one that it uses", function()
    if elsewhere "unwatched" then return end
    local bundle = file_with("edge-only.pem", env.CA_FILE)
    for version, kind in pairs { ["(OpenSSL/3.0.9) wolfSSL/5.6.0"] = "tls", ["OpenSSL/3.0.9 (GnuTLS/3.7.9)"] = "accepted",
      ["(GnuTLS/3.7.9) OpenSSL/3.0.9"] = "accepted" } do
      local _, kinds = run({ base = env.API_TLS, clients = 2 }, { build = BUILD, preload = true,
        env = { SPEC_CAINFO = bundle, SPEC_SSL_VERSION = version } })
      all(kind, kinds)
    end
  end)

  it("threads share what was read", function()
    if elsewhere "unwatched" then return end
    local bundle = file_with("bundle.pem", "/etc/ssl/certs/ca-certificates.crt", env.CA_FILE)
    local results = host.run([[
      return system.threads(8, ("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath) .. [=[
        local client = require "spec.support.client"
        local edge = require "spec.support.edge"
        edge.up()
        for _ = 1, 5 do
          local c = client.new { base_url = edge.env.API_TLS }
          local result, err = c:purge { tags = { "a" } }
          if not result then return tostring(err) end
          c:close()
        end
        return "accepted"]=])]], { build = BUILD, preload = true, env = { SPEC_CAINFO = bundle } })
    assert.equal(8, #results)
    all("accepted", results)
  end)
end)
