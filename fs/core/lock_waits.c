// SPDX-License-Identifier: Apache-2.0
// Who waits: queues, waking in the order of arrival, and the search for deadlocks. Called by locks.c.
// Invariant: outside of lock_settle() a wait is in the queue of a held range that stands in its way.
#include "fs/core/locks_impl.h"
#include <errno.h>

// Linux gives up after ten steps from waiter to holder. A search that is given up finds no deadlock.
#define SEARCH_STEPS_MAX 10000u

static struct lock_wait *by_arrival(const struct tree_node *node)
{
    return node ? CONTAINER_OF(node, struct lock_wait, by_arrival) : NULL;
}

static struct lock_wait *by_owner(const struct tree_node *node)
{
    return node ? CONTAINER_OF(node, struct lock_wait, by_owner) : NULL;
}

// --- orders ---

static int compare_arrivals(const struct tree_node *a, const struct tree_node *b)
{
    return lock_compare_u64(by_arrival(a)->arrival, by_arrival(b)->arrival);
}

static int compare_owners(const struct tree_node *left, const struct tree_node *right)
{
    const struct lock_wait *a = by_owner(left), *b = by_owner(right);
    int result = lock_compare_owners(a->session, &a->lock, a->space->inode->node.key, b->session, &b->lock,
                                     b->space->inode->node.key);
    return result ? result : lock_compare_u64(a->ticket, b->ticket);
}

static int compare_tickets(const struct tree_node *left, const struct tree_node *right)
{
    const struct lock_wait *a = CONTAINER_OF(left, struct lock_wait, by_ticket);
    const struct lock_wait *b = CONTAINER_OF(right, struct lock_wait, by_ticket);
    int result = lock_compare_u64(a->session, b->session);
    return result ? result : lock_compare_u64(a->ticket, b->ticket);
}

const struct tree_order lock_waits_by_arrival = {compare_arrivals, NULL};
const struct tree_order lock_waits_by_owner = {compare_owners, NULL};
const struct tree_order lock_waits_by_ticket = {compare_tickets, NULL};

struct lock_wait *lock_waits_from(const struct lock_table *table, lock_session session,
                                  const struct fs_lock *owner, fs_ino ino)
{
    struct lock_inode inode = {.node.key = ino};
    struct lock_space space = {.inode = &inode};
    struct lock_wait key = {.space = &space, .session = session, .lock = *owner};
    struct lock_wait *wait = by_owner(tree_seek(&table->waits, &lock_waits_by_owner, &key.by_owner));
    bool theirs = wait && lock_same_owner(wait->session, &wait->lock, session, owner) &&
                  (ino == 0 || wait->space->inode->node.key == ino);
    return theirs ? wait : NULL;
}

struct lock_wait *lock_waits_next(const struct lock_wait *wait)
{
    return by_owner(tree_next(&wait->by_owner));
}

// --- deadlock: a search along "waits for" from the holders of what is asked back to the asker ---

struct search {
    struct lock_table *table;
    lock_session session; // the asker
    const struct fs_lock *lock;
    struct lock_wait *stack;
    unsigned steps;
};

static void push_waits_of(struct search *search, const struct lock_range *holder)
{
    const struct lock_table *table = search->table;
    struct lock_wait *wait = lock_waits_from(table, holder->session, &holder->lock, 0);
    for (; wait && lock_same_owner(wait->session, &wait->lock, holder->session, &holder->lock);
         wait = lock_waits_next(wait)) {
        if (wait->seen_by == table->searches)
            return; // so were the owner's others
        wait->seen_by = table->searches;
        if (wait->undetected)
            continue;
        wait->next = search->stack;
        search->stack = wait;
    }
}

// Pushes the waits of those whose ranges of this type are in the way of (session, lock). True when one of
// them is the asker. Of neighbouring ranges of one owner only the first is looked at.
static bool push_holders(struct search *search, const struct lock_space *space, enum fs_lock_type type,
                         lock_session session, const struct fs_lock *lock)
{
    lock_session but_session = session;
    const struct fs_lock *but = lock;
    const struct lock_range *held = NULL;
    while ((held = lock_next_overlapping(space, type, lock, but_session, but, held)) &&
           search->steps++ < SEARCH_STEPS_MAX) {
        but_session = held->session;
        but = &held->lock;
        if (lock_same_owner(but_session, but, session, lock))
            continue;
        if (lock_same_owner(but_session, but, search->session, search->lock))
            return true;
        push_waits_of(search, held);
    }
    return false;
}

static bool reaches_asker(struct search *search, const struct lock_space *space, lock_session session,
                          const struct fs_lock *lock)
{
    return push_holders(search, space, FS_LOCK_WRITE, session, lock) ||
           (lock->type == FS_LOCK_WRITE && push_holders(search, space, FS_LOCK_READ, session, lock));
}

static bool would_deadlock(struct lock_table *table, const struct lock_space *space, lock_session session,
                           const struct fs_lock *lock)
{
    if (!lock_owned_from(table, session, lock, 0, 0))
        return false; // nobody waits for who holds nothing
    struct search search = {.table = table, .session = session, .lock = lock};
    table->searches++;
    bool found = reaches_asker(&search, space, session, lock);
    while (!found && search.stack) {
        const struct lock_wait *wait = search.stack;
        search.stack = wait->next;
        found = reaches_asker(&search, wait->space, wait->session, &wait->lock);
    }
    return found;
}

// --- life ---

