// SPDX-License-Identifier: Apache-2.0
// libmicrohttpd behind http_server.h. Invariants: a request is in exactly one phase; while PARKED its
// connection is suspended and it is on its server's list; libmicrohttpd is never stopped from inside one of
// its own callbacks.
#include "shim/http_server.h"
#include "fs/base/buffer.h"
#include "fs/base/check.h"
#include "fs/base/list.h"
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LISTEN_BACKLOG 128
#define DISCARD_MAX \
    (4u * 1024 * 1024) // a body this much past the limit is read and dropped; beyond, the line is cut
#define LAST_RUNS 3    // turns given to libmicrohttpd to send the last answers at a stop

enum phase { PHASE_NEW, PHASE_BODY, PHASE_HANDLING, PHASE_PARKED, PHASE_ANSWERED };

struct http_request {
    struct list link; // on server->parked
    struct http_server *server;
    struct MHD_Connection *connection;
    struct MHD_Response *response;
    enum phase phase;
    unsigned status;
    const char *method, *version; // libmicrohttpd's, as long as the request
    char *path, *query;           // query points into path's allocation
    struct buffer body;
    bool body_too_large;
};

struct http_server {
    uv_poll_t poll;
    uv_timer_t timer;
    struct MHD_Daemon *daemon;
    struct list parked;
    http_handler handler;
    void *context;
    size_t body_max;
    unsigned handles_open;
    void (*done)(void *context);
    void *done_context;
};

// --- requests ---

static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct http_server *server = context;
    struct http_request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->path = strdup(uri);
    if (!request->path) {
        free(request);
        return NULL;
    }
    request->query = strchr(request->path, '?');
    if (request->query)
        *request->query++ = '\0';
    list_init(&request->link);
    request->server = server;
    request->connection = connection;
    buffer_init(&request->body, server->body_max);
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
    request->server->handler(request->server->context, request);
    if (request->phase == PHASE_ANSWERED)
        return queue_answer(request);
    request->phase = PHASE_PARKED;
    list_push(&request->server->parked, &request->link);
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

// Decides by the announced length, before a byte of the body was read.
static enum MHD_Result begin(struct http_request *request, const char *method, const char *version)
{
    request->method = method;
    request->version = version;
    request->phase = PHASE_BODY;
    const char *length = http_header_value(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long announced = length ? strtoull(length, NULL, 10) : 0;
    request->body_too_large = announced > request->server->body_max;
    if (announced > request->server->body_max + DISCARD_MAX)
        return handle(request);
    return MHD_YES;
}

static void take_body(struct http_request *request, const char *bytes, size_t size)
{
    if (!request->body_too_large && buffer_append(&request->body, bytes, size) < 0)
        request->body_too_large = true;
}

static enum MHD_Result on_access(void *context UNUSED, struct MHD_Connection *connection UNUSED,
                                 const char *url UNUSED, const char *method, const char *version,
                                 const char *upload_data, size_t *upload_data_size, void **con_cls)
{
    struct http_request *request = *con_cls;
    if (!request)
        return MHD_NO; // no memory when it began
    switch (request->phase) {
    case PHASE_NEW:
        return begin(request, method, version);
    case PHASE_BODY:
        if (*upload_data_size == 0)
            return handle(request);
        take_body(request, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return MHD_YES;
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

const char *http_version(const struct http_request *request)
{
    return request->version;
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

static int address_text(const struct sockaddr *address, char *out, size_t out_size, uint16_t *ret_port)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;
    bool is_v6 = address->sa_family == AF_INET6;
    *ret_port = ntohs(is_v6 ? v6->sin6_port : v4->sin_port);
    const void *bytes = is_v6 ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr;
    return inet_ntop(address->sa_family, bytes, out, (socklen_t)out_size) ? 0 : -errno;
}

void http_peer(const struct http_request *request, char *out, size_t out_size)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    uint16_t port;
    if (!info || !info->client_addr || address_text(info->client_addr, out, out_size, &port) < 0)
        snprintf(out, out_size, "127.0.0.1");
}

int http_connection_fd(const struct http_request *request)
{
    return MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

// --- answers ---

static void on_timer(uv_timer_t *timer);

static struct MHD_Response *response_of(const struct http_reply *reply)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_size, (void *)(uintptr_t)reply->body, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return NULL;
    bool ok = !reply->content_type ||
              MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type) == MHD_YES;
    for (size_t i = 0; i < reply->n_headers && ok; i++)
        if (reply->headers[i].value[0]) // libmicrohttpd has no empty ones: left out
            ok =
                MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value) == MHD_YES;
    if (ok)
        return response;
    MHD_destroy_response(response);
    return NULL;
}

void http_reply(struct http_request *request, const struct http_reply *reply)
{
    fs_assert(request->phase == PHASE_HANDLING || request->phase == PHASE_PARKED);
    static const struct http_reply broken = {.status = 500};
    request->status = reply->status;
    request->response = response_of(reply);
    if (!request->response) { // headers that no HTTP message may carry, or no memory
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
    uv_timer_start(&request->server->timer, on_timer, 0, 0); // libmicrohttpd resumes in its next turn only
}

void http_reply_json(struct http_request *request, unsigned status, const char *json)
{
    const struct http_reply reply = {
        .status = status, .content_type = "application/json", .body = json, .body_size = strlen(json)};
    http_reply(request, &reply);
}

// --- the server ---

static void run(struct http_server *server)
{
    MHD_run(server->daemon);
    MHD_UNSIGNED_LONG_LONG wait_ms;
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&server->timer, on_timer, wait_ms, 0);
    else
        uv_timer_stop(&server->timer);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_ready(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    run(poll->data);
}

static struct MHD_Daemon *start_daemon(const struct http_options *options, struct http_server *server)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, server,
                            MHD_OPTION_LISTEN_SOCKET, options->listen_fd, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
                            server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                            MHD_OPTION_CONNECTION_TIMEOUT, options->idle_seconds, MHD_OPTION_CONNECTION_LIMIT,
                            options->connections_max, MHD_OPTION_END);
}

