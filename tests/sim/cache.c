// SPDX-License-Identifier: Apache-2.0
// See cache.h. Invariant: what is kept was given after everything that the client itself changed, and under
// the present generation, or is bytes that a server which restarted was told of, or is being dropped.
#include "tests/sim/cache.h"
#include "tests/sim/client.h"
#include "tests/sim/network.h"
#include "tests/sim/sim.h"
#include "tests/sim/work.h"
#include "tests/sim/world.h"
#include <stdlib.h>
#include <string.h>

#define OWED_MAX    256u
#define NAME_MAX_MS 40u  // for dropping a name
#define DROP_MAX_MS 600u // for dropping registers, when the session or the server's log was lost

struct cached_register {
    wire_handle handle; // ino 0: not known yet
    bool kept;
    uint64_t value;
    unsigned n_reads; // that may be kept, under way
    unsigned n_all_reads, n_pages;
    unsigned n_writes;       // of the client's own, under way
    uint64_t epoch;          // counts what makes those reads old
    uint64_t owed[OWED_MAX]; // answers that wait for the reads
    size_t n_owed;
};

struct cache {
    struct rpc *rpc;
    uint64_t generation;
    bool owes_cleared;
    bool dropping; // what is kept can still be seen, and nothing more is kept
    unsigned n_drops;
    struct cached_register registers[CACHE_REGISTERS];
    bool name_kept[CACHE_NAMES], name_there[CACHE_NAMES];
    unsigned n_changes; // of names, the client's own, under way
    uint64_t names_epoch;
};

static struct cache caches[NETWORK_CLIENTS];

static void drop_register(struct cached_register *reg)
{
    reg->kept = false;
    reg->epoch++;
}

static void drop_registers(struct cache *cache)
{
    for (size_t i = 0; i < CACHE_REGISTERS; i++)
        drop_register(&cache->registers[i]);
}

static void drop_names(struct cache *cache)
{
    memset(cache->name_kept, 0, sizeof(cache->name_kept));
    cache->names_epoch++;
}

void cache_begin(unsigned client, struct rpc *rpc)
{
    // What the life before had begun to drop does not count.
    caches[client] = (struct cache){.rpc = rpc, .n_drops = caches[client].n_drops + 1};
}

// A client that is frozen does it when it goes on.
static bool postponed(unsigned client, sim_event *event, void *context)
{
    bool frozen = client_frozen_until_us(client) > world_now_us();
    if (frozen)
        world_after(client_frozen_until_us(client) - world_now_us(), event, context);
    return frozen;
}

static void dropped(void *context)
{
    unsigned client = (uintptr_t)context % NETWORK_CLIENTS;
    struct cache *cache = &caches[client];
    if (!client_has_root(client) || cache->n_drops != (uintptr_t)context / NETWORK_CLIENTS)
        return;
    if (postponed(client, dropped, context))
        return;
    work_look_at_kept(client);
    drop_registers(cache);
    cache->dropping = false;
    rpc_claimed(cache->rpc);
    client_pump(client);
}

static void begin_to_drop(unsigned client)
{
    struct cache *cache = &caches[client];
    uintptr_t number = ++cache->n_drops;
    cache->dropping = true;
    for (size_t i = 0; i < CACHE_REGISTERS; i++)
        cache->registers[i].epoch++; // what is being read came from the server that is no more
    world_after(world_between(0, DROP_MAX_MS) * SIM_MS, dropped, (void *)(number * NETWORK_CLIENTS + client));
}

bool cache_has_dropped(unsigned client)
{
    return !caches[client].dropping;
}

void cache_lapse(unsigned client)
{
    struct cache *cache = &caches[client];
    uint64_t lease_ns = (uint64_t)SIM_LEASE_MS * 1000000u;
    if (env_monotonic_ns(&world_env) < rpc_answered_ns(cache->rpc) + lease_ns * 2 / 3)
        return;
    drop_registers(cache);
    drop_names(cache);
}

void cache_pump(unsigned client)
{
    struct cache *cache = &caches[client];
    if (cache->owes_cleared && !cache->dropping &&
        rpc_tell(cache->rpc, WIRE_CLEARED, &cache->generation, sizeof(cache->generation)) == 0)
        cache->owes_cleared = false;
}

void cache_welcome(unsigned client, const struct wire_hello_reply *reply)
{
    struct cache *cache = &caches[client];
    for (size_t i = 0; i < CACHE_REGISTERS; i++)
        cache->registers[i].n_owed = 0; // it will be told again what it has not answered
    if (reply->lease_generation == cache->generation)
        return;
    bool restarted = reply->resumed && reply->claims && reply->log_continuous;
    drop_names(cache);
    if (!restarted)
        begin_to_drop(client);
    cache->generation = reply->lease_generation;
    cache->owes_cleared = reply->resumed && !reply->claims;
}

void cache_claim(unsigned client)
{
    struct cache *cache = &caches[client];
    uint8_t bytes[sizeof(uint32_t) + CACHE_REGISTERS * sizeof(wire_handle)];
    wire_handle handles[CACHE_REGISTERS];
    uint32_t n = 0;
    for (size_t i = 0; i < CACHE_REGISTERS; i++) {
        if (cache->registers[i].kept)
            handles[n++] = cache->registers[i].handle;
    }
    struct writer body = writer_on(bytes, sizeof(bytes));
    write_u32(&body, n * (uint32_t)sizeof(*handles));
    for (uint32_t i = 0; i < n; i++) {
        write_u64(&body, handles[i].ino);
        write_u64(&body, handles[i].mac);
    }
    if (n > 0 && rpc_tell(cache->rpc, WIRE_KEPT, bytes, sizeof(bytes) - body.left) < 0)
        drop_registers(cache);
}

