// SPDX-License-Identifier: Apache-2.0
// The lists of acl.h. Pure; any thread.
#include "fs/core/acl.h"
#include "fs/base/check.h"
#include "fs/base/cursor.h"
#include "fs/core/permission.h"
#include <errno.h>
#include <stdlib.h>

#define XATTR_VERSION 2u
#define HEADER_SIZE   4u
#define ENTRY_SIZE    8u
#define ID_NONE       UINT32_MAX
#define MAY_ALL       7u

// --- form ---

static bool is_named(const struct acl_entry *entry)
{
    return entry->tag == ACL_USER || entry->tag == ACL_GROUP;
}

// Entries come in the order of their tags; all but the named and the mask must be there.
static int acl_check(const struct acl *acl)
{
    uint32_t seen = 0, last = 0;
    for (uint32_t i = 0; i < acl->n; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        bool known = entry->tag != 0 && (entry->tag & (entry->tag - 1)) == 0 && entry->tag <= ACL_OTHER;
        bool in_order = is_named(entry) ? entry->tag >= last : entry->tag > last;
        if (!known || !in_order || (entry->perm & ~MAY_ALL))
            return -EINVAL;
        last = entry->tag;
        seen |= entry->tag;
    }
    if ((seen & (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)) != (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER))
        return -EINVAL;
    return (seen & (ACL_USER | ACL_GROUP)) && !(seen & ACL_MASK) ? -EINVAL : 0;
}

static int get_entry(struct reader *reader, struct acl_entry *ret_entry)
{
    struct acl_entry entry = {.tag = read_u16(reader)};
    entry.perm = read_u16(reader);
    uint32_t id = read_u32(reader); // of others than the named: without a meaning
    entry.id = is_named(&entry) ? id : ID_NONE;
    if (is_named(&entry) && id == ID_NONE)
        return -EINVAL;
    *ret_entry = entry;
    return 0;
}

int acl_from_xattr(const void *bytes, size_t n, struct acl **ret_acl)
{
    struct reader reader = reader_on(bytes, n);
    if (n < HEADER_SIZE || (n - HEADER_SIZE) % ENTRY_SIZE != 0)
        return -EINVAL;
    if (read_u32(&reader) != XATTR_VERSION)
        return -EOPNOTSUPP;
    size_t count = (n - HEADER_SIZE) / ENTRY_SIZE;
    if (count > ACL_ENTRIES_MAX)
        return -ENOSPC;
    if (count == 0) {
        *ret_acl = NULL;
        return 0;
    }
    struct acl *acl = malloc(sizeof(*acl) + count * sizeof(acl->entries[0]));
    if (!acl)
        return -ENOMEM;
    acl->n = (uint32_t)count;
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = get_entry(&reader, &acl->entries[i]);
    if (result == 0)
        result = acl_check(acl);
    if (result == 0)
        *ret_acl = acl;
    else
        free(acl);
    return result;
}

size_t acl_to_xattr(const struct acl *acl, void *bytes)
{
    struct writer writer = writer_on(bytes, ACL_XATTR_MAX);
    write_u32(&writer, XATTR_VERSION);
    for (uint32_t i = 0; i < acl->n; i++) {
        write_u16(&writer, acl->entries[i].tag);
        write_u16(&writer, acl->entries[i].perm);
        write_u32(&writer, acl->entries[i].id);
    }
    fs_assert(!writer.failed);
    return HEADER_SIZE + ENTRY_SIZE * (size_t)acl->n;
}

static const struct acl_entry *entry_of(const struct acl *acl, enum acl_tag tag)
{
    for (uint32_t i = 0; i < acl->n; i++)
        if (acl->entries[i].tag == tag)
            return &acl->entries[i];
    return NULL;
}

static struct acl_entry *entry_for(struct acl *acl, enum acl_tag tag)
{
    return (struct acl_entry *)entry_of(acl, tag);
}

// --- what it grants ---

static int masked(const struct acl *acl, const struct acl_entry *entry, uint32_t may)
{
    const struct acl_entry *mask = entry_of(acl, ACL_MASK);
    uint32_t granted = mask ? entry->perm & mask->perm : entry->perm;
    return may & ~granted ? -EACCES : 0;
}

// The first named user that fits decides; of the groups that fit one that grants all of it is enough; others
// count only when no group fits.
int acl_permission(const struct fs_cred *cred, const struct fs_attr *attr, const struct acl *acl,
                   uint32_t may)
{
    bool in_any = false;
    may &= MAY_ALL;
    for (uint32_t i = 0; i < acl->n; i++) {
        const struct acl_entry *entry = &acl->entries[i];
        if (entry->tag == ACL_USER && entry->id == cred->uid)
            return masked(acl, entry, may);
        bool group = entry->tag == ACL_GROUP_OBJ || entry->tag == ACL_GROUP;
        if (!group || !permission_in_group(cred, entry->tag == ACL_GROUP ? entry->id : attr->gid))
            continue;
        in_any = true;
        if (!(may & ~(uint32_t)entry->perm))
            return masked(acl, entry, may);
    }
    return in_any || (may & ~(uint32_t)entry_of(acl, ACL_OTHER)->perm) ? -EACCES : 0;
}

// --- and the mode ---

// What shows as the group's bits.
static const struct acl_entry *group_class(const struct acl *acl)
{
    const struct acl_entry *mask = entry_of(acl, ACL_MASK);
    return mask ? mask : entry_of(acl, ACL_GROUP_OBJ);
}

uint32_t acl_mode(const struct acl *acl, uint32_t mode, bool *ret_only)
{
    uint32_t bits = (uint32_t)entry_of(acl, ACL_USER_OBJ)->perm << 6 | (uint32_t)group_class(acl)->perm << 3 |
                    entry_of(acl, ACL_OTHER)->perm;
    *ret_only = acl->n == 3;
    return (mode & ~(uint32_t)0777) | bits;
}

void acl_chmod(struct acl *acl, uint32_t mode)
{
    struct acl_entry *mask = entry_for(acl, ACL_MASK);
    entry_for(acl, ACL_USER_OBJ)->perm = mode >> 6 & MAY_ALL;
    (mask ? mask : entry_for(acl, ACL_GROUP_OBJ))->perm = mode >> 3 & MAY_ALL;
    entry_for(acl, ACL_OTHER)->perm = mode & MAY_ALL;
}

uint32_t acl_inherit(struct acl *acl, uint32_t mode, bool *ret_only)
{
    bool only;
    acl_chmod(acl, mode & acl_mode(acl, 0777, &only));
    return acl_mode(acl, mode, ret_only);
}
