// SPDX-License-Identifier: Apache-2.0
// libmicrohttpd behind http.h. Invariants: a request is in exactly one phase; while PARKED its connection is
// suspended and it is on its server's list; libmicrohttpd is never run or stopped from inside one of its own
// callbacks.
#include "server/http.h"
#include "fs/base/buffer.h"
#include "fs/base/check.h"
#include "fs/base/list.h"
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DISCARD_MAX \
    (4u * 1024 * 1024) // so much of a body past the limit is read and dropped: its sender gets an answer
#define LAST_RUNS 4    // turns given to libmicrohttpd to send the last answers at a stop

enum phase { PHASE_NEW, PHASE_BODY, PHASE_HANDLING, PHASE_PARKED, PHASE_ANSWERED };

struct http_request {
    struct list link; // on server->parked
    struct http_server *server;
    struct MHD_Connection *connection;
    struct MHD_Response *response;
    enum phase phase;
    unsigned status;
    const char *method; // libmicrohttpd's, as long as the request
    char *path, *query; // query points into path's allocation
    struct buffer body;
    size_t dropped; // bytes of the body past the limit
    bool body_too_large;
};

struct http_server {
    uv_poll_t poll;
    uv_timer_t timer;      // libmicrohttpd's own timeouts
    uv_timer_t stop_timer; // runs out with the grace of a stop
    struct MHD_Daemon *daemon;
    struct list parked;
    struct http_options options;
    struct http_stop stop;
    bool stopping;
    size_t n_requests; // begun and not completed
    unsigned handles_open;
};

// --- requests ---

static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct http_server *server = context;
    struct http_request *request = calloc(1, sizeof(*request));
    char *path = strdup(uri);
    if (!request || !path) {
        free(request);
        free(path);
        return NULL;
    }
    request->path = path;
    request->query = strchr(path, '?');
    if (request->query)
        *request->query++ = '\0';
    list_init(&request->link);
    request->server = server;
    request->connection = connection;
    buffer_init(&request->body, server->options.body_max);
    server->n_requests++;
    return request;
}

static void on_completed(void *context UNUSED, struct MHD_Connection *connection UNUSED, void **con_cls,
                         enum MHD_RequestTerminationCode why UNUSED)
{
    struct http_request *request = *con_cls;
    *con_cls = NULL;
    if (!request)
        return;
    fs_assert(request->phase != PHASE_PARKED); // a suspended connection is never completed
    request->server->n_requests--;
    if (request->response)
        MHD_destroy_response(request->response);
    buffer_free(&request->body);
    free(request->path);
    free(request);
}

static enum MHD_Result queue_answer(struct http_request *request)
{
    return MHD_queue_response(request->connection, request->status, request->response);
}

static enum MHD_Result handle(struct http_request *request)
{
    request->phase = PHASE_HANDLING;
    request->server->options.handler(request->server->options.context, request);
    if (request->phase == PHASE_ANSWERED)
        return queue_answer(request);
    request->phase = PHASE_PARKED;
    list_push(&request->server->parked, &request->link);
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

// Decides by the announced length, before a byte of the body was read.
static enum MHD_Result begin(struct http_request *request, const char *method)
{
    request->method = method;
    request->phase = PHASE_BODY;
    const char *length = http_header_value(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long announced = length ? strtoull(length, NULL, 10) : 0;
    request->body_too_large = announced > request->server->options.body_max;
    if (announced > request->server->options.body_max + DISCARD_MAX)
        return handle(request);
    return MHD_YES;
}

static enum MHD_Result take_body(struct http_request *request, const char *bytes, size_t size)
{
    if (!request->body_too_large && buffer_append(&request->body, bytes, size) < 0)
        request->body_too_large = true;
    if (request->body_too_large)
        request->dropped += size;
    return request->dropped <= request->server->options.body_max + DISCARD_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_access(void *context UNUSED, struct MHD_Connection *connection UNUSED,
                                 const char *url UNUSED, const char *method, const char *version UNUSED,
                                 const char *upload_data, size_t *upload_data_size, void **con_cls)
{
    struct http_request *request = *con_cls;
    size_t size = *upload_data_size;
    if (!request)
        return MHD_NO; // no memory when it began
    switch (request->phase) {
    case PHASE_NEW:
        return begin(request, method);
    case PHASE_BODY:
        *upload_data_size = 0;
        return size == 0 ? handle(request) : take_body(request, upload_data, size);
    case PHASE_ANSWERED:
        return queue_answer(request);
    case PHASE_HANDLING:
    case PHASE_PARKED:
        break;
    }
    return MHD_NO;
}

const char *http_method(const struct http_request *request)
{
    return request->method;
}

const char *http_path(const struct http_request *request)
{
    return request->path;
}

const char *http_query(const struct http_request *request)
{
    return request->query;
}

const char *http_header_value(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct header_walk {
    void (*each)(void *context, const struct http_header *header);
    void *context;
};

static enum MHD_Result on_header(void *context, enum MHD_ValueKind kind UNUSED, const char *name,
                                 const char *value)
{
    const struct header_walk *walk = context;
    const struct http_header header = {.name = name, .value = value ? value : ""};
    walk->each(walk->context, &header);
    return MHD_YES;
}

void http_each_header(const struct http_request *request,
                      void (*each)(void *context, const struct http_header *header), void *context)
{
    struct header_walk walk = {.each = each, .context = context};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, on_header, &walk);
}

const void *http_body(const struct http_request *request, size_t *ret_size)
{
    *ret_size = buffer_length(&request->body);
    return *ret_size ? buffer_data(&request->body) : (const void *)"";
}

bool http_body_too_large(const struct http_request *request)
{
    return request->body_too_large;
}

int http_peer_uid(const struct http_request *request, uid_t *ret_uid)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    *ret_uid = peer.uid;
    return 0;
}

// --- answers ---

static struct MHD_Response *response_of(const struct http_reply *reply)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_size, (void *)(uintptr_t)reply->body, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return NULL;
    bool ok = !reply->content_type ||
              MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type) == MHD_YES;
    for (size_t i = 0; i < reply->n_headers; i++)
        ok = ok &&
             MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value) == MHD_YES;
    if (ok)
        return response;
    MHD_destroy_response(response);
    return NULL;
}

