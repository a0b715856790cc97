// SPDX-License-Identifier: Apache-2.0
// fallocate, seek and copy_file_range: what is asked first, what changes beside the bytes. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "tests/unit/core_world.h"
#include <errno.h>

#define KEEP  FS_ALLOCATE_KEEP_SIZE
#define PUNCH (FS_ALLOCATE_PUNCH_HOLE | FS_ALLOCATE_KEEP_SIZE)
#define ZERO  FS_ALLOCATE_ZERO_RANGE

static const struct fs_cred user = {.uid = 100, .gid = 100};

struct scene {
    struct world world; // in a turn
    struct core_file *file, *reader, *directory, *appender, *other;
    fs_ino ino, other_ino;
};

static int set_up(void **state)
{
    static struct scene scene;
    struct world *world = &scene.world;
    world_open(world);
    world_begin(world);
    scene.ino = world_make(world, FS_ROOT_INO, "f", S_IFREG | 06777);
    scene.other_ino = world_make(world, FS_ROOT_INO, "g", S_IFREG | 06777);
    scene.file = world_file(world, scene.ino, FS_OPEN_READ | FS_OPEN_WRITE);
    scene.reader = world_file(world, scene.ino, FS_OPEN_READ);
    scene.appender = world_file(world, scene.other_ino, FS_OPEN_WRITE | FS_OPEN_APPEND);
    scene.other = world_file(world, scene.other_ino, FS_OPEN_WRITE);
    scene.directory = world_file(world, FS_ROOT_INO, FS_OPEN_READ);
    world_write(world, scene.file, "0123456789");
    *state = &scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    struct core_file *const files[] = {scene->file, scene->reader, scene->appender, scene->other,
                                       scene->directory};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        core_release(scene->world.core, files[i]);
    world_commit(&scene->world);
    world_close(&scene->world);
    return 0;
}

static int allocate(struct scene *scene, const struct core_file *file, uint32_t mode, uint64_t offset,
                    uint64_t n)
{
    struct fs_attr attr;
    return core_fallocate(scene->world.core, &user, file, mode, offset, n, &attr);
}

static int copy(struct scene *scene, const struct core_file *from, uint64_t from_offset,
                const struct core_file *to, uint64_t offset, uint64_t n, uint64_t *ret_n)
{
    return core_copy_range(scene->world.core, &user, from, from_offset, to, offset, n, ret_n);
}

static void assert_content(struct scene *scene, fs_ino ino, const char *expected, size_t n)
{
    char bytes[64];
    size_t got;
    uint64_t size = world_attr(&scene->world, ino).size;
    assert_int_equal(size, n);
    assert_int_equal(store_data_read(scene->world.store, ino, size, 0, bytes, sizeof(bytes), &got), 0);
    assert_int_equal(got, n);
    assert_memory_equal(bytes, expected, n);
}

static void fallocate_errors_in_order(void **state)
{
    struct scene *scene = *state;
    const struct {
        const struct core_file *file;
        uint32_t mode;
        uint64_t offset, n;
        int error;
    } cases[] = {
        {scene->reader, 0x40, 0, 0, -EINVAL},
        {scene->reader, 0, UINT64_C(1) << 63, 1, -EINVAL},
        {scene->reader, 0, 0, UINT64_C(1) << 63, -EINVAL},
        {scene->reader, 0x08, 0, 1, -EOPNOTSUPP}, // collapse
        {scene->reader, 0x20, 0, 1, -EOPNOTSUPP}, // insert
        {scene->reader, 0x40, 0, 1, -EOPNOTSUPP}, // unshare
        {scene->reader, 0x02, 0, 1, -EOPNOTSUPP}, // a hole that does not keep the size
        {scene->file, PUNCH | ZERO, 0, 1, -EOPNOTSUPP},
        {scene->directory, 0, 0, 1, -EBADF},
        {scene->reader, 0, FS_FILE_SIZE_MAX, 1, -EBADF},
        {scene->file, 0, FS_FILE_SIZE_MAX, 1, -EFBIG},
        {scene->file, PUNCH, 1, FS_FILE_SIZE_MAX, -EFBIG},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(allocate(scene, cases[i].file, cases[i].mode, cases[i].offset, cases[i].n),
                         cases[i].error);
    assert_content(scene, scene->ino, "0123456789", 10);
}

static void fallocate_changes_the_range_and_the_size(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(allocate(scene, scene->file, KEEP, 5, 100), 0);
    assert_content(scene, scene->ino, "0123456789", 10);
    assert_int_equal(allocate(scene, scene->file, PUNCH, 2, 3), 0);
    assert_content(scene, scene->ino,
                   "01\0\0\0"
                   "56789",
                   10);
    assert_int_equal(allocate(scene, scene->file, ZERO | KEEP, 8, 100), 0);
    assert_content(scene, scene->ino,
                   "01\0\0\0"
                   "567\0\0",
                   10);
    assert_int_equal(allocate(scene, scene->file, 0, 6, 6), 0);
    assert_content(scene, scene->ino,
                   "01\0\0\0"
                   "567\0\0\0\0",
                   12);
    assert_int_equal(allocate(scene, scene->file, ZERO, 6, 8), 0);
    assert_content(scene, scene->ino,
                   "01\0\0\0"
                   "5\0\0\0\0\0\0\0\0",
                   14);
    assert_int_equal(allocate(scene, scene->file, 0, 0, 3), 0);
    assert_content(scene, scene->ino,
                   "01\0\0\0"
                   "5\0\0\0\0\0\0\0\0",
                   14);
}

static void fallocate_counts_as_a_write(void **state)
{
    struct scene *scene = *state;
    static const uint32_t modes[] = {0, KEEP, PUNCH, ZERO, ZERO | KEEP};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        const struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 06777};
        struct fs_attr before, after;
        assert_int_equal(core_setattr(scene->world.core, &world_root, scene->ino, NULL, &set, &before), 0);
        assert_int_equal(core_fallocate(scene->world.core, &user, scene->file, modes[i], 0, 5, &after), 0);
        assert_int_equal(after.mode, S_IFREG | 0777);
        assert_true(fs_time_compare(after.mtime, before.ctime) > 0);
        assert_int_equal(fs_time_compare(after.mtime, after.ctime), 0);
    }
}

