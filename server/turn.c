// SPDX-License-Identifier: Apache-2.0
// One loop turn, one transaction. The requests that have come in run one after the other, a commit follows,
// then their replies leave. Invariant: no reply leaves before what it says is committed (strict: synced), and
// replies and events of one session leave in the order in which they came about.
#include "fs/base/log.h"
#include "server/call.h"
#include "server/keep.h"
#include "server/metrics.h"
#include <stdlib.h>
#include <string.h>

#define TURN_REQUESTS_MAX 512u                  // so that a turn stays short for those who come after
#define TURN_BYTES_MAX    (16u * 1024u * 1024u) // of requests and replies
#define TURN_TIME_MAX_NS  UINT64_C(10000000)    // after which no further request begins

// --- requests ---

void request_fail(struct request *request, int error)
{
    out_unref(request->reply);
    request->reply = out_error(request->op, request->slot, request->seq, error, "");
}

static void request_free(struct request *request)
{
    struct attached *attached = request->attached;
    attached->owed -= request->owed;
    if (attached->client)
        client_wake(attached->client);
    list_remove(&request->node);
    list_remove(&request->parked);
    fs_assert(!request->frame);
    out_unref(request->reply);
    free(request);
    attached_put(attached);
}

static void drop_frame(struct request *request)
{
    struct attached *attached = request->attached;
    if (request->frame && request->conn) {
        conn_frame_free(request->conn, request->frame);
    } else if (request->frame) {
        attached->parked_bytes -= request->frame->header.length;
        conn_parked_free(attached->client ? attached->client->conn : NULL, request->frame);
    }
    request->frame = NULL;
    request->conn = NULL;
}

static struct request *request_new(struct attached *attached)
{
    struct request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->attached = attached;
    attached->n_requests++;
    list_init(&request->node);
    list_init(&request->parked);
    recall_wait_init(&request->wait);
    return request;
}

// Its connection may go: the frame is the session's from now on.
static void park(struct request *request)
{
    struct attached *attached = request->attached;
    list_push(&attached->parked, &request->parked);
    if (!request->conn)
        return;
    attached->parked_bytes += request->frame->header.length;
    conn_frame_park(request->conn, request->frame);
    request->conn = NULL;
}

void turn_drop_parked(struct attached *attached)
{
    struct list *node;
    while ((node = list_pop(&attached->parked))) {
        struct request *request = LIST_ENTRY(node, struct request, parked);
        recall_wait_end(&attached->hosted->recall, &request->wait);
        drop_frame(request);
        request_free(request);
    }
}

// Replies go where the request came from or was asked again from: what another connection asked, it will ask
// again.
static bool is_for(const struct request *request, const struct client *client)
{
    if (request->welcomes)
        return request->welcomes == client->number;
    if (request->slot)
        return request->attached->session->slots[request->slot].connection == client->number;
    return client->welcomed;
}

static void send_reply(struct request *request)
{
    struct client *client = request->attached->client;
    if (!client || !is_for(request, client))
        return;
    client->welcomed = true;
    conn_send(client->conn, out_ref(request->reply));
    if (list_empty(&client->unsent))
        list_push(&request->attached->hosted->unsent, &client->unsent);
}

// A request that cannot be answered takes its connection along: the client asks again.
static void finish_unanswered(struct request *request)
{
    struct attached *attached = request->attached;
    if (request->slot)
        attached->session->slots[request->slot].running = false;
    if (!attached->client || !is_for(request, attached->client))
        return;
    if (request->malformed)
        conn_expel(attached->client->conn, "a malformed request");
    else
        conn_close(attached->client->conn, "a reply that cannot be given");
}

void request_finish(struct request *request)
{
    struct attached *attached = request->attached;
    if (attached->ended)
        return request_free(request);
    if (request->malformed || !request->reply) {
        finish_unanswered(request);
        return request_free(request);
    }
    if (request->slot)
        session_finish(attached->session, request->slot, request->reply);
    send_reply(request);
    if (request->op == WIRE_BYE && request->slot)
        attached_end(attached, "detach", "bye");
    request_free(request);
}

