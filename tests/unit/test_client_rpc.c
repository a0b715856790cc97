// SPDX-License-Identifier: Apache-2.0
// The rpc against a server that the test plays by docs/PROTOCOL.md, on virtual time: slots and sequence
// numbers, resending on the same session, what a new session gets, reconnection, silence, refusal, farewell.
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

static uint64_t virtual_now(void *context)
{
    return ((struct fixture *)context)->now_ns;
}

static void on_connect(void *context)
{
    ((struct fixture *)context)->connects++;
}

static void on_disconnect(void *context)
{
    ((struct fixture *)context)->disconnects++;
}

static void on_prove(void *context, wire_bytes nonce, const struct wire_hello_request *hello, uint8_t *proof)
{
    (void)context;
    assert_int_equal(nonce.length, WIRE_NONCE_SIZE);
    memset(proof, (int)hello->access_key.length, WIRE_PROOF_SIZE);
}

static void on_welcome(void *context, const struct wire_hello_reply *reply, bool first)
{
    struct fixture *f = context;
    assert_int_equal(reply->lease_ms, LEASE_MS);
    f->welcomes++;
    f->firsts += first;
}

static void on_reclaim(void *context)
{
    struct fixture *f = context;
    f->reclaims++;
    for (size_t i = 0; i < f->n_claims; i++)
        rpc_submit(f->rpc, &f->claims[i]);
}

static bool may_be_told(void *context)
{
    return !((struct fixture *)context)->host_waits;
}

static void on_fenced(void *context)
{
    ((struct fixture *)context)->fences++;
}

static void on_down(void *context, int error, const char *why)
{
    struct fixture *f = context;
    f->downs++;
    f->down_error = error;
    snprintf(f->why, sizeof(f->why), "%s", why);
}

static void on_granted(void *context, uint64_t ticket)
{
    ((struct fixture *)context)->granted = ticket;
}

static void on_invalidate(void *context, const struct wire_invalidate_event *event)
{
    ((struct fixture *)context)->invalidated = event->number;
}

static void on_ended(void *context)
{
    ((struct fixture *)context)->ended++;
}

static int setup_with(void **state, const char *access_key)
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

static int setup(void **state)
{
    return setup_with(state, "");
}

static int setup_with_key(void **state)
{
    return setup_with(state, "AKIA");
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rpc_destroy(f->rpc);
    test_free(f);
    return 0;
}

// --- the server's side ---

static void read_request(struct fixture *f, const struct wire_header *header, const uint8_t *bytes)
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
static void serve(struct fixture *f, size_t step)
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

static struct seen next(struct fixture *f)
{
    assert_true(f->n_seen > 0);
    struct seen seen = f->seen[0];
    memmove(f->seen, f->seen + 1, --f->n_seen * sizeof(seen));
    return seen;
}

static void say(struct fixture *f, struct wire_header header, const void *body, size_t n)
{
    header.length = (uint32_t)(WIRE_HEADER_SIZE + n);
    rpc_frame(f->rpc, &header, reader_on(body, n));
}

static void answer(struct fixture *f, struct seen request, uint32_t status)
{
    struct wire_header header = request.header;
    uint8_t body[64] = {0}; // an empty reason, or a ping's time
    header.status = status;
    say(f, header, body, status ? 2 : header.op == WIRE_PING ? 8 : 0);
}

static void greet(struct fixture *f, uint32_t magic, uint16_t version)
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

static void welcome_as(struct fixture *f, uint8_t identity, bool resumed, uint64_t session, uint16_t n_slots)
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

static void welcome(struct fixture *f, bool resumed, uint64_t session, uint16_t n_slots)
{
    welcome_as(f, WIRE_IDENTITY_ENFORCED, resumed, session, n_slots);
}

static void refuse(struct fixture *f, int status, const char *reason)
{
    uint8_t body[128];
    struct writer writer = writer_on(body, sizeof(body));
    write_u16(&writer, (uint16_t)strlen(reason));
    write_bytes(&writer, reason, strlen(reason));
    say(f, (struct wire_header){.op = WIRE_HELLO, .status = (uint32_t)status}, body,
        sizeof(body) - writer.left);
}

