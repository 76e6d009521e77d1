#!/usr/bin/env bash
# The command, measured on the local edge: spec/bench/bulk.sh [COUNT]. COUNT URLs (1000000) of a file, beside h2load that
# sends the same bodies; its peak memory for a tenth and for all; and how long one purge takes beside curl's.
# Called by run, or after `make`; LUA=lua5.4.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C LUA_PATH="$PWD/lua/?.lua;$PWD/lua/?/init.lua;;" LUA_CPATH="$PWD/build/${LUA:=lua5.4}/?.so;;"
count=${1:-1000000}
work=$(mktemp -d)
trap 'spec/edge/edge stop "$work/edge" >/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
spec/edge/edge start "$work/edge" $$
set -a
# shellcheck disable=SC1091
. "$work/edge/env"
set +a
CLOUDFLARE_ZONE_ID=$(printf %032d 8)
export CLOUDFLARE_API_TOKEN=$TOKEN CLOUDFLARE_BASE_URL=$API_TLS CLOUDFLARE_ZONE_ID
# The edge accepts every body of this zone unread: the client is what is measured.
curl -sf -o /dev/null "$CONTROL/zone" -d "{\"id\":\"$CLOUDFLARE_ZONE_ID\",\"blind\":true}"

echo 'os.exit(require "cfpurge.cli"(arg))' >"$work/cfpurge.lua"
cfpurge() { "$LUA" "$work/cfpurge.lua" "$@" --ca-file "$CA_FILE"; }
export -f cfpurge
export LUA work

seq -f 'https://www.example.com/assets/2024/styles/page-%07.0f.css' "$count" >"$work/all"
head -n $((count / 10)) "$work/all" >"$work/tenth"
{ printf '{"files":["'; head -n 100 "$work/all" | paste -sd, | sed 's/,/","/g' | tr -d '\n'; printf '"]}'; } >"$work/body"

# Seconds, and the peak of the resident memory in KiB.
measured() { # LIST IN_FLIGHT
  "$LUA" -e '
    local core, began = require "cfpurge.core", nil
    arg = { [0] = "cfpurge", "files", "--quiet", "--ca-file", os.getenv "CA_FILE", "--from", arg[1], "--in-flight", arg[2] }
    began = core.now()
    local status = require "cfpurge.cli"(arg)
    local seconds, peak = core.now() - began, io.open "/proc/self/status":read "*a":match "VmHWM:%s*(%d+)"
    print(seconds, peak)
    os.exit(status)' /dev/null "$@"
}

printf '%-10s %12s %12s %14s %14s\n' 'in flight' 'requests/s' h2load 'peak, 1/10' 'peak, all'
for in_flight in 8 32; do
  read -r _ small < <(measured "$work/tenth" $in_flight)
  read -r seconds large < <(measured "$work/all" $in_flight)
  theirs=$(h2load -n $((count / 100)) -c 1 -m $in_flight -d "$work/body" -H "authorization: Bearer $TOKEN" \
    -H 'content-type: application/json' "$API_TLS/zones/$CLOUDFLARE_ZONE_ID/purge_cache" |
    sed -n 's/^finished in .*, \([0-9.]*\) req.*/\1/p')
  awk -v n="$count" -v s="$seconds" -v t="$theirs" -v a="$small" -v b="$large" -v i=$in_flight \
    'BEGIN { printf "%-10d %12.0f %12.0f %10d KiB %10d KiB\n", i, n / 100 / s, t, a, b }'
done

# In turns, the median of 60.
ms() { local began=${EPOCHREALTIME/./}; "$@" >/dev/null; echo $((${EPOCHREALTIME/./} - began)); }
by_curl() {
  curl -sS --cacert "$CA_FILE" "$API_TLS/zones/$CLOUDFLARE_ZONE_ID/purge_cache" -H "Authorization: Bearer $TOKEN" \
    -H 'Content-Type: application/json' -d '{"tags":["news"]}'
}
for _ in {1..60}; do
  ms cfpurge tags news >>"$work/ours"
  ms by_curl >>"$work/theirs"
done
paste <(sort -n "$work/ours") <(sort -n "$work/theirs") |
  awk 'NR == 30 { printf "one purge: %.1f ms, curl %.1f ms: %.2f times as long, mark <= 1.50: %s\n", $1 / 1000, $2 / 1000,
    $1 / $2, $1 <= 1.5 * $2 ? "ok" : "MISSED" }'
