// SPDX-License-Identifier: Apache-2.0
// Requests to the API through libcurl, which also signs them. Invariant: whatever goes wrong is said in one
// line that names the endpoint or the object, and what to do.
#include "client/cli/endpoint.h"
#include "fs/base/check.h"
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#define ANSWER_MAX      (64u * 1024 * 1024) // bytes; a page of 100 objects with 50 long tags each is below
#define CONNECT_SECONDS 5L
#define REQUEST_SECONDS 60L
#define SIGNING         "aws:amz:us-east-1:elasticfilesystem"

struct answer {
    char *text;
    size_t length;
};

bool endpoint_is_valid(const char *name)
{
    if (strncmp(name, "unix:/", 6) == 0)
        return true;
    const char *host = strncmp(name, "http://", 7) == 0    ? name + 7
                       : strncmp(name, "https://", 8) == 0 ? name + 8
                                                           : "";
    return *host && !strpbrk(host, "?# ");
}

char *endpoint_escape(const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, (int)strlen(text));
    if (!escaped) {
        fprintf(stderr, "berth: out of memory\n");
        exit(1);
    }
    return escaped;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *context)
{
    struct answer *answer = context;
    size_t length = size * n;
    char *grown =
        length <= ANSWER_MAX - answer->length ? realloc(answer->text, answer->length + length + 1) : NULL;
    if (!grown)
        return 0;
    memcpy(grown + answer->length, bytes, length);
    answer->text = grown;
    answer->length += length;
    grown[answer->length] = '\0';
    return length;
}

// --- what went wrong ---

static int fail_transport(CURL *curl, CURLcode code, const char *name)
{
    long system_errno = 0;
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &system_errno);
    bool unreached = code == CURLE_COULDNT_CONNECT && system_errno != 0;
    const char *reason = unreached ? strerror((int)system_errno) : curl_easy_strerror(code);
    bool by_rights = unreached && (system_errno == EACCES || system_errno == EPERM);
    fprintf(stderr, "berth: cannot reach %s: %c%s; %s\n", name, tolower((unsigned char)reason[0]), reason + 1,
            by_rights ? "run it as root or as the server's own user" : "is berthd running?");
    return -1;
}

static const char *advice(const char *error)
{
    static const struct {
        const char *error, *advice;
    } known[] = {
        {"FileSystemInUse", " Unmount its clients, or give --force."},
        {"UnrecognizedClientException",
         " Use the key in the file `credentials` of the server's data directory."},
        {"InvalidSignatureException",
         " Use the key in the file `credentials` of the server's data directory."},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(known[i].error, error) == 0)
            return known[i].advice;
    }
    return "";
}

static int fail_status(const struct endpoint_request *request, const char *name, long status,
                       const json_t *answer)
{
    const char *error = json_string_value(json_object_get(answer, "ErrorCode"));
    const char *message = json_string_value(json_object_get(answer, "Message"));
    if (error && message)
        fprintf(stderr, "berth: %s: %s%s (%s)\n", request->what, message, advice(error), error);
    else if (status == 503)
        fprintf(stderr, "berth: %s: the server at %s is stopping; try again\n", request->what, name);
    else
        fprintf(stderr, "berth: %s: %s answered with HTTP status %ld; is it a berthd?\n", request->what, name,
                status);
    return -1;
}

static int fail_credentials(const struct endpoint *endpoint, int result)
{
    if (result == -ENOENT && endpoint->profile)
        fprintf(stderr, "berth: there is no profile '%s' with a key in the AWS credentials file\n",
                endpoint->profile);
    else if (result == -ENOENT)
        fprintf(
            stderr,
            "berth: no credentials for %s; set AWS_SHARED_CREDENTIALS_FILE to the file `credentials` of the "
            "server's data directory, or use --endpoint unix:DIR/api.sock\n",
            endpoint->name);
    else if (result == -EINVAL)
        fprintf(stderr,
                "berth: the AWS credentials need both a key and a secret, each of at most %d characters\n",
                AWS_PROFILE_VALUE_SIZE - 1);
    else
        fprintf(stderr, "berth: cannot read the AWS credentials file: %s\n", strerror(-result));
    return -1;
}

