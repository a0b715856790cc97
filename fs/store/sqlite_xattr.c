// SPDX-License-Identifier: Apache-2.0
// Extended attribute rows, by (inode, name). Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <string.h>

static sqlite3_stmt *statement_for(struct engine *engine, enum statement_id id, fs_ino ino,
                                   struct fs_name name, int *ret_result)
{
    sqlite3_stmt *statement = db_statement(engine, id, ret_result);
    if (!statement)
        return NULL;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_blob(statement, 2, name.bytes, (int)name.length, SQLITE_STATIC);
    return statement;
}

int xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size, size_t *ret_n)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? statement_for(engine, ST_XATTR_GET, ino, name, &result) : NULL;
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -ENODATA;
    const void *bytes = sqlite3_column_blob(statement, 0); // NULL when it is empty
    size_t n = (size_t)sqlite3_column_bytes(statement, 0);
    result = n > FS_XATTR_VALUE_MAX ? -EUCLEAN : n > 0 && !bytes ? -ENOMEM : 0;
    if (result == 0) {
        if (MIN(n, size) > 0)
            memcpy(value, bytes, MIN(n, size));
        *ret_n = n;
    }
    db_done(statement);
    return result;
}

int xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result == 0 && engine->scarce)
        result = -ENOSPC;
    sqlite3_stmt *statement = result == 0 ? statement_for(engine, ST_XATTR_PUT, ino, name, &result) : NULL;
    if (!statement)
        return result;
    if (n > 0)
        sqlite3_bind_blob(statement, 3, value, (int)n, SQLITE_STATIC);
    else
        sqlite3_bind_zeroblob(statement, 3, 0);
    return db_run(engine, statement);
}

int xattr_remove(struct store *store, fs_ino ino, struct fs_name name)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    sqlite3_stmt *statement = result == 0 ? statement_for(engine, ST_XATTR_DELETE, ino, name, &result) : NULL;
    if (!statement)
        return result;
    result = db_run(engine, statement);
    return result == 0 && sqlite3_changes(engine->db) == 0 ? -ENODATA : result;
}

int xattr_remove_all(struct engine *engine, fs_ino ino)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_XATTR_DELETE_ALL, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    return db_run(engine, statement);
}

// True: go on with the next row.
static bool visit_row(sqlite3_stmt *statement, store_visit_xattr *visit, void *context, int *ret_result)
{
    bool damaged = false;
    struct fs_name name = {.bytes = sqlite3_column_blob(statement, 0),
                           .length = (size_t)sqlite3_column_bytes(statement, 0)};
    size_t n = (size_t)db_integer(statement, 1, 0, FS_XATTR_VALUE_MAX, &damaged);
    if (damaged || !name.bytes || name.length > FS_XATTR_NAME_MAX) {
        *ret_result = -EUCLEAN;
        return false;
    }
    return visit(context, name, n);
}

int xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_XATTR_LIST, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    while ((result = db_step(engine, statement)) > 0) {
        result = 0;
        if (!visit_row(statement, visit, context, &result)) {
            db_done(statement);
            break;
        }
    }
    return result;
}
