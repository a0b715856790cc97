// SPDX-License-Identifier: Apache-2.0
// Accepts connections, greets them, and answers hello: what the main thread does for a client before the
// shard of its file system takes over.
#ifndef BERTH_SERVER_LISTENER_H
#define BERTH_SERVER_LISTENER_H

#include "server/catalogue.h"
#include "server/credentials.h"
#include "server/hosting.h"

#define LISTENER_SOCKETS_MAX     17     // addresses and the unix socket
#define LISTENER_CONNECTIONS_MAX 16384u // of the process, before and after hello; fewer with few descriptors
#define LISTENER_HELLO_SECONDS   10u    // to say hello

struct listener;

struct listener_options {
    uv_loop_t *loop;
    struct catalogue *catalogue;
    const struct credentials *credentials;
    struct hosting *hosting;
    const struct env *env;
    int fds[LISTENER_SOCKETS_MAX]; // listening, not blocking; owned from success on
    unsigned n_fds;
};

int listener_start(const struct listener_options *options, struct listener **ret_listener);
// Accepts nothing more and drops who has not said hello; calls done when the loop is free of it. Before
// hosting_stop().
void listener_stop(struct listener *listener, void (*done)(void *context), void *context);

#endif
