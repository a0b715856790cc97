// SPDX-License-Identifier: Apache-2.0
// Requests that wait until others have dropped what they keep, through all that can befall them: ends of
// their session, of the holder's, of both connections, failing commits, a server that stops. Nothing is
// leaked or touched when it is gone (sanitizers), and every request that has a session is answered once.
#include <setjmp.h>
#include <stdarg.h>

#include "tests/unit/server_world.h"

#define CHMOD_SLOT 5

static int setup_leases(void **state)
{
    return world_setup(state, false, true);
}

static int setup_leases_strict(void **state)
{
    return world_setup(state, true, true);
}

static struct client_end *writer_of(struct world *world)
{
    return &world->clients[0];
}

static struct client_end *reader_of(struct world *world)
{
    return &world->clients[1];
}

static struct attached *attached_of(struct world *world, const struct client_end *end)
{
    return attached_get(&world->hosted, end->session_low);
}

static void pump(struct world *world)
{
    uv_run(&world->shard.loop, UV_RUN_NOWAIT);
    turn_run(&world->hosted);
}

static void send_event(struct client_end *end, uint16_t op, uint64_t value)
{
    uint8_t bytes[WIRE_HEADER_SIZE + sizeof(value)];
    wire_put_header(bytes, &(struct wire_header){.length = sizeof(bytes), .op = op});
    struct writer writer = writer_on(bytes + WIRE_HEADER_SIZE, sizeof(value));
    write_u64(&writer, value);
    assert_int_equal(send(end->fd, bytes, sizeof(bytes), 0), sizeof(bytes));
}

// The number of the invalidate that comes next.
static uint64_t told(struct world *world, struct client_end *end)
{
    struct wire_header header;
    struct wire_invalidate_event event;
    receive(world, end, &header);
    assert_int_equal(header.op, WIRE_INVALIDATE);
    struct reader body = body_of(world, &header);
    assert_int_equal(wire_get_invalidate_event(&body, &event), 0);
    return event.number;
}

static uint8_t lease_of_root(struct world *world, struct client_end *end)
{
    struct wire_header header;
    struct wire_getattr_reply reply;
    SEND(getattr, GETATTR, end, 100, .handle = end->root);
    receive(world, end, &header);
    assert_int_equal(header.op, WIRE_GETATTR);
    struct reader body = body_of(world, &header);
    assert_int_equal(wire_get_getattr_reply(&body, &reply), 0);
    return reply.lease;
}

static void send_chmod(struct client_end *end, uint32_t mode)
{
    SEND(setattr, SETATTR, end, CHMOD_SLOT, .handle = end->root, .mask = FS_SET_MODE, .mode = mode);
}

// The reader keeps the root's attributes; a chmod of the writer waits for it. The number it was told.
static uint64_t make_wait(struct world *world)
{
    assert_int_equal(lease_of_root(world, reader_of(world)), WIRE_LEASE_ATTR);
    send_chmod(writer_of(world), 0711);
    uint64_t number = told(world, reader_of(world));
    assert_false(list_empty(&attached_of(world, writer_of(world))->parked));
    return number;
}

static int chmod_status(struct world *world)
{
    int status = status_of(world, writer_of(world), WIRE_SETATTR, CHMOD_SLOT);
    const struct attached *attached = attached_of(world, writer_of(world));
    assert_true(list_empty(&attached->parked));
    assert_int_equal(attached->parked_bytes, 0);
    assert_int_equal(attached->client->conn->parked, 0);
    assert_int_equal(world->hosted.recall.pending.count, 0);
    return status;
}

static uint32_t mode_of_root(struct world *world)
{
    struct fs_attr attr;
    assert_int_equal(core_turn_begin(world->hosted.core), 0);
    assert_int_equal(core_getattr(world->hosted.core, FS_ROOT_INO, &attr), 0);
    assert_int_equal(core_turn_commit(world->hosted.core), 0);
    return attr.mode & 07777;
}

// --- tests ---

