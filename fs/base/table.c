// SPDX-License-Identifier: Apache-2.0
// Intrusive chained hash table. Invariant: a node hangs in the bucket that bucket_of() names for its key, and
// a table that could get memory has at least as many buckets as nodes. One owner thread per table.
//
// The hash is multiply-add modulo 2^128, of which the upper 64 bits are used: strongly universal for random
// factors (Dietzfelbinger 1996), so whoever chooses keys without knowing the factors gets no more collisions
// than by chance.
#include "fs/base/table.h"
#include "fs/base/check.h"
#include "fs/base/env.h"
#include <errno.h>

#define BUCKETS_FIRST 16u // a power of two

static struct {
    uint64_t factor_high, factor_low, addend_high, addend_low;
} hash_key;

__attribute__((constructor)) static void draw_hash_key(void)
{
    env_random(&env_system, &hash_key, sizeof(hash_key));
}

// One step of SplitMix64 (Steele, Lea, Flood 2014).
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void table_seed(uint64_t seed)
{
    hash_key.factor_high = next_random(&seed);
    hash_key.factor_low = next_random(&seed);
    hash_key.addend_high = next_random(&seed);
    hash_key.addend_low = next_random(&seed);
}

static size_t bucket_of(size_t n_buckets, uint64_t key)
{
    unsigned __int128 low = (unsigned __int128)hash_key.factor_low * key + hash_key.addend_low;
    uint64_t hash = hash_key.factor_high * key + hash_key.addend_high + (uint64_t)(low >> 64);
    return (size_t)hash & (n_buckets - 1);
}

void table_free(struct table *table)
{
    free(table->buckets);
    *table = (struct table){0};
}

struct table_node *table_get(const struct table *table, uint64_t key)
{
    if (table->n_buckets == 0)
        return NULL;
    struct table_node *node = table->buckets[bucket_of(table->n_buckets, key)];
    while (node && node->key != key)
        node = node->next;
    return node;
}

static void push(struct table_node **buckets, size_t n_buckets, struct table_node *node)
{
    struct table_node **bucket = &buckets[bucket_of(n_buckets, node->key)];
    node->next = *bucket;
    *bucket = node;
}

static int grow(struct table *table)
{
    size_t n_buckets = table->n_buckets ? table->n_buckets * 2 : BUCKETS_FIRST;
    struct table_node **buckets = calloc(n_buckets, sizeof(struct table_node *));
    if (!buckets)
        return -ENOMEM;
    for (size_t i = 0; i < table->n_buckets; i++) {
        for (struct table_node *node = table->buckets[i], *after; node; node = after) {
            after = node->next;
            push(buckets, n_buckets, node);
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->n_buckets = n_buckets;
    return 0;
}

int table_put(struct table *table, struct table_node *node, uint64_t key)
{
    // A table that cannot grow still works, with longer chains; without any bucket it cannot.
    if (table->count >= table->n_buckets && grow(table) < 0 && table->n_buckets == 0)
        return -ENOMEM;
    fs_assert(!table_get(table, key));
    node->key = key;
    push(table->buckets, table->n_buckets, node);
    table->count++;
    return 0;
}

void table_remove(struct table *table, struct table_node *node)
{
    fs_assert(table->n_buckets > 0);
    struct table_node **link = &table->buckets[bucket_of(table->n_buckets, node->key)];
    while (*link && *link != node)
        link = &(*link)->next;
    fs_assert(*link == node);
    *link = node->next;
    node->next = NULL;
    table->count--;
}

static struct table_node *first_from(const struct table *table, size_t bucket)
{
    for (size_t i = bucket; i < table->n_buckets; i++) {
        if (table->buckets[i])
            return table->buckets[i];
    }
    return NULL;
}

struct table_node *table_first(const struct table *table)
{
    return first_from(table, 0);
}

struct table_node *table_next(const struct table *table, const struct table_node *node)
{
    return node->next ? node->next : first_from(table, bucket_of(table->n_buckets, node->key) + 1);
}
