// SPDX-License-Identifier: Apache-2.0
// From an HTTP request to the event of payload format 2.0. Pure. Text that is not UTF-8 cannot stand in JSON:
// a body goes in base64 then, and in headers and the query its bytes become U+FFFD.
#include "fs/base/check.h"
#include "shim/base64.h"
#include "shim/gateway.h"
#include "shim/percent.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

bool gateway_is_text(const char *content_type)
{
    static const char *const types[] = {"application/json", "application/xml", "application/javascript"};
    if (!content_type)
        return false;
    size_t size = strcspn(content_type, "; \t");
    if (size > 5 && strncasecmp(content_type, "text/", 5) == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strlen(types[i]) == size && strncasecmp(content_type, types[i], size) == 0)
            return true;
    return false;
}

// A JSON string of any bytes.
static json_t *text_of(const char *bytes, size_t size)
{
    json_t *text = json_stringn(bytes, size);
    if (text)
        return text;
    static const char replacement[3] = {'\xef', '\xbf', '\xbd'};
    _cleanup_(freep) char *clean = malloc(size * sizeof(replacement) + 1);
    fs_assert(clean);
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)bytes[i] < 0x80) {
            clean[length++] = bytes[i];
        } else {
            memcpy(clean + length, replacement, sizeof(replacement));
            length += sizeof(replacement);
        }
    }
    text = json_stringn(clean, length);
    fs_assert(text);
    return text;
}

// Sets the key, or appends ",value" to what it holds.
static void add_value(json_t *object, const char *key, const char *value, size_t size)
{
    json_t *text = text_of(value, size);
    const json_t *before = json_object_get(object, key);
    if (before) {
        size_t had = json_string_length(before), more = json_string_length(text);
        _cleanup_(freep) char *joined = malloc(had + more + 1);
        fs_assert(joined);
        memcpy(joined, json_string_value(before), had);
        joined[had] = ',';
        memcpy(joined + had + 1, json_string_value(text), more);
        json_decref(text);
        text = json_stringn(joined, had + 1 + more);
    }
    json_object_set_new(object, key, text);
}

// --- headers and cookies ---

static void add_cookies(json_t *cookies, const char *header)
{
    while (*header) {
        header += strspn(header, "; ");
        size_t size = strcspn(header, ";");
        if (size > 0)
            json_array_append_new(cookies, text_of(header, size));
        header += size;
    }
}

static void add_headers(json_t *event, const struct gateway_request *request)
{
    json_t *headers = json_object(), *cookies = json_array();
    for (size_t i = 0; i < request->n_headers; i++) {
        const struct http_header *header = &request->headers[i];
        char name[256];
        size_t size = 0;
        for (; size < sizeof(name) - 1 && header->name[size]; size++)
            name[size] = (char)tolower((unsigned char)header->name[size]);
        name[size] = '\0';
        if (strcmp(name, "cookie") == 0)
            add_cookies(cookies, header->value);
        else
            add_value(headers, name, header->value, strlen(header->value));
    }
    json_object_set_new(event, "headers", headers);
    if (json_array_size(cookies) > 0)
        json_object_set_new(event, "cookies", cookies);
    else
        json_decref(cookies);
}

// --- query ---

static void add_parameter(json_t *parameters, const char *pair, size_t size)
{
    const char *equals = memchr(pair, '=', size);
    size_t key_size = equals ? (size_t)(equals - pair) : size;
    size_t value_size = equals ? size - key_size - 1 : 0;
    _cleanup_(freep) char *key = malloc(key_size + 1);
    _cleanup_(freep) char *value = malloc(value_size + 1);
    fs_assert(key && value);
    size_t key_length = percent_decode(pair, key_size, true, key);
    size_t value_length = percent_decode(equals ? equals + 1 : "", value_size, true, value);
    json_t *clean = text_of(key, strnlen(key, key_length)); // an object's key ends at a NUL
    add_value(parameters, json_string_value(clean), value, value_length);
    json_decref(clean);
}

