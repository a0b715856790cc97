// SPDX-License-Identifier: Apache-2.0
// See notify.h. The loop's thread, and the worker threads in work(). Invariant: a job is in a pool's queue,
// with one worker, or in `finished`; the lock guards the lists and the counts.
#define FUSE_USE_VERSION 314
#include "client/notify.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK_SIZE   (256u * 1024u)
#define THREADS_MAX  16u
#define NOTIFY_EPOCH 8 // FUSE_NOTIFY_INC_EPOCH, younger than our headers

// One that waits for ever holds up no other kind, and few of its own.
static const unsigned threads_max[NOTIFY_KINDS] = {[NOTIFY_NAME] = 4, [NOTIFY_PAGES] = THREADS_MAX};

struct pool {
    struct notify *notify;
    struct list queue;
    sem_t wake; // posted for each job (glibc 2.36's condition variables lose signals: its bug 25847)
    pthread_t threads[THREADS_MAX];
    unsigned n_threads, n_threads_max, n_queued, n_working;
};

struct notify {
    struct fuse_session *session;
    pthread_mutex_t lock;
    struct pool pools[NOTIFY_KINDS];
    struct list finished;
    bool stopping;
    uv_async_t async;
};

// --- what the kernel is told ---

// ENOENT: it keeps nothing of that.
static void check(int result, const char *what)
{
    if (result < 0 && result != -ENOENT && result != -ENODEV && result != -ENOTCONN && result != -EBADF &&
        result != -ENOTDIR)
        log_warn("notify", "what=%s error=%s", what, strerror(-result));
}

// A length of 0 is to the end.
static void drop_range(const struct notify *notify, const struct byte_range *range)
{
    off_t length = range->end == INT64_MAX ? 0 : (off_t)(range->end - range->start + 1);
    check(fuse_lowlevel_notify_inval_inode(notify->session, range->id, (off_t)range->start, length), "range");
}

static void drop_name(const struct notify *notify, const struct notify_job *job)
{
    // "/" is a name that no entry has; the kernel takes the directory's lock to look for it all the same.
    const char *name = job->name[0] ? job->name : "/";
    check(fuse_lowlevel_notify_inval_entry(notify->session, job->node_id, name, strlen(name)), "name");
}

void notify_attributes(const struct notify *notify, uint64_t node_id)
{
    check(fuse_lowlevel_notify_inval_inode(notify->session, node_id, -1, 0), "attributes");
}

void notify_epoch(const struct notify *notify)
{
    const struct fuse_out_header header = {.len = sizeof(header), .error = NOTIFY_EPOCH};
    ssize_t n = write(fuse_session_fd(notify->session), &header, sizeof(header));
    check(n < 0 ? -errno : 0, "epoch");
}

// --- threads ---

static void run(const struct notify *notify, const struct notify_job *job)
{
    if (job->kind == NOTIFY_NAME)
        drop_name(notify, job);
    for (size_t i = 0; i < job->n_ranges; i++)
        drop_range(notify, &job->ranges[i]);
}

// The next job, NULL when there is none now. False: there will be none.
static bool take(struct pool *pool, struct list **ret_node)
{
    struct notify *notify = pool->notify;
    pthread_mutex_lock(&notify->lock);
    bool stopping = notify->stopping;
    *ret_node = stopping ? NULL : list_pop(&pool->queue);
    pool->n_queued -= *ret_node != NULL;
    pool->n_working += *ret_node != NULL;
    pthread_mutex_unlock(&notify->lock);
    return !stopping;
}

static void give(struct pool *pool, struct list *node)
{
    struct notify *notify = pool->notify;
    pthread_mutex_lock(&notify->lock);
    pool->n_working--;
    list_push(&notify->finished, node);
    pthread_mutex_unlock(&notify->lock);
    uv_async_send(&notify->async);
}