int http_server_start(const struct http_options *options, struct http_server **ret_server)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->handler = options->handler;
    server->context = options->context;
    server->body_max = options->body_max;
    list_init(&server->parked);
    server->daemon = start_daemon(options, server);
    if (!server->daemon) {
        free(server);
        return -ENOMEM;
    }
    int epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    uv_timer_init(options->loop, &server->timer);
    int rc = uv_poll_init(options->loop, &server->poll, epoll_fd);
    fs_assert(rc == 0); // an epoll descriptor can always be polled
    server->poll.data = server->timer.data = server;
    server->handles_open = 2;
    uv_poll_start(&server->poll, UV_READABLE, on_ready);
    *ret_server = server;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    if (--server->handles_open > 0)
        return;
    for (unsigned i = 0; i < LAST_RUNS; i++)
        MHD_run(server->daemon);
    MHD_stop_daemon(server->daemon);
    void (*done)(void *) = server->done;
    void *context = server->done_context;
    free(server);
    done(context);
}

void http_server_stop(struct http_server *server, void (*done)(void *context), void *context)
{
    server->done = done;
    server->done_context = context;
    list_for_each_safe (it, after, &server->parked)
        http_reply_json(LIST_ENTRY(it, struct http_request, link), 503,
                        "{\"message\":\"Service Unavailable\"}");
    uv_close((uv_handle_t *)&server->poll, on_closed);
    uv_close((uv_handle_t *)&server->timer, on_closed);
}

// --- addresses ---

static int parse_address(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t host_size = colon ? (size_t)(colon - text) : 0;
    if (!colon || host_size == 0 || host_size >= sizeof(host))
        return -EINVAL;
    char *end;
    errno = 0;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (errno || *end || colon[1] < '0' || colon[1] > '9' || port > UINT16_MAX)
        return -EINVAL;
    bool bracketed = text[0] == '[' && text[host_size - 1] == ']';
    memcpy(host, text + bracketed, host_size - 2 * bracketed);
    host[host_size - 2 * bracketed] = '\0';
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (strcmp(host, "localhost") == 0)
        snprintf(host, sizeof(host), "127.0.0.1");
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        memcpy(ret_address, &v4, *ret_size = sizeof(v4));
    else if (bracketed && inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        memcpy(ret_address, &v6, *ret_size = sizeof(v6));
    else
        return -EINVAL;
    return 0;
}

int http_listen(const char *address, int *ret_fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = 0;
    int rc = parse_address(address, &bound, &size);
    if (rc < 0)
        return rc;
    int fd = socket(bound.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&bound, size) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int http_address(int listen_fd, char *out, size_t out_size)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    if (getsockname(listen_fd, (struct sockaddr *)&bound, &size) < 0)
        return -errno;
    char host[INET6_ADDRSTRLEN];
    uint16_t port;
    int rc = address_text((struct sockaddr *)&bound, host, sizeof(host), &port);
    if (rc < 0)
        return rc;
    snprintf(out, out_size, bound.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
    return 0;
}
