// SPDX-License-Identifier: Apache-2.0
// Sessions that end while requests of theirs are under way: in a turn, held for a sync, waiting for a lock.
// Sanitizer builds see what is used after its end.
#include <setjmp.h>
#include <stdarg.h>

#include "tests/unit/server_world.h"

static const struct fs_lock whole = {
    .kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = 1};

// --- steps ---

static struct attached *attached_with(const struct world *world, size_t i)
{
    return attached_get(&world->hosted, world->clients[i].session_low);
}

// Their frames come in; no turn is run.
static void take_frames(struct world *world)
{
    for (size_t i = 0; i < 8; i++)
        uv_run(&world->shard.loop, UV_RUN_NOWAIT);
}

// As when a lease time has gone by since the last frame came in.
static void silence(struct world *world, size_t i)
{
    struct attached *attached = attached_with(world, i);
    world->hosted.ticked_ms = uv_now(&world->shard.loop);
    attached->heard_ms -= world->options.lease_ms;
    attached_tick(&world->hosted);
    assert_true(attached->expired);
}

static void open_file(struct world *world, size_t i)
{
    struct client_end *end = &world->clients[i];
    SEND(create, CREATE, end, 1, .parent = end->root, .name = fs_name_of("f"), .open_id = 1, .mode = 0666,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, end, WIRE_CREATE, 1), 0);
}

static void lock_file(struct world *world, size_t i)
{
    struct client_end *end = &world->clients[i];
    open_file(world, i);
    SEND(setlk, SETLK, end, 1, .open_id = 1, .lock = whole);
    assert_int_equal(status_of(world, end, WIRE_SETLK, 1), 0);
}

static void send_mkdir(struct world *world, size_t i, uint16_t slot, const char *name)
{
    SEND(make, MAKE, &world->clients[i], slot, .parent = world->clients[i].root, .name = fs_name_of(name),
         .mode = S_IFDIR | 0755);
}

static void expect_granted(struct world *world, size_t i, uint64_t ticket)
{
    struct wire_header header;
    struct wire_granted_event event;
    receive(world, &world->clients[i], &header);
    assert_int_equal(header.op, WIRE_GRANTED);
    struct reader body = body_of(world, &header);
    assert_int_equal(wire_get_granted_event(&body, &event), 0);
    assert_int_equal(event.ticket, ticket);
}

static void expect_queued(struct world *world, size_t i, uint16_t slot)
{
    struct wire_setlk_reply reply;
    struct wire_header header;
    receive(world, &world->clients[i], &header);
    assert_int_equal(header.op, WIRE_SETLK);
    assert_int_equal(header.slot, slot);
    assert_int_equal(header.status, 0);
    struct reader body = body_of(world, &header);
    assert_int_equal(wire_get_setlk_reply(&body, &reply), 0);
    assert_int_equal(reply.queued, 1);
}

// --- tests ---

// Its requests were received in time and run late, as those of a peer that takes its replies slowly.
static void an_expired_session_is_not_fenced_by_itself(void **state)
{
    struct world *world = *state;
    struct client_end *end = &world->clients[0];
    struct fs_lock other = whole;
    other.owner = 2;
    lock_file(world, 0);
    SEND(setlk, SETLK, end, 1, .open_id = 1, .lock = other, .ticket = 5);
    take_frames(world);
    silence(world, 0);
    expect_queued(world, 0, 1);
    assert_non_null(attached_with(world, 0));
    SEND(release, RELEASE, end, 1, .open_id = 1);
    expect_granted(world, 0, 5);
    assert_int_equal(status_of(world, end, WIRE_RELEASE, 1), 0);
    assert_int_equal(lock_count(world->hosted.locks), 0);
}

// However short: a client that was slow itself may have needed that time.
static void the_servers_own_pauses_are_nobodys_silence(void **state)
{
    struct world *world = *state;
    struct attached *attached = attached_with(world, 0);
    uint64_t now_ms = uv_now(&world->shard.loop);
    for (uint64_t pause_ms = SHARD_TICK_MS; pause_ms < 6 * SHARD_TICK_MS; pause_ms += SHARD_TICK_MS / 4) {
        world->hosted.ticked_ms = now_ms - SHARD_TICK_MS - pause_ms;
        attached->heard_ms = now_ms - world->options.lease_ms - pause_ms + 1;
        attached_tick(&world->hosted);
        assert_false(attached->expired);
    }
    world->hosted.ticked_ms = now_ms - 2 * SHARD_TICK_MS;
    attached->heard_ms = now_ms - world->options.lease_ms - SHARD_TICK_MS;
    attached_tick(&world->hosted);
    assert_true(attached->expired);
}

