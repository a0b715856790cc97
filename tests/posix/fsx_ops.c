// SPDX-License-Identifier: Apache-2.0
// What the file exerciser does. An operation that only reads (read, mapped read, SEEK_HOLE) holds what the
// mount said against the host's file by itself; what changes the file is applied to the host in the plainest
// way that has the same effect.
#include "tests/posix/fsx.h"
#include "tests/posix/history.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static uint8_t bytes[FILE_MAX + PAGE], host_bytes[FILE_MAX + PAGE];

// A pattern that differs from its neighbours, so that bytes in a wrong place show.
static void fill_bytes(const struct fsx_op *op)
{
    for (uint32_t i = 0; i < op->length; i++)
        bytes[i] = (uint8_t)(op->fill + (op->offset + i) / 251 + i % 13);
}

static int said(ssize_t result)
{
    return result < 0 ? -errno : 0;
}

static void compare_range(const struct fsx_op *op, const uint8_t *ours, ssize_t n, const struct fsx *f)
{
    ssize_t expected = pread(f->host, host_bytes, op->length, op->offset);
    if (n != expected)
        history_differ("%zd bytes of the mount, %zd of the host", n, expected);
    for (ssize_t i = 0; i < n; i++)
        if (ours[i] != host_bytes[i])
            history_differ("at offset %zd it reads %#x, the host %#x", (ssize_t)op->offset + i, ours[i],
                           host_bytes[i]);
}

static int nothing(struct fsx *f, struct fsx_op *op)
{
    (void)f, (void)op;
    return 0;
}

// --- reads and writes ---

static int read_range(struct fsx *f, struct fsx_op *op)
{
    ssize_t n = pread(f->fds[op->through], bytes, op->length, op->offset);
    if (n >= 0)
        compare_range(op, bytes, n, f);
    return said(n);
}

static int write_parts(int fd, const struct fsx_op *op)
{
    uint32_t third = op->length / 3;
    struct iovec parts[] = {
        {bytes, third}, {bytes + third, third}, {bytes + 2 * third, op->length - 2 * third}};
    ssize_t n =
        op->choice & 1 ? pwritev(fd, parts, 3, op->offset) : pwrite(fd, bytes, op->length, op->offset);
    if (n >= 0 && n != (ssize_t)op->length)
        history_differ("a write of %zd bytes", n);
    return said(n);
}

static int write_range(struct fsx *f, struct fsx_op *op)
{
    fill_bytes(op);
    return write_parts(f->fds[op->through], op);
}

static int write_host(struct fsx *f, struct fsx_op *op)
{
    fill_bytes(op);
    return write_parts(f->host, op);
}

// Through a descriptor opened so, or through one that is told so later.
static int append(struct fsx *f, struct fsx_op *op)
{
    fill_bytes(op);
    int fd = fsx_open(f, op->through, op->choice & 1 ? O_WRONLY | O_APPEND : O_WRONLY);
    if (fd < 0)
        return -errno;
    if (!(op->choice & 1))
        fcntl(fd, F_SETFL, O_APPEND);
    ssize_t n = write(fd, bytes, op->length);
    int result = said(n);
    if (n >= 0 && n != (ssize_t)op->length)
        history_differ("an append of %zd bytes", n);
    close(fd);
    return result;
}

static int append_host(struct fsx *f, struct fsx_op *op)
{
    fill_bytes(op);
    return said(pwrite(f->host, bytes, op->length, lseek(f->host, 0, SEEK_END)));
}

static int truncate_mount(struct fsx *f, struct fsx_op *op)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/file", f->directories[op->through]);
    return said(op->choice & 1 ? truncate(path, op->offset) : ftruncate(f->fds[op->through], op->offset));
}

static int truncate_host(struct fsx *f, struct fsx_op *op)
{
    return said(ftruncate(f->host, op->offset));
}

// --- descriptors ---

static int reopen(struct fsx *f, struct fsx_op *op)
{
    static const int flags[] = {0, 0, O_SYNC, O_DSYNC, O_DIRECT, O_NOATIME};
    fsx_reopen(f, op->through, O_RDWR | flags[op->choice % 6]);
    return 0;
}

static int sync_mount(struct fsx *f, struct fsx_op *op)
{
    int fd = f->fds[op->through];
    switch (op->choice % 4) {
    case 0:
        return said(fsync(fd));
    case 1:
        return said(fdatasync(fd));
    case 2:
        return said(sync_file_range(fd, op->offset, op->length, SYNC_FILE_RANGE_WRITE));
    default:
        return -posix_fadvise(fd, op->offset, op->length, POSIX_FADV_DONTNEED);
    }
}

