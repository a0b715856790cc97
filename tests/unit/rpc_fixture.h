// SPDX-License-Identifier: Apache-2.0
// What the tests of the rpc share: its host, a server that is played by docs/PROTOCOL.md, and calls, on
// virtual time. Header only; single thread.
#ifndef BERTH_TESTS_RPC_FIXTURE_H
#define BERTH_TESTS_RPC_FIXTURE_H

#include "client/rpc.h"
#include "fs/base/check.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MS       1000000ull
#define LEASE_MS 9000u
#define SEEN_MAX 64

struct seen {
    struct wire_header header;
    uint64_t open_id; // of a release, read or setattr
};

struct fixture {
    struct rpc *rpc;
    struct env env;
    struct rpc_host host;
    uint64_t now_ns;
    unsigned connects, disconnects, welcomes, firsts, reclaims, fences, downs, ended;
    int down_error;
    char why[600];
    uint64_t granted, invalidated;
    struct seen seen[SEEN_MAX]; // what the server read and the test has not looked at yet
    size_t n_seen;
    uint8_t input[4096];
    size_t n_input;
    struct wire_hello_request hello;
    uint64_t incarnation;
    bool may_claim;          // what the next welcome says
    struct rpc_call *claims; // submitted when asked to reclaim
    size_t n_claims;
    bool host_waits; // all may be claimed, but that is not to be said
};

// A call that remembers how it ended. Static in the tests: what is left is done when the test is over.
struct probe {
    struct rpc_call call;
    unsigned done;
    int result;
};

// --- host ---

static inline uint64_t virtual_now(void *context)
{
    return ((struct fixture *)context)->now_ns;
}

static inline void on_connect(void *context)
{
    ((struct fixture *)context)->connects++;
}

static inline void on_disconnect(void *context)
{
    ((struct fixture *)context)->disconnects++;
}

static inline void on_prove(void *context, wire_bytes nonce, const struct wire_hello_request *hello,
                            uint8_t *proof)
{
    (void)context;
    assert_int_equal(nonce.length, WIRE_NONCE_SIZE);
    memset(proof, (int)hello->access_key.length, WIRE_PROOF_SIZE);
}

static inline void on_welcome(void *context, const struct wire_hello_reply *reply, bool first)
{
    struct fixture *f = context;
    assert_int_equal(reply->lease_ms, LEASE_MS);
    f->welcomes++;
    f->firsts += first;
}

static inline void on_reclaim(void *context)
{
    struct fixture *f = context;
    f->reclaims++;
    for (size_t i = 0; i < f->n_claims; i++)
        rpc_submit(f->rpc, &f->claims[i]);
}

static inline bool may_be_told(void *context)
{
    return !((struct fixture *)context)->host_waits;
}

static inline void on_fenced(void *context)
{
    ((struct fixture *)context)->fences++;
}

static inline void on_down(void *context, int error, const char *why)
{
    struct fixture *f = context;
    f->downs++;
    f->down_error = error;
    snprintf(f->why, sizeof(f->why), "%s", why);
}

static inline void on_granted(void *context, uint64_t ticket)
{
    ((struct fixture *)context)->granted = ticket;
}

static inline void on_invalidate(void *context, const struct wire_invalidate_event *event)
{
    ((struct fixture *)context)->invalidated = event->number;
}

static inline void on_ended(void *context)
{
    ((struct fixture *)context)->ended++;
}

static inline int setup_with(void **state, const char *access_key)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    f->now_ns = 1000 * MS;
    f->env = (struct env){.context = f, .monotonic_ns = virtual_now};
    f->host = (struct rpc_host){.context = f,
                                .connect = on_connect,
                                .disconnect = on_disconnect,
                                .prove = on_prove,
                                .welcome = on_welcome,
                                .reclaim = on_reclaim,
                                .may_be_told = may_be_told,
                                .fenced = on_fenced,
                                .down = on_down,
                                .granted = on_granted,
                                .invalidate = on_invalidate,
                                .ended = on_ended};
    struct rpc_options options = {.env = &f->env,
                                  .host = &f->host,
                                  .access_point = "fsap-00000000000000001",
                                  .access_key = access_key,
                                  .client_name = "test"};
    assert_int_equal(rpc_create(&options, &f->rpc), 0);
    *state = f;
    return 0;
}

