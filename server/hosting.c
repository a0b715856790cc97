// SPDX-License-Identifier: Apache-2.0
// Which file system lives on which shard, and the shards' start and end. Main thread. Invariant: a file
// system keeps its shard until the server stops, so all that concerns it meets in one mailbox, in order.
#include "server/hosting.h"
#include "fs/base/log.h"
#include "fs/store/store_sqlite.h"
#include "server/attach.h"
#include "server/census.h"
#include "server/conn.h"
#include "server/run_marker.h"
#include "server/shard.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct hosting {
    struct hosting_options options;
    char *data_directory; // owned
    struct mailbox mailbox;
    struct list places;
    unsigned n_places, n_running;
    struct shard *shards; // owned; options.n_shards
    void (*done)(void *context);
    void *done_context;
};

int hosting_path(const struct hosting *hosting, const char *fs_id, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/fs/%s", hosting->data_directory, fs_id);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

// --- places ---

static int place_of(struct hosting *hosting, const char *fs_id, struct place **ret_place)
{
    list_for_each (node, &hosting->places) {
        struct place *place = LIST_ENTRY(node, struct place, node);
        if (strcmp(place->fs_id, fs_id) == 0) {
            *ret_place = place;
            return 0;
        }
    }
    struct place *place = calloc(1, sizeof(*place));
    if (!place)
        return -ENOMEM;
    fs_assert(strlen(fs_id) < sizeof(place->fs_id));
    memcpy(place->fs_id, fs_id, strlen(fs_id));
    place->shard = &hosting->shards[hosting->n_places++ % hosting->options.n_shards];
    list_init(&place->node);
    list_push(&hosting->places, &place->node);
    *ret_place = place;
    return 0;
}

// --- start ---

static int start_shards(struct hosting *hosting)
{
    uint64_t incarnation;
    env_random(hosting->options.env, &incarnation, sizeof(incarnation));
    for (unsigned i = 0; i < hosting->options.n_shards; i++) {
        struct shard *shard = &hosting->shards[i];
        shard->options = &hosting->options;
        shard->main = &hosting->mailbox;
        shard->number = i;
        shard->incarnation = incarnation;
        int result = shard_start(shard);
        if (result < 0)
            return result;
        hosting->n_running++;
    }
    return 0;
}

static int make_directory(const struct hosting *hosting)
{
    char path[PATH_MAX];
    int result = hosting_path(hosting, "", path);
    if (result < 0)
        return result;
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static void hosting_free(struct hosting *hosting)
{
    struct list *node;
    while ((node = list_pop(&hosting->places)))
        free(LIST_ENTRY(node, struct place, node));
    free(hosting->shards);
    free(hosting->data_directory);
    free(hosting);
}

int hosting_start(uv_loop_t *loop, const struct hosting_options *options, struct hosting **ret_hosting)
{
    struct hosting *hosting = calloc(1, sizeof(*hosting));
    if (!hosting)
        return -ENOMEM;
    list_init(&hosting->places);
    hosting->options = *options;
    hosting->data_directory = strdup(options->data_directory);
    hosting->options.data_directory = hosting->data_directory;
    hosting->shards = calloc(options->n_shards, sizeof(*hosting->shards));
    int result = hosting->data_directory && hosting->shards ? make_directory(hosting) : -ENOMEM;
    if (result == 0)
        result = mailbox_init(&hosting->mailbox, loop);
    if (result < 0) {
        hosting_free(hosting);
        return result;
    }
    // Threads that did start cannot be taken back without a running loop; the caller ends the process.
    result = start_shards(hosting);
    if (result == 0)
        *ret_hosting = hosting;
    return result;
}

// --- stop ---

static void on_mailbox_closed(void *context)
{
    struct hosting *hosting = context;
    hosting->done(hosting->done_context);
    hosting_free(hosting);
}

static void on_stopped(struct message *message)
{
    struct shard *shard = CONTAINER_OF(message, struct shard, stopped);
    struct hosting *hosting = CONTAINER_OF(shard->main, struct hosting, mailbox);
    fs_assert(uv_thread_join(&shard->thread) == 0);
    if (--hosting->n_running > 0)
        return;
    mailbox_close(&hosting->mailbox, on_mailbox_closed, hosting);
}

void hosting_stop(struct hosting *hosting, void (*done)(void *context), void *context)
{
    hosting->done = done;
    hosting->done_context = context;
    for (unsigned i = 0; i < hosting->options.n_shards; i++)
        shard_stop(&hosting->shards[i], on_stopped);
}

// --- file systems ---

int hosting_create(struct hosting *hosting, const char *fs_id)
{
    char path[PATH_MAX];
    int result = hosting_path(hosting, fs_id, path);
    if (result == 0)
        result = store_sqlite_create(path);
    if (result == 0)
        run_marker_end(path);
    return result;
}

void hosting_delete(struct hosting *hosting, const char *fs_id, bool force, hosting_done *done, void *context)
{
    struct place *place;
    int result = place_of(hosting, fs_id, &place);
    if (result == 0)
        result = shard_delete(place->shard, place, force, done, context);
    if (result < 0)
        done(context, result);
}

int hosting_usage(struct hosting *hosting, const char *fs_id, struct hosting_usage *ret_usage)
{
    struct place *place;
    int result = place_of(hosting, fs_id, &place);
    if (result == 0 && !atomic_load(&place->known))
        result = shard_usage(place->shard, place);
    if (result < 0)
        return result;
    *ret_usage = (struct hosting_usage){
        .bytes = atomic_load(&place->bytes),
        .inodes = atomic_load(&place->inodes),
        .sessions = atomic_load(&place->sessions),
    };
    return 0;
}

int hosting_quota(struct hosting *hosting, const char *fs_id, const char *path,
                  const struct core_limits *limits, struct store_quota *ret_quota)
{
    struct place *place;
    int result = place_of(hosting, fs_id, &place);
    return result < 0 ? result : shard_quota(place->shard, place, path, limits, ret_quota);
}

int hosting_ask(struct hosting *hosting, const struct census_question *question, census_done *done,
                void *context)
{
    return census_ask(hosting->shards, hosting->options.n_shards, question, done, context);
}

void hosting_attach(struct hosting *hosting, struct attach *attach, struct conn *conn)
{
    struct place *place;
    if (place_of(hosting, attach->fs_id, &place) == 0) {
        shard_attach(place->shard, place, attach, conn);
        return;
    }
    conn_abandon(conn);
    attach_free(attach);
}
