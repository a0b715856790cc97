// SPDX-License-Identifier: Apache-2.0
// A libuv loop that looks for the next event for some microseconds before it sleeps, as long as that pays
// (fs/base/busy_poll.h). Knows libuv. On the loop's thread.
#ifndef BERTH_SERVER_BUSY_LOOP_H
#define BERTH_SERVER_BUSY_LOOP_H

#include <stdint.h>
#include <uv.h>

// As uv_run(UV_RUN_DEFAULT). max_ns: longest look, 0 for none; none either where there is but one processor.
void busy_loop_run(uv_loop_t *loop, uint64_t max_ns);

#endif
