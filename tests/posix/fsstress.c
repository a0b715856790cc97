// SPDX-License-Identifier: Apache-2.0
// Random operations on a tree of names, on two mounts of one access point and on a directory of the host in
// step: same answers, and after each operation the same attributes, changed times and contents of what it
// touched, as the other mount shows them; now and then the whole trees. A seed and a step number name an
// operation: they are printed with a difference.
//
//   fsstress [--seed N] [--seconds N | --steps N] [--from STEP] [--restarts] [--blur STEP] [--skip STEP]
//   MOUNT MOUNT HOST
//
// --from begins with the round that STEP lies in: every round begins with an empty tree. --restarts: the
// server is killed meanwhile, so a call may answer EIO and must then have taken effect wholly or not at all.
// --enforced:
// the first mount is of an access point with a POSIX user, uid 1000 and gid 1000 and 2000, and does that
// user's part. --blur reads a byte of the mount wrong at STEP, --skip leaves an operation out on the host:
// both must lead to a difference.
#include "tests/posix/fsstress.h"
#include "tests/posix/history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ROUND_STEPS = 2500, TREE_STEPS = 100 };

static struct options {
    uint64_t seed, steps, from, blur, skip;
    double seconds;
    bool restarts, enforced;
} options = {.steps = UINT64_MAX, .blur = UINT64_MAX, .skip = UINT64_MAX};

static int host_directory = -1; // of which this program never reads: it tells whether somebody else does
static uint64_t given_up = UINT64_MAX; // the round that goes no further

static struct side mount = {.tops = {-1, -1}, .slots = {-1, -1, -1, -1}};
static struct side host = {.tops = {-1, -1}, .slots = {-1, -1, -1, -1}};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// --- an empty tree ---

static void remove_below(int directory)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            unlinkat(directory, entry->d_name, 0) == 0)
            continue;
        int inner = openat(directory, entry->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
        if (inner >= 0) {
            remove_below(inner);
            close(inner);
        }
        unlinkat(directory, entry->d_name, AT_REMOVEDIR);
    }
    if (stream != NULL)
        closedir(stream);
}

// A fresh top directory. While the server restarts a call may answer EIO although it took effect: what
// matters is the end.
static int make_top(const char *below)
{
    int parent = open(below, O_PATH | O_DIRECTORY);
    int top = openat(parent, "top", O_PATH | O_DIRECTORY);
    if (top >= 0) {
        remove_below(top);
        close(top);
        unlinkat(parent, "top", AT_REMOVEDIR);
    }
    if (mkdirat(parent, "top", 0777) < 0 || fchmodat(parent, "top", 0777, 0) < 0)
        history_broken(below);
    top = openat(parent, "top", O_PATH | O_DIRECTORY);
    close(parent);
    return top;
}

// --- others who read the host's directory ---

// An access time that any read moves. Whoever walks the tree reads this directory before those below it.
static void host_watch(const char *directory)
{
    const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_nsec = UTIME_OMIT}};
    if (host_directory < 0)
        host_directory = open(directory, O_RDONLY | O_DIRECTORY);
    if (host_directory < 0 || futimens(host_directory, long_ago) < 0)
        history_broken(directory);
}

// Then access times below it are not this program's alone, and the round has to be given up.
static bool host_was_read(void)
{
    struct stat stat;
    if (fstat(host_directory, &stat) < 0)
        history_broken("the host's directory");
    return stat.st_atime != 1;
}

static void differ(const char *differs, const char *when, unsigned through)
{
    if (!difference_is_of_access() || !host_was_read())
        history_differ("%s through mount %u: %s", when, through, differs);
    printf("fsstress: step %llu: somebody else has read the host's directory: the round is given up\n",
           (unsigned long long)history_current());
    given_up = history_current() / ROUND_STEPS;
}

static void start_round(char *const directories[3])
{
    host_watch(directories[2]);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        slot_close(&mount, slot);
        slot_close(&host, slot);
    }
    for (unsigned i = 0; i < MOUNTS; i++)
        close(mount.tops[i]);
    close(host.tops[0]);
    unsigned maker = options.enforced ? 1 : 0, other = 1 - maker;
    mount.tops[maker] = make_top(directories[maker]);
    host.tops[0] = host.tops[1] = make_top(directories[2]);
    int parent = open(directories[other], O_PATH | O_DIRECTORY);
    mount.tops[other] = openat(parent, "top", O_PATH | O_DIRECTORY);
    close(parent);
    if (mount.tops[other] < 0)
        history_broken(directories[other]);
}

// --- a step ---

static void compare_trees(void)
{
    for (unsigned i = options.enforced ? 1 : 0; i < MOUNTS; i++) { // the enforced user does not see all
        const char *differs = trees_differ(mount.tops[i], host.tops[i]);
        if (differs != NULL)
            differ(differs, "whole tree", i);
    }
}

// Where the server alone checks permission, the kernel may meet another of several errors first, and opens
// pipes unasked.
static bool may_answer_otherwise(const struct op *op, struct answer ours, struct answer theirs,
                                 const struct look *file)
{
    if (!options.enforced || op->through != 0)
        return false;
    bool pipe = file->error == 0 && S_ISFIFO(file->stat.stx_mode);
    return theirs.result < 0 && (ours.result < 0 || pipe);
}

