// SPDX-License-Identifier: Apache-2.0
// The SQLite engine under the conformance suite.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/store/store_sqlite.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char directory[64];

static int open_fresh(struct store **ret_store)
{
    snprintf(directory, sizeof(directory), "/tmp/berth-store-%d", (int)getpid());
    store_sqlite_destroy(directory);
    int result = store_sqlite_create(directory);
    return result < 0 ? result : store_sqlite_open(directory, &suite_env, ret_store);
}

static void destroy(void)
{
    store_sqlite_destroy(directory);
}

int main(void)
{
    const struct suite_engine engine = {.name = "store sqlite", .open = open_fresh, .clean = destroy};
    return store_suite_run(&engine);
}
