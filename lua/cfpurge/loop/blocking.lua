--- The host that has no event loop: whoever waits, steps.

-- Steps in a row that had no memory and told of nothing.
local VAIN = 3

return {
  wait = function(client, request)
    local failed, failure
    local vain = 0
    while not request.ended do
      local before = client:in_flight()
      client.raised = false
      local ok, err = pcall(client.step, client)
      if not ok and err ~= client.raised and err ~= "not enough memory" then
        -- The host's own, such as an interpreter's Ctrl-C.
        error(err, 0)
      elseif not ok and not failed then
        failed, failure = true, err
      end
      -- Without memory nothing can be told, and it does not come back by waiting for it.
      vain = err == "not enough memory" and client:in_flight() == before and vain + 1 or 0
      if vain == VAIN then
        error(err, 0)
      end
    end
    -- What the on_done of another raised waited for this one's end, or nobody would be told of that.
    if failed then
      error(failure, 0)
    end
    return true
  end,

  drive = function()
    return true
  end,
}
