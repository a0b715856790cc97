// SPDX-License-Identifier: Apache-2.0
// What surrounds messages: headers, credentials, operations' names, packed directory entries, the hello's
// proof input.
#include "fs/base/check.h"
#include "fs/wire/wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

// --- headers ---

static void header_bytes(void **state UNUSED)
{
    const struct wire_header header = {
        .length = 0x01020, .op = 0x0304, .slot = 0x0506, .seq = 0x0708090a, .status = 0x0b0c0d0e};
    static const uint8_t expected[WIRE_HEADER_SIZE] = {0x20, 0x10, 0,    0,    0x04, 0x03, 0x06, 0x05,
                                                       0x0a, 0x09, 0x08, 0x07, 0x0e, 0x0d, 0x0c, 0x0b};
    uint8_t bytes[WIRE_HEADER_SIZE];
    wire_put_header(bytes, &header);
    assert_memory_equal(bytes, expected, sizeof(expected));
    struct wire_header got;
    assert_int_equal(wire_get_header(bytes, &got), 0);
    assert_int_equal(got.length, header.length);
    assert_int_equal(got.op, header.op);
    assert_int_equal(got.slot, header.slot);
    assert_int_equal(got.seq, header.seq);
    assert_int_equal(got.status, header.status);
}

static void header_length_limits(void **state UNUSED)
{
    const struct {
        uint32_t length;
        int expected;
    } cases[] = {
        {0, -EPROTO},
        {WIRE_HEADER_SIZE - 1, -EPROTO},
        {WIRE_HEADER_SIZE, 0},
        {WIRE_HEADER_SIZE + 1, 0},
        {WIRE_FRAME_MAX - 1, 0},
        {WIRE_FRAME_MAX, 0},
        {WIRE_FRAME_MAX + 1, -EPROTO},
        {INT32_MAX, -EPROTO},
        {UINT32_MAX, -EPROTO},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[WIRE_HEADER_SIZE];
        wire_put_header(bytes, &(struct wire_header){.length = cases[i].length, .op = 9999});
        struct wire_header header = {.op = 7};
        assert_int_equal(wire_get_header(bytes, &header), cases[i].expected);
        assert_int_equal(header.op, cases[i].expected == 0 ? 9999 : 7);
    }
}

// --- credentials ---

static void credentials_round_trip(void **state UNUSED)
{
    static uint32_t groups[FS_GROUPS_MAX], got_groups[FS_GROUPS_MAX];
    static uint8_t bytes[8192];
    for (uint32_t i = 0; i < FS_GROUPS_MAX; i++)
        groups[i] = i * 2654435761u;
    const uint32_t counts[] = {0, 1, FS_GROUPS_MAX - 1, FS_GROUPS_MAX};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        const struct fs_cred cred = {.uid = 1, .gid = UINT32_MAX, .n_groups = counts[i], .groups = groups};
        struct writer writer = writer_on(bytes, sizeof(bytes));
        wire_put_cred(&writer, &cred);
        write_u8(&writer, 0x5a); // the request begins here
        assert_false(writer.failed);
        struct reader reader = reader_on(bytes, sizeof(bytes) - writer.left);
        struct fs_cred got;
        assert_int_equal(wire_get_cred(&reader, &got, got_groups), 0);
        assert_int_equal(got.uid, 1);
        assert_int_equal(got.gid, UINT32_MAX);
        assert_int_equal(got.n_groups, counts[i]);
        assert_ptr_equal(got.groups, got_groups);
        assert_memory_equal(got_groups, groups, counts[i] * sizeof(uint32_t));
        assert_int_equal(read_u8(&reader), 0x5a);
        assert_true(reader_done(&reader));
    }
}

static void too_many_groups(void **state UNUSED)
{
    static uint32_t groups[FS_GROUPS_MAX + 1];
    static uint8_t bytes[8192];
    const struct fs_cred cred = {.n_groups = FS_GROUPS_MAX + 1, .groups = groups};
    struct writer writer = writer_on(bytes, sizeof(bytes));
    wire_put_cred(&writer, &cred);
    assert_true(writer.failed);

    const uint32_t claims[] = {FS_GROUPS_MAX + 1, 0x40000000, 0x40000001, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        writer = writer_on(bytes, sizeof(bytes));
        write_u64(&writer, 0);
        write_u32(&writer, claims[i]);
        struct reader reader = reader_on(bytes, sizeof(bytes));
        struct fs_cred got;
        assert_int_equal(wire_get_cred(&reader, &got, groups), -EPROTO);
        assert_true(reader.failed);
    }
}