// Should there be no connection, the server asks again on the next one.
static void answer(struct cache *cache, uint64_t number)
{
    (void)rpc_tell(cache->rpc, WIRE_DROPPED, &number, sizeof(number));
}

struct late_answer {
    unsigned client, life;
    uint64_t generation, number;
};

static void answer_late(void *context)
{
    struct late_answer *late = context;
    unsigned client = late->client;
    struct cache *cache = &caches[client];
    if (postponed(client, answer_late, late))
        return;
    if (client_has_root(client) && client_life(client) == late->life && cache->generation == late->generation)
        answer(cache, late->number);
    free(late);
    client_pump(client);
}

// A directory's lock is waited for: answers come in any order.
static void plan_answer(unsigned client, uint64_t number)
{
    struct late_answer *late = malloc(sizeof(*late));
    fs_assert(late);
    *late = (struct late_answer){client, client_life(client), caches[client].generation, number};
    world_after(world_random(NAME_MAX_MS * SIM_MS), answer_late, late);
}

void cache_invalidate(unsigned client, const struct wire_invalidate_event *event)
{
    struct cache *cache = &caches[client];
    if (event->what & (WIRE_DROP_NAME | WIRE_DROP_NAMES)) {
        drop_names(cache);
        plan_answer(client, event->number);
        return;
    }
    for (size_t i = 0; i < CACHE_REGISTERS && (event->what & WIRE_DROP_DATA); i++) {
        struct cached_register *reg = &cache->registers[i];
        if (reg->handle.ino != event->ino)
            continue;
        drop_register(reg);
        if (reg->n_reads == 0)
            continue;
        fs_assert(reg->n_owed < OWED_MAX);
        reg->owed[reg->n_owed++] = event->number;
        return;
    }
    answer(cache, event->number);
}

// --- registers ---

bool cache_register(unsigned client, unsigned object, uint64_t *ret_value)
{
    cache_lapse(client);
    const struct cached_register *reg = &caches[client].registers[object];
    *ret_value = reg->value;
    return reg->kept;
}

struct cache_look cache_read_begins(unsigned client, unsigned object, wire_handle handle)
{
    struct cached_register *reg = &caches[client].registers[object];
    reg->handle = handle;
    struct cache_look look = {.epoch = reg->epoch,
                              .keep = reg->n_owed == 0 && reg->n_writes == 0 && !caches[client].dropping};
    reg->n_reads += look.keep;
    reg->n_all_reads++;
    return look;
}

void cache_read_ends(unsigned client, unsigned object, struct cache_look look, bool given, uint64_t value)
{
    struct cache *cache = &caches[client];
    struct cached_register *reg = &cache->registers[object];
    reg->n_all_reads--;
    if (!look.keep)
        return;
    reg->n_reads--;
    if (given && look.epoch == reg->epoch) {
        reg->kept = true;
        reg->value = value;
    }
    for (size_t i = 0; reg->n_reads == 0 && i < reg->n_owed; i++)
        answer(cache, reg->owed[i]);
    if (reg->n_reads == 0)
        reg->n_owed = 0;
}

void cache_write_begins(unsigned client, unsigned object, bool pages)
{
    struct cached_register *reg = &caches[client].registers[object];
    reg->n_writes++;
    reg->n_pages += pages;
    drop_register(reg);
}

void cache_write_ends(unsigned client, unsigned object, bool pages)
{
    struct cached_register *reg = &caches[client].registers[object];
    reg->n_writes--;
    reg->n_pages -= pages;
    drop_register(reg);
}

bool cache_may_read(unsigned client, unsigned object)
{
    return caches[client].registers[object].n_pages == 0;
}

bool cache_may_write_pages(unsigned client, unsigned object)
{
    return caches[client].registers[object].n_all_reads == 0;
}

// --- names ---

bool cache_name(unsigned client, unsigned name, bool *ret_there)
{
    cache_lapse(client);
    *ret_there = caches[client].name_there[name];
    return caches[client].name_kept[name];
}

struct cache_look cache_look_begins(unsigned client)
{
    return (struct cache_look){.epoch = caches[client].names_epoch, .keep = caches[client].n_changes == 0};
}

void cache_look_ends(unsigned client, unsigned name, struct cache_look look, bool given, bool there)
{
    struct cache *cache = &caches[client];
    if (!given || !look.keep || look.epoch != cache->names_epoch)
        return;
    cache->name_kept[name] = true;
    cache->name_there[name] = there;
}

struct cache_look cache_change_begins(unsigned client)
{
    struct cache *cache = &caches[client];
    drop_names(cache);
    return (struct cache_look){.epoch = cache->names_epoch, .keep = cache->n_changes++ == 0};
}

void cache_change_ends(unsigned client, struct cache_look look, bool given, unsigned kept, bool there)
{
    struct cache *cache = &caches[client];
    bool keeps = given && look.keep && look.epoch == cache->names_epoch && kept < CACHE_NAMES;
    cache->n_changes--;
    drop_names(cache);
    if (!keeps)
        return;
    cache->name_kept[kept] = true;
    cache->name_there[kept] = there;
}
