// SPDX-License-Identifier: Apache-2.0
// Kept attributes against client/attr_cache.h: whatever order calls are sent, executed and answered in, what
// is kept is what the server has now. The model is a server that counts how often it changed the inode.
#include "client/attr_cache.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DAY 86400

static const struct fs_attr some = {.ino = 7,
                                    .mode = S_IFREG | 0644,
                                    .nlink = 2,
                                    .uid = 3,
                                    .gid = 4,
                                    .rdev = 5,
                                    .size = 1ull << 40,
                                    .blocks = 6,
                                    .atime = {.sec = 2000, .nsec = 1},
                                    .mtime = {.sec = -5, .nsec = 999999999},
                                    .ctime = {.sec = 1999, .nsec = 3},
                                    .btime = {.sec = 9000000000, .nsec = 4}};

static void assert_same(const struct fs_attr *a, const struct fs_attr *b)
{
    assert_true(a->ino == b->ino && a->mode == b->mode && a->nlink == b->nlink && a->uid == b->uid &&
                a->gid == b->gid && a->rdev == b->rdev && a->size == b->size && a->blocks == b->blocks);
    assert_int_equal(fs_time_compare(a->atime, b->atime), 0);
    assert_int_equal(fs_time_compare(a->mtime, b->mtime), 0);
    assert_int_equal(fs_time_compare(a->ctime, b->ctime), 0);
    assert_int_equal(fs_time_compare(a->btime, b->btime), 0);
}

static void test_what_is_kept_comes_back(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr;
    assert_false(attr_get(&kept, 7, &attr));
    attr_keep(&kept, &some, 1);
    assert_true(attr_get(&kept, 7, &attr));
    assert_same(&attr, &some);
}

static void test_times_that_do_not_fit_are_not_kept(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr = some, got;
    attr.mtime.sec = INT64_MAX;
    attr_keep(&kept, &attr, 1);
    assert_false(attr_get(&kept, 7, &got));
    attr.mtime.sec = INT64_MIN;
    attr_keep(&kept, &attr, 1);
    assert_false(attr_get(&kept, 7, &got));
    attr.mtime.sec = -9000000000;
    attr_keep(&kept, &attr, 1);
    assert_true(attr_get(&kept, 7, &got));
    assert_same(&got, &attr);
}

static void test_without_a_name_nothing_is_kept(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr, nameless = some;
    attr_keep(&kept, &some, 1);
    nameless.nlink = 0;
    attr_keep(&kept, &nameless, 1);
    assert_false(attr_get(&kept, 7, &attr));
    nameless = some;
    nameless.blocks = FS_BLOCKS_UNKNOWN;
    attr_keep(&kept, &nameless, 1);
    assert_false(attr_get(&kept, 7, &attr));
}

static void test_what_was_seen_of_a_directory_outlives_the_lease(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr, directory = some, older = some;
    attr_keep(&kept, &some, 1);
    assert_false(attr_get_seen(&kept, 7, &attr)); // it is none
    directory.mode = older.mode = S_IFDIR | 0755;
    older.nlink = 9;
    attr_keep(&kept, &directory, 1);
    attr_saw(&kept, &older); // on its way when that was kept
    attr_drop(&kept, 6);
    assert_false(attr_get(&kept, 7, &attr));
    assert_true(attr_get_seen(&kept, 7, &attr));
    assert_same(&attr, &directory);
    attr_saw(&kept, &older);
    assert_false(attr_get(&kept, 7, &attr));
    assert_true(attr_get_seen(&kept, 7, &attr));
    assert_same(&attr, &older);
}

static void test_a_drop_outruns_answers_on_their_way(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr;
    attr_drop(&kept, 2);
    attr_keep(&kept, &some, 1);
    assert_false(attr_get(&kept, 7, &attr));
    attr_keep(&kept, &some, 2);
    assert_true(attr_get(&kept, 7, &attr));
}

static void test_a_change_alone_may_say_what_it_led_to(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr;
    attr_change(&kept, 1);
    attr_keep(&kept, &some, 1); // of a look that was sent meanwhile
    assert_false(attr_get(&kept, 7, &attr));
    assert_true(attr_changed(&kept, 1, 2));
    attr_keep(&kept, &some, 1);
    assert_false(attr_get(&kept, 7, &attr));
    attr_keep(&kept, &some, 2);
    assert_true(attr_get(&kept, 7, &attr));
}

static void test_of_two_changes_neither_says(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    attr_change(&kept, 1);
    attr_change(&kept, 2);
    assert_false(attr_changed(&kept, 1, 3));
    assert_false(attr_changed(&kept, 2, 4));
    attr_change(&kept, 5);
    attr_drop(&kept, 6); // the server took the lease back
    assert_false(attr_changed(&kept, 5, 7));
}

