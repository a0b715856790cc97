// SPDX-License-Identifier: Apache-2.0
// Random operations on the content of one file, through two mounts of one access point in turn and on a file
// of the host in step. After each operation the whole file is read through the other mount and compared, with
// its size and how its times moved. A seed and a step number name an operation: they are printed with a
// difference.
//
//   fsx [--seed N] [--seconds N | --steps N] [--from STEP] [--blur STEP] [--skip STEP] MOUNT
//   MOUNT HOST
//
// --from begins with the round that STEP lies in: every round begins with an empty file. --restarts: the
// server is killed meanwhile, so a call may answer EIO and must then have taken effect wholly or not at all.
// --blur reads a byte of the mount wrong at STEP, --skip leaves an operation out on the host: both must lead
// to a difference.
#include "tests/posix/fsx.h"
#include "tests/posix/history.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUND_STEPS = 1000 };

static struct options {
    uint64_t seed, steps, from, blur, skip;
    double seconds;
} options = {.steps = UINT64_MAX, .blur = UINT64_MAX, .skip = UINT64_MAX};

static struct fsx fsx = {.fds = {-1, -1}, .host = -1, .donor_fds = {-1, -1}, .donor_host = -1};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// --- opening; while the server restarts an open that creates or truncates may answer EIO, and is then tried
// again ---

static int open_below(const char *directory, const char *name, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return open(path, flags, 0644);
}

static void reopen(int *fd, const char *directory, const char *name, int flags)
{
    if (*fd >= 0)
        close(*fd);
    *fd = open_below(directory, name, flags);
    if (*fd < 0)
        history_differ("cannot open %s/%s: %s", directory, name, strerrorname_np(errno));
}

int fsx_open(const struct fsx *f, unsigned which, int flags)
{
    return open_below(f->directories[which], "file", flags);
}

void fsx_reopen(struct fsx *f, unsigned which, int flags)
{
    reopen(&f->fds[which], f->directories[which], "file", flags);
}

