// SPDX-License-Identifier: Apache-2.0
// Ranges of files: room, holes, copies within the server. Loop's thread; see request.h.
#include "client/fuse_ops.h"
#include <errno.h>
#include <unistd.h>

#define RANGE_ROOM 64u

static void fallocate_done(struct request *request, struct reader *body)
{
    struct wire_fallocate_reply reply;
    if (wire_get_fallocate_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    request_keep_changed(request, &reply.attr);
    request_done_ok(request, NULL);
}

void op_fallocate(fuse_req_t fuse, fuse_ino_t id, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi)
{
    if (!request_file(fuse, fi))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_FALLOCATE, RANGE_ROOM, fallocate_done);
    if (!request)
        return;
    request->changes[0] = id;
    request->open_id = fi->fh;
    const struct wire_fallocate_request message = {
        .open_id = fi->fh, .mode = (uint32_t)mode, .offset = (uint64_t)offset, .n = (uint64_t)length};
    wire_put_fallocate_request(&request->body, &message);
    request_send(request);
}

static void lseek_done(struct request *request, struct reader *body)
{
    struct wire_seek_reply reply;
    if (wire_get_seek_reply(body, &reply) < 0 || reply.offset > FS_FILE_SIZE_MAX) {
        request_fail(request, -EIO);
        return;
    }
    if (request->fuse)
        fuse_reply_lseek(request->fuse, (off_t)reply.offset);
    request->fuse = NULL;
}

// The kernel asks for data and holes alone.
void op_lseek(fuse_req_t fuse, fuse_ino_t id, off_t offset, int whence, struct fuse_file_info *fi)
{
    (void)id;
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(fuse, EINVAL);
        return;
    }
    if (!request_file(fuse, fi))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_SEEK, RANGE_ROOM, lseek_done);
    if (!request)
        return;
    request->open_id = fi->fh;
    const struct wire_seek_request message = {
        .open_id = fi->fh, .offset = (uint64_t)offset, .hole = whence == SEEK_HOLE};
    wire_put_seek_request(&request->body, &message);
    request_send(request);
}

static void copy_done(struct request *request, struct reader *body)
{
    struct wire_copy_range_reply reply;
    if (wire_get_copy_range_reply(body, &reply) < 0 || reply.n > request->size) {
        request_fail(request, -EIO);
        return;
    }
    if (request->fuse)
        fuse_reply_write(request->fuse, (size_t)reply.n);
    request->fuse = NULL;
}

// FUSE answers with 32 bits.
void op_copy_file_range(fuse_req_t fuse, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_fi,
                        fuse_ino_t to, off_t offset, struct fuse_file_info *fi, size_t length, int flags)
{
    if (flags != 0) {
        fuse_reply_err(fuse, EINVAL);
        return;
    }
    if (!request_file(fuse, from_fi) || !request_file(fuse, fi))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_COPY_RANGE, RANGE_ROOM, copy_done);
    if (!request)
        return;
    request->open_id = fi->fh;
    request->changes[0] = to;
    request->changes[1] = from == to ? 0 : from; // its access time
    request->size = MIN(length, (size_t)INT32_MAX);
    const struct wire_copy_range_request message = {.from_open_id = from_fi->fh,
                                                    .from_offset = (uint64_t)from_offset,
                                                    .open_id = fi->fh,
                                                    .offset = (uint64_t)offset,
                                                    .n = request->size};
    wire_put_copy_range_request(&request->body, &message);
    request_send(request);
}
