--- The public face: what `require "cfpurge"` returns.
local core = require "cfpurge.core"
local client = require "cfpurge.client"

return {
  _VERSION = core.version,
  new = client.new,
  purge = core.purge,
  purge_environment = core.purge_environment,
}
