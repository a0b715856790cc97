// SPDX-License-Identifier: Apache-2.0
// From a hello that was let in to a session, new or resumed, and back out: connections of a shard, lost
// connections, the end of sessions. On the shard's thread. Invariant: a client is in its shard's list until
// its connection has closed; it and its attached session point at each other or not at all.
#include "fs/base/log.h"
#include "server/hosted.h"
#include "server/metrics.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WELCOME_ROOM 1024u

// --- connections ---

// A session whose connection is lost keeps all it has for one lease time.
static void disconnect(struct client *client, const char *why)
{
    struct attached *attached = client->attached;
    if (!attached)
        return;
    const struct shard *shard = attached->hosted->shard;
    log_info("disconnect", "session=%u peer=%s why=%s", attached->session->number, client->conn->peer.text,
             why);
    attached->client = NULL;
    attached->expires_ms = uv_now(&shard->loop) + shard->options->lease_ms;
    client->attached = NULL;
}

static void client_closed(struct conn *conn, const char *why)
{
    struct client *client = conn->owner;
    disconnect(client, why);
    struct list *node;
    while ((node = list_pop(&client->frames)))
        conn_frame_free(conn, LIST_ENTRY(node, struct frame, node));
    list_remove(&client->ready);
    list_remove(&client->unsent);
    list_remove(&client->node);
    free(client);
}

void client_wake(struct client *client)
{
    const struct attached *attached = client->attached;
    if (!attached || list_empty(&client->frames) || !list_empty(&client->ready))
        return;
    if (!conn_may_run(client->conn, attached->owed))
        return;
    list_push(&attached->hosted->ready, &client->ready);
}

static const char *frame_refused(const struct client *client)
{
    if (!client->attached)
        return "a request without a session";
    if (!client->welcomed)
        return "a request before the answer to hello";
    return client->n_frames == SESSION_SLOTS ? "more requests than slots" : NULL;
}

static void client_frame(struct conn *conn, struct frame *frame)
{
    struct client *client = conn->owner;
    const char *why = frame_refused(client);
    if (why) {
        conn_frame_free(conn, frame);
        conn_expel(conn, why);
        return;
    }
    list_push(&client->frames, &frame->node);
    client->n_frames++;
    client_wake(client);
}

static void client_drained(struct conn *conn)
{
    struct client *client = conn->owner;
    client_wake(client);
    if (client->attached)
        shard_work(client->attached->hosted->shard);
}

static const struct conn_ops client_ops = {
    .frame_max = WIRE_FRAME_MAX,
    .frame = client_frame,
    .drained = client_drained,
    .closed = client_closed,
};

// Puts the connection on this loop; NULL, and the connection is gone, when that fails.
static struct client *client_new(struct shard *shard, struct conn *conn)
{
    struct client *client = calloc(1, sizeof(*client));
    int result = client ? conn_join(conn, &shard->loop, &client_ops, client) : -ENOMEM;
    if (result < 0) {
        log_warn("connection", "peer=%s error=%s", conn->peer.text, strerror(-result));
        free(client);
        conn_abandon(conn);
        return NULL;
    }
    client->conn = conn;
    client->number = ++shard->n_clients_ever;
    list_init(&client->ready);
    list_init(&client->unsent);
    list_init(&client->frames);
    list_init(&client->node);
    list_push(&shard->clients, &client->node);
    return client;
}

static void link_client(struct client *client, struct attached *attached)
{
    client->attached = attached;
    attached->client = client;
}

// --- refusals ---

static void log_refused(const struct attach *attach, const struct conn *conn, int error, const char *reason)
{
    METRICS_ADD(attaches_refused, 1);
    log_warn("attach-refused", "fs=%s ap=%s peer=%s client=%s error=%s reason=%s", attach->fs_id,
             attach->identity.access_point, conn->peer.text, attach->client_name, strerror(-error), reason);
}

static void refuse(struct client *client, const struct attach *attach, int error, const char *reason)
{
    log_refused(attach, client->conn, error, reason);
    struct out *out = out_error(WIRE_HELLO, 0, attach->seq, error, reason);
    if (out)
        conn_send(client->conn, out);
    conn_close_when_sent(client->conn, "refused");
}

