--- The host that has no event loop: whoever waits, steps.

return {
  wait = function(client, request)
    while not request:done() do
      client:step()
    end
  end,

  drive = function() end,
}
