// SPDX-License-Identifier: Apache-2.0
// berth: finds the command and runs it. What talks to the server's API, or needs JSON, is berth-api's, a
// program of its own, so that a mount loads no libraries for that.
#include "client/commands.h"
#include "fs/base/check.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"mount", cmd_mount},
    {"umount", cmd_umount},
    {"status", cmd_status},
};
static const char *const api_commands[] = {"fs", "ap", "clients", "locks", "evict", "bench"};

static int usage(FILE *out, int code)
{
    fputs("Usage: berth mount [-f] [-o OPT,...] FSAP@HOST:PORT MOUNTPOINT\n"
          "       berth mount [-f] [-o OPT,...] FSAP@unix:/PATH MOUNTPOINT\n"
          "       berth umount [-f] MOUNTPOINT\n"
          "       berth status [--json] MOUNTPOINT\n"
          "       berth fs create|list|quota|delete [OPTION...]\n"
          "       berth ap create|list|quota|delete [OPTION...]\n"
          "       berth clients|locks [--fs FS] [--json]\n"
          "       berth evict CLIENT\n"
          "       berth bench [--json] [--compare FILE] DIR [DIR2]\n"
          "Mounts access points of a berthd, and manages its file systems, access points and clients. Each "
          "command has --help.\n",
          out);
    return code;
}

// Beside this program, in ../libexec/berth, or wherever PATH says.
static int run_api(char **argv)
{
    static const char *const places[] = {"%s/berth-api", "%s/../libexec/berth/berth-api"};
    char self[PATH_MAX], program[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    const char *directory = dirname(self);
    for (size_t i = 0; n > 0 && i < ARRAY_LEN(places); i++) {
        // NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): from the table above
        snprintf(program, sizeof(program), places[i], directory);
        execv(program, argv);
    }
    execvp("berth-api", argv);
    return complain("cannot run berth-api: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    const char *called = strrchr(argv[0] ? argv[0] : "berth", '/');
    called = called ? called + 1 : argv[0];
    if (called && strcmp(called, "mount.berth") == 0)
        return cmd_mount_helper(argc, argv);
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0)
        return usage(stdout, 0);
    for (size_t i = 0; i < ARRAY_LEN(api_commands); i++) {
        if (strcmp(api_commands[i], name) == 0)
            return run_api(argv);
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return usage(stderr, 2);
}
