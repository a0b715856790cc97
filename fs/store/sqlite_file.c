// SPDX-License-Identifier: Apache-2.0
// Data files: data/SHARD/ID, both hexadecimal, one sparse file per data id, and a bounded least-recently-used
// set of open descriptors. Ids ascend and are never reused, so a shard (4096 consecutive ids) is done with
// once it is full, and recovery looks at the newest shards only. Also the list of files that the open
// transaction made or grew, which a rollback undoes. Owner thread.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define COPY_STEP (1024u * 1024u)

void datafile_path(uint64_t file, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%" PRIx64 "/%" PRIx64, file / DATAFILES_IN_SHARD, file);
}

static void shard_path(uint64_t file, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%" PRIx64, file / DATAFILES_IN_SHARD);
}

// --- open descriptors ---

void datafiles_init(struct datafiles *files)
{
    *files = (struct datafiles){0};
    list_init(&files->lru);
}

static void datafile_close(struct datafiles *files, struct datafile *file)
{
    table_remove(&files->by_id, &file->node);
    list_remove(&file->lru);
    files->n_open--;
    close(file->fd);
    free(file);
}

void datafiles_free(struct datafiles *files)
{
    while (!list_empty(&files->lru))
        datafile_close(files, LIST_ENTRY(files->lru.next, struct datafile, lru));
    table_free(&files->by_id);
}

static struct datafile *datafile_find(struct engine *engine, uint64_t file)
{
    struct table_node *node = table_get(&engine->open_files.by_id, file);
    return node ? CONTAINER_OF(node, struct datafile, node) : NULL;
}

// Takes fd over, also when it fails.
static int datafile_keep(struct engine *engine, uint64_t file, int fd, bool entry_synced,
                         struct datafile **ret_file)
{
    struct datafiles *files = &engine->open_files;
    if (files->n_open >= DATAFILE_OPEN_MAX)
        datafile_close(files, LIST_ENTRY(files->lru.next, struct datafile, lru));
    struct datafile *kept = calloc(1, sizeof(*kept));
    if (!kept || table_put(&files->by_id, &kept->node, file) < 0) {
        free(kept);
        close(fd);
        return -ENOMEM;
    }
    kept->fd = fd;
    kept->entry_synced = entry_synced;
    list_init(&kept->lru);
    list_push(&files->lru, &kept->lru);
    files->n_open++;
    *ret_file = kept;
    return 0;
}

int datafile_get(struct engine *engine, uint64_t file, struct datafile **ret_file)
{
    struct datafile *open = datafile_find(engine, file);
    if (open) {
        list_remove(&open->lru);
        list_push(&engine->open_files.lru, &open->lru);
        *ret_file = open;
        return 0;
    }
    char path[PATH_ROOM];
    datafile_path(file, path);
    int fd = openat(engine->data_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        int result = errno == ENOENT || errno == ELOOP || errno == ENOTDIR ? -EUCLEAN : -errno;
        log_error("store-data-file", "directory=%s file=%s error=%d", engine->directory, path, result);
        return result;
    }
    return datafile_keep(engine, file, fd, file < engine->numbers.file_floor, ret_file);
}

