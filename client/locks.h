// SPDX-License-Identifier: Apache-2.0
// Locks that are waited for: what the connection and recover.c tell fuse_lock.c. Loop's thread.
#ifndef BERTH_CLIENT_LOCKS_H
#define BERTH_CLIENT_LOCKS_H

#include "client/mount.h"

void locks_granted(struct mount *mount, uint64_t ticket);
// The connection is lost: who was interrupted while waiting need not wait for the server's verdict.
void locks_down(struct mount *mount);
// Of a soft mount: who waits since the server is away for too long waits no more; returns when to call again.
uint64_t locks_tick(struct mount *mount);
// On a new session: waits again for what was waited for.
void locks_ask_again(struct mount *mount);
void locks_fenced(struct mount *mount);  // the session was revoked: whoever waits is told
void locks_abandon(struct mount *mount); // the mount is ending: whoever waits is told
void locks_free(struct mount *mount);    // nobody is answered

#endif
