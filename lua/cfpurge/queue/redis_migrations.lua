--- The part of the queue's script for Redis that brings an older store up to date: migrations[n] makes version n + 1 of
--- a store of version n, with the functions of queue/redis_lanes.lua. So far there is one version.
return [==[
local migrations = {}
]==]
