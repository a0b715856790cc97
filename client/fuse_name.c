// SPDX-License-Identifier: Apache-2.0
// Names: look up, make, link, remove, rename. Loop's thread; see request.h.
#include "client/fuse_ops.h"
#include "client/recall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAMES_ROOM 640u // two handles and two names

static void entry_done(struct request *request, const wire_entry *entry, uint8_t lease, int result)
{
    if (result < 0)
        request_fail(request, -EIO);
    else
        request_reply_entry(request, entry, lease);
}

static void lookup_done(struct request *request, struct reader *body)
{
    struct wire_lookup_reply reply;
    int result = wire_get_lookup_reply(body, &reply);
    if (request->open_id != 0 && result == 0 && reply.entry.there)
        request_held(request);
    if (result == 0 && !reply.entry.there)
        request_reply_absent(request, reply.lease);
    else
        entry_done(request, &reply.entry.entry, reply.lease, result);
}

void op_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct wire_lookup_request message = {.name = fs_name_of(name)};
    bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    if (!request_handle(fuse, parent, &message.parent) || (!dots && !request_name_ok(fuse, name)))
        return;
    if (!dots && request_answer_absent(fuse, parent, message.name))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_LOOKUP, NAMES_ROOM, lookup_done);
    if (!request)
        return;
    request->directories[0] = parent;
    request->open_id = message.hold = request_hold(fuse);
    request->names[0] = dots ? 0 : nodes_name(parent, message.name);
    wire_put_lookup_request(&request->body, &message);
    request_send(request);
}

static void forget(struct mount *mount, fuse_ino_t id, uint64_t n_lookups)
{
    struct node *node = nodes_get(&mount->nodes, id);
    if (!node)
        return;
    if (node->n_lookups <= n_lookups)
        kept_opens_drop(&mount->kept_opens, node);
    nodes_forget(&mount->nodes, node, n_lookups);
}

void op_forget(fuse_req_t fuse, fuse_ino_t id, uint64_t n_lookups)
{
    forget(mount_of(fuse), id, n_lookups);
    fuse_reply_none(fuse);
}

void op_forget_multi(fuse_req_t fuse, size_t n, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < n; i++)
        forget(mount_of(fuse), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(fuse);
}

// --- making ---

// A directory that was just made is empty.
static void know_whole(struct request *request, const struct wire_make_reply *reply)
{
    struct mount *mount = request->mount;
    fs_ino ino = reply->entry.handle.ino;
    struct node *node = nodes_get(&mount->nodes, nodes_id_of(&mount->nodes, ino));
    if (!node || !(lease_granted(&mount->lease, ino, reply->lease, request->call.again) & WIRE_LEASE_NAMES))
        return;
    node->lease |= WIRE_LEASE_NAME;
    whole_made(&mount->whole, node->id.key);
}

static void make_done(struct request *request, struct reader *body)
{
    struct wire_make_reply reply;
    int result = wire_get_make_reply(body, &reply);
    request->name_lease = result == 0 ? reply.lease : 0;
    if (result == 0)
        request_keep_changed(request, &reply.directory);
    entry_done(request, &reply.entry, reply.lease, result);
    if (result == 0)
        know_whole(request, &reply);
}

static void make(fuse_req_t fuse, fuse_ino_t parent, const char *name, struct wire_make_request *message)
{
    message->name = fs_name_of(name);
    message->umask = request_umask(fuse);
    if (!request_name_ok(fuse, name) || !request_handle(fuse, parent, &message->parent))
        return;
    struct request *request =
        request_new(mount_of(fuse), fuse, WIRE_MAKE, NAMES_ROOM + message->target.length, make_done);
    if (!request)
        return;
    request->directories[0] = parent;
    request->named[0] = whole_begin(&request->mount->whole, parent, message->name, true);
    request->names[0] = nodes_name(parent, message->name);
    wire_put_make_request(&request->body, message);
    request_send(request);
}

void op_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make(fuse, parent, name, &(struct wire_make_request){.mode = mode, .rdev = (uint32_t)rdev});
}

