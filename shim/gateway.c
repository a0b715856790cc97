// SPDX-License-Identifier: Apache-2.0
// The HTTP API's front: finds the function that a path names, invokes it with the event, answers with what it
// returned.
#include "shim/gateway.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX 512u // more than libmicrohttpd's memory for one request can hold

// An invocation that a request waits for.
struct call {
    struct gateway *gateway;
    struct http_request *request;
};

struct header_list {
    struct http_header items[HEADERS_MAX];
    size_t count;
};

static void message(struct http_request *request, unsigned status, const char *text)
{
    char body[96];
    snprintf(body, sizeof(body), "{\"message\":\"%s\"}", text);
    http_reply_json(request, status, body);
}

static void answer(const struct call *call, const struct outcome *outcome)
{
    struct gateway_answer built;
    if (gateway_answer_of(outcome->body, outcome->body_size, call->gateway->strings, &built) < 0) {
        log_warn("gateway", "error=\"what the function returned is no HTTP answer\"");
        message(call->request, 500, "Internal Server Error");
        return;
    }
    const struct http_reply reply = {.status = built.status,
                                     .body = built.body,
                                     .body_size = built.body_size,
                                     .headers = built.headers,
                                     .n_headers = built.n_headers};
    http_reply(call->request, &reply);
    gateway_answer_free(&built);
}

static void on_done(void *context, const struct outcome *outcome)
{
    struct call *call = context;
    bool busy = outcome->kind == OUTCOME_REFUSED && (outcome->status == 429 || outcome->status == 503);
    if (outcome->kind == OUTCOME_OK)
        answer(call, outcome);
    else if (outcome->kind == OUTCOME_TIMED_OUT || busy)
        message(call->request, 503, "Service Unavailable");
    else
        message(call->request, 500, "Internal Server Error");
    free(call);
}

static void collect(void *context, const struct http_header *header)
{
    struct header_list *list = context;
    if (list->count < HEADERS_MAX)
        list->items[list->count++] = *header;
}

static char *event_text(const struct gateway *gateway, const struct http_request *request,
                        const struct function *function, const char *proxy)
{
    struct header_list headers = {.count = 0};
    char peer[64], request_id[REQUEST_ID_SIZE];
    http_peer(request, peer, sizeof(peer));
    request_id_make(gateway->env, request_id);
    http_each_header(request, collect, &headers);
    collect(&headers, &(struct http_header){"x-forwarded-for", peer});
    collect(&headers, &(struct http_header){"x-forwarded-proto", "http"});
    struct gateway_request asked = {
        .method = http_method(request),
        .protocol = http_version(request),
        .path = http_path(request),
        .query = http_query(request),
        .function_name = function->name,
        .proxy = proxy,
        .headers = headers.items,
        .n_headers = headers.count,
        .source_ip = peer,
        .request_id = request_id,
        .time_ms = env_realtime_ns(gateway->env) / 1000000u,
    };
    asked.body = http_body(request, &asked.body_size);
    json_t *event = gateway_event(&asked);
    char *text = json_dumps(event, JSON_COMPACT);
    json_decref(event);
    return text;
}

static void invoke(struct gateway *gateway, struct http_request *request, const struct function *function,
                   const char *proxy)
{
    char *event = event_text(gateway, request, function, proxy);
    struct call *call = calloc(1, sizeof(*call));
    fs_assert(event && call);
    size_t size = strlen(event);
    if (size > FUNCTION_PAYLOAD_MAX) {
        message(request, 413, "Request Entity Too Large");
        free(event);
        free(call);
        return;
    }
    struct invocation *invocation = invocation_new(gateway->env, function, event, size);
    fs_assert(invocation);
    *call = (struct call){.gateway = gateway, .request = request};
    invocation->done = on_done;
    invocation->context = call;
    fleet_invoke(gateway->fleet, invocation);
}

void gateway_handle(struct gateway *gateway, struct http_request *request)
{
    const char *name = http_path(request) + strlen(GATEWAY_PREFIX);
    size_t size = strcspn(name, "/");
    const struct function *function = functions_find(gateway->functions, name, size);
    const char *proxy = name[size] == '/' && name[size + 1] ? name + size + 1 : NULL;
    if (!function)
        message(request, 404, "Not Found");
    else if (http_body_too_large(request))
        message(request, 413, "Request Entity Too Large");
    else
        invoke(gateway, request, function, proxy);
}