static void a_change_is_made_when_it_was_dropped(void **state)
{
    struct world *world = *state;
    uint64_t number = make_wait(world);
    assert_int_equal(mode_of_root(world), 0755);
    send_event(reader_of(world), WIRE_DROPPED, number);
    assert_int_equal(chmod_status(world), 0);
    assert_int_equal(mode_of_root(world), 0711);
}

static void the_end_of_its_session_frees_what_waits(void **state)
{
    struct world *world = *state;
    make_wait(world);
    attached_end(attached_of(world, writer_of(world)), "evict", "the test");
    assert_int_equal(world->hosted.recall.pending.count, 0);
    assert_int_equal(lease_of_root(world, &world->clients[2]), WIRE_LEASE_ATTR);
    assert_int_equal(mode_of_root(world), 0755);
}

static void fencing_frees_what_waits(void **state)
{
    struct world *world = *state;
    make_wait(world);
    assert_int_equal(core_turn_begin(world->hosted.core), 0);
    attached_revoke(attached_of(world, writer_of(world)), "the test");
    assert_int_equal(hosted_commit(&world->hosted), 0);
    turn_settle(&world->hosted, true);
    assert_int_equal(world->hosted.recall.pending.count, 0);
}

static void its_end_frees_what_may_go_on_too(void **state)
{
    struct world *world = *state;
    uint64_t number = make_wait(world);
    recall_dropped(&world->hosted.recall, attached_of(world, reader_of(world))->holder, number);
    assert_false(list_empty(&world->hosted.resumed));
    attached_end(attached_of(world, writer_of(world)), "evict", "the test");
    assert_true(list_empty(&world->hosted.resumed));
    pump(world);
    assert_int_equal(mode_of_root(world), 0755);
}

static void bye_frees_what_waits(void **state)
{
    struct world *world = *state;
    make_wait(world);
    SEND(bye, BYE, writer_of(world), 1, );
    assert_int_equal(status_of(world, writer_of(world), WIRE_BYE, 1), 0);
    assert_null(attached_of(world, writer_of(world)));
    assert_int_equal(world->hosted.recall.pending.count, 0);
}

// As long as its client may keep something.
static void the_holders_end_is_waited_for(void **state)
{
    struct world *world = *state;
    make_wait(world);
    attached_end(attached_of(world, reader_of(world)), "evict", "the test");
    pump(world);
    assert_true(list_empty(&world->hosted.resumed));
    uint64_t now_ms = uv_now(&world->shard.loop);
    recall_tick(&world->hosted.recall, now_ms + world->options.lease_ms, 0, world->options.lease_ms);
    assert_int_equal(chmod_status(world), 0);
}

static void the_holders_farewell_is_an_answer(void **state)
{
    struct world *world = *state;
    make_wait(world);
    SEND(bye, BYE, reader_of(world), 1, );
    assert_int_equal(chmod_status(world), 0);
}

static void the_holders_silence_ends_the_wait_and_its_connection(void **state)
{
    struct world *world = *state;
    make_wait(world);
    struct attached *reader = attached_of(world, reader_of(world));
    uint64_t generation = reader->holder->generation;
    leases_expire(reader);
    assert_int_equal(chmod_status(world), 0);
    assert_null(reader->client);
    assert_int_not_equal(reader->holder->generation, generation);
}

static void who_does_not_answer_loses_its_connection(void **state)
{
    struct world *world = *state;
    make_wait(world);
    uint64_t end_ms = uv_now(&world->shard.loop) + world->options.lease_ms;
    recall_tick(&world->hosted.recall, end_ms, 0, world->options.lease_ms);
    assert_null(attached_of(world, reader_of(world))->client);
    struct client_end *reader = reader_of(world);
    uint64_t generation = reader->generation;
    close(reader->fd);
    attach_client(world, reader);
    assert_int_not_equal(reader->generation, generation);
    told(world, reader);
    send_event(reader, WIRE_CLEARED, reader->generation);
    assert_int_equal(chmod_status(world), 0);
    assert_int_equal(lease_of_root(world, reader), WIRE_LEASE_ATTR);
}

