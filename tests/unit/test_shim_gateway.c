// SPDX-License-Identifier: Apache-2.0
// Payload format 2.0, both ways. Expectations: the AWS documentation of HTTP API integrations and of Lambda
// function URLs, and RFC 4648's and RFC 3986's own examples.
#include "fs/base/check.h"
#include "shim/base64.h"
#include "shim/gateway.h"
#include "shim/percent.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct http_header text_type = {"Content-Type", "text/plain"};

static struct gateway_request request_of(const char *method, const char *path, const char *query)
{
    return (struct gateway_request){.method = method,
                                    .protocol = "HTTP/1.1",
                                    .path = path,
                                    .query = query,
                                    .function_name = "MessageWall",
                                    .source_ip = "192.0.2.1",
                                    .request_id = "id",
                                    .time_ms = 1583348638390};
}

static json_t *event_with_body(const char *content_type, const void *body, size_t size)
{
    struct gateway_request request = request_of("POST", "/default/MessageWall", NULL);
    const struct http_header header = {"Content-Type", content_type};
    request.headers = &header;
    request.n_headers = content_type ? 1 : 0;
    request.body = body;
    request.body_size = size;
    return gateway_event(&request);
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

// --- the event ---

static void test_event_names_request_and_route(void **state UNUSED)
{
    struct gateway_request request = request_of("DELETE", "/default/MessageWall", NULL);
    const struct http_header headers[] = {{"User-Agent", "agent"}, {"Host", "abc.example.com:8080"}};
    request.headers = headers;
    request.n_headers = 2;
    json_t *event = gateway_event(&request);
    assert_string_equal(text(event, "version"), "2.0");
    assert_string_equal(text(event, "routeKey"), "ANY /MessageWall");
    assert_string_equal(text(event, "rawPath"), "/default/MessageWall");
    assert_string_equal(text(event, "rawQueryString"), "");
    assert_null(json_object_get(event, "queryStringParameters"));
    assert_null(json_object_get(event, "cookies"));
    assert_null(json_object_get(event, "pathParameters"));
    const json_t *context = json_object_get(event, "requestContext");
    assert_string_equal(text(context, "time"), "04/Mar/2020:19:03:58 +0000");
    assert_int_equal(json_integer_value(json_object_get(context, "timeEpoch")), 1583348638390);
    assert_string_equal(text(context, "domainName"), "abc.example.com");
    assert_string_equal(text(context, "domainPrefix"), "abc");
    const json_t *http = json_object_get(context, "http");
    assert_string_equal(text(http, "method"), "DELETE");
    assert_string_equal(text(http, "path"), "/default/MessageWall");
    assert_string_equal(text(http, "protocol"), "HTTP/1.1");
    assert_string_equal(text(http, "sourceIp"), "192.0.2.1");
    assert_string_equal(text(http, "userAgent"), "agent");
    json_decref(event);
}

static void test_event_without_body_has_none(void **state UNUSED)
{
    json_t *event = event_with_body("text/plain", "", 0);
    assert_null(json_object_get(event, "body"));
    assert_true(json_is_false(json_object_get(event, "isBase64Encoded")));
    json_decref(event);
}

static void test_headers_are_lower_case_and_joined(void **state UNUSED)
{
    struct gateway_request request = request_of("GET", "/default/MessageWall", NULL);
    const struct http_header headers[] = {{"X-Header", "value1"}, {"x-header", "value2"}, {"Other", "\xff"}};
    request.headers = headers;
    request.n_headers = 3;
    json_t *event = gateway_event(&request);
    const json_t *made = json_object_get(event, "headers");
    assert_int_equal(json_object_size(made), 2);
    assert_string_equal(text(made, "x-header"), "value1,value2");
    assert_string_equal(text(made, "other"), "\xef\xbf\xbd");
    json_decref(event);
}

static void test_cookies_have_a_list_of_their_own(void **state UNUSED)
{
    struct gateway_request request = request_of("GET", "/default/MessageWall", NULL);
    const struct http_header header = {"Cookie", "cookie1=a; cookie2=b;c"};
    request.headers = &header;
    request.n_headers = 1;
    json_t *event = gateway_event(&request);
    const json_t *cookies = json_object_get(event, "cookies");
    assert_int_equal(json_array_size(cookies), 3);
    assert_string_equal(json_string_value(json_array_get(cookies, 0)), "cookie1=a");
    assert_string_equal(json_string_value(json_array_get(cookies, 1)), "cookie2=b");
    assert_string_equal(json_string_value(json_array_get(cookies, 2)), "c");
    assert_int_equal(json_object_size(json_object_get(event, "headers")), 0);
    json_decref(event);
}

static void test_query_is_decoded_and_joined(void **state UNUSED)
{
    static const char query[] =
        "parameter1=value1&parameter1=value2&b=%20a+b%2B&empty=&bare&&bad=%zz&nul=%00";
    struct gateway_request request = request_of("GET", "/default/MessageWall", query);
    json_t *event = gateway_event(&request);
    assert_string_equal(text(event, "rawQueryString"), query);
    const json_t *made = json_object_get(event, "queryStringParameters");
    assert_int_equal(json_object_size(made), 6);
    assert_string_equal(text(made, "parameter1"), "value1,value2");
    assert_string_equal(text(made, "b"), " a b+");
    assert_string_equal(text(made, "empty"), "");
    assert_string_equal(text(made, "bare"), "");
    assert_string_equal(text(made, "bad"), "%zz");
    assert_int_equal(json_string_length(json_object_get(made, "nul")), 1);
    json_decref(event);
}

static void test_rest_of_the_path_is_the_proxy_parameter(void **state UNUSED)
{
    struct gateway_request request = request_of("GET", "/default/MessageWall/a%20b/c", NULL);
    request.proxy = "a%20b/c";
    json_t *event = gateway_event(&request);
    assert_string_equal(text(event, "rawPath"), "/default/MessageWall/a%20b/c");
    assert_string_equal(text(event, "routeKey"), "ANY /MessageWall/{proxy+}");
    assert_string_equal(text(json_object_get(event, "pathParameters"), "proxy"), "a b/c");
    json_decref(event);
}

static void test_body_is_text_for_these_types_only(void **state UNUSED)
{
    static const struct {
        const char *type;
        bool is_text;
    } rows[] = {
        {"text/plain", true},
        {"Text/HTML; charset=utf-8", true},
        {"application/json", true},
        {"application/json;charset=utf-8", true},
        {"application/xml", true},
        {"application/javascript", true},
        {"application/x-www-form-urlencoded", false},
        {"application/octet-stream", false},
        {"application/jsonp", false},
        {"image/svg+xml", false},
        {"text/", false},
        {"", false},
        {NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(gateway_is_text(rows[i].type), rows[i].is_text);
        json_t *event = event_with_body(rows[i].type, "Hello", 5);
        assert_int_equal(json_is_true(json_object_get(event, "isBase64Encoded")), !rows[i].is_text);
        assert_string_equal(text(event, "body"), rows[i].is_text ? "Hello" : "SGVsbG8=");
        json_decref(event);
    }
}

static void test_text_that_is_not_utf8_goes_in_base64(void **state UNUSED)
{
    json_t *event = event_with_body(text_type.value, "\xff\xfe", 2);
    assert_true(json_is_true(json_object_get(event, "isBase64Encoded")));
    assert_string_equal(text(event, "body"), "//4=");
    json_decref(event);
}

// --- the answer ---

static struct gateway_answer answer_of(const char *returned)
{
    struct gateway_answer answer;
    assert_int_equal(gateway_answer_of(returned, strlen(returned), GATEWAY_STRINGS_BARE, &answer), 0);
    return answer;
}

static void assert_body(const struct gateway_answer *answer, const char *body)
{
    assert_int_equal(answer->body_size, strlen(body));
    assert_memory_equal(answer->body, body, answer->body_size);
}

static void assert_header(const struct gateway_answer *answer, size_t i, const char *name, const char *value)
{
    assert_true(i < answer->n_headers);
    assert_string_equal(answer->headers[i].name, name);
    assert_string_equal(answer->headers[i].value, value);
}

static void test_without_status_code_all_is_the_body(void **state UNUSED)
{
    static const char *const returned[] = {"{ \"message\": \"Hello\" }",    "[1, 2]", "7", "null", "true",
                                           "123456789012345678901234567890"};
    for (size_t i = 0; i < ARRAY_LEN(returned); i++) {
        struct gateway_answer answer = answer_of(returned[i]);
        assert_int_equal(answer.status, 200);
        assert_body(&answer, returned[i]);
        assert_int_equal(answer.n_headers, 1);
        assert_header(&answer, 0, "content-type", "application/json");
        gateway_answer_free(&answer);
    }
}

static void test_a_string_is_bare_or_quoted(void **state UNUSED)
{
    static const char returned[] = "\"Hello\\nworld\"";
    struct gateway_answer answer = answer_of(returned);
    assert_int_equal(answer.status, 200);
    assert_body(&answer, "Hello\nworld");
    gateway_answer_free(&answer);
    assert_int_equal(gateway_answer_of(returned, strlen(returned), GATEWAY_STRINGS_QUOTED, &answer), 0);
    assert_body(&answer, returned);
    gateway_answer_free(&answer);
}

static void test_status_headers_cookies_and_body(void **state UNUSED)
{
    struct gateway_answer answer =
        answer_of("{\"statusCode\": 201, \"headers\": {\"Content-Type\": \"text/x\", \"n\": 5, \"b\": true},"
                  "\"body\": \"made\", \"cookies\": [\"a=1\", \"b=2\"], \"isBase64Encoded\": false}");
    assert_int_equal(answer.status, 201);
    assert_body(&answer, "made");
    assert_int_equal(answer.n_headers, 5);
    assert_header(&answer, 0, "Content-Type", "text/x");
    assert_header(&answer, 1, "n", "5");
    assert_header(&answer, 2, "b", "true");
    assert_header(&answer, 3, "set-cookie", "a=1");
    assert_header(&answer, 4, "set-cookie", "b=2");
    gateway_answer_free(&answer);
}

static void test_base64_body_is_decoded(void **state UNUSED)
{
    struct gateway_answer answer =
        answer_of("{\"statusCode\": \"200\", \"body\": \"AP8=\", \"isBase64Encoded\": true}");
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body_size, 2);
    assert_memory_equal(answer.body, "\0\xff", 2);
    gateway_answer_free(&answer);
}

static void test_headers_of_the_connection_are_not_the_functions(void **state UNUSED)
{
    struct gateway_answer answer = answer_of(
        "{\"statusCode\": 204, \"headers\": {\"Content-Length\": \"99\", \"connection\": \"close\"}}");
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body_size, 0);
    assert_int_equal(answer.n_headers, 1);
    assert_string_equal(answer.headers[0].name, "content-type");
    gateway_answer_free(&answer);
}

