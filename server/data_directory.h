// SPDX-License-Identifier: Apache-2.0
// DIR itself: made when missing, private, and one server's at a time.
#ifndef BERTH_SERVER_DATA_DIRECTORY_H
#define BERTH_SERVER_DATA_DIRECTORY_H

#include <stddef.h>

// Makes DIR (0700) and takes DIR/lock, until *ret_lock_fd is closed. On failure says why and what to do in
// reason.
int data_directory_open(const char *directory, int *ret_lock_fd, char *reason, size_t reason_size);

#endif