static void shake_hands(struct fixture *f)
{
    rpc_connected(f->rpc);
    greet(f, WIRE_MAGIC, 1);
    serve(f, SIZE_MAX);
    struct seen hello = next(f);
    assert_int_equal(hello.header.op, WIRE_HELLO);
    assert_int_equal(hello.header.slot, 0);
    assert_int_equal(hello.header.seq, 0);
}

static void attach(struct fixture *f, uint16_t n_slots)
{
    rpc_start(f->rpc);
    shake_hands(f);
    welcome(f, false, 77, n_slots);
    assert_int_equal(rpc_state(f->rpc), RPC_READY);
}

// What follows the last claim, and comes alone.
static void answer_reclaimed(struct fixture *f)
{
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    assert_int_equal(f->seen[0].header.op, WIRE_RECLAIMED);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    answer(f, next(f), 0);
    assert_int_equal(rpc_state(f->rpc), RPC_READY);
}

static void restart_server(struct fixture *f)
{
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    f->incarnation++;
    f->may_claim = true;
}

// Lets time pass until the client tries again, and connects it.
static void come_back(struct fixture *f)
{
    unsigned connects = f->connects;
    f->now_ns += RPC_BACKOFF_MAX_MS * MS;
    rpc_tick(f->rpc);
    assert_int_equal(f->connects, connects + 1);
    shake_hands(f);
}

// --- calls ---

static void on_done(struct rpc_call *call, int result, struct reader *body)
{
    struct probe *probe = CONTAINER_OF(call, struct probe, call);
    (void)body;
    probe->done++;
    probe->result = result;
}

static void prepare(struct probe *probe, uint16_t op, uint64_t open_id)
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

static void submit(struct fixture *f, struct probe *probe, uint16_t op, uint64_t open_id)
{
    prepare(probe, op, open_id);
    rpc_submit(f->rpc, &probe->call);
}

// --- tests ---

static void test_hello_then_calls(void **state)
{
    struct fixture *f = *state;
    static struct probe before;
    rpc_start(f->rpc);
    assert_int_equal(f->connects, 1);
    submit(f, &before, WIRE_FSYNC, 5);
    shake_hands(f);
    assert_int_equal(f->hello.session_low, 0);
    assert_int_equal(f->hello.proof.length, 0);
    assert_int_equal(f->n_seen, 0);
    welcome(f, false, 77, 4);
    assert_int_equal(f->firsts, 1);
    assert_int_equal(f->reclaims, 0);
    serve(f, 1);
    struct seen seen = next(f);
    assert_int_equal(seen.header.op, WIRE_FSYNC);
    assert_int_equal(seen.header.seq, 1);
    assert_in_range(seen.header.slot, 1, 4);
    assert_int_equal(seen.open_id, 5);
    answer(f, seen, 0);
    assert_int_equal(before.done, 1);
    assert_int_equal(before.result, 0);
}

static void test_credential_brings_a_proof(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    shake_hands(f);
    assert_int_equal(f->hello.access_key.length, 4);
    assert_int_equal(f->hello.proof.length, WIRE_PROOF_SIZE);
    assert_int_equal(((const uint8_t *)f->hello.proof.bytes)[0], 4);
}

static void test_a_slot_carries_one_call_and_counts(void **state)
{
    struct fixture *f = *state;
    static struct probe probes[6];
    uint32_t last_seq[4] = {0};
    attach(f, 3);
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        submit(f, &probes[i], WIRE_FSYNC, i);
    for (size_t answered = 0; answered < ARRAY_LEN(probes);) {
        serve(f, 7);
        assert_in_range(f->n_seen, 1, 3);
        bool busy[4] = {0};
        for (size_t i = 0; i < f->n_seen; i++) {
            uint16_t slot = f->seen[i].header.slot;
            assert_in_range(slot, 1, 3);
            assert_false(busy[slot]);
            busy[slot] = true;
        }
        struct seen seen = next(f);
        assert_int_equal(seen.open_id, answered);
        assert_int_equal(seen.header.seq, ++last_seq[seen.header.slot]);
        answer(f, seen, 0);
        assert_int_equal(probes[answered++].done, 1);
    }
}

