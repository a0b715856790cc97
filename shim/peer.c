// SPDX-License-Identifier: Apache-2.0
// See peer.h. From the connection's addresses to the peer's socket (/proc/net/tcp), from there to the
// processes that have it open (/proc/PID/fd), of which one must be in the sandbox's process-id namespace
// (/proc/PID/ns/pid).
#include "shim/peer.h"
#include "fs/base/check.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LINK_SIZE 64 // "socket:[4294967295]", "pid:[4026531836]"

static void closedirp(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

static void fclosep(FILE **file)
{
    if (*file)
        fclose(*file);
}

static bool link_text(const char *path, char out[LINK_SIZE])
{
    ssize_t length = readlink(path, out, LINK_SIZE - 1);
    if (length < 0)
        return false;
    out[length] = '\0';
    return true;
}

// A line of /proc/net/tcp after its number: addresses and ports, state, queues, timers, owner, timeout,
// inode.
enum field { LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, INODE = 12, FIELDS };

static bool parse_line(const char *line, unsigned long fields[FIELDS])
{
    const char *at = strchr(line, ':');
    for (int i = 0; at && i < FIELDS; i++) {
        char *end;
        fields[i] = strtoul(at + 1, &end, i < 10 ? 16 : 10); // owner, timeout and inode are decimal
        at = end > at + 1 && *end ? end : NULL;
    }
    return at != NULL;
}

// The link that a descriptor of the peer's socket shows.
static bool peer_socket(int connection_fd, char out[LINK_SIZE])
{
    struct sockaddr_in here, there;
    socklen_t here_size = sizeof(here), there_size = sizeof(there);
    if (getsockname(connection_fd, (struct sockaddr *)&here, &here_size) < 0 ||
        getpeername(connection_fd, (struct sockaddr *)&there, &there_size) < 0 || there.sin_family != AF_INET)
        return false;
    _cleanup_(fclosep) FILE *table = fopen("/proc/net/tcp", "re");
    char line[256];
    unsigned long fields[FIELDS];
    while (table && fgets(line, sizeof(line), table))
        if (parse_line(line, fields) && fields[LOCAL] == there.sin_addr.s_addr &&
            fields[LOCAL_PORT] == ntohs(there.sin_port) && fields[REMOTE] == here.sin_addr.s_addr &&
            fields[REMOTE_PORT] == ntohs(here.sin_port)) {
            snprintf(out, LINK_SIZE, "socket:[%lu]", fields[INODE]);
            return true;
        }
    return false;
}

static bool sandbox_namespace(pid_t inside, char out[LINK_SIZE])
{
    char path[64], own[LINK_SIZE];
    snprintf(path, sizeof(path), "/proc/%d/ns/pid", inside);
    return link_text(path, out) && link_text("/proc/self/ns/pid", own) && strcmp(out, own) != 0;
}

static bool process_has_open(const char *pid, const char *wanted)
{
    char path[64 + NAME_MAX], link[LINK_SIZE];
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    _cleanup_(closedirp) DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(path, sizeof(path), "/proc/%.20s/fd/%s", pid, entry->d_name);
        if (link_text(path, link) && strcmp(link, wanted) == 0)
            return true;
    }
    return false;
}

static bool process_is_in(const char *pid, const char *namespace)
{
    char path[64], link[LINK_SIZE];
    snprintf(path, sizeof(path), "/proc/%.20s/ns/pid", pid);
    return link_text(path, link) && strcmp(link, namespace) == 0;
}

bool peer_in_sandbox(int connection_fd, pid_t inside)
{
    char wanted[LINK_SIZE], namespace[LINK_SIZE];
    if (!peer_socket(connection_fd, wanted) || !sandbox_namespace(inside, namespace))
        return false;
    _cleanup_(closedirp) DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));)
        if (isdigit((unsigned char)entry->d_name[0]) && process_is_in(entry->d_name, namespace) &&
            process_has_open(entry->d_name, wanted))
            return true;
    return false;
}
