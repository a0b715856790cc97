// SPDX-License-Identifier: Apache-2.0
// Names, links, times and errors as POSIX and Linux have them; listing while changing; orphans; places.
// Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "tests/unit/core_world.h"
#include <errno.h>

#define NAME(s) fs_name_of(s)
#define ROOT    FS_ROOT_INO

static const struct fs_cred user = {.uid = 100, .gid = 100};

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

static int try_make(struct world *world, const struct fs_cred *cred, fs_ino parent, const char *name,
                    uint32_t mode, const char *target)
{
    struct fs_attr attr;
    struct core_make make = {.mode = mode, .target = NAME(target)};
    return core_make(world->core, cred, parent, NAME(name), &make, &attr);
}

static int try_link(struct world *world, const struct fs_cred *cred, fs_ino ino, fs_ino parent,
                    const char *name)
{
    struct fs_attr attr;
    return core_link(world->core, cred, ino, parent, NAME(name), &attr);
}

static int try_rename(struct world *world, const struct fs_cred *cred, fs_ino from, const char *name,
                      fs_ino to, const char *new_name, uint32_t flags)
{
    return core_rename(world->core, cred, from, NAME(name), to, NAME(new_name), flags);
}

static fs_ino ino_at(struct world *world, fs_ino parent, const char *name)
{
    struct fs_attr attr;
    int result = core_lookup(world->core, &world_root, parent, NAME(name), &attr);
    if (result != 0)
        assert_int_equal(result, -ENOENT);
    return result == 0 ? attr.ino : 0;
}

// --- errors, in their order ---

static void errors_of_make(void **state)
{
    (void)state;
    struct world w;
    char long_name[257] = {0};
    memset(long_name, 'n', 256);
    setup(&w);
    fs_ino file = world_make(&w, ROOT, "file", S_IFREG | 0644);
    fs_ino closed = world_make(&w, ROOT, "closed", S_IFDIR | 0700);
    fs_ino readable = world_make(&w, ROOT, "readable", S_IFDIR | 0755);
    world_make(&w, readable, "there", S_IFREG | 0644);
    assert_int_equal(try_make(&w, &world_root, 999, "x", S_IFREG, ""), -ENOENT);
    assert_int_equal(try_make(&w, &world_root, file, "x", S_IFREG, ""), -ENOTDIR);
    assert_int_equal(try_make(&w, &user, closed, "x", S_IFREG, ""), -EACCES);
    assert_int_equal(try_make(&w, &user, readable, "there", S_IFREG, ""), -EEXIST); // before EACCES
    assert_int_equal(try_make(&w, &user, readable, "x", S_IFCHR, ""), -EACCES);     // before EPERM
    assert_int_equal(try_make(&w, &world_root, ROOT, long_name, S_IFREG, ""), -ENAMETOOLONG);
    assert_int_equal(try_make(&w, &world_root, ROOT, long_name + 1, S_IFREG, ""), 0);
    assert_int_equal(try_make(&w, &world_root, ROOT, "l", S_IFLNK, ""), -ENOENT);
    assert_int_equal(try_make(&w, &world_root, ROOT, "c", S_IFCHR | 0600, ""), 0);
    fs_ino open_dir = world_make(&w, ROOT, "open", S_IFDIR | 0777);
    assert_int_equal(try_make(&w, &user, open_dir, "c", S_IFBLK, ""), -EPERM);
    assert_int_equal(try_link(&w, &world_root, file, ROOT, "closed"), -EEXIST);
    assert_int_equal(try_link(&w, &world_root, closed, ROOT, "x"), -EPERM);
    assert_int_equal(try_link(&w, &user, file, readable, "x"), -EACCES);
    assert_int_equal(try_link(&w, &world_root, 999, ROOT, "x"), -ENOENT);
    teardown(&w);
}

