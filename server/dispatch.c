// SPDX-License-Identifier: Apache-2.0
// From a frame to its op_*() function and back to a reply, and what those functions share: handles, opens,
// room for replies. On the file system's shard, inside its turn.
#include "fs/base/log.h"
#include "server/call.h"
#include "server/keep.h"
#include "server/metrics.h"
#include <errno.h>

// How a call is treated beside its function.
#define OP_MODIFIES (1u << 0) // refused on a read-only session
#define OP_ONCE     (1u << 1) // its effect is not the store's: a failed turn does not undo it
#define OP_NO_CRED  (1u << 2) // brings no credentials

struct op {
    int (*run)(struct call *call);
    unsigned flags;
};

static const struct op ops[WIRE_OP_LIMIT] = {
#define OP_RUN(NAME, name, number, repeatable) [number] = {.run = op_##name},
    WIRE_CALLS(OP_RUN)
#undef OP_RUN
};

static unsigned op_flags(uint16_t op)
{
    switch (op) {
    case WIRE_PING:
    case WIRE_BYE:
    case WIRE_RECLAIMED:
        return OP_ONCE | OP_NO_CRED;
    case WIRE_SETATTR:
    case WIRE_SETXATTR:
    case WIRE_REMOVEXATTR:
    case WIRE_MAKE:
    case WIRE_LINK:
    case WIRE_UNLINK:
    case WIRE_RMDIR:
    case WIRE_RENAME:
    case WIRE_CREATE:
    case WIRE_TMPFILE:
    case WIRE_WRITE:
    case WIRE_APPEND:
    case WIRE_FALLOCATE:
    case WIRE_COPY_RANGE:
        return OP_MODIFIES;
    case WIRE_RELEASE:
    case WIRE_GETLK:
    case WIRE_SETLK:
    case WIRE_CANCEL:
        return OP_ONCE;
    default:
        return 0;
    }
}

bool op_changes(uint16_t op)
{
    return op_flags(op) & OP_MODIFIES;
}

// --- requests ---

int call_malformed(struct call *call)
{
    call->malformed = true;
    return -EPROTO;
}

wire_handle call_handle_of(const struct call *call, fs_ino ino)
{
    return attach_handle(call->session->identity.handle_key, ino);
}

static bool opened_here(const struct call *call, fs_ino ino, bool or_held)
{
    for (struct table_node *node = table_first(&call->session->opens); node;
         node = table_next(&call->session->opens, node)) {
        const struct core_file *file = CONTAINER_OF(node, struct session_open, node)->file;
        if (core_file_ino(file) == ino && (or_held || !call_is_hold(file)))
            return true;
    }
    return false;
}

// elsewhere: also when it was moved out, if this session has it open.
static int check_place(struct call *call, fs_ino ino, bool elsewhere)
{
    struct fs_attr attr;
    int result = core_getattr(call->core, ino, &attr);
    if (result < 0 || call->session->root == FS_ROOT_INO || ino == call->session->root)
        return result;
    bool under = false;
    result = core_is_under(call->core, ino, call->session->root, &under);
    if (under || (result < 0 && result != -ENOENT))
        return result;
    // What was unlinked while this session has it open stays its own.
    if ((elsewhere || result == -ENOENT) && opened_here(call, ino, result == -ENOENT))
        return 0;
    return result == -ENOENT ? -ENOENT : -ESTALE;
}

int call_inside(struct call *call, fs_ino ino)
{
    int result = check_place(call, ino, false);
    return result == -ENOENT ? -ESTALE : result;
}

bool call_handle_is_ours(const struct call *call, wire_handle handle)
{
    return call_handle_of(call, handle.ino).mac == handle.mac;
}

static int check_handle(struct call *call, wire_handle handle, bool elsewhere)
{
    int result = call_handle_is_ours(call, handle) ? check_place(call, handle.ino, elsewhere) : -ESTALE;
    if (result == -ENOENT || result == -ESTALE)
        log_debug("stale", "session=%u ino=%llu op=%s", call->session->number, (unsigned long long)handle.ino,
                  wire_op_name(call->request->op));
    return result;
}

int call_handle_once(struct call *call, wire_handle handle)
{
    return check_handle(call, handle, true);
}

int call_handle(struct call *call, wire_handle handle)
{
    int result = call_handle_once(call, handle);
    return result == -ENOENT ? -ESTALE : result;
}

int call_handle_inside(struct call *call, wire_handle handle)
{
    return check_handle(call, handle, false);
}

int call_open(struct call *call, uint64_t open_id, struct session_open **ret_open)
{
    struct session_open *open = session_open_get(call->session, open_id);
    if (!open)
        return -ESTALE;
    *ret_open = open;
    return call_is_hold(open->file) ? -EBADF : 0;
}

int call_handle_or_open(struct call *call, wire_handle handle, uint64_t open_id, struct core_file **ret_file)
{
    if (open_id == 0) {
        *ret_file = NULL;
        return call_handle(call, handle);
    }
    struct session_open *open;
    int result = call_open(call, open_id, &open);
    if (result < 0)
        return result;
    if (core_file_ino(open->file) != handle.ino)
        return -EINVAL;
    *ret_file = open->file;
    return 0;
}

int call_writable(const struct call *call)
{
    return call->session->identity.read_only ? -EROFS : 0;
}

// --- replies ---

wire_entry call_entry(const struct call *call, const struct fs_attr *attr)
{
    return (wire_entry){.handle = call_handle_of(call, attr->ino), .attr = *attr};
}

