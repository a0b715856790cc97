// SPDX-License-Identifier: Apache-2.0
// Signature Version 4 as AWS documents it ("Create a signed AWS API request"). The order of work: take the
// Authorization header apart, find the secret, rebuild the canonical request from what arrived, sign that,
// compare. The body is always hashed here; no header can stand for it. Invariant: signatures are compared in
// constant time.
#include "server/sigv4.h"
#include "fs/base/check.h"
#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ALGORITHM          "AWS4-HMAC-SHA256"
#define HEX_SIZE           (2 * HMAC_SIZE + 1)
#define AUTHORIZATION_MAX  4096u
#define DATE_LENGTH        8u  // 20150830
#define TIME_LENGTH        16u // 20150830T123600Z
#define PATH_DEPTH_MAX     16u
#define PARAMETERS_MAX     256u // of a query string
#define SIGNED_HEADERS_MAX 64u

static void hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

static void sha256_hex(const void *bytes, size_t n, char out[HEX_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    int ok = EVP_Digest(bytes, n, digest, &length, EVP_sha256(), NULL);
    fs_assert(ok == 1 && length == HMAC_SIZE);
    hex(digest, HMAC_SIZE, out);
}

// --- percent-encoding ---

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int percent_decode(const char *text, size_t n, char *out, size_t out_size)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = n - i > 2 ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = high * 16 + low;
            i += 2;
        }
        if (c == '\0')
            return -EINVAL;
        if (length + 1 >= out_size)
            return -ENAMETOOLONG;
        out[length++] = (char)c;
    }
    out[length] = '\0';
    return 0;
}

static void put_encoded(FILE *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x80 && isalnum(c)) || (c && strchr("-_.~", c)))
            fputc(c, out);
        else
            fprintf(out, "%%%02X", c);
    }
}

// --- the Authorization header ---

struct authorization {
    char text[AUTHORIZATION_MAX]; // what the others point into
    char *access_key, *date, *region, *service;
    char *signed_headers, *signature;
};

static const char *find_header(const struct sigv4_request *request, const char *name)
{
    for (size_t i = 0; i < request->n_headers; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    }
    return NULL;
}

static bool split_credential(char *credential, struct authorization *authorization)
{
    char *rest = credential;
    authorization->access_key = strsep(&rest, "/");
    authorization->date = strsep(&rest, "/");
    authorization->region = strsep(&rest, "/");
    authorization->service = strsep(&rest, "/");
    return rest && strcmp(rest, "aws4_request") == 0 && *authorization->access_key && *authorization->region;
}

// ALGORITHM Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX
static bool split_authorization(const char *header, struct authorization *authorization)
{
    size_t length = strlen(header);
    if (length >= sizeof(authorization->text) || strncmp(header, ALGORITHM " ", sizeof(ALGORITHM)) != 0)
        return false;
    memcpy(authorization->text, header, length + 1);
    char *credential = NULL, *rest = authorization->text + sizeof(ALGORITHM);
    authorization->signed_headers = authorization->signature = NULL;
    for (char *part; (part = strsep(&rest, ",")) != NULL;) {
        part += strspn(part, " ");
        char *equals = strchr(part, '=');
        if (!equals)
            return false;
        *equals = '\0';
        char **field = strcmp(part, "Credential") == 0      ? &credential
                       : strcmp(part, "SignedHeaders") == 0 ? &authorization->signed_headers
                       : strcmp(part, "Signature") == 0     ? &authorization->signature
                                                            : NULL;
        if (!field || *field)
            return false;
        *field = equals + 1;
    }
    return credential && authorization->signed_headers && authorization->signature &&
           split_credential(credential, authorization);
}

static int decimal(const char *digits, size_t n)
{
    int value = 0;
    for (size_t i = 0; i < n; i++)
        value = value * 10 + (digits[i] - '0');
    return value;
}

// Seconds since 1970 of 20150830T123600Z.
static bool parse_time(const char *text, uint64_t *ret_s)
{
    if (strlen(text) != TIME_LENGTH)
        return false;
    for (size_t i = 0; i < TIME_LENGTH; i++) {
        bool fits = i == 8 ? text[i] == 'T' : i == 15 ? text[i] == 'Z' : text[i] >= '0' && text[i] <= '9';
        if (!fits)
            return false;
    }
    struct tm tm = {
        .tm_year = decimal(text, 4) - 1900,
        .tm_mon = decimal(text + 4, 2) - 1,
        .tm_mday = decimal(text + 6, 2),
        .tm_hour = decimal(text + 9, 2),
        .tm_min = decimal(text + 11, 2),
        .tm_sec = decimal(text + 13, 2),
    };
    time_t seconds = timegm(&tm);
    if (seconds < 0)
        return false;
    *ret_s = (uint64_t)seconds;
    return true;
}

