// SPDX-License-Identifier: Apache-2.0
// The SQLite connection: opening and checking the database, prepared statements, errors, checkpoints. What
// comes out of the database is not trusted: the schema must be exactly ours, and integers are read within
// bounds. Owner thread.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_engine.h"
#include "fs/store/sqlite_vfs.h"
#include "fs/store/store_sqlite.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define APPLICATION_ID 0x42727468 // "Brth"
#define DB_PATH_ROOM   4096

#define TEXT(x)        TEXT_(x)
#define TEXT_(x)       #x

static const char *const statement_sql[ST_COUNT] = {
#define STATEMENT_SQL(id, sql) [ST_##id] = (sql),
    STATEMENTS(STATEMENT_SQL)};

// In this order, word for word as sqlite_schema keeps them.
static const char *const schema[] = {
    "CREATE TABLE inode (ino INTEGER PRIMARY KEY, mode INTEGER NOT NULL, nlink INTEGER NOT NULL, uid INTEGER "
    "NOT NULL, "
    "gid INTEGER NOT NULL, rdev INTEGER NOT NULL, size INTEGER NOT NULL, parent INTEGER NOT NULL, "
    "flags INTEGER NOT NULL, atime INTEGER NOT NULL, atime_ns INTEGER NOT NULL, mtime INTEGER NOT NULL, "
    "mtime_ns INTEGER NOT NULL, ctime INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, btime INTEGER NOT NULL, "
    "btime_ns INTEGER NOT NULL, quota INTEGER NOT NULL)",
    "CREATE INDEX inode_orphan ON inode (ino) WHERE nlink = 0",
    "CREATE TABLE dentry (parent INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL, type INTEGER "
    "NOT NULL, "
    "cookie INTEGER NOT NULL, PRIMARY KEY (parent, name)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX dentry_cookie ON dentry (parent, cookie)",
    "CREATE INDEX dentry_ino ON dentry (ino)",
    "CREATE TABLE data (ino INTEGER PRIMARY KEY, file INTEGER, bytes BLOB)",
    "CREATE UNIQUE INDEX data_file ON data (file) WHERE file IS NOT NULL",
    "CREATE TABLE segment (ino INTEGER NOT NULL, number INTEGER NOT NULL, file INTEGER NOT NULL, "
    "PRIMARY KEY (ino, number)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX segment_file ON segment (file)",
    "CREATE TABLE intent (seq INTEGER PRIMARY KEY, file INTEGER NOT NULL UNIQUE, size INTEGER NOT NULL)",
    "CREATE TABLE usage (id INTEGER PRIMARY KEY, inodes INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "CREATE TABLE session (id INTEGER NOT NULL, part INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (id, "
    "part)) WITHOUT ROWID",
    "CREATE TABLE xattr (ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (ino, "
    "name)) WITHOUT ROWID",
    "CREATE TABLE quota (id INTEGER PRIMARY KEY, max_bytes INTEGER NOT NULL, max_inodes INTEGER NOT NULL, "
    "bytes INTEGER NOT NULL, inodes INTEGER NOT NULL)",
};

// --- errors ---

static bool is_failed_sync(int sqlite_result)
{
    return sqlite_result == SQLITE_IOERR_FSYNC || sqlite_result == SQLITE_IOERR_DIR_FSYNC;
}

static int errno_of_io(sqlite3 *db, int sqlite_result)
{
    if (sqlite_result == SQLITE_IOERR_NOMEM)
        return -ENOMEM;
    int system_error = sqlite3_system_errno(db);
    bool full = system_error == ENOSPC || system_error == EDQUOT;
    return full && !is_failed_sync(sqlite_result) ? -ENOSPC : -EIO;
}

int db_errno(sqlite3 *db, int sqlite_result)
{
    switch (sqlite_result & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_IOERR:
        return errno_of_io(db, sqlite_result);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
        return -EUCLEAN;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_READONLY:
        return -EROFS;
    default:
        return -EIO;
    }
}

int db_error(struct engine *engine, int sqlite_result)
{
    int result = db_errno(engine->db, sqlite_result);
    if (result == -EIO || result == -EUCLEAN)
        log_error("store-database", "directory=%s result=%d reason=%s", engine->directory, sqlite_result,
                  engine->db ? sqlite3_errmsg(engine->db) : "-");
    if (result == -ENOSPC)
        reserve_give_back(engine);
    if (is_failed_sync(sqlite_result))
        engine->read_only = true;
    // SQLite may have rolled the whole transaction back by itself: then nothing more may be written in its
    // place.
    if (engine->db && store_in_transaction(&engine->store) && sqlite3_get_autocommit(engine->db))
        engine->broken = result;
    return result;
}

int engine_writable(const struct engine *engine)
{
    return engine->broken ? engine->broken : engine->read_only ? -EROFS : 0;
}

// --- statements ---

sqlite3_stmt *db_statement(struct engine *engine, enum statement_id id, int *ret_result)
{
    if (!engine->statements[id]) {
        int prepared = sqlite3_prepare_v3(engine->db, statement_sql[id], -1, SQLITE_PREPARE_PERSISTENT,
                                          &engine->statements[id], NULL);
        if (prepared != SQLITE_OK) {
            *ret_result = db_error(engine, prepared);
            return NULL;
        }
    }
    return engine->statements[id];
}

int db_step(struct engine *engine, sqlite3_stmt *statement)
{
    int stepped = sqlite3_step(statement);
    if (stepped == SQLITE_ROW)
        return 1;
    int result = stepped == SQLITE_DONE ? 0 : db_error(engine, sqlite3_extended_errcode(engine->db));
    db_done(statement);
    return result;
}

void db_done(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

int db_run(struct engine *engine, sqlite3_stmt *statement)
{
    int result = db_step(engine, statement);
    if (result > 0)
        db_done(statement);
    return MIN(result, 0);
}

int db_run_id(struct engine *engine, enum statement_id id)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, id, &result);
    return statement ? db_run(engine, statement) : result;
}

int64_t db_integer(sqlite3_stmt *statement, int column, int64_t low, int64_t high, bool *damaged)
{
    int64_t value = sqlite3_column_int64(statement, column);
    if (sqlite3_column_type(statement, column) == SQLITE_INTEGER && value >= low && value <= high)
        return value;
    *damaged = true;
    return low;
}

// One row, one integer.
static int query_integer(struct engine *engine, const char *sql, int64_t *ret_value)
{
    sqlite3_stmt *statement = NULL;
    int prepared = sqlite3_prepare_v2(engine->db, sql, -1, &statement, NULL);
    if (prepared != SQLITE_OK)
        return db_error(engine, prepared);
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(statement, 0);
    else
        result = db_error(engine, sqlite3_extended_errcode(engine->db));
    sqlite3_finalize(statement);
    return MIN(result, 0);
}

// --- opening ---

static int db_exec(struct engine *engine, const char *sql)
{
    int result = sqlite3_exec(engine->db, sql, NULL, NULL, NULL);
    return result == SQLITE_OK ? 0 : db_error(engine, sqlite3_extended_errcode(engine->db));
}

static int on_log_written(void *context, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct engine *)context)->log_pages = pages;
    return SQLITE_OK;
}

