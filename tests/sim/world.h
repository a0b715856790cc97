// SPDX-License-Identifier: Apache-2.0
// The simulated world: virtual time, chance from one seed, and what is to happen when. One thread. A run is a
// function of its seed: nothing here or in what it calls asks the machine for time or chance.
#ifndef BERTH_SIM_WORLD_H
#define BERTH_SIM_WORLD_H

#include "fs/base/check.h"
#include "fs/base/env.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MS       1000u // in microseconds
#define SIM_SECOND   1000000u
#define SIM_LEASE_MS 2000u

// What happens: `run` owns what `context` points to.
typedef void sim_event(void *context);

void world_begin(uint64_t seed, bool verbose);
void world_end(void); // drops what has not happened

uint64_t world_now_us(void);
void world_after(uint64_t delay_us, sim_event *run, void *context);
// Runs what is due up to a time; false when a violation has been found meanwhile.
bool world_run_until(uint64_t until_us);

// Chance.
uint64_t world_random(uint64_t n);              // 0 .. n - 1
uint64_t world_between(uint64_t a, uint64_t b); // a .. b
bool world_chance(unsigned percent);

// The clocks of server and clients. The time of day jumps about; the steady clock is virtual time.
extern const struct env world_env;
void world_jump_clock(void);

// A promise was broken; the run ends. The first one is kept.
PRINTF_LIKE(1, 2) void world_violation(const char *format, ...);
const char *world_violated(void); // NULL: not
bool world_is_verbose(void);
PRINTF_LIKE(1, 2) void world_trace(const char *format, ...); // when verbose

// Which seeded bug is in, 0 none; see bugs.c.
extern unsigned sim_bug;

#endif
