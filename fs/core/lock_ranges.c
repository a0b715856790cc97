// SPDX-License-Identifier: Apache-2.0
// Held ranges: which stand in the way, and what setting and clearing does to those of one owner. Called by
// locks.c and lock_waits.c. Invariant: a range is in the trees of its space and of the table from its
// insertion to its drop, and is taken out of both while its start or end changes.
#include "fs/core/locks_impl.h"
#include <errno.h>

static struct lock_range *by_start(const struct tree_node *node)
{
    return node ? CONTAINER_OF(node, struct lock_range, by_start) : NULL;
}

static struct lock_range *by_owner(const struct tree_node *node)
{
    return node ? CONTAINER_OF(node, struct lock_range, by_owner) : NULL;
}

static bool owned_by(const struct lock_range *range, lock_session session, const struct fs_lock *lock)
{
    return lock_same_owner(range->session, &range->lock, session, lock);
}

// --- orders ---

static int compare_starts(const struct tree_node *left, const struct tree_node *right)
{
    const struct lock_range *a = by_start(left), *b = by_start(right);
    int result = lock_compare_u64(a->lock.start, b->lock.start);
    result = result ? result : lock_compare_u64(a->session, b->session);
    return result ? result : lock_compare_u64(a->lock.owner, b->lock.owner);
}

// Takes `range` into account for a summary.
static void reach_further(struct lock_range *summary, struct lock_range *range)
{
    struct lock_range *furthest = summary->furthest, *another = summary->another;
    if (!range || range == furthest)
        return;
    if (range->lock.end > furthest->lock.end) {
        summary->furthest = range;
        if (!owned_by(range, furthest->session, &furthest->lock))
            summary->another = furthest;
    } else if (!owned_by(range, furthest->session, &furthest->lock) &&
               (!another || range->lock.end > another->lock.end)) {
        summary->another = range;
    }
}

static void refresh_reach(struct tree_node *node)
{
    struct lock_range *range = by_start(node);
    range->furthest = range;
    range->another = NULL;
    for (unsigned side = 0; side < 2; side++) {
        const struct lock_range *below = by_start(node->child[side]);
        if (below) {
            reach_further(range, below->furthest);
            reach_further(range, below->another);
        }
    }
}

static int compare_owners(const struct tree_node *left, const struct tree_node *right)
{
    const struct lock_range *a = by_owner(left), *b = by_owner(right);
    int result = lock_compare_owners(a->session, &a->lock, a->space->inode->node.key, b->session, &b->lock,
                                     b->space->inode->node.key);
    return result ? result : lock_compare_u64(a->lock.start, b->lock.start);
}

static const struct tree_order ranges_by_start = {compare_starts, refresh_reach};
const struct tree_order lock_ranges_by_owner = {compare_owners, NULL};

static void insert(struct lock_table *table, struct lock_range *range)
{
    tree_insert(&range->space->held[range->lock.type], &ranges_by_start, &range->by_start);
    tree_insert(&table->ranges, &lock_ranges_by_owner, &range->by_owner);
    range->space->inode->n_nodes++;
    table->n_ranges++;
}

static void take_out(struct lock_table *table, struct lock_range *range)
{
    tree_remove(&ranges_by_start, &range->by_start);
    tree_remove(&lock_ranges_by_owner, &range->by_owner);
    range->space->inode->n_nodes--;
    table->n_ranges--;
}

struct lock_range *lock_range_new(void)
{
    return calloc(1, sizeof(struct lock_range));
}

// --- whose, and in whose way ---

struct lock_range *lock_owned_from(const struct lock_table *table, lock_session session,
                                   const struct fs_lock *owner, fs_ino ino, uint64_t start)
{
    struct lock_inode inode = {.node.key = ino};
    struct lock_space space = {.inode = &inode};
    struct lock_range key = {.space = &space, .session = session, .lock = *owner};
    key.lock.start = start;
    struct lock_range *range = by_owner(tree_seek(&table->ranges, &lock_ranges_by_owner, &key.by_owner));
    bool theirs =
        range && owned_by(range, session, owner) && (ino == 0 || range->space->inode->node.key == ino);
    return theirs ? range : NULL;
}

