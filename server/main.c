// SPDX-License-Identifier: Apache-2.0
// berthd: start and stop. Everything is opened in the order catalogue, shards, API, listener, and ends the
// other way round: nobody new comes in, answers under way leave, file systems close, then the catalogue.
#include "fs/base/check.h"
#include "fs/base/env.h"
#include "fs/base/log.h"
#include "server/api.h"
#include "server/data_directory.h"
#include "server/fsck.h"
#include "server/listener.h"
#include "server/options.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SHARDS_MAX 4u // more threads than cores help nobody, and a server has few busy file systems

struct server {
    struct options options;
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    struct catalogue *catalogue;
    struct credentials *credentials;
    struct hosting *hosting;
    struct api *api;
    struct listener *listener;
    int fds[LISTENER_SOCKETS_MAX], api_fd, api_unix_fd;
    unsigned n_fds;
    int lock_fd;
    struct address data_address, api_address; // as bound; data: the first
    bool stopping;
};

// One line that names the thing and the fix. Threads may be running: nothing is tidied up, as after a kill.
PRINTF_LIKE(1, 2) __attribute__((noreturn)) static void fail(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fprintf(stderr, "berthd: %s\n", line);
    fflush(stderr);
    _exit(1);
}

// --- start ---

// A connection, a few descriptors for each open file system.
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("descriptors", "error=%s", strerror(errno));
}

static int listen_or_fail(const struct address *address, const char *option, struct address *bound)
{
    int fd;
    int result = listen_tcp(address, &fd);
    if (result == -EADDRINUSE)
        fail("%s %s: the port is in use: stop who uses it, or give another %s", option, address->text,
             option);
    if (result == 0)
        result = address_of_socket(fd, bound);
    if (result < 0)
        fail("%s %s: %s: give another %s", option, address->text, strerror(-result), option);
    return fd;
}

static int listen_unix_or_fail(const char *directory, const char *name)
{
    int fd;
    int result = listen_unix(directory, name, &fd);
    if (result < 0)
        fail("%s/%s: %s: give another --data", directory, name, strerror(-result));
    return fd;
}

// Before DIR is touched, so that a port in use leaves nothing behind.
static void open_tcp(struct server *server)
{
    const struct options *options = &server->options;
    struct address bound;
    for (unsigned i = 0; i < options->n_listen; i++) {
        server->fds[server->n_fds++] = listen_or_fail(&options->listen[i], "--listen", &bound);
        if (i == 0)
            server->data_address = bound;
    }
    server->api_fd = listen_or_fail(&options->api, "--api", &server->api_address);
}

static void open_unix(struct server *server)
{
    server->fds[server->n_fds++] = listen_unix_or_fail(server->options.data, "data.sock");
    server->api_unix_fd = listen_unix_or_fail(server->options.data, "api.sock");
}

static void open_catalogue(struct server *server)
{
    const char *data = server->options.data;
    int result = catalogue_open(data, &env_system, &server->catalogue);
    if (result == -EPROTONOSUPPORT)
        fail("data directory %s was written by a newer berthd: serve it with that version, or give another "
             "--data",
             data);
    if (result == -EUCLEAN)
        fail("data directory %s: catalogue.db is damaged: restore it from a copy, or give another --data",
             data);
    if (result < 0)
        fail("data directory %s: catalogue.db: %s: make it readable and writable, or give another --data",
             data, strerror(-result));
    result = credentials_open(data, &env_system, &server->credentials);
    if (result == -EINVAL)
        fail("%s/credentials is not an AWS shared-credentials file that only its owner may read: chmod 600 "
             "it, or move "
             "it away and a new key is made",
             data);
    if (result < 0)
        fail("%s/credentials: %s: make it readable, or give another --data", data, strerror(-result));
}

