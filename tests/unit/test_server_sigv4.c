// SPDX-License-Identifier: Apache-2.0
// SigV4 checking against the signatures of AWS's published test suite (aws-sig-v4-test-suite: key
// AKIDEXAMPLE, region us-east-1, service "service", 2015-08-30 12:36:00), then with everything that a forger
// would change changed.
#include "fs/base/check.h"
#include "server/sigv4.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SIGNED_AT 1440938160u // 2015-08-30T12:36:00Z
#define HOST                            \
    {                                   \
        "Host", "example.amazonaws.com" \
    }
#define DATE                             \
    {                                    \
        "X-Amz-Date", "20150830T123600Z" \
    }
#define TOKEN                                                                                        \
    "AQoDYXdzEPT//////////"                                                                          \
    "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuw"     \
    "thAx7mSEI/qkPpKPi/"                                                                             \
    "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNV" \
    "XAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"                                                 \
    "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA"                              \
    "=="
#define UNRESERVED "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define EMPTY_GET  "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define EMPTY_POST "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
#define FORM_HASH  "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"

struct vector {
    const char *name, *method, *path, *query;
    struct sigv4_header headers[7];
    const char *signed_headers, *signature, *body;
};

static const struct vector vectors[] = {
    {"header-key-duplicate",
     "GET",
     "/",
     NULL,
     {HOST, {"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}, DATE},
     "host;my-header1;x-amz-date",
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
     ""},
    {"header-value-multiline",
     "GET",
     "/",
     NULL,
     {HOST, {"My-Header1", "value1\n  value2\n     value3"}, DATE},
     "host;my-header1;x-amz-date",
     "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd",
     ""},
    {"header-value-order",
     "GET",
     "/",
     NULL,
     {HOST,
      {"My-Header1", "value4"},
      {"My-Header1", "value1"},
      {"My-Header1", "value3"},
      {"My-Header1", "value2"},
      DATE},
     "host;my-header1;x-amz-date",
     "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
     ""},
    {"header-value-trim",
     "GET",
     "/",
     NULL,
     {HOST, {"My-Header1", " value1"}, {"My-Header2", " \"a   b   c\""}, DATE},
     "host;my-header1;my-header2;x-amz-date",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
     ""},
    {"relative", "GET", "/example/..", NULL, {HOST, DATE}, "host;x-amz-date", EMPTY_GET, ""},
    {"relative-relative",
     "GET",
     "/example1/example2/../..",
     NULL,
     {HOST, DATE},
     "host;x-amz-date",
     EMPTY_GET,
     ""},
    {"slash-dot-slash", "GET", "/./", NULL, {HOST, DATE}, "host;x-amz-date", EMPTY_GET, ""},
    {"slash", "GET", "//", NULL, {HOST, DATE}, "host;x-amz-date", EMPTY_GET, ""},
    {"slash-pointless-dot",
     "GET",
     "/./example",
     NULL,
     {HOST, DATE},
     "host;x-amz-date",
     "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
     ""},
    {"slashes",
     "GET",
     "//example//",
     NULL,
     {HOST, DATE},
     "host;x-amz-date",
     "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
     ""},
    {"space",
     "GET",
     "/example space/",
     NULL,
     {HOST, DATE},
     "host;x-amz-date",
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
     ""},
    {"unreserved",
     "GET",
     "/" UNRESERVED,
     NULL,
     {HOST, DATE},
     "host;x-amz-date",
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
     ""},
    {"utf8",
     "GET",
     "/\xe1\x88\xb4",
     NULL,
     {HOST, DATE},
     "host;x-amz-date",
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
     ""},
    {"vanilla", "GET", "/", NULL, {HOST, DATE}, "host;x-amz-date", EMPTY_GET, ""},
    {"vanilla-query", "GET", "/", "", {HOST, DATE}, "host;x-amz-date", EMPTY_GET, ""},
    {"empty-query-key",
     "GET",
     "/",
     "Param1=value1",
     {HOST, DATE},
     "host;x-amz-date",
     "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
     ""},
    {"query-order-encoded",
     "GET",
     "/",
     "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
     {HOST, DATE},
     "host;x-amz-date",
     "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
     ""},
    {"query-order-key-case",
     "GET",
     "/",
     "Param2=value2&Param1=value1",
     {HOST, DATE},
     "host;x-amz-date",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
     ""},
    {"query-unreserved",
     "GET",
     "/",
     UNRESERVED "=" UNRESERVED,
     {HOST, DATE},
     "host;x-amz-date",
     "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
     ""},
    {"utf8-query",
     "GET",
     "/",
     "\xe1\x88\xb4=bar",
     {HOST, DATE},
     "host;x-amz-date",
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
     ""},
    {"session-token",
     "GET",
     "/",
     NULL,
     {HOST,
      {"X-Amz-Security-Token", "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"},
      DATE},
     "host;x-amz-date;x-amz-security-token",
     "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
     ""},
    {"post-header-key-sort",
     "POST",
     "/",
     NULL,
     {HOST, {"My-Header1", "value1"}, DATE},
     "host;my-header1;x-amz-date",
     "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
     ""},
    {"post-header-value-case",
     "POST",
     "/",
     NULL,
     {HOST, {"My-Header1", "VALUE1"}, DATE},
     "host;my-header1;x-amz-date",
     "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
     ""},
    {"post-sts-header-after",
     "POST",
     "/",
     NULL,
     {HOST, {"X-Amz-Security-Token", TOKEN}, DATE},
     "host;x-amz-date",
     EMPTY_POST,
     ""},
    {"post-sts-header-before",
     "POST",
     "/",
     NULL,
     {HOST, {"X-Amz-Security-Token", TOKEN}, DATE},
     "host;x-amz-date;x-amz-security-token",
     "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
     ""},
    {"post-vanilla", "POST", "/", NULL, {HOST, DATE}, "host;x-amz-date", EMPTY_POST, ""},
    {"post-vanilla-query",
     "POST",
     "/",
     "Param1=value1",
     {HOST, DATE},
     "host;x-amz-date",
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
     ""},
    {"post-form",
     "POST",
     "/",
     NULL,
     {{"Content-Type", "application/x-www-form-urlencoded"},
      HOST,
      {"Content-Length", "13"},
      DATE,
      {"x-amz-content-sha256", FORM_HASH}},
     "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
     "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
     "Param1=value1"},
    {"post-form-parameters",
     "POST",
     "/",
     NULL,
     {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
      HOST,
      {"Content-Length", "13"},
      DATE,
      {"x-amz-content-sha256", FORM_HASH}},
     "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
     "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
     "Param1=value1"},
};

static struct credentials *credentials;

static int open_example_key(void **state)
{
    (void)state;
    static const char text[] = "[default]\naws_access_key_id = AKIDEXAMPLE\n"
                               "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n";
    char directory[] = "/tmp/berth-sigv4-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/credentials", directory);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    int result = credentials_open(directory, &env_system, &credentials);
    unlink(path);
    rmdir(directory);
    return result;
}

static int close_key(void **state)
{
    (void)state;
    credentials_close(credentials);
    return 0;
}

struct signed_request {
    char authorization[512];
    struct sigv4_header headers[8];
    struct sigv4_request request;
};

static void build(const struct vector *vector, struct signed_request *out)
{
    snprintf(
        out->authorization, sizeof(out->authorization),
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=%s, "
        "Signature=%s",
        vector->signed_headers, vector->signature);
    size_t n = 0;
    for (; n < ARRAY_LEN(vector->headers) && vector->headers[n].name; n++)
        out->headers[n] = vector->headers[n];
    out->headers[n++] = (struct sigv4_header){"Authorization", out->authorization};
    out->request = (struct sigv4_request){.method = vector->method,
                                          .path = vector->path,
                                          .query = vector->query,
                                          .headers = out->headers,
                                          .n_headers = n,
                                          .body = vector->body,
                                          .body_size = strlen(vector->body)};
}

static enum sigv4_verdict verify(const struct sigv4_request *request)
{
    return sigv4_verify(request, credentials, "service", SIGNED_AT);
}

static void test_the_published_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct signed_request s;
        build(&vectors[i], &s);
        if (verify(&s.request) != SIGV4_VALID)
            fail_msg("%s", vectors[i].name);
    }
}