static void errors_of_removal(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino dir = world_make(&w, ROOT, "dir", S_IFDIR | 0755);
    fs_ino sticky = world_make(&w, ROOT, "sticky", S_IFDIR | 01777);
    world_make(&w, dir, "file", S_IFREG | 0644);
    world_make(&w, sticky, "file", S_IFREG | 0666);
    world_make(&w, sticky, "dir", S_IFDIR | 0777);
    assert_int_equal(core_unlink(w.core, &user, dir, NAME("none"), &(fs_ino){0}), -ENOENT); // before EACCES
    assert_int_equal(core_unlink(w.core, &user, dir, NAME("file"), &(fs_ino){0}), -EACCES);
    assert_int_equal(core_unlink(w.core, &user, sticky, NAME("file"), &(fs_ino){0}), -EPERM);
    assert_int_equal(core_unlink(w.core, &user, sticky, NAME("dir"), &(fs_ino){0}), -EPERM); // before EISDIR
    assert_int_equal(core_rmdir(w.core, &user, sticky, NAME("file")), -EPERM);               // before ENOTDIR
    assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("dir"), &(fs_ino){0}), -EISDIR);
    assert_int_equal(core_rmdir(w.core, &world_root, dir, NAME("file")), -ENOTDIR);
    assert_int_equal(core_rmdir(w.core, &world_root, ROOT, NAME("dir")), -ENOTEMPTY);
    assert_int_equal(core_unlink(w.core, &world_root, dir, NAME("file"), &(fs_ino){0}), 0);
    assert_int_equal(core_rmdir(w.core, &world_root, ROOT, NAME("dir")), 0);
    assert_int_equal(ino_at(&w, ROOT, "dir"), 0);
    teardown(&w);
}

// /a/b/c/, /a/file, /full/x
static void errors_of_rename(void **state)
{
    (void)state;
    const uint32_t swap = FS_RENAME_EXCHANGE, keep = FS_RENAME_NOREPLACE;
    struct world w;
    setup(&w);
    fs_ino a = world_make(&w, ROOT, "a", S_IFDIR | 0755), b = world_make(&w, a, "b", S_IFDIR | 0755);
    fs_ino c = world_make(&w, b, "c", S_IFDIR | 0755), full = world_make(&w, ROOT, "full", S_IFDIR | 0755);
    world_make(&w, full, "x", S_IFREG | 0644);
    world_make(&w, a, "file", S_IFREG | 0644);
    assert_int_equal(try_rename(&w, &world_root, a, "none", a, "z", 0), -ENOENT);
    assert_int_equal(try_rename(&w, &world_root, a, "file", a, "z", swap), -ENOENT);
    assert_int_equal(try_rename(&w, &world_root, a, "file", a, "z", swap | keep), -EINVAL);
    assert_int_equal(try_rename(&w, &world_root, a, "file", a, "b", keep), -EEXIST);
    assert_int_equal(try_rename(&w, &user, a, "file", a, "b", keep), -EEXIST);    // before EACCES
    assert_int_equal(try_rename(&w, &user, ROOT, "a", c, "z", 0), -EINVAL);       // before EACCES
    assert_int_equal(try_rename(&w, &world_root, ROOT, "a", a, "z", 0), -EINVAL); // into itself
    assert_int_equal(try_rename(&w, &world_root, ROOT, "a", c, "z", 0), -EINVAL); // deep below
    assert_int_equal(try_rename(&w, &world_root, b, "c", ROOT, "a", 0), -ENOTEMPTY);
    assert_int_equal(try_rename(&w, &world_root, b, "c", ROOT, "a", swap), -EINVAL);
    assert_int_equal(try_rename(&w, &world_root, ROOT, "a", b, "c", swap), -EINVAL);
    assert_int_equal(try_rename(&w, &world_root, b, "c", a, "file", 0), -ENOTDIR);
    assert_int_equal(try_rename(&w, &world_root, a, "file", b, "c", 0), -EISDIR);
    assert_int_equal(try_rename(&w, &world_root, b, "c", ROOT, "full", 0), -ENOTEMPTY);
    assert_int_equal(try_rename(&w, &user, a, "file", a, "z", 0), -EACCES);
    assert_int_equal(try_rename(&w, &world_root, a, "..", a, "z", 0), -EINVAL);
    teardown(&w);
}

// A directory that changes its parent must be writable for who moves it.
static void moving_a_directory_takes_write_permission(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino p = world_make(&w, ROOT, "p", S_IFDIR | 0777), q = world_make(&w, ROOT, "q", S_IFDIR | 0777);
    world_make(&w, p, "d", S_IFDIR | 0555);
    assert_int_equal(try_rename(&w, &user, p, "d", q, "d", 0), -EACCES);
    assert_int_equal(try_rename(&w, &user, p, "d", p, "e", 0), 0);
    assert_int_equal(try_rename(&w, &world_root, p, "e", q, "d", 0), 0);
    teardown(&w);
}

