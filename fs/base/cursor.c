// SPDX-License-Identifier: Apache-2.0
// Bounded byte cursors, little-endian, sticky on failure. A length is compared with what is left before any
// pointer moves, so no pointer past the end is ever formed. Any thread; the cursor belongs to its caller.
#include "fs/base/cursor.h"
#include <string.h>

const uint8_t *read_bytes(struct reader *reader, size_t n)
{
    if (reader->failed || n > reader->left) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *bytes = reader->at;
    if (n > 0)
        reader->at += n;
    reader->left -= n;
    return bytes;
}

static uint64_t read_number(struct reader *reader, size_t size)
{
    const uint8_t *bytes = read_bytes(reader, size);
    if (!bytes)
        return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

uint8_t read_u8(struct reader *reader)
{
    return (uint8_t)read_number(reader, 1);
}

uint16_t read_u16(struct reader *reader)
{
    return (uint16_t)read_number(reader, 2);
}

uint32_t read_u32(struct reader *reader)
{
    return (uint32_t)read_number(reader, 4);
}

uint64_t read_u64(struct reader *reader)
{
    return read_number(reader, 8);
}

bool reader_done(const struct reader *reader)
{
    return !reader->failed && reader->left == 0;
}

void write_bytes(struct writer *writer, const void *bytes, size_t n)
{
    if (writer->failed || n > writer->left) {
        writer->failed = true;
        return;
    }
    if (n == 0)
        return;
    memcpy(writer->at, bytes, n);
    writer->at += n;
    writer->left -= n;
}

static void write_number(struct writer *writer, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    write_bytes(writer, bytes, size);
}

void write_u8(struct writer *writer, uint8_t value)
{
    write_number(writer, value, 1);
}

void write_u16(struct writer *writer, uint16_t value)
{
    write_number(writer, value, 2);
}

void write_u32(struct writer *writer, uint32_t value)
{
    write_number(writer, value, 4);
}

void write_u64(struct writer *writer, uint64_t value)
{
    write_number(writer, value, 8);
}
