// SPDX-License-Identifier: Apache-2.0
// The in-memory model of a store. Everything hangs off one node per inode number, in an array sorted by
// number; a node holds the inode if there is one, the entries below it sorted by cookie, and its data as
// pages sorted by index.
//
// Invariant: bytes at or past the size are absent or zero. Every change first pushes what it replaces onto
// one undo log; rolling back plays the log backwards, to its start or to the savepoint. Overwrites are undone
// too (the contract allows either). Owner thread only.
#include "fs/base/check.h"
#include "fs/store/store_impl.h"
#include "fs/store/store_model.h"
#include <errno.h>
#include <string.h>

#define PAGE_SIZE        4096u
#define FIRST_INO        (FS_ROOT_INO + 1)
#define FIRST_COOKIE     16u
#define MODEL_SPACE_SIZE (UINT64_C(1) << 40) // what a model claims to have room for

struct model_entry {
    char *name; // owned
    size_t name_length;
    struct store_dentry dentry;
};

struct model_page {
    uint64_t index;
    uint8_t *bytes; // owned, PAGE_SIZE
};

struct model_xattr {
    char name[FS_XATTR_NAME_MAX];
    size_t name_length;
    uint8_t *value; // owned; NULL: not there
    size_t n;
};

struct model_node {
    fs_ino ino;
    bool has_inode;
    struct store_inode inode;
    struct model_entry *entries; // ascending by cookie
    size_t n_entries, entries_capacity;
    struct model_page *pages; // ascending by index
    size_t n_pages, pages_capacity;
    struct model_xattr *xattrs; // ascending by the name's bytes
    size_t n_xattrs, xattrs_capacity;
};

// A part of a session.
struct model_part {
    uint64_t id;
    uint32_t part;
    uint8_t *bytes; // owned; NULL: not there
    size_t n;
};

struct model_quota {
    fs_ino id;
    uint64_t max_bytes, max_inodes;
};

enum undo_kind { UNDO_INODE, UNDO_ENTRY, UNDO_PAGE, UNDO_XATTR, UNDO_PART, UNDO_QUOTA };

// What stood there before: `was_there` false says nothing did.
struct undo {
    enum undo_kind kind;
    struct model_node *node;
    bool was_there;
    struct store_inode inode;
    struct model_entry entry; // the name is set, and owned, in either case
    struct model_page page;   // bytes are owned, NULL when nothing was there
    struct model_xattr xattr; // the value is owned
    struct model_part part;   // bytes are owned
    struct model_quota quota;
};

struct model {
    struct store store; // first
    struct model_node **nodes;
    size_t n_nodes, nodes_capacity;
    struct model_part *parts; // ascending by id, then part
    size_t n_parts, parts_capacity;
    struct model_quota *quotas; // in no order; once there, always there
    size_t n_quotas, quotas_capacity;
    struct undo *undo;
    size_t n_undo, undo_capacity;
    size_t savepoint; // length of the undo log when it was set
    fs_ino next_ino;
    uint64_t next_cookie;
};

static struct model *model_of(struct store *store)
{
    return (struct model *)store;
}

// Makes room for one more element than count. Capacity never shrinks.
static int array_room(void *pointer_to_array, size_t *capacity, size_t count, size_t element_size)
{
    if (count < *capacity)
        return 0;
    size_t larger_capacity = MAX(*capacity * 2, (size_t)8);
    void *larger = realloc(*(void **)pointer_to_array, larger_capacity * element_size);
    if (!larger)
        return -ENOMEM;
    *(void **)pointer_to_array = larger;
    *capacity = larger_capacity;
    return 0;
}

// --- nodes ---

