// SPDX-License-Identifier: Apache-2.0
// The catalogue's database file. Invariant: a database that opens has this version's schema and passed
// SQLite's own check; every commit is synced (WAL, synchronous=FULL). Called by catalogue.c on the main
// thread.
#include "server/catalogue_db.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define APPLICATION_ID 0x42455243 // "BERC": not some other program's database
#define VERSION        2
#define BUSY_MS        2000 // another program may be looking at it

static const char schema[] =
    "CREATE TABLE file_systems ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " creation_token TEXT NOT NULL UNIQUE,"
    " state INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " encrypted INTEGER NOT NULL,"
    " performance_mode TEXT NOT NULL,"
    " throughput_mode TEXT NOT NULL,"
    " provisioned_mibps REAL NOT NULL,"
    " key BLOB NOT NULL,"
    " max_bytes INTEGER NOT NULL, max_inodes INTEGER NOT NULL) STRICT;" // of its quota; 0: none
    "CREATE TABLE access_points ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " file_system_id TEXT NOT NULL REFERENCES file_systems(id),"
    " client_token TEXT NOT NULL UNIQUE,"
    " key BLOB NOT NULL,"
    " uid INTEGER, gid INTEGER," // NULL: no POSIX user
    " groups BLOB NOT NULL,"     // each 4 bytes, little-endian
    " path TEXT NOT NULL,"
    " owner_uid INTEGER, owner_gid INTEGER, permissions INTEGER," // NULL: no creation info
    " max_bytes INTEGER NOT NULL, max_inodes INTEGER NOT NULL"    // the same in all with this root
    ") STRICT;"
    "CREATE INDEX access_points_by_file_system ON access_points(file_system_id, number);"
    "CREATE TABLE tags ("
    " number INTEGER PRIMARY KEY,"
    " object_id TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " value TEXT NOT NULL,"
    " UNIQUE (object_id, key)) STRICT;";

static int code_to_errno(sqlite3 *db, int code)
{
    int system_errno = sqlite3_system_errno(db);
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_READONLY:
        return -EROFS;
    default:
        return system_errno > 0 ? -system_errno : -EIO;
    }
}

int catalogue_db_error(sqlite3 *db, int code)
{
    char text[256];
    const char *message = sqlite3_errmsg(db);
    int result = code_to_errno(db, code);
    log_error("catalogue_failed", "code=%d message=%s", code,
              log_text(text, sizeof(text), message, strlen(message)));
    return result;
}

static int bind_one(sqlite3_stmt *statement, int index, char type, va_list *values)
{
    switch (type) {
    case 't':
        return sqlite3_bind_text(statement, index, va_arg(*values, const char *), -1, SQLITE_STATIC);
    case 'i':
        return sqlite3_bind_int64(statement, index, va_arg(*values, int64_t));
    case 'd':
        return sqlite3_bind_double(statement, index, va_arg(*values, double));
    case 'b': {
        const void *bytes = va_arg(*values, const void *);
        int n = va_arg(*values, int);
        return sqlite3_bind_blob(statement, index, bytes, n, SQLITE_STATIC);
    }
    default:
        fs_assert(type == 't');
        return SQLITE_MISUSE;
    }
}

static int prepare(sqlite3 *db, sqlite3_stmt **ret_statement, const char *sql, const char *types,
                   va_list *values)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    for (int i = 0; code == SQLITE_OK && types[i]; i++)
        code = bind_one(statement, i + 1, types[i], values);
    if (code != SQLITE_OK) {
        int result = catalogue_db_error(db, code);
        sqlite3_finalize(statement);
        return result;
    }
    *ret_statement = statement;
    return 0;
}

int catalogue_db_prepare(sqlite3 *db, sqlite3_stmt **ret_statement, const char *sql, const char *types, ...)
{
    va_list values;
    va_start(values, types);
    int result = prepare(db, ret_statement, sql, types, &values);
    va_end(values);
    return result;
}

int catalogue_db_step(sqlite3 *db, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : catalogue_db_error(db, code);
}

int catalogue_db_run(sqlite3 *db, const char *sql, const char *types, ...)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *statement = NULL;
    va_list values;
    va_start(values, types);
    int result = prepare(db, &statement, sql, types, &values);
    va_end(values);
    return result < 0 ? result : catalogue_db_step(db, statement);
}

void catalogue_db_text(sqlite3_stmt *statement, int column, char *out, size_t out_size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    snprintf(out, out_size, "%s", text ? (const char *)text : "");
}

// --- opening ---

static int read_pragma(sqlite3 *db, const char *sql, int64_t *ret_value)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *statement = NULL;
    int result = catalogue_db_prepare(db, &statement, sql, "");
    if (result == 0)
        result = catalogue_db_step(db, statement);
    if (result < 0)
        return result;
    *ret_value = sqlite3_column_int64(statement, 0);
    return 0;
}

static int execute(sqlite3 *db, const char *sql)
{
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : catalogue_db_error(db, code);
}

static int create_schema(sqlite3 *db)
{
    char marks[128];
    snprintf(marks, sizeof(marks), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", APPLICATION_ID,
             VERSION);
    int result = execute(db, "BEGIN IMMEDIATE");
    if (result == 0)
        result = execute(db, schema);
    return result < 0 ? result : execute(db, marks);
}

static int check_integrity(sqlite3 *db)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *statement = NULL;
    int result = catalogue_db_prepare(db, &statement, "PRAGMA quick_check(1)", "");
    if (result == 0)
        result = catalogue_db_step(db, statement);
    if (result < 0)
        return result;
    char answer[256];
    catalogue_db_text(statement, 0, answer, sizeof(answer));
    if (strcmp(answer, "ok") == 0)
        return 0;
    char text[300];
    log_error("catalogue_damaged", "found=%s", log_text(text, sizeof(text), answer, strlen(answer)));
    return -EUCLEAN;
}

// Nothing is written to a database that is not ours or is newer than us.
static int check_or_create(sqlite3 *db)
{
    int64_t application_id, version, n_objects;
    int result = read_pragma(db, "PRAGMA application_id", &application_id);
    if (result == 0)
        result = read_pragma(db, "PRAGMA user_version", &version);
    if (result == 0)
        result = read_pragma(db, "SELECT count(*) FROM sqlite_schema", &n_objects);
    if (result < 0)
        return result;
    if (application_id == APPLICATION_ID)
        return version > VERSION ? -EPROTONOSUPPORT : version < VERSION ? -EUCLEAN : check_integrity(db);
    if (application_id != 0 || version != 0 || n_objects != 0)
        return -EUCLEAN;
    result = execute(db, "PRAGMA journal_mode=WAL");
    return result < 0 ? result : create_schema(db);
}

int catalogue_db_open(const char *path, sqlite3 **ret_db)
{
    sqlite3 *db;
    mode_t old_mask = umask(0177); // the keys of handles are in it
    int code =
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, NULL);
    int result = code == SQLITE_OK ? 0 : code_to_errno(db, code);
    if (result == 0) {
        sqlite3_busy_timeout(db, BUSY_MS);
        sqlite3_extended_result_codes(db, 1);
        result = check_or_create(db);
    }
    if (result == 0)
        result = execute(db, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON");
    umask(old_mask);
    if (result < 0) {
        sqlite3_close(db);
        return result;
    }
    *ret_db = db;
    return 0;
}
