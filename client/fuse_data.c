// SPDX-License-Identifier: Apache-2.0
// Reading, writing, appending, syncing. Loop's thread; see request.h.
#include "client/fuse_ops.h"
#include "client/recall.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define DATA_ROOM 64u

// The kernel has the bytes already: without a lease on them they go again.
static void kept(const struct request *request, uint8_t lease)
{
    struct mount *mount = request->mount;
    struct node *node = nodes_get(&mount->nodes, request->node_id);
    if (!node)
        return;
    node->n_kept_reads++;
    if (lease_granted(&mount->lease, node->handle.ino, lease, request->call.again) & WIRE_LEASE_DATA)
        node->lease |= WIRE_LEASE_DATA;
    else
        recall_pages(mount, node);
}

static void send_read(fuse_req_t fuse, fuse_ino_t id, uint64_t open_id, uint64_t offset, size_t size,
                      bool keep);

// The file was marked as read through this open.
static void has_told(struct mount *mount, uint64_t open_id)
{
    struct file *file = nodes_file(&mount->nodes, open_id);
    if (file)
        file->tells = false;
}

static void read_done(struct request *request, struct reader *body)
{
    struct wire_read_reply reply;
    if (wire_get_read_reply(body, &reply) < 0 || reply.data.length > request->size) {
        request_fail(request, -EIO);
        return;
    }
    const struct node *node = nodes_get(&request->mount->nodes, request->node_id);
    // A drop under way may wait for it, and drops it.
    if (request->is_old && request->fuse && node && node->n_dropping == 0) {
        send_read(request->fuse, request->node_id, request->open_id, request->offset, request->size, true);
        request->fuse = NULL;
        return;
    }
    if (request->fuse)
        fuse_reply_buf(request->fuse, reply.data.bytes, reply.data.length);
    request->fuse = NULL;
    has_told(request->mount, request->open_id);
    if (request->keep)
        kept(request, reply.lease);
}

static void send_read(fuse_req_t fuse, fuse_ino_t id, uint64_t open_id, uint64_t offset, size_t size,
                      bool keep)
{
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_READ, DATA_ROOM, read_done);
    if (!request)
        return;
    request->open_id = open_id;
    request->node_id = id;
    request->offset = offset;
    request->size = size;
    request->keep = keep;
    const struct node *node = nodes_get(&request->mount->nodes, id);
    if (keep && node && node->n_dropping > 0)
        request->call.class = RPC_URGENT; // a drop may wait for it, and others for that
    struct wire_read_request message = {
        .open_id = open_id, .offset = offset, .n = (uint32_t)size, .keep = keep};
    wire_put_read_request(&request->body, &message);
    request_send(request);
}

// Reads on behalf of the page cache have no owner. They come from files open for reading alone, and from
// mappings of any.
static bool is_for_pages(const struct mount *mount, const struct fuse_file_info *fi)
{
    return mount->lease.generation != 0 && fi->lock_owner == 0;
}

// What is read here is marked there, before the caller can tell anybody. False: nobody can be told.
static bool tell_read(struct mount *mount, struct file *file)
{
    uint8_t body[sizeof(uint64_t)];
    struct writer writer = writer_on(body, sizeof(body));
    wire_put_accessed_event(&writer, &(struct wire_accessed_event){.open_id = file->id.key});
    if (!rpc_is_up(mount->rpc) || rpc_tell(mount->rpc, WIRE_ACCESSED, body, sizeof(body)) < 0)
        return false;
    file->tells = false;
    transport_flush(mount->transport);
    return true;
}

// From what came with the open.
static bool read_first(fuse_req_t fuse, struct file *file, uint64_t offset, size_t size)
{
    struct mount *mount = mount_of(fuse);
    wire_bytes bytes;
    bool done;
    if (lease_seconds(&mount->lease, env_monotonic_ns(&mount->env)) <= 0 ||
        !first_bytes_read(file, offset, size, &bytes, &done) || (file->tells && !tell_read(mount, file)))
        return false;
    file->node->n_kept_reads++;
    request_was_read(mount, file->node);
    fuse_reply_buf(fuse, bytes.bytes, bytes.length);
    if (done)
        first_bytes_drop(&mount->first_bytes, file);
    return true;
}

