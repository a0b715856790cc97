// SPDX-License-Identifier: Apache-2.0
// See world.h. Invariant: events at the same time happen in the order in which they were planned.
#include "tests/sim/world.h"
#include "fs/base/table.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct event {
    uint64_t at_us, number;
    sim_event *run;
    void *context;
};

static struct {
    uint64_t now_us, random, n_events;
    int64_t clock_offset_ns;
    struct event *heap; // owned
    size_t n, room;
    bool verbose, violated;
    char violation[512];
} world;

unsigned sim_bug;

// --- chance ---

static uint64_t next_random(void)
{
    uint64_t z = world.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t world_random(uint64_t n)
{
    return next_random() % n;
}

uint64_t world_between(uint64_t a, uint64_t b)
{
    return a + world_random(b - a + 1);
}

bool world_chance(unsigned percent)
{
    return world_random(100) < percent;
}

// --- clocks ---

static uint64_t steady_ns(void *context UNUSED)
{
    return world.now_us * 1000u;
}

static uint64_t time_of_day_ns(void *context UNUSED)
{
    return (uint64_t)((int64_t)(1700000000ull * 1000000000u + world.now_us * 1000u) + world.clock_offset_ns);
}

static void random_bytes(void *context UNUSED, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)next_random();
}

const struct env world_env = {
    .monotonic_ns = steady_ns, .realtime_ns = time_of_day_ns, .random_bytes = random_bytes};

void world_jump_clock(void)
{
    world.clock_offset_ns = (int64_t)world_random(7200) * 1000000000 - 3600000000000;
}

// --- events ---

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void swap(size_t a, size_t b)
{
    struct event event = world.heap[a];
    world.heap[a] = world.heap[b];
    world.heap[b] = event;
}

void world_after(uint64_t delay_us, sim_event *run, void *context)
{
    if (world.n == world.room) {
        world.room = world.room ? 2 * world.room : 256;
        world.heap = realloc(world.heap, world.room * sizeof(*world.heap));
        fs_assert(world.heap);
    }
    size_t at = world.n++;
    world.heap[at] = (struct event){world.now_us + delay_us, world.n_events++, run, context};
    for (; at > 0 && before(&world.heap[at], &world.heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(at, (at - 1) / 2);
}

static struct event take_first(void)
{
    struct event first = world.heap[0];
    world.heap[0] = world.heap[--world.n];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < world.n; child++) {
            if (before(&world.heap[child], &world.heap[least]))
                least = child;
        }
        if (least == at)
            return first;
        swap(at, least);
        at = least;
    }
}

bool world_run_until(uint64_t until_us)
{
    while (!world.violated && world.n > 0 && world.heap[0].at_us <= until_us) {
        struct event event = take_first();
        world.now_us = event.at_us;
        event.run(event.context);
    }
    if (!world.violated)
        world.now_us = until_us;
    return !world.violated;
}

uint64_t world_now_us(void)
{
    return world.now_us;
}

// --- life, and the end of it ---

void world_begin(uint64_t seed, bool verbose)
{
    memset(&world, 0, sizeof(world));
    world.random = seed * 0x2545f4914f6cdd1du + 1;
    world.now_us = SIM_SECOND;
    world.verbose = verbose;
    table_seed(seed);
}

void world_end(void)
{
    free(world.heap);
    world.heap = NULL;
}

static void trace(const char *format, va_list args)
{
    fprintf(stderr, "%10.6f ", (double)world.now_us / SIM_SECOND);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void world_trace(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (world.verbose)
        trace(format, args);
    va_end(args);
}

void world_violation(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!world.violated)
        vsnprintf(world.violation, sizeof(world.violation), format, args);
    va_end(args);
    world.violated = true;
    world_trace("VIOLATION %s", world.violation);
}

bool world_is_verbose(void)
{
    return world.verbose;
}

const char *world_violated(void)
{
    return world.violated ? world.violation : NULL;
}
