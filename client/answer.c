// SPDX-License-Identifier: Apache-2.0
// What the kernel is told, and for how long it may keep it: errors, attributes, entries. What it may keep is
// noted in the nodes. Also the answers that need no request, from what the daemon keeps itself. See
// request.h. Loop's thread.
#include "client/fuse_statx.h"
#include "client/request.h"
#include <errno.h>

#define BLOCK_SIZE 65536u // what programs should read and write at a time, since each time is a round trip

// --- errors, and success without anything to tell ---

void request_done_ok(struct request *request, struct reader *body)
{
    (void)body;
    if (request->fuse)
        fuse_reply_err(request->fuse, 0);
    request->fuse = NULL;
}

void request_fail(struct request *request, int error)
{
    const struct file *file =
        error == -ESTALE && request->open_id ? nodes_file(&request->mount->nodes, request->open_id) : NULL;
    if (file && file->given_up)
        error = -EIO; // it was on its way when that happened
    if (request->fuse && error == -ESTALE)
        walks_failed(&request->mount->walks, request->pid, env_monotonic_ns(&request->mount->env));
    if (request->fuse)
        fuse_reply_err(request->fuse, -error);
    request->fuse = NULL;
}

void request_fail_by_handle(struct request *request, int error)
{
    request_fail(request, error == -ENOENT ? -ESTALE : error);
}

bool request_removed(const struct request *request, int error, struct fs_attr *ret_attr)
{
    const struct node *node = error == -ENOENT ? nodes_get(&request->mount->nodes, request->node_id) : NULL;
    if (!node || !attr_get_seen(&node->attr, node->handle.ino, ret_attr))
        return false;
    ret_attr->nlink = 0;
    return true;
}

// --- attributes ---

void stat_of(const struct mount *mount, const struct fs_attr *attr, struct stat *ret_stat)
{
    // The kernel compares the caller with the owner in sticky directories; with another identity that is not
    // its business.
    bool hides_sticky = S_ISDIR(attr->mode) && mount->identity != WIRE_IDENTITY_CALLER;
    *ret_stat = (struct stat){
        .st_ino = attr->ino,
        .st_mode = hides_sticky ? attr->mode & ~(mode_t)S_ISVTX : attr->mode,
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_rdev = attr->rdev,
        .st_size = (off_t)attr->size,
        .st_blksize = BLOCK_SIZE,
        .st_blocks = (blkcnt_t)attr->blocks,
        .st_atim = {.tv_sec = attr->atime.sec, .tv_nsec = attr->atime.nsec},
        .st_mtim = {.tv_sec = attr->mtime.sec, .tv_nsec = attr->mtime.nsec},
        .st_ctim = {.tv_sec = attr->ctime.sec, .tv_nsec = attr->ctime.nsec},
    };
}

static uint32_t clock_ms(uint64_t monotonic_ns)
{
    return (uint32_t)(monotonic_ns / 1000000);
}

// The kernel is told the node's attributes, for this long: in seconds, 0 for not at all.
static double tell_until(const struct mount *mount, struct node *node)
{
    uint64_t now_ns = env_monotonic_ns(&mount->env);
    double seconds = lease_seconds(&mount->lease, now_ns);
    attr_told(&node->attr, clock_ms(now_ns) + (uint32_t)(seconds * 1000));
    return seconds;
}

// NULL: without a lease that counts.
static struct node *keep_attr(const struct request *request, const struct fs_attr *attr, uint8_t lease)
{
    struct mount *mount = request->mount;
    struct node *node = nodes_get(&mount->nodes, nodes_id_of(&mount->nodes, attr->ino));
    if (node)
        attr_saw(&node->attr, attr);
    if (!node || !(lease_granted(&mount->lease, attr->ino, lease, request->call.again) & WIRE_LEASE_ATTR))
        return NULL;
    node->lease |= WIRE_LEASE_ATTR;
    attr_keep(&node->attr, attr,
              request_was_alone(request, node->id.key) ? request->ended_at : request->sent_at);
    return node;
}

// For how long the kernel may keep the attributes; 0: not at all.
static double keep_attr_and_tell(const struct request *request, const struct fs_attr *attr, uint8_t lease)
{
    struct node *node = keep_attr(request, attr, lease);
    return node ? tell_until(request->mount, node) : 0;
}

void request_keep_attr(const struct request *request, const struct fs_attr *attr, uint8_t lease)
{
    (void)keep_attr(request, attr, lease);
}

static void reply_attr(fuse_req_t fuse, const struct fs_attr *attr, double seconds)
{
    struct stat stat;
    stat_of(mount_of(fuse), attr, &stat);
    fuse_reply_attr(fuse, &stat, seconds);
}

void request_reply_attr(struct request *request, const struct fs_attr *attr, uint8_t lease)
{
    if (request->fuse)
        reply_attr(request->fuse, attr, keep_attr_and_tell(request, attr, lease));
    request->fuse = NULL;
}

static struct fuse_sx_time sx_time(struct fs_time time)
{
    return (struct fuse_sx_time){.tv_sec = time.sec, .tv_nsec = time.nsec};
}

