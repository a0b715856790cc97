// SPDX-License-Identifier: Apache-2.0
// The command line of berthd. Main thread, once.
#include "server/options.h"
#include "fs/base/check.h"
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_DEFAULT_MS     10000u
#define LEASE_SECONDS_MIN    0.5
#define LEASE_SECONDS_MAX    3600.0

#define BUSY_POLL_DEFAULT_US 100u
#define BUSY_POLL_MAX_US     1000u

#define LOCKS_DEFAULT        1000000u
#define LOCKS_MAX            100000000u

const char *argp_program_version = "berthd 0.1";

enum key {
    KEY_DATA = 0x100,
    KEY_LISTEN,
    KEY_API,
    KEY_DURABILITY,
    KEY_TLS_CERT,
    KEY_TLS_KEY,
    KEY_INSECURE,
    KEY_LEASE,
    KEY_MAX_LOCKS,
    KEY_BUSY_POLL,
    KEY_LOG_LEVEL,
    KEY_LOG_JSON,
    KEY_REPAIR,
    KEY_JSON,
};

static const struct argp_option argp_options[] = {
    {"data", KEY_DATA, "DIR", 0, "Where everything is kept (./berth-data)", 0},
    {"listen", KEY_LISTEN, "ADDR:PORT", 0,
     "Where clients mount from, may be repeated (127.0.0.1:7400); port 0: any free one", 0},
    {"api", KEY_API, "ADDR:PORT", 0, "Where the HTTP API answers (127.0.0.1:7401)", 0},
    {"durability", KEY_DURABILITY, "process|strict", 0,
     "What an acknowledgement survives: the server's death, or power loss as well (process)", 0},
    {"tls-cert", KEY_TLS_CERT, "FILE", 0, "Certificate chain for TLS", 0},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "Its private key", 0},
    {"insecure", KEY_INSECURE, NULL, 0, "Serve addresses that others can reach, without TLS", 0},
    {"lease", KEY_LEASE, "SECONDS", 0, "How long a lost client keeps its locks and opens (10)", 0},
    {"max-locks", KEY_MAX_LOCKS, "NUMBER", 0,
     "Locked ranges of a file system, past which locking is ENOLCK (1000000)", 0},
    {"busy-poll", KEY_BUSY_POLL, "MICROSECONDS", 0,
     "For how long to look for the next request before sleeping, while that pays (100); 0: not", 0},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "debug, info, warn or error (info)", 0},
    {"log-json", KEY_LOG_JSON, NULL, 0, "Log JSON lines", 0},
    {"repair", KEY_REPAIR, NULL, 0, "fsck: repair what can be repaired", 0},
    {"json", KEY_JSON, NULL, 0, "fsck: a JSON object a line", 0},
    {0},
};

static error_t refuse(struct argp_state *state, const char *what, const char *value, const char *wanted)
{
    argp_error(state, "%s: `%s' is not %s", what, value, wanted);
    return EINVAL;
}

static error_t parse_address(struct argp_state *state, const char *what, const char *text,
                             struct address *address)
{
    int result = address_parse(text, address);
    if (result == 0)
        return 0;
    return refuse(state, what, text,
                  result == -ENOENT ? "an address of this machine" : "ADDR:PORT or [ADDR]:PORT");
}

static error_t parse_lease(struct argp_state *state, const char *text, struct options *options)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end || !(seconds >= LEASE_SECONDS_MIN && seconds <= LEASE_SECONDS_MAX))
        return refuse(state, "--lease", text, "a number of seconds between 0.5 and 3600");
    options->lease_ms = (uint32_t)(seconds * 1000 + 0.5);
    return 0;
}

static bool parse_number(const char *text, unsigned long min, unsigned long max, uint32_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || number < min || number > max)
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

static error_t parse_max_locks(struct argp_state *state, const char *text, struct options *options)
{
    return parse_number(text, 1, LOCKS_MAX, &options->max_locks)
               ? 0
               : refuse(state, "--max-locks", text, "a number between 1 and 100000000");
}

static error_t parse_busy_poll(struct argp_state *state, const char *text, struct options *options)
{
    return parse_number(text, 0, BUSY_POLL_MAX_US, &options->busy_poll_us)
               ? 0
               : refuse(state, "--busy-poll", text, "a number of microseconds between 0 and 1000");
}

static error_t parse_listen(struct argp_state *state, const char *text, struct options *options)
{
    if (options->n_listen == OPTIONS_LISTEN_MAX) {
        argp_error(state, "--listen: at most %u addresses", OPTIONS_LISTEN_MAX);
        return EINVAL;
    }
    error_t error = parse_address(state, "--listen", text, &options->listen[options->n_listen]);
    options->n_listen += error == 0;
    return error;
}