static void a_waiting_request_outlives_its_connection(void **state)
{
    struct world *world = *state;
    struct client_end *writer = writer_of(world);
    uint64_t number = make_wait(world);
    close(writer->fd);
    while (attached_of(world, writer)->client)
        pump(world);
    attach_client(world, writer);
    assert_true(attached_of(world, writer)->client->conn->parked > 0);
    writer->seqs[CHMOD_SLOT]--;
    send_chmod(writer, 0711); // the same request again: its first copy will be answered
    send_event(reader_of(world), WIRE_DROPPED, number);
    assert_int_equal(chmod_status(world), 0);
}

static void it_is_answered_when_nobody_is_there_to_hear_it(void **state)
{
    struct world *world = *state;
    struct client_end *writer = writer_of(world);
    uint64_t number = make_wait(world);
    close(writer->fd);
    while (attached_of(world, writer)->client)
        pump(world);
    send_event(reader_of(world), WIRE_DROPPED, number);
    while (!list_empty(&attached_of(world, writer)->parked))
        pump(world);
    assert_int_equal(attached_of(world, writer)->parked_bytes, 0);
    attach_client(world, writer);
    writer->seqs[CHMOD_SLOT]--;
    send_chmod(writer, 0);
    assert_int_equal(chmod_status(world), 0);
    assert_int_equal(mode_of_root(world), 0711);
}

static void a_commit_that_fails_runs_it_a_third_time(void **state)
{
    struct world *world = *state;
    uint64_t number = make_wait(world);
    store_fault_arm(world->outer, "commit", 1, -EIO);
    send_event(reader_of(world), WIRE_DROPPED, number);
    assert_int_equal(chmod_status(world), 0);
    assert_int_equal(mode_of_root(world), 0711);
}

static void a_commit_that_fails_again_is_its_error(void **state)
{
    struct world *world = *state;
    uint64_t number = make_wait(world);
    store_fault_arm(world->outer, "commit", 1, -EIO);
    store_fault_arm(world->inner, "commit", 1, -EIO);
    send_event(reader_of(world), WIRE_DROPPED, number);
    assert_int_equal(chmod_status(world), -EIO);
    assert_int_equal(mode_of_root(world), 0755);
}

