// SPDX-License-Identifier: Apache-2.0
// Where things are: the program's own files, and the private directory that it makes for a run. Used before
// the loop starts and after it ended.
#ifndef BERTH_SHIM_PLACE_H
#define BERTH_SHIM_PLACE_H

#include <limits.h>
#include <stddef.h>

struct place {
    char berth[PATH_MAX];     // the sibling program
    char bootstrap[PATH_MAX]; // bootstrap.py; after place_make_run() the copy in `run`, which any user can
                              // read
    char run[PATH_MAX];       // private directory of this run, mode 0700
};

// 0, or negative errno with one line in error; `make_run` also makes the private directory with passwd and
// group.
int place_find(struct place *place, char *error, size_t error_size);
int place_make_run(struct place *place, char *error, size_t error_size);
// Removes the private directory; what others left in it stays and is said on the log.
void place_remove_run(const struct place *place);

// Runs bubblewrap once. 0, or -EPERM with one line that says why no function could be sandboxed here.
int place_probe_bubblewrap(char *error, size_t error_size);

#endif
