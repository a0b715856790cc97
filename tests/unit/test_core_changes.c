// SPDX-License-Identifier: Apache-2.0
// What each operation of core notes of its changes: all that another could see, by POSIX, and no more. An
// operation that has to wait has changed nothing, not a byte, and does all of it when it runs again.
#include <setjmp.h>
#include <stdarg.h>

#include "fs/base/check.h"
#include "tests/unit/core_world.h"

// The tree that every case starts from.
struct tree {
    struct world world;
    fs_ino d, e, d2;   // directories: /d, /d/e (empty), /d2
    fs_ino f, g, l, s; // /d/f "hello", /d2/g "world", /d/l = /d2/l, /d/s -> target
    bool refuse;       // what the callback answers
    unsigned n_asked;
    char noted[512]; // by the last operation, in the order of their noting
};

static const char *name_of_ino(const struct tree *tree, fs_ino ino)
{
    const struct {
        fs_ino ino;
        const char *name;
    } names[] = {{FS_ROOT_INO, "/"}, {tree->d, "d"}, {tree->e, "e"}, {tree->d2, "d2"},
                 {tree->f, "f"},     {tree->g, "g"}, {tree->l, "l"}, {tree->s, "s"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].ino == ino)
            return names[i].name;
    }
    return "?";
}

static int ask(void *context, const struct core_change *changes, size_t n)
{
    static const char *const whats[] = {"attr", "name", "names", "data", "tree"};
    struct tree *tree = context;
    char *at = tree->noted, *end = at + sizeof(tree->noted);
    *at = '\0';
    for (size_t i = 0; i < n; i++) {
        for (unsigned bit = 0; bit < ARRAY_LEN(whats); bit++) {
            if (changes[i].what & (1u << bit))
                at += snprintf(at, (size_t)(end - at), "%s%s:%s", at == tree->noted ? "" : " ",
                               name_of_ino(tree, changes[i].ino), whats[bit]);
        }
        if (changes[i].what & CORE_CHANGE_NAME)
            at +=
                snprintf(at, (size_t)(end - at), "=%.*s", (int)changes[i].name.length, changes[i].name.bytes);
    }
    tree->n_asked++;
    return tree->refuse ? CORE_WAIT : 0;
}

static void plant_file(struct tree *tree, fs_ino ino, const char *text)
{
    struct core_file *file = world_file(&tree->world, ino, FS_OPEN_WRITE);
    world_write(&tree->world, file, text);
    core_release(tree->world.core, file);
}

static void plant(struct tree *tree)
{
    *tree = (struct tree){0};
    struct world *world = &tree->world;
    world_open(world);
    world_begin(world);
    tree->d = world_make(world, FS_ROOT_INO, "d", S_IFDIR | 0755);
    tree->e = world_make(world, tree->d, "e", S_IFDIR | 0755);
    tree->d2 = world_make(world, FS_ROOT_INO, "d2", S_IFDIR | 0755);
    tree->f = world_make(world, tree->d, "f", S_IFREG | 0644);
    tree->g = world_make(world, tree->d2, "g", S_IFREG | 0644);
    tree->l = world_make(world, tree->d, "l", S_IFREG | 0644);
    tree->s = world_make(world, tree->d, "s", S_IFLNK);
    world_link(world, tree->l, tree->d2, "l");
    plant_file(tree, tree->f, "hello");
    plant_file(tree, tree->g, "world");
    world_commit(world);
    core_set_ask(world->core, ask, tree);
}

// --- the operations ---

static struct fs_attr attr_out;

static int make(struct tree *tree, uint32_t mode)
{
    struct core_make spec = {.mode = mode, .target = fs_name_of("elsewhere")};
    return core_make(tree->world.core, &world_root, tree->d, fs_name_of("new"), &spec, &attr_out);
}

static int make_file(struct tree *tree)
{
    return make(tree, S_IFREG | 0644);
}

static int make_directory(struct tree *tree)
{
    return make(tree, S_IFDIR | 0755);
}

static int make_symlink(struct tree *tree)
{
    return make(tree, S_IFLNK);
}

