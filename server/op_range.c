// SPDX-License-Identifier: Apache-2.0
// The calls on ranges of files: room, holes, copies that never leave the server. On the file system's shard,
// inside its turn.
#include "server/call.h"
#include <errno.h>

int op_fallocate(struct call *call)
{
    CALL_DECODE(fallocate);
    struct session_open *open;
    struct fs_attr attr = {0};
    int result = call_open(call, request.open_id, &open);
    if (result == 0)
        result = core_fallocate(call->core, &call->cred, open->file, request.mode, request.offset, request.n,
                                &attr);
    return result < 0 ? result : call_reply_fallocate(call, &(struct wire_fallocate_reply){.attr = attr});
}

int op_seek(struct call *call)
{
    CALL_DECODE(seek);
    struct session_open *open;
    uint64_t offset = 0;
    int result = call_open(call, request.open_id, &open);
    if (result == 0 && request.hole > 1)
        result = -EINVAL;
    if (result == 0)
        result = core_seek(call->core, open->file, request.offset, request.hole, &offset);
    return result < 0 ? result : call_reply_seek(call, &(struct wire_seek_reply){.offset = offset});
}

int op_copy_range(struct call *call)
{
    CALL_DECODE(copy_range);
    struct session_open *from, *open;
    uint64_t n = 0;
    int result = call_open(call, request.from_open_id, &from);
    if (result == 0)
        result = call_open(call, request.open_id, &open);
    if (result == 0)
        result = core_copy_range(call->core, &call->cred, from->file, request.from_offset, open->file,
                                 request.offset, request.n, &n);
    return result < 0 ? result : call_reply_copy_range(call, &(struct wire_copy_range_reply){.n = n});
}
