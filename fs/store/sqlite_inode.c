// SPDX-License-Identifier: Apache-2.0
// Inode rows. The counts of inodes and bytes are kept in step: those of the store in memory, and the commit
// writes them; those of a quota in its row. Owner thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include <errno.h>

#define NSEC_MAX 999999999

static bool mode_possible(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return mode <= 0177777;
    default:
        return false;
    }
}

static struct fs_time time_from_row(sqlite3_stmt *statement, int column, bool *damaged)
{
    return (struct fs_time){.sec = db_integer(statement, column, INT64_MIN, INT64_MAX, damaged),
                            .nsec = (uint32_t)db_integer(statement, column + 1, 0, NSEC_MAX, damaged)};
}

// Without a data file the bytes lie in the database, and what is past them is a hole; the column after that
// of the data file tells how many they are.
static int blocks_of(struct engine *engine, sqlite3_stmt *statement, int column, const struct fs_attr *attr,
                     uint64_t *ret_blocks)
{
    bool damaged = false;
    uint64_t first = 0, later = 0;
    int result = 0;
    if (sqlite3_column_type(statement, column) != SQLITE_NULL)
        result =
            datafile_blocks(engine, (uint64_t)db_integer(statement, column, 1, INT64_MAX, &damaged), &first);
    else if (sqlite3_column_type(statement, column + 1) != SQLITE_NULL)
        first = ((uint64_t)db_integer(statement, column + 1, 0, INLINE_SIZE_MAX, &damaged) + 511) / 512;
    if (result == 0 && attr->size > SEGMENT_SIZE)
        result = place_later_blocks(engine, attr->ino, &later);
    if (result < 0 || damaged)
        return damaged ? -EUCLEAN : result;
    *ret_blocks = first + later;
    return 0;
}

int inode_from_row(struct engine *engine, sqlite3_stmt *statement, int first, struct store_inode *ret_inode)
{
    bool damaged = false;
    struct store_inode inode = {
        .attr.ino = (fs_ino)db_integer(statement, first, 1, INT64_MAX, &damaged),
        .attr.mode = (uint32_t)db_integer(statement, first + 1, 0, 0177777, &damaged),
        .attr.nlink = (uint32_t)db_integer(statement, first + 2, 0, UINT32_MAX, &damaged),
        .attr.uid = (uint32_t)db_integer(statement, first + 3, 0, UINT32_MAX, &damaged),
        .attr.gid = (uint32_t)db_integer(statement, first + 4, 0, UINT32_MAX, &damaged),
        .attr.rdev = (uint32_t)db_integer(statement, first + 5, 0, UINT32_MAX, &damaged),
        .attr.size = (uint64_t)db_integer(statement, first + 6, 0, FS_FILE_SIZE_MAX, &damaged),
        .parent = (fs_ino)db_integer(statement, first + 7, 0, INT64_MAX, &damaged),
        .flags = (uint32_t)db_integer(statement, first + 8, 0, UINT32_MAX, &damaged),
        .attr.atime = time_from_row(statement, first + 9, &damaged),
        .attr.mtime = time_from_row(statement, first + 11, &damaged),
        .attr.ctime = time_from_row(statement, first + 13, &damaged),
        .attr.btime = time_from_row(statement, first + 15, &damaged),
        .quota = (fs_ino)db_integer(statement, first + 17, 0, INT64_MAX, &damaged),
    };
    if (damaged || !mode_possible(inode.attr.mode))
        return -EUCLEAN;
    int result = blocks_of(engine, statement, first + INODE_N_COLUMNS, &inode.attr, &inode.attr.blocks);
    if (result == 0)
        *ret_inode = inode;
    return result;
}

int engine_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_INODE_GET, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -ENOENT;
    result = inode_from_row(engine, statement, 0, ret_inode);
    db_done(statement);
    return result;
}

int inode_charge(struct engine *engine, fs_ino ino, struct inode_charge *ret_charge)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_INODE_SIZE, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -ENOENT;
    bool damaged = false;
    struct inode_charge charge = {
        .mode = (uint32_t)db_integer(statement, 0, 0, 0177777, &damaged),
        .size = (uint64_t)db_integer(statement, 1, 0, FS_FILE_SIZE_MAX, &damaged),
        .flags = (uint32_t)db_integer(statement, 2, 0, UINT32_MAX, &damaged),
        .quota = (fs_ino)db_integer(statement, 3, 0, INT64_MAX, &damaged),
    };
    db_done(statement);
    if (damaged)
        return -EUCLEAN;
    *ret_charge = charge;
    return 0;
}

