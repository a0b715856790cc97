// SPDX-License-Identifier: Apache-2.0
// Walks that are made again, and what is held for them.
#include "client/walks.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MS    1000000ull
#define START (5000 * MS)

static void test_only_who_has_just_failed_walks_again(void **state)
{
    struct walks walks = {0};
    (void)state;
    assert_false(walks_again(&walks, 7, START));
    assert_false(walks_again(&walks, 0, START));
    walks_failed(&walks, 7, START);
    assert_true(walks_again(&walks, 7, START + (WALK_AGAIN_MS - 1) * MS));
    assert_false(walks_again(&walks, 7, START + WALK_AGAIN_MS * MS));
    assert_false(walks_again(&walks, 8, START));
    walks_failed(&walks, 0, START);
    assert_true(walks_again(&walks, 0, START));
}

static void test_the_oldest_walker_is_forgotten(void **state)
{
    struct walks walks = {0};
    (void)state;
    for (pid_t tid = 1; tid <= (pid_t)WALKS_MAX + 1; tid++)
        walks_failed(&walks, tid, START);
    assert_false(walks_again(&walks, 1, START));
    assert_true(walks_again(&walks, 2, START) && walks_again(&walks, (pid_t)WALKS_MAX + 1, START));
}

static void test_holds_are_due_in_their_order(void **state)
{
    struct walks walks = {0};
    uint64_t due;
    (void)state;
    assert_int_equal(walks_take_due(&walks, START, &due), 0);
    assert_true(due == UINT64_MAX);
    assert_int_equal(walks_hold(&walks, 1, START), 0);
    assert_int_equal(walks_hold(&walks, 2, START + 10 * MS), 0);
    assert_int_equal(walks_take_due(&walks, START + (WALK_HOLD_MS - 1) * MS, &due), 0);
    assert_true(due == START + WALK_HOLD_MS * MS);
    assert_int_equal(walks_take_due(&walks, due, &due), 1);
    assert_int_equal(walks_take_due(&walks, START + WALK_HOLD_MS * MS, &due), 0);
    assert_true(due == START + (WALK_HOLD_MS + 10) * MS);
    assert_int_equal(walks_take_due(&walks, due, &due), 2);
    assert_int_equal(walks_take_due(&walks, due, &due), 0);
}

static void test_of_many_holds_the_oldest_goes(void **state)
{
    struct walks walks = {0};
    uint64_t due, n = 3 * WALK_HOLDS + 1;
    (void)state;
    for (uint64_t id = 1; id <= n; id++)
        assert_int_equal(walks_hold(&walks, id, START), id > WALK_HOLDS ? id - WALK_HOLDS : 0);
    for (uint64_t id = n - WALK_HOLDS + 1; id <= n; id++)
        assert_int_equal(walks_take_due(&walks, UINT64_MAX / 2, &due), id);
    assert_int_equal(walks_take_due(&walks, UINT64_MAX / 2, &due), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_who_has_just_failed_walks_again),
        cmocka_unit_test(test_the_oldest_walker_is_forgotten),
        cmocka_unit_test(test_holds_are_due_in_their_order),
        cmocka_unit_test(test_of_many_holds_the_oldest_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
