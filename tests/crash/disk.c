// SPDX-License-Identifier: Apache-2.0
// See disk.h. One log under one lock, since the store's worker calls too. Invariant: a file is known by its
// host inode number as long as the recording lasts; -shm files are not recorded, since nothing of them
// survives a process. The C library's fortified headers would define some of these functions inline.
#undef _FORTIFY_SOURCE
#include "tests/crash/disk.h"
#include "fs/base/check.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR    512u
#define FILES_MAX 4096u
#define NAME_ROOM 64u

enum op_kind { OP_CREATE, OP_UNLINK, OP_WRITE, OP_SIZE, OP_ZERO, OP_SYNC, OP_SYNC_ALL };

struct op {
    enum op_kind kind;
    unsigned file, directory; // indices
    char name[NAME_ROOM];
    uint64_t offset, n;
    uint8_t *bytes; // owned
};

struct file {
    ino_t ino;
    bool is_directory;
    char last_name[NAME_ROOM]; // for lies
    uint8_t *base;             // contents at the start, owned
    size_t base_size;
    int base_directory; // where it was at the start, or -1
};

static struct {
    pthread_mutex_t lock; // of the log, the files and what is to fail
    atomic_bool on;
    enum disk_lie lie, recovery_lie;
    dev_t device;
    char directory[PATH_MAX];
    struct file files[FILES_MAX];
    unsigned n_files;
    struct op *ops; // owned
    size_t n, room;
    size_t fail_at;
    int fail_error;
    atomic_bool sync_failed;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

// --- the C library's own ---

#define REAL(type, name, ...)                      \
    static type (*real)(__VA_ARGS__);              \
    if (!real) {                                   \
        *(void **)&real = dlsym(RTLD_NEXT, #name); \
        fs_assert(real);                           \
    }

// --- files ---

static int file_find(ino_t ino)
{
    for (unsigned i = 0; i < disk.n_files; i++) {
        if (disk.files[i].ino == ino)
            return (int)i;
    }
    return -1;
}

static unsigned file_of(ino_t ino, bool is_directory)
{
    int found = file_find(ino);
    if (found >= 0)
        return (unsigned)found;
    fs_assert(disk.n_files < FILES_MAX);
    disk.files[disk.n_files] = (struct file){.ino = ino, .is_directory = is_directory, .base_directory = -1};
    return disk.n_files++;
}

// --- the log ---

static struct op *op_add(enum op_kind kind)
{
    if (disk.n == disk.room) {
        disk.room = disk.room ? 2 * disk.room : 1024;
        disk.ops = realloc(disk.ops, disk.room * sizeof(*disk.ops));
        fs_assert(disk.ops);
    }
    struct op *op = &disk.ops[disk.n++];
    *op = (struct op){.kind = kind};
    return op;
}

// Does the call on this descriptor belong to the log? Then the lock is held.
static bool enter(int fd, struct stat *ret_status)
{
    if (!disk.on || fstat(fd, ret_status) < 0 || ret_status->st_dev != disk.device)
        return false;
    pthread_mutex_lock(&disk.lock);
    int file = file_find(ret_status->st_ino);
    if (file < 0) { // never seen being made: -shm
        pthread_mutex_unlock(&disk.lock);
        return false;
    }
    return true;
}

static void leave(void)
{
    pthread_mutex_unlock(&disk.lock);
}

// Is it this call that shall fail? Counted for files below the directory only.
static bool fails(int fd)
{
    struct stat status;
    if (disk.device == 0 || fstat(fd, &status) < 0 || status.st_dev != disk.device)
        return false;
    pthread_mutex_lock(&disk.lock);
    bool fails_now = file_find(status.st_ino) >= 0 && disk.fail_at && --disk.fail_at == 0;
    pthread_mutex_unlock(&disk.lock);
    return fails_now;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// The directory that the path's last component is in; false when it is not of the recording.
static bool directory_of(int dir_fd, const char *path, unsigned *ret_directory)
{
    char parent[PATH_MAX];
    struct stat status;
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    if (fstatat(dir_fd, slash ? parent : ".", &status, 0) < 0 || status.st_dev != disk.device ||
        file_find(status.st_ino) < 0)
        return false;
    *ret_directory = (unsigned)file_find(status.st_ino);
    return true;
}

static bool is_unrecorded(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, "-shm") == 0;
}

static void record_entry(int dir_fd, const char *path, enum op_kind kind, ino_t ino, bool is_directory)
{
    unsigned directory;
    if (!disk.on || is_unrecorded(path))
        return;
    pthread_mutex_lock(&disk.lock);
    if (directory_of(dir_fd, path, &directory)) {
        unsigned file = kind == OP_CREATE ? file_of(ino, is_directory) : 0;
        struct op *op = op_add(kind);
        op->directory = directory;
        op->file = file;
        snprintf(op->name, sizeof(op->name), "%s", base_name(path));
        if (kind == OP_CREATE)
            snprintf(disk.files[file].last_name, NAME_ROOM, "%s", op->name);
    }
    pthread_mutex_unlock(&disk.lock);
}

// --- making ---

// exists: before the call.
static void record_open(int dir_fd, const char *path, int flags, bool existed, int fd)
{
    struct stat status;
    if (fd >= 0 && (flags & O_CREAT) && !existed && fstat(fd, &status) == 0)
        record_entry(dir_fd, path, OP_CREATE, status.st_ino, false);
}

static int open_at(int dir_fd, const char *path, int flags, mode_t mode)
{
    REAL(int, openat64, int, const char *, int, ...)
    struct stat status;
    bool existed = !disk.on || fstatat(dir_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = real(dir_fd, path, flags, mode);
    record_open(dir_fd, path, flags, existed, fd);
    return fd;
}

int openat64(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_at(dir_fd, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_at(AT_FDCWD, path, flags, mode);
}

int mkdirat(int dir_fd, const char *path, mode_t mode)
{
    REAL(int, mkdirat, int, const char *, mode_t)
    struct stat status;
    int result = real(dir_fd, path, mode);
    if (result == 0 && fstatat(dir_fd, path, &status, 0) == 0)
        record_entry(dir_fd, path, OP_CREATE, status.st_ino, true);
    return result;
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    REAL(int, unlinkat, int, const char *, int)
    int result = real(dir_fd, path, flags);
    if (result == 0)
        record_entry(dir_fd, path, OP_UNLINK, 0, false);
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

// --- writing ---

static void record_write(int fd, const void *bytes, size_t n, uint64_t offset)
{
    struct stat status;
    if (n == 0 || !enter(fd, &status))
        return;
    struct op *op = op_add(OP_WRITE);
    op->file = (unsigned)file_find(status.st_ino);
    op->offset = offset;
    op->n = n;
    op->bytes = malloc(n);
    fs_assert(op->bytes);
    memcpy(op->bytes, bytes, n);
    leave();
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t offset)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t)
    if (fails(fd)) {
        if (disk.fail_error) {
            errno = disk.fail_error;
            return -1;
        }
        n = n > 1 ? n / 2 : n;
    }
    ssize_t written = real(fd, bytes, n, offset);
    if (written > 0)
        record_write(fd, bytes, (size_t)written, (uint64_t)offset);
    return written;
}

ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t n, unsigned flags)
{
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned)
    off64_t at = *out_offset;
    ssize_t copied = real(in, in_offset, out, out_offset, n, flags);
    uint8_t *bytes = disk.on && copied > 0 ? malloc((size_t)copied) : NULL;
    if (bytes && pread(out, bytes, (size_t)copied, at) == copied)
        record_write(out, bytes, (size_t)copied, (uint64_t)at);
    free(bytes);
    return copied;
}

static void record_range(int fd, enum op_kind kind, uint64_t offset, uint64_t n)
{
    struct stat status;
    if (!enter(fd, &status))
        return;
    struct op *op = op_add(kind);
    op->file = (unsigned)file_find(status.st_ino);
    op->offset = offset;
    op->n = n;
    leave();
}

int ftruncate64(int fd, off_t size)
{
    REAL(int, ftruncate64, int, off_t)
    if (disk.recovery_lie == DISK_CUTS_NOT_MADE)
        return 0;
    if (fails(fd)) {
        errno = disk.fail_error ? disk.fail_error : EIO;
        return -1;
    }
    int result = real(fd, size);
    if (result == 0)
        record_range(fd, OP_SIZE, (uint64_t)size, 0);
    return result;
}

static void record_allocation(int fd, int mode, off_t offset, off_t n)
{
    struct stat status;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        record_range(fd, OP_ZERO, (uint64_t)offset, (uint64_t)n);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && fstat(fd, &status) == 0)
        record_range(fd, OP_SIZE, (uint64_t)status.st_size, 0);
}

