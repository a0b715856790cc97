// SPDX-License-Identifier: Apache-2.0
// The window of busy polling: what opens it, what shuts it, and when it rests.
#include "fs/base/busy_poll.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { US = 1000, MS = 1000 * US, MAX = 100 * US, NOW = 1000 * MS };

static struct busy_poll open_window(void)
{
    struct busy_poll busy = {.max_ns = MAX};
    for (unsigned i = 0; i < 20; i++)
        busy_poll_waited(&busy, MAX);
    return busy;
}

static void opens_for_events_that_come_soon(void **state UNUSED)
{
    struct busy_poll busy = {.max_ns = MAX};
    assert_int_equal(busy_poll_window_ns(&busy, NOW), 0);
    busy_poll_waited(&busy, 30 * US);
    uint64_t first_ns = busy_poll_window_ns(&busy, NOW);
    assert_in_range(first_ns, 1, MAX);
    busy_poll_waited(&busy, first_ns); // long enough as it is
    assert_int_equal(busy_poll_window_ns(&busy, NOW), first_ns);
    busy_poll_waited(&busy, first_ns + 1);
    assert_in_range(busy_poll_window_ns(&busy, NOW), first_ns + 1, MAX);
    busy = open_window();
    assert_int_equal(busy_poll_window_ns(&busy, NOW), MAX);
}

static void shuts_for_events_that_come_late(void **state UNUSED)
{
    struct busy_poll busy = open_window();
    busy_poll_waited(&busy, MAX + 1);
    assert_int_equal(busy_poll_window_ns(&busy, NOW), 0);
}

static void never_opens_when_switched_off(void **state UNUSED)
{
    struct busy_poll busy = {0};
    busy_poll_waited(&busy, 0);
    busy_poll_waited(&busy, 1);
    assert_int_equal(busy_poll_window_ns(&busy, NOW), 0);
}

// After a rest it opens again, from the beginning.
static void assert_rests(struct busy_poll busy)
{
    assert_int_equal(busy_poll_window_ns(&busy, NOW + MS), 0);
    busy_poll_waited(&busy, 5 * US);
    assert_int_equal(busy_poll_window_ns(&busy, NOW + MS), 0);
    assert_in_range(busy_poll_window_ns(&busy, NOW + 1000 * MS), 1, MAX - 1);
}

static void rests_when_disturbed(void **state UNUSED)
{
    struct busy_poll busy = open_window();
    busy_poll_disturbed(&busy, NOW);
    assert_rests(busy);
}

static void rests_when_processors_are_short(void **state UNUSED)
{
    struct busy_poll busy = open_window();
    assert_true(busy_poll_wants_delay(&busy, NOW - 10 * MS));
    busy_poll_delayed(&busy, NOW - 10 * MS, 500 * MS); // whatever it waited before this
    assert_false(busy_poll_wants_delay(&busy, NOW - 9 * MS));
    assert_true(busy_poll_wants_delay(&busy, NOW));
    struct busy_poll calm = busy;
    busy_poll_delayed(&calm, NOW, 500 * MS + 1 * MS);
    assert_int_equal(busy_poll_window_ns(&calm, NOW), MAX);
    busy_poll_delayed(&busy, NOW, 500 * MS + 2 * MS);
    assert_rests(busy);
}

// What was waited for in the course of a second of idleness tells nothing of now.
static void forgets_over_an_idle_time(void **state UNUSED)
{
    struct busy_poll busy = open_window();
    busy_poll_delayed(&busy, NOW - 1000 * MS, 0);
    busy_poll_delayed(&busy, NOW, 900 * MS);
    assert_int_equal(busy_poll_window_ns(&busy, NOW), MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_for_events_that_come_soon), cmocka_unit_test(shuts_for_events_that_come_late),
        cmocka_unit_test(never_opens_when_switched_off),   cmocka_unit_test(rests_when_disturbed),
        cmocka_unit_test(rests_when_processors_are_short), cmocka_unit_test(forgets_over_an_idle_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
