// SPDX-License-Identifier: Apache-2.0
// What a caller is about, where FUSE does not say: whether a thread that was interrupted is being killed,
// from /proc/TID/status; whether one that waits for a lock does so for an open file description, from
// /proc/TID/syscall. Any thread.
#ifndef BERTH_CLIENT_DYING_H
#define BERTH_CLIENT_DYING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// True also for a thread that cannot be seen: who waits for good must be killable.
bool caller_is_dying(pid_t tid);
// False also for a thread that cannot be seen.
bool caller_waits_for_ofd(pid_t tid);

// The same from the text of the file. Pure.
bool status_is_dying(const char *text);
bool syscall_waits_for_ofd(const char *text);

#endif
