// SPDX-License-Identifier: Apache-2.0
// The worker: a thread that syncs the log and then checkpoints it through a connection of its own, so that
// neither holds up the owner thread (an automatic checkpoint would sync inside COMMIT). One job at a time,
// asked for and collected by the owner. The thread touches nothing of the engine but `struct worker`, under
// its lock; the job's descriptor of the log is its own.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>
#include <fcntl.h>

// --- on the worker's thread ---

static int checkpoint(const char *directory, sqlite3 **db)
{
    int result = *db ? SQLITE_OK : db_connect(directory, SQLITE_OPEN_READWRITE, db);
    if (result == SQLITE_OK)
        result = sqlite3_wal_checkpoint_v2(*db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (result == SQLITE_BUSY) // the owner is at it
        return 0;
    return db_errno(*db, result);
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    sqlite3 *db = NULL;
    pthread_mutex_lock(&worker->lock);
    for (;;) {
        while (!worker->wanted && !worker->quit)
            pthread_cond_wait(&worker->moved, &worker->lock);
        if (!worker->wanted)
            break;
        int log_fd = worker->log_fd;
        pthread_mutex_unlock(&worker->lock);
        int result = fdatasync(log_fd) < 0 ? -EIO : checkpoint(worker->directory, &db);
        close(log_fd);
        pthread_mutex_lock(&worker->lock);
        worker->wanted = false;
        worker->finished = true;
        worker->result = result;
        pthread_cond_broadcast(&worker->moved);
    }
    pthread_mutex_unlock(&worker->lock);
    sqlite3_close(db);
    return NULL;
}

// --- on the owner's thread ---

void worker_init(struct worker *worker, const char *directory)
{
    *worker = (struct worker){.directory = directory};
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->moved, NULL);
}

// Lets a running job finish; nobody collects it. Twice is harmless.
void worker_stop(struct worker *worker)
{
    if (!worker->started)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->quit = true;
    pthread_cond_broadcast(&worker->moved);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

static int worker_start(struct worker *worker)
{
    if (worker->started)
        return 0;
    int result = -pthread_create(&worker->thread, NULL, worker_main, worker);
    worker->started = result == 0;
    return result;
}

// A job is under way, or finished and not collected.
static bool worker_busy(struct engine *engine)
{
    struct worker *worker = &engine->worker;
    pthread_mutex_lock(&worker->lock);
    bool busy = worker->wanted || worker->finished;
    pthread_mutex_unlock(&worker->lock);
    return busy;
}

int worker_ask(struct engine *engine)
{
    struct worker *worker = &engine->worker;
    if (worker_busy(engine))
        return 0;
    int result = worker_start(worker);
    if (result == 0)
        result = log_follow(engine);
    int log_fd = result == 0 ? fcntl(engine->wal_fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (log_fd < 0)
        return result < 0 ? result : -errno;
    pthread_mutex_lock(&worker->lock);
    worker->log_fd = log_fd;
    worker->intents_committed = engine->intent_committed;
    worker->wanted = true;
    pthread_cond_broadcast(&worker->moved);
    pthread_mutex_unlock(&worker->lock);
    return 0;
}

int worker_collect(struct engine *engine)
{
    struct worker *worker = &engine->worker;
    pthread_mutex_lock(&worker->lock);
    bool finished = worker->finished;
    worker->finished = false;
    pthread_mutex_unlock(&worker->lock);
    if (!finished)
        return 0;
    if (worker->result == -ENOSPC)
        reserve_give_back(engine);
    else if (worker->result < 0)
        return sync_failed(engine, worker->result);
    log_is_synced(engine, worker->intents_committed);
    return 0;
}

int worker_wait(struct engine *engine)
{
    struct worker *worker = &engine->worker;
    pthread_mutex_lock(&worker->lock);
    while (worker->wanted)
        pthread_cond_wait(&worker->moved, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
    return worker_collect(engine);
}
