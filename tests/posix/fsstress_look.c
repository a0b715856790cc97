// SPDX-License-Identifier: Apache-2.0
// Looks at what an operation touched, and tells the first difference between two sides. Looks change nothing:
// files are read with O_NOATIME, and times are looked at before contents.
//
// Clocks differ: a time that lies near now on the host must lie near now on the mount, any other must be the
// same to the nanosecond. Which times an operation changes must be the same on both; only access times follow
// each side's own.
#include "tests/posix/fsstress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    NEAR_SECONDS = 300,
    LINKED_MAX = 4096,
    NAMES_MAX = 8192,
    XATTR_MAX = 8192,
    TICK_NS = 20 * 1000 * 1000
};

static bool blurred, of_access;

const char *difference(const char *format, ...)
{
    static char text[4000];
    va_list arguments;
    of_access = false;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return text;
}

static const char *access_difference(const char *text)
{
    of_access = true;
    return text;
}

bool difference_is_of_access(void)
{
    return of_access;
}

void look_blur(void)
{
    blurred = true;
}

// --- digests ---

uint64_t digest_add(uint64_t digest, const void *data, size_t n)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ bytes[i]) * 0x100000001b3;
    return digest;
}

uint64_t digest_file(int fd)
{
    static uint8_t buffer[64 * 1024];
    uint64_t digest = 1;
    off_t offset = 0;
    ssize_t n;
    while ((n = pread(fd, buffer, sizeof(buffer), offset)) > 0) {
        digest = digest_add(digest, buffer, (size_t)n);
        offset += n;
    }
    return n < 0 ? (uint64_t)-errno : digest;
}

uint64_t digest_directory(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    if (stream == NULL)
        return (uint64_t)-errno;
    uint64_t sum = 1;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(stream)) != NULL)
        sum += digest_add(entry->d_type, entry->d_name, strlen(entry->d_name));
    if (errno != 0)
        sum = (uint64_t)-errno;
    closedir(stream);
    return sum;
}

// --- attributes ---

static void parent_of(const char *path, char *parent)
{
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    memcpy(parent, n == 0 ? "." : path, n == 0 ? 2 : n);
    parent[n == 0 ? 1 : n] = 0;
}

// The i-th thing that an operation may touch: an open file, or a path and whether a symlink there is
// followed.
static bool watch(const struct op *op, unsigned i, char *path, int *flags)
{
    const char *name = i < 3 ? op->path : op->other_path;
    if (!(op->kind->uses & (i < 3 ? USES_PATH : USES_OTHER)))
        return false;
    *flags = i % 3 == 1 ? AT_SYMLINK_NOFOLLOW : 0;
    if (i % 3 == 0)
        parent_of(name, path);
    else
        strcpy(path, name);
    return true;
}

int look_at(int fd, const char *path, int flags, struct statx *ret_stat)
{
    struct statx fresh;
    if (statx(fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, ret_stat) < 0 ||
        statx(fd, path, flags | AT_STATX_FORCE_SYNC, STATX_ATIME, &fresh) < 0)
        return -errno;
    ret_stat->stx_atime = fresh.stx_atime;
    return 0;
}

void look_set_times(const struct op *op, const struct side *side, unsigned through, unsigned i,
                    const struct timespec times[2])
{
    char path[STRESS_PATH_MAX];
    int flags;
    if (watch(op, i, path, &flags))
        utimensat(side->tops[through], path, times, flags);
}

void looks_take(struct looks *looks, const struct op *op, const struct side *side, unsigned through)
{
    char path[STRESS_PATH_MAX];
    int flags;
    for (unsigned i = 0; i < WATCHES; i++) {
        struct look *look = &looks->at[i];
        int fd = i < 6 ? side->tops[through] : side->slots[i - 6];
        *look = (struct look){.error = ENODATA};
        if (i < 6 ? !watch(op, i, path, &flags) : fd < 0)
            continue;
        look->error =
            i < 6 ? -look_at(fd, path, flags, &look->stat) : -look_at(fd, "", AT_EMPTY_PATH, &look->stat);
        if (side->hides_sticky && i >= 6 && i - 6 < ENFORCED_SLOTS && S_ISDIR(look->stat.stx_mode))
            look->stat.stx_mode &= ~S_ISVTX;
    }
}

