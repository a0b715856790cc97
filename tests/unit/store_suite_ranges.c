// SPDX-License-Identifier: Apache-2.0
// The part of the conformance suite about ranges of files, and about offsets far past what one file of a host
// holds.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/base/check.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB UINT64_C(0x100000)
#define TIB (UINT64_C(1) << 40)

static const uint64_t far_offsets[] = {
    TIB - 2, TIB, 5 * TIB - 3, 16 * TIB, UINT64_C(1) << 62, FS_FILE_SIZE_MAX - 5};

static void empty_file(struct store *store, fs_ino ino)
{
    const struct store_inode inode = suite_inode(ino, S_IFREG | 0600, 0);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_commit(store);
}

static void remove_file(struct store *store, fs_ino ino)
{
    suite_begin(store);
    assert_int_equal(store_inode_remove(store, ino), 0);
    suite_commit(store);
}

static uint64_t seek(struct store *store, fs_ino ino, uint64_t offset, bool hole)
{
    uint64_t found = UINT64_MAX;
    int result = store_data_seek(store, ino, suite_size(store, ino), offset, hole, &found);
    assert_true(result == 0 || result == -ENXIO);
    return result == 0 ? found : UINT64_MAX;
}

static void zero(struct store *store, fs_ino ino, uint64_t offset, uint64_t n, bool keep_room)
{
    assert_int_equal(store_data_zero(store, ino, suite_size(store, ino), offset, n, keep_room), 0);
}

void far_bytes_come_back(void **state)
{
    struct store *store = suite_store(state);
    for (unsigned i = 0; i < ARRAY_LEN(far_offsets); i++) {
        uint64_t at = far_offsets[i];
        empty_file(store, 10);
        suite_begin(store);
        suite_write(store, 10, at, "abcde", 5);
        suite_write(store, 10, 3, "near", 4);
        suite_commit(store);
        assert_int_equal(suite_size(store, 10), at + 5);
        suite_assert_bytes(store, 10, at, "abcde", 5);
        suite_assert_bytes(store, 10, 3, "near", 4);
        suite_assert_zeros(store, 10, at - 1000, 1000);
        assert_true(seek(store, 10, 0, false) <= 3);
        uint64_t data = seek(store, 10, 100000, false);
        assert_true(data <= at && at - data < 65536);
        assert_true(seek(store, 10, at, true) <= at + 5);
        remove_file(store, 10);
    }
    suite_upkeep(store);
}

void far_bytes_cut_off_never_come_back(void **state)
{
    struct store *store = suite_store(state);
    for (unsigned i = 0; i < 2 * ARRAY_LEN(far_offsets); i++) {
        uint64_t at = far_offsets[i / 2], cut_at = i % 2 ? at + 2 : 1000;
        empty_file(store, 10);
        suite_begin(store);
        suite_write(store, 10, at, "abcde", 5);
        suite_commit(store);
        suite_begin(store);
        suite_resize(store, 10, cut_at);
        suite_resize(store, 10, at + 5);
        suite_assert_zeros(store, 10, cut_at, 3);
        suite_assert_zeros(store, 10, at + 2, 3);
        store_rollback(store);
        suite_assert_bytes(store, 10, at, "abcde", 5);
        suite_begin(store);
        suite_resize(store, 10, cut_at);
        suite_commit(store);
        suite_begin(store);
        suite_write(store, 10, at + 4, "z", 1);
        suite_commit(store);
        suite_upkeep(store);
        suite_assert_bytes(store, 10, at, i % 2 ? "ab\0\0z" : "\0\0\0\0z", 5);
        remove_file(store, 10);
    }
}

