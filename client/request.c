// SPDX-License-Identifier: Apache-2.0
// See request.h. Loop's thread. Invariant: a request is in mount->requests while its caller waits for the
// server, and in mount->killable while that caller has been interrupted besides.
#include "client/request.h"
#include "client/dying.h"
#include "fs/base/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_ROOM  (sizeof(uint32_t) * (3 + FS_GROUPS_MAX)) // credentials at their largest
#define CRED_ROOM    (sizeof(uint32_t) * 3)
#define KILL_POLL_MS 100u
#define KILL_WAIT_MS 1000u // for the answer that would tell what the killed caller has done
#define NOBODY       65534u

// --- credentials ---

// Supplementary groups are looked up for callers that permissions mean something to.
static uint32_t groups_of(fuse_req_t fuse, const struct fuse_ctx *caller, uint32_t groups[FS_GROUPS_MAX])
{
    if (caller->uid == 0 || caller->pid == 0)
        return 0;
    int n = fuse_req_getgroups(fuse, FS_GROUPS_MAX, groups);
    return n < 0 ? 0 : MIN((uint32_t)n, FS_GROUPS_MAX);
}

static bool is_opening(uint16_t op)
{
    return op == WIRE_OPEN || op == WIRE_CREATE || op == WIRE_TMPFILE;
}

// For claiming the open after a restart of the server. Without memory the claim goes without groups.
static void keep_opener(struct request *request, const struct fs_cred *cred)
{
    size_t size = cred->n_groups * sizeof(*cred->groups);
    uint32_t *groups = size > 0 ? malloc(size) : NULL;
    if (groups)
        memcpy(groups, cred->groups, size);
    request->opener = (struct fs_cred){
        .uid = cred->uid, .gid = cred->gid, .n_groups = groups ? cred->n_groups : 0, .groups = groups};
}

// What the kernel asks on its own account (write-back of a mapping) is nobody's.
static struct fs_cred cred_of(fuse_req_t fuse, const struct file *file, uint32_t groups[FS_GROUPS_MAX])
{
    struct fs_cred cred = file ? file->opener : (struct fs_cred){.uid = NOBODY, .gid = NOBODY};
    const struct fuse_ctx *caller = fuse ? fuse_req_ctx(fuse) : NULL;
    if (caller && caller->uid != UINT32_MAX) {
        cred.uid = caller->uid;
        cred.gid = caller->gid;
        cred.n_groups = groups_of(fuse, caller, groups);
        cred.groups = groups;
    }
    return cred;
}

struct fs_cred request_cred(const struct mount *mount, fuse_req_t fuse, uint32_t groups[FS_GROUPS_MAX])
{
    return mount->identity == WIRE_IDENTITY_CALLER ? cred_of(fuse, NULL, groups) : (struct fs_cred){0};
}

static void put_cred(struct request *request, const struct file *file)
{
    uint32_t groups[FS_GROUPS_MAX];
    struct fs_cred cred = cred_of(request->fuse, file, groups);
    wire_put_cred(&request->body, &cred);
    if (is_opening(request->call.op))
        keep_opener(request, &cred);
}

// --- life ---

static void forget_caller(struct request *request)
{
    request->fuse = NULL;
    list_remove(&request->node);
    list_remove(&request->killable);
}

// What the kernel holds locked until it is answered.
static void count_busy(struct request *request, bool more)
{
    bool exclusive = request->call.op != WIRE_LOOKUP && request->call.op != WIRE_READDIR;
    if (request->busy == more)
        return;
    request->busy = more;
    for (size_t i = 0; i < ARRAY_LEN(request->directories); i++) {
        struct node *node =
            request->directories[i] ? nodes_get(&request->mount->nodes, request->directories[i]) : NULL;
        if (node && more) {
            node->n_busy++;
            node->n_exclusive += exclusive;
        } else if (node && node->n_busy > 0) {
            node->n_busy--;
            node->n_exclusive -= exclusive && node->n_exclusive > 0;
        }
    }
}

// --- what our own calls do to attributes ---

