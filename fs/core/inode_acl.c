// SPDX-License-Identifier: Apache-2.0
// The access lists of inodes, which lie in the store as the extended attributes that Linux knows them by.
// Owner thread; inside a turn. Invariant: what is stored is valid, and the mode of its inode shows what the
// access list says; a list that says no more than the mode is not stored.
#include "fs/base/check.h"
#include "fs/core/acl.h"
#include "fs/core/core_impl.h"
#include "fs/core/permission.h"
#include <errno.h>

static struct fs_name name_of(bool is_default)
{
    return fs_name_of(is_default ? XATTR_ACL_DEFAULT : XATTR_ACL);
}

// To be freed.
static int acl_load(struct core *core, fs_ino ino, bool is_default, struct acl **ret_acl)
{
    uint8_t bytes[ACL_XATTR_MAX];
    struct acl *acl = NULL;
    size_t n;
    int result = store_xattr_get(core->store, ino, name_of(is_default), bytes, sizeof(bytes), &n);
    if (result == 0)
        result = n > sizeof(bytes) ? -EUCLEAN : acl_from_xattr(bytes, n, &acl);
    if (result != 0 || !acl)
        return result == -EIO || result == -ENOMEM ? result : -EUCLEAN;
    *ret_acl = acl;
    return 0;
}

static int acl_store(struct core *core, struct store_inode *stored, bool is_default, const struct acl *acl)
{
    uint8_t bytes[ACL_XATTR_MAX];
    return inode_xattr_put(core, stored, name_of(is_default), bytes, acl_to_xattr(acl, bytes));
}

static int acl_drop(struct core *core, struct store_inode *stored, bool is_default)
{
    bool there = stored->flags & (is_default ? INODE_ACL_DEFAULT : INODE_ACL);
    return there ? inode_xattr_remove(core, stored, name_of(is_default)) : 0;
}

// --- asking ---

int inode_acl(struct core *core, struct inode *inode, const struct acl **ret_acl)
{
    int result = 0;
    if ((inode->stored.flags & INODE_ACL) && !inode->acl)
        result = acl_load(core, inode->node.key, false, &inode->acl);
    if (result == 0)
        *ret_acl = inode->acl;
    return result;
}

int inode_may(struct core *core, const struct fs_cred *cred, struct inode *inode, uint32_t may)
{
    const struct acl *acl;
    int result = inode_acl(core, inode, &acl);
    return result != 0 ? result : permission_check(cred, &inode->stored.attr, acl, may);
}

int inode_may_remove(struct core *core, const struct fs_cred *cred, struct inode *directory,
                     const struct inode *victim)
{
    const struct acl *acl;
    int result = inode_acl(core, directory, &acl);
    return result != 0 ? result : permission_remove(cred, &directory->stored.attr, acl, &victim->stored.attr);
}

// --- changing ---

int inode_inherit(struct core *core, const struct inode *directory, uint32_t umask,
                  struct store_inode *stored)
{
    _cleanup_(freep) struct acl *acl = NULL;
    uint32_t mode = stored->attr.mode;
    bool only;
    if (S_ISLNK(mode))
        return 0;
    if (!(directory->stored.flags & INODE_ACL_DEFAULT)) {
        stored->attr.mode = mode & ~(umask & 0777);
        return 0;
    }
    int result = acl_load(core, directory->node.key, true, &acl);
    if (result == 0 && S_ISDIR(mode))
        result = acl_store(core, stored, true, acl);
    if (result != 0)
        return result;
    stored->attr.mode = acl_inherit(acl, mode, &only);
    return only ? 0 : acl_store(core, stored, false, acl);
}

int inode_acl_chmod(struct core *core, struct store_inode *stored)
{
    _cleanup_(freep) struct acl *acl = NULL;
    if (!(stored->flags & INODE_ACL))
        return 0;
    int result = acl_load(core, stored->attr.ino, false, &acl);
    if (result != 0)
        return result;
    acl_chmod(acl, stored->attr.mode);
    return acl_store(core, stored, false, acl);
}

int inode_acl_set(struct core *core, const struct fs_cred *cred, struct store_inode *stored, bool is_default,
                  const void *bytes, size_t n)
{
    _cleanup_(freep) struct acl *acl = NULL;
    int result = n > 0 ? acl_from_xattr(bytes, n, &acl) : 0;
    if (result != 0)
        return result;
    if (is_default && !S_ISDIR(stored->attr.mode))
        return acl ? -EACCES : 0;
    if (cred->uid != 0 && cred->uid != stored->attr.uid)
        return -EPERM;
    bool only = false;
    if (acl && !is_default) {
        uint32_t mode = acl_mode(acl, stored->attr.mode, &only);
        stored->attr.mode = (mode & S_IFMT) | permission_mode_after_chmod(cred, &stored->attr, mode);
    }
    return acl && !only ? acl_store(core, stored, is_default, acl) : acl_drop(core, stored, is_default);
}
