// SPDX-License-Identifier: Apache-2.0
// A shard: one thread, one loop, some of the file systems. Private to the data plane.
#ifndef BERTH_SERVER_SHARD_H
#define BERTH_SERVER_SHARD_H

#include "fs/base/list.h"
#include "server/hosting.h"
#include "server/mailbox.h"
#include <stdatomic.h>

#define SHARD_TICK_MS 500u

struct attach;
struct conn;
struct hosted;
struct shard;
struct core_limits;
struct store_quota;

// Where a file system lives and what was last known of its usage. Made by the main thread, freed when all
// shards have stopped; the shard writes the atomics.
struct place {
    struct list node; // main thread
    char fs_id[FS_ID_SIZE];
    struct shard *shard;
    struct hosted *hosted; // shard's thread; NULL: not open
    atomic_uint_fast64_t bytes, inodes;
    atomic_uint sessions;
    atomic_bool known; // the three have been set
};

struct shard {
    const struct hosting_options *options;
    struct mailbox *main; // where results go
    unsigned number;
    uint64_t incarnation; // of this run of the server
    uv_thread_t thread;
    uv_loop_t loop;
    struct mailbox mailbox;
    uv_check_t check; // after the sockets have been read: the turns
    uv_idle_t idle;   // while there is more to do at once
    uv_timer_t timer; // while a file system is open
    uv_timer_t again; // while upkeep waits
    struct list hosted;
    struct list clients; // every connection of this shard
    uint32_t n_sessions_ever;
    uint32_t n_ended; // sessions, since memory was last given back
    uint64_t n_clients_ever;
    bool stopping;
    struct message stop, stopped;
    void (*on_stopped)(struct message *message);
};

// Starts its thread. The fields up to incarnation have been set.
int shard_start(struct shard *shard);

// From the main thread; the work happens on the shard's.
// Closes its file systems and ends its thread; posts shard->stopped to main as its last act.
void shard_stop(struct shard *shard, void (*stopped)(struct message *message));
void shard_attach(struct shard *shard, struct place *place, struct attach *attach,
                  struct conn *conn); // owns both
int shard_delete(struct shard *shard, struct place *place, bool force, hosting_done *done, void *context);
int shard_usage(struct shard *shard, struct place *place); // opens it; waits
// See hosting_quota(); waits.
int shard_quota(struct shard *shard, struct place *place, const char *path, const struct core_limits *limits,
                struct store_quota *ret_quota);

// On the shard's thread.
void shard_work(struct shard *shard); // there is something to do at once
// reason: for people, on failure.
int shard_find(struct shard *shard, struct place *place, struct hosted **ret_hosted, char *reason,
               size_t size);

#endif
