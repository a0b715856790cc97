// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 server on a listening socket: libmicrohttpd driven from the libuv loop through its epoll
// descriptor. Both sides of the shim use it: callers (gateway, Invoke API) and each instance's Runtime API.
//
// A handler sees a request only when it is complete; it answers now or later, exactly once, with
// http_reply(); until then the connection is parked and costs no time. All calls are on the loop's thread.
#ifndef BERTH_SHIM_HTTP_SERVER_H
#define BERTH_SHIM_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_server;
struct http_request;

struct http_header {
    const char *name, *value;
};

struct http_reply {
    unsigned status;
    const char *content_type; // NULL: none
    const void *body;         // copied
    size_t body_size;
    const struct http_header *headers;
    size_t n_headers;
};

typedef void (*http_handler)(void *context, struct http_request *request);

struct http_options {
    uv_loop_t *loop;
    int listen_fd;         // bound and listening; the server's from success on
    size_t body_max;       // bytes; a longer body is dropped and http_body_too_large() says so
    unsigned idle_seconds; // a silent connection is closed after this; 0 never
    unsigned connections_max;
    http_handler handler;
    void *context;
};

// 0, -EADDRNOTAVAIL (the address is not this machine's), -EADDRINUSE, -EINVAL (not ADDR:PORT) or another
// errno.
int http_listen(const char *address, int *ret_fd);
// Writes "ADDR:PORT" of a listening socket.
int http_address(int listen_fd, char *out, size_t out_size);

int http_server_start(const struct http_options *options, struct http_server **ret_server);
// Parked requests are answered 503 and forgotten: their owner must not touch them again. Then closes
// everything, calls done and frees the server.
void http_server_stop(struct http_server *server, void (*done)(void *context), void *context);

// What a request says. The strings live until it is answered.
const char *http_method(const struct http_request *request);
const char *http_version(const struct http_request *request);
const char *http_path(const struct http_request *request);  // as sent, still percent-encoded
const char *http_query(const struct http_request *request); // after the '?', as sent; NULL without one
const char *http_header_value(const struct http_request *request, const char *name);
void http_each_header(const struct http_request *request,
                      void (*each)(void *context, const struct http_header *header), void *context);
const void *http_body(const struct http_request *request, size_t *ret_size);
bool http_body_too_large(const struct http_request *request);
void http_peer(const struct http_request *request, char *out, size_t out_size);
int http_connection_fd(const struct http_request *request); // to look at, not to use

void http_reply(struct http_request *request, const struct http_reply *reply);
void http_reply_json(struct http_request *request, unsigned status, const char *json);

#endif
