// SPDX-License-Identifier: Apache-2.0
// Frames in memory: one that came in, and one that goes out. Pure. An outgoing frame is shared between the
// connection that sends it and the session slot that keeps it, and counted; one thread at a time touches it.
#ifndef BERTH_SERVER_FRAME_H
#define BERTH_SERVER_FRAME_H

#include "fs/base/list.h"
#include "fs/wire/wire.h"

struct frame {
    struct list node;
    struct wire_header header;
    size_t body_length;
    uint8_t body[];
};

struct frame *frame_new(const struct wire_header *header); // NULL: no memory

struct out {
    struct list node; // in the one connection that sends it
    unsigned refs;
    uint32_t length; // of the whole frame
    uint8_t bytes[];
};

// A frame with room for a body of body_room bytes, which starts at out_body(); NULL: no memory.
struct out *out_new(size_t body_room);
static inline uint8_t *out_body(struct out *out)
{
    return out->bytes + WIRE_HEADER_SIZE;
}
// Writes the header and gives back the room that the body did not need; out may move. Only before it is
// shared.
struct out *out_seal(struct out *out, struct wire_header header, size_t body_length);
// A whole frame whose body is one text, cut at WIRE_TEXT_MAX: how errors are said.
struct out *out_error(uint16_t op, uint16_t slot, uint32_t seq, int error, const char *reason);
struct out *out_copy(const struct out *out);
struct out *out_ref(struct out *out);
void out_unref(struct out *out); // NULL is allowed

#endif
