// SPDX-License-Identifier: Apache-2.0
// Field types: their bytes as docs/PROTOCOL.md gives them, written here by hand, and each limit at, below and
// above.
#include "fs/base/check.h"
#include "fs/wire/wire.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

// --- bytes ---

static const struct fs_attr example_attr = {
    .ino = 0x0102030405060708,
    .mode = S_IFREG | 0644,
    .nlink = 2,
    .uid = 1000,
    .gid = 1001,
    .rdev = 0x0a0b0c0d,
    .size = 0x1122334455,
    .blocks = 8,
    .atime = {-1, 999999999},
    .mtime = {2, 3},
    .ctime = {4, 5},
    .btime = {6, 7},
};

#define EXAMPLE_ATTR_BYTES                             \
    "\x08\x07\x06\x05\x04\x03\x02\x01"                 \
    "\xa4\x81\0\0"                                     \
    "\x02\0\0\0"                                       \
    "\xe8\x03\0\0"                                     \
    "\xe9\x03\0\0"                                     \
    "\x0d\x0c\x0b\x0a"                                 \
    "\x55\x44\x33\x22\x11\0\0\0"                       \
    "\x08\0\0\0\0\0\0\0"                               \
    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xc9\x9a\x3b" \
    "\x02\0\0\0\0\0\0\0\x03\0\0\0"                     \
    "\x04\0\0\0\0\0\0\0\x05\0\0\0"                     \
    "\x06\0\0\0\0\0\0\0\x07\0\0\0"

#define ASSERT_BYTES(writer, room, expected)                                  \
    do {                                                                      \
        assert_false((writer).failed);                                        \
        assert_int_equal(sizeof(room) - (writer).left, sizeof(expected) - 1); \
        assert_memory_equal(room, expected, sizeof(expected) - 1);            \
    } while (0)

static void bytes_of_numbers_texts_and_bytes(void **state UNUSED)
{
    uint8_t room[256];
    struct writer writer = writer_on(room, sizeof(room));
    const struct wire_hello_request hello = {
        .version = 1,
        .access_point = {"fsap-1", 6},
        .session_high = 0x0807060504030201,
        .session_low = 9,
        .access_key = {"AK", 2},
        .proof = {"\xde\xad", 2},
        .client_name = {"", 0},
        .want_read_only = 1,
        .want_leases = 0x7f,
    };
    wire_put_hello_request(&writer, &hello);
    ASSERT_BYTES(writer, room,
                 "\x01\0"
                 "\x06\0"
                 "fsap-1"
                 "\x01\x02\x03\x04\x05\x06\x07\x08"
                 "\x09\0\0\0\0\0\0\0"
                 "\x02\0"
                 "AK"
                 "\x02\0\0\0"
                 "\xde\xad"
                 "\0\0"
                 "\x01"
                 "\x7f");
}

static void bytes_of_handles_and_names(void **state UNUSED)
{
    uint8_t room[256];
    struct writer writer = writer_on(room, sizeof(room));
    const struct wire_lookup_request lookup = {
        .parent = {1, 0x8877665544332211}, .name = {"..", 2}, .hold = 3};
    wire_put_lookup_request(&writer, &lookup);
    ASSERT_BYTES(writer, room,
                 "\x01\0\0\0\0\0\0\0\x11\x22\x33\x44\x55\x66\x77\x88\x02\0..\x03\0\0\0\0\0\0\0");
}

static void bytes_of_entries(void **state UNUSED)
{
    uint8_t room[256];
    struct writer writer = writer_on(room, sizeof(room));
    const struct wire_tmpfile_reply made = {.entry = {.handle = {5, 6}, .attr = example_attr}, .lease = 3};
    wire_put_tmpfile_reply(&writer, &made);
    ASSERT_BYTES(writer, room, "\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0" EXAMPLE_ATTR_BYTES "\x03");
}

static void bytes_of_entries_that_may_be_there(void **state UNUSED)
{
    uint8_t room[256];
    struct writer writer = writer_on(room, sizeof(room));
    struct wire_lookup_reply lookup = {
        .entry = {.there = true, .entry = {.handle = {5, 6}, .attr = example_attr}}, .lease = 3};
    wire_put_lookup_reply(&writer, &lookup);
    ASSERT_BYTES(writer, room, "\x01\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0" EXAMPLE_ATTR_BYTES "\x03");

    writer = writer_on(room, sizeof(room));
    lookup.entry.there = false;
    lookup.lease = 2;
    wire_put_lookup_reply(&writer, &lookup);
    ASSERT_BYTES(writer, room, "\0\x02");

    struct reader reader = reader_on("\x02\x02", 2);
    assert_int_equal(wire_get_lookup_reply(&reader, &lookup), -EPROTO);
}

