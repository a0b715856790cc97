// SPDX-License-Identifier: Apache-2.0
// See instance.h. Every change of state goes through move(), which asks instance_step(). An instance is
// stopped once, and freed when all its parts (server, process, timer, log) have closed.
#include "shim/instance.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "shim/logs.h"
#include "shim/peer.h"
#include "shim/runtime_api.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define INIT_SECONDS        10 // Lambda's limit for the init phase; a longer Timeout extends it
#define RESPONSE_MAX        (FUNCTION_PAYLOAD_MAX + 100)
#define RUNTIME_CONNECTIONS 16
#define SHELL_SIGNAL_BASE   128 // exit status of a process that a signal killed, as bubblewrap passes it on

struct instance {
    struct list link;
    const struct instance_host *host;
    void *pool;
    const struct function *function;
    unsigned number;
    enum instance_state state;

    struct mount_use mount_use;
    struct http_server *server;
    uv_process_t process;
    uv_timer_t timer;
    struct logs logs;
    bool process_alive, logs_open;
    unsigned parts; // of server, process, timer, log: not closed yet

    char runtime_api[32]; // HOST:PORT
    char log_stream[64];
    struct http_request *parked; // its runtime's invocation/next, when IDLE
    struct invocation *current;  // when BUSY
    bool responded_before;       // the next REPORT line has no init duration
    bool retiring;               // stop at the end of the invocation: its mount is gone
    uint64_t started_ns, ready_ns, dispatched_ns;
};

static void stop_parts(struct instance *instance);

enum instance_state instance_state_of(const struct instance *instance)
{
    return instance->state;
}

struct list *instance_link(struct instance *instance)
{
    return &instance->link;
}

struct instance *instance_of_link(struct list *link)
{
    return LIST_ENTRY(link, struct instance, link);
}

// --- state ---

static int move(struct instance *instance, enum instance_event event)
{
    enum instance_state before = instance->state;
    int rc = instance_step(before, event, &instance->state);
    log_debug("instance", "function=%s number=%u state=%s event=%s to=%s", instance->function->name,
              instance->number, instance_state_name(before), instance_event_name(event),
              rc < 0 ? "refused" : instance_state_name(instance->state));
    if (rc == 0 && instance->state == INSTANCE_STOPPING && before != INSTANCE_STOPPING)
        stop_parts(instance);
    return rc;
}

static void on_timer(uv_timer_t *timer);

static void arm(struct instance *instance, uint64_t ms)
{
    uv_timer_start(&instance->timer, on_timer, ms, 0);
}

// --- the end of an invocation ---

static double milliseconds(uint64_t from_ns, uint64_t to_ns)
{
    return (double)(to_ns - from_ns) / 1e6;
}

static void print_report(struct instance *instance)
{
    double ms = milliseconds(instance->dispatched_ns, env_monotonic_ns(instance->host->env));
    char init[64] = "";
    if (!instance->responded_before)
        snprintf(init, sizeof(init), "\tInit Duration: %.2f ms",
                 milliseconds(instance->started_ns, instance->ready_ns));
    instance->responded_before = true;
    logs_platform(&instance->logs, "END RequestId: %s", instance->current->id);
    logs_platform(&instance->logs,
                  "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %llu ms\tMemory Size: %u MB%s",
                  instance->current->id, ms, (unsigned long long)ms + 1, instance->function->memory_mib,
                  init);
}

static void complete(struct instance *instance, struct outcome *outcome)
{
    char tail[LOGS_TAIL_SIZE];
    logs_drain(&instance->logs);
    print_report(instance);
    outcome->log = tail;
    outcome->log_size = logs_tail(&instance->logs, tail);
    struct invocation *invocation = instance->current;
    instance->current = NULL;
    invocation_finish(invocation, outcome);
}

static void complete_with_error(struct instance *instance, enum outcome_kind kind, const char *type,
                                const char *message)
{
    logs_drain(&instance->logs);
    logs_platform(&instance->logs, "RequestId: %s Error: %s", instance->current->id, message);
    _cleanup_(freep) char *body = function_error_json(type, instance->current->id, message);
    struct outcome outcome = {.kind = kind, .body = body, .body_size = strlen(body)};
    complete(instance, &outcome);
}

