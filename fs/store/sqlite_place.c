// SPDX-License-Identifier: Apache-2.0
// Where the bytes of an inode lie. A file is divided into segments of SEGMENT_SIZE, so that none of its data
// files reaches the host's limit, and each segment has a place of its own: nowhere (all zeros), a data file,
// or, for the first one alone, inline in its row of `data`. The first segment's place is that row; later ones
// have a row of `segment`, so that which of them there are is known without looking for files.
//
// Invariants: no segment that begins at or past the size has a row; inline bytes never reach past the size.
// Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <string.h>

// --- the first segment ---

// 1: there is a row, and the statement stands on it; *ret_file is 0 when its bytes are inline.
static int row_find(struct engine *engine, fs_ino ino, sqlite3_stmt **ret_statement, uint64_t *ret_file)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_DATA_GET, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    result = db_step(engine, statement);
    if (result <= 0)
        return result;
    bool damaged = false;
    uint64_t file = 0;
    if (sqlite3_column_type(statement, 0) != SQLITE_NULL)
        file = (uint64_t)db_integer(statement, 0, 1, INT64_MAX, &damaged);
    else
        damaged = sqlite3_column_type(statement, 1) != SQLITE_BLOB;
    if (damaged) {
        db_done(statement);
        return -EUCLEAN;
    }
    *ret_statement = statement;
    *ret_file = file;
    return 1;
}

static int row_load(struct engine *engine, fs_ino ino, uint64_t size, struct inline_bytes *inline_bytes,
                    uint64_t *ret_file)
{
    sqlite3_stmt *statement;
    uint64_t file = 0;
    int result = row_find(engine, ino, &statement, &file);
    if (result < 0)
        return result;
    if (result > 0 && file == 0) {
        const void *bytes = sqlite3_column_blob(statement, 1);
        size_t length = (size_t)sqlite3_column_bytes(statement, 1);
        if (length > INLINE_SIZE_MAX || (length > 0 && !bytes)) {
            db_done(statement);
            return -EUCLEAN;
        }
        inline_bytes->length = (size_t)MIN((uint64_t)length, size);
        if (inline_bytes->length > 0)
            memcpy(inline_bytes->bytes, bytes, inline_bytes->length);
    }
    if (result > 0)
        db_done(statement);
    *ret_file = file;
    return 0;
}

static int row_file(struct engine *engine, fs_ino ino, uint64_t *ret_file)
{
    sqlite3_stmt *statement;
    uint64_t file = 0;
    int result = row_find(engine, ino, &statement, &file);
    if (result < 0)
        return result;
    if (result > 0)
        db_done(statement);
    *ret_file = file;
    return 0;
}

int place_save_inline(struct engine *engine, fs_ino ino, const struct inline_bytes *inline_bytes)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_DATA_PUT, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_null(statement, 2);
    sqlite3_bind_blob(statement, 3, inline_bytes->bytes, (int)inline_bytes->length, SQLITE_STATIC);
    return db_run(engine, statement);
}

// --- later segments ---

static sqlite3_stmt *segment_statement(struct engine *engine, enum statement_id id, fs_ino ino,
                                       uint64_t segment, int *ret_result)
{
    sqlite3_stmt *statement = db_statement(engine, id, ret_result);
    if (!statement)
        return NULL;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)segment);
    return statement;
}

int place_next(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t *ret_segment, uint64_t *ret_file)
{
    int result = 0;
    sqlite3_stmt *statement = segment_statement(engine, ST_SEGMENT_NEXT, ino, segment, &result);
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -ENOENT;
    bool damaged = false;
    uint64_t found = (uint64_t)db_integer(statement, 0, 1, SEGMENT_LAST, &damaged);
    uint64_t file = (uint64_t)db_integer(statement, 1, 1, INT64_MAX, &damaged);
    db_done(statement);
    if (damaged)
        return -EUCLEAN;
    *ret_segment = found;
    *ret_file = file;
    return 0;
}

static int segment_file(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t *ret_file)
{
    uint64_t found, file;
    int result = place_next(engine, ino, segment, &found, &file);
    if (result < 0 && result != -ENOENT)
        return result;
    *ret_file = result == 0 && found == segment ? file : 0;
    return 0;
}

int place_drop_segment(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t file)
{
    int result = intent_add(engine, file, INTENT_UNLINK);
    sqlite3_stmt *statement =
        result == 0 ? segment_statement(engine, ST_SEGMENT_DELETE, ino, segment, &result) : NULL;
    return statement ? db_run(engine, statement) : result;
}

int place_drop_from(struct engine *engine, fs_ino ino, uint64_t segment)
{
    uint64_t found, file;
    int result;
    while ((result = place_next(engine, ino, segment, &found, &file)) == 0) {
        result = place_drop_segment(engine, ino, found, file);
        if (result < 0)
            return result;
    }
    return result == -ENOENT ? 0 : result;
}

// --- any segment ---

int place_load(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t size,
               struct inline_bytes *inline_bytes, uint64_t *ret_file)
{
    inline_bytes->length = 0;
    return segment == 0 ? row_load(engine, ino, size, inline_bytes, ret_file)
                        : segment_file(engine, ino, segment, ret_file);
}

int place_file(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t *ret_file)
{
    return segment == 0 ? row_file(engine, ino, ret_file) : segment_file(engine, ino, segment, ret_file);
}

int place_save_file(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t file)
{
    int result = 0;
    sqlite3_stmt *statement = segment == 0 ? db_statement(engine, ST_DATA_PUT, &result)
                                           : segment_statement(engine, ST_SEGMENT_PUT, ino, segment, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_int64(statement, segment == 0 ? 2 : 3, (sqlite3_int64)file);
    return db_run(engine, statement);
}

int place_drop_all(struct engine *engine, fs_ino ino, uint64_t size)
{
    sqlite3_stmt *statement;
    uint64_t file;
    int result = size > SEGMENT_SIZE ? place_drop_from(engine, ino, 1) : 0;
    if (result == 0)
        result = row_find(engine, ino, &statement, &file);
    if (result <= 0)
        return result;
    db_done(statement);
    result = file != 0 ? intent_add(engine, file, INTENT_UNLINK) : 0;
    statement = result >= 0 ? db_statement(engine, ST_DATA_DELETE, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    return db_run(engine, statement);
}

int place_later_blocks(struct engine *engine, fs_ino ino, uint64_t *ret_blocks)
{
    uint64_t segment = 0, file, sum = 0, blocks;
    int result;
    while ((result = place_next(engine, ino, segment + 1, &segment, &file)) == 0) {
        result = datafile_blocks(engine, file, &blocks);
        if (result < 0)
            return result;
        sum += blocks;
    }
    if (result != -ENOENT)
        return result;
    *ret_blocks = sum;
    return 0;
}
