// SPDX-License-Identifier: Apache-2.0
// Reading, writing and resizing. Where each segment's bytes lie: sqlite_place.c; "local" offsets and sizes
// are those within a segment. Inline bytes change with the transaction. Data files are written in place,
// before the commit that makes it visible; what shrinks or frees one becomes an intent.
//
// Invariant: a data file may be longer than the size (a rollback, a crash or a pending cut leaves it so), and
// therefore whatever makes the size larger calls settle() first, so that old bytes never come to lie inside
// it. Only the segment in which the size lies can be too long. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <string.h>

// --- read ---

static int read_piece(struct engine *engine, fs_ino ino, uint64_t size, uint64_t offset, void *bytes,
                      size_t n)
{
    struct inline_bytes inline_bytes;
    struct datafile *open;
    uint64_t file, segment = segment_of(offset), local = offset % SEGMENT_SIZE;
    int result = place_load(engine, ino, segment, segment_bytes(size, segment), &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file != 0) {
        result = datafile_get(engine, file, &open);
        return result == 0 ? datafile_read(open, local, bytes, n) : result;
    }
    size_t there = local < inline_bytes.length ? MIN(inline_bytes.length - (size_t)local, n) : 0;
    if (there > 0)
        memcpy(bytes, inline_bytes.bytes + local, there);
    memset((uint8_t *)bytes + there, 0, n - there);
    return 0;
}

int data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    size_t done = 0;
    while (result == 0 && done < n) {
        size_t step = (size_t)segment_step(offset + done, n - done);
        result = read_piece(engine, ino, size, offset + done, (uint8_t *)bytes + done, step);
        done += step;
    }
    if (result == 0)
        *ret_n = n;
    return result;
}

// --- write ---

// A new, empty data file that a rollback removes.
static int new_file(struct engine *engine, fs_ino ino, uint64_t segment, struct datafile **ret_file)
{
    uint64_t file;
    struct datafile *made;
    int result = engine_take(engine, NUMBER_FILE, 1, &file);
    if (result == 0)
        result = datafile_create(engine, file, &made);
    if (result < 0)
        return result;
    result = grown_add(engine, ino, segment, file, true);
    if (result < 0) {
        datafile_unlink(engine, file);
        return result;
    }
    engine->files_dirty = true;
    *ret_file = made;
    return 0;
}

// The inline bytes go to a data file. What a sync may have promised to keep must be on disk there before the
// commit that drops the inline copy.
static int move_out(struct engine *engine, fs_ino ino, uint64_t segment,
                    const struct inline_bytes *inline_bytes, struct datafile **ret_file)
{
    struct datafile *file;
    int result = new_file(engine, ino, segment, &file);
    if (result == 0 && inline_bytes->length > 0)
        result = datafile_write(file, 0, inline_bytes->bytes, inline_bytes->length);
    if (result == 0 && inline_bytes->length > 0 && ino < engine->unsynced_ino_floor)
        result = datafile_sync(engine, file);
    if (result == 0)
        result = place_save_file(engine, ino, segment, file->node.key);
    if (result == 0)
        *ret_file = file;
    return result;
}

// The file's old bytes past the size may still be needed should this transaction roll back, so the part that
// stays is copied to a file of its own.
static int move_to_copy(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t local_size,
                        uint64_t old_file, struct datafile **ret_file)
{
    struct datafile *copy, *old;
    int result = new_file(engine, ino, segment, &copy);
    if (result < 0)
        return result;
    uint64_t file = copy->node.key;
    result = datafile_get(engine, old_file, &old);
    if (result == 0)
        result = datafile_copy(old, copy->fd, local_size);
    if (result == 0)
        result = datafile_sync(engine, copy);
    if (result == 0)
        result = place_save_file(engine, ino, segment, file);
    if (result == 0)
        result = intent_add(engine, old_file, INTENT_UNLINK);
    if (result == 0)
        *ret_file = copy;
    return result;
}

// Makes a segment's data file end at or before its part of the size, so that the size may grow. *ret_file may
// become another file.
static int settle(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t local_size,
                  struct datafile **ret_file)
{
    uint64_t file = (*ret_file)->node.key;
    bool committed;
    int result = intent_get(engine, file, &committed);
    if (result == -ENOENT)
        return datafile_cut(engine, *ret_file, local_size);
    if (result < 0)
        return result;
    if (!committed)
        return move_to_copy(engine, ino, segment, local_size, file, ret_file);
    result = log_sync(engine);
    if (result == 0)
        result = datafile_cut(engine, *ret_file, local_size);
    return result == 0 ? intent_drop(engine, file) : result;
}