static void test_errors_of_the_server_reach_the_caller(void **state)
{
    struct fixture *f = *state;
    static struct probe probe;
    attach(f, 4);
    submit(f, &probe, WIRE_UNLINK, 0);
    serve(f, SIZE_MAX);
    answer(f, next(f), ENOENT);
    assert_int_equal(probe.result, -ENOENT);
    submit(f, &probe, WIRE_UNLINK, 0);
    serve(f, SIZE_MAX);
    answer(f, next(f), 1u << 31); // no errno of Linux
    assert_int_equal(probe.result, -EIO);
}

static void test_urgent_calls_have_slots_of_their_own(void **state)
{
    struct fixture *f = *state;
    static struct probe many[40], urgent;
    attach(f, 2 * RPC_SLOTS_RESERVED + 4);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        submit(f, &many[i], WIRE_FSYNC, i);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, RPC_SLOTS_RESERVED + 4);
    f->n_seen = 0;
    prepare(&urgent, WIRE_RELEASE, 99);
    urgent.call.class = RPC_URGENT;
    rpc_submit(f->rpc, &urgent.call);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).open_id, 99);
}

static void test_resumed_session_gets_the_same_calls_again(void **state)
{
    struct fixture *f = *state;
    static struct probe a, b, c;
    attach(f, 4);
    submit(f, &a, WIRE_APPEND, 1);
    submit(f, &b, WIRE_READ, 2);
    serve(f, SIZE_MAX);
    struct seen first[2] = {next(f), next(f)};
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    assert_int_equal(f->downs, 1);
    submit(f, &c, WIRE_FSYNC, 3);
    come_back(f);
    assert_int_equal(f->hello.session_high, 77);
    assert_int_equal(f->hello.session_low, 77);
    welcome(f, true, 77, 4);
    assert_int_equal(f->reclaims, 0);
    serve(f, SIZE_MAX);
    for (size_t i = 0; i < 2; i++) {
        struct seen again = next(f);
        assert_memory_equal(&again.header, &first[i].header, sizeof(again.header));
        answer(f, again, 0);
    }
    assert_int_equal(next(f).open_id, 3);
    assert_int_equal(a.done + b.done, 2);
    assert_int_equal(c.done, 0);
}

static void test_connection_lost_amid_a_frame(void **state)
{
    struct fixture *f = *state;
    static struct probe a;
    struct iovec part;
    attach(f, 4);
    submit(f, &a, WIRE_APPEND, 1);
    assert_int_equal(rpc_output(f->rpc, &part, 1), 1);
    rpc_written(f->rpc, 5);
    rpc_lost(f->rpc, -EPIPE, "broken");
    assert_int_equal(rpc_output(f->rpc, &part, 1), 0);
    come_back(f);
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).header.op, WIRE_APPEND); // whole
}

static void test_new_session_repeats_only_what_is_harmless(void **state)
{
    struct fixture *f = *state;
    static struct probe append, read_1, queued, read_2;
    attach(f, 3);
    submit(f, &append, WIRE_APPEND, 1);
    submit(f, &read_1, WIRE_READ, 2);
    submit(f, &read_2, WIRE_READ, 3);
    submit(f, &queued, WIRE_APPEND, 4); // never sent: no slot
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 3);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, false, 88, 3);
    assert_int_equal(append.done, 1);
    assert_int_equal(append.result, -EIO);
    assert_int_equal(f->fences, 1);
    assert_int_equal(f->firsts, 1);
    serve(f, SIZE_MAX);
    static const uint64_t order[] = {2, 3, 4};
    for (size_t i = 0; i < 3; i++) {
        struct seen seen = next(f);
        assert_int_equal(seen.open_id, order[i]);
        assert_int_equal(seen.header.seq, 1); // the session's first
        answer(f, seen, 0);
    }
    assert_int_equal(read_1.done + read_2.done + queued.done, 3);
}

