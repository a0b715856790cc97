// SPDX-License-Identifier: Apache-2.0
// The fault-injecting store: unarmed it is the store inside; armed, the chosen call fails and nothing else
// does.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/store/store_fault.h"
#include "fs/store/store_model.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <errno.h>

static int open_wrapped_model(struct store **ret_store)
{
    struct store *model;
    int result = store_model_open(&model);
    if (result == 0)
        result = store_fault_open(model, ret_store);
    return result;
}

static void third_put_fails_once(void **state)
{
    (void)state;
    struct store *store;
    assert_int_equal(open_wrapped_model(&store), 0);
    suite_begin(store);
    store_fault_arm(store, "inode_put", 3, -EIO);
    const int expected[] = {0, 0, -EIO, 0, 0};
    for (unsigned i = 0; i < 5; i++) {
        struct store_inode inode = suite_inode(10 + i, S_IFREG | 0600, 0);
        assert_int_equal(store_inode_put(store, &inode), expected[i]);
    }
    suite_commit(store);
    struct store_inode got;
    assert_int_equal(store_inode_get(store, 12, &got), -ENOENT);
    assert_int_equal(store_inode_get(store, 13, &got), 0);
    store_close(store);
}

static void any_write_counts_for_star(void **state)
{
    (void)state;
    struct store *store;
    struct store_inode inode = suite_inode(10, S_IFREG | 0600, 0);
    assert_int_equal(open_wrapped_model(&store), 0);
    store_fault_arm(store, "*", 2, -ENOSPC);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &inode), 0);
    assert_int_equal(store_inode_get(store, 10, &inode), 0);
    assert_int_equal(store_data_write(store, 10, 0, 0, "x", 1), -ENOSPC);
    suite_commit(store);
    store_fault_arm(store, "*", 1, -ENOSPC);
    store_fault_arm(store, "*", 0, -ENOSPC);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_commit(store);
    store_close(store);
}

static void failed_commit_must_be_rolled_back(void **state)
{
    (void)state;
    struct store *store;
    struct store_inode inode = suite_inode(10, S_IFREG | 0600, 0);
    assert_int_equal(open_wrapped_model(&store), 0);
    store_fault_arm(store, "commit", 1, -EIO);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &inode), 0);
    assert_int_equal(store_commit(store), -EIO);
    assert_true(store_in_transaction(store));
    store_rollback(store);
    assert_int_equal(store_inode_get(store, 10, &inode), -ENOENT);
    store_close(store);
}

static void failed_sync_frees_its_job(void **state)
{
    (void)state;
    struct store *store;
    assert_int_equal(open_wrapped_model(&store), 0);
    store_fault_arm(store, "sync_finish", 1, -EIO);
    assert_int_equal(store_sync(store, 0), -EIO);
    assert_int_equal(store_sync(store, 0), 0);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(third_put_fails_once),
        cmocka_unit_test(any_write_counts_for_star),
        cmocka_unit_test(failed_commit_must_be_rolled_back),
        cmocka_unit_test(failed_sync_frees_its_job),
    };
    const struct suite_engine engine = {.name = "store fault, unarmed", .open = open_wrapped_model};
    return store_suite_run(&engine) + cmocka_run_group_tests_name("store fault", tests, NULL, NULL);
}
