// SPDX-License-Identifier: Apache-2.0
// One turn, one transaction: real connections (socket pairs), sessions and core over a store whose commits
// fail on demand. What the replies must be follows from hosted.h and docs/PROTOCOL.md.
#include <setjmp.h>
#include <stdarg.h>

#include "tests/unit/server_world.h"

// --- tests ---

static const char *const names[N_CLIENTS] = {"a", "b", "c"};

static void send_mkdirs(struct world *world)
{
    for (size_t i = 0; i < N_CLIENTS; i++)
        SEND(make, MAKE, &world->clients[i], 1, .parent = world->clients[i].root,
             .name = fs_name_of(names[i]), .mode = S_IFDIR | 0755);
}

static void a_failed_turn_runs_again_one_by_one(void **state)
{
    struct world *world = *state;
    store_fault_arm(world->outer, "commit", 1, -EIO);
    send_mkdirs(world);
    for (size_t i = 0; i < N_CLIENTS; i++)
        assert_int_equal(status_of(world, &world->clients[i], WIRE_MAKE, 1), 0);
    for (size_t i = 0; i < N_CLIENTS; i++)
        assert_true(exists(world, names[i]));
}

static void only_the_culprit_sees_the_error(void **state)
{
    struct world *world = *state;
    // The turn's commit never reaches the inner store, so its second is that of the second request alone.
    store_fault_arm(world->outer, "commit", 1, -EIO);
    store_fault_arm(world->inner, "commit", 2, -ENOSPC);
    send_mkdirs(world);
    for (size_t i = 0; i < N_CLIENTS; i++)
        assert_int_equal(status_of(world, &world->clients[i], WIRE_MAKE, 1), i == 1 ? -ENOSPC : 0);
    for (size_t i = 0; i < N_CLIENTS; i++)
        assert_int_equal(exists(world, names[i]), i != 1);
}

static void opens_of_a_failed_turn_are_made_again(void **state)
{
    struct world *world = *state;
    struct client_end *end = &world->clients[0];
    store_fault_arm(world->outer, "commit", 1, -EIO);
    SEND(create, CREATE, end, 1, .parent = end->root, .name = fs_name_of("f"), .open_id = 7, .mode = 0644,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, end, WIRE_CREATE, 1), 0);
    assert_int_equal(world->hosted.n_opens, 1);
    SEND(append, APPEND, end, 1, .open_id = 7, .data = {.bytes = "x", .length = 1});
    assert_int_equal(status_of(world, end, WIRE_APPEND, 1), 0);
    SEND(release, RELEASE, end, 1, .open_id = 7);
    assert_int_equal(status_of(world, end, WIRE_RELEASE, 1), 0);
    assert_int_equal(world->hosted.n_opens, 0);
}

static void opens_that_fail_twice_are_gone(void **state)
{
    struct world *world = *state;
    struct client_end *end = &world->clients[0];
    store_fault_arm(world->outer, "commit", 1, -EIO);
    store_fault_arm(world->inner, "commit", 1, -EIO);
    SEND(create, CREATE, end, 1, .parent = end->root, .name = fs_name_of("f"), .open_id = 7, .mode = 0644,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, end, WIRE_CREATE, 1), -EIO);
    assert_int_equal(world->hosted.n_opens, 0);
    SEND(read, READ, end, 1, .open_id = 7, .offset = 0, .n = 1);
    assert_int_equal(status_of(world, end, WIRE_READ, 1), -ESTALE);
    assert_false(exists(world, "f"));
}

static void locks_survive_a_failed_turn(void **state)
{
    struct world *world = *state;
    const struct fs_lock whole = {.kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = 1};
    struct client_end *one = &world->clients[0], *two = &world->clients[1];
    SEND(create, CREATE, one, 1, .parent = one->root, .name = fs_name_of("f"), .open_id = 1, .mode = 0666,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, one, WIRE_CREATE, 1), 0);
    SEND(create, CREATE, two, 1, .parent = two->root, .name = fs_name_of("f"), .open_id = 1, .mode = 0666,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, two, WIRE_CREATE, 1), 0);
    SEND(setlk, SETLK, one, 1, .open_id = 1, .lock = whole);
    assert_int_equal(status_of(world, one, WIRE_SETLK, 1), 0);
    SEND(setlk, SETLK, two, 1, .open_id = 1, .lock = whole, .ticket = 5);
    assert_int_equal(status_of(world, two, WIRE_SETLK, 1), 0);
    // One releases and makes a directory in a turn that fails: the lock passes on exactly once.
    store_fault_arm(world->outer, "commit", 1, -EIO);
    SEND(release, RELEASE, one, 1, .open_id = 1);
    SEND(make, MAKE, one, 2, .parent = one->root, .name = fs_name_of("d"), .mode = S_IFDIR | 0755);
    assert_int_equal(status_of(world, one, WIRE_RELEASE, 1), 0);
    assert_int_equal(status_of(world, one, WIRE_MAKE, 2), 0);
    struct wire_header header;
    receive(world, two, &header);
    assert_int_equal(header.op, WIRE_GRANTED);
    SEND(ping, PING, two, 2, );
    assert_int_equal(status_of(world, two, WIRE_PING, 2), 0);
    assert_int_equal(lock_count(world->hosted.locks), 1);
}

