// SPDX-License-Identifier: Apache-2.0
// Is the peer of a loopback connection a process of this sandbox? Sandboxes share the host's network, so an
// instance's Runtime API must tell its own function from everybody else on the machine. Reads /proc; any
// thread.
#ifndef BERTH_SHIM_PEER_H
#define BERTH_SHIM_PEER_H

#include <stdbool.h>
#include <sys/types.h>

// `inside` is the first process of the sandbox, which has a process-id namespace of its own. False too when
// /proc does not tell.
bool peer_in_sandbox(int connection_fd, pid_t inside);

#endif