// The position of ino, or where it would be.
static size_t node_position(const struct model *model, fs_ino ino)
{
    size_t low = 0, high = model->n_nodes;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (model->nodes[middle]->ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct model_node *node_get(const struct model *model, fs_ino ino)
{
    size_t at = node_position(model, ino);
    return at < model->n_nodes && model->nodes[at]->ino == ino ? model->nodes[at] : NULL;
}

static struct model_node *node_make(struct model *model, fs_ino ino)
{
    size_t at = node_position(model, ino);
    if (at < model->n_nodes && model->nodes[at]->ino == ino)
        return model->nodes[at];
    if (array_room(&model->nodes, &model->nodes_capacity, model->n_nodes, sizeof(void *)) < 0)
        return NULL;
    struct model_node *node = calloc(1, sizeof(*node));
    if (!node)
        return NULL;
    node->ino = ino;
    memmove(model->nodes + at + 1, model->nodes + at, (model->n_nodes - at) * sizeof(void *));
    model->nodes[at] = node;
    model->n_nodes++;
    return node;
}

static void node_free(struct model_node *node)
{
    for (size_t i = 0; i < node->n_entries; i++)
        free(node->entries[i].name);
    for (size_t i = 0; i < node->n_pages; i++)
        free(node->pages[i].bytes);
    for (size_t i = 0; i < node->n_xattrs; i++)
        free(node->xattrs[i].value);
    free(node->entries);
    free(node->pages);
    free(node->xattrs);
    free(node);
}

// --- entries of a node ---

static struct model_entry *entry_find(const struct model_node *node, struct fs_name name)
{
    for (size_t i = 0; i < node->n_entries; i++) {
        struct model_entry *entry = &node->entries[i];
        if (entry->name_length == name.length && memcmp(entry->name, name.bytes, name.length) == 0)
            return entry;
    }
    return NULL;
}

// Takes the name over. Needs room in the array.
static void entry_insert(struct model_node *node, char *name, size_t name_length,
                         const struct store_dentry *dentry)
{
    size_t at = node->n_entries;
    while (at > 0 && node->entries[at - 1].dentry.cookie > dentry->cookie)
        at--;
    memmove(node->entries + at + 1, node->entries + at, (node->n_entries - at) * sizeof(*node->entries));
    node->entries[at] = (struct model_entry){.name = name, .name_length = name_length, .dentry = *dentry};
    node->n_entries++;
}

static void entry_delete(struct model_node *node, struct model_entry *entry)
{
    free(entry->name);
    size_t at = (size_t)(entry - node->entries);
    node->n_entries--;
    memmove(entry, entry + 1, (node->n_entries - at) * sizeof(*entry));
}

// --- pages of a node ---

static size_t page_position(const struct model_node *node, uint64_t index)
{
    size_t low = 0, high = node->n_pages;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (node->pages[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct model_page *page_find(const struct model_node *node, uint64_t index)
{
    size_t at = page_position(node, index);
    return at < node->n_pages && node->pages[at].index == index ? &node->pages[at] : NULL;
}

// Takes the bytes over. Needs room in the array.
static void page_insert(struct model_node *node, struct model_page page)
{
    size_t at = page_position(node, page.index);
    memmove(node->pages + at + 1, node->pages + at, (node->n_pages - at) * sizeof(page));
    node->pages[at] = page;
    node->n_pages++;
}

static void page_delete(struct model_node *node, struct model_page *page)
{
    free(page->bytes);
    size_t at = (size_t)(page - node->pages);
    node->n_pages--;
    memmove(page, page + 1, (node->n_pages - at) * sizeof(*page));
}

// --- extended attributes of a node ---

static struct fs_name xattr_name(const struct model_xattr *xattr)
{
    return (struct fs_name){.bytes = xattr->name, .length = xattr->name_length};
}

static int name_compare(struct fs_name a, struct fs_name b)
{
    int order = memcmp(a.bytes, b.bytes, MIN(a.length, b.length));
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static size_t xattr_position(const struct model_node *node, struct fs_name name)
{
    size_t at = 0;
    while (at < node->n_xattrs && name_compare(xattr_name(&node->xattrs[at]), name) < 0)
        at++;
    return at;
}

static struct model_xattr *xattr_find(const struct model_node *node, struct fs_name name)
{
    size_t at = node ? xattr_position(node, name) : 0;
    bool there = node && at < node->n_xattrs && name_compare(xattr_name(&node->xattrs[at]), name) == 0;
    return there ? &node->xattrs[at] : NULL;
}

// Puts it where it belongs, or takes away what is there when it has no value; *ret_old is what was there.
// Needs room in the array.
static void xattr_swap(struct model_node *node, const struct model_xattr *fresh, struct model_xattr *ret_old)
{
    struct fs_name name = xattr_name(fresh);
    size_t at = xattr_position(node, name), after = node->n_xattrs - at;
    bool there = xattr_find(node, name) != NULL;
    *ret_old = there ? node->xattrs[at] : *fresh;
    if (!there)
        ret_old->value = NULL;
    if (there && !fresh->value)
        memmove(node->xattrs + at, node->xattrs + at + 1, (after - 1) * sizeof(*fresh));
    else if (!there && fresh->value)
        memmove(node->xattrs + at + 1, node->xattrs + at, after * sizeof(*fresh));
    node->n_xattrs += (size_t)(fresh->value != NULL) - (size_t)there;
    if (fresh->value)
        node->xattrs[at] = *fresh;
}

// --- parts of sessions ---

static size_t part_position(const struct model *model, uint64_t id, uint32_t part)
{
    size_t at = 0;
    while (at < model->n_parts &&
           (model->parts[at].id < id || (model->parts[at].id == id && model->parts[at].part < part)))
        at++;
    return at;
}

static bool part_is_at(const struct model *model, size_t at, uint64_t id, uint32_t part)
{
    return at < model->n_parts && model->parts[at].id == id && model->parts[at].part == part;
}

// Puts it where it belongs, or takes away what is there when it has no bytes; *ret_old is what was there.
// Needs room in the array.
static void part_swap(struct model *model, const struct model_part *fresh, struct model_part *ret_old)
{
    size_t at = part_position(model, fresh->id, fresh->part), after = model->n_parts - at;
    bool there = part_is_at(model, at, fresh->id, fresh->part);
    *ret_old = there ? model->parts[at] : (struct model_part){.id = fresh->id, .part = fresh->part};
    if (there && !fresh->bytes)
        memmove(model->parts + at, model->parts + at + 1, (after - 1) * sizeof(*fresh));
    else if (!there && fresh->bytes)
        memmove(model->parts + at + 1, model->parts + at, after * sizeof(*fresh));
    model->n_parts += (size_t)(fresh->bytes != NULL) - (size_t)there;
    if (fresh->bytes)
        model->parts[at] = *fresh;
}

// --- limits of quotas ---

static struct model_quota *quota_find(const struct model *model, fs_ino id)
{
    for (size_t i = 0; i < model->n_quotas; i++)
        if (model->quotas[i].id == id)
            return &model->quotas[i];
    return NULL;
}

// --- undo log ---

static void undo_free(struct undo *undo)
{
    free(undo->entry.name);
    free(undo->page.bytes);
    free(undo->xattr.value);
    free(undo->part.bytes);
}

static struct undo *undo_push(struct model *model, enum undo_kind kind, struct model_node *node)
{
    if (array_room(&model->undo, &model->undo_capacity, model->n_undo, sizeof(*model->undo)) < 0)
        return NULL;
    struct undo *undo = &model->undo[model->n_undo++];
    *undo = (struct undo){.kind = kind, .node = node};
    return undo;
}

static int undo_push_inode(struct model *model, struct model_node *node)
{
    struct undo *undo = undo_push(model, UNDO_INODE, node);
    if (!undo)
        return -ENOMEM;
    undo->was_there = node->has_inode;
    undo->inode = node->inode;
    return 0;
}

static int undo_push_entry(struct model *model, struct model_node *node, struct fs_name name)
{
    char *copy = malloc(name.length);
    struct undo *undo = copy ? undo_push(model, UNDO_ENTRY, node) : NULL;
    if (!undo) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, name.bytes, name.length);
    const struct model_entry *old = entry_find(node, name);
    undo->was_there = old != NULL;
    undo->entry = (struct model_entry){.name = copy, .name_length = name.length};
    if (old)
        undo->entry.dentry = old->dentry;
    return 0;
}

static int undo_push_page(struct model *model, struct model_node *node, uint64_t index)
{
    const struct model_page *old = page_find(node, index);
    uint8_t *copy = old ? malloc(PAGE_SIZE) : NULL;
    struct undo *undo = old && !copy ? NULL : undo_push(model, UNDO_PAGE, node);
    if (!undo) {
        free(copy);
        return -ENOMEM;
    }
    if (old)
        memcpy(copy, old->bytes, PAGE_SIZE);
    undo->was_there = old != NULL;
    undo->page = (struct model_page){.index = index, .bytes = copy};
    return 0;
}

// Arrays never shrink, so what is put back always has room.
static void undo_entry(struct undo *undo)
{
    struct model_entry *now =
        entry_find(undo->node, (struct fs_name){undo->entry.name, undo->entry.name_length});
    if (now)
        entry_delete(undo->node, now);
    if (undo->was_there) {
        entry_insert(undo->node, undo->entry.name, undo->entry.name_length, &undo->entry.dentry);
        undo->entry.name = NULL;
    }
}

static void undo_page(struct undo *undo)
{
    struct model_page *now = page_find(undo->node, undo->page.index);
    if (now)
        page_delete(undo->node, now);
    if (undo->was_there) {
        page_insert(undo->node, undo->page);
        undo->page.bytes = NULL;
    }
}

static void undo_xattr(struct undo *undo)
{
    struct model_xattr undone;
    xattr_swap(undo->node, &undo->xattr, &undone);
    undo->xattr = undone;
}

static void undo_part(struct model *model, struct undo *undo)
{
    struct model_part undone;
    part_swap(model, &undo->part, &undone);
    undo->part = undone;
}

static void undo_down_to(struct model *model, size_t length)
{
    while (model->n_undo > length) {
        struct undo *undo = &model->undo[--model->n_undo];
        switch (undo->kind) {
        case UNDO_INODE:
            undo->node->has_inode = undo->was_there;
            undo->node->inode = undo->inode;
            break;
        case UNDO_ENTRY:
            undo_entry(undo);
            break;
        case UNDO_PAGE:
            undo_page(undo);
            break;
        case UNDO_XATTR:
            undo_xattr(undo);
            break;
        case UNDO_PART:
            undo_part(model, undo);
            break;
        case UNDO_QUOTA:
            *quota_find(model, undo->quota.id) = undo->quota;
            break;
        }
        undo_free(undo);
    }
}

static void undo_forget(struct model *model)
{
    for (size_t i = 0; i < model->n_undo; i++)
        undo_free(&model->undo[i]);
    model->n_undo = 0;
}

// --- operations: life and transactions ---

static void model_close(struct store *store)
{
    struct model *model = model_of(store);
    undo_forget(model);
    free(model->undo);
    for (size_t i = 0; i < model->n_nodes; i++)
        node_free(model->nodes[i]);
    free(model->nodes);
    for (size_t i = 0; i < model->n_parts; i++)
        free(model->parts[i].bytes);
    free(model->parts);
    free(model->quotas);
    free(model);
}

static int model_begin(struct store *store)
{
    (void)store;
    return 0;
}

static int model_commit(struct store *store)
{
    undo_forget(model_of(store));
    return 0;
}

static void model_rollback(struct store *store)
{
    undo_down_to(model_of(store), 0);
}

static int model_savepoint(struct store *store)
{
    struct model *model = model_of(store);
    model->savepoint = model->n_undo;
    return 0;
}

static int model_savepoint_release(struct store *store)
{
    (void)store;
    return 0;
}

static void model_savepoint_rollback(struct store *store)
{
    struct model *model = model_of(store);
    undo_down_to(model, model->savepoint);
}

// --- operations: inodes ---

static int model_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode)
{
    const struct model_node *node = node_get(model_of(store), ino);
    if (!node || !node->has_inode)
        return -ENOENT;
    *ret_inode = node->inode;
    ret_inode->attr.blocks = node->n_pages * (PAGE_SIZE / 512);
    return 0;
}

static int model_inode_put(struct store *store, const struct store_inode *inode)
{
    struct model *model = model_of(store);
    struct model_node *node = node_make(model, inode->attr.ino);
    if (!node || undo_push_inode(model, node) < 0)
        return -ENOMEM;
    node->has_inode = true;
    node->inode = *inode;
    return 0;
}

static int drop_page(struct model *model, struct model_node *node, struct model_page *page)
{
    int result = undo_push_page(model, node, page->index);
    if (result == 0)
        page_delete(node, page);
    return result;
}

// Takes the value over. NULL: takes away what is there.
static int xattr_set(struct model *model, struct model_node *node, struct fs_name name, uint8_t *value,
                     size_t n)
{
    struct model_xattr fresh = {.name_length = name.length, .value = value, .n = n};
    memcpy(fresh.name, name.bytes, name.length);
    bool room = array_room(&node->xattrs, &node->xattrs_capacity, node->n_xattrs, sizeof(fresh)) == 0;
    struct undo *undo = room ? undo_push(model, UNDO_XATTR, node) : NULL;
    if (!undo) {
        free(value);
        return -ENOMEM;
    }
    xattr_swap(node, &fresh, &undo->xattr);
    return 0;
}

static int model_inode_remove(struct store *store, fs_ino ino)
{
    struct model *model = model_of(store);
    struct model_node *node = node_get(model, ino);
    if (!node || !node->has_inode)
        return -ENOENT;
    int result = undo_push_inode(model, node);
    while (result == 0 && node->n_pages > 0)
        result = drop_page(model, node, &node->pages[node->n_pages - 1]);
    // The last first: a swap takes the entry with its value away.
    while (result == 0 && (node->inode.flags & STORE_XATTRS) && node->n_xattrs > 0)
        result = xattr_set(model, node, xattr_name(&node->xattrs[node->n_xattrs - 1]), NULL, 0);
    if (result == 0)
        node->has_inode = false;
    return result;
}

static int model_reserve_inos(struct store *store, uint32_t n, fs_ino *ret_first)
{
    struct model *model = model_of(store);
    *ret_first = model->next_ino;
    model->next_ino += n;
    return 0;
}

static int model_reserve_cookies(struct store *store, uint32_t n, uint64_t *ret_first)
{
    struct model *model = model_of(store);
    *ret_first = model->next_cookie;
    model->next_cookie += n;
    return 0;
}

static int model_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max)
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

static int model_dentry_get(struct store *store, fs_ino parent, struct fs_name name,
                            struct store_dentry *ret_dentry)
{
    const struct model_node *node = node_get(model_of(store), parent);
    const struct model_entry *entry = node ? entry_find(node, name) : NULL;
    if (!entry)
        return -ENOENT;
    *ret_dentry = entry->dentry;
    return 0;
}

static int model_dentry_put(struct store *store, fs_ino parent, struct fs_name name,
                            const struct store_dentry *dentry)
{
    struct model *model = model_of(store);
    struct model_node *node = node_make(model, parent);
    if (!node)
        return -ENOMEM;
    if (entry_find(node, name))
        return -EEXIST;
    char *copy = malloc(name.length);
    if (!copy ||
        array_room(&node->entries, &node->entries_capacity, node->n_entries, sizeof(*node->entries)) < 0 ||
        undo_push_entry(model, node, name) < 0) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, name.bytes, name.length);
    entry_insert(node, copy, name.length, dentry);
    return 0;
}

static int model_dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino,
                                uint32_t type)
{
    struct model *model = model_of(store);
    struct model_node *node = node_get(model, parent);
    struct model_entry *entry = node ? entry_find(node, name) : NULL;
    if (!entry)
        return -ENOENT;
    if (undo_push_entry(model, node, name) < 0)
        return -ENOMEM;
    entry->dentry.ino = ino;
    entry->dentry.type = type;
    return 0;
}

static int model_dentry_remove(struct store *store, fs_ino parent, struct fs_name name)
{
    struct model *model = model_of(store);
    struct model_node *node = node_get(model, parent);
    struct model_entry *entry = node ? entry_find(node, name) : NULL;
    if (!entry)
        return -ENOENT;
    if (undo_push_entry(model, node, name) < 0)
        return -ENOMEM;
    entry_delete(node, entry);
    return 0;
}

static int model_dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes,
                             store_visit_dentry *visit, void *context)
{
    struct model *model = model_of(store);
    const struct model_node *node = node_get(model, parent);
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

static int model_dentry_any(struct store *store, fs_ino parent, bool *ret_any)
{
    const struct model_node *node = node_get(model_of(store), parent);
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

static int model_dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max)
{
    const struct model *model = model_of(store);
    size_t n = 0;
    for (size_t i = 0; i < model->n_nodes && n < max; i++)
        if (node_links(model->nodes[i], ino))
            ret_parents[n++] = model->nodes[i]->ino;
    return (int)n;
}

// --- operations: data ---

static int model_data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes,
                           size_t n, size_t *ret_n)
{
    (void)size;
    const struct model_node *node = node_get(model_of(store), ino);
    size_t done = 0;
    while (done < n) {
        size_t within = (size_t)((offset + done) % PAGE_SIZE);
        size_t step = MIN(n - done, PAGE_SIZE - within);
        const struct model_page *page = node ? page_find(node, (offset + done) / PAGE_SIZE) : NULL;
        if (page)
            memcpy((uint8_t *)bytes + done, page->bytes + within, step);
        else
            memset((uint8_t *)bytes + done, 0, step);
        done += step;
    }
    *ret_n = n;
    return 0;
}

