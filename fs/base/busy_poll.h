// SPDX-License-Identifier: Apache-2.0
// For how long it pays to look for an event again and again before going to sleep for it. Pure; one owner
// thread.
//
// Waking a thread on a processor that has gone to sleep costs several times what the event itself does, most
// of all on a virtual machine. The window is what was learnt from the last waits: it opens while events come
// within max_ns, and the first that takes longer shuts it; after
// https://docs.kernel.org/virt/kvm/halt-polling.html. Where threads wait for processors, looking takes one
// from somebody: then it rests.
#ifndef BERTH_FS_BASE_BUSY_POLL_H
#define BERTH_FS_BASE_BUSY_POLL_H

#include <stdbool.h>
#include <stdint.h>

struct busy_poll {
    uint64_t max_ns; // 0: never looks
    uint64_t window_ns;
    uint64_t rest_until_ns;
    uint64_t sampled_ns, delayed_ns; // when last asked, and what the answer was
};

// Times are of one monotonic clock. For how long to look from `now_ns` on; 0: not at all.
uint64_t busy_poll_window_ns(const struct busy_poll *busy, uint64_t now_ns);

// The event came after waited_ns, of which some may have been slept.
void busy_poll_waited(struct busy_poll *busy, uint64_t waited_ns);

// The thread lost its processor while it looked.
void busy_poll_disturbed(struct busy_poll *busy, uint64_t now_ns);

// Is it time to say for how long this thread has waited for a processor, in all its life? Then say it.
bool busy_poll_wants_delay(const struct busy_poll *busy, uint64_t now_ns);
void busy_poll_delayed(struct busy_poll *busy, uint64_t now_ns, uint64_t delayed_ns);

#endif
