// SPDX-License-Identifier: Apache-2.0
// Sessions of one file system from their making to their end: expiry, courtesy, revocation, and the events
// they are told. On the shard's thread. Invariant: what a session holds in core and in the lock table goes
// with it; a session that others can find has not ended.
#include "fs/base/log.h"
#include "server/keep.h"
#include "server/metrics.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct attached *attached_of(struct table_node *node)
{
    return node ? CONTAINER_OF(node, struct attached, node) : NULL;
}

struct attached *attached_get(const struct hosted *hosted, uint64_t id_low)
{
    return attached_of(table_get(&hosted->sessions, id_low));
}

static uint32_t *rooted(struct hosted *hosted, fs_ino root)
{
    return &hosted->n_rooted[root % HOSTED_ROOT_SLOTS];
}

void attached_set_root(struct attached *attached, fs_ino root)
{
    struct session *session = attached->session;
    if (session->root != 0)
        --*rooted(attached->hosted, session->root);
    session->root = root;
    ++*rooted(attached->hosted, root);
}

bool hosted_root_attached(struct hosted *hosted, fs_ino ino)
{
    if (*rooted(hosted, ino) == 0)
        return false;
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        const struct attached *attached = attached_of(node);
        if (attached->session->root == ino && !attached->expired)
            return true;
    }
    return false;
}

// --- making ---

int attached_new(struct hosted *hosted, const struct session_identity *identity, uint64_t id_high,
                 uint64_t id_low, struct attached **ret_attached)
{
    if (hosted->sessions.count >= HOSTED_SESSIONS_MAX)
        return -EUSERS;
    if (id_low == 0 || id_low > INT64_MAX || attached_get(hosted, id_low))
        return -EUCLEAN;
    struct attached *attached = calloc(1, sizeof(*attached));
    struct session *session = NULL;
    int result = attached ? session_create(identity, &session) : -ENOMEM;
    if (result == 0)
        result = table_put(&hosted->sessions, &attached->node, id_low);
    if (result < 0) {
        if (session)
            session->identity.groups = NULL;
        session_destroy(session);
        free(attached);
        return result;
    }
    session->id_high = id_high;
    session->id_low = id_low;
    session->number = ++hosted->shard->n_sessions_ever;
    attached->session = session;
    attached->hosted = hosted;
    list_init(&attached->changed);
    attached->heard_ms = uv_now(&hosted->shard->loop);
    list_init(&attached->parked);
    METRICS_ADD(sessions, 1);
    atomic_fetch_add(&hosted->place->sessions, 1);
    *ret_attached = attached;
    return 0;
}

// --- the end ---

void attached_put(struct attached *attached)
{
    fs_assert(attached->n_requests > 0);
    attached->n_requests--;
    if (!attached->ended || attached->n_requests > 0)
        return;
    attached->hosted->shard->n_ended++;
    session_destroy(attached->session);
    free(attached);
}

static void release_opens(struct attached *attached)
{
    struct hosted *hosted = attached->hosted;
    struct table_node *node;
    while ((node = table_first(&attached->session->opens))) {
        struct session_open *open = CONTAINER_OF(node, struct session_open, node);
        core_release(hosted->core, open->file);
        open_forget(hosted, open);
    }
}

static void drop_waits(struct session *session)
{
    struct table_node *node;
    while ((node = table_first(&session->waits)))
        session_wait_end(session, node->key);
}

// Its last connection may still take what has been sent.
static void part_client(struct attached *attached, const char *why)
{
    struct client *client = attached->client;
    if (!client)
        return;
    client->attached = NULL;
    attached->client = NULL;
    list_remove(&client->ready);
    list_remove(&client->unsent);
    conn_close_when_sent(client->conn, why);
}

// Nobody finds it any more. `lingers`: its client does not know, and keeps what it has leases on. The caller
// counts as a request until it is done: with the last parked one the session would be freed.
static void leave_tables(struct attached *attached, bool lingers)
{
    struct hosted *hosted = attached->hosted;
    fs_assert(attached->n_requests > 0);
    attached->ended = true;
    turn_drop_parked(attached);
    leases_end(attached, lingers);
    if (attached->session->root != 0)
        --*rooted(hosted, attached->session->root);
    table_remove(&hosted->sessions, &attached->node);
    list_remove(&attached->changed);
    METRICS_ADD(sessions, -1);
    if (!attached->expired)
        atomic_fetch_sub(&hosted->place->sessions, 1);
    drop_waits(attached->session);
    grace_claimed(attached);
}

