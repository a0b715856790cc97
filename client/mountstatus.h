// SPDX-License-Identifier: Apache-2.0
// The status that a mount's daemon gives about itself (status.c), read through the mount. Any thread.
#ifndef BERTH_CLIENT_MOUNTSTATUS_H
#define BERTH_CLIENT_MOUNTSTATUS_H

#include <stdbool.h>
#include <stddef.h>

#define MOUNTSTATUS_SIZE 8192

// One flat JSON object. -ETIMEDOUT when the daemon does not answer within a second (it is stopped), or what
// getxattr says.
int mountstatus_read(const char *path, char *ret_text, size_t size);

// A member's value as text, strings without quotes and escapes. False: there is none.
bool mountstatus_get(const char *text, const char *key, char *ret_value, size_t size);

// Calls each for every member, in order.
void mountstatus_each(const char *text, void (*each)(void *context, const char *key, const char *value),
                      void *context);

#endif
