// SPDX-License-Identifier: Apache-2.0
// Every permission rule, as pure functions of credentials and attributes (POSIX; where it leaves a choice,
// Linux). uid 0 has all capabilities.
#ifndef BERTH_CORE_PERMISSION_H
#define BERTH_CORE_PERMISSION_H

#include "fs/types.h"

struct acl;

bool permission_in_group(const struct fs_cred *cred, uint32_t gid);

// FS_MAY_* all granted: 0, else -EACCES. Root lacks only x on a file that nobody may execute. `acl` is the
// inode's access list, NULL without one; for the owner and root it is not looked at.
int permission_check(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                     uint32_t may);

// May an entry for `victim` be taken out of `directory` (unlink, rmdir, either side of a rename)? -EACCES
// without write and search permission, -EPERM where the sticky bit protects it.
int permission_remove(const struct fs_cred *cred, const struct fs_attr *directory, const struct acl *acl,
                      const struct fs_attr *victim);

// May these attributes be set? -EPERM or -EACCES. `writable_open`: it comes through an open for writing.
int permission_setattr(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                       const struct fs_setattr *set, bool writable_open);

// The permission bits that result.
uint32_t permission_mode_after_chmod(const struct fs_cred *cred, const struct fs_attr *attr, uint32_t wanted);
uint32_t permission_mode_after_chown(const struct fs_cred *cred, const struct fs_attr *attr);
uint32_t permission_mode_after_write(const struct fs_cred *cred, const struct fs_attr *attr);
// Does it only take from another's file what a write takes? So Linux asks a FUSE file system before a
// fallocate or a copy into it; a chmod(2) of what is not his it lets nobody do.
bool permission_takes_set_id(const struct fs_cred *cred, const struct fs_attr *attr,
                             const struct fs_setattr *set);
// Of a new inode: owner, group and mode, with what a setgid directory hands down.
void permission_new(const struct fs_cred *cred, const struct fs_attr *directory, struct fs_attr *attr);

#endif
