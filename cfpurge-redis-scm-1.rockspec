rockspec_format = "3.0"
package = "cfpurge-redis"
version = "scm-1"

source = {
   url = "git+https://github.com/cfpurge/cfpurge.git",
}

description = {
   summary = "The store of cfpurge's queue in Redis or Valkey",
   detailed = [[
      With this rock cfpurge.queue { store = "redis://host" } keeps purges in Redis or Valkey until Cloudflare has accepted them.
   ]],
   homepage = "https://github.com/cfpurge/cfpurge",
   license = "MIT",
   labels = { "cloudflare", "cache", "cdn", "queue" },
}

supported_platforms = { "unix" }

dependencies = {
   "lua >= 5.1, < 5.6",
   "cfpurge == scm", -- the queue's rules, which are its Lua
}

external_dependencies = {
   HIREDIS = { library = "hiredis", header = "hiredis/hiredis.h" },
}

build = {
   type = "make",
   build_target = "stores",
   install_target = "install-stores",
   variables = {
      BUILD = "build/rock-redis",
      STORES = "redis",
      CC = "$(CC)",
      CFLAGS = "$(CFLAGS)",
      WARNINGS = "",
      LUA_INCDIR = "$(LUA_INCDIR)",
      CURL_CFLAGS = "",
      HIREDIS_CFLAGS = "-I$(HIREDIS_INCDIR)",
      HIREDIS_LIBS = "-L$(HIREDIS_LIBDIR) -lhiredis",
   },
   install_variables = {
      INST_LIBDIR = "$(LIBDIR)",
   },
   copy_directories = {},
}
