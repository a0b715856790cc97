// SPDX-License-Identifier: Apache-2.0
// What an open does before anybody is served: it brings the log to disk, so that what this run sees cannot be
// rolled back any more; after a stop that was not clean, it makes the newest data files agree with the
// database; it acts on the intents that are left. Every step may be interrupted and done again. Files that
// are too long are cut when they grow (sqlite_data.c), not here: recovery costs what the last run made, not
// what the file system holds.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_engine.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

// 1: named by the database; 0: not; or an error.
static int file_is_used(struct engine *engine, uint64_t file)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_DATA_FILE_USED, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)file);
    result = db_step(engine, statement);
    if (result > 0)
        db_done(statement);
    return result;
}

static int recover_entry(struct engine *engine, const char *name)
{
    char *end;
    errno = 0;
    uint64_t file = strtoull(name, &end, 16);
    if (*name == '.' || *end != 0 || errno != 0 || file < engine->numbers.file_floor)
        return 0;
    int result = file_is_used(engine, file);
    if (result != 0)
        return MIN(result, 0);
    log_info("store-leftover", "directory=%s file=%" PRIx64, engine->directory, file);
    return datafile_unlink(engine, file);
}

// Removes files that a transaction made which never committed.
static int recover_shard(struct engine *engine, uint64_t first_file)
{
    int fd = shard_open(engine, first_file);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    DIR *shard = fdopendir(fd);
    if (!shard) {
        close(fd);
        return -ENOMEM;
    }
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(shard)) != NULL)
        result = recover_entry(engine, entry->d_name);
    if (result == 0 && fsync(fd) < 0)
        result = -errno;
    closedir(shard);
    return result;
}

// A file that the log names, made in the last run and never synced, may be lost to a power loss although the
// log was not. Nobody was promised its bytes; it reads as zeros. An older one that is missing is damage,
// found when it is used.
static int recover_missing(struct engine *engine, uint64_t file)
{
    struct datafile *open;
    int result = datafile_create(engine, file, &open);
    if (result == -EUCLEAN) // it is there
        return 0;
    if (result == 0)
        log_warn("store-unsynced-file-lost", "directory=%s file=%" PRIx64, engine->directory, file);
    return result;
}

static int recover_files(struct engine *engine)
{
    int result = 0;
    uint64_t floor = engine->numbers.file_floor, bound = engine->numbers.bound[NUMBER_FILE];
    sqlite3_stmt *statement = db_statement(engine, ST_DATA_FILES_FROM, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)floor);
    bool damaged = false;
    while ((result = db_step(engine, statement)) > 0) {
        result = recover_missing(engine, (uint64_t)db_integer(statement, 0, 1, INT64_MAX, &damaged));
        if (result < 0 || damaged)
            break;
    }
    db_done(statement);
    if (damaged)
        return -EUCLEAN;
    for (uint64_t file = floor; result == 0 && file < bound;
         file = (file / DATAFILES_IN_SHARD + 1) * DATAFILES_IN_SHARD)
        result = recover_shard(engine, file);
    return result < 0 ? result : fsync(engine->data_fd) < 0 ? -errno : 0;
}

// What the database names must have been handed out.
static int check_numbers(struct engine *engine)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_NUMBERS_USED, &result);
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result < 0)
        return result;
    bool damaged = false;
    db_integer(statement, 0, 0, (int64_t)engine->numbers.bound[NUMBER_INO] - 1, &damaged);
    db_integer(statement, 1, 0, (int64_t)engine->numbers.bound[NUMBER_FILE] - 1, &damaged);
    db_done(statement);
    return damaged ? -EUCLEAN : 0;
}

static int load_usage(struct engine *engine)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_USAGE_GET, &result);
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -EUCLEAN;
    bool damaged = false;
    engine->usage.inodes = (uint64_t)db_integer(statement, 0, 0, INT64_MAX, &damaged);
    engine->usage.bytes = (uint64_t)db_integer(statement, 1, INT64_MIN, INT64_MAX, &damaged); // modulo 2^64
    db_done(statement);
    return damaged ? -EUCLEAN : 0;
}

// A disk that is too full to forget an intent is no reason not to start: upkeep tries again.
static int recover_intents(struct engine *engine)
{
    int result = 0;
    sqlite3_stmt *statement = db_statement(engine, ST_INTENT_LAST, &result);
    if (!statement)
        return result;
    result = db_step(engine, statement);
    if (result <= 0)
        return result < 0 ? result : -EUCLEAN;
    uint64_t last = (uint64_t)sqlite3_column_int64(statement, 0);
    db_done(statement);
    engine->intent_last = engine->intent_committed = engine->intent_synced = last;
    engine->intents_left = true;
    bool more = true;
    while (result >= 0 && more)
        result = intent_act(engine, &more);
    return result == -ENOSPC ? 0 : MIN(result, 0);
}

int engine_recover(struct engine *engine)
{
    bool clean = engine->numbers.clean;
    int result = log_sync(engine);
    if (result == 0)
        result = check_numbers(engine);
    if (result == 0)
        result = load_usage(engine);
    if (result == 0 && !clean)
        result = recover_files(engine);
    if (result == 0)
        result = recover_intents(engine);
    if (result < 0)
        return result;
    if (!clean)
        log_info("store-recovered", "directory=%s incarnation=%" PRIu64, engine->directory,
                 engine->numbers.incarnation + 1);
    engine->files_dirty = !clean;
    return numbers_start(&engine->numbers);
}
