// SPDX-License-Identifier: Apache-2.0
// Work between turns: acting on intents whose log is on disk, checkpointing a long log, and the reserve: a
// file of preallocated bytes that is given back when the disk is full, so that removing files can still be
// committed. While it is gone (`scarce`) nothing may grow. Owner thread, outside transactions.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

int reserve_make(struct engine *engine)
{
    _cleanup_(closep) int fd = openat(engine->dir_fd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = -posix_fallocate(fd, 0, RESERVE_SIZE);
    if (result < 0)
        (void)!ftruncate(fd, 0);
    engine->scarce = result < 0;
    return result;
}

void reserve_give_back(struct engine *engine)
{
    if (engine->scarce || engine->dir_fd < 0)
        return;
    engine->scarce = true;
    log_warn("store-full", "directory=%s", engine->directory);
    int fd = openat(engine->dir_fd, "reserve", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (ftruncate(fd, 0) < 0)
        log_warn("store-reserve", "directory=%s error=%d", engine->directory, errno);
    close(fd);
}

static void reserve_again(struct engine *engine)
{
    struct statvfs space;
    if (fstatvfs(engine->dir_fd, &space) < 0 || space.f_bavail * space.f_frsize < 2 * (uint64_t)RESERVE_SIZE)
        return;
    if (reserve_make(engine) == 0)
        log_info("store-room", "directory=%s", engine->directory);
}

// Somebody's fsync usually brings the log to disk in time; otherwise the worker does, once for all that
// waited.
static int intents_upkeep(struct engine *engine, bool *ret_more)
{
    int result = 0;
    if (engine->intent_synced >= engine->intent_committed) {
        engine->intent_since_ns = 0;
    } else {
        uint64_t now = env_monotonic_ns(engine->env);
        if (engine->intent_since_ns == 0)
            engine->intent_since_ns = now;
        else if (now - engine->intent_since_ns >= UPKEEP_DELAY_NS)
            result = worker_ask(engine);
    }
    return result < 0 ? result : intent_act(engine, ret_more);
}

static int64_t log_bytes(const struct engine *engine, int pages)
{
    return (int64_t)pages * engine->page_size;
}

// The worker never quite catches up with an owner that goes on writing, and only an empty log starts anew; so
// at the bound the owner waits for it and moves the rest itself.
static int log_upkeep(struct engine *engine)
{
    int result = 0;
    if (engine->log_pages < engine->log_asked) // it has started anew
        engine->log_asked = 0;
    if (log_bytes(engine, engine->log_pages) >= LOG_MAX) {
        result = worker_wait(engine);
        return result < 0 ? result : db_checkpoint(engine, SQLITE_CHECKPOINT_PASSIVE);
    }
    if (log_bytes(engine, engine->log_pages - engine->log_asked) >= LOG_LONG) {
        result = worker_ask(engine);
        if (result == 0)
            engine->log_asked = engine->log_pages;
    }
    return result;
}

static int upkeep_step(struct engine *engine, bool *ret_more)
{
    int result = worker_collect(engine);
    if (result == 0 && engine->intents_left)
        result = intents_upkeep(engine, ret_more);
    return result == 0 ? log_upkeep(engine) : result;
}

// On a full disk all is done here and now, and the log is emptied before anything is added to it, so that it
// cannot eat the room that the reserve has made.
static int scarce_upkeep(struct engine *engine, bool *ret_more)
{
    bool intents_more = false, pages_more = false;
    int result = worker_wait(engine);
    if (result == 0)
        result = db_checkpoint(engine, SQLITE_CHECKPOINT_PASSIVE);
    if (result == 0)
        result = log_sync(engine);
    if (result == 0 && engine->intents_left)
        result = intent_act(engine, &intents_more);
    if (result == 0)
        result = db_shrink(engine, &pages_more);
    *ret_more = intents_more || pages_more;
    return result;
}

// A full disk is no failure here: the error has made the store give its reserve back, and there is a next
// time.
int engine_upkeep(struct store *store, bool *ret_more)
{
    struct engine *engine = engine_of(store);
    bool more = false;
    int result = 0;
    if (!engine->read_only)
        result = engine->scarce ? scarce_upkeep(engine, &more) : upkeep_step(engine, &more);
    if (engine->scarce)
        reserve_again(engine);
    if (result < 0 && result != -ENOSPC)
        return result;
    *ret_more = more;
    return 0;
}
