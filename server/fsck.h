// SPDX-License-Identifier: Apache-2.0
// `berthd fsck': checks and repairs what a stopped server left.
#ifndef BERTH_SERVER_FSCK_H
#define BERTH_SERVER_FSCK_H

#include "server/options.h"

// The exit status: 0 clean, 1 all was repaired, 4 problems are left, 2 there is no such file system, 8 it
// could not be checked. Problems go to stdout, all else to stderr.
int fsck_run(const struct options *options);

#endif
