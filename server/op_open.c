// SPDX-License-Identifier: Apache-2.0
// The calls that open, claim and release. On the file system's shard, inside its turn. Invariant: every open
// of core is in exactly one session's table; those made in a turn are in hosted->fresh until it commits,
// since a failed turn closes them.
#include "server/call.h"
#include "server/metrics.h"
#include <errno.h>

#define CREATE_FLAGS  (FS_OPEN_CREATE | FS_OPEN_EXCL)
#define CHANGES_FLAGS (FS_OPEN_WRITE | FS_OPEN_APPEND | FS_OPEN_TRUNC)
#define ACCESS_FLAGS  (FS_OPEN_READ | FS_OPEN_WRITE)
#define PERMISSIONS   07777u
#define UMASK         0777u

// May the session have one more open, under this id and with these flags?
static int check_open(const struct call *call, uint64_t open_id, uint32_t flags)
{
    if (flags & ~FS_OPEN_ALL)
        return -EINVAL;
    int result = session_open_check(call->session, open_id);
    if (result == 0 && call->hosted->n_opens >= HOSTED_OPENS_MAX)
        result = -ENFILE;
    if (result == 0 && (flags & CHANGES_FLAGS))
        result = call_writable(call);
    return result;
}

static int keep(struct call *call, uint64_t open_id, struct core_file *file)
{
    struct session_open *open;
    int result = session_open_add(call->session, open_id, file, &open);
    if (result < 0) {
        core_release(call->core, file);
        return result;
    }
    list_push(&call->hosted->fresh, &open->fresh);
    call->hosted->n_opens++;
    return 0;
}

int call_hold(struct call *call, uint64_t open_id, fs_ino ino)
{
    struct session_open *before = session_open_get(call->session, open_id);
    if (before && !call_is_hold(before->file))
        return -EEXIST;
    if (before) // the call is sent again, and may find another inode now
        open_close(call->hosted, before);
    struct core_file *file;
    int result = check_open(call, open_id, 0);
    if (result == -EMFILE || result == -ENFILE)
        return 0;
    if (result == 0)
        result = core_hold(call->core, ino, &file);
    return result == 0 ? keep(call, open_id, file) : result;
}

// Asking again for an open that the session has is harmless. 1: it was that.
static int open_again(struct call *call, uint64_t open_id, fs_ino ino, uint32_t flags)
{
    struct session_open *open = session_open_get(call->session, open_id);
    if (!open)
        return 0;
    bool same = core_file_ino(open->file) == ino && !((core_file_flags(open->file) ^ flags) & ACCESS_FLAGS);
    return same ? 1 : -EEXIST;
}

static bool reads(uint32_t open_flags)
{
    return (open_flags & (FS_OPEN_READ | FS_OPEN_EXEC)) &&
           !(open_flags & (CHANGES_FLAGS | FS_OPEN_DIRECTORY | FS_OPEN_SYNC));
}

// What the client keeps of the bytes may be read, unless the first read has to come here to mark the access
// time. The open may be kept while that stays as it is, and while there are plenty.
static uint8_t lease_of_open(struct call *call, const struct fs_attr *attr, uint32_t open_flags)
{
    uint8_t lease = call_lease_attr(call, attr->ino);
    bool tells = core_reading_tells(call->core, attr, open_flags, 0);
    bool stays = tells || !core_reading_tells(call->core, attr, open_flags, WIRE_KEPT_OPEN_S);
    bool plenty = call->hosted->n_opens < HOSTED_OPENS_MAX / 2;
    if ((lease & WIRE_LEASE_ATTR) && S_ISREG(attr->mode) && attr->nlink > 0 && reads(open_flags) && stays &&
        plenty)
        lease |= WIRE_LEASE_OPEN;
    return tells ? lease : lease | WIRE_LEASE_DATA;
}

// The whole of a small file; nothing where a read would have to wait.
static wire_bytes first_bytes(struct call *call, const struct core_file *file, const struct fs_attr *attr,
                              uint32_t wanted, uint8_t bytes[WIRE_FIRST_MAX])
{
    size_t n;
    bool small = S_ISREG(attr->mode) && attr->size > 0 && attr->size <= MIN(wanted, WIRE_FIRST_MAX);
    if (!small || !reads(core_file_flags(file)) || !call_lease_data_now(call, attr->ino) ||
        core_peek(call->core, file, 0, bytes, attr->size, &n) < 0)
        return (wire_bytes){.bytes = bytes, .length = 0};
    METRICS_ADD(bytes_read, n);
    return (wire_bytes){.bytes = bytes, .length = (uint32_t)n};
}