static void reply_statx(fuse_req_t fuse, const struct fs_attr *attr, double seconds)
{
    struct stat stat;
    stat_of(mount_of(fuse), attr, &stat);
    struct fuse_statx_out out = {.attr_valid = (uint64_t)seconds,
                                 .attr_valid_nsec = (uint32_t)((seconds - (double)(uint64_t)seconds) * 1e9),
                                 .stat = {.mask = STATX_BASIC_STATS | STATX_BTIME,
                                          .blksize = (uint32_t)stat.st_blksize,
                                          .nlink = attr->nlink,
                                          .uid = attr->uid,
                                          .gid = attr->gid,
                                          .mode = (uint16_t)stat.st_mode,
                                          .ino = attr->ino,
                                          .size = attr->size,
                                          .blocks = attr->blocks,
                                          .atime = sx_time(attr->atime),
                                          .btime = sx_time(attr->btime),
                                          .ctime = sx_time(attr->ctime),
                                          .mtime = sx_time(attr->mtime),
                                          .rdev_major = attr->rdev >> 8 & 0xfff,
                                          .rdev_minor = (attr->rdev & 0xff) | (attr->rdev >> 12 & 0xfff00)}};
    fuse_reply_buf(fuse, (const char *)&out, sizeof(out));
}

void request_reply_statx(struct request *request, const struct fs_attr *attr, uint8_t lease)
{
    if (request->fuse)
        reply_statx(request->fuse, attr, keep_attr_and_tell(request, attr, lease));
    request->fuse = NULL;
}

bool request_answer_kept(fuse_req_t fuse, fuse_ino_t id)
{
    const struct mount *mount = mount_of(fuse);
    struct node *node = nodes_get(&mount->nodes, id);
    uint64_t now_ns = env_monotonic_ns(&mount->env);
    struct fs_attr attr;
    if (!node || !(node->lease & WIRE_LEASE_ATTR) || lease_seconds(&mount->lease, now_ns) == 0 ||
        !attr_is_wanted(&node->attr, clock_ms(now_ns)) || !attr_get(&node->attr, node->handle.ino, &attr))
        return false;
    node->known = true;
    (mount->wants_btime ? reply_statx : reply_attr)(fuse, &attr, tell_until(mount, node));
    return true;
}

// --- names ---

bool request_keeps_name(const struct request *request, fuse_ino_t directory_id, uint8_t lease)
{
    struct mount *mount = request->mount;
    struct node *directory = nodes_get(&mount->nodes, directory_id);
    if (!directory || !mount_knows_epochs(mount) ||
        !(lease_granted(&mount->lease, directory->handle.ino, lease, request->call.again) & WIRE_LEASE_NAME))
        return false;
    directory->lease |= WIRE_LEASE_NAME;
    return true;
}

// And the name, or that there is none, in directories[0]: likewise.
static double keep_name(const struct request *request, uint8_t lease)
{
    struct mount *mount = request->mount;
    bool keeps = request_keeps_name(request, request->directories[0], lease);
    return keeps ? lease_seconds(&mount->lease, env_monotonic_ns(&mount->env)) : 0;
}

// A lookup under way is not to bring attributes that were dropped meanwhile: unless the kernel knows the
// inode, they are kept only when the directory whose lock tells the end of that lookup is remembered.
void request_entry(const struct request *request, struct node *node, const wire_entry *entry, uint8_t lease,
                   struct fuse_entry_param *ret_param)
{
    bool traced = node->known || (node->shown_in && node->shown_in == request->directories[0]);
    *ret_param = (struct fuse_entry_param){.ino = node->id.key};
    kept_opens_named(&request->mount->kept_opens, node, request->names[0]);
    stat_of(request->mount, &entry->attr, &ret_param->attr);
    ret_param->entry_timeout = keep_name(request, lease);
    ret_param->attr_timeout = keep_attr_and_tell(request, &entry->attr, traced ? lease : 0);
}

void request_reply_entry(struct request *request, const wire_entry *entry, uint8_t lease)
{
    struct mount *mount = request->mount;
    if (!request->fuse)
        return;
    struct node *node = nodes_lookup(&mount->nodes, entry->handle, request->directories[0]);
    if (!node) {
        request_fail(request, -ENOMEM);
        return;
    }
    struct fuse_entry_param param;
    request_entry(request, node, entry, lease, &param);
    if (fuse_reply_entry(request->fuse, &param) != 0)
        nodes_forget(&mount->nodes, node, 1); // the caller was gone: the kernel did not take it
    request->fuse = NULL;
}

void request_reply_absent(struct request *request, uint8_t lease)
{
    struct fuse_entry_param none = {.entry_timeout = request->fuse ? keep_name(request, lease) : 0};
    if (none.entry_timeout > 0)
        fuse_reply_entry(request->fuse, &none);
    else
        request_fail(request, -ENOENT);
    request->fuse = NULL;
}

bool request_answer_absent(fuse_req_t fuse, fuse_ino_t parent, struct fs_name name)
{
    struct mount *mount = mount_of(fuse);
    const struct node *node = nodes_get(&mount->nodes, parent);
    double seconds = lease_seconds(&mount->lease, env_monotonic_ns(&mount->env));
    if (!node || !(node->lease & WIRE_LEASE_NAME) || seconds == 0 ||
        !whole_lacks(&mount->whole, parent, name))
        return false;
    const struct fuse_entry_param none = {.entry_timeout = seconds};
    if (mount_knows_epochs(mount))
        fuse_reply_entry(fuse, &none);
    else
        fuse_reply_err(fuse, ENOENT);
    return true;
}
