// SPDX-License-Identifier: Apache-2.0
// Listening sockets and connections up to hello. Main thread. Invariant: every connection accepted here is in
// `greeted` until it has been answered, closed, or is on its way to a shard.
#include "server/listener.h"
#include "fs/base/log.h"
#include "server/attach.h"
#include "server/conn.h"
#include "server/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ACCEPT_TURN_MAX  64u   // connections taken before other events get their turn
#define TICK_MS          1000u // how exactly LISTENER_HELLO_SECONDS is kept
#define HELLO_LENGTH_MAX 4096u // of a hello's frame; it holds five short fields
#define DESCRIPTORS_KEPT 512u  // for what the file systems open

struct acceptor {
    uv_poll_t poll;
    struct listener *listener;
    int fd;
};

struct listener {
    struct listener_options options;
    struct acceptor acceptors[LISTENER_SOCKETS_MAX];
    uv_timer_t timer;
    struct list greeted;
    unsigned connections_max;
    int spare_fd;    // given up for a moment to turn somebody away when no descriptor is left
    bool complained; // about that, since the last timer tick
    bool stopping;
    unsigned n_handles; // of the loop, not yet closed
    unsigned n_leaving; // connections between this loop and a shard
    void (*done)(void *context);
    void *done_context;
};

// A connection up to hello.
struct greeted {
    struct list node;
    struct listener *listener;
    struct conn *conn;
    struct attach *attach; // let in, on its way
    uint64_t since_ms;
    bool answered; // refused; nothing more is taken from it
    uint8_t nonce[WIRE_NONCE_SIZE];
};

// --- the end ---

static void check_done(struct listener *listener)
{
    if (!listener->stopping || listener->n_handles > 0 || listener->n_leaving > 0)
        return;
    listener->done(listener->done_context);
    free(listener);
}

// --- hello ---

static void closed(struct conn *conn, const char *why)
{
    struct greeted *greeted = conn->owner;
    // A closed connection without a word is a probe of the port, not news.
    bool quiet = greeted->answered || strcmp(why, "closed by the peer") == 0;
    log_event(quiet ? LOG_DEBUG : LOG_WARN, "connection-closed", "peer=%s why=%s", conn->peer.text, why);
    struct listener *listener = greeted->listener;
    list_remove(&greeted->node);
    listener->n_leaving -= greeted->attach != NULL;
    attach_free(greeted->attach);
    free(greeted);
    check_done(listener);
}

static void left(struct conn *conn)
{
    struct greeted *greeted = conn->owner;
    struct listener *listener = greeted->listener;
    struct attach *attach = greeted->attach;
    free(greeted);
    listener->n_leaving--;
    if (listener->stopping) {
        conn_abandon(conn);
        attach_free(attach);
        check_done(listener);
        return;
    }
    attach_read_quotas(listener->options.catalogue, attach);
    hosting_attach(listener->options.hosting, attach, conn);
}

static void refuse(struct greeted *greeted, const struct wire_hello_request *hello, uint32_t seq, int error,
                   const char *reason)
{
    struct conn *conn = greeted->conn;
    char ap[2 * FS_ID_SIZE], client[SESSION_TEXT_SIZE];
    METRICS_ADD(attaches_refused, 1);
    log_warn("attach-refused", "ap=%s peer=%s client=%s error=%s reason=%s",
             log_text(ap, sizeof(ap), hello->access_point.bytes, hello->access_point.length), conn->peer.text,
             log_text(client, sizeof(client), hello->client_name.bytes, hello->client_name.length),
             strerror(-error), reason);
    greeted->answered = true;
    struct out *out = out_error(WIRE_HELLO, 0, seq, error, reason);
    if (out)
        conn_send(conn, out);
    conn_close_when_sent(conn, "refused");
}

