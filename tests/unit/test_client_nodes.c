// SPDX-License-Identifier: Apache-2.0
// What the kernel knows and has open: lookup counts, open files, and held ranges against a byte-by-byte
// model.
#include "client/nodes.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROOT_INO 40u // an access point's root directory

static int setup(void **state)
{
    struct nodes *nodes = test_malloc(sizeof(*nodes));
    nodes_init(nodes);
    nodes_set_root(nodes, (wire_handle){.ino = ROOT_INO, .mac = 7});
    *state = nodes;
    return 0;
}

static int teardown(void **state)
{
    nodes_free(*state);
    test_free(*state);
    return 0;
}

static void open_file(struct nodes *nodes, struct node *node, uint64_t open_id)
{
    struct file like = {.id.key = open_id,
                        .flags = FS_OPEN_READ | FS_OPEN_TRUNC | FS_OPEN_CREATE,
                        .opener = {.uid = 5, .gid = 6}};
    assert_int_equal(nodes_open(nodes, node, &like), 0);
}

static void test_the_root_is_node_1_whatever_its_inode(void **state)
{
    struct nodes *nodes = *state;
    struct node *root = nodes_get(nodes, NODE_ROOT);
    assert_int_equal(root->handle.ino, ROOT_INO);
    assert_int_equal(root->handle.mac, 7);
    assert_ptr_equal(nodes_lookup(nodes, (wire_handle){.ino = ROOT_INO, .mac = 7}, NODE_ROOT), root);
    nodes_forget(nodes, root, 100);
    assert_ptr_equal(nodes_get(nodes, NODE_ROOT), root);
    assert_null(nodes_get(nodes, ROOT_INO));
}

static void test_a_node_lives_until_it_is_forgotten(void **state)
{
    struct nodes *nodes = *state;
    wire_handle handle = {.ino = 50, .mac = 1};
    assert_null(nodes_get(nodes, 50));
    struct node *node = nodes_lookup(nodes, handle, NODE_ROOT);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(nodes_lookup(nodes, handle, NODE_ROOT), node);
    nodes_forget(nodes, node, 4);
    assert_ptr_equal(nodes_get(nodes, 50), node);
    nodes_forget(nodes, node, 1);
    assert_null(nodes_get(nodes, 50));
}

static void test_forgetting_more_than_was_looked_up_is_harmless(void **state)
{
    struct nodes *nodes = *state;
    nodes_forget(nodes, nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT), UINT64_MAX);
    assert_null(nodes_get(nodes, 50));
}

static void test_what_was_seen_of_a_directory_is_kept_until_it_is_forgotten(void **state)
{
    struct nodes *nodes = *state;
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT);
    struct fs_attr attr;
    assert_false(attr_get_seen(&node->attr, 50, &attr));
    attr_saw(&node->attr, &(struct fs_attr){.ino = 50, .mode = S_IFDIR});
    attr_saw(&node->attr, &(struct fs_attr){.ino = 50, .mode = S_IFDIR | 0700});
    assert_true(attr_get_seen(&node->attr, 50, &attr));
    assert_int_equal(attr.mode, S_IFDIR | 0700);
    nodes_forget(nodes, node, 1);
    assert_null(nodes_get(nodes, 50));
}

static void test_an_open_file_keeps_its_node(void **state)
{
    struct nodes *nodes = *state;
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT);
    uint64_t first = nodes_new_open_id(nodes), second = nodes_new_open_id(nodes);
    assert_int_not_equal(first, 0);
    assert_int_not_equal(first, second);
    open_file(nodes, node, first);
    nodes_forget(nodes, node, 1);
    const struct file *file = nodes_file(nodes, first);
    assert_ptr_equal(file->node, node);
    assert_int_equal(file->flags, FS_OPEN_READ); // what acts once is not claimed again
    assert_int_equal(file->opener.uid, 5);
    assert_null(nodes_file(nodes, second));
    nodes_release(nodes, nodes_file(nodes, first));
    assert_null(nodes_get(nodes, 50));
}

