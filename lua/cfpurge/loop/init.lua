--- Which loop a call belongs to: by what is running at the call, not by what was loaded.

local names = {}
for _, name in ipairs { "openresty", "luv", "cqueues", "copas", "blocking" } do
  names[name] = "cfpurge.loop." .. name
end

local function in_coroutine()
  local thread, is_main = coroutine.running()
  return thread ~= nil and not is_main
end

local function running()
  local loaded = package.loaded
  local ngx, vim = rawget(_G, "ngx"), rawget(_G, "vim")
  if ngx and ngx.get_phase then
    return "openresty"
  elseif vim and (vim.uv or vim.loop) then
    return "luv"
  elseif loaded.cqueues and loaded.cqueues.running() then
    return "cqueues"
  elseif loaded.copas and in_coroutine() then
    return "copas"
  elseif loaded.luv then
    return "luv"
  end
  return "blocking"
end

return {
  -- Lua 5.1 cannot: there an on_done, which is called under pcall, is not able to wait in a coroutine.
  yields_over_pcall = coroutine.wrap(function()
    return pcall(coroutine.yield)
  end)() == nil,

  -- Does a function of C (table.sort, string.gsub) stand between the coroutine and its purge? 5.1 and 5.2 cannot tell.
  is_held = function()
    local may_yield = rawget(coroutine, "isyieldable")
    return may_yield ~= nil and not may_yield()
  end,
  HELD = "purge cannot wait in a function that C has called: use start",

  ---@param loop string|table the option
  ---@return string? problem
  check = function(loop)
    if type(loop) == "table" then
      local has_both = type(loop.wait) == "function" and type(loop.drive) == "function"
      return not has_both and "a table needs the functions wait and drive" or nil
    end
    return not (names[loop] or loop == "auto") and "there is no loop '" .. loop .. "'" or nil
  end,

  ---@param loop string|table the option
  ---@return {wait: fun(client, request): boolean, string?, drive: fun(client): boolean, string?}
  pick = function(loop)
    if type(loop) == "table" then
      return loop
    end
    local name = names[loop == "auto" and running() or loop]
    return package.loaded[name] or require(name)
  end,
}
