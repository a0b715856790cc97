// SPDX-License-Identifier: Apache-2.0
// See rpc.h. One owner thread. Invariants: a call is in exactly one of the queues or among the sent, which
// are in the order in which they were first sent; a call has a slot if and only if it is among the sent; what
// is to be written is of the connection that is up, and empty without one.
#include "client/rpc.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull // ns

struct slot {
    struct rpc_call *call; // NULL: free
    uint32_t seq;          // of the last call sent on it
};

struct rpc {
    struct rpc_options options;
    enum rpc_state state;
    bool had_session;
    uint64_t session_high, session_low;
    uint32_t lease_ms;
    uint8_t identity;                // of the first session; who mounted has told the kernel
    char refusal[WIRE_TEXT_MAX + 1]; // "": not refused

    struct list queues[RPC_CLASSES];
    struct list sent;
    struct list out;
    size_t out_written; // of the first one in out
    size_t n_queued, n_sent;
    size_t n_reclaim; // queued or sent
    bool told;        // that all is claimed, or nothing is to be
    bool host_waits;  // all is claimed, but the host may not have it said
    bool sent_waits;  // what was sent before is sent again when all is claimed
    uint64_t incarnation;
    struct slot slots[RPC_SLOTS_MAX + 1];
    uint16_t n_slots;
    uint16_t free_slots[RPC_SLOTS_MAX]; // a stack
    uint16_t n_free;

    struct rpc_call hello, ping, bye, reclaimed;
    bool ping_out;
    uint64_t deadline_ns; // of the state
    uint64_t heard_ns, pinged_ns, hello_ns, answered_ns;
    uint64_t kept_ns; // answered_ns, but for answers that come while claims are due
    uint64_t backoff_ms;
    struct rpc_counts counts;
};

static uint64_t now_ns(const struct rpc *rpc)
{
    return env_monotonic_ns(rpc->options.env);
}

static void enter(struct rpc *rpc, enum rpc_state state, uint64_t within_ms)
{
    rpc->state = state;
    rpc->deadline_ns = within_ms == UINT64_MAX ? UINT64_MAX : now_ns(rpc) + within_ms * MS;
}

static bool is_up(const struct rpc *rpc)
{
    return rpc->state == RPC_READY || rpc->state == RPC_RECLAIMING;
}

// --- frames of our own ---

// A call with this body, done by `done`. -ENOMEM.
static int make_frame(struct rpc_call *call, uint16_t op, const uint8_t *body, size_t n)
{
    uint8_t *frame = malloc(WIRE_HEADER_SIZE + n);
    if (!frame)
        return -ENOMEM;
    if (n > 0)
        memcpy(frame + WIRE_HEADER_SIZE, body, n);
    *call = (struct rpc_call){.frame = frame,
                              .length = (uint32_t)(WIRE_HEADER_SIZE + n),
                              .op = op,
                              .class = RPC_URGENT,
                              .done = call->done};
    list_init(&call->node);
    list_init(&call->out);
    return 0;
}

static void put_header(struct rpc_call *call)
{
    struct wire_header header = {.length = call->length,
                                 .op = call->op,
                                 .slot = call->slot,
                                 .seq = call->seq,
                                 .status = call->with_cred ? WIRE_WITH_CRED : 0};
    wire_put_header(call->frame, &header);
}

// --- sending ---

static void finish(struct rpc_call *call, int result, struct reader *body)
{
    free(call->frame);
    call->frame = NULL;
    call->done(call, result, body);
}

static void fail(struct rpc_call *call, int error)
{
    struct reader nothing = reader_on(NULL, 0);
    finish(call, error, &nothing);
}

// Claims are made anew on the next session.
static void fail_each(struct list *calls, int error)
{
    struct list *node;
    while ((node = list_pop(calls))) {
        struct rpc_call *call = LIST_ENTRY(node, struct rpc_call, node);
        fail(call, call->class == RPC_RECLAIM ? -ECANCELED : error);
    }
}

static void enqueue(struct rpc *rpc, struct rpc_call *call)
{
    list_push(&rpc->queues[call->class], &call->node);
    rpc->n_queued++;
}

