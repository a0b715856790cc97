// SPDX-License-Identifier: Apache-2.0
// Opens that nobody uses any more: which are kept and for whom, when they go, and that the server is told of
// each, again when that may have been lost.
#include "client/first_bytes.h"
#include "client/kept_opens.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S 1000000000ull // ns

struct world {
    struct nodes nodes;
    struct kept_opens kept;
    struct first_bytes first;
    bool deaf; // the server cannot be told
    uint64_t told[4 * KEPT_OPENS_MAX];
    size_t n_told, n_frames;
};

static bool tell(void *context, const uint64_t *open_ids, size_t n)
{
    struct world *w = context;
    if (w->deaf)
        return false;
    assert_true(n > 0 && n <= WIRE_INODES_MAX && w->n_told + n <= ARRAY_LEN(w->told));
    memcpy(w->told + w->n_told, open_ids, n * sizeof(*open_ids));
    w->n_told += n;
    w->n_frames++;
    return true;
}

static int setup(void **state)
{
    struct world *w = test_calloc(1, sizeof(*w));
    nodes_init(&w->nodes);
    nodes_set_root(&w->nodes, (wire_handle){.ino = 1});
    kept_opens_init(&w->kept, &w->nodes, tell, w);
    first_bytes_init(&w->first);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    first_bytes_drop_all(&w->first);
    kept_opens_free(&w->kept);
    assert_int_equal(w->kept.n, 0);
    nodes_free(&w->nodes);
    test_free(w);
    return 0;
}

// A file whose attributes may be kept, and which the kernel was shown.
static struct node *a_file(struct world *w, uint64_t ino)
{
    struct node *node = nodes_lookup(&w->nodes, (wire_handle){.ino = ino, .mac = ino}, NODE_ROOT);
    char name[24];
    snprintf(name, sizeof(name), "%llu", (unsigned long long)ino);
    node->lease = WIRE_LEASE_ATTR;
    kept_opens_named(&w->kept, node, nodes_name(NODE_ROOT, fs_name_of(name)));
    return node;
}

static struct file *open_as(struct world *w, struct node *node, uint32_t flags, const struct fs_cred *cred,
                            uint64_t now_ns)
{
    uint64_t id = nodes_new_open_id(&w->nodes);
    struct file like = {.id.key = id, .flags = flags, .opener = *cred};
    if (cred->n_groups > 0) {
        uint32_t *groups = malloc(cred->n_groups * sizeof(*groups));
        memcpy(groups, cred->groups, cred->n_groups * sizeof(*groups));
        like.opener.groups = groups;
    }
    assert_int_equal(nodes_open(&w->nodes, node, &like), 0);
    struct file *file = nodes_file(&w->nodes, id);
    kept_opens_granted(file, now_ns);
    return file;
}

static const struct fs_cred root;

static struct file *open_file(struct world *w, struct node *node, uint64_t now_ns)
{
    return open_as(w, node, FS_OPEN_READ, &root, now_ns);
}

static struct file *take(struct world *w, struct node *node, uint64_t now_ns)
{
    return kept_opens_take(&w->kept, node, FS_OPEN_READ, &root, now_ns);
}

// --- keeping ---

static void it_is_kept_and_used_again(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5);
    struct file *file = open_file(w, node, S);
    assert_null(take(w, node, S));
    for (int i = 0; i < 3; i++) {
        assert_true(kept_opens_keep(&w->kept, file, 2 * S));
        assert_int_equal(w->kept.n, 1);
        assert_ptr_equal(take(w, node, 2 * S), file);
        assert_int_equal(w->kept.n, 0);
        assert_null(take(w, node, 2 * S));
    }
    kept_opens_tell(&w->kept, 3 * S);
    assert_int_equal(w->n_told, 0);
    nodes_release(&w->nodes, file);
}

