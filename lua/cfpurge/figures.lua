--- What a client has done and what it may do, as Prometheus' text.
local metrics = require "cfpurge.metrics"

-- How a request may end.
local OUTCOMES = { "accepted", "cancelled", "closed" }
for _, kind in ipairs(metrics.kinds) do
  OUTCOMES[#OUTCOMES + 1] = kind
end

-- One that there was not yet is 0: of a counter that begins with 1 Prometheus does not see that it grew.
local function outcomes(page, stats)
  for _, family in ipairs {
    { "requests", "Requests to the API by how they ended, those that look names and plans up too." },
    { "items", "Items by how their request ended; those of a request that was refused and split count again." },
  } do
    page:family("counter", ("cfpurge_%s_total"):format(family[1]), family[2])
    for _, name in ipairs(OUTCOMES) do
      page:sample(stats.outcomes[name] and stats.outcomes[name][family[1]] or 0, "outcome", name)
    end
  end
end

local function seconds(page, stats)
  page:family("histogram", "cfpurge_request_seconds", "From a request's start to its end, with waits and retries.")
  for _, name in ipairs(OUTCOMES) do
    local ended, so_far = stats.outcomes[name], 0
    if ended then
      for i, bound in ipairs(stats.bounds) do
        so_far = so_far + ended.within[i]
        page:series("_bucket", so_far, "outcome", name, "le", metrics.number(bound))
      end
      page:series("_bucket", ended.requests, "outcome", name, "le", "+Inf")
      page:series("_sum", ended.seconds, "outcome", name)
      page:series("_count", ended.requests, "outcome", name)
    end
  end
end

local COUNTERS = {
  { "attempts", "attempts", "Attempts that have ended; a request takes one or more." },
  { "retries", "retries", "Attempts that failed and after which the request is sent again." },
  { "rate_limited", "rate_limited", "Attempts that the server refused for the rate (429)." },
  { "connections", "connections", "Connections that were opened." },
  { "sent_bytes", "bytes_sent", "Bytes of the bodies that were sent." },
  { "received_bytes", "bytes_received", "Bytes of the bodies that were received." },
}

local function budgets(page, stats, own)
  for _, family in ipairs {
    { "cfpurge_budget_left", "left", "Tokens left of a plan's budget in this process: requests, or URLs." },
    { "cfpurge_budget_wait_seconds", "wait", "How long the next request waits for a budget." },
  } do
    page:family("gauge", family[1], family[3])
    for _, budget in ipairs(stats.budgets) do
      local name = budget.name or own
      for _, bucket in ipairs(metrics.is_zones(name) and {} or { "requests", "urls" }) do
        local value = budget[bucket][family[2]]
        if value then
          page:sample(value, "budget", name, "bucket", bucket)
        end
      end
    end
  end
end

---@param page table of cfpurge.metrics
---@param core userdata the client's
return function(page, core)
  local stats = core:stats()
  outcomes(page, stats)
  seconds(page, stats)
  for _, counter in ipairs(COUNTERS) do
    page:family("counter", ("cfpurge_%s_total"):format(counter[1]), counter[3])
    page:sample(stats[counter[2]])
  end
  page:family("gauge", "cfpurge_in_flight_requests", "Requests that wait to be sent, are sent, or wait to be retried.")
  for _, state in ipairs { "queued", "running", "waiting" } do
    page:sample(stats[state], "state", state)
  end
  local rates = core:rates()
  -- A client that was closed has none.
  if rates then
    budgets(page, stats, rates.plan or "client")
  end
end