static void send_call(struct rpc *rpc, struct rpc_call *call)
{
    list_remove(&call->node);
    rpc->n_queued--;
    uint16_t number = rpc->free_slots[--rpc->n_free];
    struct slot *slot = &rpc->slots[number];
    slot->call = call;
    call->slot = number;
    call->seq = ++slot->seq;
    call->sent_ns = now_ns(rpc);
    call->again = false;
    put_header(call);
    list_push(&rpc->sent, &call->node);
    rpc->n_sent++;
    list_push(&rpc->out, &call->out);
    rpc->counts.calls++;
}

static struct rpc_call *next_call(struct rpc *rpc)
{
    static const uint16_t reserves[RPC_CLASSES] = {
        [RPC_RECLAIM] = 0, [RPC_URGENT] = RPC_SLOTS_RECLAIMING, [RPC_ORDINARY] = RPC_SLOTS_RESERVED};
    bool plenty = rpc->n_slots > 2 * RPC_SLOTS_RESERVED;
    if (rpc->n_free == 0)
        return NULL;
    for (int class = RPC_RECLAIM; class < RPC_CLASSES; class ++) {
        bool may = class == RPC_RECLAIM || rpc->state == RPC_READY ||
                   (class == RPC_URGENT && rpc->state == RPC_ENDING);
        if (!may || (plenty && rpc->n_free <= reserves[class]))
            continue;
        if (!list_empty(&rpc->queues[class]))
            return LIST_ENTRY(rpc->queues[class].next, struct rpc_call, node);
    }
    return NULL;
}

static void pump(struct rpc *rpc)
{
    if (rpc->state != RPC_READY && rpc->state != RPC_RECLAIMING && rpc->state != RPC_ENDING)
        return;
    struct rpc_call *call;
    while ((call = next_call(rpc)))
        send_call(rpc, call);
}

void rpc_submit(struct rpc *rpc, struct rpc_call *call)
{
    list_init(&call->node);
    list_init(&call->out);
    if (rpc->refusal[0] && call->class != RPC_RECLAIM) {
        fail(call, -ESTALE);
        return;
    }
    if (call->class == RPC_RECLAIM)
        rpc->n_reclaim++;
    enqueue(rpc, call);
    pump(rpc);
}

void rpc_hurry(struct rpc *rpc, struct rpc_call *call)
{
    if (call->class != RPC_ORDINARY)
        return;
    call->class = RPC_URGENT;
    if (call->slot != 0 || list_empty(&call->node))
        return;
    list_remove(&call->node);
    list_push(&rpc->queues[RPC_URGENT], &call->node);
    pump(rpc);
}

bool rpc_withdraw(struct rpc *rpc, struct rpc_call *call)
{
    if (call->slot != 0 || list_empty(&call->node))
        return false;
    list_remove(&call->node);
    rpc->n_queued--;
    free(call->frame);
    call->frame = NULL;
    return true;
}

size_t rpc_output(struct rpc *rpc, struct iovec *parts, size_t max)
{
    size_t n = 0, skip = rpc->out_written;
    list_for_each (node, &rpc->out) {
        if (n == max)
            break;
        const struct rpc_call *call = LIST_ENTRY(node, struct rpc_call, out);
        parts[n++] = (struct iovec){.iov_base = call->frame + skip, .iov_len = call->length - skip};
        skip = 0;
    }
    return n;
}

// What is told has no slot and no answer: it is gone when it has left.
static void free_if_told(struct rpc *rpc, struct rpc_call *call)
{
    if (call->slot != 0 || call == &rpc->hello)
        return;
    free(call->frame);
    free(call);
}

int rpc_tell(struct rpc *rpc, uint16_t op, const void *body, size_t n)
{
    struct rpc_call *call = is_up(rpc) ? calloc(1, sizeof(*call)) : NULL;
    if (!call)
        return is_up(rpc) ? -ENOMEM : -ENOTCONN;
    int result = make_frame(call, op, body, n);
    if (result < 0) {
        free(call);
        return result;
    }
    put_header(call);
    list_push(&rpc->out, &call->out);
    return 0;
}

void rpc_written(struct rpc *rpc, size_t n)
{
    n += rpc->out_written;
    while (!list_empty(&rpc->out)) {
        struct rpc_call *call = LIST_ENTRY(rpc->out.next, struct rpc_call, out);
        if (n < call->length)
            break;
        n -= call->length;
        list_remove(&call->out);
        free_if_told(rpc, call);
    }
    rpc->out_written = n;
}

