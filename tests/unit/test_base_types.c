// SPDX-License-Identifier: Apache-2.0
// The shared words: names and times.
#include "fs/base/check.h"
#include "fs/types.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void names(void **state UNUSED)
{
    const struct {
        const char *bytes;
        size_t length;
        int expected;
    } cases[] = {
        {"a", 1, 0},        {"...", 3, 0},     {".a", 2, 0},         {"..a", 3, 0},
        {"\xff\n ", 3, 0},  {"", 0, -EINVAL},  {".", 1, -EINVAL},    {"..", 2, -EINVAL},
        {"a/", 2, -EINVAL}, {"/", 1, -EINVAL}, {"a\0b", 3, -EINVAL}, {"\0", 1, -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fs_name name = {.bytes = cases[i].bytes, .length = cases[i].length};
        assert_int_equal(fs_name_check(name), cases[i].expected);
    }
}

static void name_lengths(void **state UNUSED)
{
    char bytes[FS_NAME_MAX + 1];
    memset(bytes, 'n', sizeof(bytes));
    assert_int_equal(fs_name_check((struct fs_name){bytes, FS_NAME_MAX - 1}), 0);
    assert_int_equal(fs_name_check((struct fs_name){bytes, FS_NAME_MAX}), 0);
    assert_int_equal(fs_name_check((struct fs_name){bytes, FS_NAME_MAX + 1}), -ENAMETOOLONG);
}

static void times(void **state UNUSED)
{
    struct fs_time time = fs_time_from_ns(1999999999u);
    assert_int_equal(time.sec, 1);
    assert_int_equal(time.nsec, 999999999);
    const struct fs_time ordered[] = {{INT64_MIN, 0}, {-1, 0}, {-1, 999999999},
                                      {0, 0},         {0, 1},  {INT64_MAX, 0}};
    for (size_t i = 0; i < ARRAY_LEN(ordered); i++) {
        for (size_t j = 0; j < ARRAY_LEN(ordered); j++) {
            int order = fs_time_compare(ordered[i], ordered[j]);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(name_lengths),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests_name("base_types", tests, NULL, NULL);
}