struct lock_range *lock_owned_next(const struct lock_range *range)
{
    return by_owner(tree_next(&range->by_owner));
}

// What is looked for, and not of the owner `but`.
struct search {
    const struct fs_lock *lock;
    lock_session but_session;
    const struct fs_lock *but;
    const struct lock_range *after; // or NULL
};

static bool reaches(const struct lock_range *range, const struct search *search)
{
    return range && range->lock.end >= search->lock->start &&
           !owned_by(range, search->but_session, search->but);
}

static struct lock_range *lowest(const struct tree_node *node, const struct search *search)
{
    struct lock_range *range = by_start(node);
    if (!range || !(reaches(range->furthest, search) || reaches(range->another, search)))
        return NULL;
    bool behind = !search->after || compare_starts(node, &search->after->by_start) > 0;
    struct lock_range *left = behind ? lowest(node->child[0], search) : NULL;
    if (left || range->lock.start > search->lock->end)
        return left;
    return behind && reaches(range, search) ? range : lowest(node->child[1], search);
}

struct lock_range *lock_next_overlapping(const struct lock_space *space, enum fs_lock_type type,
                                         const struct fs_lock *lock, lock_session but_session,
                                         const struct fs_lock *but, const struct lock_range *after_or_null)
{
    struct search search = {.lock = lock, .but_session = but_session, .but = but, .after = after_or_null};
    return lowest(space->held[type].root, &search);
}

struct lock_range *lock_in_the_way(const struct lock_space *space, lock_session session,
                                   const struct fs_lock *lock)
{
    struct lock_range *writer = lock_next_overlapping(space, FS_LOCK_WRITE, lock, session, lock, NULL);
    if (lock->type == FS_LOCK_READ)
        return writer;
    struct lock_range *reader = lock_next_overlapping(space, FS_LOCK_READ, lock, session, lock, NULL);
    if (!writer || !reader)
        return writer ? writer : reader;
    return compare_starts(&writer->by_start, &reader->by_start) < 0 ? writer : reader;
}

// --- what an operation meets: the owner's ranges that overlap `lock` or are next to it, from the lowest ---

static bool meets(const struct lock_range *range, fs_ino ino, lock_session session,
                  const struct fs_lock *lock)
{
    return range && owned_by(range, session, lock) && range->space->inode->node.key == ino &&
           (lock->start == 0 || range->lock.end >= lock->start - 1) && range->lock.start <= lock->end + 1;
}

static struct lock_range *first_met(const struct lock_table *table, fs_ino ino, lock_session session,
                                    const struct fs_lock *lock)
{
    struct lock_inode inode = {.node.key = ino};
    struct lock_space space = {.inode = &inode};
    struct lock_range key = {.space = &space, .session = session, .lock = *lock};
    const struct tree_node *node = tree_seek(&table->ranges, &lock_ranges_by_owner, &key.by_owner);
    // One at most starts lower and still comes near.
    const struct tree_node *before = node ? tree_previous(node) : tree_last(&table->ranges);
    struct lock_range *first = by_owner(before);
    if (!meets(first, ino, session, lock))
        first = by_owner(node);
    return meets(first, ino, session, lock) ? first : NULL;
}

static struct lock_range *next_met(const struct lock_range *range, fs_ino ino, lock_session session,
                                   const struct fs_lock *lock)
{
    struct lock_range *next = lock_owned_next(range);
    return meets(next, ino, session, lock) ? next : NULL;
}

static bool is_inside(const struct fs_lock *inner, const struct fs_lock *outer)
{
    return outer->start <= inner->start && inner->end <= outer->end;
}

int lock_growth(const struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
                bool *ret_splits)
{
    const struct lock_range *range = first_met(table, ino, session, lock);
    bool splits = range && range->lock.type != lock->type && range->lock.start < lock->start &&
                  range->lock.end > lock->end;
    int growth = (lock->type != FS_LOCK_UNLOCK) + splits;
    for (; range && growth > 0; range = next_met(range, ino, session, lock))
        growth -= range->lock.type == lock->type || is_inside(&range->lock, lock);
    *ret_splits = splits;
    return growth;
}

// --- setting and clearing ---