static void test_claims_go_first_and_alone(void **state)
{
    struct fixture *f = *state;
    static struct probe append, later, claims[2];
    attach(f, 4);
    submit(f, &append, WIRE_APPEND, 9);
    serve(f, SIZE_MAX);
    struct seen first = next(f);
    for (size_t i = 0; i < 2; i++) {
        prepare(&claims[i], WIRE_FSYNC, 100 + i);
        claims[i].call.class = RPC_RECLAIM;
    }
    restart_server(f);
    submit(f, &later, WIRE_READ, 10);
    come_back(f);
    f->claims = &claims[0].call;
    f->n_claims = 1;
    welcome(f, true, 77, 4);
    rpc_submit(f->rpc, &claims[1].call);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 2);
    answer(f, next(f), 0);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), ESTALE);
    assert_int_equal(claims[1].result, -ESTALE);
    answer_reclaimed(f);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 2);
    assert_int_equal(f->fences, 0);
    // What was unanswered: the same request on the same slot.
    struct seen again = next(f);
    assert_memory_equal(&again, &first, sizeof(first));
    assert_int_equal(next(f).open_id, 10);
    assert_int_equal(append.done, 0);
}

static void test_claims_also_find_slots_when_all_are_taken(void **state)
{
    struct fixture *f = *state;
    static struct probe calls[64], claim;
    attach(f, 32);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        prepare(&calls[i], WIRE_APPEND, i);
        calls[i].call.class = i % 2 ? RPC_URGENT : RPC_ORDINARY;
        rpc_submit(f->rpc, &calls[i].call);
    }
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    prepare(&claim, WIRE_FSYNC, 1);
    claim.call.class = RPC_RECLAIM;
    f->claims = &claim.call;
    f->n_claims = 1;
    restart_server(f);
    come_back(f);
    welcome(f, true, 77, 32);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), 0);
    answer_reclaimed(f);
}

// What the client keeps of before a power loss others may change as soon as it has said that all is claimed.
static void test_nothing_is_said_of_claims_before_the_host_allows_it(void **state)
{
    struct fixture *f = *state;
    static struct probe claim, waiting;
    attach(f, 4);
    restart_server(f);
    submit(f, &waiting, WIRE_READ, 9);
    come_back(f);
    prepare(&claim, WIRE_FSYNC, 1);
    claim.call.class = RPC_RECLAIM;
    f->claims = &claim.call;
    f->n_claims = 1;
    f->host_waits = true;
    welcome(f, false, 78, 4);
    rpc_claimed(f->rpc); // nothing has been answered yet
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), 0);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 0);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    f->host_waits = false;
    rpc_claimed(f->rpc);
    answer_reclaimed(f);
    rpc_claimed(f->rpc); // harmless
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    assert_int_equal(next(f).header.op, WIRE_READ);
}

static void test_a_host_that_waits_is_asked_again_on_the_next_connection(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    restart_server(f);
    come_back(f);
    f->host_waits = true;
    welcome(f, true, 77, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    f->host_waits = false;
    rpc_claimed(f->rpc); // there is nobody to tell
    come_back(f);
    welcome(f, true, 77, 4);
    answer_reclaimed(f);
}

static void test_a_second_restart_cancels_claims(void **state)
{
    struct fixture *f = *state;
    static struct probe claim;
    attach(f, 4);
    restart_server(f);
    come_back(f);
    prepare(&claim, WIRE_FSYNC, 1);
    claim.call.class = RPC_RECLAIM;
    f->claims = &claim.call;
    f->n_claims = 1;
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    restart_server(f);
    f->n_claims = 0;
    come_back(f);
    welcome(f, true, 77, 4);
    assert_int_equal(claim.done, 1);
    assert_int_equal(claim.result, -ECANCELED);
    assert_int_equal(f->reclaims, 2);
    answer_reclaimed(f);
}

static void test_interrupted_claims_go_on_when_resumed(void **state)
{
    struct fixture *f = *state;
    static struct probe claim, waiting;
    attach(f, 4);
    restart_server(f);
    submit(f, &waiting, WIRE_READ, 9);
    come_back(f);
    prepare(&claim, WIRE_FSYNC, 1);
    claim.call.class = RPC_RECLAIM;
    f->claims = &claim.call;
    f->n_claims = 1;
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, true, 77, 4);
    assert_int_equal(f->reclaims, 1);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), 0);
    answer_reclaimed(f);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).open_id, 9);
}