struct fs_attr call_directory(const struct call *call, fs_ino ino)
{
    struct fs_attr attr;
    return core_getattr(call->core, ino, &attr) == 0 ? attr : (struct fs_attr){0};
}

int call_reply_room(struct call *call, size_t room, struct writer *ret_body)
{
    fs_assert(!call->reply);
    call->reply = out_new(room);
    if (!call->reply)
        return -ENOMEM;
    *ret_body = writer_on(out_body(call->reply), room);
    return 0;
}

int call_replied(struct call *call, const struct writer *body)
{
    fs_assert(!body->failed);
    const struct request *request = call->request;
    struct wire_header header = {.op = request->op, .slot = request->slot, .seq = request->seq};
    call->reply = out_seal(call->reply, header, (size_t)(body->at - out_body(call->reply)));
    return 0;
}

// --- dispatch ---

// Header and credentials of a request; fills call->cred. `groups` has room for FS_GROUPS_MAX.
static int open_envelope(struct call *call, uint32_t *groups)
{
    const struct request *request = call->request;
    const struct session_identity *identity = &call->session->identity;
    bool caller = identity->how == WIRE_IDENTITY_CALLER;
    bool with_cred = caller && !(op_flags(request->op) & OP_NO_CRED);
    if (request->op == WIRE_HELLO || request->frame->header.status != (with_cred ? WIRE_WITH_CRED : 0))
        return call_malformed(call);
    if (with_cred)
        return wire_get_cred(&call->body, &call->cred, groups) < 0 ? call_malformed(call) : 0;
    call->cred = (struct fs_cred){.uid = identity->uid,
                                  .gid = identity->gid,
                                  .n_groups = identity->n_groups,
                                  .groups = identity->groups};
    return 0;
}

// A request that was executed before a restart, and its answer not seen: the same answer again. What it
// granted was in memory: an open.
static int answer_again(struct call *call, const struct out *kept)
{
    struct wire_header header;
    fs_assert(wire_get_header(kept->bytes, &header) == 0);
    struct reader body = reader_on(kept->bytes + WIRE_HEADER_SIZE, kept->length - WIRE_HEADER_SIZE);
    int result = header.status == 0 ? call_open_again(call, body) : 0;
    if (result < 0)
        return result;
    call->reply = out_copy(kept);
    return call->reply ? 0 : -ENOMEM;
}

static uint64_t written_open(uint16_t op, struct reader body)
{
    struct wire_write_request write;
    struct wire_append_request append;
    struct wire_fallocate_request fallocate;
    struct wire_copy_range_request copy;
    switch (op) {
    case WIRE_WRITE:
        return wire_get_write_request(&body, &write) == 0 ? write.open_id : 0;
    case WIRE_APPEND:
        return wire_get_append_request(&body, &append) == 0 ? append.open_id : 0;
    case WIRE_FALLOCATE:
        return wire_get_fallocate_request(&body, &fallocate) == 0 ? fallocate.open_id : 0;
    case WIRE_COPY_RANGE:
        return wire_get_copy_range_request(&body, &copy) == 0 ? copy.open_id : 0;
    default:
        return 0;
    }
}

// What changed a file through an O_SYNC or O_DSYNC descriptor is answered by sync_file(), and so is the same
// asked again after a restart: the first server may not have come to its sync.
static void sync_as_opened(struct call *call, struct reader body)
{
    const struct session_open *open = session_open_get(call->session, written_open(call->request->op, body));
    if (open && (core_file_flags(open->file) & FS_OPEN_SYNC))
        call->request->sync_ino = core_file_ino(open->file);
}

static int run_or_answer(struct call *call)
{
    const struct out *kept = session_restored(call->session, call->request->slot);
    if (kept)
        return answer_again(call, kept);
    if (op_flags(call->request->op) & OP_MODIFIES) {
        int result = call_writable(call);
        if (result < 0)
            return result;
    }
    return ops[call->request->op].run(call);
}

static int run(struct call *call)
{
    uint32_t groups[FS_GROUPS_MAX];
    if (!wire_op_is_call(call->request->op))
        return -ENOSYS;
    int result = open_envelope(call, groups);
    const struct reader body = call->body;
    if (result == 0)
        result = run_or_answer(call);
    if (result < 0)
        return result;
    fs_assert(call->reply);
    sync_as_opened(call, body);
    return 0;
}

void dispatch(struct hosted *hosted, struct request *request)
{
    struct call call = {
        .hosted = hosted,
        .core = hosted->core,
        .session = request->attached->session,
        .request = request,
        .body = reader_on(request->frame->body, request->frame->body_length),
    };
    request->wrote = request->pages = false;
    request->sync_ino = 0;
    core_set_quiet(hosted->core, call.session->identity.read_only);
    int result = run(&call);
    if (request->op < WIRE_OP_LIMIT)
        atomic_fetch_add_explicit(&metrics.requests[request->op], 1, memory_order_relaxed);
    request->malformed = call.malformed;
    request->ran = op_flags(request->op) & OP_ONCE;
    if (result == 0) {
        request->reply = call.reply;
        if (session_restored(call.session, request->slot))
            return;
        request->wrote |= op_changes(request->op);
        if (request->wrote)
            keep_reply(hosted, request);
        return;
    }
    out_unref(call.reply);
    request->waits = result == CORE_WAIT;
    if (request->waits) {
        request->wrote = false;
        return;
    }
    request->reply = call.malformed ? NULL : out_error(request->op, request->slot, request->seq, result, "");
}