static void compare_answers(struct answer ours, struct answer theirs)
{
    if (ours.result != theirs.result)
        history_differ("the mount answers %ld %s, the host %ld %s", ours.result,
                       ours.result < 0 ? strerrorname_np((int)-ours.result) : "", theirs.result,
                       theirs.result < 0 ? strerrorname_np((int)-theirs.result) : "");
    if (ours.digest != theirs.digest)
        history_differ("the mount answers other data or names than the host");
}

// What fails changes no times. The host's file system is not as good: ext4 undoes a whiteout, but not its
// times.
static void restore_times(const struct op *op, const struct looks *before, struct looks *after,
                          unsigned other)
{
    for (unsigned i = 0; i < 6; i++) {
        const struct statx *was = &before->at[i].stat, *is = &after->at[i].stat;
        if (before->at[i].error != 0 || after->at[i].error != 0 || was->stx_ino != is->stx_ino ||
            memcmp(&was->stx_mtime, &is->stx_mtime, sizeof(was->stx_mtime)) == 0)
            continue;
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                          {was->stx_mtime.tv_sec, was->stx_mtime.tv_nsec}};
        look_set_times(op, &host, other, i, times);
    }
    looks_take(after, op, &host, other);
}

static void step(uint64_t number, const struct op *op)
{
    char text[STRESS_PATH_MAX * 3];
    op_tell(op, text, sizeof(text));
    history_step(number, "%s", text);
    unsigned other = options.enforced ? 1 : (op->through + 1) % MOUNTS;
    struct looks before[2], after[2];
    looks_take(&before[0], op, &mount, other);
    looks_take(&before[1], op, &host, other);
    struct answer ours = op_apply(op, &mount);
    struct answer theirs = ours;
    if (number < options.skip || ours.result < 0)
        theirs = op_apply(op, &host);
    else
        options.skip = UINT64_MAX;
    history_note(" = %ld%s%s", ours.result, ours.result < 0 ? " " : "",
                 ours.result < 0 ? strerrorname_np((int)-ours.result) : "");
    if (!may_answer_otherwise(op, ours, theirs, &before[1].at[LOOK_FOLLOWS]))
        compare_answers(ours, theirs);
    looks_take(&after[0], op, &mount, other);
    looks_take(&after[1], op, &host, other);
    if (ours.result < 0 && strcmp(op->kind->name, "rename") == 0) {
        restore_times(op, &before[1], &after[1], other);
        before[1] = after[1];
    }
    const char *differs = looks_differ(op, &after[0], &after[1], &before[0], &before[1]);
    if (differs == NULL)
        differs = contents_differ(op, &mount, &host, other);
    if (differs != NULL)
        differ(differs, "after it,", other);
}

static uint64_t run(char *const directories[3])
{
    double end = options.seconds > 0 ? now_seconds() + options.seconds : 1e300;
    uint64_t first = options.from - options.from % ROUND_STEPS, number = first, n_done = 0;
    struct dice dice = {0};
    for (; number < options.steps && now_seconds() < end; number++) {
        if (number % ROUND_STEPS == 0) {
            dice.state = options.seed * 0x100000001b3 + number;
            start_round(directories);
        }
        if (number / ROUND_STEPS == given_up)
            continue;
        n_done++;
        struct op op;
        op_draw(&op, &dice);
        op_restrict(&op, options.restarts, options.enforced);
        if (number == options.blur)
            look_blur();
        if (!(op.kind->uses & LEFT_OUT))
            step(number, &op);
        if (number % TREE_STEPS == TREE_STEPS - 1)
            compare_trees();
    }
    if (number > first && (number - 1) / ROUND_STEPS != given_up)
        compare_trees();
    return n_done;
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"seed", 1, NULL, 's'}, {"seconds", 1, NULL, 't'},  {"steps", 1, NULL, 'n'},
        {"from", 1, NULL, 'f'}, {"restarts", 0, NULL, 'r'}, {"enforced", 0, NULL, 'e'},
        {"blur", 1, NULL, 'b'}, {"skip", 1, NULL, 'k'},     {NULL, 0, NULL, 0}};
    uint64_t *const numbers[] = {['s'] = &options.seed,
                                 ['n'] = &options.steps,
                                 ['f'] = &options.from,
                                 ['b'] = &options.blur,
                                 ['k'] = &options.skip};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'r')
            options.restarts = true;
        else if (c == 'e')
            mount.enforced = mount.hides_sticky = host.hides_sticky = options.enforced = true;
        else if (c == 't')
            options.seconds = strtod(optarg, NULL);
        else if (c != '?')
            *numbers[c] = strtoull(optarg, NULL, 0);
    }
    if (argc - optind != 3) {
        fprintf(
            stderr,
            "usage: fsstress [--seed N] [--seconds N | --steps N] [--from STEP] [--restarts] [--blur STEP] "
            "[--skip STEP] MOUNT MOUNT HOST\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    history_start("fsstress", options.seed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("fsstress: seed %llu\n", (unsigned long long)options.seed);
    start_round(argv + optind);
    kinds_probe(&mount);
    uint64_t steps = run(argv + optind);
    printf("fsstress: seed %llu: %llu steps, no difference\n", (unsigned long long)options.seed,
           (unsigned long long)steps);
    return 0;
}
