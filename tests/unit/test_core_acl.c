// SPDX-License-Identifier: Apache-2.0
// Access lists: what they grant, by the access check algorithm of acl(5); their form; what every operation of
// core makes of them. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/core/acl.h"
#include "fs/core/permission.h"
#include "tests/unit/core_world.h"
#include <errno.h>

#define NAME(s)       fs_name_of(s)
#define ROOT          FS_ROOT_INO
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])
#define ACCESS        "system.posix_acl_access"
#define DEFAULT       "system.posix_acl_default"

// --- lists as text: "u::rw-,u:7:r--,g::r--,m::rw-,o::---" ---

static uint16_t bits_of(const char *text)
{
    return (uint16_t)((text[0] == 'r' ? 4 : 0) | (text[1] == 'w' ? 2 : 0) | (text[2] == 'x' ? 1 : 0));
}

static size_t put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
    return 4;
}

// The form that Linux documents: a version, then tag, permissions and id of each entry.
static size_t xattr_of(const char *text, uint8_t *bytes)
{
    size_t n = put_u32(bytes, 2);
    while (*text) {
        const char *colon = strchr(text, ':');
        bool named = colon[1] != ':';
        char *after;
        uint32_t id = named ? (uint32_t)strtoul(colon + 1, &after, 10) : UINT32_MAX;
        const char *permissions = named ? after + 1 : colon + 2;
        uint16_t tag = *text == 'u' ? named ? 2 : 1 : *text == 'g' ? named ? 8 : 4 : *text == 'm' ? 16 : 32;
        n += put_u32(bytes + n, tag | (uint32_t)bits_of(permissions) << 16);
        n += put_u32(bytes + n, id);
        text = permissions + 3 + (permissions[3] == ',');
    }
    return n;
}

static struct acl *acl_of(const char *text)
{
    uint8_t bytes[512];
    struct acl *acl = NULL;
    assert_int_equal(acl_from_xattr(bytes, xattr_of(text, bytes), &acl), 0);
    assert_non_null(acl);
    return acl;
}

// --- what they grant ---

static const uint32_t in_300[] = {300}, in_200_and_300[] = {200, 300}, in_301[] = {301};
static const struct fs_cred root = {.uid = 0}, owner = {.uid = 100, .gid = 1}, named = {.uid = 101, .gid = 1},
                            named_in_group = {.uid = 101, .gid = 200}, in_group = {.uid = 103, .gid = 200},
                            in_named_group = {.uid = 103, .gid = 1, .n_groups = 1, .groups = in_300},
                            in_two = {.uid = 103, .gid = 1, .n_groups = 2, .groups = in_200_and_300},
                            in_other_group = {.uid = 103, .gid = 1, .n_groups = 1, .groups = in_301},
                            stranger = {.uid = 104, .gid = 1};

