// SPDX-License-Identifier: Apache-2.0
// One call being executed: what an op_*() function gets and what it answers with. Private to dispatch.c and
// op_*.c.
#ifndef BERTH_SERVER_CALL_H
#define BERTH_SERVER_CALL_H

#include "server/hosted.h"

struct call {
    struct hosted *hosted;
    struct core *core;
    struct session *session;
    struct request *request;
    struct fs_cred cred; // as whom
    struct reader body;
    struct out *reply; // made by call_reply_*()
    bool malformed;    // the peer broke the rules: no reply, the connection goes
};

// One for each call; 0 and a reply, or negative errno. Each checks flags, masks and sizes before it asks
// core.
#define CALL_DECLARE(NAME, name, number, repeatable) int op_##name(struct call *call);
WIRE_CALLS(CALL_DECLARE)
#undef CALL_DECLARE

// --- requests ---

// In op_NAME(): declares `request` and decodes the body into it.
#define CALL_DECODE(name)                                     \
    struct wire_##name##_request request;                     \
    if (wire_get_##name##_request(&call->body, &request) < 0) \
    return call_malformed(call)
int call_malformed(struct call *call);

// Was this session shown the inode, and does it still lie under its root, or has the session it open?
// -ESTALE.
int call_handle(struct call *call, wire_handle handle);
// The same, but -ENOENT when the inode is no more.
int call_handle_once(struct call *call, wire_handle handle);
// The latter for what names are looked up, made or removed in, and what gets one more: having it open does
// not help when it was moved out, or whoever holds a directory would climb out with it.
int call_handle_inside(struct call *call, wire_handle handle);
int call_inside(struct call *call, fs_ino ino);
bool call_handle_is_ours(const struct call *call, wire_handle handle); // the first half alone
// -ESTALE when the session has no such open, -EBADF when it is a hold.
int call_open(struct call *call, uint64_t open_id, struct session_open **ret_open);
// With open_id 0 as call_handle(), *ret_file NULL; else the open must be of that inode.
int call_handle_or_open(struct call *call, wire_handle handle, uint64_t open_id, struct core_file **ret_file);
int call_writable(const struct call *call); // -EROFS on a read-only session
// What of a reply the client may keep: WIRE_LEASE_*.
uint8_t call_lease_attr(struct call *call, fs_ino ino);
uint8_t call_lease_name(struct call *call, fs_ino directory, struct fs_name name);
uint8_t call_lease_names(struct call *call, fs_ino directory); // of who may search it
static inline uint8_t call_lease_entry(struct call *call, fs_ino directory, struct fs_name name, fs_ino ino)
{
    return call_lease_name(call, directory, name) | call_lease_attr(call, ino);
}
int call_lease_data(struct call *call, fs_ino ino, uint8_t *ret_lease); // 0, CORE_WAIT
// Of a directory in which a name was made or taken away; all zero when they cannot be had.
struct fs_attr call_directory(const struct call *call, fs_ino ino);
// Of a request that waits for nothing: may it read the bytes and keep them, now?
bool call_lease_data_now(struct call *call, fs_ino ino);
// 0: nobody keeps what pages that this session wrote to the inode have made old. CORE_WAIT.
int call_settled(struct call *call, fs_ino ino);
int call_unsettled(struct call *call, fs_ino ino); // by another session: 0, CORE_WAIT
// Keeps the inode as open `open_id` of the session; harmless when there is no room. 0, -ENOMEM, -EEXIST.
int call_hold(struct call *call, uint64_t open_id, fs_ino ino);
static inline bool call_is_hold(const struct core_file *file)
{
    return core_file_flags(file) == 0;
}
// For a call whose reply, made before a restart, is given again: makes the open that it granted.
int call_open_again(struct call *call, struct reader reply);

// --- replies ---

wire_handle call_handle_of(const struct call *call, fs_ino ino);
wire_entry call_entry(const struct call *call, const struct fs_attr *attr);

#define CALL_REPLY_ROOM 512u // more than any reply without bytes of variable length
// Room for a body of at most `room` bytes; then call_replied() with what is left of it.
int call_reply_room(struct call *call, size_t room, struct writer *ret_body);
int call_replied(struct call *call, const struct writer *body);

#define CALL_REPLY(NAME, name, number, repeatable)                                                  \
    static inline int call_reply_##name(struct call *call, const struct wire_##name##_reply *reply) \
    {                                                                                               \
        struct writer body;                                                                         \
        int result = call_reply_room(call, CALL_REPLY_ROOM, &body);                                 \
        if (result < 0)                                                                             \
            return result;                                                                          \
        wire_put_##name##_reply(&body, reply);                                                      \
        return call_replied(call, &body);                                                           \
    }
WIRE_CALLS(CALL_REPLY)
#undef CALL_REPLY

// --- dispatch.c ---

// Runs the request inside the core's turn: sets reply, error, wrote, malformed.
void dispatch(struct hosted *hosted, struct request *request);

#endif
