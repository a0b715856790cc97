// SPDX-License-Identifier: Apache-2.0
// Every message of messages.def, alike: random values come back as they went; whatever is cut off, appended
// or changed on the way is refused or means something that encodes to exactly those bytes. Bodies lie at the
// end of their own heap block, so that a sanitizer build sees any step past them.
#include "tests/unit/wire_codecs.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BODY_MAX 16384u // bytes; above the largest body made here

// --- random values ---

struct random {
    uint64_t state;
    uint8_t strings[BODY_MAX]; // what the names, texts and bytes of the current message point into
    size_t strings_used;
};

static uint64_t next(struct random *random)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (random->state >> 33) * 0x9e3779b97f4a7c15u;
}

static uint64_t below(struct random *random, uint64_t limit)
{
    return (next(random) >> 8) % limit;
}

static char *random_string(struct random *random, size_t length)
{
    uint8_t *string = random->strings + random->strings_used;
    random->strings_used += length;
    assert_true(random->strings_used <= sizeof(random->strings));
    for (size_t i = 0; i < length; i++)
        string[i] = (uint8_t)(next(random) >> 16);
    return (char *)string;
}

static void replace(char *string, size_t length, char unwanted)
{
    for (size_t i = 0; i < length; i++) {
        if (string[i] == unwanted)
            string[i] = 'r';
    }
}

static void random_u8(struct random *random, wire_u8 *ret)
{
    *ret = (uint8_t)(next(random) >> 16);
}

static void random_u16(struct random *random, wire_u16 *ret)
{
    *ret = (uint16_t)(next(random) >> 16);
}

static void random_u32(struct random *random, wire_u32 *ret)
{
    *ret = (uint32_t)(next(random) >> 16);
}

static void random_u64(struct random *random, wire_u64 *ret)
{
    *ret = next(random);
}

static void random_handle(struct random *random, wire_handle *ret)
{
    *ret = (wire_handle){.ino = next(random), .mac = next(random)};
}

static void random_name(struct random *random, wire_name *ret)
{
    size_t length = 1 + below(random, FS_NAME_MAX);
    char *bytes = random_string(random, length);
    replace(bytes, length, '\0');
    replace(bytes, length, '/');
    if (length <= 2)
        replace(bytes, length, '.');
    *ret = (wire_name){.bytes = bytes, .length = length};
}

static void random_lookup_name(struct random *random, wire_lookup_name *ret)
{
    static const char *const dots[] = {".", ".."};
    if (below(random, 4) == 0)
        *ret = fs_name_of(dots[below(random, 2)]);
    else
        random_name(random, ret);
}

static void random_text(struct random *random, wire_text *ret)
{
    uint16_t length = (uint16_t)below(random, WIRE_TEXT_MAX + 1);
    char *bytes = random_string(random, length);
    replace(bytes, length, '\0');
    *ret = (wire_text){.bytes = bytes, .length = length};
}

static void random_bytes(struct random *random, wire_bytes *ret)
{
    uint32_t length = (uint32_t)below(random, 2000);
    *ret = (wire_bytes){.bytes = random_string(random, length), .length = length};
}

static void random_time(struct random *random, wire_time *ret)
{
    *ret = (wire_time){.sec = (int64_t)next(random), .nsec = (uint32_t)below(random, 1000000000)};
}

static void random_attr(struct random *random, wire_attr *ret)
{
    static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    wire_attr attr = {.ino = next(random), .size = next(random) >> 1, .blocks = next(random)};
    attr.mode = types[below(random, ARRAY_LEN(types))] | (uint32_t)below(random, 010000);
    random_u32(random, &attr.nlink);
    random_u32(random, &attr.uid);
    random_u32(random, &attr.gid);
    random_u32(random, &attr.rdev);
    random_time(random, &attr.atime);
    random_time(random, &attr.mtime);
    random_time(random, &attr.ctime);
    random_time(random, &attr.btime);
    *ret = attr;
}

static void random_entry(struct random *random, wire_entry *ret)
{
    random_handle(random, &ret->handle);
    random_attr(random, &ret->attr);
}

static void random_maybe_entry(struct random *random, wire_maybe_entry *ret)
{
    *ret = (wire_maybe_entry){.there = below(random, 2)};
    if (ret->there)
        random_entry(random, &ret->entry);
}

static void random_lock(struct random *random, wire_lock *ret)
{
    wire_lock lock = {.end = next(random) >> 1, .owner = next(random)};
    lock.start = below(random, lock.end + 1);
    lock.kind = (enum fs_lock_kind)below(random, 2);
    lock.type = (enum fs_lock_type)below(random, 3);
    random_u32(random, &lock.pid);
    *ret = lock;
}

// --- equality, member by member ---

#define SAME_NUMBER(type)                                               \
    static bool same_##type(const wire_##type *a, const wire_##type *b) \
    {                                                                   \
        return *a == *b;                                                \
    }