static void test_power_loss_lets_claim_under_a_new_session(void **state)
{
    struct fixture *f = *state;
    static struct probe append, claim;
    attach(f, 4);
    submit(f, &append, WIRE_APPEND, 9);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    restart_server(f);
    come_back(f);
    prepare(&claim, WIRE_FSYNC, 1);
    claim.call.class = RPC_RECLAIM;
    f->claims = &claim.call;
    f->n_claims = 1;
    welcome(f, false, 88, 4);
    assert_int_equal(append.result, -EIO);
    assert_int_equal(f->fences, 0);
    serve(f, SIZE_MAX);
    answer(f, next(f), 0);
    answer_reclaimed(f);
}

static void test_revoked_session_fences(void **state)
{
    struct fixture *f = *state;
    static struct probe append;
    attach(f, 4);
    submit(f, &append, WIRE_APPEND, 9);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, false, 88, 4);
    assert_int_equal(append.result, -EIO);
    assert_int_equal(f->fences, 1);
    assert_int_equal(f->reclaims, 0);
    assert_int_equal(rpc_state(f->rpc), RPC_READY);
}

static void test_withdraw_only_what_was_not_sent(void **state)
{
    struct fixture *f = *state;
    static struct probe sent, queued;
    attach(f, 1);
    submit(f, &sent, WIRE_APPEND, 1);
    submit(f, &queued, WIRE_APPEND, 2);
    assert_false(rpc_withdraw(f->rpc, &sent.call));
    assert_true(rpc_withdraw(f->rpc, &queued.call));
    serve(f, SIZE_MAX);
    answer(f, next(f), 0);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 0);
    assert_int_equal(sent.done, 1);
    assert_int_equal(queued.done, 0);
}

static void test_attempts_back_off_and_do_not_end(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    uint64_t pause_ms = RPC_BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t due = rpc_tick(f->rpc);
        assert_int_equal(due, f->now_ns + pause_ms * MS);
        f->now_ns = due - 1;
        assert_int_equal(rpc_tick(f->rpc), due);
        assert_int_equal(f->connects, 1 + i);
        f->now_ns = due;
        rpc_tick(f->rpc);
        assert_int_equal(f->connects, 2 + i);
        rpc_lost(f->rpc, -ECONNREFUSED, "refused");
        pause_ms = MIN(2 * pause_ms, RPC_BACKOFF_MAX_MS);
    }
    assert_int_equal(f->down_error, -ECONNREFUSED);
}

static void test_no_greeting_in_time(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    rpc_connected(f->rpc);
    f->now_ns += RPC_GREETING_MAX_MS * MS;
    rpc_tick(f->rpc);
    assert_int_equal(f->disconnects, 1);
    assert_int_equal(f->down_error, -ETIMEDOUT);
}

static void test_not_a_berth_server(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    rpc_connected(f->rpc);
    greet(f, 0x50545448, 1);
    assert_int_equal(f->down_error, -EPROTO);
    assert_non_null(strstr(f->why, "not a Berth server"));
}

static void test_no_common_version(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    rpc_connected(f->rpc);
    greet(f, WIRE_MAGIC, WIRE_VERSION_MAX + 1);
    assert_int_equal(f->down_error, -EPROTO);
    assert_non_null(strstr(f->why, "version"));
}

