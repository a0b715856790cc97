// SPDX-License-Identifier: Apache-2.0
// Aborting a mount's connection with the kernel: calls on it fail, and whoever waits in it goes on. Also what
// an ordinary user's fusermount3 cannot, and what is needed when the mount is detached already while a thread
// of its own daemon waits for a page of it. Any thread.
#ifndef BERTH_CLIENT_FUSE_ABORT_H
#define BERTH_CLIENT_FUSE_ABORT_H

// Of the mount with this device number (mountinfo). The descriptor means that connection alone, also when the
// number is given out again. -1: the kernel does not offer it here (no fusectl).
int fuse_abort_open(unsigned fuse_number);
void fuse_abort(int fd); // nothing happens when the connection is gone, or when fd is -1

#endif