static int link_f(struct tree *tree)
{
    return core_link(tree->world.core, &world_root, tree->f, tree->d2, fs_name_of("new"), &attr_out);
}

static int unlink_f(struct tree *tree)
{
    return core_unlink(tree->world.core, &world_root, tree->d, fs_name_of("f"), &(fs_ino){0});
}

static int unlink_l(struct tree *tree)
{
    return core_unlink(tree->world.core, &world_root, tree->d, fs_name_of("l"), &(fs_ino){0});
}

static int unlink_open_f(struct tree *tree)
{
    struct core_file *file = world_file(&tree->world, tree->f, FS_OPEN_READ);
    int result = unlink_f(tree);
    core_release(tree->world.core, file);
    return result;
}

static int rmdir_e(struct tree *tree)
{
    return core_rmdir(tree->world.core, &world_root, tree->d, fs_name_of("e"));
}

static int rename_to(struct tree *tree, fs_ino from, const char *name, fs_ino to, const char *new_name,
                     uint32_t flags)
{
    return core_rename(tree->world.core, &world_root, from, fs_name_of(name), to, fs_name_of(new_name),
                       flags);
}

static int rename_here(struct tree *tree)
{
    return rename_to(tree, tree->d, "f", tree->d, "new", 0);
}

static int rename_there(struct tree *tree)
{
    return rename_to(tree, tree->d, "f", tree->d2, "new", 0);
}

static int rename_over(struct tree *tree)
{
    return rename_to(tree, tree->d, "f", tree->d2, "g", 0);
}

static int rename_over_one_of_two(struct tree *tree)
{
    return rename_to(tree, tree->d, "f", tree->d2, "l", 0);
}

static int rename_to_itself(struct tree *tree)
{
    return rename_to(tree, tree->d, "l", tree->d2, "l", 0);
}

static int rename_whiteout(struct tree *tree)
{
    return rename_to(tree, tree->d, "f", tree->d, "new", FS_RENAME_WHITEOUT);
}

static int rename_exchange(struct tree *tree)
{
    return rename_to(tree, tree->d, "f", tree->d2, "g", FS_RENAME_EXCHANGE);
}

static int rename_directory_here(struct tree *tree)
{
    return rename_to(tree, tree->d, "e", tree->d, "new", 0);
}

static int rename_directory_there(struct tree *tree)
{
    return rename_to(tree, tree->d, "e", tree->d2, "new", 0);
}

static int exchange_directory_and_file(struct tree *tree)
{
    return rename_to(tree, tree->d, "e", tree->d2, "g", FS_RENAME_EXCHANGE);
}

static int set(struct tree *tree, fs_ino ino, struct fs_setattr set)
{
    return core_setattr(tree->world.core, &world_root, ino, NULL, &set, &attr_out);
}

static int chmod_file(struct tree *tree)
{
    return set(tree, tree->f, (struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600});
}

static int chmod_directory(struct tree *tree)
{
    return set(tree, tree->d, (struct fs_setattr){.mask = FS_SET_MODE, .mode = 0700});
}

static int chown_directory(struct tree *tree)
{
    return set(tree, tree->d, (struct fs_setattr){.mask = FS_SET_UID, .uid = 7});
}

static int chgrp_directory(struct tree *tree)
{
    return set(tree, tree->d, (struct fs_setattr){.mask = FS_SET_GID, .gid = 7});
}

static int touch_directory(struct tree *tree)
{
    return set(tree, tree->d, (struct fs_setattr){.mask = FS_SET_MTIME_NOW});
}

static int set_atime(struct tree *tree) // which marks ctime
{
    return set(tree, tree->f, (struct fs_setattr){.mask = FS_SET_ATIME_NOW});
}

static int truncate_f(struct tree *tree)
{
    return set(tree, tree->f, (struct fs_setattr){.mask = FS_SET_SIZE, .size = 2});
}

static int truncate_and_chmod(struct tree *tree)
{
    return set(tree, tree->f,
               (struct fs_setattr){.mask = FS_SET_SIZE | FS_SET_MODE, .size = 2000, .mode = 0600});
}

