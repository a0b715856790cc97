// SPDX-License-Identifier: Apache-2.0
// What lies between reads under way, against a map of pages that the test keeps.
#include "client/gaps.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#define PAGE   4096u
#define PAGES  64u
#define INODES 3u
#define READS  8u

static uint64_t seed = 20261129;

static uint64_t draw(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

static void test_without_reads_everything_is_a_gap(void **state)
{
    (void)state;
    const uint64_t ids[] = {7, 9};
    struct byte_range gaps[2];
    assert_int_equal(gaps_between(NULL, 0, ids, 2, gaps), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(gaps[i].id, ids[i]);
        assert_int_equal(gaps[i].start, 0);
        assert_int_equal(gaps[i].end, INT64_MAX);
    }
}

static void test_a_read_to_the_last_byte(void **state)
{
    (void)state;
    const uint64_t id = 7;
    struct byte_range read = {.id = 7, .start = PAGE, .end = INT64_MAX}, gaps[2];
    assert_int_equal(gaps_between(&read, 1, &id, 1, gaps), 1);
    assert_int_equal(gaps[0].start, 0);
    assert_int_equal(gaps[0].end, PAGE - 1);
}

static void test_gaps_and_reads_make_up_the_file(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        static const uint64_t ids[INODES] = {12, 3, 8};
        struct byte_range reads[READS], gaps[READS + INODES];
        bool read_page[INODES + 1][PAGES] = {0}, gap_page[INODES][PAGES] = {0};
        size_t n_reads = draw(READS + 1);
        for (size_t i = 0; i < n_reads; i++) {
            size_t inode = draw(INODES + 1); // one that is not asked about, too
            uint64_t start = draw(PAGES * PAGE), end = start + draw(9 * PAGE);
            end = MIN(end, PAGES * PAGE - 1);
            reads[i] = (struct byte_range){.id = inode < INODES ? ids[inode] : 5, .start = start, .end = end};
            for (uint64_t page = start / PAGE; page <= end / PAGE; page++)
                read_page[inode][page] = true;
        }
        size_t n = gaps_between(reads, n_reads, ids, INODES, gaps);
        assert_true(n <= n_reads + INODES);
        for (size_t i = 0; i < n; i++) {
            size_t inode = gaps[i].id == ids[0] ? 0 : gaps[i].id == ids[1] ? 1 : 2;
            assert_int_equal(gaps[i].id, ids[inode]);
            assert_true(gaps[i].start <= gaps[i].end);
            for (uint64_t page = gaps[i].start / PAGE; page < PAGES && page <= gaps[i].end / PAGE; page++) {
                assert_false(gap_page[inode][page]);
                gap_page[inode][page] = true;
            }
        }
        for (size_t inode = 0; inode < INODES; inode++) {
            for (size_t page = 0; page < PAGES; page++)
                assert_int_equal(gap_page[inode][page], !read_page[inode][page]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_reads_everything_is_a_gap),
        cmocka_unit_test(test_a_read_to_the_last_byte),
        cmocka_unit_test(test_gaps_and_reads_make_up_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