static void bytes_of_locks(void **state UNUSED)
{
    uint8_t room[256];
    struct writer writer = writer_on(room, sizeof(room));
    const struct wire_getlk_reply getlk = {.lock = {.kind = FS_LOCK_FLOCK,
                                                    .type = FS_LOCK_UNLOCK,
                                                    .start = 2,
                                                    .end = INT64_MAX,
                                                    .owner = 3,
                                                    .pid = 0x01020304}};
    wire_put_getlk_reply(&writer, &getlk);
    ASSERT_BYTES(writer, room,
                 "\x01\x02"
                 "\x02\0\0\0\0\0\0\0"
                 "\xff\xff\xff\xff\xff\xff\xff\x7f"
                 "\x03\0\0\0\0\0\0\0"
                 "\x04\x03\x02\x01");
}

static void bytes_of_directory_entries(void **state UNUSED)
{
    uint8_t room[256];
    struct writer writer = writer_on(room, sizeof(room));
    struct wire_dirent dirent = {.handle = {5, 6}, .cookie = 7, .type = S_IFDIR, .name = {".", 1}};
    assert_true(wire_put_dirent(&writer, &dirent));
    dirent = (struct wire_dirent){
        .type = S_IFREG, .name = {"f", 1}, .has_attr = true, .lease = 3, .attr = example_attr};
    assert_true(wire_put_dirent(&writer, &dirent));
    ASSERT_BYTES(writer, room,
                 "\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0"
                 "\x07\0\0\0\0\0\0\0"
                 "\0\x40\0\0"
                 "\x01\0."
                 "\0"
                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                 "\0\0\0\0\0\0\0\0"
                 "\0\x80\0\0"
                 "\x01\0f"
                 "\x01\x03" EXAMPLE_ATTR_BYTES);
}

// --- limits: what put refuses, get refuses too ---

#define ROOM 4096u

// Puts a value that may be wrong by force: encodes a right one, then overwrites bytes at an offset.
struct patched {
    uint8_t bytes[ROOM];
    size_t length;
};

static void patch(struct patched *body, size_t at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        body->bytes[at + i] = (uint8_t)(value >> 8 * i);
}

static void name_limits(void **state UNUSED)
{
    char bytes[FS_NAME_MAX + 1];
    memset(bytes, 'n', sizeof(bytes));
    for (size_t length = FS_NAME_MAX - 1; length <= FS_NAME_MAX + 1; length++) {
        bool valid = length <= FS_NAME_MAX;
        uint8_t room[ROOM];
        struct writer writer = writer_on(room, sizeof(room));
        const struct wire_unlink_request request = {.name = {bytes, length}};
        wire_put_unlink_request(&writer, &request);
        assert_int_equal(writer.failed, !valid);

        writer = writer_on(room, sizeof(room));
        write_u64(&writer, 1);
        write_u64(&writer, 1);
        write_u16(&writer, (uint16_t)length);
        write_bytes(&writer, bytes, length);
        struct reader reader = reader_on(room, sizeof(room) - writer.left);
        struct wire_unlink_request got;
        assert_int_equal(wire_get_unlink_request(&reader, &got), valid ? 0 : -EPROTO);
        write_u64(&writer, 0);
        reader = reader_on(room, sizeof(room) - writer.left);
        struct wire_lookup_request lookup;
        assert_int_equal(wire_get_lookup_request(&reader, &lookup), valid ? 0 : -EPROTO);
    }
}