static inline int setup(void **state)
{
    return setup_with(state, "");
}

static inline int setup_with_key(void **state)
{
    return setup_with(state, "AKIA");
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    rpc_destroy(f->rpc);
    test_free(f);
    return 0;
}

// --- the server's side ---

static inline void read_request(struct fixture *f, const struct wire_header *header, const uint8_t *bytes)
{
    struct reader body = reader_on(bytes, header->length - WIRE_HEADER_SIZE);
    assert_true(f->n_seen < SEEN_MAX);
    struct seen *seen = &f->seen[f->n_seen++];
    seen->header = *header;
    if (header->op == WIRE_HELLO)
        assert_int_equal(wire_get_hello_request(&body, &f->hello), 0);
    else if (header->op == WIRE_RELEASE || header->op == WIRE_READ || header->op == WIRE_APPEND ||
             header->op == WIRE_FSYNC)
        seen->open_id = read_u64(&body);
}

// Takes everything the client has to say, `step` bytes at a time.
static inline void serve(struct fixture *f, size_t step)
{
    struct iovec parts[4];
    while (rpc_output(f->rpc, parts, ARRAY_LEN(parts)) > 0) {
        size_t n = MIN(parts[0].iov_len, step);
        assert_true(f->n_input + n <= sizeof(f->input));
        memcpy(f->input + f->n_input, parts[0].iov_base, n);
        f->n_input += n;
        rpc_written(f->rpc, n);
    }
    size_t at = 0;
    while (at < f->n_input) {
        struct wire_header header;
        assert_int_equal(wire_get_header(f->input + at, &header), 0);
        assert_true(at + header.length <= f->n_input);
        read_request(f, &header, f->input + at + WIRE_HEADER_SIZE);
        at += header.length;
    }
    // The last hello's texts point into the input; it is over when it is looked at.
    f->n_input = 0;
}

static inline struct seen next(struct fixture *f)
{
    assert_true(f->n_seen > 0);
    struct seen seen = f->seen[0];
    memmove(f->seen, f->seen + 1, --f->n_seen * sizeof(seen));
    return seen;
}

static inline void say(struct fixture *f, struct wire_header header, const void *body, size_t n)
{
    header.length = (uint32_t)(WIRE_HEADER_SIZE + n);
    rpc_frame(f->rpc, &header, reader_on(body, n));
}

static inline void answer(struct fixture *f, struct seen request, uint32_t status)
{
    struct wire_header header = request.header;
    uint8_t body[64] = {0}; // an empty reason, or a ping's time
    header.status = status;
    say(f, header, body, status ? 2 : header.op == WIRE_PING ? 8 : 0);
}

static inline void greet(struct fixture *f, uint32_t magic, uint16_t version)
{
    uint8_t body[64];
    static const uint8_t nonce[WIRE_NONCE_SIZE] = {1, 2, 3};
    struct wire_greeting_event greeting = {.magic = magic,
                                           .version_min = version,
                                           .version_max = version,
                                           .nonce = {.bytes = nonce, .length = sizeof(nonce)}};
    struct writer writer = writer_on(body, sizeof(body));
    write_u32(&writer, greeting.magic);
    write_u16(&writer, greeting.version_min);
    write_u16(&writer, greeting.version_max);
    write_u32(&writer, greeting.nonce.length);
    write_bytes(&writer, nonce, sizeof(nonce));
    say(f, (struct wire_header){.op = WIRE_GREETING}, body, sizeof(body) - writer.left);
}

