// SPDX-License-Identifier: Apache-2.0
// Every store call of every mutating operation fails once: an operation that answers an error has changed
// nothing, and the cache says what the store says. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "tests/unit/core_world.h"
#include <errno.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])
#define LAST_INO      64 // none of these tests makes as many
#define TRIES_MAX     100

static const struct fs_cred user = {.uid = 100, .gid = 100};

// u::rwx,u:7:rwx,g::r-x,m::rwx,o::rwx, as an attribute
static const uint8_t list[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  7,
                               0, 7, 0,   0,   0,   4,   0,  5, 0,   255, 255, 255, 255, 16, 0,
                               7, 0, 255, 255, 255, 255, 32, 0, 7,   0,   255, 255, 255, 255};

struct scene {
    struct world world;
    fs_ino a, b, f, e, empty, full, x;
    struct core_file *file; // f, for writing
    struct core_file *gone; // unlinked
    struct core_file *made; // by the operation
};

// /a/f = /b/h, /a/empty/, /b/full/x, /b/s -> target, /e
static void scene_open(struct scene *scene)
{
    struct world *world = &scene->world;
    world_open(world);
    world_begin(world);
    scene->a = world_make(world, FS_ROOT_INO, "a", S_IFDIR | 0777);
    scene->b = world_make(world, FS_ROOT_INO, "b", S_IFDIR | 02777);
    scene->f = world_make(world, scene->a, "f", S_IFREG | 06777);
    scene->e = world_make(world, FS_ROOT_INO, "e", S_IFREG | 0666);
    scene->empty = world_make(world, scene->a, "empty", S_IFDIR | 0777);
    scene->full = world_make(world, scene->b, "full", S_IFDIR | 0777);
    scene->x = world_make(world, scene->full, "x", S_IFREG | 0666);
    world_make(world, scene->b, "s", S_IFLNK | 0777);
    world_link(world, scene->f, scene->b, "h");
    assert_int_equal(core_setxattr(world->core, &world_root, scene->x, fs_name_of("user.x"), "x", 1, 0), 0);
    fs_ino listed[] = {scene->x, scene->full};
    for (unsigned i = 0; i < 2; i++) {
        struct fs_name name = fs_name_of(i == 0 ? "system.posix_acl_access" : "system.posix_acl_default");
        assert_int_equal(core_setxattr(world->core, &world_root, listed[i], name, list, sizeof list, 0), 0);
    }
    scene->file = world_file(world, scene->f, FS_OPEN_READ | FS_OPEN_WRITE);
    world_write(world, scene->file, "hello");
    // Writing, truncating and chown take it.
    struct fs_name capability = fs_name_of("security.capability");
    assert_int_equal(core_setxattr(world->core, &world_root, scene->f, capability, "cap", 3, 0), 0);
    scene->gone = world_file(world, world_make(world, scene->a, "gone", S_IFREG | 0666), FS_OPEN_WRITE);
    assert_int_equal(core_unlink(world->core, &world_root, scene->a, fs_name_of("gone"), &(fs_ino){0}), 0);
    scene->made = NULL;
    world_commit(world);
}

// The turn is over.
static void scene_close(struct scene *scene)
{
    if (scene->file)
        core_release(scene->world.core, scene->file);
    if (scene->gone)
        core_release(scene->world.core, scene->gone);
    if (scene->made)
        core_release(scene->world.core, scene->made);
    scene->file = scene->gone = scene->made = NULL;
    world_close(&scene->world);
}

// --- the operations ---

#define CORE    scene->world.core
#define NAME(s) fs_name_of(s)

static int make(struct scene *scene, fs_ino parent, const char *name, uint32_t mode)
{
    struct fs_attr attr;
    struct core_make spec = {.mode = mode, .target = NAME("somewhere")};
    return core_make(CORE, &user, parent, NAME(name), &spec, &attr);
}

static int op_mknod(struct scene *scene)
{
    return make(scene, scene->b, "new", S_IFREG | 0644);
}

static int op_mkdir(struct scene *scene)
{
    return make(scene, scene->b, "new", S_IFDIR | 0755);
}

static int op_symlink(struct scene *scene)
{
    return make(scene, scene->a, "new", S_IFLNK | 0777);
}

static int op_link(struct scene *scene)
{
    struct fs_attr attr;
    return core_link(CORE, &world_root, scene->e, scene->a, NAME("new"), &attr);
}

static int op_unlink_one_of_two(struct scene *scene)
{
    return core_unlink(CORE, &world_root, scene->a, NAME("f"), &(fs_ino){0});
}