void op_read(fuse_req_t fuse, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct file *file = request_file(fuse, fi);
    if (!file)
        return;
    bool pages = is_for_pages(mount_of(fuse), fi);
    if (!pages || !file->first || !read_first(fuse, file, (uint64_t)offset, size))
        send_read(fuse, id, fi->fh, (uint64_t)offset, MIN(size, FS_IO_MAX), pages);
}

void requests_hurry_reads(struct mount *mount)
{
    list_for_each_safe (at, after, &mount->requests) {
        struct request *request = LIST_ENTRY(at, struct request, node);
        const struct node *node = request->keep ? nodes_get(&mount->nodes, request->node_id) : NULL;
        if (node && node->n_dropping > 0)
            rpc_hurry(mount->rpc, &request->call);
    }
}

void requests_read_again(struct mount *mount, uint64_t node_id)
{
    list_for_each (at, &mount->requests) {
        struct request *request = LIST_ENTRY(at, struct request, node);
        request->is_old |= request->keep && request->node_id == node_id;
    }
}

// --- writing ---

// A write that the server has answered.
struct written {
    struct own_drop drop;
    fuse_req_t fuse; // NULL: nobody waits
    uint64_t open_id;
    size_t size;
    bool sync; // the caller waits for the disk besides
};

static void synced(struct request *request, struct reader *body)
{
    (void)body;
    if (request->fuse)
        fuse_reply_write(request->fuse, request->size);
    request->fuse = NULL;
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
static void answer_written(const struct written *written)
{
    if (!written->fuse)
        return;
    if (!written->sync) {
        fuse_reply_write(written->fuse, written->size);
        return;
    }
    struct request *fsync = new_fsync(written->fuse, written->open_id, synced);
    if (!fsync)
        return;
    fsync->size = written->size;
    request_send(fsync);
}

static void answer_dropped(struct own_drop *drop)
{
    struct written *written = CONTAINER_OF(drop, struct written, drop);
    answer_written(written);
    free(written);
}

// Pages of the file that may hold what was there before the write: `moved` says that it went elsewhere than
// the kernel thought, which dropped pages there alone, and before it asked.
static bool has_old_pages(const struct request *request, const struct node *node, bool moved)
{
    bool has_pages = node && (node->lease & WIRE_LEASE_DATA || node->n_dropping > 0);
    return has_pages && (moved || node->n_kept_reads != request->n_kept_reads);
}

static void written(struct request *request, int result, bool moved)
{
    struct mount *mount = request->mount;
    struct node *node = nodes_get(&mount->nodes, request->node_id);
    const struct written answered = {.drop.then = answer_dropped,
                                     .fuse = request->fuse,
                                     .open_id = request->open_id,
                                     .size = request->size,
                                     .sync = request->flags & FS_OPEN_SYNC};
    bool old = result == 0 && has_old_pages(request, node, moved);
    struct written *dropping = old ? malloc(sizeof(*dropping)) : NULL;
    if (result < 0 || (old && !dropping)) {
        request_fail(request, -EIO);
        return;
    }
    request->fuse = NULL;
    if (dropping) {
        *dropping = answered;
        recall_own(mount, &dropping->drop, node);
    } else {
        answer_written(&answered);
    }
}

static void write_done(struct request *request, struct reader *body)
{
    struct wire_write_reply reply;
    int result = wire_get_write_reply(body, &reply);
    if (result == 0)
        request_keep_changed(request, &reply.attr);
    written(request, result, false);
}

static void append_done(struct request *request, struct reader *body)
{
    struct wire_append_reply reply;
    int result = wire_get_append_reply(body, &reply);
    if (result == 0)
        request_keep_changed(request, &reply.attr);
    written(request, result, result == 0 && reply.offset != request->offset);
}

// --- pages written back ---

static void answer_pages(struct request *request)
{
    if (request->fuse)
        fuse_reply_write(request->fuse, request->size);
    request->fuse = NULL;
}

static void pages_settled(struct request *request, struct reader *body)
{
    (void)body;
    answer_pages(request);
}

static void pages_unsettled(struct request *request, int error)
{
    (void)error; // the session is gone, and what others kept of it with it
    answer_pages(request);
}

// The server has applied it without waiting until others have dropped what it makes old. We wait, unless it
// was written from inside a drop of our own: munmap() may be what wrote it, and others may look when that
// returns.
static void pages_done(struct request *request, struct reader *body)
{
    struct mount *mount = request->mount;
    struct wire_write_reply reply;
    struct node *node = nodes_get(&mount->nodes, request->node_id);
    if (wire_get_write_reply(body, &reply) < 0) {
        request_fail(request, -EIO);
        return;
    }
    request_keep_changed(request, &reply.attr);
    bool waits = request->fuse && node && node->n_dropping == 0 && mount->lease.generation != 0;
    if (!waits) {
        if (node)
            node->owes_settle = true;
        answer_pages(request);
        return;
    }
    struct request *settle = request_new(mount, request->fuse, WIRE_SETTLE, DATA_ROOM, pages_settled);
    request->fuse = NULL;
    if (!settle)
        return;
    settle->failed = pages_unsettled;
    settle->settles = true;
    settle->node_id = request->node_id;
    settle->open_id = request->open_id;
    settle->size = request->size;
    wire_put_settle_request(&settle->body, &(struct wire_settle_request){.open_id = request->open_id});
    request_send(settle);
}

void requests_settle(struct mount *mount, struct node *node)
{
    list_for_each_safe (at, after, &mount->requests) {
        struct request *request = LIST_ENTRY(at, struct request, node);
        if (!request->settles || request->node_id != node->id.key)
            continue;
        node->owes_settle = true;
        answer_pages(request);
        list_remove(&request->node);
    }
}

// Append is decided write by write, since F_SETFL can ask for it later. The kernel's offset is then a guess:
// the server chooses. What it writes back of a mapping has its place.
void op_write(fuse_req_t fuse, fuse_ino_t id, const char *bytes, size_t size, off_t offset,
              struct fuse_file_info *fi)
{
    struct node *node = nodes_get(&mount_of(fuse)->nodes, id);
    bool append = (fi->flags & O_APPEND) && !fi->writepage;
    if (size > FS_IO_MAX) {
        fuse_reply_err(fuse, EINVAL);
        return;
    }
    const struct file *file = request_file(fuse, fi);
    if (!file)
        return;
    struct request *request =
        request_new(mount_of(fuse), fuse, append ? WIRE_APPEND : WIRE_WRITE, DATA_ROOM + size,
                    append          ? append_done
                    : fi->writepage ? pages_done
                                    : write_done);
    if (!request)
        return;
    request->open_id = fi->fh;
    request->node_id = id;
    request->changes[0] = id;
    request->offset = (uint64_t)offset;
    request->n_kept_reads = node ? node->n_kept_reads : 0;
    request->size = size;
    if (fi->writepage)
        request->call.class = RPC_URGENT; // it may be part of a drop, and waits for nobody
    if (fi->flags & O_DSYNC)              // a bit of O_SYNC too
        request->flags = FS_OPEN_SYNC & ~file->flags;
    wire_bytes data = {.bytes = bytes, .length = (uint32_t)size};
    if (append)
        wire_put_append_request(&request->body,
                                &(struct wire_append_request){.open_id = fi->fh, .data = data});
    else
        wire_put_write_request(&request->body, &(struct wire_write_request){.open_id = fi->fh,
                                                                            .offset = (uint64_t)offset,
                                                                            .pages = fi->writepage,
                                                                            .data = data});
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
