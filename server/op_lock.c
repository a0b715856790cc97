// SPDX-License-Identifier: Apache-2.0
// The calls on locks. On the file system's shard. Locks are in memory: a failed turn does not undo them.
// Invariant: a wait of the lock table is in its session's table too, and every owner that locked through an
// open is known to it.
#include "server/call.h"
#include <errno.h>

// A flock is of the whole file; a record lock asks for the access it stands for, as Linux does.
static int check_lock(const struct session_open *open, const struct fs_lock *lock)
{
    if (lock->kind == FS_LOCK_FLOCK)
        return lock->start == 0 && lock->end == INT64_MAX ? 0 : -EINVAL;
    uint32_t flags = core_file_flags(open->file);
    if (lock->type == FS_LOCK_READ && !(flags & FS_OPEN_READ))
        return -EBADF;
    return lock->type == FS_LOCK_WRITE && !(flags & FS_OPEN_WRITE) ? -EBADF : 0;
}

int op_getlk(struct call *call)
{
    CALL_DECODE(getlk);
    struct session_open *open;
    int result = call_open(call, request.open_id, &open);
    if (result < 0)
        return result;
    struct wire_getlk_reply reply = {.lock = request.lock};
    lock_session holder = 0;
    lock_get(call->hosted->locks, core_file_ino(open->file), call->session->id_low, &request.lock,
             &reply.lock, &holder);
    // A pid means something to the one client that gave it, and an owner to nobody else.
    if (reply.lock.type != FS_LOCK_UNLOCK && holder != call->session->id_low)
        reply.lock.pid = 0;
    reply.lock.owner = request.lock.owner;
    return call_reply_getlk(call, &reply);
}

static int set_now(struct call *call, fs_ino ino, const struct fs_lock *lock)
{
    int result = lock_set(call->hosted->locks, ino, call->session->id_low, lock, 0);
    if (result == 0 && lock->type != FS_LOCK_UNLOCK)
        grace_locked(call->hosted, ino);
    return result;
}

static int set_and_wait(struct call *call, fs_ino ino, const struct wire_setlk_request *request)
{
    struct lock_table *locks = call->hosted->locks;
    struct session *session = call->session;
    const struct fs_lock *lock = &request->lock;
    if (lock->type != FS_LOCK_UNLOCK)
        attached_clear_way(call->hosted, ino, session->id_low, lock);
    if (request->ticket == 0 || lock->type == FS_LOCK_UNLOCK)
        return set_now(call, ino, lock);
    int result = session_wait_add(session, request->ticket, ino, lock);
    if (result < 0)
        return result;
    if (request->how == WIRE_SETLK_UNDETECTED)
        result = lock_set_undetected(locks, ino, session->id_low, lock, request->ticket);
    else
        result = lock_set(locks, ino, session->id_low, lock, request->ticket);
    if (result != 1)
        session_wait_end(session, request->ticket);
    if (result == 0)
        grace_locked(call->hosted, ino);
    return result;
}

// A claimed lock is set like any other: what was granted to somebody else since the restart stays theirs,
// also when they have let go of it again.
static int claim(struct call *call, fs_ino ino, const struct fs_lock *lock)
{
    int result = grace_check_claim(call->request->attached, ino);
    return result == 0 ? lock_set(call->hosted->locks, ino, call->session->id_low, lock, 0) : result;
}

int op_setlk(struct call *call)
{
    CALL_DECODE(setlk);
    struct session_open *open;
    int result = call_open(call, request.open_id, &open);
    if (result == 0 && request.how > WIRE_SETLK_UNDETECTED)
        result = -EINVAL;
    if (result == 0)
        result = check_lock(open, &request.lock);
    if (result == 0 && request.lock.type != FS_LOCK_UNLOCK)
        result = session_open_owner(open, request.lock.kind, request.lock.owner);
    // Who has nothing to claim asks like everybody else.
    if (result == 0 && request.how == WIRE_SETLK_RECLAIM && call->request->attached->claim == CLAIM_UNDERWAY)
        result = claim(call, core_file_ino(open->file), &request.lock);
    else if (result == 0)
        result = set_and_wait(call, core_file_ino(open->file), &request);
    if (result < 0)
        return result;
    return call_reply_setlk(call, &(struct wire_setlk_reply){.queued = result == 1});
}

int op_cancel(struct call *call)
{
    CALL_DECODE(cancel);
    struct session *session = call->session;
    bool granted = false;
    if (lock_cancel(call->hosted->locks, session->id_low, request.ticket) == 0)
        session_wait_end(session, request.ticket);
    else
        granted = session_granted(session, request.ticket);
    // Answered here: no event about it is told any more, not even after a lost connection.
    session_grant_forget(session, request.ticket);
    return call_reply_cancel(call, &(struct wire_cancel_reply){.granted = granted});
}

void open_drop_locks(struct attached *attached, struct session_open *open)
{
    fs_ino ino = core_file_ino(open->file);
    for (size_t i = 0; i < open->n_owners; i++) {
        const struct session_owner *owner = &open->owners[i];
        session_wait_drop(attached->session, ino, owner->kind, owner->owner);
        lock_release_owner(attached->hosted->locks, ino, attached->session->id_low, owner->kind,
                           owner->owner);
    }
}
