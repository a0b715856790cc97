// SPDX-License-Identifier: Apache-2.0
// The daemon's life: connect, say hello, mount, serve, end. Loop's thread. Invariant: the process that waits
// for the mount is told exactly once, "ready" or why not; whatever ends the mount goes through mount_end().
#include "client/mount.h"
#include "client/locks.h"
#include "client/recall.h"
#include "client/request.h"
#include "fs/base/log.h"
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull

// --- telling who waits ---

static void report(struct mount *mount, const char *text)
{
    if (mount->report_fd < 0)
        return;
    // Writing an empty text would not tell that nobody reads any more.
    struct pollfd waiting = {.fd = mount->report_fd};
    ssize_t n = poll(&waiting, 1, 0) > 0 ? -1 : write(mount->report_fd, text, strlen(text));
    close(mount->report_fd);
    mount->report_fd = -1;
    if (n < 0)
        mount_end(mount); // nobody waits any more: nothing is left behind
}

void mount_fail(struct mount *mount, const char *format, ...)
{
    char text[MOUNT_REASON_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c; c++) {
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    }
    mount->exit_code = 1;
    if (mount->options.foreground && mount->report_fd < 0)
        fprintf(stderr, "berth: %s\n", text);
    report(mount, text);
    mount_end(mount);
}

static void detach_output(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        dup2(null, fd);
    closep(&null);
}

void mount_ready(struct mount *mount)
{
    log_info("mounted", "at=%s ap=%s server=%s", mount->options.mountpoint, mount->options.access_point,
             mount->options.address.text);
    if (!mount->options.foreground)
        detach_output();
    report(mount, "");
}

// --- what the rpc asks for ---

static void host_connect(void *context)
{
    transport_connect(((struct mount *)context)->transport);
}

static void host_disconnect(void *context)
{
    transport_disconnect(((struct mount *)context)->transport);
}

static void host_prove(void *context, wire_bytes nonce, const struct wire_hello_request *hello,
                       uint8_t proof[WIRE_PROOF_SIZE])
{
    const struct mount *mount = context;
    uint8_t input[WIRE_HELLO_PROOF_INPUT_MAX];
    size_t n = wire_hello_proof_input(input, nonce, (wire_bytes){.length = 0}, hello);
    const char *secret = mount->options.secret;
    unsigned length = WIRE_PROOF_SIZE;
    fs_assert(n > 0);
    fs_assert(HMAC(EVP_sha256(), secret, (int)strlen(secret), input, n, proof, &length));
}

static void first_welcome(struct mount *mount)
{
    char reason[MOUNT_REASON_SIZE] = "";
    int result = fuse_start(mount, reason, sizeof(reason));
    if (result < 0)
        mount_fail(mount, "%s", reason[0] ? reason : strerror(-result));
}

static void host_welcome(void *context, const struct wire_hello_reply *reply, bool first)
{
    struct mount *mount = context;
    mount->identity = first ? reply->identity : mount->identity;
    mount->read_only = first ? reply->read_only || mount->options.read_only : mount->read_only;
    mount->lease_ms = reply->lease_ms;
    mount->incarnation = reply->incarnation;
    mount->server_ahead_ns = (int64_t)(reply->server_time_ns - env_monotonic_ns(&mount->env));
    snprintf(mount->file_system, sizeof(mount->file_system), "%.*s", (int)reply->file_system.length,
             reply->file_system.bytes);
    nodes_set_root(&mount->nodes, reply->root.handle);
    recall_welcome(mount, reply, first);
    mount->down_ns = 0;
    mount->trouble[0] = '\0';
    if (first)
        first_welcome(mount);
    else
        log_info("reconnected", "server=%s resumed=%d", mount->options.address.text, reply->resumed);
}

static void host_reclaim(void *context)
{
    recall_claim(context);
    recover_claim(context);
}

static bool host_may_be_told(void *context)
{
    const struct mount *mount = context;
    return mount->n_unswept == 0;
}

static void host_fenced(void *context)
{
    recover_fenced(context);
}