void op_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
    make(fuse, parent, name, &(struct wire_make_request){.mode = (mode & ~(mode_t)S_IFMT) | S_IFDIR});
}

void op_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name)
{
    size_t n = strlen(target);
    if (n > FS_SYMLINK_MAX) {
        fuse_reply_err(fuse, ENAMETOOLONG);
        return;
    }
    struct wire_make_request message = {.mode = S_IFLNK | 0777,
                                        .target = {.bytes = target, .length = (uint32_t)n}};
    make(fuse, parent, name, &message);
}

static void readlink_done(struct request *request, struct reader *body)
{
    struct wire_readlink_reply reply;
    char target[FS_SYMLINK_MAX + 1];
    if (wire_get_readlink_reply(body, &reply) < 0 || reply.target.length > FS_SYMLINK_MAX) {
        request_fail(request, -EIO);
        return;
    }
    memcpy(target, reply.target.bytes, reply.target.length);
    target[reply.target.length] = '\0';
    if (request->fuse)
        fuse_reply_readlink(request->fuse, target);
    request->fuse = NULL;
}

void op_readlink(fuse_req_t fuse, fuse_ino_t id)
{
    struct wire_readlink_request message;
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_READLINK, NAMES_ROOM, readlink_done);
    if (!request)
        return;
    request->node_id = id;
    wire_put_readlink_request(&request->body, &message);
    request_send(request);
}

static void link_done(struct request *request, struct reader *body)
{
    struct wire_link_reply reply;
    int result = wire_get_link_reply(body, &reply);
    request->name_lease = result == 0 ? reply.lease : 0;
    if (result == 0)
        request_keep_changed(request, &reply.directory);
    entry_done(request, &reply.entry, reply.lease, result);
    struct node *node = nodes_get(&request->mount->nodes, request->changes[0]);
    if (node)
        node->attr.is_lost_to_kernel = true; // it takes the answer in, and then forgets the ctime
}

void op_link(fuse_req_t fuse, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
    struct wire_link_request message = {.name = fs_name_of(name)};
    if (!request_name_ok(fuse, name) || !request_handle(fuse, id, &message.handle) ||
        !request_handle(fuse, parent, &message.parent))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_LINK, NAMES_ROOM, link_done);
    if (!request)
        return;
    request->changes[0] = id;
    request->directories[0] = parent;
    request->named[0] = whole_begin(&request->mount->whole, parent, message.name, true);
    request->names[0] = nodes_name(parent, message.name);
    wire_put_link_request(&request->body, &message);
    request_send(request);
}

// --- removing and renaming ---

// The kernel goes on keeping what it knows of the name: that it is gone, or what was moved there.
static void name_changed(struct request *request, fuse_ino_t directory_id, uint8_t lease)
{
    struct mount *mount = request->mount;
    request->name_lease = lease;
    if (mount->lease.generation != 0 && !request_keeps_name(request, directory_id, lease))
        recall_all_names(mount);
    request_done_ok(request, NULL);
}

// The file may lose its last name, and what nobody has open then goes at once: what is only kept open is let
// go before that is asked for.
static void let_go_of(struct mount *mount, uint64_t name)
{
    kept_opens_drop_name(&mount->kept_opens, name);
    kept_opens_tell(&mount->kept_opens, env_monotonic_ns(&mount->env));
}

// What the server says of a name that led to `ino` (0: to none).
static void renamed(struct mount *mount, fs_ino ino, uint64_t name)
{
    struct node *node = ino ? nodes_get(&mount->nodes, nodes_id_of(&mount->nodes, ino)) : NULL;
    if (!node)
        return;
    recall_changed(mount, ino);
    request_changed(mount, node);
    kept_opens_named(&mount->kept_opens, node, name);
}

static void unlink_done(struct request *request, struct reader *body)
{
    struct wire_unlink_reply reply;
    if (wire_get_unlink_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    renamed(request->mount, reply.ino, 0);
    request_keep_changed(request, &reply.directory);
    name_changed(request, request->directories[0], reply.lease);
}

void op_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct wire_unlink_request message = {.name = fs_name_of(name)};
    if (!request_name_ok(fuse, name) || !request_handle(fuse, parent, &message.parent))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_UNLINK, NAMES_ROOM, unlink_done);
    if (!request)
        return;
    let_go_of(mount_of(fuse), nodes_name(parent, message.name));
    request->directories[0] = parent;
    request->named[0] = whole_begin(&request->mount->whole, parent, message.name, false);
    wire_put_unlink_request(&request->body, &message);
    request_send(request);
}