SAME_NUMBER(u8)
SAME_NUMBER(u16)
SAME_NUMBER(u32)
SAME_NUMBER(u64)

#define SAME_STRING(type)                                                                                \
    static bool same_##type(const wire_##type *a, const wire_##type *b)                                  \
    {                                                                                                    \
        return a->length == b->length && (a->length == 0 || memcmp(a->bytes, b->bytes, a->length) == 0); \
    }
SAME_STRING(name)
SAME_STRING(lookup_name)
SAME_STRING(text)
SAME_STRING(bytes)

static bool same_handle(const wire_handle *a, const wire_handle *b)
{
    return a->ino == b->ino && a->mac == b->mac;
}

static bool same_time(const wire_time *a, const wire_time *b)
{
    return a->sec == b->sec && a->nsec == b->nsec;
}

static bool same_attr(const wire_attr *a, const wire_attr *b)
{
    return a->ino == b->ino && a->mode == b->mode && a->nlink == b->nlink && a->uid == b->uid &&
           a->gid == b->gid && a->rdev == b->rdev && a->size == b->size && a->blocks == b->blocks &&
           same_time(&a->atime, &b->atime) && same_time(&a->mtime, &b->mtime) &&
           same_time(&a->ctime, &b->ctime) && same_time(&a->btime, &b->btime);
}

static bool same_entry(const wire_entry *a, const wire_entry *b)
{
    return same_handle(&a->handle, &b->handle) && same_attr(&a->attr, &b->attr);
}

static bool same_maybe_entry(const wire_maybe_entry *a, const wire_maybe_entry *b)
{
    return a->there == b->there && (!a->there || same_entry(&a->entry, &b->entry));
}

static bool same_lock(const wire_lock *a, const wire_lock *b)
{
    return a->kind == b->kind && a->type == b->type && a->start == b->start && a->end == b->end &&
           a->owner == b->owner && a->pid == b->pid;
}

// --- the same for whole messages, from the list ---

#define RANDOM_FIELD(type, member) random_##type(random, &message->member);
#define SAME_FIELD(type, member)   same = same && same_##type(&a->member, &b->member);

#define MESSAGE_VALUES(message_name, FIELDS)                              \
    static void random_##message_name(struct random *random, void *any)   \
    {                                                                     \
        struct wire_##message_name *message = any;                        \
        (void)random;                                                     \
        (void)message;                                                    \
        FIELDS(RANDOM_FIELD)                                              \
    }                                                                     \
    static bool same_##message_name(const void *any_a, const void *any_b) \
    {                                                                     \
        const struct wire_##message_name *a = any_a, *b = any_b;          \
        (void)a;                                                          \
        (void)b;                                                          \
        bool same = true;                                                 \
        FIELDS(SAME_FIELD)                                                \
        return same;                                                      \
    }
