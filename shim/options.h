// SPDX-License-Identifier: Apache-2.0
// berth-fn's command line.
#ifndef BERTH_SHIM_OPTIONS_H
#define BERTH_SHIM_OPTIONS_H

#include "fs/base/log.h"
#include <stdbool.h>

struct options {
    const char *config;
    const char *server; // HOST:PORT or unix:/PATH; NULL when not given
    const char *listen; // ADDR:PORT
    bool bubblewrap;
    unsigned mounts;        // of each access point
    unsigned max_instances; // of a function without ReservedConcurrentExecutions
    unsigned idle_seconds;
    bool quoted_strings;
    enum log_level log_level;
    bool log_json;
};

// Exits with status 2 and a line on stderr when the command line is wrong, 0 after --help.
void options_parse(int argc, char **argv, struct options *ret_options);

#endif