int fallocate64(int fd, int mode, off_t offset, off_t n)
{
    REAL(int, fallocate64, int, int, off_t, off_t)
    if (fails(fd)) {
        errno = disk.fail_error ? disk.fail_error : EIO;
        return -1;
    }
    int result = real(fd, mode, offset, n);
    if (result == 0)
        record_allocation(fd, mode, offset, n);
    return result;
}

// The reserve is asked for in this way: its room is not taken, which would cost every crash 16 MiB of zeros.
int posix_fallocate64(int fd, off_t offset, off_t n)
{
    struct stat status;
    if (fails(fd))
        return disk.fail_error ? disk.fail_error : EIO;
    if (fstat(fd, &status) < 0 || (status.st_size < offset + n && ftruncate(fd, offset + n) < 0))
        return errno;
    return 0;
}

// --- syncing ---

static bool is_lie(const struct file *file)
{
    size_t n = strlen(file->last_name);
    bool is_log = n > 4 && strcmp(file->last_name + n - 4, "-wal") == 0;
    bool is_numbers = strcmp(file->last_name, "numbers") == 0;
    bool is_database = strncmp(file->last_name, "meta.db", 7) == 0;
    switch (disk.lie) {
    case DISK_LOG_NOT_SYNCED:
        return is_log;
    case DISK_DATA_NOT_SYNCED:
        return !file->is_directory && !is_log && !is_numbers && !is_database;
    case DISK_DIRECTORY_NOT_SYNCED:
        return file->is_directory;
    case DISK_NUMBERS_NOT_SYNCED:
        return is_numbers;
    default:
        return false;
    }
}

