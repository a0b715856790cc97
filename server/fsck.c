// SPDX-License-Identifier: Apache-2.0
// See fsck.h. It holds DIR/lock as a server does, so that none can start meanwhile; the catalogue is looked
// at here, each file system's store in fs/store/sqlite_check*.c. One thread, no loop.
#include "server/fsck.h"
#include "fs/base/check.h"
#include "fs/base/env.h"
#include "fs/base/log.h"
#include "fs/store/store_check.h"
#include "server/catalogue.h"
#include "server/data_directory.h"
#include "server/keep.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUIET_NS    UINT64_C(1000000000) // work that takes no longer than this is not told of
#define TELL_NS     UINT64_C(1000000000)
#define ASIDE       "lost+found"
#define STATUS_LEFT 4
#define STATUS_NOT  8 // could not be checked

struct fsck {
    const struct options *options;
    struct catalogue *catalogue;
    const char *fs_id; // being checked; NULL: the catalogue
    uint64_t n_repaired, n_left, n_checked;
    bool failed;
    uint64_t told_ns;
    bool told; // a line of progress stands on the terminal
    char unknown_aps[64][FS_ID_SIZE];
    size_t n_unknown_aps;
};

// --- what is told ---

static void clear_progress(struct fsck *fsck)
{
    if (fsck->told && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    fsck->told = false;
}

PRINTF_LIKE(2, 3) static void complain(struct fsck *fsck, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    clear_progress(fsck);
    fputs("berthd: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fsck->failed = true;
}

static void print_json(const struct fsck *fsck, const struct store_problem *problem)
{
    json_t *object = json_pack("{s:s?, s:s, s:s, s:b}", "FileSystemId", fsck->fs_id, "Kind", problem->kind,
                               "Problem", problem->text, "Repaired", problem->repaired);
    if (object && problem->ino > 0)
        json_object_set_new(object, "Inode", json_integer((json_int_t)problem->ino));
    if (object)
        json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
    fputc('\n', stdout);
    json_decref(object);
}

static void on_problem(void *context, const struct store_problem *problem)
{
    struct fsck *fsck = context;
    clear_progress(fsck);
    *(problem->repaired ? &fsck->n_repaired : &fsck->n_left) += 1;
    if (fsck->options->json)
        print_json(fsck, problem);
    else
        printf("%s %s%s\n", fsck->fs_id ? fsck->fs_id : "catalogue", problem->text,
               problem->repaired ? " (repaired)" : "");
}

static void on_progress(void *context, const char *what)
{
    struct fsck *fsck = context;
    uint64_t now = env_monotonic_ns(&env_system);
    if (now - fsck->told_ns < TELL_NS)
        return;
    fsck->told_ns = now;
    bool terminal = isatty(STDERR_FILENO);
    fprintf(stderr, "%s%s: %s%s", terminal ? "\r\033[K" : "", fsck->fs_id ? fsck->fs_id : "catalogue", what,
            terminal ? "" : "\n");
    fflush(stderr);
    fsck->told = true;
}

PRINTF_LIKE(4, 5)
static void problem(struct fsck *fsck, const char *kind, bool repaired, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    on_problem(fsck, &(struct store_problem){.kind = kind, .text = text, .repaired = repaired});
}

// --- one file system ---

static bool is_asked_for(const struct fsck *fsck, const char *fs_id)
{
    for (unsigned i = 0; i < fsck->options->n_fs_ids; i++)
        if (strcmp(fsck->options->fs_ids[i], fs_id) == 0)
            return true;
    return fsck->options->n_fs_ids == 0;
}

static void check_store(struct fsck *fsck, const struct file_system *fs)
{
    struct store_check check = {.env = &env_system,
                                .repair = fsck->options->repair,
                                .session_valid = keep_part_valid,
                                .problem = on_problem,
                                .progress = on_progress,
                                .context = fsck};
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/fs/%s", fsck->options->data, fs->id) >= (int)sizeof(path)) {
        complain(fsck, "%s: the path of the data directory is too long", fs->id);
        return;
    }
    fsck->fs_id = fs->id;
    fsck->n_checked++;
    int result = store_sqlite_check(path, &check);
    // What is being made or deleted is finished by the next server.
    if (result == -ENOENT && fs->state == CATALOGUE_AVAILABLE)
        problem(fsck, "missing-directory", false,
                "fs/%s: the file system's directory or its meta.db is missing", fs->id);
    else if (result == -EPROTONOSUPPORT)
        complain(fsck, "%s was written by a newer berthd: check it with that version", fs->id);
    else if (result < 0 && result != -ENOENT)
        complain(fsck, "%s cannot be checked: %s", fs->id, strerror(-result));
    fsck->fs_id = NULL;
}

static bool on_file_system(void *context, const struct file_system *fs)
{
    struct fsck *fsck = context;
    if (is_asked_for(fsck, fs->id) && fs->state != CATALOGUE_DELETING)
        check_store(fsck, fs);
    return true;
}

// --- the catalogue ---

static int move_directory(struct fsck *fsck, const char *name)
{
    char aside[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    const char *data = fsck->options->data;
    if (snprintf(aside, sizeof(aside), "%s/" ASIDE, data) >= (int)sizeof(aside) ||
        snprintf(from, sizeof(from), "%s/fs/%s", data, name) >= (int)sizeof(from) ||
        snprintf(to, sizeof(to), "%s/" ASIDE "/%s", data, name) >= (int)sizeof(to))
        return -ENAMETOOLONG;
    if (mkdir(aside, 0700) < 0 && errno != EEXIST)
        return -errno;
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static void check_directory(struct fsck *fsck, const char *name)
{
    struct file_system fs;
    char shown[2 * NAME_MAX];
    int result = catalogue_get_file_system(fsck->catalogue, name, &fs);
    if (result == 0)
        file_system_clear(&fs);
    if (result != -ENOENT) {
        if (result < 0)
            complain(fsck, "%s: %s", name, strerror(-result));
        return;
    }
    result = fsck->options->repair ? move_directory(fsck, name) : -EPERM;
    if (result < 0 && fsck->options->repair)
        complain(fsck, "fs/%s cannot be moved to " ASIDE ": %s",
                 log_text(shown, sizeof(shown), name, strlen(name)), strerror(-result));
    problem(fsck, "unknown-directory", result == 0, "fs/%s: no file system has this directory",
            log_text(shown, sizeof(shown), name, strlen(name)));
}

static void check_directories(struct fsck *fsck)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/fs", fsck->options->data) >= (int)sizeof(path))
        return;
    DIR *directory = opendir(path);
    if (!directory) {
        if (errno != ENOENT)
            complain(fsck, "%s: %s", path, strerror(errno));
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            check_directory(fsck, entry->d_name);
    closedir(directory);
}

static bool on_access_point(void *context, const struct access_point *ap)
{
    struct fsck *fsck = context;
    struct file_system fs;
    int result = catalogue_get_file_system(fsck->catalogue, ap->file_system_id, &fs);
    if (result == 0)
        file_system_clear(&fs);
    if (result == -ENOENT)
        memcpy(fsck->unknown_aps[fsck->n_unknown_aps++], ap->id, FS_ID_SIZE);
    else if (result < 0)
        complain(fsck, "access point %s: %s", ap->id, strerror(-result));
    return fsck->n_unknown_aps < ARRAY_LEN(fsck->unknown_aps);
}

// A handful at a time: a listing must not change what it lists.
static void check_access_points(struct fsck *fsck)
{
    int result = 0;
    do {
        fsck->n_unknown_aps = 0;
        result = catalogue_list_access_points(fsck->catalogue, NULL, 0, on_access_point, fsck);
        for (size_t i = 0; i < fsck->n_unknown_aps && result == 0; i++) {
            const char *id = fsck->unknown_aps[i];
            if (fsck->options->repair)
                result = catalogue_remove_access_point(fsck->catalogue, id);
            problem(fsck, "unknown-file-system", fsck->options->repair && result == 0,
                    "access point %s: of no file system", id);
        }
    } while (result == 0 && fsck->options->repair && fsck->n_unknown_aps == ARRAY_LEN(fsck->unknown_aps));
    if (result < 0)
        complain(fsck, "the access points cannot be checked: %s", strerror(-result));
}

static bool all_known(struct fsck *fsck)
{
    const struct options *options = fsck->options;
    for (unsigned i = 0; i < options->n_fs_ids; i++) {
        struct file_system fs;
        int result = catalogue_get_file_system(fsck->catalogue, options->fs_ids[i], &fs);
        if (result < 0) {
            complain(fsck, "%s: there is no such file system in %s", options->fs_ids[i], options->data);
            return false;
        }
        file_system_clear(&fs);
    }
    return true;
}

// --- all ---

static int check_all(struct fsck *fsck)
{
    if (!all_known(fsck))
        return 2;
    if (fsck->options->n_fs_ids == 0) {
        check_directories(fsck);
        check_access_points(fsck);
    }
    int result = catalogue_list_file_systems(fsck->catalogue, 0, on_file_system, fsck);
    if (result < 0)
        complain(fsck, "the catalogue cannot be read: %s", strerror(-result));
    clear_progress(fsck);
    if (fflush(stdout) != 0)
        complain(fsck, "the report cannot be written: %s", strerror(errno));
    fprintf(stderr,
            "berthd: %" PRIu64 " file systems checked: %" PRIu64 " problems repaired, %" PRIu64 " left\n",
            fsck->n_checked, fsck->n_repaired, fsck->n_left);
    return fsck->failed ? STATUS_NOT : fsck->n_left > 0 ? STATUS_LEFT : fsck->n_repaired > 0 ? 1 : 0;
}

// Makes nothing where no server has been.
static int open_data(struct fsck *fsck, int *ret_lock_fd)
{
    const char *data = fsck->options->data;
    char path[PATH_MAX], reason[512];
    struct stat status;
    if (snprintf(path, sizeof(path), "%s/catalogue.db", data) >= (int)sizeof(path) ||
        stat(path, &status) < 0) {
        complain(fsck, "data directory %s: there is no catalogue.db: give the --data of a server", data);
        return -ENOENT;
    }
    int result = data_directory_open(data, ret_lock_fd, reason, sizeof(reason));
    if (result < 0)
        complain(fsck, "%s", reason);
    return result;
}

int fsck_run(const struct options *options)
{
    struct fsck *fsck = calloc(1, sizeof(*fsck));
    _cleanup_(closep) int lock_fd = -1;
    if (!fsck)
        return STATUS_NOT;
    log_setup("berthd", LOG_ERROR, options->log_json);
    fsck->options = options;
    fsck->told_ns = env_monotonic_ns(&env_system) + (isatty(STDERR_FILENO) ? 0 : QUIET_NS) - TELL_NS;
    int status = STATUS_NOT;
    int result = open_data(fsck, &lock_fd);
    if (result == 0)
        result = catalogue_open(options->data, &env_system, &fsck->catalogue);
    else
        result = 1;
    if (result == -EUCLEAN) {
        problem(fsck, "database", false, "catalogue.db: damaged: restore it from a copy");
        status = STATUS_LEFT;
    } else if (result < 0) {
        complain(fsck, "data directory %s: catalogue.db: %s", options->data,
                 result == -EPROTONOSUPPORT ? "written by a newer berthd" : strerror(-result));
    }
    if (result == 0)
        status = check_all(fsck);
    catalogue_close(fsck->catalogue);
    free(fsck);
    return status;
}
