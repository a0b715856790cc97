// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: mutated seeds, always the same ones for the same random seed.
//
//     fuzz_X [SECONDS [SEED]]    random inputs for so long; without SECONDS a fixed number of them
//     fuzz_X -w DIRECTORY        writes the valid inputs there, a first corpus for libFuzzer
//     fuzz_X FILE...             runs these inputs
//
// When a target aborts, the input is printed as hex, with the number and the seed that make it again.
#include "fs/base/check.h"
#include "tests/fuzz/fuzz.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define INPUT_MAX    4096u // bytes
#define INPUTS_FIXED 1000000u
#define SEEDS_MAX    256u

static struct {
    uint64_t seed, number;
    const uint8_t *bytes;
    size_t length;
} current;

static struct seeds {
    uint8_t bytes[SEEDS_MAX][INPUT_MAX];
    size_t lengths[SEEDS_MAX];
    size_t n;
} seeds;

// A sanitizer's finding becomes an abort, like an assertion's.
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "abort_on_error=1";
}

const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

// NOLINTBEGIN(bugprone-signal-handler): abort() raised the signal in the code under test, not amid anything
// else
static void print_input(int signal_number UNUSED)
{
    signal(SIGABRT, SIG_DFL);
    dprintf(STDERR_FILENO, "input %llu of seed %llu, %zu bytes: ", (unsigned long long)current.number,
            (unsigned long long)current.seed, current.length);
    for (size_t i = 0; i < current.length; i++)
        dprintf(STDERR_FILENO, "%02x", current.bytes[i]);
    dprintf(STDERR_FILENO, "\n");
}
// NOLINTEND(bugprone-signal-handler)

// In a heap block of its own size, so that a sanitizer sees any step past it.
static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *block = malloc(MAX(n, 1u));
    fs_assert(block);
    memcpy(block, bytes, n);
    current.bytes = block;
    current.length = n;
    fs_assert(LLVMFuzzerTestOneInput(block, n) == 0);
    free(block);
}

// --- mutation ---

// SplitMix64.
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t limit)
{
    return (size_t)(next(state) % limit);
}

static void set_extreme_number(uint64_t *state, uint8_t *bytes, size_t n)
{
    static const uint64_t extremes[] = {0,          1,          0x7f,       0x80,
                                        0xff,       0x100,      0x7fff,     0x8000,
                                        0xffff,     0x10000,    0x7fffffff, 0x80000000,
                                        0xfffffffc, 0xffffffff, INT64_MAX,  (uint64_t)INT64_MAX + 1,
                                        UINT64_MAX};
    uint64_t value = extremes[below(state, ARRAY_LEN(extremes))] + below(state, 3) - 1;
    size_t at = below(state, n), size = (size_t)1 << below(state, 4);
    for (size_t i = 0; i < size && at + i < n; i++)
        bytes[at + i] = (uint8_t)(value >> 8 * i);
}

static size_t insert_bytes(uint64_t *state, uint8_t *bytes, size_t n)
{
    size_t at = below(state, n + 1), extra = 1 + below(state, 8);
    extra = MIN(extra, INPUT_MAX - n);
    memmove(bytes + at + extra, bytes + at, n - at);
    for (size_t i = 0; i < extra; i++)
        bytes[at + i] = (uint8_t)next(state);
    return n + extra;
}

static size_t remove_bytes(uint64_t *state, uint8_t *bytes, size_t n)
{
    size_t at = below(state, n), fewer = 1 + below(state, 8);
    fewer = MIN(fewer, n - at);
    memmove(bytes + at, bytes + at + fewer, n - at - fewer);
    return n - fewer;
}

static size_t append_of_other_seed(uint64_t *state, uint8_t *bytes, size_t n)
{
    size_t other = below(state, seeds.n);
    size_t from = below(state, seeds.lengths[other]);
    size_t at = below(state, n + 1);
    size_t length = MIN(seeds.lengths[other] - from, INPUT_MAX - at);
    memcpy(bytes + at, seeds.bytes[other] + from, length);
    return at + length;
}

static size_t mutate(uint64_t *state, uint8_t *bytes, size_t n)
{
    if (n == 0)
        return insert_bytes(state, bytes, n);
    switch (below(state, 8)) {
    case 0:
        return insert_bytes(state, bytes, n);
    case 1:
        return remove_bytes(state, bytes, n);
    case 2:
        return append_of_other_seed(state, bytes, n);
    case 3:
        return below(state, n + 1);
    case 4:
    case 5:
        set_extreme_number(state, bytes, n);
        return n;
    default:
        bytes[below(state, n)] ^= (uint8_t)(1u << below(state, 8));
        return n;
    }
}

// Input number `number` of a seed depends on nothing else.
static size_t make_input(uint64_t seed, uint64_t number, uint8_t bytes[INPUT_MAX])
{
    uint64_t state = seed ^ number * 0xd6e8feb86659fd93u;
    size_t from = below(&state, seeds.n);
    size_t n = seeds.lengths[from];
    memcpy(bytes, seeds.bytes[from], n);
    for (size_t left = below(&state, 5); left > 0; left--)
        n = mutate(&state, bytes, n);
    return n;
}

// --- what to run ---

static void load_seeds(void)
{
    while (seeds.n < SEEDS_MAX) {
        seeds.lengths[seeds.n] = fuzz_seed(seeds.n, seeds.bytes[seeds.n], INPUT_MAX);
        if (seeds.lengths[seeds.n] == 0)
            break;
        seeds.n++;
    }
    fs_assert(seeds.n > 0 && seeds.n < SEEDS_MAX);
}

static double seconds_now(void)
{
    struct timespec now;
    fs_assert(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run_random(double seconds, uint64_t seed)
{
    const double end = seconds_now() + seconds;
    current.seed = seed;
    for (;;) {
        bool check_time = current.number % 16 == 15;
        uint8_t bytes[INPUT_MAX];
        run(bytes, make_input(seed, current.number, bytes));
        current.number++;
        if (seconds > 0 ? check_time && seconds_now() >= end : current.number == INPUTS_FIXED)
            break;
    }
    printf("%llu inputs of seed %llu\n", (unsigned long long)current.number, (unsigned long long)seed);
    return 0;
}

static int run_file(const char *path)
{
    static uint8_t bytes[16u * 1024 * 1024];
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(bytes, 1, sizeof(bytes), file) : 0;
    if (!file || ferror(file)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    fclose(file);
    run(bytes, n);
    return 0;
}

static int write_seeds(const char *directory)
{
    for (size_t i = 0; i < seeds.n; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/seed-%03zu", directory, i);
        FILE *file = fopen(path, "w");
        bool written = file && fwrite(seeds.bytes[i], 1, seeds.lengths[i], file) == seeds.lengths[i];
        if (!file || fclose(file) != 0 || !written) {
            fprintf(stderr, "%s: %s\n", path, strerror(errno));
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGABRT, print_input);
    load_seeds();
    if (argc == 3 && strcmp(argv[1], "-w") == 0)
        return write_seeds(argv[2]);
    char *end = NULL;
    double seconds = argc > 1 ? strtod(argv[1], &end) : 0;
    if (argc == 1 || (argc <= 3 && *end == '\0' && seconds > 0))
        return run_random(seconds, argc == 3 ? strtoull(argv[2], NULL, 10) : 1);
    for (int i = 1; i < argc; i++) {
        if (run_file(argv[i]) != 0)
            return 1;
    }
    return 0;
}