int data_settle(struct engine *engine, fs_ino ino, uint64_t size)
{
    struct datafile *open;
    uint64_t file, segment = segment_of(size);
    int result = place_file(engine, ino, segment, &file);
    if (result < 0 || file == 0)
        return result;
    result = datafile_get(engine, file, &open);
    return result == 0 ? settle(engine, ino, segment, segment_bytes(size, segment), &open) : result;
}

int data_open(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t local_size,
              struct datafile **ret_file)
{
    struct inline_bytes inline_bytes;
    uint64_t file;
    int result = place_load(engine, ino, segment, local_size, &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file == 0)
        return move_out(engine, ino, segment, &inline_bytes, ret_file);
    result = grown_add(engine, ino, segment, file, false);
    if (result < 0)
        return result;
    engine->files_dirty = true;
    return datafile_get(engine, file, ret_file);
}

static int write_file(struct engine *engine, fs_ino ino, uint64_t file, uint64_t size, uint64_t offset,
                      const void *bytes, size_t n)
{
    struct datafile *open;
    uint64_t segment = segment_of(offset), local = offset % SEGMENT_SIZE,
             local_size = segment_bytes(size, segment);
    bool grows = local + n > local_size;
    int result = datafile_get(engine, file, &open);
    if (result == 0 && grows)
        result = settle(engine, ino, segment, local_size, &open);
    if (result == 0 && grows)
        result = grown_add(engine, ino, segment, open->node.key, false);
    if (result < 0)
        return result;
    engine->files_dirty = true;
    result = datafile_write(open, local, bytes, n);
    if (result < 0 && grows)
        (void)!datafile_cut(engine, open,
                            local_size); // gives the room back now; the next growth would cut it in any case
    return result;
}

static int write_piece(struct engine *engine, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                       size_t n)
{
    struct inline_bytes inline_bytes;
    struct datafile *open;
    uint64_t file, segment = segment_of(offset), local = offset % SEGMENT_SIZE;
    int result = place_load(engine, ino, segment, segment_bytes(size, segment), &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file != 0)
        return write_file(engine, ino, file, size, offset, bytes, n);
    if (segment > 0 || local + n > INLINE_SIZE_MAX) {
        result = move_out(engine, ino, segment, &inline_bytes, &open);
        return result == 0 ? datafile_write(open, local, bytes, n) : result;
    }
    if (local > inline_bytes.length)
        memset(inline_bytes.bytes + inline_bytes.length, 0, (size_t)local - inline_bytes.length);
    memcpy(inline_bytes.bytes + local, bytes, n);
    inline_bytes.length = MAX(inline_bytes.length, (size_t)local + n);
    return place_save_inline(engine, ino, &inline_bytes);
}

static int write_pieces(struct engine *engine, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                        size_t n)
{
    int result = segment_of(offset) > segment_of(size) ? data_settle(engine, ino, size) : 0;
    size_t done = 0;
    while (result == 0 && done < n) {
        size_t step = (size_t)segment_step(offset + done, n - done);
        result = write_piece(engine, ino, size, offset + done, (const uint8_t *)bytes + done, step);
        done += step;
        size = MAX(size, offset + done);
    }
    return result;
}

int data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes, size_t n)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result < 0)
        return result;
    if (engine->scarce && offset + n > size)
        return -ENOSPC;
    result = write_pieces(engine, ino, size, offset, bytes, n);
    if (result == -ENOSPC)
        reserve_give_back(engine);
    return result;
}

// --- resize ---

// A file may have room past its end, too.
static bool reaches_past(const struct stat *status, uint64_t size)
{
    return (uint64_t)status->st_size > size ||
           (uint64_t)status->st_blocks * 512 > size + (uint64_t)status->st_blksize;
}

static int shrink_file(struct engine *engine, uint64_t file, uint64_t local_to)
{
    struct datafile *open;
    struct stat status;
    int result = datafile_get(engine, file, &open);
    if (result < 0)
        return result;
    if (fstat(open->fd, &status) < 0)
        return -errno;
    return reaches_past(&status, local_to) ? intent_add(engine, file, (int64_t)local_to) : 0;
}

static int shrink(struct engine *engine, fs_ino ino, uint64_t from, uint64_t to)
{
    struct inline_bytes inline_bytes;
    uint64_t file, segment = segment_of(to), local_to = to % SEGMENT_SIZE;
    int result = from > SEGMENT_SIZE ? place_drop_from(engine, ino, segment + (local_to != 0)) : 0;
    if (result < 0 || local_to == 0)
        return result;
    result = place_load(engine, ino, segment, local_to, &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file != 0)
        return shrink_file(engine, file, local_to);
    return inline_bytes.length > 0 ? place_save_inline(engine, ino, &inline_bytes) : 0;
}

int data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result < 0)
        return result;
    if (to == 0)
        return place_drop_all(engine, ino, from);
    return to < from ? shrink(engine, ino, from, to) : data_settle(engine, ino, from);
}
