// SPDX-License-Identifier: Apache-2.0
// One connection on a uv_poll; see conn.h. Invariant: poll events always say what is wanted (update_events
// after every change of held, out or state); after conn_close() no callback of the owner is called.
#include "server/conn.h"
#include "server/metrics.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGE_SIZE     (64u * 1024u)        // what one receive may bring beside the rest of a frame
#define READ_TURN_MAX  (2u * 1024u * 1024u) // bytes taken from one peer before the others get their turn
#define SEND_PARTS_MAX 64u

static atomic_uint n_conns;
static atomic_size_t n_held;   // request bytes of all connections
static atomic_size_t n_parked; // the same of parked requests

unsigned conn_count(void)
{
    return atomic_load(&n_conns);
}

// What this connection may have waiting: little when all together have much, but always a request more than
// nothing, so that each goes on.
static size_t held_max(void)
{
    return atomic_load_explicit(&n_held, memory_order_relaxed) < CONN_HELD_TOTAL_MAX ? CONN_HELD_MAX
                                                                                     : CONN_HELD_LITTLE;
}

// Who waits for others must be heard by those who wait for it.
static size_t parked_max(void)
{
    return atomic_load_explicit(&n_parked, memory_order_relaxed) < CONN_PARKED_TOTAL_MAX ? SIZE_MAX
                                                                                         : CONN_HELD_MAX;
}

static bool may_read(const struct conn *conn)
{
    return conn->held < held_max() && conn->parked < parked_max();
}

// --- events ---

static void on_poll(uv_poll_t *poll, int status, int events);

static void update_events(struct conn *conn)
{
    if (conn->closing || conn->left)
        return;
    int events = list_empty(&conn->out) ? 0 : UV_WRITABLE;
    if (!conn->last_words && may_read(conn) && conn->out_length < CONN_OUT_MAX)
        events |= UV_READABLE;
    if (events == conn->events) // to start again what is on would cost system calls
        return;
    conn->events = events;
    if (events)
        fs_assert(uv_poll_start(&conn->poll, events, on_poll) == 0);
    else
        uv_poll_stop(&conn->poll);
}

// --- life ---

static void conn_free(struct conn *conn)
{
    struct list *node;
    while ((node = list_pop(&conn->out)))
        out_unref(LIST_ENTRY(node, struct out, node));
    free(conn->frame);
    close(conn->fd);
    peer_clear(&conn->peer);
    free(conn);
    atomic_fetch_sub(&n_conns, 1);
}

static void on_closed(uv_handle_t *handle)
{
    conn_free(CONTAINER_OF(handle, struct conn, poll));
}

static void tune(const struct conn *conn)
{
    if (conn->peer.is_unix)
        return;
    // A peer whose machine is gone is noticed after about half a minute.
    const int on = 1, idle_s = 10, interval_s = 5, probes = 3;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

int conn_open(uv_loop_t *loop, int fd, const struct peer *peer, const struct conn_ops *ops, void *owner,
              struct conn **ret_conn)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (!conn)
        return -ENOMEM;
    conn->fd = fd;
    conn->peer = *peer;
    list_init(&conn->out);
    int result = conn_join(conn, loop, ops, owner);
    if (result < 0) {
        free(conn);
        return result;
    }
    atomic_fetch_add(&n_conns, 1);
    tune(conn);
    *ret_conn = conn;
    return 0;
}

int conn_join(struct conn *conn, uv_loop_t *loop, const struct conn_ops *ops, void *owner)
{
    int result = uv_poll_init(loop, &conn->poll, conn->fd);
    if (result < 0)
        return result;
    conn->ops = ops;
    conn->owner = owner;
    conn->left = NULL;
    conn->events = 0;
    conn->moved_ms = uv_now(loop);
    update_events(conn);
    return 0;
}

void conn_abandon(struct conn *conn)
{
    conn_free(conn);
}

