rockspec_format = "3.0"
package = "cfpurge"
version = "scm-1"

source = {
   url = "git+https://github.com/cfpurge/cfpurge.git",
}

description = {
   summary = "Client of Cloudflare's cache purge API that never blocks its host",
   detailed = [[
      Every purge you ask for reaches Cloudflare, exactly as asked, without blocking your host; or you are told
      precisely what did not. A C core on libcurl's multi interface with a thin Lua face.
   ]],
   homepage = "https://github.com/cfpurge/cfpurge",
   license = "MIT",
   labels = { "cloudflare", "cache", "cdn", "http" },
}

supported_platforms = { "unix" }

dependencies = {
   "lua >= 5.1, < 5.6", -- LuaJIT is a 5.1 here; csrc/binding/compat.h knows no version after 5.5
   "lua-cjson >= 2.1", -- the first with cjson.new(), the private instance that decodes answers
   "argparse >= 0.7", -- of the command only; the first that writes completions of the three shells
}

external_dependencies = {
   -- 7.62.0 or newer, checked at compile time by csrc/engine/libcurl.h: the first with curl_url, which parses base_url.
   -- Only the library is looked for: LuaRocks does not know Debian's directory of headers, gcc does.
   LIBCURL = { library = "curl" },
}

-- By make and not builtin: builtin cannot pass -z nodelete, and would need a list of the Lua files kept here.
build = {
   type = "make",
   build_target = "build",
   install_target = "install",
   variables = {
      BUILD = "build/rock",
      STORES = "", -- of the queue: the rocks cfpurge-sqlite and cfpurge-redis
      CC = "$(CC)",
      CFLAGS = "$(CFLAGS)",
      WARNINGS = "",
      LUA_INCDIR = "$(LUA_INCDIR)",
      CURL_CFLAGS = "-I$(LIBCURL_INCDIR)",
      CURL_LIBS = "-L$(LIBCURL_LIBDIR) -lcurl",
   },
   install_variables = {
      INST_LIBDIR = "$(LIBDIR)",
      INST_LUADIR = "$(LUADIR)",
      INST_BINDIR = "$(BINDIR)",
      INST_SHAREDIR = "", -- a rock has no place for the man page and the completions
      COMMAND_PATH = "", -- the directories of now are not those where LuaRocks puts the files afterwards
      COMMAND_LUA = "$(LUA)",
   },
   copy_directories = {},
}

test = { type = "command", script = "spec/rock.lua" }

-- LuaRocks' wrapper would look for LuaRocks' loader in the directory where the command is started.
deploy = { wrap_bin_scripts = false }
