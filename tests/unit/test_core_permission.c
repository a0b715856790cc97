// SPDX-License-Identifier: Apache-2.0
// Permission rules against expectations written out from POSIX and Linux, not from the code. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/core/permission.h"
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

// The file belongs to 100:200.
static const uint32_t some_groups[] = {7, 200, 9};
static const struct fs_cred root = {.uid = 0, .gid = 0};
static const struct fs_cred owner = {.uid = 100, .gid = 300};
static const struct fs_cred owner_in_group = {.uid = 100, .gid = 200};
static const struct fs_cred primary = {.uid = 101, .gid = 200};
static const struct fs_cred secondary = {.uid = 102, .gid = 300, .n_groups = 3, .groups = some_groups};
static const struct fs_cred other = {.uid = 103, .gid = 300, .n_groups = 1, .groups = some_groups};

static struct fs_attr attr_of(uint32_t mode)
{
    return (struct fs_attr){.ino = 5, .mode = mode, .nlink = 1, .uid = 100, .gid = 200};
}

// --- r, w, x ---

// What `ls -l` shows for the class decides, as a text: "rwx", "r--", …
static bool class_grants(uint32_t mode, unsigned class_index, uint32_t may)
{
    static const char letters[] = "rwxrwxrwx";
    char shown[10] = "---------";
    for (unsigned i = 0; i < 9; i++)
        if (mode & (0400u >> i))
            shown[i] = letters[i];
    const char *class_bits = shown + (size_t)class_index * 3;
    return (!(may & FS_MAY_READ) || class_bits[0] == 'r') &&
           (!(may & FS_MAY_WRITE) || class_bits[1] == 'w') && (!(may & FS_MAY_EXEC) || class_bits[2] == 'x');
}

static void class_decides(void **state)
{
    (void)state;
    const struct {
        const struct fs_cred *cred;
        unsigned class_index; // owner, group, other
    } callers[] = {{&owner, 0}, {&owner_in_group, 0}, {&primary, 1}, {&secondary, 1}, {&other, 2}};
    for (uint32_t mode = 0; mode <= 0777; mode++)
        for (uint32_t may = 0; may < 8; may++)
            for (size_t i = 0; i < LENGTH(callers); i++) {
                struct fs_attr file = attr_of(S_IFREG | mode), directory = attr_of(S_IFDIR | 07000 | mode);
                int expected = class_grants(mode, callers[i].class_index, may) ? 0 : -EACCES;
                assert_int_equal(permission_check(callers[i].cred, &file, NULL, may), expected);
                assert_int_equal(permission_check(callers[i].cred, &directory, NULL, may), expected);
            }
}

static void root_may_all_but_run_what_nobody_runs(void **state)
{
    (void)state;
    for (uint32_t mode = 0; mode <= 07777; mode++)
        for (uint32_t may = 0; may < 8; may++) {
            struct fs_attr file = attr_of(S_IFREG | mode), directory = attr_of(S_IFDIR | mode);
            bool runs = may == 1 || may == 3 || may == 5 || may == 7;
            int expected = runs && (mode & 0111) == 0 ? -EACCES : 0;
            assert_int_equal(permission_check(&root, &file, NULL, may), expected);
            assert_int_equal(permission_check(&root, &directory, NULL, may), 0);
        }
}

static void groups_of_a_caller(void **state)
{
    (void)state;
    assert_true(permission_in_group(&secondary, 300));
    assert_true(permission_in_group(&secondary, 7));
    assert_true(permission_in_group(&secondary, 9));
    assert_false(permission_in_group(&secondary, 8));
    assert_false(permission_in_group(&other, 200));
    assert_false(permission_in_group(&root, 200));
}

// --- taking entries out ---

