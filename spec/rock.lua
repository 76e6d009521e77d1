-- What `luarocks test` runs: the specs on its Lua. Words are for make: luarocks test -- SPEC=spec/zones_spec.lua
local words = { "make test LUAS=" .. (rawget(_G, "jit") and "luajit" or _VERSION:lower():gsub(" ", "")) }
for i, word in ipairs(arg) do words[i + 1] = "'" .. word:gsub("'", "'\\''") .. "'" end
local status = os.execute(table.concat(words, " "))
os.exit((status == true or status == 0) and 0 or 1)
