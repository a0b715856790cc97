// SPDX-License-Identifier: Apache-2.0
// One session: its slots, opens and lock waits. Pure: no sockets, no clock, no file system; the server tells
// it what came and acts on what it answers. One owner thread, that of the file system.
//
// Slots are numbered from 1 and carry one request at a time. A slot's first request has seq 1, each next one
// 1 more. The last reply is kept until the next request, so that a request sent again after a lost connection
// is answered and not executed: all replies of calls that may not be repeated are small enough to be kept,
// but those of opens with bytes in them, and asking for an open that the session has is harmless.
#ifndef BERTH_SERVER_SESSION_H
#define BERTH_SERVER_SESSION_H

#include "fs/base/table.h"
#include "server/frame.h"

#define SESSION_SLOTS          128u  // requests a client has under way
#define SESSION_REPLY_KEPT_MAX 4096u // bytes; larger ones are of what reads, which is executed again
#define SESSION_OPENS_MAX      65536u
#define SESSION_OWNERS_MAX     1024u // lock owners that used one open
#define SESSION_WAITS_MAX      1024u // locks waited for; no more than grants are kept, so that none is lost
#define SESSION_GRANTS_KEPT    1024u // of the latest grants, told again after a lost connection
#define SESSION_TEXT_SIZE      140u  // a client's name as logged, and an access key

struct core_file;

struct session_slot {
    uint32_t seq; // of the last request that was admitted; wraps
    uint16_t op;
    bool used;           // since the session began
    bool loose;          // restored after a restart: requests that were not kept may have come since `seq`
    bool running;        // admitted and not finished
    uint64_t connection; // that it came over
    struct out *kept;    // owned reference, or NULL
};

struct session_owner {
    uint64_t owner;
    enum fs_lock_kind kind;
};

struct session_open {
    struct table_node node; // key: open_id
    struct session *session;
    struct list fresh; // in a list of those made in a turn that has not committed yet
    struct core_file *file;
    size_t n_owners, owners_room;
    struct session_owner *owners; // owned: who locked through this open
};

struct session_wait {
    struct table_node node; // key: ticket
    fs_ino ino;
    struct fs_lock lock;
};

// Who a session is: decided at attach, compared when it is resumed.
struct session_identity {
    char access_point[FS_ID_SIZE];
    char principal[SESSION_TEXT_SIZE]; // access key, "" without a credential
    uint8_t how;                       // enum wire_identity
    uint32_t uid, gid;                 // unless WIRE_IDENTITY_CALLER
    uint32_t n_groups;
    uint32_t *groups; // owned by the session
    bool read_only;
    uint8_t handle_key[16];
};

struct session {
    uint64_t id_high, id_low; // secret: whoever knows them may resume
    uint32_t number;          // for logs
    struct session_identity identity;
    fs_ino root;
    struct session_slot slots[SESSION_SLOTS + 1];
    struct table opens;
    struct table waits;
    uint64_t *grants; // ring of tickets, or NULL before the first
    uint64_t n_grants;
};

// Takes identity->groups from success on.
int session_create(const struct session_identity *identity, struct session **ret_session);
// Opens and waits must have been removed. NULL is allowed.
void session_destroy(struct session *session);
bool session_may_resume(const struct session *session, uint64_t id_high, uint64_t id_low,
                        const struct session_identity *identity);

// --- slots ---

enum session_verdict {
    SESSION_RUN,    // execute it, then session_finish()
    SESSION_REPLAY, // answer *ret_kept again
    SESSION_DROP,   // its first copy is being executed; that one's reply will do
    SESSION_WRONG,  // the peer breaks the rules: *ret_why
};
// `connection` numbers the connection it came over.
enum session_verdict session_admit(struct session *session, const struct wire_header *header,
                                   uint64_t connection, struct out **ret_kept, const char **ret_why);
// After a restart, before any request is admitted: any slot may have been used since, and this one's last
// kept reply is known. Takes the reference.
void session_loosen(struct session *session);
void session_restore(struct session *session, const struct wire_header *header, struct out *kept);
// The reply, made before a restart, to the request that runs on the slot: it is to be given again, not made
// again. NULL: there is none.
struct out *session_restored(const struct session *session, uint16_t slot);
// The reply to the slot's running request; kept when it is small.
void session_finish(struct session *session, uint16_t slot, struct out *reply);

// --- opens ---

struct session_open *session_open_get(const struct session *session, uint64_t open_id);
// -EMFILE, -EINVAL (0), -EEXIST, -ENOMEM.
int session_open_check(const struct session *session, uint64_t open_id);
int session_open_add(struct session *session, uint64_t open_id, struct core_file *file,
                     struct session_open **ret_open);
void session_open_remove(struct session *session, struct session_open *open);
// Remembers who locks through open. -ENOLCK past SESSION_OWNERS_MAX, -ENOMEM.
int session_open_owner(struct session_open *open, enum fs_lock_kind kind, uint64_t owner);

// --- lock waits ---

// -EINVAL: ticket 0 or in use; -ENOLCK past SESSION_WAITS_MAX; -ENOMEM.
int session_wait_add(struct session *session, uint64_t ticket, fs_ino ino, const struct fs_lock *lock);
const struct session_wait *session_wait_get(const struct session *session, uint64_t ticket); // NULL: none
void session_wait_end(struct session *session, uint64_t ticket); // harmless when there is none
void session_wait_drop(struct session *session, fs_ino ino, enum fs_lock_kind kind, uint64_t owner);
void session_grant(struct session *session, uint64_t ticket); // ends the wait and remembers the grant
bool session_granted(const struct session *session, uint64_t ticket);
void session_grant_forget(struct session *session, uint64_t ticket);

#endif
