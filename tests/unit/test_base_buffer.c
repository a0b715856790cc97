// SPDX-License-Identifier: Apache-2.0
// The byte queue against a model: what goes in comes out in order, and never more than the limit is held.
#include "fs/base/buffer.h"
#include "fs/base/check.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static void limit(void **state UNUSED)
{
    static const uint8_t bytes[101];
    for (size_t n = 99; n <= 101; n++) {
        struct buffer buffer;
        buffer_init(&buffer, 100);
        assert_int_equal(buffer_append(&buffer, bytes, n), n <= 100 ? 0 : -ENOBUFS);
        assert_int_equal(buffer_length(&buffer), n <= 100 ? n : 0);
        buffer_free(&buffer);
    }
}

static void limit_counts_unconsumed_bytes(void **state UNUSED)
{
    struct buffer buffer;
    buffer_init(&buffer, 4);
    assert_int_equal(buffer_append(&buffer, "abcd", 4), 0);
    assert_null(buffer_reserve(&buffer, 1));
    buffer_consume(&buffer, 1);
    assert_int_equal(buffer_append(&buffer, "ef", 2), -ENOBUFS);
    assert_int_equal(buffer_append(&buffer, "e", 1), 0);
    assert_memory_equal(buffer_data(&buffer), "bcde", 4);
    assert_null(buffer_reserve(&buffer, SIZE_MAX));
    assert_int_equal(buffer_append(&buffer, "x", SIZE_MAX), -ENOBUFS);
    buffer_free(&buffer);
}

static void nothing_is_harmless(void **state UNUSED)
{
    struct buffer buffer;
    buffer_init(&buffer, 0);
    assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
    assert_int_equal(buffer_append(&buffer, "x", 1), -ENOBUFS);
    buffer_consume(&buffer, 0);
    assert_int_equal(buffer_length(&buffer), 0);
    buffer_free(&buffer);
    buffer_free(&buffer);
}

static void reserved_bytes_count_once_committed(void **state UNUSED)
{
    struct buffer buffer;
    buffer_init(&buffer, 1 << 20);
    uint8_t *room = buffer_reserve(&buffer, 1000);
    assert_non_null(room);
    memset(room, 7, 10);
    assert_int_equal(buffer_length(&buffer), 0);
    buffer_commit(&buffer, 10);
    assert_int_equal(buffer_length(&buffer), 10);
    assert_int_equal(buffer_data(&buffer)[9], 7);
    buffer_free(&buffer);
}

static void large_memory_is_given_back(void **state UNUSED)
{
    struct buffer buffer;
    buffer_init(&buffer, 1 << 20);
    assert_non_null(buffer_reserve(&buffer, 1 << 20));
    buffer_commit(&buffer, 1 << 20);
    buffer_consume(&buffer, (1 << 20) - 1);
    assert_int_equal(buffer.capacity, 1 << 20);
    buffer_consume(&buffer, 1);
    assert_int_equal(buffer.capacity, 0);
    assert_int_equal(buffer_append(&buffer, "again", 5), 0);
    assert_memory_equal(buffer_data(&buffer), "again", 5);
    buffer_free(&buffer);
}

// Byte number i of the stream.
static uint8_t stream_byte(uint64_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

static void stream_keeps_its_order(void **state UNUSED)
{
    enum { LIMIT = 20000 };
    struct buffer buffer;
    buffer_init(&buffer, LIMIT);
    uint64_t in = 0, out = 0;
    uint32_t random = 1;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525 + 1013904223;
        size_t n = random >> 8 & 0xfff;
        uint8_t chunk[4096];
        if (random >> 31) {
            for (size_t i = 0; i < n; i++)
                chunk[i] = stream_byte(in + i);
            bool fits = in - out + n <= LIMIT;
            assert_int_equal(buffer_append(&buffer, chunk, n), fits ? 0 : -ENOBUFS);
            in += fits ? n : 0;
        } else {
            n = MIN(n, buffer_length(&buffer));
            for (size_t i = 0; i < n; i++)
                assert_int_equal(buffer_data(&buffer)[i], stream_byte(out + i));
            buffer_consume(&buffer, n);
            out += n;
        }
        assert_int_equal(buffer_length(&buffer), in - out);
        assert_true(buffer.capacity <= LIMIT);
    }
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit),
        cmocka_unit_test(limit_counts_unconsumed_bytes),
        cmocka_unit_test(nothing_is_harmless),
        cmocka_unit_test(reserved_bytes_count_once_committed),
        cmocka_unit_test(large_memory_is_given_back),
        cmocka_unit_test(stream_keeps_its_order),
    };
    return cmocka_run_group_tests_name("base_buffer", tests, NULL, NULL);
}
