// SPDX-License-Identifier: Apache-2.0
// The in-memory model of a store: life, transactions, durability, space. See model_impl.h.
#include "fs/base/check.h"
#include "fs/store/model_impl.h"
#include "fs/store/store_model.h"
#include <errno.h>
#include <string.h>

// --- operations: life and transactions ---

static void model_close(struct store *store)
{
    struct model *model = model_of(store);
    model_undo_forget(model);
    free(model->undo);
    for (size_t i = 0; i < model->n_nodes; i++)
        model_node_free(model->nodes[i]);
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
    model_undo_forget(model_of(store));
    return 0;
}

static void model_rollback(struct store *store)
{
    model_undo_down_to(model_of(store), 0);
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
    model_undo_down_to(model, model->savepoint);
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
