// SPDX-License-Identifier: Apache-2.0
// Every file below data/ has a row or an intent; and lost+found-data/, where a repair puts what has none, and
// bytes that the tables had no place for. Files move after the commit: before, a row might come back. Any one
// thread.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_check.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define ASIDE "lost+found-data"

struct move {
    struct list node;
    char *path; // owned; below data/
};

// --- putting aside ---

static int open_aside(struct check *check, int *ret_fd)
{
    int dir_fd = check->engine.dir_fd;
    if (mkdirat(dir_fd, ASIDE, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(dir_fd, ASIDE, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

// Under its last name, with a number behind it when that is taken.
static int move_aside(struct check *check, int aside_fd, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (unsigned i = 0;; i++) {
        char target[NAME_MAX + 16];
        snprintf(target, sizeof(target), i == 0 ? "%s" : "%s.%u", name, i);
        if (renameat2(check->engine.data_fd, path, aside_fd, target, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
    }
}

int check_move_files(struct check *check)
{
    _cleanup_(closep) int fd = -1;
    int result = list_empty(&check->moves) ? 0 : open_aside(check, &fd);
    list_for_each (node, &check->moves) {
        if (result == 0)
            result = move_aside(check, fd, LIST_ENTRY(node, struct move, node)->path);
    }
    if (fd >= 0 && result == 0 && (fsync(fd) < 0 || fsync(check->engine.dir_fd) < 0))
        result = -errno;
    return result;
}

void check_free_moves(struct check *check)
{
    for (struct list *node; (node = list_pop(&check->moves));) {
        struct move *move = LIST_ENTRY(node, struct move, node);
        free(move->path);
        free(move);
    }
}

int check_move_file(struct check *check, const char *path)
{
    struct move *move = calloc(1, sizeof(*move));
    char *copy = strdup(path);
    if (!move || !copy) {
        free(move);
        free(copy);
        return -ENOMEM;
    }
    move->path = copy;
    list_init(&move->node);
    list_push(&check->moves, &move->node);
    return 0;
}

static int write_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);
        if (written <= 0)
            return written < 0 ? -errno : -ENOSPC;
        bytes += written;
        n -= (size_t)written;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int check_save_bytes(struct check *check, fs_ino ino, const char *what, const void *bytes, size_t n)
{
    _cleanup_(closep) int aside_fd = -1, fd = -1;
    int result = n > 0 ? open_aside(check, &aside_fd) : 0;
    for (unsigned i = 0; n > 0 && result == 0 && fd < 0; i++) {
        char name[64];
        snprintf(name, sizeof(name), i == 0 ? "inode-%" PRIu64 "-%s" : "inode-%" PRIu64 "-%s.%u", ino, what,
                 i);
        fd = openat(aside_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && errno != EEXIST)
            result = -errno;
    }
    if (n > 0 && result == 0)
        result = write_all(fd, bytes, n);
    return result == 0 && n > 0 && fsync(aside_fd) < 0 ? -errno : result;
}

// --- looking ---

static int found_stray(struct check *check, const char *path, const char *why)
{
    char text[2 * NAME_MAX];
    struct found *found;
    int result = check_found(check, "stray-file", 0, &found, "data file %s: %s",
                             log_text(text, sizeof(text), path, strlen(path)), why);
    if (result == 0 && check->repair)
        result = check_move_file(check, path);
    if (result == 0)
        found->repaired = check->repair;
    return result;
}

// 1: named by the database, or removed by the next open; 0: not; or an error.
static int is_used(struct check *check, uint64_t file)
{
    struct engine *engine = &check->engine;
    int result = 0;
    if (!engine->numbers.clean && file >= engine->numbers.file_floor)
        return 1;
    sqlite3_stmt *statement = db_statement(engine, ST_DATA_FILE_USED, &result);
    if (!statement)
        return result;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)file);
    result = db_step(engine, statement);
    if (result > 0)
        db_done(statement);
    return result;
}

static int check_file(struct check *check, const char *path, const char *name)
{
    char expected[PATH_ROOM];
    uint64_t file = strtoull(name, NULL, 16);
    datafile_path(file, expected);
    if (strcmp(expected, path) != 0 || file == 0 || file > INT64_MAX)
        return found_stray(check, path, "no name of a data file");
    int used = is_used(check, file);
    return used == 0 ? found_stray(check, path, "no inode has it") : MIN(used, 0);
}

static int check_shard(struct check *check, const char *shard)
{
    int fd = openat(check->engine.data_fd, shard, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP ? found_stray(check, shard, "no directory of data files")
                                                  : -errno;
    DIR *directory = fdopendir(fd);
    if (!directory) {
        close(fd);
        return -ENOMEM;
    }
    int result = 0;
    struct dirent *entry;
    for (unsigned n = 0; result == 0 && (errno = 0, entry = readdir(directory)) != NULL; n++) {
        char path[2 * NAME_MAX + 2];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", shard, entry->d_name);
        result = check_file(check, path, entry->d_name);
        if (n % 4096 == 0)
            check->options->progress(check->options->context, check->what);
        if (result == 0 && check_stopped(check))
            result = -ECANCELED;
    }
    if (result == 0 && errno != 0)
        result = -errno;
    closedir(directory);
    return result;
}

int check_files(struct check *check)
{
    int fd = openat(check->engine.data_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *data = fd < 0 ? NULL : fdopendir(fd);
    if (!data)
        return -errno;
    int result = 0;
    struct dirent *entry;
    check->what = "data files";
    while (result == 0 && (errno = 0, entry = readdir(data)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = check_shard(check, entry->d_name);
        errno = 0;
    }
    closedir(data);
    return result;
}