static const struct vector *named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        if (strcmp(vectors[i].name, name) == 0)
            return &vectors[i];
    }
    fail_msg("no vector %s", name);
    return NULL;
}

static void test_any_change_breaks_the_signature(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct signed_request s;
        build(&vectors[i], &s);
        s.request.method = "PUT";
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
        build(&vectors[i], &s);
        s.request.path = "/other";
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
        build(&vectors[i], &s);
        s.request.query = "Param1=value2";
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
        build(&vectors[i], &s);
        s.request.body = "forged";
        s.request.body_size = 6;
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
        build(&vectors[i], &s);
        char *last = s.authorization + strlen(s.authorization) - 1;
        *last = *last == '0' ? '1' : '0';
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
        *last = '\0';
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
    }
}

static void test_a_signed_header_that_is_gone_or_changed(void **state)
{
    (void)state;
    struct signed_request s;
    build(named("post-header-value-case"), &s);
    s.headers[1].value = "value1";
    assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
    s.headers[1].name = "Other";
    assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
}

static void test_clock_skew(void **state)
{
    (void)state;
    struct signed_request s;
    build(named("vanilla"), &s);
    assert_int_equal(sigv4_verify(&s.request, credentials, "service", SIGNED_AT + 900), SIGV4_VALID);
    assert_int_equal(sigv4_verify(&s.request, credentials, "service", SIGNED_AT - 900), SIGV4_VALID);
    assert_int_equal(sigv4_verify(&s.request, credentials, "service", SIGNED_AT + 901), SIGV4_SKEWED);
    assert_int_equal(sigv4_verify(&s.request, credentials, "service", SIGNED_AT - 901), SIGV4_SKEWED);
}

