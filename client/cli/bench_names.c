// SPDX-License-Identifier: Apache-2.0
// Workloads on names: files of one directory are made, listed, looked at, read, renamed and removed by one
// process, an operation after the other. "Cold" ones look through the second mount at what it has not seen.
#include "client/cli/bench.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX  20000u
#define FILES_NEED 200u // that the other workloads find something to do

static int make_file(const char *path, size_t bytes)
{
    static const char data[BENCH_SMALL_BYTES];
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    ssize_t n = bytes ? write(fd, data, bytes) : 0;
    int result = n < 0 ? -errno : (size_t)n == bytes ? 0 : -EIO;
    return close(fd) < 0 && result == 0 ? -errno : result;
}

static int make_files(struct bench *bench, struct meter *meter, const char *kind, size_t bytes, unsigned *n)
{
    char path[PATH_MAX];
    int result = 0;
    while (result == 0 && *n < FILES_MAX && meter_next(meter)) {
        bench_path(path, bench->a, kind, *n);
        result = make_file(path, bytes);
        meter_done(meter, 1, bytes);
        *n += result == 0;
    }
    return result;
}

// Whoever needs files and finds none makes some, without being timed.
static int need_files(const struct bench *bench, const char *kind, size_t bytes, unsigned *n)
{
    char path[PATH_MAX];
    int result = 0;
    while (result == 0 && *n < FILES_NEED && !bench_interrupted()) {
        bench_path(path, bench->a, kind, *n);
        result = make_file(path, bytes);
        *n += result == 0;
    }
    return result;
}

int bench_create(struct bench *bench, struct meter *meter)
{
    return make_files(bench, meter, "empty", 0, &bench->n_empty);
}

int bench_create_4k(struct bench *bench, struct meter *meter)
{
    return make_files(bench, meter, "small", BENCH_SMALL_BYTES, &bench->n_small);
}

// --- looking ---

// As `ls -l`: every entry and its attributes. Returns their number.
static int list_once(const char *directory)
{
    DIR *stream = opendir(directory);
    if (!stream)
        return -errno;
    int n = 0;
    struct stat status;
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(stream), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
            n++;
    }
    closedir(stream);
    return n;
}

static int list(struct bench *bench, struct meter *meter, const char *directory, unsigned rounds)
{
    char path[PATH_MAX + 16];
    int result = need_files(bench, "empty", 0, &bench->n_empty);
    snprintf(path, sizeof(path), "%s/empty", directory);
    meter->start_ns = bench_now_ns();
    while (result >= 0 && rounds-- > 0 && meter_next(meter)) {
        result = list_once(path);
        meter_done(meter, result > 0 ? (uint64_t)result : 0, 0);
    }
    return MIN(result, 0);
}

int bench_list_cold(struct bench *bench, struct meter *meter)
{
    return list(bench, meter, bench->b, 1);
}

int bench_list_warm(struct bench *bench, struct meter *meter)
{
    return list(bench, meter, bench->a, UINT_MAX);
}

static int stat_one(const char *path)
{
    struct stat status;
    return stat(path, &status) < 0 ? -errno : 0;
}

static int open_read_one(const char *path)
{
    char data[BENCH_SMALL_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, data, sizeof(data));
    int result = n < 0 ? -errno : n == sizeof(data) ? 0 : -EIO;
    close(fd);
    return result;
}

// The small files from `first` on, by `step`, all of them once or again and again.
static int look(struct bench *bench, struct meter *meter, const char *directory, unsigned first, bool again,
                int (*one)(const char *path))
{
    char path[PATH_MAX];
    const unsigned step = 2;
    int result = need_files(bench, "small", BENCH_SMALL_BYTES, &bench->n_small);
    meter->start_ns = bench_now_ns();
    for (unsigned i = first; result == 0 && i < bench->n_small && meter_next(meter); i += step) {
        bench_path(path, directory, "small", i);
        result = one(path);
        meter_done(meter, 1, 0);
        if (again && i + step >= bench->n_small)
            i = first - step;
    }
    return result;
}

// Files of even number are looked at, those of odd number opened, so that both are cold.
int bench_stat_cold(struct bench *bench, struct meter *meter)
{
    return look(bench, meter, bench->b, 0, false, stat_one);
}

int bench_stat_warm(struct bench *bench, struct meter *meter)
{
    return look(bench, meter, bench->a, 0, true, stat_one);
}

int bench_open_read_cold(struct bench *bench, struct meter *meter)
{
    return look(bench, meter, bench->b, 1, false, open_read_one);
}

int bench_open_read_warm(struct bench *bench, struct meter *meter)
{
    return look(bench, meter, bench->a, 1, true, open_read_one);
}

// --- changing ---

// One name after the other moves away and, the next time, back.
int bench_rename(struct bench *bench, struct meter *meter)
{
    char own[PATH_MAX], other[PATH_MAX];
    int result = need_files(bench, "empty", 0, &bench->n_empty);
    bench_path(other, bench->a, "empty", FILES_MAX);
    meter->start_ns = bench_now_ns();
    for (unsigned i = 0; result == 0 && meter_next(meter); i++) {
        bool away = i % 2 == 0;
        bench_path(own, bench->a, "empty", i / 2 % bench->n_empty);
        result = rename(away ? own : other, away ? other : own) < 0 ? -errno : 0;
        meter_done(meter, 1, 0);
    }
    bench_path(own, bench->a, "empty", (unsigned)(meter->count - 1) / 2 % bench->n_empty);
    if (meter->count % 2 == 1 && result == 0 && rename(other, own) < 0)
        result = -errno;
    return result;
}

int bench_unlink(struct bench *bench, struct meter *meter)
{
    char path[PATH_MAX];
    int result = need_files(bench, "empty", 0, &bench->n_empty);
    meter->start_ns = bench_now_ns();
    while (result == 0 && bench->n_empty > 0 && meter_next(meter)) {
        bench_path(path, bench->a, "empty", bench->n_empty - 1);
        result = unlink(path) < 0 ? -errno : 0;
        meter_done(meter, 1, 0);
        bench->n_empty -= result == 0;
    }
    return result;
}
