// SPDX-License-Identifier: Apache-2.0
// See invoke_api.h. Statuses, headers and error bodies are those of botocore's model of Lambda.
#include "shim/invoke_api.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "shim/base64.h"
#include "shim/percent.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TARGET_MAX         512u
#define CLIENT_CONTEXT_MAX 3583u // of base64 text, as Lambda

struct call {
    struct http_request *request;
    char request_id[REQUEST_ID_SIZE];
    bool wants_log;
};

static void fail(struct http_request *request, unsigned status, const char *name, const char *message)
{
    _cleanup_(freep) char *body = service_error_json(status, message);
    const struct http_header header = {"x-amzn-ErrorType", name};
    const struct http_reply reply = {.status = status,
                                     .content_type = "application/json",
                                     .body = body,
                                     .body_size = strlen(body),
                                     .headers = &header,
                                     .n_headers = 1};
    http_reply(request, &reply);
}

// --- the target ---

struct invoke_target invoke_target_parse(char *text)
{
    struct invoke_target target = {.name = text};
    char *at = strstr(text, ":function:");
    if (at)
        target.name = text = at + strlen(":function:");
    char *colon = strchr(text, ':');
    if (colon) {
        *colon = '\0';
        target.qualifier = colon + 1;
    }
    return target;
}

// Undoes %XX; ARNs come with their colons escaped. False: too long or holds a NUL.
static bool decode_target(const char *from, size_t size, char out[TARGET_MAX])
{
    if (size >= TARGET_MAX)
        return false;
    size_t length = percent_decode(from, size, false, out);
    return strlen(out) == length;
}

// ?Qualifier= of the query wins over one in the name. `out` has room for TARGET_MAX bytes.
static const char *query_qualifier(const char *query, char *out)
{
    static const char key[] = "Qualifier=";
    const char *at = query ? strstr(query, key) : NULL;
    if (!at || (at != query && at[-1] != '&'))
        return NULL;
    at += strlen(key);
    return decode_target(at, strcspn(at, "&"), out) ? out : "?";
}

static const struct function *find(const struct invoke_api *api, struct http_request *request,
                                   const char *path, size_t size)
{
    char text[TARGET_MAX], qualifier[TARGET_MAX], why[TARGET_MAX + 64];
    if (!decode_target(path, size, text)) {
        fail(request, 400, "InvalidParameterValueException", "The function name is not valid.");
        return NULL;
    }
    struct invoke_target target = invoke_target_parse(text);
    const char *asked = query_qualifier(http_query(request), qualifier);
    asked = asked ? asked : target.qualifier;
    const struct function *function = functions_find(api->functions, target.name, strlen(target.name));
    if (function && (!asked || strcmp(asked, FUNCTION_VERSION) == 0))
        return function;
    snprintf(why, sizeof(why), "Function not found: %s%s%s", target.name, asked ? ":" : "",
             asked ? asked : "");
    fail(request, 404, "ResourceNotFoundException", why);
    return NULL;
}

// --- answers ---

static void on_done(void *context, const struct outcome *outcome)
{
    struct call *call = context;
    _cleanup_(freep) char *log = base64_encode(outcome->log ? outcome->log : "", outcome->log_size);
    struct http_header headers[5] = {{"X-Amzn-RequestId", call->request_id}};
    size_t n = 1;
    bool refused = outcome->kind == OUTCOME_REFUSED;
    if (refused)
        headers[n++] = (struct http_header){"x-amzn-ErrorType", outcome->error_name};
    else
        headers[n++] = (struct http_header){"X-Amz-Executed-Version", FUNCTION_VERSION};
    if (!refused && outcome->kind != OUTCOME_OK)
        headers[n++] = (struct http_header){"X-Amz-Function-Error", "Unhandled"};
    if (call->wants_log && !refused)
        headers[n++] = (struct http_header){"X-Amz-Log-Result", log};
    const struct http_reply reply = {.status = refused ? outcome->status : 200,
                                     .content_type = "application/json",
                                     .body = outcome->body,
                                     .body_size = outcome->body_size,
                                     .headers = headers,
                                     .n_headers = n};
    http_reply(call->request, &reply);
    free(call);
}

// Nobody waits for an Event invocation.
static void on_event_done(void *context, const struct outcome *outcome)
{
    const struct function *function = context;
    if (outcome->kind != OUTCOME_OK) {
        char text[256];
        log_warn("event-invocation", "function=%s error=%s", function->name,
                 log_text(text, sizeof(text), outcome->body, outcome->body_size));
    }
}