static int op_unlink_last(struct scene *scene)
{
    return core_unlink(CORE, &world_root, FS_ROOT_INO, NAME("e"), &(fs_ino){0});
}

static int op_unlink_below(struct scene *scene)
{
    return core_unlink(CORE, &world_root, scene->full, NAME("x"), &(fs_ino){0});
}

static int op_rmdir(struct scene *scene)
{
    return core_rmdir(CORE, &world_root, scene->a, NAME("empty"));
}

static int rename_to(struct scene *scene, const char *name, fs_ino parent, const char *new_name,
                     uint32_t flags)
{
    return core_rename(CORE, &world_root, scene->a, NAME(name), parent, NAME(new_name), flags);
}

static int op_rename_file(struct scene *scene)
{
    return rename_to(scene, "f", scene->b, "new", 0);
}

static int op_rename_directory(struct scene *scene)
{
    return rename_to(scene, "empty", scene->b, "new", FS_RENAME_NOREPLACE);
}

static int op_rename_over_file(struct scene *scene)
{
    return rename_to(scene, "f", FS_ROOT_INO, "e", 0);
}

static int op_rename_over_link(struct scene *scene)
{
    return core_rename(CORE, &world_root, scene->full, NAME("x"), scene->a, NAME("f"), 0);
}

static int op_rename_over_directory(struct scene *scene)
{
    return core_rename(CORE, &world_root, scene->b, NAME("full"), scene->a, NAME("empty"), 0);
}

static int op_rename_whiteout(struct scene *scene)
{
    return rename_to(scene, "f", FS_ROOT_INO, "e", FS_RENAME_WHITEOUT);
}

static int op_exchange(struct scene *scene)
{
    return rename_to(scene, "empty", FS_ROOT_INO, "e", FS_RENAME_EXCHANGE);
}

static int set(struct scene *scene, const struct core_file *file, struct fs_setattr wanted)
{
    struct fs_attr attr;
    return core_setattr(CORE, &world_root, scene->f, file, &wanted, &attr);
}

static int op_chmod_chown(struct scene *scene)
{
    return set(
        scene, NULL,
        (struct fs_setattr){.mask = FS_SET_MODE | FS_SET_UID | FS_SET_ATIME_NOW, .mode = 0600, .uid = 7});
}

static int op_grow(struct scene *scene)
{
    return set(scene, scene->file, (struct fs_setattr){.mask = FS_SET_SIZE, .size = 5000});
}

static int op_shrink(struct scene *scene)
{
    return set(scene, NULL, (struct fs_setattr){.mask = FS_SET_SIZE | FS_SET_KILL_PRIV, .size = 2});
}

static int create(struct scene *scene, fs_ino parent, const char *name, uint32_t flags)
{
    struct fs_attr attr;
    bool created;
    return core_create_open(CORE, &user, parent, NAME(name), 0666, 022, flags | FS_OPEN_CREATE, &scene->made,
                            &attr, &created);
}

static int op_create(struct scene *scene)
{
    return create(scene, scene->b, "new", FS_OPEN_WRITE | FS_OPEN_EXCL);
}

static int op_tmpfile(struct scene *scene)
{
    struct fs_attr attr;
    return core_tmpfile(CORE, &user, scene->b, 0666, 022, FS_OPEN_WRITE, &scene->made, &attr);
}

static int op_create_truncates(struct scene *scene)
{
    return create(scene, scene->a, "f", FS_OPEN_WRITE | FS_OPEN_TRUNC);
}

static int op_open_truncates(struct scene *scene)
{
    struct fs_attr attr;
    return core_open(CORE, &user, scene->f, FS_OPEN_WRITE | FS_OPEN_TRUNC, &scene->made, &attr);
}

static int op_write(struct scene *scene)
{
    struct fs_attr attr;
    return core_write(CORE, &user, scene->file, 100, "beyond", 6, &attr);
}

static int op_append(struct scene *scene)
{
    struct fs_attr attr;
    uint64_t offset;
    return core_append(CORE, &user, scene->file, "more", 4, &offset, &attr);
}

static int op_allocate(struct scene *scene)
{
    struct fs_attr attr;
    return core_fallocate(CORE, &user, scene->file, 0, 3, 10000, &attr);
}

static int op_punch(struct scene *scene)
{
    struct fs_attr attr;
    uint32_t mode = FS_ALLOCATE_PUNCH_HOLE | FS_ALLOCATE_KEEP_SIZE;
    return core_fallocate(CORE, &user, scene->file, mode, 1, 3, &attr);
}

