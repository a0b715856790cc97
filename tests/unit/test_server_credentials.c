// SPDX-License-Identifier: Apache-2.0
// DIR/credentials: made once, kept, refused when it is not what it should be. HMAC against RFC 4231.
#include "fs/base/check.h"
#include "server/credentials.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char directory[64];
static char path[96];

static int setup(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/berth-credentials-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/credentials", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void write_file(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int try_open(void)
{
    struct credentials *credentials = NULL;
    int result = credentials_open(directory, &env_system, &credentials);
    credentials_close(credentials);
    return result;
}

static void test_the_first_start_makes_a_key(void **state)
{
    (void)state;
    struct credentials *credentials;
    assert_int_equal(credentials_open(directory, &env_system, &credentials), 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    char text[512] = "", access_key[64], secret[64];
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    assert_int_equal(sscanf(text, "[default]\naws_access_key_id = %63s\naws_secret_access_key = %63s\n",
                            access_key, secret),
                     2);
    assert_int_equal(strlen(access_key), 20);
    assert_memory_equal(access_key, "AKIA", 4);
    assert_int_equal(strlen(secret), 40);
    assert_string_equal(credentials_secret(credentials, access_key, 20), secret);
    assert_null(credentials_secret(credentials, access_key, 19));
    assert_null(credentials_secret(credentials, "AKIAAAAAAAAAAAAAAAAA", 20));
    credentials_close(credentials);
    assert_int_equal(credentials_open(directory, &env_system, &credentials), 0);
    assert_string_equal(credentials_secret(credentials, access_key, 20), secret);
    credentials_close(credentials);
}

static void test_a_hand_written_file_is_read(void **state)
{
    (void)state;
    struct credentials *credentials;
    write_file("# mine\n[other]\naws_access_key_id=NO\n\n[default]\r\n aws_access_key_id=ME \nregion = x\n"
               "aws_secret_access_key = a=b/c+\n",
               0400);
    assert_int_equal(credentials_open(directory, &env_system, &credentials), 0);
    assert_string_equal(credentials_secret(credentials, "ME", 2), "a=b/c+");
    assert_null(credentials_secret(credentials, "NO", 2));
    credentials_close(credentials);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const char good[] = "[default]\naws_access_key_id=A\naws_secret_access_key=B\n";
    static const char *const bad[] = {
        "",
        "[default]\n",
        "[default]\naws_access_key_id=A\n",
        "aws_access_key_id=A\naws_secret_access_key=B\n",
        "[default]\naws_access_key_id=\naws_secret_access_key=B\n",
        "[default]\naws_access_key_id=A\naws_access_key_id=A\naws_secret_access_key=B\n",
        "[default]\naws_access_key_id=A B\naws_secret_access_key=B\n",
        "[default]\nnonsense\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file(bad[i], 0600);
        assert_int_equal(try_open(), -EINVAL);
    }
    char long_text[8192];
    memset(long_text, '#', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    write_file(long_text, 0600);
    assert_int_equal(try_open(), -EINVAL);
    static const mode_t wide[] = {0640, 0604, 0620, 0601};
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        write_file(good, wide[i]);
        assert_int_equal(try_open(), -EINVAL);
    }
    write_file(good, 0600);
    assert_int_equal(try_open(), 0);
}

static void test_no_symbolic_link_or_directory(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(try_open(), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(try_open(), -EINVAL);
    assert_int_equal(rmdir(path), 0);
}

// RFC 4231, test cases 2 and 6.
static void test_hmac(void **state)
{
    (void)state;
    static const uint8_t expected_2[HMAC_SIZE] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
        0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    static const uint8_t expected_6[HMAC_SIZE] = {
        0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f, 0x0d, 0x8a, 0x26, 0xaa, 0xcb, 0xf5, 0xb7, 0x7f,
        0x8e, 0x0b, 0xc6, 0x21, 0x37, 0x28, 0xc5, 0x14, 0x05, 0x46, 0x04, 0x0f, 0x0e, 0xe3, 0x7f, 0x54};
    uint8_t key[131], out[HMAC_SIZE];
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    assert_memory_equal(out, expected_2, HMAC_SIZE);
    memset(key, 0xaa, sizeof(key));
    hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54, out);
    assert_memory_equal(out, expected_6, HMAC_SIZE);
    assert_true(bytes_equal_constant_time(out, expected_6, HMAC_SIZE));
    assert_false(bytes_equal_constant_time(out, expected_2, HMAC_SIZE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_start_makes_a_key),
        TEST(test_a_hand_written_file_is_read),
        TEST(test_what_is_refused),
        TEST(test_no_symbolic_link_or_directory),
        TEST(test_hmac),
    };
    return cmocka_run_group_tests_name("server_credentials", tests, NULL, NULL);
}
