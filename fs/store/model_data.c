// SPDX-License-Identifier: Apache-2.0
// The model's data: pages of files, ranges and copies. See model_impl.h.
#include "fs/base/check.h"
#include "fs/store/model_impl.h"
#include <errno.h>
#include <string.h>

// --- operations: data ---

int model_data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
                    size_t *ret_n)
{
    (void)size;
    const struct model_node *node = model_node_get(model_of(store), ino);
    size_t done = 0;
    while (done < n) {
        size_t within = (size_t)((offset + done) % PAGE_SIZE);
        size_t step = MIN(n - done, PAGE_SIZE - within);
        const struct model_page *page = node ? model_page_find(node, (offset + done) / PAGE_SIZE) : NULL;
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
    if (model_undo_push_page(model, node, index) < 0)
        return NULL;
    struct model_page *page = model_page_find(node, index);
    if (page)
        return page->bytes;
    uint8_t *bytes = calloc(1, PAGE_SIZE);
    if (!bytes ||
        model_array_room(&node->pages, &node->pages_capacity, node->n_pages, sizeof(*node->pages)) < 0) {
        free(bytes);
        return NULL;
    }
    model_page_insert(node, (struct model_page){.index = index, .bytes = bytes});
    return bytes;
}

int model_data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes,
                     size_t n)
{
    (void)size;
    struct model *model = model_of(store);
    struct model_node *node = model_node_make(model, ino);
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

int model_data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to)
{
    struct model *model = model_of(store);
    struct model_node *node = model_node_get(model, ino);
    if (!node || to > from)
        return 0;
    uint64_t keep_pages = to / PAGE_SIZE + (to % PAGE_SIZE != 0);
    while (node->n_pages > 0 && node->pages[node->n_pages - 1].index >= keep_pages)
        if (model_drop_page(model, node, &node->pages[node->n_pages - 1]) < 0)
            return -ENOMEM;
    if (to % PAGE_SIZE == 0 || !model_page_find(node, to / PAGE_SIZE))
        return 0;
    uint8_t *last = page_for_write(model, node, to / PAGE_SIZE);
    if (!last)
        return -ENOMEM;
    memset(last + to % PAGE_SIZE, 0, PAGE_SIZE - to % PAGE_SIZE);
    return 0;
}

// Room is nothing that a model runs out of.
int model_data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset,
                        uint64_t n)
{
    (void)store, (void)ino, (void)from, (void)to, (void)offset, (void)n;
    return 0;
}

int model_data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n,
                    bool keep_room)
{
    (void)keep_room;
    struct model *model = model_of(store);
    struct model_node *node = model_node_get(model, ino);
    uint64_t end = offset + n;
    if (end == size)
        end += -end % PAGE_SIZE;
    size_t at = node ? model_page_position(node, offset / PAGE_SIZE) : 0;
    while (node && at < node->n_pages && node->pages[at].index * PAGE_SIZE < end) {
        uint64_t first = node->pages[at].index * PAGE_SIZE;
        uint64_t low = MAX(offset, first), high = MIN(end, first + PAGE_SIZE);
        if (high - low == PAGE_SIZE) {
            if (model_drop_page(model, node, &node->pages[at]) < 0)
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

int model_data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
                    uint64_t *ret_offset)
{
    const struct model_node *node = model_node_get(model_of(store), ino);
    uint64_t index = offset / PAGE_SIZE;
    size_t at = node ? model_page_position(node, index) : 0;
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
int model_data_copy(struct store *store, const struct store_copy *copy)
{
    const struct model_node *from = model_node_get(model_of(store), copy->from_ino);
    uint64_t at = copy->from_offset, end = copy->from_offset + copy->n;
    int result = model_data_zero(store, copy->ino, copy->size, copy->offset, copy->n, false);
    while (result == 0 && from && at < end) {
        size_t position = model_page_position(from, at / PAGE_SIZE);
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
