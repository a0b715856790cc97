// SPDX-License-Identifier: Apache-2.0
// Every message body's codec in one table, made from messages.def, for tests that treat all messages alike:
// the wire's unit tests and its fuzzer.
#ifndef BERTH_TESTS_WIRE_CODECS_H
#define BERTH_TESTS_WIRE_CODECS_H

#include "fs/base/check.h"
#include "fs/wire/wire.h"

struct wire_codec {
    const char *name; // "lookup_request"
    uint16_t op;
    size_t struct_size;
    int (*get)(struct reader *body, void *ret);
    void (*put)(struct writer *body, const void *message);
};

#define CODEC_WRAPPERS(message)                                         \
    static int get_any_##message(struct reader *body, void *ret)        \
    {                                                                   \
        return wire_get_##message(body, ret);                           \
    }                                                                   \
    static void put_any_##message(struct writer *body, const void *any) \
    {                                                                   \
        wire_put_##message(body, any);                                  \
    }
#define CALL_WRAPPERS(NAME, name, number, repeatable) \
    CODEC_WRAPPERS(name##_request) CODEC_WRAPPERS(name##_reply)
#define EVENT_WRAPPERS(NAME, name, number) CODEC_WRAPPERS(name##_event)
WIRE_CALLS(CALL_WRAPPERS)
WIRE_EVENTS(EVENT_WRAPPERS)
#undef CALL_WRAPPERS
#undef EVENT_WRAPPERS
#undef CODEC_WRAPPERS

#define CODEC_ROW(message, number) \
    {#message, number, sizeof(struct wire_##message), get_any_##message, put_any_##message},
#define CALL_ROWS(NAME, name, number, repeatable) \
    CODEC_ROW(name##_request, number) CODEC_ROW(name##_reply, number)
#define EVENT_ROW(NAME, name, number) CODEC_ROW(name##_event, number)
static const struct wire_codec wire_codecs[] = {WIRE_CALLS(CALL_ROWS) WIRE_EVENTS(EVENT_ROW)};
#undef CALL_ROWS
#undef EVENT_ROW
#undef CODEC_ROW

// Room for any decoded message.
union wire_any_message {
#define CALL_MEMBERS(NAME, name, number, repeatable) \
    struct wire_##name##_request name##_request;     \
    struct wire_##name##_reply name##_reply;
#define EVENT_MEMBER(NAME, name, number) struct wire_##name##_event name##_event;
    WIRE_CALLS(CALL_MEMBERS) WIRE_EVENTS(EVENT_MEMBER)
#undef CALL_MEMBERS
#undef EVENT_MEMBER
};

#endif