static void test_release_drops_what_was_locked_through_it(void **state)
{
    struct nodes *nodes = *state;
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT);
    struct fs_lock one = {.kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = 1},
                   two = one;
    two.owner = 2;
    open_file(nodes, node, 1);
    open_file(nodes, node, 2);
    assert_int_equal(nodes_hold(nodes, node, 1, &one), 0);
    assert_int_equal(nodes_hold(nodes, node, 2, &two), 0);
    nodes_release(nodes, nodes_file(nodes, 1));
    assert_false(nodes_holds_any(node, FS_LOCK_FLOCK, 1));
    assert_true(nodes_holds_any(node, FS_LOCK_FLOCK, 2));
    assert_int_equal(nodes->n_holds, 1);
}

// --- ranges against a model: who holds each of the first bytes, and how ---

#define BYTES  24u
#define OWNERS 3u
#define ROUNDS 20000u

static void model_set(uint8_t model[OWNERS][BYTES], const struct fs_lock *lock)
{
    for (uint64_t i = lock->start; i <= MIN(lock->end, (uint64_t)BYTES - 1); i++)
        model[lock->owner][i] = lock->type == FS_LOCK_UNLOCK ? 0 : (uint8_t)(1 + lock->type);
}

static void compare(const struct node *node, uint8_t model[OWNERS][BYTES])
{
    uint8_t seen[OWNERS][BYTES] = {0};
    bool any[OWNERS] = {0};
    for (const struct hold *hold = nodes_first_hold(node); hold; hold = nodes_next_hold(hold)) {
        assert_true(hold->lock.start <= hold->lock.end);
        for (uint64_t i = hold->lock.start; i <= MIN(hold->lock.end, (uint64_t)BYTES - 1); i++) {
            assert_int_equal(seen[hold->lock.owner][i], 0); // ranges of one owner do not overlap
            seen[hold->lock.owner][i] = (uint8_t)(1 + hold->lock.type);
        }
    }
    assert_memory_equal(seen, model, sizeof(seen));
    for (size_t owner = 0; owner < OWNERS; owner++) {
        for (size_t i = 0; i < BYTES; i++)
            any[owner] |= model[owner][i] != 0;
        assert_int_equal(nodes_holds_any(node, FS_LOCK_FCNTL, owner), any[owner]);
    }
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void test_held_ranges_are_those_of_a_model(void **state)
{
    struct nodes *nodes = *state;
    uint8_t model[OWNERS][BYTES] = {0};
    uint32_t seed = 20260101;
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT);
    open_file(nodes, node, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t a = next_random(&seed) % BYTES, b = next_random(&seed) % BYTES;
        struct fs_lock lock = {.kind = FS_LOCK_FCNTL,
                               .type = (enum fs_lock_type)(next_random(&seed) % 3),
                               .start = MIN(a, b),
                               .end = MAX(a, b) == BYTES - 1 ? INT64_MAX : MAX(a, b),
                               .owner = next_random(&seed) % OWNERS};
        assert_int_equal(nodes_hold(nodes, node, 1, &lock), 0);
        model_set(model, &lock);
        compare(node, model);
    }
}

static void test_neighbouring_ranges_become_one(void **state)
{
    struct nodes *nodes = *state;
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT);
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t at = i % 2 ? i - 1 : i + 1; // 1, 0, 3, 2, …
        struct fs_lock lock = {.kind = FS_LOCK_FCNTL, .type = FS_LOCK_READ, .start = at, .end = at};
        assert_int_equal(nodes_hold(nodes, node, 1, &lock), 0);
    }
    assert_int_equal(nodes->n_holds, 1);
}

