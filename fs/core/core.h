// SPDX-License-Identifier: Apache-2.0
// One file system: namespace, attributes, permission checks, data, opens, locks. No sockets, no FUSE, no SQL.
//
// One thread owns a core. Core never learns who asks over what: it sees credentials, inode numbers and opens.
// Callers have proved that the caller was shown the inode (handles, roots) before they come here.
//
// Turns. All operations that read or write the store run inside a turn: core_turn_begin() …
// core_turn_commit(). Each operation is atomic inside the turn: it checks everything before its first write,
// or runs in a savepoint, so an operation that returns an error changed nothing. When core_turn_commit()
// fails, the store is rolled back, the cache entries that were touched are dropped, and opens made in the
// turn are closed; the caller runs the turn's operations again, one per turn, so that only the culprit sees
// the error.
//
// Errors: negative errno as POSIX gives them, in POSIX's order of precedence.
#ifndef BERTH_CORE_H
#define BERTH_CORE_H

#include "fs/base/env.h"
#include "fs/store/store.h"
#include "fs/types.h"
#include <errno.h>

struct core;
struct core_file; // one open file description, owned by core from core_open() to core_release()

// Takes `store` (not owned: the caller closes it after core_destroy()). Makes the root directory (0:0, 0755)
// in a store without one. Orphans of an earlier run stay until core_reap_orphans(), for clients that reopen
// them.
int core_create(struct store *store, const struct env *env, struct core **ret_core);
void core_destroy(struct core *core); // all opens have been released; NULL is allowed

// From now on reading leaves no access time (`quiet`), as for a read-only mount; or it does again.
void core_set_quiet(struct core *core, bool quiet);

// What an operation is about to change, as others can see it: who keeps something of it must know before it
// is so. Inodes that the operation makes are not told.
#define CORE_CHANGE_ATTR  (1u << 0) // attributes other than atime, or extended ones
#define CORE_CHANGE_NAME  (1u << 1) // one name in a directory
#define CORE_CHANGE_NAMES (1u << 2) // who may look names up in it
#define CORE_CHANGE_DATA  (1u << 3) // bytes
#define CORE_CHANGE_TREE  (1u << 4) // this directory, with all below it, gets another parent
struct core_change {
    fs_ino ino;
    uint32_t what;       // with NAME: that alone
    struct fs_name name; // the caller's own; NAME
};
// May they be made now? 0: yes. Else the operation is undone and returns the answer: CORE_WAIT, to be run
// again, or an error. Asked before an operation's writes are kept, and before bytes of a file are touched,
// which nothing would undo.
#define CORE_WAIT (-EINPROGRESS)
typedef int core_ask(void *context, const struct core_change *changes, size_t n);
void core_set_ask(struct core *core, core_ask *ask, void *context); // NULL: go on, whatever it is

int core_turn_begin(struct core *core);
int core_turn_commit(struct core *core); // on failure the turn is over and undone
// For what the caller writes to the store itself, to be committed with the turn: opens its transaction.
int core_turn_write(struct core *core);
// The turn must not be kept: its commit will fail with `error`, the first one given.
void core_turn_doom(struct core *core, int error);

// --- namespace ---

int core_lookup(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                struct fs_attr *ret_attr); // "." and ".." too; ".." of the root is the root
int core_getattr(struct core *core, fs_ino ino, struct fs_attr *ret_attr);
// `file` is the open through which it comes (ftruncate, fchmod), or NULL. With a file open for writing,
// FS_SET_SIZE asks no further permission.
int core_setattr(struct core *core, const struct fs_cred *cred, fs_ino ino, const struct core_file *file,
                 const struct fs_setattr *set, struct fs_attr *ret_attr);
int core_access(struct core *core, const struct fs_cred *cred, fs_ino ino, uint32_t may_mask);

struct core_make {
    uint32_t mode;         // type and permission bits: S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, …
    uint32_t umask;        // taken from the mode unless the directory has a default access list
    bool bare;             // takes the mode as it is, whatever the directory has
    uint32_t rdev;         // devices
    struct fs_name target; // symlinks
};
// mknod, mkdir and symlink in one.
int core_make(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
              const struct core_make *make, struct fs_attr *ret_attr);
int core_link(struct core *core, const struct fs_cred *cred, fs_ino ino, fs_ino parent, struct fs_name name,
              struct fs_attr *ret_attr);
