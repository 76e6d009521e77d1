--- One process that works off a store, for spec/queue/budget_spec.lua: STORE PLAN FACTOR SECONDS BASE_URL TOKEN.
local cfpurge = require "cfpurge"
local core = require "cfpurge.core"
local store, plan, factor, seconds, base_url, token = (table.unpack or unpack)(arg)

local of = { free = { 5 / 60, 25, 800 }, pro = { 5, 25, 1500 }, business = { 10, 50, 1500 } }
local rate = plan ~= "auto" and {
  requests = of[plan][1] * factor, requests_bucket = of[plan][2], urls = of[plan][3] * factor,
  urls_bucket = of[plan][3], overall = 0, address = 0,
} or { overall = 0, address = 0 }
local client = assert(cfpurge.new { base_url = base_url, api_token = token, plan = plan, rate = rate })
local queue = assert(cfpurge.queue { store = store, client = client, linger = 0.01, lease = 2 })
queue:work()
local ends = core.now() + seconds
while core.now() < ends do
  queue:step(ends - core.now())
end
queue:close()