static void test_pings_keep_the_lease_and_notice_silence(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    uint64_t due = rpc_tick(f->rpc);
    assert_int_equal(due, f->now_ns + LEASE_MS * MS / 3);
    f->now_ns = due;
    rpc_tick(f->rpc);
    serve(f, SIZE_MAX);
    struct seen ping = next(f);
    assert_int_equal(ping.header.op, WIRE_PING);
    answer(f, ping, 0);
    assert_int_equal(rpc_tick(f->rpc), f->now_ns + LEASE_MS * MS / 3);
    f->now_ns += LEASE_MS * MS / 3;
    due = rpc_tick(f->rpc);
    assert_int_equal(due, f->now_ns + LEASE_MS * MS * 2 / 3);
    f->now_ns = due;
    rpc_tick(f->rpc);
    assert_int_equal(f->down_error, -ETIMEDOUT);
    assert_int_equal(f->disconnects, 1);
}

static void test_refusal_fails_calls_until_it_is_taken_back(void **state)
{
    struct fixture *f = *state;
    static struct probe before, during, after;
    attach(f, 4);
    submit(f, &before, WIRE_APPEND, 1);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    refuse(f, ENOENT, "access point fsap-1 does not exist");
    assert_string_equal(rpc_refusal(f->rpc), "access point fsap-1 does not exist");
    assert_int_equal(before.result, -ESTALE);
    submit(f, &during, WIRE_READ, 2);
    assert_int_equal(during.result, -ESTALE);
    come_back(f);
    assert_int_equal(f->hello.session_low, 0);
    welcome(f, false, 88, 4);
    assert_null(rpc_refusal(f->rpc));
    assert_int_equal(f->fences, 1);
    submit(f, &after, WIRE_READ, 3);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).open_id, 3);
}

static void test_another_identity_is_a_refusal(void **state)
{
    struct fixture *f = *state;
    static struct probe waiting;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    submit(f, &waiting, WIRE_READ, 1);
    come_back(f);
    welcome_as(f, WIRE_IDENTITY_CALLER, false, 88, 4);
    assert_int_equal(f->welcomes, 1);
    assert_int_equal(waiting.result, -ESTALE);
    assert_non_null(strstr(rpc_refusal(f->rpc), "identity"));
}

static void test_refused_for_now_waits(void **state)
{
    struct fixture *f = *state;
    static struct probe waiting;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    submit(f, &waiting, WIRE_READ, 1);
    come_back(f);
    refuse(f, EUSERS, "too many sessions");
    assert_null(rpc_refusal(f->rpc));
    assert_int_equal(waiting.done, 0);
}

static void test_first_refusal_tells_the_servers_reason(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    shake_hands(f);
    refuse(f, EACCES, "a credential is needed");
    assert_int_equal(f->down_error, -EACCES);
    assert_string_equal(f->why, "a credential is needed");
}

static void test_answers_to_nothing_end_the_connection(void **state)
{
    struct fixture *f = *state;
    static struct probe probe;
    attach(f, 4);
    submit(f, &probe, WIRE_READ, 1);
    serve(f, SIZE_MAX);
    struct seen seen = next(f), wrong[5] = {seen, seen, seen, seen, seen};
    wrong[0].header.seq++;
    wrong[1].header.slot = (uint16_t)(seen.header.slot % 4 + 1);
    wrong[2].header.slot = 5;
    wrong[3].header.slot = UINT16_MAX;
    wrong[4].header.op = WIRE_FSYNC;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        answer(f, wrong[i], 0);
        assert_int_equal(f->disconnects, i + 1);
        assert_int_equal(f->down_error, -EPROTO);
        come_back(f);
        welcome(f, true, 77, 4);
        serve(f, SIZE_MAX);
        assert_int_equal(next(f).header.seq, seen.header.seq);
    }
    assert_int_equal(probe.done, 0);
    answer(f, seen, 0);
    assert_int_equal(probe.done, 1);
    answer(f, seen, 0); // a second time
    assert_int_equal(f->disconnects, ARRAY_LEN(wrong) + 1);
}

