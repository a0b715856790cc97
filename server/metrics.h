// SPDX-License-Identifier: Apache-2.0
// Counters of the server, for /metrics. Any thread adds; the API's thread reads. Declared once, here.
#ifndef BERTH_SERVER_METRICS_H
#define BERTH_SERVER_METRICS_H

#include "fs/wire/wire.h"
#include <stdatomic.h>

// COUNTER(name, help)
#define METRICS_COUNTERS(COUNTER)                                                        \
    COUNTER(connections_accepted, "Connections accepted.")                               \
    COUNTER(connections_refused, "Connections closed for a limit or a malformed frame.") \
    COUNTER(attaches, "Sessions opened.")                                                \
    COUNTER(attaches_refused, "Sessions refused.")                                       \
    COUNTER(turns, "Turns, each one transaction at most.")                               \
    COUNTER(commit_failures, "Turns whose commit failed and that ran again one by one.") \
    COUNTER(syncs, "Syncs of a file or of everything that replies waited for.")          \
    COUNTER(bytes_read, "Bytes of file data sent to clients.")                           \
    COUNTER(bytes_written, "Bytes of file data received from clients.")                  \
    COUNTER(recalls_sent, "Times a client was told to drop what it keeps.")              \
    COUNTER(recalls_overdue, "Clients cut off since they did not drop it.")

struct metrics {
#define METRICS_FIELD(name, help) atomic_uint_fast64_t name;
    METRICS_COUNTERS(METRICS_FIELD)
#undef METRICS_FIELD
    atomic_uint_fast64_t requests[WIRE_OP_LIMIT]; // by op
    atomic_int_fast64_t sessions;                 // attached now
    atomic_int_fast64_t leases;                   // of all clients, as of the last ticks
};

extern struct metrics metrics;

#define METRICS_ADD(name, n) atomic_fetch_add_explicit(&metrics.name, (n), memory_order_relaxed)

#endif
