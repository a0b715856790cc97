// SPDX-License-Identifier: Apache-2.0
// Directory entry rows: found by (parent, name), listed by (parent, cookie), their parents found by inode
// number. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>

#define COOKIE_MAX ((INT64_C(1) << 62) - 1)

static sqlite3_stmt *statement_for(struct engine *engine, enum statement_id id, fs_ino parent,
                                   int *ret_result)
{
    sqlite3_stmt *statement = db_statement(engine, id, ret_result);
    if (statement)
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)parent);
    return statement;
}

// The name outlives the statement's run.
static sqlite3_stmt *statement_for_name(struct engine *engine, enum statement_id id, fs_ino parent,
                                        struct fs_name name, int *ret_result)
{
    sqlite3_stmt *statement = statement_for(engine, id, parent, ret_result);
    if (statement)
        sqlite3_bind_blob(statement, 2, name.bytes, (int)name.length, SQLITE_STATIC);
    return statement;
}

static int dentry_from_row(sqlite3_stmt *statement, struct store_dentry *ret_dentry)
{
    bool damaged = false;
    struct store_dentry dentry = {.ino = (fs_ino)db_integer(statement, 0, 1, INT64_MAX, &damaged),
                                  .type = (uint32_t)db_integer(statement, 1, S_IFIFO, S_IFSOCK, &damaged),
                                  .cookie = (uint64_t)db_integer(statement, 2, 1, COOKIE_MAX, &damaged)};
    if (damaged || (dentry.type & S_IFMT) != dentry.type)
        return -EUCLEAN;
    *ret_dentry = dentry;
    return 0;
}

int dentry_get(struct store *store, fs_ino parent, struct fs_name name, struct store_dentry *ret_dentry)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement =
        result == 0 ? statement_for_name(engine, ST_DENTRY_GET, parent, name, &result) : NULL;
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -ENOENT;
    result = dentry_from_row(statement, ret_dentry);
    db_done(statement);
    return result;
}

static int run_changing_one(struct engine *engine, sqlite3_stmt *statement, int error_when_none)
{
    int result = db_run(engine, statement);
    if (result == 0 && sqlite3_changes(engine->db) == 0)
        result = error_when_none;
    return result;
}

int dentry_put(struct store *store, fs_ino parent, struct fs_name name, const struct store_dentry *dentry)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    sqlite3_stmt *statement =
        result == 0 ? statement_for_name(engine, ST_DENTRY_INSERT, parent, name, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)dentry->ino);
    sqlite3_bind_int64(statement, 4, dentry->type);
    sqlite3_bind_int64(statement, 5, (sqlite3_int64)dentry->cookie);
    return run_changing_one(engine, statement, -EEXIST);
}

int dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    sqlite3_stmt *statement =
        result == 0 ? statement_for_name(engine, ST_DENTRY_UPDATE, parent, name, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)ino);
    sqlite3_bind_int64(statement, 4, type);
    return run_changing_one(engine, statement, -ENOENT);
}

int dentry_remove(struct store *store, fs_ino parent, struct fs_name name)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    sqlite3_stmt *statement =
        result == 0 ? statement_for_name(engine, ST_DENTRY_DELETE, parent, name, &result) : NULL;
    return statement ? run_changing_one(engine, statement, -ENOENT) : result;
}

// 1: go on; 0: the visitor has had enough; or an error.
static int visit_row(struct engine *engine, sqlite3_stmt *statement, bool inodes, store_visit_dentry *visit,
                     void *context)
{
    struct store_dentry dentry;
    int result = dentry_from_row(statement, &dentry);
    if (result < 0)
        return result;
    struct fs_name name = {.bytes = sqlite3_column_blob(statement, 3),
                           .length = (size_t)sqlite3_column_bytes(statement, 3)};
    if (sqlite3_column_type(statement, 3) != SQLITE_BLOB || fs_name_check(name) < 0)
        return -EUCLEAN;
    struct store_inode inode;
    bool found = inodes && sqlite3_column_type(statement, 4) != SQLITE_NULL;
    if (found)
        result = inode_from_row(engine, statement, 4, &inode);
    if (result < 0)
        return result;
    return visit(context, name, &dentry, found ? &inode : NULL) ? 1 : 0;
}

int dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes, store_visit_dentry *visit,
                void *context)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement =
        result == 0 ? statement_for(engine, inodes ? ST_DENTRY_LIST_INODES : ST_DENTRY_LIST, parent, &result)
                    : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)after);
    while ((result = db_step(engine, statement)) > 0) {
        result = visit_row(engine, statement, inodes, visit, context);
        if (result <= 0)
            break;
    }
    db_done(statement);
    return result;
}

int dentry_any(struct store *store, fs_ino parent, bool *ret_any)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? statement_for(engine, ST_DENTRY_ANY, parent, &result) : NULL;
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result < 0)
        return result;
    db_done(statement);
    *ret_any = result > 0;
    return 0;
}

int dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? statement_for(engine, ST_DENTRY_PARENTS, ino, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)max);
    int n = 0;
    bool damaged = false;
    while ((result = db_step(engine, statement)) > 0)
        ret_parents[n++] = (fs_ino)db_integer(statement, 0, 1, INT64_MAX, &damaged);
    if (damaged)
        return -EUCLEAN;
    return result < 0 ? result : n;
}
