// SPDX-License-Identifier: Apache-2.0
// Locks: fcntl, OFD and flock. Loop's thread; see request.h. Invariants: what the server granted is recorded
// in the node's holds, or an unlock for it is on its way; a lock_wait is in mount->waits from the moment its
// SETLK is submitted until the wait is over: granted, refused, or its cancellation answered.
#include "client/dying.h"
#include "client/fuse_ops.h"
#include "client/locks.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

#define LOCK_ROOM 96u

struct lock_wait {
    struct table_node id; // key: ticket
    struct mount *mount;
    fuse_req_t fuse; // who waits, once the server has said that it queued; NULL: nobody any more
    uint64_t open_id;
    struct fs_lock lock;
    bool queued, granted, cancelled;
    bool asking;     // again, after a restart
    bool undetected; // deadlocks are not looked for
};

// --- translation ---

static bool lock_of(const struct flock *flock, uint64_t owner, struct fs_lock *ret_lock)
{
    *ret_lock = (struct fs_lock){
        .kind = FS_LOCK_FCNTL,
        .type = flock->l_type == F_RDLCK   ? FS_LOCK_READ
                : flock->l_type == F_WRLCK ? FS_LOCK_WRITE
                                           : FS_LOCK_UNLOCK,
        .start = (uint64_t)flock->l_start,
        .end = flock->l_len == 0 ? INT64_MAX : (uint64_t)(flock->l_start + flock->l_len - 1),
        .owner = owner,
        .pid = (uint32_t)flock->l_pid,
    };
    return flock->l_start >= 0 && flock->l_len >= 0;
}

static struct flock flock_of(const struct fs_lock *lock)
{
    static const short types[] = {
        [FS_LOCK_READ] = F_RDLCK, [FS_LOCK_WRITE] = F_WRLCK, [FS_LOCK_UNLOCK] = F_UNLCK};
    return (struct flock){.l_type = types[lock->type],
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)lock->start,
                          .l_len = lock->end == INT64_MAX ? 0 : (off_t)(lock->end - lock->start + 1),
                          .l_pid = (pid_t)lock->pid};
}

// --- records ---

static int record(struct mount *mount, uint64_t open_id, const struct fs_lock *lock)
{
    const struct file *file = nodes_file(&mount->nodes, open_id);
    return file ? nodes_hold(&mount->nodes, file->node, open_id, lock) : 0; // released: the server dropped it
}

static void record_none(struct mount *mount, uint64_t open_id, struct fs_lock lock)
{
    lock.type = FS_LOCK_UNLOCK;
    if (record(mount, open_id, &lock) < 0)
        log_warn("lock",
                 "error=no-memory"); // more is claimed after a restart than is held, until the file is closed
}

static struct request *setlk_new(struct mount *mount, fuse_req_t fuse, uint64_t open_id,
                                 const struct fs_lock *lock,
                                 void (*done)(struct request *request, struct reader *body))
{
    struct request *request = request_new(mount, fuse, WIRE_SETLK, LOCK_ROOM, done);
    if (!request)
        return NULL;
    request->open_id = open_id;
    request->lock = *lock;
    if (lock->type == FS_LOCK_UNLOCK)
        request->call.class = RPC_URGENT;
    return request;
}

static struct lock_wait *wait_get(const struct mount *mount, uint64_t ticket)
{
    struct table_node *node = table_get(&mount->waits, ticket);
    return node ? CONTAINER_OF(node, struct lock_wait, id) : NULL;
}

static void setlk_send(struct request *request)
{
    const struct lock_wait *wait = request->ticket ? wait_get(request->mount, request->ticket) : NULL;
    struct wire_setlk_request message = {.open_id = request->open_id,
                                         .lock = request->lock,
                                         .ticket = request->ticket,
                                         .how = wait && wait->undetected ? WIRE_SETLK_UNDETECTED
                                                                         : WIRE_SETLK_PLAIN};
    wire_put_setlk_request(&request->body, &message);
    request_send(request);
}

static void unlocked(struct request *request, struct reader *body)
{
    record_none(request->mount, request->open_id, request->lock);
    request_done_ok(request, body);
}

// A lock that nobody waits for any more is given back.
static void give_back(struct mount *mount, uint64_t open_id, struct fs_lock lock)
{
    if (!nodes_file(&mount->nodes, open_id))
        return;
    lock.type = FS_LOCK_UNLOCK;
    struct request *request = setlk_new(mount, NULL, open_id, &lock, unlocked);
    if (request)
        setlk_send(request);
}

// Granted. -ENOLCK: it cannot be remembered, so it is given back. -EINTR: nobody is there to have it.
static int take(struct mount *mount, fuse_req_t fuse, uint64_t open_id, const struct fs_lock *lock)
{
    int result = fuse ? record(mount, open_id, lock) : -EINTR;
    if (result < 0)
        give_back(mount, open_id, *lock);
    return result == -ENOMEM ? -ENOLCK : result;
}

