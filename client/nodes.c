// SPDX-License-Identifier: Apache-2.0
// See nodes.h. Pure; owner thread. Invariant: a node other than the root is in the table as long as it has
// lookups, open files or holds, and goes with the last; the ranges that one owner holds do not overlap.
#include "client/nodes.h"
#include "fs/base/check.h"
#include <errno.h>
#include <stdlib.h>

void nodes_init(struct nodes *nodes)
{
    *nodes = (struct nodes){.last_open_id = 0};
    list_init(&nodes->root.holds);
    nodes->root.id.key = NODE_ROOT;
}

static void drop_holds(struct nodes *nodes, struct node *node)
{
    struct list *entry;
    while ((entry = list_pop(&node->holds))) {
        free(LIST_ENTRY(entry, struct hold, node));
        nodes->n_holds--;
    }
}

static void node_free(struct node *node)
{
    free(node->removed);
    free(node);
}

static void file_free(struct file *file)
{
    free((void *)file->opener.groups);
    free(file);
}

void nodes_free(struct nodes *nodes)
{
    struct table_node *entry;
    while ((entry = table_first(&nodes->files))) {
        table_remove(&nodes->files, entry);
        file_free(CONTAINER_OF(entry, struct file, id));
    }
    while ((entry = table_first(&nodes->by_id))) {
        struct node *node = CONTAINER_OF(entry, struct node, id);
        drop_holds(nodes, node);
        table_remove(&nodes->by_id, entry);
        node_free(node);
    }
    drop_holds(nodes, &nodes->root);
    table_free(&nodes->files);
    table_free(&nodes->by_id);
}

// --- inodes ---

void nodes_set_root(struct nodes *nodes, wire_handle handle)
{
    nodes->root.handle = handle;
}

uint64_t nodes_id_of(const struct nodes *nodes, fs_ino ino)
{
    return ino == nodes->root.handle.ino ? NODE_ROOT : ino;
}

struct node *nodes_get(const struct nodes *nodes, uint64_t id)
{
    if (id == NODE_ROOT)
        return (struct node *)&nodes->root;
    struct table_node *entry = table_get(&nodes->by_id, id);
    return entry ? CONTAINER_OF(entry, struct node, id) : NULL;
}

static struct node *node_new(struct nodes *nodes, wire_handle handle)
{
    struct node *node = calloc(1, sizeof(*node));
    if (!node || table_put(&nodes->by_id, &node->id, handle.ino) < 0) {
        free(node);
        return NULL;
    }
    list_init(&node->holds);
    return node;
}

struct node *nodes_lookup(struct nodes *nodes, wire_handle handle)
{
    struct node *node = nodes_get(nodes, nodes_id_of(nodes, handle.ino));
    if (!node)
        node = node_new(nodes, handle);
    if (!node)
        return NULL;
    node->handle = handle;
    node->n_lookups++;
    return node;
}

static void let_go(struct nodes *nodes, struct node *node)
{
    if (node == &nodes->root || node->n_lookups > 0 || node->n_files > 0 || !list_empty(&node->holds))
        return;
    table_remove(&nodes->by_id, &node->id);
    node_free(node);
}

void nodes_removed(struct node *node, const struct fs_attr *attr)
{
    if (!node->removed)
        node->removed = malloc(sizeof(*node->removed));
    if (node->removed) // without memory it is ESTALE
        *node->removed = *attr;
}

void nodes_forget(struct nodes *nodes, struct node *node, uint64_t n_lookups)
{
    node->n_lookups -= MIN(n_lookups, node->n_lookups);
    let_go(nodes, node);
}

// --- open files ---

uint64_t nodes_new_open_id(struct nodes *nodes)
{
    return ++nodes->last_open_id;
}

struct file *nodes_file(const struct nodes *nodes, uint64_t open_id)
{
    struct table_node *entry = table_get(&nodes->files, open_id);
    return entry ? CONTAINER_OF(entry, struct file, id) : NULL;
}

