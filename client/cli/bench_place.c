// SPDX-License-Identifier: Apache-2.0
// Where berth bench works: a directory of its own, removed again whatever happens, also when it is
// interrupted: a signal only sets a flag, which every loop asks for.
#include "client/cli/bench.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_TEMPLATE "berth-bench-XXXXXX"
#define OPEN_DIRS     16

static volatile sig_atomic_t came; // the signal, or 0

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static void on_signal(int number)
{
    came = number;
}

void bench_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        sigaction(signals[i], &action, NULL);
}

bool bench_interrupted(void)
{
    return came != 0;
}

void bench_die_of_signal(void)
{
    if (!came)
        return;
    signal(came, SIG_DFL);
    raise(came);
}

static int complain(const char *what, const char *path, const char *why)
{
    fprintf(stderr, "berth: bench: %s %s: %s\n", what, path, why);
    return -1;
}

// The second directory is the same one, seen through another mount.
static int find_second(struct bench *bench, const char *second)
{
    struct stat status;
    if (snprintf(bench->b, sizeof(bench->b), "%s/%s", second, bench->name) >= (int)sizeof(bench->b))
        return complain("cannot use", second, strerror(ENAMETOOLONG));
    if (stat(bench->b, &status) < 0)
        return complain("cannot use", second,
                        errno == ENOENT ? "it does not show what was made in the first directory"
                                        : strerror(errno));
    return 0;
}

static int make_directories(const struct bench *bench)
{
    static const char *const kinds[] = {"empty", "small"};
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (snprintf(path, sizeof(path), "%s/%s", bench->a, kinds[i]) >= (int)sizeof(path) ||
            mkdir(path, 0755) < 0)
            return complain("cannot make", path, strerror(errno));
    }
    return 0;
}

int bench_place_make(struct bench *bench, const char *directory, const char *second)
{
    if (snprintf(bench->a, sizeof(bench->a), "%s/" NAME_TEMPLATE, directory) >= (int)sizeof(bench->a) - 64)
        return complain("cannot use", directory, strerror(ENAMETOOLONG));
    if (!mkdtemp(bench->a)) {
        int error = errno;
        bench->a[0] = '\0';
        return complain("cannot use", directory, strerror(error));
    }
    snprintf(bench->name, sizeof(bench->name), "%s", strrchr(bench->a, '/') + 1);
    int result = make_directories(bench);
    return result == 0 && second ? find_second(bench, second) : result;
}

static int remove_one(const char *path, const struct stat *status UNUSED, int type UNUSED,
                      struct FTW *walk UNUSED)
{
    remove(path);
    return 0;
}

// Nothing interrupts this any more.
void bench_place_remove(const struct bench *bench)
{
    if (!bench->a[0])
        return;
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        signal(signals[i], SIG_IGN);
    nftw(bench->a, remove_one, OPEN_DIRS, FTW_DEPTH | FTW_PHYS);
    if (access(bench->a, F_OK) == 0)
        complain("cannot remove", bench->a, strerror(errno));
}

void bench_path(char path[PATH_MAX], const char *directory, const char *kind, unsigned n)
{
    // Both directories leave room for this.
    (void)!snprintf(path, PATH_MAX, "%s/%s/%06u", directory, kind, n);
}

int bench_open(const char *directory, const char *name, int flags)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, flags | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : fd;
}
