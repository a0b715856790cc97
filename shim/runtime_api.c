// SPDX-License-Identifier: Apache-2.0
// See runtime_api.h.
#include "shim/runtime_api.h"
#include "fs/base/check.h"
#include "shim/instance.h"
#include <string.h>

#define PREFIX "/2018-06-01/runtime/"

void runtime_api_error(struct http_request *request, unsigned status, const char *type, const char *message)
{
    _cleanup_(freep) char *body = function_error_json(type, NULL, message);
    http_reply_json(request, status, body);
}

struct result_path {
    const char *id;
    size_t id_size;
    bool is_error;
};

// invocation/{id}/response or invocation/{id}/error
static bool parse_result(const char *path, struct result_path *ret_result)
{
    static const char invocation[] = "invocation/";
    if (strncmp(path, invocation, strlen(invocation)) != 0)
        return false;
    const char *id = path + strlen(invocation);
    const char *slash = strchr(id, '/');
    if (!slash || slash == id)
        return false;
    bool is_error = strcmp(slash, "/error") == 0;
    if (!is_error && strcmp(slash, "/response") != 0)
        return false;
    *ret_result = (struct result_path){.id = id, .id_size = (size_t)(slash - id), .is_error = is_error};
    return true;
}

static void route(struct instance *instance, struct http_request *request, const char *path)
{
    bool get = strcmp(http_method(request), "GET") == 0, post = strcmp(http_method(request), "POST") == 0;
    bool is_next = strcmp(path, "invocation/next") == 0, is_init_error = strcmp(path, "init/error") == 0;
    struct result_path result = {0};
    bool is_result = parse_result(path, &result);
    if (!is_next && !is_init_error && !is_result)
        runtime_api_error(request, 404, "NotFound", "No such path in the Runtime API");
    else if (is_next ? !get : !post)
        runtime_api_error(request, 405, "MethodNotAllowed", "Method not allowed");
    else if (is_next)
        instance_on_next(instance, request);
    else if (is_init_error)
        instance_on_init_error(instance, request);
    else
        instance_on_result(instance, request, result.id, result.id_size, result.is_error);
}

void runtime_api_handle(void *context, struct http_request *request)
{
    const char *path = http_path(request);
    if (strcmp(path, "/ping") == 0)
        http_reply(request, &(struct http_reply){.status = 200, .body = "pong", .body_size = 4});
    else if (!instance_is_peer(context, http_connection_fd(request)))
        runtime_api_error(request, 403, "AccessDenied", "This Runtime API belongs to another sandbox");
    else if (strncmp(path, PREFIX, strlen(PREFIX)) == 0)
        route(context, request, path + strlen(PREFIX));
    else
        runtime_api_error(request, 404, "NotFound", "No such path in the Runtime API");
}
