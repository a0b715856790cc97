// SPDX-License-Identifier: Apache-2.0
// Whole small files that came with the answer to their open, until the kernel has read them. Pure; owner
// thread. Like pages that are being read: they are given to nobody once what they hold may be old.
#ifndef BERTH_CLIENT_FIRST_BYTES_H
#define BERTH_CLIENT_FIRST_BYTES_H

#include "client/nodes.h"
#include "fs/base/list.h"

#define FIRST_BYTES_MAX (4u << 20) // of all; the oldest go
#define FIRST_FILES_MAX 256u

struct first_bytes {
    struct list order; // struct first, the oldest first
    size_t n, bytes;
};

void first_bytes_init(struct first_bytes *first);
void first_bytes_put(struct first_bytes *first, struct file *file, wire_bytes bytes); // without memory: not
// What of them lies in the range; false: it is not here. Read to the end they are done with: *ret_done, and
// first_bytes_drop() is to follow.
bool first_bytes_read(const struct file *file, uint64_t offset, size_t size, wire_bytes *ret_bytes,
                      bool *ret_done);
void first_bytes_drop(struct first_bytes *first, struct file *file);
void first_bytes_drop_node(struct first_bytes *first, const struct node *node);
void first_bytes_drop_all(struct first_bytes *first);

#endif