// --- without waiting ---

static void setlk_done(struct request *request, struct reader *body)
{
    struct wire_setlk_reply reply;
    int result = wire_get_setlk_reply(body, &reply) < 0 || reply.queued ? -EIO : 0;
    if (result == 0)
        result = take(request->mount, request->fuse, request->open_id, &request->lock);
    if (result < 0)
        request_fail(request, result);
    else
        request_done_ok(request, NULL);
}

// Converting a flock lets the old one go before it asks for the new.
static void setlk_failed(struct request *request, int error)
{
    if (request->lock.kind == FS_LOCK_FLOCK && error == -EAGAIN)
        record_none(request->mount, request->open_id, request->lock);
    request_fail(request, error);
}

// --- waiting ---

// Over: result 0 is granted.
static void wait_end(struct lock_wait *wait, int result)
{
    struct mount *mount = wait->mount;
    if (result == 0)
        result = take(mount, wait->fuse, wait->open_id, &wait->lock);
    if (wait->fuse)
        fuse_reply_err(wait->fuse, -result);
    table_remove(&mount->waits, &wait->id);
    free(wait);
}

static void cancel_done(struct request *request, struct reader *body)
{
    struct wire_cancel_reply reply;
    struct lock_wait *wait = wait_get(request->mount, request->ticket);
    if (!wait)
        return;
    bool granted = wire_get_cancel_reply(body, &reply) == 0 && reply.granted;
    wait_end(wait, granted ? 0 : -EINTR);
}

static void cancel_failed(struct request *request, int error)
{
    struct lock_wait *wait = wait_get(request->mount, request->ticket);
    (void)error;
    if (wait)
        wait_end(wait, -EINTR);
}

static void wait_leave(struct lock_wait *wait, int error)
{
    if (wait->fuse)
        fuse_reply_err(wait->fuse, -error);
    wait->fuse = NULL;
}

static void wait_cancel(struct lock_wait *wait)
{
    struct mount *mount = wait->mount;
    if (wait->cancelled)
        return;
    struct request *request = request_new(mount, NULL, WIRE_CANCEL, LOCK_ROOM, cancel_done);
    if (!request)
        return;
    wait->cancelled = true;
    request->failed = cancel_failed;
    request->ticket = wait->id.key;
    request->call.class = RPC_URGENT;
    wire_put_cancel_request(&request->body, &(struct wire_cancel_request){.ticket = wait->id.key});
    request_send(request);
}

// The server's verdict decides what the caller hears, unless it is away.
static void wait_interrupt(struct lock_wait *wait)
{
    if (!rpc_is_up(wait->mount->rpc))
        wait_leave(wait, -EINTR);
    wait_cancel(wait);
}

static void on_wait_interrupt(fuse_req_t fuse, void *data)
{
    (void)fuse;
    wait_interrupt(data);
}

static void waiting_done(struct request *request, struct reader *body)
{
    struct wire_setlk_reply reply;
    struct lock_wait *wait = wait_get(request->mount, request->ticket);
    fs_assert(wait);
    wait->fuse = request->fuse;
    request->fuse = NULL;
    if (wire_get_setlk_reply(body, &reply) < 0) {
        wait_end(wait, -EIO);
        return;
    }
    if (!reply.queued || wait->granted) {
        wait_end(wait, 0);
        return;
    }
    wait->queued = true;
    if (wait->lock.kind == FS_LOCK_FLOCK)
        record_none(wait->mount, wait->open_id, wait->lock);
    // libfuse would call for an interrupt that came before with the request's lock held, and destroy that
    // lock when the call answers the request.
    if (!wait->fuse || fuse_req_interrupted(wait->fuse))
        wait_interrupt(wait);
    else
        fuse_req_interrupt_func(wait->fuse, on_wait_interrupt, wait);
}

static void waiting_gone(struct request *request)
{
    struct lock_wait *wait = wait_get(request->mount, request->ticket);
    fs_assert(wait);
    table_remove(&request->mount->waits, &wait->id);
    free(wait);
}

static void wait_for_lock(fuse_req_t fuse, uint64_t open_id, const struct fs_lock *lock, bool undetected);

// Linux looks for no deadlocks of OFD locks, whose owners are not who waits.
static void waiting_failed(struct request *request, int error)
{
    fuse_req_t fuse = request->fuse;
    waiting_gone(request);
    if (error != -EDEADLK || !fuse || !caller_waits_for_ofd(fuse_req_ctx(fuse)->pid)) {
        request_fail(request, error);
        return;
    }
    request->fuse = NULL;
    wait_for_lock(fuse, request->open_id, &request->lock, true);
}