static int fail_sync(void)
{
    disk.sync_failed = true;
    errno = disk.fail_error ? disk.fail_error : EIO;
    return -1;
}

// Not carried out: nothing here is on a disk that it would help.
static int sync_file(int fd)
{
    struct stat status;
    if (fails(fd))
        return fail_sync();
    if (!enter(fd, &status))
        return 0;
    unsigned file = (unsigned)file_find(status.st_ino);
    if (!is_lie(&disk.files[file]))
        op_add(OP_SYNC)->file = file;
    leave();
    return 0;
}

int fdatasync(int fd)
{
    return sync_file(fd);
}

int fsync(int fd)
{
    return sync_file(fd);
}

int syncfs(int fd)
{
    struct stat status;
    if (fails(fd))
        return fail_sync();
    if (!enter(fd, &status))
        return 0;
    // A lie about some files is a lie about them here, too.
    for (unsigned i = 0; i < disk.n_files; i++) {
        if (!is_lie(&disk.files[i]))
            op_add(OP_SYNC)->file = i;
    }
    leave();
    return 0;
}

void disk_lie_in_recovery(enum disk_lie lie)
{
    disk.recovery_lie = lie;
}

void disk_fail(size_t n, int error)
{
    pthread_mutex_lock(&disk.lock);
    disk.sync_failed = false;
    disk.fail_at = n;
    disk.fail_error = error;
    pthread_mutex_unlock(&disk.lock);
}

