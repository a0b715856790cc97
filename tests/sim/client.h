// SPDX-License-Identifier: Apache-2.0
// A simulated client: the real rpc, and beside it what a mount remembers: what is open and locked, so that it
// can be claimed, and who waits for a lock. Its jobs (work.c) call, and are told.
#ifndef BERTH_SIM_CLIENT_H
#define BERTH_SIM_CLIENT_H

#include "client/rpc.h"
#include "tests/sim/network.h"
#include "tests/sim/sim.h"

struct job;

// Called once. result: 0, and the body is the reply's; or a negative errno.
typedef void reply_handler(struct job *job, int result, struct reader *body);

// An open of a job, with at most one lock.
struct sim_open {
    struct list node; // in its client's opens
    unsigned client;
    uint64_t id;
    wire_handle handle;
    uint32_t flags;
    bool given_up;
    bool locked;                     // held
    bool queued, granted, cancelled; // waits; and what is known of the wait's end
    bool asking;                     // again, after a restart
    uint64_t ticket;                 // of the wait, 0: none
    struct fs_lock lock;
};

unsigned client_count(void);
bool client_has_root(unsigned client);
wire_handle client_root(unsigned client);
unsigned client_life(unsigned client); // counts processes in this place
void client_pump(unsigned client);     // sends what is to be sent, plans its next look at the clock

// body: of n bytes. The job is told by `done`, unless its client is killed before.
void client_call(struct job *job, unsigned client, uint16_t op, const uint8_t *body, size_t n,
                 reply_handler *done);
// After a pause of the job's, longer when the client is frozen meanwhile.
void client_after(struct job *job, unsigned client, uint64_t delay_us, void (*next)(struct job *job));

// Within a reply_handler: the call had been sent before, and its answer may be of old.
bool client_answer_is_old(void);

uint64_t client_new_open_id(unsigned client);
void client_opened(unsigned client, struct sim_open *open);
void client_released(struct sim_open *open);
uint64_t client_new_ticket(unsigned client);
struct sim_open *client_wait(unsigned client, uint64_t ticket); // NULL: none

#endif
