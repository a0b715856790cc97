// SPDX-License-Identifier: Apache-2.0
// See keep.h. A record is little-endian: version u8, flags u8, id_high u64, root u64, identity u8, read_only
// u8, uid u32, gid u32, access point (length u8, bytes), principal (the same), groups (count u16, u32 each).
// A reply is the frame as it was sent.
#include "server/keep.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION   1u
#define RECORD_EXPIRED   (1u << 0) // nothing was heard of it for a lease time
#define RECORD_LOST      (1u << 1) // power loss: it may claim what it held, under a new session
#define RECORD_MISSED    (1u << 2) // others may have locked what it held
#define RECORD_UNSETTLED (1u << 3) // others may keep bytes that pages which it wrote have made old

_Static_assert(32 + FS_ID_SIZE + SESSION_TEXT_SIZE + 4 * FS_GROUPS_MAX <= STORE_SESSION_PART_MAX,
               "a record fits in a part");
_Static_assert(SESSION_REPLY_KEPT_MAX <= STORE_SESSION_PART_MAX && SESSION_SLOTS < STORE_SESSION_PARTS,
               "replies fit in parts");

// --- records ---

static void write_text(struct writer *writer, const char *text)
{
    size_t n = strlen(text);
    write_u8(writer, (uint8_t)n);
    write_bytes(writer, text, n);
}

static bool read_text(struct reader *reader, char *text, size_t size)
{
    size_t n = read_u8(reader);
    const uint8_t *bytes = n < size ? read_bytes(reader, n) : NULL;
    if (!bytes || memchr(bytes, '\0', n))
        return false;
    memcpy(text, bytes, n);
    text[n] = '\0';
    return true;
}

static size_t encode(const struct attached *attached, uint8_t *bytes, size_t room)
{
    const struct session *session = attached->session;
    const struct session_identity *identity = &session->identity;
    struct writer writer = writer_on(bytes, room);
    write_u8(&writer, RECORD_VERSION);
    write_u8(&writer, (attached->expired ? RECORD_EXPIRED : 0) | (attached->lost ? RECORD_LOST : 0) |
                          (attached->missed ? RECORD_MISSED : 0) |
                          (attached->unsettled ? RECORD_UNSETTLED : 0));
    write_u64(&writer, session->id_high);
    write_u64(&writer, session->root);
    write_u8(&writer, identity->how);
    write_u8(&writer, identity->read_only);
    write_u32(&writer, identity->uid);
    write_u32(&writer, identity->gid);
    write_text(&writer, identity->access_point);
    write_text(&writer, identity->principal);
    write_u16(&writer, (uint16_t)identity->n_groups);
    for (uint32_t i = 0; i < identity->n_groups; i++)
        write_u32(&writer, identity->groups[i]);
    fs_assert(!writer.failed);
    return room - writer.left;
}

static bool read_groups(struct reader *reader, struct session_identity *identity)
{
    uint32_t n = read_u16(reader);
    if (n > FS_GROUPS_MAX || reader->left != n * sizeof(*identity->groups))
        return false;
    identity->groups = n > 0 ? calloc(n, sizeof(*identity->groups)) : NULL;
    identity->n_groups = identity->groups ? n : 0;
    for (uint32_t i = 0; i < identity->n_groups; i++)
        identity->groups[i] = read_u32(reader);
    return identity->n_groups == n;
}

// On success `identity->groups` is the caller's.
static int decode(struct reader reader, struct session_identity *identity, uint8_t *ret_flags,
                  uint64_t *ret_high, fs_ino *ret_root)
{
    if (read_u8(&reader) != RECORD_VERSION)
        return -EUCLEAN;
    uint8_t flags = read_u8(&reader);
    uint64_t high = read_u64(&reader), root = read_u64(&reader);
    identity->how = read_u8(&reader);
    identity->read_only = read_u8(&reader) != 0;
    identity->uid = read_u32(&reader);
    identity->gid = read_u32(&reader);
    bool whole = read_text(&reader, identity->access_point, sizeof(identity->access_point)) &&
                 read_text(&reader, identity->principal, sizeof(identity->principal)) &&
                 read_groups(&reader, identity);
    if (!whole || reader.failed || identity->how > WIRE_IDENTITY_FIXED || root == 0 || root > INT64_MAX) {
        free(identity->groups);
        return -EUCLEAN;
    }
    *ret_flags = flags;
    *ret_high = high;
    *ret_root = root;
    return 0;
}

// --- writing ---

int keep_session(struct hosted *hosted, const struct attached *attached)
{
    uint8_t bytes[STORE_SESSION_PART_MAX];
    int result = core_turn_write(hosted->core);
    if (result < 0)
        return result;
    size_t n = encode(attached, bytes, sizeof(bytes));
    return store_session_put(hosted->store, attached->session->id_low, 0, bytes, n);
}

void keep_reply(struct hosted *hosted, const struct request *request)
{
    const struct out *reply = request->reply;
    int result = core_turn_write(hosted->core);
    if (result == 0)
        result = store_session_put(hosted->store, request->attached->session->id_low, request->slot,
                                   reply->bytes, reply->length);
    if (result < 0)
        core_turn_doom(hosted->core, result);
}

