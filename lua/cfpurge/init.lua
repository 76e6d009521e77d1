--- The public face: what `require "cfpurge"` returns.
local client = require "cfpurge.client"
local core = require "cfpurge.core"

-- Now: when they are needed the host may have other paths.
require "cfpurge.bulk"
require "cfpurge.plan"

return {
  _VERSION = core.version,
  new = client.new,
  variants = require "cfpurge.variants".variants,
}