static void answer_hello(struct greeted *greeted, const struct wire_hello_request *hello, uint32_t seq)
{
    struct listener *listener = greeted->listener;
    char reason[ATTACH_REASON_SIZE];
    struct attach *attach;
    int result = attach_decide(listener->options.catalogue, listener->options.credentials, greeted->nonce,
                               &greeted->conn->peer, hello, &attach, reason);
    if (result < 0) {
        refuse(greeted, hello, seq, result, reason);
        return;
    }
    attach->seq = seq;
    greeted->attach = attach;
    listener->n_leaving++;
    list_remove(&greeted->node);
    conn_leave(greeted->conn, left);
}

static void frame(struct conn *conn, struct frame *frame)
{
    struct greeted *greeted = conn->owner;
    const struct wire_header header = frame->header;
    struct reader body = reader_on(frame->body, frame->body_length);
    struct wire_hello_request hello;
    if (header.op != WIRE_HELLO || header.slot != 0 || header.seq != 0 || header.status != 0)
        conn_expel(conn, "a request before hello");
    else if (wire_get_hello_request(&body, &hello) < 0)
        conn_expel(conn, "a malformed hello");
    else
        answer_hello(greeted, &hello, header.seq);
    conn_frame_free(conn, frame);
}

static void drained(struct conn *conn UNUSED)
{
}

static const struct conn_ops greeted_ops = {
    .frame_max = HELLO_LENGTH_MAX, .frame = frame, .drained = drained, .closed = closed};

static struct out *greeting(const struct greeted *greeted)
{
    const size_t room = 64;
    struct out *out = out_new(room);
    if (!out)
        return NULL;
    struct writer body = writer_on(out_body(out), room);
    struct wire_greeting_event event = {
        .magic = WIRE_MAGIC,
        .version_min = WIRE_VERSION_MIN,
        .version_max = WIRE_VERSION_MAX,
        .nonce = {.bytes = greeted->nonce, .length = WIRE_NONCE_SIZE},
    };
    wire_put_greeting_event(&body, &event);
    fs_assert(!body.failed);
    return out_seal(out, (struct wire_header){.op = WIRE_GREETING}, room - body.left);
}

// Is there a place for one more? Who has not said hello gives up his, the longest waiting first, so that a
// crowd that says nothing keeps nobody out.
static int make_room(struct listener *listener)
{
    if (conn_count() < listener->connections_max)
        return 0;
    if (list_empty(&listener->greeted))
        return -EUSERS;
    conn_expel(LIST_ENTRY(listener->greeted.next, struct greeted, node)->conn,
               "no hello, and its place was needed");
    return 0;
}

// Owns fd and peer from success on.
static int greet(struct listener *listener, int fd, const struct peer *peer)
{
    struct greeted *greeted = calloc(1, sizeof(*greeted));
    if (!greeted)
        return -ENOMEM;
    greeted->listener = listener;
    greeted->since_ms = uv_now(listener->options.loop);
    env_random(listener->options.env, greeted->nonce, sizeof(greeted->nonce));
    struct out *out = greeting(greeted);
    int result =
        out ? conn_open(listener->options.loop, fd, peer, &greeted_ops, greeted, &greeted->conn) : -ENOMEM;
    if (result < 0) {
        out_unref(out);
        free(greeted);
        return result;
    }
    list_init(&greeted->node);
    list_push(&listener->greeted, &greeted->node);
    conn_send(greeted->conn, out);
    conn_flush(greeted->conn);
    return 0;
}

// --- accepting ---

static void welcome_fd(struct listener *listener, int fd)
{
    struct peer peer = {0};
    int result = make_room(listener);
    if (result == 0)
        result = peer_of_socket(fd, &peer);
    if (result == 0)
        result = greet(listener, fd, &peer);
    if (result == 0) {
        METRICS_ADD(connections_accepted, 1);
        return;
    }
    METRICS_ADD(connections_refused, 1);
    if (result == -EUSERS && !listener->complained)
        log_warn("connection-refused", "error=%u connections are open already", listener->connections_max);
    else if (result != -EUSERS && result != -ENOTCONN)
        log_warn("connection-refused", "error=%s", strerror(-result));
    listener->complained = true;
    peer_clear(&peer);
    close(fd);
}