static void test_what_is_no_answer(void **state UNUSED)
{
    static const char *const returned[] = {
        "",
        "not json",
        "{\"statusCode\": 99}",
        "{\"statusCode\": 1000}",
        "{\"statusCode\": \"abc\"}",
        "{\"statusCode\": null}",
        "{\"statusCode\": 200, \"body\": {\"a\": 1}}",
        "{\"statusCode\": 200, \"body\": \"%%%%\", \"isBase64Encoded\": true}",
        "{\"statusCode\": 200, \"headers\": \"x\"}",
        "{\"statusCode\": 200, \"headers\": {\"x\": {}}}",
        "{\"statusCode\": 200, \"cookies\": \"x\"}",
        "{\"statusCode\": 200, \"cookies\": [1, {}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(returned); i++) {
        struct gateway_answer answer = {.status = 1};
        int rc = gateway_answer_of(returned[i], strlen(returned[i]), GATEWAY_STRINGS_BARE, &answer);
        assert_int_equal(rc, -EINVAL);
        assert_int_equal(answer.status, 1); // untouched
    }
}

// --- the codecs below ---

static void test_base64_rfc4648(void **state UNUSED)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(freep) char *encoded = base64_encode(rows[i][0], strlen(rows[i][0]));
        assert_string_equal(encoded, rows[i][1]);
        size_t size;
        _cleanup_(freep) char *decoded = base64_decode(encoded, strlen(encoded), &size);
        assert_int_equal(size, strlen(rows[i][0]));
        assert_memory_equal(decoded, rows[i][0], size);
    }
}