static void *work(void *context)
{
    struct pool *pool = context;
    struct notify *notify = pool->notify;
    struct list *node;
    while (take(pool, &node)) {
        if (!node) {
            sem_wait(&pool->wake);
            continue;
        }
        run(notify, LIST_ENTRY(node, struct notify_job, node));
        give(pool, node);
    }
    return NULL;
}

// Signals are the loop's.
static bool start_thread(struct pool *pool)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&pool->threads[pool->n_threads], &attributes, work, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (result == 0)
        pool->n_threads++;
    return result == 0;
}

void notify_submit(struct notify *notify, struct notify_job *job)
{
    struct pool *pool = &notify->pools[job->kind];
    pthread_mutex_lock(&notify->lock);
    list_init(&job->node);
    if (notify->stopping) {
        list_push(&notify->finished, &job->node);
        pthread_mutex_unlock(&notify->lock);
        uv_async_send(&notify->async);
        return;
    }
    list_push(&pool->queue, &job->node);
    pool->n_queued++;
    if (pool->n_queued + pool->n_working > pool->n_threads && pool->n_threads < pool->n_threads_max &&
        !start_thread(pool) && pool->n_threads == 0)
        log_error("notify", "error=%s", "no thread could be started; what is to be dropped waits");
    pthread_mutex_unlock(&notify->lock);
    sem_post(&pool->wake);
}

static void finish(struct notify *notify)
{
    struct list *node;
    for (;;) {
        pthread_mutex_lock(&notify->lock);
        node = list_pop(&notify->finished);
        pthread_mutex_unlock(&notify->lock);
        if (!node)
            return;
        struct notify_job *job = LIST_ENTRY(node, struct notify_job, node);
        job->done(job);
    }
}

static void on_async(uv_async_t *async)
{
    finish(async->data);
}

// --- life ---

int notify_create(uv_loop_t *loop, struct notify **ret_notify)
{
    struct notify *notify = calloc(1, sizeof(*notify));
    if (!notify)
        return -ENOMEM;
    int result = uv_async_init(loop, &notify->async, on_async);
    if (result < 0) {
        free(notify);
        return result;
    }
    notify->async.data = notify;
    pthread_mutex_init(&notify->lock, NULL);
    list_init(&notify->finished);
    for (unsigned kind = 0; kind < NOTIFY_KINDS; kind++) {
        struct pool *pool = &notify->pools[kind];
        pool->notify = notify;
        pool->n_threads_max = threads_max[kind];
        list_init(&pool->queue);
        sem_init(&pool->wake, 0, 0);
    }
    *ret_notify = notify;
    return 0;
}

void notify_start(struct notify *notify, struct fuse_session *session)
{
    notify->session = session;
}

void notify_stop(struct notify *notify)
{
    pthread_mutex_lock(&notify->lock);
    notify->stopping = true;
    pthread_mutex_unlock(&notify->lock);
}

bool notify_is_working(struct notify *notify)
{
    bool working = false;
    pthread_mutex_lock(&notify->lock);
    for (unsigned kind = 0; kind < NOTIFY_KINDS; kind++)
        working |= notify->pools[kind].n_working > 0;
    pthread_mutex_unlock(&notify->lock);
    return working;
}

static void stop_pool(struct pool *pool)
{
    struct list *node;
    for (unsigned i = 0; i < pool->n_threads; i++)
        sem_post(&pool->wake);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    while ((node = list_pop(&pool->queue)))
        list_push(&pool->notify->finished, node);
    sem_destroy(&pool->wake);
}

static void on_closed(uv_handle_t *async)
{
    free(async->data);
}

void notify_destroy(struct notify *notify)
{
    if (!notify)
        return;
    notify_stop(notify);
    for (unsigned kind = 0; kind < NOTIFY_KINDS; kind++)
        stop_pool(&notify->pools[kind]);
    finish(notify);
    pthread_mutex_destroy(&notify->lock);
    uv_close((uv_handle_t *)&notify->async, on_closed);
}