void lock_touch(struct lock_table *table, struct lock_space *space)
{
    if (list_empty(&space->touched))
        list_push(&table->touched, &space->touched);
}

// The waits that `range` stood in the way of, since `freed` was.
static void loosen(struct lock_table *table, struct lock_range *range, const struct fs_lock *freed)
{
    struct lock_space *space = range->space;
    lock_touch(table, space);
    for (unsigned type = 0; type < LOCK_TYPES; type++)
        lock_queue_join(&space->loose[type], &range->queues[type]);
    space->freed_start = MIN(space->freed_start, freed->start);
    space->freed_end = MAX(space->freed_end, freed->end);
}

void lock_range_drop(struct lock_table *table, struct lock_range *range)
{
    take_out(table, range);
    loosen(table, range, &range->lock);
    free(range);
}

// The waits of a range that was cut come from `old`: back to what is left of it, which is one or two ranges.
static void queue_again(struct lock_table *table, struct tree old[LOCK_TYPES], struct lock_range *left,
                        struct lock_range *right_or_null, const struct fs_lock *freed)
{
    struct lock_range loose = {.space = left->space};
    for (unsigned type = 0; type < LOCK_TYPES; type++)
        for (struct tree_node *node; (node = tree_first(&old[type]));) {
            const struct fs_lock *lock = &CONTAINER_OF(node, struct lock_wait, by_arrival)->lock;
            struct lock_range *to = lock_overlap(lock, &left->lock) ? left
                                    : right_or_null && lock_overlap(lock, &right_or_null->lock)
                                        ? right_or_null
                                        : &loose;
            tree_remove(&lock_waits_by_arrival, node);
            tree_insert(&to->queues[type], &lock_waits_by_arrival, node);
        }
    loosen(table, &loose, freed);
}

// Takes the part that `lock` covers out of one of its owner's ranges. `spare` becomes the right part when the
// range splits; true when it was used.
static bool cut(struct lock_table *table, struct lock_range *range, const struct fs_lock *lock,
                struct lock_range *spare)
{
    bool left = range->lock.start < lock->start, right = lock->end < range->lock.end;
    if (!left && !right) {
        lock_range_drop(table, range);
        return false;
    }
    struct fs_lock freed = range->lock;
    struct tree old[LOCK_TYPES] = {{NULL}};
    for (unsigned type = 0; type < LOCK_TYPES; type++)
        tree_move(&old[type], &range->queues[type]);
    take_out(table, range);
    if (left && right) {
        spare->lock = range->lock;
        spare->lock.start = lock->end + 1;
        spare->space = range->space;
        spare->session = range->session;
        insert(table, spare);
    }
    if (left) {
        range->lock.end = lock->start - 1;
        freed.start = lock->start;
    } else {
        range->lock.start = lock->end + 1;
    }
    if (right)
        freed.end = lock->end;
    insert(table, range);
    queue_again(table, old, range, left && right ? spare : NULL, &freed);
    return left && right;
}

// What waits for the old one waits for the fresh one, which covers it.
static void merge(struct lock_table *table, struct lock_range *fresh, struct lock_range *old)
{
    take_out(table, old);
    fresh->lock.start = MIN(fresh->lock.start, old->lock.start);
    fresh->lock.end = MAX(fresh->lock.end, old->lock.end);
    for (unsigned type = 0; type < LOCK_TYPES; type++)
        lock_queue_join(&fresh->queues[type], &old->queues[type]);
    free(old);
}

void lock_apply(struct lock_table *table, struct lock_space *space, lock_session session,
                const struct fs_lock *lock, struct lock_range *fresh, struct lock_range *spare)
{
    fs_ino ino = space->inode->node.key;
    if (fresh) {
        fresh->space = space;
        fresh->session = session;
        fresh->lock = *lock;
    }
    struct lock_range *range = first_met(table, ino, session, lock);
    for (struct lock_range *next; range; range = next) {
        next = next_met(range, ino, session, lock);
        if (fresh && range->lock.type == lock->type) {
            merge(table, fresh, range);
        } else if (lock_overlap(&range->lock, lock) && cut(table, range, lock, spare)) {
            spare = NULL;
        }
    }
    if (fresh)
        insert(table, fresh);
    free(spare);
}
