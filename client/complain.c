// SPDX-License-Identifier: Apache-2.0
// What the commands share: errors on one line, --help. Any thread.
#include "client/commands.h"
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

bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return true;
    }
    return false;
}
