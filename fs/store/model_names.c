// SPDX-License-Identifier: Apache-2.0
// The model's inodes and entries. See model_impl.h.
#include "fs/base/check.h"
#include "fs/store/model_impl.h"
#include <errno.h>
#include <string.h>

// --- operations: inodes ---

int model_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode)
{
    const struct model_node *node = model_node_get(model_of(store), ino);
    if (!node || !node->has_inode)
        return -ENOENT;
    *ret_inode = node->inode;
    ret_inode->attr.blocks = node->n_pages * (PAGE_SIZE / 512);
    return 0;
}

int model_inode_put(struct store *store, const struct store_inode *inode)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_make(model, inode->attr.ino);
    if (!node || model_undo_push_inode(model, node) < 0)
        return -ENOMEM;
    node->has_inode = true;
    node->inode = *inode;
    return 0;
}

int model_drop_page(struct model *model, struct model_node *node, struct model_page *page)
{
    int result = model_undo_push_page(model, node, page->index);
    if (result == 0)
        model_page_delete(node, page);
    return result;
}

// Takes the value over. NULL: takes away what is there.
int model_xattr_set(struct model *model, struct model_node *node, struct fs_name name, uint8_t *value,
                    size_t n)
{
    struct model_xattr fresh = {.name_length = name.length, .value = value, .n = n};
    memcpy(fresh.name, name.bytes, name.length);
    bool room = model_array_room(&node->xattrs, &node->xattrs_capacity, node->n_xattrs, sizeof(fresh)) == 0;
    struct undo *undo = room ? model_undo_push(model, UNDO_XATTR, node) : NULL;
    if (!undo) {
        free(value);
        return -ENOMEM;
    }
    model_xattr_swap(node, &fresh, &undo->xattr);
    return 0;
}

int model_inode_remove(struct store *store, fs_ino ino)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_get(model, ino);
    if (!node || !node->has_inode)
        return -ENOENT;
    int result = model_undo_push_inode(model, node);
    while (result == 0 && node->n_pages > 0)
        result = model_drop_page(model, node, &node->pages[node->n_pages - 1]);
    // The last first: a swap takes the entry with its value away.
    while (result == 0 && (node->inode.flags & STORE_XATTRS) && node->n_xattrs > 0)
        result = model_xattr_set(model, node, model_xattr_name(&node->xattrs[node->n_xattrs - 1]), NULL, 0);
    if (result == 0)
        node->has_inode = false;
    return result;
}

int model_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first)
{
    struct model *model = model_of(store);
    *ret_first = model->next_ino;
    model->next_ino += n;
    return 0;
}

int model_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first)
{
    struct model *model = model_of(store);
    *ret_first = model->next_cookie;
    model->next_cookie += n;
    return 0;
}

int model_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max)
{
    const struct model *model = model_of(store);
    size_t n = 0;
    for (size_t i = 0; i < model->n_nodes && n < max; i++) {
        const struct model_node *node = model->nodes[i];
        if (node->ino > after && node->has_inode && node->inode.attr.nlink == 0)
            ret_inos[n++] = node->ino;
    }
    return (int)n;
}

// --- operations: entries ---

int model_dentry_get(struct store *store, fs_ino parent, struct fs_name name, struct store_dentry *ret_dentry)
{
    const struct model_node *node = model_node_get(model_of(store), parent);
    const struct model_entry *entry = node ? model_entry_find(node, name) : NULL;
    if (!entry)
        return -ENOENT;
    *ret_dentry = entry->dentry;
    return 0;
}

int model_dentry_put(struct store *store, fs_ino parent, struct fs_name name,
                     const struct store_dentry *dentry)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_make(model, parent);
    if (!node)
        return -ENOMEM;
    if (model_entry_find(node, name))
        return -EEXIST;
    char *copy = malloc(name.length);
    if (!copy ||
        model_array_room(&node->entries, &node->entries_capacity, node->n_entries, sizeof(*node->entries)) <
            0 ||
        model_undo_push_entry(model, node, name) < 0) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, name.bytes, name.length);
    model_entry_insert(node, copy, name.length, dentry);
    return 0;
}

int model_dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_get(model, parent);
    struct model_entry *entry = node ? model_entry_find(node, name) : NULL;
    if (!entry)
        return -ENOENT;
    if (model_undo_push_entry(model, node, name) < 0)
        return -ENOMEM;
    entry->dentry.ino = ino;
    entry->dentry.type = type;
    return 0;
}

int model_dentry_remove(struct store *store, fs_ino parent, struct fs_name name)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_get(model, parent);
    struct model_entry *entry = node ? model_entry_find(node, name) : NULL;
    if (!entry)
        return -ENOENT;
    if (model_undo_push_entry(model, node, name) < 0)
        return -ENOMEM;
    model_entry_delete(node, entry);
    return 0;
}

int model_dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                      store_visit_dentry *visit, void *context)
{
    struct model *model = model_of(store);
    const struct model_node *node = model_node_get(model, parent);
    for (size_t i = 0; node && i < node->n_entries; i++) {
        const struct model_entry *entry = &node->entries[i];
        if (entry->dentry.cookie <= after)
            continue;
        struct store_inode inode;
        bool found = inodes && model_inode_get(store, entry->dentry.ino, &inode) == 0;
        if (!visit(context, (struct fs_name){entry->name, entry->name_length}, &entry->dentry,
                   found ? &inode : NULL))
            break;
    }
    return 0;
}

int model_dentry_any(struct store *store, fs_ino parent, bool *ret_any)
{
    const struct model_node *node = model_node_get(model_of(store), parent);
    *ret_any = node && node->n_entries > 0;
    return 0;
}

static bool node_links(const struct model_node *node, fs_ino ino)
{
    for (size_t i = 0; i < node->n_entries; i++)
        if (node->entries[i].dentry.ino == ino)
            return true;
    return false;
}

int model_dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max)
{
    const struct model *model = model_of(store);
    size_t n = 0;
    for (size_t i = 0; i < model->n_nodes && n < max; i++)
        if (node_links(model->nodes[i], ino))
            ret_parents[n++] = model->nodes[i]->ino;
    return (int)n;
}
