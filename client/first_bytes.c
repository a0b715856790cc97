// SPDX-License-Identifier: Apache-2.0
// See first_bytes.h. Pure; owner thread. Invariant: a file has at most one, which is in `order`.
#include "client/first_bytes.h"
#include "fs/base/check.h"
#include <stdlib.h>
#include <string.h>

struct first {
    struct list node; // in order
    struct file *file;
    uint32_t length;
    uint8_t bytes[];
};

void first_bytes_init(struct first_bytes *first)
{
    *first = (struct first_bytes){0};
    list_init(&first->order);
}

void first_bytes_drop(struct first_bytes *first, struct file *file)
{
    struct first *of = file->first;
    if (!of)
        return;
    list_remove(&of->node);
    first->n--;
    first->bytes -= of->length;
    file->first = NULL;
    free(of);
}

static void drop_oldest(struct first_bytes *first)
{
    first_bytes_drop(first, LIST_ENTRY(first->order.next, struct first, node)->file);
}

void first_bytes_put(struct first_bytes *first, struct file *file, wire_bytes bytes)
{
    fs_assert(bytes.length <= WIRE_FIRST_MAX);
    struct first *of = malloc(sizeof(*of) + bytes.length);
    first_bytes_drop(first, file);
    if (!of)
        return;
    while (first->n > 0 && (first->n == FIRST_FILES_MAX || first->bytes + bytes.length > FIRST_BYTES_MAX))
        drop_oldest(first);
    of->file = file;
    of->length = bytes.length;
    memcpy(of->bytes, bytes.bytes, bytes.length);
    list_init(&of->node);
    list_push(&first->order, &of->node);
    file->first = of;
    first->n++;
    first->bytes += bytes.length;
}

bool first_bytes_read(const struct file *file, uint64_t offset, size_t size, wire_bytes *ret_bytes,
                      bool *ret_done)
{
    const struct first *of = file->first;
    if (!of)
        return false;
    uint32_t at = (uint32_t)MIN(offset, of->length), n = (uint32_t)MIN(size, of->length - at);
    *ret_bytes = (wire_bytes){.bytes = of->bytes + at, .length = n};
    *ret_done = at + n == of->length;
    return true;
}

void first_bytes_drop_node(struct first_bytes *first, const struct node *node)
{
    list_for_each_safe (at, after, &first->order) {
        struct file *file = LIST_ENTRY(at, struct first, node)->file;
        if (file->node == node)
            first_bytes_drop(first, file);
    }
}

void first_bytes_drop_all(struct first_bytes *first)
{
    while (first->n > 0)
        drop_oldest(first);
}
