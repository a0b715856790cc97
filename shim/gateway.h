// SPDX-License-Identifier: Apache-2.0
// API Gateway's HTTP API, payload format 2.0: an HTTP request becomes an event, what the function returned
// becomes an HTTP answer. The conversions are pure; gateway_handle() connects them to a server and the fleet.
#ifndef BERTH_SHIM_GATEWAY_H
#define BERTH_SHIM_GATEWAY_H

#include "shim/fleet.h"
#include "shim/http_server.h"
#include <jansson.h>

#define GATEWAY_PREFIX "/default/" // the stage that the Lambda console makes

// --- request to event ---

struct gateway_request {
    const char *method, *protocol; // "GET", "HTTP/1.1"
    const char *path;              // as sent, with the stage, still percent-encoded
    const char *query;             // as sent, or NULL
    const char *function_name;
    const char *proxy; // what follows "/default/NAME/", or NULL
    const struct http_header *headers;
    size_t n_headers;
    const void *body;
    size_t body_size;
    const char *source_ip, *request_id;
    uint64_t time_ms; // since 1970
};

json_t *gateway_event(const struct gateway_request *request);
// Bodies of these types go as text, all others in base64.
bool gateway_is_text(const char *content_type);

// --- what was returned to answer ---

struct gateway_answer {
    unsigned status;
    char *body; // owned
    size_t body_size;
    struct http_header *headers; // owned, with their strings
    size_t n_headers;
};

enum gateway_strings {
    GATEWAY_STRINGS_BARE,
    GATEWAY_STRINGS_QUOTED
}; // a returned string: HTTP API, Function URL

// 0, or -EINVAL when what the function returned is no answer (callers see 500).
int gateway_answer_of(const void *returned, size_t size, enum gateway_strings strings,
                      struct gateway_answer *ret_answer);
void gateway_answer_free(struct gateway_answer *answer);

// --- the server's side ---

struct gateway {
    struct fleet *fleet;
    const struct functions *functions;
    const struct env *env;
    enum gateway_strings strings;
};

// A request whose path starts with GATEWAY_PREFIX.
void gateway_handle(struct gateway *gateway, struct http_request *request);

#endif
