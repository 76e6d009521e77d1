-- `cfpurge --profile`: lua/cfpurge/cli/config.lua; and the rights of the files that it reads.
local elsewhere = require "spec.support.where"
if elsewhere "engine text" then return end

local command = require "spec.support.command"
local edge = require "spec.support.edge"

describe("a profile", function()
  local zone, token, config
  before_each(function()
    zone = edge.zone()
    token, config = command.file(edge.env.TOKEN .. "\n"), nil
    os.execute("chmod 600 " .. token)
  end)
  after_each(command.clean)

  local function run(text, words, mode)
    config = command.file(text)
    os.execute(("chmod %s %s"):format(mode or "600", config))
    local all = { "tags", "a", "--profile", "shop" }
    for _, word in ipairs(words or {}) do all[#all + 1] = word end
    return command.run(all, { env = { CFPURGE_CONFIG = config, CLOUDFLARE_API_TOKEN = false,
      CLOUDFLARE_ZONE_ID = "00000000000000000000000000000bad" } })
  end
  local function shop(more)
    local text = "# ours\n[other]\nzone = x.example\n\n[ shop ]\nzone = %s\ntoken_file=%s\n"
    return text:format(zone, token) .. (more or "")
  end

  it("fills in what the options leave open, before the environment", function()
    local out, err, status = run(shop "plan = pro\n")
    assert.same({ "", 0 }, { err, status })
    assert.truthy(out:find "^accepted: 1 item", out)
    local second = edge.zone()
    run(shop(), { "--zone", second })
    assert.same({ 1, 1 }, { edge.counts(zone).accepted, edge.counts(second).accepted })
  end)

  it("may name an environment, and a token file beside itself", function()
    local _, about = edge.zone()
    assert.truthy(about.environments.production)
    local text = shop("environment = production\n"):gsub("token_file=[^\n]*/", "token_file=")
    local _, err, status = run(text)
    assert.same({ "", 0 }, { err, status })
    local requests = edge.requests(zone)
    assert.truthy(requests[#requests].path:find "/environments/.*/purge_cache")
  end)

  it("is refused where its file is wrong, with the line", function()
    for text, problem in pairs {
      ["[shop]\nzone = a.example\nzones = b\n"] = ":3: 'zones': zone, plan, token_file and environment are known",
      ["zone = a.example\n[shop]\n"] = ":1: stands before the first [section]",
      ["[shop]\nzone = \n"] = ":2: 'zone' is empty",
      ["[shop]\nzone = a\nzone = b\n"] = ":3: 'zone' is there twice",
      ["[shop]\n[shop]\n"] = ":2: a second section of this name",
      ["[shop]\nhello\n"] = ":2: is neither [section] nor name = value",
      ["[shops]\n"] = ": there is no section [shop]",
      ["[shop]\nplan = gold\n"] = "plan",
    } do
      local _, err, status = run(text)
      assert.equal(2, status, err)
      assert.truthy(err:find(problem, 1, true), err)
    end
    local _, err, status = command.run({ "tags", "a", "--profile", "x" }, { env = { CFPURGE_CONFIG = "/nowhere" } })
    assert.same({ "cfpurge: --profile: /nowhere: No such file or directory (see: cfpurge tags --help)\n", 2 }, { err, status })
    _, err, status = command.run({ "tags", "a", "--profile", "x" }, { env = { CFPURGE_CONFIG = "/etc" } })
    assert.same({ "cfpurge: --profile: /etc: Is a directory (see: cfpurge tags --help)\n", 2 }, { err, status })
  end)

  it("is refused where others can write its file or the token's, and warns where they can read it", function()
    local _, err, status = run(shop(), {}, "620")
    assert.truthy(err:find("others than its owner can write it", 1, true), err)
    assert.equal(2, status)
    _, err, status = run(shop(), {}, "604")
    assert.same({ "cfpurge: " .. config .. ": others can read it: chmod go-r\n", 0 }, { err, status })
    os.execute("chmod 602 " .. token)
    _, err, status = run(shop())
    assert.truthy(err:find(token .. ": others than its owner can write it", 1, true), err)
    assert.equal(3, status)
  end)
end)