// The page's bytes, undoable from here on, made of zeros when it was not there. NULL: no memory.
static uint8_t *page_for_write(struct model *model, struct model_node *node, uint64_t index)
{
    if (undo_push_page(model, node, index) < 0)
        return NULL;
    struct model_page *page = page_find(node, index);
    if (page)
        return page->bytes;
    uint8_t *bytes = calloc(1, PAGE_SIZE);
    if (!bytes || array_room(&node->pages, &node->pages_capacity, node->n_pages, sizeof(*node->pages)) < 0) {
        free(bytes);
        return NULL;
    }
    page_insert(node, (struct model_page){.index = index, .bytes = bytes});
    return bytes;
}

static int model_data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset,
                            const void *bytes, size_t n)
{
    (void)size;
    struct model *model = model_of(store);
    struct model_node *node = node_make(model, ino);
    if (!node)
        return -ENOMEM;
    size_t done = 0;
    while (done < n) {
        size_t within = (size_t)((offset + done) % PAGE_SIZE);
        size_t step = MIN(n - done, PAGE_SIZE - within);
        uint8_t *page = page_for_write(model, node, (offset + done) / PAGE_SIZE);
        if (!page)
            return -ENOMEM;
        memcpy(page + within, (const uint8_t *)bytes + done, step);
        done += step;
    }
    return 0;
}

