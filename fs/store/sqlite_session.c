// SPDX-License-Identifier: Apache-2.0
// Session rows: what a server keeps of its clients, by (session, part). Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>

int session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_SESSION_PUT, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    sqlite3_bind_int64(statement, 2, part);
    sqlite3_bind_blob(statement, 3, bytes, (int)n, SQLITE_STATIC);
    return db_run(engine, statement);
}

int session_remove(struct store *store, uint64_t id)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_SESSION_DELETE, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
    result = db_run(engine, statement);
    return result == 0 && sqlite3_changes(engine->db) == 0 ? -ENOENT : result;
}

// True: go on with the next row.
static bool visit_row(sqlite3_stmt *statement, store_visit_session *visit, void *context, int *ret_result)
{
    bool damaged = false;
    uint64_t id = (uint64_t)db_integer(statement, 0, 1, INT64_MAX, &damaged);
    uint32_t part = (uint32_t)db_integer(statement, 1, 0, STORE_SESSION_PARTS - 1, &damaged);
    const void *bytes = sqlite3_column_blob(statement, 2);
    int n = sqlite3_column_bytes(statement, 2);
    if (damaged || !bytes || n > (int)STORE_SESSION_PART_MAX) {
        *ret_result = -EUCLEAN;
        return false;
    }
    return visit(context, id, part, bytes, (size_t)n);
}

int session_list(struct store *store, store_visit_session *visit, void *context)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_SESSION_LIST, &result) : NULL;
    if (!statement)
        return result;
    while ((result = db_step(engine, statement)) > 0) {
        result = 0;
        if (!visit_row(statement, visit, context, &result)) {
            db_done(statement);
            break;
        }
    }
    return result;
}
