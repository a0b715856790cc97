// SPDX-License-Identifier: Apache-2.0
// See options.h.
#include "shim/options.h"
#include "shim/mounts.h"
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE        2
#define INSTANCES_MAX     1000u
#define IDLE_SECONDS_MAX  86400u
#define INSTANCES_DEFAULT 8u
#define IDLE_DEFAULT      600u

enum key {
    KEY_CONFIG = 256,
    KEY_SERVER,
    KEY_LISTEN,
    KEY_SANDBOX,
    KEY_MOUNTS,
    KEY_MAX_INSTANCES,
    KEY_IDLE,
    KEY_STRINGS,
    KEY_LOG_LEVEL,
    KEY_LOG_JSON,
};

static const struct argp_option table[] = {
    {"config", KEY_CONFIG, "FILE", 0,
     "JSON list of functions, in the shape of Lambda's CreateFunction request", 0},
    {"server", KEY_SERVER, "HOST:PORT|unix:/PATH", 0, "berthd, for functions with FileSystemConfigs", 0},
    {"listen", KEY_LISTEN, "ADDR:PORT", 0, "where callers connect (127.0.0.1:8080; port 0 picks a free one)",
     0},
    {"sandbox", KEY_SANDBOX, "bwrap|none", 0,
     "bwrap (default), or none: functions run as this user and see all of it", 0},
    {"mounts", KEY_MOUNTS, "N", 0, "mount each access point N times and spread instances over them (1)", 0},
    {"max-instances", KEY_MAX_INSTANCES, "N", 0,
     "instances of a function without ReservedConcurrentExecutions (8)", 0},
    {"idle-seconds", KEY_IDLE, "N", 0, "stop an instance that was idle this long (600)", 0},
    {"strings", KEY_STRINGS, "bare|quoted", 0,
     "how callers see a returned string: bare as from an HTTP API (default), quoted as from a function URL",
     0},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "debug, info (default), warn, error", 0},
    {"log-json", KEY_LOG_JSON, NULL, 0, "our own log lines in JSON", 0},
    {0},
};

static unsigned number(struct argp_state *state, const char *name, const char *text, unsigned max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < 1 || value > max)
        argp_error(state, "--%s: %s is not a number from 1 to %u", name, text, max);
    return (unsigned)value;
}

// True for the first word, false for the second.
static bool either(struct argp_state *state, const char *name, const char *text, const char *first,
                   const char *second)
{
    bool is_first = strcmp(text, first) == 0;
    if (!is_first && strcmp(text, second) != 0)
        argp_error(state, "--%s: %s is neither %s nor %s", name, text, first, second);
    return is_first;
}

static void check_server(struct argp_state *state, const char *text)
{
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "unix:/", 6) != 0 && (!colon || colon == text || !colon[1]))
        argp_error(state, "--server: %s is neither HOST:PORT nor unix:/PATH", text);
}

static void finish(struct argp_state *state, const struct options *options)
{
    if (state->arg_num == 0)
        argp_error(state, "what to do is missing: berth-fn serve --config FILE");
    if (!options->config)
        argp_error(state, "--config FILE is missing: the list of functions");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case KEY_CONFIG:
        options->config = arg;
        return 0;
    case KEY_SERVER:
        check_server(state, arg);
        options->server = arg;
        return 0;
    case KEY_LISTEN:
        options->listen = arg;
        return 0;
    case KEY_SANDBOX:
        options->bubblewrap = either(state, "sandbox", arg, "bwrap", "none");
        return 0;
    case KEY_MOUNTS:
        options->mounts = number(state, "mounts", arg, MOUNTS_COPIES_MAX);
        return 0;
    case KEY_MAX_INSTANCES:
        options->max_instances = number(state, "max-instances", arg, INSTANCES_MAX);
        return 0;
    case KEY_IDLE:
        options->idle_seconds = number(state, "idle-seconds", arg, IDLE_SECONDS_MAX);
        return 0;
    case KEY_STRINGS:
        options->quoted_strings = !either(state, "strings", arg, "bare", "quoted");
        return 0;
    case KEY_LOG_LEVEL:
        if (log_level_parse(arg, &options->log_level) < 0)
            argp_error(state, "--log-level: %s is not debug, info, warn or error", arg);
        return 0;
    case KEY_LOG_JSON:
        options->log_json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0 || strcmp(arg, "serve") != 0)
            argp_error(state, "%s: unknown command; there is only serve", arg);
        return 0;
    case ARGP_KEY_END:
        finish(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void options_parse(int argc, char **argv, struct options *ret_options)
{
    static const struct argp argp = {
        table,
        parse,
        "serve --config FILE [--server HOST:PORT|unix:/PATH]",
        "Runs Lambda functions on this machine, with their access points mounted from a Berth server.\v"
        "Serves ANY /default/{FunctionName} (API Gateway, payload 2.0) and "
        "POST /2015-03-31/functions/{name}/invocations (Lambda Invoke). No signature is checked.",
        NULL,
        NULL,
        NULL};
    struct options options = {.listen = "127.0.0.1:8080",
                              .bubblewrap = true,
                              .mounts = 1,
                              .max_instances = INSTANCES_DEFAULT,
                              .idle_seconds = IDLE_DEFAULT,
                              .log_level = LOG_INFO};
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    *ret_options = options;
}
