// SPDX-License-Identifier: Apache-2.0
// Where the bytes of an inode lie: nowhere (all zeros), inline in its row of `data`, or in a data file that
// the row names. Inline bytes change with the transaction. Data files are written in place, before the commit
// that makes it visible; what shrinks or frees one becomes an intent.
//
// Invariants: inline bytes never reach past the size. A data file may be longer than the size (a rollback, a
// crash or a pending cut leaves it so), and therefore whatever makes the size larger calls settle() first, so
// that old bytes never come to lie inside it. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <string.h>

struct inline_bytes {
    size_t length;
    uint8_t bytes[INLINE_SIZE_MAX];
};

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

int data_file(struct engine *engine, fs_ino ino, uint64_t *ret_file)
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

// The data file, or 0 and the inline bytes of a file of this size.
static int row_load(struct engine *engine, fs_ino ino, uint64_t size, struct inline_bytes *inline_bytes,
                    uint64_t *ret_file)
{
    sqlite3_stmt *statement;
    uint64_t file = 0;
    inline_bytes->length = 0;
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

static int row_save_inline(struct engine *engine, fs_ino ino, const struct inline_bytes *inline_bytes)
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

static int row_save_file(struct engine *engine, fs_ino ino, uint64_t file)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_DATA_PUT, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)file);
    return db_run(engine, statement);
}

// --- read ---

int data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n)
{
    struct engine *engine = engine_of(store);
    struct inline_bytes inline_bytes;
    uint64_t file;
    int result = engine->broken;
    if (result == 0)
        result = row_load(engine, ino, size, &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file != 0) {
        struct datafile *open;
        result = datafile_get(engine, file, &open);
        if (result == 0)
            result = datafile_read(open, offset, bytes, n);
    } else {
        size_t there = offset < inline_bytes.length ? MIN(inline_bytes.length - (size_t)offset, n) : 0;
        if (there > 0)
            memcpy(bytes, inline_bytes.bytes + offset, there);
        memset((uint8_t *)bytes + there, 0, n - there);
    }
    if (result == 0)
        *ret_n = n;
    return result;
}

// --- write ---

// A new, empty data file that a rollback removes.
static int new_file(struct engine *engine, fs_ino ino, struct datafile **ret_file)
{
    uint64_t file;
    struct datafile *made;
    int result = engine_take(engine, NUMBER_FILE, 1, &file);
    if (result == 0)
        result = datafile_create(engine, file, &made);
    if (result < 0)
        return result;
    result = grown_add(engine, ino, file, true);
    if (result < 0) {
        datafile_unlink(engine, file);
        return result;
    }
    engine->files_dirty = true;
    *ret_file = made;
    return 0;
}

// The inline bytes and the new ones go to a data file. What a sync may have promised to keep must be on disk
// there before the commit that drops the inline copy.
static int move_out(struct engine *engine, fs_ino ino, const struct inline_bytes *inline_bytes,
                    uint64_t offset, const void *bytes, size_t n)
{
    struct datafile *file;
    int result = new_file(engine, ino, &file);
    if (result == 0 && inline_bytes->length > 0)
        result = datafile_write(file, 0, inline_bytes->bytes, inline_bytes->length);
    if (result == 0)
        result = datafile_write(file, offset, bytes, n);
    if (result == 0 && inline_bytes->length > 0 && ino < engine->unsynced_ino_floor)
        result = datafile_sync(engine, file);
    return result == 0 ? row_save_file(engine, ino, file->node.key) : result;
}

// The file's old bytes past the size may still be needed should this transaction roll back, so the part that
// stays is copied to a file of its own.
static int move_to_copy(struct engine *engine, fs_ino ino, uint64_t size, uint64_t old_file,
                        struct datafile **ret_file)
{
    struct datafile *copy, *old;
    int result = new_file(engine, ino, &copy);
    if (result < 0)
        return result;
    uint64_t file = copy->node.key;
    result = datafile_get(engine, old_file, &old);
    if (result == 0)
        result = datafile_copy(old, copy->fd, size);
    if (result == 0)
        result = datafile_sync(engine, copy);
    if (result == 0)
        result = row_save_file(engine, ino, file);
    if (result == 0)
        result = intent_add(engine, old_file, INTENT_UNLINK);
    if (result == 0)
        *ret_file = copy;
    return result;
}

