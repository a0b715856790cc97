// SPDX-License-Identifier: Apache-2.0
// The log: what a line looks like in both forms, and that no value can break or forge one. Standard error is
// a pipe here.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static int saved_stderr, pipe_out;
static char line[65536];

static int capture(void **state UNUSED)
{
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
        return -1;
    fcntl(ends[1], F_SETPIPE_SZ, 65536);
    saved_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    pipe_out = ends[0];
    log_setup("test", LOG_INFO, false);
    return 0;
}

static int release(void **state UNUSED)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(pipe_out);
    return 0;
}

// What was logged since the last call.
static const char *logged(void)
{
    ssize_t n = read(pipe_out, line, sizeof(line) - 1);
    line[n < 0 ? 0 : n] = '\0';
    return line;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int r = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    if (r != 0)
        print_message("got: %s\nwanted: %s\n", text, pattern);
    assert_int_equal(r, 0);
}

// The line behind its time and level.
static const char *fields(void)
{
    const char *at = strstr(logged(), " INFO ");
    assert_non_null(at);
    return at + strlen(" INFO ");
}

static void plain_line(void **state UNUSED)
{
    log_warn("attach", "fs=%s n=%d", "fs-1", 3);
    assert_matches(logged(), "^" TIME " WARN attach fs=fs-1 n=3\n$");
}

static void json_line(void **state UNUSED)
{
    log_setup("test", LOG_INFO, true);
    log_error("attach", "fs=%s n=%d", "fs-1", 3);
    assert_matches(logged(), "^\\{\"time\":\"" TIME "\",\"level\":\"error\",\"program\":\"test\","
                             "\"event\":\"attach\",\"fs\":\"fs-1\",\"n\":\"3\"\\}\n$");
}

static void levels(void **state UNUSED)
{
    log_debug("quiet", "n=%d", 1);
    assert_string_equal(logged(), "");
    log_setup("test", LOG_ERROR, false);
    log_warn("quiet", "n=%d", 1);
    assert_string_equal(logged(), "");
    assert_false(log_enabled(LOG_WARN));
    assert_true(log_enabled(LOG_ERROR));

    const char *const words[] = {"debug", "info", "warn", "error"};
    enum log_level level = LOG_DEBUG;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(log_level_parse(words[i], &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("verbose", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(level, LOG_ERROR);
}

static void values_with_spaces_stay_one_field(void **state UNUSED)
{
    log_info("stop", "reason=%s n=%d", "No such file or directory", 2);
    assert_string_equal(fields(), "stop reason=\"No such file or directory\" n=2\n");
    log_info("stop", "reason=%s n=%d last=%s", "", 2, "");
    assert_string_equal(fields(), "stop reason=\"\" n=2 last=\"\"\n");
    log_info("stop", "just words %d", 2);
    assert_string_equal(fields(), "stop text=\"just words 2\"\n");
}

static void values_cannot_break_the_line(void **state UNUSED)
{
    log_info("x", "a=%s", "one\ntwo\"\\\xff");
    assert_string_equal(fields(), "x a=\"one\\x0atwo\\x22\\x5c\\xff\"\n");
    log_setup("test", LOG_INFO, true);
    log_info("x", "a=%s", "one\ntwo\"\\\xff");
    assert_non_null(strstr(logged(), "\"a\":\"one\\\\x0atwo\\\\x22\\\\x5c\\\\xff\"}\n"));
}

static void quoted_words_cannot_forge_fields(void **state UNUSED)
{
    char word[64];
    const char hostile[] = "x\" uid=0 n=7 \n";
    log_text(word, sizeof(word), hostile, sizeof(hostile) - 1);
    assert_string_equal(word, "\"x\\x22 uid=0 n=7 \\x0a\"");
    log_info("open", "name=%s n=%d", word, 1);
    assert_string_equal(fields(), "open name=\"x\\x22 uid=0 n=7 \\x0a\" n=1\n");
    log_setup("test", LOG_INFO, true);
    log_info("open", "name=%s n=%d", word, 1);
    assert_non_null(strstr(logged(), ",\"name\":\"x\\\\x22 uid=0 n=7 \\\\x0a\",\"n\":\"1\"}\n"));
}

static void words_are_cut_to_fit(void **state UNUSED)
{
    char word[16];
    assert_string_equal(log_text(word, 9, "abcde", 5), "\"abcde\"");
    assert_string_equal(log_text(word, 9, "abcdef", 6), "\"abcdef\"");
    assert_string_equal(log_text(word, 9, "abcdefg", 7), "\"abc...\"");
    assert_string_equal(log_text(word, 9, "ab\n", 3), "\"ab\\x0a\"");
    assert_string_equal(log_text(word, 9, "abc\n", 4), "\"abc...\"");
    assert_string_equal(log_text(word, 9, "a\nb\n", 4), "\"a...\"");
    assert_string_equal(log_text(word, 6, "abcd", 4), "\"...\"");
    assert_string_equal(log_text(word, sizeof(word), "", 0), "\"\"");
    memset(word, 'z', sizeof(word));
    log_text(word, 10, "abcdefghijkl", 12);
    assert_int_equal(word[10], 'z');
    assert_int_equal(strlen(word), 9);
}

static void long_values_are_cut_and_say_so(void **state UNUSED)
{
    for (int json = 0; json <= 1; json++) {
        log_setup("test", LOG_INFO, json);
        static char value[20001];
        memset(value, '\n', sizeof(value) - 1);
        log_info("x", "a=%s b=%d", value, 5);
        const char *text = logged();
        assert_int_equal(strlen(text) - 1, strchr(text, '\n') - text);
        assert_non_null(strstr(text, json ? "\",\"cut\":\"yes\"}\n" : "\" cut=yes\n"));
    }
}

static void many_fields_fit(void **state UNUSED)
{
    log_setup("test", LOG_INFO, true);
    char format[4001] = "";
    for (size_t i = 0; i < 1000; i++)
        memcpy(format + 4 * i, "k=\n ", 4);
    format[4000] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
    log_info("x", format);
#pragma GCC diagnostic pop
    size_t n = 0;
    for (const char *at = logged(); (at = strstr(at, "\"k\":\"\\\\x0a")); at++)
        n++;
    assert_int_equal(n, 1000);
}

static void lost_lines_are_counted(void **state UNUSED)
{
    static char filler[4096];
    fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK);
    while (write(STDERR_FILENO, filler, sizeof(filler)) > 0)
        continue;
    errno = E2BIG;
    log_info("lost", "n=%d", 1);
    log_info("lost", "n=%d", 2);
    assert_int_equal(errno, E2BIG);
    while (read(pipe_out, line, sizeof(line)) > 0)
        continue;
    log_info("kept", "n=%d", 3);
    assert_string_equal(fields(), "kept n=3 lines_dropped=2\n");
    log_info("kept", "n=%d", 4);
    assert_string_equal(fields(), "kept n=4\n");
}

#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, capture, release)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(plain_line),
        LOG_TEST(json_line),
        LOG_TEST(levels),
        LOG_TEST(values_with_spaces_stay_one_field),
        LOG_TEST(values_cannot_break_the_line),
        LOG_TEST(quoted_words_cannot_forge_fields),
        LOG_TEST(words_are_cut_to_fit),
        LOG_TEST(long_values_are_cut_and_say_so),
        LOG_TEST(many_fields_fit),
        LOG_TEST(lost_lines_are_counted),
    };
    return cmocka_run_group_tests_name("base_log", tests, NULL, NULL);
}
