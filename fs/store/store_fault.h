// SPDX-License-Identifier: Apache-2.0
// Wraps another store and makes chosen calls fail, for tests.
#ifndef BERTH_STORE_FAULT_H
#define BERTH_STORE_FAULT_H

#include "fs/store/store.h"

// Owns `inner` from success on.
int store_fault_open(struct store *inner, struct store **ret_store);

// The n-th next call (1 = the next) of the operation with this name ("commit", "inode_put", …, "*" for any
// that writes) answers `error` (negative errno) without reaching the inner store. n = 0 disarms.
void store_fault_arm(struct store *store, const char *operation, unsigned n, int error);

#endif