int lock_wait_add(struct lock_table *table, struct lock_range *blocker, lock_session session,
                  const struct fs_lock *lock, uint64_t ticket, bool undetected)
{
    struct lock_space *space = blocker->space;
    if (lock->kind == FS_LOCK_FCNTL && !undetected && would_deadlock(table, space, session, lock))
        return -EDEADLK;
    struct lock_wait *wait = calloc(1, sizeof(*wait));
    struct lock_range *fresh = lock_range_new(), *spare = lock_range_new();
    if (!wait || !fresh || !spare) {
        free(wait);
        free(fresh);
        free(spare);
        return -ENOLCK;
    }
    *wait = (struct lock_wait){.space = space,
                               .session = session,
                               .lock = *lock,
                               .ticket = ticket,
                               .undetected = undetected,
                               .arrival = ++table->arrivals,
                               .fresh = fresh,
                               .spare = spare};
    tree_insert(&blocker->queues[lock->type], &lock_waits_by_arrival, &wait->by_arrival);
    tree_insert(&table->waits, &lock_waits_by_owner, &wait->by_owner);
    tree_insert(&table->tickets, &lock_waits_by_ticket, &wait->by_ticket);
    space->inode->n_nodes++;
    table->n_waits++;
    return 1;
}

void lock_wait_drop(struct lock_table *table, struct lock_wait *wait)
{
    lock_touch(table, wait->space);
    tree_remove(&lock_waits_by_arrival, &wait->by_arrival);
    tree_remove(&lock_waits_by_owner, &wait->by_owner);
    tree_remove(&lock_waits_by_ticket, &wait->by_ticket);
    wait->space->inode->n_nodes--;
    table->n_waits--;
    free(wait->fresh);
    free(wait->spare);
    free(wait);
}

void lock_queue_join(struct tree *to, struct tree *from)
{
    if (from->root && (!to->root || to->root->height < from->root->height)) {
        struct tree fewer = {NULL};
        tree_move(&fewer, to);
        tree_move(to, from);
        tree_move(from, &fewer);
    }
    for (struct tree_node *node; (node = from->root);) {
        tree_remove(&lock_waits_by_arrival, node);
        tree_insert(to, &lock_waits_by_arrival, node);
    }
}

// --- waking ---

static struct lock_wait *oldest_loose(const struct lock_space *space)
{
    struct lock_wait *reader = by_arrival(tree_first(&space->loose[FS_LOCK_READ]));
    struct lock_wait *writer = by_arrival(tree_first(&space->loose[FS_LOCK_WRITE]));
    if (!reader || !writer)
        return reader ? reader : writer;
    return reader->arrival < writer->arrival ? reader : writer;
}

// Returns the range that holds it.
static struct lock_range *grant(struct lock_table *table, struct lock_wait *wait)
{
    struct lock_range *fresh = wait->fresh;
    lock_session session = wait->session;
    uint64_t ticket = wait->ticket;
    lock_apply(table, wait->space, session, &wait->lock, fresh, wait->spare);
    wait->fresh = wait->spare = NULL;
    lock_wait_drop(table, wait);
    table->granted(table->context, session, ticket);
    return fresh;
}

// The loose waits of the owner of `range`, which is not in their way.
static struct lock_wait *take_own(const struct lock_table *table, const struct lock_range *range)
{
    struct lock_space *space = range->space;
    struct lock_wait *own = NULL, *wait;
    wait = lock_waits_from(table, range->session, &range->lock, space->inode->node.key);
    for (; wait && wait->space == space &&
           lock_same_owner(wait->session, &wait->lock, range->session, &range->lock);
         wait = lock_waits_next(wait)) {
        if (tree_of(&wait->by_arrival) != &space->loose[wait->lock.type])
            continue;
        tree_remove(&lock_waits_by_arrival, &wait->by_arrival);
        wait->next = own;
        own = wait;
    }
    return own;
}

// A range that covers all that was freed is in the way of every loose wait that it could conflict with: the
// many who wait for one file change their queue at once, instead of being asked one by one.
static void hand_over(struct lock_table *table, struct lock_range *range)
{
    struct lock_space *space = range->space;
    if (range->lock.start > space->freed_start || space->freed_end > range->lock.end)
        return;
    struct lock_wait *own = take_own(table, range);
    lock_queue_join(&range->queues[FS_LOCK_WRITE], &space->loose[FS_LOCK_WRITE]);
    if (range->lock.type == FS_LOCK_WRITE)
        lock_queue_join(&range->queues[FS_LOCK_READ], &space->loose[FS_LOCK_READ]);
    for (; own; own = own->next)
        tree_insert(&space->loose[own->lock.type], &lock_waits_by_arrival, &own->by_arrival);
}

static void wake(struct lock_table *table, struct lock_space *space)
{
    for (struct lock_wait *wait; (wait = oldest_loose(space));) {
        struct lock_range *blocker = lock_in_the_way(space, wait->session, &wait->lock);
        if (blocker) {
            tree_remove(&lock_waits_by_arrival, &wait->by_arrival);
            tree_insert(&blocker->queues[wait->lock.type], &lock_waits_by_arrival, &wait->by_arrival);
        } else {
            blocker = grant(table, wait);
        }
        hand_over(table, blocker);
    }
    space->freed_start = RANGE_END;
    space->freed_end = 0;
}

void lock_settle(struct lock_table *table)
{
    for (struct list *it; (it = list_pop(&table->touched));) {
        struct lock_space *space = LIST_ENTRY(it, struct lock_space, touched);
        wake(table, space);
        list_remove(&space->touched); // its own grants touched it again
        struct lock_inode *inode = space->inode;
        if (inode->n_nodes > 0)
            continue;
        for (unsigned kind = 0; kind < LOCK_KINDS; kind++)
            list_remove(&inode->spaces[kind].touched);
        table_remove(&table->inodes, &inode->node);
        free(inode);
    }
}
