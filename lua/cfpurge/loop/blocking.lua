--- The host that has no event loop: the one that waits steps, in C as long as there is nothing to tell.

local completion = require "cfpurge.completion"

-- Steps in a row that had no memory and told of nothing.
local VAIN = 3

return {
  -- The one who waits steps.
  yields = true,

  --- It needs no `drive`.
  blocks = true,

  wait = function(_, request)
    local state = request.state
    local failed, failure
    local vain = 0
    while not request:done() do
      if request.job and completion.in_flight(state) == 0 and not (state.drains or state.busy) then
        request.job:stall()
        break
      end
      local before = completion.in_flight(state)
      state.raised = false
      local ok, err = pcall(completion.step, state, nil, true)
      if not ok and err ~= state.raised and err ~= "not enough memory" then
        -- The host's own, such as an interpreter's Ctrl-C.
        error(err, 0)
      elseif not ok and not failed then
        failed, failure = true, err
      end
      -- Without memory nothing can be told, and it does not come back by waiting for it.
      vain = err == "not enough memory" and completion.in_flight(state) == before and vain + 1 or 0
      if vain == VAIN then
        error(err, 0)
      end
    end
    -- The error that another's on_done raised waits for this one's end, or nobody would be told of that.
    if failed then
      error(failure, 0)
    end
    return true
  end,

  drive = function()
    return true
  end,
}