// The file is 100:200; for each caller what is granted, and nothing else.
static void access_check_algorithm(void **state)
{
    (void)state;
    static const struct {
        const char *acl;
        const struct fs_cred *cred;
        const char *alone; // each of these permissions when asked for alone
        bool together;     // all of them at once
    } rows[] = {
        // 1. The owner: the owner's entry, whoever else is named; the mask does not count.
        {"u::rw-,u:100:---,g::---,m::r--,o::---", &owner, "rw-", true},
        {"u::---,u:100:rwx,g::rwx,m::rwx,o::rwx", &owner, "---", true},
        // 2. A named user: that entry within the mask, whatever the groups may.
        {"u::rwx,u:101:rw-,g::---,m::rwx,o::---", &named, "rw-", true},
        {"u::rwx,u:101:rwx,g::---,m::r-x,o::rwx", &named, "r-x", true},
        {"u::rwx,u:101:---,g::rwx,m::rwx,o::rwx", &named_in_group, "---", true},
        {"u::rwx,u:101:r--,u:104:rwx,g::---,m::rwx,o::---", &stranger, "rwx", true},
        // 3. The groups: any that fits and has all that is asked for, within the mask; others do not count
        // then.
        {"u::rwx,g::r--,g:300:-w-,m::rwx,o::rwx", &in_group, "r--", true},
        {"u::rwx,g::r--,g:300:-w-,m::rwx,o::rwx", &in_named_group, "-w-", true},
        {"u::rwx,g::r--,g:300:-w-,m::rwx,o::rwx", &in_two, "rw-", false},
        {"u::rwx,g::rw-,g:300:---,m::rwx,o::rwx", &in_two, "rw-", true},
        {"u::rwx,g::rwx,g:300:rwx,m::--x,o::rwx", &in_two, "--x", true},
        {"u::rwx,g::---,g:300:---,m::rwx,o::rwx", &in_two, "---", true},
        {"u::rwx,g::rw-,g:300:---,m::rwx,o::--x", &in_named_group, "---", true},
        // 4. All others, whom the mask does not concern.
        {"u::rwx,u:101:---,g::---,g:300:---,m::r--,o::rwx", &stranger, "rwx", true},
        {"u::rwx,g::rwx,g:300:rwx,m::rwx,o::-w-", &in_other_group, "-w-", true},
        // A list that is a mode.
        {"u::r--,g::-w-,o::--x", &owner, "r--", true},
        {"u::r--,g::-w-,o::--x", &in_group, "-w-", true},
        {"u::r--,g::-w-,o::--x", &stranger, "--x", true},
        {"u::---,g::---,m::--x,o::---", &root, "rwx", true},
        // Linux: with an empty mask the mode alone counts, and no named entry.
        {"u::rwx,u:101:---,g::rwx,m::---,o::r--", &named, "r--", true},
        {"u::rwx,u:101:rwx,g::rwx,m::---,o::r--", &in_group, "---", true},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct acl *acl = acl_of(rows[i].acl);
        bool only;
        struct fs_attr file = {.uid = 100, .gid = 200, .mode = acl_mode(acl, S_IFREG, &only)};
        uint32_t granted = bits_of(rows[i].alone);
        for (uint32_t may = 0; may < 8; may++) {
            bool one = (may & (may - 1)) == 0;
            bool expected = !(may & ~granted) && (one || rows[i].together);
            assert_int_equal(permission_check(rows[i].cred, &file, acl, may), expected ? 0 : -EACCES);
        }
        free(acl);
    }
}

// --- form ---

static void forms(void **state)
{
    (void)state;
    uint8_t bytes[ACL_XATTR_MAX + 8] = {0}, back[ACL_XATTR_MAX];
    size_t n = xattr_of("u::rw-,u:7:r--,u:9:--x,g::r--,g:8:-w-,m::rw-,o::---", bytes);
    struct acl *acl = acl_of("u::rw-,u:7:r--,u:9:--x,g::r--,g:8:-w-,m::rw-,o::---"), *none = acl;
    assert_int_equal(acl_to_xattr(acl, back), n);
    assert_memory_equal(back, bytes, n);
    free(acl);
    for (size_t cut = 0; cut < n; cut++) { // every part of a list is refused, or has no entries
        none = NULL;
        assert_int_equal(acl_from_xattr(bytes, cut, &none), cut == 4 ? 0 : -EINVAL);
        assert_null(none);
    }
    bytes[0] = 1;
    assert_int_equal(acl_from_xattr(bytes, n, &none), -EOPNOTSUPP);
    n = xattr_of("u::rwx", bytes);
    for (uint32_t id = 0; id < ACL_ENTRIES_MAX - 4; id++, n += 8) {
        put_u32(bytes + n, 2 | 7u << 16);
        put_u32(bytes + n + 4, id);
    }
    uint8_t rest[64];
    size_t n_rest = xattr_of("g::rwx,m::rwx,o::rwx", rest) - 4;
    memcpy(bytes + n, rest + 4, n_rest);
    assert_int_equal(n + n_rest, ACL_XATTR_MAX);
    assert_int_equal(acl_from_xattr(bytes, ACL_XATTR_MAX, &acl), 0);
    assert_int_equal(acl->n, ACL_ENTRIES_MAX);
    free(acl);
    assert_int_equal(acl_from_xattr(bytes, sizeof(bytes), &none), -ENOSPC);
}

