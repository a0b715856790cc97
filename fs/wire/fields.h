// SPDX-License-Identifier: Apache-2.0
// The codec of each field type, shared by messages and directory entries. Private to fs/wire. get_* always
// sets *ret (to something harmless after a failure) and fails the reader for a value that its type does not
// allow; put_* fails the writer for the same values.
#ifndef BERTH_WIRE_FIELDS_H
#define BERTH_WIRE_FIELDS_H

#include "fs/wire/wire.h"

#define WIRE_FIELD_CODEC(type)                              \
    void get_##type(struct reader *body, wire_##type *ret); \
    void put_##type(struct writer *body, const wire_##type *value);
WIRE_FIELD_CODEC(u8)
WIRE_FIELD_CODEC(u16)
WIRE_FIELD_CODEC(u32)
WIRE_FIELD_CODEC(u64)
WIRE_FIELD_CODEC(handle)
WIRE_FIELD_CODEC(name)
WIRE_FIELD_CODEC(lookup_name)
WIRE_FIELD_CODEC(text)
WIRE_FIELD_CODEC(bytes)
WIRE_FIELD_CODEC(time)
WIRE_FIELD_CODEC(attr)
WIRE_FIELD_CODEC(entry)
WIRE_FIELD_CODEC(maybe_entry)
WIRE_FIELD_CODEC(lock)
#undef WIRE_FIELD_CODEC

// A mode whose S_IFMT bits name one of Linux's seven file types.
bool wire_type_known(uint32_t mode);

#endif