void rolled_back_far_growth_reads_as_zeros_later(void **state)
{
    struct store *store = suite_store(state);
    empty_file(store, 10);
    suite_begin(store);
    suite_write(store, 10, TIB - 10, "0123456789", 10);
    suite_write(store, 10, TIB, "more", 4);
    store_rollback(store);
    suite_begin(store);
    suite_write(store, 10, TIB - 10, "012", 3);
    suite_commit(store);
    suite_begin(store);
    suite_write(store, 10, TIB - 7, "3456789next", 11);
    store_rollback(store);
    suite_begin(store);
    suite_write(store, 10, 3 * TIB, "x", 1);
    suite_commit(store);
    suite_assert_bytes(store, 10, TIB - 10, "012\0\0\0\0\0\0\0\0\0\0\0", 14);
}

void zeroed_ranges_are_zeros(void **state)
{
    struct store *store = suite_store(state);
    static const size_t sizes[] = {100, 16384, 16385, 300 * 1024};
    uint8_t *bytes = malloc(300 * 1024);
    assert_non_null(bytes);
    for (unsigned i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        size_t size = sizes[i / 2], start = size / 3, end = size - size / 5;
        suite_fill(bytes, size, i);
        empty_file(store, 10);
        suite_begin(store);
        suite_write(store, 10, 0, bytes, size);
        zero(store, 10, start, end - start, i % 2);
        suite_commit(store);
        memset(bytes + start, 0, end - start);
        suite_assert_bytes(store, 10, 0, bytes, size);
        suite_begin(store);
        zero(store, 10, 0, FS_FILE_SIZE_MAX, false);
        suite_commit(store);
        assert_int_equal(suite_size(store, 10), size);
        suite_assert_zeros(store, 10, 0, size);
        assert_true(seek(store, 10, 0, false) == UINT64_MAX);
        assert_int_equal(seek(store, 10, 1, true), 1);
        remove_file(store, 10);
    }
    free(bytes);
}

void zeroing_far_ranges_forgets_them(void **state)
{
    struct store *store = suite_store(state);
    empty_file(store, 10);
    suite_begin(store);
    for (uint64_t k = 0; k < 9; k++)
        suite_write(store, 10, k * TIB + 100, "data", 4);
    suite_commit(store);
    for (int commits = 0; commits < 2; commits++) {
        suite_begin(store);
        zero(store, 10, TIB, 7 * TIB + 50, false);
        assert_true(seek(store, 10, 65536, false) > 8 * TIB - 1);
        suite_assert_zeros(store, 10, 5 * TIB, 200);
        if (commits)
            suite_commit(store);
        else
            store_rollback(store);
        suite_upkeep(store);
        suite_assert_bytes(store, 10, 100, "data", 4);
        suite_assert_bytes(store, 10, 8 * TIB + 100, "data", 4);
        suite_assert_bytes(store, 10, 5 * TIB + 100, commits ? "\0\0\0\0" : "data", 4);
    }
}

void allocating_changes_no_byte(void **state)
{
    struct store *store = suite_store(state);
    uint8_t bytes[20000];
    suite_fill(bytes, sizeof(bytes), 4);
    for (unsigned i = 0; i < 4; i++) {
        size_t size = i % 2 ? sizeof(bytes) : 100;
        uint64_t to = i < 2 ? size : size + MIB;
        empty_file(store, 10);
        suite_begin(store);
        suite_write(store, 10, 0, bytes, size);
        assert_int_equal(store_data_allocate(store, 10, size, to, 50, size + MIB - 50), 0);
        if (to > size) {
            struct store_inode inode = suite_inode(10, S_IFREG | 0600, to);
            assert_int_equal(store_inode_put(store, &inode), 0);
        }
        suite_commit(store);
        suite_assert_bytes(store, 10, 0, bytes, size);
        suite_begin(store);
        suite_resize(store, 10, size + MIB);
        suite_commit(store);
        suite_assert_bytes(store, 10, 0, bytes, size);
        suite_assert_zeros(store, 10, size, MIB);
        remove_file(store, 10);
    }
}

