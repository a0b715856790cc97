// SPDX-License-Identifier: Apache-2.0
// See lease.h.
#include "server/lease.h"
#include <stdlib.h>

void lease_table_init(struct lease_table *table)
{
    *table = (struct lease_table){.per_holder_max = LEASES_PER_HOLDER_MAX, .max = LEASES_MAX};
}

void lease_table_free(struct lease_table *table)
{
    fs_assert(table->n == 0 && table->inodes.count == 0);
    table_free(&table->inodes);
}

struct lease_holder *lease_holder_new(void)
{
    struct lease_holder *holder = calloc(1, sizeof(*holder));
    if (!holder)
        return NULL;
    list_init(&holder->node);
    list_init(&holder->order);
    list_init(&holder->asks);
    return holder;
}

void lease_holder_free(struct lease_holder *holder)
{
    fs_assert(holder->leases.count == 0 && list_empty(&holder->asks));
    list_remove(&holder->node);
    table_free(&holder->leases);
    table_free(&holder->numbers);
    free(holder);
}

struct lease *lease_get(const struct lease_holder *holder, fs_ino ino)
{
    struct table_node *node = table_get(&holder->leases, ino);
    return node ? CONTAINER_OF(node, struct lease, node) : NULL;
}

bool lease_has(const struct lease_holder *holder, fs_ino ino, uint32_t bits)
{
    const struct lease *lease = lease_get(holder, ino);
    return lease && (lease->bits & bits) == bits;
}

static struct lease_inode *inode_of(const struct lease_table *table, fs_ino ino)
{
    struct table_node *node = table_get(&table->inodes, ino);
    return node ? CONTAINER_OF(node, struct lease_inode, node) : NULL;
}

struct list *lease_list(const struct lease_table *table, fs_ino ino)
{
    struct lease_inode *inode = inode_of(table, ino);
    return inode ? &inode->leases : NULL;
}

static struct lease_inode *make_inode(struct lease_table *table, fs_ino ino)
{
    struct lease_inode *inode = inode_of(table, ino);
    if (inode)
        return inode;
    inode = calloc(1, sizeof(*inode));
    if (!inode || table_put(&table->inodes, &inode->node, ino) < 0) {
        free(inode);
        return NULL;
    }
    list_init(&inode->leases);
    return inode;
}

static void inode_put(struct lease_table *table, struct lease_inode *inode)
{
    if (!list_empty(&inode->leases))
        return;
    table_remove(&table->inodes, &inode->node);
    free(inode);
}

static struct lease *make(struct lease_table *table, struct lease_holder *holder, fs_ino ino)
{
    struct lease_inode *inode = make_inode(table, ino);
    struct lease *lease = inode ? calloc(1, sizeof(*lease)) : NULL;
    if (!lease || table_put(&holder->leases, &lease->node, ino) < 0) {
        free(lease);
        if (inode)
            inode_put(table, inode);
        return NULL;
    }
    lease->holder = holder;
    list_init(&lease->in_order);
    list_init(&lease->of_inode);
    list_init(&lease->asks);
    list_push(&inode->leases, &lease->of_inode);
    table->n++;
    return lease;
}

bool lease_full(const struct lease_table *table, const struct lease_holder *holder)
{
    return holder->leases.count >= table->per_holder_max || table->n >= table->max;
}

bool lease_add(struct lease_table *table, struct lease_holder *holder, fs_ino ino, uint32_t bits, bool over)
{
    struct lease *lease = lease_get(holder, ino);
    if (!lease && (over || !lease_full(table, holder)))
        lease = make(table, holder, ino);
    if (!lease)
        return false;
    lease->bits |= bits;
    list_remove(&lease->in_order);
    list_push(&holder->order, &lease->in_order);
    return true;
}

void lease_take(struct lease_table *table, struct lease *lease, uint32_t bits)
{
    lease->bits &= ~bits;
    if (lease->bits || !list_empty(&lease->asks))
        return;
    struct lease_inode *inode = inode_of(table, lease->node.key);
    table_remove(&lease->holder->leases, &lease->node);
    list_remove(&lease->in_order);
    list_remove(&lease->of_inode);
    inode_put(table, inode);
    free(lease);
    table->n--;
}