// --- mappings, always through a file opened anew ---

// From the page of op's offset to its end. MAP_FAILED: errno.
static uint8_t *map(const struct fsx *f, const struct fsx_op *op, int *ret_fd, int protection)
{
    int fd = fsx_open(f, op->through, protection & PROT_WRITE ? O_RDWR : O_RDONLY);
    if (fd < 0)
        return MAP_FAILED;
    uint32_t start = op->offset - op->offset % PAGE;
    uint8_t *pages = mmap(NULL, op->offset - start + op->length, protection, MAP_SHARED, fd, start);
    if (pages == MAP_FAILED)
        close(fd);
    else
        *ret_fd = fd;
    return pages;
}

static void unmap(uint8_t *pages, const struct fsx_op *op, int fd)
{
    munmap(pages, op->offset % PAGE + op->length);
    close(fd);
}

static int read_mapped(struct fsx *f, struct fsx_op *op)
{
    int fd;
    uint8_t *pages = map(f, op, &fd, PROT_READ);
    if (pages == MAP_FAILED)
        return -errno;
    memcpy(bytes, pages + op->offset % PAGE, op->length);
    compare_range(op, bytes, op->length, f);
    unmap(pages, op, fd);
    return 0;
}

// What is stored past the end of the file, in its last page, must never show.
static void store_past_the_end(uint8_t *pages, const struct fsx_op *op, int fd)
{
    struct stat stat;
    uint32_t end = op->offset % PAGE + op->length;
    if (fstat(fd, &stat) == 0 && op->offset + op->length == stat.st_size && end % PAGE != 0)
        memset(pages + end, 0xee, PAGE - end % PAGE);
}

static int write_mapped(struct fsx *f, struct fsx_op *op)
{
    int fd, result = 0;
    uint8_t *pages = map(f, op, &fd, PROT_READ | PROT_WRITE);
    if (pages == MAP_FAILED)
        return -errno;
    fill_bytes(op);
    memcpy(pages + op->offset % PAGE, bytes, op->length);
    if (op->choice & 1)
        store_past_the_end(pages, op, fd);
    if (op->choice & 2) { // a read through the same mount sees what is stored, synced or not
        static uint8_t seen[FILE_MAX];
        ssize_t n = pread(fd, seen, op->length, op->offset);
        if (n != (ssize_t)op->length || memcmp(seen, bytes, op->length) != 0)
            history_differ("a read beside the mapping does not see what was stored (%zd bytes read)", n);
    }
    if (op->choice & 4)
        result = said(msync(pages, op->offset % PAGE + op->length, MS_SYNC));
    unmap(pages, op, fd);
    return result;
}

// A mapping shows what is written beside it through the same mount.
static int write_beside_mapping(struct fsx *f, struct fsx_op *op)
{
    int fd;
    uint8_t *pages = map(f, op, &fd, PROT_READ);
    if (pages == MAP_FAILED)
        return -errno;
    const volatile uint8_t *touched = pages + op->offset % PAGE;
    for (uint32_t i = 0; i < op->length; i += PAGE)
        (void)touched[i];
    int result = write_range(f, op);
    if (result == 0 && memcmp(pages + op->offset % PAGE, bytes, op->length) != 0)
        history_differ("a mapping does not see what was written beside it");
    unmap(pages, op, fd);
    return result;
}

// --- space ---

static int allocate(struct fsx *f, struct fsx_op *op)
{
    return said(fallocate(f->fds[op->through], op->kind->mode, op->offset, op->length));
}

static int allocate_host(struct fsx *f, struct fsx_op *op)
{
    return said(fallocate(f->host, op->kind->mode, op->offset, op->length));
}

// What SEEK_DATA skips is zero; SEEK_HOLE finds an end within the file. Where a file system puts holes is its
// own affair.
static int seek(struct fsx *f, struct fsx_op *op)
{
    struct stat stat;
    int fd = f->fds[op->through];
    off_t data = lseek(fd, op->offset, SEEK_DATA), hole = lseek(fd, op->offset, SEEK_HOLE);
    if (fstat(f->host, &stat) < 0 || pread(f->host, host_bytes, FILE_MAX, 0) != stat.st_size)
        history_broken("the host's file");
    if (op->offset >= stat.st_size) {
        if (data != -1 || hole != -1)
            history_differ("at the end or past it there is data at %lld, a hole at %lld", (long long)data,
                           (long long)hole);
        return 0;
    }
    off_t zero_to = data < 0 ? stat.st_size : data;
    for (off_t i = op->offset; i < zero_to; i++)
        if (host_bytes[i] != 0)
            history_differ("SEEK_DATA %lld skips byte %lld", (long long)data, (long long)i);
    if (data >= stat.st_size || hole < op->offset || hole > stat.st_size ||
        (hole != op->offset && data != op->offset))
        history_differ("data at %lld, a hole at %lld, in %lld bytes", (long long)data, (long long)hole,
                       (long long)stat.st_size);
    return 0;
}

