// SPDX-License-Identifier: Apache-2.0
// POSIX access control lists (acl(5)): their form as extended attributes, what they grant, what a mode does
// to them. Pure; any thread.
#ifndef BERTH_CORE_ACL_H
#define BERTH_CORE_ACL_H

#include "fs/types.h"

#define ACL_ENTRIES_MAX 1024u
#define ACL_XATTR_MAX   (4 + 8 * ACL_ENTRIES_MAX) // bytes

// Linux's numbers, in the order in which entries lie.
enum acl_tag {
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
};

struct acl_entry {
    uint16_t tag, perm; // FS_MAY_*
    uint32_t id;        // of ACL_USER and ACL_GROUP
};

// Valid (acl_check() in acl.c): one entry each for owner, group and other, a mask when anybody is named.
struct acl {
    uint32_t n;
    struct acl_entry entries[];
};

// From the form of Linux (posix_acl_xattr.h): *ret_acl is to be freed, and NULL for a list without entries.
// -EINVAL, -EOPNOTSUPP (another version of the form), -ENOSPC (too long).
int acl_from_xattr(const void *bytes, size_t n, struct acl **ret_acl);
// Writes at most ACL_XATTR_MAX bytes and returns how many.
size_t acl_to_xattr(const struct acl *acl, void *bytes);

// May the caller, who is not the file's owner? 0 or -EACCES.
int acl_permission(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                   uint32_t may);

// The mode with the permission bits of the list; *ret_only: it says no more than they do.
uint32_t acl_mode(const struct acl *acl, uint32_t mode, bool *ret_only);
// chmod(2): owner, other, and mask (or group, without a mask) get the mode's bits.
void acl_chmod(struct acl *acl, uint32_t mode);
// A default list becomes the access list of a new inode that was asked for with `mode`: both keep what they
// have in common. *ret_only as above. Returns the inode's mode.
uint32_t acl_inherit(struct acl *acl, uint32_t mode, bool *ret_only);

#endif
