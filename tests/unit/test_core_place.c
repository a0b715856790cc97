// SPDX-License-Identifier: Apache-2.0
// What lies below a root, through hard links and moves; the roots of access points. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "tests/unit/core_world.h"
#include <errno.h>

#define NAME(s) fs_name_of(s)
#define ROOT    FS_ROOT_INO

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

static void assert_under(struct world *world, fs_ino ino, fs_ino root, bool expected)
{
    bool under = !expected;
    assert_int_equal(core_is_under(world->core, ino, root, &under), 0);
    assert_int_equal(under, expected);
}

static void move(struct world *world, fs_ino from, fs_ino to, const char *name, uint32_t flags)
{
    assert_int_equal(core_rename(world->core, &world_root, from, NAME(name), to, NAME(name), flags), 0);
}

static void moved_directories(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino a = world_make(&w, ROOT, "a", S_IFDIR | 0755), b = world_make(&w, ROOT, "b", S_IFDIR | 0755);
    fs_ino d = world_make(&w, a, "d", S_IFDIR | 0755), deep = world_make(&w, d, "deep", S_IFDIR | 0755);
    fs_ino f = world_make(&w, deep, "f", S_IFREG | 0644);
    assert_under(&w, a, a, true);
    assert_under(&w, ROOT, a, false);
    assert_under(&w, f, ROOT, true);
    for (unsigned i = 0; i < 2; i++) { // again from the cache
        assert_under(&w, deep, a, true);
        assert_under(&w, deep, b, false);
        assert_under(&w, f, a, true);
    }
    world_commit(&w);
    world_begin(&w);
    move(&w, a, b, "d", 0);
    assert_under(&w, deep, b, true); // the last one asked for before
    assert_under(&w, deep, a, false);
    assert_under(&w, deep, b, true);
    assert_under(&w, f, b, true);
    store_fault_arm(w.store, "commit", 1, -EIO);
    assert_int_equal(core_turn_commit(w.core), -EIO);
    world_begin(&w); // undone: back below a
    assert_under(&w, deep, b, false);
    assert_under(&w, deep, a, true);
    assert_under(&w, f, b, false);
    world_make(&w, b, "d", S_IFREG | 0644);
    move(&w, a, b, "d", FS_RENAME_EXCHANGE);
    assert_under(&w, deep, b, true);
    assert_under(&w, f, a, false);
    teardown(&w);
}

static void hard_links(void **state)
{
    (void)state;
    struct world w;
    bool under;
    setup(&w);
    fs_ino a = world_make(&w, ROOT, "a", S_IFDIR | 0755), b = world_make(&w, ROOT, "b", S_IFDIR | 0755);
    fs_ino f = world_make(&w, a, "f", S_IFREG | 0644);
    assert_under(&w, f, b, false);
    world_link(&w, f, b, "f");
    assert_under(&w, f, a, true);
    assert_under(&w, f, b, true);
    assert_int_equal(core_unlink(w.core, &world_root, a, NAME("f"), &(fs_ino){0}), 0);
    assert_under(&w, f, a, false);
    assert_under(&w, f, b, true);
    move(&w, b, a, "f", 0);
    assert_under(&w, f, a, true);
    assert_under(&w, f, b, false);
    assert_int_equal(core_is_under(w.core, 999, a, &under), -ENOENT);
    teardown(&w);
}

// The last of many names counts as much as the first.
static void many_hard_links(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = world_make(&w, ROOT, "f", S_IFREG | 0644), last = 0;
    fs_ino first = world_make(&w, ROOT, "first", S_IFDIR | 0755);
    world_link(&w, f, first, "f");
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%u", i);
        last = world_make(&w, ROOT, name, S_IFDIR | 0755);
        world_link(&w, f, last, "f");
    }
    assert_under(&w, f, first, true);
    assert_under(&w, f, last, true);
    teardown(&w);
}

static int resolve(struct world *world, const char *path, bool make, fs_ino *ret_ino)
{
    struct core_root_spec spec = {.path = path, .make = make, .uid = 7, .gid = 8, .mode = 0750};
    return core_resolve_root(world->core, &spec, ret_ino);
}

static void assert_directory(struct world *world, fs_ino ino, uint32_t mode, uint32_t uid, uint32_t gid)
{
    struct fs_attr attr = world_attr(world, ino);
    assert_int_equal(attr.mode, S_IFDIR | mode);
    assert_int_equal(attr.uid, uid);
    assert_int_equal(attr.gid, gid);
}

static void roots_are_made(void **state)
{
    (void)state;
    struct world w;
    fs_ino ino = 0, again = 0;
    struct fs_attr attr;
    setup(&w);
    assert_int_equal(resolve(&w, "/", true, &ino), 0);
    assert_int_equal(ino, ROOT);
    assert_int_equal(resolve(&w, "/p/q", false, &ino), -ENOENT);
    assert_int_equal(ino, ROOT); // untouched
    assert_int_equal(resolve(&w, "/p/q", true, &ino), 0);
    assert_directory(&w, ino, 0750, 7, 8);
    assert_int_equal(core_lookup(w.core, &world_root, ROOT, NAME("p"), &attr), 0);
    assert_directory(&w, attr.ino, 0755, 0, 0);
    assert_int_equal(attr.nlink, 3);
    assert_int_equal(resolve(&w, "//p//q/", false, &again), 0);
    assert_int_equal(again, ino);
    assert_int_equal(resolve(&w, "/p", true, &again), 0); // keeps its owner and mode
    assert_directory(&w, again, 0755, 0, 0);
    teardown(&w);
}

// What a setgid directory hands down is not what was asked for.
static void roots_inherit_nothing(void **state)
{
    (void)state;
    struct world w;
    fs_ino ino;
    struct fs_attr attr;
    struct fs_setattr set = {.mask = FS_SET_MODE | FS_SET_GID, .mode = 02775, .gid = 55};
    setup(&w);
    fs_ino s = world_make(&w, ROOT, "s", S_IFDIR | 0755);
    assert_int_equal(core_setattr(w.core, &world_root, s, NULL, &set, &attr), 0);
    assert_int_equal(resolve(&w, "/s/p/q", true, &ino), 0);
    assert_directory(&w, ino, 0750, 7, 8);
    assert_int_equal(core_lookup(w.core, &world_root, s, NAME("p"), &attr), 0);
    assert_directory(&w, attr.ino, 0755, 0, 0);
    teardown(&w);
}

static void roots_that_cannot_be(void **state)
{
    (void)state;
    struct world w;
    fs_ino ino;
    setup(&w);
    world_make(&w, ROOT, "file", S_IFREG | 0644);
    world_make(&w, ROOT, "link", S_IFLNK | 0777);
    assert_int_equal(resolve(&w, "/file", true, &ino), -ENOTDIR);
    assert_int_equal(resolve(&w, "/file/x", true, &ino), -ENOTDIR);
    assert_int_equal(resolve(&w, "/link", true, &ino), -ENOTDIR);
    assert_int_equal(resolve(&w, "/a/b/c/d/e", true, &ino), -EINVAL);
    assert_int_equal(resolve(&w, "/a/../b", true, &ino), -EINVAL);
    struct fs_attr attr;
    assert_int_equal(core_lookup(w.core, &world_root, ROOT, NAME("a"), &attr), -ENOENT); // none is half made
    assert_int_equal(resolve(&w, "/a/b/c/d", true, &ino), 0);
    teardown(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_directories),     cmocka_unit_test(hard_links),
        cmocka_unit_test(many_hard_links),       cmocka_unit_test(roots_are_made),
        cmocka_unit_test(roots_inherit_nothing), cmocka_unit_test(roots_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
