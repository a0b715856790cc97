// SPDX-License-Identifier: Apache-2.0
// See client.h. Invariant: a call that was begun in one life of a client is never answered in the next.
#include "tests/sim/client.h"
#include "tests/sim/cache.h"
#include "tests/sim/work.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_MAX (1u << 20)

struct client {
    bool alive;
    unsigned life;
    struct rpc *rpc;
    struct rpc_host host;
    uint64_t frozen_until_us, tick_at_us;
    uint64_t welcomed_by, served_by; // the life of the server that welcomed it, and that served it last
    uint64_t heard_us;               // when the latter answered last
    bool has_root;
    wire_handle root;
    struct list opens;
    uint64_t last_open_id, last_ticket;
    char name[16];
};

static struct client clients[NETWORK_CLIENTS];
static unsigned n_clients;

static unsigned number_of(const struct client *client)
{
    return (unsigned)(client - clients);
}

unsigned client_count(void)
{
    return n_clients;
}

bool client_has_root(unsigned client)
{
    return clients[client].alive && clients[client].has_root;
}

wire_handle client_root(unsigned client)
{
    return clients[client].root;
}

unsigned client_life(unsigned client)
{
    return clients[client].life;
}

uint64_t client_frozen_until_us(unsigned client)
{
    return clients[client].frozen_until_us;
}

// --- sending, and the clock ---

static void on_tick(void *context)
{
    struct client *client = &clients[(uintptr_t)context % NETWORK_CLIENTS];
    if (!client->alive || client->life != (uintptr_t)context / NETWORK_CLIENTS)
        return;
    if (client->frozen_until_us > world_now_us()) {
        world_after(client->frozen_until_us - world_now_us(), on_tick, context);
        return;
    }
    client->tick_at_us = UINT64_MAX;
    client_pump(number_of(client));
}

static void flush(struct client *client)
{
    static uint8_t bytes[OUTPUT_MAX];
    struct iovec parts[64];
    size_t n_parts, n = 0;
    while ((n_parts = rpc_output(client->rpc, parts, ARRAY_LEN(parts))) > 0) {
        size_t first = n;
        for (size_t i = 0; i < n_parts; i++) {
            fs_assert(n + parts[i].iov_len <= OUTPUT_MAX);
            memcpy(bytes + n, parts[i].iov_base, parts[i].iov_len);
            n += parts[i].iov_len;
        }
        rpc_written(client->rpc, n - first);
    }
    if (n > 0)
        network_send(number_of(client), bytes, n);
}

void client_pump(unsigned number)
{
    struct client *client = &clients[number];
    if (!client->alive)
        return;
    uint64_t due_ns = rpc_tick(client->rpc);
    cache_pump(number);
    if (rpc_is_up(client->rpc))
        client->served_by = client->welcomed_by;
    flush(client);
    if (due_ns == UINT64_MAX)
        return;
    uint64_t due_us = MAX(due_ns / 1000u + 1, world_now_us() + 1);
    if (due_us >= client->tick_at_us && client->tick_at_us > world_now_us())
        return;
    client->tick_at_us = due_us;
    world_after(due_us - world_now_us(), on_tick,
                (void *)(uintptr_t)(client->life * NETWORK_CLIENTS + number));
}

// --- what the network tells ---

void client_connected(unsigned client)
{
    rpc_connected(clients[client].rpc);
    client_pump(client);
}

void client_lost(unsigned client, int error)
{
    if (!clients[client].alive)
        return;
    world_trace("client %u lost its connection", client);
    rpc_lost(clients[client].rpc, error, "the simulated network");
    client_pump(client);
}

void client_received(unsigned client, const uint8_t *bytes, size_t n)
{
    struct wire_header header;
    fs_assert(wire_get_header(bytes, &header) == 0 && header.length == n);
    if (rpc_is_up(clients[client].rpc))
        clients[client].heard_us = world_now_us();
    cache_lapse(client);
    rpc_frame(clients[client].rpc, &header, reader_on(bytes + WIRE_HEADER_SIZE, n - WIRE_HEADER_SIZE));
    client_pump(client);
}

// --- calls ---

struct sim_call {
    struct rpc_call rpc;
    struct job *job;
    unsigned client, life;
    reply_handler *done;
};

static bool answer_is_old;

bool client_answer_is_old(void)
{
    return answer_is_old;
}

static void call_done(struct rpc_call *rpc, int result, struct reader *body)
{
    struct sim_call *call = CONTAINER_OF(rpc, struct sim_call, rpc);
    answer_is_old = rpc->again;
    if (clients[call->client].alive && clients[call->client].life == call->life && call->done)
        call->done(call->job, result, body);
    free(call);
}

