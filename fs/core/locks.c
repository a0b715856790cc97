// SPDX-License-Identifier: Apache-2.0
// The lock table (see locks.h): its interface; the parts are in locks_impl.h. Pure; one owner thread.
//
// Invariants:
//   1. Held ranges of one owner do not overlap; neighbours of one type are one range.
//   2. Held ranges of two owners overlap only when both are read locks.
//   3. Whoever waits conflicts with something held.
//   4. An inode without locks and waiters has no entry.
//   5. Ranges, and two for each wait, are not more than max_count: a grant may split its owner's range.
// A newcomer that conflicts with nothing held never waits, as on Linux: if it queued behind a waiter, an
// owner could wait for a lock that nobody holds against it, and deadlock detection would raise false alarms.
#include "fs/core/locks_impl.h"
#include <errno.h>

// --- life ---

int lock_table_create(size_t max_locks, lock_granted *granted, void *context, struct lock_table **ret_table)
{
    struct lock_table *table = calloc(1, sizeof *table);
    if (!table)
        return -ENOMEM;
    *table = (struct lock_table){.max_count = max_locks, .granted = granted, .context = context};
    list_init(&table->touched);
    *ret_table = table;
    return 0;
}

static struct lock_range *any_range(const struct lock_table *table)
{
    return table->ranges.root ? CONTAINER_OF(table->ranges.root, struct lock_range, by_owner) : NULL;
}

static struct lock_wait *any_wait(const struct lock_table *table)
{
    return table->waits.root ? CONTAINER_OF(table->waits.root, struct lock_wait, by_owner) : NULL;
}

void lock_table_destroy(struct lock_table *table)
{
    if (!table)
        return;
    for (struct lock_wait *wait; (wait = any_wait(table));)
        lock_wait_drop(table, wait);
    for (struct lock_range *range; (range = any_range(table));)
        lock_range_drop(table, range);
    lock_settle(table);
    table_free(&table->inodes);
    free(table);
}

size_t lock_count(const struct lock_table *table)
{
    return table->n_ranges + table->n_waits;
}

static struct lock_space *space_find(const struct lock_table *table, fs_ino ino, enum fs_lock_kind kind)
{
    struct table_node *node = table_get(&table->inodes, ino);
    return node ? &CONTAINER_OF(node, struct lock_inode, node)->spaces[kind] : NULL;
}

static struct lock_space *space_find_or_add(struct lock_table *table, fs_ino ino, enum fs_lock_kind kind)
{
    struct lock_space *space = space_find(table, ino, kind);
    if (space)
        return space;
    struct lock_inode *inode = calloc(1, sizeof *inode);
    if (!inode || table_put(&table->inodes, &inode->node, ino) != 0) {
        free(inode);
        return NULL;
    }
    for (unsigned i = 0; i < LOCK_KINDS; i++) {
        inode->spaces[i] = (struct lock_space){.inode = inode, .freed_start = RANGE_END};
        list_init(&inode->spaces[i].touched);
    }
    return &inode->spaces[kind];
}

// --- setting ---

// Unlocking counts too when it splits: else one owner could fill the memory by unlocking every second byte.
static bool has_room(const struct lock_table *table, int more)
{
    return more <= 0 || table->n_ranges + 2 * table->n_waits + (size_t)more <= table->max_count;
}

// The ranges that setting or clearing may need. -ENOLCK: no room, or no memory.
static int make_ranges(const struct lock_table *table, fs_ino ino, lock_session session,
                       const struct fs_lock *lock, struct lock_range **ret_fresh,
                       struct lock_range **ret_spare)
{
    bool sets = lock->type != FS_LOCK_UNLOCK, splits;
    if (!has_room(table, lock_growth(table, ino, session, lock, &splits)))
        return -ENOLCK;
    struct lock_range *fresh = sets ? lock_range_new() : NULL, *spare = splits ? lock_range_new() : NULL;
    if ((sets && !fresh) || (splits && !spare)) {
        free(fresh);
        free(spare);
        return -ENOLCK;
    }
    *ret_fresh = fresh;
    *ret_spare = spare;
    return 0;
}

static int change(struct lock_table *table, struct lock_space *space, lock_session session,
                  const struct fs_lock *lock)
{
    struct lock_range *fresh, *spare;
    int result = make_ranges(table, space->inode->node.key, session, lock, &fresh, &spare);
    if (result == 0)
        lock_apply(table, space, session, lock, fresh, spare);
    return result;
}

// flock converts by dropping the old lock first, so that others may pass in between.
static void drop_to_convert(struct lock_table *table, fs_ino ino, lock_session session,
                            const struct fs_lock *lock)
{
    struct lock_range *held = lock_owned_from(table, session, lock, ino, 0);
    if (!held || held->lock.type == lock->type)
        return;
    lock_range_drop(table, held);
    lock_settle(table);
}