// The start failed: some invocation that waits for this function is told.
static void report_failed_start(struct instance *instance, const void *body, size_t body_size)
{
    char tail[LOGS_TAIL_SIZE], text[256];
    struct outcome outcome = {
        .kind = OUTCOME_FUNCTION_ERROR, .body = body, .body_size = body_size, .log = tail};
    if (instance->logs_open) {
        logs_drain(&instance->logs);
        outcome.log_size = logs_tail(&instance->logs, tail);
    }
    log_warn("instance-start", "function=%s number=%u error=%s", instance->function->name, instance->number,
             log_text(text, sizeof(text), body, body_size));
    instance->host->start_failed(instance->pool, instance, &outcome);
}

static void fail_start(struct instance *instance, const char *type, const char *message)
{
    _cleanup_(freep) char *body = function_error_json(type, NULL, message);
    report_failed_start(instance, body, strlen(body));
}

// --- stopping ---

static void close_part(struct instance *instance)
{
    fs_assert(instance->parts > 0);
    if (--instance->parts > 0)
        return;
    fs_assert(!instance->current && !instance->parked);
    mounts_release(&instance->mount_use);
    instance->host->gone(instance->pool, instance);
    free(instance);
}

static void on_part_closed(void *context)
{
    close_part(context);
}

static void on_timer_closed(uv_handle_t *handle)
{
    close_part(handle->data);
}

static void close_logs(struct instance *instance)
{
    if (!instance->logs_open)
        return;
    instance->logs_open = false;
    logs_close(&instance->logs, on_part_closed, instance);
}

// The sandbox's own first process, as long as bubblewrap has made it; else 0.
static pid_t first_child(pid_t parent)
{
    char path[64], text[32];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[MAX(size, 0)] = '\0';
    return (pid_t)strtol(text, NULL, 10);
}

// With the sandbox's first process all the others end, and only then bubblewrap itself: nothing outlives
// on_process_exit().
static void kill_process(struct instance *instance)
{
    if (!instance->process_alive)
        return;
    int pid = instance->process.pid;
    if (!instance->host->sandbox->bubblewrap) {
        kill(-pid, SIGKILL); // its process group
        return;
    }
    pid_t inside = first_child(pid);
    kill(inside > 0 ? inside : pid, SIGKILL);
}

static void stop_parts(struct instance *instance)
{
    instance->host->stopping(instance->pool, instance);
    instance->parked = NULL; // its server answers it
    kill_process(instance);
    if (instance->server)
        http_server_stop(instance->server, on_part_closed, instance);
    instance->server = NULL;
    if (!instance->process_alive)
        close_logs(instance);
    uv_close((uv_handle_t *)&instance->timer, on_timer_closed);
}

void instance_stop(struct instance *instance)
{
    if (instance->state == INSTANCE_STOPPING)
        return;
    if (instance->current)
        complete_with_error(instance, OUTCOME_FUNCTION_ERROR, "Runtime.ExitError",
                            "The function is being stopped");
    int rc = move(instance, INSTANCE_STOP);
    fs_assert(rc == 0);
}

// --- the process ---

static void exit_text(int64_t status, int signal_number, char *out, size_t out_size)
{
    if (signal_number == 0 && status > SHELL_SIGNAL_BASE && status < SHELL_SIGNAL_BASE + NSIG)
        signal_number = (int)status - SHELL_SIGNAL_BASE;
    const char *name = signal_number ? sigdescr_np(signal_number) : NULL;
    if (name) // "killed": Lambda writes it small
        snprintf(out, out_size, "Runtime exited with error: signal: %c%s", tolower((unsigned char)name[0]),
                 name + 1);
    else if (signal_number)
        snprintf(out, out_size, "Runtime exited with error: signal %d", signal_number);
    else if (status)
        snprintf(out, out_size, "Runtime exited with error: exit status %d", (int)status);
    else
        snprintf(out, out_size, "Runtime exited without providing a reason");
}