static void rmdir_done(struct request *request, struct reader *body)
{
    struct nodes *nodes = &request->mount->nodes;
    struct wire_rmdir_reply reply;
    if (wire_get_rmdir_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    struct node *node = nodes_get(nodes, nodes_id_of(nodes, reply.attr.ino));
    recall_changed(request->mount, reply.attr.ino);
    whole_drop(&request->mount->whole, nodes_id_of(nodes, reply.attr.ino));
    request_keep_changed(request, &reply.directory);
    if (node)
        attr_saw(&node->attr, &reply.attr); // it may be a process's working directory
    name_changed(request, request->directories[0], reply.lease);
}

void op_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct wire_rmdir_request message = {.name = fs_name_of(name)};
    if (!request_name_ok(fuse, name) || !request_handle(fuse, parent, &message.parent))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_RMDIR, NAMES_ROOM, rmdir_done);
    if (!request)
        return;
    request->directories[0] = parent;
    request->named[0] = whole_begin(&request->mount->whole, parent, message.name, false);
    wire_put_rmdir_request(&request->body, &message);
    request_send(request);
}

// Of an exchange both names stay, and a whiteout stays where the old one was.
static void begin_rename(struct request *request, const struct wire_rename_request *message,
                         fuse_ino_t parent, fuse_ino_t new_parent)
{
    struct whole_dirs *whole = &request->mount->whole;
    request->directories[0] = parent;
    request->directories[1] = new_parent == parent ? 0 : new_parent;
    if (message->flags & FS_RENAME_EXCHANGE)
        return;
    if (!(message->flags & FS_RENAME_WHITEOUT))
        request->named[0] = whole_begin(whole, parent, message->name, false);
    request->named[1] = whole_begin(whole, new_parent, message->new_name, true);
}

static void rename_done(struct request *request, struct reader *body)
{
    const fuse_ino_t *directories = request->directories;
    struct wire_rename_reply reply;
    if (wire_get_rename_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    renamed(request->mount, reply.moved, request->names[1]);
    renamed(request->mount, reply.replaced, request->flags & RENAME_EXCHANGE ? request->names[0] : 0);
    if (reply.replaced)
        whole_drop(&request->mount->whole, nodes_id_of(&request->mount->nodes, reply.replaced));
    request->nothing[0] = reply.moved == 0;
    request->nothing[1] = reply.moved == 0 || reply.replaced != 0;
    request_keep_changed(request, &reply.directory);
    request_keep_changed(request, &reply.new_directory);
    name_changed(request, directories[1] ? directories[1] : directories[0], reply.lease);
}

void op_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned int flags)
{
    struct wire_rename_request message = {.name = fs_name_of(name), .new_name = fs_name_of(new_name)};
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) {
        fuse_reply_err(fuse, EINVAL);
        return;
    }
    message.flags = (flags & RENAME_NOREPLACE ? FS_RENAME_NOREPLACE : 0) |
                    (flags & RENAME_EXCHANGE ? FS_RENAME_EXCHANGE : 0) |
                    (flags & RENAME_WHITEOUT ? FS_RENAME_WHITEOUT : 0);
    if (!request_name_ok(fuse, name) || !request_name_ok(fuse, new_name) ||
        !request_handle(fuse, parent, &message.parent) ||
        !request_handle(fuse, new_parent, &message.new_parent))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_RENAME, NAMES_ROOM, rename_done);
    if (!request)
        return;
    request->flags = flags;
    request->names[0] = nodes_name(parent, message.name);
    request->names[1] = nodes_name(new_parent, message.new_name);
    let_go_of(mount_of(fuse), request->names[1]);
    begin_rename(request, &message, parent, new_parent);
    wire_put_rename_request(&request->body, &message);
    request_send(request);
}
