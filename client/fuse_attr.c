// SPDX-License-Identifier: Apache-2.0
// Attributes, access and the size of the file system. Loop's thread; see request.h.
#include "client/fuse_ops.h"
#include "client/recall.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ATTR_ROOM      128u
#define KILL_PRIV_BITS (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID | FUSE_SET_ATTR_KILL_PRIV)

static void tell_attr(struct request *request, const struct fs_attr *attr, uint8_t lease)
{
    if (request->statx)
        request_reply_statx(request, attr, lease);
    else
        request_reply_attr(request, attr, lease);
}

static void getattr_done(struct request *request, struct reader *body)
{
    struct wire_getattr_reply reply;
    if (wire_get_getattr_reply(body, &reply) < 0)
        request_fail(request, -EIO);
    else
        tell_attr(request, &reply.attr, reply.lease);
}

// A removed directory is still what its process stands in.
static void getattr_failed(struct request *request, int error)
{
    struct fs_attr removed;
    if (request_removed(request, error, &removed))
        tell_attr(request, &removed, 0);
    else
        request_fail_by_handle(request, error);
}

static void access_failed(struct request *request, int error)
{
    struct fs_attr removed;
    if (request_removed(request, error, &removed))
        request_done_ok(request, NULL);
    else
        request_fail_by_handle(request, error);
}

// An open that the kernel still names but that was lost is not asked about.
static uint64_t open_id_of(const struct mount *mount, const struct fuse_file_info *fi)
{
    return fi && nodes_file(&mount->nodes, fi->fh) ? fi->fh : 0;
}

static bool is_given_up(const struct mount *mount, const struct fuse_file_info *fi)
{
    const struct file *file = fi ? nodes_file(&mount->nodes, fi->fh) : NULL;
    return file && file->given_up;
}

void op_getattr(fuse_req_t fuse, fuse_ino_t id, struct fuse_file_info *fi)
{
    if (!is_given_up(mount_of(fuse), fi) && request_answer_kept(fuse, id))
        return;
    struct wire_getattr_request message = {.open_id = open_id_of(mount_of(fuse), fi)};
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_GETATTR, ATTR_ROOM, getattr_done);
    if (!request)
        return;
    request->failed = getattr_failed;
    request->node_id = id;
    request->statx = mount_of(fuse)->wants_btime;
    wire_put_getattr_request(&request->body, &message);
    request_send(request);
}

static void setattr_done(struct request *request, struct reader *body)
{
    struct wire_setattr_reply reply;
    if (wire_get_setattr_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    // Where the server alone checks permissions, the names that were found below were found under the old
    // ones.
    if (S_ISDIR(reply.attr.mode) && request->mount->identity != WIRE_IDENTITY_CALLER) {
        recall_all_names(request->mount);
        whole_drop(&request->mount->whole, request->changes[0]);
    }
    request_reply_attr(request, &reply.attr, reply.lease);
}

static uint32_t set_mask(int to_set)
{
    static const struct {
        int fuse;
        uint32_t wire;
    } bits[] = {
        {FUSE_SET_ATTR_MODE, FS_SET_MODE},
        {FUSE_SET_ATTR_UID, FS_SET_UID},
        {FUSE_SET_ATTR_GID, FS_SET_GID},
        {FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
        {FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
        {FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
        {FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
        {KILL_PRIV_BITS, FS_SET_KILL_PRIV},
    };
    uint32_t mask = 0;
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        if (to_set & bits[i].fuse)
            mask |= bits[i].wire;
    }
    // "now" is told beside the value that it stands for.
    if (mask & FS_SET_ATIME_NOW)
        mask &= ~FS_SET_ATIME;
    if (mask & FS_SET_MTIME_NOW)
        mask &= ~FS_SET_MTIME;
    return mask;
}

static struct fs_time time_of(struct timespec time)
{
    return (struct fs_time){.sec = time.tv_sec, .nsec = (uint32_t)time.tv_nsec};
}

void op_setattr(fuse_req_t fuse, fuse_ino_t id, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct wire_setattr_request message = {
        .open_id = open_id_of(mount_of(fuse), fi),
        .mask = set_mask(to_set),
        .mode = attr->st_mode & 07777,
        .uid = attr->st_uid,
        .gid = attr->st_gid,
        .size = to_set & FUSE_SET_ATTR_SIZE ? (uint64_t)attr->st_size : 0,
    };
    if (message.mask & FS_SET_ATIME)
        message.atime = time_of(attr->st_atim);
    if (message.mask & FS_SET_MTIME)
        message.mtime = time_of(attr->st_mtim);
    // With a size or an owner, the mode only ever takes set-id bits; the server does so by itself. The
    // kernel's idea of the mode may lack the sticky bit.
    if (message.mask & (FS_SET_SIZE | FS_SET_UID | FS_SET_GID))
        message.mask &= ~FS_SET_MODE;
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_SETATTR, ATTR_ROOM, setattr_done);
    if (!request)
        return;
    request->changes[0] = id;
    wire_put_setattr_request(&request->body, &message);
    request_send(request);
}

void op_access(fuse_req_t fuse, fuse_ino_t id, int mask)
{
    struct wire_access_request message = {.mask =
                                              (uint32_t)mask & (FS_MAY_READ | FS_MAY_WRITE | FS_MAY_EXEC)};
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_ACCESS, ATTR_ROOM, request_done_ok);
    if (!request)
        return;
    request->failed = access_failed;
    request->node_id = id;
    wire_put_access_request(&request->body, &message);
    request_send(request);
}

static void statfs_done(struct request *request, struct reader *body)
{
    struct wire_statfs_reply reply;
    if (wire_get_statfs_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    struct statvfs statvfs = {
        .f_bsize = reply.block_size,
        .f_frsize = reply.block_size,
        .f_blocks = reply.blocks_total,
        .f_bfree = reply.blocks_free,
        .f_bavail = reply.blocks_available,
        .f_files = reply.inodes_total,
        .f_ffree = reply.inodes_free,
        .f_favail = reply.inodes_free,
        .f_namemax = reply.name_max,
    };
    if (request->fuse)
        fuse_reply_statfs(request->fuse, &statvfs);
    request->fuse = NULL;
}

void op_statfs(fuse_req_t fuse, fuse_ino_t id)
{
    struct wire_statfs_request message;
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_STATFS, ATTR_ROOM, statfs_done);
    if (!request)
        return;
    wire_put_statfs_request(&request->body, &message);
    request_send(request);
}
