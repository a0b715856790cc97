// SPDX-License-Identifier: Apache-2.0
// What lies between the reads under way on an inode: pages that can be dropped without waiting for a server
// that is away. Pure; any thread.
#ifndef BERTH_CLIENT_GAPS_H
#define BERTH_CLIENT_GAPS_H

#include <stddef.h>
#include <stdint.h>

struct byte_range {
    uint64_t id;         // of the inode
    uint64_t start, end; // inclusive; INT64_MAX: to the end of any file
};

// `reads`, in any order and overlapping as they like, are sorted; `gaps` has room for one more than reads for
// each of the `n_ids` inodes: n_reads + n_ids in all. Pages that a read touches are in no gap. Returns how
// many.
size_t gaps_between(struct byte_range *reads, size_t n_reads, const uint64_t *ids, size_t n_ids,
                    struct byte_range *gaps);

#endif
