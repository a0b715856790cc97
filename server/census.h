// SPDX-License-Identifier: Apache-2.0
// What operators ask of all file systems at once: who is attached, what is locked, and to cut one client off.
// The main thread asks; every shard answers for its own; nobody waits for anybody.
#ifndef BERTH_SERVER_CENSUS_H
#define BERTH_SERVER_CENSUS_H

#include "server/address.h"
#include "server/session.h"

#define CENSUS_ROWS_MAX 10000u // of one shard

enum census_kind { CENSUS_CLIENTS, CENSUS_LOCKS, CENSUS_EVICT };

struct census_question {
    enum census_kind kind;
    char fs_id[FS_ID_SIZE]; // "": of every file system that is open
    uint64_t client;        // CENSUS_EVICT: whom
};

// A client's name for operators: stays the same over restarts, and is not what a session is resumed with.
struct census_client {
    uint64_t client;
    char fs_id[FS_ID_SIZE], access_point[FS_ID_SIZE];
    char principal[SESSION_TEXT_SIZE];
    char name[SESSION_TEXT_SIZE], peer[ADDRESS_TEXT_SIZE]; // "": not heard of since the server started
    uint64_t since_ns;                                     // of its last hello
    uint32_t number;                                       // in the log
    bool connected, expired, read_only;
    size_t n_opens, n_locks, n_waits, n_leases;
    uint64_t id_low; // secret
};

struct census_lock {
    uint64_t client;
    char fs_id[FS_ID_SIZE];
    char name[SESSION_TEXT_SIZE]; // its client's
    fs_ino ino;
    struct fs_lock lock;
    bool waits;
};

// One shard's answer.
struct census {
    struct census_client *clients;
    struct census_lock *locks;
    size_t n_clients, n_locks, room;
    bool truncated; // there are more than CENSUS_ROWS_MAX
    bool evicted;
    int error; // -ENOMEM
};

// On the main thread, once; the answers live until it returns.
typedef void census_done(void *context, const struct census *answers, size_t n);

struct shard;
// 0: done will be called. -ENOMEM.
int census_ask(struct shard *shards, unsigned n_shards, const struct census_question *question,
               census_done *done, void *context);

#endif