// From the other file, seen through either mount.
static int copy(struct fsx *f, struct fsx_op *op)
{
    off64_t from = op->from, to = op->offset;
    int source = f->donor_fds[op->choice & 1 ? op->through : (op->through + 1) % MOUNTS];
    ssize_t n = copy_file_range(source, &from, f->fds[op->through], &to, op->length, 0);
    if (n >= 0)
        op->done = (uint32_t)n;
    if (n == 0 && op->length > 0 && op->from < DONOR_SIZE)
        history_differ("nothing was copied");
    if (n == 0)
        op->moves_times = ANY_TIMES;
    return said(n);
}

static int copy_host(struct fsx *f, struct fsx_op *op)
{
    ssize_t n = pread(f->donor_host, host_bytes, op->done, op->from);
    return said(n <= 0 ? n : pwrite(f->host, host_bytes, (size_t)n, op->offset));
}

// --- the list ---

#define ALLOCATE(NAME, WEIGHT, MODE, TRAITS)                                                  \
    {                                                                                         \
        "fallocate " NAME, WEIGHT, allocate, allocate_host, ALLOCATES | (TRAITS), MODE, false \
    }

struct fsx_kind fsx_kinds[] = {
    {"read", 10, read_range, nothing, CHANGES_NOTHING, 0, false},
    {"write", 20, write_range, write_host, 0, 0, false},
    {"append", 10, append, append_host, GROWS, 0, false},
    {"truncate", 10, truncate_mount, truncate_host, TRUNCATES, 0, false},
    {"reopen", 4, reopen, nothing, CHANGES_NOTHING, 0, false},
    {"sync", 3, sync_mount, nothing, CHANGES_NOTHING, 0, false},
    {"mapped read", 8, read_mapped, nothing, WITHIN_SIZE | CHANGES_NOTHING, 0, false},
    {"mapped write", 10, write_mapped, write_host, WITHIN_SIZE, 0, false},
    {"write beside a mapping", 4, write_beside_mapping, write_host, WITHIN_SIZE, 0, false},
    {"SEEK_HOLE and SEEK_DATA", 5, seek, nothing, CHANGES_NOTHING, 0, false},
    {"copy_file_range", 6, copy, copy_host, 0, 0, false},
    ALLOCATE("", 4, 0, 0),
    ALLOCATE("KEEP_SIZE", 3, FALLOC_FL_KEEP_SIZE, 0),
    ALLOCATE("PUNCH_HOLE", 8, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0),
    ALLOCATE("ZERO_RANGE", 5, FALLOC_FL_ZERO_RANGE, 0),
    ALLOCATE("ZERO_RANGE KEEP_SIZE", 3, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0),
    ALLOCATE("COLLAPSE_RANGE", 3, FALLOC_FL_COLLAPSE_RANGE, WHOLE_PAGES),
    ALLOCATE("INSERT_RANGE", 3, FALLOC_FL_INSERT_RANGE, WHOLE_PAGES | GROWS),
};

const unsigned fsx_n_kinds = sizeof(fsx_kinds) / sizeof(fsx_kinds[0]);

void fsx_probe(struct fsx *f)
{
    for (unsigned i = 0; i < fsx_n_kinds; i++) {
        if (!(fsx_kinds[i].traits & ALLOCATES))
            continue;
        if (ftruncate(f->fds[0], 4 * PAGE) < 0 || fallocate(f->fds[0], fsx_kinds[i].mode, 0, PAGE) == 0 ||
            errno != EOPNOTSUPP)
            continue;
        fsx_kinds[i].left_out = true;
        printf("fsx: left out, since the mount answers EOPNOTSUPP: %s\n", fsx_kinds[i].name);
    }
    if (ftruncate(f->fds[0], 0) < 0)
        history_broken("truncating the file");
}

int fsx_apply_mount(struct fsx *f, struct fsx_op *op)
{
    return op->kind->mount(f, op);
}

int fsx_apply_host(struct fsx *f, struct fsx_op *op)
{
    return op->kind->host(f, op);
}
