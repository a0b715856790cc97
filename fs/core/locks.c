// SPDX-License-Identifier: Apache-2.0
// The lock table (see locks.h). Pure; one owner thread.
//
// Invariants:
//   1. Held ranges of one owner do not overlap; neighbours of one type are one range.
//   2. Held ranges of two owners overlap only when both are read locks.
//   3. Whoever waits conflicts with something held; waiters of an inode stand in the order in which they
//   came.
//   4. An inode without locks and waiters has no entry.
// A newcomer that conflicts with nothing held never waits, as on Linux: if it queued behind a waiter, an
// owner could wait for a lock that nobody holds against it, and deadlock detection would raise false alarms.
#include "fs/core/locks.h"
#include "fs/base/list.h"
#include "fs/base/table.h"
#include <errno.h>
#include <stdlib.h>

#define RANGE_END ((uint64_t)INT64_MAX)

struct lock_node {
    struct list link; // in lock_inode.held or .waiting
    struct list all;  // waiting: in lock_table.waiting
    struct lock_inode *inode;
    lock_session session;
    struct fs_lock lock;
    uint64_t ticket;  // waiting
    uint64_t seen_by; // waiting: the last deadlock search that came here
};

struct lock_inode {
    struct table_node node; // key: inode number
    struct list held;
    struct list waiting;
};

struct lock_table {
    struct table inodes;
    struct list waiting; // of every inode
    size_t count, max_count;
    uint64_t searches;
    lock_granted *granted;
    void *context;
};

// --- life ---

int lock_table_create(size_t max_locks, lock_granted *granted, void *context, struct lock_table **ret_table)
{
    struct lock_table *table = calloc(1, sizeof *table);
    if (!table)
        return -ENOMEM;
    *table = (struct lock_table){.max_count = max_locks, .granted = granted, .context = context};
    list_init(&table->waiting);
    *ret_table = table;
    return 0;
}

static void free_nodes(struct list *head)
{
    for (struct list *it; (it = list_pop(head));)
        free(LIST_ENTRY(it, struct lock_node, link));
}

void lock_table_destroy(struct lock_table *table)
{
    if (!table)
        return;
    for (struct table_node *it = table_first(&table->inodes), *after; it; it = after) {
        after = table_next(&table->inodes, it);
        struct lock_inode *inode = CONTAINER_OF(it, struct lock_inode, node);
        free_nodes(&inode->held);
        free_nodes(&inode->waiting);
        free(inode);
    }
    table_free(&table->inodes);
    free(table);
}

size_t lock_count(const struct lock_table *table)
{
    return table->count;
}

static struct lock_inode *inode_find(const struct lock_table *table, fs_ino ino)
{
    struct table_node *node = table_get(&table->inodes, ino);
    return node ? CONTAINER_OF(node, struct lock_inode, node) : NULL;
}

static struct lock_inode *inode_find_or_add(struct lock_table *table, fs_ino ino)
{
    struct lock_inode *inode = inode_find(table, ino);
    if (inode)
        return inode;
    inode = calloc(1, sizeof *inode);
    if (!inode)
        return NULL;
    list_init(&inode->held);
    list_init(&inode->waiting);
    if (table_put(&table->inodes, &inode->node, ino) != 0) {
        free(inode);
        return NULL;
    }
    return inode;
}

static void inode_drop_if_unused(struct lock_table *table, struct lock_inode *inode)
{
    if (!list_empty(&inode->held) || !list_empty(&inode->waiting))
        return;
    table_remove(&table->inodes, &inode->node);
    free(inode);
}

static struct lock_node *node_new(struct lock_table *table, struct lock_inode *inode, lock_session session,
                                  const struct fs_lock *lock)
{
    struct lock_node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    *node = (struct lock_node){.inode = inode, .session = session, .lock = *lock};
    list_init(&node->link);
    list_init(&node->all);
    table->count++;
    return node;
}

static void node_free(struct lock_table *table, struct lock_node *node)
{
    list_remove(&node->link);
    list_remove(&node->all);
    table->count--;
    free(node);
}

// --- who stands in whose way ---