static void sticky_directories(void **state)
{
    (void)state;
    const struct fs_attr open_dir = {.mode = S_IFDIR | 0777, .uid = 50, .gid = 50};
    const struct fs_attr sticky = {.mode = S_IFDIR | 01777, .uid = 50, .gid = 50};
    const struct fs_attr searchable = {.mode = S_IFDIR | 01775, .uid = 50, .gid = 50};
    const struct fs_attr writable = {.mode = S_IFDIR | 01776, .uid = 50, .gid = 50};
    const struct fs_cred dir_owner = {.uid = 50, .gid = 1};
    const struct fs_attr victim = attr_of(S_IFREG | 0666);
    const struct {
        const struct fs_cred *cred;
        const struct fs_attr *directory;
        int expected;
    } rows[] = {
        {&other, &open_dir, 0},         {&other, &sticky, -EPERM},      {&primary, &sticky, -EPERM},
        {&owner, &sticky, 0},           {&dir_owner, &sticky, 0},       {&root, &sticky, 0},
        {&other, &searchable, -EACCES}, {&owner, &searchable, -EACCES}, {&other, &writable, -EACCES},
        {&dir_owner, &searchable, 0},   {&root, &searchable, 0},
    };
    for (size_t i = 0; i < LENGTH(rows); i++)
        assert_int_equal(permission_remove(rows[i].cred, rows[i].directory, NULL, &victim), rows[i].expected);
}

// --- setting attributes ---

static int may_set(const struct fs_cred *cred, uint32_t mode, struct fs_setattr set, bool writable_open)
{
    struct fs_attr attr = attr_of(S_IFREG | mode);
    return permission_setattr(cred, &attr, NULL, &set, writable_open);
}

static void who_may_chmod(void **state)
{
    (void)state;
    const struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0600};
    assert_int_equal(may_set(&root, 0, set, false), 0);
    assert_int_equal(may_set(&owner, 0, set, false), 0);
    assert_int_equal(may_set(&primary, 0777, set, false), -EPERM);
    assert_int_equal(may_set(&secondary, 0777, set, false), -EPERM);
    assert_int_equal(may_set(&other, 0777, set, true), -EPERM);
}

static void who_may_chown(void **state)
{
    (void)state;
    const struct fs_cred many = {.uid = 100, .gid = 300, .n_groups = 3, .groups = some_groups};
    const struct {
        const struct fs_cred *cred;
        uint32_t mask, uid, gid;
        int expected;
    } rows[] = {
        {&root, FS_SET_UID | FS_SET_GID, 1, 2, 0},
        {&owner, FS_SET_UID, 101, 0, -EPERM},   // giving away takes a privilege
        {&owner, FS_SET_UID, 100, 0, 0},        // to himself
        {&primary, FS_SET_UID, 101, 0, -EPERM}, // taking
        {&primary, FS_SET_UID, 100, 0, -EPERM}, // no change, but not his
        {&owner, FS_SET_GID, 0, 300, 0},        // to a group of his
        {&many, FS_SET_GID, 0, 9, 0},           // to a secondary one
        {&owner, FS_SET_GID, 0, 200, 0},        // no change
        {&owner, FS_SET_GID, 0, 7, -EPERM},     // to a foreign one
        {&primary, FS_SET_GID, 0, 200, -EPERM}, // a member, but not the owner
        {&owner, FS_SET_UID | FS_SET_GID, 100, 300, 0},
        {&owner, FS_SET_UID | FS_SET_GID, 100, 7, -EPERM},
        {&owner, FS_SET_UID | FS_SET_GID, 101, 300, -EPERM},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct fs_setattr set = {.mask = rows[i].mask, .uid = rows[i].uid, .gid = rows[i].gid};
        assert_int_equal(may_set(rows[i].cred, 0777, set, false), rows[i].expected);
    }
}

// utimensat(2): both "now" takes ownership or write permission (EACCES), a chosen time takes ownership
// (EPERM).
static void who_may_set_times(void **state)
{
    (void)state;
    const uint32_t now = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW, chosen = FS_SET_ATIME | FS_SET_MTIME;
    const struct {
        const struct fs_cred *cred;
        uint32_t mode, mask;
        int expected;
    } rows[] = {
        {&root, 0, now, 0},
        {&root, 0, chosen, 0},
        {&owner, 0, now, 0},
        {&owner, 0, chosen, 0},
        {&primary, 0020, now, 0},
        {&primary, 0757, now, -EACCES},
        {&secondary, 0020, now, 0},
        {&other, 0002, now, 0},
        {&other, 0775, now, -EACCES},
        {&other, 0777, chosen, -EPERM},
        {&other, 0777, FS_SET_MTIME, -EPERM},
        {&other, 0777, FS_SET_ATIME, -EPERM},
        {&primary, 0777, FS_SET_ATIME_NOW | FS_SET_MTIME, -EPERM},
        {&primary, 0777, FS_SET_ATIME_NOW, -EPERM}, // one of them alone is a choice
        {&other, 0777, FS_SET_MTIME_NOW, -EPERM},
        {&owner, 0, FS_SET_MTIME_NOW, 0},
    };
    for (size_t i = 0; i < LENGTH(rows); i++)
        assert_int_equal(
            may_set(rows[i].cred, rows[i].mode, (struct fs_setattr){.mask = rows[i].mask}, false),
            rows[i].expected);
}