int core_unlink(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                fs_ino *ret_ino);
int core_rmdir(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name);
int core_rename(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                fs_ino new_parent, struct fs_name new_name, uint32_t rename_flags);
// Writes at most FS_SYMLINK_MAX bytes to target (no NUL).
int core_readlink(struct core *core, fs_ino ino, char *target, size_t *ret_length);

// --- extended attributes ---

// user.* of files and directories, trusted.* for root alone, security.*, system.posix_acl_access and
// …_default; others -EOPNOTSUPP. An access list sets the mode; one that says no more than a mode is not kept.
// Names are 1 to FS_XATTR_NAME_MAX bytes (-ERANGE). Size 0 asks for the length alone; one that is too small
// is -ERANGE.
int core_getxattr(struct core *core, const struct fs_cred *cred, fs_ino ino, struct fs_name name, void *value,
                  size_t size, size_t *ret_n);
// Each name with a NUL behind it; at most FS_XATTR_LIST_MAX bytes.
int core_listxattr(struct core *core, const struct fs_cred *cred, fs_ino ino, char *names, size_t size,
                   size_t *ret_n);
// FS_XATTR_*. -E2BIG past FS_XATTR_VALUE_MAX; -ENOSPC past what one inode may hold (FS_XATTR_LIST_MAX,
// FS_XATTR_TOTAL_MAX).
int core_setxattr(struct core *core, const struct fs_cred *cred, fs_ino ino, struct fs_name name,
                  const void *value, size_t n, uint32_t flags);
int core_removexattr(struct core *core, const struct fs_cred *cred, fs_ino ino,
                     struct fs_name name); // -ENODATA

// --- opens ---

// FS_OPEN_*; a directory is opened with FS_OPEN_READ (| FS_OPEN_DIRECTORY). FS_OPEN_TRUNC truncates. An inode
// stays, unlinked or not, until its last open is released.
int core_open(struct core *core, const struct fs_cred *cred, fs_ino ino, uint32_t open_flags,
              struct core_file **ret_file, struct fs_attr *ret_attr);
// open(O_CREAT): makes a regular file when there is none (then permissions are not asked again), else opens
// what is there, or -EEXIST with FS_OPEN_EXCL. A symlink there is -ELOOP: the caller resolves paths.
// *ret_created says which.
int core_create_open(struct core *core, const struct fs_cred *cred, fs_ino parent, struct fs_name name,
                     uint32_t mode, uint32_t umask, uint32_t open_flags, struct core_file **ret_file,
                     struct fs_attr *ret_attr, bool *ret_created);
// open(O_TMPFILE): makes and opens a regular file that has no name in `parent` and, unless `open_flags` has
// FS_OPEN_EXCL, may get one by core_link() once.
int core_tmpfile(struct core *core, const struct fs_cred *cred, fs_ino parent, uint32_t mode, uint32_t umask,
                 uint32_t open_flags, struct core_file **ret_file, struct fs_attr *ret_attr);
// Keeps the inode, without permission for anything. -ENOENT.
int core_hold(struct core *core, fs_ino ino, struct core_file **ret_file);
// After a server restart: the open was granted before, so permissions are not asked again; -ESTALE when the
// inode is gone.
int core_reopen(struct core *core, fs_ino ino, uint32_t open_flags, struct core_file **ret_file);
// An orphan whose last open goes is removed by this turn (or by a later one, should the turn fail).
void core_release(struct core *core, struct core_file *file);
// While held, orphans stay whether or not they are open: those who had them open before a restart may not all
// have come back. Letting go does not look for them: core_reap_orphans().
void core_hold_orphans(struct core *core, bool hold);
fs_ino core_file_ino(const struct core_file *file);
uint32_t core_file_flags(const struct core_file *file);

// --- data ---

// Would a read in so many seconds change the access time of what has these attributes?
bool core_reading_tells(const struct core *core, const struct fs_attr *attr, uint32_t open_flags,
                        uint32_t in_seconds);
// -EBADF when the file is not open for it; -EISDIR.
int core_read(struct core *core, const struct core_file *file, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n);
// The same, and leaves no access time.
int core_peek(struct core *core, const struct core_file *file, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n);
// The access time that it left out, for an inode that was opened with these flags.
void core_mark_read(struct core *core, fs_ino ino, uint32_t open_flags);
// Writes all n bytes or fails. Clears set-id bits as POSIX asks unless cred is root.
int core_write(struct core *core, const struct fs_cred *cred, const struct core_file *file, uint64_t offset,
               const void *bytes, size_t n, struct fs_attr *ret_attr);
