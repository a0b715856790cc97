// SPDX-License-Identifier: Apache-2.0
// Extended attributes of inodes: who may, how much, what takes them away. Expectations from xattr(7),
// setxattr(2) and Linux. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "tests/unit/core_world.h"
#include <errno.h>

#define NAME(s) fs_name_of(s)
#define ROOT    FS_ROOT_INO

static const struct fs_cred owner = {.uid = 100, .gid = 100};
static const struct fs_cred other = {.uid = 101, .gid = 101};

static void setup(struct world *world)
{
    world_open(world);
    world_begin(world);
}

static void teardown(struct world *world)
{
    world_commit(world);
    world_close(world);
}

static fs_ino make(struct world *world, const char *name, uint32_t mode)
{
    struct fs_attr attr;
    struct fs_setattr set = {.mask = FS_SET_UID | FS_SET_GID, .uid = owner.uid, .gid = owner.gid};
    fs_ino ino = world_make(world, ROOT, name, mode);
    assert_int_equal(core_setattr(world->core, &world_root, ino, NULL, &set, &attr), 0);
    set = (struct fs_setattr){.mask = FS_SET_MODE, .mode = mode & 07777};
    assert_int_equal(core_setattr(world->core, &world_root, ino, NULL, &set, &attr), 0);
    return ino;
}

static int set(struct world *world, const struct fs_cred *cred, fs_ino ino, const char *name,
               const char *value)
{
    return core_setxattr(world->core, cred, ino, NAME(name), value, strlen(value), 0);
}

static int get(struct world *world, const struct fs_cred *cred, fs_ino ino, const char *name)
{
    char value[64];
    size_t n;
    int result = core_getxattr(world->core, cred, ino, NAME(name), value, sizeof(value), &n);
    return result != 0 ? result : (int)n;
}

static void assert_names(struct world *world, const struct fs_cred *cred, fs_ino ino, const char *expected)
{
    char names[256];
    size_t n = 0;
    assert_int_equal(core_listxattr(world->core, cred, ino, names, sizeof(names), &n), 0);
    for (size_t i = 0; i < n; i++)
        if (names[i] == '\0')
            names[i] = ' ';
    names[n] = '\0';
    assert_string_equal(names, expected);
}