// The inodes whose attributes the call changes, 0 for none.
static fuse_ino_t changed_id(const struct request *request, size_t i)
{
    bool changes_directories = request->call.op != WIRE_LOOKUP && request->call.op != WIRE_READDIR;
    if (i < ARRAY_LEN(request->changes))
        return request->changes[i];
    return changes_directories ? request->directories[i - ARRAY_LEN(request->changes)] : 0;
}

// NULL: the kernel does not know it (any more).
static struct node *changed_node(const struct request *request, size_t i)
{
    fuse_ino_t id = changed_id(request, i);
    return id ? nodes_get(&request->mount->nodes, id) : NULL;
}

void request_changed(struct mount *mount, struct node *node)
{
    kept_opens_drop(&mount->kept_opens, node);
    kept_opens_tell(&mount->kept_opens, env_monotonic_ns(&mount->env));
    first_bytes_drop_node(&mount->first_bytes, node);
}

static void begin_changes(struct request *request)
{
    struct mount *mount = request->mount;
    bool ticked = false;
    for (size_t i = 0; i < REQUEST_CHANGES_MAX; i++) {
        struct node *node = changed_node(request, i);
        if (!node)
            continue;
        mount->attr_clock += !ticked;
        ticked = true;
        request->leased[i] = node->lease & WIRE_LEASE_ATTR;
        attr_change(&node->attr, mount->attr_clock);
    }
    request->changing = ticked;
    request->sent_at = mount->attr_clock;
}

static void end_changes(struct request *request)
{
    if (!request->changing)
        return;
    request->changing = false;
    request->ended_at = ++request->mount->attr_clock;
    for (size_t i = 0; i < REQUEST_CHANGES_MAX; i++) {
        struct node *node = changed_node(request, i);
        request->alone[i] = node && attr_changed(&node->attr, request->sent_at, request->ended_at);
        if (node && i < ARRAY_LEN(request->changes))
            request_changed(request->mount, node);
    }
}

// Which of them the inode is; REQUEST_CHANGES_MAX: none.
static size_t which_change(const struct request *request, fuse_ino_t id)
{
    size_t i = 0;
    while (i < REQUEST_CHANGES_MAX && changed_id(request, i) != id)
        i++;
    return i;
}

bool request_was_alone(const struct request *request, fuse_ino_t id)
{
    size_t i = which_change(request, id);
    return i < REQUEST_CHANGES_MAX && request->alone[i];
}

void request_keep_changed(const struct request *request, const struct fs_attr *attr)
{
    struct node *node = nodes_get(&request->mount->nodes, nodes_id_of(&request->mount->nodes, attr->ino));
    size_t i = node ? which_change(request, node->id.key) : REQUEST_CHANGES_MAX;
    if (i < REQUEST_CHANGES_MAX && request->leased[i] && request->alone[i] && !request->call.again &&
        node->lease & WIRE_LEASE_ATTR)
        attr_keep(&node->attr, attr, request->ended_at);
}

static void end_names(struct request *request, enum whole_outcome outcome)
{
    bool is_leased =
        outcome == WHOLE_NOTHING || (!request->call.again && request->name_lease & WIRE_LEASE_NAME);
    for (size_t i = 0; i < ARRAY_LEN(request->named); i++) {
        bool nothing = outcome == WHOLE_DONE && request->nothing[i];
        whole_end(&request->mount->whole, &request->named[i], nothing ? WHOLE_NOTHING : outcome, is_leased);
        request->named[i].id = 0;
    }
}

void request_was_read(struct mount *mount, struct node *node)
{
    int64_t server_ns = mount->server_ahead_ns + (int64_t)env_monotonic_ns(&mount->env);
    if (!mount->read_only)
        attr_was_read(&node->attr, server_ns / 1000000000, ++mount->attr_clock);
}

static void note_read(struct request *request)
{
    struct mount *mount = request->mount;
    uint16_t op = request->call.op;
    if (op != WIRE_READ && op != WIRE_READDIR && op != WIRE_READLINK)
        return;
    struct node *node =
        nodes_get(&mount->nodes, op == WIRE_READDIR ? request->directories[0] : request->node_id);
    if (node)
        request_was_read(mount, node);
}

