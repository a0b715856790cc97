// SPDX-License-Identifier: Apache-2.0
// The calls on names and attributes. On the file system's shard, inside its turn. Invariant: no handle is
// used before call_handle() has let it through.
#include "fs/core/permission.h"
#include "server/call.h"
#include <errno.h>
#include <string.h>

#define PERMISSIONS  07777u
#define UMASK        0777u
#define SYMLINK_ROOM (sizeof(uint32_t) + FS_SYMLINK_MAX)
#define RENAME_FLAGS (FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE | FS_RENAME_WHITEOUT)
#define MAY_ALL      (FS_MAY_EXEC | FS_MAY_WRITE | FS_MAY_READ)

static bool is_dot_dot(struct fs_name name)
{
    return name.length == 2 && memcmp(name.bytes, "..", 2) == 0;
}

int op_lookup(struct call *call)
{
    CALL_DECODE(lookup);
    int result = call_handle_inside(call, request.parent);
    if (result < 0)
        return result;
    // The session's root has no parent that it may see.
    bool at_top = is_dot_dot(request.name) && request.parent.ino == call->session->root;
    struct fs_name name = at_top ? fs_name_of(".") : request.name;
    struct fs_attr attr;
    result = core_lookup(call->core, &call->cred, request.parent.ino, name, &attr);
    int held = result == 0 && request.hold != 0 ? call_hold(call, request.hold, attr.ino) : 0;
    if (held < 0)
        return held;
    struct wire_lookup_reply reply = {0};
    if ((result == 0 || result == -ENOENT) && fs_name_check(name) == 0)
        reply.lease = call_lease_name(call, request.parent.ino, name);
    if (result < 0)
        return reply.lease ? call_reply_lookup(call, &reply) : result;
    reply.entry = (wire_maybe_entry){.there = true, .entry = call_entry(call, &attr)};
    reply.lease |= call_lease_attr(call, attr.ino);
    return call_reply_lookup(call, &reply);
}

int op_getattr(struct call *call)
{
    CALL_DECODE(getattr);
    struct core_file *file;
    struct fs_attr attr;
    int result = request.open_id == 0 ? call_handle_once(call, request.handle)
                                      : call_handle_or_open(call, request.handle, request.open_id, &file);
    if (result == 0)
        result = core_getattr(call->core, request.handle.ino, &attr);
    if (result < 0)
        return result;
    struct wire_getattr_reply reply = {.attr = attr, .lease = call_lease_attr(call, attr.ino)};
    return call_reply_getattr(call, &reply);
}

static int check_setattr(const struct wire_setattr_request *request)
{
    uint32_t mask = request->mask;
    bool two_atimes = (mask & FS_SET_ATIME) && (mask & FS_SET_ATIME_NOW);
    bool two_mtimes = (mask & FS_SET_MTIME) && (mask & FS_SET_MTIME_NOW);
    if ((mask & ~FS_SET_ALL) || two_atimes || two_mtimes)
        return -EINVAL;
    if ((mask & FS_SET_MODE) && (request->mode & ~(PERMISSIONS | S_IFMT)))
        return -EINVAL;
    return (mask & FS_SET_SIZE) && request->size > FS_FILE_SIZE_MAX ? -EFBIG : 0;
}

// A trusted client's kernel lets only owners set modes; what else it asks is in the way of a write.
static bool is_before_a_write(const struct call *call, fs_ino ino, const struct fs_setattr *set)
{
    struct fs_attr attr;
    return call->session->identity.how == WIRE_IDENTITY_CALLER && core_getattr(call->core, ino, &attr) == 0 &&
           permission_takes_set_id(&call->cred, &attr, set);
}

static struct core_file *opened_for_writing(const struct call *call, fs_ino ino)
{
    for (struct table_node *node = table_first(&call->session->opens); node;
         node = table_next(&call->session->opens, node)) {
        struct core_file *file = CONTAINER_OF(node, struct session_open, node)->file;
        if (core_file_ino(file) == ino && (core_file_flags(file) & FS_OPEN_WRITE))
            return file;
    }
    return NULL;
}