void turn_tell(struct attached *attached, uint16_t op, struct out *out, uint64_t welcomes)
{
    struct request *request = out ? request_new(attached) : NULL;
    if (!request) {
        out_unref(out);
        if (attached->client)
            conn_close(attached->client->conn, "no memory for an event");
        return;
    }
    request->op = op;
    request->reply = out;
    request->welcomes = welcomes;
    list_push(&attached->hosted->turn, &request->node);
}

void hosted_flush(struct hosted *hosted)
{
    struct list *node;
    while ((node = list_pop(&hosted->unsent))) {
        struct client *client = LIST_ENTRY(node, struct client, unsent);
        struct conn *conn = client->conn;
        conn_flush(conn);
        if (!conn->closing)
            client_wake(client);
    }
}

// --- after the commit ---

// A lock that was taken from a session whose end the store has refused is not told to who got it: the
// connection goes, and the client asks again.
static void take_back(struct request *request)
{
    if (request->op != WIRE_SETLK && request->op != WIRE_CANCEL && request->op != WIRE_GRANTED)
        return;
    out_unref(request->reply);
    request->reply = NULL;
}

// One that ends its session adds to the turn what that gives to others: it leaves after what was made before.
static void finish_turn(struct hosted *hosted, bool strict)
{
    struct list *node;
    while ((node = list_pop(&hosted->turn))) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (keep_owes(hosted))
            take_back(request);
        if (strict && (hosted->dirty || hosted->syncing))
            list_push(&hosted->held, node);
        else if (request->sync_ino && !strict)
            sync_file(request);
        else
            request_finish(request);
    }
}

void turn_settle(struct hosted *hosted, bool wrote)
{
    hosted->dirty |= wrote;
    if (hosted->settling)
        return;
    hosted->settling = true;
    finish_turn(hosted, hosted->shard->options->durability_strict);
    hosted->settling = false;
    sync_held(hosted);
    hosted_flush(hosted);
}

// --- running ---

static void run_request(struct hosted *hosted, struct request *request)
{
    hosted->running = request;
    dispatch(hosted, request);
    hosted->running = NULL;
    // Who is back is waited for again after the next start, from this commit on.
    if (attached_changed(request->attached))
        attached_keep(request->attached);
    request->attached->owed -= request->owed;
    request->owed = request->reply ? request->reply->length : 0;
    request->attached->owed += request->owed;
}

// The turn's next request from this client, admitted; NULL when its next frame asks for nothing to be run.
static struct request *admit(struct hosted *hosted, struct client *client, struct frame *frame)
{
    struct attached *attached = client->attached;
    struct out *kept;
    const char *why;
    struct request *request = request_new(attached);
    enum session_verdict verdict =
        request ? session_admit(attached->session, &frame->header, client->number, &kept, &why)
                : SESSION_WRONG;
    if (verdict == SESSION_RUN) {
        request->frame = frame;
        request->conn = client->conn;
        request->op = frame->header.op;
        request->slot = frame->header.slot;
        request->seq = frame->header.seq;
        return request;
    }
    conn_frame_free(client->conn, frame);
    if (verdict == SESSION_WRONG)
        conn_expel(client->conn, request ? why : "no memory for a request");
    if (request)
        request_free(request);
    struct out *again = verdict == SESSION_REPLAY ? out_copy(kept) : NULL;
    if (again) {
        conn_send(client->conn, again);
        if (list_empty(&client->unsent))
            list_push(&hosted->unsent, &client->unsent);
    }
    return NULL;
}

// Takes the next frame, a client after the other. NULL: nothing to be run at the moment.
static struct request *next_request(struct hosted *hosted)
{
    while (!list_empty(&hosted->ready)) {
        struct client *client = LIST_ENTRY(list_pop(&hosted->ready), struct client, ready);
        struct list *node = list_pop(&client->frames);
        if (!node)
            continue;
        struct conn *conn = client->conn;
        struct frame *frame = LIST_ENTRY(node, struct frame, node);
        if (grace_parks(client->attached, frame)) {
            list_push(&client->parked, node);
            client_wake(client);
            continue;
        }
        client->n_frames--;
        struct request *request = admit(hosted, client, frame);
        if (!conn->closing)
            client_wake(client);
        if (request)
            return request;
    }
    return NULL;
}

