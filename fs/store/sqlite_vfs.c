// SPDX-License-Identifier: Apache-2.0
// The VFS under the database: SQLite's own "unix-excl" (one process has the database to itself, so its locks
// and the index of its log are memory and cost no system call), whose log leaves with one write a
// transaction instead of two a page. Invariant: nothing of a committed transaction waits here, since the
// write that completes its last frame returns after all of it has been written; what waits is frames of the
// transaction under way, which nobody reads but through this file. Any thread, each with files of its own.
#include "fs/store/sqlite_vfs.h"
#include "fs/base/check.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// The log's format is SQLite's: a frame is a header, whose second word is not 0 when it commits, and a page.
#define FRAME_HEADER_SIZE  24
#define FRAME_COMMIT_FIELD 4
#define PAGE_SIZE_MAX      4096        // of our databases
#define WAITING_MAX        (96 * 1024) // the VFS below writes less than 128 KiB at once

struct wal_file {
    sqlite3_file file; // first
    sqlite3_file *below;
    uint8_t *waiting; // owned, NULL until the first frame
    int n_waiting;
    sqlite3_int64 offset; // of what waits, or where the next frame is expected
    bool page_missing;    // the last that waits is a header
    bool commits;         // and its frame is the last of a transaction
};

static struct wal_file *wal_of(sqlite3_file *file)
{
    return (struct wal_file *)file;
}

// On failure what waited is gone: SQLite undoes the transaction.
static int flush(struct wal_file *wal)
{
    int n = wal->n_waiting;
    wal->n_waiting = 0;
    wal->page_missing = wal->commits = false;
    if (n == 0)
        return SQLITE_OK;
    int result = wal->below->pMethods->xWrite(wal->below, wal->waiting, n, wal->offset);
    wal->offset += n;
    return result;
}

static int write_through(struct wal_file *wal, const void *bytes, int n, sqlite3_int64 offset)
{
    int result = flush(wal);
    if (result != SQLITE_OK)
        return result;
    wal->offset = offset + n;
    return wal->below->pMethods->xWrite(wal->below, bytes, n, offset);
}

static void hold(struct wal_file *wal, const void *bytes, int n)
{
    memcpy(wal->waiting + wal->n_waiting, bytes, (size_t)n);
    wal->n_waiting += n;
}

static int hold_header(struct wal_file *wal, const uint8_t *header)
{
    static const uint8_t no_commit[4];
    bool room = WAITING_MAX - wal->n_waiting >= FRAME_HEADER_SIZE + PAGE_SIZE_MAX;
    int result = room ? SQLITE_OK : flush(wal);
    if (result != SQLITE_OK)
        return result;
    hold(wal, header, FRAME_HEADER_SIZE);
    wal->page_missing = true;
    wal->commits = memcmp(header + FRAME_COMMIT_FIELD, no_commit, sizeof(no_commit)) != 0;
    return SQLITE_OK;
}

static int hold_page(struct wal_file *wal, const void *page, int n)
{
    hold(wal, page, n);
    wal->page_missing = false;
    return wal->commits ? flush(wal) : SQLITE_OK;
}

// Whatever does not continue what waits goes the ordinary way: other headers, pages written anew in place.
static int wal_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 offset)
{
    struct wal_file *wal = wal_of(file);
    bool next = offset == wal->offset + wal->n_waiting;
    if (next && wal->page_missing && n <= PAGE_SIZE_MAX)
        return hold_page(wal, bytes, n);
    if (!wal->waiting)
        wal->waiting = sqlite3_malloc(WAITING_MAX);
    if (next && !wal->page_missing && n == FRAME_HEADER_SIZE && wal->waiting)
        return hold_header(wal, bytes);
    return write_through(wal, bytes, n, offset);
}

static int wal_read(sqlite3_file *file, void *bytes, int n, sqlite3_int64 offset)
{
    struct wal_file *wal = wal_of(file);
    int result = offset + n > wal->offset ? flush(wal) : SQLITE_OK;
    return result == SQLITE_OK ? wal->below->pMethods->xRead(wal->below, bytes, n, offset) : result;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct wal_file *wal = wal_of(file);
    int result = flush(wal);
    return result == SQLITE_OK ? wal->below->pMethods->xTruncate(wal->below, size) : result;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    struct wal_file *wal = wal_of(file);
    int result = flush(wal);
    return result == SQLITE_OK ? wal->below->pMethods->xSync(wal->below, flags) : result;
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    struct wal_file *wal = wal_of(file);
    int result = flush(wal);
    return result == SQLITE_OK ? wal->below->pMethods->xFileSize(wal->below, ret_size) : result;
}

static int wal_control(sqlite3_file *file, int what, void *argument)
{
    sqlite3_file *below = wal_of(file)->below;
    return below->pMethods->xFileControl(below, what, argument);
}

static int wal_sector_size(sqlite3_file *file)
{
    sqlite3_file *below = wal_of(file)->below;
    return below->pMethods->xSectorSize(below);
}

static int wal_device(sqlite3_file *file)
{
    sqlite3_file *below = wal_of(file)->below;
    return below->pMethods->xDeviceCharacteristics(below);
}

// What still waits here was never committed.
static int wal_close(sqlite3_file *file)
{
    struct wal_file *wal = wal_of(file);
    sqlite3_free(wal->waiting);
    return wal->below->pMethods->xClose(wal->below);
}

static const sqlite3_io_methods wal_methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_device,
};

// --- the VFS ---

static sqlite3_vfs vfs, *vfs_below;

static int open_wal(const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct wal_file *wal = wal_of(file);
    *wal = (struct wal_file){.below = (sqlite3_file *)(wal + 1)};
    int result = vfs_below->xOpen(vfs_below, name, wal->below, flags, ret_flags);
    if (wal->below->pMethods)
        file->pMethods = &wal_methods;
    return result;
}

static int vfs_open(sqlite3_vfs *self UNUSED, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    if (flags & SQLITE_OPEN_WAL)
        return open_wal(name, file, flags, ret_flags);
    return vfs_below->xOpen(vfs_below, name, file, flags, ret_flags);
}

static void vfs_init(void)
{
    vfs_below = sqlite3_vfs_find("unix-excl");
    if (!vfs_below)
        return;
    vfs = *vfs_below;
    vfs.pNext = NULL;
    vfs.zName = VFS_NAME;
    vfs.szOsFile += (int)sizeof(struct wal_file);
    vfs.xOpen = vfs_open;
    sqlite3_vfs_register(&vfs, 0);
}

void vfs_register(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, vfs_init);
}