static void cut_credentials(void **state UNUSED)
{
    static const uint32_t groups[3] = {1, 2, 3};
    uint8_t bytes[24];
    struct writer writer = writer_on(bytes, sizeof(bytes));
    wire_put_cred(&writer, &(struct fs_cred){.n_groups = 3, .groups = groups});
    assert_int_equal(writer.left, 0);
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        uint8_t *block = malloc(n + 1);
        assert_non_null(block);
        memcpy(block + 1, bytes, n); // ends with the block
        struct reader reader = reader_on(block + 1, n);
        uint32_t got_groups[FS_GROUPS_MAX];
        struct fs_cred got;
        assert_int_equal(wire_get_cred(&reader, &got, got_groups), n == sizeof(bytes) ? 0 : -EPROTO);
        free(block);
    }
}

// --- operations ---

static void operation_names(void **state UNUSED)
{
    const struct {
        const char *name;
        uint16_t op;
        bool call;
    } cases[] = {
        {"greeting", 1, false},  {"hello", 2, true},        {"lookup", 16, true},      {"cancel", 38, true},
        {"granted", 64, false},  {"unknown", 0, false},     {"unknown", 5, false},     {"unknown", 15, false},
        {"unknown", 47, false},  {"unknown", 63, false},    {"invalidate", 65, false}, {"dropped", 66, false},
        {"kept", 68, false},     {"closed", 69, false},     {"accessed", 70, false},   {"unknown", 71, false},
        {"unknown", 256, false}, {"unknown", 65535, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(wire_op_name(cases[i].op), cases[i].name);
        assert_int_equal(wire_op_is_call(cases[i].op), cases[i].call);
    }
}

// What changes something that a second execution would change again or refuse.
static void what_may_not_be_repeated(void **state UNUSED)
{
    static const uint16_t once[] = {WIRE_SETATTR,     WIRE_MAKE,      WIRE_LINK,    WIRE_UNLINK,
                                    WIRE_RMDIR,       WIRE_RENAME,    WIRE_OPEN,    WIRE_CREATE,
                                    WIRE_WRITE,       WIRE_APPEND,    WIRE_TMPFILE, WIRE_SETXATTR,
                                    WIRE_REMOVEXATTR, WIRE_COPY_RANGE};
    for (uint16_t op = 0; op <= WIRE_OP_LIMIT; op++) {
        bool listed = false;
        for (size_t i = 0; i < ARRAY_LEN(once); i++)
            listed = listed || once[i] == op;
        assert_int_equal(wire_op_repeatable(op), wire_op_is_call(op) && !listed);
    }
}

// --- directory entries ---

static const struct wire_dirent dirents[] = {
    {.cookie = 1, .type = S_IFDIR, .name = {".", 1}, .handle = {.ino = 1}},
    {.cookie = 2, .type = S_IFDIR, .name = {"..", 2}, .handle = {.ino = 1}},
    {.cookie = UINT64_MAX,
     .type = S_IFLNK,
     .name = {"link", 4},
     .handle = {9, 10},
     .has_attr = true,
     .attr = {.ino = 9, .mode = S_IFLNK | 0777, .nlink = 1, .size = 3, .mtime = {5, 6}}},
};

// Packs as many as fit; returns the bytes used.
static size_t pack(uint8_t *bytes, size_t room, size_t *ret_n)
{
    struct writer writer = writer_on(bytes, room);
    *ret_n = 0;
    while (*ret_n < ARRAY_LEN(dirents) && wire_put_dirent(&writer, &dirents[*ret_n]))
        (*ret_n)++;
    assert_false(writer.failed);
    return room - writer.left;
}

static void directory_entries_round_trip(void **state UNUSED)
{
    uint8_t bytes[512];
    size_t n;
    struct reader reader = reader_on(bytes, pack(bytes, sizeof(bytes), &n));
    assert_int_equal(n, ARRAY_LEN(dirents));
    for (size_t i = 0; i < n; i++) {
        struct wire_dirent got;
        assert_int_equal(wire_get_dirent(&reader, &got), 1);
        assert_int_equal(got.handle.ino, dirents[i].handle.ino);
        assert_int_equal(got.handle.mac, dirents[i].handle.mac);
        assert_int_equal(got.cookie, dirents[i].cookie);
        assert_int_equal(got.type, dirents[i].type);
        assert_int_equal(got.name.length, dirents[i].name.length);
        assert_memory_equal(got.name.bytes, dirents[i].name.bytes, got.name.length);
        assert_int_equal(got.has_attr, dirents[i].has_attr);
        assert_int_equal(got.attr.mtime.nsec, dirents[i].attr.mtime.nsec);
    }
    struct wire_dirent got;
    assert_int_equal(wire_get_dirent(&reader, &got), 0);
    assert_int_equal(wire_get_dirent(&reader, &got), 0);
}

// In any room, a whole number of entries is packed; in any cut of a packing, the whole ones are read, then an
// error.
static void directory_entries_are_whole(void **state UNUSED)
{
    uint8_t bytes[512];
    size_t all, ends[ARRAY_LEN(dirents) + 1] = {0};
    size_t length = pack(bytes, sizeof(bytes), &all);
    for (size_t room = 0; room <= length; room++) {
        size_t n;
        uint8_t other[512];
        size_t used = pack(other, room, &n);
        ends[n] = used;
        assert_memory_equal(bytes, other, used);

        struct reader reader = reader_on(bytes, room);
        struct wire_dirent got;
        size_t n_read = 0;
        int r;
        while ((r = wire_get_dirent(&reader, &got)) == 1)
            n_read++;
        assert_int_equal(n_read, n);
        assert_int_equal(r, room == ends[n] ? 0 : -EPROTO);
        assert_int_equal(wire_get_dirent(&reader, &got), r);
    }
    assert_int_equal(ends[ARRAY_LEN(dirents)], length);
}

static void invalid_directory_entries(void **state UNUSED)
{
    uint8_t bytes[512];
    size_t n;
    pack(bytes, sizeof(bytes), &n);
    const size_t length = 16 + 8 + 4 + 2 + 1 + 1; // of the first one
    const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{25, 0}, {25, 0x30}, {28, 0}, {29, 1}, {30, '/'}, {30, 0}, {31, 1}, {31, 2}, {31, 255}};
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        uint8_t changed[32];
        assert_int_equal(length, sizeof(changed));
        memcpy(changed, bytes, length);
        changed[changes[i].at] = changes[i].value;
        struct reader reader = reader_on(changed, length);
        struct wire_dirent got = {.cookie = 77};
        assert_int_equal(wire_get_dirent(&reader, &got), -EPROTO);
        assert_int_equal(got.cookie, 77);
    }
    struct writer writer = writer_on(bytes, sizeof(bytes));
    assert_false(wire_put_dirent(&writer, &(struct wire_dirent){.type = S_IFREG, .name = {"a/b", 3}}));
    assert_false(wire_put_dirent(&writer, &(struct wire_dirent){.type = 0, .name = {"a", 1}}));
    assert_int_equal(writer.left, sizeof(bytes));
}