static void send_change(struct client_end *end, uint16_t op, uint64_t open_id)
{
    if (op == WIRE_WRITE)
        SEND(write, WRITE, end, 1, .open_id = open_id, .data = {.bytes = "x", .length = 1});
    else if (op == WIRE_APPEND)
        SEND(append, APPEND, end, 1, .open_id = open_id, .data = {.bytes = "x", .length = 1});
    else if (op == WIRE_FALLOCATE)
        SEND(fallocate, FALLOCATE, end, 1, .open_id = open_id, .n = 100);
    else
        SEND(copy_range, COPY_RANGE, end, 1, .from_open_id = 3, .open_id = open_id, .n = 1);
}

// The sync's error is the answer: nothing was acknowledged before its end.
static void what_changes_a_file_opened_for_synced_writing_is_answered_after_a_sync(void **state)
{
    static const uint16_t ops[] = {WIRE_WRITE, WIRE_APPEND, WIRE_FALLOCATE, WIRE_COPY_RANGE};
    struct world *world = *state;
    struct client_end *end = &world->clients[0];
    const uint32_t flags[] = {0, FS_OPEN_SYNC, 0};
    for (uint64_t i = 0; i < ARRAY_LEN(flags); i++) {
        SEND(create, CREATE, end, 1, .parent = end->root, .name = fs_name_of(i == 2 ? "from" : "to"),
             .open_id = 1 + i, .mode = 0644, .flags = FS_OPEN_READ | FS_OPEN_WRITE | flags[i]);
        assert_int_equal(status_of(world, end, WIRE_CREATE, 1), 0);
    }
    send_change(end, WIRE_WRITE, 3);
    assert_int_equal(status_of(world, end, WIRE_WRITE, 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        store_fault_arm(world->inner, "sync_finish", 1, -EIO);
        send_change(end, ops[i], 1);
        assert_int_equal(status_of(world, end, ops[i], 1), 0);
        send_change(end, ops[i], 2);
        assert_int_equal(status_of(world, end, ops[i], 1), -EIO);
        send_change(end, ops[i], 2);
        assert_int_equal(status_of(world, end, ops[i], 1), 0);
    }
}

static size_t largest_queue(const struct world *world)
{
    size_t largest = 0;
    list_for_each (node, &world->shard.clients)
        largest = MAX(largest, LIST_ENTRY(node, struct client, node)->conn->out_length);
    return largest;
}

static void a_peer_that_does_not_read_holds_little(void **state)
{
    struct world *world = *state;
    struct client_end *end = &world->clients[0];
    SEND(create, CREATE, end, 1, .parent = end->root, .name = fs_name_of("f"), .open_id = 1, .mode = 0666,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, end, WIRE_CREATE, 1), 0);
    SEND(setattr, SETATTR, end, 1, .handle = end->root, .open_id = 0);
    assert_int_equal(status_of(world, end, WIRE_SETATTR, 1), 0);
    SEND(write, WRITE, end, 1, .open_id = 1, .offset = 2 * FS_IO_MAX, .data = {.bytes = "x", .length = 1});
    assert_int_equal(status_of(world, end, WIRE_WRITE, 1), 0);
    for (uint16_t slot = 1; slot <= SESSION_SLOTS; slot++)
        SEND(read, READ, end, slot, .open_id = 1, .offset = 0, .n = FS_IO_MAX);
    size_t largest = 0;
    for (size_t turn = 0; turn < 1000; turn++) {
        uv_run(&world->shard.loop, UV_RUN_NOWAIT);
        turn_run(&world->hosted);
        largest = MAX(largest, largest_queue(world));
    }
    assert_in_range(largest, 1, CONN_OUT_MAX + FS_IO_MAX + WIRE_BODY_EXTRA);
    for (uint16_t slot = 1; slot <= SESSION_SLOTS; slot++)
        assert_int_equal(status_of(world, end, WIRE_READ, slot), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_failed_turn_runs_again_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_culprit_sees_the_error, setup, teardown),
        cmocka_unit_test_setup_teardown(opens_of_a_failed_turn_are_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(opens_that_fail_twice_are_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(locks_survive_a_failed_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_changes_a_file_opened_for_synced_writing_is_answered_after_a_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_holds_little, setup, teardown),
    };
    return cmocka_run_group_tests_name("server_turn", tests, NULL, NULL);
}