static void drop_output(struct rpc *rpc)
{
    struct list *node;
    while ((node = list_pop(&rpc->out)))
        free_if_told(rpc, LIST_ENTRY(node, struct rpc_call, out));
    rpc->out_written = 0;
    free(rpc->hello.frame);
    rpc->hello.frame = NULL;
}

// --- connecting ---

static void connect_now(struct rpc *rpc)
{
    enter(rpc, RPC_CONNECTING, RPC_GREETING_MAX_MS);
    rpc->options.host->connect(rpc->options.host->context);
}

static void end_now(struct rpc *rpc)
{
    enter(rpc, RPC_ENDED, UINT64_MAX);
    drop_output(rpc);
    rpc->options.host->disconnect(rpc->options.host->context);
    rpc->options.host->ended(rpc->options.host->context);
}

void rpc_lost(struct rpc *rpc, int error, const char *why)
{
    if (rpc->state == RPC_ENDED || rpc->state == RPC_WAITING)
        return;
    drop_output(rpc);
    if (rpc->state == RPC_ENDING) {
        end_now(rpc);
        return;
    }
    rpc->counts.failed_attempts += rpc->state < RPC_RECLAIMING;
    enter(rpc, RPC_WAITING, rpc->backoff_ms);
    rpc->backoff_ms = MIN(2 * rpc->backoff_ms, RPC_BACKOFF_MAX_MS);
    rpc->options.host->down(rpc->options.host->context, error, why);
}

// Our own decision: the host is told to drop the connection first.
static void give_up(struct rpc *rpc, int error, const char *why)
{
    rpc->options.host->disconnect(rpc->options.host->context);
    rpc_lost(rpc, error, why);
}

void rpc_connected(struct rpc *rpc)
{
    fs_assert(rpc->state == RPC_CONNECTING);
    rpc->state = RPC_GREETING; // the deadline is for both
    rpc->counts.connections++;
}

static wire_text text_of(const char *text)
{
    return (wire_text){.bytes = text, .length = (uint16_t)strlen(text)};
}

static int put_hello(struct rpc *rpc, const struct wire_greeting_event *greeting)
{
    uint8_t proof[WIRE_PROOF_SIZE], body[256 + 4 * WIRE_TEXT_MAX];
    struct wire_hello_request hello = {
        .version = WIRE_VERSION_MAX,
        .access_point = text_of(rpc->options.access_point),
        .session_high = rpc->session_high,
        .session_low = rpc->session_low,
        .access_key = text_of(rpc->options.access_key),
        .client_name = text_of(rpc->options.client_name),
        .want_read_only = rpc->options.want_read_only,
        .want_leases = rpc->options.want_leases,
    };
    if (rpc->options.access_key[0]) {
        rpc->options.host->prove(rpc->options.host->context, greeting->nonce, &hello, proof);
        hello.proof = (wire_bytes){.bytes = proof, .length = sizeof(proof)};
    }
    struct writer writer = writer_on(body, sizeof(body));
    wire_put_hello_request(&writer, &hello);
    free(rpc->hello.frame);
    rpc->hello.frame = NULL;
    return writer.failed ? -EINVAL : make_frame(&rpc->hello, WIRE_HELLO, body, sizeof(body) - writer.left);
}

static void on_greeting(struct rpc *rpc, struct reader *body)
{
    struct wire_greeting_event greeting;
    if (wire_get_greeting_event(body, &greeting) < 0 || greeting.magic != WIRE_MAGIC ||
        greeting.nonce.length != WIRE_NONCE_SIZE) {
        give_up(rpc, -EPROTO, "what answers there is not a Berth server");
        return;
    }
    if (greeting.version_min > WIRE_VERSION_MAX || greeting.version_max < WIRE_VERSION_MIN) {
        give_up(rpc, -EPROTO, "client and server have no protocol version in common: upgrade the older one");
        return;
    }
    int result = put_hello(rpc, &greeting);
    if (result < 0) {
        give_up(rpc, result, strerror(-result));
        return;
    }
    put_header(&rpc->hello);
    rpc->hello_ns = now_ns(rpc);
    list_push(&rpc->out, &rpc->hello.out);
    enter(rpc, RPC_HELLO, RPC_HELLO_MAX_MS);
}