bool disk_fault_happened(void)
{
    pthread_mutex_lock(&disk.lock);
    bool happened = disk.fail_at == 0;
    pthread_mutex_unlock(&disk.lock);
    return happened;
}

bool disk_sync_failed(void)
{
    return disk.sync_failed;
}

// --- the start ---

static void load_base(struct file *file, const char *path, off_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    fs_assert(fd >= 0);
    file->base = calloc(1, (size_t)size + 1);
    file->base_size = (size_t)size;
    fs_assert(file->base && pread(fd, file->base, (size_t)size, 0) == size);
    close(fd);
}

static void scan(const char *path, unsigned directory)
{
    DIR *stream = opendir(path);
    fs_assert(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        char child[PATH_MAX];
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            is_unrecorded(entry->d_name))
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        fs_assert(stat(child, &status) == 0 && strlen(entry->d_name) < NAME_ROOM);
        unsigned index = file_of(status.st_ino, S_ISDIR(status.st_mode));
        struct file *file = &disk.files[index];
        snprintf(file->last_name, NAME_ROOM, "%s", entry->d_name);
        file->base_directory = (int)directory;
        if (file->is_directory)
            scan(child, index);
        else
            load_base(file, child, status.st_size);
    }
    closedir(stream);
}

void disk_record(const char *directory, enum disk_lie lie)
{
    struct stat status;
    fs_assert(stat(directory, &status) == 0);
    disk.device = status.st_dev;
    disk.lie = lie;
    snprintf(disk.directory, sizeof(disk.directory), "%s", directory);
    scan(directory, file_of(status.st_ino, true));
    disk.on = true;
}

void disk_stop(void)
{
    disk.on = false;
}

void disk_forget(void)
{
    for (size_t i = 0; i < disk.n; i++)
        free(disk.ops[i].bytes);
    for (unsigned i = 0; i < disk.n_files; i++)
        free(disk.files[i].base);
    free(disk.ops);
    disk.ops = NULL;
    disk.n = disk.room = disk.n_files = 0;
    disk.device = 0;
}

size_t disk_log_length(void)
{
    pthread_mutex_lock(&disk.lock);
    size_t n = disk.n;
    pthread_mutex_unlock(&disk.lock);
    return n;
}

// --- the end ---

struct image {
    uint8_t *bytes; // owned
    size_t size, room;
};

struct entry {
    unsigned directory, file;
    char name[NAME_ROOM];
    bool there;
};

struct remains {
    struct image images[FILES_MAX];
    struct entry *entries; // owned
    size_t n_entries, room;
    size_t synced[FILES_MAX]; // position of the last sync
};

static void image_resize(struct image *image, size_t size)
{
    if (size > image->room) {
        size_t room = MAX(size, 2 * image->room);
        image->bytes = realloc(image->bytes, room);
        fs_assert(image->bytes);
        image->room = room;
    }
    if (size > image->size)
        memset(image->bytes + image->size, 0, size - image->size);
    image->size = size;
}

static void put_entry(struct remains *remains, unsigned directory, const char *name, unsigned file,
                      bool there)
{
    for (size_t i = 0; i < remains->n_entries; i++) {
        struct entry *entry = &remains->entries[i];
        if (entry->directory == directory && strcmp(entry->name, name) == 0) {
            entry->file = file;
            entry->there = there;
            return;
        }
    }
    if (remains->n_entries == remains->room) {
        remains->room = remains->room ? 2 * remains->room : 64;
        remains->entries = realloc(remains->entries, remains->room * sizeof(*remains->entries));
        fs_assert(remains->entries);
    }
    struct entry *entry = &remains->entries[remains->n_entries++];
    *entry = (struct entry){.directory = directory, .file = file, .there = there};
    snprintf(entry->name, sizeof(entry->name), "%s", name);
}