static void forms_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "u::rw-,g::r--",
        "u::rw-,o::r--",
        "g::rw-,o::r--",
        "u::rw-,u::rw-,g::r--,o::---",
        "u::rw-,g::r--,u:7:rwx,m::rwx,o::---",
        "u::rw-,u:7:rwx,g::r--,o::---",
        "u::rw-,g::r--,g:7:rwx,o::---",
        "u::rw-,g::r--,m::rwx,m::rwx,o::---",
        "u::rw-,g::r--,o::---,m::rwx",
        "u::rw-,g::r--,o::---,o::---",
        "u::rw-,u:4294967295:rwx,g::r--,m::rwx,o::---",
    };
    for (size_t i = 0; i < LENGTH(refused); i++) {
        uint8_t bytes[512];
        struct acl *acl;
        size_t n = xattr_of(refused[i], bytes);
        if (strstr(refused[i], "4294967295"))
            bytes[12] = 2; // named, with the id that is nobody's
        assert_int_equal(acl_from_xattr(bytes, n, &acl), -EINVAL);
    }
    uint8_t bytes[512];
    struct acl *acl;
    size_t n = xattr_of("u::rw-,g::r--,o::---", bytes);
    bytes[6] = 8; // of the owner's permissions
    assert_int_equal(acl_from_xattr(bytes, n, &acl), -EINVAL);
}

// --- in core ---

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

static int set(struct world *world, const struct fs_cred *cred, fs_ino ino, const char *name,
               const char *text)
{
    uint8_t bytes[512];
    return core_setxattr(world->core, cred, ino, NAME(name), bytes, xattr_of(text, bytes), 0);
}

static void assert_list(struct world *world, fs_ino ino, const char *name, const char *expected)
{
    uint8_t bytes[512], list[512];
    size_t n = 0;
    int result = core_getxattr(world->core, &stranger, ino, NAME(name), list, sizeof(list), &n);
    assert_int_equal(result, expected ? 0 : -ENODATA);
    if (expected) {
        assert_int_equal(n, xattr_of(expected, bytes));
        assert_memory_equal(list, bytes, n);
    }
}

static void assert_mode(struct world *world, fs_ino ino, uint32_t mode)
{
    assert_int_equal(world_attr(world, ino).mode & 07777, mode);
}

static fs_ino make_owned(struct world *world, const char *name, uint32_t mode)
{
    struct fs_attr attr;
    struct fs_setattr own = {
        .mask = FS_SET_UID | FS_SET_GID | FS_SET_MODE, .uid = 100, .gid = 200, .mode = mode & 07777};
    fs_ino ino = world_make(world, ROOT, name, mode);
    assert_int_equal(core_setattr(world->core, &world_root, ino, NULL, &own, &attr), 0);
    return ino;
}

static int chmod_to(struct world *world, fs_ino ino, uint32_t mode)
{
    struct fs_attr attr;
    struct fs_setattr change = {.mask = FS_SET_MODE, .mode = mode};
    return core_setattr(world->core, &owner, ino, NULL, &change, &attr);
}

static void mode_and_list_agree(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    fs_ino f = make_owned(&w, "f", S_IFREG | 0644);
    assert_int_equal(set(&w, &owner, f, ACCESS, "u::rwx,u:101:rw-,g::r--,m::rw-,o::--x"), 0);
    assert_mode(&w, f, 0761);
    assert_int_equal(chmod_to(&w, f, 0640), 0);
    assert_list(&w, f, ACCESS, "u::rw-,u:101:rw-,g::r--,m::r--,o::---");
    assert_mode(&w, f, 0640);
    world_commit(&w);
    world_restart(&w);
    world_begin(&w);
    assert_list(&w, f, ACCESS, "u::rw-,u:101:rw-,g::r--,m::r--,o::---");
    assert_int_equal(core_access(w.core, &named, f, 4), 0);
    assert_int_equal(core_access(w.core, &named, f, 2), -EACCES);
    assert_int_equal(core_access(w.core, &stranger, f, 4), -EACCES);
    assert_int_equal(set(&w, &owner, f, ACCESS, "u::rw-,g::r--,o::r--"), 0); // only a mode
    assert_list(&w, f, ACCESS, NULL);
    assert_mode(&w, f, 0644);
    assert_int_equal(core_access(w.core, &stranger, f, 4), 0);
    assert_int_equal(set(&w, &owner, f, DEFAULT, "u::rw-,g::r--,o::r--"), -EACCES);
    assert_int_equal(set(&w, &named, f, ACCESS, "u::rw-,g::r--,o::r--"), -EPERM);
    assert_int_equal(core_removexattr(w.core, &named, f, NAME(ACCESS)), -EPERM);
    assert_int_equal(core_removexattr(w.core, &owner, f, NAME(ACCESS)), 0);
    teardown(&w);
}