static void on_process_closed(uv_handle_t *handle)
{
    close_part(handle->data);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal_number)
{
    struct instance *instance = process->data;
    char text[128];
    exit_text(status, signal_number, text, sizeof(text));
    instance->process_alive = false;
    logs_drain(&instance->logs);
    if (instance->state == INSTANCE_STOPPING)
        close_logs(instance);
    else if (instance->state == INSTANCE_STARTING)
        fail_start(instance, "Runtime.ExitError", text);
    else if (instance->current)
        complete_with_error(instance, OUTCOME_FUNCTION_ERROR, "Runtime.ExitError", text);
    else
        log_info("instance-exit", "function=%s number=%u reason=\"%s\"", instance->function->name,
                 instance->number, text);
    move(instance, INSTANCE_EXIT);
    uv_close((uv_handle_t *)process, on_process_closed);
}

// The words, each with its NUL, in a file without a name.
static int args_file(const struct strings *args)
{
    int fd = memfd_create("bwrap-args", MFD_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < args->count; i++) {
        size_t size = strlen(args->items[i]) + 1;
        if (write(fd, args->items[i], size) != (ssize_t)size) {
            close(fd);
            return -ENOSPC;
        }
    }
    if (fd < 0)
        return -errno;
    return lseek(fd, 0, SEEK_SET) == 0 ? fd : -errno;
}

static int spawn(struct instance *instance, const struct sandbox_command *command, int output_fd, int args_fd)
{
    uv_stdio_container_t stdio[SANDBOX_ARGS_FD + 1] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = output_fd},
        {.flags = UV_INHERIT_FD, .data.fd = output_fd},
        {.flags = args_fd >= 0 ? UV_INHERIT_FD : UV_IGNORE, .data.fd = args_fd},
    };
    const uv_process_options_t options = {
        .file = command->argv.items[0],
        .args = command->argv.items,
        .env = command->env.items,
        .cwd = command->cwd,
        .flags = UV_PROCESS_DETACHED, // Ctrl-C is for us alone
        .stdio = stdio,
        .stdio_count = SANDBOX_ARGS_FD + (args_fd >= 0 ? 1 : 0),
        .exit_cb = on_process_exit,
    };
    int rc = uv_spawn(instance->host->loop, &instance->process, &options);
    instance->process.data = instance;
    instance->parts++;
    instance->process_alive = rc == 0;
    if (rc < 0)
        uv_close((uv_handle_t *)&instance->process, on_process_closed);
    return rc;
}

static int start_process(struct instance *instance, const char *mount_dir, int output_fd)
{
    const struct sandbox *sandbox = instance->host->sandbox;
    const struct sandbox_instance launch = {.function = instance->function,
                                            .runtime_api = instance->runtime_api,
                                            .log_stream = instance->log_stream,
                                            .mount_dir = mount_dir};
    struct sandbox_command command;
    sandbox_command_build(sandbox, &launch, &command);
    int args_fd = sandbox->bubblewrap ? args_file(&command.bwrap_args) : -1;
    int rc = sandbox->bubblewrap && args_fd < 0 ? args_fd : 0;
    if (sandbox->as_root && sandbox->bubblewrap &&
        fchown(output_fd, FUNCTION_SANDBOX_UID, FUNCTION_SANDBOX_GID) < 0)
        rc = -errno; // else the function could not open /dev/stdout
    if (rc == 0)
        rc = spawn(instance, &command, output_fd, args_fd);
    if (args_fd >= 0)
        close(args_fd);
    sandbox_command_free(&command);
    return rc;
}

static int start_server(struct instance *instance)
{
    int fd = -1;
    int rc = http_listen("127.0.0.1:0", &fd);
    if (rc < 0)
        return rc;
    http_address(fd, instance->runtime_api, sizeof(instance->runtime_api));
    const struct http_options options = {
        .loop = instance->host->loop,
        .listen_fd = fd,
        .body_max = RESPONSE_MAX,
        .connections_max = RUNTIME_CONNECTIONS,
        .handler = runtime_api_handle,
        .context = instance,
    };
    rc = http_server_start(&options, &instance->server);
    if (rc < 0)
        close(fd);
    else
        instance->parts++;
    return rc;
}

static int launch(struct instance *instance, const char *mount_dir)
{
    char prefix[96];
    snprintf(prefix, sizeof(prefix), "%s[%u]", instance->function->name, instance->number);
    int output_fd = -1;
    int rc = logs_open(&instance->logs, instance->host->loop, prefix, &output_fd);
    if (rc < 0)
        return rc;
    instance->logs_open = true;
    instance->parts++;
    rc = start_server(instance);
    if (rc == 0)
        rc = start_process(instance, mount_dir, output_fd);
    close(output_fd);
    return rc;
}

