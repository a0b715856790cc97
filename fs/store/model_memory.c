// SPDX-License-Identifier: Apache-2.0
// What the model holds in memory, and the log that undoes changes to it. See model_impl.h.
#include "fs/base/check.h"
#include "fs/store/model_impl.h"
#include <errno.h>
#include <string.h>

struct model *model_of(struct store *store)
{
    return (struct model *)store;
}

// Makes room for one more element than count. Capacity never shrinks.
int model_array_room(void *pointer_to_array, size_t *capacity, size_t count, size_t element_size)
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

struct model_node *model_node_get(const struct model *model, fs_ino ino)
{
    size_t at = node_position(model, ino);
    return at < model->n_nodes && model->nodes[at]->ino == ino ? model->nodes[at] : NULL;
}

struct model_node *model_node_make(struct model *model, fs_ino ino)
{
    size_t at = node_position(model, ino);
    if (at < model->n_nodes && model->nodes[at]->ino == ino)
        return model->nodes[at];
    if (model_array_room(&model->nodes, &model->nodes_capacity, model->n_nodes, sizeof(void *)) < 0)
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

void model_node_free(struct model_node *node)
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

struct model_entry *model_entry_find(const struct model_node *node, struct fs_name name)
{
    for (size_t i = 0; i < node->n_entries; i++) {
        struct model_entry *entry = &node->entries[i];
        if (entry->name_length == name.length && memcmp(entry->name, name.bytes, name.length) == 0)
            return entry;
    }
    return NULL;
}

// Takes the name over. Needs room in the array.
void model_entry_insert(struct model_node *node, char *name, size_t name_length,
                        const struct store_dentry *dentry)
{
    size_t at = node->n_entries;
    while (at > 0 && node->entries[at - 1].dentry.cookie > dentry->cookie)
        at--;
    memmove(node->entries + at + 1, node->entries + at, (node->n_entries - at) * sizeof(*node->entries));
    node->entries[at] = (struct model_entry){.name = name, .name_length = name_length, .dentry = *dentry};
    node->n_entries++;
}

void model_entry_delete(struct model_node *node, struct model_entry *entry)
{
    free(entry->name);
    size_t at = (size_t)(entry - node->entries);
    node->n_entries--;
    memmove(entry, entry + 1, (node->n_entries - at) * sizeof(*entry));
}

// --- pages of a node ---

size_t model_page_position(const struct model_node *node, uint64_t index)
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

struct model_page *model_page_find(const struct model_node *node, uint64_t index)
{
    size_t at = model_page_position(node, index);
    return at < node->n_pages && node->pages[at].index == index ? &node->pages[at] : NULL;
}

// Takes the bytes over. Needs room in the array.
void model_page_insert(struct model_node *node, struct model_page page)
{
    size_t at = model_page_position(node, page.index);
    memmove(node->pages + at + 1, node->pages + at, (node->n_pages - at) * sizeof(page));
    node->pages[at] = page;
    node->n_pages++;
}

void model_page_delete(struct model_node *node, struct model_page *page)
{
    free(page->bytes);
    size_t at = (size_t)(page - node->pages);
    node->n_pages--;
    memmove(page, page + 1, (node->n_pages - at) * sizeof(*page));
}

// --- extended attributes of a node ---

struct fs_name model_xattr_name(const struct model_xattr *xattr)
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
    while (at < node->n_xattrs && name_compare(model_xattr_name(&node->xattrs[at]), name) < 0)
        at++;
    return at;
}

struct model_xattr *model_xattr_find(const struct model_node *node, struct fs_name name)
{
    size_t at = node ? xattr_position(node, name) : 0;
    bool there = node && at < node->n_xattrs && name_compare(model_xattr_name(&node->xattrs[at]), name) == 0;
    return there ? &node->xattrs[at] : NULL;
}

// Puts it where it belongs, or takes away what is there when it has no value; *ret_old is what was there.
// Needs room in the array.
void model_xattr_swap(struct model_node *node, const struct model_xattr *fresh, struct model_xattr *ret_old)
{
    struct fs_name name = model_xattr_name(fresh);
    size_t at = xattr_position(node, name), after = node->n_xattrs - at;
    bool there = model_xattr_find(node, name) != NULL;
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

size_t model_part_position(const struct model *model, uint64_t id, uint32_t part)
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
void model_part_swap(struct model *model, const struct model_part *fresh, struct model_part *ret_old)
{
    size_t at = model_part_position(model, fresh->id, fresh->part), after = model->n_parts - at;
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

struct model_quota *model_quota_find(const struct model *model, fs_ino id)
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

struct undo *model_undo_push(struct model *model, enum undo_kind kind, struct model_node *node)
{
    if (model_array_room(&model->undo, &model->undo_capacity, model->n_undo, sizeof(*model->undo)) < 0)
        return NULL;
    struct undo *undo = &model->undo[model->n_undo++];
    *undo = (struct undo){.kind = kind, .node = node};
    return undo;
}

int model_undo_push_inode(struct model *model, struct model_node *node)
{
    struct undo *undo = model_undo_push(model, UNDO_INODE, node);
    if (!undo)
        return -ENOMEM;
    undo->was_there = node->has_inode;
    undo->inode = node->inode;
    return 0;
}

int model_undo_push_entry(struct model *model, struct model_node *node, struct fs_name name)
{
    char *copy = malloc(name.length);
    struct undo *undo = copy ? model_undo_push(model, UNDO_ENTRY, node) : NULL;
    if (!undo) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, name.bytes, name.length);
    const struct model_entry *old = model_entry_find(node, name);
    undo->was_there = old != NULL;
    undo->entry = (struct model_entry){.name = copy, .name_length = name.length};
    if (old)
        undo->entry.dentry = old->dentry;
    return 0;
}

int model_undo_push_page(struct model *model, struct model_node *node, uint64_t index)
{
    const struct model_page *old = model_page_find(node, index);
    uint8_t *copy = old ? malloc(PAGE_SIZE) : NULL;
    struct undo *undo = old && !copy ? NULL : model_undo_push(model, UNDO_PAGE, node);
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
        model_entry_find(undo->node, (struct fs_name){undo->entry.name, undo->entry.name_length});
    if (now)
        model_entry_delete(undo->node, now);
    if (undo->was_there) {
        model_entry_insert(undo->node, undo->entry.name, undo->entry.name_length, &undo->entry.dentry);
        undo->entry.name = NULL;
    }
}

static void undo_page(struct undo *undo)
{
    struct model_page *now = model_page_find(undo->node, undo->page.index);
    if (now)
        model_page_delete(undo->node, now);
    if (undo->was_there) {
        model_page_insert(undo->node, undo->page);
        undo->page.bytes = NULL;
    }
}

static void undo_xattr(struct undo *undo)
{
    struct model_xattr undone;
    model_xattr_swap(undo->node, &undo->xattr, &undone);
    undo->xattr = undone;
}

static void undo_part(struct model *model, struct undo *undo)
{
    struct model_part undone;
    model_part_swap(model, &undo->part, &undone);
    undo->part = undone;
}

void model_undo_down_to(struct model *model, size_t length)
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
            *model_quota_find(model, undo->quota.id) = undo->quota;
            break;
        }
        undo_free(undo);
    }
}

void model_undo_forget(struct model *model)
{
    for (size_t i = 0; i < model->n_undo; i++)
        undo_free(&model->undo[i]);
    model->n_undo = 0;
}
