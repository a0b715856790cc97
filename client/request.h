// SPDX-License-Identifier: Apache-2.0
// One FUSE request on its way through the server: from the operation that the kernel asked for, over a call,
// to the answer. Loop's thread. Only the files that know libfuse include this.
//
// The caller may go away (killed, timed out, unmounted) before the server answers; then `fuse` is NULL, the
// reply helpers do nothing, and `done` undoes what nobody will know of.
#ifndef BERTH_CLIENT_REQUEST_H
#define BERTH_CLIENT_REQUEST_H

#define FUSE_USE_VERSION 314
#include "client/mount.h"
#include <fuse3/fuse_lowlevel.h>

#define REQUEST_CHANGES_MAX 4u

struct request {
    struct rpc_call call;
    struct mount *mount;
    fuse_req_t fuse;                                            // NULL: nobody waits
    void (*done)(struct request *request, struct reader *body); // the call succeeded
    void (*failed)(struct request *request, int error);         // NULL: the caller gets the error
    void (*gone)(struct request *request);                      // NULL: nothing to do when it is freed undone
    struct writer body;                                         // while it is made
    struct list node, killable;
    uint64_t since_ns;
    uint64_t dying_ns;       // when the caller was first seen being killed; 0: it was not
    bool answered_when_down; // with success: nothing that the caller can know depends on it
    bool interruptible;      // by any signal, while the server is away
    bool busy;               // counted in the directories below
    pid_t pid;

    // What `done` needs to know.
    struct fs_cred opener; // of a call that opens; the groups are malloc'd
    uint64_t open_id, offset, ticket;
    fuse_ino_t node_id;
    uint32_t flags;
    size_t size;
    bool plus, statx;
    struct fs_lock lock;
    fuse_ino_t directories[2]; // whose locks the kernel holds meanwhile; 0: none
    fuse_ino_t changes[2];     // inodes whose attributes the call changes besides; 0: none
    // Of these, the directories behind the others: noted with the inode from when it is sent until it is
    // answered.
    bool changing, leased[REQUEST_CHANGES_MAX], alone[REQUEST_CHANGES_MAX];
    uint64_t sent_at, ended_at;   // by mount->attr_clock
    struct whole_change named[2]; // names that the call makes or removes
    bool nothing[2];              // and that, the answer says, were there before or stay
    uint8_t name_lease;           // the answer's
    uint64_t names[2];            // where they are, nodes_name(); 0: none
    bool keeps_open;              // the open, when nobody uses it any more
    bool keep;                    // what is read may be kept
    bool is_old;           // and what is answered may be older than a drop that the server has been told of
    bool settles;          // pages that the kernel has written back wait for it
    uint32_t n_kept_reads; // the node's when it was sent
};

// A request about `fuse` (or on the client's own account: NULL) with room for a body of `room` bytes beside
// credentials. NULL: no memory, and the caller has been told.
struct request *request_new(struct mount *mount, fuse_req_t fuse, uint16_t op, size_t room,
                            void (*done)(struct request *request, struct reader *body));
// The same on the client's own account, as who opened the file.
struct request *request_new_for(struct mount *mount, const struct file *file, uint16_t op, size_t room,
                                void (*done)(struct request *request, struct reader *body));
// As whom the caller's requests go; `groups` has room for its.
struct fs_cred request_cred(const struct mount *mount, fuse_req_t fuse, uint32_t groups[FS_GROUPS_MAX]);
// The request may be gone afterwards.
void request_send(struct request *request);

// --- what our own calls do to what is kept ---

// A change of the inode that was made here has been answered: what was known of it before is not used again.
void request_changed(struct mount *mount, struct node *node);
// Of an answered call that changes the inode: has nothing else happened to that since the call was sent?
bool request_was_alone(const struct request *request, fuse_ino_t id);
// The answer to a call that changes an inode brought its attributes: they are kept if a lease on them was
// held all the while.
void request_keep_changed(const struct request *request, const struct fs_attr *attr);
// The node's bytes were read, here or on the server.
void request_was_read(struct mount *mount, struct node *node);

// --- answers (answer.c) ---

// Success without anything to tell.
void request_done_ok(struct request *request, struct reader *body);
void request_fail(struct request *request, int error); // tells the caller
// The same of a call on an inode, whichever name led to it: the kernel walks to it again when it is no more.
void request_fail_by_handle(struct request *request, int error);
// The error is that the directory `node_id` is no more, which is still what its processes stand in. True:
// what it was like when it was last seen, without a name.
bool request_removed(const struct request *request, int error, struct fs_attr *ret_attr);
// `lease` in these: as the server's answer has it.
void request_reply_attr(struct request *request, const struct fs_attr *attr, uint8_t lease);
void request_reply_statx(struct request *request, const struct fs_attr *attr, uint8_t lease); // to a STATX
void request_reply_entry(struct request *request, const wire_entry *entry, uint8_t lease);
void request_reply_absent(struct request *request, uint8_t lease); // no such name in directories[0]
// The entry of a node in directories[0], as the kernel is told it: for how long it may be kept is noted.
void request_entry(const struct request *request, struct node *node, const wire_entry *entry, uint8_t lease,
                   struct fuse_entry_param *ret_param);
// Attributes of which the kernel is not told.
void request_keep_attr(const struct request *request, const struct fs_attr *attr, uint8_t lease);
// May the kernel keep the name in the directory? It is noted.
bool request_keeps_name(const struct request *request, fuse_ino_t directory_id, uint8_t lease);
// To a GETATTR or STATX: what the daemon keeps. False: the server is to be asked.
bool request_answer_kept(fuse_req_t fuse, fuse_ino_t id);
// To a LOOKUP: that there is no such name. False: the server is to be asked.
bool request_answer_absent(fuse_req_t fuse, fuse_ino_t parent, struct fs_name name);

// --- callers that do not wait any more ---

// Gives up requests whose callers are being killed, and of a soft mount those that waited too long; returns
// when to call again.
uint64_t requests_tick(struct mount *mount);
void requests_down(struct mount *mount);    // the connection is lost
void requests_abandon(struct mount *mount); // the mount is ending: whoever waits is told
// Pages of the node are about to be dropped, and the kernel would wait for those that are being written back:
// they do not wait for others (fuse_data.c).
void requests_settle(struct mount *mount, struct node *node);
// Pages are being dropped: reads that hold some of them locked do not wait until others have answered.
void requests_hurry_reads(struct mount *mount);
// They have been dropped, and the server is told so: reads under way may bring what was there before, and are
// made anew.
void requests_read_again(struct mount *mount, uint64_t node_id);

// --- helpers of the operations ---

void release_open(struct mount *mount, uint64_t open_id); // tells the server (fuse_open.c)
// What a lookup is to hold (client/walks.h): an open id, or 0.
uint64_t request_hold(fuse_req_t fuse);
void request_held(struct request *request); // the server holds it

static inline struct mount *mount_of(fuse_req_t fuse)
{
    return fuse_req_userdata(fuse);
}

// The caller's, which the server applies (FUSE_CAP_DONT_MASK).
static inline uint32_t request_umask(fuse_req_t fuse)
{
    return (uint32_t)fuse_req_ctx(fuse)->umask & 0777;
}

// The handle of a node id; false, and the caller has been told, when there is none.
bool request_handle(fuse_req_t fuse, fuse_ino_t id, wire_handle *ret_handle);
bool request_name_ok(fuse_req_t fuse, const char *name);
struct file *request_file(fuse_req_t fuse, const struct fuse_file_info *fi); // NULL: likewise
void stat_of(const struct mount *mount, const struct fs_attr *attr, struct stat *ret_stat);

#endif