void welcome_refuse(struct shard *shard, struct attach *attach, struct conn *conn, int error,
                    const char *reason)
{
    struct client *client = client_new(shard, conn);
    if (client)
        refuse(client, attach, error, reason);
    attach_free(attach);
}

// --- the root ---

static int resolve_root(struct hosted *hosted, const struct attach *attach, struct fs_attr *ret_root)
{
    struct core_root_spec spec = {
        .path = attach->path,
        .make = attach->make_root,
        .uid = attach->owner_uid,
        .gid = attach->owner_gid,
        .mode = attach->permissions,
    };
    fs_ino ino;
    int result = core_resolve_root(hosted->core, &spec, &ino);
    return result < 0 ? result : core_getattr(hosted->core, ino, ret_root);
}

static int may_enter(struct hosted *hosted, const struct session_identity *identity, fs_ino root)
{
    if (identity->how != WIRE_IDENTITY_ENFORCED)
        return 0;
    struct fs_cred cred = {.uid = identity->uid,
                           .gid = identity->gid,
                           .n_groups = identity->n_groups,
                           .groups = identity->groups};
    return core_access(hosted->core, &cred, root, FS_MAY_EXEC);
}

static void explain(const struct attach *attach, int error, bool entering, char *reason, size_t size)
{
    const char *ap = attach->identity.access_point, *path = attach->path;
    if (entering && error == -EACCES)
        snprintf(reason, size,
                 "access point %s acts as user %u:%u, who may not enter its root directory %s: give that "
                 "user execute "
                 "permission on it",
                 ap, attach->identity.uid, attach->identity.gid, path);
    else if (error == -ENOENT)
        snprintf(
            reason, size,
            "access point %s has root directory %s, which does not exist; create it or give the access point "
            "creation info (--owner/--perm)",
            ap, path);
    else if (error == -ENOTDIR || error == -ELOOP)
        snprintf(reason, size,
                 "access point %s has root directory %s, where something is that is not a directory", ap,
                 path);
    else
        snprintf(reason, size, "root directory %s of access point %s: %s", path, ap, strerror(-error));
}

// In a turn of its own.
static int open_root(struct hosted *hosted, const struct attach *attach, struct fs_attr *ret_root,
                     char *reason, size_t reason_size)
{
    bool entering = false;
    struct fs_attr root;
    int result = core_turn_begin(hosted->core);
    if (result == 0) {
        result = resolve_root(hosted, attach, &root);
        entering = result == 0;
        if (result == 0)
            result = may_enter(hosted, &attach->identity, root.ino);
        int committed = core_turn_commit(hosted->core);
        if (result == 0)
            result = committed;
    }
    if (result < 0)
        explain(attach, result, entering, reason, reason_size);
    else
        *ret_root = root;
    return result;
}

// --- sessions ---

static struct attached *find_session(struct hosted *hosted, const struct attach *attach)
{
    if (attach->session_low == 0 && attach->session_high == 0)
        return NULL;
    struct table_node *node = table_get(&hosted->sessions, attach->session_low);
    struct attached *attached = node ? CONTAINER_OF(node, struct attached, node) : NULL;
    bool may = attached && session_may_resume(attached->session, attach->session_high, attach->session_low,
                                              &attach->identity);
    return may ? attached : NULL;
}

static void draw_ids(struct hosted *hosted, struct session *session)
{
    const struct env *env = hosted->shard->options->env;
    do {
        env_random(env, &session->id_high, sizeof(session->id_high));
        env_random(env, &session->id_low, sizeof(session->id_low));
    } while (session->id_low == 0 || table_get(&hosted->sessions, session->id_low));
}

static int new_session(struct hosted *hosted, struct attach *attach, fs_ino root,
                       struct attached **ret_attached)
{
    if (hosted->sessions.count >= HOSTED_SESSIONS_MAX)
        return -EUSERS;
    struct attached *attached = calloc(1, sizeof(*attached));
    if (!attached)
        return -ENOMEM;
    int result = session_create(&attach->identity, &attached->session);
    if (result < 0) {
        free(attached);
        return result;
    }
    attach->identity.groups = NULL;
    draw_ids(hosted, attached->session);
    attached->session->root = root;
    attached->session->number = ++hosted->shard->n_sessions_ever;
    attached->hosted = hosted;
    result = table_put(&hosted->sessions, &attached->node, attached->session->id_low);
    if (result < 0) {
        session_destroy(attached->session);
        free(attached);
        return result;
    }
    METRICS_ADD(attaches, 1);
    METRICS_ADD(sessions, 1);
    atomic_fetch_add(&hosted->place->sessions, 1);
    *ret_attached = attached;
    return 0;
}

