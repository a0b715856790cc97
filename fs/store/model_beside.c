// SPDX-License-Identifier: Apache-2.0
// What the model keeps beside names and data: extended attributes, sessions, quotas. See model_impl.h.
#include "fs/base/check.h"
#include "fs/store/model_impl.h"
#include <errno.h>
#include <string.h>

// --- operations: extended attributes ---

int model_xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size,
                    size_t *ret_n)
{
    const struct model_xattr *xattr = model_xattr_find(model_node_get(model_of(store), ino), name);
    if (!xattr)
        return -ENODATA;
    if (MIN(size, xattr->n) > 0)
        memcpy(value, xattr->value, MIN(size, xattr->n));
    *ret_n = xattr->n;
    return 0;
}

int model_xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_make(model, ino);
    uint8_t *copy = node ? malloc(n + 1) : NULL; // an empty value is there, too
    if (!copy)
        return -ENOMEM;
    if (n > 0)
        memcpy(copy, value, n);
    return model_xattr_set(model, node, name, copy, n);
}

int model_xattr_remove(struct store *store, fs_ino ino, struct fs_name name)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_get(model, ino);
    return model_xattr_find(node, name) ? model_xattr_set(model, node, name, NULL, 0) : -ENODATA;
}

int model_xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context)
{
    const struct model_node *node = model_node_get(model_of(store), ino);
    for (size_t i = 0; node && i < node->n_xattrs; i++)
        if (!visit(context, model_xattr_name(&node->xattrs[i]), node->xattrs[i].n))
            break;
    return 0;
}

// --- operations: sessions ---

// Takes the bytes over.
static int part_set(struct model *model, uint64_t id, uint32_t part, uint8_t *bytes, size_t n)
{
    bool room =
        model_array_room(&model->parts, &model->parts_capacity, model->n_parts, sizeof(*model->parts)) == 0;
    struct undo *undo = room ? model_undo_push(model, UNDO_PART, NULL) : NULL;
    if (!undo) {
        free(bytes);
        return -ENOMEM;
    }
    model_part_swap(model, &(struct model_part){.id = id, .part = part, .bytes = bytes, .n = n}, &undo->part);
    return 0;
}

int model_session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    uint8_t *copy = malloc(n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, bytes, n);
    return part_set(model_of(store), id, part, copy, n);
}

int model_session_remove(struct store *store, uint64_t id)
{
    struct model *model = model_of(store);
    size_t at = model_part_position(model, id, 0);
    int result = -ENOENT;
    while (at < model->n_parts && model->parts[at].id == id) {
        result = part_set(model, id, model->parts[at].part, NULL, 0);
        if (result < 0)
            break;
    }
    return result;
}

int model_session_list(struct store *store, store_visit_session *visit, void *context)
{
    const struct model *model = model_of(store);
    for (size_t i = 0; i < model->n_parts; i++) {
        const struct model_part *part = &model->parts[i];
        if (!visit(context, part->id, part->part, part->bytes, part->n))
            break;
    }
    return 0;
}

// --- operations: quotas ---

int model_quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota)
{
    const struct model *model = model_of(store);
    const struct model_quota *limits = model_quota_find(model, id);
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

int model_quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes)
{
    struct model *model = model_of(store);
    struct model_quota *quota = model_quota_find(model, id);
    if (!quota) {
        if (model_array_room(&model->quotas, &model->quotas_capacity, model->n_quotas, sizeof(*quota)) < 0)
            return -ENOMEM;
        quota = &model->quotas[model->n_quotas++];
        *quota = (struct model_quota){.id = id};
    }
    struct undo *undo = model_undo_push(model, UNDO_QUOTA, NULL);
    if (!undo)
        return -ENOMEM;
    undo->quota = *quota;
    *quota = (struct model_quota){.id = id, .max_bytes = max_bytes, .max_inodes = max_inodes};
    return 0;
}
