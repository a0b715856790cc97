// SPDX-License-Identifier: Apache-2.0
// Frames in memory; see frame.h.
#include "server/frame.h"
#include <stdlib.h>
#include <string.h>

struct frame *frame_new(const struct wire_header *header)
{
    size_t body_length = header->length - WIRE_HEADER_SIZE;
    struct frame *frame = malloc(sizeof(*frame) + body_length);
    if (!frame)
        return NULL;
    list_init(&frame->node);
    frame->header = *header;
    frame->body_length = body_length;
    return frame;
}

struct out *out_new(size_t body_room)
{
    struct out *out = malloc(sizeof(*out) + WIRE_HEADER_SIZE + body_room);
    if (!out)
        return NULL;
    list_init(&out->node);
    out->refs = 1;
    out->length = (uint32_t)(WIRE_HEADER_SIZE + body_room);
    return out;
}

struct out *out_seal(struct out *out, struct wire_header header, size_t body_length)
{
    fs_assert(out->refs == 1 && list_empty(&out->node) && WIRE_HEADER_SIZE + body_length <= out->length);
    uint32_t length = (uint32_t)(WIRE_HEADER_SIZE + body_length);
    if (length < out->length) {
        struct out *smaller = realloc(out, sizeof(*out) + length);
        out = smaller ? smaller : out;
        list_init(&out->node);
    }
    out->length = header.length = length;
    wire_put_header(out->bytes, &header);
    return out;
}

struct out *out_error(uint16_t op, uint16_t slot, uint32_t seq, int error, const char *reason)
{
    fs_assert(error < 0);
    wire_text text = {.bytes = reason, .length = (uint16_t)strnlen(reason, WIRE_TEXT_MAX)};
    struct out *out = out_new(sizeof(uint16_t) + text.length);
    if (!out)
        return NULL;
    struct writer body = writer_on(out_body(out), sizeof(uint16_t) + text.length);
    write_u16(&body, text.length);
    write_bytes(&body, text.bytes, text.length);
    struct wire_header header = {.op = op, .slot = slot, .seq = seq, .status = (uint32_t)-error};
    return out_seal(out, header, sizeof(uint16_t) + text.length);
}

struct out *out_copy(const struct out *out)
{
    struct out *copy = out_new(out->length - WIRE_HEADER_SIZE);
    if (copy)
        memcpy(copy->bytes, out->bytes, out->length);
    return copy;
}

struct out *out_ref(struct out *out)
{
    out->refs++;
    return out;
}

void out_unref(struct out *out)
{
    if (out && --out->refs == 0)
        free(out);
}
