// SPDX-License-Identifier: Apache-2.0
// The command line of berthd, as it is fixed for users and tests from outside, and addresses as text.
#include "fs/base/check.h"
#include "server/options.h"
#include <argp.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define QUIET (ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_NO_HELP)

static int parse(struct options *options, ...)
{
    char *argv[40] = {"berthd"};
    int argc = 1;
    va_list args;
    va_start(args, options);
    for (char *word; (word = va_arg(args, char *));)
        argv[argc++] = word;
    va_end(args);
    return options_parse(argc, argv, QUIET, options);
}

static void defaults(void **state UNUSED)
{
    struct options options;
    assert_int_equal(parse(&options, NULL), 0);
    assert_string_equal(options.data, "./berth-data");
    assert_int_equal(options.n_listen, 1);
    assert_string_equal(options.listen[0].text, "127.0.0.1:7400");
    assert_string_equal(options.api.text, "127.0.0.1:7401");
    assert_false(options.strict);
    assert_false(options.insecure);
    assert_false(options.log_json);
    assert_int_equal(options.lease_ms, 10000);
    assert_int_equal(options.max_locks, 1000000);
    assert_int_equal(options.log_level, LOG_INFO);
    char reason[OPTIONS_REASON_SIZE];
    assert_int_equal(options_check(&options, reason), 0);
}

static void everything(void **state UNUSED)
{
    struct options options;
    assert_int_equal(parse(&options, "--data", "/d", "--listen", "127.0.0.1:0", "--listen=[::1]:7400",
                           "--api", "127.0.0.2:80", "--durability", "strict", "--insecure", "--lease", "2.5",
                           "--max-locks", "7", "--busy-poll", "30", "--log-level", "debug", "--log-json",
                           NULL),
                     0);
    assert_string_equal(options.data, "/d");
    assert_int_equal(options.n_listen, 2);
    assert_string_equal(options.listen[0].text, "127.0.0.1:0");
    assert_string_equal(options.listen[1].text, "[::1]:7400");
    assert_string_equal(options.api.text, "127.0.0.2:80");
    assert_true(options.strict && options.insecure && options.log_json);
    assert_int_equal(options.lease_ms, 2500);
    assert_int_equal(options.max_locks, 7);
    assert_int_equal(options.busy_poll_us, 30);
    assert_int_equal(options.log_level, LOG_DEBUG);
}

static void usage_errors(void **state UNUSED)
{
    static char *const wrong[][2] = {
        {"--listen", "127.0.0.1"},
        {"--listen", ":7400"},
        {"--listen", "127.0.0.1:"},
        {"--listen", "127.0.0.1:x"},
        {"--listen", "1:65536"},
        {"--listen", "127.0.0.1:-1"},
        {"--listen", "[::1:7400"},
        {"--listen", "::1:7400"},
        {"--listen", "[]:1"},
        {"--listen", "[::1]7400"},
        {"--listen", ""},
        {"--api", "nonsense"},
        {"--durability", "sometimes"},
        {"--lease", "0"},
        {"--lease", "-1"},
        {"--lease", "10s"},
        {"--lease", "3601"},
        {"--lease", "nan"},
        {"--lease", ""},
        {"--max-locks", "0"},
        {"--max-locks", "-1"},
        {"--max-locks", "100000001"},
        {"--max-locks", "1k"},
        {"--busy-poll", "-1"},
        {"--busy-poll", "1001"},
        {"--max-locks", ""},
        {"--log-level", "shouting"},
        {"--data", ""},
        {"--no-such-option", "x"},
        {"word", "word"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct options options;
        if (parse(&options, wrong[i][0], wrong[i][1], NULL) == 0)
            fail_msg("%s %s was accepted", wrong[i][0], wrong[i][1]);
    }
}

static void seventeen_addresses(void **state UNUSED)
{
    char *argv[2 * (OPTIONS_LISTEN_MAX + 1) + 1] = {"berthd"};
    for (size_t i = 0; i <= OPTIONS_LISTEN_MAX; i++) {
        argv[1 + 2 * i] = "--listen";
        argv[2 + 2 * i] = "127.0.0.1:0";
    }
    struct options options;
    assert_int_equal(options_parse(2 * OPTIONS_LISTEN_MAX + 1, argv, QUIET, &options), 0);
    assert_int_equal(options.n_listen, OPTIONS_LISTEN_MAX);
    assert_int_not_equal(options_parse(2 * OPTIONS_LISTEN_MAX + 3, argv, QUIET, &options), 0);
}

static void what_cannot_be_done_is_said(void **state UNUSED)
{
    static const struct {
        char *words[4];
        const char *named; // NULL: allowed
    } table[] = {
        {{"--listen", "0.0.0.0:1"}, "0.0.0.0:1"},
        {{"--listen", "[::]:1"}, "[::]:1"},
        {{"--listen", "192.0.2.1:1"}, "192.0.2.1:1"},
        {{"--api", "0.0.0.0:1"}, "0.0.0.0:1"},
        {{"--api", "0.0.0.0:1", "--insecure"}, NULL},
        {{"--listen", "127.255.0.1:1"}, NULL},
        {{"--listen", "[::1]:1"}, NULL},
        {{"--tls-cert", "x", "--insecure"}, "TLS is not built yet"},
        {{"--tls-key", "x"}, "TLS is not built yet"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char *const *words = table[i].words;
        struct options options;
        char reason[OPTIONS_REASON_SIZE] = "";
        assert_int_equal(parse(&options, words[0], words[1], words[2], words[3], NULL), 0);
        assert_int_equal(options_check(&options, reason), table[i].named ? -EINVAL : 0);
        if (table[i].named)
            assert_non_null(strstr(reason, table[i].named));
    }
}

static void fsck_has_words_of_its_own(void **state UNUSED)
{
    struct options options;
    assert_int_equal(parse(&options, "fsck", "fs-1", "--repair", "fs-2", NULL), 0);
    assert_true(options.fsck && options.repair && !options.json);
    assert_int_equal(options.n_fs_ids, 2);
    assert_string_equal(options.fs_ids[0], "fs-1");
    assert_string_equal(options.fs_ids[1], "fs-2");
    assert_int_equal(parse(&options, "fsck", "--json", NULL), 0);
    assert_int_equal(options.n_fs_ids, 0);
    assert_true(options.json);
    assert_int_not_equal(parse(&options, "--repair", NULL), 0);
    assert_int_not_equal(parse(&options, "fs-1", "fsck", NULL), 0);
}

static void port_zero_becomes_a_real_port(void **state UNUSED)
{
    struct address address, bound;
    int fd;
    assert_int_equal(address_parse("127.0.0.1:0", &address), 0);
    assert_int_equal(listen_tcp(&address, &fd), 0);
    assert_int_equal(address_of_socket(fd, &bound), 0);
    assert_string_not_equal(bound.text, "127.0.0.1:0");
    int other;
    assert_int_equal(listen_tcp(&bound, &other), -EADDRINUSE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything),
        cmocka_unit_test(usage_errors),
        cmocka_unit_test(seventeen_addresses),
        cmocka_unit_test(what_cannot_be_done_is_said),
        cmocka_unit_test(fsck_has_words_of_its_own),
        cmocka_unit_test(port_zero_becomes_a_real_port),
    };
    return cmocka_run_group_tests_name("server_options", tests, NULL, NULL);
}
