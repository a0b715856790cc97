// SPDX-License-Identifier: Apache-2.0
// Slots, opens and lock waits of one session; see session.h. Invariant: a slot's `seq` is the one that was
// admitted last, and `kept` is the reply to it or NULL.
#include "server/session.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int session_create(const struct session_identity *identity, struct session **ret_session)
{
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->identity = *identity;
    *ret_session = session;
    return 0;
}

void session_destroy(struct session *session)
{
    if (!session)
        return;
    fs_assert(session->opens.count == 0 && session->waits.count == 0);
    for (size_t i = 0; i < ARRAY_LEN(session->slots); i++)
        out_unref(session->slots[i].kept);
    table_free(&session->opens);
    table_free(&session->waits);
    free(session->grants);
    free(session->identity.groups);
    free(session);
}

static bool same_groups(const struct session_identity *a, const struct session_identity *b)
{
    return a->n_groups == b->n_groups &&
           (a->n_groups == 0 || memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0);
}

bool session_may_resume(const struct session *session, uint64_t id_high, uint64_t id_low,
                        const struct session_identity *identity)
{
    const struct session_identity *own = &session->identity;
    return session->id_high == id_high && session->id_low == id_low && own->how == identity->how &&
           strcmp(own->access_point, identity->access_point) == 0 &&
           strcmp(own->principal, identity->principal) == 0 && own->uid == identity->uid &&
           own->gid == identity->gid && own->read_only == identity->read_only && same_groups(own, identity);
}

// --- slots ---

static enum session_verdict wrong(const char **ret_why, const char *why)
{
    *ret_why = why;
    return SESSION_WRONG;
}

static enum session_verdict admit_again(struct session_slot *slot, const struct wire_header *header,
                                        uint64_t connection, struct out **ret_kept, const char **ret_why)
{
    if (slot->op != header->op)
        return wrong(ret_why, "another call under a sequence number used before");
    if (slot->running && slot->connection == connection)
        return wrong(ret_why, "a request on a slot whose last one is not answered yet");
    slot->connection = connection;
    if (slot->running)
        return SESSION_DROP;
    if (slot->kept && !slot->loose) {
        *ret_kept = slot->kept;
        return SESSION_REPLAY;
    }
    slot->running = true;
    return SESSION_RUN;
}

enum session_verdict session_admit(struct session *session, const struct wire_header *header,
                                   uint64_t connection, struct out **ret_kept, const char **ret_why)
{
    if (header->slot == 0 || header->slot > SESSION_SLOTS)
        return wrong(ret_why, "a slot that the session does not have");
    struct session_slot *slot = &session->slots[header->slot];
    if (slot->used && header->seq == slot->seq)
        return admit_again(slot, header, connection, ret_kept, ret_why);
    if (!slot->loose && header->seq != slot->seq + 1)
        return wrong(ret_why, "a gap in a slot's sequence numbers");
    if (slot->running)
        return wrong(ret_why, "a request on a slot whose last one is not answered yet");
    out_unref(slot->kept);
    *slot = (struct session_slot){
        .seq = header->seq, .op = header->op, .used = true, .running = true, .connection = connection};
    return SESSION_RUN;
}

void session_loosen(struct session *session)
{
    for (size_t i = 1; i < ARRAY_LEN(session->slots); i++)
        session->slots[i].loose = true;
}

void session_restore(struct session *session, const struct wire_header *header, struct out *kept)
{
    struct session_slot *slot = &session->slots[header->slot];
    fs_assert(header->slot > 0 && !slot->used);
    *slot = (struct session_slot){
        .seq = header->seq, .op = header->op, .used = true, .loose = true, .kept = kept};
}

struct out *session_restored(const struct session *session, uint16_t number)
{
    const struct session_slot *slot = &session->slots[number];
    fs_assert(slot->running);
    return slot->loose ? slot->kept : NULL;
}

void session_finish(struct session *session, uint16_t number, struct out *reply)
{
    struct session_slot *slot = &session->slots[number];
    fs_assert(slot->running && (!slot->kept || slot->loose));
    slot->running = slot->loose = false;
    out_unref(slot->kept);
    slot->kept = NULL;
    if (reply->length <= SESSION_REPLY_KEPT_MAX)
        slot->kept = out_ref(reply);
    else
        fs_assert(slot->op == WIRE_OPEN || wire_op_repeatable(slot->op));
}

// --- opens ---

