// SPDX-License-Identifier: Apache-2.0
// Crashes: scenarios of the real store on the recording disk; then, for positions of the log and for what a
// crash may leave, the real recovery and the model's judgement. Short scenarios at every position, long ones
// sampled by seed.
#include "fs/base/check.h"
#include "fs/store/store_sqlite.h"
#include "tests/crash/scenario.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SHORT_SCENARIOS 4u
#define STEPS           40u
#define REASON_SIZE     300u

struct options {
    uint64_t seeds, from;
    unsigned states; // crashes tried of each long scenario
    unsigned draws;  // by chance, at each position of a short one
    enum disk_lie lie;
    bool quick; // stop at the first failure
    bool shorts, longs, faults;
    bool verbose;
};

static struct {
    char scratch[PATH_MAX - 100];
    uint64_t random;
    uint64_t n_states, n_failed, n_faults;
} crash;

static uint64_t draw(uint64_t n)
{
    uint64_t z = crash.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

static void seed_with(uint64_t a, uint64_t b, uint64_t c)
{
    crash.random = a * 0x2545f4914f6cdd1du ^ b * 0xc2b2ae3d27d4eb4fu ^ c * 0x165667b19e3779f9u;
}

static const char *path_of(const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%.16s", crash.scratch, name);
    return path;
}

static void remove_store(const char *name)
{
    char path[PATH_MAX], command[PATH_MAX + 16];
    snprintf(command, sizeof(command), "rm -rf '%s'", path_of(name, path));
    if (access(path, F_OK) == 0 && system(command) != 0)
        fprintf(stderr, "%s stays\n", path);
}

// --- one crash ---

static bool try_state(const struct options *options, const struct scenario *scenario, const char *what,
                      uint64_t seed, size_t at, enum disk_policy policy, unsigned number)
{
    static const char *const policies[] = {"the process died", "power loss, nothing unsynced",
                                           "power loss, by chance"};
    char path[PATH_MAX], reason[REASON_SIZE] = "";
    seed_with(seed, at, number);
    disk_materialize(path_of("crash", path), at, policy, draw);
    disk_lie_in_recovery(options->lie);
    bool good = scenario_judge(scenario, path, at, policy == DISK_KEEP_ALL, reason, sizeof(reason));
    disk_lie_in_recovery(DISK_HONEST);
    remove_store("crash");
    crash.n_states++;
    if (!good && crash.n_failed++ < 20)
        fprintf(stderr, "%s %" PRIu64 ", log position %zu of %zu, %s, draw %u: %s\n", what, seed, at,
                disk_log_length(), policies[policy], number, reason);
    return good;
}

static bool record(const struct options *options, struct scenario *scenario, unsigned steps, bool short_one,
                   uint64_t seed)
{
    char path[PATH_MAX], reason[REASON_SIZE] = "";
    seed_with(seed, steps, short_one);
    bool good = scenario_run(scenario, path_of("store", path), options->lie, steps, short_one, draw, reason,
                             sizeof(reason));
    if (good && scenario->result == 0)
        return true;
    fprintf(stderr, "%s %" PRIu64 ": %s\n", short_one ? "short scenario" : "seed", seed,
            good ? strerror(-scenario->result) : reason);
    crash.n_failed++;
    return false;
}

static void clear(struct scenario *scenario)
{
    scenario_free(scenario);
    disk_forget();
    remove_store("store");
}

// --- short scenarios, every position ---

static void run_short(const struct options *options, unsigned which)
{
    static struct scenario scenario;
    if (record(options, &scenario, which, true, which)) {
        for (size_t at = 0; at <= disk_log_length() && !(options->quick && crash.n_failed); at++) {
            try_state(options, &scenario, "short scenario", which, at, DISK_KEEP_ALL, 0);
            try_state(options, &scenario, "short scenario", which, at, DISK_LOSE_ALL, 0);
            for (unsigned i = 0; i < options->draws; i++)
                try_state(options, &scenario, "short scenario", which, at, DISK_DRAW, i);
        }
    }
    clear(&scenario);
}

// --- long ones, by seed ---

static void run_long(const struct options *options, uint64_t seed)
{
    static struct scenario scenario;
    if (record(options, &scenario, STEPS, false, seed)) {
        for (unsigned i = 0; i < options->states && !(options->quick && crash.n_failed); i++) {
            seed_with(seed, i, 77);
            size_t at = (size_t)draw(disk_log_length() + 1);
            enum disk_policy policy = i % 4 == 0 ? DISK_KEEP_ALL : i % 4 == 1 ? DISK_LOSE_ALL : DISK_DRAW;
            try_state(options, &scenario, "seed", seed, at, policy, i);
        }
    }
    clear(&scenario);
}

// --- calls that fail ---

// One scenario for each call that fails: the error comes out, and what was acknowledged is there afterwards.
static void run_faults(const struct options *options, unsigned which, int error)
{
    static struct scenario scenario;
    char path[PATH_MAX], reason[REASON_SIZE];
    for (size_t n = 1; !(options->quick && crash.n_failed); n++) {
        seed_with(which, 1, 1);
        disk_fail(0, 0);
        disk_fail(n, error);
        bool good = scenario_run(&scenario, path_of("store", path), DISK_HONEST, which, true, draw, reason,
                                 REASON_SIZE);
        bool failed = scenario.result < 0;
        bool reached = disk_fault_happened();
        disk_fail(0, 0);
        size_t at = disk_log_length();
        if (good)
            good = scenario_judge(&scenario, path, at, true, reason, REASON_SIZE);
        crash.n_faults++;
        if (!good && crash.n_failed++ < 20)
            fprintf(stderr, "short scenario %u, call %zu fails with %s (%s): %s\n", which, n,
                    error ? strerror(error) : "a short write", failed ? "told" : "not told", reason);
        clear(&scenario);
        if (!reached)
            return;
    }
}

// --- options ---

static int usage(void)
{
    fprintf(stderr,
            "usage: crashsim [--seeds N] [--from SEED] [--states N] [--draws N] [--lie N] [--only "
            "short|long|faults] [--stop]\n"
            "  long scenarios: --seeds N of them (100), from --from SEED (1), --states N crashes each (40)\n"
            "  short ones: at every position, --draws N by chance (3)\n"
            "  --lie N  the disk lies, see enum disk_lie     --stop  at the first failure\n");
    return 2;
}

static bool only(struct options *options, const char *what)
{
    options->shorts = strcmp(what, "short") == 0;
    options->longs = strcmp(what, "long") == 0;
    options->faults = strcmp(what, "faults") == 0;
    return options->shorts || options->longs || options->faults;
}

static bool parse(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--stop") == 0) {
            options->quick = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        const char *name = argv[i], *text = argv[++i];
        uint64_t number = strtoull(text, NULL, 10);
        if (strcmp(name, "--seeds") == 0)
            options->seeds = number;
        else if (strcmp(name, "--from") == 0)
            options->from = number;
        else if (strcmp(name, "--states") == 0)
            options->states = (unsigned)number;
        else if (strcmp(name, "--draws") == 0)
            options->draws = (unsigned)number;
        else if (strcmp(name, "--lie") == 0)
            options->lie = (enum disk_lie)number;
        else if (strcmp(name, "--only") != 0 || !only(options, text))
            return false;
    }
    return true;
}