static int cut(const struct datafile *file, uint64_t size)
{
    struct stat status;
    if (fstat(file->fd, &status) < 0)
        return -errno;
    return (uint64_t)status.st_size > size && ftruncate(file->fd, (off_t)size) < 0 ? -errno : 0;
}

// Makes the inode's data file end at or before its size, so that the size may grow. *ret_file may become
// another file.
static int settle(struct engine *engine, fs_ino ino, uint64_t size, struct datafile **ret_file)
{
    uint64_t file = (*ret_file)->node.key;
    bool committed;
    int result = intent_get(engine, file, &committed);
    if (result == -ENOENT)
        return cut(*ret_file, size);
    if (result < 0)
        return result;
    if (!committed)
        return move_to_copy(engine, ino, size, file, ret_file);
    result = log_sync(engine);
    if (result == 0)
        result = cut(*ret_file, size);
    return result == 0 ? intent_drop(engine, file) : result;
}

static int write_file(struct engine *engine, fs_ino ino, uint64_t file, uint64_t size, uint64_t offset,
                      const void *bytes, size_t n)
{
    struct datafile *open;
    bool grows = offset + n > size;
    int result = datafile_get(engine, file, &open);
    if (result == 0 && grows)
        result = settle(engine, ino, size, &open);
    if (result == 0 && grows)
        result = grown_add(engine, ino, open->node.key, false);
    if (result < 0)
        return result;
    engine->files_dirty = true;
    result = datafile_write(open, offset, bytes, n);
    if (result < 0 && grows)
        (void)!cut(open, size); // gives the room back now; the next growth would cut it in any case
    return result;
}

static int write_anywhere(struct engine *engine, fs_ino ino, uint64_t size, uint64_t offset,
                          const void *bytes, size_t n)
{
    struct inline_bytes inline_bytes;
    uint64_t file;
    int result = row_load(engine, ino, size, &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file != 0)
        return write_file(engine, ino, file, size, offset, bytes, n);
    if (offset + n > INLINE_SIZE_MAX)
        return move_out(engine, ino, &inline_bytes, offset, bytes, n);
    if (offset > inline_bytes.length)
        memset(inline_bytes.bytes + inline_bytes.length, 0, (size_t)offset - inline_bytes.length);
    memcpy(inline_bytes.bytes + offset, bytes, n);
    inline_bytes.length = MAX(inline_bytes.length, (size_t)offset + n);
    return row_save_inline(engine, ino, &inline_bytes);
}

int data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes, size_t n)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result < 0)
        return result;
    if (engine->scarce && offset + n > size)
        return -ENOSPC;
    result = write_anywhere(engine, ino, size, offset, bytes, n);
    if (result == -ENOSPC)
        reserve_give_back(engine);
    return result;
}

// --- resize and remove ---

int data_remove(struct engine *engine, fs_ino ino)
{
    sqlite3_stmt *statement;
    uint64_t file;
    int result = row_find(engine, ino, &statement, &file);
    if (result <= 0)
        return result;
    db_done(statement);
    if (file != 0)
        result = intent_add(engine, file, INTENT_UNLINK);
    statement = result >= 0 ? db_statement(engine, ST_DATA_DELETE, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    return db_run(engine, statement);
}

static int shrink_file(struct engine *engine, uint64_t file, uint64_t to)
{
    struct datafile *open;
    struct stat status;
    int result = datafile_get(engine, file, &open);
    if (result < 0)
        return result;
    if (fstat(open->fd, &status) < 0)
        return -errno;
    return (uint64_t)status.st_size > to ? intent_add(engine, file, (int64_t)to) : 0;
}

int data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to)
{
    struct engine *engine = engine_of(store);
    struct inline_bytes inline_bytes;
    uint64_t file;
    int result = engine_writable(engine);
    if (result == 0 && to == 0)
        return data_remove(engine, ino);
    if (result == 0)
        result = row_load(engine, ino, MIN(from, to), &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file != 0 && to < from)
        return shrink_file(engine, file, to);
    if (file != 0) {
        struct datafile *open;
        result = datafile_get(engine, file, &open);
        return result == 0 ? settle(engine, ino, from, &open) : result;
    }
    return to < from && inline_bytes.length > 0 ? row_save_inline(engine, ino, &inline_bytes) : 0;
}
