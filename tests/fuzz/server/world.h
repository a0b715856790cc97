// SPDX-License-Identifier: Apache-2.0
// A server in this process for its fuzzer: the real listener, sessions, turns, grace and core on one loop and
// the model store, and the ends of its connections. Chance and time come from a count, so that an input does
// the same every time. One thread, but for jobs off the loop.
#ifndef BERTH_TESTS_FUZZ_SERVER_WORLD_H
#define BERTH_TESTS_FUZZ_SERVER_WORLD_H

#include "fs/wire/wire.h"
#include <stdbool.h>

#define WORLD_PEERS         4u
#define WORLD_ACCESS_POINTS 3u // as a fixed user, as the caller, as a fixed user below /sub

// How a peer says hello.
#define WORLD_RESUME    (1u << 2) // the access point is in the bits below
#define WORLD_READ_ONLY (1u << 3)
#define WORLD_PROVE     (1u << 4)

void world_begin(void); // an empty file system that nobody is attached to
void world_end(void);   // everybody goes; judges what is left

void world_hello(size_t peer, unsigned how); // over a new connection
void world_send(size_t peer, const void *bytes, size_t n);
void world_close(size_t peer);
void world_deafen(size_t peer); // it takes nothing any more
void world_evict(size_t peer);
void world_turn(void);    // everything that can happen happens; the peers take what was sent, and judge it
void world_silence(void); // a lease time during which nobody was heard
void world_restart(void); // of the server, as after a kill
void world_fail_commit(void); // the next one

wire_handle world_handle(size_t access_point, fs_ino ino);

#endif
