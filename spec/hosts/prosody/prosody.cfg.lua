-- Prosody with nothing but mod_program.lua, which runs a spec's program. The files lie in CFPURGE_SPEC_DIR.
local dir = ENV_CFPURGE_SPEC_DIR
run_as_root = true
pidfile = dir .. "/prosody.pid"
data_path = dir
certificates = dir
plugin_paths = { ENV_CFPURGE_ROOT .. "/spec/hosts/prosody" }
network_backend = ENV_CFPURGE_BACKEND or "epoll"
log = { { levels = { min = "warn" }, to = "console" } }
modules_enabled = { "program" }
modules_disabled = { "s2s", "c2s", "offline", "tls", "dialback", "admin_shell", "admin_socket" }
VirtualHost "localhost"