static struct lock_wait *wait_new(struct mount *mount, uint64_t open_id, const struct fs_lock *lock)
{
    struct lock_wait *wait = calloc(1, sizeof(*wait));
    if (!wait || table_put(&mount->waits, &wait->id, mount->last_ticket + 1) < 0) {
        free(wait);
        return NULL;
    }
    mount->last_ticket++;
    wait->mount = mount;
    wait->open_id = open_id;
    wait->lock = *lock;
    return wait;
}

static void wait_for_lock(fuse_req_t fuse, uint64_t open_id, const struct fs_lock *lock, bool undetected)
{
    struct mount *mount = mount_of(fuse);
    struct request *request = setlk_new(mount, fuse, open_id, lock, waiting_done);
    if (!request)
        return;
    struct lock_wait *wait = wait_new(mount, open_id, lock);
    if (wait)
        wait->undetected = undetected;
    request->ticket = wait ? wait->id.key : 0;
    request->failed = wait ? waiting_failed : setlk_failed;
    request->gone = wait ? waiting_gone : NULL;
    request->interruptible = true;
    if (!wait)
        request->done = setlk_done; // no memory to wait with: only if it is free
    setlk_send(request);
}

void locks_granted(struct mount *mount, uint64_t ticket)
{
    struct lock_wait *wait = wait_get(mount, ticket);
    if (!wait)
        return; // told a second time
    wait->granted = true;
    if (wait->queued && !wait->asking)
        wait_end(wait, 0);
}

void locks_down(struct mount *mount)
{
    bool refused = rpc_refusal(mount->rpc) != NULL;
    for (struct table_node *node = table_first(&mount->waits), *next; node; node = next) {
        struct lock_wait *wait = CONTAINER_OF(node, struct lock_wait, id);
        next = table_next(&mount->waits, node);
        if (refused && wait->queued)
            wait_end(wait, -ESTALE);
        else if (wait->cancelled)
            wait_leave(wait, -EINTR);
    }
}

void locks_fenced(struct mount *mount)
{
    for (struct table_node *node = table_first(&mount->waits), *next; node; node = next) {
        struct lock_wait *wait = CONTAINER_OF(node, struct lock_wait, id);
        next = table_next(&mount->waits, node);
        if (wait->queued)
            wait_end(wait, -EIO);
    }
}

uint64_t locks_tick(struct mount *mount)
{
    if (!mount->options.soft || mount->down_ns == 0 || mount->waits.count == 0)
        return UINT64_MAX;
    uint64_t due = mount->down_ns + mount->options.timeo_s * 1000000000ull;
    if (env_monotonic_ns(&mount->env) < due)
        return due;
    for (struct table_node *node = table_first(&mount->waits); node; node = table_next(&mount->waits, node)) {
        struct lock_wait *wait = CONTAINER_OF(node, struct lock_wait, id);
        if (!wait->fuse)
            continue;
        wait_leave(wait, -ETIMEDOUT);
        wait_cancel(wait);
    }
    return UINT64_MAX;
}

void locks_abandon(struct mount *mount)
{
    for (struct table_node *node = table_first(&mount->waits); node; node = table_next(&mount->waits, node))
        wait_leave(CONTAINER_OF(node, struct lock_wait, id), -ENOTCONN);
}

void locks_free(struct mount *mount)
{
    struct table_node *node;
    while ((node = table_first(&mount->waits))) {
        table_remove(&mount->waits, node);
        free(CONTAINER_OF(node, struct lock_wait, id));
    }
    table_free(&mount->waits);
}

// --- waiting again ---

static void again_done(struct request *request, struct reader *body)
{
    struct wire_setlk_reply reply;
    struct lock_wait *wait = wait_get(request->mount, request->ticket);
    int result = wire_get_setlk_reply(body, &reply);
    if (!wait)
        return;
    wait->asking = false;
    if (result < 0 || !reply.queued || wait->granted)
        wait_end(wait, result < 0 ? -EIO : 0);
}

static void again_failed(struct request *request, int error)
{
    struct lock_wait *wait = wait_get(request->mount, request->ticket);
    if (wait)
        wait_end(wait, error);
}

// A wait whose SETLK was not answered is asked for by that one, sent again; a cancelled one has ended with
// the server, as its cancel will hear.
void locks_ask_again(struct mount *mount)
{
    for (struct table_node *node = table_first(&mount->waits); node; node = table_next(&mount->waits, node)) {
        struct lock_wait *wait = CONTAINER_OF(node, struct lock_wait, id);
        if (!wait->queued || wait->cancelled || wait->asking)
            continue;
        wait->granted = false;
        struct request *request = setlk_new(mount, NULL, wait->open_id, &wait->lock, again_done);
        if (!request)
            continue;
        request->failed = again_failed;
        request->ticket = node->key;
        wait->asking = true;
        setlk_send(request);
    }
}

