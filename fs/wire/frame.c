// SPDX-License-Identifier: Apache-2.0
// What surrounds a message: the frame's header, the caller's credentials, and what an operation's number
// means. Pure; any thread.
#include "fs/base/check.h"
#include "fs/wire/wire.h"
#include <errno.h>

int wire_get_header(const uint8_t bytes[WIRE_HEADER_SIZE], struct wire_header *ret_header)
{
    struct reader reader = reader_on(bytes, WIRE_HEADER_SIZE);
    struct wire_header header;
    header.length = read_u32(&reader);
    header.op = read_u16(&reader);
    header.slot = read_u16(&reader);
    header.seq = read_u32(&reader);
    header.status = read_u32(&reader);
    if (header.length < WIRE_HEADER_SIZE || header.length > WIRE_FRAME_MAX)
        return -EPROTO;
    *ret_header = header;
    return 0;
}

void wire_put_header(uint8_t bytes[WIRE_HEADER_SIZE], const struct wire_header *header)
{
    struct writer writer = writer_on(bytes, WIRE_HEADER_SIZE);
    write_u32(&writer, header->length);
    write_u16(&writer, header->op);
    write_u16(&writer, header->slot);
    write_u32(&writer, header->seq);
    write_u32(&writer, header->status);
}

int wire_get_cred(struct reader *body, struct fs_cred *ret_cred, uint32_t groups[FS_GROUPS_MAX])
{
    struct fs_cred cred = {.groups = groups};
    cred.uid = read_u32(body);
    cred.gid = read_u32(body);
    cred.n_groups = read_u32(body);
    if (body->failed || cred.n_groups > FS_GROUPS_MAX || cred.n_groups > body->left / sizeof(uint32_t)) {
        body->failed = true;
        return -EPROTO;
    }
    for (uint32_t i = 0; i < cred.n_groups; i++)
        groups[i] = read_u32(body);
    *ret_cred = cred;
    return 0;
}

void wire_put_cred(struct writer *body, const struct fs_cred *cred)
{
    if (cred->n_groups > FS_GROUPS_MAX) {
        body->failed = true;
        return;
    }
    write_u32(body, cred->uid);
    write_u32(body, cred->gid);
    write_u32(body, cred->n_groups);
    for (uint32_t i = 0; i < cred->n_groups; i++)
        write_u32(body, cred->groups[i]);
}

// --- operations ---

struct op {
    const char *name; // NULL for a number that is none
    bool call, repeatable;
};

static const struct op ops[WIRE_OP_LIMIT] = {
#define CALL_OP(NAME, op_name, number, may_repeat) \
    [number] = {.name = #op_name, .call = true, .repeatable = (may_repeat)},
#define EVENT_OP(NAME, op_name, number) [number] = {.name = #op_name},
    WIRE_CALLS(CALL_OP) WIRE_EVENTS(EVENT_OP)};

const char *wire_op_name(uint16_t op)
{
    return op < ARRAY_LEN(ops) && ops[op].name ? ops[op].name : "unknown";
}

bool wire_op_is_call(uint16_t op)
{
    return op < ARRAY_LEN(ops) && ops[op].call;
}

bool wire_op_repeatable(uint16_t op)
{
    return op < ARRAY_LEN(ops) && ops[op].repeatable;
}
