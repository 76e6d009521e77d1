-- Soft purge: what the cache holds is stale, revalidated and not lost. lua/cfpurge/client: invalidate.
local clients = require "spec.support.client"
local edge = require "spec.support.edge"

describe("invalidate", function()
  teardown(clients.close)

  local client, zone, about
  before_each(function() client, zone, about = clients.new() end)

  local function page(path, cache) return (select(2, edge.get(cache or "production", about.name, path))) end

  it("makes a page stale: revalidated, or new where it had changed; purge loses it", function()
    for _, params in ipairs { { files = { "https://" .. about.name .. "/t/news/a" } }, { tags = { "news" } },
      { hosts = { about.name } }, { prefixes = { about.name .. "/t" } }, { purge_everything = true } } do
      page "/t/news/a"
      assert.equal("HIT", page "/t/news/a")
      assert.equal(1, assert(client:invalidate(params)).accepted)
      assert.equal("REVALIDATED", page "/t/news/a")
      assert.equal("HIT", page "/t/news/a")
    end
    assert(client:invalidate { tags = { "news" } })
    edge.bump(about.name)
    assert.equal("EXPIRED", page "/t/news/a")
    assert(client:purge { tags = { "news" } })
    assert.equal("MISS", page "/t/news/a")
    assert.equal("/client/v4/zones/" .. zone .. "/invalidate_cache", edge.requests(zone)[1].path)
  end)

  it("touches one environment alone, by its id", function()
    for _, cache in ipairs { "production", "staging" } do page("/t/x/a", cache) end
    assert(client:invalidate_environment(about.environments.staging, { tags = { "x" } }))
    assert.same({ "HIT", "REVALIDATED" }, { page "/t/x/a", page("/t/x/a", "staging") })
    local request = client:start({ tags = { "x" } }, { invalidate = true })
    assert(request:wait())
    assert.equal("REVALIDATED", page "/t/x/a")
    assert.has_error(function() client:invalidate_environment(nil, { tags = { "x" } }) end)
    assert.has_error(function() client:invalidate({ tags = { "x" } }, 5) end)
  end)
end)
