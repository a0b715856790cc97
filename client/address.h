// SPDX-License-Identifier: Apache-2.0
// What is mounted: FSAP@HOST:PORT or FSAP@unix:/PATH, taken apart. Any thread.
#ifndef BERTH_CLIENT_ADDRESS_H
#define BERTH_CLIENT_ADDRESS_H

#include "fs/types.h"
#include <stdbool.h>

#define ADDRESS_HOST_SIZE 256
#define ADDRESS_TEXT_SIZE 300

struct server_address {
    char text[ADDRESS_TEXT_SIZE]; // as given, after the @
    bool is_unix;
    char path[108];               // unix, as in sockaddr_un
    char host[ADDRESS_HOST_SIZE]; // TCP; IPv6 without its brackets
    char port[6];
};

// -EINVAL, and *ret_why says what is wrong.
int address_parse(const char *spec, char ret_access_point[FS_ID_SIZE], struct server_address *ret_address,
                  const char **ret_why);

#endif