static void request_free(struct request *request)
{
    end_changes(request);
    end_names(request, WHOLE_NOTHING); // it was not sent
    forget_caller(request);
    count_busy(request, false);
    free(request->call.frame);
    free((void *)request->opener.groups);
    free(request);
}

static void on_done(struct rpc_call *call, int result, struct reader *body)
{
    struct request *request = CONTAINER_OF(call, struct request, call);
    list_remove(&request->node);
    list_remove(&request->killable);
    end_changes(request);
    note_read(request);
    if (result == 0)
        request->done(request, body);
    else if (request->failed)
        request->failed(request, result);
    else
        request_fail(request, result);
    end_names(request, result == 0 ? WHOLE_DONE : WHOLE_UNKNOWN);
    request_free(request);
}

static struct request *make(struct mount *mount, fuse_req_t fuse, const struct file *file, uint16_t op,
                            size_t room, void (*done)(struct request *request, struct reader *body))
{
    bool with_cred = mount->identity == WIRE_IDENTITY_CALLER && op != WIRE_PING && op != WIRE_BYE;
    bool groups = with_cred && (file ? file->opener.n_groups > 0 : fuse && fuse_req_ctx(fuse)->uid != 0);
    size_t size = WIRE_HEADER_SIZE + (groups ? GROUPS_ROOM : CRED_ROOM) + room;
    struct request *request = calloc(1, sizeof(*request));
    uint8_t *frame = malloc(size);
    if (!request || !frame) {
        free(request);
        free(frame);
        if (fuse)
            fuse_reply_err(fuse, ENOMEM);
        return NULL;
    }
    request->mount = mount;
    request->fuse = fuse;
    request->done = done;
    request->body = writer_on(frame + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE);
    request->call = (struct rpc_call){.frame = frame,
                                      .op = op,
                                      .with_cred = with_cred,
                                      .repeatable = wire_op_repeatable(op),
                                      .class = RPC_ORDINARY,
                                      .done = on_done};
    list_init(&request->node);
    list_init(&request->killable);
    if (with_cred)
        put_cred(request, file);
    return request;
}

struct request *request_new(struct mount *mount, fuse_req_t fuse, uint16_t op, size_t room,
                            void (*done)(struct request *request, struct reader *body))
{
    return make(mount, fuse, NULL, op, room, done);
}

struct request *request_new_for(struct mount *mount, const struct file *file, uint16_t op, size_t room,
                                void (*done)(struct request *request, struct reader *body))
{
    return make(mount, NULL, file, op, room, done);
}

static void on_interrupt(fuse_req_t fuse, void *data);

void request_send(struct request *request)
{
    struct mount *mount = request->mount;
    if (request->body.failed) {
        request_fail(request, -EINVAL);
        if (request->gone)
            request->gone(request);
        request_free(request);
        return;
    }
    request->call.length = (uint32_t)(request->body.at - request->call.frame);
    count_busy(request, true);
    begin_changes(request);
    if (request->fuse && request->answered_when_down && !rpc_is_up(mount->rpc))
        request_done_ok(request, NULL);
    if (request->fuse) {
        request->since_ns = env_monotonic_ns(&mount->env);
        request->pid = fuse_req_ctx(request->fuse)->pid;
        list_push(&mount->requests, &request->node);
        fuse_req_interrupt_func(request->fuse, on_interrupt, request);
        // An interrupt that came before has been handled in there.
    }
    rpc_submit(mount->rpc, &request->call);
}

// --- callers that do not wait any more ---

// The caller gets `error` now; what was sent is awaited without it.
static void give_up(struct request *request, int error)
{
    request_fail(request, error);
    forget_caller(request);
    count_busy(request, false);
    if (!rpc_withdraw(request->mount->rpc, &request->call))
        return;
    if (request->gone)
        request->gone(request);
    request_free(request);
}

// Only who is being killed stops waiting; others see the call through. An interrupt comes once, so a caller
// that has been interrupted is looked at again and again.
static void on_interrupt(fuse_req_t fuse, void *data)
{
    struct request *request = data;
    (void)fuse;
    if (list_empty(&request->killable))
        list_push(&request->mount->killable, &request->killable);
}

