// SPDX-License-Identifier: Apache-2.0
// Intrusive hash table keyed by uint64_t. The table owns its bucket array, never the nodes. It grows with its
// count and never shrinks. Not thread-safe: one owner thread.
//
// Keys may be chosen by a peer, so buckets are picked by a hash whose seed is drawn when the process starts.
#ifndef BERTH_BASE_TABLE_H
#define BERTH_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t key;
};

struct table {
    struct table_node **buckets;
    size_t n_buckets; // a power of two, or 0 before the first insert
    size_t count;
};

// Replaces the process's random seed, so that walks come in the same order in every run of a simulation. Only
// while no table holds a node.
void table_seed(uint64_t seed);

// An all-zero struct table is an empty table.
void table_free(struct table *table); // frees the buckets; nodes stay the caller's

// The node with this key, or NULL.
struct table_node *table_get(const struct table *table, uint64_t key);

// Inserts node under key, which must not be present. 0 or -ENOMEM (then nothing changed).
int table_put(struct table *table, struct table_node *node, uint64_t key);

// Removes node, which must be in the table.
void table_remove(struct table *table, struct table_node *node);

// The first node of an unordered walk, and the one after `node`; NULL at the end. The node returned may be
// removed before asking for the next only when its successor was fetched first. An insert ends the walk:
// after it, nodes may come twice or not at all.
struct table_node *table_first(const struct table *table);
struct table_node *table_next(const struct table *table, const struct table_node *node);

#endif
