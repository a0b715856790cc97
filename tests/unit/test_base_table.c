// SPDX-License-Identifier: Apache-2.0
// The hash table against a plain array as model, and its list sibling.
#include "fs/base/check.h"
#include "fs/base/list.h"
#include "fs/base/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct item {
    struct table_node node;
    bool present;
    unsigned seen;
};

static void empty(void **state UNUSED)
{
    struct table table = {0};
    assert_null(table_get(&table, 0));
    assert_null(table_first(&table));
    table_free(&table);
}

static void extreme_keys(void **state UNUSED)
{
    const uint64_t keys[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, 1ull << 63, 1ull << 32};
    struct table_node nodes[ARRAY_LEN(keys)];
    struct table table = {0};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_int_equal(table_put(&table, &nodes[i], keys[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_ptr_equal(table_get(&table, keys[i]), &nodes[i]);
    assert_null(table_get(&table, 2));
    table_free(&table);
}

static void check_walk(struct table *table, struct item *items, size_t n)
{
    size_t walked = 0;
    for (struct table_node *node = table_first(table); node; node = table_next(table, node)) {
        CONTAINER_OF(node, struct item, node)->seen++;
        walked++;
    }
    assert_int_equal(walked, table->count);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(items[i].seen, items[i].present);
        items[i].seen = 0;
    }
}

static void random_steps_match_the_model(void **state UNUSED)
{
    enum { N = 500 };
    static struct item items[N];
    memset(items, 0, sizeof(items));
    struct table table = {0};
    size_t count = 0;
    uint32_t random = 7;
    for (int step = 0; step < 50000; step++) {
        random = random * 1664525 + 1013904223;
        size_t i = (random >> 8) % N;
        uint64_t key = i * 0x100000001ull << 12; // close in their low bits
        assert_ptr_equal(table_get(&table, key), items[i].present ? &items[i].node : NULL);
        if (items[i].present)
            table_remove(&table, &items[i].node);
        else
            assert_int_equal(table_put(&table, &items[i].node, key), 0);
        items[i].present = !items[i].present;
        count += items[i].present ? 1 : (size_t)-1;
        assert_int_equal(table.count, count);
        if (step % 1000 == 0)
            check_walk(&table, items, N);
    }
    table_free(&table);
}

static void removing_while_walking(void **state UNUSED)
{
    enum { N = 100 };
    struct table_node nodes[N];
    struct table table = {0};
    for (size_t i = 0; i < N; i++)
        assert_int_equal(table_put(&table, &nodes[i], i), 0);
    size_t n = 0;
    for (struct table_node *node = table_first(&table), *after; node; node = after, n++) {
        after = table_next(&table, node);
        table_remove(&table, node);
    }
    assert_int_equal(n, N);
    assert_int_equal(table.count, 0);
    table_free(&table);
}

// Chains stay short for keys with any regular pattern: the bound is far above what chance gives (the expected
// longest chain of 2^14 random keys in as many buckets is about 8) and far below what a weak hash gives.
static void patterned_keys_spread(void **state UNUSED)
{
    enum { N = 1 << 14 };
    static struct table_node nodes[N];
    for (unsigned shift = 0; shift <= 50; shift += 5) {
        struct table table = {0};
        for (size_t i = 0; i < N; i++)
            assert_int_equal(table_put(&table, &nodes[i], (uint64_t)i << shift), 0);
        size_t longest = 0;
        for (size_t i = 0; i < table.n_buckets; i++) {
            size_t length = 0;
            for (struct table_node *node = table.buckets[i]; node; node = node->next)
                length++;
            longest = MAX(longest, length);
        }
        assert_true(longest <= 32);
        table_free(&table);
    }
}

static void a_seed_fixes_the_order_of_walks(void **state UNUSED)
{
    enum { N = 50 };
    uint64_t orders[3][N];
    const uint64_t seeds[] = {42, 43, 42};
    for (size_t run = 0; run < ARRAY_LEN(seeds); run++) {
        table_seed(seeds[run]);
        struct table table = {0};
        struct table_node nodes[N];
        for (size_t i = 0; i < N; i++)
            assert_int_equal(table_put(&table, &nodes[i], i), 0);
        size_t i = 0;
        for (struct table_node *node = table_first(&table); node; node = table_next(&table, node))
            orders[run][i++] = node->key;
        table_free(&table);
    }
    assert_memory_equal(orders[0], orders[2], sizeof(orders[0]));
    assert_memory_not_equal(orders[0], orders[1], sizeof(orders[0]));
}

static void list_keeps_order(void **state UNUSED)
{
    struct list head, nodes[3];
    list_init(&head);
    assert_null(list_pop(&head));
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        list_init(&nodes[i]);
        list_push(&head, &nodes[i]);
    }
    list_remove(&nodes[1]);
    list_remove(&nodes[1]);
    assert_ptr_equal(list_pop(&head), &nodes[0]);
    assert_ptr_equal(list_pop(&head), &nodes[2]);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty),
        cmocka_unit_test(extreme_keys),
        cmocka_unit_test(random_steps_match_the_model),
        cmocka_unit_test(removing_while_walking),
        cmocka_unit_test(patterned_keys_spread),
        cmocka_unit_test(a_seed_fixes_the_order_of_walks),
        cmocka_unit_test(list_keeps_order),
    };
    return cmocka_run_group_tests_name("base_table", tests, NULL, NULL);
}
