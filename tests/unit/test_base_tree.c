// SPDX-License-Identifier: Apache-2.0
// The balanced tree against a plain array as model: order, seeks, summaries, heights, and moving it whole.
#include "fs/base/check.h"
#include "fs/base/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N = 300 };

struct item {
    struct tree_node node;
    int key;
    int sum; // of the keys below, with its own
    bool present;
};

static struct item *item_of(const struct tree_node *node)
{
    return node ? CONTAINER_OF(node, struct item, node) : NULL;
}

static int compare(const struct tree_node *a, const struct tree_node *b)
{
    return item_of(a)->key - item_of(b)->key;
}

static int sum_of(const struct tree_node *node)
{
    return node ? item_of(node)->sum : 0;
}

static void refresh(struct tree_node *node)
{
    item_of(node)->sum = item_of(node)->key + sum_of(node->child[0]) + sum_of(node->child[1]);
}

static const struct tree_order with_summary = {compare, refresh}, without = {compare, NULL};

// Returns the height.
static int check_balance(const struct tree_node *node, bool summary)
{
    if (!node)
        return 0;
    int left = check_balance(node->child[0], summary), right = check_balance(node->child[1], summary);
    assert_true(left - right >= -1 && left - right <= 1);
    assert_int_equal(node->height, 1 + MAX(left, right));
    if (summary)
        assert_int_equal(item_of(node)->sum,
                         item_of(node)->key + sum_of(node->child[0]) + sum_of(node->child[1]));
    return node->height;
}

static void check(struct tree *tree, const struct tree_order *order, struct item items[N])
{
    struct tree_node *node = tree_first(tree), *last = NULL;
    for (int i = 0; i < N; i++) {
        struct item key = {.key = items[i].key - 1}; // between two: the keys are even
        assert_ptr_equal(tree_seek(tree, order, &key.node), node);
        if (!items[i].present)
            continue;
        assert_ptr_equal(node, &items[i].node);
        assert_ptr_equal(tree_seek(tree, order, &items[i].node), node);
        assert_ptr_equal(tree_previous(node), last);
        assert_ptr_equal(tree_of(node), tree);
        last = node;
        node = tree_next(node);
    }
    assert_null(node);
    assert_ptr_equal(tree_last(tree), last);
    check_balance(tree->root, order->refresh);
}

static void random_steps(const struct tree_order *order)
{
    static struct item items[N];
    struct tree trees[2] = {{NULL}, {NULL}};
    unsigned at = 0;
    uint32_t random = 7;
    for (int i = 0; i < N; i++)
        items[i] = (struct item){.key = 2 * i};
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        // Phases of growing, of shrinking, and in order.
        struct item *item = &items[step / 4000 % 2 ? (random >> 16) % N : (unsigned)step % N];
        if (item->present)
            tree_remove(order, &item->node);
        else
            tree_insert(&trees[at], order, &item->node);
        item->present = !item->present;
        if (step % 50)
            continue;
        check(&trees[at], order, items);
        tree_move(&trees[!at], &trees[at]);
        assert_null(trees[at].root);
        at = !at;
        check(&trees[at], order, items);
    }
}

static void random_steps_match_the_model(void **state UNUSED)
{
    random_steps(&with_summary);
    random_steps(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_steps_match_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