static int model_data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to)
{
    struct model *model = model_of(store);
    struct model_node *node = node_get(model, ino);
    if (!node || to > from)
        return 0;
    uint64_t keep_pages = to / PAGE_SIZE + (to % PAGE_SIZE != 0);
    while (node->n_pages > 0 && node->pages[node->n_pages - 1].index >= keep_pages)
        if (drop_page(model, node, &node->pages[node->n_pages - 1]) < 0)
            return -ENOMEM;
    if (to % PAGE_SIZE == 0 || !page_find(node, to / PAGE_SIZE))
        return 0;
    uint8_t *last = page_for_write(model, node, to / PAGE_SIZE);
    if (!last)
        return -ENOMEM;
    memset(last + to % PAGE_SIZE, 0, PAGE_SIZE - to % PAGE_SIZE);
    return 0;
}

// --- operations: extended attributes ---

static int model_xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                           size_t *ret_n)
{
    const struct model_xattr *xattr = xattr_find(node_get(model_of(store), ino), name);
    if (!xattr)
        return -ENODATA;
    if (MIN(size, xattr->n) > 0)
        memcpy(value, xattr->value, MIN(size, xattr->n));
    *ret_n = xattr->n;
    return 0;
}

static int model_xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n)
{
    struct model *model = model_of(store);
    struct model_node *node = node_make(model, ino);
    uint8_t *copy = node ? malloc(n + 1) : NULL; // an empty value is there, too
    if (!copy)
        return -ENOMEM;
    if (n > 0)
        memcpy(copy, value, n);
    return xattr_set(model, node, name, copy, n);
}