static void test_relatime(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    struct fs_attr attr, same = some;
    attr_keep(&kept, &some, 1);
    attr_was_read(&kept, 2000 + 60, 2);
    assert_true(attr_get(&kept, 7, &attr)); // read since it was changed
    attr_was_read(&kept, 2000 + DAY, 3);
    assert_false(attr_get(&kept, 7, &attr)); // a day ago
    attr_keep(&kept, &some, 2);
    assert_false(attr_get(&kept, 7, &attr)); // sent before that read was answered
    same.mtime = same.atime;
    attr_keep(&kept, &same, 3);
    attr_was_read(&kept, 2000 + 60, 4);
    assert_false(attr_get(&kept, 7, &attr));
    same = some;
    same.ctime = same.atime;
    attr_keep(&kept, &same, 4);
    attr_was_read(&kept, 2000 + 60, 5);
    assert_false(attr_get(&kept, 7, &attr));
}

static void test_who_asks_too_early_was_told_to(void **state)
{
    (void)state;
    struct attr_kept kept = {0};
    attr_keep(&kept, &some, 1);
    attr_told(&kept, 1000);
    assert_false(attr_is_wanted(&kept, 900));
    assert_true(attr_is_wanted(&kept, 1000));
    attr_told(&kept, UINT32_MAX + 1000u); // the clock wraps
    assert_false(attr_is_wanted(&kept, UINT32_MAX - 100));
    attr_was_read(&kept, 2060, 2);
    assert_true(attr_is_wanted(&kept, 1));
    attr_told(&kept, 2000);
    attr_change(&kept, 3);
    assert_true(attr_is_wanted(&kept, 1));
}

// Calls of one client and changes by others, executed and answered at random. `size` counts the changes.
enum { CALLS = 6 };
struct call {
    enum { NONE, LOOK, CHANGE } kind;
    bool executed, leased;
    uint64_t sent_at;
    bool was_leased; // then
    uint64_t size;
};
struct world {
    struct attr_kept kept;
    uint64_t clock, size; // of the server
    bool lease, granted;  // as the client and the server see it
    struct call calls[CALLS];
};

static void send(struct world *world, struct call *call)
{
    *call = (struct call){.kind = rand() % 2 ? LOOK : CHANGE};
    call->sent_at = world->clock;
    call->was_leased = world->lease;
    if (call->kind == CHANGE)
        attr_change(&world->kept, call->sent_at = ++world->clock);
}

static void execute(struct world *world, struct call *call)
{
    call->executed = true;
    world->size += call->kind == CHANGE;
    call->size = world->size;
    call->leased = call->kind == LOOK;
    world->granted |= call->leased;
}

// What the server grants comes in order with what it takes back; the rest in any order.
static void answer(struct world *world, struct call *call)
{
    struct fs_attr attr = {.nlink = 1, .size = call->size};
    if (call->kind == CHANGE && attr_changed(&world->kept, call->sent_at, ++world->clock))
        call->sent_at = world->clock;
    world->lease |= call->leased;
    if (call->leased || (call->was_leased && world->lease))
        attr_keep(&world->kept, &attr, call->sent_at);
    call->kind = NONE;
}

static void change_by_another(struct world *world)
{
    for (size_t i = 0; i < CALLS; i++) {
        if (world->calls[i].kind == LOOK && world->calls[i].executed)
            answer(world, &world->calls[i]);
    }
    if (world->granted)
        attr_drop(&world->kept, ++world->clock);
    world->lease = world->granted = false;
    world->size++;
}

static void check(const struct world *world)
{
    struct fs_attr attr;
    bool changing = false;
    for (size_t i = 0; i < CALLS; i++)
        changing |= world->calls[i].kind == CHANGE;
    if (world->lease && attr_get(&world->kept, 7, &attr)) {
        assert_false(changing);
        assert_int_equal(attr.size, world->size);
    }
}

static void test_any_order(void **state)
{
    (void)state;
    struct world world = {0};
    size_t n_kept = 0;
    struct fs_attr attr;
    srand(1);
    for (size_t i = 0; i < 1000000; i++) {
        struct call *call = &world.calls[rand() % CALLS];
        if (rand() % 50 == 0)
            change_by_another(&world);
        else if (call->kind == NONE && rand() % 4 == 0)
            send(&world, call);
        else if (call->kind != NONE && !call->executed)
            execute(&world, call);
        else if (call->kind != NONE)
            answer(&world, call);
        check(&world);
        n_kept += world.lease && attr_get(&world.kept, 7, &attr);
    }
    assert_true(n_kept > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_kept_comes_back),
        cmocka_unit_test(test_times_that_do_not_fit_are_not_kept),
        cmocka_unit_test(test_without_a_name_nothing_is_kept),
        cmocka_unit_test(test_what_was_seen_of_a_directory_outlives_the_lease),
        cmocka_unit_test(test_a_drop_outruns_answers_on_their_way),
        cmocka_unit_test(test_a_change_alone_may_say_what_it_led_to),
        cmocka_unit_test(test_of_two_changes_neither_says),
        cmocka_unit_test(test_relatime),
        cmocka_unit_test(test_who_asks_too_early_was_told_to),
        cmocka_unit_test(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
