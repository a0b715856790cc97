// SPDX-License-Identifier: Apache-2.0
// The SQLite engine's life and transactions; the other operations lie in the sqlite_*.c files by noun. Owner
// thread.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_engine.h"
#include "fs/store/store_sqlite.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>

// --- transactions ---

static int engine_begin(struct store *store)
{
    struct engine *engine = engine_of(store);
    engine->usage_at_begin = engine->usage;
    engine->changes_at_begin = sqlite3_total_changes(engine->db);
    engine->grown.n = 0;
    engine->broken = 0;
    return db_run_id(engine, ST_BEGIN);
}

static bool usage_equal(struct usage_counts a, struct usage_counts b)
{
    return a.inodes == b.inodes && a.bytes == b.bytes;
}

static int save_usage(struct engine *engine)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_USAGE_PUT, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)engine->usage.inodes);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)engine->usage.bytes);
    return db_run(engine, statement);
}

static int engine_commit(struct store *store)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    if (result == 0 && !usage_equal(engine->usage, engine->usage_at_begin))
        result = save_usage(engine);
    if (result == 0)
        result = db_run_id(engine, ST_COMMIT);
    if (result < 0)
        return result;
    engine->intent_committed = engine->intent_last;
    engine->grown.n = 0;
    return 0;
}

static void engine_rollback(struct store *store)
{
    struct engine *engine = engine_of(store);
    if (!sqlite3_get_autocommit(engine->db))
        fs_assert(db_run_id(engine, ST_ROLLBACK) == 0 || sqlite3_get_autocommit(engine->db));
    engine->usage = engine->usage_at_begin;
    engine->intent_last = engine->intent_committed;
    engine->broken = 0;
    grown_undo(engine, 0, true);
}

// As long as the transaction has changed nothing, going back to its beginning is the same, and SQLite keeps
// no copies of the pages that change meanwhile.
static int engine_savepoint(struct store *store)
{
    struct engine *engine = engine_of(store);
    engine->usage_at_savepoint = engine->usage;
    engine->grown.at_savepoint = engine->grown.n;
    engine->savepoint_is_begin =
        engine->grown.n == 0 && sqlite3_total_changes(engine->db) == engine->changes_at_begin;
    if (engine->broken || engine->savepoint_is_begin)
        return engine->broken;
    return db_run_id(engine, ST_SAVEPOINT);
}

static int engine_savepoint_release(struct store *store)
{
    struct engine *engine = engine_of(store);
    if (engine->broken || engine->savepoint_is_begin)
        return engine->broken;
    return db_run_id(engine, ST_SAVEPOINT_RELEASE);
}

static int go_back(struct engine *engine)
{
    bool begin = engine->savepoint_is_begin;
    int result = db_run_id(engine, begin ? ST_ROLLBACK : ST_SAVEPOINT_ROLLBACK);
    if (result == 0)
        result = db_run_id(engine, begin ? ST_BEGIN : ST_SAVEPOINT_RELEASE);
    if (begin)
        engine->changes_at_begin = sqlite3_total_changes(engine->db);
    return result;
}

// When SQLite cannot go back, the whole transaction is lost: no commit may follow.
static void engine_savepoint_rollback(struct store *store)
{
    struct engine *engine = engine_of(store);
    engine->usage = engine->usage_at_savepoint;
    if (engine->broken)
        return;
    int result = go_back(engine);
    if (result < 0)
        engine->broken = result;
    else
        grown_undo(engine, engine->grown.at_savepoint, false);
}

// --- numbers and space ---

int engine_take(struct engine *engine, enum number_kind kind, uint32_t n, uint64_t *ret_first)
{
    int result = engine->read_only ? -EROFS : numbers_take(&engine->numbers, kind, n, ret_first);
    if (result < 0 && result != -ENOSPC)
        engine->read_only = true;
    return result;
}

static int engine_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first)
{
    return engine_take(engine_of(store), NUMBER_INO, n, ret_first);
}

static int engine_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first)
{
    return engine_take(engine_of(store), NUMBER_COOKIE, n, ret_first);
}

static int engine_usage(struct store *store, struct store_usage *ret_usage)
{
    struct engine *engine = engine_of(store);
    struct statvfs space;
    if (fstatvfs(engine->dir_fd, &space) < 0)
        return -errno;
    *ret_usage = (struct store_usage){.inodes = engine->usage.inodes,
                                      .bytes = engine->usage.bytes,
                                      .free_bytes = space.f_bavail * space.f_frsize,
                                      .total_bytes = space.f_blocks * space.f_frsize};
    return 0;
}

// --- life ---

void engine_free_members(struct engine *engine)
{
    worker_stop(&engine->worker);
    datafiles_free(&engine->open_files);
    free(engine->grown.files);
    db_close(engine);
    numbers_free(&engine->numbers);
    closep(&engine->data_fd);
    closep(&engine->dir_fd);
    free(engine->directory);
}

static void engine_free(struct engine *engine)
{
    engine_free_members(engine);
    free(engine);
}