// rename(2): two names of one inode both stay, and nothing is asked of the caller but to find them.
static void rename_to_itself_does_nothing(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino d = world_make(&w, ROOT, "d", S_IFDIR | 0755), f = world_make(&w, d, "f", S_IFREG | 0644);
    world_link(&w, f, d, "g");
    char *before = world_dump(&w, f), *after;
    assert_int_equal(try_rename(&w, &user, d, "f", d, "g", 0), 0);
    assert_int_equal(try_rename(&w, &user, d, "f", d, "f", 0), 0);
    assert_int_equal(try_rename(&w, &user, d, "f", d, "g", FS_RENAME_NOREPLACE), -EEXIST);
    after = world_dump(&w, f);
    assert_string_equal(before, after);
    free(before);
    free(after);
    teardown(&w);
}

// --- links and times ---

static void assert_links(struct world *world, fs_ino ino, uint32_t nlink)
{
    assert_int_equal(world_attr(world, ino).nlink, nlink);
}

static void links_follow_the_tree(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    assert_links(&w, ROOT, 2);
    fs_ino p = world_make(&w, ROOT, "p", S_IFDIR | 0755), q = world_make(&w, ROOT, "q", S_IFDIR | 0755);
    fs_ino d = world_make(&w, p, "d", S_IFDIR | 0755), f = world_make(&w, q, "f", S_IFREG | 0644);
    assert_links(&w, ROOT, 4);
    assert_links(&w, p, 3);
    world_link(&w, f, p, "g");
    assert_links(&w, f, 2);
    assert_int_equal(try_rename(&w, &world_root, p, "d", q, "f", FS_RENAME_EXCHANGE), 0);
    assert_links(&w, p, 2);
    assert_links(&w, q, 3);
    assert_int_equal(ino_at(&w, d, ".."), q);
    fs_ino e = world_make(&w, p, "e", S_IFDIR | 0755);
    assert_int_equal(try_rename(&w, &world_root, p, "e", q, "f", 0), 0); // replaces the empty d
    assert_links(&w, p, 2);
    assert_links(&w, q, 3);
    assert_int_equal(ino_at(&w, q, "f"), e);
    assert_int_equal(core_rmdir(w.core, &world_root, q, NAME("f")), 0);
    assert_links(&w, q, 2);
    assert_int_equal(core_unlink(w.core, &world_root, p, NAME("g"), &(fs_ino){0}), 0);
    assert_links(&w, f, 1);
    teardown(&w);
}

static bool newer(struct fs_time a, struct fs_time b)
{
    return fs_time_compare(a, b) > 0;
}

static void times_move(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino p = world_make(&w, ROOT, "p", S_IFDIR | 0755), f = world_make(&w, p, "f", S_IFREG | 0644);
    struct fs_attr p0 = world_attr(&w, p), f0 = world_attr(&w, f), p1, f1;
    world_link(&w, f, p, "g");
    p1 = world_attr(&w, p), f1 = world_attr(&w, f);
    assert_true(newer(p1.mtime, p0.mtime) && newer(p1.ctime, p0.ctime) && newer(f1.ctime, f0.ctime));
    assert_int_equal(fs_time_compare(f1.mtime, f0.mtime), 0);
    assert_int_equal(fs_time_compare(p1.atime, p0.atime), 0);
    p0 = p1, f0 = f1;
    assert_int_equal(core_unlink(w.core, &world_root, p, NAME("g"), &(fs_ino){0}), 0);
    p1 = world_attr(&w, p), f1 = world_attr(&w, f);
    assert_true(newer(p1.mtime, p0.mtime) && newer(p1.ctime, p0.ctime) && newer(f1.ctime, f0.ctime));
    struct fs_attr r0 = world_attr(&w, ROOT);
    assert_int_equal(try_rename(&w, &world_root, p, "f", ROOT, "f", 0), 0);
    p0 = p1, f0 = f1;
    p1 = world_attr(&w, p), f1 = world_attr(&w, f);
    assert_true(newer(p1.mtime, p0.mtime) && newer(world_attr(&w, ROOT).mtime, r0.mtime));
    assert_true(newer(f1.ctime, f0.ctime));
    assert_int_equal(fs_time_compare(f1.mtime, f0.mtime), 0);
    teardown(&w);
}

// --- listing ---