void keep_forget(struct hosted *hosted, const struct session *session)
{
    if (table_get(&hosted->forgotten, session->id_low))
        return;
    struct table_node *node = calloc(1, sizeof(*node));
    if (node && table_put(&hosted->forgotten, node, session->id_low) == 0)
        return;
    free(node);
    core_turn_doom(hosted->core, -ENOMEM);
}

static int put_changed(struct hosted *hosted)
{
    int result = 0;
    list_for_each (node, &hosted->changed) {
        if (result == 0)
            result = keep_session(hosted, LIST_ENTRY(node, struct attached, changed));
    }
    return result;
}

static int remove_forgotten(struct hosted *hosted)
{
    int result = 0;
    for (struct table_node *node = table_first(&hosted->forgotten); node && result == 0;
         node = table_next(&hosted->forgotten, node)) {
        result = store_session_remove(hosted->store, node->key);
        if (result == -ENOENT)
            result = 0;
    }
    return result;
}

bool keep_before_commit(struct hosted *hosted)
{
    if (!keep_owes(hosted))
        return false;
    bool wrote = store_in_transaction(hosted->store);
    int result = core_turn_write(hosted->core);
    if (result == 0)
        result = put_changed(hosted);
    if (result == 0)
        result = remove_forgotten(hosted);
    if (result < 0 && wrote)
        core_turn_doom(hosted->core, result);
    else if (result < 0 && store_in_transaction(hosted->store))
        store_rollback(hosted->store);
    return result == 0;
}

static void drop_forgotten(struct hosted *hosted)
{
    struct table_node *node;
    while ((node = table_first(&hosted->forgotten))) {
        table_remove(&hosted->forgotten, node);
        free(node);
    }
}

void keep_after_commit(struct hosted *hosted)
{
    drop_forgotten(hosted);
    while (list_pop(&hosted->changed)) {
    }
}

void keep_free(struct hosted *hosted)
{
    drop_forgotten(hosted);
    table_free(&hosted->forgotten);
}

// --- loading ---

struct load {
    struct hosted *hosted;
    struct attached *attached; // whose parts are coming
    int result;
};

static int load_session(struct load *load, uint64_t id, struct reader record)
{
    struct session_identity identity = {0};
    uint8_t flags;
    uint64_t high;
    fs_ino root;
    int result = decode(record, &identity, &flags, &high, &root);
    if (result < 0)
        return result;
    struct attached *attached;
    result = attached_new(load->hosted, &identity, high, id, &attached);
    if (result < 0) {
        free(identity.groups);
        return result;
    }
    attached_set_root(attached, root);
    attached->expired = attached->kept_expired = flags & RECORD_EXPIRED;
    attached->missed = attached->kept_missed = attached->missed_before = flags & RECORD_MISSED;
    attached->unsettled = attached->kept_unsettled = attached->unsettled_then = flags & RECORD_UNSETTLED;
    load->hosted->unsettled_before |= attached->kept_unsettled;
    if (attached->expired)
        atomic_fetch_sub(&load->hosted->place->sessions, 1);
    attached->lost = (flags & RECORD_LOST) || !load->hosted->log_continuous;
    if (attached->lost && !(flags & RECORD_LOST))
        attached_keep(attached);
    session_loosen(attached->session);
    load->attached = attached;
    return 0;
}

static bool reply_valid(uint32_t slot, const void *bytes, size_t n, struct wire_header *ret_header)
{
    return slot <= SESSION_SLOTS && n >= WIRE_HEADER_SIZE && n <= SESSION_REPLY_KEPT_MAX &&
           wire_get_header(bytes, ret_header) == 0 && ret_header->length == n && ret_header->slot == slot &&
           wire_op_is_call(ret_header->op);
}

// A reply of a session that is lost answers nobody any more.
static int load_reply(const struct load *load, uint32_t slot, const void *bytes, size_t n)
{
    struct wire_header header;
    if (!reply_valid(slot, bytes, n, &header))
        return -EUCLEAN;
    if (load->attached->lost)
        return 0;
    struct out *kept = out_new(n - WIRE_HEADER_SIZE);
    if (!kept)
        return -ENOMEM;
    memcpy(kept->bytes, bytes, n);
    session_restore(load->attached->session, &header, kept);
    return 0;
}

static bool load_part(void *context, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    struct load *load = context;
    if (part == 0)
        load->result = load_session(load, id, reader_on(bytes, n));
    else if (!load->attached || load->attached->session->id_low != id)
        load->result = -EUCLEAN;
    else
        load->result = load_reply(load, part, bytes, n);
    return load->result == 0;
}

int keep_load(struct hosted *hosted)
{
    struct load load = {.hosted = hosted};
    int result = store_session_list(hosted->store, load_part, &load);
    return result < 0 ? result : load.result;
}

bool keep_part_valid(uint32_t part, const void *bytes, size_t n)
{
    struct session_identity identity = {0};
    struct wire_header header;
    uint8_t flags;
    uint64_t high;
    fs_ino root;
    if (part > 0)
        return reply_valid(part, bytes, n, &header);
    if (decode(reader_on(bytes, n), &identity, &flags, &high, &root) < 0)
        return false;
    free(identity.groups);
    return true;
}
