// SPDX-License-Identifier: Apache-2.0
// The machine's clock and random numbers. Any thread.
#include "fs/base/env.h"
#include "fs/base/check.h"
#include <errno.h>
#include <sys/random.h>
#include <time.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    fs_assert(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// Counts while the machine sleeps: a lease runs out for the others whether or not its holder is awake.
static uint64_t system_monotonic_ns(void *context UNUSED)
{
    return clock_ns(CLOCK_BOOTTIME);
}

static uint64_t system_realtime_ns(void *context UNUSED)
{
    return clock_ns(CLOCK_REALTIME);
}

static void system_random_bytes(void *context UNUSED, void *out, size_t n)
{
    uint8_t *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        fs_assert(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

const struct env env_system = {
    .monotonic_ns = system_monotonic_ns,
    .realtime_ns = system_realtime_ns,
    .random_bytes = system_random_bytes,
};
