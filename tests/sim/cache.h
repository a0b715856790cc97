// SPDX-License-Identifier: Apache-2.0
// What a simulated client keeps by its leases: registers' values, and which names there are. It is an honest
// client: it drops what it is told to, answers when nothing of it can come any more, and stops believing in
// anything by its own clock.
#ifndef BERTH_SIM_CACHE_H
#define BERTH_SIM_CACHE_H

#include "client/rpc.h"

#define CACHE_REGISTERS 2u
#define CACHE_NAMES     3u

// A call that may bring something to keep.
struct cache_look {
    uint64_t epoch;
    bool keep; // registers: ask for it
};

void cache_begin(unsigned client, struct rpc *rpc); // a new process
void cache_lapse(unsigned client); // drops everything when its time is over; before anything comes
void cache_pump(unsigned client);  // says what is owed
void cache_welcome(unsigned client, const struct wire_hello_reply *reply);
void cache_claim(unsigned client);       // before it is said that all is claimed
bool cache_has_dropped(unsigned client); // nothing that is kept is of before a power loss
void cache_invalidate(unsigned client, const struct wire_invalidate_event *event);

bool cache_register(unsigned client, unsigned object, uint64_t *ret_value); // false: not kept
struct cache_look cache_read_begins(unsigned client, unsigned object, wire_handle handle);
void cache_read_ends(unsigned client, unsigned object, struct cache_look look, bool given, uint64_t value);
void cache_write_begins(unsigned client, unsigned object, bool pages);
void cache_write_ends(unsigned client, unsigned object, bool pages);
// Pages that a client stored through a mapping it sees itself at once, others when they are settled: then it
// is not asked what it sees.
bool cache_may_read(unsigned client, unsigned object);
bool cache_may_write_pages(unsigned client, unsigned object);

bool cache_name(unsigned client, unsigned name, bool *ret_there);
struct cache_look cache_look_begins(unsigned client);
void cache_look_ends(unsigned client, unsigned name, struct cache_look look, bool given, bool there);
struct cache_look cache_change_begins(unsigned client); // of any name
// kept: the name that the kernel goes on keeping, there or not, if that is given; CACHE_NAMES: none.
void cache_change_ends(unsigned client, struct cache_look look, bool given, unsigned kept, bool there);

#endif
