// SPDX-License-Identifier: Apache-2.0
// berth-api: what the commands of berth run that talk to a server's API or need what it needs. A program of
// its own so that a mount loads no libraries for HTTP and JSON.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include <curl/curl.h>
#include <string.h>

static struct {
    const char *noun, *verb; // verb "": the noun is the whole command
    char called[20];         // argv[0], for usage messages
    int (*run)(int argc, char **argv);
} commands[] = {
    {"fs", "create", "berth fs create", fs_create}, {"fs", "list", "berth fs list", fs_list},
    {"fs", "delete", "berth fs delete", fs_delete}, {"ap", "create", "berth ap create", ap_create},
    {"ap", "list", "berth ap list", ap_list},       {"ap", "delete", "berth ap delete", ap_delete},
    {"fs", "quota", "berth fs quota", fs_quota},    {"ap", "quota", "berth ap quota", ap_quota},
    {"clients", "", "berth clients", clients_list}, {"locks", "", "berth locks", locks_list},
    {"evict", "", "berth evict", clients_evict},    {"bench", "", "berth bench", bench_run},
    {"fs", "check", "berth fs check", fs_check},
};

static int usage(FILE *out, int code)
{
    fputs("Usage: berth fs create|list|quota|check|delete [OPTION...]\n"
          "       berth ap create|list|quota|delete [OPTION...]\n"
          "       berth clients|locks [OPTION...]\n"
          "       berth evict [OPTION...] CLIENT\n"
          "       berth bench [OPTION...] DIR [DIR2]\n"
          "File systems (fs), access points (ap) and clients of a berthd. Each command has --help.\n",
          out);
    return code;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = 2;
    const char *noun = argc > 1 ? argv[1] : "", *verb = argc > 2 ? argv[2] : "";
    if (strcmp(noun, "--help") == 0)
        return usage(stdout, 0);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        int words = commands[i].verb[0] ? 2 : 1;
        if (strcmp(commands[i].noun, noun) != 0 || (words == 2 && strcmp(commands[i].verb, verb) != 0))
            continue;
        curl_global_init(CURL_GLOBAL_DEFAULT);
        argv[words] = commands[i].called;
        int code = commands[i].run(argc - words, argv + words);
        curl_global_cleanup();
        return fflush(stdout) == 0 ? code : 1;
    }
    return strcmp(verb, "--help") == 0 ? usage(stdout, 0) : usage(stderr, 2);
}