// --- the canonical request ---

// The path without empty and dot segments, encoded once more: what AWS does for every service but S3. False
// when it is deeper than any path of the API.
static bool put_path(FILE *out, const char *path)
{
    struct {
        const char *at;
        size_t length;
    } kept[PATH_DEPTH_MAX];
    size_t n = 0;
    for (const char *at = path; *at;) {
        size_t length = strcspn(at, "/");
        bool up = length == 2 && memcmp(at, "..", 2) == 0;
        if (up && n > 0) {
            n--;
        } else if (!up && length > 0 && !(length == 1 && *at == '.')) {
            if (n == PATH_DEPTH_MAX)
                return false;
            kept[n].at = at;
            kept[n++].length = length;
        }
        at += length + (at[length] == '/');
    }
    fputc('/', out);
    for (size_t i = 0; i < n; i++) {
        put_encoded(out, kept[i].at, kept[i].length);
        if (i + 1 < n || path[strlen(path) - 1] == '/')
            fputc('/', out);
    }
    return true;
}

// One parameter decoded and strictly encoded again, as "name=value"; NULL without memory or for a broken
// escape.
static char *canonical_parameter(const char *text, size_t n)
{
    const char *equals = memchr(text, '=', n);
    size_t name_length = equals ? (size_t)(equals - text) : n;
    size_t value_length = equals ? n - name_length - 1 : 0;
    _cleanup_(freep) char *decoded = malloc(n + 1);
    char *made = NULL;
    size_t made_size;
    FILE *out = decoded ? open_memstream(&made, &made_size) : NULL;
    if (!out)
        return NULL;
    bool ok = percent_decode(text, name_length, decoded, n + 1) == 0;
    if (ok)
        put_encoded(out, decoded, strlen(decoded));
    fputc('=', out);
    ok = ok && percent_decode(equals ? equals + 1 : "", value_length, decoded, n + 1) == 0;
    if (ok)
        put_encoded(out, decoded, strlen(decoded));
    if (fclose(out) != 0 || !ok) {
        free(made);
        return NULL;
    }
    return made;
}

// By name, then by value: '=' sorts after what may stand in a name ('-', '.', digits), so lengths must be
// looked at.
static int compare_parameters(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;
    size_t left_name = strcspn(left, "="), right_name = strcspn(right, "=");
    int order = memcmp(left, right, MIN(left_name, right_name));
    if (order != 0)
        return order;
    if (left_name != right_name)
        return left_name < right_name ? -1 : 1;
    return strcmp(left + left_name, right + right_name);
}

static bool put_query(FILE *out, const char *query)
{
    char *parameters[PARAMETERS_MAX] = {0};
    size_t n = 0;
    bool ok = true;
    for (const char *at = query ? query : ""; ok && *at;) {
        size_t length = strcspn(at, "&");
        if (length > 0) {
            char *made = n < PARAMETERS_MAX ? canonical_parameter(at, length) : NULL;
            ok = made != NULL;
            if (ok)
                parameters[n++] = made;
        }
        at += length + (at[length] == '&');
    }
    qsort(parameters, n, sizeof(parameters[0]), compare_parameters);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%s%s", i ? "&" : "", parameters[i]);
        free(parameters[i]);
    }
    return ok;
}

// Without white space at the ends, and with one space for each run of it.
static void put_header_value(FILE *out, const char *value)
{
    bool gap = false, any = false;
    for (; *value; value++) {
        if (isspace((unsigned char)*value)) {
            gap = any;
            continue;
        }
        if (gap)
            fputc(' ', out);
        fputc(*value, out);
        gap = false;
        any = true;
    }
}

// `name:value,value\n`; false when the request has no such header.
static bool put_header(FILE *out, const struct sigv4_request *request, const char *name)
{
    bool found = false;
    fprintf(out, "%s:", name);
    for (size_t i = 0; i < request->n_headers; i++) {
        if (strcasecmp(request->headers[i].name, name) != 0)
            continue;
        if (found)
            fputc(',', out);
        put_header_value(out, request->headers[i].value);
        found = true;
    }
    fputc('\n', out);
    return found;
}

// The headers named in `signed_headers`, which must be there, and among them host and x-amz-date.
static bool put_headers(FILE *out, const struct sigv4_request *request, const char *signed_headers)
{
    bool has_host = false, has_date = false, ok = true;
    unsigned n = 0;
    _cleanup_(freep) char *names = strdup(signed_headers);
    char *rest = names;
    for (char *name; ok && rest && (name = strsep(&rest, ";")) != NULL;) {
        has_host |= strcmp(name, "host") == 0;
        has_date |= strcmp(name, "x-amz-date") == 0;
        ok = ++n <= SIGNED_HEADERS_MAX && put_header(out, request, name);
    }
    return ok && has_host && has_date;
}

