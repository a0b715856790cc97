// SPDX-License-Identifier: Apache-2.0
// Leases where sessions and requests are: what replies give, what the changes of a request wait for, what
// clients are told and say of it. The rules are in recall.c. On the shard's thread.
#include "fs/base/log.h"
#include "server/call.h"
#include "server/metrics.h"

#define INVALIDATE_ROOM (64u + FS_NAME_MAX)
#define HANDLE_SIZE     (2 * sizeof(uint64_t))

_Static_assert(CORE_CHANGE_ATTR == WIRE_DROP_ATTR && CORE_CHANGE_NAME == WIRE_DROP_NAME &&
                   CORE_CHANGE_NAMES == WIRE_DROP_NAMES && CORE_CHANGE_DATA == WIRE_DROP_DATA &&
                   CORE_CHANGE_TREE == WIRE_DROP_TREE,
               "core and the wire name changes alike");

static uint64_t now_ms(const struct hosted *hosted)
{
    return uv_now(&hosted->shard->loop);
}

// --- what recall.c asks for ---

static struct out *invalidate_frame(const struct recall_ask *ask)
{
    const struct wire_invalidate_event event = {
        .number = recall_number(ask),
        .ino = ask->ino,
        .what = (uint8_t)ask->what,
        .name = {.bytes = ask->name, .length = (uint32_t)ask->name_length},
    };
    struct out *out = out_new(INVALIDATE_ROOM);
    if (!out)
        return NULL;
    struct writer body = writer_on(out_body(out), INVALIDATE_ROOM);
    wire_put_invalidate_event(&body, &event);
    fs_assert(!body.failed);
    return out_seal(out, (struct wire_header){.op = WIRE_INVALIDATE}, INVALIDATE_ROOM - body.left);
}

// Who has no connection now is told when it has one.
static void tell(void *context UNUSED, struct lease_holder *holder, const struct recall_ask *ask)
{
    struct attached *attached = holder->session;
    METRICS_ADD(recalls_sent, 1);
    if (attached->client)
        turn_tell(attached, WIRE_INVALIDATE, invalidate_frame(ask), 0);
}

static void go_on(void *context, struct recall_wait *wait)
{
    struct hosted *hosted = context;
    struct request *request = CONTAINER_OF(wait, struct request, wait);
    if (!request->waits)
        return; // it failed before it could wait
    list_push(&hosted->resumed, &request->node);
    if (!hosted->closing)
        shard_work(hosted->shard);
}

static void overdue(void *context, struct lease_holder *holder)
{
    const struct hosted *hosted = context;
    const struct attached *attached = holder->session;
    METRICS_ADD(recalls_overdue, 1);
    log_warn("overdue", "session=%u fs=%s leases=%zu", attached->session->number, hosted->id,
             holder->leases.count);
    if (attached->client)
        conn_close(attached->client->conn, "it did not drop what it was told to");
}

static const struct recall_ops recall_ops = {.tell = tell, .go_on = go_on, .overdue = overdue};

// --- what core asks ---

// Should the server stop before it is settled, the next one is to know: that is kept with the write.
static int ask_of_pages(struct attached *attached, const struct core_change *changes, size_t n)
{
    struct hosted *hosted = attached->hosted;
    int result = recall_tell(&hosted->recall, attached->holder, &attached->debts, changes, n, now_ms(hosted));
    attached->unsettled |= leases_unsettled(attached);
    if (attached->unsettled && !attached->kept_unsettled)
        attached_keep(attached);
    return result;
}

static int ask(void *context, const struct core_change *changes, size_t n)
{
    struct hosted *hosted = context;
    struct request *request = hosted->running;
    if (!request) // nothing that could wait: who keeps something is told
        return recall_tell(&hosted->recall, NULL, NULL, changes, n, now_ms(hosted));
    struct attached *attached = request->attached;
    if (request->pages)
        return ask_of_pages(attached, changes, n);
    return recall_ask(&hosted->recall, attached->holder, &request->wait, changes, n, now_ms(hosted));
}

void leases_init(struct hosted *hosted)
{
    recall_init(&hosted->recall, hosted->shard->options->env, &recall_ops, hosted);
}