static int truncate_to_same(struct tree *tree)
{
    return set(tree, tree->f, (struct fs_setattr){.mask = FS_SET_SIZE, .size = 5});
}

static int set_xattr(struct tree *tree, fs_ino ino, const char *name, const void *value, size_t n)
{
    return core_setxattr(tree->world.core, &world_root, ino, fs_name_of(name), value, n, 0);
}

static int set_xattr_of_file(struct tree *tree)
{
    return set_xattr(tree, tree->f, "user.a", "1", 1);
}

static int set_xattr_of_directory(struct tree *tree)
{
    return set_xattr(tree, tree->d, "user.a", "1", 1);
}

// user::rwx user:7:r-x group::r-x mask::r-x other::r-x
static const uint8_t acl[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  5,
                              0, 7, 0,   0,   0,   4,   0,  5, 0,   255, 255, 255, 255, 16, 0,
                              5, 0, 255, 255, 255, 255, 32, 0, 5,   0,   255, 255, 255, 255};

static int set_acl_of_file(struct tree *tree)
{
    return set_xattr(tree, tree->f, "system.posix_acl_access", acl, sizeof(acl));
}

static int set_acl_of_directory(struct tree *tree)
{
    return set_xattr(tree, tree->d, "system.posix_acl_access", acl, sizeof(acl));
}

static int set_default_acl(struct tree *tree)
{
    return set_xattr(tree, tree->d, "system.posix_acl_default", acl, sizeof(acl));
}

static int make_below_default_acl(struct tree *tree)
{
    core_set_ask(tree->world.core, NULL, NULL);
    int result = set_xattr(tree, tree->d, "system.posix_acl_default", acl, sizeof(acl));
    core_set_ask(tree->world.core, ask, tree);
    return result != 0 ? result : make_directory(tree);
}

static int remove_missing_acl(struct tree *tree)
{
    return core_removexattr(tree->world.core, &world_root, tree->d, fs_name_of("system.posix_acl_access"));
}

static int remove_xattr(struct tree *tree)
{
    core_set_ask(tree->world.core, NULL, NULL);
    int result = set_xattr_of_file(tree);
    core_set_ask(tree->world.core, ask, tree);
    return result != 0 ? result
                       : core_removexattr(tree->world.core, &world_root, tree->f, fs_name_of("user.a"));
}

static int through(struct tree *tree, fs_ino ino, uint32_t flags,
                   int (*run)(struct tree *tree, struct core_file *file))
{
    struct core_file *file;
    int result = core_open(tree->world.core, &world_root, ino, flags, &file, &attr_out);
    if (result != 0)
        return result;
    result = run ? run(tree, file) : 0;
    core_release(tree->world.core, file);
    return result;
}

static int write_file(struct tree *tree, struct core_file *file)
{
    return core_write(tree->world.core, &world_root, file, 1, "EY", 2, &attr_out);
}

static int append_file(struct tree *tree, struct core_file *file)
{
    uint64_t offset;
    return core_append(tree->world.core, &world_root, file, "!", 1, &offset, &attr_out);
}

static int write_nothing(struct tree *tree, struct core_file *file)
{
    return core_write(tree->world.core, &world_root, file, 1, "", 0, &attr_out);
}

static int read_file(struct tree *tree, struct core_file *file)
{
    char bytes[10];
    size_t n;
    return core_read(tree->world.core, file, 0, bytes, sizeof(bytes), &n);
}

static int allocate_file(struct tree *tree, struct core_file *file)
{
    return core_fallocate(tree->world.core, &world_root, file, 0, 0, 100, &attr_out);
}

static int punch_file(struct tree *tree, struct core_file *file)
{
    return core_fallocate(tree->world.core, &world_root, file, FS_ALLOCATE_PUNCH_HOLE | FS_ALLOCATE_KEEP_SIZE,
                          0, 3, &attr_out);
}

static int zero_file(struct tree *tree, struct core_file *file)
{
    return core_fallocate(tree->world.core, &world_root, file, FS_ALLOCATE_ZERO_RANGE, 0, 3, &attr_out);
}