static void make_scratch(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    snprintf(crash.scratch, sizeof(crash.scratch), "%s/berth-crash-XXXXXX", parent ? parent : "/tmp");
    fs_assert(mkdtemp(crash.scratch));
}

int main(int argc, char **argv)
{
    struct options options = {
        .seeds = 100, .from = 1, .states = 40, .draws = 3, .shorts = true, .longs = true, .faults = true};
    if (!parse(&options, argc, argv))
        return usage();
    make_scratch();
    for (unsigned which = 0; which < SHORT_SCENARIOS && options.shorts; which++)
        run_short(&options, which);
    for (uint64_t seed = options.from; seed < options.from + options.seeds && options.longs; seed++) {
        if (!(options.quick && crash.n_failed))
            run_long(&options, seed);
    }
    static const int errors[] = {EIO, ENOSPC, 0};
    for (unsigned which = 0; which < SHORT_SCENARIOS && options.faults && options.lie == DISK_HONEST;
         which++) {
        for (size_t i = 0; i < ARRAY_LEN(errors); i++)
            run_faults(&options, which, errors[i]);
    }
    rmdir(crash.scratch);
    printf("%" PRIu64 " crashes, %" PRIu64 " failing calls: %" PRIu64 " broken promises\n", crash.n_states,
           crash.n_faults, crash.n_failed);
    return crash.n_failed > 0;
}
