// SPDX-License-Identifier: Apache-2.0
// `berth status`: what a mount's daemon says about itself, as lines or as the JSON that it is. Also while the
// server is away.
#include "client/commands.h"
#include "client/mountinfo.h"
#include "client/mountstatus.h"
#include <getopt.h>

static int usage(FILE *out, int code)
{
    fputs("Usage: berth status [--json] MOUNTPOINT\n"
          "Tells the session of a mount, its open files and locks, and how many requests it has sent.\n",
          out);
    return code;
}

static void print_line(void *context, const char *key, const char *value)
{
    (void)context;
    if (value[0])
        printf("%-16s %s\n", key, value);
}

static int print_status(const char *shown, bool json)
{
    char path[PATH_MAX], text[MOUNTSTATUS_SIZE];
    struct mountinfo info;
    int result = mountpoint_resolve(shown, path);
    if (result < 0)
        return complain_no_mount(shown, result);
    if (!mountinfo_find(path, &info) || !info.is_berth)
        return complain_no_mount(shown, 0);
    result = mountstatus_read(path, text, sizeof(text));
    if (result < 0)
        return complain_silent(shown, result);
    if (json)
        puts(text);
    else
        mountstatus_each(text, print_line, NULL);
    return 0;
}

int cmd_status(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    bool json = false;
    int flag;
    if (wants_help(argc, argv))
        return usage(stdout, 0);
    optind = 1;
    opterr = 0;
    while ((flag = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (flag == '?')
            return usage(stderr, 2);
        json = true;
    }
    return argc - optind == 1 ? print_status(argv[optind], json) : usage(stderr, 2);
}
