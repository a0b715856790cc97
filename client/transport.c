// SPDX-License-Identifier: Apache-2.0
// See transport.h. On the loop's thread. Invariant: at most one link is current; a link that was dropped has
// no callbacks but its close. A name is resolved for each attempt, since servers move.
#include "client/transport.h"
#include "fs/base/buffer.h"
#include "fs/base/check.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define RECEIVE_MIN  (64u * 1024u)        // room for one receive
#define RECEIVE_TURN (4u * 1024u * 1024u) // bytes taken before FUSE gets its turn
#define SEND_PARTS   64u

struct link {
    uv_poll_t poll;
    struct transport *transport; // NULL: dropped
    int fd;
    bool connected;
};

struct transport {
    uv_loop_t *loop;
    struct rpc *rpc;
    struct server_address address;
    struct link *link;           // current, or NULL
    uv_getaddrinfo_t resolver;   // in use while `resolving`
    bool resolving, wanted;      // wanted: an attempt waits for the resolver
    bool destroyed;              // freed when the resolver is done
    struct addrinfo *found;      // owned
    const struct addrinfo *next; // to try
    uv_timer_t soon;             // brings news of failures that were known at once
    int soon_error;
    struct buffer in;
};

static void try_next(struct transport *transport, int error);

// --- failing ---

static void on_soon(uv_timer_t *timer)
{
    struct transport *transport = timer->data;
    rpc_lost(transport->rpc, transport->soon_error, strerror(-transport->soon_error));
}

static void fail_soon(struct transport *transport, int error)
{
    transport->soon_error = error;
    uv_timer_start(&transport->soon, on_soon, 0, 0);
}

static void on_link_closed(uv_handle_t *handle)
{
    struct link *link = CONTAINER_OF(handle, struct link, poll);
    close(link->fd);
    free(link);
}

static void drop_link(struct transport *transport)
{
    struct link *link = transport->link;
    if (!link)
        return;
    transport->link = NULL;
    link->transport = NULL;
    uv_poll_stop(&link->poll);
    uv_close((uv_handle_t *)&link->poll, on_link_closed);
}

void transport_disconnect(struct transport *transport)
{
    uv_timer_stop(&transport->soon);
    transport->wanted = false;
    drop_link(transport);
}

static void lose(struct transport *transport, int error, const char *why)
{
    drop_link(transport);
    rpc_lost(transport->rpc, error, why);
}

// --- receiving ---

// Hands out the frames that are whole. False: the link is gone.
static bool take_frames(struct transport *transport, const struct link *link)
{
    struct buffer *in = &transport->in;
    while (buffer_length(in) >= WIRE_HEADER_SIZE) {
        struct wire_header header;
        const uint8_t *bytes = buffer_data(in);
        if (wire_get_header(bytes, &header) < 0) {
            lose(transport, -EPROTO, "what answers there does not speak Berth's protocol");
            return false;
        }
        if (buffer_length(in) < header.length)
            return true;
        rpc_frame(transport->rpc, &header,
                  reader_on(bytes + WIRE_HEADER_SIZE, header.length - WIRE_HEADER_SIZE));
        if (transport->link != link)
            return false;
        buffer_consume(in, header.length);
    }
    return true;
}

// What the frame under way lacks, but at least RECEIVE_MIN.
static size_t room_wanted(const struct buffer *in)
{
    struct wire_header header;
    size_t have = buffer_length(in);
    if (have < WIRE_HEADER_SIZE || wire_get_header(buffer_data(in), &header) < 0)
        return RECEIVE_MIN;
    return header.length > have + RECEIVE_MIN ? header.length - have : RECEIVE_MIN;
}

static void receive(struct transport *transport, const struct link *link)
{
    size_t total = 0;
    while (total < RECEIVE_TURN) {
        size_t room = room_wanted(&transport->in);
        uint8_t *place = buffer_reserve(&transport->in, room);
        if (!place) {
            lose(transport, -ENOMEM, "no memory for what the server sent");
            return;
        }
        ssize_t n = recv(link->fd, place, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            int error = n < 0 ? -errno : -ECONNRESET;
            lose(transport, error, n < 0 ? strerror(errno) : "the server closed the connection");
            return;
        }
        buffer_commit(&transport->in, (size_t)n);
        if (!take_frames(transport, link) || (size_t)n < room)
            return;
        total += (size_t)n;
    }
}

// --- sending ---

static void on_poll(uv_poll_t *poll, int status, int events);

static void want(struct link *link, bool writable)
{
    fs_assert(uv_poll_start(&link->poll, UV_READABLE | (writable ? UV_WRITABLE : 0), on_poll) == 0);
}

static void flush(struct transport *transport, struct link *link)
{
    struct iovec parts[SEND_PARTS];
    size_t n_parts;
    while ((n_parts = rpc_output(transport->rpc, parts, SEND_PARTS)) > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
        ssize_t n = sendmsg(link->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            want(link, true);
            return;
        }
        if (n < 0) {
            lose(transport, -errno, strerror(errno));
            return;
        }
        rpc_written(transport->rpc, (size_t)n);
    }
}

