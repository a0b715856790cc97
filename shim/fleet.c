// SPDX-License-Identifier: Apache-2.0
// See fleet.h. A pool is one function's instances and queue. Invariants: an invocation waits only while no
// instance is idle; at most max_instances are alive; a start that fails costs one waiting invocation, so
// starts end.
#include "shim/fleet.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "shim/instance.h"
#include <stdlib.h>
#include <string.h>

#define WAITING_MAX 1024 // invocations of one function that wait for an instance; the next one is throttled

struct pool {
    struct fleet *fleet;
    const struct function *function;
    struct list instances; // all that are not gone; those idle longest come first
    struct list waiting;
    unsigned n_waiting;
    unsigned last_number;
    uv_timer_t timer; // the oldest waiting invocation's patience
};

struct fleet {
    struct instance_host host;
    struct pool *pools;
    size_t n_pools;
    size_t n_instances; // of all pools, until gone
    size_t n_timers;
    bool stopping;
    void (*done)(void *context);
    void *done_context;
};

static void balance(struct pool *pool);

static unsigned count_starting(const struct pool *pool)
{
    unsigned count = 0;
    list_for_each (it, &pool->instances)
        count += instance_state_of(instance_of_link(it)) == INSTANCE_STARTING;
    return count;
}

static unsigned count_alive(const struct pool *pool)
{
    unsigned count = 0;
    list_for_each (it, &pool->instances)
        count += instance_state_of(instance_of_link(it)) != INSTANCE_STOPPING;
    return count;
}

// --- the queue ---

static void throttle(struct invocation *invocation)
{
    invocation_refuse(invocation, 429, "TooManyRequestsException", "Rate Exceeded.");
}

static struct invocation *take_waiting(struct pool *pool)
{
    struct list *link = list_pop(&pool->waiting);
    if (!link)
        return NULL;
    pool->n_waiting--;
    return LIST_ENTRY(link, struct invocation, link);
}

static void on_patience(uv_timer_t *timer);

// Those at the head wait for a cold start, which has its own limit; the first one after them counts.
static struct invocation *next_to_expire(struct pool *pool)
{
    unsigned skip = count_starting(pool);
    list_for_each (it, &pool->waiting)
        if (skip-- == 0)
            return LIST_ENTRY(it, struct invocation, link);
    return NULL;
}

static uint64_t expiry_ms(const struct pool *pool, const struct invocation *invocation)
{
    return invocation->queued_ms + (uint64_t)pool->function->timeout_seconds * 1000;
}

static void arm_patience(struct pool *pool)
{
    const struct invocation *next = next_to_expire(pool);
    if (!next || pool->fleet->stopping) {
        uv_timer_stop(&pool->timer);
        return;
    }
    uint64_t now = uv_now(pool->fleet->host.loop), at = expiry_ms(pool, next);
    uv_timer_start(&pool->timer, on_patience, at > now ? at - now : 0, 0);
}

static void on_patience(uv_timer_t *timer)
{
    struct pool *pool = timer->data;
    uint64_t now = uv_now(pool->fleet->host.loop);
    for (struct invocation *next; (next = next_to_expire(pool)) && expiry_ms(pool, next) <= now;) {
        list_remove(&next->link);
        pool->n_waiting--;
        throttle(next);
    }
    arm_patience(pool);
}

// --- what instances say ---

static void on_idle(void *context, struct instance *instance)
{
    struct pool *pool = context;
    struct invocation *invocation = take_waiting(pool);
    if (invocation) {
        instance_dispatch(instance, invocation);
    } else {
        list_remove(instance_link(instance));
        list_push(&pool->instances, instance_link(instance));
    }
    arm_patience(pool);
}

static void on_start_failed(void *context, struct instance *instance UNUSED, const struct outcome *outcome)
{
    struct invocation *invocation = take_waiting(context);
    if (invocation)
        invocation_finish(invocation, outcome);
}

static void on_stopping(void *context, struct instance *instance UNUSED)
{
    balance(context);
}

static void finish_stop(struct fleet *fleet)
{
    if (!fleet->stopping || fleet->n_instances > 0 || fleet->n_timers > 0)
        return;
    void (*done)(void *) = fleet->done;
    void *context = fleet->done_context;
    free(fleet->pools);
    free(fleet);
    done(context);
}

