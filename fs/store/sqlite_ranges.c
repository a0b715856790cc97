// SPDX-License-Identifier: Apache-2.0
// Ranges of a file: room for them, zeros in them, what of them is data, copies of them. Bytes that lie inline
// change with the transaction; data files are changed in place, as an overwrite does. Only a later segment
// that loses all of its bytes is forgotten, by an intent. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#define HOST_BLOCK_SIZE 4096u // of most hosts, and a multiple of what the others have

// --- room ---

static int host_error(void)
{
    return errno == EDQUOT ? -ENOSPC : errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

static int host_fallocate(const struct datafile *file, int mode, uint64_t local, uint64_t n)
{
    while (fallocate(file->fd, mode, (off_t)local, (off_t)n) < 0)
        if (errno != EINTR)
            return host_error();
    return 0;
}

// Filling the disk to find out that it is too small would stop everybody else. What the file already has may
// lie in the range.
static int check_room(struct engine *engine, fs_ino ino, uint64_t n)
{
    struct statvfs space;
    struct store_inode inode;
    int result = engine_inode_get(&engine->store, ino, &inode);
    if (result < 0 && result != -ENOENT)
        return result;
    uint64_t has = result == 0 ? inode.attr.blocks * 512 : 0;
    if (fstatvfs(engine->data_fd, &space) < 0)
        return -errno;
    return n > space.f_bavail * space.f_frsize + has ? -ENOSPC : 0;
}

static int allocate_inline(struct engine *engine, fs_ino ino, struct inline_bytes *inline_bytes, uint64_t end)
{
    if (inline_bytes->length >= end)
        return 0;
    memset(inline_bytes->bytes + inline_bytes->length, 0, (size_t)end - inline_bytes->length);
    inline_bytes->length = (size_t)end;
    return place_save_inline(engine, ino, inline_bytes);
}

static int allocate_piece(struct engine *engine, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                          uint64_t n)
{
    struct inline_bytes inline_bytes;
    struct datafile *open;
    uint64_t file, segment = segment_of(offset), local = offset % SEGMENT_SIZE;
    uint64_t local_from = segment_bytes(from, segment), local_to = segment_bytes(to, segment);
    bool past = local + n > local_from;
    if (segment > 0 && local_to == 0)
        return 0; // a segment past the size has no place
    int result = place_load(engine, ino, segment, local_from, &inline_bytes, &file);
    if (result == 0 && file == 0 && segment == 0 && local + n <= INLINE_SIZE_MAX)
        return allocate_inline(engine, ino, &inline_bytes, MIN(local + n, local_to));
    if (result == 0)
        result = data_open(engine, ino, segment, local_from, &open);
    if (result < 0)
        return result;
    result = host_fallocate(open, to > from ? 0 : FALLOC_FL_KEEP_SIZE, local, n);
    struct stat status;
    if (result < 0 && past &&
        fstat(open->fd, &status) == 0) // gives back what it got, past the file's end too
        (void)!ftruncate(open->fd, MIN(status.st_size, (off_t)local_from));
    return result;
}

int data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset, uint64_t n)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result == 0)
        result = engine->scarce ? -ENOSPC : check_room(engine, ino, n);
    if (result == 0 && offset + n > from)
        result = data_settle(engine, ino, from);
    for (uint64_t done = 0; result == 0 && done < n;) {
        uint64_t step = segment_step(offset + done, n - done);
        result = allocate_piece(engine, ino, from, to, offset + done, step);
        done += step;
        if (segment_of(offset + done) > segment_of(to))
            break;
    }
    return result;
}

// --- zeros ---

static int zero_inline(struct engine *engine, fs_ino ino, uint64_t size, uint64_t start, uint64_t end,
                       bool keep_room)
{
    struct inline_bytes inline_bytes;
    uint64_t file;
    int result = place_load(engine, ino, 0, size, &inline_bytes, &file);
    if (result < 0 || start >= inline_bytes.length)
        return result;
    if (end < inline_bytes.length || keep_room)
        memset(inline_bytes.bytes + start, 0, (size_t)(MIN(end, inline_bytes.length) - start));
    else
        inline_bytes.length = (size_t)start;
    return place_save_inline(engine, ino, &inline_bytes);
}