int op_setattr(struct call *call)
{
    CALL_DECODE(setattr);
    struct core_file *file;
    struct fs_attr attr;
    int result = call_handle_or_open(call, request.handle, request.open_id, &file);
    if (result == 0)
        result = check_setattr(&request);
    if (result < 0)
        return result;
    struct fs_setattr set = {
        .mask = request.mask,
        .mode = request.mode & PERMISSIONS,
        .uid = request.uid,
        .gid = request.gid,
        .size = request.size,
        .atime = request.atime,
        .mtime = request.mtime,
    };
    if (is_before_a_write(call, request.handle.ino, &set))
        set.mask = FS_SET_KILL_PRIV;
    // What a kernel asks before it writes does not come through the descriptor.
    if (!file && (set.mask & ~(uint32_t)FS_SET_KILL_PRIV) == 0)
        file = opened_for_writing(call, request.handle.ino);
    result = core_setattr(call->core, &call->cred, request.handle.ino, file, &set, &attr);
    if (result < 0)
        return result;
    struct wire_setattr_reply reply = {.attr = attr, .lease = call_lease_attr(call, attr.ino)};
    return call_reply_setattr(call, &reply);
}

int op_access(struct call *call)
{
    CALL_DECODE(access);
    int result = call_handle_once(call, request.handle);
    if (result == 0 && (request.mask & ~MAY_ALL))
        result = -EINVAL;
    if (result == 0 && (request.mask & FS_MAY_WRITE))
        result = call_writable(call);
    if (result == 0)
        result = core_access(call->core, &call->cred, request.handle.ino, request.mask);
    if (result < 0)
        return result;
    return call_reply_access(call, &(struct wire_access_reply){});
}

int op_readlink(struct call *call)
{
    CALL_DECODE(readlink);
    int result = call_handle(call, request.handle);
    if (result < 0)
        return result;
    char target[FS_SYMLINK_MAX];
    size_t length;
    result = core_readlink(call->core, request.handle.ino, target, &length);
    if (result < 0)
        return result;
    struct writer body;
    result = call_reply_room(call, SYMLINK_ROOM, &body);
    if (result < 0)
        return result;
    struct wire_readlink_reply reply = {.target = {.bytes = target, .length = (uint32_t)length}};
    wire_put_readlink_reply(&body, &reply);
    return call_replied(call, &body);
}

static int check_make(const struct wire_make_request *request)
{
    bool symlink = false;
    switch (request->mode & S_IFMT) {
    case S_IFLNK:
        symlink = true;
        break;
    case S_IFREG:
    case S_IFDIR:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        break;
    default:
        return -EINVAL;
    }
    if ((request->mode & ~(PERMISSIONS | S_IFMT)) || (request->umask & ~UMASK) ||
        symlink != (request->target.length > 0))
        return -EINVAL;
    if (request->target.length > FS_SYMLINK_MAX)
        return -ENAMETOOLONG;
    return symlink && memchr(request->target.bytes, '\0', request->target.length) ? -EINVAL : 0;
}

int op_make(struct call *call)
{
    CALL_DECODE(make);
    int result = call_handle_inside(call, request.parent);
    if (result == 0)
        result = check_make(&request);
    if (result < 0)
        return result;
    struct core_make make = {
        .mode = request.mode,
        .umask = request.umask,
        .rdev = request.rdev,
        .target = {.bytes = request.target.bytes, .length = request.target.length},
    };
    struct fs_attr attr;
    result = core_make(call->core, &call->cred, request.parent.ino, request.name, &make, &attr);
    if (result < 0)
        return result;
    struct wire_make_reply reply = {.entry = call_entry(call, &attr),
                                    .directory = call_directory(call, request.parent.ino),
                                    .lease =
                                        call_lease_entry(call, request.parent.ino, request.name, attr.ino)};
    if (S_ISDIR(attr.mode))
        reply.lease |= call_lease_names(call, attr.ino);
    return call_reply_make(call, &reply);
}

int op_link(struct call *call)
{
    CALL_DECODE(link);
    struct fs_attr attr;
    int result = call_handle_inside(call, request.handle);
    if (result == 0)
        result = call_handle_inside(call, request.parent);
    else if (result == -ENOENT)
        result = -ESTALE;
    if (result == 0)
        result =
            core_link(call->core, &call->cred, request.handle.ino, request.parent.ino, request.name, &attr);
    if (result < 0)
        return result;
    struct wire_link_reply reply = {.entry = call_entry(call, &attr),
                                    .directory = call_directory(call, request.parent.ino),
                                    .lease =
                                        call_lease_entry(call, request.parent.ino, request.name, attr.ino)};
    return call_reply_link(call, &reply);
}

