// SPDX-License-Identifier: Apache-2.0
// The words everybody shares: inode numbers, attributes, times, modes, names, credentials, limits.
//
// Errors are negative errno values (Linux numbers) everywhere. Sizes and offsets are bytes, times are UTC.
#ifndef BERTH_TYPES_H
#define BERTH_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

// --- limits ---

#define FS_NAME_MAX      255        // bytes, as Linux NAME_MAX
#define FS_SYMLINK_MAX   4095       // bytes, as Linux PATH_MAX without its NUL
#define FS_LINK_MAX      65000      // hard links to one inode, as ext4
#define FS_FILE_SIZE_MAX INT64_MAX  // bytes; past it EFBIG
#define FS_IO_MAX        (1u << 20) // bytes of one READ or WRITE: the largest request FUSE sends
#define FS_GROUPS_MAX    1024u      // supplementary groups of one caller that are looked at
#define FS_AP_GROUPS_MAX 16u        // secondary groups of an access point's POSIX user, as EFS
#define FS_AP_PATH_MAX   100u       // bytes of an access point's path, as EFS
#define FS_ID_SIZE       32         // room for "fsap-" + 17 hex digits + NUL, and for "fs-…"

typedef uint64_t fs_ino;
#define FS_ROOT_INO ((fs_ino)1) // the root directory of a file system; 0 is no inode

// --- names ---

// Any bytes but '/' and NUL; not NUL-terminated; not owned.
struct fs_name {
    const char *bytes;
    size_t length;
};

// 0 for a name an entry may have; -EINVAL (empty, '/', NUL), -ENAMETOOLONG; "." and ".." are -EINVAL.
int fs_name_check(struct fs_name name);

static inline struct fs_name fs_name_of(const char *text)
{
    return (struct fs_name){.bytes = text, .length = __builtin_strlen(text)};
}

// --- times and attributes ---

struct fs_time {
    int64_t sec;
    uint32_t nsec; // < 1,000,000,000
};

struct fs_time fs_time_from_ns(uint64_t ns);
int fs_time_compare(struct fs_time a, struct fs_time b); // <0, 0, >0
// relatime: does a read at `second` mark the access time? Only when the inode changed since it was last read,
// or a day has passed.
bool fs_reading_tells(struct fs_time atime, struct fs_time mtime, struct fs_time ctime, int64_t second);

#define FS_BLOCKS_UNKNOWN UINT64_MAX

struct fs_attr {
    fs_ino ino;
    uint32_t mode; // S_IFMT and permission bits, as struct stat
    uint32_t nlink;
    uint32_t uid, gid;
    uint32_t rdev;   // Linux's 32-bit encoding (minor 8 low bits, major 12, minor high)
    uint64_t size;   // bytes
    uint64_t blocks; // of 512 bytes; FS_BLOCKS_UNKNOWN after a write to a large file
    struct fs_time atime, mtime, ctime, btime;
};

// What a setattr changes; each bit names the field it brings.
#define FS_SET_MODE      (1u << 0)
#define FS_SET_UID       (1u << 1)
#define FS_SET_GID       (1u << 2)
#define FS_SET_SIZE      (1u << 3)
#define FS_SET_ATIME     (1u << 4)
#define FS_SET_MTIME     (1u << 5)
#define FS_SET_ATIME_NOW (1u << 6) // the server's clock; needs write permission only
#define FS_SET_MTIME_NOW (1u << 7)
#define FS_SET_KILL_PRIV (1u << 8) // clear set-id bits as a write would; for who may write
#define FS_SET_ALL       0x1ffu

struct fs_setattr {
    uint32_t mask; // FS_SET_*
    uint32_t mode; // permission bits; the type is kept
    uint32_t uid, gid;
    uint64_t size;
    struct fs_time atime, mtime;
};

struct fs_statfs {
    uint64_t block_size;
    uint64_t blocks_total, blocks_free, blocks_available;
    uint64_t inodes_total, inodes_free;
    uint32_t name_max;
};

// --- who asks ---

struct fs_cred {
    uint32_t uid, gid;
    uint32_t n_groups;
    const uint32_t *groups; // supplementary; not owned, lives as long as the request
};

// --- open flags: our own bits, so that the wire does not depend on a platform's O_* ---

#define FS_OPEN_READ      (1u << 0)
#define FS_OPEN_WRITE     (1u << 1)
#define FS_OPEN_APPEND    (1u << 2)
#define FS_OPEN_TRUNC     (1u << 3)
#define FS_OPEN_CREATE    (1u << 4)
#define FS_OPEN_EXCL      (1u << 5)
#define FS_OPEN_DIRECTORY (1u << 6)
#define FS_OPEN_EXEC      (1u << 7) // opened to run: needs x, not r
#define FS_OPEN_SYNC      (1u << 8) // O_SYNC or O_DSYNC
#define FS_OPEN_NOATIME   (1u << 9) // reading leaves the access time; the owner's right
#define FS_OPEN_ALL       0x3ffu

// --- fallocate modes, as in linux/falloc.h ---

#define FS_ALLOCATE_KEEP_SIZE  0x01u
#define FS_ALLOCATE_PUNCH_HOLE 0x02u
#define FS_ALLOCATE_ZERO_RANGE 0x10u
#define FS_ALLOCATE_ALL        0x13u

// --- rename flags ---

#define FS_RENAME_NOREPLACE (1u << 0)
#define FS_RENAME_EXCHANGE  (1u << 1)
#define FS_RENAME_WHITEOUT  (1u << 2) // leaves a character device 0:0 where the file was

// --- extended attributes ---

#define FS_XATTR_NAME_MAX  255u   // bytes of a name, as Linux
#define FS_XATTR_VALUE_MAX 65536u // bytes of a value, as Linux
#define FS_XATTR_LIST_MAX  65536u // bytes of one inode's names with a NUL each, as Linux lists
#define FS_XATTR_TOTAL_MAX (2 * FS_XATTR_VALUE_MAX) // bytes of those names and the values

#define FS_XATTR_CREATE    (1u << 0) // EEXIST when it is there
#define FS_XATTR_REPLACE   (1u << 1) // ENODATA when it is not

// --- access(2) mask, as R_OK | W_OK | X_OK ---

#define FS_MAY_EXEC  1u
#define FS_MAY_WRITE 2u
#define FS_MAY_READ  4u

// --- locks ---

enum fs_lock_type { FS_LOCK_READ, FS_LOCK_WRITE, FS_LOCK_UNLOCK };
enum fs_lock_kind { FS_LOCK_FCNTL, FS_LOCK_FLOCK };

struct fs_lock {
    enum fs_lock_kind kind;
    enum fs_lock_type type;
    uint64_t start, end; // inclusive; INT64_MAX as end is "to the end of any file"; flock is 0..INT64_MAX
    uint64_t owner;      // unique within a session: the kernel's lock owner
    uint32_t pid;        // of the process that asked, in its own pid namespace
};

#endif
