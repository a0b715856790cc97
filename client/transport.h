// SPDX-License-Identifier: Apache-2.0
// The connection to the server: names resolved, sockets connected, frames cut out of what arrives, and what
// the rpc has to say written. On the loop's thread; the only file that knows sockets.
#ifndef BERTH_CLIENT_TRANSPORT_H
#define BERTH_CLIENT_TRANSPORT_H

#include "client/address.h"
#include "client/rpc.h"
#include <uv.h>

struct transport;

int transport_create(uv_loop_t *loop, const struct server_address *address, struct transport **ret_transport);
void transport_attach(struct transport *transport, struct rpc *rpc); // before transport_connect()
// Ends in rpc_connected() or rpc_lost(), later.
void transport_connect(struct transport *transport);
void transport_disconnect(struct transport *transport);
// Writes what the rpc has to say; once in each turn of the loop.
void transport_flush(struct transport *transport);
// Nothing has arrived that was not looked at yet, the connection's end included.
bool transport_is_quiet(const struct transport *transport);
// No callback comes afterwards; the memory goes when the loop has closed its handles. NULL is allowed.
void transport_destroy(struct transport *transport);

#endif