// The clean mark says: all of it is on disk. Whatever fails on the way leaves the mark away, and the next
// open recovers.
static void engine_close(struct store *store)
{
    struct engine *engine = engine_of(store);
    worker_stop(&engine->worker);
    int result = worker_collect(engine);
    if (result == 0)
        result = store_sync(store, 0);
    if (result == 0)
        result = db_checkpoint(engine, SQLITE_CHECKPOINT_TRUNCATE);
    if (result == 0)
        result = numbers_stop(&engine->numbers);
    if (result < 0)
        log_warn("store-close", "directory=%s error=%d", engine->directory, result);
    engine_free(engine);
}

static const struct store_ops engine_ops = {
    .name = "sqlite",
    .close = engine_close,
    .begin = engine_begin,
    .commit = engine_commit,
    .rollback = engine_rollback,
    .savepoint = engine_savepoint,
    .savepoint_release = engine_savepoint_release,
    .savepoint_rollback = engine_savepoint_rollback,
    .inode_get = engine_inode_get,
    .inode_put = engine_inode_put,
    .inode_remove = engine_inode_remove,
    .reserve_inos = engine_reserve_inos,
    .reserve_cookies = engine_reserve_cookies,
    .orphans = inode_orphans,
    .dentry_get = dentry_get,
    .dentry_put = dentry_put,
    .dentry_replace = dentry_replace,
    .dentry_remove = dentry_remove,
    .dentry_list = dentry_list,
    .dentry_any = dentry_any,
    .dentry_parents = dentry_parents,
    .data_read = data_read,
    .data_write = data_write,
    .data_resize = data_resize,
    .data_allocate = data_allocate,
    .data_zero = data_zero,
    .data_seek = data_seek,
    .data_copy = data_copy,
    .xattr_get = xattr_get,
    .xattr_put = xattr_put,
    .xattr_remove = xattr_remove,
    .xattr_list = xattr_list,
    .session_put = session_put,
    .session_remove = session_remove,
    .session_list = session_list,
    .sync_prepare = sync_prepare,
    .sync_finish = sync_finish,
    .usage = engine_usage,
    .quota_get = quota_get,
    .quota_put = quota_put,
    .upkeep = engine_upkeep,
};

int engine_open_directories(struct engine *engine, bool alone)
{
    engine->dir_fd = open(engine->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (engine->dir_fd < 0)
        return -errno;
    if (alone && flock(engine->dir_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (faccessat(engine->dir_fd, "meta.db", F_OK, 0) < 0)
        return -errno;
    engine->data_fd = openat(engine->dir_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (engine->data_fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? -EUCLEAN : -errno;
    return 0;
}

static int engine_open(struct engine *engine)
{
    int result = engine_open_directories(engine, true);
    if (result == 0)
        result = db_open(engine);
    if (result == 0)
        result = numbers_load(&engine->numbers, engine->dir_fd);
    if (result == 0)
        result = engine_recover(engine);
    if (result < 0)
        return result;
    engine->unsynced_ino_floor = engine->numbers.next[NUMBER_INO];
    result = reserve_make(engine);
    return result == -ENOSPC ? 0 : result;
}

int engine_init(struct engine *engine, const char *directory, const struct env *env)
{
    engine->store.ops = &engine_ops;
    engine->env = env;
    engine->dir_fd = engine->data_fd = engine->wal_fd = engine->numbers.fd = -1;
    datafiles_init(&engine->open_files);
    engine->directory = strdup(directory);
    worker_init(&engine->worker, engine->directory);
    return engine->directory ? 0 : -ENOMEM;
}

int store_sqlite_open(const char *directory, const struct env *env, struct store **ret_store)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return -ENOMEM;
    int result = engine_init(engine, directory, env);
    if (result == 0)
        result = engine_open(engine);
    if (result < 0) {
        engine_free(engine);
        return result;
    }
    *ret_store = &engine->store;
    return 0;
}

// --- creating and destroying ---

static int sync_parent(const char *directory)
{
    _cleanup_(freep) char *path = NULL;
    if (asprintf(&path, "%s/..", directory) < 0)
        return -ENOMEM;
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int fill_directory(const char *directory)
{
    struct engine engine = {.directory = (char *)directory};
    _cleanup_(closep) int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0 || mkdirat(dir_fd, "data", 0700) < 0)
        return -errno;
    engine.dir_fd = dir_fd;
    int result = numbers_create(dir_fd);
    if (result == 0)
        result = reserve_make(&engine);
    if (result == 0)
        result = db_create(directory);
    if (result == 0 && fsync(dir_fd) < 0)
        result = -errno;
    return result < 0 ? result : sync_parent(directory);
}

int store_sqlite_create(const char *directory)
{
    if (mkdir(directory, 0700) < 0)
        return -errno;
    int result = fill_directory(directory);
    if (result < 0)
        store_sqlite_destroy(directory);
    return result;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path) < 0 ? -errno : 0;
}

int store_sqlite_destroy(const char *directory)
{
    int result = nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return result == -1 ? -errno : result;
}