static void test_answer_before_the_request_was_written(void **state)
{
    struct fixture *f = *state;
    static struct probe probe;
    struct iovec part;
    attach(f, 4);
    submit(f, &probe, WIRE_READ, 1);
    assert_int_equal(rpc_output(f->rpc, &part, 1), 1);
    rpc_written(f->rpc, part.iov_len - 1);
    answer(f, (struct seen){.header = {.op = WIRE_READ, .slot = probe.call.slot, .seq = 1}}, 0);
    assert_int_equal(f->down_error, -EPROTO);
    assert_int_equal(probe.done, 0);
}

static void test_events_reach_the_host(void **state)
{
    struct fixture *f = *state;
    uint8_t body[8] = {42};
    attach(f, 4);
    say(f, (struct wire_header){.op = WIRE_GRANTED}, body, sizeof(body));
    assert_int_equal(f->granted, 42);
    uint8_t invalidate[64];
    struct writer writer = writer_on(invalidate, sizeof(invalidate));
    wire_put_invalidate_event(&writer, &(struct wire_invalidate_event){.number = 43, .ino = 2});
    say(f, (struct wire_header){.op = WIRE_INVALIDATE}, invalidate, sizeof(invalidate) - writer.left);
    assert_int_equal(f->invalidated, 43);
    say(f, (struct wire_header){.op = WIRE_GRANTED}, body, 7);
    assert_int_equal(f->down_error, -EPROTO);
}

static void test_what_is_told_has_no_slot_and_is_not_told_twice(void **state)
{
    struct fixture *f = *state;
    uint8_t body[8] = {9};
    rpc_start(f->rpc);
    assert_int_equal(rpc_tell(f->rpc, WIRE_DROPPED, body, sizeof(body)), -ENOTCONN);
    shake_hands(f);
    welcome(f, false, 77, 4);
    assert_int_equal(rpc_tell(f->rpc, WIRE_DROPPED, body, sizeof(body)), 0);
    serve(f, 5);
    struct seen told = next(f);
    assert_int_equal(told.header.op, WIRE_DROPPED);
    assert_int_equal(told.header.slot, 0);
    assert_int_equal(told.header.seq, 0);
    assert_int_equal(told.header.length, WIRE_HEADER_SIZE + sizeof(body));
    // What has not left when the connection is lost is lost: the server asks again.
    assert_int_equal(rpc_tell(f->rpc, WIRE_DROPPED, body, sizeof(body)), 0);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 0);
}

static void test_what_the_server_has_heard_is_what_it_answers(void **state)
{
    struct fixture *f = *state;
    static struct probe a, b;
    uint8_t granted[8] = {0};
    attach(f, 4);
    uint64_t attached_ns = f->now_ns;
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    f->now_ns += 10 * MS;
    submit(f, &a, WIRE_READ, 1);
    uint64_t sent_ns = f->now_ns;
    f->now_ns += 10 * MS;
    submit(f, &b, WIRE_READ, 2);
    serve(f, SIZE_MAX);
    struct seen first = next(f), second = next(f);
    f->now_ns += 10 * MS;
    // An event says nothing of what the server has heard.
    say(f, (struct wire_header){.op = WIRE_GRANTED}, granted, sizeof(granted));
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    answer(f, second, 0);
    assert_int_equal(rpc_answered_ns(f->rpc), sent_ns + 10 * MS);
    answer(f, first, 0);
    assert_int_equal(rpc_answered_ns(f->rpc), sent_ns + 10 * MS);
    assert_int_equal(rpc_tick(f->rpc), sent_ns + 10 * MS + LEASE_MS * MS / 3);
}

// The server's grace counts from its start: who is slow to claim may be too late with it.
static void test_nothing_is_renewed_before_all_is_claimed(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    uint64_t attached_ns = f->now_ns;
    restart_server(f);
    come_back(f);
    uint64_t back_ns = f->now_ns;
    welcome(f, true, 77, 4);
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    come_back(f);
    assert_true(f->now_ns > back_ns);
    welcome(f, true, 77, 4);
    answer_reclaimed(f);
    assert_int_equal(rpc_answered_ns(f->rpc), f->now_ns);
}