static void launch_or_fail(struct instance *instance, const char *mount_dir)
{
    instance->started_ns = env_monotonic_ns(instance->host->env);
    arm(instance, 1000u * MAX(instance->function->timeout_seconds, (unsigned)INIT_SECONDS));
    int rc = launch(instance, mount_dir);
    if (rc == 0)
        return;
    char text[160];
    snprintf(text, sizeof(text), "The instance could not be started: %s", strerror(-rc));
    fail_start(instance, "Sandbox.Failure", text);
    move(instance, INSTANCE_STOP);
}

// --- its mount ---

static void on_mount_ready(struct mount_use *use, const char *directory)
{
    struct instance *instance = LIST_ENTRY(use, struct instance, mount_use);
    if (instance->state == INSTANCE_STOPPING)
        return;
    launch_or_fail(instance, directory);
}

static void on_mount_failed(struct mount_use *use, enum mount_failure why)
{
    struct instance *instance = LIST_ENTRY(use, struct instance, mount_use);
    if (instance->state == INSTANCE_STOPPING)
        return;
    struct mount_error error;
    mount_error_of(why, instance->function->access_point_arn, &error);
    _cleanup_(freep) char *body = service_error_json(error.status, error.message);
    const struct outcome outcome = {.kind = OUTCOME_REFUSED,
                                    .body = body,
                                    .body_size = strlen(body),
                                    .status = error.status,
                                    .error_name = error.name};
    instance->host->start_failed(instance->pool, instance, &outcome);
    move(instance, INSTANCE_STOP);
}

static void on_mount_lost(struct mount_use *use)
{
    struct instance *instance = LIST_ENTRY(use, struct instance, mount_use);
    instance->retiring = true;
    if (instance->state == INSTANCE_IDLE)
        instance_stop(instance);
}

// --- life ---

struct instance *instance_new(const struct instance_host *host, void *pool, const struct function *function,
                              unsigned number)
{
    struct instance *instance = calloc(1, sizeof(*instance));
    if (!instance)
        return NULL;
    list_init(&instance->link);
    instance->host = host;
    instance->pool = pool;
    instance->function = function;
    instance->number = number;
    instance->state = INSTANCE_STARTING;
    instance->mount_use.ready = on_mount_ready;
    instance->mount_use.failed = on_mount_failed;
    instance->mount_use.lost = on_mount_lost;
    uv_timer_init(host->loop, &instance->timer);
    instance->timer.data = instance;
    instance->parts = 1;
    snprintf(instance->log_stream, sizeof(instance->log_stream), "%d/%u", (int)getpid(), number);
    return instance;
}

