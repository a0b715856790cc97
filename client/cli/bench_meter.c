// SPDX-License-Identifier: Apache-2.0
// Meters of berth bench: how many operations, how many bytes, and how long each took. One thread has each.
#include "client/cli/bench.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int meter_start(struct meter *meter, double limit_s)
{
    *meter = (struct meter){.limit_s = limit_s};
    meter->samples_us = malloc(METER_SAMPLES_MAX * sizeof(*meter->samples_us));
    if (!meter->samples_us)
        return -ENOMEM;
    meter->start_ns = bench_now_ns();
    return 0;
}

void meter_free(struct meter *meter)
{
    free(meter->samples_us);
    meter->samples_us = NULL;
}

bool meter_next(struct meter *meter)
{
    meter->step_ns = bench_now_ns();
    return !bench_interrupted() && (double)(meter->step_ns - meter->start_ns) < meter->limit_s * 1e9;
}

void meter_sample(struct meter *meter, uint64_t ns)
{
    if (meter->n_samples < METER_SAMPLES_MAX)
        meter->samples_us[meter->n_samples++] = (float)ns / 1000;
}

void meter_done(struct meter *meter, uint64_t count, uint64_t bytes)
{
    meter_sample(meter, bench_now_ns() - meter->step_ns);
    meter->count += count;
    meter->bytes += bytes;
}

void meter_end(struct meter *meter)
{
    meter->end_ns = bench_now_ns();
}