static void copy_errors_in_order(void **state)
{
    struct scene *scene = *state;
    uint64_t n = 77;
    assert_int_equal(copy(scene, scene->directory, 0, scene->reader, 0, 1, &n), -EISDIR);
    assert_int_equal(copy(scene, scene->reader, 0, scene->directory, 0, 1, &n), -EISDIR);
    assert_int_equal(copy(scene, scene->other, 0, scene->file, 0, 1, &n), -EBADF);
    assert_int_equal(copy(scene, scene->file, 0, scene->reader, 0, 1, &n), -EBADF);
    assert_int_equal(copy(scene, scene->file, 0, scene->appender, 0, 1, &n), -EBADF);
    assert_int_equal(copy(scene, scene->file, UINT64_MAX, scene->other, 0, 1, &n), -EINVAL);
    assert_int_equal(copy(scene, scene->file, 0, scene->other, 1, UINT64_MAX, &n), -EOVERFLOW);
    assert_int_equal(copy(scene, scene->file, 0, scene->other, FS_FILE_SIZE_MAX, 1, &n), -EFBIG);
    assert_int_equal(copy(scene, scene->file, 0, scene->file, 9, 10, &n), -EINVAL);
    assert_int_equal(copy(scene, scene->file, 3, scene->file, 3, 1, &n), -EINVAL);
    assert_int_equal(n, 77);
}

static void copies_end_with_the_source(void **state)
{
    struct scene *scene = *state;
    uint64_t n = 77;
    assert_int_equal(copy(scene, scene->file, 10, scene->other, 0, 5, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(copy(scene, scene->file, 4, scene->other, 2, 100, &n), 0);
    assert_int_equal(n, 6);
    assert_content(scene, scene->other_ino,
                   "\0\0"
                   "456789",
                   8);
    assert_int_equal(copy(scene, scene->file, 0, scene->file, 10, 100, &n), 0); // up to the end: no overlap
    assert_int_equal(n, 10);
    assert_content(scene, scene->ino, "01234567890123456789", 20);
    assert_int_equal(copy(scene, scene->file, 0, scene->other, FS_FILE_SIZE_MAX - 3, 10, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(world_attr(&scene->world, scene->other_ino).size, FS_FILE_SIZE_MAX);
}

static void copy_counts_as_read_and_write(void **state)
{
    struct scene *scene = *state;
    uint64_t n;
    struct fs_attr from = world_attr(&scene->world, scene->ino),
                   to = world_attr(&scene->world, scene->other_ino);
    assert_int_equal(copy(scene, scene->file, 5, scene->other, 0, 0, &n), 0);
    assert_int_equal(fs_time_compare(world_attr(&scene->world, scene->other_ino).mtime, to.mtime), 0);
    assert_int_equal(copy(scene, scene->file, 5, scene->other, 0, 1, &n), 0);
    struct fs_attr after = world_attr(&scene->world, scene->other_ino);
    assert_true(fs_time_compare(after.mtime, to.mtime) > 0);
    assert_int_equal(fs_time_compare(after.mtime, after.ctime), 0);
    assert_int_equal(after.mode, S_IFREG | 0777);
    assert_true(fs_time_compare(world_attr(&scene->world, scene->ino).atime, from.atime) > 0);
    assert_int_equal(fs_time_compare(world_attr(&scene->world, scene->ino).mtime, from.mtime), 0);
}

static void long_copies_come_in_parts(void **state)
{
    struct scene *scene = *state;
    const struct fs_setattr set = {.mask = FS_SET_SIZE, .size = 3 * CORE_COPY_MAX};
    struct fs_attr attr;
    uint64_t n;
    assert_int_equal(core_setattr(scene->world.core, &world_root, scene->ino, NULL, &set, &attr), 0);
    assert_int_equal(copy(scene, scene->file, 1, scene->other, 0, UINT64_C(1) << 40, &n), 0);
    assert_int_equal(n, CORE_COPY_MAX);
    assert_int_equal(world_attr(&scene->world, scene->other_ino).size, CORE_COPY_MAX);
}

static void seek_answers_as_linux(void **state)
{
    struct scene *scene = *state;
    struct core *core = scene->world.core;
    uint64_t found;
    assert_int_equal(core_seek(core, scene->file, 10, false, &found), -ENXIO);
    assert_int_equal(core_seek(core, scene->file, 10, true, &found), -ENXIO);
    assert_int_equal(core_seek(core, scene->file, UINT64_MAX, true, &found), -ENXIO);
    assert_int_equal(core_seek(core, scene->file, 3, false, &found), 0);
    assert_int_equal(found, 3);
    assert_int_equal(core_seek(core, scene->file, 3, true, &found), 0);
    assert_int_equal(found, 10);
    assert_int_equal(core_seek(core, scene->directory, 0, true, &found), -EINVAL);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(fallocate_errors_in_order),   TEST(fallocate_changes_the_range_and_the_size),
        TEST(fallocate_counts_as_a_write), TEST(copy_errors_in_order),
        TEST(copies_end_with_the_source),  TEST(copy_counts_as_read_and_write),
        TEST(long_copies_come_in_parts),   TEST(seek_answers_as_linux),
    };
    return cmocka_run_group_tests_name("core ranges", tests, NULL, NULL);
}