static void submit(unsigned client, struct job *job, uint16_t op, enum rpc_class class, const uint8_t *body,
                   size_t n, reply_handler *done)
{
    struct sim_call *call = calloc(1, sizeof(*call));
    uint8_t *frame = malloc(WIRE_HEADER_SIZE + n);
    fs_assert(call && frame);
    memcpy(frame + WIRE_HEADER_SIZE, body, n);
    call->job = job;
    call->client = client;
    call->life = clients[client].life;
    call->done = done;
    call->rpc = (struct rpc_call){.frame = frame,
                                  .length = (uint32_t)(WIRE_HEADER_SIZE + n),
                                  .op = op,
                                  .repeatable = wire_op_repeatable(op),
                                  .class = class,
                                  .done = call_done};
    rpc_submit(clients[client].rpc, &call->rpc);
}

void client_call(struct job *job, unsigned client, uint16_t op, const uint8_t *body, size_t n,
                 reply_handler *done)
{
    submit(client, job, op, RPC_ORDINARY, body, n, done);
    client_pump(client);
}

struct pause {
    struct job *job;
    unsigned client, life;
    void (*next)(struct job *job);
};

static void pause_over(void *context)
{
    struct pause *pause = context;
    const struct client *client = &clients[pause->client];
    if (client->frozen_until_us > world_now_us()) {
        world_after(client->frozen_until_us - world_now_us(), pause_over, pause);
        return;
    }
    if (client->alive && client->life == pause->life)
        pause->next(pause->job);
    free(pause);
}

void client_after(struct job *job, unsigned client, uint64_t delay_us, void (*next)(struct job *job))
{
    struct pause *pause = malloc(sizeof(*pause));
    fs_assert(pause);
    *pause = (struct pause){job, client, clients[client].life, next};
    world_after(delay_us, pause_over, pause);
}

// --- opens ---

uint64_t client_new_open_id(unsigned client)
{
    return ++clients[client].last_open_id;
}

uint64_t client_new_ticket(unsigned client)
{
    return ++clients[client].last_ticket;
}

void client_opened(unsigned client, struct sim_open *open)
{
    open->client = client;
    list_init(&open->node);
    list_push(&clients[client].opens, &open->node);
}

struct sim_open *client_wait(unsigned client, uint64_t ticket)
{
    if (!clients[client].alive)
        return NULL;
    list_for_each (node, &clients[client].opens) {
        struct sim_open *open = LIST_ENTRY(node, struct sim_open, node);
        if (open->ticket == ticket)
            return open;
    }
    return NULL;
}

void client_released(struct sim_open *open)
{
    list_remove(&open->node);
}

// --- recovery, as client/recover.c does it ---

static void open_claimed(struct job *job UNUSED, int result UNUSED, struct reader *body UNUSED)
{
}

// job is the open: claims are not of a job's making.
static void lock_claimed(struct job *job, int result, struct reader *body UNUSED)
{
    struct sim_open *open = (struct sim_open *)job;
    uint8_t bytes[16];
    struct writer release = writer_on(bytes, sizeof(bytes));
    if (result == 0 || result == -ECANCELED)
        return;
    const struct client *client = &clients[open->client];
    // An expired session is not waited for.
    bool was_there = client->served_by + 1 == client->welcomed_by &&
                     client->heard_us + SIM_LEASE_MS * SIM_MS / 2 > server_crashed_us();
    if (was_there && world_now_us() < server_started_us() + SIM_LEASE_MS * SIM_MS)
        world_violation("client %u lost a lock although it came back in time", open->client);
    open->given_up = true;
    open->locked = false;
    // Before what waits to be sent: the server refuses it then.
    wire_put_release_request(&release, &(struct wire_release_request){.open_id = open->id});
    submit(open->client, NULL, WIRE_RELEASE, RPC_RECLAIM, bytes, sizeof(bytes) - release.left, open_claimed);
}

static void claim(unsigned number, struct sim_open *open)
{
    uint8_t bytes[128];
    struct writer body = writer_on(bytes, sizeof(bytes));
    wire_put_reopen_request(&body, &(struct wire_reopen_request){
                                       .handle = open->handle, .open_id = open->id, .flags = open->flags});
    submit(number, NULL, WIRE_REOPEN, RPC_RECLAIM, bytes, sizeof(bytes) - body.left, open_claimed);
    if (!open->locked)
        return;
    body = writer_on(bytes, sizeof(bytes));
    wire_put_setlk_request(&body, &(struct wire_setlk_request){
                                      .open_id = open->id, .lock = open->lock, .how = WIRE_SETLK_RECLAIM});
    submit(number, (struct job *)open, WIRE_SETLK, RPC_RECLAIM, bytes, sizeof(bytes) - body.left,
           lock_claimed);
}

