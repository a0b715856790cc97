// SPDX-License-Identifier: Apache-2.0
// Taking a mount away, as root or as the ordinary user whose it is. Any process without threads; waits for
// the kernel, never for a daemon.
#ifndef BERTH_CLIENT_DETACH_H
#define BERTH_CLIENT_DETACH_H

#include <stdbool.h>
#include <stddef.h>

// -errno. force: also when it is busy; calls on it fail. said: what fusermount3 said about the failure, or
// "".
int detach(const char *path, bool force, char *said, size_t said_size);

#endif