static void hostile_names(void **state UNUSED)
{
    const struct {
        struct fs_name name;
        bool lookup, entry;
    } cases[] = {
        {{".", 1}, true, false},    {{"..", 2}, true, false},      {{"...", 3}, true, true},
        {{"", 0}, false, false},    {{"a/b", 3}, false, false},    {{"/", 1}, false, false},
        {{"../", 3}, false, false}, {{"a\0", 2}, false, false},    {{".\0", 2}, false, false},
        {{"\0", 1}, false, false},  {{"\xff\xfe", 2}, true, true}, {{"\n", 1}, true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t room[64];
        struct writer writer = writer_on(room, sizeof(room));
        write_u64(&writer, 1);
        write_u64(&writer, 1);
        write_u16(&writer, (uint16_t)cases[i].name.length);
        write_bytes(&writer, cases[i].name.bytes, cases[i].name.length);
        size_t n = sizeof(room) - writer.left;

        struct reader reader = reader_on(room, n);
        struct wire_rmdir_request rmdir;
        assert_int_equal(wire_get_rmdir_request(&reader, &rmdir), cases[i].entry ? 0 : -EPROTO);
        write_u64(&writer, 0);
        reader = reader_on(room, sizeof(room) - writer.left);
        struct wire_lookup_request lookup;
        assert_int_equal(wire_get_lookup_request(&reader, &lookup), cases[i].lookup ? 0 : -EPROTO);
    }
}

static void both_names_of_a_rename_are_checked(void **state UNUSED)
{
    static const char *const names[] = {"a", "..", "b/c"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            uint8_t room[128];
            struct writer writer = writer_on(room, sizeof(room));
            const struct wire_rename_request request = {.name = fs_name_of(names[i]),
                                                        .new_name = fs_name_of(names[j])};
            wire_put_rename_request(&writer, &request);
            assert_int_equal(writer.failed, i > 0 || j > 0);
        }
    }
}

static void text_limits(void **state UNUSED)
{
    char text[WIRE_TEXT_MAX + 1];
    memset(text, 't', sizeof(text));
    for (uint16_t length = WIRE_TEXT_MAX - 1; length <= WIRE_TEXT_MAX + 1; length++) {
        bool valid = length <= WIRE_TEXT_MAX;
        struct wire_hello_request hello = {.client_name = {text, length}};
        uint8_t room[ROOM];
        struct writer writer = writer_on(room, sizeof(room));
        wire_put_hello_request(&writer, &hello);
        assert_int_equal(writer.failed, !valid);

        hello.client_name.length = 0;
        writer = writer_on(room, sizeof(room));
        wire_put_hello_request(&writer, &hello);
        struct patched body = {.length = sizeof(room) - writer.left};
        memcpy(body.bytes, room, body.length);
        size_t at = body.length - 4; // in front of want_read_only
        patch(&body, at, length, 2);
        memcpy(body.bytes + at + 2, text, length);
        body.length += length;
        struct reader reader = reader_on(body.bytes, body.length);
        assert_int_equal(wire_get_hello_request(&reader, &hello), valid ? 0 : -EPROTO);
        body.bytes[at + 2 + length / 2] = '\0';
        reader = reader_on(body.bytes, body.length);
        assert_int_equal(wire_get_hello_request(&reader, &hello), -EPROTO);
    }
}

// A length prefix that claims more than there is, up to the ends of its type: refused without any arithmetic
// going round.
static void lengths_beyond_the_body(void **state UNUSED)
{
    const uint32_t claims[] = {0,       1,          15,         16,         17,         0xffff,    0x10000,
                               0x10010, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffc, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        struct patched body = {.length = 1 + 4 + 16};
        patch(&body, 1, claims[i], 4);
        struct reader reader = reader_on(body.bytes, body.length);
        struct wire_read_reply reply;
        assert_int_equal(wire_get_read_reply(&reader, &reply), claims[i] == 16 ? 0 : -EPROTO);

        body.length = 16 + 2 + 16;
        memset(body.bytes, 'n', sizeof(body.bytes));
        patch(&body, 16, claims[i], 2);
        reader = reader_on(body.bytes, body.length);
        struct wire_unlink_request unlink;
        bool fits = (uint16_t)claims[i] == 16;
        assert_int_equal(wire_get_unlink_request(&reader, &unlink), fits ? 0 : -EPROTO);
    }
}

static void largest_write(void **state UNUSED)
{
    const size_t body_max = WIRE_FRAME_MAX - WIRE_HEADER_SIZE;
    uint8_t *data = calloc(1, FS_IO_MAX), *room = malloc(body_max);
    assert_non_null(data);
    assert_non_null(room);
    static const uint32_t groups[FS_GROUPS_MAX];
    const struct fs_cred cred = {.n_groups = FS_GROUPS_MAX, .groups = groups};
    const struct wire_write_request request = {.data = {data, FS_IO_MAX}};
    struct writer writer = writer_on(room, body_max);
    wire_put_cred(&writer, &cred);
    wire_put_write_request(&writer, &request);
    assert_false(writer.failed);
    free(room);
    free(data);
}