// --- refusals ---

static void fail_all(struct rpc *rpc, int error)
{
    struct list all, *node;
    list_init(&all);
    while ((node = list_pop(&rpc->sent)))
        list_push(&all, node);
    for (int class = 0; class < RPC_CLASSES; class ++) {
        while ((node = list_pop(&rpc->queues[class])))
            list_push(&all, node);
    }
    rpc->n_sent = rpc->n_queued = rpc->n_reclaim = 0;
    rpc->n_slots = rpc->n_free = 0; // the session's slots cannot be used again
    fail_each(&all, error);
}

// Will asking again help?
static bool is_final(int error)
{
    return error == -ENOENT || error == -EACCES || error == -EPERM || error == -EPROTO || error == -ENOTDIR;
}

// A client that had a session is told for good: its calls fail, until a later attempt is welcome.
static void turn_away(struct rpc *rpc, int error, const char *reason)
{
    if (rpc->had_session && is_final(error)) {
        snprintf(rpc->refusal, sizeof(rpc->refusal), "%s", reason);
        rpc->session_high = rpc->session_low = 0;
        rpc->backoff_ms = RPC_BACKOFF_MAX_MS;
        fail_all(rpc, -ESTALE);
    }
    give_up(rpc, error, reason);
}

static void on_refused(struct rpc *rpc, uint32_t status, struct reader *body)
{
    int error = status < 4096 ? -(int)status : -EPROTO;
    size_t n = body->left >= 2 ? read_u16(body) : 0;
    const char *text = n > 0 && n <= WIRE_TEXT_MAX ? (const char *)read_bytes(body, n) : NULL;
    char reason[WIRE_TEXT_MAX + 1];
    if (text)
        snprintf(reason, sizeof(reason), "%.*s", (int)n, text);
    else
        snprintf(reason, sizeof(reason), "the server refused the mount: %s", strerror(-error));
    turn_away(rpc, error, reason);
}

// --- sessions ---

static void take_slots(struct rpc *rpc, uint16_t offered)
{
    rpc->n_slots = MIN(offered, RPC_SLOTS_MAX);
    rpc->n_free = 0;
    memset(rpc->slots, 0, sizeof(rpc->slots));
    for (uint16_t number = rpc->n_slots; number > 0; number--)
        rpc->free_slots[rpc->n_free++] = number;
}

static void list_push_front(struct list *head, struct list *node)
{
    list_push(head->next, node);
}

static void drop_reclaims(struct rpc *rpc, struct list *failed)
{
    struct list *node;
    while ((node = list_pop(&rpc->queues[RPC_RECLAIM]))) {
        rpc->n_queued--;
        list_push(failed, node);
    }
}

// What was sent on the lost session goes back to its queue, in front, or fails.
static void recall_sent(struct rpc *rpc, struct list *failed)
{
    while (!list_empty(&rpc->sent)) {
        struct list *node = rpc->sent.prev; // last first, so that the first one ends up in front
        struct rpc_call *call = LIST_ENTRY(node, struct rpc_call, node);
        list_remove(node);
        rpc->n_sent--;
        call->slot = 0;
        if (call->repeatable && call->class != RPC_RECLAIM) {
            list_push_front(&rpc->queues[call->class], node);
            rpc->n_queued++;
        } else {
            list_push_front(failed, node);
        }
    }
}

static void lose_session(struct rpc *rpc)
{
    struct list failed;
    list_init(&failed);
    drop_reclaims(rpc, &failed);
    recall_sent(rpc, &failed);
    rpc->n_reclaim = 0;
    fail_each(&failed, -EIO);
}

// Claims of an earlier attempt. The server restarted: it does not mind which slots they were on.
static void cancel_reclaims(struct rpc *rpc)
{
    struct list cancelled;
    list_init(&cancelled);
    drop_reclaims(rpc, &cancelled);
    list_for_each_safe (node, after, &rpc->sent) {
        struct rpc_call *call = LIST_ENTRY(node, struct rpc_call, node);
        if (call->class != RPC_RECLAIM)
            continue;
        rpc->slots[call->slot].call = NULL;
        rpc->free_slots[rpc->n_free++] = call->slot;
        rpc->n_sent--;
        list_remove(node);
        list_push(&cancelled, node);
    }
    rpc->n_reclaim = 0;
    fail_each(&cancelled, -ECANCELED);
}

