// SPDX-License-Identifier: Apache-2.0
// Fuzzes every decoder of fs/wire. The rule: what is accepted encodes to exactly the bytes that were
// accepted, so nothing is read that is not there and no two byte strings mean the same.
//
// Input: u8 what to decode, u16 which message (for bodies), then the bytes.
#include "tests/fuzz/fuzz.h"
#include "tests/unit/wire_codecs.h"
#include <string.h>

enum target { BODY, HEADER, CRED, DIRENTS, N_TARGETS };

static void check_same(struct reader input, const struct writer *output, const uint8_t *encoded, size_t room)
{
    fs_assert(!output->failed);
    fs_assert(room - output->left == input.left);
    fs_assert(input.left == 0 || memcmp(input.at, encoded, input.left) == 0);
}

static void check_proof_input(const struct wire_hello_request *hello)
{
    static const uint8_t nonce[WIRE_NONCE_SIZE], binding[WIRE_BINDING_MAX];
    uint8_t out[WIRE_HELLO_PROOF_INPUT_MAX];
    size_t n = wire_hello_proof_input(out, (wire_bytes){nonce, sizeof(nonce)},
                                      (wire_bytes){binding, sizeof(binding)}, hello);
    fs_assert(n > 0 && n <= sizeof(out));
}

static void check_body(const struct wire_codec *codec, struct reader body, uint8_t *out)
{
    union wire_any_message message;
    const struct reader input = body;
    if (codec->get(&body, &message) < 0)
        return;
    struct writer writer = writer_on(out, input.left);
    codec->put(&writer, &message);
    check_same(input, &writer, out, input.left);
    if (strcmp(codec->name, "hello_request") == 0)
        check_proof_input(&message.hello_request);
}

static void check_header(struct reader bytes)
{
    struct wire_header header;
    if (bytes.left < WIRE_HEADER_SIZE || wire_get_header(bytes.at, &header) < 0)
        return;
    fs_assert(header.length >= WIRE_HEADER_SIZE && header.length <= WIRE_FRAME_MAX);
    uint8_t out[WIRE_HEADER_SIZE];
    wire_put_header(out, &header);
    fs_assert(memcmp(out, bytes.at, sizeof(out)) == 0);
    bool known = strcmp(wire_op_name(header.op), "unknown") != 0;
    fs_assert(known || (!wire_op_is_call(header.op) && !wire_op_repeatable(header.op)));
}

static void check_cred(struct reader body, uint8_t *out)
{
    uint32_t groups[FS_GROUPS_MAX];
    struct fs_cred cred;
    struct reader input = body;
    if (wire_get_cred(&body, &cred, groups) < 0)
        return;
    input.left -= body.left; // what stands behind it is the request's
    struct writer writer = writer_on(out, input.left);
    wire_put_cred(&writer, &cred);
    check_same(input, &writer, out, input.left);
}

