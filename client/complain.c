// SPDX-License-Identifier: Apache-2.0
// What the commands share: errors on one line, --help. Any thread.
#include "client/commands.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("berth: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return 1;
}

int complain_no_mount(const char *shown, int error)
{
    static const char where[] = "findmnt -t fuse.berth lists what is mounted";
    return error < 0 ? complain("%s: %s; %s", shown, strerror(-error), where)
                     : complain("%s: not mounted by berth; %s", shown, where);
}

int complain_silent(const char *shown, int error)
{
    if (error == -ENOTCONN)
        return complain("%s: the mount's daemon is gone; berth umount -f takes away what it left", shown);
    return complain("%s: the mount's daemon does not answer: %s", shown, strerror(-error));
}

bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return true;
    }
    return false;
}
