// SPDX-License-Identifier: Apache-2.0
// See whole_dirs.h. Pure; owner thread. The hashes of a directory are an open-addressed array without holes:
// from a hash's own place on there is no free slot before its last copy.
#include "client/whole_dirs.h"
#include "fs/base/check.h"
#include <stdlib.h>

#define FREE        0u
#define SLOTS_LEAST 8u

_Static_assert(WHOLE_NAMES_PER_DIR <= WHOLE_NAMES_MAX, "one directory alone fits");

struct whole_dir {
    struct table_node node; // in dirs->by_id
    struct list in_order;
    uint64_t serial;
    uint32_t *slots; // FREE or a hash
    uint32_t n_slots, n_names, n_unknown;
    bool is_listed_yet;            // false: names are still coming in
    uint64_t open_id, next_cookie; // of the listing that brings them
};

void whole_init(struct whole_dirs *dirs, const struct env *env)
{
    *dirs = (struct whole_dirs){0};
    list_init(&dirs->order);
    env_random(env, dirs->key, sizeof(dirs->key));
}

static struct whole_dir *get(const struct whole_dirs *dirs, uint64_t id)
{
    struct table_node *node = table_get(&dirs->by_id, id);
    return node ? CONTAINER_OF(node, struct whole_dir, node) : NULL;
}

static void drop(struct whole_dirs *dirs, struct whole_dir *dir)
{
    dirs->n_names -= dir->n_names;
    table_remove(&dirs->by_id, &dir->node);
    list_remove(&dir->in_order);
    free(dir->slots);
    free(dir);
}

void whole_drop(struct whole_dirs *dirs, uint64_t id)
{
    struct whole_dir *dir = get(dirs, id);
    if (dir)
        drop(dirs, dir);
}

static struct whole_dir *oldest(const struct whole_dirs *dirs)
{
    return LIST_ENTRY(dirs->order.next, struct whole_dir, in_order);
}

void whole_drop_all(struct whole_dirs *dirs)
{
    while (!list_empty(&dirs->order))
        drop(dirs, oldest(dirs));
}

void whole_free(struct whole_dirs *dirs)
{
    whole_drop_all(dirs);
    table_free(&dirs->by_id);
}

static void use(struct whole_dirs *dirs, struct whole_dir *dir)
{
    list_remove(&dir->in_order);
    list_push(&dirs->order, &dir->in_order);
}

// NULL: no memory.
static struct whole_dir *make(struct whole_dirs *dirs, uint64_t id)
{
    whole_drop(dirs, id);
    while (dirs->by_id.count >= WHOLE_DIRS_MAX)
        drop(dirs, oldest(dirs));
    struct whole_dir *dir = calloc(1, sizeof(*dir));
    uint32_t *slots = calloc(SLOTS_LEAST, sizeof(*slots));
    if (!dir || !slots || table_put(&dirs->by_id, &dir->node, id) < 0) {
        free(slots);
        free(dir);
        return NULL;
    }
    dir->serial = ++dirs->last_serial;
    dir->slots = slots;
    dir->n_slots = SLOTS_LEAST;
    list_init(&dir->in_order);
    list_push(&dirs->order, &dir->in_order);
    return dir;
}

// --- hashes ---

static uint32_t hash_of(const struct whole_dirs *dirs, struct fs_name name)
{
    uint32_t hash = (uint32_t)siphash24(dirs->key, name.bytes, name.length);
    return hash == FREE ? FREE + 1 : hash;
}

// Where the hash is, or the free slot where it would be.
static uint32_t find(const struct whole_dir *dir, uint32_t hash)
{
    uint32_t at = hash & (dir->n_slots - 1);
    while (dir->slots[at] != FREE && dir->slots[at] != hash)
        at = (at + 1) & (dir->n_slots - 1);
    return at;
}

static void put(struct whole_dir *dir, uint32_t hash)
{
    uint32_t at = hash & (dir->n_slots - 1);
    while (dir->slots[at] != FREE)
        at = (at + 1) & (dir->n_slots - 1);
    dir->slots[at] = hash;
}

static int grow(struct whole_dir *dir)
{
    uint32_t n_before = dir->n_slots, *before = dir->slots;
    uint32_t *slots = calloc((size_t)n_before * 2, sizeof(*slots));
    if (!slots)
        return -1;
    dir->slots = slots;
    dir->n_slots = n_before * 2;
    for (uint32_t i = 0; i < n_before; i++) {
        if (before[i] != FREE)
            put(dir, before[i]);
    }
    free(before);
    return 0;
}

// False: there is no room, and the directory is not known any more.
static bool add(struct whole_dirs *dirs, struct whole_dir *dir, uint32_t hash)
{
    use(dirs, dir);
    bool full = dir->n_names >= WHOLE_NAMES_PER_DIR;
    while (!full && dirs->n_names >= WHOLE_NAMES_MAX && oldest(dirs) != dir)
        drop(dirs, oldest(dirs));
    if (full || (dir->n_names >= dir->n_slots / 4 * 3 && grow(dir) < 0)) {
        drop(dirs, dir);
        return false;
    }
    put(dir, hash);
    dir->n_names++;
    dirs->n_names++;
    return true;
}