static void start_hosting(struct server *server)
{
    unsigned cores = uv_available_parallelism();
    struct hosting_options options = {
        .data_directory = server->options.data,
        .env = &env_system,
        .n_shards = MIN(MAX(cores, 1u), SHARDS_MAX),
        .durability_strict = server->options.strict,
        .lease_ms = server->options.lease_ms,
        .max_locks = server->options.max_locks,
        .busy_poll_us = server->options.busy_poll_us,
    };
    int result = hosting_start(&server->loop, &options, &server->hosting);
    if (result < 0)
        fail("data directory %s: %s: make it writable, or give another --data", server->options.data,
             strerror(-result));
}

static void start_api(struct server *server)
{
    struct api_options options = {
        .loop = &server->loop,
        .catalogue = server->catalogue,
        .credentials = server->credentials,
        .hosting = server->hosting,
        .env = &env_system,
        .tcp_fd = server->api_fd,
        .unix_fd = server->api_unix_fd,
    };
    int result = api_start(&options, &server->api);
    if (result < 0)
        fail("the HTTP API cannot start: %s", strerror(-result));
}

static void start_listener(struct server *server)
{
    struct listener_options options = {
        .loop = &server->loop,
        .catalogue = server->catalogue,
        .credentials = server->credentials,
        .hosting = server->hosting,
        .env = &env_system,
        .n_fds = server->n_fds,
    };
    memcpy(options.fds, server->fds, sizeof(options.fds));
    int result = listener_start(&options, &server->listener);
    if (result < 0)
        fail("the listener cannot start: %s", strerror(-result));
}

// --- stop ---

static void on_hosting_stopped(void *context)
{
    struct server *server = context;
    catalogue_close(server->catalogue);
    credentials_close(server->credentials);
    log_info("stopped", "data=%s", server->options.data);
}

static void on_listener_stopped(void *context)
{
    struct server *server = context;
    hosting_stop(server->hosting, on_hosting_stopped, server);
}

static void on_api_stopped(void *context)
{
    struct server *server = context;
    listener_stop(server->listener, on_listener_stopped, server);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    if (server->stopping)
        return;
    server->stopping = true;
    log_info("stop", "signal=%d", number);
    uv_close((uv_handle_t *)&server->terminate, NULL);
    uv_close((uv_handle_t *)&server->interrupt, NULL);
    api_stop(server->api, on_api_stopped, server);
}

static void watch_signals(struct server *server)
{
    signal(SIGPIPE, SIG_IGN);
    uv_signal_t *const handles[] = {&server->terminate, &server->interrupt};
    const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
        handles[i]->data = server;
        if (uv_signal_init(&server->loop, handles[i]) < 0 ||
            uv_signal_start(handles[i], on_signal, numbers[i]) < 0)
            fail("signals cannot be watched");
    }
}

int main(int argc, char **argv)
{
    static struct server server;
    char reason[512];
    if (options_parse(argc, argv, 0, &server.options) < 0)
        return 2;
    log_setup("berthd", server.options.log_level, server.options.log_json);
    if (options_check(&server.options, reason) < 0)
        fail("%s", reason);
    if (server.options.fsck)
        return fsck_run(&server.options);
    raise_descriptors();
    open_tcp(&server);
    if (data_directory_open(server.options.data, &server.lock_fd, reason, sizeof(reason)) < 0)
        fail("%s", reason);
    if (uv_loop_init(&server.loop) < 0)
        fail("no event loop: raise the limit of open files (ulimit -n)");
    open_catalogue(&server);
    open_unix(&server);
    watch_signals(&server);
    start_hosting(&server);
    start_api(&server);
    start_listener(&server);
    log_info("start", "data=%s listen=%s api=%s durability=%s lease_ms=%u", server.options.data,
             server.data_address.text, server.api_address.text, server.options.strict ? "strict" : "process",
             server.options.lease_ms);
    printf("berthd ready data=%s api=%s\n", server.data_address.text, server.api_address.text);
    fflush(stdout);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    fs_assert(uv_loop_close(&server.loop) == 0);
    close(server.lock_fd);
    return 0;
}