// Far too many for a walk along them at each.
static void test_many_ranges_of_one_file(void **state)
{
    enum { MANY = 200000 };
    struct nodes *nodes = *state;
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT);
    struct fs_lock lock = {.kind = FS_LOCK_FCNTL, .type = FS_LOCK_WRITE};
    open_file(nodes, node, 1);
    open_file(nodes, node, 2);
    for (uint64_t i = 0; i < MANY; i++) {
        lock.start = lock.end = i * 7919 % MANY * 2; // every second byte, in no order
        assert_int_equal(nodes_hold(nodes, node, 1 + i % 2, &lock), 0);
    }
    assert_int_equal(nodes->n_holds, MANY);
    nodes_release(nodes, nodes_file(nodes, 2));
    assert_int_equal(nodes->n_holds, MANY / 2);
    assert_int_equal(nodes_file(nodes, 1)->n_holds, MANY / 2);
    lock.type = FS_LOCK_UNLOCK;
    for (lock.start = lock.end = 0; lock.start < 2 * MANY; lock.start = lock.end += 2)
        assert_int_equal(nodes_hold(nodes, node, 1, &lock), 0);
    assert_int_equal(nodes->n_holds, 0);
    assert_int_equal(nodes_file(nodes, 1)->n_holds, 0);
}

static void test_where_an_inode_was_shown(void **state)
{
    struct nodes *nodes = *state;
    const wire_handle handle = {.ino = 50};
    struct node *node = nodes_lookup(nodes, handle, 60);
    assert_false(node->known);
    assert_int_equal(node->shown_in, 60);
    // Two lookups may be under way: the one that came first is the one to wait for.
    nodes_lookup(nodes, handle, 61);
    assert_int_equal(node->shown_in, 60);
    node->known = true;
    nodes_lookup(nodes, handle, 62);
    assert_int_equal(node->shown_in, 62);
    assert_true(node->known);
    // Forgotten by the kernel and still open: what it is shown then is an inode that it does not know.
    assert_int_equal(nodes_open(nodes, node, &(struct file){.id.key = 1}), 0);
    nodes_forget(nodes, node, 3);
    assert_ptr_equal(nodes_lookup(nodes, handle, 63), node);
    assert_false(node->known);
    assert_int_equal(node->shown_in, 63);
    assert_true(nodes_get(nodes, NODE_ROOT)->known);
}

static void remember(void *context, fs_ino ino)
{
    *(fs_ino *)context = ino;
}

static void test_an_inode_with_a_lease_is_told_when_it_is_forgotten(void **state)
{
    struct nodes *nodes = *state;
    fs_ino forgotten = 0;
    nodes->forgotten = remember;
    nodes->context = &forgotten;
    nodes_forget(nodes, nodes_lookup(nodes, (wire_handle){.ino = 50}, NODE_ROOT), 1);
    assert_int_equal(forgotten, 0);
    struct node *node = nodes_lookup(nodes, (wire_handle){.ino = 51}, NODE_ROOT);
    node->lease = WIRE_LEASE_ATTR;
    assert_int_equal(nodes_open(nodes, node, &(struct file){.id.key = 1}), 0);
    nodes_forget(nodes, node, 1);
    assert_int_equal(forgotten, 0); // it is open
    nodes_release(nodes, nodes_file(nodes, 1));
    assert_int_equal(forgotten, 51);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_root_is_node_1_whatever_its_inode),
        TEST(test_a_node_lives_until_it_is_forgotten),
        TEST(test_forgetting_more_than_was_looked_up_is_harmless),
        TEST(test_what_was_seen_of_a_directory_is_kept_until_it_is_forgotten),
        TEST(test_an_open_file_keeps_its_node),
        TEST(test_release_drops_what_was_locked_through_it),
        TEST(test_held_ranges_are_those_of_a_model),
        TEST(test_neighbouring_ranges_become_one),
        TEST(test_many_ranges_of_one_file),
        TEST(test_where_an_inode_was_shown),
        TEST(test_an_inode_with_a_lease_is_told_when_it_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
