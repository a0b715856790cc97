// SPDX-License-Identifier: Apache-2.0
// Whether a thread that was interrupted is being killed: FUSE does not say. From /proc/TID/status. Any
// thread.
#ifndef BERTH_CLIENT_DYING_H
#define BERTH_CLIENT_DYING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// True also for a thread that cannot be seen: who waits for good must be killable.
bool caller_is_dying(pid_t tid);

// The same from the text of the file. Pure.
bool status_is_dying(const char *text);

#endif