static int reply_open(struct call *call, const struct core_file *file, const struct fs_attr *attr,
                      const struct wire_open_request *request)
{
    uint8_t bytes[WIRE_FIRST_MAX];
    struct writer body;
    struct wire_open_reply reply = {.attr = *attr,
                                    .lease = lease_of_open(call, attr, request->flags),
                                    .data = first_bytes(call, file, attr, request->first, bytes)};
    int result = call_reply_room(call, CALL_REPLY_ROOM + reply.data.length, &body);
    if (result < 0)
        return result;
    wire_put_open_reply(&body, &reply);
    return call_replied(call, &body);
}

static int open_new(struct call *call, const struct wire_open_request *request, struct core_file **ret_file,
                    struct fs_attr *ret_attr)
{
    int result = check_open(call, request->open_id, request->flags);
    if (result == 0)
        result = core_open(call->core, &call->cred, request->handle.ino, request->flags, ret_file, ret_attr);
    return result == 0 ? keep(call, request->open_id, *ret_file) : result;
}

int op_open(struct call *call)
{
    CALL_DECODE(open);
    struct core_file *file;
    struct fs_attr attr;
    int result = call_handle_once(call, request.handle);
    if (result == 0 && (request.flags & CREATE_FLAGS))
        result = -EINVAL;
    if (result == 0)
        result = open_again(call, request.open_id, request.handle.ino, request.flags);
    if (result == 1) {
        file = session_open_get(call->session, request.open_id)->file;
        result = core_getattr(call->core, request.handle.ino, &attr) < 0 ? -ESTALE : 0;
    } else if (result == 0) {
        result = open_new(call, &request, &file, &attr);
        call->request->wrote = result == 0 && (request.flags & FS_OPEN_TRUNC);
    }
    return result < 0 ? result : reply_open(call, file, &attr, &request);
}

int op_create(struct call *call)
{
    CALL_DECODE(create);
    struct core_file *file;
    struct fs_attr attr;
    bool created;
    int result = call_handle_inside(call, request.parent);
    if (result == 0 && ((request.mode & ~(PERMISSIONS | S_IFMT)) || (request.umask & ~UMASK)))
        result = -EINVAL;
    if (result == 0)
        result = check_open(call, request.open_id, request.flags);
    if (result == 0)
        result = core_create_open(call->core, &call->cred, request.parent.ino, request.name,
                                  request.mode & PERMISSIONS, request.umask, request.flags | FS_OPEN_CREATE,
                                  &file, &attr, &created);
    if (result == 0)
        result = keep(call, request.open_id, file);
    if (result < 0)
        return result;
    struct wire_create_reply reply = {.entry = call_entry(call, &attr),
                                      .created = created,
                                      .directory = call_directory(call, request.parent.ino),
                                      .lease =
                                          call_lease_entry(call, request.parent.ino, request.name, attr.ino)};
    return call_reply_create(call, &reply);
}

int op_tmpfile(struct call *call)
{
    CALL_DECODE(tmpfile);
    struct core_file *file;
    struct fs_attr attr;
    int result = call_handle_inside(call, request.parent);
    if (result == 0 && ((request.mode & ~(PERMISSIONS | S_IFMT)) || (request.umask & ~UMASK) ||
                        !(request.flags & FS_OPEN_WRITE)))
        result = -EINVAL;
    if (result == 0)
        result = check_open(call, request.open_id, request.flags);
    if (result == 0)
        result = core_tmpfile(call->core, &call->cred, request.parent.ino, request.mode & PERMISSIONS,
                              request.umask, request.flags, &file, &attr);
    if (result == 0)
        result = keep(call, request.open_id, file);
    if (result < 0)
        return result;
    struct wire_tmpfile_reply reply = {.entry = call_entry(call, &attr),
                                       .lease = call_lease_attr(call, attr.ino)};
    return call_reply_tmpfile(call, &reply);
}

// Until opens outlive the server, a claim is only the client's word: it is believed of the file's owner, who
// could give himself any permission, and of everybody else if they may open the file now. What was moved out
// of the session's root is out.
static int check_claim(struct call *call, fs_ino ino, uint32_t flags)
{
    struct fs_attr attr;
    int result = core_getattr(call->core, ino, &attr);
    if (result < 0)
        return result == -ENOENT ? -ESTALE : result;
    bool under = false;
    result = core_is_under(call->core, ino, call->session->root, &under);
    if (result < 0 ? result != -ENOENT : !under)
        return result < 0 ? result : -ESTALE;
    if (attr.uid == call->cred.uid)
        return 0;
    uint32_t may = ((flags & FS_OPEN_READ) ? FS_MAY_READ : 0) | ((flags & CHANGES_FLAGS) ? FS_MAY_WRITE : 0) |
                   ((flags & FS_OPEN_EXEC) ? FS_MAY_EXEC : 0);
    return core_access(call->core, &call->cred, ino, may);
}

