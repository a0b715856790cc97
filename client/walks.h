// SPDX-License-Identifier: Apache-2.0
// Walks along paths, of which the kernel tells one name at a time, and what they are about to use. When a
// call on an inode ends with "it is no more", the kernel walks once more and would then tell its caller so:
// on that second walk the server is asked to hold what is found, until the call that the walk was for has
// come. Invariant: a hold that the server may have granted is in `holds`, or a release for it is on its way.
// Pure tables; the loop's thread, from request.c and fuse_name.c.
#ifndef BERTH_CLIENT_WALKS_H
#define BERTH_CLIENT_WALKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WALKS_MAX     32u   // callers that walk again
#define WALK_HOLDS    256u  // a path of many directories needs one for each
#define WALK_AGAIN_MS 1000u // between the answer to a call and the kernel's next walk
#define WALK_HOLD_MS  1000u // between the answer to a lookup and the call that it was for

struct walks {
    struct walk {
        pid_t tid;          // 0: of all that the kernel gives no number here
        uint64_t failed_ns; // 0: nobody's
    } failed[WALKS_MAX];
    size_t n_failed; // ever; the oldest is forgotten
    struct walk_hold {
        uint64_t open_id, since_ns;
    } holds[WALK_HOLDS]; // a ring, the oldest at `first`
    size_t first, n_holds;
};

void walks_failed(struct walks *walks, pid_t tid, uint64_t now_ns);
// Does this caller walk again?
bool walks_again(const struct walks *walks, pid_t tid, uint64_t now_ns);
// Returns what is to be released for it, or 0: of many holds the oldest is the least needed.
uint64_t walks_hold(struct walks *walks, uint64_t open_id, uint64_t now_ns);
// The open id of a hold that is due, or 0; *ret_due_ns: when the next is, UINT64_MAX for never.
uint64_t walks_take_due(struct walks *walks, uint64_t now_ns, uint64_t *ret_due_ns);

#endif