static bool same_owner(const struct lock_node *node, lock_session session, const struct fs_lock *lock)
{
    return node->session == session && node->lock.owner == lock->owner && node->lock.kind == lock->kind;
}

static bool overlap(const struct fs_lock *a, const struct fs_lock *b)
{
    return a->start <= b->end && b->start <= a->end;
}

static bool in_the_way(const struct lock_node *held, lock_session session, const struct fs_lock *lock)
{
    return held->lock.kind == lock->kind && overlap(&held->lock, lock) && !same_owner(held, session, lock) &&
           (held->lock.type == FS_LOCK_WRITE || lock->type == FS_LOCK_WRITE);
}

static struct lock_node *first_in_the_way(const struct lock_inode *inode, lock_session session,
                                          const struct fs_lock *lock)
{
    list_for_each (it, &inode->held) {
        struct lock_node *held = LIST_ENTRY(it, struct lock_node, link);
        if (in_the_way(held, session, lock))
            return held;
    }
    return NULL;
}

// --- deadlock: a search along "waits for" from the holders of what is asked back to the asker ---

// The next wait, not searched yet, of the owner of `held`; NULL when it waits for nothing more.
static struct lock_node *next_wait_of(struct lock_table *table, const struct lock_node *held)
{
    list_for_each (it, &table->waiting) {
        struct lock_node *wait = LIST_ENTRY(it, struct lock_node, all);
        if (wait->seen_by != table->searches && same_owner(wait, held->session, &held->lock))
            return wait;
    }
    return NULL;
}

// Puts every wait of every owner who holds something in the way of (session, lock) on the stack. True when
// one of them is the asker himself.
static bool push_holders(struct lock_table *table, const struct lock_inode *inode, lock_session session,
                         const struct fs_lock *lock, const struct lock_node *asker, struct list *stack)
{
    list_for_each (it, &inode->held) {
        struct lock_node *held = LIST_ENTRY(it, struct lock_node, link);
        if (!in_the_way(held, session, lock))
            continue;
        if (same_owner(held, asker->session, &asker->lock))
            return true;
        for (struct lock_node *wait; (wait = next_wait_of(table, held));) {
            wait->seen_by = table->searches;
            list_remove(&wait->all);
            list_push(stack, &wait->all);
        }
    }
    return false;
}

// Waits that were searched stand on `done` meanwhile, and come back to table->waiting in the end: its order
// carries no meaning.
static bool would_deadlock(struct lock_table *table, const struct lock_node *asker)
{
    struct list stack, done;
    list_init(&stack);
    list_init(&done);
    table->searches++;
    bool found = push_holders(table, asker->inode, asker->session, &asker->lock, asker, &stack);
    for (struct list *it; !found && (it = list_pop(&stack));) {
        struct lock_node *wait = LIST_ENTRY(it, struct lock_node, all);
        list_push(&done, &wait->all);
        found = push_holders(table, wait->inode, wait->session, &wait->lock, asker, &stack);
    }
    for (struct list *it; (it = list_pop(&stack)) || (it = list_pop(&done));)
        list_push(&table->waiting, it);
    return found;
}

// --- taking and giving back ranges ---

// Takes the part that `lock` covers out of one of its owner's ranges. `spare` becomes the right part when the
// range splits; true when it was used.
static bool cut(struct lock_table *table, struct lock_node *held, const struct fs_lock *lock,
                struct lock_node *spare)
{
    bool left = held->lock.start<lock->start, right = held->lock.end> lock->end;
    if (left && right) {
        spare->lock = held->lock;
        spare->lock.start = lock->end + 1;
        held->lock.end = lock->start - 1;
        list_push(&held->inode->held, &spare->link);
        return true;
    }
    if (left)
        held->lock.end = lock->start - 1;
    else if (right)
        held->lock.start = lock->end + 1;
    else
        node_free(table, held);
    return false;
}

static bool adjacent_or_overlapping(const struct fs_lock *a, const struct fs_lock *b)
{
    return (a->end == RANGE_END || b->start <= a->end + 1) && (b->end == RANGE_END || a->start <= b->end + 1);
}