static void who_may_what(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino file = make(&w, "f", S_IFREG | 0640), sticky = make(&w, "s", S_IFDIR | 01777);
    fs_ino fifo = make(&w, "p", S_IFIFO | 0666), link = make(&w, "l", S_IFLNK | 0777);
    const struct {
        const struct fs_cred *cred;
        fs_ino ino;
        const char *name;
        int set, get, remove; // get: of an attribute that is there
    } rows[] = {
        {&owner, file, "user.a", 0, 1, 0},
        {&other, file, "user.a", -EACCES, -EACCES, -EACCES},
        {&world_root, file, "user.a", 0, 1, 0},
        {&other, sticky, "user.a", -EPERM, 1, -EPERM},
        {&owner, sticky, "user.a", 0, 1, 0},
        {&owner, fifo, "user.a", -EPERM, -ENODATA, -EPERM},
        {&world_root, link, "user.a", -EPERM, -ENODATA, -EPERM},
        {&owner, file, "trusted.a", -EPERM, -ENODATA, -EPERM},
        {&world_root, link, "trusted.a", 0, 1, 0},
        {&owner, file, "security.a", -EPERM, 1, -EPERM},
        {&world_root, fifo, "security.a", 0, 1, 0},
        {&world_root, file, "system.a", -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP},
        {&world_root, file, "nothing", -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP},
        {&world_root, file, "users.a", -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP},
        {&world_root, file, "user.", -EINVAL, -EINVAL, -EINVAL},
        {&world_root, file, "", -ERANGE, -ERANGE, -ERANGE},
        {&other, file, "nothing", -EACCES, -EACCES, -EACCES}, // permission before the name
        {&other, file, "user.", -EACCES, -EACCES, -EACCES},
        {&other, file, "security.", -EPERM, -EINVAL, -EPERM},
        {&other, file, "system.a", -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(set(&w, rows[i].cred, rows[i].ino, rows[i].name, "v"), rows[i].set);
        int as_root = set(&w, &world_root, rows[i].ino, rows[i].name, "v");
        assert_int_equal(get(&w, rows[i].cred, rows[i].ino, rows[i].name), rows[i].get);
        assert_int_equal(core_removexattr(w.core, rows[i].cred, rows[i].ino, NAME(rows[i].name)),
                         rows[i].remove);
        if (as_root == 0 && rows[i].remove != 0)
            assert_int_equal(core_removexattr(w.core, &world_root, rows[i].ino, NAME(rows[i].name)), 0);
    }
    teardown(&w);
}

static void flags_and_sizes(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make(&w, "f", S_IFREG | 0644);
    static char big[FS_XATTR_VALUE_MAX + 1];
    char long_name[FS_XATTR_NAME_MAX + 1], value[8] = "";
    size_t n;
    memset(long_name, 'n', sizeof(long_name));
    memcpy(long_name, "user.", 5);
    struct fs_name longest = {long_name, FS_XATTR_NAME_MAX}, too_long = {long_name, FS_XATTR_NAME_MAX + 1};
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.a"), "1", 1, FS_XATTR_REPLACE), -ENODATA);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.a"), "1", 1, FS_XATTR_CREATE), 0);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.a"), "22", 2, FS_XATTR_CREATE), -EEXIST);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.a"), "333", 3, FS_XATTR_REPLACE), 0);
    assert_int_equal(core_getxattr(w.core, &owner, f, NAME("user.a"), NULL, 0, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(core_getxattr(w.core, &owner, f, NAME("user.a"), value, 2, &n), -ERANGE);
    assert_int_equal(core_getxattr(w.core, &owner, f, NAME("user.a"), value, 3, &n), 0);
    assert_string_equal(value, "333");
    assert_int_equal(core_setxattr(w.core, &owner, f, longest, "x", 1, 0), 0);
    assert_int_equal(core_setxattr(w.core, &owner, f, too_long, "x", 1, 0), -ERANGE);
    assert_int_equal(core_listxattr(w.core, &owner, f, NULL, 0, &n), 0);
    assert_int_equal(n, 7 + FS_XATTR_NAME_MAX + 1);
    assert_int_equal(core_listxattr(w.core, &owner, f, value, 7, &n), -ERANGE);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.b"), big, sizeof(big), 0), -E2BIG);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.b"), big, sizeof(big) - 1, 0), 0);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.c"), big, sizeof(big) - 1, 0), -ENOSPC);
    // All names with their NULs and all values count: to the byte.
    size_t left = FS_XATTR_TOTAL_MAX - (7 + 3) - (FS_XATTR_NAME_MAX + 1 + 1) - (7 + FS_XATTR_VALUE_MAX) - 7;
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.c"), big, left + 1, 0), -ENOSPC);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.c"), big, left, 0), 0);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.a"), "4444", 4, 0), -ENOSPC);
    assert_int_equal(core_setxattr(w.core, &owner, f, NAME("user.a"), "444", 3, 0), 0);
    teardown(&w);
}

static void names_are_bounded(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make(&w, "f", S_IFREG | 0644);
    static char names[FS_XATTR_LIST_MAX];
    char name[FS_XATTR_NAME_MAX + 1];
    size_t n;
    for (unsigned i = 0; i < 256; i++) { // of 256 bytes each, with the NUL
        snprintf(name, sizeof(name), "user.%03u%0247d", i, 0);
        assert_int_equal(set(&w, &owner, f, name, ""), 0);
    }
    assert_int_equal(set(&w, &owner, f, "user.a", ""), -ENOSPC);
    assert_int_equal(core_listxattr(w.core, &owner, f, names, sizeof(names), &n), 0);
    assert_int_equal(n, sizeof(names));
    teardown(&w);
}

static void lists_hide_what_is_not_shown(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make(&w, "f", S_IFREG | 0600);
    assert_names(&w, &other, f, "");
    assert_int_equal(set(&w, &world_root, f, "user.a", "1"), 0);
    assert_int_equal(set(&w, &world_root, f, "trusted.t", "2"), 0);
    assert_int_equal(set(&w, &world_root, f, "security.s", ""), 0);
    assert_names(&w, &other, f, "security.s user.a ");
    assert_names(&w, &world_root, f, "security.s trusted.t user.a ");
    world_commit(&w);
    world_restart(&w);
    world_begin(&w);
    assert_names(&w, &world_root, f, "security.s trusted.t user.a ");
    assert_int_equal(get(&w, &world_root, f, "security.s"), 0);
    teardown(&w);
}

