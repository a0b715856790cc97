// SPDX-License-Identifier: Apache-2.0
// A core's life, its turns, and the frame of every operation that writes. Owner thread.
//
// A turn opens its store transaction at its first write. Each writing operation runs in a savepoint, so that
// whatever fails midway is undone alone; the entries it changed are read from the store again.
#include "fs/core/core_impl.h"
#include <errno.h>
#include <stdlib.h>

#define REAP_PER_CALL 64 // orphans looked at by one core_reap_orphans()

// --- life ---

static int make_root(struct core *core)
{
    struct fs_time now = core_now(core);
    struct store_inode root = {
        .attr = {.ino = FS_ROOT_INO,
                 .mode = S_IFDIR | 0755,
                 .nlink = 2,
                 .atime = now,
                 .mtime = now,
                 .ctime = now,
                 .btime = now},
        .parent = FS_ROOT_INO,
    };
    int result = store_begin(core->store);
    if (result != 0)
        return result;
    result = store_inode_put(core->store, &root);
    if (result == 0)
        result = store_commit(core->store);
    if (result != 0) {
        store_rollback(core->store);
        return result;
    }
    return store_sync(core->store, 0);
}

static int ensure_root(struct core *core)
{
    struct store_inode root;
    int result = store_inode_get(core->store, FS_ROOT_INO, &root);
    if (result == -ENOENT)
        return make_root(core);
    if (result == 0 && !S_ISDIR(root.attr.mode))
        return -EUCLEAN;
    return result;
}

int core_create(struct store *store, const struct env *env, struct core **ret_core)
{
    struct core *core = calloc(1, sizeof *core);
    if (!core)
        return -ENOMEM;
    *core = (struct core){.store = store, .env = env, .rename_epoch = 1};
    list_init(&core->lru);
    list_init(&core->changed);
    list_init(&core->opened);
    int result = ensure_root(core);
    if (result != 0) {
        core_destroy(core);
        return result;
    }
    *ret_core = core;
    return 0;
}

static void free_inodes(struct core *core)
{
    for (struct table_node *node = table_first(&core->inodes), *after; node; node = after) {
        after = table_next(&core->inodes, node);
        struct inode *inode = CONTAINER_OF(node, struct inode, node);
        free(inode->acl);
        free(inode);
    }
    table_free(&core->inodes);
}

static void free_reap(struct core *core)
{
    for (struct table_node *node = table_first(&core->reap), *after; node; node = after) {
        after = table_next(&core->reap, node);
        free(CONTAINER_OF(node, struct orphan, node));
    }
    table_free(&core->reap);
}

void core_destroy(struct core *core)
{
    if (!core)
        return;
    fs_assert(!core->in_turn);
    free_inodes(core);
    free_reap(core);
    free(core);
}

// --- writing operations ---

int write_begin(struct core *core)
{
    changes_begin(&core->changes);
    int result = core_turn_write(core);
    return result == 0 ? store_savepoint(core->store) : result;
}

int write_end(struct core *core, int result)
{
    if (result == 0)
        result = changes_ask(core);
    if (result == 0)
        result = store_savepoint_release(core->store);
    if (result != 0) {
        store_savepoint_rollback(core->store);
        core->limits_known = false;
        // Entries changed earlier in the turn are unloaded as well: reading them again is cheaper than
        // telling them apart.
        for (struct list *it = core->changed.next; it != &core->changed; it = it->next)
            LIST_ENTRY(it, struct inode, changed)->loaded = false;
    }
    return result;
}

int write_end_attr(struct core *core, int result, struct inode *inode, struct fs_attr *ret_attr)
{
    struct fs_attr attr;
    if (result == 0)
        result = inode_attr(core, inode, &attr);
    result = write_end(core, result);
    if (result == 0)
        *ret_attr = attr;
    return result;
}

// --- orphans ---

void reap_add(struct core *core, fs_ino ino)
{
    if (table_get(&core->reap, ino))
        return;
    struct orphan *orphan = calloc(1, sizeof *orphan);
    // Without memory the orphan stays in the store, and goes after the next start.
    if (orphan && table_put(&core->reap, &orphan->node, ino) != 0)
        free(orphan);
}

static void orphan_free(struct core *core, struct orphan *orphan)
{
    table_remove(&core->reap, &orphan->node);
    free(orphan);
}

