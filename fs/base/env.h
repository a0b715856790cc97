// SPDX-License-Identifier: Apache-2.0
// Where time and chance enter. Logic takes a `const struct env *` and asks nothing else, so that a simulation
// can run the same code on virtual time from a seed.
#ifndef BERTH_BASE_ENV_H
#define BERTH_BASE_ENV_H

#include <stddef.h>
#include <stdint.h>

struct env {
    void *context;
    uint64_t (*monotonic_ns)(void *context); // never goes back; for lease and timeout arithmetic
    uint64_t (*realtime_ns)(void *context);  // since 1970-01-01T00:00:00Z; for file times only
    void (*random_bytes)(void *context, void *out,
                         size_t n); // fit for keys; never fails (aborts without entropy)
};

// The machine's own clock and getrandom(2). Any thread.
extern const struct env env_system;

static inline uint64_t env_monotonic_ns(const struct env *env)
{
    return env->monotonic_ns(env->context);
}

static inline uint64_t env_realtime_ns(const struct env *env)
{
    return env->realtime_ns(env->context);
}

static inline void env_random(const struct env *env, void *out, size_t n)
{
    env->random_bytes(env->context, out, n);
}

#endif
