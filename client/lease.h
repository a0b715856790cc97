// SPDX-License-Identifier: Apache-2.0
// What this client may let the kernel keep: for how long by its own clock, under which generation of leases,
// and which inodes it gives up because the kernel has forgotten them. Pure; owner thread.
//
// The server counts a lease from the last that it heard of us, we from when we sent what it has answered:
// ours is over first. The kernel is given what is left, so that a daemon that is stopped keeps nothing alive.
#ifndef BERTH_CLIENT_LEASE_H
#define BERTH_CLIENT_LEASE_H

#include "fs/base/table.h"
#include "fs/wire/wire.h"

struct lease {
    uint64_t generation; // 0: the server gives no leases
    bool trusted;        // what is granted may be kept; not while everything is being dropped
    bool clears;         // the server does not give any before it is told that nothing older is kept
    bool owes_cleared;   // and has yet to be told, or told again
    uint64_t answered_ns;
    uint32_t lease_ms;
    struct table forgotten;  // inodes that the kernel has forgotten and the server not been told of
    struct table forgetting; // and those that it is being told of: what it granted before does not count
};

void lease_free(struct lease *lease);

// --- time ---

// The server has answered what was sent at `answered_ns` (env's monotonic time).
void lease_renew(struct lease *lease, uint64_t answered_ns, uint32_t lease_ms);
// When everything is to be dropped if no answer comes; UINT64_MAX when nothing is kept.
uint64_t lease_lapse_ns(const struct lease *lease);
uint64_t lease_would_lapse_ns(const struct lease *lease); // the same, if something were kept
// For how long the kernel may keep what has just been granted: seconds, 0 for not at all.
double lease_seconds(const struct lease *lease, uint64_t now_ns);

// --- grants ---

// WIRE_LEASE_* bits of an inode as an answer has them; what of it counts. again: the call had been sent
// before.
uint8_t lease_granted(struct lease *lease, fs_ino ino, uint8_t bits, bool again);

// --- inodes that the kernel has forgotten ---

void lease_forget(struct lease *lease, fs_ino ino);
// The next that the server is to be told of, u64 each in *ret_writer's memory: at most WIRE_INODES_MAX;
// returns how many. None while it is being told.
size_t lease_forget_next(struct lease *lease, struct writer *ret_inodes);
void lease_forget_done(struct lease *lease);

#endif