// No descriptor is left. Whoever waits would wake the loop for ever: take one with the spare and close it.
static void turn_away(struct listener *listener, const struct acceptor *acceptor)
{
    if (!listener->complained)
        log_warn("connection-refused", "error=%s", "no file descriptor is left: raise the limit (ulimit -n)");
    listener->complained = true;
    METRICS_ADD(connections_refused, 1);
    close(listener->spare_fd);
    int fd = accept4(acceptor->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_acceptor(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    struct acceptor *acceptor = CONTAINER_OF(poll, struct acceptor, poll);
    struct listener *listener = acceptor->listener;
    for (unsigned n = 0; n < ACCEPT_TURN_MAX; n++) {
        int fd = accept4(acceptor->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome_fd(listener, fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            turn_away(listener, acceptor);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN)
                log_warn("accept", "error=%s", strerror(errno));
            return;
        }
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, timer);
    uint64_t now_ms = uv_now(listener->options.loop);
    listener->complained = false;
    list_for_each_safe (node, after, &listener->greeted) {
        struct greeted *greeted = LIST_ENTRY(node, struct greeted, node);
        if (now_ms - greeted->since_ms >= LISTENER_HELLO_SECONDS * 1000u)
            conn_expel(greeted->conn, "no hello in time");
    }
}

// --- life ---

static unsigned places(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return LISTENER_CONNECTIONS_MAX;
    rlim_t kept = MIN(DESCRIPTORS_KEPT, limit.rlim_cur / 4);
    return (unsigned)MIN(LISTENER_CONNECTIONS_MAX, limit.rlim_cur - kept);
}

static int start_acceptors(struct listener *listener)
{
    uv_loop_t *loop = listener->options.loop;
    for (unsigned i = 0; i < listener->options.n_fds; i++) {
        struct acceptor *acceptor = &listener->acceptors[i];
        acceptor->listener = listener;
        acceptor->fd = listener->options.fds[i];
        int result = uv_poll_init(loop, &acceptor->poll, acceptor->fd);
        if (result < 0)
            return result;
        listener->n_handles++;
        result = uv_poll_start(&acceptor->poll, UV_READABLE, on_acceptor);
        if (result < 0)
            return result;
    }
    return 0;
}

int listener_start(const struct listener_options *options, struct listener **ret_listener)
{
    fs_assert(options->n_fds <= LISTENER_SOCKETS_MAX);
    struct listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->options = *options;
    listener->connections_max = places();
    list_init(&listener->greeted);
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_timer_init(options->loop, &listener->timer);
    listener->n_handles++;
    uv_timer_start(&listener->timer, on_timer, TICK_MS, TICK_MS);
    // Handles that did start cannot be taken back at once; the caller ends the process.
    int result = start_acceptors(listener);
    if (result == 0)
        *ret_listener = listener;
    return result;
}

static void on_acceptor_closed(uv_handle_t *handle)
{
    struct acceptor *acceptor = CONTAINER_OF(handle, struct acceptor, poll);
    acceptor->listener->n_handles--;
    check_done(acceptor->listener);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct listener *listener = CONTAINER_OF(handle, struct listener, timer);
    listener->n_handles--;
    check_done(listener);
}

void listener_stop(struct listener *listener, void (*done)(void *context), void *context)
{
    listener->stopping = true;
    listener->done = done;
    listener->done_context = context;
    list_for_each_safe (node, after, &listener->greeted)
        conn_close(LIST_ENTRY(node, struct greeted, node)->conn, "the server stops");
    for (unsigned i = 0; i < listener->options.n_fds; i++) {
        struct acceptor *acceptor = &listener->acceptors[i];
        uv_close((uv_handle_t *)&acceptor->poll, on_acceptor_closed);
        close(acceptor->fd);
    }
    close(listener->spare_fd);
    uv_close((uv_handle_t *)&listener->timer, on_timer_closed);
}