static void apply_write(struct image *image, const struct op *op, bool torn, uint64_t (*random)(uint64_t n))
{
    image_resize(image, MAX(image->size, (size_t)(op->offset + op->n)));
    for (uint64_t at = 0; at < op->n;) {
        uint64_t step = MIN(op->n - at, SECTOR - (op->offset + at) % SECTOR);
        if (!torn || random(2))
            memcpy(image->bytes + op->offset + at, op->bytes + at, step);
        at += step;
    }
}

static void apply(struct remains *remains, const struct op *op, bool torn, uint64_t (*random)(uint64_t n))
{
    struct image *image = &remains->images[op->file];
    switch (op->kind) {
    case OP_CREATE:
        put_entry(remains, op->directory, op->name, op->file, true);
        break;
    case OP_UNLINK:
        put_entry(remains, op->directory, op->name, 0, false);
        break;
    case OP_WRITE:
        apply_write(image, op, torn, random);
        break;
    case OP_SIZE:
        image_resize(image, (size_t)op->offset);
        break;
    case OP_ZERO:
        if (op->offset < image->size)
            memset(image->bytes + op->offset, 0, MIN(op->n, image->size - op->offset));
        break;
    case OP_SYNC:
    case OP_SYNC_ALL:
        break;
    }
}

static void begin_with_base(struct remains *remains)
{
    for (unsigned i = 0; i < disk.n_files; i++) {
        const struct file *file = &disk.files[i];
        if (file->base_directory < 0)
            continue;
        put_entry(remains, (unsigned)file->base_directory, file->last_name, i, true);
        image_resize(&remains->images[i], file->base_size);
        if (file->base_size)
            memcpy(remains->images[i].bytes, file->base, file->base_size);
    }
}

static void write_tree(const struct remains *remains, const char *path, unsigned directory)
{
    fs_assert(mkdir(path, 0700) == 0);
    for (size_t i = 0; i < remains->n_entries; i++) {
        const struct entry *entry = &remains->entries[i];
        char child[PATH_MAX];
        if (!entry->there || entry->directory != directory)
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, entry->name);
        if (disk.files[entry->file].is_directory) {
            write_tree(remains, child, entry->file);
            continue;
        }
        const struct image *image = &remains->images[entry->file];
        int fd = open(child, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        // The reserve is all zeros, and large.
        bool zeros = strcmp(entry->name, "reserve") == 0;
        fs_assert(fd >= 0 && ftruncate(fd, (off_t)image->size) == 0);
        fs_assert(zeros || image->size == 0 ||
                  pwrite(fd, image->bytes, image->size, 0) == (ssize_t)image->size);
        close(fd);
    }
}

// A directory's own entry is kept with it: only entries in it are ever in doubt.
void disk_materialize(const char *directory, size_t at, enum disk_policy policy,
                      uint64_t (*random)(uint64_t n))
{
    struct remains *remains = calloc(1, sizeof(*remains));
    fs_assert(remains && !disk.on && at <= disk.n);
    for (size_t i = 0; i < at; i++) {
        if (disk.ops[i].kind == OP_SYNC)
            remains->synced[disk.ops[i].file] = i;
    }
    begin_with_base(remains);
    for (size_t i = 0; i < at; i++) {
        const struct op *op = &disk.ops[i];
        bool names = op->kind == OP_CREATE || op->kind == OP_UNLINK;
        bool safe = policy == DISK_KEEP_ALL || i < remains->synced[names ? op->directory : op->file];
        uint64_t fate = safe ? 0 : policy == DISK_LOSE_ALL ? 1 : random(3);
        if (fate != 1)
            apply(remains, op, fate == 2, random);
    }
    write_tree(remains, directory, 0);
    for (unsigned i = 0; i < disk.n_files; i++)
        free(remains->images[i].bytes);
    free(remains->entries);
    free(remains);
}