static inline void welcome_as(struct fixture *f, uint8_t identity, bool resumed, uint64_t session,
                              uint16_t n_slots)
{
    uint8_t body[512];
    struct wire_hello_reply reply = {
        .version = 1,
        .session_high = session,
        .session_low = session,
        .resumed = resumed,
        .claims = f->may_claim,
        .incarnation = f->incarnation,
        .n_slots = n_slots,
        .lease_ms = LEASE_MS,
        .identity = identity,
        .root = {.handle = {.ino = 1}, .attr = {.ino = 1, .mode = S_IFDIR | 0755}}};
    struct writer writer = writer_on(body, sizeof(body));
    wire_put_hello_reply(&writer, &reply);
    assert_false(writer.failed);
    say(f, (struct wire_header){.op = WIRE_HELLO}, body, sizeof(body) - writer.left);
}

static inline void welcome(struct fixture *f, bool resumed, uint64_t session, uint16_t n_slots)
{
    welcome_as(f, WIRE_IDENTITY_ENFORCED, resumed, session, n_slots);
}

static inline void refuse(struct fixture *f, int status, const char *reason)
{
    uint8_t body[128];
    struct writer writer = writer_on(body, sizeof(body));
    write_u16(&writer, (uint16_t)strlen(reason));
    write_bytes(&writer, reason, strlen(reason));
    say(f, (struct wire_header){.op = WIRE_HELLO, .status = (uint32_t)status}, body,
        sizeof(body) - writer.left);
}

static inline void shake_hands(struct fixture *f)
{
    rpc_connected(f->rpc);
    greet(f, WIRE_MAGIC, 1);
    serve(f, SIZE_MAX);
    struct seen hello = next(f);
    assert_int_equal(hello.header.op, WIRE_HELLO);
    assert_int_equal(hello.header.slot, 0);
    assert_int_equal(hello.header.seq, 0);
}

static inline void attach(struct fixture *f, uint16_t n_slots)
{
    rpc_start(f->rpc);
    shake_hands(f);
    welcome(f, false, 77, n_slots);
    assert_int_equal(rpc_state(f->rpc), RPC_READY);
}

// What follows the last claim, and comes alone.
static inline void answer_reclaimed(struct fixture *f)
{
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    assert_int_equal(f->seen[0].header.op, WIRE_RECLAIMED);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    answer(f, next(f), 0);
    assert_int_equal(rpc_state(f->rpc), RPC_READY);
}

static inline void restart_server(struct fixture *f)
{
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    f->incarnation++;
    f->may_claim = true;
}

// Lets time pass until the client tries again, and connects it.
static inline void come_back(struct fixture *f)
{
    unsigned connects = f->connects;
    f->now_ns += RPC_BACKOFF_MAX_MS * MS;
    rpc_tick(f->rpc);
    assert_int_equal(f->connects, connects + 1);
    shake_hands(f);
}

// --- calls ---

static inline void on_done(struct rpc_call *call, int result, struct reader *body)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    (void)body;
    probe->done++;
    probe->result = result;
}

static inline void prepare(struct probe *probe, uint16_t op, uint64_t open_id)
{
    *probe = (struct probe){.result = 1};
    probe->call = (struct rpc_call){.op = op,
                                    .repeatable = wire_op_repeatable(op),
                                    .class = RPC_ORDINARY,
                                    .done = on_done,
                                    .length = WIRE_HEADER_SIZE + sizeof(uint64_t)};
    probe->call.frame = malloc(probe->call.length);
    assert_non_null(probe->call.frame);
    struct writer body = writer_on(probe->call.frame + WIRE_HEADER_SIZE, sizeof(uint64_t));
    write_u64(&body, open_id);
}

static inline void submit(struct fixture *f, struct probe *probe, uint16_t op, uint64_t open_id)
{
    prepare(probe, op, open_id);
    rpc_submit(f->rpc, &probe->call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
