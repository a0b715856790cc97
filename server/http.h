// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 server on a listening socket, TCP or unix: libmicrohttpd driven from a libuv loop through its
// epoll descriptor. All calls are on the loop's thread.
//
// A handler sees a request only when it is complete, and answers it exactly once with http_reply(), now or
// later; until then the connection is parked and costs no time.
#ifndef BERTH_SERVER_HTTP_H
#define BERTH_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
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

struct http_options {
    uv_loop_t *loop;
    int listen_fd;         // bound and listening; the server takes a duplicate
    size_t body_max;       // bytes; a longer body is dropped and http_body_too_large() says so
    size_t head_max;       // bytes of request line and headers, and of libmicrohttpd's own state
    unsigned idle_seconds; // a silent connection is closed after this
    unsigned connections_max;
    void (*handler)(void *context, struct http_request *request);
    void *context;
};

int http_server_start(const struct http_options *options, struct http_server **ret_server);

// Accepts nothing more and gives requests under way grace_ms; then forgotten(context, request) is called for
// each that is still parked (its owner must not touch it again) and it is answered 503. Then closes
// everything, calls done and frees the server.
struct http_stop {
    uint64_t grace_ms;
    void (*forgotten)(void *context, struct http_request *request);
    void (*done)(void *context);
    void *context;
};
void http_server_stop(struct http_server *server, const struct http_stop *stop);

// What a request says. The strings live until it is answered.
const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request);  // as sent, still percent-encoded
const char *http_query(const struct http_request *request); // after the '?', as sent; NULL without one
const char *http_header_value(const struct http_request *request, const char *name); // NULL without one
void http_each_header(const struct http_request *request,
                      void (*each)(void *context, const struct http_header *header), void *context);
const void *http_body(const struct http_request *request, size_t *ret_size);
bool http_body_too_large(const struct http_request *request);
int http_peer_uid(const struct http_request *request, uid_t *ret_uid); // of a unix peer, when it connected

void http_reply(struct http_request *request, const struct http_reply *reply);

#endif
