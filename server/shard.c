// SPDX-License-Identifier: Apache-2.0
// A shard's thread and loop. One iteration: sockets are read, then each file system that has work runs one
// turn. Messages from the main thread come through the mailbox. Invariant: everything of a file system is
// touched by this thread alone, except its place's atomics.
#include "server/shard.h"
#include "fs/base/log.h"
#include "fs/store/store_sqlite.h"
#include "server/busy_loop.h"
#include "server/hosted.h"
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPKEEP_AGAIN_MS 5u
#define TRIM_AFTER      256u // sessions that ended
#define NS_PER_US       1000ull

// --- the loop ---

static void on_check(uv_check_t *check)
{
    struct shard *shard = CONTAINER_OF(check, struct shard, check);
    list_for_each_safe (node, after, &shard->hosted)
        turn_run(LIST_ENTRY(node, struct hosted, node));
}

// Upkeep that waits for work off the loop is asked again a little later, not at once.
static void on_again(uv_timer_t *timer)
{
    shard_work(CONTAINER_OF(timer, struct shard, again));
}

static void on_idle(uv_idle_t *idle)
{
    struct shard *shard = CONTAINER_OF(idle, struct shard, idle);
    bool ready = false, more = false;
    list_for_each_safe (node, after, &shard->hosted) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, node);
        more |= hosted_upkeep(hosted);
        ready |= hosted_may_run(hosted);
    }
    if (!ready)
        uv_idle_stop(idle);
    if (more && !uv_is_active((uv_handle_t *)&shard->again))
        uv_timer_start(&shard->again, on_again, UPKEEP_AGAIN_MS, 0);
}

void shard_work(struct shard *shard)
{
    fs_assert(uv_idle_start(&shard->idle, on_idle) == 0);
}

static void close_stalled(struct shard *shard)
{
    list_for_each_safe (node, after, &shard->clients) {
        struct conn *conn = LIST_ENTRY(node, struct client, node)->conn;
        if (conn_stalled(conn))
            conn_close(conn, "the peer takes no replies");
    }
}

// A crowd of sessions leaves memory in small pieces, which malloc() keeps unless it is told.
static void trim(struct shard *shard)
{
    if (shard->n_ended < TRIM_AFTER)
        return;
    shard->n_ended = 0;
    malloc_trim(0);
}

static void on_timer(uv_timer_t *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, timer);
    close_stalled(shard);
    trim(shard);
    list_for_each_safe (node, after, &shard->hosted)
        hosted_tick(LIST_ENTRY(node, struct hosted, node));
    shard_work(shard);
}

static void run_thread(void *context)
{
    struct shard *shard = context;
    busy_loop_run(&shard->loop, shard->options->busy_poll_us * NS_PER_US);
    fs_assert(uv_loop_close(&shard->loop) == 0);
    mailbox_post(shard->main, &shard->stopped, shard->on_stopped);
}

int shard_start(struct shard *shard)
{
    list_init(&shard->hosted);
    list_init(&shard->clients);
    int result = uv_loop_init(&shard->loop);
    if (result < 0)
        return result;
    result = mailbox_init(&shard->mailbox, &shard->loop);
    if (result < 0) {
        uv_loop_close(&shard->loop);
        return result;
    }
    uv_check_init(&shard->loop, &shard->check);
    uv_idle_init(&shard->loop, &shard->idle);
    uv_timer_init(&shard->loop, &shard->timer);
    uv_timer_init(&shard->loop, &shard->again);
    uv_check_start(&shard->check, on_check);
    return uv_thread_create(&shard->thread, run_thread, shard);
}

// --- open file systems ---

int shard_find(struct shard *shard, struct place *place, struct hosted **ret_hosted, char *reason,
               size_t size)
{
    if (shard->stopping || (place->hosted && place->hosted->closing)) {
        snprintf(reason, size, "file system %s is being deleted", place->fs_id);
        return -ENOENT;
    }
    if (!place->hosted) {
        struct hosted *hosted;
        int result = hosted_open(shard, place, &hosted, reason, size);
        if (result < 0)
            return result;
        place->hosted = hosted;
        list_push(&shard->hosted, &hosted->node);
        uv_timer_start(&shard->timer, on_timer, SHARD_TICK_MS, SHARD_TICK_MS);
        shard_work(shard);
    }
    *ret_hosted = place->hosted;
    return 0;
}

static void finish_stop(struct shard *shard)
{
    mailbox_close(&shard->mailbox, NULL, NULL);
    list_for_each_safe (node, after, &shard->clients)
        conn_close(LIST_ENTRY(node, struct client, node)->conn, "the server stops");
    uv_close((uv_handle_t *)&shard->check, NULL);
    uv_close((uv_handle_t *)&shard->idle, NULL);
    uv_close((uv_handle_t *)&shard->timer, NULL);
    uv_close((uv_handle_t *)&shard->again, NULL);
}

// A file system of this shard has closed.
static void forget(struct shard *shard, struct hosted *hosted)
{
    hosted->place->hosted = NULL;
    atomic_store(&hosted->place->known, false);
    list_remove(&hosted->node);
    if (!list_empty(&shard->hosted))
        return;
    uv_timer_stop(&shard->timer);
    if (shard->stopping)
        finish_stop(shard);
}