void transport_flush(struct transport *transport)
{
    if (transport->link && transport->link->connected)
        flush(transport, transport->link);
}

bool transport_is_quiet(const struct transport *transport)
{
    char byte;
    const struct link *link = transport->link;
    return link && link->connected && recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           errno == EAGAIN;
}

// --- connecting ---

static void on_connected(struct transport *transport, struct link *link)
{
    int error = 0;
    socklen_t n = sizeof(error);
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    if (error) {
        drop_link(transport);
        try_next(transport, -error);
        return;
    }
    link->connected = true;
    want(link, false);
    rpc_connected(transport->rpc);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = CONTAINER_OF(poll, struct link, poll);
    struct transport *transport = link->transport;
    if (!transport)
        return;
    // A socket in error is told by connect's result or by the next receive.
    if (!link->connected) {
        on_connected(transport, link);
        return;
    }
    if (events & UV_WRITABLE) {
        want(link, false);
        flush(transport, link);
    }
    if (transport->link == link && ((events & UV_READABLE) || status < 0))
        receive(transport, link);
}

static int open_link(struct transport *transport, const struct sockaddr *where, socklen_t n)
{
    int fd = socket(where->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    const int on = 1;
    if (where->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    int result = connect(fd, where, n) < 0 && errno != EINPROGRESS ? -errno : 0;
    struct link *link = result == 0 ? calloc(1, sizeof(*link)) : NULL;
    if (result == 0 && !link)
        result = -ENOMEM;
    if (result == 0)
        result = uv_poll_init(transport->loop, &link->poll, fd);
    if (result < 0) {
        free(link);
        close(fd);
        return result;
    }
    buffer_free(&transport->in); // of the link before; not when that was dropped, amid its last frame
    link->fd = fd;
    link->transport = transport;
    transport->link = link;
    fs_assert(uv_poll_start(&link->poll, UV_WRITABLE, on_poll) == 0);
    return 0;
}

// The next address of the name, or failure with what the last one said.
static void try_next(struct transport *transport, int error)
{
    while (transport->next) {
        const struct addrinfo *address = transport->next;
        transport->next = address->ai_next;
        error = open_link(transport, address->ai_addr, address->ai_addrlen);
        if (error == 0)
            return;
    }
    fail_soon(transport, error);
}

static void connect_unix(struct transport *transport)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    strcpy(where.sun_path, transport->address.path);
    transport->next = NULL;
    int result = open_link(transport, (const struct sockaddr *)&where, sizeof(where));
    if (result < 0)
        fail_soon(transport, result);
}

static void use_found(struct transport *transport, struct addrinfo *found)
{
    if (transport->found)
        uv_freeaddrinfo(transport->found);
    transport->found = found;
    transport->next = found;
    try_next(transport, -EHOSTUNREACH);
}

static void on_resolved(uv_getaddrinfo_t *resolver, int status, struct addrinfo *found)
{
    struct transport *transport = resolver->data;
    transport->resolving = false;
    if (transport->destroyed) {
        uv_freeaddrinfo(found);
        free(transport);
    } else if (!transport->wanted) {
        uv_freeaddrinfo(found);
    } else if (status < 0) {
        transport->wanted = false;
        rpc_lost(transport->rpc, -EHOSTUNREACH, "no such host");
    } else {
        transport->wanted = false;
        use_found(transport, found);
    }
}

static void connect_tcp(struct transport *transport)
{
    const struct server_address *address = &transport->address;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
    if (getaddrinfo(address->host, address->port, &hints, &found) == 0) {
        use_found(transport, found);
        return;
    }
    transport->wanted = true;
    if (transport->resolving)
        return;
    hints.ai_flags = AI_NUMERICSERV;
    transport->resolver.data = transport;
    int result = uv_getaddrinfo(transport->loop, &transport->resolver, on_resolved, address->host,
                                address->port, &hints);
    transport->resolving = result == 0;
    if (result < 0)
        fail_soon(transport, result);
}

void transport_connect(struct transport *transport)
{
    fs_assert(!transport->link);
    if (transport->address.is_unix)
        connect_unix(transport);
    else
        connect_tcp(transport);
}

// --- life ---

int transport_create(uv_loop_t *loop, const struct server_address *address, struct transport **ret_transport)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    if (!transport)
        return -ENOMEM;
    transport->loop = loop;
    transport->address = *address;
    buffer_init(&transport->in, 2 * (size_t)WIRE_FRAME_MAX);
    uv_timer_init(loop, &transport->soon);
    transport->soon.data = transport;
    *ret_transport = transport;
    return 0;
}

void transport_attach(struct transport *transport, struct rpc *rpc)
{
    transport->rpc = rpc;
}

static void on_soon_closed(uv_handle_t *handle)
{
    struct transport *transport = handle->data;
    if (transport->resolving)
        transport->destroyed = true;
    else
        free(transport);
}

void transport_destroy(struct transport *transport)
{
    if (!transport)
        return;
    transport_disconnect(transport);
    buffer_free(&transport->in);
    if (transport->found)
        uv_freeaddrinfo(transport->found);
    uv_close((uv_handle_t *)&transport->soon, on_soon_closed);
}