// Those that were parked come first.
static struct request *next_of_all(struct hosted *hosted)
{
    struct list *node = list_pop(&hosted->resumed);
    if (!node)
        return next_request(hosted);
    struct request *request = LIST_ENTRY(node, struct request, node);
    list_remove(&request->parked);
    request->waits = false;
    return request;
}

// Runs what has come in, in order, as far as a turn goes, or answers it with `error`. Who comes after this
// turn waits for the rest of it and for one request of each other client: see docs/SEMANTICS.md.
static void run_all(struct hosted *hosted, int error)
{
    const struct env *env = hosted->shard->options->env;
    uint64_t end_ns = env_monotonic_ns(env) + TURN_TIME_MAX_NS;
    size_t n = 0, bytes = 0;
    struct request *request;
    while (n < TURN_REQUESTS_MAX && bytes < TURN_BYTES_MAX && env_monotonic_ns(env) < end_ns &&
           (request = next_of_all(hosted))) {
        if (error < 0)
            request_fail(request, error);
        else
            run_request(hosted, request);
        bytes += request->frame->header.length + request->owed;
        if (request->waits)
            park(request);
        else
            list_push(&hosted->turn, &request->node);
        n++;
    }
}

// --- when a commit fails ---

static void forget_fresh(struct hosted *hosted, bool committed)
{
    struct list *node;
    while ((node = list_pop(&hosted->fresh))) {
        if (!committed)
            open_forget(hosted, LIST_ENTRY(node, struct session_open, fresh));
    }
}

static int commit(struct hosted *hosted)
{
    int result = hosted_commit(hosted);
    forget_fresh(hosted, result == 0);
    return result;
}

static void run_alone(struct hosted *hosted, struct request *request)
{
    out_unref(request->reply);
    request->reply = NULL;
    int result = core_turn_begin(hosted->core);
    if (result == 0) {
        run_request(hosted, request);
        result = commit(hosted);
    }
    if (result < 0 && !request->malformed && !request->ran && !request->waits) {
        request->wrote = false;
        request->sync_ino = 0;
        request_fail(request, result);
    }
}

// The turn was undone: its requests again, one a transaction, so that only the culprit sees the error. Those
// whose effect is not the store's keep the reply they have.
static void run_again(struct hosted *hosted, int error)
{
    METRICS_ADD(commit_failures, 1);
    log_warn("commit-failed", "fs=%s error=%s", hosted->id, strerror(-error));
    struct list again;
    list_init(&again);
    struct list *node;
    while ((node = list_pop(&hosted->turn)))
        list_push(&again, node);
    // The undone turn closed opens that it had made again for those who hold unlinked files: they stay until
    // all have run.
    core_hold_orphans(hosted->core, true);
    while ((node = list_pop(&again))) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        // Who was fenced meanwhile does nothing any more.
        if (request->frame && !request->ran && !request->malformed && !request->attached->ended)
            run_alone(hosted, request);
        if (request->waits)
            park(request);
        else
            list_push(&hosted->turn, node);
    }
    core_hold_orphans(hosted->core, hosted->grace);
}

static bool over(struct hosted *hosted)
{
    bool wrote = false;
    list_for_each (node, &hosted->turn) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        wrote |= request->wrote;
        recall_wait_end(&hosted->recall, &request->wait);
        drop_frame(request);
    }
    return wrote;
}

void turn_run(struct hosted *hosted)
{
    if (!hosted_may_run(hosted))
        return;
    int begun = core_turn_begin(hosted->core);
    if (begun < 0)
        log_error("turn", "fs=%s error=%s", hosted->id, strerror(-begun));
    bool marked = begun == 0 && accessed_mark(hosted);
    run_all(hosted, begun);
    int committed = begun == 0 ? commit(hosted) : 0;
    METRICS_ADD(turns, 1);
    if (committed < 0)
        run_again(hosted, committed);
    bool wrote = over(hosted) || marked;
    hosted->upkeep_due = hosted->usage_due = true;
    turn_settle(hosted, wrote);
    if (hosted->upkeep_due || hosted_may_run(hosted))
        shard_work(hosted->shard);
}
