// SPDX-License-Identifier: Apache-2.0
// What the kernel is told to drop. Some of that waits in the kernel: for a directory's lock, which any
// request under way in it holds, or for a page that is being read. Such jobs run on threads of their own,
// never on the loop's, which has to answer the very requests that they wait for. Jobs are submitted and done
// on the loop's thread.
#ifndef BERTH_CLIENT_NOTIFY_H
#define BERTH_CLIENT_NOTIFY_H

#include "client/gaps.h"
#include "fs/base/list.h"
#include "fs/types.h"
#include <pthread.h>
#include <uv.h>

struct fuse_session;
struct notify;

enum notify_kind {
    NOTIFY_NAME,  // one name of a directory; done when every lookup in it that was answered before has ended
    NOTIFY_PAGES, // all pages of inodes, and their attributes
    NOTIFY_KINDS
};

struct notify_job {
    enum notify_kind kind;
    uint64_t node_id;                // the directory
    char name[FS_NAME_MAX + 1];      // "" is no name: only waits
    const struct byte_range *ranges; // of pages, in this order; the submitter's
    size_t n_ranges;
    void (*done)(struct notify_job *job);

    struct list node; // owned by notify until done
};

int notify_create(uv_loop_t *loop, struct notify **ret_notify);
void notify_start(struct notify *notify, struct fuse_session *session); // the kernel's INIT was answered
void notify_submit(struct notify *notify, struct notify_job *job);
// Attributes alone, at once.
void notify_attributes(const struct notify *notify, uint64_t node_id);
// All names of the mount are asked for again, at once. Linux >= 6.16.
void notify_epoch(const struct notify *notify);
// The kernel is told nothing any more: what has not begun is done without. Then, as long as it is working,
// what the kernel waits for is to be answered.
void notify_stop(struct notify *notify);
bool notify_is_working(struct notify *notify);
// Every job that is left is done. The loop runs once more, to let go of it.
void notify_destroy(struct notify *notify);

#endif
