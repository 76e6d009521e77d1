-- The rows of the queue's stores. BENCH_ITEMS is how many wait where there are many (1,000,000).
local measure = require "spec.bench.measure"
local column, in_turns, lua, ms = measure.column, measure.in_turns, measure.lua, measure.ms
local rate, ratio_row, us = measure.rate, measure.ratio_row, measure.us

local M = {}
local dir = os.getenv "BENCH_DIR"
local MANY = tonumber(os.getenv "BENCH_ITEMS") or 1000000
local SECONDS, TURNS = 2, math.min(measure.PAIRS, 3)

local serial = 0
local function fresh()
  serial = serial + 1
  return ("%s/store-%d.db"):format(dir, serial)
end

-- Runs `program` against a fresh store, which goes away again.
local function of_store(program, ...)
  local words = { ... }
  return function()
    local store = fresh()
    local figures = lua("store.lua " .. program, store, (table.unpack(words)))
    os.execute(("rm -f %s %s-wal %s-shm"):format(store, store, store))
    return figures
  end
end

local function commits(each)
  return function()
    local store = fresh()
    return measure.numbers(measure.run("%s/commits %s %d %g", dir, store, each, SECONDS))
  end
end

local function compile()
  measure.run("cc -std=c11 -O2 -o %s/commits spec/bench/commits.c -lsqlite3", dir)
  measure.run("cc -std=c11 -O2 -shared -fPIC -o %s/slow_fsync.so spec/bench/slow_fsync.c", dir)
end

M[#M + 1] = { "adds", function()
  compile()
  local mine, theirs = in_turns(of_store("adds %s %g", SECONDS), commits(1), TURNS)
  ratio_row("durable adds, SQLite, 64 waiting (C, each alone)", column(mine, 1), column(theirs, 1), rate, 10, true)
  mine, theirs = in_turns(of_store("adds %s %g", SECONDS), commits(64), TURNS)
  ratio_row("  (C, 64 a transaction)", column(mine, 1), column(theirs, 1), rate, 0.5, true)
end }

M[#M + 1] = { "redis", function()
  local socket = dir .. "/redis.sock"
  local redis = "timeout 60 redis-cli -s " .. socket
  local server = "timeout 300 redis-server --port 0 --unixsocket %s --save '' --dir %s >/dev/null 2>&1 & sleep 0.5"
  os.execute(server:format(socket, dir))
  local function ours()
    measure.run("%s flushall", redis)
    return lua("store.lua adds unix://%s?db=0 %g", socket, SECONDS)
  end
  local function theirs()
    measure.run("%s flushall", redis)
    local sha = measure.run("%s | %s -x script load", measure.command("lua5.4", "store.lua script"), redis):match "%x+"
    local add = [=[{"groups":[{"zone":"0","environment":"","op":"purge","kind":"tags",]=]
      .. [=["items":[["__rand_int__","\"__rand_int__\""]]}],"options":{"capacity":100000000}}]=]
    local words = "redis-benchmark -s %s -n 40000 -c 1 -P 16 -r 100000000 -q EVALSHA %s 1 {cfpurge}: add '%s'"
    local text = measure.run(words, socket, sha, add)
    return { tonumber(text:match "([%d.]+) requests per second") }
  end
  local ok, problem = pcall(function()
    local mine, benchmark = in_turns(ours, theirs, TURNS)
    ratio_row("adds, Redis, one connection, 64 waiting (redis-benchmark -P 16)", column(mine, 1), column(benchmark, 1),
      rate, 0.6, true)
  end)
  measure.run("%s shutdown nosave 2>&1; true", redis)
  assert(ok, problem)
end }

M[#M + 1] = { "fsync", function()
  compile()
  local slow = ("LD_PRELOAD=%s/slow_fsync.so "):format(dir)
  local function of(target)
    return function()
      return measure.numbers(measure.run("env %s%s", slow, (measure.command("lua5.4", "store.lua step %s %g", target,
        SECONDS):gsub("^env ", ""))))
    end
  end
  local mine, theirs = in_turns(function()
    return of(fresh())()
  end, of "none", TURNS)
  measure.difference_row("step(0) while fsync takes 20 ms, an add each ms: p99", column(mine, 1), column(theirs, 1), us,
    50e-6)
  measure.difference_row("  its CPU: p99", column(mine, 3), column(theirs, 3), us)
  measure.difference_row("  the longest", column(mine, 2), column(theirs, 2), us)
end }

M[#M + 1] = { "claim", function()
  local mine, theirs = in_turns(of_store("claim %s %d", MANY), of_store("claim %s %d", 1000), 1)
  ratio_row(("claim of 500, SQLite, %d waiting (1000)"):format(MANY), column(mine, 1), column(theirs, 1), ms, 2)
end }

M[#M + 1] = { "drain", function()
  local figures = of_store("drain %s %d", MANY)()
  local function megabytes(x)
    return ("%.1f MB"):format(x)
  end
  measure.figure_row(("a worker that drains %d: memory at the most"):format(MANY), { figures[1] }, megabytes, 60)
  measure.figure_row("  grown after its first second", { figures[2] }, megabytes)
  measure.figure_row("  items a second", { figures[3] }, rate)
end }

return M