// Gone or opened again: off the list. Removed now: it goes off the list when the turn has committed. It stays
// when the store refuses.
static void reap_one(struct core *core, struct orphan *orphan)
{
    struct inode *inode;
    int result = inode_get(core, orphan->node.key, &inode);
    if (result == -ENOENT || (result == 0 && (inode->n_opens > 0 || inode->stored.attr.nlink > 0))) {
        orphan_free(core, orphan);
        return;
    }
    if (result == 0)
        result = write_begin(core);
    if (result == 0)
        orphan->removed = write_end(core, inode_remove(core, inode)) == 0;
}

static void reap(struct core *core)
{
    if (core->orphans_held)
        return;
    for (struct table_node *node = table_first(&core->reap), *after; node; node = after) {
        after = table_next(&core->reap, node);
        reap_one(core, CONTAINER_OF(node, struct orphan, node));
    }
}

static void reap_end(struct core *core, bool committed)
{
    for (struct table_node *node = table_first(&core->reap), *after; node; node = after) {
        after = table_next(&core->reap, node);
        struct orphan *orphan = CONTAINER_OF(node, struct orphan, node);
        if (orphan->removed && committed)
            orphan_free(core, orphan);
        else
            orphan->removed = false;
    }
}

int core_reap_orphans(struct core *core, bool *ret_more)
{
    fs_ino found[REAP_PER_CALL];
    int n = store_orphans(core->store, core->orphan_cursor, found, REAP_PER_CALL);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        reap_add(core, found[i]);
        core->orphan_cursor = found[i];
    }
    *ret_more = n == REAP_PER_CALL;
    return 0;
}

void core_hold_orphans(struct core *core, bool hold)
{
    core->orphans_held = hold;
    core->orphan_cursor = 0;
}

// --- turns ---

int core_turn_begin(struct core *core)
{
    fs_assert(!core->in_turn);
    core->in_turn = true;
    core->doomed = 0;
    return 0;
}

int core_turn_write(struct core *core)
{
    fs_assert(core->in_turn);
    return store_in_transaction(core->store) ? 0 : store_begin(core->store);
}

void core_turn_doom(struct core *core, int error)
{
    fs_assert(core->in_turn && error < 0);
    if (core->doomed == 0)
        core->doomed = error;
}

static void keep_opens(struct core *core)
{
    while (list_pop(&core->opened))
        ;
}

static void close_opens(struct core *core)
{
    // What they leave may be an orphan again: core_release() lists it.
    for (struct list *it; (it = list_pop(&core->opened));)
        core_release(core, LIST_ENTRY(it, struct core_file, turn));
}

int core_turn_commit(struct core *core)
{
    fs_assert(core->in_turn);
    reap(core);
    core->in_turn = false;
    int result = core->doomed;
    if (result == 0 && store_in_transaction(core->store))
        result = store_commit(core->store);
    if (result != 0) {
        if (store_in_transaction(core->store))
            store_rollback(core->store);
        core->rename_epoch++;
        core->limits_known = false;
    }
    reap_end(core, result == 0);
    if (result != 0)
        close_opens(core);
    keep_opens(core);
    inode_forget_changes(core, result != 0);
    inode_trim(core);
    return result;
}

// --- shared steps ---

struct fs_time core_now(const struct core *core)
{
    return fs_time_from_ns(env_realtime_ns(core->env));
}

static int numbers_take(struct core *core, struct numbers *numbers,
                        int (*reserve)(struct store *, uint32_t, uint64_t *), uint64_t *ret_number)
{
    if (numbers->next == numbers->end) {
        uint64_t first;
        int result = reserve(core->store, CORE_NUMBERS_BLOCK, &first);
        if (result != 0)
            return result;
        *numbers = (struct numbers){.next = first, .end = first + CORE_NUMBERS_BLOCK};
    }
    *ret_number = numbers->next++;
    return 0;
}

int numbers_ino(struct core *core, fs_ino *ret_ino)
{
    return numbers_take(core, &core->inos, store_reserve_inos, ret_ino);
}

int numbers_cookie(struct core *core, uint64_t *ret_cookie)
{
    return numbers_take(core, &core->cookies, store_reserve_cookies, ret_cookie);
}

void stored_touch(struct store_inode *stored, struct fs_time now, bool mtime)
{
    stored->attr.ctime = now;
    if (mtime)
        stored->attr.mtime = now;
}

int core_upkeep(struct core *core, bool *ret_more)
{
    if (core->reap.count > 0 && !core->orphans_held) {
        int result = core_turn_begin(core);
        if (result == 0)
            result = core_turn_commit(core);
        if (result != 0)
            return result;
    }
    return store_upkeep(core->store, ret_more);
}

int core_usage(struct core *core, struct store_usage *ret_usage)
{
    return store_usage(core->store, ret_usage);
}
