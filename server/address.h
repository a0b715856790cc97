// SPDX-License-Identifier: Apache-2.0
// Addresses to listen on, and who is at the other end of a connection.
#ifndef BERTH_SERVER_ADDRESS_H
#define BERTH_SERVER_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define ADDRESS_TEXT_SIZE 80

struct address {
    struct sockaddr_storage storage;
    socklen_t length;
    char text[ADDRESS_TEXT_SIZE]; // ADDR:PORT, IPv6 in brackets
};

// ADDR:PORT, [IPV6]:PORT or NAME:PORT. -EINVAL: not of this form; -ENOENT: no such name.
int address_parse(const char *text, struct address *ret_address);
bool address_is_loopback(const struct address *address);
// What a bound socket is bound to.
int address_of_socket(int fd, struct address *ret_address);

// Bound, listening, not blocking, close-on-exec.
int listen_tcp(const struct address *address, int *ret_fd);
// directory/name, mode 0600; replaces what a stopped server left there, so only under DIR/lock. Changes the
// umask for a moment: before threads start.
int listen_unix(const char *directory, const char *name, int *ret_fd);

// Who connected. Groups only for unix peers.
struct peer {
    bool is_unix;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    uint32_t n_groups;
    uint32_t *groups; // owned
    char text[ADDRESS_TEXT_SIZE];
};

int peer_of_socket(int fd, struct peer *ret_peer);
void peer_clear(struct peer *peer);

#endif
