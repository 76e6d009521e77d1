-- The library runs on five Luas, so it may use only what all of them have, and what it asks for by name.
std = "min"
max_line_length = 120
cache = false
-- A configuration, all of whose names are Prosody's.
exclude_files = { "spec/hosts/prosody/prosody.cfg.lua" }

files["lua/**"] = { read_globals = { "unpack", table = { fields = { "pack", "unpack" } } } }
-- A type stands on one line.
files["lua/cfpurge/types.lua"] = { max_line_length = 140 }
files["lua/cfpurge/loop/openresty.lua"] = { read_globals = { "ngx" } }
files["lua/cfpurge/loop/luv.lua"] = { read_globals = { "vim" } }
files["lua/cfpurge/nvim/**"] = { read_globals = { "vim", package = { fields = { "searchpath" } } } }
files["lua/cfpurge/health.lua"] = { read_globals = { "vim" } }
-- "auto" looks at what is running.
files["lua/cfpurge/loop/init.lua"] = { read_globals = { "ngx", "vim" } }
files["lua/cfpurge/client.lua"] = { read_globals = { "ngx", "vim" } }

files["spec"] = { std = "max" }
files["spec/**/*_spec.lua"] = { std = "max+busted", max_line_length = 130 }
files["spec/support"] = { std = "max+busted", max_line_length = 130 }
files["spec/edge"] = { std = "ngx_lua" }
files["spec/fuzz"] = { std = "max", read_globals = { "write", "key", "environment", "core", "read", "unit", "watch" } }
files["spec/hosts"] = { std = "max+ngx_lua+busted", read_globals = { "vim" } }
files["spec/hosts/prosody/*.lua"] = { read_globals = { "prosody", module = { other_fields = true } } }
files["spec/hosts/haproxy.lua"] = { read_globals = { "core" } }