static int model_xattr_remove(struct store *store, fs_ino ino, struct fs_name name)
{
    struct model *model = model_of(store);
    struct model_node *node = node_get(model, ino);
    return xattr_find(node, name) ? xattr_set(model, node, name, NULL, 0) : -ENODATA;
}

static int model_xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context)
{
    const struct model_node *node = node_get(model_of(store), ino);
    for (size_t i = 0; node && i < node->n_xattrs; i++)
        if (!visit(context, xattr_name(&node->xattrs[i]), node->xattrs[i].n))
            break;
    return 0;
}

// --- operations: sessions ---

// Takes the bytes over.
static int part_set(struct model *model, uint64_t id, uint32_t part, uint8_t *bytes, size_t n)
{
    bool room = array_room(&model->parts, &model->parts_capacity, model->n_parts, sizeof(*model->parts)) == 0;
    struct undo *undo = room ? undo_push(model, UNDO_PART, NULL) : NULL;
    if (!undo) {
        free(bytes);
        return -ENOMEM;
    }
    part_swap(model, &(struct model_part){.id = id, .part = part, .bytes = bytes, .n = n}, &undo->part);
    return 0;
}

static int model_session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    uint8_t *copy = malloc(n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, bytes, n);
    return part_set(model_of(store), id, part, copy, n);
}