// A block that the size ends in is given back whole, unless the rest of it waits to be cut off.
static int whole_block(struct engine *engine, uint64_t file, uint64_t local_size, uint64_t *end)
{
    bool committed;
    int result = *end == local_size ? intent_get(engine, file, &committed) : 0;
    if (result != -ENOENT)
        return result;
    *end += -*end % HOST_BLOCK_SIZE;
    return 0;
}

static int zero_file(struct engine *engine, uint64_t file, uint64_t local_size, uint64_t start, uint64_t end,
                     bool keep_room)
{
    struct datafile *open;
    int result = whole_block(engine, file, local_size, &end);
    if (result == 0)
        result = datafile_get(engine, file, &open);
    if (result < 0)
        return result;
    engine->files_dirty = true;
    if (keep_room) {
        result = host_fallocate(open, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, start, end - start);
        if (result != -EOPNOTSUPP)
            return result;
    }
    return host_fallocate(open, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start);
}

static int zero_later(struct engine *engine, fs_ino ino, uint64_t size, uint64_t start, uint64_t end,
                      bool keep_room)
{
    uint64_t segment = segment_of(start), file;
    int result;
    while ((result = place_next(engine, ino, segment, &segment, &file)) == 0 &&
           segment * SEGMENT_SIZE < end) {
        uint64_t first = segment * SEGMENT_SIZE;
        uint64_t low = MAX(start, first), high = MIN(end, first + SEGMENT_SIZE);
        uint64_t local_size = segment_bytes(size, segment);
        if (low == first && high == first + local_size && !keep_room)
            result = place_drop_segment(engine, ino, segment, file);
        else
            result = zero_file(engine, file, local_size, low - first, high - first, keep_room);
        if (result < 0)
            return result;
        segment++;
    }
    return result == -ENOENT ? 0 : result;
}

static int zero(struct engine *engine, fs_ino ino, uint64_t size, uint64_t start, uint64_t end,
                bool keep_room)
{
    uint64_t file, first_end = MIN(end, SEGMENT_SIZE);
    int result = 0;
    if (start < SEGMENT_SIZE) {
        result = place_file(engine, ino, 0, &file);
        if (result == 0 && file != 0)
            result = zero_file(engine, file, segment_bytes(size, 0), start, first_end, keep_room);
        else if (result == 0)
            result = zero_inline(engine, ino, size, start, first_end, keep_room);
    }
    if (result == 0 && end > SEGMENT_SIZE)
        result = zero_later(engine, ino, size, MAX(start, SEGMENT_SIZE), end, keep_room);
    return result;
}

int data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n, bool keep_room)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result == 0 && keep_room)
        result = check_room(engine, ino, n);
    return result == 0 ? zero(engine, ino, size, offset, offset + n, keep_room) : result;
}

// --- what is data ---

// Where data (or, with `hole`, a hole) begins in the part [local, local_size) of a segment; local_size:
// nowhere.
static int seek_piece(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t local_size,
                      uint64_t local, bool hole, uint64_t *ret_local)
{
    struct inline_bytes inline_bytes;
    struct datafile *open;
    uint64_t file;
    int result = place_load(engine, ino, segment, local_size, &inline_bytes, &file);
    if (result == 0 && file == 0) {
        bool data = local < inline_bytes.length;
        *ret_local = data != hole ? local : data ? inline_bytes.length : local_size;
        return 0;
    }
    if (result == 0)
        result = datafile_get(engine, file, &open);
    bool data = hole;
    uint64_t at = local, end = local;
    while (result == 0 && at < local_size) {
        result = datafile_extent(open, at, local_size, &end, &data);
        if (data != hole)
            break;
        at = end;
    }
    if (result == 0)
        *ret_local = at;
    return result;
}

// The next segment after `segment` that may hold what is looked for. -ENOENT.
static int seek_on(struct engine *engine, fs_ino ino, bool hole, uint64_t *segment)
{
    uint64_t file;
    if (!hole)
        return place_next(engine, ino, *segment + 1, segment, &file);
    *segment += 1;
    return 0;
}