int op_unlink(struct call *call)
{
    CALL_DECODE(unlink);
    struct wire_unlink_reply reply;
    int result = call_handle_inside(call, request.parent);
    if (result == 0)
        result = core_unlink(call->core, &call->cred, request.parent.ino, request.name, &reply.ino);
    if (result < 0)
        return result;
    reply.directory = call_directory(call, request.parent.ino);
    reply.lease = call_lease_name(call, request.parent.ino, request.name);
    return call_reply_unlink(call, &reply);
}

// -EBUSY when the entry is the root of an access point that somebody is attached to. An entry that the caller
// may not take away is left to the operation, which says why; its *ret_attr is not set.
static int check_not_root(struct call *call, fs_ino parent, struct fs_name name, struct fs_attr *ret_attr)
{
    if (core_access(call->core, &call->cred, parent, FS_MAY_WRITE | FS_MAY_EXEC) < 0 ||
        core_lookup(call->core, &call->cred, parent, name, ret_attr) < 0)
        return 0;
    return S_ISDIR(ret_attr->mode) && hosted_root_attached(call->hosted, ret_attr->ino) ? -EBUSY : 0;
}

int op_rmdir(struct call *call)
{
    CALL_DECODE(rmdir);
    struct fs_attr attr = {0};
    int result = call_handle_inside(call, request.parent);
    if (result == 0)
        result = check_not_root(call, request.parent.ino, request.name, &attr);
    if (result == 0)
        result = core_rmdir(call->core, &call->cred, request.parent.ino, request.name);
    if (result < 0)
        return result;
    attr.nlink = 0;
    struct wire_rmdir_reply reply = {.attr = attr,
                                     .directory = call_directory(call, request.parent.ino),
                                     .lease = call_lease_name(call, request.parent.ino, request.name)};
    return call_reply_rmdir(call, &reply);
}

int op_rename(struct call *call)
{
    CALL_DECODE(rename);
    struct fs_attr moved = {0}, replaced = {0};
    int result = call_handle_inside(call, request.parent);
    if (result == 0)
        result = call_handle_inside(call, request.new_parent);
    if (result == 0 && (request.flags & ~RENAME_FLAGS))
        result = -EINVAL;
    if (result == 0)
        result = check_not_root(call, request.parent.ino, request.name, &moved);
    if (result == 0)
        result = check_not_root(call, request.new_parent.ino, request.new_name, &replaced);
    if (result == 0)
        result = core_rename(call->core, &call->cred, request.parent.ino, request.name,
                             request.new_parent.ino, request.new_name, request.flags);
    if (result < 0)
        return result;
    bool nothing = moved.ino == replaced.ino; // two names of one inode stay
    struct wire_rename_reply reply = {.moved = nothing ? 0 : moved.ino,
                                      .replaced = nothing ? 0 : replaced.ino,
                                      .directory = call_directory(call, request.parent.ino),
                                      .new_directory = call_directory(call, request.new_parent.ino),
                                      .lease =
                                          call_lease_name(call, request.parent.ino, request.name) &
                                          call_lease_name(call, request.new_parent.ino, request.new_name)};
    return call_reply_rename(call, &reply);
}

int op_statfs(struct call *call)
{
    CALL_DECODE(statfs);
    struct fs_statfs statfs;
    int result = call_handle(call, request.handle);
    if (result == 0)
        result = core_statfs(call->core, call->session->root, &statfs);
    if (result < 0)
        return result;
    struct wire_statfs_reply reply = {
        .block_size = statfs.block_size,
        .blocks_total = statfs.blocks_total,
        .blocks_free = statfs.blocks_free,
        .blocks_available = statfs.blocks_available,
        .inodes_total = statfs.inodes_total,
        .inodes_free = statfs.inodes_free,
        .name_max = statfs.name_max,
    };
    return call_reply_statfs(call, &reply);
}
