// SPDX-License-Identifier: Apache-2.0
// See busy_poll.h. Invariant: window_ns <= max_ns.
#include "fs/base/busy_poll.h"

#define FIRST_NS    10000u
#define SAMPLE_NS   5000000u
#define STALE_NS    (4 * SAMPLE_NS) // a sample that spans an idle time says nothing
#define DELAY_SHARE 8u              // of the time: less than this waiting for a processor is no shortage
#define REST_NS     50000000u

uint64_t busy_poll_window_ns(const struct busy_poll *busy, uint64_t now_ns)
{
    return now_ns < busy->rest_until_ns ? 0 : busy->window_ns;
}

static void widen(struct busy_poll *busy)
{
    uint64_t window_ns = busy->window_ns == 0 ? FIRST_NS : busy->window_ns * 2;
    busy->window_ns = window_ns < busy->max_ns ? window_ns : busy->max_ns;
}

void busy_poll_waited(struct busy_poll *busy, uint64_t waited_ns)
{
    if (waited_ns > busy->max_ns)
        busy->window_ns = 0;
    else if (waited_ns > busy->window_ns)
        widen(busy);
}

void busy_poll_disturbed(struct busy_poll *busy, uint64_t now_ns)
{
    busy->window_ns = 0;
    busy->rest_until_ns = now_ns + REST_NS;
}

bool busy_poll_wants_delay(const struct busy_poll *busy, uint64_t now_ns)
{
    return now_ns - busy->sampled_ns >= SAMPLE_NS;
}

void busy_poll_delayed(struct busy_poll *busy, uint64_t now_ns, uint64_t delayed_ns)
{
    uint64_t span_ns = now_ns - busy->sampled_ns;
    if (span_ns < STALE_NS && (delayed_ns - busy->delayed_ns) * DELAY_SHARE > span_ns)
        busy_poll_disturbed(busy, now_ns);
    busy->sampled_ns = now_ns;
    busy->delayed_ns = delayed_ns;
}