struct session_open *session_open_get(const struct session *session, uint64_t open_id)
{
    struct table_node *node = table_get(&session->opens, open_id);
    return node ? CONTAINER_OF(node, struct session_open, node) : NULL;
}

int session_open_check(const struct session *session, uint64_t open_id)
{
    if (open_id == 0)
        return -EINVAL;
    if (session_open_get(session, open_id))
        return -EEXIST;
    return session->opens.count >= SESSION_OPENS_MAX ? -EMFILE : 0;
}

int session_open_add(struct session *session, uint64_t open_id, struct core_file *file,
                     struct session_open **ret_open)
{
    int result = session_open_check(session, open_id);
    if (result < 0)
        return result;
    struct session_open *open = calloc(1, sizeof(*open));
    if (!open || table_put(&session->opens, &open->node, open_id) < 0) {
        free(open);
        return -ENOMEM;
    }
    open->session = session;
    open->file = file;
    list_init(&open->fresh);
    *ret_open = open;
    return 0;
}

void session_open_remove(struct session *session, struct session_open *open)
{
    table_remove(&session->opens, &open->node);
    list_remove(&open->fresh);
    free(open->owners);
    free(open);
}

int session_open_owner(struct session_open *open, enum fs_lock_kind kind, uint64_t owner)
{
    for (size_t i = 0; i < open->n_owners; i++) {
        if (open->owners[i].owner == owner && open->owners[i].kind == kind)
            return 0;
    }
    if (open->n_owners == SESSION_OWNERS_MAX)
        return -ENOLCK;
    if (open->n_owners == open->owners_room) {
        size_t room = open->owners_room ? 2 * open->owners_room : 2;
        struct session_owner *owners = realloc(open->owners, room * sizeof(*owners));
        if (!owners)
            return -ENOMEM;
        open->owners = owners;
        open->owners_room = room;
    }
    open->owners[open->n_owners++] = (struct session_owner){.owner = owner, .kind = kind};
    return 0;
}

// --- lock waits ---

static struct session_wait *wait_get(const struct session *session, uint64_t ticket)
{
    struct table_node *node = table_get(&session->waits, ticket);
    return node ? CONTAINER_OF(node, struct session_wait, node) : NULL;
}

const struct session_wait *session_wait_get(const struct session *session, uint64_t ticket)
{
    return wait_get(session, ticket);
}

int session_wait_add(struct session *session, uint64_t ticket, fs_ino ino, const struct fs_lock *lock)
{
    if (ticket == 0 || wait_get(session, ticket))
        return -EINVAL;
    if (session->waits.count >= SESSION_WAITS_MAX)
        return -ENOLCK;
    struct session_wait *wait = calloc(1, sizeof(*wait));
    if (!wait || table_put(&session->waits, &wait->node, ticket) < 0) {
        free(wait);
        return -ENOMEM;
    }
    wait->ino = ino;
    wait->lock = *lock;
    session_grant_forget(session, ticket);
    return 0;
}

void session_wait_end(struct session *session, uint64_t ticket)
{
    struct session_wait *wait = wait_get(session, ticket);
    if (!wait)
        return;
    table_remove(&session->waits, &wait->node);
    free(wait);
}

void session_wait_drop(struct session *session, fs_ino ino, enum fs_lock_kind kind, uint64_t owner)
{
    for (struct table_node *node = table_first(&session->waits), *next; node; node = next) {
        next = table_next(&session->waits, node);
        struct session_wait *wait = CONTAINER_OF(node, struct session_wait, node);
        if (wait->ino == ino && wait->lock.kind == kind && wait->lock.owner == owner)
            session_wait_end(session, node->key);
    }
}

void session_grant(struct session *session, uint64_t ticket)
{
    session_wait_end(session, ticket);
    if (!session->grants)
        session->grants = calloc(SESSION_GRANTS_KEPT, sizeof(*session->grants));
    // Without memory the grant is still told once; only a connection lost at this moment would hide it.
    if (session->grants)
        session->grants[session->n_grants++ % SESSION_GRANTS_KEPT] = ticket;
}

void session_grant_forget(struct session *session, uint64_t ticket)
{
    for (uint64_t i = 0; i < MIN(session->n_grants, SESSION_GRANTS_KEPT); i++) {
        if (session->grants[i] == ticket)
            session->grants[i] = 0;
    }
}

bool session_granted(const struct session *session, uint64_t ticket)
{
    for (uint64_t i = 0; i < MIN(session->n_grants, SESSION_GRANTS_KEPT); i++) {
        if (session->grants[i] == ticket)
            return true;
    }
    return false;
}