static void fill_donor(int fd)
{
    static uint8_t bytes[DONOR_SIZE];
    struct dice dice = {.state = options.seed};
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)dice_next(&dice);
    if (pwrite(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
        history_differ("cannot fill the file to copy from: %s", strerrorname_np(errno));
}

static void start_round(uint64_t number, struct dice *dice)
{
    static const uint32_t limits[] = {20 * 1000, 100 * 1000, 400 * 1000, FILE_MAX};
    *dice = (struct dice){.state = options.seed * 0x100000001b3 + number};
    fsx.size_limit = limits[dice_below(dice, 4)];
    reopen(&fsx.host, fsx.directories[MOUNTS], "file", O_RDWR | O_CREAT | O_TRUNC);
    reopen(&fsx.fds[0], fsx.directories[0], "file", O_RDWR | O_CREAT | O_TRUNC);
    reopen(&fsx.fds[1], fsx.directories[1], "file", O_RDWR);
    reopen(&fsx.donor_fds[0], fsx.directories[0], "donor", O_RDWR | O_CREAT);
    reopen(&fsx.donor_fds[1], fsx.directories[1], "donor", O_RDWR);
    reopen(&fsx.donor_host, fsx.directories[MOUNTS], "donor", O_RDWR | O_CREAT);
    fill_donor(fsx.donor_host);
    fill_donor(fsx.donor_fds[0]);
}

// --- comparing ---

static size_t read_whole(int fd, uint8_t *buffer, const char *what)
{
    size_t have = 0;
    ssize_t n = 1;
    while (n > 0 && have < FILE_MAX + 1) {
        n = pread(fd, buffer + have, FILE_MAX + 1 - have, (off_t)have);
        if (n < 0)
            history_differ("reading all of it through %s: %s", what, strerrorname_np(errno));
        have += (size_t)n;
    }
    return have;
}

// NULL when the mount shows what the host has.
static const char *content_differs(unsigned which, bool blurred)
{
    static uint8_t ours[FILE_MAX + 1], theirs[FILE_MAX + 1];
    static char text[200];
    struct stat stat;
    size_t expected = read_whole(fsx.host, theirs, "the host");
    size_t n = read_whole(fsx.fds[which], ours, which == 0 ? "mount 0" : "mount 1");
    if (blurred && n > 0)
        ours[n / 2] ^= 1;
    if (fstat(fsx.fds[which], &stat) < 0 || (size_t)stat.st_size != expected || n != expected) {
        snprintf(text, sizeof(text), "mount %u reads %zu bytes of a size of %lld, the host %zu", which, n,
                 (long long)stat.st_size, expected);
        return text;
    }
    for (size_t i = 0; i < n; i++) {
        if (ours[i] != theirs[i]) {
            snprintf(text, sizeof(text), "mount %u has %#x at offset %zu (%#zx), the host %#x", which,
                     ours[i], i, i, theirs[i]);
            return text;
        }
    }
    return NULL;
}

static void stat_through(unsigned which, struct stat *ret_stat)
{
    if (fstat(fsx.fds[which], ret_stat) < 0)
        history_differ("fstat through mount %u: %s", which, strerrorname_np(errno));
}

static int64_t ns_of(struct timespec time)
{
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

static void compare_times(const struct fsx_op *op, const struct stat *before, const struct stat *after)
{
    int64_t mtime = ns_of(after->st_mtim) - ns_of(before->st_mtim),
            ctime = ns_of(after->st_ctim) - ns_of(before->st_ctim);
    if (op->moves_times == MOVES_TIMES && (mtime <= 0 || ctime <= 0))
        history_differ("mtime moved by %lld ns, ctime by %lld ns", (long long)mtime, (long long)ctime);
    if (op->moves_times == KEEPS_TIMES && (mtime != 0 || ctime != 0))
        history_differ("changes nothing, but mtime moved by %lld ns, ctime by %lld ns", (long long)mtime,
                       (long long)ctime);
    if (mtime < 0 || ctime < 0)
        history_differ("mtime moved by %lld ns, ctime by %lld ns", (long long)mtime, (long long)ctime);
}

static void step(uint64_t number, const struct fsx_op *drawn)
{
    struct fsx_op op = *drawn;
    char text[300];
    struct stat before, after;
    unsigned other = (op.through + 1) % MOUNTS;
    stat_through(other, &before);
    if (!fsx_prepare(&op, before.st_size))
        return;
    fsx_tell(&op, text, sizeof(text));
    history_step(number, "%s", text);
    int result = fsx_apply_mount(&fsx, &op);
    history_note(" = %s", result == 0 ? "0" : strerrorname_np(-result));
    int expected = result;
    if (number < options.skip || op.moves_times != MOVES_TIMES)
        expected = fsx_apply_host(&fsx, &op);
    else
        options.skip = UINT64_MAX;
    if (result != expected)
        history_differ("the mount answers %s, the host %s", result == 0 ? "0" : strerrorname_np(-result),
                       expected == 0 ? "0" : strerrorname_np(-expected));
    stat_through(other, &after);
    compare_times(&op, &before, &after);
    const char *differs = content_differs(other, number == options.blur);
    if (differs != NULL)
        history_differ("after it: %s", differs);
}

static uint64_t run(void)
{
    double end = options.seconds > 0 ? now_seconds() + options.seconds : 1e300;
    uint64_t first = options.from - options.from % ROUND_STEPS, number = first;
    struct dice dice = {0};
    for (; number < options.steps && now_seconds() < end; number++) {
        if (number % ROUND_STEPS == 0)
            start_round(number, &dice);
        struct fsx_op op;
        fsx_draw(&op, &dice, fsx.size_limit);
        step(number, &op);
    }
    return number - first;
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"seed", 1, NULL, 's'}, {"seconds", 1, NULL, 't'}, {"steps", 1, NULL, 'n'}, {"from", 1, NULL, 'f'},
        {"blur", 1, NULL, 'b'}, {"skip", 1, NULL, 'k'},    {NULL, 0, NULL, 0}};
    uint64_t *const numbers[] = {['s'] = &options.seed,
                                 ['n'] = &options.steps,
                                 ['f'] = &options.from,
                                 ['b'] = &options.blur,
                                 ['k'] = &options.skip};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 't')
            options.seconds = strtod(optarg, NULL);
        else if (c != '?')
            *numbers[c] = strtoull(optarg, NULL, 0);
    }
    if (argc - optind != MOUNTS + 1) {
        fprintf(stderr, "usage: fsx [--seed N] [--seconds N | --steps N] [--from STEP] [--blur STEP] "
                        "[--skip STEP] MOUNT MOUNT HOST\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    fsx.directories = argv + optind;
    history_start("fsx", options.seed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("fsx: seed %llu\n", (unsigned long long)options.seed);
    struct dice dice;
    start_round(0, &dice);
    fsx_probe(&fsx);
    uint64_t steps = run();
    printf("fsx: seed %llu: %llu steps, no difference\n", (unsigned long long)options.seed,
           (unsigned long long)steps);
    return 0;
}
