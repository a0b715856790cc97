// SPDX-License-Identifier: Apache-2.0
// All functions and their instances: which instance serves an invocation, when one more is started, who waits
// and who is turned away. Loop thread.
#ifndef BERTH_SHIM_FLEET_H
#define BERTH_SHIM_FLEET_H

#include "shim/invocation.h"
#include "shim/mounts.h"
#include "shim/sandbox.h"

struct fleet;

struct fleet_options {
    uv_loop_t *loop;
    const struct env *env;
    const struct functions *functions;
    const struct sandbox *sandbox;
    struct mounts *mounts; // or NULL
    unsigned idle_seconds;
};

struct fleet *fleet_new(const struct fleet_options *options); // options' pointers stay the caller's
// Takes the invocation; its `done` is called exactly once, within this call or later.
void fleet_invoke(struct fleet *fleet, struct invocation *invocation);
// Fails what is under way, stops every instance, then calls done and frees.
void fleet_stop(struct fleet *fleet, void (*done)(void *context), void *context);

#endif
