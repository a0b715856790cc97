// SPDX-License-Identifier: Apache-2.0
// The machine's clock and chance, against what the C library says.
#include "fs/base/check.h"
#include "fs/base/env.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t library_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void clocks(void **state UNUSED)
{
    uint64_t before = library_ns(CLOCK_BOOTTIME);
    uint64_t now = env_monotonic_ns(&env_system);
    assert_in_range(now, before, library_ns(CLOCK_BOOTTIME));
    before = library_ns(CLOCK_REALTIME);
    now = env_realtime_ns(&env_system);
    assert_in_range(now, before, library_ns(CLOCK_REALTIME));
}

static void random_bytes_fill_exactly(void **state UNUSED)
{
    uint8_t first[1000] = {0}, second[1000] = {0};
    env_random(&env_system, first, 999);
    env_random(&env_system, second, 999);
    assert_memory_not_equal(first, second, 999);
    assert_int_equal(first[999], 0);
    size_t zeros = 0;
    for (size_t i = 0; i < 999; i++)
        zeros += first[i] == 0;
    assert_true(zeros < 100); // about 4 by chance
    env_random(&env_system, first, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks),
        cmocka_unit_test(random_bytes_fill_exactly),
    };
    return cmocka_run_group_tests_name("base_env", tests, NULL, NULL);
}