static void host_granted(void *context, uint64_t ticket)
{
    locks_granted(context, ticket);
}

static void host_invalidate(void *context, const struct wire_invalidate_event *event)
{
    struct mount *mount = context;
    if (!mount->ending)
        recall_invalidate(mount, event);
}

// The kernel has forgotten an inode on which there is a lease.
static void host_forgotten(void *context, fs_ino ino)
{
    struct mount *mount = context;
    whole_drop(&mount->whole, nodes_id_of(&mount->nodes, ino));
    lease_forget(&mount->lease, ino);
}

static bool tell_closed(void *context, const uint64_t *open_ids, size_t n)
{
    struct mount *mount = context;
    uint8_t opens[WIRE_INODES_MAX * sizeof(uint64_t)], body[sizeof(uint32_t) + sizeof(opens)];
    struct writer writer = writer_on(opens, sizeof(opens));
    for (size_t i = 0; i < n; i++)
        write_u64(&writer, open_ids[i]);
    struct wire_closed_event closed = {.opens = {.bytes = opens, .length = (uint32_t)(n * sizeof(uint64_t))}};
    writer = writer_on(body, sizeof(body));
    wire_put_closed_event(&writer, &closed);
    return rpc_is_up(mount->rpc) && rpc_tell(mount->rpc, WIRE_CLOSED, body, sizeof(body) - writer.left) == 0;
}

static void explain(const struct mount *mount, int error, const char *why, char *out, size_t size)
{
    bool absent = error == -ECONNREFUSED || error == -ECONNRESET || error == -ENOENT;
    if (rpc_counts(mount->rpc)->connections == 0)
        snprintf(out, size, "cannot reach %s: %s; is berthd running?", mount->options.address.text, why);
    else if (error == -EPROTO || error == -ETIMEDOUT || (absent && strcmp(why, strerror(-error)) == 0))
        snprintf(out, size, "%s: %s", mount->options.address.text, why);
    else
        snprintf(out, size, "%s", why);
}

static void host_down(void *context, int error, const char *why)
{
    struct mount *mount = context;
    explain(mount, error, why, mount->trouble, sizeof(mount->trouble));
    if (!mount->fuse) {
        mount_fail(mount, "%s", mount->trouble);
        return;
    }
    if (mount->down_ns == 0) {
        mount->down_ns = env_monotonic_ns(&mount->env);
        log_warn("disconnected", "server=%s why=\"%s\"", mount->options.address.text, why);
    }
    recover_down(mount);
}

static void host_ended(void *context)
{
    uv_stop(&((struct mount *)context)->loop);
}

// --- the loop ---

static void on_timer(uv_timer_t *timer)
{
    (void)timer; // what is due is done in on_check, which runs in every turn
}

// After everything that arrived in this turn: what is due, what is to be sent, and when to wake up.
static void on_check(uv_check_t *check)
{
    struct mount *mount = check->data;
    const uint64_t dues[] = {
        recall_tick(mount), requests_tick(mount),
        kept_opens_tick(&mount->kept_opens, rpc_answered_ns(mount->rpc), env_monotonic_ns(&mount->env)),
        rpc_tick(mount->rpc), locks_tick(mount)};
    uint64_t due = UINT64_MAX;
    transport_flush(mount->transport);
    for (size_t i = 0; i < ARRAY_LEN(dues); i++)
        due = MIN(due, dues[i]);
    if (due == UINT64_MAX) {
        uv_timer_stop(&mount->timer);
        return;
    }
    uint64_t now = env_monotonic_ns(&mount->env);
    uv_update_time(&mount->loop);
    uv_timer_start(&mount->timer, on_timer, due > now ? (due - now) / NS_PER_MS + 1 : 0, 0);
}

void mount_end(struct mount *mount)
{
    if (mount->ending)
        return;
    mount->ending = true;
    fuse_stop(mount);
    rpc_end(mount->rpc);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct mount *mount = signal->data;
    log_info("signal", "number=%d", number);
    mount_end(mount);
}

