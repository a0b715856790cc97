// SPDX-License-Identifier: Apache-2.0
// The clients' work and its judge; see work.c.
#ifndef BERTH_SIM_WORK_H
#define BERTH_SIM_WORK_H

#include <stdbool.h>

struct sim_open;

void work_begin(void);
void work_start(void);
void work_stop(void);        // nothing new is begun
bool work_is_idle(void);     // everybody's calls are done
void work_look_at_all(void); // the last look, by client 0
void work_check(void);

// From client.c.
void work_look_at_kept(unsigned client); // from cache.c: what is about to go may still be seen
void work_client_starts(unsigned client);
void work_granted(struct sim_open *open);
void work_ask_again(struct sim_open *open);   // a wait, after a restart
void work_wait_fenced(struct sim_open *open); // it has been given up

#endif