// Is the hash at `at` to be found when `hole` is free before it?
static bool reaches_over(const struct whole_dir *dir, uint32_t hole, uint32_t at)
{
    uint32_t mask = dir->n_slots - 1, home = dir->slots[at] & mask;
    return ((at - home) & mask) < ((at - hole) & mask);
}

static void take(struct whole_dirs *dirs, struct whole_dir *dir, uint32_t hash)
{
    uint32_t mask = dir->n_slots - 1, hole = find(dir, hash);
    if (dir->slots[hole] == FREE) {
        drop(dirs, dir); // the server says that there was what cannot have been: it is to be asked
        return;
    }
    for (uint32_t at = (hole + 1) & mask; dir->slots[at] != FREE; at = (at + 1) & mask) {
        if (reaches_over(dir, hole, at))
            continue;
        dir->slots[hole] = dir->slots[at];
        hole = at;
    }
    dir->slots[hole] = FREE;
    dir->n_names--;
    dirs->n_names--;
}

// --- what makes a directory known whole ---

void whole_made(struct whole_dirs *dirs, uint64_t id)
{
    struct whole_dir *dir = make(dirs, id);
    if (dir)
        dir->is_listed_yet = true;
}

bool whole_page(struct whole_dirs *dirs, uint64_t id, uint64_t open_id, uint64_t cookie)
{
    struct whole_dir *dir = get(dirs, id);
    if (dir && dir->is_listed_yet)
        return false;
    if (cookie == 0) {
        dir = make(dirs, id);
        if (dir)
            dir->open_id = open_id;
        return dir != NULL;
    }
    if (dir && (dir->open_id != open_id || dir->next_cookie != cookie)) {
        drop(dirs, dir);
        dir = NULL;
    }
    return dir != NULL;
}

void whole_page_name(struct whole_dirs *dirs, uint64_t id, struct fs_name name)
{
    struct whole_dir *dir = get(dirs, id);
    if (dir && !dir->is_listed_yet)
        (void)add(dirs, dir, hash_of(dirs, name));
}

void whole_page_end(struct whole_dirs *dirs, uint64_t id, uint64_t cookie, bool is_last)
{
    struct whole_dir *dir = get(dirs, id);
    if (!dir || dir->is_listed_yet)
        return;
    dir->next_cookie = cookie;
    dir->is_listed_yet = is_last;
}

// --- what is known ---

bool whole_lacks(struct whole_dirs *dirs, uint64_t id, struct fs_name name)
{
    struct whole_dir *dir = get(dirs, id);
    if (!dir || !dir->is_listed_yet)
        return false;
    use(dirs, dir);
    return dir->slots[find(dir, hash_of(dirs, name))] == FREE;
}

// --- what changes it ---

// A listing under way may have passed the name or not.
static struct whole_dir *get_listed(struct whole_dirs *dirs, uint64_t id)
{
    struct whole_dir *dir = get(dirs, id);
    if (!dir || dir->is_listed_yet)
        return dir;
    drop(dirs, dir);
    return NULL;
}

static void doubt(struct whole_dirs *dirs, struct whole_dir *dir)
{
    if (++dir->n_unknown > WHOLE_UNKNOWN_MAX)
        drop(dirs, dir);
}

struct whole_change whole_begin(struct whole_dirs *dirs, uint64_t id, struct fs_name name, bool makes)
{
    struct whole_dir *dir = get_listed(dirs, id);
    struct whole_change change = {.id = id, .makes = makes, .hash = hash_of(dirs, name)};
    if (dir && (!makes || add(dirs, dir, change.hash)))
        change.serial = dir->serial;
    return change;
}

void whole_end(struct whole_dirs *dirs, const struct whole_change *change, enum whole_outcome outcome,
               bool is_leased)
{
    struct whole_dir *dir = change->id ? get_listed(dirs, change->id) : NULL;
    bool is_known = outcome != WHOLE_UNKNOWN;
    bool is_gone = is_known && (outcome == WHOLE_DONE) != change->makes;
    if (!dir)
        return;
    if (dir->serial != change->serial)
        drop(dirs, dir); // it came to be known meanwhile, with or without this name
    else if (is_gone && is_leased)
        take(dirs, dir, change->hash);
    else if (is_gone || (!is_known && change->makes) ||
             (is_known && !is_leased && add(dirs, dir, change->hash)))
        doubt(dirs, dir); // its hash stays
}

void whole_doubt(struct whole_dirs *dirs, uint64_t id, struct fs_name name)
{
    struct whole_dir *dir = get_listed(dirs, id);
    if (dir && add(dirs, dir, hash_of(dirs, name)))
        doubt(dirs, dir);
}