void requests_down(struct mount *mount)
{
    list_for_each_safe (node, next, &mount->requests) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (!request->answered_when_down)
            continue;
        request_done_ok(request, NULL);
        forget_caller(request);
    }
}

void requests_abandon(struct mount *mount)
{
    while (!list_empty(&mount->requests)) {
        struct request *request = LIST_ENTRY(mount->requests.next, struct request, node);
        request_fail(request, -ENOTCONN);
        forget_caller(request);
    }
}

// While a process is seen alive others expect its call, and once it is gone they expect no more of it: so who
// is being killed waits for the answer, but not for a server that is away or slow.
static bool killed_leaves(struct request *request, bool is_up, uint64_t now)
{
    if (request->dying_ns == 0 && caller_is_dying(request->pid))
        request->dying_ns = now;
    return request->dying_ns != 0 && (!is_up || now >= request->dying_ns + KILL_WAIT_MS * 1000000ull);
}

static uint64_t tick_killed(struct mount *mount, uint64_t now)
{
    bool is_up = rpc_is_up(mount->rpc);
    list_for_each_safe (node, next, &mount->killable) {
        struct request *request = LIST_ENTRY(node, struct request, killable);
        if ((request->interruptible && !is_up) || killed_leaves(request, is_up, now))
            give_up(request, -EINTR);
    }
    return list_empty(&mount->killable) ? UINT64_MAX : now + KILL_POLL_MS * 1000000ull;
}

static uint64_t tick_soft(struct mount *mount, uint64_t now)
{
    uint64_t timeo_ns = mount->options.timeo_s * 1000000000ull;
    while (!list_empty(&mount->requests)) {
        struct request *oldest = LIST_ENTRY(mount->requests.next, struct request, node);
        if (now < oldest->since_ns + timeo_ns)
            return oldest->since_ns + timeo_ns;
        give_up(oldest, -ETIMEDOUT);
    }
    return UINT64_MAX;
}

// What has been found has been used by now.
static uint64_t tick_holds(struct mount *mount, uint64_t now)
{
    uint64_t open_id, due;
    while ((open_id = walks_take_due(&mount->walks, now, &due)) != 0)
        release_open(mount, open_id);
    return due;
}

uint64_t requests_tick(struct mount *mount)
{
    uint64_t now = env_monotonic_ns(&mount->env);
    uint64_t killed = tick_killed(mount, now);
    uint64_t soft = mount->options.soft ? tick_soft(mount, now) : UINT64_MAX;
    uint64_t calls = MIN(killed, soft), holds = tick_holds(mount, now);
    return MIN(calls, holds);
}

// --- helpers of the operations ---

uint64_t request_hold(fuse_req_t fuse)
{
    struct mount *mount = mount_of(fuse);
    bool again = walks_again(&mount->walks, fuse_req_ctx(fuse)->pid, env_monotonic_ns(&mount->env));
    return again ? nodes_new_open_id(&mount->nodes) : 0;
}

void request_held(struct request *request)
{
    struct mount *mount = request->mount;
    uint64_t oldest = walks_hold(&mount->walks, request->open_id, env_monotonic_ns(&mount->env));
    if (oldest != 0)
        release_open(mount, oldest);
}

bool request_handle(fuse_req_t fuse, fuse_ino_t id, wire_handle *ret_handle)
{
    struct node *node = nodes_get(&mount_of(fuse)->nodes, id);
    if (!node) {
        fuse_reply_err(fuse, ESTALE);
        return false;
    }
    node->known = true;
    *ret_handle = node->handle;
    return true;
}

bool request_name_ok(fuse_req_t fuse, const char *name)
{
    int result = fs_name_check(fs_name_of(name));
    if (result < 0)
        fuse_reply_err(fuse, -result);
    return result == 0;
}

struct file *request_file(fuse_req_t fuse, const struct fuse_file_info *fi)
{
    struct file *file = nodes_file(&mount_of(fuse)->nodes, fi->fh);
    if (file && !file->given_up)
        return file;
    fuse_reply_err(fuse, file ? EIO : EBADF);
    return NULL;
}