static void merge(struct lock_table *table, struct lock_node *fresh, struct lock_node *old)
{
    fresh->lock.start = MIN(fresh->lock.start, old->lock.start);
    fresh->lock.end = MAX(fresh->lock.end, old->lock.end);
    node_free(table, old);
}

// Sets (fresh holds the lock) or clears (fresh is NULL) a range of its owner. `spare` is freed when no split
// needed it.
static void apply(struct lock_table *table, struct lock_inode *inode, lock_session session,
                  const struct fs_lock *lock, struct lock_node *fresh, struct lock_node *spare)
{
    bool spare_used = false;
    list_for_each_safe (it, after, &inode->held) {
        struct lock_node *held = LIST_ENTRY(it, struct lock_node, link);
        if (held == spare || !same_owner(held, session, lock))
            continue;
        if (fresh && held->lock.type == lock->type) {
            if (adjacent_or_overlapping(&held->lock, &fresh->lock))
                merge(table, fresh, held);
        } else if (overlap(&held->lock, lock)) {
            spare_used |= cut(table, held, lock, spare);
        }
    }
    if (fresh)
        list_push(&inode->held, &fresh->link);
    if (!spare_used)
        node_free(table, spare);
}

// --- waking ---

static bool try_grant(struct lock_table *table, struct lock_inode *inode, struct lock_node *wait)
{
    if (first_in_the_way(inode, wait->session, &wait->lock))
        return false;
    struct lock_node *spare = node_new(table, inode, wait->session, &wait->lock);
    if (!spare)
        return false; // without memory it goes on waiting for the next release
    lock_session session = wait->session;
    uint64_t ticket = wait->ticket;
    struct fs_lock lock = wait->lock;
    list_remove(&wait->link);
    list_remove(&wait->all);
    apply(table, inode, session, &lock, wait, spare);
    table->granted(table->context, session, ticket);
    return true;
}

// Something held went away: grants what can be granted, the oldest first.
static void wake(struct lock_table *table, struct lock_inode *inode)
{
    bool granted = true;
    while (granted) {
        granted = false;
        // A grant may downgrade what its owner held and so let an older waiter pass: start again.
        list_for_each (it, &inode->waiting) {
            granted = try_grant(table, inode, LIST_ENTRY(it, struct lock_node, link));
            if (granted)
                break;
        }
    }
    inode_drop_if_unused(table, inode);
}

// --- setting ---

// Does it cut one of its owner's ranges into two?
static bool splits(const struct lock_inode *inode, lock_session session, const struct fs_lock *lock)
{
    list_for_each (it, &inode->held) {
        const struct lock_node *held = LIST_ENTRY(it, struct lock_node, link);
        if (same_owner(held, session, lock) && held->lock.type != lock->type &&
            held->lock.start < lock->start && held->lock.end > lock->end)
            return true;
    }
    return false;
}

// Unlocking counts too when it splits: else one owner could fill the memory by unlocking every second byte.
static bool has_room(const struct lock_table *table, const struct lock_inode *inode, lock_session session,
                     const struct fs_lock *lock)
{
    size_t more = lock->type == FS_LOCK_UNLOCK ? 0 : 1;
    if (inode && splits(inode, session, lock))
        more++;
    return more == 0 || table->count + more <= table->max_count;
}

static int unlock(struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock)
{
    struct lock_inode *inode = inode_find(table, ino);
    if (!inode)
        return 0;
    if (!has_room(table, inode, session, lock))
        return -ENOLCK;
    struct lock_node *spare = node_new(table, inode, session, lock);
    if (!spare)
        return -ENOLCK;
    apply(table, inode, session, lock, NULL, spare);
    wake(table, inode);
    return 0;
}

static int queue(struct lock_table *table, struct lock_node *wait, uint64_t ticket)
{
    if (wait->lock.kind == FS_LOCK_FCNTL && would_deadlock(table, wait))
        return -EDEADLK;
    wait->ticket = ticket;
    list_push(&wait->inode->waiting, &wait->link);
    list_push(&table->waiting, &wait->all);
    return 1;
}