static int op_copy_range(struct scene *scene)
{
    uint64_t n;
    return core_copy_range(CORE, &user, scene->file, 1, scene->gone, 100, 3, &n);
}

static int op_write_orphan(struct scene *scene)
{
    struct fs_attr attr;
    return core_write(CORE, &user, scene->gone, 0, "late", 4, &attr);
}

static int op_resolve_root(struct scene *scene)
{
    fs_ino ino;
    struct core_root_spec spec = {.path = "/a/p/q", .make = true, .uid = 7, .gid = 8, .mode = 0750};
    return core_resolve_root(CORE, &spec, &ino);
}

static int op_setxattr(struct scene *scene)
{
    return core_setxattr(CORE, &world_root, scene->e, NAME("user.new"), "value", 5, 0);
}

static int op_removexattr(struct scene *scene)
{
    return core_removexattr(CORE, &world_root, scene->x, NAME("user.x"));
}

static int op_set_list(struct scene *scene)
{
    return core_setxattr(CORE, &world_root, scene->e, NAME("system.posix_acl_access"), list, sizeof list, 0);
}

static int op_chmod_with_list(struct scene *scene)
{
    struct fs_attr attr;
    struct fs_setattr mode = {.mask = FS_SET_MODE, .mode = 0707};
    return core_setattr(CORE, &world_root, scene->x, NULL, &mode, &attr);
}

static int op_mkdir_that_inherits(struct scene *scene)
{
    return make(scene, scene->full, "new", S_IFDIR | 0755);
}

static const struct {
    const char *name;
    int (*run)(struct scene *scene);
} operations[] = {
    {"mknod", op_mknod},
    {"mkdir", op_mkdir},
    {"symlink", op_symlink},
    {"link", op_link},
    {"unlink one of two", op_unlink_one_of_two},
    {"unlink last", op_unlink_last},
    {"unlink in full", op_unlink_below},
    {"rmdir", op_rmdir},
    {"rename file", op_rename_file},
    {"rename directory", op_rename_directory},
    {"rename over file", op_rename_over_file},
    {"rename over link", op_rename_over_link},
    {"rename over directory", op_rename_over_directory},
    {"rename with whiteout", op_rename_whiteout},
    {"exchange", op_exchange},
    {"chmod and chown", op_chmod_chown},
    {"grow", op_grow},
    {"shrink", op_shrink},
    {"create", op_create},
    {"tmpfile", op_tmpfile},
    {"create truncates", op_create_truncates},
    {"open truncates", op_open_truncates},
    {"write", op_write},
    {"append", op_append},
    {"allocate", op_allocate},
    {"punch", op_punch},
    {"copy range", op_copy_range},
    {"write orphan", op_write_orphan},
    {"resolve root", op_resolve_root},
    {"set attribute", op_setxattr},
    {"remove attribute", op_removexattr},
    {"set list", op_set_list},
    {"chmod with list", op_chmod_with_list},
    {"mkdir that inherits", op_mkdir_that_inherits},
};

static const char *const calls[] = {
    "begin",        "savepoint",      "savepoint_release", "inode_get",       "inode_put",  "inode_remove",
    "dentry_get",   "dentry_put",     "dentry_replace",    "dentry_remove",   "dentry_any", "data_resize",
    "data_write",   "dentry_parents", "reserve_inos",      "reserve_cookies", "xattr_get",  "xattr_put",
    "xattr_remove", "xattr_list",     "data_allocate",     "data_zero",       "data_copy",
};

// Says where the first difference is.
static void assert_same_text(char *expected, char *got, const char *what, const char *call, unsigned n)
{
    size_t same = 0, line = 0;
    for (; expected[same] && expected[same] == got[same]; same++)
        if (expected[same] == '\n')
            line = same + 1;
    if (expected[same] != got[same])
        fail_msg("%s, %s fails at call %u\nexpected: %.200s\ngot:      %.200s", what, call, n,
                 expected + line, got + line);
    free(got);
}

static char *dump_in_turn(struct scene *scene)
{
    world_begin(&scene->world);
    char *text = world_dump(&scene->world, LAST_INO);
    world_commit(&scene->world);
    return text;
}

