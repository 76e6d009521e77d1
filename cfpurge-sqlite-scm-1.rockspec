rockspec_format = "3.0"
package = "cfpurge-sqlite"
version = "scm-1"

source = {
   url = "git+https://github.com/cfpurge/cfpurge.git",
}

description = {
   summary = "The store of cfpurge's queue in SQLite",
   detailed = [[
      With this rock cfpurge.queue { store = "/var/lib/cfpurge/queue.db" } keeps purges in SQLite until Cloudflare has accepted them.
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
   SQLITE = { library = "sqlite3", header = "sqlite3.h" },
}

build = {
   type = "make",
   build_target = "stores",
   install_target = "install-stores",
   variables = {
      BUILD = "build/rock-sqlite",
      STORES = "sqlite",
      CC = "$(CC)",
      CFLAGS = "$(CFLAGS)",
      WARNINGS = "",
      LUA_INCDIR = "$(LUA_INCDIR)",
      CURL_CFLAGS = "",
      SQLITE_CFLAGS = "-I$(SQLITE_INCDIR)",
      SQLITE_LIBS = "-L$(SQLITE_LIBDIR) -lsqlite3",
   },
   install_variables = {
      INST_LIBDIR = "$(LIBDIR)",
   },
   copy_directories = {},
}
