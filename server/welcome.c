// SPDX-License-Identifier: Apache-2.0
// From a hello that was let in to a session, new or resumed, and its answer. On the shard's thread.
// Invariant: a session is in the store before its client hears of it.
#include "fs/base/log.h"
#include "server/keep.h"
#include "server/metrics.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WELCOME_ROOM 1024u

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

static int set_quota(struct hosted *hosted, fs_ino id, const struct catalogue_quota *quota)
{
    struct core_limits limits = {.max_bytes = quota->max_bytes, .max_inodes = quota->max_inodes};
    return core_quota_set(hosted->core, id, &limits);
}

// The file system's limits hold for a root that is made, too.
static int resolve_root_under_quotas(struct hosted *hosted, const struct attach *attach,
                                     struct fs_attr *ret_root)
{
    int result = attach->quotas_known ? set_quota(hosted, 0, &attach->fs_quota) : 0;
    if (result == 0)
        result = resolve_root(hosted, attach, ret_root);
    if (result == 0 && attach->quotas_known)
        result = set_quota(hosted, ret_root->ino, &attach->root_quota);
    return result;
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

// In the turn.
static int open_root(struct hosted *hosted, const struct attach *attach, struct fs_attr *ret_root,
                     char *reason, size_t reason_size)
{
    struct fs_attr root;
    int result = resolve_root_under_quotas(hosted, attach, &root);
    bool entering = result == 0;
    if (result == 0)
        result = may_enter(hosted, &attach->identity, root.ino);
    if (result < 0)
        explain(attach, result, entering, reason, reason_size);
    else
        *ret_root = root;
    return result;
}

// --- sessions ---

// The one that the client had, perhaps `lost`.
static struct attached *find_session(const struct hosted *hosted, const struct attach *attach)
{
    struct attached *attached = attached_get(hosted, attach->session_low);
    bool may = attached && session_may_resume(attached->session, attach->session_high, attach->session_low,
                                              &attach->identity);
    return may ? attached : NULL;
}

static void draw_ids(const struct hosted *hosted, uint64_t *ret_high, uint64_t *ret_low)
{
    const struct env *env = hosted->shard->options->env;
    uint64_t low;
    do {
        env_random(env, ret_high, sizeof(*ret_high));
        env_random(env, &low, sizeof(low));
        low &= INT64_MAX; // as the store keys them
    } while (low == 0 || attached_get(hosted, low));
    *ret_low = low;
}

// In the turn.
static int new_session(struct hosted *hosted, struct attach *attach, fs_ino root,
                       struct attached **ret_attached)
{
    uint64_t high, low;
    struct attached *attached;
    draw_ids(hosted, &high, &low);
    int result = attached_new(hosted, &attach->identity, high, low, &attached);
    if (result == -EUSERS && attached_revoke_oldest(hosted))
        result = attached_new(hosted, &attach->identity, high, low, &attached);
    if (result < 0)
        return result;
    attach->identity.groups = NULL;
    attached_set_root(attached, root);
    result = keep_session(hosted, attached);
    if (result < 0) {
        attached_discard(attached);
        return result;
    }
    *ret_attached = attached;
    return 0;
}

// For operators.
static void note_client(struct attached *attached, const struct attach *attach)
{
    const struct hosted *hosted = attached->hosted;
    size_t quoted = strlen(attach->client_name);
    snprintf(attached->client_name, sizeof(attached->client_name), "%.*s", (int)quoted - 2,
             attach->client_name + 1);
    snprintf(attached->peer, sizeof(attached->peer), "%s", attached->client->conn->peer.text);
    attached->hello_ns = env_realtime_ns(hosted->shard->options->env);
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
                                 const struct fs_attr *root, bool resumed, bool lost)
{
    const struct session *session = attached->session;
    const struct shard *shard = attached->hosted->shard;
    struct wire_hello_reply reply = {
        .version = attach->version,
        .session_high = session->id_high,
        .session_low = session->id_low,
        .resumed = resumed,
        .claims = attached->claim != CLAIM_DONE,
        .incarnation = shard->incarnation,
        .log_continuous = attached->hosted->log_continuous && !lost,
        .n_slots = SESSION_SLOTS,
        .lease_ms = shard->options->lease_ms,
        .identity = session->identity.how,
        .read_only = session->identity.read_only,
        .server_time_ns = env_realtime_ns(shard->options->env),
        .lease_generation = attached->holder ? attached->holder->generation : 0,
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

static void take_over(struct attached *attached)
{
    if (attached->client)
        conn_close(attached->client->conn, "resumed over a newer connection");
}

// In the turn: the root is made again if somebody removed it; a session that the client had and may not
// resume is replaced. *ret_lost: the one replaced, if its client may claim what it held.
static int enter(struct hosted *hosted, struct attach *attach, struct attached **ret_attached,
                 struct attached **ret_lost, struct fs_attr *ret_root, char *reason, size_t reason_size)
{
    struct attached *had = find_session(hosted, attach);
    int result = open_root(hosted, attach, ret_root, reason, reason_size);
    if (result < 0)
        return result;
    if (had && !had->lost) {
        *ret_attached = had;
        *ret_lost = NULL;
        return 0;
    }
    result = new_session(hosted, attach, ret_root->ino, ret_attached);
    if (result < 0)
        snprintf(reason, reason_size, "file system %s takes no more sessions: %s", hosted->id,
                 strerror(-result));
    else
        *ret_lost = had && attached_get(hosted, attach->session_low) == had ? had : NULL; // or it made room
    return result;
}

static int enter_in_turn(struct hosted *hosted, struct attach *attach, struct attached **ret_attached,
                         struct attached **ret_lost, struct fs_attr *ret_root, char *reason,
                         size_t reason_size)
{
    struct attached *attached = NULL;
    size_t n_sessions = hosted->shard->n_sessions_ever;
    int result = core_turn_begin(hosted->core);
    if (result < 0)
        return result;
    result = enter(hosted, attach, &attached, ret_lost, ret_root, reason, reason_size);
    int committed = hosted_commit(hosted);
    if (result == 0 && committed < 0) {
        snprintf(reason, reason_size, "file system %s: %s", hosted->id, strerror(-committed));
        if (hosted->shard->n_sessions_ever != n_sessions)
            attached_discard(attached);
    }
    *ret_attached = attached;
    return result < 0 ? result : committed;
}

// What the client must claim, before anything else is served to it.
static void settle_claims(struct attached *attached, struct attached *lost)
{
    if (attached->claim == CLAIM_AWAITED)
        attached->claim = CLAIM_UNDERWAY;
    if (!lost)
        return;
    attached->claim = CLAIM_UNDERWAY;
    attached->missed = attached->missed_before = lost->missed_before;
    attached->hosted->n_unclaimed++;
    attached_end(lost, "replace", "its client has a new one since the power loss");
}

void welcome(struct shard *shard, struct hosted *hosted, struct attach *attach, struct conn *conn)
{
    char reason[ATTACH_REASON_SIZE] = "no memory";
    struct fs_attr root;
    struct attached *attached, *lost = NULL;
    struct client *client = client_new(shard, conn);
    if (!client) {
        attach_free(attach);
        return;
    }
    size_t n_sessions = shard->n_sessions_ever;
    int result = enter_in_turn(hosted, attach, &attached, &lost, &root, reason, sizeof(reason));
    if (result < 0) {
        refuse(client, attach, result, reason);
        attach_free(attach);
        return;
    }
    bool resumed = shard->n_sessions_ever == n_sessions;
    if (!resumed)
        METRICS_ADD(attaches, 1);
    take_over(attached);
    client_link(client, attached);
    attached_heard(attached);
    attached_set_root(attached, root.ino);
    memcpy(attached->session->identity.handle_key, attach->identity.handle_key,
           sizeof(attach->identity.handle_key));
    note_client(attached, attach);
    log_attach(attached, attach, resumed);
    settle_claims(attached, lost);
    leases_enter(attached, attach->want_leases, resumed);
    turn_tell(attached, WIRE_HELLO, welcome_frame(attached, attach, &root, resumed, lost != NULL),
              client->number);
    if (resumed) {
        attached_tell_grants_again(attached);
        leases_tell_again(attached);
    }
    attach_free(attach);
    turn_settle(hosted, true);
}
