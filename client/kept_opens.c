// SPDX-License-Identifier: Apache-2.0
// See kept_opens.h. Owner thread.
#include "client/kept_opens.h"
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ull
#define KEPT_NS  (WIRE_KEPT_OPEN_S * NS_PER_S)
#define LOOK_NS  (5 * NS_PER_S) // between looks for those that are too old

struct kept_open {
    struct list at; // in one of the lists
    struct table_node by_name;
    struct file *file; // NULL: let go
    uint64_t open_id;
};

static struct kept_open *kept_of(struct list *at)
{
    return LIST_ENTRY(at, struct kept_open, at);
}

// --- life ---

void kept_opens_init(struct kept_opens *kept, struct nodes *nodes, kept_opens_teller *tell, void *context)
{
    *kept = (struct kept_opens){.nodes = nodes, .tell = tell, .context = context, .look_ns = UINT64_MAX};
    list_init(&kept->order);
    list_init(&kept->untold);
    list_init(&kept->told[0]);
    list_init(&kept->told[1]);
}

static void free_each(struct list *list)
{
    struct list *at;
    while ((at = list_pop(list)))
        free(kept_of(at));
}

static void forget_told(struct kept_opens *kept)
{
    free_each(&kept->untold);
    free_each(&kept->told[0]);
    free_each(&kept->told[1]);
}

void kept_opens_free(struct kept_opens *kept)
{
    kept_opens_drop_all(kept);
    forget_told(kept);
    table_free(&kept->by_name);
}

// --- keeping ---

void kept_opens_granted(struct file *file, uint64_t asked_ns)
{
    file->may_keep = true;
    file->asked_ns = asked_ns;
    file->n_changes = file->node->n_changes;
}

static bool is_young(const struct file *file, uint64_t now_ns)
{
    return now_ns < file->asked_ns + KEPT_NS;
}

// Not in use any more. The record stays with the caller.
static void take_out(struct kept_opens *kept, struct kept_open *open)
{
    list_remove(&open->at);
    table_remove(&kept->by_name, &open->by_name);
    open->file->node->kept = NULL;
    kept->n--;
}

static void let_go(struct kept_opens *kept, struct kept_open *open)
{
    take_out(kept, open);
    nodes_release(kept->nodes, open->file);
    open->file = NULL;
    list_push(&kept->untold, &open->at);
}

static struct kept_open *named(const struct kept_opens *kept, uint64_t name)
{
    struct table_node *node = table_get(&kept->by_name, name);
    return node ? CONTAINER_OF(node, struct kept_open, by_name) : NULL;
}

static bool may_keep(const struct file *file, uint64_t now_ns)
{
    const struct node *node = file->node;
    return file->may_keep && !file->given_up && is_young(file, now_ns) &&
           file->n_changes == node->n_changes && node->lease & WIRE_LEASE_ATTR && node->name != 0 &&
           node->n_lookups > 0;
}

bool kept_opens_keep(struct kept_opens *kept, struct file *file, uint64_t now_ns)
{
    struct node *node = file->node;
    struct kept_open *open = may_keep(file, now_ns) ? calloc(1, sizeof(*open)) : NULL;
    if (!open)
        return false;
    fs_assert(file->n_holds == 0);
    kept_opens_drop_name(kept, node->name);
    if (node->kept)
        let_go(kept, node->kept);
    if (table_put(&kept->by_name, &open->by_name, node->name) < 0) {
        free(open);
        return false;
    }
    open->file = file;
    open->open_id = file->id.key;
    list_init(&open->at);
    list_push(&kept->order, &open->at);
    node->kept = open;
    if (kept->n++ == 0)
        kept->look_ns = now_ns + LOOK_NS;
    if (kept->n > KEPT_OPENS_MAX)
        let_go(kept, kept_of(kept->order.next));
    return true;
}

static bool same_cred(const struct fs_cred *a, const struct fs_cred *b)
{
    return a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
           (a->n_groups == 0 || memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0);
}

struct file *kept_opens_take(struct kept_opens *kept, struct node *node, uint32_t flags,
                             const struct fs_cred *cred, uint64_t now_ns)
{
    struct kept_open *open = node->kept;
    struct file *file = open ? open->file : NULL;
    if (!file || file->flags != flags || !same_cred(&file->opener, cred) || !is_young(file, now_ns))
        return NULL;
    take_out(kept, open);
    free(open);
    return file;
}

// --- dropping ---

void kept_opens_drop(struct kept_opens *kept, struct node *node)
{
    node->n_changes++;
    if (node->kept)
        let_go(kept, node->kept);
}

void kept_opens_drop_name(struct kept_opens *kept, uint64_t name)
{
    struct kept_open *open = named(kept, name);
    if (open)
        let_go(kept, open);
}

void kept_opens_drop_all(struct kept_opens *kept)
{
    for (struct table_node *at = table_first(&kept->nodes->by_id); at;
         at = table_next(&kept->nodes->by_id, at))
        CONTAINER_OF(at, struct node, id)->n_changes++;
    while (!list_empty(&kept->order))
        let_go(kept, kept_of(kept->order.next));
}

void kept_opens_named(struct kept_opens *kept, struct node *node, uint64_t name)
{
    if (node->kept && node->name != name)
        let_go(kept, node->kept);
    node->name = name;
}

// --- telling ---

static void move_all(struct list *from, struct list *to)
{
    struct list *at;
    while ((at = list_pop(from)))
        list_push(to, at);
}

// The server has heard what was told before a request that it has answered.
static void hear(struct kept_opens *kept, uint64_t answered_ns)
{
    for (int i = 0; i < 2; i++) {
        if (kept->told_ns[0] < answered_ns)
            free_each(&kept->told[0]);
        if (!list_empty(&kept->told[0]))
            return;
        move_all(&kept->told[1], &kept->told[0]);
        kept->told_ns[0] = kept->told_ns[1];
    }
}

// At most a frame of them. False: it cannot be told now.
static bool tell_some(struct kept_opens *kept, uint64_t now_ns)
{
    uint64_t ids[WIRE_INODES_MAX];
    size_t n = 0;
    const struct list *at = kept->untold.next;
    do {
        ids[n++] = CONTAINER_OF(at, struct kept_open, at)->open_id;
        at = at->next;
    } while (at != &kept->untold && n < ARRAY_LEN(ids));
    if (!kept->tell(kept->context, ids, n))
        return false;
    for (; n > 0; n--)
        list_push(&kept->told[1], list_pop(&kept->untold));
    kept->told_ns[1] = now_ns;
    return true;
}

void kept_opens_tell(struct kept_opens *kept, uint64_t now_ns)
{
    while (!list_empty(&kept->untold) && tell_some(kept, now_ns))
        ;
}

void kept_opens_welcome(struct kept_opens *kept, bool knows)
{
    if (knows) {
        move_all(&kept->told[0], &kept->untold);
        move_all(&kept->told[1], &kept->untold);
    } else {
        forget_told(kept);
    }
}

// --- time ---

uint64_t kept_opens_tick(struct kept_opens *kept, uint64_t answered_ns, uint64_t now_ns)
{
    if (now_ns >= kept->look_ns) {
        list_for_each_safe (at, after, &kept->order) {
            if (!is_young(kept_of(at)->file, now_ns))
                let_go(kept, kept_of(at));
        }
        kept->look_ns = kept->n > 0 ? now_ns + LOOK_NS : UINT64_MAX;
    }
    hear(kept, answered_ns);
    kept_opens_tell(kept, now_ns);
    return kept->look_ns;
}