void leases_start(struct hosted *hosted)
{
    core_set_ask(hosted->core, ask, hosted);
}

void leases_count(struct hosted *hosted)
{
    size_t n = hosted->recall.leases.n;
    METRICS_ADD(leases, (int_fast64_t)n - (int_fast64_t)hosted->n_leases_told);
    hosted->n_leases_told = n;
}

// --- sessions ---

void leases_enter(struct attached *attached, bool wanted, bool resumed)
{
    struct recall *recall = &attached->hosted->recall;
    if (!wanted && attached->holder) {
        recall_leave(recall, attached->holder);
        attached->holder = NULL;
    }
    if (!wanted)
        return;
    bool cleared = !resumed && attached->claim == CLAIM_DONE;
    if (!attached->holder)
        attached->holder = recall_enter(recall, attached, attached->session->root, cleared);
    if (attached->holder)
        attached->holder->root = attached->session->root;
}

void leases_tell_again(struct attached *attached)
{
    if (attached->holder)
        recall_tell_again(&attached->hosted->recall, attached->holder);
}

void leases_end(struct attached *attached, bool lingers)
{
    struct hosted *hosted = attached->hosted;
    struct lease_holder *holder = attached->holder;
    debts_free(&hosted->recall, &attached->debts);
    attached->holder = NULL;
    if (holder && lingers)
        recall_linger(holder, attached->heard_ms + hosted->shard->options->lease_ms);
    else if (holder)
        recall_leave(&hosted->recall, holder);
}

// Its client learns of the new generation when it says hello again.
void leases_expire(struct attached *attached)
{
    struct hosted *hosted = attached->hosted;
    if (attached->holder && recall_expire(&hosted->recall, attached->holder) && attached->client)
        conn_close(attached->client->conn, "its leases have ended");
}

bool leases_unsettled(const struct attached *attached)
{
    return attached->debts.by_inode.count > 0;
}

void leases_reclaimed(struct attached *attached)
{
    if (attached->holder)
        attached->holder->cleared = true;
}

// --- frames outside of the slots ---

// At most WIRE_INODES_MAX of them.
static bool take_each(wire_bytes bytes, size_t size, struct reader *ret_each)
{
    *ret_each = reader_on(bytes.bytes, bytes.length);
    return bytes.length % size == 0 && bytes.length <= WIRE_INODES_MAX * size;
}

static bool dropped(struct attached *attached, struct reader body)
{
    struct wire_dropped_event event;
    if (wire_get_dropped_event(&body, &event) < 0)
        return false;
    if (attached->holder)
        recall_dropped(&attached->hosted->recall, attached->holder, event.number);
    return true;
}

static bool cleared(struct attached *attached, struct reader body)
{
    struct wire_cleared_event event;
    if (wire_get_cleared_event(&body, &event) < 0)
        return false;
    if (attached->holder)
        recall_cleared(&attached->hosted->recall, attached->holder, event.generation);
    return true;
}

// Nothing has changed since the server started, and nothing will before this session has said `reclaimed`.
static bool kept(struct attached *attached, struct reader body)
{
    struct hosted *hosted = attached->hosted;
    struct lease_holder *holder = attached->holder;
    struct wire_kept_event event;
    struct reader handles;
    if (wire_get_kept_event(&body, &event) < 0 || !take_each(event.handles, HANDLE_SIZE, &handles))
        return false;
    bool counts = holder && hosted->grace && attached->claim == CLAIM_UNDERWAY && !attached->lost &&
                  hosted->log_continuous;
    bool fits = true;
    while (counts && fits && handles.left > 0) {
        fs_ino ino = read_u64(&handles);
        // Of what it was not shown it is not to learn when that changes.
        if (attach_handle(attached->session->identity.handle_key, ino).mac == read_u64(&handles))
            fits = recall_keep(&hosted->recall, holder, ino);
    }
    return fits; // else it is more than it can have been given
}