static void time_limits(void **state UNUSED)
{
    const uint32_t nsecs[] = {0, 999999998, 999999999, 1000000000, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(nsecs); i++) {
        bool valid = nsecs[i] <= 999999999;
        struct wire_setattr_request request = {.mtime = {INT64_MIN, nsecs[i]}};
        struct patched body;
        struct writer writer = writer_on(body.bytes, sizeof(body.bytes));
        wire_put_setattr_request(&writer, &request);
        assert_int_equal(writer.failed, !valid);

        request.mtime.nsec = 0;
        writer = writer_on(body.bytes, sizeof(body.bytes));
        wire_put_setattr_request(&writer, &request);
        body.length = sizeof(body.bytes) - writer.left;
        patch(&body, body.length - 4, nsecs[i], 4);
        struct reader reader = reader_on(body.bytes, body.length);
        assert_int_equal(wire_get_setattr_request(&reader, &request), valid ? 0 : -EPROTO);
    }
}

static int get_patched_attr(size_t at, uint64_t value, size_t size)
{
    struct patched body = {.length = sizeof(EXAMPLE_ATTR_BYTES)}; // and no lease: the string's end
    memcpy(body.bytes, EXAMPLE_ATTR_BYTES, body.length);
    patch(&body, at, value, size);
    struct reader reader = reader_on(body.bytes, body.length);
    struct wire_getattr_reply reply;
    return wire_get_getattr_reply(&reader, &reply);
}

static void attribute_limits(void **state UNUSED)
{
    for (uint32_t type = 0; type <= 15; type++) {
        bool known = S_ISREG(type << 12) || S_ISDIR(type << 12) || S_ISLNK(type << 12) ||
                     S_ISFIFO(type << 12) || S_ISSOCK(type << 12) || S_ISCHR(type << 12) ||
                     S_ISBLK(type << 12);
        assert_int_equal(get_patched_attr(8, type << 12 | 0777, 4), known ? 0 : -EPROTO);
    }
    assert_int_equal(get_patched_attr(28, INT64_MAX - 1, 8), 0);
    assert_int_equal(get_patched_attr(28, INT64_MAX, 8), 0);
    assert_int_equal(get_patched_attr(28, (uint64_t)INT64_MAX + 1, 8), -EPROTO);
    for (size_t at = 52; at <= 88; at += 12) { // nsec of each time
        assert_int_equal(get_patched_attr(at, 999999999, 4), 0);
        assert_int_equal(get_patched_attr(at, 1000000000, 4), -EPROTO);
    }
}

static void lock_limits(void **state UNUSED)
{
    const uint64_t end = INT64_MAX;
    const struct {
        uint64_t kind, type, start, end;
        bool valid;
    } cases[] = {
        {0, 0, 0, 0, true},        {1, 2, end, end, true},       {1, 1, 0, end, true},
        {2, 0, 0, 0, false},       {255, 0, 0, 0, false},        {0, 3, 0, 0, false},
        {0, 255, 0, 0, false},     {0, 0, 1, 0, false},          {0, 0, 5, 6, true},
        {0, 0, 6, 6, true},        {0, 0, 7, 6, false},          {0, 0, 0, end - 1, true},
        {0, 0, 0, end + 1, false}, {0, 0, 0, UINT64_MAX, false}, {0, 0, UINT64_MAX, UINT64_MAX, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct patched body = {.length = 1 + 1 + 3 * 8 + 4};
        body.bytes[0] = (uint8_t)cases[i].kind;
        body.bytes[1] = (uint8_t)cases[i].type;
        patch(&body, 2, cases[i].start, 8);
        patch(&body, 10, cases[i].end, 8);
        struct reader reader = reader_on(body.bytes, body.length);
        struct wire_getlk_reply reply;
        assert_int_equal(wire_get_getlk_reply(&reader, &reply), cases[i].valid ? 0 : -EPROTO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_numbers_texts_and_bytes),
        cmocka_unit_test(bytes_of_handles_and_names),
        cmocka_unit_test(bytes_of_entries),
        cmocka_unit_test(bytes_of_entries_that_may_be_there),
        cmocka_unit_test(bytes_of_locks),
        cmocka_unit_test(bytes_of_directory_entries),
        cmocka_unit_test(name_limits),
        cmocka_unit_test(hostile_names),
        cmocka_unit_test(both_names_of_a_rename_are_checked),
        cmocka_unit_test(text_limits),
        cmocka_unit_test(lengths_beyond_the_body),
        cmocka_unit_test(largest_write),
        cmocka_unit_test(time_limits),
        cmocka_unit_test(attribute_limits),
        cmocka_unit_test(lock_limits),
    };
    return cmocka_run_group_tests_name("wire_fields", tests, NULL, NULL);
}