static error_t parse_durability(struct argp_state *state, const char *text, struct options *options)
{
    options->strict = strcmp(text, "strict") == 0;
    return options->strict || strcmp(text, "process") == 0
               ? 0
               : refuse(state, "--durability", text, "process or strict");
}

// `fsck' and, behind it, file systems.
static error_t parse_word(struct argp_state *state, const char *text, struct options *options)
{
    if (state->arg_num == 0 && strcmp(text, "fsck") == 0) {
        options->fsck = true;
        return 0;
    }
    if (options->fsck && options->n_fs_ids < OPTIONS_FS_MAX) {
        options->fs_ids[options->n_fs_ids++] = text;
        return 0;
    }
    if (options->fsck) {
        argp_error(state, "at most %u file systems at once", OPTIONS_FS_MAX);
        return E2BIG;
    }
    argp_error(state, "`%s': there is nothing to be named here", text);
    return EINVAL;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case KEY_DATA:
        options->data = value;
        return *value ? 0 : refuse(state, "--data", value, "a directory");
    case KEY_LISTEN:
        return parse_listen(state, value, options);
    case KEY_API:
        return parse_address(state, "--api", value, &options->api);
    case KEY_DURABILITY:
        return parse_durability(state, value, options);
    case KEY_TLS_CERT:
        options->tls_cert = value;
        return 0;
    case KEY_TLS_KEY:
        options->tls_key = value;
        return 0;
    case KEY_INSECURE:
        options->insecure = true;
        return 0;
    case KEY_LEASE:
        return parse_lease(state, value, options);
    case KEY_MAX_LOCKS:
        return parse_max_locks(state, value, options);
    case KEY_BUSY_POLL:
        return parse_busy_poll(state, value, options);
    case KEY_LOG_LEVEL:
        return log_level_parse(value, &options->log_level) == 0
                   ? 0
                   : refuse(state, "--log-level", value, "debug, info, warn or error");
    case KEY_LOG_JSON:
        options->log_json = true;
        return 0;
    case KEY_REPAIR:
        options->repair = true;
        return 0;
    case KEY_JSON:
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        return parse_word(state, value, options);
    case ARGP_KEY_END:
        if (!options->fsck && (options->repair || options->json))
            argp_error(state, "--repair and --json belong to fsck");
        return !options->fsck && (options->repair || options->json) ? EINVAL : 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "\nfsck [FS...]",
    .doc = "Serves Berth file systems to `berth mount' and their control API to `berth fs', `berth ap' and "
           "the AWS CLI."
           "\v`fsck' checks file systems while no server runs. Always also on DIR/data.sock and "
           "DIR/api.sock. The first start writes a root key to "
           "DIR/credentials.",
};

int options_parse(int argc, char **argv, unsigned argp_flags, struct options *ret_options)
{
    struct options options = {.data = "./berth-data",
                              .lease_ms = LEASE_DEFAULT_MS,
                              .max_locks = LOCKS_DEFAULT,
                              .busy_poll_us = BUSY_POLL_DEFAULT_US,
                              .log_level = LOG_INFO};
    argp_err_exit_status = 2;
    error_t error = argp_parse(&argp, argc, argv, argp_flags, NULL, &options);
    if (error)
        return -error;
    if (options.n_listen == 0)
        fs_assert(address_parse("127.0.0.1:7400", &options.listen[options.n_listen++]) == 0);
    if (options.api.length == 0)
        fs_assert(address_parse("127.0.0.1:7401", &options.api) == 0);
    *ret_options = options;
    return 0;
}

static int check_reach(const struct options *options, const struct address *address, char *reason)
{
    if (options->insecure || address_is_loopback(address))
        return 0;
    snprintf(
        reason, OPTIONS_REASON_SIZE,
        "%s can be reached by others, and TLS is not built yet: use a loopback address, or give --insecure",
        address->text);
    return -EINVAL;
}

int options_check(const struct options *options, char reason[OPTIONS_REASON_SIZE])
{
    if (options->fsck)
        return 0;
    if (options->tls_cert || options->tls_key) {
        snprintf(reason, OPTIONS_REASON_SIZE,
                 "TLS is not built yet: leave out --tls-cert and --tls-key, and use a loopback address or "
                 "--insecure");
        return -EINVAL;
    }
    int result = check_reach(options, &options->api, reason);
    for (unsigned i = 0; i < options->n_listen && result == 0; i++)
        result = check_reach(options, &options->listen[i], reason);
    return result;
}