static void add_query(json_t *event, const char *query)
{
    json_object_set_new(event, "rawQueryString", text_of(query ? query : "", query ? strlen(query) : 0));
    if (!query || !*query)
        return;
    json_t *parameters = json_object();
    while (*query) {
        size_t size = strcspn(query, "&");
        if (size > 0)
            add_parameter(parameters, query, size);
        query += size + (query[size] == '&');
    }
    json_object_set_new(event, "queryStringParameters", parameters);
}

// --- the rest ---

static const char *find_header(const struct gateway_request *request, const char *name)
{
    for (size_t i = 0; i < request->n_headers; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return NULL;
}

static void add_body(json_t *event, const struct gateway_request *request)
{
    json_t *text = NULL;
    if (request->body_size > 0 && gateway_is_text(find_header(request, "content-type")))
        text = json_stringn(request->body, request->body_size); // NULL: not UTF-8
    bool encoded = !text && request->body_size > 0;
    if (encoded) {
        _cleanup_(freep) char *base64 = base64_encode(request->body, request->body_size);
        text = json_string(base64);
    }
    if (text)
        json_object_set_new(event, "body", text);
    json_object_set_new(event, "isBase64Encoded", json_boolean(encoded));
}

static json_t *http_part(const struct gateway_request *request)
{
    const char *agent = find_header(request, "user-agent");
    json_t *http = json_object();
    json_object_set_new(http, "method", json_string(request->method));
    json_object_set_new(http, "path", text_of(request->path, strlen(request->path)));
    json_object_set_new(http, "protocol", json_string(request->protocol));
    json_object_set_new(http, "sourceIp", json_string(request->source_ip));
    json_object_set_new(http, "userAgent", text_of(agent ? agent : "", agent ? strlen(agent) : 0));
    return http;
}

static void add_context(json_t *event, const struct gateway_request *request, const char *route_key)
{
    const char *host = find_header(request, "host");
    size_t host_size = host ? strcspn(host, ":") : 0;
    char stamp[64];
    struct tm utc;
    time_t seconds = (time_t)(request->time_ms / 1000);
    strftime(stamp, sizeof(stamp), "%d/%b/%Y:%H:%M:%S +0000", gmtime_r(&seconds, &utc));
    json_t *context = json_object();
    json_object_set_new(context, "accountId", json_string(FUNCTION_ACCOUNT_ID));
    json_object_set_new(context, "apiId", json_string("berth"));
    json_object_set_new(context, "domainName", text_of(host ? host : "", host_size));
    json_object_set_new(context, "domainPrefix", text_of(host ? host : "", host ? strcspn(host, ".:") : 0));
    json_object_set_new(context, "http", http_part(request));
    json_object_set_new(context, "requestId", json_string(request->request_id));
    json_object_set_new(context, "routeKey", json_string(route_key));
    json_object_set_new(context, "stage", json_string("default"));
    json_object_set_new(context, "time", json_string(stamp));
    json_object_set_new(context, "timeEpoch", json_integer((json_int_t)request->time_ms));
    json_object_set_new(event, "requestContext", context);
}

json_t *gateway_event(const struct gateway_request *request)
{
    char route_key[FUNCTION_NAME_MAX + 32];
    snprintf(route_key, sizeof(route_key), "ANY /%s%s", request->function_name,
             request->proxy ? "/{proxy+}" : "");
    json_t *event = json_object();
    json_object_set_new(event, "version", json_string("2.0"));
    json_object_set_new(event, "routeKey", json_string(route_key));
    json_object_set_new(event, "rawPath", text_of(request->path, strlen(request->path)));
    add_query(event, request->query);
    add_headers(event, request);
    add_context(event, request, route_key);
    if (request->proxy) {
        _cleanup_(freep) char *proxy = malloc(strlen(request->proxy) + 1);
        fs_assert(proxy);
        size_t size = percent_decode(request->proxy, strlen(request->proxy), false, proxy);
        json_t *parameters = json_object();
        json_object_set_new(parameters, "proxy", text_of(proxy, size));
        json_object_set_new(event, "pathParameters", parameters);
    }
    add_body(event, request);
    return event;
}
