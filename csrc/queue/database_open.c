/* A database of SQLite: how its file is found, opened, known again and closed. */
#define _GNU_SOURCE 1
#include "queue/database_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/gate.h"

/* How long one look at another's lock may last, in milliseconds: who stops us waits for it. */
#define LOOK 20
/* SQLite's application_id of a store of ours: "cfpu". */
#define OWNER 1667657845
#define OWNER_TEXT "1667657845"

static const char *database_system_reason(int error)
{
    return error == EROFS || error == EACCES ? "readonly" : error == ENOSPC || error == EDQUOT ? "full" : "io";
}

static const char *database_reason(const struct cf_database *database, int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "busy";
    case SQLITE_FULL:
        return "full";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return "readonly";
    case SQLITE_CORRUPT:
        return "corrupt";
    case SQLITE_NOTADB:
        return "notadb";
    case SQLITE_CONSTRAINT:
        return "constraint";
    case SQLITE_NOMEM:
        return "memory";
    case SQLITE_CANTOPEN:
        /* The log beside it could not be made. */
        if (database->db && sqlite3_db_readonly(database->db, "main") == 1)
            return "readonly";
        /* fall through */
    case SQLITE_IOERR:
        return database_system_reason(database->db ? sqlite3_system_errno(database->db) : 0);
    default:
        return "error";
    }
}

void cf_database_fail(struct cf_database *database, struct cf_work *work, int code)
{
    cf_work_fail(work, database_reason(database, code),
                 database->db ? sqlite3_errmsg(database->db) : sqlite3_errstr(code));
}

/* 0 gives up: the lock has been another's for too long, or the handle closes. */
static int database_wait_for_lock(void *data, int count)
{
    struct cf_database *database = data;

    if (count == 0)
        database->locked_since = cf_clock_now();
    if (atomic_load(&database->stops) || cf_clock_now() - database->locked_since >= database->busy)
        return 0;
    cf_gate_leave();
    sqlite3_sleep(count < 5 ? 1 : LOOK);
    cf_gate_enter();
    return 1;
}

/* now(): seconds since 1970, the same for the whole transaction. */
static void database_now(sqlite3_context *context, int count, sqlite3_value **values)
{
    const struct cf_database *database = sqlite3_user_data(context);

    (void)count;
    (void)values;
    sqlite3_result_double(context, database->now);
}

/* refuse(text): ends the unit, whose problem is the text. */
static void database_refuse(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    sqlite3_result_error(context, (const char *)sqlite3_value_text(values[0]), -1);
}

void cf_database_close(struct cf_database *database)
{
    size_t i;

    for (i = 0; i < CF_DATABASE_PREPARED; i++) {
        sqlite3_finalize(database->prepared[i]);
        database->prepared[i] = NULL;
    }
    sqlite3_close(database->db);
    database->db = NULL;
    database->has_log = false;
}

/* Nobody but the owner may read it: made before SQLite would, whose files beside it get the same mode. */
static int database_make_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno == EEXIST ? 0 : errno;
}

/* A database of another program is not changed at all, not even its kind of log: so it is known by its first bytes,
 * before the first statement. They are read through libsqlite3's own descriptor: to close one of ours would end the
 * locks that other connections of this process have. SQLITE_AUTH is such a database, SQLITE_EMPTY a file that is
 * nobody's yet; what is no database says so itself. */
static int database_look_at_owner(sqlite3 *db)
{
    unsigned char head[72];
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    int code = sqlite3_file_control(db, NULL, SQLITE_FCNTL_FILE_POINTER, &file);

    if (code == SQLITE_OK)
        code = file->pMethods->xFileSize(file, &size);
    if (code == SQLITE_OK && size == 0)
        return SQLITE_EMPTY;
    if (code != SQLITE_OK || size < (sqlite3_int64)sizeof head)
        return code;
    code = file->pMethods->xRead(file, head, sizeof head, 0);
    if (code == SQLITE_OK && memcmp(head, "SQLite format 3", 16) == 0 &&
        ((uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 | (uint32_t)head[70] << 8 | head[71]) != OWNER)
        code = SQLITE_AUTH;
    return code;
}

/* Where two make a store at the same time, libsqlite3 tells one of them at once that it is locked: for a change of the
 * log it asks no busy handler. */
static int database_set_up(struct cf_database *database, const char *text)
{
    int64_t since = cf_clock_now();
    int code, count = 0;

    do
        code = sqlite3_exec(database->db, text, NULL, NULL, NULL);
    while (code == SQLITE_BUSY && cf_clock_now() - since < database->busy && database_wait_for_lock(database, count++));
    return code;
}

int cf_database_open(struct cf_database *database, struct cf_work *work)
{
    static const char setup[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
    int code, owner = SQLITE_OK, problem = database_make_file(database->path);

    if (problem) {
        cf_work_fail(work, database_system_reason(problem), strerror(problem));
        return SQLITE_CANTOPEN;
    }
    code = sqlite3_open_v2(database->path, &database->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = owner = database_look_at_owner(database->db);
    if (code == SQLITE_OK || code == SQLITE_EMPTY) {
        sqlite3_busy_handler(database->db, database_wait_for_lock, database);
        /* Before there is a log: so it is in the file itself. */
        if (owner == SQLITE_EMPTY)
            code = database_set_up(database, "PRAGMA application_id = " OWNER_TEXT);
        if (code == SQLITE_OK)
            code = database_set_up(database, setup);
    }
    if (code == SQLITE_OK)
        code = sqlite3_create_function(database->db, "now", 0, SQLITE_UTF8, database, database_now, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_create_function(database->db, "refuse", 1, SQLITE_UTF8, NULL, database_refuse, NULL, NULL);
    if (code == SQLITE_OK && stat(database->path, &database->file) != 0)
        code = SQLITE_CANTOPEN;
    if (code == SQLITE_AUTH)
        cf_work_fail(work, "notadb", "foreign");
    else if (code != SQLITE_OK)
        cf_database_fail(database, work, code);
    if (code != SQLITE_OK) {
        cf_database_close(database);
    } else {
        cf_gate_lock_as_child(database->path);
    }
    return code;
}

bool cf_database_stat_log(const struct cf_database *database, struct stat *log)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s-wal", database->path) < PATH_MAX && stat(path, log) == 0;
}

static bool database_is_same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* What is stored in a file that was deleted is lost: then the path is opened anew. The log is known from the first
 * commit on; a connection that closes brings what is in it into the database. */
bool cf_database_is_there(const struct cf_database *database)
{
    struct stat now;

    if (stat(database->path, &now) != 0 || !database_is_same(&now, &database->file))
        return false;
    return !database->has_log || (cf_database_stat_log(database, &now) && database_is_same(&now, &database->log));
}