static void on_gone(void *context, struct instance *instance)
{
    struct pool *pool = context;
    list_remove(instance_link(instance));
    pool->fleet->n_instances--;
    finish_stop(pool->fleet);
}

// --- dispatch ---

static void start_one(struct pool *pool)
{
    struct fleet *fleet = pool->fleet;
    struct instance *instance = instance_new(&fleet->host, pool, pool->function, ++pool->last_number);
    if (!instance) {
        struct invocation *invocation = take_waiting(pool);
        invocation_refuse(invocation, 500, "ServiceException", "Out of memory.");
        return;
    }
    list_push(&pool->instances, instance_link(instance));
    fleet->n_instances++;
    instance_start(instance);
}

// One start for each invocation that waits without one, as far as the function's limit goes.
static void balance(struct pool *pool)
{
    while (!pool->fleet->stopping && pool->n_waiting > count_starting(pool) &&
           count_alive(pool) < pool->function->max_instances)
        start_one(pool);
    arm_patience(pool);
}

// The one that was busy last: the others may grow old.
static struct instance *find_idle(struct pool *pool)
{
    for (struct list *it = pool->instances.prev; it != &pool->instances; it = it->prev)
        if (instance_state_of(instance_of_link(it)) == INSTANCE_IDLE)
            return instance_of_link(it);
    return NULL;
}

static struct pool *pool_of(struct fleet *fleet, const struct function *function)
{
    for (size_t i = 0; i < fleet->n_pools; i++)
        if (fleet->pools[i].function == function)
            return &fleet->pools[i];
    fs_assert(!"a function that the fleet was not made with");
    return NULL;
}

void fleet_invoke(struct fleet *fleet, struct invocation *invocation)
{
    struct pool *pool = pool_of(fleet, invocation->function);
    if (fleet->stopping) {
        invocation_refuse(invocation, 503, "ServiceException", "The service is stopping.");
        return;
    }
    struct instance *idle = find_idle(pool);
    if (idle) {
        instance_dispatch(idle, invocation);
        return;
    }
    if (pool->function->max_instances == 0 || pool->n_waiting >= WAITING_MAX) {
        throttle(invocation);
        return;
    }
    invocation->queued_ms = uv_now(fleet->host.loop);
    list_push(&pool->waiting, &invocation->link);
    pool->n_waiting++;
    balance(pool);
}

// --- life ---

struct fleet *fleet_new(const struct fleet_options *options)
{
    struct fleet *fleet = calloc(1, sizeof(*fleet));
    struct pool *pools = calloc(options->functions->count + 1, sizeof(*pools));
    fs_assert(fleet && pools);
    fleet->pools = pools;
    fleet->n_pools = fleet->n_timers = options->functions->count;
    fleet->host = (struct instance_host){
        .loop = options->loop,
        .env = options->env,
        .sandbox = options->sandbox,
        .mounts = options->mounts,
        .idle_seconds = options->idle_seconds,
        .idle = on_idle,
        .start_failed = on_start_failed,
        .stopping = on_stopping,
        .gone = on_gone,
    };
    for (size_t i = 0; i < fleet->n_pools; i++) {
        pools[i].fleet = fleet;
        pools[i].function = &options->functions->items[i];
        list_init(&pools[i].instances);
        list_init(&pools[i].waiting);
        uv_timer_init(options->loop, &pools[i].timer);
        pools[i].timer.data = &pools[i];
    }
    return fleet;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct pool *pool = handle->data;
    pool->fleet->n_timers--;
    finish_stop(pool->fleet);
}

void fleet_stop(struct fleet *fleet, void (*done)(void *context), void *context)
{
    fleet->stopping = true;
    fleet->done = done;
    fleet->done_context = context;
    for (size_t i = 0; i < fleet->n_pools; i++) {
        struct pool *pool = &fleet->pools[i];
        for (struct invocation *next; (next = take_waiting(pool));)
            invocation_refuse(next, 503, "ServiceException", "The service is stopping.");
        list_for_each_safe (it, after, &pool->instances)
            instance_stop(instance_of_link(it));
        uv_close((uv_handle_t *)&pool->timer, on_timer_closed);
    }
    finish_stop(fleet); // without any function there is nothing to wait for
}
