// SPDX-License-Identifier: Apache-2.0
// DIR/running: says how the run before ended. It holds the host's boot id while a server runs and the word
// "clean" after a clean stop, so that a start knows whether what was acknowledged without a sync can have
// been lost.
#ifndef BERTH_SERVER_RUN_MARKER_H
#define BERTH_SERVER_RUN_MARKER_H

#include <stdbool.h>

struct run_marker {
    bool clean;          // the run before stopped by itself, or there was none
    bool log_continuous; // clean, or the host has been up since
};

// Both under DIR/lock, synced. first: DIR is new. The file keeps its size, so that a full disk is no
// hindrance.
int run_marker_start(const char *directory, bool first, struct run_marker *ret_marker);
void run_marker_stop(const char *directory); // everything else has been synced

#endif
