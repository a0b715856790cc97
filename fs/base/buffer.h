// SPDX-License-Identifier: Apache-2.0
// Growable byte buffer with a bound chosen at initialisation, used as a queue: bytes are appended at the end
// and consumed from the front. One owner thread.
#ifndef BERTH_BASE_BUFFER_H
#define BERTH_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *bytes;  // owned
    size_t start;    // first unconsumed byte
    size_t end;      // one past the last byte
    size_t capacity; // allocated
    size_t limit;    // most unconsumed bytes ever held
};

void buffer_init(struct buffer *buffer, size_t limit);
void buffer_free(struct buffer *buffer);

static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline uint8_t *buffer_data(const struct buffer *buffer)
{
    return buffer->bytes ? buffer->bytes + buffer->start : NULL;
}

// Makes room for n more bytes and returns where they go, or NULL: past the limit, or no memory. The bytes
// count only after buffer_commit(). May move the bytes held already.
uint8_t *buffer_reserve(struct buffer *buffer, size_t n);
void buffer_commit(struct buffer *buffer, size_t n);

// 0, or -ENOBUFS past the limit, or -ENOMEM.
int buffer_append(struct buffer *buffer, const void *bytes, size_t n);

// Drops n bytes from the front; gives memory back when a large buffer has become empty.
void buffer_consume(struct buffer *buffer, size_t n);

#endif
