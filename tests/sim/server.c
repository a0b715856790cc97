// SPDX-License-Identifier: Apache-2.0
// The server in the simulation: the real sessions, turns, grace and core on a model store that survives
// crashes. Stands in for shard.c, listener.c and libuv. A crash drops all that is in memory; it falls between
// turns, and takes along replies and requests that are under way.
#include "fs/store/store_fault.h"
#include "fs/store/store_model.h"
#include "server/hosted.h"
#include "tests/sim/network.h"
#include "tests/sim/sim.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bool up, turn_planned;
    unsigned life; // counts starts
    uint64_t frozen_until_us, crashed_us, started_us;
    struct store *model, *store; // the latter makes commits fail on demand
    struct shard shard;
    struct hosting_options options;
    struct place place;
    struct hosted *hosted;
} server;

// --- libuv, as far as the server's logic asks it ---

uint64_t uv_now(const uv_loop_t *loop UNUSED)
{
    return world_now_us() / SIM_MS;
}

struct disk_job {
    uv_work_t *work;
    uv_after_work_cb done;
    unsigned life;
};

// A job on the disk: slow at times. One whose server has died is nobody's.
static void disk_job_done(void *context)
{
    struct disk_job *job = context;
    if (server.up && job->life == server.life) {
        job->work->work_cb(job->work);
        job->done(job->work, 0);
        server_worked();
    }
    free(job);
}

int uv_queue_work(uv_loop_t *loop UNUSED, uv_work_t *work, uv_work_cb run, uv_after_work_cb done)
{
    struct disk_job *job = malloc(sizeof(*job));
    fs_assert(job);
    *job = (struct disk_job){.work = work, .done = done, .life = server.life};
    work->work_cb = run;
    world_after(world_chance(3) ? world_between(SIM_SECOND, 3 * SIM_SECOND) : world_between(100, 20 * SIM_MS),
                disk_job_done, job);
    return 0;
}

// --- the shard's loop ---

static void turn(void *context)
{
    if (!server.up || (uintptr_t)context != server.life)
        return;
    if (server.frozen_until_us > world_now_us()) {
        world_after(server.frozen_until_us - world_now_us(), turn, context);
        return;
    }
    server.turn_planned = false;
    turn_run(server.hosted);
    if (hosted_upkeep(server.hosted))
        shard_work(&server.shard);
    server_worked();
}

void shard_work(struct shard *shard UNUSED)
{
    if (server.turn_planned)
        return;
    server.turn_planned = true;
    world_after(world_between(5, 200), turn, (void *)(uintptr_t)server.life);
}

static void tick(void *context)
{
    if (!server.up || (uintptr_t)context != server.life)
        return;
    uint64_t next_us = SHARD_TICK_MS * SIM_MS;
    if (server.frozen_until_us > world_now_us()) {
        next_us = server.frozen_until_us - world_now_us();
    } else {
        hosted_tick(server.hosted);
        server_worked();
    }
    world_after(next_us, tick, context);
}

// What came in, or was made possible, gets its turn.
void server_worked(void)
{
    if (server.up && hosted_may_run(server.hosted))
        shard_work(&server.shard);
}

unsigned server_life(void)
{
    return server.life;
}

bool server_is_up(void)
{
    return server.up;
}

uint64_t server_frozen_until_us(void)
{
    return server.frozen_until_us;
}

// --- life ---

static void start(void *context)
{
    if (server.up)
        return;
    bool log_continuous = (uintptr_t)context == 0;
    server.up = true;
    server.turn_planned = false;
    server.life++;
    server.shard = (struct shard){.options = &server.options, .incarnation = server.life};
    server.started_us = world_now_us();
    list_init(&server.shard.hosted);
    list_init(&server.shard.clients);
    server.place = (struct place){.shard = &server.shard};
    server.hosted = calloc(1, sizeof(*server.hosted));
    fs_assert(server.hosted);
    hosted_init(server.hosted, &server.shard, &server.place, log_continuous);
    fs_assert(hosted_start(server.hosted, server.store, world_now_us() * 1000u) == 0);
    world_trace("server starts, life %u, %zu sessions", server.life, server.hosted->sessions.count);
    world_after(SHARD_TICK_MS * SIM_MS, tick, (void *)(uintptr_t)server.life);
}

void server_begin(bool strict)
{
    memset(&server, 0, sizeof(server));
    server.options = (struct hosting_options){.env = &world_env,
                                              .n_shards = 1,
                                              .durability_strict = strict,
                                              .lease_ms = SIM_LEASE_MS,
                                              .max_locks = 1000};
    fs_assert(store_model_open(&server.model) == 0);
    fs_assert(store_fault_open(server.model, &server.store) == 0);
    start((void *)(uintptr_t)0);
}

// Its memory is left as it is: nothing of it is looked at again.
void server_crash(uint64_t back_after_us, bool power_loss)
{
    if (!server.up)
        return;
    world_trace("server crashes%s", power_loss ? " with a power loss" : "");
    server.up = false;
    server.crashed_us = world_now_us();
    server.hosted = NULL;
    if (store_in_transaction(server.store))
        store_rollback(server.store);
    network_server_died();
    world_after(back_after_us, start, (void *)(uintptr_t)power_loss);
}

void server_freeze(uint64_t for_us)
{
    server.frozen_until_us = MAX(server.frozen_until_us, world_now_us() + for_us);
}

void server_fail_commit(void)
{
    if (server.up)
        store_fault_arm(server.store, "commit", 1, -EIO);
}

size_t server_locks(void)
{
    return server.up ? lock_count(server.hosted->locks) : 0;
}

uint64_t server_crashed_us(void)
{
    return server.crashed_us;
}

uint64_t server_started_us(void)
{
    return server.started_us;
}

// --- hello ---

void server_accept(struct conn *conn)
{
    uint8_t nonce[WIRE_NONCE_SIZE] = {0};
    struct wire_greeting_event greeting = {.magic = WIRE_MAGIC,
                                           .version_min = WIRE_VERSION_MIN,
                                           .version_max = WIRE_VERSION_MAX,
                                           .nonce = {.bytes = nonce, .length = sizeof(nonce)}};
    struct out *out = out_new(64);
    fs_assert(out);
    struct writer body = writer_on(out_body(out), 64);
    wire_put_greeting_event(&body, &greeting);
    fs_assert(!body.failed);
    conn_send(conn, out_seal(out, (struct wire_header){.op = WIRE_GREETING}, 64 - body.left));
    conn_flush(conn);
}

void server_hello(struct conn *conn, const struct wire_header *header, struct reader body)
{
    struct wire_hello_request hello;
    fs_assert(header->op == WIRE_HELLO && wire_get_hello_request(&body, &hello) == 0);
    struct attach *attach = calloc(1, sizeof(*attach));
    fs_assert(attach);
    strcpy(attach->path, "/");
    strcpy(attach->fs_id, "fs");
    snprintf(attach->client_name, sizeof(attach->client_name), "%.*s", (int)hello.client_name.length,
             hello.client_name.bytes);
    attach->version = hello.version;
    attach->want_leases = hello.want_leases;
    attach->session_high = hello.session_high;
    attach->session_low = hello.session_low;
    attach->identity.how = WIRE_IDENTITY_FIXED;
    welcome(&server.shard, server.hosted, attach, conn);
}
