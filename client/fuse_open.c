// SPDX-License-Identifier: Apache-2.0
// Opening and releasing. Loop's thread; see request.h. Invariant: an open that the server granted is in the
// table of files, in use or kept (kept_opens.h), or a release for it is on its way.
#include "client/fuse_ops.h"
#include "client/recall.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define OPEN_ROOM    320u
#define KERNEL_FEXEC 0x20 // __FMODE_EXEC: the kernel opens a program to run it

static uint32_t flags_of(int flags)
{
    uint32_t open_flags = 0;
    int mode = flags & O_ACCMODE;
    if (mode == O_RDONLY && (flags & KERNEL_FEXEC))
        open_flags |= FS_OPEN_EXEC;
    else if (mode != O_WRONLY)
        open_flags |= FS_OPEN_READ;
    if (mode != O_RDONLY)
        open_flags |= FS_OPEN_WRITE;
    if (flags & O_APPEND && mode != O_RDONLY)
        open_flags |= FS_OPEN_APPEND;
    if (flags & O_TRUNC)
        open_flags |= FS_OPEN_TRUNC;
    if (flags & O_DSYNC) // a bit of O_SYNC too
        open_flags |= FS_OPEN_SYNC;
    if (flags & O_NOATIME)
        open_flags |= FS_OPEN_NOATIME;
    return open_flags;
}

void release_open(struct mount *mount, uint64_t open_id)
{
    struct request *request = request_new(mount, NULL, WIRE_RELEASE, OPEN_ROOM, request_done_ok);
    if (!request)
        return;
    request->call.class = RPC_URGENT;
    wire_put_release_request(&request->body, &(struct wire_release_request){.open_id = open_id});
    request_send(request);
}

// Pages are kept of what is only read, and while there are leases to keep them under; everything else is
// direct I/O. (A writer among them would have to be told where the end is before every write.)
static bool is_kept(const struct mount *mount, uint32_t flags)
{
    return mount->offers_mmap && !(flags & FS_OPEN_WRITE) &&
           lease_seconds(&mount->lease, env_monotonic_ns(&mount->env)) > 0;
}

// tells: the first read is to reach the server.
static struct fuse_file_info file_info(struct mount *mount, const struct node *node, uint64_t open_id,
                                       uint32_t flags, bool tells)
{
    struct fuse_file_info fi = {.fh = open_id};
    if (flags & FS_OPEN_DIRECTORY)
        return fi;
    fi.direct_io = !node || !is_kept(mount, flags);
    fi.keep_cache = !fi.direct_io && !tells && node->lease & WIRE_LEASE_DATA && node->n_dropping == 0;
    mount->n_cache_hits += fi.keep_cache;
    return fi;
}

static int reply_open(struct mount *mount, fuse_req_t fuse, const struct fuse_entry_param *made,
                      const struct fuse_file_info *fi)
{
    mount->opens_direct = fi->direct_io;
    int result = made ? fuse_reply_create(fuse, made, fi) : fuse_reply_open(fuse, fi);
    mount->opens_direct = false;
    return result;
}

static int keep(struct request *request, struct node *node)
{
    struct file like = {.id.key = request->open_id, .flags = request->flags, .opener = request->opener};
    int result = nodes_open(&request->mount->nodes, node, &like);
    if (result == 0)
        request->opener.groups = NULL;
    return result;
}

static void close_file(struct mount *mount, struct file *file)
{
    uint64_t open_id = file->id.key;
    first_bytes_drop(&mount->first_bytes, file);
    nodes_release(&mount->nodes, file);
    release_open(mount, open_id);
}

// The open is the kernel's now, or nobody's.
static void after_reply(struct request *request, int replied)
{
    struct mount *mount = request->mount;
    if (replied != 0)
        close_file(mount, nodes_file(&mount->nodes, request->open_id));
    request->fuse = NULL;
}

static void undo(struct request *request, int error)
{
    release_open(request->mount, request->open_id);
    request_fail(request, error);
}

// --- open ---