struct listing {
    char names[1024];
    uint64_t cookie;
    unsigned n, max;
};

static bool list_entry(void *context, struct fs_name name, uint64_t cookie, fs_ino ino, uint32_t type,
                       const struct fs_attr *attr)
{
    struct listing *listing = context;
    assert_true(cookie > listing->cookie);
    assert_true(ino != 0 && type != 0 && attr);
    snprintf(listing->names + strlen(listing->names), 100, "%.*s ", (int)name.length, name.bytes);
    listing->cookie = cookie;
    return ++listing->n < listing->max;
}

static void list_more(struct world *world, const struct core_file *file, struct listing *listing, unsigned n)
{
    listing->n = 0;
    listing->max = n;
    assert_int_equal(core_readdir(world->core, file, listing->cookie, list_entry, listing), 0);
}

static void listing_while_changing(void **state)
{
    (void)state;
    struct world w;
    struct listing listing = {.n = 0};
    setup(&w);
    for (char name[] = "a"; *name <= 'h'; ++*name)
        world_make(&w, ROOT, name, S_IFREG | 0644);
    struct core_file *file = world_file(&w, ROOT, FS_OPEN_READ);
    list_more(&w, file, &listing, 1);
    list_more(&w, file, &listing, 3);
    assert_string_equal(listing.names, ". .. a b ");
    assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("a"), &(fs_ino){0}), 0);
    assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("c"), &(fs_ino){0}), 0);
    world_make(&w, ROOT, "a", S_IFREG | 0644);
    assert_int_equal(try_rename(&w, &world_root, ROOT, "b", ROOT, "d", 0), 0); // keeps the place of d
    assert_int_equal(try_rename(&w, &world_root, ROOT, "e", ROOT, "f", FS_RENAME_EXCHANGE), 0);
    list_more(&w, file, &listing, 3);
    assert_string_equal(listing.names, ". .. a b d e f ");
    list_more(&w, file, &listing, 100);
    assert_string_equal(listing.names, ". .. a b d e f g h a ");
    core_release(w.core, file);
    teardown(&w);
}

// --- without a name, but open ---

static void unlinked_but_open(void **state)
{
    (void)state;
    struct world w;
    struct fs_attr attr;
    struct listing listing = {.n = 0};
    char bytes[8];
    size_t n;
    setup(&w);
    fs_ino f = world_make(&w, ROOT, "f", S_IFREG | 0644), d = world_make(&w, ROOT, "d", S_IFDIR | 0755);
    struct core_file *file = world_file(&w, f, FS_OPEN_READ | FS_OPEN_WRITE);
    struct core_file *second = world_file(&w, f, FS_OPEN_READ), *dir = world_file(&w, d, FS_OPEN_READ);
    assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("f"), &(fs_ino){0}), 0);
    assert_int_equal(core_rmdir(w.core, &world_root, ROOT, NAME("d")), 0);
    assert_int_equal(try_link(&w, &world_root, f, ROOT, "back"), -ENOENT);
    assert_int_equal(try_make(&w, &world_root, d, "x", S_IFREG, ""), -ENOENT);
    assert_int_equal(try_rename(&w, &world_root, ROOT, "none", d, "x", 0), -ENOENT);
    world_make(&w, ROOT, "g", S_IFREG | 0644);
    assert_int_equal(try_rename(&w, &world_root, ROOT, "g", d, "x", 0), -ENOENT);
    assert_int_equal(core_readdir(w.core, dir, 0, list_entry, &listing), -ENOENT);
    assert_string_equal(listing.names, "");
    world_write(&w, file, "abc");
    core_release(w.core, file);
    world_commit(&w);
    world_begin(&w);
    assert_links(&w, f, 0);
    assert_int_equal(core_read(w.core, second, 0, bytes, 8, &n), 0);
    assert_int_equal(n, 3);
    core_release(w.core, second);
    core_release(w.core, dir);
    world_commit(&w);
    world_begin(&w);
    assert_int_equal(core_getattr(w.core, f, &attr), -ENOENT);
    assert_int_equal(core_getattr(w.core, d, &attr), -ENOENT);
    assert_int_equal(store_orphans(w.store, 0, &f, 1), 0);
    teardown(&w);
}

