/* A database of SQLite: units of work in, results out, all of a turn in one transaction. */
#define _GNU_SOURCE 1
#include "queue/database.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/gate.h"
#include "queue/values.h"

/* How long one look at another's lock may last, in milliseconds: who stops us waits for it. */
#define LOOK 20
/* SQLite's application_id of a store of ours: "cfpu". */
#define OWNER 1667657845
#define OWNER_TEXT "1667657845"

/* ---- the database ---- */

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

static void database_fail(struct cf_database *database, struct cf_work *work, int code)
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

static void database_read_clock(struct cf_database *database)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    database->now = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void database_shut(struct cf_database *database)
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

static int database_open_database(struct cf_database *database, struct cf_work *work)
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
        database_fail(database, work, code);
    if (code != SQLITE_OK) {
        database_shut(database);
    } else {
        cf_gate_lock_as_child(database->path);
    }
    return code;
}

static bool database_stat_log(const struct cf_database *database, struct stat *log)
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
static bool database_is_there(const struct cf_database *database)
{
    struct stat now;

    if (stat(database->path, &now) != 0 || !database_is_same(&now, &database->file))
        return false;
    return !database->has_log || (database_stat_log(database, &now) && database_is_same(&now, &database->log));
}

/* ---- statements ---- */

/* The statement of this text, kept for the next time. */
static sqlite3_stmt *database_prepare(struct cf_database *database, const struct cf_value *text, int *code)
{
    sqlite3_stmt *statement = NULL;
    const char *tail = NULL;
    size_t i;

    for (i = 0; i < CF_DATABASE_PREPARED; i++) {
        const char *known = database->prepared[i] ? sqlite3_sql(database->prepared[i]) : NULL;
        if (known && strlen(known) == text->size && memcmp(known, text->text, text->size) == 0)
            return database->prepared[i];
    }
    *code = sqlite3_prepare_v3(database->db, text->text, (int)text->size, SQLITE_PREPARE_PERSISTENT, &statement, &tail);
    if (statement) {
        sqlite3_finalize(database->prepared[database->oldest]);
        database->prepared[database->oldest] = statement;
        database->oldest = (database->oldest + 1) % CF_DATABASE_PREPARED;
    }
    return statement;
}

static int database_bind(sqlite3_stmt *statement, int place, const struct cf_value *value)
{
    switch (value->tag) {
    case CF_VALUE_TRUE:
        return sqlite3_bind_int(statement, place, 1);
    case CF_VALUE_INTEGER:
        return sqlite3_bind_int64(statement, place, value->integer);
    case CF_VALUE_NUMBER:
        return sqlite3_bind_double(statement, place, value->number);
    case CF_VALUE_TEXT:
        /* The commands outlive the statement's run. */
        return sqlite3_bind_text64(statement, place, value->text, value->size, SQLITE_STATIC, SQLITE_UTF8);
    default:
        return sqlite3_bind_null(statement, place);
    }
}

static bool database_add_column(struct cf_buffer *results, sqlite3_stmt *statement, int column)
{
    struct cf_value value = {.tag = CF_VALUE_FALSE};

    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        value.tag = CF_VALUE_INTEGER;
        value.integer = sqlite3_column_int64(statement, column);
        break;
    case SQLITE_FLOAT:
        value.tag = CF_VALUE_NUMBER;
        value.number = sqlite3_column_double(statement, column);
        break;
    case SQLITE_NULL:
        break;
    default:
        value.tag = CF_VALUE_TEXT;
        value.text = (const char *)sqlite3_column_blob(statement, column);
        value.size = (size_t)sqlite3_column_bytes(statement, column);
    }
    return cf_values_add(results, &value);
}