static int model_session_remove(struct store *store, uint64_t id)
{
    struct model *model = model_of(store);
    size_t at = part_position(model, id, 0);
    int result = -ENOENT;
    while (at < model->n_parts && model->parts[at].id == id) {
        result = part_set(model, id, model->parts[at].part, NULL, 0);
        if (result < 0)
            break;
    }
    return result;
}

static int model_session_list(struct store *store, store_visit_session *visit, void *context)
{
    const struct model *model = model_of(store);
    for (size_t i = 0; i < model->n_parts; i++) {
        const struct model_part *part = &model->parts[i];
        if (!visit(context, part->id, part->part, part->bytes, part->n))
            break;
    }
    return 0;
}

// Room is nothing that a model runs out of.
static int model_data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                               uint64_t n)
{
    (void)store, (void)ino, (void)from, (void)to, (void)offset, (void)n;
    return 0;
}

static int model_data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                           bool keep_room)
{
    (void)keep_room;
    struct model *model = model_of(store);
    struct model_node *node = node_get(model, ino);
    uint64_t end = offset + n;
    if (end == size)
        end += -end % PAGE_SIZE;
    size_t at = node ? page_position(node, offset / PAGE_SIZE) : 0;
    while (node && at < node->n_pages && node->pages[at].index * PAGE_SIZE < end) {
        uint64_t first = node->pages[at].index * PAGE_SIZE;
        uint64_t low = MAX(offset, first), high = MIN(end, first + PAGE_SIZE);
        if (high - low == PAGE_SIZE) {
            if (drop_page(model, node, &node->pages[at]) < 0)
                return -ENOMEM;
            continue;
        }
        uint8_t *page = page_for_write(model, node, node->pages[at].index);
        if (!page)
            return -ENOMEM;
        memset(page + (low - first), 0, (size_t)(high - low));
        at++;
    }
    return 0;
}