static void host_reclaim(void *context)
{
    struct client *client = context;
    world_trace("client %u claims", number_of(client));
    cache_claim(number_of(client));
    list_for_each (node, &client->opens) {
        struct sim_open *open = LIST_ENTRY(node, struct sim_open, node);
        if (!open->given_up)
            claim(number_of(client), open);
    }
    list_for_each (node, &client->opens) {
        struct sim_open *open = LIST_ENTRY(node, struct sim_open, node);
        if (open->queued && !open->asking && !open->cancelled)
            work_ask_again(open);
    }
}

static bool host_may_be_told(void *context)
{
    return cache_has_dropped(number_of(context));
}

static void host_fenced(void *context)
{
    struct client *client = context;
    world_trace("client %u is fenced", number_of(client));
    list_for_each (node, &client->opens) {
        struct sim_open *open = LIST_ENTRY(node, struct sim_open, node);
        open->given_up = true;
        open->locked = false;
    }
    list_for_each_safe (node, after, &client->opens)
        work_wait_fenced(LIST_ENTRY(node, struct sim_open, node));
}

// --- the rest of the rpc's host ---

static void host_connect(void *context)
{
    network_connect(number_of(context));
}

static void host_disconnect(void *context)
{
    network_disconnect(number_of(context));
}

static void host_welcome(void *context, const struct wire_hello_reply *reply, bool first UNUSED)
{
    struct client *client = context;
    client->root = reply->root.handle;
    client->has_root = true;
    client->welcomed_by = reply->incarnation;
    cache_welcome(number_of(client), reply);
    world_trace("client %u welcome resumed=%d claims=%d", number_of(client), reply->resumed, reply->claims);
}

static void host_down(void *context UNUSED, int error UNUSED, const char *why)
{
    if (strcmp(why, "the simulated network") != 0)
        world_trace("down: %s", why);
    // Nobody breaks the protocol here.
    if (error == -EPROTO)
        world_violation("the client found fault with the server: %s", why);
}

static void host_granted(void *context, uint64_t ticket)
{
    struct sim_open *open = client_wait(number_of(context), ticket);
    if (open)
        work_granted(open);
}

static void host_invalidate(void *context, const struct wire_invalidate_event *event)
{
    cache_invalidate(number_of(context), event);
}

static void host_ended(void *context UNUSED)
{
}

// --- life ---

static void start(struct client *client)
{
    client->alive = true;
    client->life++;
    client->frozen_until_us = 0;
    client->tick_at_us = UINT64_MAX;
    client->has_root = false;
    list_init(&client->opens);
    snprintf(client->name, sizeof(client->name), "%u.%u", number_of(client), client->life);
    client->host = (struct rpc_host){.context = client,
                                     .connect = host_connect,
                                     .disconnect = host_disconnect,
                                     .welcome = host_welcome,
                                     .reclaim = host_reclaim,
                                     .may_be_told = host_may_be_told,
                                     .fenced = host_fenced,
                                     .down = host_down,
                                     .granted = host_granted,
                                     .invalidate = host_invalidate,
                                     .ended = host_ended};
    struct rpc_options options = {.env = &world_env,
                                  .host = &client->host,
                                  .access_point = "fsap-00000000000000001",
                                  .access_key = "",
                                  .client_name = client->name,
                                  .want_leases = true};
    fs_assert(rpc_create(&options, &client->rpc) == 0);
    cache_begin(number_of(client), client->rpc);
    rpc_start(client->rpc);
    client_pump(number_of(client));
}

void clients_begin(unsigned n)
{
    memset(clients, 0, sizeof(clients));
    n_clients = n;
    for (unsigned i = 0; i < n; i++)
        start(&clients[i]);
}

void client_freeze(unsigned client, uint64_t for_us)
{
    world_trace("client %u freezes for %llu ms", client, (unsigned long long)for_us / SIM_MS);
    clients[client].frozen_until_us = MAX(clients[client].frozen_until_us, world_now_us() + for_us);
}

static void start_again(void *context)
{
    struct client *client = context;
    start(client);
    work_client_starts(number_of(client));
}

bool clients_were_killed(void)
{
    for (unsigned i = 0; i < n_clients; i++) {
        if (clients[i].life > 1)
            return true;
    }
    return false;
}

void client_kill(unsigned number, uint64_t back_after_us)
{
    struct client *client = &clients[number];
    if (!client->alive)
        return;
    world_trace("client %u is killed", number);
    client->alive = false;
    network_vanish(number);
    rpc_destroy(client->rpc);
    client->rpc = NULL;
    world_after(back_after_us, start_again, client);
}
