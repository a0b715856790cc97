// SPDX-License-Identifier: Apache-2.0
// Extended attributes: who may see and change which, and how much one inode holds. Owner thread; inside a
// turn. Invariant: an inode with attributes says INODE_XATTRS, so that others cost no look into the store.
#include "fs/base/check.h"
#include "fs/core/core_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY "security.capability"

// --- namespaces ---

enum space { SPACE_UNKNOWN, SPACE_USER, SPACE_TRUSTED, SPACE_SECURITY, SPACE_ACL, SPACE_SYSTEM };

static const struct {
    const char *prefix;
    enum space space;
} spaces[] = {{"user.", SPACE_USER},
              {"trusted.", SPACE_TRUSTED},
              {"security.", SPACE_SECURITY},
              {"system.", SPACE_SYSTEM}};

static bool name_is(struct fs_name name, const char *text)
{
    return name.length == strlen(text) && memcmp(name.bytes, text, name.length) == 0;
}

// What inode flags say of an attribute.
static uint32_t flag_of(struct fs_name name)
{
    return name_is(name, CAPABILITY)          ? INODE_CAPABILITY
           : name_is(name, XATTR_ACL)         ? INODE_ACL
           : name_is(name, XATTR_ACL_DEFAULT) ? INODE_ACL_DEFAULT
                                              : 0;
}

static enum space space_of(struct fs_name name)
{
    if (flag_of(name) & (INODE_ACL | INODE_ACL_DEFAULT))
        return SPACE_ACL;
    for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
        size_t n = strlen(spaces[i].prefix);
        if (name.length >= n && memcmp(name.bytes, spaces[i].prefix, n) == 0)
            return spaces[i].space;
    }
    return SPACE_UNKNOWN;
}

static int check_name(struct fs_name name, enum space space)
{
    if (space == SPACE_UNKNOWN || space == SPACE_SYSTEM)
        return -EOPNOTSUPP;
    bool bare = memchr(name.bytes, '.', name.length) == name.bytes + name.length - 1;
    return bare ? -EINVAL : 0;
}

static int check_user(struct core *core, const struct fs_cred *cred, struct inode *inode, bool write)
{
    const struct fs_attr *attr = &inode->stored.attr;
    if (!S_ISREG(attr->mode) && !S_ISDIR(attr->mode))
        return write ? -EPERM : -ENODATA;
    bool owner = cred->uid == 0 || cred->uid == attr->uid;
    if (write && S_ISDIR(attr->mode) && (attr->mode & S_ISVTX) && !owner)
        return -EPERM;
    return inode_may(core, cred, inode, write ? FS_MAY_WRITE : FS_MAY_READ);
}

// As Linux asks, in its order: for permission before the name. Who may set a list is for inode_acl_set() to
// say.
static int check_access(struct core *core, const struct fs_cred *cred, struct inode *inode,
                        struct fs_name name, bool write, enum space *ret_space)
{
    if (name.length == 0 || name.length > FS_XATTR_NAME_MAX)
        return -ERANGE;
    enum space space = space_of(name);
    int result = 0;
    if (space == SPACE_ACL)
        result = S_ISLNK(inode->stored.attr.mode) ? -EOPNOTSUPP : 0;
    else if (space == SPACE_USER)
        result = check_user(core, cred, inode, write);
    else if (space == SPACE_UNKNOWN)
        result = inode_may(core, cred, inode, write ? FS_MAY_WRITE : FS_MAY_READ);
    else if (space != SPACE_SYSTEM && cred->uid != 0 && (write || space == SPACE_TRUSTED))
        result = write ? -EPERM : -ENODATA;
    if (result == 0)
        result = check_name(name, space);
    if (result == 0)
        *ret_space = space;
    return result;
}

// --- reading ---

int core_getxattr(struct core *core, const struct fs_cred *cred, fs_ino ino, struct fs_name name, void *value,
                  size_t size, size_t *ret_n)
{
    struct inode *inode;
    enum space space;
    size_t n;
    int result = inode_get(core, ino, &inode);
    if (result == 0)
        result = check_access(core, cred, inode, name, false, &space);
    if (result == 0 && !(inode->stored.flags & INODE_XATTRS))
        result = -ENODATA;
    if (result == 0)
        result = store_xattr_get(core->store, ino, name, value, size, &n);
    if (result == 0 && size > 0 && n > size)
        result = -ERANGE;
    if (result == 0)
        *ret_n = n;
    return result;
}

struct names {
    char *bytes;
    size_t n, size;
    bool trusted; // are these shown
};

static bool list_name(void *context, struct fs_name name, size_t value_length)
{
    struct names *names = context;
    (void)value_length;
    if (space_of(name) == SPACE_TRUSTED && !names->trusted)
        return true;
    if (names->n + name.length + 1 <= names->size) {
        memcpy(names->bytes + names->n, name.bytes, name.length);
        names->bytes[names->n + name.length] = '\0';
    }
    names->n += name.length + 1;
    return true;
}

int core_listxattr(struct core *core, const struct fs_cred *cred, fs_ino ino, char *names, size_t size,
                   size_t *ret_n)
{
    struct inode *inode;
    struct names listed = {.bytes = names, .size = size, .trusted = cred->uid == 0};
    int result = inode_get(core, ino, &inode);
    if (result == 0 && (inode->stored.flags & INODE_XATTRS))
        result = store_xattr_list(core->store, ino, list_name, &listed);
    if (result == 0 && size > 0 && listed.n > size)
        result = -ERANGE;
    if (result == 0)
        *ret_n = listed.n;
    return result;
}

// --- changing ---

// What an inode holds beside one attribute.
struct held {
    struct fs_name but;
    bool there; // that one
    size_t names, values;
};