// What the answer lets us keep: the open, when nobody uses it any more, and the bytes, until they are read.
static void keep_granted(struct request *request, struct file *file, const struct wire_open_reply *reply)
{
    struct mount *mount = request->mount;
    struct node *node = file->node;
    uint8_t given = (reply->lease & (uint8_t)~WIRE_LEASE_DATA) | (reply->data.length ? WIRE_LEASE_DATA : 0);
    uint8_t lease = lease_granted(&mount->lease, node->handle.ino, given, request->call.again);
    if ((lease & WIRE_LEASE_OPEN) && (lease & WIRE_LEASE_ATTR) && request->keeps_open) {
        node->lease |= WIRE_LEASE_ATTR;
        kept_opens_granted(file, request->since_ns);
    }
    if (lease & WIRE_LEASE_DATA) {
        node->lease |= WIRE_LEASE_DATA;
        if (!request->is_old && node->n_dropping == 0)
            first_bytes_put(&mount->first_bytes, file, reply->data);
    }
}

static void open_done(struct request *request, struct reader *body)
{
    struct mount *mount = request->mount;
    struct wire_open_reply reply;
    int result = wire_get_open_reply(body, &reply) < 0 || reply.data.length > request->size ? -EIO
                 : request->fuse                                                            ? 0
                                                                                            : -EINTR;
    struct node *node =
        result == 0 ? nodes_get(&mount->nodes, nodes_id_of(&mount->nodes, reply.attr.ino)) : NULL;
    if (result == 0)
        result = node ? keep(request, node) : -ESTALE;
    if (result < 0) {
        undo(request, result);
        return;
    }
    request_keep_attr(request, &reply.attr, reply.lease);
    struct file *file = nodes_file(&mount->nodes, request->open_id);
    file->tells = !(reply.lease & WIRE_LEASE_DATA);
    struct fuse_file_info fi = file_info(mount, node, request->open_id, request->flags, file->tells);
    if (!fi.direct_io)
        keep_granted(request, file, &reply);
    after_reply(request, reply_open(mount, request->fuse, NULL, &fi));
}

// A removed directory is still what its process stands in, and empty (fuse_dir.c): the open has no number.
static void open_failed(struct request *request, int error)
{
    struct fs_attr removed;
    if (!request->fuse || !request_removed(request, error, &removed)) {
        request_fail_by_handle(request, error);
        return;
    }
    struct fuse_file_info fi = file_info(request->mount, NULL, 0, request->flags, true);
    fuse_reply_open(request->fuse, &fi);
    request->fuse = NULL;
}

static void send_open(fuse_req_t fuse, fuse_ino_t id, uint32_t flags, bool keeps_open)
{
    struct mount *mount = mount_of(fuse);
    struct wire_open_request message = {.flags = flags};
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount, fuse, WIRE_OPEN, OPEN_ROOM, open_done);
    if (!request)
        return;
    const struct node *node = nodes_get(&mount->nodes, id);
    request->open_id = message.open_id = nodes_new_open_id(&mount->nodes);
    request->flags = flags;
    request->failed = open_failed;
    request->node_id = id;
    request->keeps_open = keeps_open;
    // Not what the kernel has already.
    request->keep = keeps_open && is_kept(mount, flags) && !(node->lease & WIRE_LEASE_DATA);
    request->size = message.first = request->keep ? WIRE_FIRST_MAX : 0;
    // On a new session it is an open like any other: only truncating twice would do harm.
    request->call.repeatable = !(flags & FS_OPEN_TRUNC);
    request->changes[0] = flags & FS_OPEN_TRUNC ? id : 0;
    wire_put_open_request(&request->body, &message);
    request_send(request);
}

// Nobody uses it, and it was opened so by the same caller.
static bool open_kept(fuse_req_t fuse, fuse_ino_t id, uint32_t flags)
{
    struct mount *mount = mount_of(fuse);
    struct node *node = nodes_get(&mount->nodes, id);
    uint32_t groups[FS_GROUPS_MAX];
    // A server that has cut us off is asked: what is opened after that works.
    if (!node || !node->kept || !is_kept(mount, flags) || !rpc_is_up(mount->rpc) ||
        !transport_is_quiet(mount->transport))
        return false;
    struct fs_cred cred = request_cred(mount, fuse, groups);
    struct file *file =
        kept_opens_take(&mount->kept_opens, node, flags, &cred, env_monotonic_ns(&mount->env));
    if (!file)
        return false;
    struct fuse_file_info fi = file_info(mount, node, file->id.key, flags, file->tells);
    if (reply_open(mount, fuse, NULL, &fi) != 0)
        close_file(mount, file);
    return true;
}

// Whoever only reads, and through the page cache.
static bool is_plain(int flags)
{
    return (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_APPEND | O_DIRECT | O_DSYNC | O_TRUNC));
}

