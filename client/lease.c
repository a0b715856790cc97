// SPDX-License-Identifier: Apache-2.0
// See lease.h. Pure; owner thread. Invariant: an inode is in one of the two tables at most.
#include "client/lease.h"
#include "fs/base/check.h"
#include <stdlib.h>

#define MS            1000000ull // ns
#define NS_PER_S      1e9
#define FORGOTTEN_MAX 65536u // more are not told: the server recalls what it wants to have back

// --- time ---

void lease_renew(struct lease *lease, uint64_t answered_ns, uint32_t lease_ms)
{
    lease->answered_ns = answered_ns;
    lease->lease_ms = lease_ms;
}

// A ping goes out after a third of the lease; half of what is left then is for dropping everything.
uint64_t lease_would_lapse_ns(const struct lease *lease)
{
    return lease->answered_ns + lease->lease_ms * MS * 2 / 3;
}

uint64_t lease_lapse_ns(const struct lease *lease)
{
    return lease->trusted ? lease_would_lapse_ns(lease) : UINT64_MAX;
}

// A tenth is for the time that the kernel takes to take it in, and for clocks that differ.
double lease_seconds(const struct lease *lease, uint64_t now_ns)
{
    uint64_t until_ns = lease->answered_ns + lease->lease_ms * MS * 9 / 10;
    return lease->trusted && now_ns < until_ns ? (double)(until_ns - now_ns) / NS_PER_S : 0;
}

// --- grants ---

static void drop(struct table *table, fs_ino ino)
{
    struct table_node *node = table_get(table, ino);
    if (!node)
        return;
    table_remove(table, node);
    free(node);
}

uint8_t lease_granted(struct lease *lease, fs_ino ino, uint8_t bits, bool again)
{
    if (bits == 0 || again || !lease->trusted || table_get(&lease->forgetting, ino))
        return 0;
    drop(&lease->forgotten, ino);
    return bits;
}

// --- inodes that the kernel has forgotten ---

void lease_forget(struct lease *lease, fs_ino ino)
{
    if (lease->forgotten.count >= FORGOTTEN_MAX || table_get(&lease->forgetting, ino) ||
        table_get(&lease->forgotten, ino))
        return;
    struct table_node *node = calloc(1, sizeof(*node));
    if (!node || table_put(&lease->forgotten, node, ino) < 0)
        free(node);
}

size_t lease_forget_next(struct lease *lease, struct writer *ret_inodes)
{
    size_t n = 0;
    struct table_node *node;
    if (lease->forgetting.count > 0)
        return 0;
    while (n < WIRE_INODES_MAX && (node = table_first(&lease->forgotten))) {
        fs_ino ino = node->key;
        table_remove(&lease->forgotten, node);
        if (table_put(&lease->forgetting, node, ino) < 0) {
            free(node);
            break;
        }
        write_u64(ret_inodes, ino);
        n++;
    }
    return n;
}

static void empty(struct table *table)
{
    struct table_node *node;
    while ((node = table_first(table))) {
        table_remove(table, node);
        free(node);
    }
}

void lease_forget_done(struct lease *lease)
{
    empty(&lease->forgetting);
}

void lease_free(struct lease *lease)
{
    empty(&lease->forgotten);
    empty(&lease->forgetting);
    table_free(&lease->forgotten);
    table_free(&lease->forgetting);
}
