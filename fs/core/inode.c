// SPDX-License-Identifier: Apache-2.0
// The inode cache (see core_impl.h for its invariants). Owner thread.
#include "fs/core/core_impl.h"
#include <errno.h>
#include <stdlib.h>

static struct inode *inode_of(struct table_node *node)
{
    return node ? CONTAINER_OF(node, struct inode, node) : NULL;
}

static void lru_add(struct core *core, struct inode *inode)
{
    list_push(&core->lru, &inode->lru);
    core->n_lru++;
}

static void lru_remove(struct core *core, struct inode *inode)
{
    list_remove(&inode->lru);
    core->n_lru--;
}

static struct inode *entry_new(struct core *core, fs_ino ino)
{
    struct inode *inode = calloc(1, sizeof *inode);
    if (!inode)
        return NULL;
    list_init(&inode->lru);
    list_init(&inode->changed);
    if (table_put(&core->inodes, &inode->node, ino) != 0) {
        free(inode);
        return NULL;
    }
    lru_add(core, inode);
    return inode;
}

static void acl_forget(struct inode *inode)
{
    free(inode->acl);
    inode->acl = NULL;
}

static void entry_free(struct core *core, struct inode *inode)
{
    fs_assert(inode->n_opens == 0);
    lru_remove(core, inode);
    list_remove(&inode->changed);
    table_remove(&core->inodes, &inode->node);
    acl_forget(inode);
    free(inode);
}

static int load(struct core *core, struct inode *inode)
{
    struct store_inode stored;
    int result = store_inode_get(core->store, inode->node.key, &stored);
    if (result != 0)
        return result;
    acl_forget(inode);
    inode->stored = stored;
    inode->loaded = true;
    inode->blocks_stale = false;
    return 0;
}

int inode_get(struct core *core, fs_ino ino, struct inode **ret_inode)
{
    struct inode *inode = inode_of(table_get(&core->inodes, ino));
    if (!inode)
        inode = entry_new(core, ino);
    if (!inode)
        return -ENOMEM;
    int result = inode->loaded ? 0 : load(core, inode);
    if (result != 0) {
        if (inode->n_opens == 0)
            entry_free(core, inode);
        return result;
    }
    if (inode->n_opens == 0) {
        list_remove(&inode->lru);
        list_push(&core->lru, &inode->lru);
    }
    *ret_inode = inode;
    return 0;
}

int inode_get_directory(struct core *core, fs_ino ino, struct inode **ret_inode)
{
    struct inode *inode;
    int result = inode_get(core, ino, &inode);
    if (result != 0)
        return result;
    if (!S_ISDIR(inode->stored.attr.mode))
        return -ENOTDIR;
    *ret_inode = inode;
    return 0;
}

static void mark_changed(struct core *core, struct inode *inode)
{
    if (list_empty(&inode->changed))
        list_push(&core->changed, &inode->changed);
}

int inode_put(struct core *core, struct inode *inode, const struct store_inode *stored)
{
    mark_changed(core, inode);
    acl_forget(inode);
    changes_note(&core->changes, inode->node.key, changes_between(&inode->stored.attr, &stored->attr));
    int result = store_inode_put(core->store, stored);
    if (result == 0)
        inode->stored = *stored;
    return result;
}

int inode_add(struct core *core, const struct store_inode *stored, struct inode **ret_inode)
{
    struct inode *inode = entry_new(core, stored->attr.ino);
    if (!inode)
        return -ENOMEM;
    int result = inode_put(core, inode, stored);
    if (result != 0) {
        entry_free(core, inode);
        return result;
    }
    inode->loaded = true;
    *ret_inode = inode;
    return 0;
}

int inode_remove(struct core *core, struct inode *inode)
{
    mark_changed(core, inode);
    if (inode->stored.attr.nlink > 0)
        changes_note(&core->changes, inode->node.key, CORE_CHANGE_ATTR);
    bool quota_root = inode->stored.quota == inode->node.key;
    int result = quota_root ? store_quota_put(core->store, inode->node.key, 0, 0) : 0;
    if (result == 0)
        result = store_inode_remove(core->store, inode->node.key);
    if (result == 0)
        inode->loaded = false;
    return result;
}

void inode_pin(struct core *core, struct inode *inode)
{
    if (inode->n_opens++ == 0)
        lru_remove(core, inode);
}

void inode_unpin(struct core *core, struct inode *inode)
{
    fs_assert(inode->n_opens > 0);
    if (--inode->n_opens == 0)
        lru_add(core, inode);
}

void inode_trim(struct core *core)
{
    while (core->n_lru > CORE_CACHE_MAX)
        entry_free(core, LIST_ENTRY(core->lru.next, struct inode, lru));
}

void inode_forget_changes(struct core *core, bool undone)
{
    for (struct list *it; (it = list_pop(&core->changed));) {
        struct inode *inode = LIST_ENTRY(it, struct inode, changed);
        if (undone)
            inode->loaded = false;
    }
}

int inode_attr(struct core *core, struct inode *inode, struct fs_attr *ret_attr)
{
    if (inode->blocks_stale) {
        struct store_inode stored;
        int result = store_inode_get(core->store, inode->node.key, &stored);
        if (result != 0)
            return result;
        inode->stored.attr.blocks = stored.attr.blocks;
        inode->blocks_stale = false;
    }
    *ret_attr = inode->stored.attr;
    return 0;
}
