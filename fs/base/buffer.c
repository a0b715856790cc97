// SPDX-License-Identifier: Apache-2.0
// Growable byte queue. Invariant: start <= end <= capacity, and end - start <= limit. Bytes move to the front
// only when at least as many were consumed as are moved, or when the buffer may not grow, so that appending
// stays cheap.
#include "fs/base/buffer.h"
#include "fs/base/check.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define CAPACITY_FIRST 4096u  // bytes
#define CAPACITY_KEPT  65536u // bytes an empty buffer may hold on to

void buffer_init(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit};
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct buffer){.limit = buffer->limit};
}

static void move_to_front(struct buffer *buffer)
{
    size_t length = buffer_length(buffer);
    memmove(buffer->bytes, buffer->bytes + buffer->start, length);
    buffer->start = 0;
    buffer->end = length;
}

// To a capacity of at least `needed`, which is at most the limit.
static int grow(struct buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity > buffer->limit / 2 ? buffer->limit : buffer->capacity * 2;
    capacity = MAX(MAX(capacity, needed), (size_t)CAPACITY_FIRST);

    uint8_t *bytes = malloc(capacity);
    if (!bytes)
        return -ENOMEM;
    size_t length = buffer_length(buffer);
    if (buffer->bytes)
        memcpy(bytes, buffer->bytes + buffer->start, length);
    free(buffer->bytes);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    buffer->start = 0;
    buffer->end = length;
    return 0;
}

static int make_room(struct buffer *buffer, size_t n)
{
    size_t length = buffer_length(buffer);
    if (n > buffer->limit - length)
        return -ENOBUFS;
    if (buffer->bytes && n <= buffer->capacity - buffer->end)
        return 0;
    bool fits = buffer->bytes && n <= buffer->capacity - length;
    if (fits && (buffer->start >= length || buffer->capacity >= buffer->limit)) {
        move_to_front(buffer);
        return 0;
    }
    return grow(buffer, length + n);
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t n)
{
    return make_room(buffer, n) == 0 ? buffer->bytes + buffer->end : NULL;
}

void buffer_commit(struct buffer *buffer, size_t n)
{
    fs_assert(n <= buffer->capacity - buffer->end);
    fs_assert(n <= buffer->limit - buffer_length(buffer));
    buffer->end += n;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t n)
{
    if (n == 0)
        return 0;
    int r = make_room(buffer, n);
    if (r < 0)
        return r;
    memcpy(buffer->bytes + buffer->end, bytes, n);
    buffer->end += n;
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t n)
{
    fs_assert(n <= buffer_length(buffer));
    buffer->start += n;
    if (buffer->start < buffer->end)
        return;
    if (buffer->capacity > CAPACITY_KEPT)
        buffer_free(buffer);
    buffer->start = buffer->end = 0;
}