static void only_for_the_same_caller_and_flags(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5);
    uint32_t groups[] = {7, 8}, others[] = {7, 9};
    const struct fs_cred cred = {.uid = 1, .gid = 2, .n_groups = 2, .groups = groups};
    const struct fs_cred different[] = {
        {.uid = 0, .gid = 2, .n_groups = 2, .groups = groups},
        {.uid = 1, .gid = 0, .n_groups = 2, .groups = groups},
        {.uid = 1, .gid = 2, .n_groups = 1, .groups = groups},
        {.uid = 1, .gid = 2, .n_groups = 0, .groups = NULL},
        {.uid = 1, .gid = 2, .n_groups = 2, .groups = others},
    };
    struct file *file = open_as(w, node, FS_OPEN_READ, &cred, S);
    assert_true(kept_opens_keep(&w->kept, file, S));
    for (size_t i = 0; i < ARRAY_LEN(different); i++)
        assert_null(kept_opens_take(&w->kept, node, FS_OPEN_READ, &different[i], S));
    assert_null(kept_opens_take(&w->kept, node, FS_OPEN_EXEC, &cred, S));
    assert_null(kept_opens_take(&w->kept, node, FS_OPEN_READ | FS_OPEN_NOATIME, &cred, S));
    assert_ptr_equal(kept_opens_take(&w->kept, node, FS_OPEN_READ, &cred, S), file);
    nodes_release(&w->nodes, file);
}

static void spoil(struct world *w, struct file *file, int how)
{
    struct node *node = file->node;
    if (how == 0)
        file->may_keep = false;
    else if (how == 1)
        file->given_up = true;
    else if (how == 2)
        node->lease = WIRE_LEASE_DATA;
    else if (how == 3)
        kept_opens_named(&w->kept, node, 0);
    else if (how == 4)
        kept_opens_drop(&w->kept, node);
    else if (how == 5)
        kept_opens_drop_all(&w->kept);
    else
        nodes_forget(&w->nodes, node, 1);
}

static void what_is_not_worth_keeping_is_released(void **state)
{
    struct world *w = *state;
    for (int how = 0; how < 7; how++) {
        struct file *file = open_file(w, a_file(w, 5 + (uint64_t)how), S);
        spoil(w, file, how);
        assert_false(kept_opens_keep(&w->kept, file, S));
        nodes_release(&w->nodes, file);
    }
    assert_int_equal(w->kept.n, 0);
}

static void of_one_file_the_last_is_kept(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5);
    struct file *first = open_file(w, node, S), *second = open_file(w, node, S);
    uint64_t gone = first->id.key;
    assert_true(kept_opens_keep(&w->kept, first, S));
    assert_true(kept_opens_keep(&w->kept, second, S));
    assert_int_equal(w->kept.n, 1);
    kept_opens_tell(&w->kept, S);
    assert_int_equal(w->n_told, 1);
    assert_int_equal(w->told[0], gone);
    assert_ptr_equal(take(w, node, S), second);
    nodes_release(&w->nodes, second);
}

static void no_more_are_kept_than_there_is_room_for(void **state)
{
    struct world *w = *state;
    for (uint64_t ino = 2; ino < 2 + KEPT_OPENS_MAX + 10; ino++)
        assert_true(kept_opens_keep(&w->kept, open_file(w, a_file(w, ino), S), S));
    assert_int_equal(w->kept.n, KEPT_OPENS_MAX);
    kept_opens_tell(&w->kept, S);
    assert_int_equal(w->n_told, 10);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(w->told[i], i + 1); // the oldest
        assert_null(nodes_get(&w->nodes, 2 + i)->kept);
    }
}

// --- going ---

static void it_grows_old(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5), *other = a_file(w, 6);
    struct file *file = open_file(w, node, S);
    assert_true(kept_opens_keep(&w->kept, file, S));
    assert_true(kept_opens_keep(&w->kept, open_file(w, other, 50 * S), 50 * S));
    uint64_t due_ns = S;
    for (uint64_t now_ns = S; now_ns < (1 + WIRE_KEPT_OPEN_S) * S; now_ns = due_ns) {
        assert_int_equal(w->n_told, 0);
        due_ns = kept_opens_tick(&w->kept, 0, now_ns);
        assert_in_range(due_ns, now_ns + 1, now_ns + 10 * S);
    }
    assert_null(take(w, node, (1 + WIRE_KEPT_OPEN_S) * S));
    assert_int_equal(kept_opens_tick(&w->kept, 0, (6 + WIRE_KEPT_OPEN_S) * S) != UINT64_MAX, 1);
    assert_int_equal(w->n_told, 1);
    assert_int_equal(kept_opens_tick(&w->kept, 0, (60 + WIRE_KEPT_OPEN_S) * S), UINT64_MAX);
    assert_int_equal(w->n_told, 2);
    assert_int_equal(w->nodes.files.count, 0);
}