static void check_dirents(struct reader entries, uint8_t *out)
{
    struct wire_dirent dirent;
    struct reader input = entries;
    struct writer writer = writer_on(out, input.left);
    int r;
    while ((r = wire_get_dirent(&entries, &dirent)) == 1)
        fs_assert(wire_put_dirent(&writer, &dirent));
    if (r < 0) // the whole entries before the bad one
        input.left -= writer.left;
    check_same(input, &writer, out, writer.left + input.left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_on(data, size);
    uint8_t target = read_u8(&input);
    uint16_t message = read_u16(&input);
    if (input.failed)
        return 0;
    uint8_t *out = malloc(MAX(input.left, 1u));
    fs_assert(out);
    switch (target % N_TARGETS) {
    case BODY:
        check_body(&wire_codecs[message % ARRAY_LEN(wire_codecs)], input, out);
        break;
    case HEADER:
        check_header(input);
        break;
    case CRED:
        check_cred(input, out);
        break;
    case DIRENTS:
        check_dirents(input, out);
        break;
    }
    free(out);
    return 0;
}

// --- valid inputs: one of each message, with one value for each field type ---

static const wire_u8 valid_u8 = 1;
static const wire_u16 valid_u16 = 1;
static const wire_u32 valid_u32 = 1;
static const wire_u64 valid_u64 = 1;
static const wire_handle valid_handle = {1, 2};
static const wire_name valid_name = {"name", 4};
static const wire_lookup_name valid_lookup_name = {"..", 2};
static const wire_text valid_text = {"text", 4};
static const wire_bytes valid_bytes = {"bytes", 5};
static const wire_time valid_time = {1, 999999999};
static const wire_attr valid_attr = {.ino = 1, .mode = S_IFREG | 0644, .nlink = 1};
static const wire_entry valid_entry = {.handle = {1, 2}, .attr = {.ino = 1, .mode = S_IFDIR | 0755}};
static const wire_maybe_entry valid_maybe_entry = {
    .there = true, .entry = {.handle = {1, 2}, .attr = {.ino = 1, .mode = S_IFDIR | 0755}}};
static const wire_lock valid_lock = {.kind = FS_LOCK_FLOCK, .end = INT64_MAX, .owner = 1};

#define VALID_FIELD(type, member) message->member = valid_##type;
#define VALID_MESSAGE(name, FIELDS)                      \
    static void fill_##name(union wire_any_message *any) \
    {                                                    \
        struct wire_##name *message = &any->name;        \
        (void)message;                                   \
        FIELDS(VALID_FIELD)                              \
    }
#define VALID_CALL(NAME, name, number, repeatable) \
    VALID_MESSAGE(name##_request, WIRE_##NAME##_REQUEST) VALID_MESSAGE(name##_reply, WIRE_##NAME##_REPLY)
#define VALID_EVENT(NAME, name, number) VALID_MESSAGE(name##_event, WIRE_##NAME##_EVENT)
WIRE_CALLS(VALID_CALL)
WIRE_EVENTS(VALID_EVENT)

// In the order of wire_codecs.
#define FILL_CALL(NAME, name, number, repeatable) fill_##name##_request, fill_##name##_reply,
#define FILL_EVENT(NAME, name, number)            fill_##name##_event,
static void (*const fill[])(union wire_any_message *any) = {WIRE_CALLS(FILL_CALL) WIRE_EVENTS(FILL_EVENT)};

static void put_other_seed(enum target target, struct writer *writer)
{
    if (target == HEADER) {
        uint8_t header[WIRE_HEADER_SIZE];
        wire_put_header(header, &(struct wire_header){.length = WIRE_HEADER_SIZE, .op = WIRE_PING});
        write_bytes(writer, header, sizeof(header));
    } else if (target == CRED) {
        static const uint32_t groups[] = {1, 2, 3};
        wire_put_cred(writer, &(struct fs_cred){.uid = 1, .n_groups = ARRAY_LEN(groups), .groups = groups});
    } else {
        struct wire_dirent dirent = {.cookie = 1, .type = S_IFDIR, .name = fs_name_of(".")};
        fs_assert(wire_put_dirent(writer, &dirent));
        dirent =
            (struct wire_dirent){.type = S_IFREG, .name = valid_name, .has_attr = true, .attr = valid_attr};
        fs_assert(wire_put_dirent(writer, &dirent));
    }
}

size_t fuzz_seed(size_t i, uint8_t *out, size_t out_size)
{
    const size_t n_bodies = ARRAY_LEN(wire_codecs);
    if (i >= n_bodies + N_TARGETS - 1)
        return 0;
    struct writer writer = writer_on(out, out_size);
    enum target target = i < n_bodies ? BODY : (enum target)(i - n_bodies + 1);
    write_u8(&writer, (uint8_t)target);
    write_u16(&writer, (uint16_t)i);
    if (target == BODY) {
        union wire_any_message any = {0};
        fill[i](&any);
        wire_codecs[i].put(&writer, &any);
    } else {
        put_other_seed(target, &writer);
    }
    fs_assert(!writer.failed);
    return out_size - writer.left;
}
