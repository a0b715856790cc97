// SPDX-License-Identifier: Apache-2.0
// What the parts of the simulation know of each other beside network.h: the faults that main.c injects, and
// the clients' work.
#ifndef BERTH_SIM_SIM_H
#define BERTH_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- server.c ---

void server_begin(bool strict);
void server_crash(uint64_t back_after_us, bool power_loss);
void server_freeze(uint64_t for_us);
void server_fail_commit(void); // the next one
size_t server_locks(void);     // held
uint64_t server_started_us(void);
uint64_t server_crashed_us(void); // the last time

// --- client.c ---

void clients_begin(unsigned n);
void client_freeze(unsigned client, uint64_t for_us);
bool clients_were_killed(void);                            // any of them
void client_kill(unsigned client, uint64_t back_after_us); // without a word; then a new one in its place

#endif
