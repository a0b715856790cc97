// SPDX-License-Identifier: Apache-2.0
// Intents: what frees or shrinks a data file is first committed as a row and acted on only after the log that
// holds the row is on disk; otherwise a power loss could roll the log back to a file whose bytes are gone.
// Invariant: a committed intent to cut says the file's committed size, because whoever grows the file again
// settles the intent first; so acting on one twice, or after a crash, does no harm. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>

static sqlite3_stmt *statement_for_file(struct engine *engine, enum statement_id id, uint64_t file,
                                        int *ret_result)
{
    sqlite3_stmt *statement = db_statement(engine, id, ret_result);
    if (statement)
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)file);
    return statement;
}

int intent_add(struct engine *engine, uint64_t file, int64_t size)
{
    int result = 0;
    uint64_t seq = engine->intent_last + 1;
    sqlite3_stmt *statement = db_statement(engine, ST_INTENT_PUT, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)seq);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)file);
    sqlite3_bind_int64(statement, 3, size);
    result = db_run(engine, statement);
    if (result == 0) {
        engine->intent_last = seq;
        engine->intents_left = true;
    }
    return result;
}

int intent_get(struct engine *engine, uint64_t file, bool *ret_committed)
{
    int result = -ENOENT;
    if (!engine->intents_left)
        return result;
    sqlite3_stmt *statement = statement_for_file(engine, ST_INTENT_GET, file, &result);
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -ENOENT;
    *ret_committed = (uint64_t)sqlite3_column_int64(statement, 0) <= engine->intent_committed;
    db_done(statement);
    return 0;
}

int intent_drop(struct engine *engine, uint64_t file)
{
    int result = 0;
    sqlite3_stmt *statement = statement_for_file(engine, ST_INTENT_DELETE, file, &result);
    return statement ? db_run(engine, statement) : result;
}

struct intent {
    uint64_t file;
    int64_t size;
};

static int intent_batch(struct engine *engine, struct intent batch[INTENT_BATCH_MAX])
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_INTENT_LIST, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)engine->intent_synced);
    sqlite3_bind_int64(statement, 2, INTENT_BATCH_MAX);
    int n = 0;
    bool damaged = false;
    while ((result = db_step(engine, statement)) > 0) {
        batch[n].file = (uint64_t)db_integer(statement, 0, 1, INT64_MAX, &damaged);
        batch[n].size = db_integer(statement, 1, INTENT_UNLINK, INT64_MAX, &damaged);
        n++;
    }
    if (damaged)
        return -EUCLEAN;
    return result < 0 ? result : n;
}

static int intent_do(struct engine *engine, const struct intent *intent)
{
    if (intent->size == INTENT_UNLINK)
        return datafile_unlink(engine, intent->file);
    struct datafile *file;
    struct stat status;
    int result = datafile_get(engine, intent->file, &file);
    if (result == 0)
        result = datafile_cut(engine, file, (uint64_t)intent->size);
    if (result < 0)
        return result;
    // To its own length, too: that gives back what was allocated past it.
    return fstat(file->fd, &status) < 0 || ftruncate(file->fd, status.st_size) < 0 ? -errno : 0;
}

// Outside a transaction that the callers of the store see, so plain statements.
static int intent_forget(struct engine *engine, const struct intent *batch, int n)
{
    int result = db_run_id(engine, ST_BEGIN);
    for (int i = 0; result == 0 && i < n; i++)
        result = intent_drop(engine, batch[i].file);
    if (result == 0)
        result = db_run_id(engine, ST_COMMIT);
    if (result < 0 && !sqlite3_get_autocommit(engine->db))
        db_run_id(engine, ST_ROLLBACK);
    return result;
}

int intent_act(struct engine *engine, bool *ret_more)
{
    struct intent batch[INTENT_BATCH_MAX];
    int n = intent_batch(engine, batch);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        int result = intent_do(engine, &batch[i]);
        if (result < 0)
            return result;
    }
    int result = n > 0 ? intent_forget(engine, batch, n) : 0;
    if (result < 0)
        return result;
    if (n < INTENT_BATCH_MAX && engine->intent_synced >= engine->intent_last)
        engine->intents_left = false;
    *ret_more = n == INTENT_BATCH_MAX;
    return 0;
}