static void using_it_does_not_make_it_younger(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5);
    struct file *file = open_file(w, node, S);
    for (uint64_t s = 1; s <= WIRE_KEPT_OPEN_S; s++) {
        assert_true(kept_opens_keep(&w->kept, file, s * S));
        assert_ptr_equal(take(w, node, s * S), file);
    }
    assert_false(kept_opens_keep(&w->kept, file, (1 + WIRE_KEPT_OPEN_S) * S));
    nodes_release(&w->nodes, file);
}

static void a_change_takes_it(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5), *other = a_file(w, 6);
    assert_true(kept_opens_keep(&w->kept, open_file(w, node, S), S));
    assert_true(kept_opens_keep(&w->kept, open_file(w, other, S), S));
    kept_opens_drop(&w->kept, node);
    assert_null(take(w, node, S));
    kept_opens_drop_name(&w->kept, nodes_name(NODE_ROOT, fs_name_of("7")));
    kept_opens_drop_name(&w->kept, nodes_name(2, fs_name_of("6")));
    assert_int_equal(w->kept.n, 1);
    kept_opens_drop_name(&w->kept, nodes_name(NODE_ROOT, fs_name_of("6")));
    assert_null(take(w, other, S));
    kept_opens_tell(&w->kept, S);
    assert_int_equal(w->n_told, 2);
}

static void a_name_that_moves_takes_it_along(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5);
    uint64_t name = node->name;
    kept_opens_named(&w->kept, node, nodes_name(9, fs_name_of("elsewhere")));
    assert_true(kept_opens_keep(&w->kept, open_file(w, node, S), S));
    kept_opens_drop_name(&w->kept, name);
    assert_int_equal(w->kept.n, 1);
    kept_opens_named(&w->kept, node, name);
    assert_int_equal(w->kept.n, 0);
}

// --- telling ---

static void let_go(struct world *w, uint64_t ino, uint64_t now_ns)
{
    struct node *node = a_file(w, ino);
    assert_true(kept_opens_keep(&w->kept, open_file(w, node, now_ns), now_ns));
    kept_opens_drop(&w->kept, node);
}

static size_t told_again(struct world *w, uint64_t now_ns)
{
    w->n_told = 0;
    kept_opens_welcome(&w->kept, true);
    kept_opens_tell(&w->kept, now_ns);
    return w->n_told;
}

static void who_is_away_is_told_later(void **state)
{
    struct world *w = *state;
    w->deaf = true;
    let_go(w, 5, S);
    kept_opens_tell(&w->kept, S);
    kept_opens_tick(&w->kept, 0, S);
    assert_int_equal(w->n_told, 0);
    w->deaf = false;
    kept_opens_tick(&w->kept, 0, S);
    kept_opens_tick(&w->kept, 0, S);
    assert_int_equal(w->n_told, 1);
}

static void what_was_not_heard_is_told_again(void **state)
{
    struct world *w = *state;
    let_go(w, 5, S);
    kept_opens_tell(&w->kept, 10 * S);
    kept_opens_tick(&w->kept, 10 * S, 11 * S); // sent when that was: it may have been before
    let_go(w, 6, S);
    kept_opens_tell(&w->kept, 20 * S);
    assert_int_equal(told_again(w, 30 * S), 2);
    assert_int_equal(told_again(w, 40 * S), 2);
    kept_opens_tick(&w->kept, 41 * S, 42 * S);
    assert_int_equal(told_again(w, 50 * S), 0);
}

static void what_is_told_all_the_time_is_heard_all_the_same(void **state)
{
    struct world *w = *state;
    for (uint64_t i = 1; i <= 1000; i++) {
        let_go(w, 10 + i, i * S);
        // each is answered when ten more have been told
        kept_opens_tick(&w->kept, i > 10 ? (i - 10) * S + 1 : 0, i * S);
    }
    assert_in_range(told_again(w, 1001 * S), 10, 21);
}

static void a_server_that_has_forgotten_is_not_told(void **state)
{
    struct world *w = *state;
    let_go(w, 5, S);
    kept_opens_tell(&w->kept, S);
    let_go(w, 6, S);
    kept_opens_welcome(&w->kept, false);
    w->n_told = 0;
    kept_opens_tick(&w->kept, 0, S);
    assert_int_equal(told_again(w, S), 0);
}