static void log_attach(const struct attached *attached, const struct attach *attach, bool resumed)
{
    static const char *const hows[] = {[WIRE_IDENTITY_ENFORCED] = "enforced",
                                       [WIRE_IDENTITY_CALLER] = "caller",
                                       [WIRE_IDENTITY_FIXED] = "fixed"};
    const struct session_identity *identity = &attached->session->identity;
    log_info(resumed ? "resume" : "attach",
             "session=%u fs=%s ap=%s root=%s peer=%s client=%s key=%s identity=%s user=%u:%u read_only=%d",
             attached->session->number, attach->fs_id, identity->access_point, attach->path,
             attached->client->conn->peer.text, attach->client_name,
             identity->principal[0] ? identity->principal : "none", hows[identity->how], identity->uid,
             identity->gid, identity->read_only);
}

// --- the answer ---

static struct out *welcome_frame(struct attached *attached, const struct attach *attach,
                                 const struct fs_attr *root, bool resumed)
{
    const struct session *session = attached->session;
    const struct shard *shard = attached->hosted->shard;
    struct wire_hello_reply reply = {
        .version = attach->version,
        .session_high = session->id_high,
        .session_low = session->id_low,
        .resumed = resumed,
        .incarnation = shard->incarnation,
        .log_continuous = shard->log_continuous,
        .n_slots = SESSION_SLOTS,
        .lease_ms = shard->options->lease_ms,
        .identity = session->identity.how,
        .read_only = session->identity.read_only,
        .server_time_ns = env_realtime_ns(shard->options->env),
        .file_system = {.bytes = attach->fs_id, .length = (uint16_t)strlen(attach->fs_id)},
        .root = {.handle = attach_handle(session->identity.handle_key, root->ino), .attr = *root},
    };
    struct out *out = out_new(WELCOME_ROOM);
    if (!out)
        return NULL;
    struct writer body = writer_on(out_body(out), WELCOME_ROOM);
    wire_put_hello_reply(&body, &reply);
    fs_assert(!body.failed);
    struct wire_header header = {.op = WIRE_HELLO, .seq = attach->seq};
    return out_seal(out, header, WELCOME_ROOM - body.left);
}

static struct out *granted_frame(uint64_t ticket)
{
    struct out *out = out_new(sizeof(ticket));
    if (!out)
        return NULL;
    struct writer body = writer_on(out_body(out), sizeof(ticket));
    wire_put_granted_event(&body, &(struct wire_granted_event){.ticket = ticket});
    return out_seal(out, (struct wire_header){.op = WIRE_GRANTED}, sizeof(ticket));
}

static void tell_or_close(struct attached *attached, struct out *out, uint64_t welcomes)
{
    if (out)
        turn_tell(attached, out, welcomes);
    else if (attached->client)
        conn_close(attached->client->conn, "no memory for an event");
}

void attached_granted(void *context, lock_session low, uint64_t ticket)
{
    struct hosted *hosted = context;
    struct table_node *node = table_get(&hosted->sessions, low);
    fs_assert(node);
    struct attached *attached = CONTAINER_OF(node, struct attached, node);
    session_grant(attached->session, ticket);
    tell_or_close(attached, granted_frame(ticket), 0);
}

// Grants that were told to a connection that is gone may not have arrived: again, in their order.
static void tell_grants_again(struct attached *attached)
{
    const struct session *session = attached->session;
    uint64_t first = session->n_grants > SESSION_GRANTS_KEPT ? session->n_grants - SESSION_GRANTS_KEPT : 0;
    for (uint64_t i = first; i < session->n_grants; i++) {
        uint64_t ticket = session->grants[i % SESSION_GRANTS_KEPT];
        if (ticket)
            tell_or_close(attached, granted_frame(ticket), 0);
    }
}

static void take_over(struct attached *attached)
{
    if (attached->client)
        conn_close(attached->client->conn, "resumed over a newer connection");
}

