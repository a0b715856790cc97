// SPDX-License-Identifier: Apache-2.0
// See nodes.h. Pure; owner thread. Invariant: a node other than the root is in the table as long as it has
// lookups, open files or holds, and goes with the last; the ranges that one owner holds do not overlap.
#include "client/nodes.h"
#include "fs/base/check.h"
#include "fs/base/siphash.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void nodes_init(struct nodes *nodes)
{
    *nodes = (struct nodes){.last_open_id = 0};
    nodes->root.id.key = NODE_ROOT;
    nodes->root.known = true;
}

// --- the order of holds ---

static struct hold *hold_of(const struct tree_node *at)
{
    return at ? CONTAINER_OF(at, struct hold, at) : NULL;
}

static int compare_holds(const struct tree_node *left, const struct tree_node *right)
{
    const struct fs_lock *a = &hold_of(left)->lock, *b = &hold_of(right)->lock;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->owner != b->owner)
        return a->owner < b->owner ? -1 : 1;
    return (a->start > b->start) - (a->start < b->start);
}

static const struct tree_order hold_order = {compare_holds, NULL};

struct hold *nodes_first_hold(const struct node *node)
{
    return hold_of(tree_first(&node->holds));
}

struct hold *nodes_next_hold(const struct hold *hold)
{
    return hold_of(tree_next(&hold->at));
}

// --- life ---

static void drop_holds(struct nodes *nodes, struct node *node)
{
    struct hold *hold;
    while ((hold = nodes_first_hold(node)))
        nodes_drop_hold(nodes, hold);
}

static void file_free(struct file *file)
{
    free((void *)file->opener.groups);
    free(file);
}

void nodes_free(struct nodes *nodes)
{
    struct table_node *entry;
    while ((entry = table_first(&nodes->by_id))) {
        struct node *node = CONTAINER_OF(entry, struct node, id);
        drop_holds(nodes, node);
        table_remove(&nodes->by_id, entry);
        free(node);
    }
    drop_holds(nodes, &nodes->root);
    while ((entry = table_first(&nodes->files))) {
        table_remove(&nodes->files, entry);
        file_free(CONTAINER_OF(entry, struct file, id));
    }
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

// Two that are the same cost an open that could have been kept.
uint64_t nodes_name(uint64_t directory_id, struct fs_name name)
{
    uint8_t key[SIPHASH_KEY_SIZE] = {0};
    memcpy(key, &directory_id, sizeof(directory_id));
    uint64_t hash = siphash24(key, name.bytes, name.length);
    return hash ? hash : 1;
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
    return node;
}

struct node *nodes_lookup(struct nodes *nodes, wire_handle handle, uint64_t shown_in)
{
    struct node *node = nodes_get(nodes, nodes_id_of(nodes, handle.ino));
    if (!node)
        node = node_new(nodes, handle);
    if (!node)
        return NULL;
    node->handle = handle;
    if (node->n_lookups++ == 0 && node != &nodes->root)
        node->known = false;
    if (node->n_lookups == 1 || node->known)
        node->shown_in = shown_in;
    return node;
}

static void let_go(struct nodes *nodes, struct node *node)
{
    if (node == &nodes->root || node->n_lookups > 0 || node->n_files > 0 || node->holds.root)
        return;
    table_remove(&nodes->by_id, &node->id);
    if (node->lease && nodes->forgotten)
        nodes->forgotten(nodes->context, node->handle.ino);
    free(node);
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

static void count_hold(const struct nodes *nodes, const struct hold *hold, bool more)
{
    struct file *file = nodes_file(nodes, hold->open_id);
    if (file && more)
        file->n_holds++;
    else if (file)
        file->n_holds--;
}

void nodes_drop_hold(struct nodes *nodes, struct hold *hold)
{
    count_hold(nodes, hold, false);
    tree_remove(&hold_order, &hold->at);
    free(hold);
    nodes->n_holds--;
}

void nodes_release(struct nodes *nodes, struct file *file)
{
    struct node *node = file->node;
    for (struct hold *hold = nodes_first_hold(node), *next; hold && file->n_holds > 0; hold = next) {
        next = nodes_next_hold(hold);
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
    tree_insert(&node->holds, &hold_order, &hold->at);
    count_hold(nodes, hold, true);
    nodes->n_holds++;
}

// The owner's first range that ends at `lock`'s start or behind it; NULL when it starts behind lock's end.
static struct hold *first_overlapping(const struct node *node, const struct fs_lock *lock)
{
    struct hold key = {.lock = *lock};
    const struct tree_node *at = tree_seek(&node->holds, &hold_order, &key.at);
    struct hold *before = hold_of(at ? tree_previous(at) : tree_last(&node->holds)), *hold = hold_of(at);
    if (before && same_owner(before, lock) && before->lock.end >= lock->start)
        return before;
    return hold && same_owner(hold, lock) && hold->lock.start <= lock->end ? hold : NULL;
}

// Takes the range of `lock` out of `hold`; what is left behind it goes to *spare (then NULL).
static void cut(struct nodes *nodes, struct node *node, struct hold *hold, const struct fs_lock *lock,
                struct hold **spare)
{
    uint64_t start = hold->lock.start, end = hold->lock.end;
    if (start < lock->start && end > lock->end) {
        **spare = *hold;
        (*spare)->lock.start = lock->end + 1;
        hold->lock.end = lock->start - 1;
        add_hold(nodes, node, *spare);
        *spare = NULL;
    } else if (start < lock->start) {
        hold->lock.end = lock->start - 1;
    } else if (end > lock->end) {
        hold->lock.start = lock->end + 1; // and so stays where it is in the tree
    } else {
        nodes_drop_hold(nodes, hold);
    }
}

static bool continues(const struct hold *hold, const struct hold *next)
{
    return hold && next && same_owner(hold, &next->lock) && hold->lock.type == next->lock.type &&
           hold->open_id == next->open_id && hold->lock.end + 1 == next->lock.start;
}

// Takes the same owner's neighbouring ranges of the same type into `held`.
static void merge(struct nodes *nodes, struct hold *held)
{
    struct hold *before = hold_of(tree_previous(&held->at)), *after = nodes_next_hold(held);
    if (continues(held, after)) {
        held->lock.end = after->lock.end;
        nodes_drop_hold(nodes, after);
    }
    if (continues(before, held)) {
        uint64_t start = before->lock.start;
        nodes_drop_hold(nodes, before);
        held->lock.start = start;
    }
}

int nodes_hold(struct nodes *nodes, struct node *node, uint64_t open_id, const struct fs_lock *lock)
{
    struct hold *spare = malloc(sizeof(*spare)), *held = malloc(sizeof(*held)), *hold;
    if (!spare || !held) {
        free(spare);
        free(held);
        return -ENOMEM;
    }
    while ((hold = first_overlapping(node, lock)))
        cut(nodes, node, hold, lock, &spare);
    free(spare);
    if (lock->type == FS_LOCK_UNLOCK) {
        free(held);
        let_go(nodes, node);
        return 0;
    }
    *held = (struct hold){.open_id = open_id, .lock = *lock};
    add_hold(nodes, node, held);
    merge(nodes, held);
    return 0;
}

bool nodes_holds_any(const struct node *node, enum fs_lock_kind kind, uint64_t owner)
{
    struct hold key = {.lock = {.kind = kind, .owner = owner}};
    const struct hold *hold = hold_of(tree_seek(&node->holds, &hold_order, &key.at));
    return hold && same_owner(hold, &key.lock);
}
