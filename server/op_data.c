// SPDX-License-Identifier: Apache-2.0
// The calls on what files and directories hold. On the file system's shard, inside its turn. Data goes from
// the store into the reply's own buffer, and from the frame into the store: nothing is copied in between.
#include "server/call.h"
#include "server/metrics.h"
#include <errno.h>

int op_read(struct call *call)
{
    CALL_DECODE(read);
    const size_t ahead = sizeof(uint8_t) + sizeof(uint32_t); // `lease` and the length of the data
    struct session_open *open;
    struct writer body;
    int result = call_open(call, request.open_id, &open);
    if (result == 0 && (request.n > FS_IO_MAX || request.keep > 1))
        result = -EINVAL;
    if (result == 0)
        result = call_reply_room(call, ahead + request.n, &body);
    if (result < 0)
        return result;
    size_t n;
    uint8_t lease = 0;
    result = call_unsettled(call, core_file_ino(open->file));
    if (result == 0 && request.keep)
        result = call_lease_data(call, core_file_ino(open->file), &lease);
    if (result == 0)
        result = core_read(call->core, open->file, request.offset, body.at + ahead, request.n, &n);
    if (result < 0)
        return result;
    fs_assert(n <= request.n);
    write_u8(&body, lease);
    write_u32(&body, (uint32_t)n);
    body.at += n;
    METRICS_ADD(bytes_read, n);
    return call_replied(call, &body);
}

int op_write(struct call *call)
{
    CALL_DECODE(write);
    struct session_open *open;
    struct fs_attr attr;
    int result = call_open(call, request.open_id, &open);
    if (result == 0 && (request.data.length > FS_IO_MAX || request.pages > 1))
        result = -EINVAL;
    call->request->pages = request.pages;
    if (result == 0)
        result = core_write(call->core, &call->cred, open->file, request.offset, request.data.bytes,
                            request.data.length, &attr);
    if (result < 0)
        return result;
    METRICS_ADD(bytes_written, request.data.length);
    return call_reply_write(call, &(struct wire_write_reply){.attr = attr});
}

int op_append(struct call *call)
{
    CALL_DECODE(append);
    struct session_open *open;
    struct wire_append_reply reply;
    int result = call_open(call, request.open_id, &open);
    if (result == 0 && request.data.length > FS_IO_MAX)
        result = -EINVAL;
    if (result == 0)
        result = core_append(call->core, &call->cred, open->file, request.data.bytes, request.data.length,
                             &reply.offset, &reply.attr);
    if (result < 0)
        return result;
    METRICS_ADD(bytes_written, request.data.length);
    return call_reply_append(call, &reply);
}

// Answered by sync_file() once the turn has committed.
int op_fsync(struct call *call)
{
    CALL_DECODE(fsync);
    struct session_open *open;
    int result = call_open(call, request.open_id, &open);
    if (result == 0)
        result = call_settled(call, core_file_ino(open->file));
    if (result < 0)
        return result;
    call->request->sync_ino = core_file_ino(open->file);
    return call_reply_fsync(call, &(struct wire_fsync_reply){});
}

int op_settle(struct call *call)
{
    CALL_DECODE(settle);
    struct session_open *open;
    int result = call_open(call, request.open_id, &open);
    if (result == 0)
        result = call_settled(call, core_file_ino(open->file));
    return result < 0 ? result : call_reply_settle(call, &(struct wire_settle_reply){});
}

// --- readdir ---

struct listing {
    struct call *call;
    fs_ino directory;
    bool top;        // the session's root
    bool search;     // the caller may look names up here: handles and attributes are his to see
    bool attributes; // are asked for
    bool full;
    struct writer entries;
};

static bool visit(void *context, struct fs_name name, uint64_t cookie, fs_ino ino, uint32_t type,
                  const struct fs_attr *attr)
{
    struct listing *listing = context;
    bool dot = name.length == 1 && name.bytes[0] == '.';
    bool dot_dot = name.length == 2 && name.bytes[0] == '.' && name.bytes[1] == '.';
    struct wire_dirent entry = {.cookie = cookie, .type = type & S_IFMT, .name = name};
    // What is above the session's root is not its business.
    fs_ino shown = dot_dot && listing->top ? listing->call->session->root : ino;
    bool child = !dot && !dot_dot && listing->search;
    entry.handle = child ? call_handle_of(listing->call, ino) : (wire_handle){.ino = shown};
    entry.has_attr = child && listing->attributes && attr;
    if (entry.has_attr) {
        entry.attr = *attr;
        entry.lease =
            call_lease_name(listing->call, listing->directory, name) | call_lease_attr(listing->call, ino);
    }
    listing->full = !wire_put_dirent(&listing->entries, &entry);
    return !listing->full;
}

int op_readdir(struct call *call)
{
    CALL_DECODE(readdir);
    const size_t ahead =
        2 * sizeof(uint8_t) + sizeof(uint32_t); // `end`, `lease` and the length of the entries
    struct session_open *open;
    struct writer body;
    int result = call_open(call, request.open_id, &open);
    if (result == 0 && (request.n > FS_IO_MAX || request.with_attributes > 1))
        result = -EINVAL;
    if (result == 0)
        result = call_inside(call, core_file_ino(open->file));
    if (result == 0)
        result = call_reply_room(call, ahead + request.n, &body);
    if (result < 0)
        return result;
    struct listing listing = {
        .call = call,
        .directory = core_file_ino(open->file),
        .top = core_file_ino(open->file) == call->session->root,
        .search = core_access(call->core, &call->cred, core_file_ino(open->file), FS_MAY_EXEC) == 0,
        .attributes = request.with_attributes,
        .entries = writer_on(body.at + ahead, request.n),
    };
    result = core_readdir(call->core, open->file, request.cookie, visit, &listing);
    size_t n = request.n - listing.entries.left;
    if (result == 0 && listing.full && n == 0)
        result = -EINVAL; // no room for a single entry
    if (result < 0)
        return result;
    write_u8(&body, !listing.full);
    write_u8(&body, call_lease_names(call, listing.directory));
    write_u32(&body, (uint32_t)n);
    body.at += n;
    return call_replied(call, &body);
}