void conn_close(struct conn *conn, const char *why)
{
    if (conn->closing)
        return;
    conn->closing = true;
    uv_poll_stop(&conn->poll);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    conn->ops->closed(conn, why);
}

void conn_expel(struct conn *conn, const char *why)
{
    METRICS_ADD(connections_refused, 1);
    conn_close(conn, why);
}

void conn_close_when_sent(struct conn *conn, const char *why)
{
    conn->last_words = true;
    conn->last_why = why;
    conn_flush(conn);
}

static void on_left(uv_handle_t *handle)
{
    struct conn *conn = CONTAINER_OF(handle, struct conn, poll);
    conn->left(conn);
}

void conn_leave(struct conn *conn, void (*left)(struct conn *conn))
{
    conn->left = left;
}

// --- receiving ---

static void frame_done(struct conn *conn)
{
    struct frame *frame = conn->frame;
    conn->frame = NULL;
    conn->header_got = 0;
    conn->held += frame->header.length;
    atomic_fetch_add_explicit(&n_held, frame->header.length, memory_order_relaxed);
    conn->ops->frame(conn, frame);
}

static void header_done(struct conn *conn)
{
    struct wire_header header;
    if (wire_get_header(conn->header, &header) < 0 || header.length > conn->ops->frame_max) {
        conn_expel(conn, "a frame with an impossible length");
        return;
    }
    conn->frame = frame_new(&header);
    conn->frame_got = 0;
    if (!conn->frame)
        conn_close(conn, "no memory for a frame");
    else if (conn->frame->body_length == 0)
        frame_done(conn);
}

// Takes what it can use of n bytes at once; returns how many those were.
static size_t take_some(struct conn *conn, const uint8_t *bytes, size_t n)
{
    if (!conn->frame) {
        size_t part = MIN(n, WIRE_HEADER_SIZE - conn->header_got);
        memcpy(conn->header + conn->header_got, bytes, part);
        conn->header_got += part;
        if (conn->header_got == WIRE_HEADER_SIZE)
            header_done(conn);
        return part;
    }
    size_t part = MIN(n, conn->frame->body_length - conn->frame_got);
    memcpy(conn->frame->body + conn->frame_got, bytes, part);
    conn->frame_got += part;
    if (conn->frame_got == conn->frame->body_length)
        frame_done(conn);
    return part;
}

static void take(struct conn *conn, const uint8_t *bytes, size_t n)
{
    while (n > 0 && !conn->closing) {
        if (conn->left || conn->last_words) {
            conn->left = NULL;
            conn_expel(conn, "a request before the answer to hello");
            return;
        }
        size_t part = take_some(conn, bytes, n);
        bytes += part;
        n -= part;
    }
}

// One receive: the rest of the frame under way goes to its place, what follows to the stage. Returns what the
// socket gave; *ret_full: there may be more.
static ssize_t receive(struct conn *conn, uint8_t *stage, bool *ret_full)
{
    size_t missing = conn->frame ? conn->frame->body_length - conn->frame_got : 0;
    struct iovec parts[2] = {
        {.iov_base = conn->frame ? conn->frame->body + conn->frame_got : stage, .iov_len = missing},
        {.iov_base = stage, .iov_len = STAGE_SIZE},
    };
    struct msghdr message = {.msg_iov = missing ? parts : parts + 1, .msg_iovlen = missing ? 2 : 1};
    ssize_t n = recvmsg(conn->fd, &message, 0);
    if (n <= 0)
        return n;
    *ret_full = (size_t)n == missing + STAGE_SIZE;
    size_t direct = MIN((size_t)n, missing);
    conn->frame_got += direct;
    if (direct > 0 && direct == missing)
        frame_done(conn);
    take(conn, stage, (size_t)n - direct);
    return n;
}