static void setgid_stays_with_members(void **state)
{
    (void)state;
    static const uint32_t groups[] = {200};
    const struct fs_cred member = {.uid = 100, .gid = 1, .n_groups = 1, .groups = groups};
    struct world w;
    setup(&w);
    fs_ino f = make_owned(&w, "f", S_IFREG | 02755);
    assert_int_equal(set(&w, &member, f, ACCESS, "u::rwx,u:7:rwx,g::r-x,m::rwx,o::r-x"), 0);
    assert_mode(&w, f, 02775);
    assert_int_equal(set(&w, &owner, f, ACCESS, "u::rwx,u:7:r-x,g::r-x,m::r-x,o::r-x"), 0);
    assert_mode(&w, f, 0755);
    teardown(&w);
}

// A name is made by one entry that grants both to write and to search: two groups' bits do not add up.
static void groups_do_not_add_up(void **state)
{
    (void)state;
    static const uint32_t groups[] = {201, 202};
    const struct fs_cred member = {.uid = 103, .gid = 201, .n_groups = 2, .groups = groups};
    const struct core_make make = {.mode = S_IFREG | 0600};
    struct world w;
    struct fs_attr attr;
    setup(&w);
    fs_ino d = make_owned(&w, "d", S_IFDIR | 0700);
    assert_int_equal(set(&w, &owner, d, ACCESS, "u::rwx,g::---,g:201:rw-,g:202:r-x,m::rwx,o::---"), 0);
    assert_int_equal(core_make(w.core, &member, d, NAME("f"), &make, &attr), -EACCES);
    assert_int_equal(set(&w, &owner, d, ACCESS, "u::rwx,g::---,g:201:rw-,g:202:-wx,m::rwx,o::---"), 0);
    assert_int_equal(core_make(w.core, &member, d, NAME("f"), &make, &attr), 0);
    teardown(&w);
}

// What is made below a default list, with the umask 027 that then does not count.
static void new_inodes_inherit(void **state)
{
    (void)state;
    struct world w;
    setup(&w);
    const char *list = "u::rwx,u:101:rwx,g::r-x,m::rwx,o::r--";
    fs_ino d = make_owned(&w, "d", S_IFDIR | 0777);
    struct fs_attr attr;
    struct core_file *file;
    bool created;
    assert_int_equal(set(&w, &owner, d, DEFAULT, list), 0);
    assert_mode(&w, d, 0777);
    assert_list(&w, d, ACCESS, NULL);
    struct core_make make = {.mode = S_IFDIR | 0775, .umask = 027};
    assert_int_equal(core_make(w.core, &stranger, d, NAME("sub"), &make, &attr), 0);
    assert_mode(&w, attr.ino, 0774);
    assert_list(&w, attr.ino, DEFAULT, list);
    assert_list(&w, attr.ino, ACCESS, list);
    make.mode = S_IFIFO | 0606;
    assert_int_equal(core_make(w.core, &stranger, d, NAME("fifo"), &make, &attr), 0);
    assert_mode(&w, attr.ino, 0604);
    assert_list(&w, attr.ino, DEFAULT, NULL);
    assert_list(&w, attr.ino, ACCESS, "u::rw-,u:101:rwx,g::r-x,m::---,o::r--");
    make = (struct core_make){.mode = S_IFLNK | 0777, .umask = 027, .target = NAME("x")};
    assert_int_equal(core_make(w.core, &stranger, d, NAME("link"), &make, &attr), 0);
    assert_int_equal(attr.mode, S_IFLNK | 0777);
    assert_int_equal(core_create_open(w.core, &stranger, d, NAME("file"), 0666, 027, FS_OPEN_WRITE, &file,
                                      &attr, &created),
                     0);
    core_release(w.core, file);
    assert_mode(&w, attr.ino, 0664);
    assert_list(&w, attr.ino, ACCESS, "u::rw-,u:101:rwx,g::r-x,m::rw-,o::r--");
    assert_int_equal(core_tmpfile(w.core, &stranger, d, 0600, 027, FS_OPEN_WRITE, &file, &attr), 0);
    assert_mode(&w, attr.ino, 0600);
    core_release(w.core, file);
    assert_int_equal(core_rename(w.core, &world_root, d, NAME("fifo"), d, NAME("moved"), FS_RENAME_WHITEOUT),
                     0);
    assert_int_equal(core_lookup(w.core, &world_root, d, NAME("fifo"), &attr), 0);
    assert_int_equal(attr.mode, S_IFCHR);
    assert_list(&w, attr.ino, ACCESS, "u::---,u:101:rwx,g::r-x,m::---,o::---");
    fs_ino plain = make_owned(&w, "plain", S_IFDIR | 0777);
    assert_int_equal(core_create_open(w.core, &stranger, plain, NAME("file"), 0666, 027, FS_OPEN_WRITE, &file,
                                      &attr, &created),
                     0);
    assert_mode(&w, attr.ino, 0640);
    core_release(w.core, file);
    teardown(&w);
}

