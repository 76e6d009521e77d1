# cfpurge: build, install, try and check. GNU make.
#
#   make                    build/$(LUA)/cfpurge/core.so; LUA=lua5.4 or lua5.1 lua5.2 lua5.3 lua5.5 luajit
#   make all-luas           the same for every Lua in LUAS
#   make libcfpurge.a       build/$(LUA)/libcfpurge.a, for a host that links luaopen_cfpurge_core itself
#   make install            the modules, and the command with its man page and completions: LUA= PREFIX=/usr/local DESTDIR=
#                           COMMAND=yes where another Lua has the command already, COMMAND=no without it
#   make uninstall          with the same words
#   make dist               a release of HEAD, whose version is in VERSION: source archive, rockspecs, source rocks
#   make deb                Debian packages of HEAD; SUITE=trixie ARCH= ROOTS= in a clean root, tried in another one
#   make deps               installs the Debian packages that the targets below need
#   make demo               every kind of purge shown on a real edge on this machine
#   make edge               the same edge, to try things by hand
#   make test               the specs on every Lua; LUAS=lua5.4 SPEC=spec/x_spec.lua ARGS=... for a part
#   make lint               warnings of gcc and clang, analysers, luacheck, layers, exports, the rockspecs
#   make asan, valgrind     the specs on lua5.4 with the memory watched
#   make tsan               eight threads under ThreadSanitizer
#   make gnutls             the engine's specs with a libcurl that has GnuTLS, and what a new connection costs with it
#   make oom                every allocation failed in turn under AddressSanitizer; some minutes
#   make soak N=200000      so many purges through a network of faults, with the figures
#   make kills KILLS=300    so many kill -9 of the queue's adders, workers, command and nginx; nothing is lost
#   make coverage           the lines and branches that the specs run, with the marks; SPEC= KEEP=1 for a part
#   make fuzz               every fuzz target for FUZZ_S=60 seconds; ARGS=answer for one
#   make debian SUITE=trixie    `make demo` and `make test` in a fresh Debian, or bookworm, sid; ARCH=i386 LUAS= ROOTS=folder
#   make s390x              specs of every kind on a big-endian machine, by qemu-user in a root of Debian 12; SPEC=
#   make bench              ours beside its alternatives, with the marks; ARGS=word for some rows
#   make proof              test and asan with every spec on every Lua, then what CI has no time for: some hours
#   make clean
#
# Where pkg-config does not know the Lua or a library: LUA_INCDIR=, CURL_CFLAGS=, CURL_LIBS=, SQLITE_..., HIREDIS_....

# Debian 14, forky, has Lua 5.5 and no modules for 5.2; sid has no number.
IS_NEWER := $(if $(filter VERSION_ID="11" VERSION_ID="12" VERSION_ID="13",$(file </etc/os-release)),,yes)

LUA    ?= lua5.4
LUAS   ?= lua5.1 $(if $(IS_NEWER),,lua5.2) lua5.3 lua5.4 $(if $(IS_NEWER),lua5.5) luajit
PREFIX ?= /usr/local
BUILD  ?= build
SPEC   ?= spec
FUZZ_S ?= 60

# The version stands in that file alone.
VERSION := $(file <VERSION)

LUA_VERSION  = $(patsubst lua%,%,$(LUA:luajit=lua5.1))
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION)
INST_LUADIR ?= $(PREFIX)/share/lua/$(LUA_VERSION)
INST_BINDIR ?= $(PREFIX)/bin
# The man page and the completions; none in a rock.
INST_SHAREDIR ?= $(PREFIX)/share
# The command puts these two directories first in its path; not in a rock, whose tree is above INST_BINDIR.
COMMAND_PATH ?= yes
COMMAND_LUA ?= $(or $(shell command -v $(LUA)),/usr/bin/env $(LUA))

# A path as one word of a shell, from the root on. Not every shell knows the home in `PREFIX=~/x`.
path = '$(subst ','\'',$(if $(filter ~/%,$(firstword $(1))),$(HOME)$(subst ^~,,^$(1)),$(if $(filter /%,$(firstword $(1))),,$(CURDIR)/)$(1)))'

