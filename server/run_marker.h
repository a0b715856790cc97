// SPDX-License-Identifier: Apache-2.0
// `running` in a file system's directory: says how the run before ended. It holds the host's boot id while
// the file system is open and the word "clean" after it was closed, so that an opening knows whether what was
// acknowledged without a sync can have been lost.
#ifndef BERTH_SERVER_RUN_MARKER_H
#define BERTH_SERVER_RUN_MARKER_H

#include <stdbool.h>

struct run_marker {
    bool clean;          // closed in order
    bool log_continuous; // clean, or the host has been up since
};

void run_marker_read(const char *directory, struct run_marker *ret_marker);
// Both sync. The file keeps its size, so that a full disk is no hindrance.
int run_marker_begin(const char *directory); // what the marker said has been dealt with
void run_marker_end(const char *directory);  // everything else has been synced

#endif