// --- attach ---

struct attach_message {
    struct message message;
    struct shard *shard;
    struct place *place;
    struct attach *attach;
    struct conn *conn;
};

static void run_attach(struct message *message)
{
    struct attach_message *own = CONTAINER_OF(message, struct attach_message, message);
    char reason[ATTACH_REASON_SIZE] = "no memory";
    struct hosted *hosted;
    int result = shard_find(own->shard, own->place, &hosted, reason, sizeof(reason));
    if (own->shard->stopping) {
        // No answer at all: the client comes back to the server that starts next.
        conn_abandon(own->conn);
        attach_free(own->attach);
    } else if (result < 0) {
        welcome_refuse(own->shard, own->attach, own->conn, result, reason);
    } else {
        welcome(own->shard, hosted, own->attach, own->conn);
    }
    free(own);
}

void shard_attach(struct shard *shard, struct place *place, struct attach *attach, struct conn *conn)
{
    struct attach_message *own = malloc(sizeof(*own));
    if (!own) {
        conn_abandon(conn);
        attach_free(attach);
        return;
    }
    *own = (struct attach_message){.shard = shard, .place = place, .attach = attach, .conn = conn};
    mailbox_post(&shard->mailbox, &own->message, run_attach);
}

// --- usage ---

struct usage_message {
    struct message message;
    struct shard *shard;
    struct place *place;
    int result;
    uv_sem_t done;
};

static void run_usage(struct message *message)
{
    struct usage_message *own = CONTAINER_OF(message, struct usage_message, message);
    char reason[ATTACH_REASON_SIZE];
    struct hosted *hosted;
    own->result = shard_find(own->shard, own->place, &hosted, reason, sizeof(reason));
    uv_sem_post(&own->done);
}

int shard_usage(struct shard *shard, struct place *place)
{
    struct usage_message own = {.shard = shard, .place = place};
    int result = uv_sem_init(&own.done, 0);
    if (result < 0)
        return result;
    mailbox_post(&shard->mailbox, &own.message, run_usage);
    uv_sem_wait(&own.done);
    uv_sem_destroy(&own.done);
    return own.result;
}

// --- delete ---

struct delete_message {
    struct message message;
    struct shard *shard;
    struct place *place;
    bool force;
    int result;
    hosting_done *done;
    void *context;
};

static void tell_deleted(struct message *message)
{
    struct delete_message *own = CONTAINER_OF(message, struct delete_message, message);
    own->done(own->context, own->result);
    free(own);
}

static void finish_delete(struct delete_message *own, int result)
{
    own->result = result;
    mailbox_post(own->shard->main, &own->message, tell_deleted);
}

static void destroy(struct delete_message *own)
{
    char path[PATH_MAX];
    const struct shard *shard = own->shard;
    int n = snprintf(path, sizeof(path), "%s/fs/%s", shard->options->data_directory, own->place->fs_id);
    int result = n > 0 && (size_t)n < sizeof(path) ? store_sqlite_destroy(path) : -ENAMETOOLONG;
    finish_delete(own, result == -ENOENT ? 0 : result);
}

static void closed_for_delete(struct hosted *hosted, void *context)
{
    struct delete_message *own = context;
    forget(own->shard, hosted);
    destroy(own);
}

static void run_delete(struct message *message)
{
    struct delete_message *own = CONTAINER_OF(message, struct delete_message, message);
    struct hosted *hosted = own->place->hosted;
    if (own->shard->stopping || (hosted && hosted->closing))
        finish_delete(own, -EAGAIN);
    else if (!hosted)
        destroy(own);
    else if (atomic_load(&own->place->sessions) > 0 && !own->force)
        finish_delete(own, -EBUSY);
    else
        hosted_close(hosted, "the file system is deleted", closed_for_delete, own);
}

int shard_delete(struct shard *shard, struct place *place, bool force, hosting_done *done, void *context)
{
    struct delete_message *own = malloc(sizeof(*own));
    if (!own)
        return -ENOMEM;
    *own = (struct delete_message){
        .shard = shard, .place = place, .force = force, .done = done, .context = context};
    mailbox_post(&shard->mailbox, &own->message, run_delete);
    return 0;
}

// --- stop ---

static void closed_for_stop(struct hosted *hosted, void *context)
{
    forget(context, hosted);
}

static void run_stop(struct message *message)
{
    struct shard *shard = CONTAINER_OF(message, struct shard, stop);
    shard->stopping = true;
    if (list_empty(&shard->hosted)) {
        finish_stop(shard);
        return;
    }
    list_for_each_safe (node, after, &shard->hosted) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, node);
        if (!hosted->closing)
            hosted_close(hosted, "the server stops", closed_for_stop, shard);
    }
}

void shard_stop(struct shard *shard, void (*stopped)(struct message *message))
{
    shard->on_stopped = stopped;
    mailbox_post(&shard->mailbox, &shard->stop, run_stop);
}