static int take(struct lock_table *table, struct lock_space *space, lock_session session,
                const struct fs_lock *lock, uint64_t ticket, bool undetected)
{
    struct lock_range *blocker = lock_in_the_way(space, session, lock);
    if (!blocker)
        return change(table, space, session, lock);
    if (ticket == 0)
        return -EAGAIN;
    return has_room(table, 2) ? lock_wait_add(table, blocker, session, lock, ticket, undetected) : -ENOLCK;
}

static int set(struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
               uint64_t ticket, bool undetected)
{
    if (lock->start > lock->end || lock->end > RANGE_END)
        return -EINVAL;
    bool unlocks = lock->type == FS_LOCK_UNLOCK;
    if (lock->kind == FS_LOCK_FLOCK && !unlocks)
        drop_to_convert(table, ino, session, lock);
    struct lock_space *space =
        unlocks ? space_find(table, ino, lock->kind) : space_find_or_add(table, ino, lock->kind);
    if (!space)
        return unlocks ? 0 : -ENOLCK;
    lock_touch(table, space);
    int result =
        unlocks ? change(table, space, session, lock) : take(table, space, session, lock, ticket, undetected);
    lock_settle(table); // a downgrade lets others pass, too
    return result;
}

int lock_set(struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
             uint64_t ticket)
{
    return set(table, ino, session, lock, ticket, false);
}

int lock_set_undetected(struct lock_table *table, fs_ino ino, lock_session session,
                        const struct fs_lock *lock, uint64_t ticket)
{
    return set(table, ino, session, lock, ticket, true);
}

// --- asking, cancelling, releasing ---

void lock_get(const struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
              struct fs_lock *ret_lock, lock_session *ret_session)
{
    const struct lock_space *space = space_find(table, ino, lock->kind);
    const struct lock_range *held = space ? lock_in_the_way(space, session, lock) : NULL;
    if (held) {
        *ret_lock = held->lock;
        *ret_session = held->session;
        return;
    }
    *ret_lock = *lock;
    ret_lock->type = FS_LOCK_UNLOCK;
    *ret_session = session;
}

int lock_cancel(struct lock_table *table, lock_session session, uint64_t ticket)
{
    struct lock_wait key = {.session = session, .ticket = ticket};
    struct tree_node *node = tree_seek(&table->tickets, &lock_waits_by_ticket, &key.by_ticket);
    struct lock_wait *wait = node ? CONTAINER_OF(node, struct lock_wait, by_ticket) : NULL;
    if (!wait || wait->session != session || wait->ticket != ticket)
        return -ENOENT;
    lock_wait_drop(table, wait);
    lock_settle(table);
    return 0;
}

void lock_release_owner(struct lock_table *table, fs_ino ino, lock_session session, enum fs_lock_kind kind,
                        uint64_t owner)
{
    struct fs_lock who = {.kind = kind, .owner = owner};
    for (struct lock_wait *wait; (wait = lock_waits_from(table, session, &who, ino));)
        lock_wait_drop(table, wait);
    for (struct lock_range *range; (range = lock_owned_from(table, session, &who, ino, 0));)
        lock_range_drop(table, range);
    lock_settle(table);
}

void lock_release_session(struct lock_table *table, lock_session session)
{
    struct lock_inode inode = {.node.key = 0};
    struct lock_space space = {.inode = &inode};
    struct lock_wait first_wait = {.space = &space, .session = session};
    struct lock_range first_range = {.space = &space, .session = session};
    struct tree_node *node;
    while ((node = tree_seek(&table->waits, &lock_waits_by_owner, &first_wait.by_owner))) {
        struct lock_wait *wait = CONTAINER_OF(node, struct lock_wait, by_owner);
        if (wait->session != session)
            break;
        lock_wait_drop(table, wait);
    }
    while ((node = tree_seek(&table->ranges, &lock_ranges_by_owner, &first_range.by_owner))) {
        struct lock_range *range = CONTAINER_OF(node, struct lock_range, by_owner);
        if (range->session != session)
            break;
        lock_range_drop(table, range);
    }
    lock_settle(table);
}

void lock_each(const struct lock_table *table, lock_visit *visit, void *context)
{
    bool more = true;
    for (struct tree_node *node = tree_first(&table->ranges); node && more; node = tree_next(node)) {
        const struct lock_range *range = CONTAINER_OF(node, struct lock_range, by_owner);
        more = visit(context, &(struct lock_seen){.ino = range->space->inode->node.key,
                                                  .session = range->session,
                                                  .lock = &range->lock});
    }
    for (struct tree_node *node = tree_first(&table->waits); node && more; node = tree_next(node)) {
        const struct lock_wait *wait = CONTAINER_OF(node, struct lock_wait, by_owner);
        more = visit(context, &(struct lock_seen){.ino = wait->space->inode->node.key,
                                                  .session = wait->session,
                                                  .lock = &wait->lock,
                                                  .waits = true});
    }
}
