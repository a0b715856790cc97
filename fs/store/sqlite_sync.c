// SPDX-License-Identifier: Apache-2.0
// Sync jobs: prepared on the owner thread with descriptors of their own, run anywhere, finished on the owner
// thread. Order within a job: the data file, its directory entry, then the log that makes it visible. Any
// failure makes the store read-only: after a failed fsync nobody knows what is on disk.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <fcntl.h>

struct sqlite_sync {
    struct store_sync sync; // first
    int whole_fd;           // of the file system that holds everything, or -1
    int data_fd, shard_fd;  // or -1
    int log_fd;
    uint64_t file;              // the data file's id, 0: none
    uint64_t intents_committed; // are on disk when this succeeds
};

// A process that dies between two steps has answered nobody. The log is on its way while the data file is
// waited for, as it could be without us; it counts when it has been synced, after the file.
static void sync_run(struct store_sync *base)
{
    struct sqlite_sync *sync = (struct sqlite_sync *)base;
    if (sync->data_fd >= 0)
        (void)!sync_file_range(sync->log_fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    bool failed = (sync->whole_fd >= 0 && syncfs(sync->whole_fd) < 0) ||
                  (sync->data_fd >= 0 && fdatasync(sync->data_fd) < 0) ||
                  (sync->shard_fd >= 0 && fsync(sync->shard_fd) < 0) || fdatasync(sync->log_fd) < 0;
    base->result = failed ? -errno : 0;
}

static int duplicate(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? -errno : copy;
}

// SQLite keeps the log's file as long as the connection is open; should it ever be another one, follow.
int log_follow(struct engine *engine)
{
    struct stat ours, named;
    if (fstat(engine->wal_fd, &ours) == 0 && fstatat(engine->dir_fd, "meta.db-wal", &named, 0) == 0 &&
        ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
        return 0;
    int fd = openat(engine->dir_fd, "meta.db-wal", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(engine->wal_fd);
    engine->wal_fd = fd;
    return fsync(engine->dir_fd) < 0 ? sync_failed(engine, -EIO) : 0;
}

// A file that has later segments may have many: everything is synced at once.
static int prepare_later(struct engine *engine, struct sqlite_sync *sync, fs_ino ino)
{
    uint64_t segment, file;
    int result = place_next(engine, ino, 1, &segment, &file);
    if (result < 0)
        return result == -ENOENT ? 0 : result;
    sync->whole_fd = duplicate(engine->dir_fd);
    return MIN(sync->whole_fd, 0);
}

static int prepare_file(struct engine *engine, struct sqlite_sync *sync, fs_ino ino)
{
    struct datafile *open;
    int result = prepare_later(engine, sync, ino);
    if (result == 0)
        result = place_file(engine, ino, 0, &sync->file);
    if (result < 0 || sync->file == 0)
        return result;
    result = datafile_get(engine, sync->file, &open);
    if (result < 0)
        return result;
    sync->data_fd = duplicate(open->fd);
    if (sync->data_fd < 0)
        return sync->data_fd;
    if (!open->entry_synced)
        sync->shard_fd = shard_open(engine, sync->file);
    return sync->shard_fd < -1 ? sync->shard_fd : 0;
}

static int prepare_whole(struct engine *engine, struct sqlite_sync *sync)
{
    if (!engine->files_dirty)
        return 0;
    sync->whole_fd = duplicate(engine->dir_fd);
    if (sync->whole_fd < 0)
        return sync->whole_fd;
    engine->files_dirty = false;
    return 0;
}

static void sync_free(struct sqlite_sync *sync)
{
    closep(&sync->whole_fd);
    closep(&sync->data_fd);
    closep(&sync->shard_fd);
    closep(&sync->log_fd);
    free(sync);
}

int sync_prepare(struct store *store, fs_ino ino, struct store_sync **ret_sync)
{
    struct engine *engine = engine_of(store);
    if (engine->read_only)
        return -EIO;
    struct sqlite_sync *sync = calloc(1, sizeof(*sync));
    if (!sync)
        return -ENOMEM;
    *sync = (struct sqlite_sync){
        .sync.run = sync_run, .whole_fd = -1, .data_fd = -1, .shard_fd = -1, .log_fd = -1};
    int result = log_follow(engine);
    if (result == 0)
        result = ino == 0 ? prepare_whole(engine, sync) : prepare_file(engine, sync, ino);
    if (result == 0)
        result = sync->log_fd = duplicate(engine->wal_fd);
    if (result < 0) {
        sync_free(sync);
        return result;
    }
    sync->intents_committed = engine->intent_committed;
    engine->unsynced_ino_floor = engine->numbers.next[NUMBER_INO];
    *ret_sync = &sync->sync;
    return 0;
}

void log_is_synced(struct engine *engine, uint64_t intents_committed)
{
    engine->intent_synced = MAX(engine->intent_synced, intents_committed);
}

int sync_failed(struct engine *engine, int result)
{
    engine->read_only = true;
    log_error("store-sync-failed", "directory=%s error=%d", engine->directory, result);
    return result;
}

int sync_finish(struct store *store, struct store_sync *base)
{
    struct engine *engine = engine_of(store);
    struct sqlite_sync *sync = (struct sqlite_sync *)base;
    int result = base->result;
    if (result < 0) {
        sync_failed(engine, result);
    } else {
        log_is_synced(engine, sync->intents_committed);
        struct table_node *node =
            sync->shard_fd >= 0 ? table_get(&engine->open_files.by_id, sync->file) : NULL;
        if (node)
            CONTAINER_OF(node, struct datafile, node)->entry_synced = true;
    }
    sync_free(sync);
    return result;
}

int log_sync(struct engine *engine)
{
    if (engine->read_only)
        return -EIO;
    int result = log_follow(engine);
    if (result == 0 && fdatasync(engine->wal_fd) < 0)
        result = -errno;
    if (result < 0)
        return sync_failed(engine, result);
    log_is_synced(engine, engine->intent_committed);
    return 0;
}
