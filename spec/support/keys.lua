-- keys(t, ...) -> the keys of all these tables, each once, sorted.
return function(...)
  local seen, found = {}, {}
  for _, t in ipairs { ... } do
    for key in pairs(t) do
      if not seen[key] then found[#found + 1] = key end
      seen[key] = true
    end
  end
  table.sort(found)
  return found
end
