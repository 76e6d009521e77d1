/* Durable inserts a second of a program that does nothing else: commits FILE EACH SECONDS, so many a transaction. */
#define _GNU_SOURCE
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    int each = argc > 2 ? atoi(argv[2]) : 1, i;
    double seconds = argc > 3 ? atof(argv[3]) : 1, start;
    long count = 0;
    sqlite3 *db;
    sqlite3_stmt *insert;

    if (argc < 2 || sqlite3_open(argv[1], &db) != SQLITE_OK)
        return 1;
    run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE items (seq INTEGER PRIMARY KEY, lane INTEGER, key TEXT, item TEXT, due REAL, claim INTEGER);"
            "CREATE UNIQUE INDEX keys ON items (key, lane);"
            "CREATE INDEX waiting ON items (lane, due, seq) WHERE claim IS NULL");
    if (sqlite3_prepare_v2(db, "INSERT INTO items (lane, key, item, due) VALUES (1, ?1, ?1, 1e9)", -1, &insert, NULL))
        return 1;
    start = now();
    while (now() - start < seconds) {
        run(db, "BEGIN IMMEDIATE");
        for (i = 0; i < each; i++) {
            char key[32];
            int length = snprintf(key, sizeof key, "tag-%ld", count++);
            sqlite3_bind_text(insert, 1, key, length, SQLITE_TRANSIENT);
            if (sqlite3_step(insert) != SQLITE_DONE)
                return 1;
            sqlite3_reset(insert);
        }
        run(db, "COMMIT");
    }
    printf("%f\n", (double)count / (now() - start));
    sqlite3_finalize(insert);
    sqlite3_close(db);
    return 0;
}
