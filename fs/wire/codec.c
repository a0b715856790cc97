// SPDX-License-Identifier: Apache-2.0
// Every message's get and put, made from messages.def: a field after the other, judged once at the end. Pure;
// any thread.
#include "fs/wire/fields.h"
#include <errno.h>

#define GET_FIELD(type, member) get_##type(body, &message.member);
#define PUT_FIELD(type, member) put_##type(body, &message->member);

#define MESSAGE_CODEC(name, FIELDS)                                              \
    int wire_get_##name(struct reader *body, struct wire_##name *ret)            \
    {                                                                            \
        struct wire_##name message = {};                                         \
        do {                                                                     \
            FIELDS(GET_FIELD)                                                    \
        } while (0);                                                             \
        if (!reader_done(body))                                                  \
            return -EPROTO;                                                      \
        *ret = message;                                                          \
        return 0;                                                                \
    }                                                                            \
    void wire_put_##name(struct writer *body, const struct wire_##name *message) \
    {                                                                            \
        (void)body;                                                              \
        (void)message;                                                           \
        FIELDS(PUT_FIELD)                                                        \
    }

#define CALL_CODEC(NAME, name, number, repeatable)       \
    MESSAGE_CODEC(name##_request, WIRE_##NAME##_REQUEST) \
    MESSAGE_CODEC(name##_reply, WIRE_##NAME##_REPLY)
#define EVENT_CODEC(NAME, name, number) MESSAGE_CODEC(name##_event, WIRE_##NAME##_EVENT)

WIRE_CALLS(CALL_CODEC)
WIRE_EVENTS(EVENT_CODEC)
