// SPDX-License-Identifier: Apache-2.0
// The engine on SQLite (metadata, small files) and one sparse file per larger inode. Layout: docs/STORAGE.md.
#ifndef BERTH_STORE_SQLITE_H
#define BERTH_STORE_SQLITE_H

#include "fs/base/env.h"
#include "fs/store/store.h"

#define STORE_FORMAT_VERSION 2

// Makes an empty file system's files in `directory`, which must not exist yet (its parent must), and syncs
// them. On failure nothing is left behind.
int store_sqlite_create(const char *directory);

// Opens it and recovers: replays intents, starts a new incarnation. -ENOENT when there is none,
// -EPROTONOSUPPORT when a newer version wrote it, -EUCLEAN when it is damaged. *ret_store is untouched on
// failure.
int store_sqlite_open(const char *directory, const struct env *env, struct store **ret_store);

// Removes a closed store's directory and all in it.
int store_sqlite_destroy(const char *directory);

#endif
