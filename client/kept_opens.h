// SPDX-License-Identifier: Apache-2.0
// Opens that nobody uses any more and that the server still has: the next open of the file by the same caller
// is answered from here. Pure; owner thread.
//
// One is kept while the client may keep the file's attributes (whatever changes who may open it, or whether a
// read has to mark it, changes those), for WIRE_KEPT_OPEN_S at most. Invariant: a node's kept open is in
// `order` and in `by_name`; what was let go is in one of the lists of what the server is told, until it is
// known to have heard.
#ifndef BERTH_CLIENT_KEPT_OPENS_H
#define BERTH_CLIENT_KEPT_OPENS_H

#include "client/nodes.h"
#include "fs/base/list.h"

#define KEPT_OPENS_MAX 8192u

// Tells the server that opens were let go, at most WIRE_INODES_MAX; false: it cannot be told now.
typedef bool kept_opens_teller(void *context, const uint64_t *open_ids, size_t n);

struct kept_opens {
    struct nodes *nodes;
    kept_opens_teller *tell;
    void *context;
    struct list order;    // struct kept_open, the longest kept first
    struct table by_name; // the same, by its node's name
    size_t n;
    struct list untold;  // let go, and to be told
    struct list told[2]; // the second waits for the first to be heard
    uint64_t told_ns[2]; // when the last of them was
    uint64_t look_ns;    // when it is looked for those that are too old
};

void kept_opens_init(struct kept_opens *kept, struct nodes *nodes, kept_opens_teller *tell, void *context);
void kept_opens_free(struct kept_opens *kept);

// An answer says that the open may be kept; `asked_ns`: when it was asked for.
void kept_opens_granted(struct file *file, uint64_t asked_ns);
// Nobody uses the file any more. False: it is to be released.
bool kept_opens_keep(struct kept_opens *kept, struct file *file, uint64_t now_ns);
// The node's kept open for this caller, who uses it from now on; NULL: none.
struct file *kept_opens_take(struct kept_opens *kept, struct node *node, uint32_t flags,
                             const struct fs_cred *cred, uint64_t now_ns);

// What was granted of the node until now is not kept, or kept no longer.
void kept_opens_drop(struct kept_opens *kept, struct node *node);
void kept_opens_drop_name(struct kept_opens *kept, uint64_t name); // of whatever is called so
void kept_opens_drop_all(struct kept_opens *kept);
// The kernel was shown the node under this name (nodes_name()); 0: nobody knows.
void kept_opens_named(struct kept_opens *kept, struct node *node, uint64_t name);

void kept_opens_tell(struct kept_opens *kept, uint64_t now_ns); // what was let go, if it can be told
// A new connection. knows: the server still has the opens of this session.
void kept_opens_welcome(struct kept_opens *kept, bool knows);
// Lets go what is too old, and tells. answered_ns: when what the server answered last was sent: it has heard
// what was told before. Returns when to call again.
uint64_t kept_opens_tick(struct kept_opens *kept, uint64_t answered_ns, uint64_t now_ns);

#endif
