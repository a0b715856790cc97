// SPDX-License-Identifier: Apache-2.0
// What the tests of turns and sessions share: real connections (socket pairs), sessions and core over a model
// store whose calls fail on demand. Header only; single thread, but for jobs off the loop.
#ifndef BERTH_TESTS_SERVER_WORLD_H
#define BERTH_TESTS_SERVER_WORLD_H

#include "fs/base/check.h"
#include "fs/store/store_fault.h"
#include "fs/store/store_model.h"
#include "server/keep.h"
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_CLIENTS  3
#define FRAME_ROOM (FS_IO_MAX + 1024u)

struct client_end {
    int fd;
    uint32_t seqs[SESSION_SLOTS + 1];
    wire_handle root;
    uint64_t session_high, session_low;
    uint64_t generation; // of its leases; 0: it wanted none
    bool want_leases;
};

struct world {
    struct env env; // of which time passes a microsecond a look: a turn does not end by it
    uint64_t now_ns;
    struct shard shard;
    struct hosting_options options;
    struct place place;
    struct hosted hosted;
    struct store *inner, *outer; // two that fail on demand, one around the other
    struct client_end clients[N_CLIENTS];
    uint8_t *frame; // of FRAME_ROOM: the last one received
};

// --- the client's side ---

static inline void receive(struct world *world, struct client_end *end, struct wire_header *ret_header)
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

static inline struct reader body_of(const struct world *world, const struct wire_header *header)
{
    return reader_on(world->frame + WIRE_HEADER_SIZE, header->length - WIRE_HEADER_SIZE);
}

static inline void send_request(struct client_end *end, uint16_t op, uint16_t slot, const uint8_t *body,
                                size_t n)
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
static inline int status_of(struct world *world, struct client_end *end, uint16_t op, uint16_t slot)
{
    struct wire_header header;
    receive(world, end, &header);
    assert_int_equal(header.op, op);
    assert_int_equal(header.slot, slot);
    assert_int_equal(header.seq, end->seqs[slot]);
    return -(int)header.status;
}

// --- the server's side ---

static inline void attach_client(struct world *world, struct client_end *end)
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
    attach->want_leases = end->want_leases;
    attach->session_high = end->session_high;
    attach->session_low = end->session_low;
    attach->identity.how = WIRE_IDENTITY_FIXED;
    welcome(&world->shard, &world->hosted, attach, conn);
    struct wire_header header;
    struct wire_hello_reply reply;
    receive(world, end, &header);
    struct reader body = body_of(world, &header);
    assert_int_equal(wire_get_hello_reply(&body, &reply), 0);
    end->root = reply.root.handle;
    end->session_high = reply.session_high;
    end->session_low = reply.session_low;
    end->generation = reply.lease_generation;
}

static inline uint64_t world_monotonic(void *context)
{
    return ((struct world *)context)->now_ns += 1000;
}

static inline int world_setup(void **state, bool strict, bool leases)
{
    struct world *world = calloc(1, sizeof(*world));
    struct store *model;
    assert_non_null(world);
    world->frame = malloc(FRAME_ROOM);
    assert_non_null(world->frame);
    world->env = env_system;
    world->env.context = world;
    world->env.monotonic_ns = world_monotonic;
    world->options =
        (struct hosting_options){.env = &world->env, .lease_ms = 10000, .durability_strict = strict};
    world->shard.options = &world->options;
    list_init(&world->shard.hosted);
    list_init(&world->shard.clients);
    assert_int_equal(uv_loop_init(&world->shard.loop), 0);
    assert_int_equal(uv_idle_init(&world->shard.loop, &world->shard.idle), 0);
    assert_int_equal(uv_timer_init(&world->shard.loop, &world->shard.again), 0);
    hosted_init(&world->hosted, &world->shard, &world->place, true);
    assert_int_equal(store_model_open(&model), 0);
    assert_int_equal(store_fault_open(model, &world->inner), 0);
    assert_int_equal(store_fault_open(world->inner, &world->outer), 0);
    world->hosted.store = world->outer;
    assert_int_equal(core_create(world->outer, &world->env, &world->hosted.core), 0);
    leases_start(&world->hosted);
    assert_int_equal(lock_table_create(1000, attached_granted, &world->hosted, &world->hosted.locks), 0);
    for (size_t i = 0; i < N_CLIENTS; i++) {
        world->clients[i].want_leases = leases;
        attach_client(world, &world->clients[i]);
    }
    *state = world;
    return 0;
}

static inline int setup(void **state)
{
    return world_setup(state, false, false);
}

static inline int setup_strict(void **state)
{
    return world_setup(state, true, false);
}

static inline void run_until_jobs_end(struct world *world)
{
    while (world->hosted.n_jobs > 0)
        uv_run(&world->shard.loop, UV_RUN_ONCE);
}

static inline int teardown(void **state)
{
    struct world *world = *state;
    run_until_jobs_end(world);
    struct table_node *node;
    while ((node = table_first(&world->hosted.sessions)))
        attached_leave(CONTAINER_OF(node, struct attached, node), "the test ends");
    recall_free(&world->hosted.recall);
    grace_free(&world->hosted);
    lock_table_destroy(world->hosted.locks);
    core_destroy(world->hosted.core);
    store_close(world->outer);
    keep_free(&world->hosted);
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

static inline bool exists(struct world *world, const char *name)
{
    struct client_end *end = &world->clients[0];
    SEND(lookup, LOOKUP, end, 128, .parent = end->root, .name = fs_name_of(name));
    int status = status_of(world, end, WIRE_LOOKUP, 128);
    assert_true(status == 0 || status == -ENOENT);
    return status == 0;
}

#endif