static int model_data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                           uint64_t *ret_offset)
{
    const struct model_node *node = node_get(model_of(store), ino);
    uint64_t index = offset / PAGE_SIZE;
    size_t at = node ? page_position(node, index) : 0;
    if (hole) {
        for (; node && at < node->n_pages && node->pages[at].index == index; at++)
            index++;
    } else {
        if (!node || at == node->n_pages)
            return -ENXIO;
        index = node->pages[at].index;
    }
    *ret_offset = MIN(MAX(index * PAGE_SIZE, offset), size);
    return 0;
}

// Page by page: the source's array may move, since it may be the same file's.
static int model_data_copy(struct store *store, const struct store_copy *copy)
{
    const struct model_node *from = node_get(model_of(store), copy->from_ino);
    uint64_t at = copy->from_offset, end = copy->from_offset + copy->n;
    int result = model_data_zero(store, copy->ino, copy->size, copy->offset, copy->n, false);
    while (result == 0 && from && at < end) {
        size_t position = page_position(from, at / PAGE_SIZE);
        if (position == from->n_pages || from->pages[position].index * PAGE_SIZE >= end)
            break;
        const struct model_page page = from->pages[position];
        at = MAX(at, page.index * PAGE_SIZE);
        size_t step = (size_t)MIN(end - at, PAGE_SIZE - at % PAGE_SIZE);
        result = model_data_write(store, copy->ino, copy->size, copy->offset + (at - copy->from_offset),
                                  page.bytes + at % PAGE_SIZE, step);
        at += step;
    }
    return result;
}

// --- operations: durability, space, upkeep ---

static void model_sync_run(struct store_sync *sync)
{
    sync->result = 0;
}

static int model_sync_prepare(struct store *store, fs_ino ino, struct store_sync **ret_sync)
{
    (void)store;
    (void)ino;
    struct store_sync *sync = calloc(1, sizeof(*sync));
    if (!sync)
        return -ENOMEM;
    sync->run = model_sync_run;
    *ret_sync = sync;
    return 0;
}