int db_connect(const char *directory, int open_flags, sqlite3 **ret_db)
{
    char path[DB_PATH_ROOM];
    if (snprintf(path, sizeof(path), "%s/meta.db", directory) >= (int)sizeof(path))
        return SQLITE_CANTOPEN;
    vfs_register();
    int result =
        sqlite3_open_v2(path, ret_db, open_flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, VFS_NAME);
    if (result != SQLITE_OK)
        return result;
    sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(*ret_db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                      NULL); // a refused store is left as it was
    return sqlite3_exec(*ret_db,
                        "PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; "
                        "PRAGMA wal_autocheckpoint = 0",
                        NULL, NULL, NULL);
}

static int connect_to(struct engine *engine, int open_flags)
{
    int result = db_connect(engine->directory, open_flags, &engine->db);
    return result == SQLITE_OK ? 0 : db_error(engine, result);
}

static int check_version(struct engine *engine)
{
    int64_t application = 0, version = 0;
    int result = query_integer(engine, "PRAGMA application_id", &application);
    if (result == 0)
        result = query_integer(engine, "PRAGMA user_version", &version);
    if (result < 0)
        return result;
    if (application != APPLICATION_ID || version < 1)
        return -EUCLEAN;
    if (version > STORE_FORMAT_VERSION) {
        log_error("store-version", "directory=%s version=%lld newest=%d", engine->directory,
                  (long long)version, STORE_FORMAT_VERSION);
        return -EPROTONOSUPPORT;
    }
    return 0;
}

