/* A database of SQLite: units of work in, results out, all of a turn in one transaction. */
#ifndef CFPURGE_DATABASE_H
#define CFPURGE_DATABASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "queue/unit.h"

/* Statements that stay prepared. The rules have some 110. */
#define CF_DATABASE_PREPARED 128

/* Of one thread, but for `stops`. It is open while `db` is set; all zero, with `path` and `busy`, is one that opens at
 * its first use. */
struct cf_database {
    const char *path;  /* borrowed */
    int64_t busy;      /* how long to wait for another's lock, in microseconds */
    atomic_bool stops; /* waits for no lock any more */
    sqlite3 *db;
    sqlite3_stmt *prepared[CF_DATABASE_PREPARED];
    size_t oldest; /* the place in `prepared` that goes next */
    double now;    /* the transaction's instant: seconds since 1970 */
    struct stat file, log;
    bool has_log;         /* which files the database and its log are */
    int64_t locked_since; /* when the present wait for a lock began */
};

/* Runs all of the list in one transaction, each unit wholly or not at all, and returns when it is on the disk. Each has
 * its results then, or a reason: busy, full, readonly, corrupt, notadb, constraint, memory, io, error. */
void cf_database_run(struct cf_database *database, struct cf_work *first);
void cf_database_shut(struct cf_database *database);

#endif
