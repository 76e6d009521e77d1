-- What the API answers in the field, and what a user is told of it: each case by table, iterator and command.
-- spec/README.md says where the cases stand that have specs of their own.
local clients = require "spec.support.client"
local command = require "spec.support.command"
local edge = require "spec.support.edge"
local forms = require "spec.support.forms"
local lists = require "spec.support.lists"

edge.up()

local HTML = "<html><head><title>Attention Required!</title></head><body>blocked</body></html>"

local function tags(count, bad)
  local list = lists.tags(count)
  for i, item in ipairs(bad or {}) do list[i * math.floor(count / (#bad + 1))] = item end
  return list
end

local function files(zone, count)
  local list = {}
  for i = 1, count do list[i] = ("https://www.%s/%d"):format(zone.name, i) end
  return list
end

-- name, and what is asked of a new zone. `zone`: edge.change's; `limits`: edge.limits'; `answers`: a script;
-- `ask(zone)`: the purge; and of the outcome: `kind`, `about`, `exit`, `says` (all of them), `never`, `accepted`,
-- `remaining`, `requests`, `at_most` so many requests.
local cases = {}
for _, under in ipairs { "null", "id" } do
  cases[#cases + 1] = { "halves the request where one URL of 100 is refused under 200, result " .. under,
    zone = { under200 = under, refuses = { "https://www.@/50" } },
    ask = function(zone) return { kind = "files", items = files(zone, 100) } end,
    accepted = 99, remaining = { "https://www.@/50" }, about = "item", exit = 1, says = { "Unable to purge" },
  }
  cases[#cases + 1] = { "finds three tags of 5,000 refused under 200, one request at a time, result " .. under,
    zone = { under200 = under, refuses = { "bad-1", "bad-2", "bad-3" } },
    ask = function()
      return { kind = "tags", items = tags(5000, { "bad-1", "bad-2", "bad-3" }), options = { max_in_flight = 1 },
        words = { "--in-flight", "1" } }
    end,
    accepted = 4997, remaining = { "bad-1", "bad-2", "bad-3" }, about = "item", exit = 1,
  }
end
for _, under in ipairs { false, "null" } do
  cases[#cases + 1] = { "stops 5,000 tags where the zone's plan has no such purge, under " .. (under and 200 or 400),
    zone = { under200 = under, lacks = { "tags" } },
    ask = function()
      return { kind = "tags", items = tags(5000), options = { max_in_flight = 1 }, words = { "--in-flight", "1" } }
    end,
    accepted = 0, remaining = tags(5000), about = "plan", exit = 1, at_most = 2, says = { "plan" },
  }
end
cases[#cases + 1] = { "stops where the credential is malformed: 400, 6003, the reason in error_chain",
  ask = function()
    return { kind = "tags", items = tags(2000), options = { max_in_flight = 1, api_token = "not.a.token" },
      words = { "--in-flight", "1" }, env = { CLOUDFLARE_API_TOKEN = "not.a.token" } }
  end,
  accepted = 0, remaining = tags(2000), kind = "authentication", about = "credential", exit = 3, at_most = 1,
  says = { "Invalid request headers", "Invalid format for Authorization header" },
}
cases[#cases + 1] = { "blames no token for a firewall's 403 in HTML",
  answers = { { status = 403, headers = { ["Content-Type"] = "text/html" }, body = HTML, times = 0 } },
  ask = function() return { kind = "tags", items = { "a" } } end,
  accepted = 0, remaining = { "a" }, kind = "permission_denied", about = false,
  never = "permission ?\"?Cache Purge", at_most = 1,
}
for _, status in ipairs { 404, 429 } do
  cases[#cases + 1] = { ("gives the words of a %d that is JSON and no envelope"):format(status),
    answers = { { status = status, headers = { ["Retry-After"] = "3600" }, json = { code = 971, error = "please wait" },
      times = 0 } },
    ask = function() return { kind = "tags", items = { "a" } } end,
    accepted = 0, remaining = { "a" }, kind = status == 404 and "not_found" or "rate_limited", says = { "please wait" },
    at_most = 1,
  }
end
-- Neighbours: the same refusals in their other forms.
cases[#cases + 1] = { "makes its requests smaller where their size is refused under 200",
  zone = { under200 = "null" }, limits = { max_items = 30 },
  ask = function() return { kind = "tags", items = tags(200) } end,
  accepted = 200, remaining = {}, exit = 0, at_most = 20,
}
cases[#cases + 1] = { "makes its requests smaller where a 413 in HTML refuses their size",
  answers = { { status = 413, headers = { ["Content-Type"] = "text/html" }, body = HTML } },
  ask = function() return { kind = "tags", items = tags(100) } end,
  accepted = 100, remaining = {}, exit = 0, at_most = 3,
}
for name, late in pairs {
  ["400 with 1134"] = { status = 400, json = { success = false, errors = { { code = 1134, message = "rate limit" } } } },
  ["200 with 971"] = { status = 200, json = { success = false, errors = { { code = 971, message = "please wait" } } } },
  ["429 without an envelope"] = { status = 429, json = { code = 971, error = "please wait" } },
} do
  late.headers = { ["Retry-After"] = "1" }
  cases[#cases + 1] = { "waits where it is too fast, and is accepted then: " .. name, answers = { late },
    ask = function() return { kind = "tags", items = { "a" }, options = { max_retries = 0 }, words = { "--retries", "0" } } end,
    accepted = 1, remaining = {}, exit = 0, requests = 2,
  }
end
for name, gone in pairs { ["a 404 with 7003"] = 404, ["a 403 with 10000"] = 403 } do
  cases[#cases + 1] = { "stops where the zone is not there: " .. name, zone = { gone = gone },
    ask = function()
      return { kind = "tags", items = tags(2000), options = { max_in_flight = 1 }, words = { "--in-flight", "1" } }
    end,
    accepted = 0, remaining = tags(2000), at_most = 1,
  }
end
cases[#cases + 1] = { "counts as accepted what is accepted with errors beside it, and hands these on",
  answers = { { json = { success = true, errors = { { code = 1234, message = "half asleep" } }, result = { id = "x" } } } },
  ask = function() return { kind = "tags", items = { "a" } } end,
  remaining = {}, exit = 0,
  check = function(outcome)
    if outcome.result then
      assert.same({ 1, { { code = 1234, message = "half asleep" } } }, { outcome.result.accepted, outcome.result.messages })
    end
  end,
}

describe("an answer of the field", function()
  teardown(function()
    clients.close()
    command.clean()
  end)

  local function filled(list, zone)
    local all = {}
    for i, item in ipairs(list) do all[i] = item:gsub("@", zone.name) end
    return all
  end

  for _, case in ipairs(cases) do
    it(case[1] .. ": the same by table, iterator and command", function()
      forms.each(function(form)
        local id, zone = edge.zone()
        local settings = {}
        for name, value in pairs(case.zone or {}) do settings[name] = value end
        settings.refuses = settings.refuses and filled(settings.refuses, zone)
        edge.change(id, settings)
        if case.limits then edge.limits { zone = id, max_items = case.limits.max_items } end
        if case.answers then edge.script(id, case.answers) end
        local ask = case.ask(zone)
        ask.zone = id
        local outcome = forms.purge(form, ask)
        local text = form .. ": " .. outcome.text
        local remaining = lists.all(filled(case.remaining, zone))
        assert.equal(#remaining, #outcome.remaining, text)
        assert.same(remaining, outcome.remaining, text)
        if case.accepted then assert.equal(case.accepted, outcome.accepted, text) end
        if case.requests then assert.equal(case.requests, outcome.requests, text) end
        if case.at_most then assert.is_true(outcome.requests <= case.at_most, form .. ": " .. outcome.requests) end
        for _, words in ipairs(case.says or {}) do assert.truthy(outcome.text:find(words, 1, true), text) end
        if case.never then assert.is_nil(outcome.text:find(case.never), text) end
        if form == "command" then
          if case.exit then assert.equal(case.exit, outcome.exit, text) end
        elseif outcome.err then
          local cause = outcome.err.kind == "partial" and outcome.err.failures[1].error or outcome.err
          if case.kind then assert.equal(case.kind, cause.kind, text) end
          if case.about ~= nil then assert.equal(case.about or nil, cause.about, text) end
        end
        if case.check then case.check(outcome) end
      end)
    end)
  end
end)
