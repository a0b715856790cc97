// SPDX-License-Identifier: Apache-2.0
// Which file systems are open, and on which shard (thread) each lives. Called from the main thread; results
// of what happens on shards come back through callbacks on the main thread's loop.
#ifndef BERTH_SERVER_HOSTING_H
#define BERTH_SERVER_HOSTING_H

#include "fs/base/env.h"
#include "fs/types.h"
#include <limits.h>
#include <uv.h>

struct hosting;
struct attach;
struct conn;

struct hosting_options {
    const char *data_directory; // file systems live in DIR/fs/ID
    const struct env *env;
    unsigned n_shards;
    bool durability_strict;
    uint32_t lease_ms;
    uint32_t max_locks;    // ranges of a file system
    uint32_t busy_poll_us; // for how long at most a shard looks for the next request before it sleeps; 0: not
};

struct hosting_usage {
    uint64_t bytes; // sum of the sizes of regular files
    uint64_t inodes;
    uint32_t sessions; // attached now
};

// Starts the shard threads. `loop` is the main thread's and must outlive the hosting.
int hosting_start(uv_loop_t *loop, const struct hosting_options *options, struct hosting **ret_hosting);
// Ends every session cleanly, syncs and closes every file system, joins the threads; then calls done. The
// hosting is freed when done returns.
void hosting_stop(struct hosting *hosting, void (*done)(void *context), void *context);

// Of the file system's directory; -ENAMETOOLONG. Any thread.
int hosting_path(const struct hosting *hosting, const char *fs_id, char path[PATH_MAX]);

// Makes the empty file system's files, synced; blocking, milliseconds.
int hosting_create(struct hosting *hosting, const char *fs_id);

// Closes and removes a file system. The result comes to done, on the main thread: -EBUSY when sessions are
// attached and not `force`; with it they are ended first. Removing what is not there is 0.
typedef void hosting_done(void *context, int result);
void hosting_delete(struct hosting *hosting, const char *fs_id, bool force, hosting_done *done,
                    void *context);

// As of the shard's last turn; opens a file system that nobody has attached to yet. -ENOENT.
int hosting_usage(struct hosting *hosting, const char *fs_id, struct hosting_usage *ret_usage);

// What the quota of the directory at `path` (NULL: of the whole file system) comes to, after its limits were
// set when there are any: then they hold for everybody at once, and an existing directory becomes a quota
// root. Waits for the shard. Zeros when there is no such directory, or it is no quota root.
struct core_limits;
struct store_quota;
int hosting_quota(struct hosting *hosting, const char *fs_id, const char *path,
                  const struct core_limits *limits, struct store_quota *ret_quota);

// See census.h: asks every shard, without waiting. 0: done will be called. -ENOMEM.
struct census;
struct census_question;
int hosting_ask(struct hosting *hosting, const struct census_question *question,
                void (*done)(void *context, const struct census *answers, size_t n), void *context);

// For the listener: hands a connection that has left the main thread's loop, and its hello that was let in,
// to the shard of its file system. Owns both.
void hosting_attach(struct hosting *hosting, struct attach *attach, struct conn *conn);

#endif