// What the client held before a restart, and at no other time. The handle proves that it was shown the inode,
// which may be unlinked by now.
int op_reopen(struct call *call)
{
    CALL_DECODE(reopen);
    struct core_file *file;
    int result = call_handle_is_ours(call, request.handle) ? 0 : -ESTALE;
    if (result == 0)
        result = open_again(call, request.open_id, request.handle.ino, request.flags);
    if (result == 1)
        return call_reply_reopen(call, &(struct wire_reopen_reply){});
    if (result == 0 && call->request->attached->claim != CLAIM_UNDERWAY)
        result = -EINVAL;
    if (result == 0)
        result = check_open(call, request.open_id, request.flags);
    if (result == 0)
        result = check_claim(call, request.handle.ino, request.flags);
    if (result == 0)
        result = core_reopen(call->core, request.handle.ino, request.flags & ~(CREATE_FLAGS | FS_OPEN_TRUNC),
                             &file);
    if (result == 0)
        result = keep(call, request.open_id, file);
    if (result < 0)
        return result;
    return call_reply_reopen(call, &(struct wire_reopen_reply){});
}

// What a call that was answered before a restart granted.
struct granted {
    uint64_t open_id;
    fs_ino ino;
    uint32_t flags;
};

static int granted_by_create(struct call *call, struct reader reply, struct granted *ret_granted)
{
    CALL_DECODE(create);
    struct wire_create_reply created;
    if (wire_get_create_reply(&reply, &created) < 0)
        return -EUCLEAN;
    *ret_granted = (struct granted){request.open_id, created.entry.handle.ino, request.flags};
    return 0;
}

static int granted_by_tmpfile(struct call *call, struct reader reply, struct granted *ret_granted)
{
    CALL_DECODE(tmpfile);
    struct wire_tmpfile_reply made;
    if (wire_get_tmpfile_reply(&reply, &made) < 0)
        return -EUCLEAN;
    *ret_granted = (struct granted){request.open_id, made.entry.handle.ino, request.flags};
    return 0;
}

static int granted_by_open(struct call *call, struct granted *ret_granted)
{
    CALL_DECODE(open);
    if (!call_handle_is_ours(call, request.handle))
        return -ESTALE;
    *ret_granted = (struct granted){request.open_id, request.handle.ino, request.flags};
    return 0;
}

// The request that is sent again is no proof of what was asked the first time: it is checked like a claim.
int call_open_again(struct call *call, struct reader reply)
{
    struct granted granted = {0};
    struct core_file *file;
    int result = 0;
    if (call->request->op == WIRE_CREATE)
        result = granted_by_create(call, reply, &granted);
    else if (call->request->op == WIRE_TMPFILE)
        result = granted_by_tmpfile(call, reply, &granted);
    else if (call->request->op == WIRE_OPEN)
        result = granted_by_open(call, &granted);
    if (result < 0 || granted.open_id == 0)
        return result;
    result = open_again(call, granted.open_id, granted.ino, granted.flags);
    if (result == 1)
        return 0;
    if (result == 0)
        result = check_open(call, granted.open_id, granted.flags);
    if (result == 0)
        result = check_claim(call, granted.ino, granted.flags);
    if (result == 0)
        result = core_reopen(call->core, granted.ino, granted.flags & ~(CREATE_FLAGS | FS_OPEN_TRUNC), &file);
    return result == 0 ? keep(call, granted.open_id, file) : result;
}

void open_forget(struct hosted *hosted, struct session_open *open)
{
    fs_assert(hosted->n_opens > 0);
    hosted->n_opens--;
    session_open_remove(open->session, open);
}

void open_close(struct hosted *hosted, struct session_open *open)
{
    struct core_file *file = open->file;
    open_forget(hosted, open);
    core_release(hosted->core, file);
}

int op_release(struct call *call)
{
    CALL_DECODE(release);
    struct session_open *open = session_open_get(call->session, request.open_id);
    if (open) {
        open_drop_locks(call->request->attached, open);
        open_close(call->hosted, open);
    }
    return call_reply_release(call, &(struct wire_release_reply){});
}