static void bind_time(sqlite3_stmt *statement, int index, struct fs_time time)
{
    sqlite3_bind_int64(statement, index, time.sec);
    sqlite3_bind_int64(statement, index + 1, time.nsec);
}

static int write_row(struct engine *engine, enum statement_id id, const struct store_inode *inode)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, id, &result);
    if (!statement)
        return result;
    const struct fs_attr *attr = &inode->attr;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)attr->ino);
    sqlite3_bind_int64(statement, 2, attr->mode);
    sqlite3_bind_int64(statement, 3, attr->nlink);
    sqlite3_bind_int64(statement, 4, attr->uid);
    sqlite3_bind_int64(statement, 5, attr->gid);
    sqlite3_bind_int64(statement, 6, attr->rdev);
    sqlite3_bind_int64(statement, 7, (sqlite3_int64)attr->size);
    sqlite3_bind_int64(statement, 8, (sqlite3_int64)inode->parent);
    sqlite3_bind_int64(statement, 9, inode->flags);
    bind_time(statement, 10, attr->atime);
    bind_time(statement, 12, attr->mtime);
    bind_time(statement, 14, attr->ctime);
    bind_time(statement, 16, attr->btime);
    sqlite3_bind_int64(statement, 18, (sqlite3_int64)inode->quota);
    return db_run(engine, statement);
}

// What a file counts for in the sum of bytes.
static uint64_t counted_bytes(uint32_t mode, uint64_t size)
{
    return S_ISREG(mode) ? size : 0;
}

// From what was counted to what is; NULL: nothing. The counts are modulo 2^64.
static int count(struct engine *engine, const struct inode_charge *before, const struct inode_charge *now)
{
    static const struct inode_charge nothing = {0};
    uint64_t n_before = before != NULL, n_now = now != NULL;
    before = before ? before : &nothing;
    now = now ? now : &nothing;
    uint64_t bytes_before = counted_bytes(before->mode, before->size),
             bytes_now = counted_bytes(now->mode, now->size);
    int result = 0;
    if (before->quota == now->quota) {
        result = quota_charge(engine, now->quota, bytes_now - bytes_before, n_now - n_before);
    } else {
        result = quota_charge(engine, before->quota, 0 - bytes_before, 0 - n_before);
        if (result == 0)
            result = quota_charge(engine, now->quota, bytes_now, n_now);
    }
    if (result < 0)
        return result;
    engine->usage.inodes += n_now - n_before;
    engine->usage.bytes += bytes_now - bytes_before;
    return 0;
}

int engine_inode_put(struct store *store, const struct store_inode *inode)
{
    struct engine *engine = engine_of(store);
    int result = engine_writable(engine);
    if (result < 0)
        return result;
    struct inode_charge before,
        now = {.mode = inode->attr.mode, .size = inode->attr.size, .quota = inode->quota};
    int known = inode_charge(engine, inode->attr.ino, &before);
    if (known < 0 && known != -ENOENT)
        return known;
    if (known == -ENOENT && engine->scarce)
        return -ENOSPC;
    result = write_row(engine, known == 0 ? ST_INODE_UPDATE : ST_INODE_INSERT, inode);
    return result < 0 ? result : count(engine, known == 0 ? &before : NULL, &now);
}

int engine_inode_remove(struct store *store, fs_ino ino)
{
    struct engine *engine = engine_of(store);
    struct inode_charge before;
    int result = engine_writable(engine);
    if (result == 0)
        result = inode_charge(engine, ino, &before);
    if (result == 0 && (before.flags & STORE_XATTRS))
        result = xattr_remove_all(engine, ino);
    if (result == 0 && (S_ISREG(before.mode) || S_ISLNK(before.mode)))
        result = place_drop_all(engine, ino, before.size);
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_INODE_DELETE, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    result = db_run(engine, statement);
    return result < 0 ? result : count(engine, &before, NULL);
}

int inode_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max)
{
    struct engine *engine = engine_of(store);
    int result = engine->broken;
    sqlite3_stmt *statement = result == 0 ? db_statement(engine, ST_ORPHANS, &result) : NULL;
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)after);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)max);
    int n = 0;
    bool damaged = false;
    while ((result = db_step(engine, statement)) > 0)
        ret_inos[n++] = (fs_ino)db_integer(statement, 0, 1, INT64_MAX, &damaged);
    if (damaged)
        return -EUCLEAN;
    return result < 0 ? result : n;
}