// Cache and store agree: a fresh core sees the same. Only "gone" may go meanwhile: its open is released.
static void check_restart(struct scene *scene, const char *what, const char *call, unsigned n)
{
    char *cached = dump_in_turn(scene);
    struct world *world = &scene->world;
    if (scene->made)
        core_release(world->core, scene->made);
    core_release(world->core, scene->file);
    core_release(world->core, scene->gone);
    scene->made = scene->file = scene->gone = NULL;
    world_restart(world);
    char *fresh = dump_in_turn(scene);
    assert_same_text(cached, fresh, what, call, n);
    free(cached);
}

// False: the fault was not reached any more, the operation succeeded.
static bool one_fault(size_t which, const char *call, unsigned n)
{
    struct scene scene;
    scene_open(&scene);
    char *before = dump_in_turn(&scene);
    world_begin(&scene.world);
    store_fault_arm(scene.world.store, call, n, -EIO);
    int result = operations[which].run(&scene);
    store_fault_arm(scene.world.store, call, 0, -EIO);
    if (result != 0) {
        if (result != -EIO)
            print_error("%s: %s %u gave %d\n", operations[which].name, call, n, result);
        assert_int_equal(result, -EIO);
        scene.made = NULL;
        assert_same_text(before, world_dump(&scene.world, LAST_INO), operations[which].name, call, n);
    }
    world_commit(&scene.world);
    check_restart(&scene, operations[which].name, call, n);
    free(before);
    scene_close(&scene);
    return result != 0;
}

static void failed_operation_changes_nothing(void **state)
{
    (void)state;
    for (size_t which = 0; which < LENGTH(operations); which++)
        for (size_t call = 0; call < LENGTH(calls); call++) {
            unsigned n = 1;
            while (one_fault(which, calls[call], n))
                assert_true(++n < TRIES_MAX);
        }
}

// --- failing commits ---

static void failed_commit_undoes_the_turn(void **state)
{
    (void)state;
    for (size_t which = 0; which < LENGTH(operations); which++) {
        struct scene scene;
        scene_open(&scene);
        char *before = dump_in_turn(&scene);
        world_begin(&scene.world);
        assert_int_equal(operations[which].run(&scene), 0);
        store_fault_arm(scene.world.store, "commit", 1, -ENOSPC);
        assert_int_equal(core_turn_commit(scene.world.core), -ENOSPC);
        scene.made = NULL; // closed by the core
        assert_same_text(before, dump_in_turn(&scene), operations[which].name, "commit", 1);
        check_restart(&scene, operations[which].name, "commit", 1);
        free(before);
        scene_close(&scene);
    }
}

// An orphan that goes with its last open goes by a later turn when this one fails.
static void failed_commit_keeps_the_orphan_listed(void **state)
{
    (void)state;
    struct scene scene;
    struct fs_attr attr;
    scene_open(&scene);
    fs_ino gone = core_file_ino(scene.gone);
    world_begin(&scene.world);
    core_release(scene.world.core, scene.gone);
    scene.gone = NULL;
    store_fault_arm(scene.world.store, "commit", 1, -EIO);
    assert_int_equal(core_turn_commit(scene.world.core), -EIO);
    world_begin(&scene.world);
    assert_int_equal(core_getattr(scene.world.core, gone, &attr), 0);
    world_commit(&scene.world);
    assert_int_equal(store_orphans(scene.world.store, 0, &gone, 1), 0);
    scene_close(&scene);
}

// An orphan reopened by a turn that fails has nobody again.
static void failed_reopen_lists_the_orphan(void **state)
{
    (void)state;
    struct scene scene;
    struct core_file *file;
    bool more;
    scene_open(&scene);
    fs_ino gone = core_file_ino(scene.gone);
    core_release(scene.world.core, scene.gone);
    scene.gone = NULL;
    core_release(scene.world.core, scene.file);
    scene.file = NULL;
    world_restart(&scene.world);
    assert_int_equal(core_reap_orphans(scene.world.core, &more), 0);
    world_begin(&scene.world);
    assert_int_equal(core_reopen(scene.world.core, gone, FS_OPEN_WRITE, &file), 0);
    world_make(&scene.world, FS_ROOT_INO, "new", S_IFREG | 0644);
    store_fault_arm(scene.world.store, "commit", 1, -EIO);
    assert_int_equal(core_turn_commit(scene.world.core), -EIO);
    world_begin(&scene.world);
    world_commit(&scene.world);
    assert_int_equal(store_orphans(scene.world.store, 0, &gone, 1), 0);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_operation_changes_nothing),
        cmocka_unit_test(failed_commit_undoes_the_turn),
        cmocka_unit_test(failed_commit_keeps_the_orphan_listed),
        cmocka_unit_test(failed_reopen_lists_the_orphan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
