// SPDX-License-Identifier: Apache-2.0
// Simulated connections. Each keeps order within a direction and delays at random; when it breaks, what is
// under way is lost from some point on, and either side notices at a time of its own, or never.
#ifndef BERTH_SIM_NETWORK_H
#define BERTH_SIM_NETWORK_H

#include "client/rpc.h"
#include "server/conn.h"

#define NETWORK_CLIENTS 8u

void network_begin(void);
void network_end(void);

// --- the client's end ---

void network_connect(unsigned client); // answered by client_connected() or client_lost(), later
void network_disconnect(unsigned client);
void network_send(unsigned client, const uint8_t *bytes, size_t n);

// --- faults ---

void network_break(unsigned client);                  // its connection, if it has one
void network_partition(unsigned client, bool parted); // attempts fail meanwhile
void network_vanish(unsigned client);                 // the client's process is gone
void network_server_died(void);                       // every connection

// --- what network.c calls ---

void client_connected(unsigned client);
void client_lost(unsigned client, int error);
void client_received(unsigned client, const uint8_t *bytes, size_t n); // whole frames
void server_accept(struct conn *conn);                                 // owns it
bool server_is_up(void);
uint64_t server_frozen_until_us(void);
uint64_t client_frozen_until_us(unsigned client);
unsigned server_life(void); // counts its starts
void server_worked(void);   // something came in: it may have more to do
// The first frame on a connection: its hello.
void server_hello(struct conn *conn, const struct wire_header *header, struct reader body);

#endif
