// SPDX-License-Identifier: Apache-2.0
// Sockets to listen on and the identity of peers. Knows the socket calls and nothing of what is spoken over
// them.
#include "server/address.h"
#include "fs/base/check.h"
#include "fs/types.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG  512
#define HOST_SIZE       256
#define PEER_GROUPS_MAX 65536u // Linux's NGROUPS_MAX

// --- text ---

static void address_print(const struct sockaddr_storage *storage, char text[ADDRESS_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)storage;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, ADDRESS_TEXT_SIZE, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)storage;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, ADDRESS_TEXT_SIZE, "%s:%u", host, ntohs(in->sin_port));
    }
}

static bool port_valid(const char *port)
{
    size_t n = strspn(port, "0123456789");
    return n > 0 && n <= 5 && port[n] == '\0' && strtoul(port, NULL, 10) <= UINT16_MAX;
}

// Splits "HOST:PORT" or "[HOST]:PORT"; HOST without brackets has no colon.
static int split(const char *text, char host[HOST_SIZE], const char **ret_port)
{
    bool bracket = text[0] == '[';
    const char *start = text + bracket;
    const char *end = strchr(start, bracket ? ']' : ':');
    const char *colon = end && bracket ? end + 1 : end;
    if (!end || end == start || (size_t)(end - start) >= HOST_SIZE || *colon != ':' || !port_valid(colon + 1))
        return -EINVAL;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    *ret_port = colon + 1;
    return 0;
}

int address_parse(const char *text, struct address *ret_address)
{
    char host[HOST_SIZE];
    const char *port;
    int result = split(text, host, &port);
    if (result < 0)
        return result;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -ENOENT;
    struct address address = {.length = found->ai_addrlen};
    memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    address_print(&address.storage, address.text);
    *ret_address = address;
    return 0;
}

bool address_is_loopback(const struct address *address)
{
    if (address->storage.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
    uint32_t host = ntohl(((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr);
    return host >> 24 == IN_LOOPBACKNET;
}

int address_of_socket(int fd, struct address *ret_address)
{
    struct address address = {.length = sizeof(address.storage)};
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length) < 0)
        return -errno;
    address_print(&address.storage, address.text);
    *ret_address = address;
    return 0;
}

// --- listening ---

int listen_tcp(const struct address *address, int *ret_fd)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    // A restart must not wait for connections of the server before in TIME_WAIT. Not dual-stack: [::] and
    // 0.0.0.0 are two addresses.
    int on = 1;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (address->storage.ss_family == AF_INET6)
        ok = ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
    ok = ok && bind(fd, (const struct sockaddr *)&address->storage, address->length) == 0 &&
         listen(fd, LISTEN_BACKLOG) == 0;
    int result = ok ? 0 : -errno;
    if (ok)
        *ret_fd = fd;
    else
        close(fd);
    return result;
}

static int bind_unix(int fd, int directory_fd, const char *name)
{
    // By way of /proc, since a socket's address is short and a directory's path may be long.
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", directory_fd, name);
    fs_assert(n > 0 && (size_t)n < sizeof(address.sun_path));
    if (unlinkat(directory_fd, name, 0) < 0 && errno != ENOENT)
        return -errno;
    mode_t before = umask(0177);
    int result = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(before);
    if (result == 0 && listen(fd, LISTEN_BACKLOG) < 0)
        result = -errno;
    return result;
}

int listen_unix(const char *directory, const char *name, int *ret_fd)
{
    _cleanup_(closep) int directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int result = bind_unix(fd, directory_fd, name);
    if (result < 0)
        close(fd);
    else
        *ret_fd = fd;
    return result;
}

// --- peers ---

// The peer's supplementary groups as they were when it connected; more than FS_GROUPS_MAX are not looked at.
static int peer_groups(int fd, struct peer *peer)
{
    socklen_t size = PEER_GROUPS_MAX * sizeof(gid_t);
    _cleanup_(freep) gid_t *groups = malloc(size);
    if (!groups)
        return -ENOMEM;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
        return -errno;
    uint32_t n = MIN((uint32_t)(size / sizeof(gid_t)), FS_GROUPS_MAX);
    if (n == 0)
        return 0;
    peer->groups = malloc(n * sizeof(*peer->groups));
    if (!peer->groups)
        return -ENOMEM;
    memcpy(peer->groups, groups, n * sizeof(*peer->groups));
    peer->n_groups = n;
    return 0;
}

static int peer_unix(int fd, struct peer *peer)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    peer->is_unix = true;
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    peer->pid = cred.pid;
    snprintf(peer->text, sizeof(peer->text), "unix:pid=%d,uid=%u", (int)cred.pid, cred.uid);
    return peer_groups(fd, peer);
}

int peer_of_socket(int fd, struct peer *ret_peer)
{
    struct sockaddr_storage storage = {0};
    socklen_t length = sizeof(storage);
    if (getpeername(fd, (struct sockaddr *)&storage, &length) < 0)
        return -errno;
    struct peer peer = {0};
    if (storage.ss_family == AF_UNIX) {
        int result = peer_unix(fd, &peer);
        if (result < 0) {
            peer_clear(&peer);
            return result;
        }
    } else {
        address_print(&storage, peer.text);
    }
    *ret_peer = peer;
    return 0;
}

void peer_clear(struct peer *peer)
{
    free(peer->groups);
    *peer = (struct peer){0};
}