// Finds or makes the session. The root is made again if somebody removed it.
static int enter(struct hosted *hosted, struct attach *attach, struct attached **ret_attached,
                 bool *ret_resumed, struct fs_attr *ret_root, char *reason, size_t reason_size)
{
    struct attached *attached = find_session(hosted, attach);
    bool resumed = attached != NULL;
    int result = open_root(hosted, attach, ret_root, reason, reason_size);
    if (result < 0)
        return result;
    if (!resumed)
        result = new_session(hosted, attach, ret_root->ino, &attached);
    if (result < 0) {
        snprintf(reason, reason_size, "file system %s takes no more sessions: %s", hosted->id,
                 strerror(-result));
        return result;
    }
    *ret_attached = attached;
    *ret_resumed = resumed;
    return 0;
}

void welcome(struct shard *shard, struct hosted *hosted, struct attach *attach, struct conn *conn)
{
    char reason[ATTACH_REASON_SIZE];
    struct fs_attr root;
    struct attached *attached;
    bool resumed;
    struct client *client = client_new(shard, conn);
    if (!client) {
        attach_free(attach);
        return;
    }
    int result = enter(hosted, attach, &attached, &resumed, &root, reason, sizeof(reason));
    if (result < 0) {
        refuse(client, attach, result, reason);
        attach_free(attach);
        return;
    }
    take_over(attached);
    link_client(client, attached);
    attached->session->root = root.ino;
    log_attach(attached, attach, resumed);
    tell_or_close(attached, welcome_frame(attached, attach, &root, resumed), client->number);
    if (resumed)
        tell_grants_again(attached);
    attach_free(attach);
    turn_settle(hosted, true);
}

// --- the end of a session ---

bool hosted_root_attached(const struct hosted *hosted, fs_ino ino)
{
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        if (CONTAINER_OF(node, struct attached, node)->session->root == ino)
            return true;
    }
    return false;
}

static void free_ended(struct attached *attached)
{
    if (!attached->ended || attached->n_requests > 0)
        return;
    session_destroy(attached->session);
    free(attached);
}

void attached_put(struct attached *attached)
{
    fs_assert(attached->n_requests > 0);
    attached->n_requests--;
    free_ended(attached);
}

static void release_opens(struct attached *attached)
{
    struct hosted *hosted = attached->hosted;
    int result = core_turn_begin(hosted->core);
    struct table_node *node;
    while ((node = table_first(&attached->session->opens))) {
        struct session_open *open = CONTAINER_OF(node, struct session_open, node);
        core_release(hosted->core, open->file);
        open_forget(hosted, open);
    }
    if (result == 0)
        result = core_turn_commit(hosted->core);
    if (result < 0)
        log_warn("release", "fs=%s error=%s", hosted->id, strerror(-result));
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

// Nobody finds it any more.
static void leave_tables(struct attached *attached)
{
    struct hosted *hosted = attached->hosted;
    attached->ended = true;
    table_remove(&hosted->sessions, &attached->node);
    METRICS_ADD(sessions, -1);
    atomic_fetch_sub(&hosted->place->sessions, 1);
    drop_waits(attached->session);
}

static void log_end(const char *event, const struct attached *attached, const char *why)
{
    const struct session *session = attached->session;
    log_info(event, "session=%u fs=%s ap=%s opens=%zu why=%s", session->number, attached->hosted->id,
             session->identity.access_point, session->opens.count, why);
}

void attached_leave(struct attached *attached, const char *why)
{
    struct session *session = attached->session;
    struct client *client = attached->client;
    log_end("detach", attached, why);
    struct table_node *node;
    while ((node = table_first(&session->opens))) {
        struct session_open *open = CONTAINER_OF(node, struct session_open, node);
        core_release(attached->hosted->core, open->file);
        open_forget(attached->hosted, open);
    }
    leave_tables(attached);
    if (client) {
        client->attached = NULL;
        attached->client = NULL;
        conn_close(client->conn, why);
    }
    free_ended(attached);
}

void attached_end(struct attached *attached, const char *event, const char *why)
{
    struct hosted *hosted = attached->hosted;
    struct session *session = attached->session;
    log_end(event, attached, why);
    part_client(attached, why);
    leave_tables(attached);
    lock_release_session(hosted->locks, session->id_low);
    if (session->opens.count > 0)
        release_opens(attached);
    hosted->upkeep_due = hosted->usage_due = true;
    free_ended(attached);
    turn_settle(hosted, false);
}
