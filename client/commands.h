// SPDX-License-Identifier: Apache-2.0
// The commands of `berth`. Each takes its own words (argv[0] is its name) and returns the program's exit
// code: 0, 1 failed with one line on stderr, 2 wrong usage.
#ifndef BERTH_CLIENT_COMMANDS_H
#define BERTH_CLIENT_COMMANDS_H

#include <stdbool.h>

int cmd_mount(int argc, char **argv);
int cmd_mount_helper(int argc, char **argv); // as mount.berth, called by mount(8)
int cmd_umount(int argc, char **argv);
int cmd_status(int argc, char **argv);

// One line, `berth: …`; returns 1.
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The same about a path that is no mount of ours; error: what resolving it said, or 0.
int complain_no_mount(const char *shown, int error);
// The same about a mount whose daemon did not tell its status.
int complain_silent(const char *shown, int error);
bool wants_help(int argc, char **argv);

#endif