static void test_scope(void **state)
{
    (void)state;
    struct signed_request s;
    build(named("vanilla"), &s);
    assert_int_equal(sigv4_verify(&s.request, credentials, "elasticfilesystem", SIGNED_AT),
                     SIGV4_WRONG_SCOPE);
    memcpy(strstr(s.authorization, "20150830"), "20150831", 8);
    assert_int_equal(verify(&s.request), SIGV4_WRONG_SCOPE);
}

static void test_unsigned_and_unknown(void **state)
{
    (void)state;
    struct signed_request s;
    build(named("vanilla"), &s);
    memcpy(strstr(s.authorization, "AKIDEXAMPLE"), "AKIDEXAMPLF", 11);
    assert_int_equal(verify(&s.request), SIGV4_UNKNOWN_KEY);
    s.request.n_headers--;
    assert_int_equal(verify(&s.request), SIGV4_UNSIGNED);
}

#define CREDENTIAL "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"

static void test_broken_authorization_headers(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "",
        "Basic QTpC",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 ,,,",
        "AWS4-HMAC-SHA256 " CREDENTIAL,
        "AWS4-HMAC-SHA256 " CREDENTIAL ", SignedHeaders=host;x-amz-date",
        "AWS4-HMAC-SHA256 " CREDENTIAL ", Signature=" EMPTY_GET,
        "AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Signature=" EMPTY_GET,
        "AWS4-HMAC-SHA256 " CREDENTIAL ", " CREDENTIAL
        ", SignedHeaders=host;x-amz-date, Signature=" EMPTY_GET,
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE, SignedHeaders=host;x-amz-date, Signature=" EMPTY_GET,
        "AWS4-HMAC-SHA256 " CREDENTIAL "/x, SignedHeaders=host;x-amz-date, Signature=" EMPTY_GET,
        "AWS4-HMAC-SHA1 " CREDENTIAL ", SignedHeaders=host;x-amz-date, Signature=" EMPTY_GET,
    };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct signed_request s;
        build(named("vanilla"), &s);
        s.headers[2].value = broken[i];
        if (verify(&s.request) != SIGV4_INCOMPLETE)
            fail_msg("%s", broken[i]);
    }
    static const char *const dates[] = {
        "", "20150830", "20150830T123600", "20150830 123600Z", "2015083aT123600Z", "20150830T123600Z0"};
    for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
        struct signed_request s;
        build(named("vanilla"), &s);
        s.headers[1].value = dates[i];
        assert_int_equal(verify(&s.request), SIGV4_INCOMPLETE);
    }
    char long_header[8192];
    struct signed_request s;
    build(named("vanilla"), &s);
    snprintf(long_header, sizeof(long_header), "AWS4-HMAC-SHA256 %08000d", 0);
    s.headers[2].value = long_header;
    assert_int_equal(verify(&s.request), SIGV4_INCOMPLETE);
}

// A signature over neither host nor date could be replayed elsewhere and for ever; too much of anything is
// refused.
static void test_bounds_and_what_must_be_signed(void **state)
{
    (void)state;
    static const char *const too_few[] = {"", "host", "x-amz-date", ";", "host;x-amz-date;missing"};
    struct signed_request s;
    for (size_t i = 0; i < ARRAY_LEN(too_few); i++) {
        struct vector vector = *named("vanilla");
        vector.signed_headers = too_few[i];
        build(&vector, &s);
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
    }
    char query[2048] = "", path[256] = "";
    for (unsigned i = 0; i < 300; i++)
        strcat(query, "a=b&");
    for (unsigned i = 0; i < 100; i++)
        strcat(path, "/a");
    build(named("vanilla"), &s);
    s.request.query = query;
    assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
    build(named("vanilla"), &s);
    s.request.path = path;
    assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
    static const char *const broken_queries[] = {"%", "%4", "%zz=1", "a=%00", "a=%4"};
    for (size_t i = 0; i < ARRAY_LEN(broken_queries); i++) {
        s.request.path = "/";
        s.request.query = broken_queries[i];
        assert_int_equal(verify(&s.request), SIGV4_MISMATCH);
    }
}

static void test_percent_decoding(void **state)
{
    (void)state;
    char out[8];
    assert_int_equal(percent_decode("a%2Fb%3a+", 9, out, sizeof(out)), 0);
    assert_string_equal(out, "a/b:+");
    assert_int_equal(percent_decode("1234567", 7, out, sizeof(out)), 0);
    assert_int_equal(percent_decode("12345678", 8, out, sizeof(out)), -ENAMETOOLONG);
    assert_int_equal(percent_decode("%2Fxx", 2, out, sizeof(out)), -EINVAL);
    assert_int_equal(percent_decode("%00", 3, out, sizeof(out)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_published_vectors),
        cmocka_unit_test(test_any_change_breaks_the_signature),
        cmocka_unit_test(test_a_signed_header_that_is_gone_or_changed),
        cmocka_unit_test(test_clock_skew),
        cmocka_unit_test(test_scope),
        cmocka_unit_test(test_unsigned_and_unknown),
        cmocka_unit_test(test_broken_authorization_headers),
        cmocka_unit_test(test_bounds_and_what_must_be_signed),
        cmocka_unit_test(test_percent_decoding),
    };
    return cmocka_run_group_tests_name("server_sigv4", tests, open_example_key, close_key);
}