static void on_timer(uv_timer_t *timer);

void http_reply(struct http_request *request, const struct http_reply *reply)
{
    fs_assert(request->phase == PHASE_HANDLING || request->phase == PHASE_PARKED);
    static const struct http_reply broken = {.status = 500};
    request->status = reply->status;
    request->response = response_of(reply);
    if (!request->response) { // no memory
        request->status = broken.status;
        request->response = response_of(&broken);
        fs_assert(request->response);
    }
    bool parked = request->phase == PHASE_PARKED;
    request->phase = PHASE_ANSWERED;
    if (!parked)
        return;
    list_remove(&request->link);
    MHD_resume_connection(request->connection);
    uv_timer_start(&request->server->timer, on_timer, 0, 0); // resuming alone wakes nobody
}

// --- the server ---

static void close_handles(struct http_server *server);

static void run(struct http_server *server)
{
    MHD_run(server->daemon);
    MHD_UNSIGNED_LONG_LONG wait_ms;
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&server->timer, on_timer, wait_ms, 0);
    else
        uv_timer_stop(&server->timer);
    if (server->stopping && server->n_requests == 0)
        close_handles(server);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_ready(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    run(poll->data);
}

static struct MHD_Daemon *start_daemon(const struct http_options *options, int listen_fd,
                                       struct http_server *server)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, server,
                            MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_URI_LOG_CALLBACK, on_uri, server,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_TIMEOUT,
                            options->idle_seconds, MHD_OPTION_CONNECTION_LIMIT, options->connections_max,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, options->head_max, MHD_OPTION_END);
}

int http_server_start(const struct http_options *options, struct http_server **ret_server)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->options = *options;
    list_init(&server->parked);
    int listen_fd = fcntl(options->listen_fd, F_DUPFD_CLOEXEC, 0);
    server->daemon = listen_fd < 0 ? NULL : start_daemon(options, listen_fd, server);
    if (!server->daemon) {
        closep(&listen_fd);
        free(server);
        return -ENOMEM;
    }
    int epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    uv_timer_init(options->loop, &server->timer);
    uv_timer_init(options->loop, &server->stop_timer);
    int rc = uv_poll_init(options->loop, &server->poll, epoll_fd);
    fs_assert(rc == 0); // an epoll descriptor can always be polled
    server->poll.data = server->timer.data = server->stop_timer.data = server;
    server->handles_open = 3;
    uv_poll_start(&server->poll, UV_READABLE, on_ready);
    *ret_server = server;
    return 0;
}

// --- stopping ---

static void on_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    if (--server->handles_open > 0)
        return;
    for (unsigned i = 0; i < LAST_RUNS; i++)
        MHD_run(server->daemon);
    MHD_stop_daemon(server->daemon);
    struct http_stop stop = server->stop;
    free(server);
    stop.done(stop.context);
}

static void close_handles(struct http_server *server)
{
    if (uv_is_closing((uv_handle_t *)&server->poll))
        return;
    uv_close((uv_handle_t *)&server->poll, on_closed);
    uv_close((uv_handle_t *)&server->timer, on_closed);
    uv_close((uv_handle_t *)&server->stop_timer, on_closed);
}

static void on_grace_over(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    static const struct http_reply stopping = {.status = 503};
    list_for_each_safe (it, after, &server->parked) {
        struct http_request *request = LIST_ENTRY(it, struct http_request, link);
        server->stop.forgotten(server->stop.context, request);
        http_reply(request, &stopping);
    }
    close_handles(server);
}

void http_server_stop(struct http_server *server, const struct http_stop *stop)
{
    fs_assert(!server->stopping);
    server->stop = *stop;
    server->stopping = true;
    close(MHD_quiesce_daemon(server->daemon));
    if (server->n_requests == 0)
        close_handles(server);
    else
        uv_timer_start(&server->stop_timer, on_grace_over, stop->grace_ms, 0);
}