static void empty(struct http_request *request, unsigned status, const char *request_id)
{
    const struct http_header header = {"X-Amzn-RequestId", request_id};
    http_reply(request, &(struct http_reply){.status = status, .headers = &header, .n_headers = 1});
}

// --- the request ---

static bool is_json(const char *text, size_t size)
{
    int flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_t *value = json_loadb(text, size, flags, NULL);
    if (!value)
        value = json_loadb(text, size, flags | JSON_DECODE_INT_AS_REAL, NULL);
    json_decref(value);
    return value != NULL;
}

// The client context travels as base64 to us and as JSON to the function.
static int take_client_context(struct invocation *invocation, const char *encoded)
{
    if (!encoded)
        return 0;
    size_t size;
    char *text =
        strlen(encoded) <= CLIENT_CONTEXT_MAX ? base64_decode(encoded, strlen(encoded), &size) : NULL;
    bool good = text && is_json(text, size) && !memchr(text, '\n', size) && !memchr(text, '\r', size);
    if (good)
        invocation->client_context = strndup(text, size);
    free(text);
    return good ? 0 : -1;
}

static struct invocation *make_invocation(const struct invoke_api *api, const struct function *function,
                                          struct http_request *request)
{
    size_t size;
    const void *body = http_body(request, &size);
    char *payload = size ? malloc(size) : strdup("{}");
    fs_assert(payload);
    if (size)
        memcpy(payload, body, size);
    struct invocation *invocation = invocation_new(api->env, function, payload, size ? size : 2);
    fs_assert(invocation);
    return invocation;
}

static void invoke(struct invoke_api *api, const struct function *function, struct http_request *request,
                   bool event)
{
    struct invocation *invocation = make_invocation(api, function, request);
    const char *log_type = http_header_value(request, "X-Amz-Log-Type");
    invocation->done = on_event_done;
    invocation->context = (void *)(uintptr_t)function;
    if (take_client_context(invocation, http_header_value(request, "X-Amz-Client-Context")) < 0) {
        fail(request, 400, "InvalidRequestContentException",
             "Client context must be a valid Base64-encoded JSON.");
        invocation_discard(invocation);
        return;
    }
    if (event) {
        empty(request, 202, invocation->id);
    } else {
        struct call *call = calloc(1, sizeof(*call));
        fs_assert(call);
        call->request = request;
        call->wants_log = log_type && strcmp(log_type, "Tail") == 0;
        memcpy(call->request_id, invocation->id, sizeof(call->request_id));
        invocation->done = on_done;
        invocation->context = call;
    }
    fleet_invoke(api->fleet, invocation);
}

static void check_and_invoke(struct invoke_api *api, const struct function *function,
                             struct http_request *request)
{
    const char *type = http_header_value(request, "X-Amz-Invocation-Type");
    bool event = type && strcmp(type, "Event") == 0, dry = type && strcmp(type, "DryRun") == 0;
    size_t size, limit = event ? FUNCTION_ASYNC_MAX : FUNCTION_PAYLOAD_MAX;
    const char *body = http_body(request, &size);
    char text[128];
    if (type && !event && !dry && strcmp(type, "RequestResponse") != 0) {
        fail(request, 400, "InvalidParameterValueException",
             "InvocationType must be RequestResponse, Event or DryRun.");
    } else if (http_body_too_large(request) || size > limit) {
        snprintf(text, sizeof(text),
                 "Request must be smaller than %zu bytes for the InvokeFunction operation", limit);
        fail(request, 413, "RequestTooLargeException", text);
    } else if (size > 0 && !is_json(body, size)) {
        fail(request, 400, "InvalidRequestContentException", "Could not parse request body into json.");
    } else if (dry) {
        request_id_make(api->env, text);
        empty(request, 204, text);
    } else {
        invoke(api, function, request, event);
    }
}

void invoke_api_handle(struct invoke_api *api, struct http_request *request)
{
    static const char tail[] = "/invocations";
    const char *path = http_path(request) + strlen(INVOKE_PREFIX);
    size_t size = strlen(path);
    if (size <= strlen(tail) || strcmp(path + size - strlen(tail), tail) != 0) {
        fail(request, 404, "ResourceNotFoundException",
             "Only POST /2015-03-31/functions/{name}/invocations is built.");
        return;
    }
    if (strcmp(http_method(request), "POST") != 0) {
        fail(request, 405, "MethodNotAllowedException", "Use POST.");
        return;
    }
    const struct function *function = find(api, request, path, size - strlen(tail));
    if (function)
        check_and_invoke(api, function, request);
}