static void many_are_told_in_frames(void **state)
{
    struct world *w = *state;
    for (uint64_t ino = 2; ino < 2 + KEPT_OPENS_MAX; ino++)
        assert_true(kept_opens_keep(&w->kept, open_file(w, a_file(w, ino), S), S));
    kept_opens_drop_all(&w->kept);
    kept_opens_tell(&w->kept, S);
    assert_int_equal(w->n_told, KEPT_OPENS_MAX);
    assert_int_equal(w->n_frames, KEPT_OPENS_MAX / WIRE_INODES_MAX);
}

// --- bytes that came with an open ---

static void put(struct world *w, struct file *file, const char *bytes, size_t n)
{
    first_bytes_put(&w->first, file, (wire_bytes){.bytes = bytes, .length = (uint32_t)n});
}

static void bytes_are_read_in_parts(void **state)
{
    struct world *w = *state;
    struct file *file = open_file(w, a_file(w, 5), S);
    wire_bytes got;
    bool done;
    assert_false(first_bytes_read(file, 0, 10, &got, &done));
    put(w, file, "0123456789", 10);
    const struct {
        uint64_t offset;
        size_t size;
        const char *want;
        bool done;
    } cases[] = {{0, 4, "0123", false},        {3, 4, "3456", false},    {6, 4, "6789", true},
                 {0, 100, "0123456789", true}, {9, SIZE_MAX, "9", true}, {10, 5, "", true},
                 {UINT64_MAX, 5, "", true},    {2, 0, "", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(first_bytes_read(file, cases[i].offset, cases[i].size, &got, &done));
        assert_int_equal(got.length, strlen(cases[i].want));
        assert_memory_equal(got.bytes, cases[i].want, got.length);
        assert_int_equal(done, cases[i].done);
    }
    put(w, file, "ab", 2);
    assert_true(first_bytes_read(file, 0, 10, &got, &done));
    assert_int_equal(got.length, 2);
    assert_int_equal(w->first.bytes, 2);
    first_bytes_drop(&w->first, file);
    first_bytes_drop(&w->first, file);
    assert_false(first_bytes_read(file, 0, 10, &got, &done));
    assert_int_equal(w->first.n, 0);
}

static void bytes_go_with_their_node(void **state)
{
    struct world *w = *state;
    struct node *node = a_file(w, 5);
    struct file *one = open_file(w, node, S), *two = open_file(w, node, S),
                *other = open_file(w, a_file(w, 6), S);
    put(w, one, "a", 1);
    put(w, two, "a", 1);
    put(w, other, "a", 1);
    first_bytes_drop_node(&w->first, node);
    assert_null(one->first);
    assert_null(two->first);
    assert_non_null(other->first);
}

static void bytes_have_a_bound(void **state)
{
    struct world *w = *state;
    static char bytes[WIRE_FIRST_MAX];
    struct file *files[2 * FIRST_FILES_MAX];
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        files[i] = open_file(w, a_file(w, 5 + i), S);
        put(w, files[i], bytes, i < FIRST_FILES_MAX ? sizeof(bytes) : 1);
        assert_true(w->first.n <= FIRST_FILES_MAX && w->first.bytes <= FIRST_BYTES_MAX);
    }
    assert_null(files[0]->first);
    assert_non_null(files[ARRAY_LEN(files) - 1]->first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_kept_and_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(only_for_the_same_caller_and_flags, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_worth_keeping_is_released, setup, teardown),
        cmocka_unit_test_setup_teardown(of_one_file_the_last_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(no_more_are_kept_than_there_is_room_for, setup, teardown),
        cmocka_unit_test_setup_teardown(it_grows_old, setup, teardown),
        cmocka_unit_test_setup_teardown(using_it_does_not_make_it_younger, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_takes_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_moves_takes_it_along, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_away_is_told_later, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_heard_is_told_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_told_all_the_time_is_heard_all_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_has_forgotten_is_not_told, setup, teardown),
        cmocka_unit_test_setup_teardown(many_are_told_in_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_are_read_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_go_with_their_node, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_have_a_bound, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