static void test_base64_refuses(void **state UNUSED)
{
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zm9*", "Zm 9", "Zm8=\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        size_t size;
        assert_null(base64_decode(bad[i], strlen(bad[i]), &size));
    }
}

static void test_percent_decode(void **state UNUSED)
{
    static const struct {
        const char *from;
        bool plus;
        const char *to;
    } rows[] = {
        {"", false, ""},       {"a%20b", false, "a b"}, {"a+b", false, "a+b"},   {"a+b", true, "a b"},
        {"%", false, "%"},     {"%4", false, "%4"},     {"%41", false, "A"},     {"%4g", false, "%4g"},
        {"%%41", false, "%A"}, {"%3a", false, ":"},     {"%2541", false, "%41"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[16];
        size_t length = percent_decode(rows[i].from, strlen(rows[i].from), rows[i].plus, out);
        assert_int_equal(length, strlen(rows[i].to));
        assert_string_equal(out, rows[i].to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_names_request_and_route),
        cmocka_unit_test(test_event_without_body_has_none),
        cmocka_unit_test(test_headers_are_lower_case_and_joined),
        cmocka_unit_test(test_cookies_have_a_list_of_their_own),
        cmocka_unit_test(test_query_is_decoded_and_joined),
        cmocka_unit_test(test_rest_of_the_path_is_the_proxy_parameter),
        cmocka_unit_test(test_body_is_text_for_these_types_only),
        cmocka_unit_test(test_text_that_is_not_utf8_goes_in_base64),
        cmocka_unit_test(test_without_status_code_all_is_the_body),
        cmocka_unit_test(test_a_string_is_bare_or_quoted),
        cmocka_unit_test(test_status_headers_cookies_and_body),
        cmocka_unit_test(test_base64_body_is_decoded),
        cmocka_unit_test(test_headers_of_the_connection_are_not_the_functions),
        cmocka_unit_test(test_what_is_no_answer),
        cmocka_unit_test(test_base64_rfc4648),
        cmocka_unit_test(test_base64_refuses),
        cmocka_unit_test(test_percent_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