static void send_again(struct rpc *rpc, bool claims)
{
    list_for_each (node, &rpc->sent) {
        struct rpc_call *call = LIST_ENTRY(node, struct rpc_call, node);
        if ((call->class == RPC_RECLAIM) != claims)
            continue;
        call->sent_ns = now_ns(rpc);
        call->again = true;
        list_push(&rpc->out, &call->out);
    }
}

static void become_ready(struct rpc *rpc)
{
    enter(rpc, RPC_READY, UINT64_MAX);
    rpc->host_waits = false;
    rpc->kept_ns = rpc->answered_ns;
    rpc->backoff_ms = RPC_BACKOFF_FIRST_MS;
    if (rpc->sent_waits)
        send_again(rpc, false);
    rpc->sent_waits = false;
    pump(rpc);
}

static void reclaimed_done(struct rpc_call *call, int result, struct reader *body)
{
    (void)call;
    (void)result;
    (void)body;
}

// All claims have been answered: tells the server, then goes on.
static void claims_done(struct rpc *rpc)
{
    rpc->host_waits = !rpc->told && !rpc->options.host->may_be_told(rpc->options.host->context);
    if (rpc->host_waits)
        return;
    if (!rpc->told && make_frame(&rpc->reclaimed, WIRE_RECLAIMED, NULL, 0) == 0) {
        rpc->told = true;
        rpc->reclaimed.class = RPC_RECLAIM;
        rpc->reclaimed.repeatable = true;
        rpc_submit(rpc, &rpc->reclaimed);
        return;
    }
    become_ready(rpc);
}

void rpc_claimed(struct rpc *rpc)
{
    if (rpc->host_waits && rpc->state == RPC_RECLAIMING && rpc->n_reclaim == 0)
        claims_done(rpc);
}

static void claim_all(struct rpc *rpc)
{
    rpc->told = rpc->host_waits = false;
    rpc->options.host->reclaim(rpc->options.host->context);
    if (rpc->state == RPC_RECLAIMING && rpc->n_reclaim == 0)
        claims_done(rpc);
}

static void start_session(struct rpc *rpc, const struct wire_hello_reply *reply)
{
    const struct rpc_host *host = rpc->options.host;
    bool first = !rpc->had_session;
    lose_session(rpc);
    take_slots(rpc, reply->n_slots);
    rpc->had_session = true;
    rpc->told = true;
    rpc->sent_waits = false;
    rpc->refusal[0] = '\0';
    rpc->counts.sessions++;
    enter(rpc, RPC_RECLAIMING, UINT64_MAX);
    host->welcome(host->context, reply, first);
    if (!first && !reply->claims)
        host->fenced(host->context);
    if (reply->claims)
        claim_all(rpc);
    else if (rpc->state == RPC_RECLAIMING && rpc->n_reclaim == 0)
        become_ready(rpc);
}

// restarted: the server has, since this session was last up.
static void resume_session(struct rpc *rpc, const struct wire_hello_reply *reply, bool restarted)
{
    rpc->counts.resumed++;
    rpc->options.host->welcome(rpc->options.host->context, reply, false);
    if (!reply->claims) {
        send_again(rpc, true);
        send_again(rpc, false);
        rpc->sent_waits = false;
        enter(rpc, RPC_RECLAIMING, UINT64_MAX);
        if (rpc->n_reclaim == 0)
            become_ready(rpc);
        return;
    }
    rpc->sent_waits = true;
    enter(rpc, RPC_RECLAIMING, UINT64_MAX);
    if (restarted || rpc->n_reclaim == 0) {
        cancel_reclaims(rpc);
        claim_all(rpc);
    } else {
        send_again(rpc, true);
        pump(rpc);
    }
}