// --- one request ---

struct exchange {
    CURL *curl;
    struct curl_slist *headers;
    char *url, *body;
    char key_and_secret[2 * AWS_PROFILE_VALUE_SIZE];
    struct answer answer;
};

static void exchange_free(struct exchange *exchange)
{
    curl_easy_cleanup(exchange->curl);
    curl_slist_free_all(exchange->headers);
    free(exchange->url);
    free(exchange->body);
    free(exchange->answer.text);
    explicit_bzero(exchange->key_and_secret, sizeof(exchange->key_and_secret));
}

static int sign(struct exchange *exchange, const struct endpoint *endpoint)
{
    char key[AWS_PROFILE_VALUE_SIZE], secret[AWS_PROFILE_VALUE_SIZE];
    int result = aws_profile_load(endpoint->profile, key, secret);
    if (result < 0)
        return fail_credentials(endpoint, result);
    snprintf(exchange->key_and_secret, sizeof(exchange->key_and_secret), "%s:%s", key, secret);
    explicit_bzero(secret, sizeof(secret));
    curl_easy_setopt(exchange->curl, CURLOPT_AWS_SIGV4, SIGNING);
    curl_easy_setopt(exchange->curl, CURLOPT_USERPWD, exchange->key_and_secret);
    return 0;
}

static int address(struct exchange *exchange, const struct endpoint *endpoint, const char *path_and_query)
{
    bool over_unix = strncmp(endpoint->name, "unix:", 5) == 0;
    size_t length = strlen(endpoint->name);
    while (length > 0 && endpoint->name[length - 1] == '/')
        length--;
    int made = over_unix ? asprintf(&exchange->url, "http://localhost%s", path_and_query)
                         : asprintf(&exchange->url, "%.*s%s", (int)length, endpoint->name, path_and_query);
    if (made < 0)
        exchange->url = NULL;
    curl_easy_setopt(exchange->curl, CURLOPT_URL, exchange->url);
    if (!over_unix)
        return sign(exchange, endpoint);
    curl_easy_setopt(exchange->curl, CURLOPT_UNIX_SOCKET_PATH, endpoint->name + 5);
    return 0;
}

static void add_body(struct exchange *exchange, const json_t *body)
{
    exchange->body = json_dumps(body, JSON_COMPACT);
    exchange->headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_setopt(exchange->curl, CURLOPT_POSTFIELDS, exchange->body);
    curl_easy_setopt(exchange->curl, CURLOPT_HTTPHEADER, exchange->headers);
}

static int perform(struct exchange *exchange, const struct endpoint *endpoint,
                   const struct endpoint_request *request, json_t **ret_answer)
{
    CURL *curl = exchange->curl;
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange->answer);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, REQUEST_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); // the server is never behind the environment's proxy
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        return fail_transport(curl, code, endpoint->name);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    json_t *answer =
        json_loadb(exchange->answer.text ? exchange->answer.text : "", exchange->answer.length, 0, NULL);
    bool expected = status >= 200 && status < 300 && (status == 204 || json_is_object(answer));
    if (!expected) {
        fail_status(request, endpoint->name, status, answer);
        json_decref(answer);
        return -1;
    }
    *ret_answer = answer;
    return 0;
}

int endpoint_call(const struct endpoint *endpoint, const struct endpoint_request *request,
                  json_t **ret_answer)
{
    struct exchange exchange = {.curl = curl_easy_init()};
    if (!exchange.curl) {
        fprintf(stderr, "berth: libcurl cannot be used\n");
        return -1;
    }
    int result = address(&exchange, endpoint, request->path_and_query);
    if (result == 0 && request->body)
        add_body(&exchange, request->body);
    if (result == 0)
        result = perform(&exchange, endpoint, request, ret_answer);
    exchange_free(&exchange);
    return result;
}
