// SPDX-License-Identifier: Apache-2.0
// What a client lets the kernel keep, against client/lease.h: the clock, grants that do not count, inodes
// given up. Expected times are worked out here by hand for a lease of 9 s.
#include "client/lease.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define S        1000000000ull // ns
#define LEASE_MS 9000u
#define ALL      (WIRE_LEASE_ATTR | WIRE_LEASE_NAME | WIRE_LEASE_DATA)

static struct lease trusted_since(uint64_t answered_ns)
{
    struct lease lease = {.generation = 1, .trusted = true};
    lease_renew(&lease, answered_ns, LEASE_MS);
    return lease;
}

static size_t next_forgotten(struct lease *lease, uint64_t inodes[WIRE_INODES_MAX])
{
    static uint8_t bytes[WIRE_INODES_MAX * sizeof(uint64_t)];
    struct writer writer = writer_on(bytes, sizeof(bytes));
    size_t n = lease_forget_next(lease, &writer);
    struct reader reader = reader_on(bytes, sizeof(bytes) - writer.left);
    assert_int_equal(sizeof(bytes) - writer.left, n * sizeof(uint64_t));
    for (size_t i = 0; i < n; i++)
        inodes[i] = read_u64(&reader);
    return n;
}

static void test_the_kernel_gets_less_than_is_left(void **state)
{
    (void)state;
    struct lease lease = trusted_since(100 * S);
    double seconds = lease_seconds(&lease, 100 * S);
    assert_true(seconds > 8 && seconds < 9);
    seconds = lease_seconds(&lease, 105 * S);
    assert_true(seconds > 3 && seconds < 4);
    assert_true(lease_seconds(&lease, 109 * S) == 0);
    assert_true(lease_seconds(&lease, 1000 * S) == 0);
    lease_renew(&lease, 104 * S, LEASE_MS);
    seconds = lease_seconds(&lease, 105 * S);
    assert_true(seconds > 7 && seconds < 8);
}

static void test_a_lease_lapses_before_it_is_over(void **state)
{
    (void)state;
    struct lease lease = trusted_since(100 * S);
    assert_int_equal(lease_lapse_ns(&lease), 106 * S);
    lease.trusted = false;
    assert_int_equal(lease_lapse_ns(&lease), UINT64_MAX);
    assert_int_equal(lease_would_lapse_ns(&lease), 106 * S);
    assert_true(lease_seconds(&lease, 101 * S) == 0);
}

static void test_grants_that_do_not_count(void **state)
{
    (void)state;
    struct lease lease = trusted_since(100 * S);
    assert_int_equal(lease_granted(&lease, 5, ALL, false), ALL);
    assert_int_equal(lease_granted(&lease, 5, 0, false), 0);
    // The answer to what was sent twice may have been made before a recall.
    assert_int_equal(lease_granted(&lease, 5, ALL, true), 0);
    lease.trusted = false;
    assert_int_equal(lease_granted(&lease, 5, ALL, false), 0);
}

static void test_forgotten_inodes_are_told_once(void **state)
{
    (void)state;
    struct lease lease = trusted_since(100 * S);
    uint64_t inodes[WIRE_INODES_MAX];
    assert_int_equal(next_forgotten(&lease, inodes), 0);
    lease_forget(&lease, 7);
    lease_forget(&lease, 7);
    assert_int_equal(next_forgotten(&lease, inodes), 1);
    assert_int_equal(inodes[0], 7);
    // Until the server has answered, nothing more is told, and what it grants may be older than its answer.
    lease_forget(&lease, 8);
    assert_int_equal(next_forgotten(&lease, inodes), 0);
    assert_int_equal(lease_granted(&lease, 7, ALL, false), 0);
    assert_int_equal(lease_granted(&lease, 9, ALL, false), ALL);
    lease_forget_done(&lease);
    assert_int_equal(lease_granted(&lease, 7, ALL, false), ALL);
    assert_int_equal(next_forgotten(&lease, inodes), 1);
    assert_int_equal(inodes[0], 8);
    lease_free(&lease);
}

static void test_what_is_granted_again_is_not_given_up(void **state)
{
    (void)state;
    struct lease lease = trusted_since(100 * S);
    uint64_t inodes[WIRE_INODES_MAX];
    lease_forget(&lease, 7);
    lease_forget(&lease, 8);
    assert_int_equal(lease_granted(&lease, 7, WIRE_LEASE_ATTR, false), WIRE_LEASE_ATTR);
    assert_int_equal(next_forgotten(&lease, inodes), 1);
    assert_int_equal(inodes[0], 8);
    lease_free(&lease);
}

static void test_many_forgotten_go_in_parts_and_within_bounds(void **state)
{
    (void)state;
    struct lease lease = trusted_since(100 * S);
    static uint64_t inodes[WIRE_INODES_MAX];
    size_t told = 0, n;
    for (uint64_t ino = 2; ino < 200000; ino++)
        lease_forget(&lease, ino);
    while ((n = next_forgotten(&lease, inodes)) > 0) {
        assert_true(n <= WIRE_INODES_MAX);
        told += n;
        lease_forget_done(&lease);
    }
    assert_true(told >= WIRE_INODES_MAX && told <= 65536);
    lease_free(&lease);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_kernel_gets_less_than_is_left),
        cmocka_unit_test(test_a_lease_lapses_before_it_is_over),
        cmocka_unit_test(test_grants_that_do_not_count),
        cmocka_unit_test(test_forgotten_inodes_are_told_once),
        cmocka_unit_test(test_what_is_granted_again_is_not_given_up),
        cmocka_unit_test(test_many_forgotten_go_in_parts_and_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