void op_open(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi)
{
    uint32_t flags = flags_of(fi->flags);
    bool plain = is_plain(fi->flags);
    if (!plain || !open_kept(fuse, id, flags))
        send_open(fuse, id, flags, plain);
}

void op_opendir(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi)
{
    send_open(fuse, id, FS_OPEN_READ | FS_OPEN_DIRECTORY | (flags_of(fi->flags) & FS_OPEN_NOATIME), false);
}

// --- create ---

static void made(struct request *request, const wire_entry *entry, uint8_t lease, int result)
{
    struct mount *mount = request->mount;
    if (result == 0 && !request->fuse)
        result = -EINTR;
    struct node *node =
        result == 0 ? nodes_lookup(&mount->nodes, entry->handle, request->directories[0]) : NULL;
    if (result == 0)
        result = node ? keep(request, node) : -ENOMEM;
    if (result < 0) {
        if (node)
            nodes_forget(&mount->nodes, node, 1);
        undo(request, result);
        return;
    }
    struct fuse_file_info fi = file_info(mount, node, request->open_id, request->flags, true);
    struct fuse_entry_param param;
    if (request->flags & FS_OPEN_TRUNC)
        request_changed(mount, node);
    request_entry(request, node, entry, lease, &param);
    int replied = reply_open(mount, request->fuse, &param, &fi);
    if (replied != 0)
        nodes_forget(&mount->nodes, node, 1);
    after_reply(request, replied);
}

static void create_done(struct request *request, struct reader *body)
{
    struct wire_create_reply reply;
    int result = wire_get_create_reply(body, &reply) < 0 ? -EIO : 0;
    request->name_lease = result == 0 ? reply.lease : 0;
    if (result == 0)
        request_keep_changed(request, &reply.directory);
    request->nothing[0] = result == 0 && !reply.created;
    if (request->nothing[0])
        recall_changed(request->mount, reply.entry.handle.ino); // it may have been truncated
    made(request, &reply.entry, reply.lease, result);
}

static void tmpfile_done(struct request *request, struct reader *body)
{
    struct wire_tmpfile_reply reply;
    int result = wire_get_tmpfile_reply(body, &reply) < 0 ? -EIO : 0;
    made(request, &reply.entry, reply.lease, result);
}

static void make_tmpfile(fuse_req_t fuse, fuse_ino_t parent, mode_t mode, uint32_t flags)
{
    struct mount *mount = mount_of(fuse);
    struct wire_tmpfile_request message = {
        .mode = mode & 07777, .umask = request_umask(fuse), .flags = flags};
    if (!request_handle(fuse, parent, &message.parent))
        return;
    struct request *request = request_new(mount, fuse, WIRE_TMPFILE, OPEN_ROOM, tmpfile_done);
    if (!request)
        return;
    request->open_id = message.open_id = nodes_new_open_id(&mount->nodes);
    request->flags = flags;
    wire_put_tmpfile_request(&request->body, &message);
    request_send(request);
}

// The name "/", which no entry has, asks for a file without one: see fuse_session.c.
void op_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(fuse);
    uint32_t flags = flags_of(fi->flags) | (fi->flags & O_EXCL ? FS_OPEN_EXCL : 0);
    if (strcmp(name, "/") == 0) {
        make_tmpfile(fuse, parent, mode, flags);
        return;
    }
    flags |= FS_OPEN_CREATE;
    struct wire_create_request message = {
        .name = fs_name_of(name), .mode = mode & 07777, .umask = request_umask(fuse), .flags = flags};
    if (!request_name_ok(fuse, name) || !request_handle(fuse, parent, &message.parent))
        return;
    struct request *request = request_new(mount, fuse, WIRE_CREATE, OPEN_ROOM, create_done);
    if (!request)
        return;
    request->open_id = message.open_id = nodes_new_open_id(&mount->nodes);
    request->flags = flags;
    request->directories[0] = parent;
    request->named[0] = whole_begin(&mount->whole, parent, message.name, true);
    request->names[0] = nodes_name(parent, message.name);
    wire_put_create_request(&request->body, &message);
    request_send(request);
}

// --- release ---

// Whoever closed has returned long ago; locks taken through the open go with it.
void op_release(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(fuse);
    struct file *file = nodes_file(&mount->nodes, fi->fh);
    (void)id;
    fuse_reply_err(fuse, 0);
    if (!file)
        return;
    first_bytes_drop(&mount->first_bytes, file);
    if (!kept_opens_keep(&mount->kept_opens, file, env_monotonic_ns(&mount->env)))
        close_file(mount, file);
}