/* The number of rows is known at their end only: its place is filled in then. */
static int database_run_statement(struct cf_database *database, sqlite3_stmt *statement, struct cf_buffer *results)
{
    struct cf_value rows = {.tag = CF_VALUE_ROWS};
    struct cf_value row = {.tag = CF_VALUE_LIST, .size = (size_t)sqlite3_column_count(statement)};
    int before = sqlite3_total_changes(database->db), code, i;
    size_t at = results->len;
    bool ok = cf_values_add(results, &rows);

    while (ok && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        rows.size++;
        ok = cf_values_add(results, &row);
        for (i = 0; ok && i < (int)row.size; i++)
            ok = database_add_column(results, statement, i);
    }
    if (!ok)
        return SQLITE_NOMEM;
    rows.integer = sqlite3_total_changes(database->db) - before;
    memcpy(results->data + at + 1, &rows.integer, sizeof rows.integer);
    memcpy(results->data + at + 1 + sizeof rows.integer, &rows.size, sizeof rows.size);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int database_run_command(struct cf_database *database, struct cf_work *work, size_t *at,
                                const struct cf_value *list)
{
    struct cf_value value;
    sqlite3_stmt *statement;
    int code = SQLITE_ERROR, place, finished;

    cf_values_next(&work->commands, at, &value);
    if (value.tag != CF_VALUE_TEXT)
        return SQLITE_MISUSE;
    statement = database_prepare(database, &value, &code);
    if (!statement)
        return code;
    code = SQLITE_OK;
    for (place = 1; place < (int)list->size; place++) {
        cf_values_next(&work->commands, at, &value);
        if (code == SQLITE_OK)
            code = database_bind(statement, place, &value);
    }
    if (code == SQLITE_OK)
        code = database_run_statement(database, statement, &work->results);
    finished = sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code != SQLITE_OK ? code : finished;
}

/* ---- transactions ---- */

static int database_exec(struct cf_database *database, const char *text)
{
    struct cf_value value = {.tag = CF_VALUE_TEXT, .text = text, .size = strlen(text)};
    int code = SQLITE_ERROR;
    sqlite3_stmt *statement = database_prepare(database, &value, &code);

    if (!statement)
        return code;
    code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

/* All of its commands, or none. */
static void database_run_work(struct cf_database *database, struct cf_work *work)
{
    struct cf_value list;
    size_t at = 0;
    int code = database_exec(database, "SAVEPOINT unit");

    while (code == SQLITE_OK && cf_values_next(&work->commands, &at, &list))
        code = database_run_command(database, work, &at, &list);
    if (code != SQLITE_OK) {
        database_fail(database, work, code);
        if (!sqlite3_get_autocommit(database->db))
            database_exec(database, "ROLLBACK TO unit");
    }
    if (!sqlite3_get_autocommit(database->db))
        database_exec(database, "RELEASE unit");
}

static bool database_only_reads(const struct cf_work *work)
{
    struct cf_value list, value;
    size_t at = 0, i;

    while (cf_values_next(&work->commands, &at, &list))
        for (i = 0; i < list.size; i++) {
            cf_values_next(&work->commands, &at, &value);
            if (i == 0 && (value.size < 6 || memcmp(value.text, "SELECT", 6) != 0))
                return false;
        }
    return true;
}

static void database_fail_all(struct cf_database *database, struct cf_work *first, int code)
{
    struct cf_work *work;

    for (work = first; work; work = work->next)
        if (!work->reason)
            database_fail(database, work, code);
}

/* One transaction for all of them. Nothing is told before it is on the disk. */
static void database_run(struct cf_database *database, struct cf_work *first)
{
    struct cf_work *work;
    bool reads = true;
    int code;

    if (database->db && !database_is_there(database))
        database_shut(database);
    if (!database->db && database_open_database(database, first) != SQLITE_OK) {
        for (work = first->next; work; work = work->next)
            cf_work_fail(work, first->reason, first->problem);
        return;
    }
    for (work = first; work && reads; work = work->next)
        reads = database_only_reads(work);
    code = database_exec(database, reads ? "BEGIN" : "BEGIN IMMEDIATE");
    if (code != SQLITE_OK) {
        database_fail_all(database, first, code);
        return;
    }
    /* After the wait for the lock: another process' instants are behind us. */
    database_read_clock(database);
    for (work = first; work; work = work->next) {
        database_run_work(database, work);
        /* Some errors end the whole transaction: those before it are undone too. */
        if (sqlite3_get_autocommit(database->db)) {
            struct cf_work *other;
            for (other = first; other; other = other->next)
                cf_work_fail(other, work->reason ? work->reason : "error", work->problem);
            return;
        }
    }
    code = database_exec(database, "COMMIT");
    if (code != SQLITE_OK) {
        database_fail_all(database, first, code);
        database_exec(database, "ROLLBACK");
    } else if (!database->has_log) {
        database->has_log = database_stat_log(database, &database->log);
    }
}

void cf_database_run(struct cf_database *database, struct cf_work *first)
{
    cf_gate_enter();
    database_run(database, first);
    cf_gate_leave();
}

void cf_database_shut(struct cf_database *database)
{
    cf_gate_enter();
    database_shut(database);
    cf_gate_leave();
}