int nodes_open(struct nodes *nodes, struct node *node, const struct file *like)
{
    struct file *file = calloc(1, sizeof(*file));
    if (!file || table_put(&nodes->files, &file->id, like->id.key) < 0) {
        free(file);
        return -ENOMEM;
    }
    file->node = node;
    file->flags = like->flags & ~(FS_OPEN_TRUNC | FS_OPEN_CREATE | FS_OPEN_EXCL);
    file->opener = like->opener;
    node->n_files++;
    return 0;
}

void nodes_drop_hold(struct nodes *nodes, struct hold *hold)
{
    list_remove(&hold->node);
    free(hold);
    nodes->n_holds--;
}

void nodes_release(struct nodes *nodes, struct file *file)
{
    struct node *node = file->node;
    list_for_each_safe (entry, next, &node->holds) {
        struct hold *hold = LIST_ENTRY(entry, struct hold, node);
        if (hold->open_id == file->id.key)
            nodes_drop_hold(nodes, hold);
    }
    node->n_files--;
    table_remove(&nodes->files, &file->id);
    file_free(file);
    let_go(nodes, node);
}

// --- locks ---

static bool same_owner(const struct hold *hold, const struct fs_lock *lock)
{
    return hold->lock.kind == lock->kind && hold->lock.owner == lock->owner;
}

static void add_hold(struct nodes *nodes, struct node *node, struct hold *hold)
{
    list_push(&node->holds, &hold->node);
    nodes->n_holds++;
}

// Takes the range of `lock` out of `hold`; what is left behind it goes to *spare (then NULL).
static void cut(struct nodes *nodes, struct node *node, struct hold *hold, const struct fs_lock *lock,
                struct hold **spare)
{
    uint64_t start = hold->lock.start, end = hold->lock.end;
    if (start > lock->end || end < lock->start)
        return;
    if (start < lock->start && end > lock->end) {
        **spare = *hold;
        (*spare)->lock.start = lock->end + 1;
        add_hold(nodes, node, *spare);
        *spare = NULL;
    }
    if (start < lock->start) {
        hold->lock.end = lock->start - 1;
    } else if (end > lock->end) {
        hold->lock.start = lock->end + 1;
    } else {
        nodes_drop_hold(nodes, hold);
    }
}

// Takes the same owner's neighbouring ranges of the same type into `held`.
static void merge(struct nodes *nodes, struct node *node, struct hold *held)
{
    list_for_each_safe (entry, next, &node->holds) {
        struct hold *hold = LIST_ENTRY(entry, struct hold, node);
        bool before = hold->lock.end + 1 == held->lock.start, after = held->lock.end + 1 == hold->lock.start;
        if (!same_owner(hold, &held->lock) || hold->lock.type != held->lock.type ||
            hold->open_id != held->open_id || (!before && !after))
            continue;
        held->lock.start = MIN(held->lock.start, hold->lock.start);
        held->lock.end = MAX(held->lock.end, hold->lock.end);
        nodes_drop_hold(nodes, hold);
    }
}

int nodes_hold(struct nodes *nodes, struct node *node, uint64_t open_id, const struct fs_lock *lock)
{
    struct hold *spare = malloc(sizeof(*spare)), *held = malloc(sizeof(*held));
    if (!spare || !held) {
        free(spare);
        free(held);
        return -ENOMEM;
    }
    list_for_each_safe (entry, next, &node->holds) {
        struct hold *hold = LIST_ENTRY(entry, struct hold, node);
        if (same_owner(hold, lock))
            cut(nodes, node, hold, lock, &spare);
    }
    free(spare);
    if (lock->type == FS_LOCK_UNLOCK) {
        free(held);
        let_go(nodes, node);
        return 0;
    }
    *held = (struct hold){.open_id = open_id, .lock = *lock};
    merge(nodes, node, held);
    add_hold(nodes, node, held);
    return 0;
}

bool nodes_holds_any(const struct node *node, enum fs_lock_kind kind, uint64_t owner)
{
    list_for_each (entry, &node->holds) {
        const struct hold *hold = LIST_ENTRY(entry, struct hold, node);
        if (hold->lock.kind == kind && hold->lock.owner == owner)
            return true;
    }
    return false;
}
