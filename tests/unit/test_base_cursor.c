// SPDX-License-Identifier: Apache-2.0
// Cursors: byte order, bounds, stickiness.
#include "fs/base/check.h"
#include "fs/base/cursor.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t example[15] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                                    0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x88};

static void numbers_are_little_endian(void **state UNUSED)
{
    uint8_t bytes[sizeof(example)];
    struct writer writer = writer_on(bytes, sizeof(bytes));
    write_u8(&writer, 0x01);
    write_u16(&writer, 0x0203);
    write_u32(&writer, 0x04050607);
    write_u64(&writer, 0x88090a0b0c0d0e0f);
    assert_false(writer.failed);
    assert_int_equal(writer.left, 0);
    assert_memory_equal(bytes, example, sizeof(example));

    struct reader reader = reader_on(example, sizeof(example));
    assert_int_equal(read_u8(&reader), 0x01);
    assert_int_equal(read_u16(&reader), 0x0203);
    assert_int_equal(read_u32(&reader), 0x04050607);
    assert_false(reader_done(&reader));
    assert_int_equal(read_u64(&reader), 0x88090a0b0c0d0e0f);
    assert_true(reader_done(&reader));
}

static void reading_past_the_end_is_sticky(void **state UNUSED)
{
    struct reader reader = reader_on(example, 7);
    assert_int_equal(read_u64(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(read_u8(&reader), 0);
    assert_null(read_bytes(&reader, 0));
    assert_false(reader_done(&reader));
    assert_int_equal(reader.left, 7);
}

static void writing_past_the_end_is_sticky(void **state UNUSED)
{
    uint8_t bytes[4] = {9, 9, 9, 9};
    struct writer writer = writer_on(bytes, 3);
    write_u16(&writer, 0);
    write_u16(&writer, 0xffff);
    assert_true(writer.failed);
    write_u8(&writer, 0xff);
    assert_int_equal(writer.left, 1);
    const uint8_t untouched[4] = {0, 0, 9, 9};
    assert_memory_equal(bytes, untouched, 4);
}

static void bytes_are_given_in_place(void **state UNUSED)
{
    const size_t lengths[] = {sizeof(example) - 1, sizeof(example), sizeof(example) + 1, SIZE_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct reader reader = reader_on(example, sizeof(example));
        bool fits = lengths[i] <= sizeof(example);
        assert_ptr_equal(read_bytes(&reader, lengths[i]), fits ? example : NULL);
        assert_int_equal(reader.failed, !fits);
    }
}

static void nothing_from_nowhere(void **state UNUSED)
{
    struct reader reader = reader_on(NULL, 0);
    assert_true(reader_done(&reader));
    read_bytes(&reader, 0);
    assert_true(reader_done(&reader));
    struct writer writer = writer_on(NULL, 0);
    write_bytes(&writer, NULL, 0);
    assert_false(writer.failed);
    write_u8(&writer, 1);
    assert_true(writer.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_little_endian),      cmocka_unit_test(reading_past_the_end_is_sticky),
        cmocka_unit_test(writing_past_the_end_is_sticky), cmocka_unit_test(bytes_are_given_in_place),
        cmocka_unit_test(nothing_from_nowhere),
    };
    return cmocka_run_group_tests_name("base_cursor", tests, NULL, NULL);
}
