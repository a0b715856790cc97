// SPDX-License-Identifier: Apache-2.0
// DIR/credentials. Invariant: the file is either absent or whole (written beside, synced, renamed), and a
// file that others may read or that does not parse is refused, never replaced: it may be the only copy of a
// key in use.
#include "server/credentials.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX   4096u // a root key and its comments; longer is not ours
#define ACCESS_KEY_SIZE 20u   // AKIA and 16 of A-Z2-7, as AWS's
#define SECRET_SIZE     40u
#define VALUE_MAX       128u // as long as the CLI's own keys may be

struct credentials {
    char access_key[VALUE_MAX + 1];
    char secret[VALUE_MAX + 1];
};

void hmac_sha256(const void *key, size_t key_length, const void *bytes, size_t n, uint8_t out[HMAC_SIZE])
{
    unsigned length = HMAC_SIZE;
    unsigned char *made = HMAC(EVP_sha256(), key, (int)key_length, bytes, n, out, &length);
    fs_assert(made && length == HMAC_SIZE);
}

bool bytes_equal_constant_time(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

// --- making ---

// n letters of alphabet, which has a power of two of them, at most 64: no bias.
static void draw_letters(const struct env *env, const char *alphabet, char *out, size_t n)
{
    size_t n_letters = strlen(alphabet);
    fs_assert(n_letters <= 64 && (n_letters & (n_letters - 1)) == 0);
    env_random(env, out, n);
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[(unsigned char)out[i] & (n_letters - 1)];
    out[n] = '\0';
}

static void draw_key(const struct env *env, struct credentials *credentials)
{
    memcpy(credentials->access_key, "AKIA", 4);
    draw_letters(env, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", credentials->access_key + 4, ACCESS_KEY_SIZE - 4);
    draw_letters(env, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", credentials->secret,
                 SECRET_SIZE);
}

static int write_synced(int fd, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            length -= (size_t)n;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int write_file(int directory_fd, const struct credentials *credentials)
{
    char text[512];
    snprintf(text, sizeof(text), "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
             credentials->access_key, credentials->secret);
    if (unlinkat(directory_fd, "credentials.new", 0) < 0 && errno != ENOENT)
        return -errno;
    _cleanup_(closep) int fd =
        openat(directory_fd, "credentials.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = write_synced(fd, text);
    OPENSSL_cleanse(text, sizeof(text));
    if (result == 0 && renameat(directory_fd, "credentials.new", directory_fd, "credentials") < 0)
        result = -errno;
    if (result == 0 && fsync(directory_fd) < 0)
        result = -errno;
    return result;
}

// --- reading ---

// Cuts white space from both ends of the line in place.
static char *trim(char *line)
{
    while (isspace((unsigned char)*line))
        line++;
    size_t n = strlen(line);
    while (n > 0 && isspace((unsigned char)line[n - 1]))
        n--;
    line[n] = '\0';
    return line;
}

static bool is_key_text(const char *value)
{
    size_t n = strlen(value);
    for (size_t i = 0; i < n; i++) {
        if (!isgraph((unsigned char)value[i]))
            return false;
    }
    return n > 0 && n <= VALUE_MAX;
}

// One `name = value` of the [default] section; what we do not know is left alone, as AWS tools do.
static int parse_setting(char *line, struct credentials *credentials)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return -EINVAL;
    *equals = '\0';
    const char *name = trim(line), *value = trim(equals + 1);
    char *field = strcmp(name, "aws_access_key_id") == 0       ? credentials->access_key
                  : strcmp(name, "aws_secret_access_key") == 0 ? credentials->secret
                                                               : NULL;
    if (!field)
        return 0;
    if (field[0] || !is_key_text(value))
        return -EINVAL;
    memcpy(field, value, strlen(value) + 1);
    return 0;
}

static int parse(char *text, struct credentials *credentials)
{
    bool in_default = false;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        line = trim(line);
        if (*line == '\0' || *line == '#' || *line == ';')
            continue;
        if (*line == '[')
            in_default = strcmp(line, "[default]") == 0;
        else if (in_default && parse_setting(line, credentials) < 0)
            return -EINVAL;
    }
    return credentials->access_key[0] && credentials->secret[0] ? 0 : -EINVAL;
}

static int refuse(const char *directory, const char *reason)
{
    char path[300];
    log_error("credentials_refused", "directory=%s file=credentials reason=%s",
              log_text(path, sizeof(path), directory, strlen(directory)), reason);
    return -EINVAL;
}

static int read_file(int fd, const char *directory, struct credentials *credentials)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return refuse(directory, "\"it is not a regular file\"");
    if ((status.st_mode & 077) != 0)
        return refuse(directory, "\"others may read or write it; chmod 600 it\"");
    char text[FILE_SIZE_MAX + 1];
    ssize_t n = read(fd, text, sizeof(text));
    if (n < 0)
        return -errno;
    if ((size_t)n > FILE_SIZE_MAX || memchr(text, '\0', (size_t)n))
        return refuse(directory, "\"it is no credentials file\"");
    text[n] = '\0';
    int result = parse(text, credentials);
    OPENSSL_cleanse(text, sizeof(text));
    if (result < 0)
        return refuse(directory, "\"it needs [default] with aws_access_key_id and aws_secret_access_key\"");
    return 0;
}

static int read_or_make(const char *directory, const struct env *env, struct credentials *credentials)
{
    _cleanup_(closep) int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        return -errno;
    _cleanup_(closep) int fd =
        openat(directory_fd, "credentials", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0)
        return read_file(fd, directory, credentials);
    if (errno == ELOOP)
        return refuse(directory, "\"it is a symbolic link\"");
    if (errno != ENOENT)
        return -errno;
    draw_key(env, credentials);
    return write_file(directory_fd, credentials);
}

int credentials_open(const char *directory, const struct env *env, struct credentials **ret_credentials)
{
    struct credentials *credentials = calloc(1, sizeof(*credentials));
    if (!credentials)
        return -ENOMEM;
    int result = read_or_make(directory, env, credentials);
    if (result < 0) {
        credentials_close(credentials);
        return result;
    }
    *ret_credentials = credentials;
    return 0;
}

void credentials_close(struct credentials *credentials)
{
    if (!credentials)
        return;
    OPENSSL_cleanse(credentials, sizeof(*credentials));
    free(credentials);
}

const char *credentials_secret(const struct credentials *credentials, const char *access_key, size_t length)
{
    if (strlen(credentials->access_key) != length || memcmp(credentials->access_key, access_key, length) != 0)
        return NULL;
    return credentials->secret;
}