static int copy_to_file(struct tree *tree, struct core_file *file)
{
    struct core_file *from = world_file(&tree->world, tree->g, FS_OPEN_READ);
    uint64_t n;
    int result = core_copy_range(tree->world.core, &world_root, from, 0, file, 2, 4, &n);
    core_release(tree->world.core, from);
    return result;
}

static int write_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, write_file);
}

static int append_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, append_file);
}

static int write_nothing_to_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, write_nothing);
}

static int read_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_READ, read_file);
}

static int allocate_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, allocate_file);
}

static int punch_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, punch_file);
}

static int zero_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, zero_file);
}

static int copy_to_f(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE, copy_to_file);
}

static int open_truncating(struct tree *tree)
{
    return through(tree, tree->f, FS_OPEN_WRITE | FS_OPEN_TRUNC, NULL);
}

static int open_truncating_empty(struct tree *tree)
{
    return through(tree, tree->l, FS_OPEN_WRITE | FS_OPEN_TRUNC, NULL);
}

static int create(struct tree *tree, const char *name, uint32_t flags)
{
    struct core_file *file;
    bool created;
    int result = core_create_open(tree->world.core, &world_root, tree->d, fs_name_of(name), 0644, 0,
                                  FS_OPEN_WRITE | FS_OPEN_CREATE | flags, &file, &attr_out, &created);
    if (result == 0)
        core_release(tree->world.core, file);
    return result;
}

static int create_new(struct tree *tree)
{
    return create(tree, "new", 0);
}

static int create_there(struct tree *tree)
{
    return create(tree, "f", 0);
}

static int create_truncating(struct tree *tree)
{
    return create(tree, "f", FS_OPEN_TRUNC);
}

static int tmpfile_in_d(struct tree *tree)
{
    struct core_file *file;
    int result =
        core_tmpfile(tree->world.core, &world_root, tree->d, 0644, 0, FS_OPEN_WRITE, &file, &attr_out);
    if (result == 0)
        core_release(tree->world.core, file);
    return result;
}

static int resolve_root(struct tree *tree)
{
    const struct core_root_spec spec = {.path = "/d/x/y", .make = true, .mode = 0700, .uid = 7};
    fs_ino ino;
    return core_resolve_root(tree->world.core, &spec, &ino);
}

static int set_quota(struct tree *tree)
{
    return core_quota_set(tree->world.core, tree->d, &(struct core_limits){.max_inodes = 100});
}

static int look_up(struct tree *tree)
{
    return core_lookup(tree->world.core, &world_root, tree->d, fs_name_of("f"), &attr_out);
}

static int read_link(struct tree *tree)
{
    char target[FS_SYMLINK_MAX];
    size_t n;
    return core_readlink(tree->world.core, tree->s, target, &n);
}