static void copy_one(struct store *store, uint64_t from, uint64_t to, uint64_t to_size, size_t n)
{
    uint8_t *bytes = malloc(n), *before = malloc(to_size + 1);
    assert_non_null(bytes);
    assert_non_null(before);
    suite_fill(bytes, n, 1);
    suite_fill(before, to_size, 2);
    empty_file(store, 10);
    empty_file(store, 11);
    suite_begin(store);
    suite_write(store, 10, from, bytes, n);
    suite_write(store, 11, 0, before, to_size);
    const struct store_copy copy = {.from_ino = 10,
                                    .from_size = from + n,
                                    .from_offset = from,
                                    .ino = 11,
                                    .size = to_size,
                                    .offset = to,
                                    .n = n};
    assert_int_equal(store_data_copy(store, &copy), 0);
    struct store_inode inode = suite_inode(11, S_IFREG | 0600, MAX(to_size, to + n));
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_commit(store);
    suite_assert_bytes(store, 11, to, bytes, n);
    suite_assert_bytes(store, 10, from, bytes, n);
    size_t ahead = (size_t)MIN(to, to_size);
    if (ahead > 0)
        suite_assert_bytes(store, 11, 0, before, ahead);
    if (to > to_size)
        suite_assert_zeros(store, 11, to_size, (size_t)MIN(to - to_size, MIB));
    remove_file(store, 10);
    remove_file(store, 11);
    free(bytes);
    free(before);
}

void copies_are_equal(void **state)
{
    struct store *store = suite_store(state);
    static const struct {
        uint64_t from, to, to_size;
        size_t n;
    } cases[] = {
        {0, 0, 0, 100},
        {0, 0, 0, 100000},
        {5000, 100, 0, 10000},
        {5000, 10000, 500, 10000},
        {0, 3, 50000, 40000},
        {TIB - 500, 7, 100, 1000},
        {7, TIB - 500, 20000, 1000},
        {TIB - 9, 3 * TIB - 5, 0, 100},
        {100, 5 * TIB, 10, 5000},
        {1, 300000, 200000, 9},
        {20000, 0, 300, 16384},
        {0, 16000, 0, 16384},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        copy_one(store, cases[i].from, cases[i].to, cases[i].to_size, cases[i].n);
}

// 2 * TIB of nothing between two bytes are copied over what was there.
void copied_holes_are_holes(void **state)
{
    struct store *store = suite_store(state);
    empty_file(store, 10);
    empty_file(store, 11);
    suite_begin(store);
    suite_write(store, 10, 0, "a", 1);
    suite_write(store, 10, 2 * TIB, "b", 1);
    suite_write(store, 11, TIB + 5, "old", 3);
    const struct store_copy copy = {
        .from_ino = 10, .from_size = 2 * TIB + 1, .ino = 11, .size = TIB + 8, .n = 2 * TIB + 1};
    assert_int_equal(store_data_copy(store, &copy), 0);
    struct store_inode inode = suite_inode(11, S_IFREG | 0600, copy.n);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_commit(store);
    suite_assert_bytes(store, 11, 0, "a", 1);
    suite_assert_zeros(store, 11, TIB, 100);
    suite_assert_bytes(store, 11, 2 * TIB, "b", 1);
    uint64_t data = seek(store, 11, 65536, false);
    assert_true(data <= 2 * TIB && data > 2 * TIB - 65536);
}

void ranges_past_the_largest_size_are_refused(void **state)
{
    struct store *store = suite_store(state);
    uint64_t found;
    empty_file(store, 10);
    suite_begin(store);
    assert_int_equal(store_data_allocate(store, 10, 0, 0, FS_FILE_SIZE_MAX, 1), -EFBIG);
    assert_int_equal(store_data_allocate(store, 10, 0, 0, 2, UINT64_MAX), -EFBIG);
    const struct store_copy copy = {
        .from_ino = 10, .from_size = 9, .ino = 10, .size = 0, .offset = FS_FILE_SIZE_MAX - 5, .n = 6};
    assert_int_equal(store_data_copy(store, &copy), -EFBIG);
    suite_commit(store);
    assert_int_equal(store_data_seek(store, 10, 0, 0, false, &found), -ENXIO);
    assert_int_equal(store_data_seek(store, 10, 10, UINT64_MAX, true, &found), -ENXIO);
}
