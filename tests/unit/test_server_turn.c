// SPDX-License-Identifier: Apache-2.0
// One turn, one transaction: real connections (socket pairs), sessions and core over a store whose commits
// fail on demand. What the replies must be follows from hosted.h and docs/PROTOCOL.md.
#include "fs/base/check.h"
#include "fs/store/store_fault.h"
#include "fs/store/store_model.h"
#include "server/hosted.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define N_CLIENTS  3
#define FRAME_ROOM (FS_IO_MAX + 1024u)

struct client_end {
    int fd;
    uint32_t seqs[SESSION_SLOTS + 1];
    wire_handle root;
};

struct world {
    struct shard shard;
    struct hosting_options options;
    struct place place;
    struct hosted hosted;
    struct store *inner, *outer; // two that fail on demand, one around the other
    struct client_end clients[N_CLIENTS];
    uint8_t *frame; // of FRAME_ROOM: the last one received
};

// --- the client's side ---

static void receive(struct world *world, struct client_end *end, struct wire_header *ret_header)
{
    size_t got = 0, want = WIRE_HEADER_SIZE;
    while (got < want) {
        uv_run(&world->shard.loop, UV_RUN_NOWAIT);
        turn_run(&world->hosted);
        ssize_t n = recv(end->fd, world->frame + got, want - got, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            continue;
        assert_true(n > 0);
        got += (size_t)n;
        if (got == WIRE_HEADER_SIZE) {
            assert_int_equal(wire_get_header(world->frame, ret_header), 0);
            want = ret_header->length;
        }
    }
}

static struct reader body_of(const struct world *world, const struct wire_header *header)
{
    return reader_on(world->frame + WIRE_HEADER_SIZE, header->length - WIRE_HEADER_SIZE);
}

static void send_request(struct client_end *end, uint16_t op, uint16_t slot, const uint8_t *body, size_t n)
{
    uint8_t header_bytes[WIRE_HEADER_SIZE];
    struct wire_header header = {
        .length = (uint32_t)(WIRE_HEADER_SIZE + n), .op = op, .slot = slot, .seq = ++end->seqs[slot]};
    wire_put_header(header_bytes, &header);
    assert_int_equal(send(end->fd, header_bytes, sizeof(header_bytes), 0), sizeof(header_bytes));
    assert_int_equal(send(end->fd, body, n, 0), n);
}

#define SEND(name, NAME, end, slot, ...)                                                         \
    do {                                                                                         \
        uint8_t body_bytes[1024];                                                                \
        struct writer body_writer = writer_on(body_bytes, sizeof(body_bytes));                   \
        wire_put_##name##_request(&body_writer, &(struct wire_##name##_request){__VA_ARGS__});   \
        assert_false(body_writer.failed);                                                        \
        send_request(end, WIRE_##NAME, slot, body_bytes, sizeof(body_bytes) - body_writer.left); \
    } while (0)

// The reply on this slot, which comes next.
static int status_of(struct world *world, struct client_end *end, uint16_t op, uint16_t slot)
{
    struct wire_header header;
    receive(world, end, &header);
    assert_int_equal(header.op, op);
    assert_int_equal(header.slot, slot);
    assert_int_equal(header.seq, end->seqs[slot]);
    return -(int)header.status;
}

// --- the server's side ---

static void attach_client(struct world *world, struct client_end *end)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    end->fd = fds[0];
    struct conn *conn = calloc(1, sizeof(*conn));
    struct attach *attach = calloc(1, sizeof(*attach));
    assert_true(conn && attach);
    conn->fd = fds[1];
    list_init(&conn->out);
    strcpy(attach->path, "/");
    attach->version = WIRE_VERSION_MAX;
    attach->identity.how = WIRE_IDENTITY_FIXED;
    welcome(&world->shard, &world->hosted, attach, conn);
    struct wire_header header;
    struct wire_hello_reply reply;
    receive(world, end, &header);
    struct reader body = body_of(world, &header);
    assert_int_equal(wire_get_hello_reply(&body, &reply), 0);
    end->root = reply.root.handle;
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct store *model;
    assert_non_null(world);
    world->frame = malloc(FRAME_ROOM);
    assert_non_null(world->frame);
    world->options = (struct hosting_options){.env = &env_system, .lease_ms = 10000};
    world->shard.options = &world->options;
    list_init(&world->shard.hosted);
    list_init(&world->shard.clients);
    assert_int_equal(uv_loop_init(&world->shard.loop), 0);
    assert_int_equal(uv_idle_init(&world->shard.loop, &world->shard.idle), 0);
    assert_int_equal(uv_timer_init(&world->shard.loop, &world->shard.again), 0);
    hosted_init(&world->hosted, &world->shard, &world->place);
    assert_int_equal(store_model_open(&model), 0);
    assert_int_equal(store_fault_open(model, &world->inner), 0);
    assert_int_equal(store_fault_open(world->inner, &world->outer), 0);
    world->hosted.store = world->outer;
    assert_int_equal(core_create(world->outer, &env_system, &world->hosted.core), 0);
    assert_int_equal(lock_table_create(1000, attached_granted, &world->hosted, &world->hosted.locks), 0);
    for (size_t i = 0; i < N_CLIENTS; i++)
        attach_client(world, &world->clients[i]);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    struct table_node *node;
    while ((node = table_first(&world->hosted.sessions)))
        attached_leave(CONTAINER_OF(node, struct attached, node), "the test ends");
    lock_table_destroy(world->hosted.locks);
    core_destroy(world->hosted.core);
    store_close(world->outer);
    table_free(&world->hosted.sessions);
    uv_close((uv_handle_t *)&world->shard.idle, NULL);
    uv_close((uv_handle_t *)&world->shard.again, NULL);
    uv_run(&world->shard.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->shard.loop), 0);
    for (size_t i = 0; i < N_CLIENTS; i++)
        close(world->clients[i].fd);
    free(world->frame);
    free(world);
    return 0;
}

static bool exists(struct world *world, const char *name)
{
    struct client_end *end = &world->clients[0];
    SEND(lookup, LOOKUP, end, 128, .parent = end->root, .name = fs_name_of(name));
    int status = status_of(world, end, WIRE_LOOKUP, 128);
    assert_true(status == 0 || status == -ENOENT);
    return status == 0;
}

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
        cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_holds_little, setup, teardown),
    };
    return cmocka_run_group_tests_name("server_turn", tests, NULL, NULL);
}
