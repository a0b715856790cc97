// SPDX-License-Identifier: Apache-2.0
// Advisory locks of one file system: fcntl byte ranges and flock, across sessions, in memory. Pure: a request
// goes in, the answer comes out, grants of waiters come out through one callback. One owner thread.
//
// fcntl and flock locks do not see each other (as on Linux). Waiters of one kind on one inode are granted in
// the order they came; who conflicts with nothing held does not wait, as on Linux. A wait that would close a
// cycle of fcntl owners is -EDEADLK; flock never is. Every call costs O(log n) for each range and wait that
// it changes, whatever the number of others.
#ifndef BERTH_CORE_LOCKS_H
#define BERTH_CORE_LOCKS_H

#include "fs/types.h"
#include <stdbool.h>

struct lock_table;

// Who holds or waits: (session, fs_lock.owner, kind) is one owner. `session` is an opaque number given by the
// server.
typedef uint64_t lock_session;

// Called during the call that freed the range, once per waiter; the lock is then held. The callback must not
// call the lock table.
typedef void lock_granted(void *context, lock_session session, uint64_t ticket);

int lock_table_create(size_t max_locks, lock_granted *granted, void *context, struct lock_table **ret_table);
void lock_table_destroy(struct lock_table *table); // nothing is granted any more; NULL is allowed

// Sets or (FS_LOCK_UNLOCK) clears. `ticket` 0: do not wait. Otherwise a number chosen by the session, unique
// among its waits, under which a wait can be cancelled. 0: done. 1: queued. -EAGAIN: held by another and
// ticket is 0. -EDEADLK. -ENOLCK: past max_locks (a wait counts
// as two: its grant may split what its owner holds). -EINVAL: start > end. Setting and unlocking splits,
// merges, upgrades and downgrades the owner's own ranges. Converting a flock while another holds one first
// drops the old lock, as Linux does.
int lock_set(struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
             uint64_t ticket);
// The same, for owners that may be let go of by others than who waits (OFD): the wait is part of no deadlock.
int lock_set_undetected(struct lock_table *table, fs_ino ino, lock_session session,
                        const struct fs_lock *lock, uint64_t ticket);

// F_GETLK: the lowest lock that stands in the way, or type FS_LOCK_UNLOCK. *ret_session tells whose.
void lock_get(const struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
              struct fs_lock *ret_lock, lock_session *ret_session);

// 0: the wait is over and nothing was granted. -ENOENT: no such wait (it was granted, or never was).
int lock_cancel(struct lock_table *table, lock_session session, uint64_t ticket);

// Drops what one owner holds and waits for on one inode; one kind only.
void lock_release_owner(struct lock_table *table, fs_ino ino, lock_session session, enum fs_lock_kind kind,
                        uint64_t owner);
// Drops all that a session holds and waits for.
void lock_release_session(struct lock_table *table, lock_session session);

size_t lock_count(const struct lock_table *table);

// Everything held and then everything waited for, each session's together, until visit() returns false. It
// must not change the table.
struct lock_seen {
    fs_ino ino;
    lock_session session;
    const struct fs_lock *lock;
    bool waits;
};
typedef bool lock_visit(void *context, const struct lock_seen *seen);
void lock_each(const struct lock_table *table, lock_visit *visit, void *context);

#endif