// open(O_TMPFILE): no name, one chance to get one, and gone with its last open.
static void files_without_a_name(void **state)
{
    (void)state;
    struct world w;
    struct core_file *file, *never;
    struct fs_attr attr;
    setup(&w);
    fs_ino d = world_make(&w, ROOT, "d", S_IFDIR | 02775), plain = world_make(&w, ROOT, "f", S_IFREG);
    uint32_t write = FS_OPEN_WRITE, excl = FS_OPEN_WRITE | FS_OPEN_EXCL;
    assert_int_equal(core_tmpfile(w.core, &user, d, 0600, 0, write, &file, &attr), -EACCES);
    assert_int_equal(core_tmpfile(w.core, &world_root, plain, 0600, 0, write, &file, &attr), -ENOTDIR);
    struct fs_attr before = world_attr(&w, d);
    assert_int_equal(core_tmpfile(w.core, &world_root, d, 0640, 0, write, &file, &attr), 0);
    assert_int_equal(core_tmpfile(w.core, &world_root, d, 0640, 0, excl, &never, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(attr.mode, S_IFREG | 0640);
    struct fs_attr after = world_attr(&w, d);
    assert_int_equal(fs_time_compare(before.mtime, after.mtime), 0); // nothing was put into it
    fs_ino made = core_file_ino(file), excluded = core_file_ino(never);
    world_write(&w, file, "text");
    assert_int_equal(try_link(&w, &world_root, excluded, d, "x"), -ENOENT);
    assert_int_equal(try_link(&w, &world_root, made, ROOT, "x"), 0);
    assert_links(&w, made, 1);
    bool under = true;
    assert_int_equal(core_is_under(w.core, made, d, &under), 0); // it lies where its name is
    assert_false(under);
    assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("x"), &(fs_ino){0}), 0);
    assert_int_equal(try_link(&w, &world_root, made, ROOT, "y"), -ENOENT); // it had its name
    core_release(w.core, file);
    core_release(w.core, never);
    world_commit(&w);
    world_begin(&w);
    assert_int_equal(core_getattr(w.core, made, &attr), -ENOENT);
    assert_int_equal(core_getattr(w.core, excluded, &attr), -ENOENT);
    assert_int_equal(core_rmdir(w.core, &world_root, ROOT, NAME("d")), 0);
    assert_int_equal(core_tmpfile(w.core, &world_root, d, 0640, 0, write, &file, &attr), -ENOENT);
    teardown(&w);
}

static void orphans_after_a_restart(void **state)
{
    (void)state;
    struct world w;
    struct core_file *again, *files[70];
    struct fs_attr attr;
    bool more = true;
    setup(&w);
    for (unsigned i = 0; i < 70; i++) {
        files[i] = world_file(&w, world_make(&w, ROOT, "f", S_IFREG | 0644), FS_OPEN_WRITE);
        assert_int_equal(core_unlink(w.core, &world_root, ROOT, NAME("f"), &(fs_ino){0}), 0);
    }
    fs_ino kept = core_file_ino(files[3]);
    world_commit(&w);
    for (unsigned i = 0; i < 70; i++)
        core_release(w.core, files[i]);
    world_restart(&w);
    world_begin(&w);
    assert_int_equal(core_reopen(w.core, kept, FS_OPEN_WRITE, &again), 0);
    assert_int_equal(core_reopen(w.core, 9999, FS_OPEN_WRITE, &again), -ESTALE);
    world_commit(&w);
    for (unsigned calls = 0; more; calls++) {
        assert_true(calls < 3);
        assert_int_equal(core_reap_orphans(w.core, &more), 0);
    }
    world_begin(&w);
    world_commit(&w);
    fs_ino left[2];
    assert_int_equal(store_orphans(w.store, 0, left, 2), 1);
    assert_int_equal(left[0], kept);
    world_begin(&w);
    core_release(w.core, again);
    world_commit(&w);
    world_begin(&w);
    assert_int_equal(core_getattr(w.core, kept, &attr), -ENOENT);
    teardown(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_make),
        cmocka_unit_test(errors_of_removal),
        cmocka_unit_test(errors_of_rename),
        cmocka_unit_test(moving_a_directory_takes_write_permission),
        cmocka_unit_test(rename_to_itself_does_nothing),
        cmocka_unit_test(links_follow_the_tree),
        cmocka_unit_test(times_move),
        cmocka_unit_test(listing_while_changing),
        cmocka_unit_test(unlinked_but_open),
        cmocka_unit_test(files_without_a_name),
        cmocka_unit_test(orphans_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
