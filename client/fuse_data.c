// SPDX-License-Identifier: Apache-2.0
// Reading, writing, appending, syncing. Loop's thread; see request.h.
#include "client/fuse_ops.h"
#include <errno.h>
#include <fcntl.h>

#define DATA_ROOM 64u

static void read_done(struct request *request, struct reader *body)
{
    struct wire_read_reply reply;
    if (wire_get_read_reply(body, &reply) < 0 || reply.data.length > request->size) {
        request_fail(request, -EIO);
        return;
    }
    if (request->fuse)
        fuse_reply_buf(request->fuse, reply.data.bytes, reply.data.length);
    request->fuse = NULL;
}

void op_read(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)id;
    if (!request_file(fuse, fi))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_READ, DATA_ROOM, read_done);
    if (!request)
        return;
    request->open_id = fi->fh;
    request->size = MIN(size, FS_IO_MAX);
    struct wire_read_request message = {
        .open_id = fi->fh, .offset = (uint64_t)offset, .n = (uint32_t)request->size};
    wire_put_read_request(&request->body, &message);
    request_send(request);
}

// --- writing ---

static void reply_written(struct request *request)
{
    if (request->fuse)
        fuse_reply_write(request->fuse, request->size);
    request->fuse = NULL;
}

static void synced(struct request *request, struct reader *body)
{
    (void)body;
    reply_written(request);
}

static struct request *new_fsync(fuse_req_t fuse, uint64_t open_id,
                                 void (*done)(struct request *request, struct reader *body))
{
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_FSYNC, DATA_ROOM, done);
    if (request)
        wire_put_fsync_request(&request->body, &(struct wire_fsync_request){.open_id = open_id});
    return request;
}

// RWF_SYNC and RWF_DSYNC ask for it write by write; the server knows of O_SYNC and O_DSYNC by itself.
static void sync_written(struct request *request)
{
    struct request *fsync = new_fsync(request->fuse, request->open_id, synced);
    request->fuse = NULL;
    if (!fsync)
        return;
    fsync->size = request->size;
    request_send(fsync);
}

static void written(struct request *request, int result)
{
    if (result < 0)
        request_fail(request, -EIO);
    else if (request->fuse && (request->flags & FS_OPEN_SYNC))
        sync_written(request);
    else
        reply_written(request);
}

static void write_done(struct request *request, struct reader *body)
{
    struct wire_write_reply reply;
    written(request, wire_get_write_reply(body, &reply));
}

static void append_done(struct request *request, struct reader *body)
{
    struct wire_append_reply reply;
    written(request, wire_get_append_reply(body, &reply));
}

// Append is decided write by write, since F_SETFL can ask for it later. The kernel's offset is then a guess:
// the server chooses. What it writes back of a mapping has its place.
void op_write(fuse_req_t fuse, fuse_ino_t id, const char *bytes, size_t size, off_t offset,
              struct fuse_file_info *fi)
{
    (void)id;
    bool append = (fi->flags & O_APPEND) && !fi->writepage;
    if (size > FS_IO_MAX) {
        fuse_reply_err(fuse, EINVAL);
        return;
    }
    const struct file *file = request_file(fuse, fi);
    if (!file)
        return;
    struct request *request = request_new(mount_of(fuse), fuse, append ? WIRE_APPEND : WIRE_WRITE,
                                          DATA_ROOM + size, append ? append_done : write_done);
    if (!request)
        return;
    request->open_id = fi->fh;
    request->size = size;
    if (fi->flags & O_DSYNC) // a bit of O_SYNC too
        request->flags = FS_OPEN_SYNC & ~file->flags;
    wire_bytes data = {.bytes = bytes, .length = (uint32_t)size};
    if (append)
        wire_put_append_request(&request->body,
                                &(struct wire_append_request){.open_id = fi->fh, .data = data});
    else
        wire_put_write_request(
            &request->body,
            &(struct wire_write_request){.open_id = fi->fh, .offset = (uint64_t)offset, .data = data});
    request_send(request);
}

void op_fsync(fuse_req_t fuse, fuse_ino_t id, int data_only, struct fuse_file_info *fi)
{
    (void)id;
    (void)data_only;
    if (!request_file(fuse, fi))
        return;
    struct request *request = new_fsync(fuse, fi->fh, request_done_ok);
    if (request)
        request_send(request);
}
