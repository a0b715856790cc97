// SPDX-License-Identifier: Apache-2.0
// The attributes of one inode as the daemon keeps them, so that the kernel's question after a change of our
// own, after a read, or at the end of its timeout costs no round trip. Pure; owner thread.
//
// They are of the server's state as long as the inode's WIRE_LEASE_ATTR is held, which node->lease tells, and
// the client's own calls have left them as they are. Calls are answered in another order than they were
// executed in, so whatever happens to an inode gets a number from one clock: our calls that change it when
// they are sent and when they are answered, and drops. Invariant: what is kept came with an answer to a call
// that was sent after the last of these, or with the answer to the one call that was changing the inode.
#ifndef BERTH_CLIENT_ATTR_CACHE_H
#define BERTH_CLIENT_ATTR_CACHE_H

#include "fs/types.h"

#define ATTR_CHANGING_MAX ((1u << 24) - 1)

// Times in ns since 1970: what does not fit is not kept. An all-zero struct is one that nothing is known of.
struct attr_kept {
    int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
    uint64_t size, blocks;
    uint64_t changed_at; // by the clock
    uint32_t mode, nlink, uid, gid, rdev;
    uint32_t told_until_ms; // the kernel keeps what it was told until then; of the clock that the caller has
    uint32_t n_changing : 24,  // calls of our own under way that change the inode
        is_kept : 1,           // the attributes count
        is_seen : 1,           // they are what the server told last
        is_lost_to_kernel : 1; // the kernel has reason to ask although its time is not up
};

// A call that changes the inodes is sent: one tick of the clock for all of them.
void attr_change(struct attr_kept *kept, uint64_t tick);
// It is answered. True: nothing else has happened to the inode since attr_change() with `sent`.
bool attr_changed(struct attr_kept *kept, uint64_t sent, uint64_t tick);
void attr_drop(struct attr_kept *kept, uint64_t tick);
// A call that reads what the inode holds is answered: it may have marked the access time. server_s: the
// server's time, roughly.
void attr_was_read(struct attr_kept *kept, int64_t server_s, uint64_t tick);
// An answer to a call that was sent at `sent` brought them, under a lease. Not of an inode without a name: no
// recall tells of its end.
void attr_keep(struct attr_kept *kept, const struct fs_attr *attr, uint64_t sent);
// It brought them without a lease. A directory may be a process's working directory when it is no more.
void attr_saw(struct attr_kept *kept, const struct fs_attr *attr);
// False: not known, or a call of our own is changing them.
bool attr_get(const struct attr_kept *kept, fs_ino ino, struct fs_attr *ret_attr);
// What a directory was like when it was seen last. False: never, or it is none.
bool attr_get_seen(const struct attr_kept *kept, fs_ino ino, struct fs_attr *ret_attr);
// The kernel keeps them from now on, until until_ms.
void attr_told(struct attr_kept *kept, uint32_t until_ms);
// Does the kernel ask because it has nothing any more? Else it was told to (AT_STATX_FORCE_SYNC), which FUSE
// does not say.
bool attr_is_wanted(const struct attr_kept *kept, uint32_t now_ms);

#endif
