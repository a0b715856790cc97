// SPDX-License-Identifier: Apache-2.0
// Quota rows: limits, and what the inodes that name a quota come to. Invariant: a row that would be all zeros
// is not there. Written at every change, so that SQLite undoes them with the inodes. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>

int quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_QUOTA_GET, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    result = db_step(engine, statement);
    if (result == 0)
        *ret_quota = (struct store_quota){0};
    if (result <= 0)
        return result;
    bool damaged = false;
    struct store_quota quota = {
        .max_bytes = (uint64_t)db_integer(statement, 0, 0, INT64_MAX, &damaged),
        .max_inodes = (uint64_t)db_integer(statement, 1, 0, INT64_MAX, &damaged),
        .bytes = (uint64_t)db_integer(statement, 2, INT64_MIN, INT64_MAX, &damaged), // modulo 2^64
        .inodes = (uint64_t)db_integer(statement, 3, 0, INT64_MAX, &damaged),
    };
    db_done(statement);
    if (damaged)
        return -EUCLEAN;
    *ret_quota = quota;
    return 0;
}

static int save(struct engine *engine, fs_ino id, const struct store_quota *quota)
{
    bool any = quota->max_bytes || quota->max_inodes || quota->bytes || quota->inodes;
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, any ? ST_QUOTA_PUT : ST_QUOTA_DELETE, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    if (any) {
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)quota->max_bytes);
        sqlite3_bind_int64(statement, 3, (sqlite3_int64)quota->max_inodes);
        sqlite3_bind_int64(statement, 4, (sqlite3_int64)quota->bytes);
        sqlite3_bind_int64(statement, 5, (sqlite3_int64)quota->inodes);
    }
    return db_run(engine, statement);
}

int quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes)
{
    struct engine *engine = engine_of(store);
    struct store_quota quota;
    int result = engine_writable(engine);
    if (result == 0)
        result = quota_get(store, id, &quota);
    if (result < 0)
        return result;
    quota.max_bytes = max_bytes;
    quota.max_inodes = max_inodes;
    return save(engine, id, &quota);
}

int quota_charge(struct engine *engine, fs_ino id, uint64_t bytes, uint64_t inodes)
{
    struct store_quota quota;
    if (id == 0 || (bytes == 0 && inodes == 0))
        return 0;
    int result = quota_get(&engine->store, id, &quota);
    if (result < 0)
        return result;
    quota.bytes += bytes;
    quota.inodes += inodes;
    return save(engine, id, &quota);
}
