-- What every benchmark sends, as our params and as the same bytes in JSON.
local dir = os.getenv "BENCH_DIR"

local M = { dir = dir, ca_file = dir .. "/ca.pem" }

local function files(count, with_headers)
  local list, json = {}, {}
  for i = 1, count do
    local url = ("https://www.example.com/assets/2024/styles/page-%04d.css?v=17"):format(i)
    if with_headers then
      list[i] = { url = url, headers = { ["CF-Device-Type"] = "mobile", ["CF-IPCountry"] = "DE" } }
      json[i] = ('{"url":"%s","headers":{"CF-Device-Type":"mobile","CF-IPCountry":"DE"}}'):format(url)
    else
      list[i], json[i] = url, '"' .. url .. '"'
    end
  end
  return { files = list }, '{"files":[' .. table.concat(json, ",") .. "]}"
end

--- "small": a kilobyte; "large": what one enterprise request holds. -> params, JSON
function M.purge(size)
  if size == "large" then
    return files(500, true)
  end
  return files(16)
end

-- port: "HTTP" or "TLS"; zone: "fast", or "wait1000" for an answer after a second.
function M.base(port)
  local host = port == "TLS" and "https://localhost" or "http://127.0.0.1"
  return ("%s:%s/client/v4"):format(host, os.getenv("BENCH_" .. port))
end

function M.url(port, zone)
  return M.base(port) .. "/zones/" .. (zone or "fast") .. "/purge_cache"
end

function M.options(port, zone)
  return {
    base_url = M.base(port), zone_id = zone or "fast", api_token = "bench-token", max_items = 500,
    ca_file = port == "TLS" and M.ca_file or nil,
  }
end

--- A client with `options`, and of `newer` those that this build knows: so the same rows run on an older one.
function M.client(options, newer)
  local cfpurge = require "cfpurge"
  for name, value in pairs(newer) do
    options[name] = value
    if not cfpurge.new(options) then
      options[name] = nil
    end
  end
  return assert(cfpurge.new(options))
end

return M