static int64_t ns_of(const struct statx_timestamp *time)
{
    return time->tv_sec * 1000000000 + time->tv_nsec;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool near_now(const struct statx_timestamp *time)
{
    int64_t apart = time->tv_sec - now_ns() / 1000000000;
    return apart > -NEAR_SECONDS && apart < NEAR_SECONDS;
}

static bool time_differs(const struct statx_timestamp *ours, const struct statx_timestamp *theirs)
{
    if (near_now(theirs))
        return !near_now(ours);
    return ns_of(ours) != ns_of(theirs);
}

// A read from what a kernel keeps asks nobody, and marks no access: the mount's time may be of an earlier
// one.
static bool access_differs(const struct statx *ours, const struct statx *theirs)
{
    bool lags = !S_ISDIR(ours->stx_mode) && near_now(&theirs->stx_atime);
    return !lags && time_differs(&ours->stx_atime, &theirs->stx_atime);
}

const char *stat_differs(const struct statx *ours, const struct statx *theirs, const char *what)
{
#define SAME(field, format)                                                                      \
    if (ours->field != theirs->field)                                                            \
    return difference("%s: " #field " is " format " on the mount, " format " on the host", what, \
                      ours->field, theirs->field)
    SAME(stx_mode, "%o");
    SAME(stx_nlink, "%u");
    SAME(stx_uid, "%u");
    SAME(stx_gid, "%u");
    SAME(stx_rdev_major, "%u");
    SAME(stx_rdev_minor, "%u");
    if (!S_ISDIR(ours->stx_mode))
        SAME(stx_size, "%llu");
#undef SAME
#define SAME(field)                                                                            \
    if (time_differs(&ours->field, &theirs->field))                                            \
    return difference("%s: " #field " is %lld.%09u on the mount, %lld.%09u on the host", what, \
                      ours->field.tv_sec, ours->field.tv_nsec, theirs->field.tv_sec, theirs->field.tv_nsec)
    SAME(stx_mtime);
    SAME(stx_ctime);
#undef SAME
    if (access_differs(ours, theirs))
        return access_difference(difference("%s: stx_atime is %lld.%09u on the mount, %lld.%09u on the host",
                                            what, ours->stx_atime.tv_sec, ours->stx_atime.tv_nsec,
                                            theirs->stx_atime.tv_sec, theirs->stx_atime.tv_nsec));
    return NULL;
}

// Whether a read now would change the access time, by relatime's rule.
static bool read_would_tell(const struct statx *stat)
{
    int64_t atime = ns_of(&stat->stx_atime);
    return atime <= ns_of(&stat->stx_mtime) || atime <= ns_of(&stat->stx_ctime) ||
           atime < now_ns() - 24ll * 3600 * 1000000000;
}

static bool moved(const struct statx_timestamp *before, const struct statx_timestamp *after)
{
    return ns_of(before) != ns_of(after);
}

static const char *which_moved(const struct op *op, const struct look before[2], const struct look after[2],
                               const char *what)
{
    const char *sides[] = {"mount", "host"};
    bool m[2], c[2], a[2];
    for (int i = 0; i < 2; i++) {
        m[i] = moved(&before[i].stat.stx_mtime, &after[i].stat.stx_mtime);
        c[i] = moved(&before[i].stat.stx_ctime, &after[i].stat.stx_ctime);
        a[i] = moved(&before[i].stat.stx_atime, &after[i].stat.stx_atime);
    }
    if (m[0] != m[1])
        return difference("%s: mtime changed on the %s only", what, sides[m[1]]);
    // ext4 leaves ctime when an extended attribute is set to what it is.
    if (c[0] != c[1] && !(c[0] && (op->kind->uses & SETS_XATTR)))
        return difference("%s: ctime changed on the %s only", what, sides[c[1]]);
    if (ns_of(&after[0].stat.stx_ctime) < ns_of(&before[0].stat.stx_ctime))
        return difference("%s: ctime went back on the mount", what);
    if (moved(&before[0].stat.stx_btime, &after[0].stat.stx_btime))
        return difference("%s: the birth time changed on the mount", what);
    // The host's clock is coarse: a read right after a change can leave its atime as old as the change, and
    // tell again.
    bool fresh = now_ns() - ns_of(&after[1].stat.stx_atime) < TICK_NS;
    if (a[0] && !a[1] && !fresh && !read_would_tell(&before[0].stat))
        return access_difference(difference("%s: atime changed on the mount only", what));
    if (S_ISDIR(after[0].stat.stx_mode) && a[1] && !a[0] && read_would_tell(&before[0].stat) &&
        near_now(&after[1].stat.stx_atime))
        return access_difference(difference("%s: atime changed on the host only", what));
    return NULL;
}

static bool same_inode(const struct look *a, const struct look *b)
{
    return a->error == 0 && b->error == 0 && a->stat.stx_ino == b->stat.stx_ino &&
           ns_of(&a->stat.stx_btime) == ns_of(&b->stat.stx_btime);
}

const char *looks_differ(const struct op *op, const struct looks *ours, const struct looks *theirs,
                         const struct looks *ours_before, const struct looks *theirs_before)
{
    char path[STRESS_PATH_MAX], what[STRESS_PATH_MAX + 40];
    for (unsigned i = 0; i < WATCHES; i++) {
        const struct look *a = &ours->at[i], *b = &theirs->at[i];
        int flags = 0;
        if (i >= 6)
            snprintf(what, sizeof(what), "slot %u", i - 6);
        else if (watch(op, i, path, &flags))
            snprintf(what, sizeof(what), "%s(%.580s)", flags ? "lstat" : "stat", path);
        if (a->error != b->error)
            return difference("%s: %s on the mount, %s on the host", what, strerrorname_np(a->error),
                              strerrorname_np(b->error));
        if (a->error != 0)
            continue;
        const char *differs = stat_differs(&a->stat, &b->stat, what);
        if (differs != NULL)
            return differs;
        if (ours_before != NULL && same_inode(&ours_before->at[i], a) &&
            same_inode(&theirs_before->at[i], b)) {
            differs = which_moved(op, (struct look[]){ours_before->at[i], theirs_before->at[i]},
                                  (struct look[]){*a, *b}, what);
            if (differs != NULL)
                return differs;
        }
    }
    return NULL;
}

// --- contents ---

static uint64_t digest_xattrs(int fd)
{
    static char names[XATTR_MAX], value[XATTR_MAX];
    ssize_t n = flistxattr(fd, names, sizeof(names));
    if (n < 0)
        return errno == EOPNOTSUPP ? 0 : (uint64_t)-errno;
    uint64_t sum = 0;
    for (char *name = names; name < names + n; name += strlen(name) + 1) {
        ssize_t size = fgetxattr(fd, name, value, sizeof(value));
        uint64_t digest = digest_add((uint64_t)size, name, strlen(name));
        sum += size > 0 ? digest_add(digest, value, (size_t)size) : digest;
    }
    return sum;
}

// Of a regular file or directory; of anything else nothing.
static struct content content_of(int fd)
{
    struct stat stat;
    struct content content = {0};
    if (fstat(fd, &stat) < 0)
        content.error = errno;
    else if (S_ISREG(stat.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY)
        content.data = digest_file(fd);
    else if (S_ISDIR(stat.st_mode))
        content.data = digest_directory(fd);
    if (content.error == 0)
        content.xattrs = digest_xattrs(fd);
    return content;
}

struct content content_at(int top, const char *path)
{
    struct stat stat;
    if (fstatat(top, path, &stat, 0) < 0)
        return (struct content){.error = errno};
    if (!S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode))
        return (struct content){0};
    int fd = openat(top, path, O_RDONLY | O_NOATIME | O_NONBLOCK);
    if (fd < 0)
        return (struct content){.error = errno};
    struct content content = content_of(fd);
    close(fd);
    return content;
}

const char *content_differs(struct content ours, struct content theirs, const char *what)
{
    if (blurred && ours.error == 0 && ours.data != 0) {
        ours.data ^= 1;
        blurred = false;
    }
    if (ours.error != theirs.error)
        return difference("reading %s: %s on the mount, %s on the host", what, strerrorname_np(ours.error),
                          strerrorname_np(theirs.error));
    if (ours.data != theirs.data)
        return difference("%s: other content (digest %llx on the mount, %llx on the host)", what,
                          (unsigned long long)ours.data, (unsigned long long)theirs.data);
    if (ours.xattrs != theirs.xattrs)
        return difference("%s: other extended attributes", what);
    return NULL;
}

const char *contents_differ(const struct op *op, const struct side *ours, const struct side *theirs,
                            unsigned through)
{
    char path[STRESS_PATH_MAX];
    int flags;
    const char *differs = NULL;
    for (unsigned i = 0; i < 6 && differs == NULL; i++)
        if (watch(op, i, path, &flags) && flags == 0)
            differs = content_differs(content_at(ours->tops[through], path),
                                      content_at(theirs->tops[through], path), path);
    for (unsigned i = 0; i < SLOTS && differs == NULL; i++)
        if (ours->slots[i] >= 0 && theirs->slots[i] >= 0 && !(ours->enforced && i < ENFORCED_SLOTS))
            differs = content_differs(content_of(ours->slots[i]), content_of(theirs->slots[i]), "a slot");
    return differs;
}