static void test_a_call_knows_that_it_was_sent_again(void **state)
{
    struct fixture *f = *state;
    static struct probe a, b;
    attach(f, 4);
    submit(f, &a, WIRE_READ, 1);
    serve(f, SIZE_MAX);
    next(f);
    assert_false(a.call.again);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    submit(f, &b, WIRE_READ, 2);
    come_back(f);
    uint64_t back_ns = f->now_ns;
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    assert_true(a.call.again);
    assert_false(b.call.again);
    answer(f, next(f), 0);
    assert_int_equal(rpc_answered_ns(f->rpc), back_ns);
    answer(f, next(f), 0);
}

static void test_farewell(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_end(f->rpc);
    serve(f, SIZE_MAX);
    struct seen bye = next(f);
    assert_int_equal(bye.header.op, WIRE_BYE);
    assert_int_equal(f->ended, 0);
    answer(f, bye, 0);
    rpc_tick(f->rpc);
    assert_int_equal(f->ended, 1);
    assert_int_equal(f->downs, 0);
}

static void test_farewell_is_not_waited_for_long(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_end(f->rpc);
    f->now_ns += RPC_FAREWELL_MAX_MS * MS;
    rpc_tick(f->rpc);
    assert_int_equal(f->ended, 1);
}

static void test_nobody_to_say_farewell_to(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    rpc_end(f->rpc);
    assert_int_equal(f->ended, 1);
}

static void test_what_is_left_is_done_at_the_end(void **state)
{
    struct fixture *f = *state;
    static struct probe sent, queued;
    attach(f, 1);
    submit(f, &sent, WIRE_APPEND, 1);
    submit(f, &queued, WIRE_APPEND, 2);
    rpc_destroy(f->rpc);
    f->rpc = NULL;
    assert_int_equal(sent.done + queued.done, 2);
    assert_int_equal(sent.result, -ENOTCONN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_then_calls),
        cmocka_unit_test_setup_teardown(test_credential_brings_a_proof, setup_with_key, teardown),
        TEST(test_a_slot_carries_one_call_and_counts),
        TEST(test_errors_of_the_server_reach_the_caller),
        TEST(test_urgent_calls_have_slots_of_their_own),
        TEST(test_resumed_session_gets_the_same_calls_again),
        TEST(test_connection_lost_amid_a_frame),
        TEST(test_new_session_repeats_only_what_is_harmless),
        TEST(test_claims_go_first_and_alone),
        TEST(test_claims_also_find_slots_when_all_are_taken),
        TEST(test_nothing_is_said_of_claims_before_the_host_allows_it),
        TEST(test_a_host_that_waits_is_asked_again_on_the_next_connection),
        TEST(test_a_second_restart_cancels_claims),
        TEST(test_interrupted_claims_go_on_when_resumed),
        TEST(test_power_loss_lets_claim_under_a_new_session),
        TEST(test_revoked_session_fences),
        TEST(test_withdraw_only_what_was_not_sent),
        TEST(test_attempts_back_off_and_do_not_end),
        TEST(test_no_greeting_in_time),
        TEST(test_not_a_berth_server),
        TEST(test_no_common_version),
        TEST(test_pings_keep_the_lease_and_notice_silence),
        TEST(test_refusal_fails_calls_until_it_is_taken_back),
        TEST(test_another_identity_is_a_refusal),
        TEST(test_refused_for_now_waits),
        TEST(test_first_refusal_tells_the_servers_reason),
        TEST(test_answers_to_nothing_end_the_connection),
        TEST(test_answer_before_the_request_was_written),
        TEST(test_events_reach_the_host),
        TEST(test_what_is_told_has_no_slot_and_is_not_told_twice),
        TEST(test_what_the_server_has_heard_is_what_it_answers),
        TEST(test_nothing_is_renewed_before_all_is_claimed),
        TEST(test_a_call_knows_that_it_was_sent_again),
        TEST(test_farewell),
        TEST(test_farewell_is_not_waited_for_long),
        TEST(test_nobody_to_say_farewell_to),
        TEST(test_what_is_left_is_done_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