static void log_end(const char *event, const struct attached *attached, const char *why)
{
    const struct session *session = attached->session;
    log_info(event, "session=%u fs=%s ap=%s opens=%zu why=%s", session->number, attached->hosted->id,
             session->identity.access_point, session->opens.count, why);
}

void attached_discard(struct attached *attached)
{
    attached->n_requests++;
    leave_tables(attached, false);
    attached_put(attached);
}

void attached_leave(struct attached *attached, const char *why)
{
    struct client *client = attached->client;
    log_end("detach", attached, why);
    attached->n_requests++;
    release_opens(attached);
    leave_tables(attached, false);
    if (client) {
        client->attached = NULL;
        attached->client = NULL;
        conn_close(client->conn, why);
    }
    attached_put(attached);
}

static void give_back(struct attached *attached, const char *event, const char *why)
{
    struct hosted *hosted = attached->hosted;
    log_end(event, attached, why);
    attached->n_requests++;
    part_client(attached, why);
    leave_tables(attached, !attached->said_bye);
    lock_release_session(hosted->locks, attached->session->id_low);
    release_opens(attached);
    keep_forget(hosted, attached->session);
    hosted->upkeep_due = hosted->usage_due = true;
    attached_put(attached);
}

void attached_revoke(struct attached *attached, const char *why)
{
    give_back(attached, "fence", why);
}

void attached_end(struct attached *attached, const char *event, const char *why)
{
    struct hosted *hosted = attached->hosted;
    int result = core_turn_begin(hosted->core);
    if (result == 0) {
        give_back(attached, event, why);
        result = hosted_commit(hosted);
    }
    if (result < 0)
        log_warn("release", "fs=%s error=%s", hosted->id, strerror(-result));
    turn_settle(hosted, true);
}

// --- courtesy ---

static void expire(struct attached *attached)
{
    attached->expired = true;
    atomic_fetch_sub(&attached->hosted->place->sessions, 1);
    log_info("expire", "session=%u fs=%s connected=%d opens=%zu why=%s", attached->session->number,
             attached->hosted->id, attached->client != NULL, attached->session->opens.count,
             "nothing was heard of it for a lease time");
    leases_expire(attached);
}

void attached_heard(struct attached *attached)
{
    attached->heard_ms = uv_now(&attached->hosted->shard->loop);
    if (!attached->expired)
        return;
    attached->expired = false;
    atomic_fetch_add(&attached->hosted->place->sessions, 1);
    log_info("revive", "session=%u fs=%s", attached->session->number, attached->hosted->id);
}

bool attached_revoke_oldest(struct hosted *hosted)
{
    struct attached *oldest = NULL;
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        struct attached *attached = attached_of(node);
        if (attached->expired && (!oldest || attached->heard_ms < oldest->heard_ms))
            oldest = attached;
    }
    if (oldest)
        attached_revoke(oldest, "it had expired, and its place was needed");
    return oldest != NULL;
}

void attached_clear_way(struct hosted *hosted, fs_ino ino, lock_session session, const struct fs_lock *lock)
{
    for (;;) {
        struct fs_lock found;
        lock_session holder;
        lock_get(hosted->locks, ino, session, lock, &found, &holder);
        struct attached *attached = found.type == FS_LOCK_UNLOCK ? NULL : attached_get(hosted, holder);
        // Its own requests may run late: they came in time, and it took no replies.
        if (!attached || !attached->expired || holder == session)
            return;
        attached_revoke(attached, "it had expired, and another wants what it locked");
    }
}

// --- the clock ---

// Those who wait for what an expired session holds. Inside of a turn.
static void clear_way_of_waiters(struct hosted *hosted)
{
    for (struct table_node *node = table_first(&hosted->sessions), *next; node; node = next) {
        next = table_next(&hosted->sessions, node);
        const struct session *session = attached_of(node)->session;
        struct table_node *first = attached_of(node)->expired ? NULL : table_first(&session->waits);
        for (struct table_node *it = first, *after; it; it = after) {
            after = table_next(&session->waits, it);
            // A copy: the wait is freed when it is granted.
            struct session_wait wait = *CONTAINER_OF(it, struct session_wait, node);
            size_t n_sessions = hosted->sessions.count;
            attached_clear_way(hosted, wait.ino, session->id_low, &wait.lock);
            if (hosted->sessions.count != n_sessions)
                return; // both tables may have changed: the rest at the next tick
        }
    }
}