static int shard_make(struct engine *engine, uint64_t file)
{
    char path[PATH_ROOM];
    shard_path(file, path);
    if (mkdirat(engine->data_fd, path, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    return fsync(engine->data_fd) < 0 ? sync_failed(engine, -EIO) : 0;
}

int datafile_create(struct engine *engine, uint64_t file, struct datafile **ret_file)
{
    char path[PATH_ROOM];
    datafile_path(file, path);
    int create_flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(engine->data_fd, path, create_flags, 0600);
    if (fd < 0 && errno == ENOENT) {
        int result = shard_make(engine, file);
        if (result < 0)
            return result;
        fd = openat(engine->data_fd, path, create_flags, 0600);
    }
    if (fd < 0)
        return errno == EEXIST ? -EUCLEAN : -errno;
    return datafile_keep(engine, file, fd, false, ret_file);
}

int datafile_unlink(struct engine *engine, uint64_t file)
{
    struct datafile *open = datafile_find(engine, file);
    if (open)
        datafile_close(&engine->open_files, open);
    char path[PATH_ROOM];
    datafile_path(file, path);
    return unlinkat(engine->data_fd, path, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int shard_open(struct engine *engine, uint64_t file)
{
    char path[PATH_ROOM];
    shard_path(file, path);
    int fd = openat(engine->data_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

// --- bytes ---

int datafile_read(const struct datafile *file, uint64_t offset, void *bytes, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(file->fd, (uint8_t *)bytes + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno != EINVAL)
            return -errno;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    memset((uint8_t *)bytes + done, 0, n - done);
    return 0;
}

int datafile_write(const struct datafile *file, uint64_t offset, const void *bytes, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t written = pwrite(file->fd, (const uint8_t *)bytes + done, n - done, (off_t)(offset + done));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno == EINVAL ? -EFBIG : errno == EDQUOT ? -ENOSPC : -errno;
        if (written == 0)
            return -EIO;
        done += (size_t)written;
    }
    return 0;
}

// For hosts that cannot do it themselves.
static int copy_by_hand(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t n)
{
    _cleanup_(freep) uint8_t *bytes = malloc(COPY_STEP);
    const struct datafile in = {.fd = from_fd}, out = {.fd = to_fd};
    int result = bytes ? 0 : -ENOMEM;
    for (uint64_t done = 0; result == 0 && done < n; done += COPY_STEP) {
        size_t step = (size_t)MIN(n - done, COPY_STEP);
        result = datafile_read(&in, from + done, bytes, step);
        if (result == 0)
            result = datafile_write(&out, to + done, bytes, step);
    }
    return result;
}

int datafile_copy_range(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t n)
{
    off_t in = (off_t)from, out = (off_t)to;
    while ((uint64_t)in < from + n) {
        uint64_t left = from + n - (uint64_t)in;
        ssize_t copied = copy_file_range(from_fd, &in, to_fd, &out, (size_t)MIN(left, SSIZE_MAX), 0);
        if (copied < 0 && errno == EINTR)
            continue;
        if (copied < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
            return errno == EDQUOT ? -ENOSPC : -errno;
        if (copied <= 0)
            return copy_by_hand(from_fd, (uint64_t)in, to_fd, (uint64_t)out, left);
    }
    return 0;
}

int datafile_extent(const struct datafile *file, uint64_t start, uint64_t end, uint64_t *ret_end,
                    bool *ret_data)
{
    off_t data = lseek(file->fd, (off_t)start, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return -errno;
    if (data < 0 || (uint64_t)data > start) {
        *ret_end = data < 0 ? end : MIN((uint64_t)data, end);
        *ret_data = false;
        return 0;
    }
    off_t hole = lseek(file->fd, (off_t)start, SEEK_HOLE);
    if (hole < 0)
        return -errno;
    *ret_end = MIN((uint64_t)hole, end);
    *ret_data = true;
    return 0;
}

int datafile_copy(const struct datafile *from, int to_fd, uint64_t size)
{
    uint64_t at = 0, end;
    bool data;
    while (at < size) {
        int result = datafile_extent(from, at, size, &end, &data);
        if (result == 0 && data)
            result = datafile_copy_range(from->fd, at, to_fd, at, end - at);
        if (result < 0)
            return result;
        at = end;
    }
    return 0;
}

int datafile_blocks(struct engine *engine, uint64_t file, uint64_t *ret_blocks)
{
    struct stat status;
    const struct datafile *open = datafile_find(engine, file);
    char path[PATH_ROOM];
    datafile_path(file, path);
    int failed =
        open ? fstat(open->fd, &status) : fstatat(engine->data_fd, path, &status, AT_SYMLINK_NOFOLLOW);
    if (failed && errno != ENOENT)
        return -errno;
    if (failed) // damage, but its inode can still be looked at and removed
        status.st_blocks = 0;
    *ret_blocks = (uint64_t)status.st_blocks;
    return 0;
}

int datafile_sync(struct engine *engine, struct datafile *file)
{
    int shard = shard_open(engine, file->node.key);
    if (shard < 0)
        return shard;
    int result = fdatasync(file->fd) < 0 || fsync(shard) < 0 ? -errno : 0;
    close(shard);
    if (result == 0)
        file->entry_synced = true;
    else
        engine->read_only = true;
    return result;
}

int datafile_cut(struct engine *engine, struct datafile *file, uint64_t size)
{
    struct stat status;
    if (fstat(file->fd, &status) < 0)
        return -errno;
    if ((uint64_t)status.st_size <= size)
        return 0;
    if (ftruncate(file->fd, (off_t)size) < 0)
        return -errno;
    return datafile_sync(engine, file);
}

// --- what the transaction made or grew ---

int grown_add(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t file, bool created)
{
    struct grown_files *grown = &engine->grown;
    for (size_t i = grown->n; i > 0 && !created; i--)
        if (grown->files[i - 1].file == file)
            return 0;
    if (grown->n == grown->capacity) {
        size_t capacity = MAX(grown->capacity * 2, (size_t)16);
        struct grown_file *larger = realloc(grown->files, capacity * sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        grown->files = larger;
        grown->capacity = capacity;
    }
    grown->files[grown->n++] =
        (struct grown_file){.ino = ino, .segment = segment, .file = file, .created = created};
    return 0;
}

// Gives the room past the committed size back. A file that this leaves too long is cut by the next write that
// grows it.
static void cut_back(struct engine *engine, const struct grown_file *grown)
{
    uint64_t file;
    struct inode_charge charge;
    struct datafile *open;
    bool committed;
    if (place_file(engine, grown->ino, grown->segment, &file) < 0 || file != grown->file ||
        inode_charge(engine, grown->ino, &charge) < 0 || intent_get(engine, file, &committed) != -ENOENT ||
        datafile_get(engine, file, &open) < 0)
        return;
    if (datafile_cut(engine, open, segment_bytes(charge.size, grown->segment)) < 0)
        log_debug("store-cut-back", "directory=%s file=%" PRIu64, engine->directory, file);
}

void grown_undo(struct engine *engine, size_t down_to, bool cut)
{
    struct grown_files *grown = &engine->grown;
    while (grown->n > down_to) {
        const struct grown_file *last = &grown->files[--grown->n];
        if (last->created)
            datafile_unlink(engine, last->file);
        else if (cut)
            cut_back(engine, last);
    }
}