static int model_sync_finish(struct store *store, struct store_sync *sync)
{
    (void)store;
    int result = sync->result;
    free(sync);
    return result;
}

static int model_usage(struct store *store, struct store_usage *ret_usage)
{
    const struct model *model = model_of(store);
    struct store_usage usage = {.total_bytes = MODEL_SPACE_SIZE, .free_bytes = MODEL_SPACE_SIZE};
    for (size_t i = 0; i < model->n_nodes; i++) {
        const struct model_node *node = model->nodes[i];
        usage.inodes += node->has_inode;
        if (node->has_inode && S_ISREG(node->inode.attr.mode))
            usage.bytes += node->inode.attr.size;
    }
    *ret_usage = usage;
    return 0;
}

static int model_quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota)
{
    const struct model *model = model_of(store);
    const struct model_quota *limits = quota_find(model, id);
    struct store_quota quota = {0};
    if (limits) {
        quota.max_bytes = limits->max_bytes;
        quota.max_inodes = limits->max_inodes;
    }
    for (size_t i = 0; i < model->n_nodes && id != 0; i++) {
        const struct model_node *node = model->nodes[i];
        if (!node->has_inode || node->inode.quota != id)
            continue;
        quota.inodes++;
        if (S_ISREG(node->inode.attr.mode))
            quota.bytes += node->inode.attr.size;
    }
    *ret_quota = quota;
    return 0;
}

static int model_quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes)
{
    struct model *model = model_of(store);
    struct model_quota *quota = quota_find(model, id);
    if (!quota) {
        if (array_room(&model->quotas, &model->quotas_capacity, model->n_quotas, sizeof(*quota)) < 0)
            return -ENOMEM;
        quota = &model->quotas[model->n_quotas++];
        *quota = (struct model_quota){.id = id};
    }
    struct undo *undo = undo_push(model, UNDO_QUOTA, NULL);
    if (!undo)
        return -ENOMEM;
    undo->quota = *quota;
    *quota = (struct model_quota){.id = id, .max_bytes = max_bytes, .max_inodes = max_inodes};
    return 0;
}

static int model_upkeep(struct store *store, bool *ret_more)
{
    (void)store;
    *ret_more = false;
    return 0;
}

static const struct store_ops model_ops = {
    .name = "model",
    .close = model_close,
    .begin = model_begin,
    .commit = model_commit,
    .rollback = model_rollback,
    .savepoint = model_savepoint,
    .savepoint_release = model_savepoint_release,
    .savepoint_rollback = model_savepoint_rollback,
    .inode_get = model_inode_get,
    .inode_put = model_inode_put,
    .inode_remove = model_inode_remove,
    .reserve_inos = model_reserve_inos,
    .reserve_cookies = model_reserve_cookies,
    .orphans = model_orphans,
    .dentry_get = model_dentry_get,
    .dentry_put = model_dentry_put,
    .dentry_replace = model_dentry_replace,
    .dentry_remove = model_dentry_remove,
    .dentry_list = model_dentry_list,
    .dentry_any = model_dentry_any,
    .dentry_parents = model_dentry_parents,
    .data_read = model_data_read,
    .data_write = model_data_write,
    .data_resize = model_data_resize,
    .data_allocate = model_data_allocate,
    .data_zero = model_data_zero,
    .data_seek = model_data_seek,
    .data_copy = model_data_copy,
    .xattr_get = model_xattr_get,
    .xattr_put = model_xattr_put,
    .xattr_remove = model_xattr_remove,
    .xattr_list = model_xattr_list,
    .session_put = model_session_put,
    .session_remove = model_session_remove,
    .session_list = model_session_list,
    .sync_prepare = model_sync_prepare,
    .sync_finish = model_sync_finish,
    .usage = model_usage,
    .quota_get = model_quota_get,
    .quota_put = model_quota_put,
    .upkeep = model_upkeep,
};

int store_model_open(struct store **ret_store)
{
    struct model *model = calloc(1, sizeof(*model));
    if (!model)
        return -ENOMEM;
    model->store.ops = &model_ops;
    model->next_ino = FIRST_INO;
    model->next_cookie = FIRST_COOKIE;
    *ret_store = &model->store;
    return 0;
}
