// SPDX-License-Identifier: Apache-2.0
// The conformance suite of fs/store/store.h: what every engine must do, told by the header's contract alone.
// Each test file test_store_ENGINE.c runs it on its engine.
#ifndef BERTH_TESTS_STORE_SUITE_H
#define BERTH_TESTS_STORE_SUITE_H

#include "fs/base/env.h"
#include "fs/store/store.h"

struct suite_engine {
    const char *name;
    int (*open)(struct store **ret_store); // an empty store; aborts nothing, answers an error
    void (*clean)(void);                   // after the store was closed
};

// Runs every test on a fresh store each. The number of failures.
int store_suite_run(const struct suite_engine *engine);

// --- helpers for tests of stores ---

// A clock that moves on by a second at each look, and random bytes that are all zero.
extern const struct env suite_env;

struct store_inode suite_inode(fs_ino ino, uint32_t mode, uint64_t size);
void suite_begin(struct store *store);
void suite_commit(struct store *store);
// Writes and puts the new size, in the open transaction.
void suite_write(struct store *store, fs_ino ino, uint64_t offset, const void *bytes, size_t n);
void suite_resize(struct store *store, fs_ino ino, uint64_t to);
uint64_t suite_size(struct store *store, fs_ino ino);
// n bytes at offset are what the pattern of this seed has there.
void suite_fill(uint8_t *bytes, size_t n, uint32_t seed);
void suite_assert_bytes(struct store *store, fs_ino ino, uint64_t offset, const void *expected, size_t n);
void suite_assert_zeros(struct store *store, fs_ino ino, uint64_t offset, size_t n);
// Syncs, then upkeep until it has nothing more to do.
void suite_upkeep(struct store *store);
struct store *suite_store(void **state); // of a running test of the suite

// --- tests in store_suite_ranges.c ---

void far_bytes_come_back(void **state);
void far_bytes_cut_off_never_come_back(void **state);
void rolled_back_far_growth_reads_as_zeros_later(void **state);
void zeroed_ranges_are_zeros(void **state);
void zeroing_far_ranges_forgets_them(void **state);
void allocating_changes_no_byte(void **state);
void copies_are_equal(void **state);
void copied_holes_are_holes(void **state);
void ranges_past_the_largest_size_are_refused(void **state);

#endif
