// SPDX-License-Identifier: Apache-2.0
// One running instance of a function: its sandboxed process, its Runtime API server, its mount, its log. Made
// and asked by its pool (fleet.c), driven by its runtime (runtime_api.c), its timer and its process. Loop
// thread.
#ifndef BERTH_SHIM_INSTANCE_H
#define BERTH_SHIM_INSTANCE_H

#include "shim/http_server.h"
#include "shim/instance_state.h"
#include "shim/invocation.h"
#include "shim/mounts.h"
#include "shim/sandbox.h"

struct instance;

// What all instances share, and how an instance speaks to its pool. A start that fails ends in start_failed()
// and then gone(); every other end in gone() alone, always later than the call that caused it.
struct instance_host {
    uv_loop_t *loop;
    const struct env *env;
    const struct sandbox *sandbox;
    struct mounts *mounts; // NULL when no function is given a mount
    unsigned idle_seconds;
    void (*idle)(void *pool, struct instance *instance);
    void (*start_failed)(void *pool, struct instance *instance, const struct outcome *outcome);
    void (*stopping)(void *pool, struct instance *instance); // it takes no more invocations
    void (*gone)(void *pool, struct instance *instance);     // its memory goes after this
};

// NULL: no memory. What else goes wrong comes through start_failed.
struct instance *instance_new(const struct instance_host *host, void *pool, const struct function *function,
                              unsigned number);
void instance_start(struct instance *instance);
enum instance_state instance_state_of(const struct instance *instance);
struct list *instance_link(struct instance *instance); // for its pool's list
struct instance *instance_of_link(struct list *link);

void instance_dispatch(struct instance *instance, struct invocation *invocation); // only when idle
void instance_stop(struct instance *instance); // an invocation under way fails

// Is this connection the instance's own? Always, without sandboxes.
bool instance_is_peer(const struct instance *instance, int connection_fd);

// What the Runtime API brings; each answers the request.
void instance_on_next(struct instance *instance, struct http_request *request);
void instance_on_result(struct instance *instance, struct http_request *request, const char *id,
                        size_t id_size, bool is_error);
void instance_on_init_error(struct instance *instance, struct http_request *request);

#endif
