// SPDX-License-Identifier: Apache-2.0
// Runs seeds: each is a world of its own with clients at work, and faults, for some virtual seconds; then
// peace returns, everything must come to its end, and what was seen is judged. Each seed runs in a process of
// its own, so that an assertion of the product's counts as found, too.
#include "tests/sim/network.h"
#include "tests/sim/sim.h"
#include "tests/sim/work.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN_MAX_US (12u * SIM_SECOND) // with faults
#define PEACE_US   (90u * SIM_SECOND) // for everything to come to its end
#define STEP_US    (100u * SIM_MS)
#define JOBS_MAX   16u

struct plan {
    unsigned n_clients;
    bool strict;
    unsigned crashes, power_losses, breaks, partitions, freezes, stops, kills, failures; // weights
};

static struct plan draw_plan(void)
{
    struct plan plan = {.n_clients = (unsigned)world_between(2, 4), .strict = world_chance(20)};
    unsigned *weights[] = {&plan.crashes, &plan.power_losses, &plan.breaks, &plan.partitions,
                           &plan.freezes, &plan.stops,        &plan.kills,  &plan.failures};
    for (size_t i = 0; i < ARRAY_LEN(weights); i++)
        *weights[i] = world_chance(50) ? (unsigned)world_between(1, 10) : 0;
    plan.power_losses /= 4;
    plan.breaks++;
    return plan;
}

// --- faults ---

static uint64_t pause_us(void)
{
    return world_chance(70) ? world_between(SIM_MS, SIM_SECOND)
                            : world_between(SIM_SECOND, 3 * SIM_LEASE_MS * SIM_MS);
}

static void heal(void *context)
{
    network_partition((unsigned)(uintptr_t)context, false);
}

static void inject(const struct plan *plan)
{
    unsigned client = (unsigned)world_random(plan->n_clients);
    unsigned sum = plan->crashes + plan->power_losses + plan->breaks + plan->partitions + plan->freezes +
                   plan->stops + plan->kills + plan->failures;
    unsigned draw = (unsigned)world_random(sum);
    if (draw < plan->crashes)
        server_crash(pause_us(), false);
    else if ((draw -= plan->crashes) < plan->power_losses)
        server_crash(pause_us(), true);
    else if ((draw -= plan->power_losses) < plan->breaks)
        network_break(client);
    else if ((draw -= plan->breaks) < plan->partitions) {
        network_partition(client, true);
        world_after(pause_us(), heal, (void *)(uintptr_t)client);
    } else if ((draw -= plan->partitions) < plan->freezes)
        client_freeze(client, pause_us());
    else if ((draw -= plan->freezes) < plan->stops)
        server_freeze(pause_us());
    else if ((draw -= plan->stops) < plan->kills)
        client_kill(client, pause_us());
    else
        server_fail_commit();
    world_jump_clock();
}

// --- one seed ---

static bool all_idle(void)
{
    uint64_t until_us = world_now_us() + PEACE_US;
    while (!work_is_idle()) {
        if (world_now_us() >= until_us)
            world_violation("calls are not answered although all is well");
        if (!world_run_until(world_now_us() + STEP_US))
            return false;
    }
    return true;
}

static void run(uint64_t seed, bool verbose)
{
    world_begin(seed, verbose);
    struct plan plan = draw_plan();
    network_begin();
    server_begin(plan.strict);
    work_begin();
    clients_begin(plan.n_clients);
    if (!world_run_until(world_now_us() + SIM_SECOND))
        return;
    work_start();
    uint64_t end_us = world_now_us() + world_between(SIM_SECOND, RUN_MAX_US);
    while (world_now_us() < end_us) {
        if (!world_run_until(world_now_us() + world_between(10 * SIM_MS, 1500 * SIM_MS)))
            return;
        inject(&plan);
    }
    work_stop();
    if (!all_idle())
        return;
    work_look_at_all();
    if (all_idle())
        work_check();
}

// --- many ---

struct child {
    pid_t pid;
    uint64_t seed;
};

static pid_t start(uint64_t seed, bool verbose)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    alarm(60);
    run(seed, verbose);
    if (world_violated())
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, world_violated());
    world_end();
    _exit(world_violated() ? 1 : 0);
}

// Waits for one child; false when its seed failed.
static bool reap(struct child *children, size_t *n, uint64_t *ret_seed)
{
    int status;
    pid_t pid = wait(&status);
    fs_assert(pid > 0);
    for (size_t i = 0; i < *n; i++) {
        if (children[i].pid != pid)
            continue;
        *ret_seed = children[i].seed;
        children[i] = children[--*n];
    }
    if (WIFSIGNALED(status))
        fprintf(stderr, "seed %llu: ended by signal %d\n", (unsigned long long)*ret_seed, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: sim [--seeds N] [--from SEED] [--jobs N] [--bug N] [--stop] [--verbose]\n"
                    "  --seeds N    how many (1000)   --from SEED  the first (1)\n"
                    "  --jobs N     at a time (2)     --bug N      with a seeded bug, see bugs.c\n"
                    "  --stop       at the first failure           --verbose  tells what happens\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t n_seeds = 1000, from = 1, n_failed = 0;
    size_t n_jobs = 2, n = 0;
    bool verbose = false, stop = false;
    struct child children[JOBS_MAX];
    for (int i = 1; i < argc; i++) {
        uint64_t number = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--stop") == 0)
            stop = true;
        else if (i + 1 == argc)
            return usage();
        else if (strcmp(argv[i], "--seeds") == 0 && ++i)
            n_seeds = number;
        else if (strcmp(argv[i], "--from") == 0 && ++i)
            from = number;
        else if (strcmp(argv[i], "--jobs") == 0 && ++i)
            n_jobs = MIN(number, JOBS_MAX);
        else if (strcmp(argv[i], "--bug") == 0 && ++i)
            sim_bug = (unsigned)number;
        else
            return usage();
    }
    for (uint64_t seed = from; n > 0 || (seed < from + n_seeds && !(stop && n_failed));) {
        if (seed < from + n_seeds && n < n_jobs && !(stop && n_failed)) {
            children[n++] = (struct child){start(seed, verbose), seed};
            seed++;
            continue;
        }
        uint64_t done = 0;
        n_failed += !reap(children, &n, &done);
    }
    printf("%llu seeds from %llu: %llu failed\n", (unsigned long long)n_seeds, (unsigned long long)from,
           (unsigned long long)n_failed);
    return n_failed > 0;
}
