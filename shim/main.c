// SPDX-License-Identifier: Apache-2.0
// berth-fn: reads the configuration, listens, runs the loop, and stops in order: instances, callers, mounts,
// files.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "shim/fleet.h"
#include "shim/gateway.h"
#include "shim/http_server.h"
#include "shim/invoke_api.h"
#include "shim/options.h"
#include "shim/place.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CALLERS_MAX         1024 // connections
#define CALLER_IDLE_SECONDS 60

struct app {
    struct options options;
    struct place place;
    struct functions functions;
    struct sandbox sandbox;
    uv_loop_t loop;
    uv_signal_t signals[2];
    struct mounts *mounts;
    struct fleet *fleet;
    struct http_server *server;
    struct gateway gateway;
    struct invoke_api invoke_api;
    char error[CONFIG_ERROR_SIZE];
};

// --- callers ---

static void on_request(void *context, struct http_request *request)
{
    struct app *app = context;
    const char *path = http_path(request);
    if (strncmp(path, GATEWAY_PREFIX, strlen(GATEWAY_PREFIX)) == 0)
        gateway_handle(&app->gateway, request);
    else if (strncmp(path, INVOKE_PREFIX, strlen(INVOKE_PREFIX)) == 0)
        invoke_api_handle(&app->invoke_api, request);
    else
        http_reply_json(request, 404, "{\"message\":\"Not Found\"}");
}

// --- the end ---

static void on_mounts_stopped(void *context)
{
    struct app *app = context;
    app->mounts = NULL;
}

static void on_server_stopped(void *context)
{
    struct app *app = context;
    app->server = NULL;
    if (app->mounts)
        mounts_stop(app->mounts, on_mounts_stopped, app);
}

static void on_fleet_stopped(void *context)
{
    struct app *app = context;
    app->fleet = NULL;
    http_server_stop(app->server, on_server_stopped, app);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct app *app = handle->data;
    log_info("stop", "signal=%d", number);
    for (size_t i = 0; i < ARRAY_LEN(app->signals); i++)
        uv_close((uv_handle_t *)&app->signals[i], NULL); // a second one ends us at once
    fleet_stop(app->fleet, on_fleet_stopped, app);
}

// --- the beginning ---

static const char *region(void)
{
    const char *name = getenv("AWS_REGION");
    name = name && *name ? name : getenv("AWS_DEFAULT_REGION");
    return name && *name ? name : "us-east-1";
}

static bool wants_mounts(const struct app *app)
{
    for (size_t i = 0; i < app->functions.count; i++)
        if (app->functions.items[i].access_point_id)
            return app->options.bubblewrap;
    return false;
}

static int check_mounts(struct app *app)
{
    if (!wants_mounts(app))
        return 0;
    if (!app->options.server) {
        snprintf(app->error, sizeof(app->error), "--server is missing: a function has FileSystemConfigs");
        return -EINVAL;
    }
    if (access(app->place.berth, X_OK) < 0) {
        snprintf(app->error, sizeof(app->error), "%.400s: %s; it makes the mounts", app->place.berth,
                 strerror(errno));
        return -ENOENT;
    }
    return 0;
}

static int check(struct app *app)
{
    const struct config_context context = {
        .region = region(),
        .default_max_instances = app->options.max_instances,
        .code_as_other_user = app->options.bubblewrap && geteuid() == 0,
        .host_paths = !app->options.bubblewrap,
    };
    int rc = config_load(app->options.config, &context, &app->functions, app->error, sizeof(app->error));
    if (rc == 0)
        rc = place_find(&app->place, app->error, sizeof(app->error));
    if (rc == 0)
        rc = check_mounts(app);
    if (rc == 0 && app->options.bubblewrap)
        rc = place_probe_bubblewrap(app->error, sizeof(app->error));
    return rc;
}

static void make_parts(struct app *app)
{
    app->sandbox = (struct sandbox){.bubblewrap = app->options.bubblewrap,
                                    .as_root = geteuid() == 0,
                                    .bootstrap = app->place.bootstrap,
                                    .etc_dir = app->place.run,
                                    .region = region()};
    const struct mounts_options mounts = {.loop = &app->loop,
                                          .berth = app->place.berth,
                                          .server = app->options.server,
                                          .directory = app->place.run,
                                          .copies = app->options.mounts};
    if (wants_mounts(app))
        app->mounts = mounts_new(&mounts);
    const struct fleet_options fleet = {.loop = &app->loop,
                                        .env = &env_system,
                                        .functions = &app->functions,
                                        .sandbox = &app->sandbox,
                                        .mounts = app->mounts,
                                        .idle_seconds = app->options.idle_seconds};
    app->fleet = fleet_new(&fleet);
    app->gateway = (struct gateway){.fleet = app->fleet,
                                    .functions = &app->functions,
                                    .env = &env_system,
                                    .strings = app->options.quoted_strings ? GATEWAY_STRINGS_QUOTED
                                                                           : GATEWAY_STRINGS_BARE};
    app->invoke_api =
        (struct invoke_api){.fleet = app->fleet, .functions = &app->functions, .env = &env_system};
}

static int start_server(struct app *app, int fd)
{
    const struct http_options options = {.loop = &app->loop,
                                         .listen_fd = fd,
                                         .body_max = FUNCTION_PAYLOAD_MAX,
                                         .idle_seconds = CALLER_IDLE_SECONDS,
                                         .connections_max = CALLERS_MAX,
                                         .handler = on_request,
                                         .context = app};
    return http_server_start(&options, &app->server);
}

static void catch_signals(struct app *app)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(&app->loop, &app->signals[i]);
        app->signals[i].data = app;
        uv_signal_start(&app->signals[i], on_signal, numbers[i]);
    }
}

static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve(struct app *app, int fd)
{
    char address[64];
    fs_assert(uv_loop_init(&app->loop) == 0);
    make_parts(app);
    int rc = start_server(app, fd);
    if (rc < 0) {
        snprintf(app->error, sizeof(app->error), "the HTTP server does not start: %s", strerror(-rc));
        return rc;
    }
    catch_signals(app);
    http_address(fd, address, sizeof(address));
    if (!app->options.bubblewrap)
        log_warn("no-sandbox", "meaning=\"functions run as this user and see all that it sees\"");
    if (strncmp(address, "127.", 4) != 0 && strncmp(address, "[::1]", 5) != 0)
        log_warn("open-listener", "address=%s meaning=\"callers are not authenticated\"", address);
    printf("berth-fn ready http=%s\n", address);
    fflush(stdout);
    uv_run(&app->loop, UV_RUN_DEFAULT);
    fs_assert(uv_loop_close(&app->loop) == 0); // nothing was forgotten
    return 0;
}

static int run(struct app *app)
{
    int fd = -1;
    int rc = check(app);
    if (rc < 0)
        return rc;
    rc = http_listen(app->options.listen, &fd);
    if (rc < 0) {
        snprintf(app->error, sizeof(app->error), "--listen %s: %s", app->options.listen,
                 rc == -EINVAL ? "not ADDR:PORT" : strerror(-rc));
        return rc;
    }
    rc = place_make_run(&app->place, app->error, sizeof(app->error));
    return rc < 0 ? rc : serve(app, fd);
}

int main(int argc, char **argv)
{
    static struct app app;
    options_parse(argc, argv, &app.options);
    log_setup("berth-fn", app.options.log_level, app.options.log_json);
    raise_open_files();
    int rc = run(&app);
    if (rc < 0)
        fprintf(stderr, "berth-fn: %s\n", app.error);
    place_remove_run(&app.place);
    functions_free(&app.functions);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
