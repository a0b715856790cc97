// SPDX-License-Identifier: Apache-2.0
// See address.h. Pure.
#include "client/address.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_PREFIX "fsap-"
#define ID_DIGITS 17

static bool is_access_point(const char *text, size_t n)
{
    const size_t prefix = strlen(ID_PREFIX);
    return n == prefix + ID_DIGITS && memcmp(text, ID_PREFIX, prefix) == 0 &&
           strspn(text + prefix, "0123456789abcdef") >= ID_DIGITS;
}

static int parse_unix(const char *path, struct server_address *address, const char **ret_why)
{
    if (path[0] != '/' || strlen(path) >= sizeof(address->path)) {
        *ret_why = "a unix socket's path must be absolute and shorter than 108 bytes";
        return -EINVAL;
    }
    address->is_unix = true;
    strcpy(address->path, path);
    return 0;
}

static int parse_tcp(const char *text, struct server_address *address, const char **ret_why)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    } else if (memchr(text, ':', n)) {
        n = 0; // an IPv6 address without brackets
    }
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (n == 0 || n >= sizeof(address->host) || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        port < 1 || port > 65535) {
        *ret_why = "a server is HOST:PORT, [IPV6]:PORT or unix:/PATH";
        return -EINVAL;
    }
    memcpy(address->host, text, n);
    address->host[n] = '\0';
    snprintf(address->port, sizeof(address->port), "%ld", port);
    return 0;
}

int address_parse(const char *spec, char ret_access_point[FS_ID_SIZE], struct server_address *ret_address,
                  const char **ret_why)
{
    struct server_address address = {0};
    const char *at = strchr(spec, '@');
    if (!at || !is_access_point(spec, (size_t)(at - spec))) {
        *ret_why = "what is mounted is FSAP@HOST:PORT or FSAP@unix:/PATH, FSAP being fsap- and 17 hex digits";
        return -EINVAL;
    }
    const char *server = at + 1;
    if (strlen(server) >= sizeof(address.text)) {
        *ret_why = "the server's address is too long";
        return -EINVAL;
    }
    strcpy(address.text, server);
    int result = strncmp(server, "unix:", 5) == 0 ? parse_unix(server + 5, &address, ret_why)
                                                  : parse_tcp(server, &address, ret_why);
    if (result < 0)
        return result;
    memcpy(ret_access_point, spec, (size_t)(at - spec));
    ret_access_point[at - spec] = '\0';
    *ret_address = address;
    return 0;
}
