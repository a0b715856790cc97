// SPDX-License-Identifier: Apache-2.0
// The command line of berthd, parsed and checked.
#ifndef BERTH_SERVER_OPTIONS_H
#define BERTH_SERVER_OPTIONS_H

#include "fs/base/log.h"
#include "server/address.h"
#include <stdint.h>

#define OPTIONS_LISTEN_MAX 16u
#define OPTIONS_FS_MAX     64u

struct options {
    const char *data;
    struct address listen[OPTIONS_LISTEN_MAX];
    unsigned n_listen;
    struct address api;
    bool strict;
    const char *tls_cert, *tls_key;
    bool insecure;
    uint32_t lease_ms;
    uint32_t max_locks; // of a file system
    uint32_t busy_poll_us;
    enum log_level log_level;
    bool log_json;
    bool fsck, repair, json;
    const char *fs_ids[OPTIONS_FS_MAX]; // to be checked; none: all
    unsigned n_fs_ids;
};

// argp_flags as of argp_parse(). 0, or an error that argp has told the user about (it ends the process by
// itself unless told otherwise).
int options_parse(int argc, char **argv, unsigned argp_flags, struct options *ret_options);

#define OPTIONS_REASON_SIZE 256u
// What is well formed and still cannot be done; 0, or -EINVAL with a reason.
int options_check(const struct options *options, char reason[OPTIONS_REASON_SIZE]);

#endif