static void who_may_truncate(void **state)
{
    (void)state;
    const struct fs_setattr set = {.mask = FS_SET_SIZE, .size = 1};
    assert_int_equal(may_set(&root, 0, set, false), 0);
    assert_int_equal(may_set(&owner, 0577, set, false), -EACCES);
    assert_int_equal(may_set(&owner, 0200, set, false), 0);
    assert_int_equal(may_set(&primary, 0757, set, false), -EACCES);
    assert_int_equal(may_set(&other, 0002, set, false), 0);
    assert_int_equal(may_set(&other, 0, set, true), 0); // ftruncate: the open decided
    const struct fs_setattr with_time = {.mask = FS_SET_SIZE | FS_SET_MTIME_NOW, .size = 1};
    assert_int_equal(may_set(&other, 0, with_time, true), 0); // as the kernel sends ftruncate
    const struct fs_setattr with_old_time = {.mask = FS_SET_SIZE | FS_SET_MTIME, .size = 1};
    assert_int_equal(may_set(&other, 0, with_old_time, true),
                     -EPERM); // a time of one's choice is the owner's
}

// --- set-id bits ---

static void chmod_and_setgid(void **state)
{
    (void)state;
    struct fs_attr attr = attr_of(S_IFREG | 0644);
    assert_int_equal(permission_mode_after_chmod(&root, &attr, 07777), 07777);
    assert_int_equal(permission_mode_after_chmod(&owner_in_group, &attr, 06755), 06755);
    assert_int_equal(permission_mode_after_chmod(&owner, &attr, 06755), 04755);
    assert_int_equal(permission_mode_after_chmod(&owner, &attr, 01777), 01777);
    assert_int_equal(permission_mode_after_chmod(&owner, &attr, S_IFDIR | 0640), 0640);
}

static void chown_clears_set_id(void **state)
{
    (void)state;
    const struct {
        const struct fs_cred *cred;
        uint32_t mode, expected;
    } rows[] = {
        {&root, S_IFREG | 06755, 0755},
        {&root, S_IFREG | 04644, 0644},
        {&root, S_IFREG | 02644, 02644},
        {&root, S_IFREG | 02674, 0674},
        {&root, S_IFREG | 01777, 01777},
        {&root, S_IFDIR | 06755, 06755},
        {&root, S_IFIFO | 06770, 0770},
        {&owner, S_IFREG | 02644, 0644},
        {&owner_in_group, S_IFREG | 02644, 02644},
        {&owner, S_IFREG | 06755, 0755},
        {&owner, S_IFDIR | 06755, 06755},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct fs_attr attr = attr_of(rows[i].mode);
        assert_int_equal(permission_mode_after_chown(rows[i].cred, &attr), rows[i].expected);
    }
}

static void write_clears_set_id(void **state)
{
    (void)state;
    const struct {
        const struct fs_cred *cred;
        uint32_t mode, expected;
    } rows[] = {
        {&root, S_IFREG | 06777, 06777},    {&owner, S_IFREG | 06777, 0777},
        {&primary, S_IFREG | 06777, 0777},  {&other, S_IFREG | 04666, 0666},
        {&primary, S_IFREG | 02666, 02666}, {&secondary, S_IFREG | 02666, 02666},
        {&other, S_IFREG | 02666, 0666},    {&other, S_IFREG | 01777, 01777},
        {&other, S_IFDIR | 06777, 06777},   {&other, S_IFREG | 0644, 0644},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct fs_attr attr = attr_of(rows[i].mode);
        assert_int_equal(permission_mode_after_write(rows[i].cred, &attr), rows[i].expected);
    }
}