// Before anything that the client has still to say or ask: what waits for its answer finds the file closed.
static bool closed(struct attached *attached, struct reader body)
{
    struct hosted *hosted = attached->hosted;
    struct wire_closed_event event;
    struct reader opens;
    if (wire_get_closed_event(&body, &event) < 0 || !take_each(event.opens, sizeof(uint64_t), &opens))
        return false;
    while (opens.left > 0) {
        struct session_open *open = session_open_get(attached->session, read_u64(&opens));
        if (open && open->n_owners > 0)
            return false; // it may hold locks
        if (open)
            open_close(hosted, open);
    }
    hosted->upkeep_due = true; // what had no name goes
    shard_work(hosted->shard);
    return true;
}

bool leases_frame(struct attached *attached, const struct frame *frame)
{
    struct reader body = reader_on(frame->body, frame->body_length);
    if (frame->header.seq != 0 || frame->header.status != 0)
        return false;
    switch (frame->header.op) {
    case WIRE_DROPPED:
        return dropped(attached, body);
    case WIRE_CLEARED:
        return cleared(attached, body);
    case WIRE_CLOSED:
        return closed(attached, body);
    case WIRE_ACCESSED:
        return accessed_frame(attached, body);
    default:
        return kept(attached, body);
    }
}

int op_forget(struct call *call)
{
    CALL_DECODE(forget);
    struct reader inodes;
    struct lease_holder *holder = call->request->attached->holder;
    if (!take_each(request.inodes, sizeof(fs_ino), &inodes))
        return call_malformed(call);
    while (holder && inodes.left > 0)
        recall_forget(&call->hosted->recall, holder, read_u64(&inodes));
    return call_reply_forget(call, &(struct wire_forget_reply){});
}

// --- replies ---

uint8_t call_lease_attr(struct call *call, fs_ino ino)
{
    bool given = recall_give_attr(&call->hosted->recall, call->request->attached->holder, ino,
                                  &call->request->wait, now_ms(call->hosted));
    return given ? WIRE_LEASE_ATTR : 0;
}

uint8_t call_lease_name(struct call *call, fs_ino directory, struct fs_name name)
{
    bool given = recall_give_name(&call->hosted->recall, call->request->attached->holder, directory, name,
                                  &call->request->wait, now_ms(call->hosted));
    return given ? WIRE_LEASE_NAME : 0;
}

uint8_t call_lease_names(struct call *call, fs_ino directory)
{
    bool given = core_access(call->core, &call->cred, directory, FS_MAY_EXEC) == 0 &&
                 recall_give_names(&call->hosted->recall, call->request->attached->holder, directory,
                                   &call->request->wait, now_ms(call->hosted));
    return given ? WIRE_LEASE_NAMES : 0;
}

int call_lease_data(struct call *call, fs_ino ino, uint8_t *ret_lease)
{
    int result = recall_give_data(&call->hosted->recall, call->request->attached->holder, ino,
                                  &call->request->wait, now_ms(call->hosted));
    *ret_lease = result == 1 ? WIRE_LEASE_DATA : 0;
    return result == 1 ? 0 : result;
}

static int ask_kept(struct call *call, fs_ino ino)
{
    struct hosted *hosted = call->hosted;
    return debts_ask_kept(&hosted->recall, call->request->attached->holder, &hosted->kept_debts, ino,
                          now_ms(hosted));
}

int call_unsettled(struct call *call, fs_ino ino)
{
    struct attached *attached = call->request->attached;
    int result = ask_kept(call, ino);
    if (result < 0)
        return result;
    bool may = debts_allow_read(&call->hosted->recall, attached->holder, &attached->debts, ino,
                                &call->request->wait);
    return may ? 0 : CORE_WAIT;
}

bool call_lease_data_now(struct call *call, fs_ino ino)
{
    uint8_t lease = 0;
    bool now = call_unsettled(call, ino) == 0 && call_lease_data(call, ino, &lease) == 0;
    if (!now)
        recall_wait_end(&call->hosted->recall, &call->request->wait); // it is not queued after all
    return now && lease;
}

int call_settled(struct call *call, fs_ino ino)
{
    struct recall_wait *wait = &call->request->wait;
    int result = ask_kept(call, ino);
    if (result < 0)
        return result;
    bool settled = debts_settled(&call->request->attached->debts, ino, wait) &&
                   debts_settled(&call->hosted->kept_debts, ino, wait);
    return settled ? 0 : CORE_WAIT;
}
