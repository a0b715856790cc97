// SPDX-License-Identifier: Apache-2.0
// Checks and repairs a store on SQLite that nobody has open: whatever docs/STORAGE.md promises of the bytes
// at rest and fs/core/ of the tree. A check changes nothing. A repair is one transaction, made again until
// nothing is found; it throws no bytes of a file away: what has no place any more goes to /lost+found, or to
// lost+found-data/ beside data/. Any one thread.
#ifndef BERTH_STORE_CHECK_H
#define BERTH_STORE_CHECK_H

#include "fs/base/env.h"
#include "fs/types.h"

struct store_problem {
    const char *kind; // a stable word
    fs_ino ino;       // 0: of no inode
    const char *text; // one line without control characters; begins with the place
    bool repaired;
};

struct store_check {
    const struct env *env;
    bool repair;
    // What a session's part says is for the server to judge.
    bool (*session_valid)(uint32_t part, const void *bytes, size_t n);
    void (*problem)(void *context, const struct store_problem *problem); // the texts live for the call
    void (*progress)(void *context, const char *what);                   // again and again while it works
    void *context;
};

// 0 when it could be checked, whatever was found. -ENOENT: there is no store; -EBUSY: somebody has it open;
// -EPROTONOSUPPORT: a newer version wrote it.
int store_sqlite_check(const char *directory, const struct store_check *check);

#endif
