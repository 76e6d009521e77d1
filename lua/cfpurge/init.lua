--- The public face: what `require "cfpurge"` returns.
local client = require "cfpurge.client"
local core = require "cfpurge.core"
local metrics = require "cfpurge.metrics"

-- Now: when they are needed the host may have other paths, or none.
pcall(require("cfpurge.loop").pick, "auto")
require "cfpurge.bulk.auto"
require "cfpurge.dry_run"

return {
  _VERSION = core.version,
  new = client.new,
  --- A queue over a store, whose purges outlive their process.
  ---@param options cfpurge.QueueOptions
  ---@return cfpurge.Queue? queue, string? message, cfpurge.Error? err
  queue = function(options)
    return require "cfpurge.queue".new(options)
  end,
  lines = require "cfpurge.lines".lines,
  metrics = metrics.join,
  variants = require "cfpurge.variants".variants,
}