static const struct {
    const char *name;
    int (*run)(struct tree *tree);
    const char *noted; // "": the operation asks for nothing
} cases[] = {
#define CASE(name, noted)  \
    {                      \
#name, name, noted \
    }
    CASE(make_file, "d:name=new d:attr"),
    CASE(make_directory, "d:name=new d:attr"),
    CASE(make_symlink, "d:name=new d:attr"),
    CASE(make_below_default_acl, "d:name=new d:attr"),
    CASE(create_new, "d:name=new d:attr"),
    CASE(create_there, ""),
    CASE(create_truncating, "f:attr f:data"),
    CASE(tmpfile_in_d, ""),
    CASE(link_f, "d2:name=new f:attr d2:attr"),
    CASE(unlink_f, "d:name=f f:attr d:attr"),
    CASE(unlink_l, "d:name=l l:attr d:attr"),
    CASE(unlink_open_f, "d:name=f f:attr d:attr"),
    CASE(rmdir_e, "d:name=e e:attr d:attr"),
    CASE(rename_here, "d:name=new d:name=f f:attr d:attr"),
    CASE(rename_there, "d2:name=new d:name=f f:attr d:attr d2:attr"),
    CASE(rename_over, "d2:name=g d:name=f g:attr f:attr d:attr d2:attr"),
    CASE(rename_over_one_of_two, "d2:name=l d:name=f l:attr f:attr d:attr d2:attr"),
    CASE(rename_to_itself, ""),
    CASE(rename_whiteout, "d:name=new d:name=f f:attr d:attr"),
    CASE(rename_exchange, "d:name=f d2:name=g f:attr g:attr d:attr d2:attr"),
    CASE(rename_directory_here, "d:name=new d:name=e e:attr d:attr"),
    CASE(rename_directory_there, "d2:name=new d:name=e e:attr e:tree d:attr d2:attr"),
    CASE(exchange_directory_and_file, "d:name=e d2:name=g e:attr e:tree g:attr d:attr d2:attr"),
    CASE(chmod_file, "f:attr"),
    CASE(chmod_directory, "d:attr d:names"),
    CASE(chown_directory, "d:attr d:names"),
    CASE(chgrp_directory, "d:attr d:names"),
    CASE(touch_directory, "d:attr"),
    CASE(set_atime, "f:attr"),
    CASE(truncate_f, "f:attr f:data"),
    CASE(truncate_and_chmod, "f:attr f:data"),
    CASE(truncate_to_same, "f:attr"),
    CASE(set_xattr_of_file, "f:attr"),
    CASE(set_xattr_of_directory, "d:attr"),
    CASE(remove_xattr, "f:attr"),
    CASE(set_acl_of_file, "f:attr"),
    CASE(set_acl_of_directory, "d:attr d:names"),
    CASE(set_default_acl, "d:attr"),
    CASE(remove_missing_acl, ""),
    CASE(write_f, "f:attr f:data"),
    CASE(append_f, "f:attr f:data"),
    CASE(write_nothing_to_f, ""),
    CASE(read_f, ""),
    CASE(allocate_f, "f:attr f:data"),
    CASE(punch_f, "f:attr f:data"),
    CASE(zero_f, "f:attr f:data"),
    CASE(copy_to_f, "f:attr f:data"),
    CASE(open_truncating, "f:attr f:data"),
    CASE(open_truncating_empty, "l:attr"),
    CASE(resolve_root, "d:name=x d:attr"),
    CASE(set_quota, ""),
    CASE(look_up, ""),
    CASE(read_link, ""),
#undef CASE
};

// --- tests ---

static void what_each_operation_notes(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tree tree;
        plant(&tree);
        world_begin(&tree.world);
        assert_int_equal(cases[i].run(&tree), 0);
        if (strcmp(tree.noted, cases[i].noted) != 0)
            print_message("%s\n", cases[i].name);
        assert_string_equal(tree.noted, cases[i].noted);
        assert_true(tree.n_asked == (*cases[i].noted ? 1 : 0));
        world_commit(&tree.world);
        world_close(&tree.world);
    }
}

static char *dump(struct tree *tree)
{
    tree->refuse = false;
    return world_dump(&tree->world, tree->s + 1);
}

static void what_waits_has_changed_nothing(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool prepares = cases[i].run == remove_xattr || cases[i].run == make_below_default_acl;
        struct tree tree;
        plant(&tree);
        world_begin(&tree.world);
        char *before = dump(&tree);
        tree.refuse = true;
        assert_int_equal(cases[i].run(&tree), *cases[i].noted ? CORE_WAIT : 0);
        char *after = dump(&tree);
        if (*cases[i].noted && !prepares)
            assert_string_equal(after, before);
        assert_int_equal(cases[i].run(&tree), 0);
        world_commit(&tree.world);
        free(before);
        free(after);
        world_close(&tree.world);
    }
}

// Orphans go with the turn, asked by nobody.
static void removing_orphans_is_no_change(void **state UNUSED)
{
    struct tree tree;
    plant(&tree);
    world_begin(&tree.world);
    assert_int_equal(tmpfile_in_d(&tree), 0);
    tree.refuse = true;
    world_commit(&tree.world);
    assert_int_equal(tree.n_asked, 0);
    world_close(&tree.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_each_operation_notes),
        cmocka_unit_test(what_waits_has_changed_nothing),
        cmocka_unit_test(removing_orphans_is_no_change),
    };
    return cmocka_run_group_tests_name("core_changes", tests, NULL, NULL);
}
