// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps is dropped: because the server wants it back, because the lease lapses or belongs to
// an older generation, because our own change made it old. Loop's thread. Invariant: the server is answered
// when nothing of what it named can be seen any more through this mount.
#ifndef BERTH_CLIENT_RECALL_H
#define BERTH_CLIENT_RECALL_H

#include "client/mount.h"
#include "client/notify.h"

void recall_invalidate(struct mount *mount, const struct wire_invalidate_event *event);
// The server's welcome. restarted: it claims nothing to know of what is kept.
void recall_welcome(struct mount *mount, const struct wire_hello_reply *reply, bool first);
// Before all is claimed: tells a server that restarted which pages are kept.
void recall_claim(struct mount *mount);
// Everything, when a lease is about to be over; names that wait too long. Returns when to call again.
uint64_t recall_tick(struct mount *mount);

// The kernel took pages of the node without a lease on them: they go again.
void recall_pages(struct mount *mount, struct node *node);
// Pages of the node may have been taken amid a change of our own: `then` is called when they are gone.
struct own_drop {
    struct notify_job job;
    struct byte_range range;
    void (*then)(struct own_drop *drop);
};
void recall_own(struct mount *mount, struct own_drop *drop, struct node *node);
// A call of our own has changed the attributes of an inode (0: of none) that it did not name.
void recall_changed(struct mount *mount, fs_ino ino);
// The caller's permissions on a directory changed: what was found below it is asked for again.
void recall_all_names(struct mount *mount);

#endif