static void on_welcome(struct rpc *rpc, struct reader *body)
{
    struct wire_hello_reply reply;
    bool resumes = rpc->session_low != 0 || rpc->session_high != 0;
    if (wire_get_hello_reply(body, &reply) < 0 || reply.n_slots == 0 || reply.lease_ms == 0 ||
        reply.identity > WIRE_IDENTITY_FIXED || ((reply.resumed || reply.claims) && !resumes)) {
        give_up(rpc, -EPROTO, "the server's answer to hello makes no sense");
        return;
    }
    if (rpc->had_session && reply.identity != rpc->identity) {
        turn_away(rpc, -EPERM,
                  "the server judges this mount by another identity than before: mount it again");
        return;
    }
    rpc->identity = reply.identity;
    rpc->session_high = reply.session_high;
    rpc->session_low = reply.session_low;
    rpc->lease_ms = reply.lease_ms;
    rpc->answered_ns = rpc->hello_ns;
    bool restarted = rpc->incarnation != reply.incarnation;
    rpc->incarnation = reply.incarnation;
    if (reply.resumed)
        resume_session(rpc, &reply, restarted);
    else
        start_session(rpc, &reply);
}

// --- receiving ---

static void on_reply(struct rpc *rpc, const struct wire_header *header, struct reader *body)
{
    struct slot *slot = header->slot <= rpc->n_slots ? &rpc->slots[header->slot] : NULL;
    struct rpc_call *call = slot ? slot->call : NULL;
    if (!call || call->op != header->op || call->seq != header->seq || !list_empty(&call->out)) {
        give_up(rpc, -EPROTO, "the server answered what was not asked");
        return;
    }
    slot->call = NULL;
    rpc->free_slots[rpc->n_free++] = header->slot;
    list_remove(&call->node);
    rpc->n_sent--;
    rpc->counts.replies++;
    rpc->answered_ns = MAX(rpc->answered_ns, call->sent_ns);
    if (rpc->state == RPC_READY)
        rpc->kept_ns = rpc->answered_ns;
    bool reclaimed = call->class == RPC_RECLAIM && --rpc->n_reclaim == 0;
    if (header->status == 0)
        finish(call, 0, body);
    else
        fail(call, header->status < 1000 ? -(int)header->status : -EIO);
    if (reclaimed && rpc->state == RPC_RECLAIMING && rpc->n_reclaim == 0)
        claims_done(rpc);
    pump(rpc);
}

static void on_event(struct rpc *rpc, const struct wire_header *header, struct reader *body)
{
    const struct rpc_host *host = rpc->options.host;
    struct wire_granted_event granted;
    struct wire_invalidate_event invalidate;
    if (header->op == WIRE_GRANTED && wire_get_granted_event(body, &granted) == 0)
        host->granted(host->context, granted.ticket);
    else if (header->op == WIRE_INVALIDATE && wire_get_invalidate_event(body, &invalidate) == 0)
        host->invalidate(host->context, &invalidate);
    else
        give_up(rpc, -EPROTO, "the server sent an event that this client does not know");
}

void rpc_frame(struct rpc *rpc, const struct wire_header *header, struct reader body)
{
    rpc->heard_ns = now_ns(rpc);
    if (rpc->state == RPC_GREETING && header->op == WIRE_GREETING)
        on_greeting(rpc, &body);
    else if (rpc->state == RPC_HELLO && header->op == WIRE_HELLO && header->status == 0)
        on_welcome(rpc, &body);
    else if (rpc->state == RPC_HELLO && header->op == WIRE_HELLO)
        on_refused(rpc, header->status, &body);
    else if (rpc->state < RPC_RECLAIMING || rpc->state == RPC_ENDED)
        give_up(rpc, -EPROTO, "what answers there is not a Berth server");
    else if (header->slot == 0)
        on_event(rpc, header, &body);
    else
        on_reply(rpc, header, &body);
}

// --- time ---

static void ping_done(struct rpc_call *call, int result, struct reader *body)
{
    struct rpc *rpc = CONTAINER_OF(call, struct rpc, ping);
    (void)result;
    (void)body;
    rpc->ping_out = false;
}

// Counted from what the server is known to have heard.
static uint64_t ping_due_ns(const struct rpc *rpc)
{
    return rpc->answered_ns + rpc->lease_ms * MS / 3;
}