# Asked when used, not when read: `make demo` installs pkg-config first.
LUA_INCDIR  ?= $(patsubst -I%,%,$(shell pkg-config --cflags-only-I $(LUA)))
CURL_CFLAGS ?= $(shell pkg-config --cflags libcurl)
CURL_LIBS   ?= $(shell pkg-config --libs libcurl)

CFLAGS   ?= -O2 -g
WARNINGS ?= -Wall -Wextra -Wpedantic -Wshadow -Wconversion
COMPILE   = $(CC) -std=c11 -Icsrc $(WARNINGS) -fPIC -fvisibility=hidden $(CPPFLAGS) $(CFLAGS)
# The Lua headers are not ours to warn about.
LUA_CFLAGS = $(addprefix -isystem ,$(LUA_INCDIR)) -DCF_VERSION=\"$(VERSION)\"

# nodelete: libcurl's resolver threads may outlive the Lua state that would unload us.
ifeq ($(shell uname -s),Darwin)
  SHARED = -bundle -undefined dynamic_lookup
else
  SHARED = -shared -Wl,-z,nodelete
endif

# A folder is a layer: base/ is plain C, engine/ knows curl and no Lua, binding/ knows Lua and no curl. What knows no Lua is
# compiled once.
BINDING := $(wildcard csrc/binding/*.c)
QUEUE   := $(wildcard csrc/queue/*.c)
ENGINE  := $(wildcard csrc/base/*.c csrc/engine/*.c)
ENGINE_O  = $(ENGINE:csrc/%.c=$(BUILD)/obj/%.o)
BINDING_O = $(BINDING:csrc/%.c=$(BUILD)/$(LUA)/obj/%.o)
CORE      = $(BUILD)/$(LUA)/cfpurge/core.so
ARCHIVE   = $(BUILD)/$(LUA)/libcfpurge.a

# The stores of the queue are shared objects of their own: each is built where pkg-config finds its library, and those
# alone where STORES names some.
found = $(shell pkg-config --exists $(1) 2>/dev/null && echo 1)
STORES ?= $(if $(call found,sqlite3),sqlite) $(if $(call found,hiredis),redis)
SQLITE_CFLAGS  ?= $(shell pkg-config --cflags sqlite3 2>/dev/null)
SQLITE_LIBS    ?= $(shell pkg-config --libs sqlite3)
HIREDIS_CFLAGS ?= $(shell pkg-config --cflags hiredis 2>/dev/null)
HIREDIS_LIBS   ?= $(shell pkg-config --libs hiredis)
# TLS to Redis where hiredis has it: from Debian 13 on.
HIREDIS_TLS = $(call found,hiredis_ssl openssl)
STORE_CFLAGS = $(SQLITE_CFLAGS) $(HIREDIS_CFLAGS) $(if $(HIREDIS_TLS),-DCF_HAVE_HIREDIS_SSL)
sqlite_LIBS = $(SQLITE_LIBS)
redis_LIBS  = $(HIREDIS_LIBS) $(if $(HIREDIS_TLS),$(shell pkg-config --libs hiredis_ssl openssl))
STORE_O = $(addprefix $(BUILD)/$(LUA)/obj/queue/,store.o unit.o values.o thread.o) \
  $(addprefix $(BUILD)/obj/base/,buffer.o memory.o clock.o poller.o generation.o sigpipe.o)
sqlite_O = $(addprefix $(BUILD)/$(LUA)/obj/queue/,sqlite.o database.o database_open.o gate.o)
redis_O  = $(addprefix $(BUILD)/$(LUA)/obj/queue/,redis.o redis_connection.o redis_replies.o redis_tls.o redis_url.o resolve.o) \
  $(BUILD)/obj/base/openssl.o
STORE_SO = $(STORES:%=$(BUILD)/$(LUA)/cfpurge/%.so)

# What the edge takes; what the demo takes beside, with Lua 5.4; what all takes. From Debian 14 on Varnish is Vinyl Cache.
EDGE_DEPS = gcc libc6-dev make openssl curl lua5.4 lua-cjson lua-cqueues lua-luaossl nginx-light libnginx-mod-http-lua \
  $(if $(IS_NEWER),vinyl-cache,varnish)
DEMO_DEPS = $(EDGE_DEPS) binutils pkgconf libcurl4-openssl-dev liblua5.4-dev libsqlite3-dev lua-socket lua-argparse ca-certificates
# Debian 12 has the LuaJIT of OpenResty beside another one, and no Valkey; from 13 on there is no other, and Valkey.
SUITE_DEPS = $(if $(filter VERSION_ID="12",$(file </etc/os-release)),luajit2 libluajit2-5.1-dev,luajit libluajit-5.1-dev \
  valkey-server) $(if $(IS_NEWER),lua5.5 liblua5.5-dev,lua5.2 liblua5.2-dev)
# git brings a libcurl with GnuTLS in every suite, by another package in each.
DEPS = $(DEMO_DEPS) $(SUITE_DEPS) git lua5.1 liblua5.1-0-dev lua5.3 liblua5.3-dev \
  sqlite3 libhiredis-dev libssl-dev redis-server haproxy prosody lua-event lua-filesystem lua-expat lua-copas lua-luv neovim \
  apache2-bin lighttpd lighttpd-modules-lua nghttp2-client lua-http lua-sec lua-busted lua-check luarocks zip mandoc zsh fish \
  clang clang-tidy libclang-rt-dev cppcheck valgrind tmux procps iproute2 musl-tools musl-dev debootstrap
# Hosts of lua/README.md that bring much (200 MB), and qemu: in `make proof` alone.
HOST_DEPS = love mpv xvfb xauth knot-resolver tarantool qemu-user-static
# Debian has no lua-cjson for Lua 5.5: .ci/cjson builds this one.
CJSON = $(and $(IS_NEWER),$(if $(wildcard /usr/local/lib/lua/5.5/cjson.so),,/usr/local/lib/lua/5.5/cjson.so))
MISSING = $(filter-out $(patsubst installed=%,%,$(filter installed=%,$(shell \
  dpkg-query -W -f '$${db:Status-Status}=$${Package} ' $(DEPS) 2>/dev/null))),$(DEPS))

SUBMAKE = +@$(MAKE) --no-print-directory

.PHONY: build stores engine all-luas libcfpurge.a install install-command install-stores uninstall dist deb deps demo edge test lint asan valgrind tsan gnutls oom soak kills coverage fuzz bench debian s390x proof clean FORCE
.DELETE_ON_ERROR:

build: $(CORE) stores
	@:

stores: $(STORE_SO)
	@:

engine: $(ENGINE_O)
	@:

libcfpurge.a: $(ARCHIVE)
	@:

# The engine first: the Luas share its objects.
all-luas: $(LUAS:%=for-%)
for-%: engine
	$(SUBMAKE) build LUA=$*

$(CORE): $(ENGINE_O) $(BINDING_O)
	@mkdir -p $(@D)
	$(CC) $(SHARED) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(CURL_LIBS) $(LDLIBS)

.SECONDEXPANSION:
$(STORE_SO): $$($$(basename $$(@F))_O) $(STORE_O)
	@mkdir -p $(@D)
	$(CC) $(SHARED) $(CFLAGS) $(LDFLAGS) -o $@ $^ $($(basename $(@F))_LIBS) -lpthread $(LDLIBS)

$(ARCHIVE): $(ENGINE_O) $(BINDING_O)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/obj/%.o: csrc/%.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(COMPILE) $(CURL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/$(LUA)/obj/queue/%.o: LUA_CFLAGS += $(STORE_CFLAGS)
$(BUILD)/$(LUA)/obj/%.o: csrc/%.c $(BUILD)/$(LUA)/obj/flags
	@mkdir -p $(@D)
	$(COMPILE) $(LUA_CFLAGS) -MMD -MP -c -o $@ $<

# Other flags, other objects: a file that changes only when they do.
$(BUILD)/obj/flags: NOTE = $(COMPILE) $(CURL_CFLAGS)
$(BUILD)/$(LUA)/obj/flags: NOTE = $(COMPILE) $(LUA_CFLAGS) $(STORE_CFLAGS) $(LDFLAGS) $(CURL_LIBS) $(LDLIBS)
%/obj/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(NOTE)' 2>/dev/null | cmp -s - $@ || printf '%s\n' '$(NOTE)' > $@

-include $(ENGINE_O:.o=.d) $(BINDING_O:.o=.d) $(wildcard $(BUILD)/$(LUA)/obj/queue/*.d)

# The command: the Lua that it was installed for, and the directories that it was installed in. LuaRocks puts the files of
# a rock elsewhere afterwards, below the same tree. Relative entries leave the path before anything is loaded: the command
# runs no code of the directory in which it is started.
COMMAND_FILE = $(BUILD)/$(LUA)/cfpurge.lua
$(COMMAND_FILE): FORCE
	@mkdir -p $(@D)
	@{ printf '\043!%s\n' '$(COMMAND_LUA)'; \
	  set -- $(call path,$(INST_LUADIR)) $(call path,$(INST_LIBDIR)) $(call path,$(INST_BINDIR)); \
	  if [ -z '$(COMMAND_PATH)' ]; then \
	    printf 'local tree, version = [==[%s]==], _VERSION:match "[%%d.]+"\n' "$${3%/lib/luarocks/*}"; \
	    echo 'local share, lib = tree .. "/share/lua/" .. version, tree .. "/lib/lua/" .. version'; \
	  else \
	    printf 'local share, lib = [==[%s]==], [==[%s]==]\n' "$$1" "$$2"; \
	  fi; \
	  echo 'local function absolute(path) return (";" .. path):gsub(";+[^/;][^;]*", "") end'; \
	  echo 'package.path = share .. "/?.lua;" .. share .. "/?/init.lua" .. absolute(package.path)'; \
	  echo 'package.cpath = lib .. "/?.so" .. absolute(package.cpath)'; \
	  echo 'os.exit(require "cfpurge.cli"(arg))'; } > $@

# Where the command is another Lua's, it stays that one's: COMMAND=yes takes it over.
BIN = $(call path,$(DESTDIR)$(INST_BINDIR)/cfpurge)
BIN_LUA = $$(head -n 1 $(BIN) 2>/dev/null | cut -c3-)
LIBDIR = $(call path,$(DESTDIR)$(INST_LIBDIR)/cfpurge)
LUADIR = $(call path,$(DESTDIR)$(INST_LUADIR))
SHARE = $(call path,$(DESTDIR)$(INST_SHAREDIR))

install: build install-stores
	install -d $(LIBDIR)
	install -m 755 $(CORE) $(LIBDIR)
	cd lua && find cfpurge -type f | while read -r file; do \
	  install -d $(LUADIR)/"$${file%/*}" && install -m 644 "$$file" $(LUADIR)/"$$file" || exit 1; done
	+@case '$(COMMAND)' in yes) ;; no) exit ;; *) \
	  ! [ -e $(BIN) ] || [ "$(BIN_LUA)" = '$(COMMAND_LUA)' ] || { \
	    echo $(BIN)" stays as it is, with $(BIN_LUA): COMMAND=yes replaces it"; exit; } ;; esac; \
	$(MAKE) --no-print-directory install-command

# By shell, where it looks for what completes a command.
COMPLETIONS = bash:bash-completion/completions/cfpurge zsh:zsh/site-functions/_cfpurge fish:fish/vendor_completions.d/cfpurge.fish

install-command: $(CORE) $(COMMAND_FILE)
	install -d $(call path,$(DESTDIR)$(INST_BINDIR))
	install -m 755 $(COMMAND_FILE) $(BIN)
ifneq ($(INST_SHAREDIR),)
	install -d $(SHARE)/man/man1
	sed 's/@VERSION@/$(VERSION)/' lua/cfpurge.1 >$(SHARE)/man/man1/cfpurge.1
	chmod 644 $(SHARE)/man/man1/cfpurge.1
	@to=$(BUILD)/$(LUA)/completion; for completion in $(COMPLETIONS); do \
	  LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='$(BUILD)/$(LUA)/?.so;;' $(LUA) -e \
	    "os.exit(require 'cfpurge.cli' { 'completion', '$${completion%%:*}' })" >$$to 2>$$to.log || { \
	      echo "no completions: $$(head -n 1 $$to.log)"; exit; }; \
	  file=$(SHARE)/$${completion#*:}; install -d "$${file%/*}" && install -m 644 $$to "$$file" || exit; done
endif

install-stores: stores
	install -d $(LIBDIR)
	$(if $(STORE_SO),install -m 755 $(STORE_SO) $(LIBDIR))

# The command goes with the modules of its own Lua.
uninstall:
	rm -rf $(LIBDIR) $(LUADIR)/cfpurge
	@case '$(COMMAND)' in yes) ;; no) exit ;; *) [ "$(BIN_LUA)" = '$(COMMAND_LUA)' ] || exit 0 ;; esac; set -x; \
	rm -f $(BIN) $(if $(INST_SHAREDIR),$(SHARE)/man/man1/cfpurge.1 $(foreach c,$(COMPLETIONS),$(SHARE)/$(lastword $(subst :, ,$c))))

dist:
	@.ci/dist '$(BUILD)/dist'

deb:
	@ROOTS='$(ROOTS)' .debian/build '$(BUILD)/deb' $(SUITE) $(ARCH)

deps:
	@$(if $(MISSING),.ci/deps $(MISSING),:)
	@$(if $(CJSON),.ci/cjson $(CJSON),:)

demo:
	$(SUBMAKE) deps DEPS='$(if $(filter lua5.4,$(LUA)),$(DEMO_DEPS),$(DEPS))' CJSON=
	$(SUBMAKE) build
	@LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;;' \
	 LUA_CPATH='$(CURDIR)/$(BUILD)/$(LUA)/?.so;;' $(LUA) spec/demo.lua $(ARGS)

edge:
	$(SUBMAKE) deps DEPS='$(EDGE_DEPS)' CJSON=
	@spec/edge/edge run

test: deps
	$(SUBMAKE) all-luas
	@BUILD='$(BUILD)' spec/run '$(LUAS)' '$(SPEC)' $(ARGS)

lint: deps
	+@MAKE='$(MAKE)' LUAS='$(LUAS)' ENGINE='$(ENGINE)' BINDING='$(BINDING) $(QUEUE)' .ci/lint

# A build of its own: the sanitizers change every object. UBSan's runtime must be ours alone (static, symbolic), or its
# reports do not find the log that ASan's would: both define the same names.
asan: deps
	$(SUBMAKE) -s build LUA=lua5.4 BUILD=$(BUILD)/asan CC=gcc LDFLAGS='-fsanitize=address,undefined -static-libubsan -Wl,-Bsymbolic' \
	  CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
	@BUILD='$(BUILD)/asan' WATCH=asan spec/run lua5.4 '$(SPEC)' $(ARGS)

valgrind: deps
	$(SUBMAKE) -s build LUA=lua5.4
	@BUILD='$(BUILD)' WATCH=valgrind SPEC_TIMEOUT=14400 spec/run lua5.4 '$(SPEC)' $(ARGS)

tsan:
	$(SUBMAKE) test LUAS=lua5.4 SPEC=spec/threads_spec.lua

# GnuTLS reads every CA of the system for each connection, 25 ms, and the specs open thousands: one CA has to do for them.
ENGINE_SPECS = $(wildcard $(patsubst %,spec/%_spec.lua,answers client engine error events faults faults_* fileno hold \
  hostile_* poller proxy request resend resolver response retry streams tables tls transfer wire zones loop/cqueues))
gnutls: deps
	$(SUBMAKE) test LUAS=lua5.4 SPEC=spec/openssl_spec.lua
	$(SUBMAKE) -s build LUA=lua5.4 BUILD=$(BUILD)/gnutls CURL_LIBS=-l:libcurl-gnutls.so.4
	@BUILD='$(BUILD)/gnutls' unshare --mount sh -c 'one=$$(openssl x509 </etc/ssl/certs/ca-certificates.crt) && \
	  mount -t tmpfs tmpfs /etc/ssl/certs && echo "$$one" >/etc/ssl/certs/ca-certificates.crt && exec "$$@"' - \
	  spec/run lua5.4 '$(if $(filter file,$(origin SPEC)),$(ENGINE_SPECS),$(SPEC))' $(ARGS)

oom:
	+@OOM=all SPEC_TIMEOUT=14400 $(MAKE) --no-print-directory test LUAS=lua5.4 SPEC=spec/oom_spec.lua

N ?= 200000
soak:
	+@SOAK_N='$(N)' SPEC_TIMEOUT=$$(($(N) / 10 + 600)) $(MAKE) --no-print-directory test LUAS=lua5.4 SPEC=spec/soak_spec.lua

KILLS ?= 300
kills:
	$(SUBMAKE) -s build LUA=luajit
	+@KILLS='$(KILLS)' SPEC_TIMEOUT=$$(($(KILLS) + 300)) $(MAKE) --no-print-directory test LUAS=lua5.4 SPEC=spec/queue/kills_spec.lua

# The specs start Luas in every way, and so the counters are where the objects are.
coverage: COVERAGE = CC=gcc CFLAGS='-O0 -g --coverage'
coverage: deps
	$(SUBMAKE) -s build LUA=lua5.4 BUILD=$(BUILD)/coverage $(COVERAGE)
	$(SUBMAKE) -s build LUA=luajit BUILD=$(BUILD)/coverage $(COVERAGE)
	$(SUBMAKE) -s build LUA=lua5.3 BUILD=$(BUILD)/coverage $(COVERAGE)
	+@MAKE='$(MAKE)' BUILD='$(BUILD)/coverage' $(COVERAGE) KEEP='$(KEEP)' .ci/coverage '$(SPEC)' $(ARGS)

fuzz: deps
	@BUILD='$(BUILD)' spec/fuzz/run '$(FUZZ_S)' $(ARGS)

bench: deps
	$(SUBMAKE) -s all-luas LUAS='lua5.4 lua5.1 luajit'
	@BUILD='$(BUILD)' spec/bench/run $(ARGS)

debian:
	@LUAS='$(if $(filter file,$(origin LUAS)),,$(LUAS))' ROOTS='$(ROOTS)' spec/debian '$(SUITE)' $(ARCH)

s390x:
	@ROOTS='$(ROOTS)' SPEC='$(if $(filter file,$(origin SPEC)),,$(SPEC))' spec/s390x

proof: export CFPURGE_WHOLE = 1
proof:
	$(SUBMAKE) deps DEPS='$(DEPS) $(HOST_DEPS)'
	$(SUBMAKE) test
	$(SUBMAKE) asan
	$(SUBMAKE) tsan
	$(SUBMAKE) gnutls
	$(SUBMAKE) oom
	$(SUBMAKE) soak
	$(SUBMAKE) kills
	$(SUBMAKE) deb SUITE=trixie
	$(SUBMAKE) fuzz
	$(SUBMAKE) coverage
	$(SUBMAKE) bench
	$(SUBMAKE) valgrind
	$(SUBMAKE) debian SUITE=trixie
	$(SUBMAKE) debian SUITE=sid
	$(SUBMAKE) debian SUITE=bookworm ARCH=i386
	$(SUBMAKE) s390x

clean:
	rm -rf $(BUILD)