void instance_start(struct instance *instance)
{
    if (instance->host->mounts && instance->function->access_point_id)
        mounts_acquire(instance->host->mounts, &instance->mount_use, instance->function->access_point_id);
    else
        launch_or_fail(instance, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct instance *instance = timer->data;
    char text[64];
    unsigned seconds = MAX(instance->function->timeout_seconds, (unsigned)INIT_SECONDS);
    if (instance->state == INSTANCE_STARTING) {
        snprintf(text, sizeof(text), "Init timed out after %u.00 seconds", seconds);
        fail_start(instance, "Sandbox.Timedout", text);
    }
    if (instance->current) {
        snprintf(text, sizeof(text), "Task timed out after %u.00 seconds",
                 instance->function->timeout_seconds);
        complete_with_error(instance, OUTCOME_TIMED_OUT, "Sandbox.Timedout", text);
    }
    move(instance, INSTANCE_DEADLINE);
}

// --- invocations ---

static void deliver(struct instance *instance)
{
    const struct invocation *invocation = instance->current;
    uint64_t deadline_ms = env_realtime_ns(instance->host->env) / 1000000u +
                           (uint64_t)instance->function->timeout_seconds * 1000;
    char deadline[24];
    snprintf(deadline, sizeof(deadline), "%llu", (unsigned long long)deadline_ms);
    struct http_header headers[] = {
        {"Lambda-Runtime-Aws-Request-Id", invocation->id},
        {"Lambda-Runtime-Deadline-Ms", deadline},
        {"Lambda-Runtime-Invoked-Function-Arn", instance->function->arn},
        {"Lambda-Runtime-Trace-Id", invocation->trace_id},
        {"Lambda-Runtime-Client-Context", invocation->client_context},
    };
    const struct http_reply reply = {
        .status = 200,
        .content_type = "application/json",
        .body = invocation->payload,
        .body_size = invocation->payload_size,
        .headers = headers,
        .n_headers = ARRAY_LEN(headers) - (invocation->client_context ? 0 : 1),
    };
    struct http_request *parked = instance->parked;
    instance->parked = NULL;
    http_reply(parked, &reply);
}

void instance_dispatch(struct instance *instance, struct invocation *invocation)
{
    int rc = move(instance, INSTANCE_DISPATCH);
    fs_assert(rc == 0 && !instance->current);
    list_remove(&invocation->link);
    instance->current = invocation;
    instance->dispatched_ns = env_monotonic_ns(instance->host->env);
    logs_reset_tail(&instance->logs);
    logs_platform(&instance->logs, "START RequestId: %s Version: %s", invocation->id, FUNCTION_VERSION);
    arm(instance, 1000u * instance->function->timeout_seconds);
    deliver(instance);
}

bool instance_is_peer(const struct instance *instance, int connection_fd)
{
    if (!instance->host->sandbox->bubblewrap)
        return true;
    pid_t inside = instance->process_alive ? first_child(instance->process.pid) : 0;
    return inside > 0 && peer_in_sandbox(connection_fd, inside);
}

static void refuse_state(struct http_request *request)
{
    runtime_api_error(request, 403, "InvalidStateTransition", "State transition is not allowed");
}

void instance_on_next(struct instance *instance, struct http_request *request)
{
    if (instance->retiring && instance->state != INSTANCE_STOPPING) {
        refuse_state(request);
        instance_stop(instance);
        return;
    }
    bool first = instance->state == INSTANCE_STARTING;
    if (move(instance, INSTANCE_NEXT) < 0) {
        refuse_state(request);
        return;
    }
    if (instance->parked)
        refuse_state(instance->parked);
    instance->parked = request;
    if (first)
        instance->ready_ns = env_monotonic_ns(instance->host->env);
    arm(instance, 1000ull * instance->host->idle_seconds);
    instance->host->idle(instance->pool, instance);
}

static void accepted(struct http_request *request)
{
    const struct http_reply reply = {
        .status = 202, .content_type = "application/json", .body = "{\"status\":\"OK\"}\n", .body_size = 16};
    http_reply(request, &reply);
}

static void result_too_large(struct instance *instance, struct http_request *request)
{
    char text[128];
    snprintf(text, sizeof(text), "Response payload size exceeded maximum allowed payload size (%u bytes).",
             RESPONSE_MAX);
    complete_with_error(instance, OUTCOME_FUNCTION_ERROR, "Function.ResponseSizeTooLarge", text);
    runtime_api_error(request, 413, "RequestEntityTooLarge", text);
}

void instance_on_result(struct instance *instance, struct http_request *request, const char *id,
                        size_t id_size, bool is_error)
{
    if (!instance->current || strlen(instance->current->id) != id_size ||
        memcmp(instance->current->id, id, id_size) != 0) {
        runtime_api_error(request, 400, "InvalidRequestID", "Invalid request ID");
        return;
    }
    int rc = move(instance, INSTANCE_RESULT);
    fs_assert(rc == 0); // it is BUSY: it has an invocation
    if (http_body_too_large(request)) {
        result_too_large(instance, request);
        return;
    }
    struct outcome outcome = {.kind = is_error ? OUTCOME_FUNCTION_ERROR : OUTCOME_OK};
    outcome.body = http_body(request, &outcome.body_size);
    complete(instance, &outcome);
    accepted(request);
}

void instance_on_init_error(struct instance *instance, struct http_request *request)
{
    if (instance->state != INSTANCE_STARTING) {
        refuse_state(request);
        return;
    }
    size_t size;
    const void *body = http_body(request, &size);
    report_failed_start(instance, body, size);
    accepted(request);
    move(instance, INSTANCE_INIT_ERROR);
}
