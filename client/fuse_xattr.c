// SPDX-License-Identifier: Apache-2.0
// Extended attributes, and the mount's own status, which is read as one. Loop's thread; see request.h.
#include "client/fuse_ops.h"
#include "client/recall.h"
#include "fs/base/check.h"
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_ROOM   640u // a handle, an open, a name
#define STATUS_XATTR "system.berth.status"
#define STATUS_SIZE  8192u

// --- reading ---

// The kernel asked for `size` bytes, or with 0 for the length alone.
static void reply_bytes(struct request *request, uint32_t length, wire_bytes bytes)
{
    if (!request->fuse)
        return;
    if (request->size == 0)
        fuse_reply_xattr(request->fuse, length);
    else if (bytes.length > request->size)
        fuse_reply_err(request->fuse, EIO);
    else
        fuse_reply_buf(request->fuse, bytes.bytes, bytes.length);
    request->fuse = NULL;
}

static void getxattr_done(struct request *request, struct reader *body)
{
    struct wire_getxattr_reply reply;
    if (wire_get_getxattr_reply(body, &reply) < 0)
        request_fail(request, -EIO);
    else
        reply_bytes(request, reply.length, reply.value);
}

// Answered here, also while the server is away.
static void reply_status(fuse_req_t fuse, size_t size)
{
    char text[STATUS_SIZE];
    size_t n = status_json(mount_of(fuse), text, sizeof(text));
    if (size == 0)
        fuse_reply_xattr(fuse, n);
    else if (size < n)
        fuse_reply_err(fuse, ERANGE);
    else
        fuse_reply_buf(fuse, text, n);
}

static bool name_ok(fuse_req_t fuse, const char *name, wire_text *ret_name)
{
    size_t n = strlen(name);
    if (n > FS_XATTR_NAME_MAX) {
        fuse_reply_err(fuse, ERANGE);
        return false;
    }
    *ret_name = (wire_text){.bytes = name, .length = (uint16_t)n};
    return true;
}

void op_getxattr(fuse_req_t fuse, fuse_ino_t id, const char *name, size_t size)
{
    struct wire_getxattr_request message = {.size = (uint32_t)MIN(size, FS_XATTR_VALUE_MAX)};
    if (id == NODE_ROOT && strcmp(name, STATUS_XATTR) == 0) {
        reply_status(fuse, size);
        return;
    }
    if (!name_ok(fuse, name, &message.name) || !request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_GETXATTR, XATTR_ROOM, getxattr_done);
    if (!request)
        return;
    request->size = message.size;
    wire_put_getxattr_request(&request->body, &message);
    request_send(request);
}

static void listxattr_done(struct request *request, struct reader *body)
{
    struct wire_listxattr_reply reply;
    if (wire_get_listxattr_reply(body, &reply) < 0)
        request_fail(request, -EIO);
    else
        reply_bytes(request, reply.length, reply.names);
}

void op_listxattr(fuse_req_t fuse, fuse_ino_t id, size_t size)
{
    struct wire_listxattr_request message = {.size = (uint32_t)MIN(size, FS_XATTR_LIST_MAX)};
    if (!request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_LISTXATTR, XATTR_ROOM, listxattr_done);
    if (!request)
        return;
    request->size = message.size;
    wire_put_listxattr_request(&request->body, &message);
    request_send(request);
}

// --- changing ---

static bool is_list(const char *name)
{
    return strncmp(name, "system.posix_acl_", strlen("system.posix_acl_")) == 0;
}

// The kernel expects a new ctime, not that a list changes the mode, and, where the server alone checks
// permissions, who may look below a directory.
static void changed(struct request *request, struct reader *body)
{
    struct mount *mount = request->mount;
    notify_attributes(mount->notify, request->node_id);
    if (mount->identity != WIRE_IDENTITY_CALLER) {
        recall_all_names(mount);
        whole_drop(&mount->whole, request->node_id);
    }
    request_done_ok(request, body);
}

void op_setxattr(fuse_req_t fuse, fuse_ino_t id, const char *name, const char *value, size_t size, int flags)
{
    struct wire_setxattr_request message = {.flags = (flags & XATTR_CREATE ? FS_XATTR_CREATE : 0) |
                                                     (flags & XATTR_REPLACE ? FS_XATTR_REPLACE : 0)};
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE) || size > FS_XATTR_VALUE_MAX) {
        fuse_reply_err(fuse, size > FS_XATTR_VALUE_MAX ? E2BIG : EINVAL);
        return;
    }
    message.value = (wire_bytes){.bytes = value, .length = (uint32_t)size};
    if (!name_ok(fuse, name, &message.name) || !request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_SETXATTR, XATTR_ROOM + size,
                                          is_list(name) ? changed : request_done_ok);
    if (!request)
        return;
    request->node_id = id;
    request->changes[0] = id;
    wire_put_setxattr_request(&request->body, &message);
    request_send(request);
}

void op_removexattr(fuse_req_t fuse, fuse_ino_t id, const char *name)
{
    struct wire_removexattr_request message = {0};
    if (!name_ok(fuse, name, &message.name) || !request_handle(fuse, id, &message.handle))
        return;
    struct request *request = request_new(mount_of(fuse), fuse, WIRE_REMOVEXATTR, XATTR_ROOM,
                                          is_list(name) ? changed : request_done_ok);
    if (!request)
        return;
    request->node_id = id;
    request->changes[0] = id;
    wire_put_removexattr_request(&request->body, &message);
    request_send(request);
}
