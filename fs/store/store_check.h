// SPDX-License-Identifier: Apache-2.0
// Checks and repairs a store on SQLite: whatever docs/STORAGE.md promises of the bytes at rest and fs/core/
// of the tree. A check changes nothing, and may look at a store that this process serves. A repair is one
// transaction, made again until nothing is found; it throws no bytes of a file away: what has no place any
// more goes to /lost+found, or to lost+found-data/ beside data/. Any one thread.
#ifndef BERTH_STORE_CHECK_H
#define BERTH_STORE_CHECK_H

#include "fs/base/env.h"
#include "fs/types.h"
#include <stdatomic.h>

struct store_problem {
    const char *kind; // a stable word
    fs_ino ino;       // 0: of no inode
    const char *text; // one line without control characters; begins with the place
    bool repaired;
};

struct store_check {
    const struct env *env;
    bool repair;
    bool online;             // this process may have it open, and change it meanwhile; not with repair
    const atomic_bool *stop; // NULL, or when to give up
    // What a session's part says is for the server to judge.
    bool (*session_valid)(uint32_t part, const void *bytes, size_t n);
    void (*problem)(void *context, const struct store_problem *problem); // the texts live for the call
    void (*progress)(void *context, const char *what);                   // again and again while it works
    void *context;
};

// 0 when it could be checked, whatever was found. -ENOENT: there is no store; -EBUSY: somebody has it open
// (online: so much is written that no look comes to an end); -EPROTONOSUPPORT: a newer version wrote it.
// -ECANCELED: stopped.
int store_sqlite_check(const char *directory, const struct store_check *check);

#endif
