// SPDX-License-Identifier: Apache-2.0
// A server that restarted has forgotten what its sessions held: open files and held locks are claimed again,
// in this order, before any other call is sent. One that revoked the session has given to others what it
// held: it is given up here too. Loop's thread.
#include "client/locks.h"
#include "client/request.h"
#include "fs/base/log.h"
#include <errno.h>
#include <string.h>

#define CLAIM_ROOM 96u

static void claimed(struct request *request, struct reader *body)
{
    (void)request;
    (void)body;
}

// The descriptor stays, and whatever is done through it is ESTALE.
static void open_lost(struct request *request, int error)
{
    if (error == -ECANCELED)
        return; // the new session was lost as well: it will be claimed on the next
    request->mount->n_lost_opens++;
    log_warn("open-lost", "open=%llu error=%s", (unsigned long long)request->open_id, strerror(-error));
}

static void claim_open(struct mount *mount, const struct file *file)
{
    struct request *request = request_new_for(mount, file, WIRE_REOPEN, CLAIM_ROOM, claimed);
    if (!request)
        return;
    struct wire_reopen_request message = {
        .handle = file->node->handle, .open_id = file->id.key, .flags = file->flags};
    request->failed = open_lost;
    request->open_id = file->id.key;
    request->call.class = RPC_RECLAIM;
    wire_put_reopen_request(&request->body, &message);
    request_send(request);
}

// Before any other call is sent, so that the server refuses those that were on their way.
static void give_up_open(struct mount *mount, const struct file *file)
{
    struct request *request = request_new_for(mount, file, WIRE_RELEASE, CLAIM_ROOM, claimed);
    if (!request)
        return;
    request->failed = open_lost;
    request->open_id = file->id.key;
    request->call.class = RPC_RECLAIM;
    wire_put_release_request(&request->body, &(struct wire_release_request){.open_id = file->id.key});
    request_send(request);
}

static void lock_lost(struct request *request, int error)
{
    struct mount *mount = request->mount;
    struct file *file = nodes_file(&mount->nodes, request->open_id);
    struct fs_lock lock = request->lock;
    if (error == -ECANCELED)
        return;
    lock.type = FS_LOCK_UNLOCK;
    mount->n_lost_locks++;
    log_warn("lock-lost", "open=%llu error=%s", (unsigned long long)request->open_id, strerror(-error));
    if (!file)
        return;
    // What the lock protected may be another's by now: nothing more is read or written through this open, nor
    // by the calls that already wait to be sent.
    if (!file->given_up)
        give_up_open(mount, file);
    file->given_up = true;
    (void)nodes_hold(&mount->nodes, file->node, request->open_id, &lock);
}

static void claim_lock(struct mount *mount, const struct file *file, const struct hold *hold)
{
    struct request *request = request_new_for(mount, file, WIRE_SETLK, CLAIM_ROOM, claimed);
    if (!request)
        return;
    struct wire_setlk_request message = {
        .open_id = hold->open_id, .lock = hold->lock, .how = WIRE_SETLK_RECLAIM};
    request->failed = lock_lost;
    request->open_id = hold->open_id;
    request->lock = hold->lock;
    request->call.class = RPC_RECLAIM;
    wire_put_setlk_request(&request->body, &message);
    request_send(request);
}

void recover_claim(struct mount *mount)
{
    const struct table *files = &mount->nodes.files;
    log_info("reclaim", "opens=%zu locks=%zu waits=%zu", files->count, mount->nodes.n_holds,
             mount->waits.count);
    for (struct table_node *entry = table_first(files); entry; entry = table_next(files, entry)) {
        const struct file *file = CONTAINER_OF(entry, struct file, id);
        if (!file->given_up)
            claim_open(mount, file);
    }
    for (struct table_node *entry = table_first(files); entry; entry = table_next(files, entry)) {
        const struct file *file = CONTAINER_OF(entry, struct file, id);
        const struct hold *hold = file->n_holds > 0 ? nodes_first_hold(file->node) : NULL;
        for (; hold; hold = nodes_next_hold(hold)) {
            if (hold->open_id == file->id.key)
                claim_lock(mount, file, hold);
        }
    }
    locks_ask_again(mount);
}

static void drop_holds(struct mount *mount, struct file *file)
{
    for (struct hold *hold = nodes_first_hold(file->node), *next; hold && file->n_holds > 0; hold = next) {
        next = nodes_next_hold(hold);
        if (hold->open_id == file->id.key)
            nodes_drop_hold(&mount->nodes, hold);
    }
}

void recover_fenced(struct mount *mount)
{
    const struct table *files = &mount->nodes.files;
    log_warn("fenced", "opens=%zu locks=%zu waits=%zu why=%s", files->count, mount->nodes.n_holds,
             mount->waits.count, "the server gave up on this client, or was told to");
    mount->n_lost_locks += mount->nodes.n_holds;
    for (struct table_node *entry = table_first(files); entry; entry = table_next(files, entry)) {
        struct file *file = CONTAINER_OF(entry, struct file, id);
        mount->n_lost_opens += !file->given_up;
        file->given_up = true;
        drop_holds(mount, file);
    }
    locks_fenced(mount);
}

void recover_down(struct mount *mount)
{
    requests_down(mount);
    locks_down(mount);
}