// Counted from the ping, so that a client that was stopped for a while does not blame the server.
static uint64_t silence_ns(const struct rpc *rpc)
{
    return MAX(rpc->heard_ns, rpc->pinged_ns) + rpc->lease_ms * MS * 2 / 3;
}

static void keep_alive(struct rpc *rpc)
{
    uint64_t now = now_ns(rpc);
    if (rpc->ping_out && now >= silence_ns(rpc)) {
        give_up(rpc, -ETIMEDOUT, "the server is silent");
    } else if (now >= ping_due_ns(rpc) && !rpc->ping_out && make_frame(&rpc->ping, WIRE_PING, NULL, 0) == 0) {
        rpc->ping.repeatable = true;
        rpc->ping_out = true;
        rpc->pinged_ns = now;
        rpc_submit(rpc, &rpc->ping);
    }
}

static const char *silence(enum rpc_state state)
{
    if (state == RPC_CONNECTING)
        return "no answer";
    if (state == RPC_GREETING)
        return "it takes connections and says nothing; is it a berthd, and is that stopped or overloaded?";
    return "the server does not answer hello";
}

uint64_t rpc_tick(struct rpc *rpc)
{
    if (now_ns(rpc) >= rpc->deadline_ns) {
        if (rpc->state == RPC_WAITING)
            connect_now(rpc);
        else if (rpc->state == RPC_ENDING)
            end_now(rpc);
        else
            give_up(rpc, -ETIMEDOUT, silence(rpc->state));
    }
    if (is_up(rpc))
        keep_alive(rpc);
    if (!is_up(rpc))
        return rpc->deadline_ns;
    return rpc->ping_out ? silence_ns(rpc) : ping_due_ns(rpc);
}

// --- beginning and end ---

static void bye_done(struct rpc_call *call, int result, struct reader *body)
{
    struct rpc *rpc = CONTAINER_OF(call, struct rpc, bye);
    (void)result;
    (void)body;
    if (rpc->state == RPC_ENDING)
        rpc->deadline_ns = 0; // ended by the next tick, not inside of what called us
}

int rpc_create(const struct rpc_options *options, struct rpc **ret_rpc)
{
    struct rpc *rpc = calloc(1, sizeof(*rpc));
    if (!rpc)
        return -ENOMEM;
    rpc->options = *options;
    rpc->state = RPC_WAITING;
    rpc->deadline_ns = UINT64_MAX;
    rpc->backoff_ms = RPC_BACKOFF_FIRST_MS;
    for (int class = 0; class < RPC_CLASSES; class ++)
        list_init(&rpc->queues[class]);
    list_init(&rpc->sent);
    list_init(&rpc->out);
    rpc->ping.done = ping_done;
    rpc->bye.done = bye_done;
    rpc->reclaimed.done = reclaimed_done;
    *ret_rpc = rpc;
    return 0;
}

void rpc_destroy(struct rpc *rpc)
{
    if (!rpc)
        return;
    rpc->state = RPC_ENDED;
    drop_output(rpc);
    fail_all(rpc, -ENOTCONN);
    free(rpc);
}

void rpc_start(struct rpc *rpc)
{
    connect_now(rpc);
}

void rpc_end(struct rpc *rpc)
{
    if (rpc->state == RPC_ENDING || rpc->state == RPC_ENDED)
        return;
    if (!is_up(rpc) || make_frame(&rpc->bye, WIRE_BYE, NULL, 0) < 0) {
        end_now(rpc);
        return;
    }
    enter(rpc, RPC_ENDING, RPC_FAREWELL_MAX_MS);
    rpc_submit(rpc, &rpc->bye);
}

// --- what others may know ---

enum rpc_state rpc_state(const struct rpc *rpc)
{
    return rpc->state;
}

const char *rpc_refusal(const struct rpc *rpc)
{
    return rpc->refusal[0] ? rpc->refusal : NULL;
}

uint64_t rpc_answered_ns(const struct rpc *rpc)
{
    return rpc->kept_ns;
}

size_t rpc_in_flight(const struct rpc *rpc)
{
    return rpc->n_sent;
}

size_t rpc_queued(const struct rpc *rpc)
{
    return rpc->n_queued;
}

const struct rpc_counts *rpc_counts(const struct rpc *rpc)
{
    return &rpc->counts;
}