static int check_schema(struct engine *engine)
{
    sqlite3_stmt *statement = NULL;
    int prepared =
        sqlite3_prepare_v2(engine->db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid",
                           -1, &statement, NULL);
    if (prepared != SQLITE_OK)
        return db_error(engine, prepared);
    size_t n = 0;
    int stepped;
    while ((stepped = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *sql = (const char *)sqlite3_column_text(statement, 0);
        if (n >= ARRAY_LEN(schema) || !sql || strcmp(sql, schema[n]) != 0)
            break;
        n++;
    }
    int result = stepped == SQLITE_DONE && n == ARRAY_LEN(schema) ? 0 : -EUCLEAN;
    if (stepped != SQLITE_DONE && stepped != SQLITE_ROW)
        result = db_error(engine, sqlite3_extended_errcode(engine->db));
    sqlite3_finalize(statement);
    return result;
}

static int open_log(struct engine *engine)
{
    engine->wal_fd = openat(engine->dir_fd, "meta.db-wal", O_RDWR | O_CLOEXEC);
    if (engine->wal_fd < 0)
        return -errno;
    return fsync(engine->dir_fd) < 0 ? -errno : 0;
}

int db_open(struct engine *engine)
{
    int result = connect_to(engine, SQLITE_OPEN_READWRITE);
    if (result == 0)
        result = check_version(engine);
    if (result == 0)
        result = db_exec(
            engine,
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = " TEXT(
                LOG_KEPT) "; "
                          "PRAGMA cache_spill = -" TEXT(SPILL_KIB) "; PRAGMA cache_size = -" TEXT(
                              PAGE_CACHE_KIB));
    if (result == 0)
        result = check_schema(engine);
    if (result < 0)
        return result;
    sqlite3_wal_hook(engine->db, on_log_written, engine);
    int64_t page_size = 0;
    result = query_integer(engine, "PRAGMA page_size", &page_size);
    engine->page_size = (int)page_size;
    return result < 0 ? result : open_log(engine);
}

void db_close(struct engine *engine)
{
    for (size_t i = 0; i < ST_COUNT; i++)
        sqlite3_finalize(engine->statements[i]);
    memset(engine->statements, 0, sizeof(engine->statements));
    sqlite3_close(engine->db);
    engine->db = NULL;
    if (engine->wal_fd >= 0)
        close(engine->wal_fd);
    engine->wal_fd = -1;
}

int db_checkpoint(struct engine *engine, int mode)
{
    int in_log = 0, moved = 0;
    int result = sqlite3_wal_checkpoint_v2(engine->db, NULL, mode, &in_log, &moved);
    if (result == SQLITE_BUSY) // the worker is at it
        return 0;
    if (result != SQLITE_OK)
        return db_error(engine, result);
    if (moved == in_log) // the next commit starts the log anew
        engine->log_pages = engine->log_asked = 0;
    return 0;
}

int db_shrink(struct engine *engine, bool *ret_more)
{
    int result = db_exec(engine, "PRAGMA incremental_vacuum(" TEXT(VACUUM_PAGES) ")");
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_FREE_PAGES, &result) : NULL;
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result < 0)
        return result;
    *ret_more = result > 0 && sqlite3_column_int64(statement, 0) > 0;
    db_done(statement);
    return db_checkpoint(engine, SQLITE_CHECKPOINT_PASSIVE);
}

// --- creating ---

int db_create(const char *directory)
{
    struct engine engine = {.directory = (char *)directory, .wal_fd = -1, .dir_fd = -1};
    int result = connect_to(&engine, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (result == 0)
        result =
            db_exec(&engine,
                    "PRAGMA page_size = " TEXT(DB_PAGE_SIZE) "; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA "
                                                             "journal_mode = WAL; PRAGMA synchronous = FULL");
    if (result == 0)
        result = db_exec(&engine, "BEGIN");
    for (size_t i = 0; result == 0 && i < ARRAY_LEN(schema); i++)
        result = db_exec(&engine, schema[i]);
    if (result == 0)
        result = db_exec(
            &engine, "INSERT INTO usage VALUES (1, 0, 0); PRAGMA application_id = " TEXT(
                         APPLICATION_ID) "; PRAGMA user_version = " TEXT(STORE_FORMAT_VERSION) "; COMMIT");
    if (result == 0)
        result = db_checkpoint(&engine, SQLITE_CHECKPOINT_TRUNCATE);
    db_close(&engine);
    return result;
}
