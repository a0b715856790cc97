// SPDX-License-Identifier: Apache-2.0
// Bounded byte cursors, little-endian. Both are sticky: after the first failure every further call does
// nothing (reads return 0 or NULL), so a whole message is coded without checks and judged once at the end.
#ifndef BERTH_BASE_CURSOR_H
#define BERTH_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

struct writer {
    uint8_t *at;
    size_t left;
    bool failed;
};

static inline struct reader reader_on(const void *bytes, size_t n)
{
    return (struct reader){.at = bytes, .left = n};
}

static inline struct writer writer_on(void *bytes, size_t n)
{
    return (struct writer){.at = bytes, .left = n};
}

uint8_t read_u8(struct reader *reader);
uint16_t read_u16(struct reader *reader);
uint32_t read_u32(struct reader *reader);
uint64_t read_u64(struct reader *reader);

// The next n bytes in place (they live as long as the message), or NULL.
const uint8_t *read_bytes(struct reader *reader, size_t n);

// True when nothing failed and nothing is left over: trailing bytes are an error.
bool reader_done(const struct reader *reader);

void write_u8(struct writer *writer, uint8_t value);
void write_u16(struct writer *writer, uint16_t value);
void write_u32(struct writer *writer, uint32_t value);
void write_u64(struct writer *writer, uint64_t value);
void write_bytes(struct writer *writer, const void *bytes, size_t n);

#endif