// The same at the end of the file, wherever that is now: *ret_offset.
int core_append(struct core *core, const struct fs_cred *cred, const struct core_file *file,
                const void *bytes, size_t n, uint64_t *ret_offset, struct fs_attr *ret_attr);

// fallocate(2) with FS_ALLOCATE_*. Changes times and set-id bits as a write. -EOPNOTSUPP for modes that are
// not built.
int core_fallocate(struct core *core, const struct fs_cred *cred, const struct core_file *file, uint32_t mode,
                   uint64_t offset, uint64_t n, struct fs_attr *ret_attr);
// SEEK_DATA, or with `hole` SEEK_HOLE. -ENXIO at or past the end, and when no data follows.
int core_seek(struct core *core, const struct core_file *file, uint64_t offset, bool hole,
              uint64_t *ret_offset);
// copy_file_range(2): *ret_n may be less than n, at the end of the source and because one call copies at most
// CORE_COPY_MAX bytes: others wait for it. -EINVAL for ranges of one file that overlap.
#define CORE_COPY_MAX (UINT64_C(64) << 20)
int core_copy_range(struct core *core, const struct fs_cred *cred, const struct core_file *from_file,
                    uint64_t from_offset, const struct core_file *file, uint64_t offset, uint64_t n,
                    uint64_t *ret_n);

// See store_sync_prepare(); ino 0 is everything.
int core_sync_prepare(struct core *core, fs_ino ino, struct store_sync **ret_sync);
int core_sync_finish(struct core *core, struct store_sync *sync);

// --- directories ---

// Entries from after `cookie` (0: from the start; "." and ".." come first, with cookies 1 and 2), until visit
// returns false. An entry that is there throughout is seen exactly once, whatever else changes. attr is NULL
// for an entry whose inode is not shown (never for "." and ".."). `cookie` in the call is the one to continue
// after.
typedef bool core_visit_entry(void *context, struct fs_name name, uint64_t cookie, fs_ino ino, uint32_t type,
                              const struct fs_attr *attr);
// -ENOENT: the directory was removed.
int core_readdir(struct core *core, const struct core_file *directory, uint64_t cookie,
                 core_visit_entry *visit, void *context);

// The space that who sees `root` has: the limits of its quota and of the file system where there are any, and
// what is left of the scarcest of them and the medium.
int core_statfs(struct core *core, fs_ino root, struct fs_statfs *ret_statfs);

// --- quotas ---

// What would take a quota past a limit is refused before anything is written: -EDQUOT for a directory's,
// -ENOSPC for the whole file system's. A quota that is over its limit already may shrink, and be overwritten
// in place. Quotas do not nest: what is below an inner quota root is charged to that alone. Moving or linking
// from one into another is -EXDEV, but for a quota root itself.
struct core_limits {
    uint64_t max_bytes, max_inodes; // 0: none
};
// Of directory `id`, which becomes a quota root: what is charged as the directory was until now, below it, is
// charged to it from here on. Without a limit, a directory that is none stays as it is. id 0: of the whole
// file system.
int core_quota_set(struct core *core, fs_ino id, const struct core_limits *limits);
// Limits and use; of a directory that is no quota root zeros.
int core_quota_get(struct core *core, fs_ino id, struct store_quota *ret_quota);

// --- places ---

// Is ino reachable below root (or root itself)? Cached against a counter of directory renames. An orphan that
// is open counts as being where it was for those who hold it: callers skip this check for access through an
// open.
int core_is_under(struct core *core, fs_ino ino, fs_ino root, bool *ret_under);

struct core_root_spec {
    const char *path; // "/" or up to four components
    bool make;        // create what is missing with these
    uint32_t uid, gid, mode;
};
// Resolves an access point's root without following symlinks, as root. Missing: -ENOENT without `make`, else
// made; missing parents get 0:0 0755. An existing directory keeps its owner and mode. -ENOTDIR when something
// else is there.
int core_resolve_root(struct core *core, const struct core_root_spec *spec, fs_ino *ret_ino);

// Bounded background work when a turn is over; see store_upkeep().
int core_upkeep(struct core *core, bool *ret_more);

// Takes some of the unlinked inodes that nobody has open on the list of what the next turn removes;
// *ret_more: there are more. For the time after a start when every client that could reopen one has had its
// chance.
int core_reap_orphans(struct core *core, bool *ret_more);

// For metering: see store_usage().
int core_usage(struct core *core, struct store_usage *ret_usage);

#endif