static void watch_signals(struct mount *mount)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(&mount->loop, &mount->signals[i]);
        mount->signals[i].data = mount;
        uv_signal_start(&mount->signals[i], on_signal, numbers[i]);
    }
}

// --- beginning and end ---

static void set_host(struct mount *mount)
{
    mount->host = (struct rpc_host){
        .context = mount,
        .connect = host_connect,
        .disconnect = host_disconnect,
        .prove = host_prove,
        .welcome = host_welcome,
        .reclaim = host_reclaim,
        .may_be_told = host_may_be_told,
        .fenced = host_fenced,
        .down = host_down,
        .granted = host_granted,
        .invalidate = host_invalidate,
        .ended = host_ended,
    };
}

static int mount_open(struct mount *mount, const char *client_name)
{
    const struct mount_options *options = &mount->options;
    struct rpc_options rpc = {
        .env = &mount->env,
        .host = &mount->host,
        .access_point = options->access_point,
        .access_key = options->access_key,
        .client_name = client_name,
        .want_read_only = options->read_only,
        .want_leases = !options->no_lease,
    };
    set_host(mount);
    nodes_init(&mount->nodes);
    whole_init(&mount->whole, &mount->env);
    kept_opens_init(&mount->kept_opens, &mount->nodes, tell_closed, mount);
    first_bytes_init(&mount->first_bytes);
    mount->nodes.forgotten = host_forgotten;
    mount->nodes.context = mount;
    list_init(&mount->recalls);
    list_init(&mount->requests);
    list_init(&mount->killable);
    int result = uv_loop_init(&mount->loop);
    if (result < 0)
        return result;
    result = transport_create(&mount->loop, &options->address, &mount->transport);
    if (result == 0)
        result = notify_create(&mount->loop, &mount->notify);
    if (result == 0)
        result = rpc_create(&rpc, &mount->rpc);
    if (result < 0)
        return result;
    transport_attach(mount->transport, mount->rpc);
    uv_timer_init(&mount->loop, &mount->timer);
    uv_check_init(&mount->loop, &mount->check);
    mount->check.data = mount;
    uv_check_start(&mount->check, on_check);
    uv_timer_start(&mount->timer, on_timer, 0, 0);
    watch_signals(mount);
    return 0;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void mount_close(struct mount *mount)
{
    transport_destroy(mount->transport);
    notify_destroy(mount->notify);
    uv_walk(&mount->loop, close_handle, NULL);
    uv_run(&mount->loop, UV_RUN_DEFAULT);
    uv_loop_close(&mount->loop);
    rpc_destroy(mount->rpc);
    locks_free(mount);
    mount->nodes.forgotten = NULL;
    first_bytes_drop_all(&mount->first_bytes);
    kept_opens_free(&mount->kept_opens);
    nodes_free(&mount->nodes);
    whole_free(&mount->whole);
    lease_free(&mount->lease);
    if (mount->fuse)
        fuse_session_destroy(mount->fuse);
    free(mount->fuse_buffer);
    closep(&mount->abort_fd);
    watcher_dismiss(&mount->watcher);
}

int mount_serve(const struct mount_options *options, int report_fd)
{
    struct mount mount = {.options = *options, .env = env_system, .report_fd = report_fd};
    char client_name[WIRE_TEXT_MAX], host[256] = "";
    gethostname(host, sizeof(host) - 1);
    snprintf(client_name, sizeof(client_name), "%s:%d:%.*s", host, (int)getpid(), 200, options->mountpoint);
    mount.since_ns = env_monotonic_ns(&mount.env);
    mount.watcher.fd = mount.abort_fd = -1;
    int result = watcher_start(options->mountpoint, options->title, &mount.watcher);
    if (result == 0)
        result = mount_open(&mount, client_name);
    if (result < 0) {
        report(&mount, strerror(-result));
        return 1;
    }
    rpc_start(mount.rpc);
    uv_run(&mount.loop, UV_RUN_DEFAULT);
    mount_close(&mount);
    return mount.exit_code;
}
