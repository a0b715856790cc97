// SPDX-License-Identifier: Apache-2.0
// What the store knows of the sessions when it refuses writes: what could not be written is owed, and nobody
// is told what a restart would deny; who only looks is served meanwhile. The form of a record stands in
// keep.c.
#include <setjmp.h>
#include <stdarg.h>

#include "tests/unit/server_world.h"

#define EXPIRED 1
#define MISSED  4

struct looking {
    uint64_t id;
    bool found;
    uint8_t flags;
};

static bool look(void *context, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    struct looking *looking = context;
    if (part != 0 || id != looking->id)
        return true;
    assert_true(n > 2);
    looking->found = true;
    looking->flags = ((const uint8_t *)bytes)[1];
    return true;
}

// Of the record in the store; -1: there is none.
static int kept_flags(struct world *world, size_t i)
{
    struct looking looking = {.id = world->clients[i].session_low};
    assert_int_equal(store_session_list(world->outer, look, &looking), 0);
    return looking.found ? looking.flags : -1;
}

static struct attached *attached_with(const struct world *world, size_t i)
{
    return attached_get(&world->hosted, world->clients[i].session_low);
}

static bool can_look(struct world *world, size_t i)
{
    struct client_end *end = &world->clients[i];
    SEND(getattr, GETATTR, end, 1, .handle = end->root);
    return status_of(world, end, WIRE_GETATTR, 1) == 0;
}

static void an_expiry_that_was_undone_is_written_later(void **state)
{
    struct world *world = *state;
    world->hosted.ticked_ms = uv_now(&world->shard.loop);
    attached_with(world, 0)->heard_ms -= world->options.lease_ms;
    store_fault_arm(world->outer, "commit", 1, -EIO);
    attached_tick(&world->hosted);
    assert_true(attached_with(world, 0)->expired);
    assert_int_equal(kept_flags(world, 0), 0);
    assert_true(keep_owes(&world->hosted));
    attached_tick(&world->hosted);
    assert_int_equal(kept_flags(world, 0), EXPIRED);
    assert_false(keep_owes(&world->hosted));
}

// A restart would find it without a trace of that, and believe its claims.
static void a_lock_is_not_told_before_its_claimants_record_is_kept(void **state)
{
    struct world *world = *state;
    struct client_end *end = &world->clients[1];
    const struct fs_lock whole = {.kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = 1};
    SEND(create, CREATE, end, 1, .parent = end->root, .name = fs_name_of("f"), .open_id = 1, .mode = 0666,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, end, WIRE_CREATE, 1), 0);
    // As after a restart whose grace is over: 0 may still come and claim.
    attached_with(world, 0)->claim = CLAIM_AWAITED;
    world->hosted.n_unclaimed = 1;
    store_fault_arm(world->outer, "commit", 1, -EIO);
    SEND(setlk, SETLK, end, 1, .open_id = 1, .lock = whole);
    for (size_t i = 0; i < 8; i++) {
        uv_run(&world->shard.loop, UV_RUN_NOWAIT);
        turn_run(&world->hosted);
    }
    uint8_t byte;
    assert_int_equal(recv(end->fd, &byte, 1, MSG_DONTWAIT), 0); // its connection was closed: it asks again
    assert_int_equal(kept_flags(world, 0), 0);
    attached_tick(&world->hosted);
    assert_int_equal(kept_flags(world, 0), MISSED);
    grace_claimed(attached_with(world, 0));
}

static void who_only_looks_is_served_by_a_store_that_refuses_writes(void **state)
{
    struct world *world = *state;
    store_fault_arm(world->outer, "begin", 1, -EROFS);
    attached_end(attached_with(world, 0), "evict", "the test wants it");
    assert_true(keep_owes(&world->hosted));
    // Once in the turn, and once more should it be run again.
    store_fault_arm(world->outer, "begin", 1, -EROFS);
    store_fault_arm(world->inner, "begin", 1, -EROFS);
    assert_true(can_look(world, 1));
    assert_true(keep_owes(&world->hosted));
    store_fault_arm(world->inner, "begin", 0, -EROFS);
    attached_tick(&world->hosted);
    assert_int_equal(kept_flags(world, 0), -1);
    assert_false(keep_owes(&world->hosted));
}

static void a_turn_that_writes_fails_with_what_is_owed(void **state)
{
    struct world *world = *state;
    struct client_end *end = &world->clients[1];
    store_fault_arm(world->outer, "begin", 1, -EROFS);
    attached_end(attached_with(world, 0), "evict", "the test wants it");
    store_fault_arm(world->outer, "session_remove", 1, -EIO);
    store_fault_arm(world->inner, "session_remove", 1, -ENOSPC);
    SEND(make, MAKE, end, 1, .parent = end->root, .name = fs_name_of("d"), .mode = S_IFDIR | 0755);
    assert_int_equal(status_of(world, end, WIRE_MAKE, 1), -ENOSPC);
    SEND(lookup, LOOKUP, end, 1, .parent = end->root, .name = fs_name_of("d"));
    assert_int_equal(status_of(world, end, WIRE_LOOKUP, 1), -ENOENT);
    assert_int_equal(kept_flags(world, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_expiry_that_was_undone_is_written_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_is_not_told_before_its_claimants_record_is_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_only_looks_is_served_by_a_store_that_refuses_writes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_turn_that_writes_fails_with_what_is_owed, setup, teardown),
    };
    return cmocka_run_group_tests_name("server_keep", tests, NULL, NULL);
}