// An access point's root has what was asked for and nothing from above.
static void roots_inherit_nothing(void **state)
{
    (void)state;
    struct world w;
    fs_ino ino;
    setup(&w);
    assert_int_equal(set(&w, &world_root, ROOT, DEFAULT, "u::rwx,u:101:rwx,g::rwx,m::rwx,o::rwx"), 0);
    struct core_root_spec spec = {.path = "/a/b", .make = true, .uid = 7, .gid = 8, .mode = 0750};
    assert_int_equal(core_resolve_root(w.core, &spec, &ino), 0);
    assert_mode(&w, ino, 0750);
    assert_list(&w, ino, ACCESS, NULL);
    assert_list(&w, ino, DEFAULT, NULL);
    teardown(&w);
}

// --- every operation asks ---

struct place {
    struct world w;
    fs_ino d, other, f, sub;
};

static int try_lookup(struct place *p)
{
    struct fs_attr attr;
    return core_lookup(p->w.core, &named, p->d, NAME("f"), &attr);
}

static int try_make(struct place *p)
{
    struct fs_attr attr;
    struct core_make make = {.mode = S_IFDIR | 0755};
    return core_make(p->w.core, &named, p->d, NAME("new"), &make, &attr);
}

static int try_link(struct place *p)
{
    struct fs_attr attr;
    return core_link(p->w.core, &named, p->f, p->d, NAME("new"), &attr);
}

static int try_unlink(struct place *p)
{
    return core_unlink(p->w.core, &named, p->d, NAME("f"), &(fs_ino){0});
}

static int try_rmdir(struct place *p)
{
    return core_rmdir(p->w.core, &named, p->d, NAME("sub"));
}

static int try_rename_from(struct place *p)
{
    return core_rename(p->w.core, &named, p->d, NAME("f"), p->other, NAME("new"), 0);
}

static int try_rename_to(struct place *p)
{
    return core_rename(p->w.core, &named, p->other, NAME("g"), p->d, NAME("new"), 0);
}

static int try_rename_over(struct place *p)
{
    return core_rename(p->w.core, &named, p->other, NAME("g"), p->d, NAME("f"), 0);
}

static int try_move_directory(struct place *p)
{
    return core_rename(p->w.core, &named, p->d, NAME("sub"), p->other, NAME("new"), 0);
}

static int try_open(struct place *p, fs_ino ino, uint32_t flags)
{
    struct core_file *file;
    struct fs_attr attr;
    int result = core_open(p->w.core, &named, ino, flags, &file, &attr);
    if (result == 0)
        core_release(p->w.core, file);
    return result;
}

static int try_create(struct place *p)
{
    struct core_file *file;
    struct fs_attr attr;
    bool created;
    int result = core_create_open(p->w.core, &named, p->d, NAME("new"), 0600, 0, FS_OPEN_WRITE, &file, &attr,
                                  &created);
    if (result == 0)
        core_release(p->w.core, file);
    return result;
}

static int try_tmpfile(struct place *p)
{
    struct core_file *file;
    struct fs_attr attr;
    int result = core_tmpfile(p->w.core, &named, p->d, 0600, 0, FS_OPEN_WRITE, &file, &attr);
    if (result == 0)
        core_release(p->w.core, file);
    return result;
}

static int try_list(struct place *p)
{
    return try_open(p, p->d, FS_OPEN_READ | FS_OPEN_DIRECTORY);
}

static int try_read(struct place *p)
{
    return try_open(p, p->f, FS_OPEN_READ);
}

static int try_truncating_open(struct place *p)
{
    return try_open(p, p->f, FS_OPEN_READ | FS_OPEN_TRUNC);
}

static int set_attributes(struct place *p, struct fs_setattr change)
{
    struct fs_attr attr;
    return core_setattr(p->w.core, &named, p->f, NULL, &change, &attr);
}

static int try_truncate(struct place *p)
{
    return set_attributes(p, (struct fs_setattr){.mask = FS_SET_SIZE});
}

static int try_touch(struct place *p)
{
    return set_attributes(p, (struct fs_setattr){.mask = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW});
}

