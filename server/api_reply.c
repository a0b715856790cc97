// SPDX-License-Identifier: Apache-2.0
// Answers of the EFS API. Invariant: every error has the shape that botocore reads (the name in
// x-amzn-ErrorType, and again in the body). Main thread.
#include "fs/base/log.h"
#include "server/api_call.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define JSON_TYPE    "application/json"
#define MESSAGE_SIZE 512
#define REAL_DIGITS  13 // seconds since 1970 with milliseconds

static const struct {
    const char *name;
    unsigned status;
} errors[] = {
#define ERROR_ENTRY(name, status) [API_##name] = {#name, status},
    API_ERRORS(ERROR_ENTRY)
#undef ERROR_ENTRY
};

static void send_json(struct http_request *request, unsigned status, json_t *body, const char *error_name)
{
    uint8_t chance[16];
    char id[2 * sizeof(chance) + 1];
    env_random(&env_system, chance, sizeof(chance)); // a name for logs only
    for (size_t i = 0; i < sizeof(chance); i++)
        snprintf(id + 2 * i, 3, "%02x", chance[i]);
    const struct http_header headers[] = {{"x-amzn-RequestId", id}, {"x-amzn-ErrorType", error_name}};
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS)) : NULL;
    bool failed = body && !text; // no memory
    const struct http_reply reply = {
        .status = failed ? 500 : status,
        .content_type = text ? JSON_TYPE : NULL,
        .body = text ? text : "",
        .body_size = text ? strlen(text) : 0,
        .headers = headers,
        .n_headers = error_name ? 2 : 1,
    };
    http_reply(request, &reply);
    free(text);
    json_decref(body);
}

void api_reply(struct http_request *request, unsigned status, json_t *body)
{
    send_json(request, status, body, NULL);
}

static void send_error(struct http_request *request, enum api_error error, const char *message,
                       const char *member, const char *id)
{
    json_t *body = json_pack("{s:s, s:s}", "ErrorCode", errors[error].name, "Message", message);
    if (body && member)
        json_object_set_new(body, member, json_string(id));
    log_debug("api_error", "error=%s method=%s", errors[error].name, http_method(request));
    send_json(request, errors[error].status, body, errors[error].name);
}

void api_fail(struct http_request *request, enum api_error error, const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof(message), format, values);
    va_end(values);
    send_error(request, error, message, NULL, NULL);
}

void api_fail_existing(struct http_request *request, enum api_error error, const char *member, const char *id)
{
    char message[MESSAGE_SIZE];
    snprintf(message, sizeof(message), "'%s' already exists with this token.", id);
    send_error(request, error, message, member, id);
}

void api_fail_errno(struct http_request *request, const char *operation, int result)
{
    char text[128];
    const char *reason = strerror(-result);
    log_error("api_failed", "op=%s reason=%s", operation,
              log_text(text, sizeof(text), reason, strlen(reason)));
    api_fail(request, API_InternalServerError, "The server failed: %s.", reason);
}

json_t *api_arn(const char *kind, const char *id)
{
    return json_sprintf("arn:aws:elasticfilesystem:" CATALOGUE_REGION ":" CATALOGUE_ACCOUNT_ID ":%s/%s", kind,
                        id);
}
