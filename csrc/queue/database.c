/* A database of SQLite: units of work in, results out, all of a turn in one transaction. */
#define _GNU_SOURCE 1
#include "queue/database_private.h"

#include <string.h>
#include <time.h>

#include "queue/gate.h"
#include "queue/values.h"

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

static void database_read_clock(struct cf_database *database)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    database->now = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

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
        cf_database_fail(database, work, code);
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
            cf_database_fail(database, work, code);
}

/* One transaction for all of them. Nothing is told before it is on the disk. */
static void database_run(struct cf_database *database, struct cf_work *first)
{
    struct cf_work *work;
    bool reads = true;
    int code;

    if (database->db && !cf_database_is_there(database))
        cf_database_close(database);
    if (!database->db && cf_database_open(database, first) != SQLITE_OK) {
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
        database->has_log = cf_database_stat_log(database, &database->log);
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
    cf_database_close(database);
    cf_gate_leave();
}