bool attached_changed(const struct attached *attached)
{
    return attached->expired != attached->kept_expired || attached->missed != attached->kept_missed ||
           attached->unsettled != attached->kept_unsettled;
}

void attached_keep(struct attached *attached)
{
    attached->kept_expired = attached->expired;
    attached->kept_missed = attached->missed;
    attached->kept_unsettled = attached->unsettled;
    if (list_empty(&attached->changed))
        list_push(&attached->hosted->changed, &attached->changed);
}

// Inside of a turn. The server's own pause is nobody's silence.
static void look_at(struct attached *attached, uint64_t now_ms, uint64_t paused_ms)
{
    struct hosted *hosted = attached->hosted;
    attached->heard_ms = MIN(now_ms, attached->heard_ms + paused_ms);
    uint64_t silent_ms = now_ms - attached->heard_ms;
    if (!attached->expired && silent_ms >= hosted->shard->options->lease_ms)
        expire(attached);
    attached->unsettled = attached->unsettled_then || leases_unsettled(attached);
    if (attached->expired && silent_ms >= HOSTED_COURTESY_MS)
        attached_revoke(attached, "nothing was heard of it for a day");
    else if (attached_changed(attached))
        attached_keep(attached);
}

static void look_at_all(struct hosted *hosted, uint64_t now_ms, uint64_t paused_ms)
{
    for (struct table_node *node = table_first(&hosted->sessions), *next; node; node = next) {
        next = table_next(&hosted->sessions, node);
        look_at(attached_of(node), now_ms, paused_ms);
    }
}

static bool has_expired(const struct hosted *hosted)
{
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        if (attached_of(node)->expired)
            return true;
    }
    return false;
}

void attached_tick(struct hosted *hosted)
{
    uint64_t now_ms = uv_now(&hosted->shard->loop), paused_ms = hosted_paused_ms(hosted);
    bool wrote = false;
    int result = core_turn_begin(hosted->core);
    if (result == 0) {
        look_at_all(hosted, now_ms, paused_ms);
        if (has_expired(hosted))
            clear_way_of_waiters(hosted);
        wrote = store_in_transaction(hosted->store);
        result = hosted_commit(hosted);
    }
    if (result < 0)
        log_warn("session-record", "fs=%s error=%s", hosted->id, strerror(-result));
    recall_tick(&hosted->recall, now_ms, paused_ms, hosted->shard->options->lease_ms);
    hosted->ticked_ms = now_ms;
    turn_settle(hosted, wrote);
}

// --- events ---

static struct out *granted_frame(uint64_t ticket)
{
    struct out *out = out_new(sizeof(ticket));
    if (!out)
        return NULL;
    struct writer body = writer_on(out_body(out), sizeof(ticket));
    wire_put_granted_event(&body, &(struct wire_granted_event){.ticket = ticket});
    return out_seal(out, (struct wire_header){.op = WIRE_GRANTED}, sizeof(ticket));
}

void attached_granted(void *context, lock_session low, uint64_t ticket)
{
    struct hosted *hosted = context;
    struct attached *attached = attached_get(hosted, low);
    fs_assert(attached);
    const struct session_wait *wait = session_wait_get(attached->session, ticket);
    fs_assert(wait);
    grace_locked(hosted, wait->ino);
    session_grant(attached->session, ticket);
    turn_tell(attached, WIRE_GRANTED, granted_frame(ticket), 0);
}

// Grants that were told to a connection that is gone may not have arrived: again, in their order.
void attached_tell_grants_again(struct attached *attached)
{
    const struct session *session = attached->session;
    uint64_t first = session->n_grants > SESSION_GRANTS_KEPT ? session->n_grants - SESSION_GRANTS_KEPT : 0;
    for (uint64_t i = first; i < session->n_grants; i++) {
        uint64_t ticket = session->grants[i % SESSION_GRANTS_KEPT];
        if (ticket)
            turn_tell(attached, WIRE_GRANTED, granted_frame(ticket), 0);
    }
}
