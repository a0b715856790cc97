// SPDX-License-Identifier: Apache-2.0
// The calls on extended attributes. On the file system's shard, inside its turn.
#include "fs/base/check.h"
#include "server/call.h"
#include <errno.h>

#define XATTR_FLAGS (FS_XATTR_CREATE | FS_XATTR_REPLACE)
#define REPLY_ROOM  (2 * sizeof(uint32_t)) // of a getxattr or listxattr, beside the bytes

_Static_assert(FS_XATTR_VALUE_MAX + WIRE_TEXT_MAX < FS_IO_MAX, "a value fits a frame");

static struct fs_name name_of(wire_text text)
{
    return (struct fs_name){.bytes = text.bytes, .length = text.length};
}

int op_getxattr(struct call *call)
{
    CALL_DECODE(getxattr);
    struct core_file *file;
    size_t size = MIN(request.size, FS_XATTR_VALUE_MAX), n;
    int result = call_handle_or_open(call, request.handle, request.open_id, &file);
    _cleanup_(freep) char *value = result == 0 && size > 0 ? malloc(size) : NULL;
    if (result == 0 && size > 0 && !value)
        result = -ENOMEM;
    if (result == 0)
        result = core_getxattr(call->core, &call->cred, request.handle.ino, name_of(request.name), value,
                               size, &n);
    if (result < 0)
        return result;
    struct wire_getxattr_reply reply = {.length = (uint32_t)n,
                                        .value = {.bytes = value, .length = size > 0 ? (uint32_t)n : 0}};
    struct writer body;
    result = call_reply_room(call, REPLY_ROOM + reply.value.length, &body);
    if (result < 0)
        return result;
    wire_put_getxattr_reply(&body, &reply);
    return call_replied(call, &body);
}

int op_listxattr(struct call *call)
{
    CALL_DECODE(listxattr);
    struct core_file *file;
    size_t size = MIN(request.size, FS_XATTR_LIST_MAX), n;
    int result = call_handle_or_open(call, request.handle, request.open_id, &file);
    _cleanup_(freep) char *names = result == 0 && size > 0 ? malloc(size) : NULL;
    if (result == 0 && size > 0 && !names)
        result = -ENOMEM;
    if (result == 0)
        result = core_listxattr(call->core, &call->cred, request.handle.ino, names, size, &n);
    if (result < 0)
        return result;
    struct wire_listxattr_reply reply = {.length = (uint32_t)n,
                                         .names = {.bytes = names, .length = size > 0 ? (uint32_t)n : 0}};
    struct writer body;
    result = call_reply_room(call, REPLY_ROOM + reply.names.length, &body);
    if (result < 0)
        return result;
    wire_put_listxattr_reply(&body, &reply);
    return call_replied(call, &body);
}

int op_setxattr(struct call *call)
{
    CALL_DECODE(setxattr);
    struct core_file *file;
    int result = call_handle_or_open(call, request.handle, request.open_id, &file);
    if (result == 0 && (request.flags & ~XATTR_FLAGS))
        result = -EINVAL;
    if (result == 0)
        result = core_setxattr(call->core, &call->cred, request.handle.ino, name_of(request.name),
                               request.value.bytes, request.value.length, request.flags);
    if (result < 0)
        return result;
    return call_reply_setxattr(call, &(struct wire_setxattr_reply){});
}

int op_removexattr(struct call *call)
{
    CALL_DECODE(removexattr);
    struct core_file *file;
    int result = call_handle_or_open(call, request.handle, request.open_id, &file);
    if (result == 0)
        result = core_removexattr(call->core, &call->cred, request.handle.ino, name_of(request.name));
    if (result < 0)
        return result;
    return call_reply_removexattr(call, &(struct wire_removexattr_reply){});
}