// In one turn: what has to wait, and what fails to be committed.
static void the_turn_it_began_in_may_fail(void **state)
{
    struct world *world = *state;
    struct client_end *other = &world->clients[2];
    assert_int_equal(lease_of_root(world, reader_of(world)), WIRE_LEASE_ATTR);
    store_fault_arm(world->outer, "commit", 1, -EIO);
    send_chmod(writer_of(world), 0711);
    SEND(tmpfile, TMPFILE, other, 1, .parent = other->root, .open_id = 1, .mode = 0600,
         .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    uint64_t number = told(world, reader_of(world));
    assert_int_equal(status_of(world, other, WIRE_TMPFILE, 1), 0);
    send_event(reader_of(world), WIRE_DROPPED, number);
    assert_int_equal(chmod_status(world), 0);
}

// What was given in a turn that failed is asked back in the turns that follow it.
static void a_request_may_have_to_wait_only_when_it_runs_again(void **state)
{
    struct world *world = *state;
    struct client_end *reader = reader_of(world);
    send_chmod(writer_of(world), 0711);
    SEND(getattr, GETATTR, reader, 1, .handle = reader->root);
    store_fault_arm(world->outer, "commit", 1, -EIO);
    struct wire_header header;
    uint64_t number = 0;
    receive(world, reader, &header);
    if (header.op == WIRE_INVALIDATE) { // it was asked for what its first answer had given
        number = 1;
        receive(world, reader, &header);
    }
    assert_int_equal(header.op, WIRE_GETATTR);
    if (number)
        send_event(reader, WIRE_DROPPED, number);
    assert_int_equal(chmod_status(world), 0);
}

static void bytes_wait_with_their_frame(void **state)
{
    struct world *world = *state;
    struct client_end *writer = writer_of(world), *reader = reader_of(world);
    SEND(create, CREATE, writer, 1, .parent = writer->root, .name = fs_name_of("f"), .open_id = 1,
         .mode = 0666, .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    assert_int_equal(status_of(world, writer, WIRE_CREATE, 1), 0);
    SEND(create, CREATE, reader, 1, .parent = reader->root, .name = fs_name_of("f"), .open_id = 1,
         .mode = 0666, .flags = FS_OPEN_READ);
    assert_int_equal(status_of(world, reader, WIRE_CREATE, 1), 0);
    SEND(read, READ, reader, 1, .open_id = 1, .n = 10, .keep = 1);
    assert_int_equal(status_of(world, reader, WIRE_READ, 1), 0);
    SEND(write, WRITE, writer, 1, .open_id = 1, .data = {.bytes = "bytes", .length = 5});
    uint64_t number = told(world, reader);
    const struct attached *attached = attached_of(world, writer);
    assert_true(attached->parked_bytes > 0);
    assert_int_equal(attached->client->conn->parked, attached->parked_bytes);
    assert_int_equal(attached->client->conn->held, 0);
    // Another's read of bytes that are to be kept waits behind it.
    struct client_end *third = &world->clients[2];
    SEND(create, CREATE, third, 1, .parent = third->root, .name = fs_name_of("f"), .open_id = 1, .mode = 0666,
         .flags = FS_OPEN_READ);
    assert_int_equal(status_of(world, third, WIRE_CREATE, 1), 0);
    SEND(read, READ, third, 1, .open_id = 1, .n = 10, .keep = 1);
    while (list_empty(&attached_of(world, third)->parked))
        pump(world);
    send_event(reader, WIRE_DROPPED, number);
    assert_int_equal(status_of(world, writer, WIRE_WRITE, 1), 0);
    assert_int_equal(status_of(world, third, WIRE_READ, 1), 0);
    assert_int_equal(attached->parked_bytes, 0);
}

// The teardown lets all sessions leave, in whatever order.
static void a_server_stops_while_requests_wait(void **state)
{
    struct world *world = *state;
    make_wait(world);
    struct client_end *other = &world->clients[2];
    SEND(setattr, SETATTR, other, 1, .handle = other->root, .mask = FS_SET_MODE, .mode = 0700);
    while (list_empty(&attached_of(world, other)->parked))
        pump(world);
}

static void a_server_stops_when_requests_may_go_on(void **state)
{
    struct world *world = *state;
    uint64_t number = make_wait(world);
    recall_dropped(&world->hosted.recall, attached_of(world, reader_of(world))->holder, number);
    assert_false(list_empty(&world->hosted.resumed));
}

static void a_server_stops_while_a_holder_lingers(void **state)
{
    struct world *world = *state;
    make_wait(world);
    attached_end(attached_of(world, reader_of(world)), "evict", "the test");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_leases, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_change_is_made_when_it_was_dropped),
        TEST(the_end_of_its_session_frees_what_waits),
        TEST(fencing_frees_what_waits),
        TEST(its_end_frees_what_may_go_on_too),
        TEST(bye_frees_what_waits),
        TEST(the_holders_end_is_waited_for),
        TEST(the_holders_farewell_is_an_answer),
        TEST(the_holders_silence_ends_the_wait_and_its_connection),
        TEST(who_does_not_answer_loses_its_connection),
        TEST(a_waiting_request_outlives_its_connection),
        TEST(it_is_answered_when_nobody_is_there_to_hear_it),
        TEST(a_commit_that_fails_runs_it_a_third_time),
        TEST(a_commit_that_fails_again_is_its_error),
        TEST(the_turn_it_began_in_may_fail),
        TEST(a_request_may_have_to_wait_only_when_it_runs_again),
        TEST(bytes_wait_with_their_frame),
        TEST(a_server_stops_while_requests_wait),
        TEST(a_server_stops_when_requests_may_go_on),
        TEST(a_server_stops_while_a_holder_lingers),
        cmocka_unit_test_setup_teardown(a_change_is_made_when_it_was_dropped, setup_leases_strict, teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_fails_runs_it_a_third_time, setup_leases_strict,
                                        teardown),
    };
#undef TEST
    return cmocka_run_group_tests_name("server_lease", tests, NULL, NULL);
}