static void changes_mark_the_ctime(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make(&w, "f", S_IFREG | 0644);
    struct fs_attr before = world_attr(&w, f);
    assert_int_equal(get(&w, &owner, f, "user.a"), -ENODATA);
    assert_int_equal(core_removexattr(w.core, &owner, f, NAME("user.a")), -ENODATA);
    assert_int_equal(fs_time_compare(world_attr(&w, f).ctime, before.ctime), 0);
    assert_int_equal(set(&w, &owner, f, "user.a", "1"), 0);
    struct fs_attr after = world_attr(&w, f);
    assert_true(fs_time_compare(after.ctime, before.ctime) > 0);
    assert_int_equal(fs_time_compare(after.mtime, before.mtime), 0);
    assert_int_equal(core_removexattr(w.core, &owner, f, NAME("user.a")), 0);
    assert_true(fs_time_compare(world_attr(&w, f).ctime, after.ctime) > 0);
    teardown(&w);
}

static void change_takes_capability(struct world *world, fs_ino f, unsigned way)
{
    struct fs_attr attr;
    struct fs_setattr change = {0};
    struct core_file *file = NULL;
    switch (way) {
    case 0:
        file = world_file(world, f, FS_OPEN_WRITE);
        world_write(world, file, "text");
        break;
    case 1:
        file = world_file(world, f, FS_OPEN_WRITE | FS_OPEN_TRUNC);
        break;
    case 2:
        change = (struct fs_setattr){.mask = FS_SET_SIZE, .size = 10};
        break;
    case 3:
        change = (struct fs_setattr){.mask = FS_SET_GID, .gid = 7};
        break;
    }
    if (change.mask)
        assert_int_equal(core_setattr(world->core, &world_root, f, NULL, &change, &attr), 0);
    if (file)
        core_release(world->core, file);
}

static void capabilities_go_with_a_change(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make(&w, "f", S_IFREG | 0755), d = make(&w, "d", S_IFDIR | 0755);
    struct fs_setattr mode = {.mask = FS_SET_MODE, .mode = 0700}, gid = {.mask = FS_SET_GID, .gid = 9};
    struct fs_attr attr;
    assert_int_equal(set(&w, &owner, f, "user.a", "stays"), 0);
    for (unsigned way = 0; way < 4; way++) {
        assert_int_equal(set(&w, &world_root, f, "security.capability", "cap"), 0);
        assert_int_equal(core_setattr(w.core, &world_root, f, NULL, &mode, &attr), 0);
        assert_int_equal(get(&w, &owner, f, "security.capability"), 3);
        change_takes_capability(&w, f, way);
        assert_int_equal(get(&w, &owner, f, "security.capability"), -ENODATA);
        assert_int_equal(get(&w, &owner, f, "user.a"), 5);
    }
    assert_int_equal(set(&w, &world_root, d, "security.capability", "cap"), 0);
    assert_int_equal(core_setattr(w.core, &world_root, d, NULL, &gid, &attr), 0);
    assert_int_equal(get(&w, &owner, d, "security.capability"), 3);
    teardown(&w);
}

static bool any_xattr(void *context, struct fs_name name, size_t value_length)
{
    (void)name;
    (void)value_length;
    *(bool *)context = true;
    return false;
}

static void nothing_stays_of_a_removed_inode(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make(&w, "f", S_IFREG | 0644);
    bool any = false;
    assert_int_equal(set(&w, &owner, f, "user.a", "1"), 0);
    struct core_file *file = world_file(&w, f, FS_OPEN_READ);
    assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("f"), &(fs_ino){0}), 0);
    assert_int_equal(get(&w, &owner, f, "user.a"), 1);
    assert_int_equal(set(&w, &owner, f, "user.b", "2"), 0);
    core_release(w.core, file);
    world_commit(&w);
    world_begin(&w);
    assert_int_equal(get(&w, &owner, f, "user.a"), -ENOENT);
    assert_int_equal(store_xattr_list(w.store, f, any_xattr, &any), 0);
    assert_false(any);
    teardown(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_what),
        cmocka_unit_test(flags_and_sizes),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(lists_hide_what_is_not_shown),
        cmocka_unit_test(changes_mark_the_ctime),
        cmocka_unit_test(capabilities_go_with_a_change),
        cmocka_unit_test(nothing_stays_of_a_removed_inode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