static int try_getxattr(struct place *p)
{
    size_t n;
    return core_getxattr(p->w.core, &named, p->f, NAME("user.a"), NULL, 0, &n);
}

static int try_setxattr(struct place *p)
{
    return core_setxattr(p->w.core, &named, p->f, NAME("user.a"), "1", 1, 0);
}

static const struct {
    const char *name;
    int (*run)(struct place *place);
    const char *directory, *file,
        *sub; // what it takes: of the directory, of the file in it, of a directory in it
} operations[] = {
    {"lookup", try_lookup, "--x", "---", "---"},
    {"make", try_make, "-wx", "---", "---"},
    {"link", try_link, "-wx", "---", "---"},
    {"unlink", try_unlink, "-wx", "---", "---"},
    {"rmdir", try_rmdir, "-wx", "---", "---"},
    {"rename from", try_rename_from, "-wx", "---", "---"},
    {"rename to", try_rename_to, "-wx", "---", "---"},
    {"rename over", try_rename_over, "-wx", "---", "---"},
    {"move a directory", try_move_directory, "-wx", "---", "-w-"},
    {"create", try_create, "-wx", "---", "---"},
    {"tmpfile", try_tmpfile, "-wx", "---", "---"},
    {"list", try_list, "r--", "---", "---"},
    {"read", try_read, "---", "r--", "---"},
    {"open to truncate", try_truncating_open, "---", "rw-", "---"},
    {"truncate", try_truncate, "---", "-w-", "---"},
    {"touch", try_touch, "---", "-w-", "---"},
    {"getxattr", try_getxattr, "---", "r--", "---"},
    {"setxattr", try_setxattr, "---", "-w-", "---"},
};

// The caller is only named in lists; the mode's bits for others are the opposite of what the list grants.
static void give(struct place *p, fs_ino ino, uint32_t may)
{
    char text[128];
    const char letters[] = "rwx";
    char yes[4] = "---", no[4] = "---";
    for (unsigned i = 0; i < 3; i++)
        *(may & (4u >> i) ? &yes[i] : &no[i]) = letters[i];
    snprintf(text, sizeof(text), "u::rwx,u:101:%s,g::---,m::rwx,o::%s", yes, no);
    assert_int_equal(set(&p->w, &world_root, ino, ACCESS, text), 0);
}

static int run_with(size_t operation, uint32_t directory, uint32_t file, uint32_t sub)
{
    struct place p;
    struct fs_attr attr;
    struct core_make make = {.mode = S_IFREG | 0600};
    setup(&p.w);
    p.d = make_owned(&p.w, "d", S_IFDIR | 0700);
    p.other = make_owned(&p.w, "other", S_IFDIR | 0777);
    p.f = world_make(&p.w, p.d, "f", S_IFREG | 0600);
    p.sub = world_make(&p.w, p.d, "sub", S_IFDIR | 0700);
    assert_int_equal(core_make(p.w.core, &named, p.other, NAME("g"), &make, &attr), 0);
    assert_int_equal(core_setxattr(p.w.core, &world_root, p.f, NAME("user.a"), "0", 1, 0), 0);
    give(&p, p.d, directory);
    give(&p, p.f, file);
    give(&p, p.sub, sub);
    int result = operations[operation].run(&p);
    teardown(&p.w);
    return result;
}

static void every_operation_asks(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(operations); i++) {
        uint32_t takes[] = {bits_of(operations[i].directory), bits_of(operations[i].file),
                            bits_of(operations[i].sub)};
        assert_int_equal(run_with(i, takes[0], takes[1], takes[2]), 0);
        for (unsigned what = 0; what < 3; what++)
            for (uint32_t bit = 1; bit < 8; bit <<= 1) {
                uint32_t less[] = {takes[0], takes[1], takes[2]};
                less[what] &= ~bit;
                if (less[what] != takes[what])
                    assert_int_equal(run_with(i, less[0], less[1], less[2]), -EACCES);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_check_algorithm),
        cmocka_unit_test(forms),
        cmocka_unit_test(forms_refused),
        cmocka_unit_test(mode_and_list_agree),
        cmocka_unit_test(setgid_stays_with_members),
        cmocka_unit_test(groups_do_not_add_up),
        cmocka_unit_test(new_inodes_inherit),
        cmocka_unit_test(roots_inherit_nothing),
        cmocka_unit_test(every_operation_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