static bool count_held(void *context, struct fs_name name, size_t value_length)
{
    struct held *held = context;
    if (name.length == held->but.length && memcmp(name.bytes, held->but.bytes, name.length) == 0) {
        held->there = true;
        return true;
    }
    held->names += name.length + 1;
    held->values += value_length;
    return true;
}

static int look_at_held(struct core *core, const struct store_inode *stored, struct fs_name but,
                        struct held *ret_held)
{
    struct held held = {.but = but};
    int result = 0;
    if (stored->flags & INODE_XATTRS)
        result = store_xattr_list(core->store, stored->attr.ino, count_held, &held);
    if (result == 0)
        *ret_held = held;
    return result;
}

// A directory's access list says who may look names up.
static void note_change(struct core *core, const struct store_inode *stored, struct fs_name name)
{
    bool rights = S_ISDIR(stored->attr.mode) && flag_of(name) == INODE_ACL;
    changes_note(&core->changes, stored->attr.ino, CORE_CHANGE_ATTR | (rights ? CORE_CHANGE_NAMES : 0));
}

int inode_xattr_put(struct core *core, struct store_inode *stored, struct fs_name name, const void *value,
                    size_t n)
{
    struct held held;
    int result = look_at_held(core, stored, name, &held);
    if (result != 0)
        return result;
    size_t names = held.names + name.length + 1;
    if (names > FS_XATTR_LIST_MAX || names + held.values + n > FS_XATTR_TOTAL_MAX)
        return -ENOSPC;
    note_change(core, stored, name);
    stored->flags |= INODE_XATTRS | flag_of(name);
    return store_xattr_put(core->store, stored->attr.ino, name, value, n);
}

int inode_xattr_remove(struct core *core, struct store_inode *stored, struct fs_name name)
{
    struct held held;
    int result = look_at_held(core, stored, name, &held);
    if (result == 0)
        result = store_xattr_remove(core->store, stored->attr.ino, name);
    if (result == 0)
        note_change(core, stored, name);
    if (result == 0)
        stored->flags &= ~flag_of(name);
    if (result == 0 && held.names == 0)
        stored->flags &= ~INODE_XATTRS;
    return result;
}

int inode_kill_capability(struct core *core, struct store_inode *stored)
{
    return stored->flags & INODE_CAPABILITY ? inode_xattr_remove(core, stored, fs_name_of(CAPABILITY)) : 0;
}

static int check_flags(struct core *core, const struct inode *inode, struct fs_name name, uint32_t flags)
{
    struct held held;
    int result = flags != 0 ? look_at_held(core, &inode->stored, name, &held) : 0;
    if (result != 0 || flags == 0)
        return result;
    if (!held.there)
        return flags & FS_XATTR_REPLACE ? -ENODATA : 0;
    return flags & FS_XATTR_CREATE ? -EEXIST : 0;
}

// The value that is there is no change, and marks no time: so ext4 has it.
static int is_there(struct core *core, const struct inode *inode, struct fs_name name, const void *value,
                    size_t n, bool *ret_there)
{
    size_t held_n = 0;
    *ret_there = false;
    if (!(inode->stored.flags & INODE_XATTRS))
        return 0;
    uint8_t *held = malloc(n + 1); // an empty value too needs room, or its length alone is told
    if (!held)
        return -ENOMEM;
    int result = store_xattr_get(core->store, inode->node.key, name, held, n + 1, &held_n);
    *ret_there = result == 0 && held_n == n && memcmp(held, value, n) == 0;
    free(held);
    return result == -ENODATA ? 0 : result;
}

int core_setxattr(struct core *core, const struct fs_cred *cred, fs_ino ino, struct fs_name name,
                  const void *value, size_t n, uint32_t flags)
{
    struct inode *inode;
    enum space space;
    bool there = false;
    if (n > FS_XATTR_VALUE_MAX)
        return -E2BIG;
    int result = inode_get(core, ino, &inode);
    if (result == 0)
        result = check_access(core, cred, inode, name, true, &space);
    if (result == 0 && space != SPACE_ACL) // Linux has no flags for them
        result = check_flags(core, inode, name, flags);
    if (result == 0 && space != SPACE_ACL)
        result = is_there(core, inode, name, value, n, &there);
    if (result != 0 || there)
        return result;
    result = write_begin(core);
    if (result != 0)
        return result;
    struct store_inode stored = inode->stored;
    stored_touch(&stored, core_now(core), false);
    if (space == SPACE_ACL)
        result = inode_acl_set(core, cred, &stored, flag_of(name) == INODE_ACL_DEFAULT, value, n);
    else
        result = inode_xattr_put(core, &stored, name, value, n);
    if (result == 0)
        result = inode_put(core, inode, &stored);
    return write_end(core, result);
}

int core_removexattr(struct core *core, const struct fs_cred *cred, fs_ino ino, struct fs_name name)
{
    struct inode *inode;
    enum space space;
    int result = inode_get(core, ino, &inode);
    if (result == 0)
        result = check_access(core, cred, inode, name, true, &space);
    if (result == 0 && space != SPACE_ACL && !(inode->stored.flags & INODE_XATTRS))
        result = -ENODATA;
    if (result == 0)
        result = write_begin(core);
    if (result != 0)
        return result;
    struct store_inode stored = inode->stored;
    if (space != SPACE_ACL || (stored.flags & flag_of(name)))
        stored_touch(&stored, core_now(core), false);
    if (space == SPACE_ACL) // one that is not there is no error, and no change
        result = inode_acl_set(core, cred, &stored, flag_of(name) == INODE_ACL_DEFAULT, NULL, 0);
    else
        result = inode_xattr_remove(core, &stored, name);
    if (result == 0)
        result = inode_put(core, inode, &stored);
    return write_end(core, result);
}