static void what_was_fenced_in_a_failed_turn_does_not_run_again(void **state)
{
    struct world *world = *state;
    struct client_end *one = &world->clients[0], *two = &world->clients[1], *three = &world->clients[2];
    lock_file(world, 0);
    open_file(world, 1);
    SEND(create, CREATE, one, 1, .parent = one->root, .name = fs_name_of("late"), .open_id = 9, .mode = 0666,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    take_frames(world);
    silence(world, 0);
    SEND(setlk, SETLK, two, 1, .open_id = 1, .lock = whole, .ticket = 5);
    take_frames(world);
    store_fault_arm(world->outer, "commit", 1, -EIO);
    SEND(lookup, LOOKUP, three, 1, .parent = three->root, .name = fs_name_of("late"));
    assert_int_equal(status_of(world, three, WIRE_LOOKUP, 1), -ENOENT);
    assert_null(attached_with(world, 0));
    assert_int_equal(world->hosted.n_opens, 1);
}

static void a_grant_comes_after_the_answer_that_it_is_waited_for(void **state)
{
    struct world *world = *state;
    lock_file(world, 0);
    open_file(world, 1);
    SEND(bye, BYE, &world->clients[0], 1, );
    take_frames(world);
    SEND(setlk, SETLK, &world->clients[1], 1, .open_id = 1, .lock = whole, .ticket = 5);
    take_frames(world);
    expect_queued(world, 1, 1);
    expect_granted(world, 1, 5);
}

// Everything that a request of a session can wait for at once, while it ends.
static void send_all_kinds(struct world *world)
{
    struct client_end *one = &world->clients[0];
    struct fs_lock other = whole;
    other.owner = 2;
    lock_file(world, 0);
    open_file(world, 1);
    SEND(setlk, SETLK, one, 1, .open_id = 1, .lock = other, .ticket = 5);
    SEND(fsync, FSYNC, one, 2, .open_id = 1);
    SEND(append, APPEND, one, 3, .open_id = 1, .data = {.bytes = "x", .length = 1});
    send_mkdir(world, 0, 4, "d");
    SEND(ping, PING, one, 5, );
    take_frames(world);
    SEND(setlk, SETLK, &world->clients[1], 1, .open_id = 1, .lock = whole, .ticket = 6);
    take_frames(world);
}

static void expect_only_its_lock_passed_on(struct world *world)
{
    expect_queued(world, 1, 1);
    expect_granted(world, 1, 6);
    run_until_jobs_end(world);
    assert_null(attached_with(world, 0));
    assert_int_equal(lock_count(world->hosted.locks), 1);
    assert_int_equal(world->hosted.n_opens, 1);
    assert_true(list_empty(&world->hosted.held) && list_empty(&world->hosted.covered));
}

static void a_session_is_evicted_with_requests_under_way(void **state)
{
    struct world *world = *state;
    send_all_kinds(world);
    turn_run(&world->hosted);
    assert_true(world->hosted.n_jobs > 0);
    attached_end(attached_with(world, 0), "evict", "the test wants it");
    expect_only_its_lock_passed_on(world);
}

static void a_session_says_bye_with_requests_under_way(void **state)
{
    struct world *world = *state;
    send_all_kinds(world);
    SEND(bye, BYE, &world->clients[0], 6, );
    take_frames(world);
    SEND(ping, PING, &world->clients[0], 7, );
    SEND(bye, BYE, &world->clients[0], 8, );
    take_frames(world);
    turn_run(&world->hosted);
    expect_only_its_lock_passed_on(world);
}

static void a_session_expires_with_requests_under_way(void **state)
{
    struct world *world = *state;
    send_all_kinds(world);
    turn_run(&world->hosted);
    silence(world, 0);
    attached_tick(&world->hosted);
    expect_only_its_lock_passed_on(world);
}

static void a_sync_fails_after_its_session_has_ended(void **state)
{
    struct world *world = *state;
    send_all_kinds(world);
    turn_run(&world->hosted);
    store_fault_arm(world->outer, "sync_finish", 1, -EIO);
    attached_end(attached_with(world, 0), "evict", "the test wants it");
    run_until_jobs_end(world);
    assert_null(attached_with(world, 0));
    assert_true(list_empty(&world->hosted.held) && list_empty(&world->hosted.covered));
}

static void a_connection_is_lost_and_its_session_ends(void **state)
{
    struct world *world = *state;
    send_all_kinds(world);
    turn_run(&world->hosted);
    conn_close(attached_with(world, 0)->client->conn, "the test wants it");
    attached_end(attached_with(world, 0), "evict", "the test wants it");
    expect_only_its_lock_passed_on(world);
}

#define BOTH(test)                                            \
    cmocka_unit_test_setup_teardown(test, setup, teardown),   \
    {                                                         \
#test " (strict)", test, setup_strict, teardown, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(an_expired_session_is_not_fenced_by_itself),
        BOTH(the_servers_own_pauses_are_nobodys_silence),
        BOTH(what_was_fenced_in_a_failed_turn_does_not_run_again),
        BOTH(a_grant_comes_after_the_answer_that_it_is_waited_for),
        BOTH(a_session_is_evicted_with_requests_under_way),
        BOTH(a_session_says_bye_with_requests_under_way),
        BOTH(a_session_expires_with_requests_under_way),
        BOTH(a_sync_fails_after_its_session_has_ended),
        BOTH(a_connection_is_lost_and_its_session_ends),
    };
    return cmocka_run_group_tests_name("server_ended", tests, NULL, NULL);
}