#define CALL_VALUES(NAME, name, number, repeatable)       \
    MESSAGE_VALUES(name##_request, WIRE_##NAME##_REQUEST) \
    MESSAGE_VALUES(name##_reply, WIRE_##NAME##_REPLY)
#define EVENT_VALUES(NAME, name, number) MESSAGE_VALUES(name##_event, WIRE_##NAME##_EVENT)
WIRE_CALLS(CALL_VALUES)
WIRE_EVENTS(EVENT_VALUES)

struct values {
    void (*random)(struct random *random, void *message);
    bool (*same)(const void *a, const void *b);
};

// In the order of wire_codecs.
#define VALUES_ROW(name)                          {random_##name, same_##name},
#define CALL_ROWS(NAME, name, number, repeatable) VALUES_ROW(name##_request) VALUES_ROW(name##_reply)
#define EVENT_ROW(NAME, name, number)             VALUES_ROW(name##_event)
static const struct values message_values[] = {WIRE_CALLS(CALL_ROWS) WIRE_EVENTS(EVENT_ROW)};

_Static_assert(ARRAY_LEN(message_values) == ARRAY_LEN(wire_codecs), "one row for each message");

// --- helpers ---

static size_t encode(const struct wire_codec *codec, const void *message, uint8_t bytes[BODY_MAX])
{
    struct writer writer = writer_on(bytes, BODY_MAX);
    codec->put(&writer, message);
    assert_false(writer.failed);
    return BODY_MAX - writer.left;
}

static size_t encode_random(struct random *random, size_t message, uint8_t bytes[BODY_MAX])
{
    union wire_any_message any;
    random->strings_used = 0;
    message_values[message].random(random, &any);
    return encode(&wire_codecs[message], &any, bytes);
}

// Decodes from a heap block of exactly n bytes. A refusal leaves *ret as it was; what is accepted encodes to
// the same bytes again.
static int decode(const struct wire_codec *codec, const uint8_t *bytes, size_t n)
{
    uint8_t *block = malloc(MAX(n, 1u));
    assert_non_null(block);
    memcpy(block, bytes, n);
    union wire_any_message any, before;
    memset(&any, 0xa5, sizeof(any));
    memset(&before, 0xa5, sizeof(before));
    struct reader reader = reader_on(block, n);
    int r = codec->get(&reader, &any);
    if (r < 0) {
        assert_int_equal(r, -EPROTO);
        assert_memory_equal(&any, &before, codec->struct_size);
    } else {
        static uint8_t again[BODY_MAX];
        assert_int_equal(encode(codec, &any, again), n);
        assert_memory_equal(again, block, n);
    }
    free(block);
    return r;
}

static struct random *fresh_random(uint64_t seed)
{
    static struct random random;
    random.state = seed;
    return &random;
}

// --- tests ---

static void what_is_put_is_got(void **state UNUSED)
{
    struct random *random = fresh_random(1);
    static uint8_t bytes[BODY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        for (int round = 0; round < 200; round++) {
            union wire_any_message sent, got;
            random->strings_used = 0;
            message_values[i].random(random, &sent);
            size_t n = encode(&wire_codecs[i], &sent, bytes);
            struct reader reader = reader_on(bytes, n);
            assert_int_equal(wire_codecs[i].get(&reader, &got), 0);
            assert_true(message_values[i].same(&sent, &got));
        }
    }
}

static void a_body_cut_anywhere_is_refused(void **state UNUSED)
{
    struct random *random = fresh_random(2);
    static uint8_t bytes[BODY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        size_t n = encode_random(random, i, bytes);
        assert_int_equal(decode(&wire_codecs[i], bytes, n), 0);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(decode(&wire_codecs[i], bytes, cut), -EPROTO);
    }
}

static void a_trailing_byte_is_refused(void **state UNUSED)
{
    struct random *random = fresh_random(3);
    static uint8_t bytes[BODY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        size_t n = encode_random(random, i, bytes);
        bytes[n] = 0;
        assert_int_equal(decode(&wire_codecs[i], bytes, n + 1), -EPROTO);
    }
}

static void a_body_that_does_not_fit_fails_the_writer(void **state UNUSED)
{
    struct random *random = fresh_random(4);
    static uint8_t bytes[BODY_MAX], small[BODY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        union wire_any_message any;
        random->strings_used = 0;
        message_values[i].random(random, &any);
        size_t n = encode(&wire_codecs[i], &any, bytes);
        for (size_t room = 0; room <= n; room++) {
            struct writer writer = writer_on(small, room);
            wire_codecs[i].put(&writer, &any);
            assert_int_equal(writer.failed, room < n);
        }
    }
}

// Changes a few bytes of a valid body, or replaces two or four neighbours by an extreme number, as a length
// would be.
static void mutate(struct random *random, uint8_t *bytes, size_t n)
{
    static const uint32_t extremes[] = {0,      1,          0xff,       0x100,      0x1ff,      0x200,
                                        0x7fff, 0xffff,     0x10000,    0x7fffffff, 0x80000000, 0xfffffffc,
                                        0xfffe, 0xffffffff, 1000000000, 999999999};
    uint64_t changes = 1 + below(random, 3);
    for (uint64_t i = 0; i < changes && n > 0; i++) {
        size_t at = below(random, n);
        if (below(random, 2) == 0) {
            bytes[at] ^= (uint8_t)(1u << below(random, 8));
            continue;
        }
        uint32_t value = extremes[below(random, ARRAY_LEN(extremes))];
        size_t size = below(random, 2) ? 4 : 2;
        size = MIN(size, n - at);
        for (size_t j = 0; j < size; j++)
            bytes[at + j] = (uint8_t)(value >> 8 * j);
    }
}

static void changed_bodies_are_refused_or_mean_what_they_say(void **state UNUSED)
{
    struct random *random = fresh_random(5);
    static uint8_t bytes[BODY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        for (int round = 0; round < 2000; round++) {
            size_t n = encode_random(random, i, bytes);
            mutate(random, bytes, n);
            decode(&wire_codecs[i], bytes, below(random, 4) == 0 ? below(random, n + 1) : n);
        }
    }
}

static void noise_is_refused_or_means_what_it_says(void **state UNUSED)
{
    struct random *random = fresh_random(6);
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        for (int round = 0; round < 500; round++) {
            random->strings_used = 0;
            size_t n = below(random, 300);
            decode(&wire_codecs[i], (const uint8_t *)random_string(random, n), n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_got),
        cmocka_unit_test(a_body_cut_anywhere_is_refused),
        cmocka_unit_test(a_trailing_byte_is_refused),
        cmocka_unit_test(a_body_that_does_not_fit_fails_the_writer),
        cmocka_unit_test(changed_bodies_are_refused_or_mean_what_they_say),
        cmocka_unit_test(noise_is_refused_or_means_what_it_says),
    };
    return cmocka_run_group_tests_name("wire_messages", tests, NULL, NULL);
}
