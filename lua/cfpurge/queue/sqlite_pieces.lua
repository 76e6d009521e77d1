--- Pieces of the statements of queue/sqlite.lua, where each is {NAME}.
return {
  -- The store's clock never goes back: where the machine's is set back, as at a start of a machine that keeps no time,
  -- the store's goes on from its last instant, so much `ahead`. Otherwise all that waits would wait as much longer.
  CLOCK = "(SELECT max(NOW() + ahead, clock) FROM meta)",
  IS_SET_BACK = "clock - NOW() > ahead + 1",
  TICK = [[UPDATE meta SET clock = max(NOW() + ahead, clock),
    ahead = CASE WHEN {IS_SET_BACK} THEN clock - NOW() ELSE ahead END]],

  -- How many items of a dead lane one claim removes, and how many claims whose lease is over it takes back.
  SWEPT = "1000", EXPIRED = "4",
  -- A zone's plan is read again after a day, and where a 429 does not fit it after an hour; in seconds.
  STALE = "86400", DOUBTFUL = "3600",
  -- So many calls in 5 minutes, whatever they are, counted in slots of 10 seconds.
  NOW_SLOT = "CAST(now() / 10 AS INTEGER)", SLOTS = "31",
  SENT = "(SELECT ifnull(sum(count), 0) FROM sent WHERE slot > {NOW_SLOT} - {SLOTS})",

  -- ?1 to ?4 are zone, environment, op and kind.
  LANE = [[(SELECT id FROM lanes WHERE zone = ?1 AND environment = ?2 AND op = ?3 AND kind = ?4
    AND died IS NULL)]],
  PURGES = [[(SELECT id FROM lanes WHERE zone = ?1 AND environment = ?2 AND op = 'purge' AND kind = ?4
    AND died IS NULL)]],
  INVALIDATES = [[(SELECT id FROM lanes WHERE zone = ?1 AND environment = ?2 AND op = 'invalidate' AND kind = ?4
    AND died IS NULL)]],

  -- Of the row of lanes that is updated.
  HEAD = "(SELECT min(due) FROM items WHERE lane = lanes.id AND claim IS NULL)",
  LIVING_HEAD = "CASE WHEN died IS NULL THEN {HEAD} END",

  -- ?1 to ?4 are linger, the size of a full request of files and of others, and the budget of a zone that has none;
  -- ?5 is how many calls there may be in 5 minutes, 0 for any number.
  JOINED = "lanes AS l {JOINS}",
  JOINS = [[LEFT JOIN zones AS z ON z.zone = l.zone LEFT JOIN budgets AS b
    ON b.name = ifnull(z.budget, ?4) AND b.bucket = CASE l.kind WHEN 'files' THEN 'urls' ELSE 'requests' END]],
  FILLED = "min(size, left + max(now() - filled, 0) * rate)",
  TOKENS = "min(b.size, b.left + max(now() - b.filled, 0) * b.rate) - b.pending",
  FULL = "CASE l.kind WHEN 'files' THEN ifnull(b.most, ?2) ELSE ?3 END",
  -- A request may reach the server 25 ms later than the one behind it.
  NEEDED = [[min(b.size, b.rate * 0.025 + CASE l.kind WHEN 'files' THEN min(l.count - l.claimed, {FULL}) ELSE 1 END)]],
  ALL_SENT = "(?5 > 0 AND {SENT} >= ?5)",
  READY = [[l.head <= now() AND (l.head + ?1 <= now() OR l.count - l.claimed >= {FULL})
    AND ifnull(z.rests, 0) <= now()
    AND (ifnull(z.refusals, 0) = 0 OR NOT EXISTS (SELECT 1 FROM claims AS c JOIN lanes AS m ON m.id = c.lane
      WHERE m.zone = l.zone))
    AND (b.name IS NULL OR (b.held <= now() AND (b.rate = 0 OR {TOKENS} >= {NEEDED})))
    AND (SELECT held FROM meta) <= now() AND NOT {ALL_SENT}]],
  -- Seconds until a lane may be ready, as far as one can say.
  READY_IN = [[max(l.head + ?1 - now(), ifnull(z.rests, 0) - now(), ifnull(b.held, 0) - now(),
    ifnull(({NEEDED} - ({TOKENS})) / b.rate, 0), (SELECT held FROM meta) - now(), 0.25 * {ALL_SENT})]],

  -- The claim that is being made, and its lane.
  FENCE = "(SELECT fence FROM meta)",
  ITS_SIZE = "(SELECT size FROM claims WHERE fence = {FENCE})",
  ITS_LANE = "(SELECT lane FROM claims WHERE fence = {FENCE})",

  OVER = "(SELECT fence FROM claims WHERE lease < now() ORDER BY lease LIMIT {EXPIRED})",
  OVER_COST = [[(SELECT sum(cost) FROM claims WHERE fence IN {OVER} AND claims.budget = budgets.name
    AND claims.bucket = budgets.bucket)]],
  -- A dead lane that has something to sweep: not one that waits for what is in flight.
  TO_SWEEP = [[died IS NOT NULL AND (EXISTS (SELECT 1 FROM items WHERE lane = lanes.id AND claim IS NULL)
    OR NOT EXISTS (SELECT 1 FROM claims WHERE lane = lanes.id))]],
  DEAD = "(SELECT id FROM lanes WHERE {TO_SWEEP} LIMIT 1)",
  SOME_DEAD = [[(SELECT seq FROM items WHERE lane = {DEAD} AND claim IS NULL ORDER BY due, seq LIMIT {SWEPT})]],

  -- Of an item `i` of the dead lane `d`.
  SURVIVES = "(i.again IS NOT NULL OR max(i.due, ifnull(i.next, 0)) > d.died)",
  -- An item that comes from elsewhere and is there already: as an add of it would be.
  MERGED = [[DO UPDATE SET soon = CASE WHEN claim IS NOT NULL THEN min(ifnull(soon, excluded.due), excluded.due) END,
    next = CASE WHEN claim IS NOT NULL THEN max(ifnull(next, 0), excluded.due, ifnull(excluded.next, 0))
      ELSE nullif(max(due, ifnull(next, 0), excluded.due, ifnull(excluded.next, 0)), min(due, excluded.due)) END,
    due = CASE WHEN claim IS NOT NULL THEN due ELSE min(due, excluded.due) END,
    again = nullif(max(ifnull(again, 0), ifnull(excluded.again, 0)), 0)]],

  -- Of an item whose claim ends: the first purge that was asked for since, and the last one where that is another.
  SOON = "ifnull(soon, next)",
  BEHIND = "CASE WHEN next > soon THEN next END",
  -- ?1 is the fence of a claim that ends.
  CLAIMED = "(SELECT lane FROM claims WHERE fence = ?1)",
  ITS_ZONE = "(SELECT zone FROM lanes WHERE id = {CLAIMED})",
  -- ?2 is another zone, ?3 keys of the claim's items: `i`.
  HEIR = [[(SELECT a.id FROM lanes AS a JOIN lanes AS l ON l.id = {CLAIMED} WHERE a.zone = ?2
    AND a.environment = l.environment AND a.op = l.op AND a.kind = l.kind AND a.died IS NULL)]],
  MOVES = "i.claim = ?1 AND i.key IN (SELECT value FROM json_each(?3))",
  KEYS = "(SELECT value ->> 0 FROM json_each(?2))",

  -- ?1 to ?5 are the place to go on after and the filter, ?6 how many, ?7 no later than when.
  FITS = [[seq > ?1 AND (?2 IS NULL OR zone = ?2) AND (?3 IS NULL OR environment = ?3)
    AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR at <= now() - ?5) AND (?7 IS NULL OR at <= ?7)]],
  SOME_FAILED = "(SELECT seq FROM failed WHERE {FITS} ORDER BY seq LIMIT ?6)",
}
