--- The tables of a store in SQLite.
--
-- A lane holds the items that may go in one request: (zone, environment, op, kind). `count` is how many items it has,
-- `claimed` how many of them are in flight, `head` not later than the instant at which its first waiting item is due. A
-- lane that was superseded is dead, and is swept by and by. An item with a `claim` is in flight under that fence;
-- `next` is the last instant for which one more purge was asked, `soon` the first one since the claim, `again` the
-- seconds after its acceptance of one more.
-- A bucket of a budget has `left` tokens as of `filled`, less `pending`, the cost of what is in flight: that is drawn
-- when the answer is there, since a full bucket does not refill, and the server's may be full until then. A rate of 0
-- is no limit. `most` is how many items a request of it may hold. `held` is until when the server wants no request that
-- draws from it; in `meta` none at all. Instants are seconds since 1970.
return {
  VERSION = 1,

  -- migrations[n]: the statements that make version n + 1 of a store of version n. So far there is one version.
  migrations = {},

  -- It comes first, and is looked into before anything else is made.
  [[CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL, fence INTEGER NOT NULL, failed INTEGER NOT NULL,
    total INTEGER NOT NULL, held REAL NOT NULL, clock REAL NOT NULL, ahead REAL NOT NULL)]],
  [[CREATE TABLE IF NOT EXISTS lanes (id INTEGER PRIMARY KEY, zone TEXT NOT NULL, environment TEXT NOT NULL,
    op TEXT NOT NULL, kind TEXT NOT NULL, died REAL, count INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0, head REAL, served INTEGER NOT NULL DEFAULT 0)]],
  -- An add asks for the sum of all lanes that live: it must not look at each.
  [[CREATE TRIGGER IF NOT EXISTS lanes_total AFTER UPDATE OF count, died ON lanes
    WHEN OLD.died IS NULL AND (NEW.count <> OLD.count OR NEW.died IS NOT NULL) BEGIN
    UPDATE meta SET total = total - OLD.count + CASE WHEN NEW.died IS NULL THEN NEW.count ELSE 0 END; END]],
  "CREATE UNIQUE INDEX IF NOT EXISTS lanes_alive ON lanes (zone, environment, op, kind) WHERE died IS NULL",
  "CREATE INDEX IF NOT EXISTS lanes_dead ON lanes (died) WHERE died IS NOT NULL",
  "CREATE INDEX IF NOT EXISTS lanes_heads ON lanes (head) WHERE head IS NOT NULL",
  [[CREATE TABLE IF NOT EXISTS items (seq INTEGER PRIMARY KEY, lane INTEGER NOT NULL, key TEXT NOT NULL,
    item TEXT NOT NULL, due REAL NOT NULL, soon REAL, next REAL, again REAL,
    tries INTEGER NOT NULL DEFAULT 0, claim INTEGER)]],
  -- The key first: otherwise SQLite would look through a lane for each key of an add.
  "CREATE UNIQUE INDEX IF NOT EXISTS items_keys ON items (key, lane)",
  "CREATE INDEX IF NOT EXISTS items_waiting ON items (lane, due, seq) WHERE claim IS NULL",
  "CREATE INDEX IF NOT EXISTS items_claimed ON items (claim) WHERE claim IS NOT NULL",
  [[CREATE TABLE IF NOT EXISTS claims (fence INTEGER PRIMARY KEY, lane INTEGER NOT NULL, lease REAL NOT NULL,
    size INTEGER NOT NULL, budget TEXT, bucket TEXT, cost INTEGER NOT NULL DEFAULT 0)]],
  "CREATE INDEX IF NOT EXISTS claims_leases ON claims (lease)",
  "CREATE INDEX IF NOT EXISTS claims_lanes ON claims (lane)",
  [[CREATE TABLE IF NOT EXISTS zones (zone TEXT PRIMARY KEY, rests REAL NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0, why TEXT, budget TEXT, learned REAL) WITHOUT ROWID]],
  [[CREATE TABLE IF NOT EXISTS budgets (name TEXT NOT NULL, bucket TEXT NOT NULL, rate REAL NOT NULL,
    size REAL NOT NULL, most INTEGER, left REAL NOT NULL, filled REAL NOT NULL, held REAL NOT NULL DEFAULT 0,
    pending REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (name, bucket)) WITHOUT ROWID]],
  "CREATE TABLE IF NOT EXISTS sent (slot INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
  [[CREATE TABLE IF NOT EXISTS failed (seq INTEGER PRIMARY KEY, zone TEXT NOT NULL, environment TEXT NOT NULL,
    op TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, item TEXT NOT NULL, error TEXT NOT NULL,
    at REAL NOT NULL, again REAL)]],
  "CREATE UNIQUE INDEX IF NOT EXISTS failed_keys ON failed (zone, environment, op, kind, key)",
}
