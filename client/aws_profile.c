// SPDX-License-Identifier: Apache-2.0
// Access keys as botocore finds them. Invariant: key and secret come from one place, never half and half, and
// are untouched on failure.
#include "client/aws_profile.h"
#include "fs/base/check.h"
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define FILE_SIZE_MAX (1024 * 1024) // bytes; a longer credentials file is not one

struct pair {
    char key[AWS_PROFILE_VALUE_SIZE];
    char secret[AWS_PROFILE_VALUE_SIZE];
};

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int set(char field[AWS_PROFILE_VALUE_SIZE], const char *value)
{
    size_t length = strlen(value);
    if (length == 0 || length >= AWS_PROFILE_VALUE_SIZE)
        return -EINVAL;
    memcpy(field, value, length + 1);
    return 0;
}

static int load_environment(struct pair *pair)
{
    const char *key = from_environment("AWS_ACCESS_KEY_ID"),
               *secret = from_environment("AWS_SECRET_ACCESS_KEY");
    if (!key && !secret)
        return -ENOENT;
    if (!key || !secret)
        return -EINVAL;
    int result = set(pair->key, key);
    return result < 0 ? result : set(pair->secret, secret);
}

// Cuts white space from both ends in place.
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    return text;
}

static bool is_section(char *line, const char *profile)
{
    size_t n = strlen(line);
    if (line[n - 1] != ']')
        return false;
    line[n - 1] = '\0';
    return strcmp(trim(line + 1), profile) == 0;
}

static int take_setting(char *line, struct pair *pair)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return 0;
    *equals = '\0';
    const char *name = trim(line), *value = trim(equals + 1);
    if (strcmp(name, "aws_access_key_id") == 0)
        return set(pair->key, value);
    if (strcmp(name, "aws_secret_access_key") == 0)
        return set(pair->secret, value);
    return 0;
}

static int parse(char *text, const char *profile, struct pair *pair)
{
    bool inside = false, found = false;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        line = trim(line);
        if (*line == '\0' || *line == '#' || *line == ';')
            continue;
        if (*line == '[') {
            inside = is_section(line, profile);
            found |= inside;
        } else if (inside && take_setting(line, pair) < 0) {
            return -EINVAL;
        }
    }
    if (!found || (!pair->key[0] && !pair->secret[0]))
        return -ENOENT;
    return pair->key[0] && pair->secret[0] ? 0 : -EINVAL;
}

static int open_file(FILE **ret_file)
{
    const char *path = from_environment("AWS_SHARED_CREDENTIALS_FILE"), *home = from_environment("HOME");
    _cleanup_(freep) char *in_home = NULL;
    if (!path && (!home || asprintf(&in_home, "%s/.aws/credentials", home) < 0)) {
        in_home = NULL;
        return -ENOENT;
    }
    FILE *file = fopen(path ? path : in_home, "re");
    if (!file)
        return -errno;
    *ret_file = file;
    return 0;
}

static int load_file(const char *profile, struct pair *pair)
{
    FILE *file = NULL;
    int result = open_file(&file);
    if (result < 0)
        return result;
    char *text = malloc(FILE_SIZE_MAX + 1);
    size_t n = text ? fread(text, 1, FILE_SIZE_MAX + 1, file) : 0;
    if (!text || ferror(file)) {
        result = text ? -EIO : -ENOMEM;
    } else if (n > FILE_SIZE_MAX || memchr(text, '\0', n)) {
        result = -EINVAL;
    } else {
        text[n] = '\0';
        result = parse(text, profile, pair);
        explicit_bzero(text, n);
    }
    fclose(file);
    free(text);
    return result;
}

int aws_profile_load(const char *profile, char key[AWS_PROFILE_VALUE_SIZE],
                     char secret[AWS_PROFILE_VALUE_SIZE])
{
    struct pair pair = {0};
    int result = profile ? -ENOENT : load_environment(&pair);
    if (result == -ENOENT) {
        const char *named = profile ? profile : from_environment("AWS_PROFILE");
        result = load_file(named ? named : "default", &pair);
    }
    if (result < 0)
        return result;
    memcpy(key, pair.key, sizeof(pair.key));
    memcpy(secret, pair.secret, sizeof(pair.secret));
    return 0;
}