// --- hello ---

static void proof_input_bytes(void **state UNUSED)
{
    uint8_t out[WIRE_HELLO_PROOF_INPUT_MAX];
    const struct wire_hello_request hello = {.version = 1,
                                             .access_point = {"fsap-1", 6},
                                             .session_high = 2,
                                             .session_low = 3,
                                             .want_read_only = 1};
    static const char expected[] = "berth-hello-1"
                                   "0123456789abcdef"
                                   "\x02\0tb"
                                   "\x06\0fsap-1"
                                   "\x02\0\0\0\0\0\0\0"
                                   "\x03\0\0\0\0\0\0\0"
                                   "\x01\0"
                                   "\x01";
    size_t n =
        wire_hello_proof_input(out, (wire_bytes){"0123456789abcdef", 16}, (wire_bytes){"tb", 2}, &hello);
    assert_int_equal(n, sizeof(expected) - 1);
    assert_memory_equal(out, expected, n);
}

static void proof_input_limits(void **state UNUSED)
{
    uint8_t out[WIRE_HELLO_PROOF_INPUT_MAX];
    static const char bytes[WIRE_TEXT_MAX];
    const struct wire_hello_request hello = {.access_point = {bytes, WIRE_TEXT_MAX}};
    const wire_bytes nonce = {bytes, WIRE_NONCE_SIZE}, binding = {bytes, WIRE_BINDING_MAX};
    assert_true(wire_hello_proof_input(out, nonce, binding, &hello) > 0);
    assert_int_equal(wire_hello_proof_input(out, (wire_bytes){bytes, 15}, binding, &hello), 0);
    assert_int_equal(wire_hello_proof_input(out, (wire_bytes){bytes, 17}, binding, &hello), 0);
    assert_int_equal(wire_hello_proof_input(out, nonce, (wire_bytes){bytes, WIRE_BINDING_MAX + 1}, &hello),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_bytes),
        cmocka_unit_test(header_length_limits),
        cmocka_unit_test(credentials_round_trip),
        cmocka_unit_test(too_many_groups),
        cmocka_unit_test(cut_credentials),
        cmocka_unit_test(operation_names),
        cmocka_unit_test(what_may_not_be_repeated),
        cmocka_unit_test(directory_entries_round_trip),
        cmocka_unit_test(directory_entries_are_whole),
        cmocka_unit_test(invalid_directory_entries),
        cmocka_unit_test(proof_input_bytes),
        cmocka_unit_test(proof_input_limits),
    };
    return cmocka_run_group_tests_name("wire_frame", tests, NULL, NULL);
}