// --- operations ---

static void set_lock(fuse_req_t fuse, const struct fuse_file_info *fi, const struct fs_lock *lock, bool wait)
{
    struct file *file = request_file(fuse, fi);
    if (!file)
        return;
    file->may_keep = false; // the server remembers who locks through it
    if (wait && lock->type != FS_LOCK_UNLOCK) {
        wait_for_lock(fuse, fi->fh, lock, false);
        return;
    }
    bool unlocks = lock->type == FS_LOCK_UNLOCK;
    struct request *request = setlk_new(mount_of(fuse), fuse, fi->fh, lock, unlocks ? unlocked : setlk_done);
    if (!request)
        return;
    request->failed = setlk_failed;
    setlk_send(request);
}

void op_setlk(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi, struct flock *flock, int wait)
{
    struct fs_lock lock;
    (void)id;
    if (lock_of(flock, fi->lock_owner, &lock))
        set_lock(fuse, fi, &lock, wait);
    else
        fuse_reply_err(fuse, EINVAL);
}

void op_flock(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi, int operation)
{
    int what = operation & ~LOCK_NB;
    struct fs_lock lock = {
        .kind = FS_LOCK_FLOCK,
        .type = what == LOCK_SH   ? FS_LOCK_READ
                : what == LOCK_EX ? FS_LOCK_WRITE
                                  : FS_LOCK_UNLOCK,
        .end = INT64_MAX,
        .owner = fi->lock_owner,
        .pid = (uint32_t)fuse_req_ctx(fuse)->pid,
    };
    (void)id;
    set_lock(fuse, fi, &lock, !(operation & LOCK_NB));
}

static void getlk_done(struct request *request, struct reader *body)
{
    struct wire_getlk_reply reply;
    if (wire_get_getlk_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    struct flock flock = flock_of(&reply.lock);
    if (request->fuse)
        fuse_reply_lock(request->fuse, &flock);
    request->fuse = NULL;
}

void op_getlk(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi, struct flock *flock)
{
    struct wire_getlk_request message = {.open_id = fi->fh};
    (void)id;
    if (!lock_of(flock, fi->lock_owner, &message.lock)) {
        fuse_reply_err(fuse, EINVAL);
        return;
    }
    if (!request_file(fuse, fi))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_GETLK, LOCK_ROOM, getlk_done);
    if (!request)
        return;
    wire_put_getlk_request(&request->body, &message);
    request_send(request);
}

// close(): the process's record locks on the file go, through whichever descriptor they were taken. If that
// cannot be, the session is gone and the locks with it.
static void flush_failed(struct request *request, int error)
{
    (void)error;
    unlocked(request, NULL);
}

// fuse: the close that waits, or NULL.
static void flush_locks(struct mount *mount, fuse_req_t fuse, uint64_t open_id, uint64_t owner)
{
    struct file *file = nodes_file(&mount->nodes, open_id);
    struct fs_lock all = {.kind = FS_LOCK_FCNTL, .type = FS_LOCK_UNLOCK, .end = INT64_MAX, .owner = owner};
    if (!file || !nodes_holds_any(file->node, FS_LOCK_FCNTL, owner)) {
        if (fuse)
            fuse_reply_err(fuse, 0);
        return;
    }
    struct request *request = setlk_new(mount, fuse, open_id, &all, unlocked);
    if (!request)
        return;
    request->failed = flush_failed;
    request->answered_when_down = true;
    setlk_send(request);
}

static void settled(struct request *request, struct reader *body)
{
    (void)body;
    flush_locks(request->mount, request->fuse, request->open_id, request->lock.owner);
    request->fuse = NULL;
}

// Nor does a close wait for others whose session is gone.
static void settle_failed(struct request *request, int error)
{
    (void)error;
    settled(request, NULL);
}

// What was stored through a mapping and written back has been applied without waiting for others to drop what
// they keep of it: that is waited for here.
void op_flush(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(fuse);
    struct node *node = nodes_get(&mount->nodes, id);
    if (!node || !node->owes_settle || !nodes_file(&mount->nodes, fi->fh)) {
        flush_locks(mount, fuse, fi->fh, fi->lock_owner);
        return;
    }
    struct request *request = request_new(mount, fuse, WIRE_SETTLE, LOCK_ROOM, settled);
    if (!request)
        return;
    node->owes_settle = false;
    request->failed = settle_failed;
    request->answered_when_down = true;
    request->open_id = fi->fh;
    request->lock.owner = fi->lock_owner;
    wire_put_settle_request(&request->body, &(struct wire_settle_request){.open_id = fi->fh});
    request_send(request);
}