static void read_some(struct conn *conn)
{
    uint8_t stage[STAGE_SIZE];
    size_t total = 0;
    bool full = true;
    while (full && total < READ_TURN_MAX && may_read(conn) && !conn->closing && !conn->left &&
           !conn->last_words) {
        ssize_t n = receive(conn, stage, &full);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            bool between = n == 0 && !conn->frame && conn->header_got == 0;
            conn_close(conn, between  ? "closed by the peer"
                             : n == 0 ? "closed amid a frame"
                                      : strerror(errno));
            return;
        }
        total += (size_t)n;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = CONTAINER_OF(poll, struct conn, poll);
    if (status < 0) {
        conn_close(conn, uv_strerror(status));
        return;
    }
    if (events & UV_WRITABLE)
        conn_flush(conn);
    if (!conn->closing && (events & UV_READABLE))
        read_some(conn);
    if (conn->closing)
        return;
    if (conn->left)
        uv_close((uv_handle_t *)&conn->poll, on_left);
    else
        update_events(conn);
}

static void let_go(struct conn *conn, const struct frame *frame)
{
    fs_assert(conn->held >= frame->header.length);
    conn->held -= frame->header.length;
    atomic_fetch_sub_explicit(&n_held, frame->header.length, memory_order_relaxed);
}

void conn_frame_free(struct conn *conn, struct frame *frame)
{
    let_go(conn, frame);
    free(frame);
    update_events(conn);
}

void conn_frame_park(struct conn *conn, struct frame *frame)
{
    let_go(conn, frame);
    conn->parked += frame->header.length;
    atomic_fetch_add_explicit(&n_parked, frame->header.length, memory_order_relaxed);
    update_events(conn);
}

void conn_parked_free(struct conn *conn, struct frame *frame)
{
    atomic_fetch_sub_explicit(&n_parked, frame->header.length, memory_order_relaxed);
    if (conn) {
        fs_assert(conn->parked >= frame->header.length);
        conn->parked -= frame->header.length;
        update_events(conn);
    }
    free(frame);
}

void conn_set_parked(struct conn *conn, size_t n)
{
    conn->parked = n;
    update_events(conn);
}

// --- sending ---

void conn_send(struct conn *conn, struct out *out)
{
    if (conn->closing) {
        out_unref(out);
        return;
    }
    if (list_empty(&conn->out))
        conn->moved_ms = uv_now(conn->poll.loop);
    list_push(&conn->out, &out->node);
    conn->out_length += out->length;
}

static ssize_t send_some(struct conn *conn)
{
    struct iovec parts[SEND_PARTS_MAX];
    size_t n_parts = 0, skip = conn->out_sent;
    list_for_each (node, &conn->out) {
        struct out *out = LIST_ENTRY(node, struct out, node);
        parts[n_parts++] = (struct iovec){.iov_base = out->bytes + skip, .iov_len = out->length - skip};
        skip = 0;
        if (n_parts == SEND_PARTS_MAX)
            break;
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
    ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static void drop_sent(struct conn *conn, size_t n)
{
    conn->moved_ms = uv_now(conn->poll.loop);
    n += conn->out_sent;
    while (n > 0) {
        struct out *out = LIST_ENTRY(conn->out.next, struct out, node);
        if (n < out->length)
            break;
        n -= out->length;
        conn->out_length -= out->length;
        list_remove(&out->node);
        out_unref(out);
    }
    conn->out_sent = n;
}

void conn_flush(struct conn *conn)
{
    bool ran = conn_may_run(conn, 0);
    while (!conn->closing && !list_empty(&conn->out)) {
        ssize_t n = send_some(conn);
        if (n == -EINTR)
            continue;
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            conn_close(conn, strerror((int)-n));
            return;
        }
        drop_sent(conn, (size_t)n);
    }
    if (conn->closing)
        return;
    if (conn->last_words && list_empty(&conn->out)) {
        conn_close(conn, conn->last_why);
        return;
    }
    update_events(conn);
    if (!ran && conn_may_run(conn, 0))
        conn->ops->drained(conn);
}

bool conn_stalled(const struct conn *conn)
{
    return !list_empty(&conn->out) && uv_now(conn->poll.loop) - conn->moved_ms > CONN_STALL_SECONDS * 1000u;
}
