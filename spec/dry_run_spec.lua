-- A dry run: what would go out, and nothing goes. lua/cfpurge/dry_run.
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

describe("a dry run", function()
  teardown(clients.close)

  it("names every request as it would go out, and sends none", function()
    local client, zone = clients.new { plan = "pro" }
    local list = {}
    for i = 1, 250 do list[i] = "t" .. i end
    local i = 0
    for _, tags in ipairs { list, function() i = i + 1 return list[i] end } do
      local result = assert(client:purge({ tags = tags }, { dry_run = true }))
      assert.same({ true, 250, 3, 0 }, { result.dry_run, result.items, #result.requests, result.seconds })
      assert.same({ 100, 100, 50 }, { result.requests[1].items, result.requests[2].items, result.requests[3].items })
      assert.equal("/zones/" .. zone .. "/purge_cache", result.requests[1].path)
      assert.equal('{"tags":["' .. table.concat(list, '","', 201) .. '"]}', result.requests[3].body)
    end
    local all = assert(client:purge_everything { dry_run = true })
    assert.same({ 1, '{"purge_everything":true}' }, { all.items, all.requests[1].body })
    local soft = assert(client:invalidate({ tags = { "a" } }, { dry_run = true }))
    assert.equal("/zones/" .. zone .. "/invalidate_cache", soft.requests[1].path)
    assert.equal(0, edge.counts(zone).requests)
    local slow = assert(client:purge({ tags = list }, { dry_run = true, max_items = 1 }))
    assert.truthy(slow.seconds >= 45 and slow.seconds < 46, slow.seconds)
  end)

  it("leaves out what is the same, as the purge does", function()
    local client = clients.new()
    local list = {}
    for i = 1, 200 do list[i] = "t" .. (i - 1) % 100 end
    local result = assert(client:purge({ tags = list }, { dry_run = true }))
    assert.same({ 1, 100 }, { #result.requests, result.items })
  end)

  it("names what is wrong by its place in the list", function()
    local client, zone = clients.new()
    local function planned(tags)
      local i = 0
      local params = { tags = tags, zone_id = zone }
      local other = { zone_id = zone, tags = function() i = i + 1 return tags[i] end }
      return params, other
    end
    local list = {}
    for i = 1, 250 do list[i] = "t" .. i end
    list[150] = "a b"
    local params, other = planned(list)
    local _, err = client:purge(params, { dry_run = true })
    assert.same({ "tags[150]", params }, { err.field, err.remaining })
    _, err = client:purge(other, { dry_run = true })
    assert.same({ "tags[150]", zone, 0 }, { err.field, err.remaining.zone_id, err.accepted })
    assert.matches("^tags%[150%]: ", err.message)
    for i, place in ipairs { 150, 240, 250 } do
      list[150], list[240], list[250] = "t150", "t240", "t250"
      list[place] = ("a b"):rep(i)
      _, err = client:purge(select(2, planned(list)), { dry_run = true })
      local again = {}
      for item in err.remaining.tags do again[#again + 1] = item end
      assert.same({ ("tags[%d]"):format(place), list }, { err.field, again })
    end
    list[150] = true
    params, other = planned(list)
    local ok, raised = pcall(client.purge, client, params, { dry_run = true })
    assert.is_false(ok)
    assert.matches("tags%[150%]: string expected, got boolean", raised)
    -- Nobody is there to raise to for what an iterator gave.
    _, err = client:purge(other, { dry_run = true })
    assert.matches("^tags%[150%]: string expected, got boolean", err.message)
    for _, wrong in ipairs { { "a", nil, "c" }, { "a", x = "b" } } do
      err = select(2, client:purge({ tags = wrong }, { dry_run = true }))
      assert.same({ "invalid_request", "tags" }, { err.kind, err.field:match "^%l+" })
    end
    _, err = client:purge({ tags = function() error "boom" end }, { dry_run = true })
    assert.same({ "invalid_request", "tags" }, { err.kind, err.field })
    assert.matches("the iterator raised: .*boom", err.message)
    local count = 0
    _, err = client:purge({ tags = function()
      count = count + 1
      return count < 5 and "t" .. count or error "boom"
    end }, { dry_run = true, max_items = 2 })
    assert.same({ "t1", "t2", "t3", "t4" }, err.remaining.tags)
    assert.equal(0, edge.counts(zone).requests)
  end)

  -- https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits, and for all calls
  -- https://developers.cloudflare.com/fundamentals/api/reference/limits/
  it("tells the time that each plan needs", function()
    local function seconds(plan, kind, requests, size, rate)
      local client = clients.new { plan = plan, max_items = size, rate = rate }
      local list = {}
      for i = 1, requests * size do list[i] = (kind == "tags" and "t" or "https://a.test/") .. i end
      local result = assert(client:purge({ [kind] = list }, { dry_run = true }))
      client:close()
      assert.equal(requests, #result.requests)
      return result.seconds
    end
    local function near(expected, found)
      -- The pacer keeps some of each bucket in reserve, and of each second too.
      assert.truthy(math.abs(expected - found) < 0.15, expected .. " s, not " .. found)
    end
    for plan, limits in pairs {
      free = { tags = 5 / 60, bucket = 25, files = 800 }, pro = { tags = 5, bucket = 25, files = 1500 },
      business = { tags = 10, bucket = 50, files = 1500 }, enterprise = { tags = 50, bucket = 500, files = 3000 },
    } do
      local more = math.ceil(10 * limits.tags)
      local client = clients.new { plan = plan }
      local buckets = client:stats().buckets
      client:close()
      assert.same({ limits.bucket, limits.files }, { buckets.requests.left, buckets.urls.left })
      local alone = { overall = 0, address = 0 }
      near(0, seconds(plan, "tags", limits.bucket, 1, alone))
      near(more / limits.tags, seconds(plan, "tags", limits.bucket + more, 1, alone))
      -- Of URLs a bucket holds what comes in a second.
      near(0, seconds(plan, "files", limits.files / 100, 100))
      near(10, seconds(plan, "files", 11 * limits.files / 100, 100))
      near(1, seconds(plan, "files", 201, 1))
    end
    assert.truthy(math.abs(301 - seconds("enterprise", "files", 1201, 1)) < 1.5)
  end)

  it("is refused as the purge would be", function()
    local client = clients.new()
    local result, err = client:purge({ tags = { "a b" } }, { dry_run = true })
    assert.same({ nil, "invalid_request", "tags[1]" }, { result, err.kind, err.field })
    err = select(2, client:purge({ tags = {} }, { dry_run = true }))
    assert.equal("invalid_request", err.kind)
    assert.has_error(function() client:purge({ tags = { 5 } }, { dry_run = true }) end)
    for _, tags in ipairs { { "a" }, function() return "a" end } do
      err = select(2, client:purge({ tags = tags }, { dry_run = true, max_items = 0 }))
      assert.same({ "invalid_request", "max_items" }, { err.kind, err.field })
      assert.has_error(function() client:purge({ tags = tags }, { dry_run = true, timeout = "5" }) end)
    end
  end)
end)