// chown(path, -1, -1), and what a kernel asks before somebody else writes.
static void who_may_take_set_id(void **state)
{
    (void)state;
    const struct {
        const struct fs_cred *cred;
        uint32_t mode, mask;
        bool writable_open;
        int expected;
    } rows[] = {
        {&root, 06777, 0, false, 0},
        {&owner, 06777, 0, false, 0},
        {&other, 0777, 0, false, 0},
        {&other, 06777, 0, false, -EPERM},
        {&other, 02666, 0, false, -EPERM},
        {&primary, 02666, 0, false, 0},
        {&other, 06777, 0, true, 0},
        {&other, 06777, FS_SET_KILL_PRIV, false, 0},
        {&other, 06775, FS_SET_KILL_PRIV, false, -EACCES},
        {&other, 06775, FS_SET_KILL_PRIV, true, 0},
    };
    for (size_t i = 0; i < LENGTH(rows); i++)
        assert_int_equal(may_set(rows[i].cred, rows[i].mode, (struct fs_setattr){.mask = rows[i].mask},
                                 rows[i].writable_open),
                         rows[i].expected);
}

static void what_only_takes_set_id(void **state)
{
    (void)state;
    const struct {
        const struct fs_cred *cred;
        uint32_t mode, mask, wanted;
        bool expected;
    } rows[] = {
        {&other, 06777, FS_SET_MODE, 0777, true},  {&other, 07777, FS_SET_MODE, 01777, true},
        {&other, 06767, FS_SET_MODE, 02767, true}, {&other, 06777, FS_SET_MODE, 0755, false},
        {&other, 0777, FS_SET_MODE, 0777, false},  {&owner, 06777, FS_SET_MODE, 0777, false},
        {&root, 06777, FS_SET_MODE, 0777, false},  {&other, 06777, FS_SET_MODE | FS_SET_UID, 0777, false},
        {&other, 07777, FS_SET_MODE, 0777, false},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct fs_attr attr = attr_of(S_IFREG | rows[i].mode);
        struct fs_setattr set = {.mask = rows[i].mask, .mode = rows[i].wanted};
        assert_int_equal(permission_takes_set_id(rows[i].cred, &attr, &set), rows[i].expected);
    }
}

// --- new inodes ---

static void what_a_new_inode_inherits(void **state)
{
    (void)state;
    const uint32_t plain = S_IFDIR | 0777, setgid = S_IFDIR | 02777;
    const struct {
        const struct fs_cred *cred;
        uint32_t directory, mode, gid, expected;
    } rows[] = {
        {&other, plain, S_IFREG | 0644, 300, S_IFREG | 0644},
        {&other, plain, S_IFREG | 02755, 300, S_IFREG | 02755}, // his own group
        {&other, plain, S_IFDIR | 0755, 300, S_IFDIR | 0755},
        {&other, setgid, S_IFREG | 0644, 200, S_IFREG | 0644},
        {&other, setgid, S_IFDIR | 0755, 200, S_IFDIR | 02755},
        {&other, setgid, S_IFREG | 02755, 200, S_IFREG | 0755}, // not a member: no program of that group
        {&other, setgid, S_IFREG | 02644, 200, S_IFREG | 02644},
        {&secondary, setgid, S_IFREG | 02755, 200, S_IFREG | 02755},
        {&root, setgid, S_IFREG | 02755, 200, S_IFREG | 02755},
        {&other, setgid, S_IFREG | 04755, 200, S_IFREG | 04755},
        {&other, setgid, S_IFLNK | 0777, 200, S_IFLNK | 0777},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct fs_attr directory = attr_of(rows[i].directory), attr = {.mode = rows[i].mode};
        permission_new(rows[i].cred, &directory, &attr);
        assert_int_equal(attr.uid, rows[i].cred->uid);
        assert_int_equal(attr.gid, rows[i].gid);
        assert_int_equal(attr.mode, rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_decides),       cmocka_unit_test(root_may_all_but_run_what_nobody_runs),
        cmocka_unit_test(groups_of_a_caller),  cmocka_unit_test(sticky_directories),
        cmocka_unit_test(who_may_chmod),       cmocka_unit_test(who_may_chown),
        cmocka_unit_test(who_may_set_times),   cmocka_unit_test(who_may_truncate),
        cmocka_unit_test(chmod_and_setgid),    cmocka_unit_test(chown_clears_set_id),
        cmocka_unit_test(write_clears_set_id), cmocka_unit_test(what_a_new_inode_inherits),
        cmocka_unit_test(who_may_take_set_id), cmocka_unit_test(what_only_takes_set_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
