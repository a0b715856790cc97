// SPDX-License-Identifier: Apache-2.0
// From what a function returned to an HTTP answer, by the rules of payload format 2.0: an object with a
// statusCode says all itself; anything else is the body of a 200. Pure.
#include "fs/base/check.h"
#include "shim/base64.h"
#include "shim/gateway.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX 256u

static void add_header(struct gateway_answer *answer, const char *name, const char *value)
{
    struct http_header *headers = realloc(answer->headers, (answer->n_headers + 1) * sizeof(*headers));
    char *name_copy = strdup(name), *value_copy = strdup(value);
    fs_assert(headers && name_copy && value_copy);
    headers[answer->n_headers++] = (struct http_header){name_copy, value_copy};
    answer->headers = headers;
}

static bool has_header(const struct gateway_answer *answer, const char *name)
{
    for (size_t i = 0; i < answer->n_headers; i++)
        if (strcasecmp(answer->headers[i].name, name) == 0)
            return true;
    return false;
}

static void set_body(struct gateway_answer *answer, const void *bytes, size_t size)
{
    answer->body = malloc(size + 1);
    fs_assert(answer->body);
    memcpy(answer->body, bytes, size);
    answer->body_size = size;
}

// These describe our connection, not the function's answer.
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"connection", "content-length", "transfer-encoding", "keep-alive",
                                       "upgrade"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return true;
    return false;
}

// Strings, numbers and booleans are taken as text.
static int take_header(struct gateway_answer *answer, const char *name, const json_t *value)
{
    if (!json_is_string(value) && !json_is_number(value) && !json_is_boolean(value))
        return -EINVAL;
    if (answer->n_headers >= HEADERS_MAX)
        return -EINVAL;
    if (is_ours(name))
        return 0;
    if (json_is_string(value)) {
        add_header(answer, name, json_string_value(value));
        return 0;
    }
    _cleanup_(freep) char *text = json_dumps(value, JSON_ENCODE_ANY);
    fs_assert(text);
    add_header(answer, name, text);
    return 0;
}

static int take_headers(struct gateway_answer *answer, const json_t *headers, const json_t *cookies)
{
    if ((headers && !json_is_object(headers) && !json_is_null(headers)) ||
        (cookies && !json_is_array(cookies) && !json_is_null(cookies)))
        return -EINVAL;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)headers, name, value)
    {
        int rc = take_header(answer, name, value);
        if (rc < 0)
            return rc;
    }
    size_t i;
    json_array_foreach(cookies, i, value)
    {
        int rc = json_is_string(value) ? take_header(answer, "set-cookie", value) : -EINVAL;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int take_body(struct gateway_answer *answer, const json_t *body, bool encoded)
{
    if (!body || json_is_null(body)) {
        set_body(answer, "", 0);
        return 0;
    }
    if (!json_is_string(body))
        return -EINVAL;
    if (!encoded) {
        set_body(answer, json_string_value(body), json_string_length(body));
        return 0;
    }
    answer->body = base64_decode(json_string_value(body), json_string_length(body), &answer->body_size);
    return answer->body ? 0 : -EINVAL;
}

static int answer_of_object(const json_t *object, struct gateway_answer *answer)
{
    const json_t *status = json_object_get(object, "statusCode");
    const char *text = json_string_value(status); // NULL: no string
    char *end = NULL;
    double code = text ? strtod(text, &end) : json_number_value(status);
    if ((text && *end) || !(code >= 200 && code < 600))
        return -EINVAL;
    answer->status = (unsigned)code;
    int rc = take_headers(answer, json_object_get(object, "headers"), json_object_get(object, "cookies"));
    if (rc == 0)
        rc = take_body(answer, json_object_get(object, "body"),
                       json_is_true(json_object_get(object, "isBase64Encoded")));
    if (rc == 0 && !has_header(answer, "content-type"))
        add_header(answer, "content-type", "text/plain; charset=utf-8");
    return rc;
}

// Integers that only a floating-point number can hold are no error.
static json_t *parse(const void *text, size_t size)
{
    json_t *value = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    return value ? value
                 : json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
}

int gateway_answer_of(const void *returned, size_t size, enum gateway_strings strings,
                      struct gateway_answer *ret_answer)
{
    json_t *value = parse(returned, size);
    if (!value)
        return -EINVAL;
    struct gateway_answer answer = {.status = 200};
    int rc = 0;
    if (json_object_get(value, "statusCode")) {
        rc = answer_of_object(value, &answer);
    } else {
        bool bare = json_is_string(value) && strings == GATEWAY_STRINGS_BARE;
        set_body(&answer, bare ? json_string_value(value) : returned,
                 bare ? json_string_length(value) : size);
        add_header(&answer, "content-type", "application/json");
    }
    json_decref(value);
    if (rc < 0)
        gateway_answer_free(&answer);
    else
        *ret_answer = answer;
    return rc;
}

void gateway_answer_free(struct gateway_answer *answer)
{
    for (size_t i = 0; i < answer->n_headers; i++) {
        free((char *)(uintptr_t)answer->headers[i].name);
        free((char *)(uintptr_t)answer->headers[i].value);
    }
    free(answer->headers);
    free(answer->body);
    *answer = (struct gateway_answer){0};
}
