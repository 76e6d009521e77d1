-- The soak (spec/hosts/soak.lua): a short one here, `make soak N=200000` for a long one. Nothing is lost, nothing ends twice, and
-- neither memory nor descriptors grow.
local elsewhere = require "spec.support.where"
local host = require "spec.support.host"

local count = tonumber(os.getenv "SOAK_N") or host.watched and 3000 or 12000

it("the soak: every purge ends once and arrived where it was accepted, memory and descriptors stay flat", function()
  if elsewhere "lua5.4" then return end
  local said = host.run("return assert(loadfile 'spec/hosts/soak.lua')(args)",
    { args = { count = count, seed = os.time() }, limit = 60 + count / 20 })
  local network = 0
  for _, times in pairs(said.faults) do network = network + times end
  if os.getenv "SOAK_N" then print("\n" .. require("cjson").encode(said)) end

  assert.same({ count, 0, 0, 0 }, { said.ended, said.twice, said.unknown, said.unaccounted })
  local failed = 0
  for kind, times in pairs(said.kinds) do
    assert.is_truthy(kind == "none" or kind == "connection" or kind == "timeout" or kind == "bad_response", kind)
    failed = failed + times
  end
  assert.equal(count, said.accepted + failed)
  -- Six retries: what is left over is next to nothing.
  assert.is_true(failed <= math.max(3, count / 1000), failed .. " failed")
  assert.is_true(network + said.scripted > count / 100, network .. " faults")
  assert.is_true(said.attempts > count)
  if not host.watched then
    assert.is_true(said.rss[3] - said.rss[1] < 3000, table.concat(said.rss, " ") .. " kB")
  end
  assert.is_true(math.abs(said.fds[3] - said.fds[1]) <= 20, table.concat(said.fds, " ") .. " descriptors")
end)