// The canonical request in `*ret_text` (the caller frees it), or SIGV4_MISMATCH when none can be made.
static enum sigv4_verdict canonical_request(const struct sigv4_request *request, const char *signed_headers,
                                            char **ret_text, size_t *ret_size)
{
    char body_hash[HEX_SIZE], *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return SIGV4_NO_MEMORY;
    sha256_hex(request->body, request->body_size, body_hash);
    fprintf(out, "%s\n", request->method);
    bool ok = put_path(out, request->path);
    fputc('\n', out);
    ok = ok && put_query(out, request->query);
    fputc('\n', out);
    ok = ok && put_headers(out, request, signed_headers);
    fprintf(out, "\n%s\n%s", signed_headers, body_hash);
    bool whole = fclose(out) == 0;
    if (ok && whole) {
        *ret_text = text;
        *ret_size = size;
        return SIGV4_VALID;
    }
    free(text);
    return whole ? SIGV4_MISMATCH : SIGV4_NO_MEMORY;
}

// --- the signature ---

static bool derive_key(const char *secret, const struct authorization *authorization, uint8_t key[HMAC_SIZE])
{
    char first[256];
    int length = snprintf(first, sizeof(first), "AWS4%s", secret);
    if (length < 0 || (size_t)length >= sizeof(first))
        return false;
    const char *const steps[] = {authorization->region, authorization->service, "aws4_request"};
    hmac_sha256(first, (size_t)length, authorization->date, strlen(authorization->date), key);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        uint8_t next[HMAC_SIZE];
        hmac_sha256(key, HMAC_SIZE, steps[i], strlen(steps[i]), next);
        memcpy(key, next, HMAC_SIZE);
    }
    return true;
}

static enum sigv4_verdict sign(const struct sigv4_request *request, const struct authorization *authorization,
                               const char *time_text, const char *secret, char signature[HEX_SIZE])
{
    char *canonical, request_hash[HEX_SIZE], to_sign[AUTHORIZATION_MAX + 256];
    size_t canonical_size;
    enum sigv4_verdict verdict =
        canonical_request(request, authorization->signed_headers, &canonical, &canonical_size);
    if (verdict != SIGV4_VALID)
        return verdict;
    sha256_hex(canonical, canonical_size, request_hash);
    free(canonical);
    int length = snprintf(to_sign, sizeof(to_sign), ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s", time_text,
                          authorization->date, authorization->region, authorization->service, request_hash);
    uint8_t key[HMAC_SIZE], digest[HMAC_SIZE];
    if (length < 0 || (size_t)length >= sizeof(to_sign) || !derive_key(secret, authorization, key))
        return SIGV4_MISMATCH;
    hmac_sha256(key, sizeof(key), to_sign, (size_t)length, digest);
    hex(digest, sizeof(digest), signature);
    return SIGV4_VALID;
}

enum sigv4_verdict sigv4_verify(const struct sigv4_request *request, const struct credentials *credentials,
                                const char *service, uint64_t now_s)
{
    const char *header = find_header(request, "Authorization"),
               *time_text = find_header(request, "X-Amz-Date");
    struct authorization authorization;
    uint64_t signed_s;
    if (!header)
        return SIGV4_UNSIGNED;
    if (!time_text || !parse_time(time_text, &signed_s) || !split_authorization(header, &authorization))
        return SIGV4_INCOMPLETE;
    const char *secret =
        credentials_secret(credentials, authorization.access_key, strlen(authorization.access_key));
    if (!secret)
        return SIGV4_UNKNOWN_KEY;
    if (strcmp(authorization.service, service) != 0 || strlen(authorization.date) != DATE_LENGTH ||
        strncmp(authorization.date, time_text, DATE_LENGTH) != 0)
        return SIGV4_WRONG_SCOPE;
    if (MAX(now_s, signed_s) - MIN(now_s, signed_s) > SIGV4_SKEW_MAX_S)
        return SIGV4_SKEWED;
    char expected[HEX_SIZE];
    enum sigv4_verdict verdict = sign(request, &authorization, time_text, secret, expected);
    if (verdict != SIGV4_VALID)
        return verdict;
    bool same = strlen(authorization.signature) == HEX_SIZE - 1 &&
                bytes_equal_constant_time(authorization.signature, expected, HEX_SIZE - 1);
    return same ? SIGV4_VALID : SIGV4_MISMATCH;
}