static int take(struct lock_table *table, struct lock_inode *inode, lock_session session,
                const struct fs_lock *lock, uint64_t ticket)
{
    struct lock_node *fresh = node_new(table, inode, session, lock);
    struct lock_node *spare = fresh ? node_new(table, inode, session, lock) : NULL;
    if (!spare) {
        if (fresh)
            node_free(table, fresh);
        return -ENOLCK;
    }
    if (!first_in_the_way(inode, session, lock)) {
        apply(table, inode, session, lock, fresh, spare);
        wake(table, inode); // a downgrade lets others pass
        return 0;
    }
    node_free(table, spare);
    int result = ticket == 0 ? -EAGAIN : queue(table, fresh, ticket);
    if (result < 0)
        node_free(table, fresh);
    return result;
}

// flock converts by dropping the old lock first, so that others may pass in between.
static void drop_to_convert(struct lock_table *table, fs_ino ino, lock_session session,
                            const struct fs_lock *lock)
{
    struct lock_inode *inode = inode_find(table, ino);
    if (!inode)
        return;
    list_for_each (it, &inode->held) {
        struct lock_node *held = LIST_ENTRY(it, struct lock_node, link);
        if (same_owner(held, session, lock) && held->lock.type != lock->type) {
            node_free(table, held);
            wake(table, inode);
            return;
        }
    }
}

int lock_set(struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
             uint64_t ticket)
{
    if (lock->start > lock->end || lock->end > RANGE_END)
        return -EINVAL;
    if (lock->type == FS_LOCK_UNLOCK)
        return unlock(table, ino, session, lock);
    if (lock->kind == FS_LOCK_FLOCK)
        drop_to_convert(table, ino, session, lock);
    if (!has_room(table, inode_find(table, ino), session, lock))
        return -ENOLCK;
    struct lock_inode *inode = inode_find_or_add(table, ino);
    if (!inode)
        return -ENOLCK;
    int result = take(table, inode, session, lock, ticket);
    if (result < 0)
        inode_drop_if_unused(table, inode);
    return result;
}

// --- asking, cancelling, releasing ---

void lock_get(const struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
              struct fs_lock *ret_lock, lock_session *ret_session)
{
    struct lock_inode *inode = inode_find(table, ino);
    struct lock_node *held = inode ? first_in_the_way(inode, session, lock) : NULL;
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
    list_for_each (it, &table->waiting) {
        struct lock_node *wait = LIST_ENTRY(it, struct lock_node, all);
        if (wait->session == session && wait->ticket == ticket) {
            struct lock_inode *inode = wait->inode;
            node_free(table, wait);
            inode_drop_if_unused(table, inode);
            return 0;
        }
    }
    return -ENOENT;
}

static void drop_waits(struct lock_table *table, struct lock_inode *inode, lock_session session,
                       const struct fs_lock *owner_or_null)
{
    list_for_each_safe (it, after, &inode->waiting) {
        struct lock_node *wait = LIST_ENTRY(it, struct lock_node, link);
        if (owner_or_null ? same_owner(wait, session, owner_or_null) : wait->session == session)
            node_free(table, wait);
    }
}

static void drop_held(struct lock_table *table, struct lock_inode *inode, lock_session session,
                      const struct fs_lock *owner_or_null)
{
    list_for_each_safe (it, after, &inode->held) {
        struct lock_node *held = LIST_ENTRY(it, struct lock_node, link);
        if (owner_or_null ? same_owner(held, session, owner_or_null) : held->session == session)
            node_free(table, held);
    }
}

void lock_release_owner(struct lock_table *table, fs_ino ino, lock_session session, enum fs_lock_kind kind,
                        uint64_t owner)
{
    struct lock_inode *inode = inode_find(table, ino);
    struct fs_lock who = {.kind = kind, .owner = owner};
    if (!inode)
        return;
    drop_waits(table, inode, session, &who);
    drop_held(table, inode, session, &who);
    wake(table, inode);
}

void lock_release_session(struct lock_table *table, lock_session session)
{
    for (struct table_node *it = table_first(&table->inodes), *after; it; it = after) {
        after = table_next(&table->inodes, it);
        struct lock_inode *inode = CONTAINER_OF(it, struct lock_inode, node);
        drop_waits(table, inode, session, NULL);
        drop_held(table, inode, session, NULL);
        wake(table, inode);
    }
}