int data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
              uint64_t *ret_offset)
{
    struct engine *engine = engine_of(store);
    uint64_t segment = segment_of(offset), local = offset % SEGMENT_SIZE, found = 0;
    int result = engine->broken;
    while (result == 0 && segment * SEGMENT_SIZE < size) {
        uint64_t local_size = segment_bytes(size, segment);
        result = seek_piece(engine, ino, segment, local_size, local, hole, &found);
        if (result == 0 && found < local_size) {
            *ret_offset = segment * SEGMENT_SIZE + found;
            return 0;
        }
        if (result == 0)
            result = seek_on(engine, ino, hole, &segment);
        local = 0;
    }
    if (result < 0 && result != -ENOENT)
        return result;
    if (!hole)
        return -ENXIO;
    *ret_offset = size;
    return 0;
}

// --- copies ---

// Small enough to lie inline: through memory.
static int copy_bytes(struct store *store, const struct store_copy *copy)
{
    uint8_t bytes[INLINE_SIZE_MAX];
    size_t got;
    fs_assert(copy->n <= sizeof(bytes));
    int result =
        data_read(store, copy->from_ino, copy->from_size, copy->from_offset, bytes, (size_t)copy->n, &got);
    return result == 0 ? data_write(store, copy->ino, copy->size, copy->offset, bytes, got) : result;
}

// Data of one segment of one data file, to one segment.
static int copy_data(struct engine *engine, const struct store_copy *copy, uint64_t from_file)
{
    struct datafile *from, *to;
    uint64_t segment = segment_of(copy->offset);
    int result = data_open(engine, copy->ino, segment, segment_bytes(copy->size, segment), &to);
    if (result < 0)
        return result;
    int to_fd = to->fd; // the newest of the open ones: opening one more does not close it
    result = datafile_get(engine, from_file, &from);
    return result == 0 ? datafile_copy_range(from->fd, copy->from_offset % SEGMENT_SIZE, to_fd,
                                             copy->offset % SEGMENT_SIZE, copy->n)
                       : result;
}

// The first extent of a piece of one segment: *ret_n is its length.
static int copy_extent(struct store *store, const struct store_copy *copy, uint64_t *ret_n)
{
    struct engine *engine = engine_of(store);
    struct inline_bytes inline_bytes;
    struct store_copy extent = *copy;
    uint64_t file, segment = segment_of(copy->from_offset), local = copy->from_offset % SEGMENT_SIZE, end = 0;
    bool data;
    int result = place_load(engine, copy->from_ino, segment, segment_bytes(copy->from_size, segment),
                            &inline_bytes, &file);
    if (result < 0)
        return result;
    if (file == 0) {
        data = local < inline_bytes.length;
        end = data ? MIN(local + copy->n, (uint64_t)inline_bytes.length) : local + copy->n;
    } else {
        struct datafile *open;
        result = datafile_get(engine, file, &open);
        if (result == 0)
            result = datafile_extent(open, local, local + copy->n, &end, &data);
        if (result < 0)
            return result;
    }
    *ret_n = extent.n = end - local;
    if (!data)
        return zero(engine, copy->ino, copy->size, copy->offset, copy->offset + extent.n, false);
    bool small = extent.n <= INLINE_SIZE_MAX && (file == 0 || copy->offset + extent.n <= INLINE_SIZE_MAX);
    return small ? copy_bytes(store, &extent) : copy_data(engine, &extent, file);
}

// Growing first makes the rest an overwrite within the size.
int data_copy(struct store *store, const struct store_copy *copy)
{
    struct engine *engine = engine_of(store);
    struct store_copy left = *copy;
    int result = engine_writable(engine);
    if (result == 0 && copy->offset + copy->n > copy->size) {
        left.size = copy->offset + copy->n;
        result = engine->scarce ? -ENOSPC : data_settle(engine, copy->ino, copy->size);
    }
    while (result == 0 && left.n > 0) {
        struct store_copy piece = left;
        uint64_t step = 0;
        piece.n = segment_step(piece.from_offset, segment_step(piece.offset, left.n));
        result = copy_extent(store, &piece, &step);
        left.from_offset += step;
        left.offset += step;
        left.n -= MIN(step, left.n);
    }
    if (result == -ENOSPC)
        reserve_give_back(engine);
    return result;
}
