// SPDX-License-Identifier: Apache-2.0
// See busy_loop.h. Invariant: timers are late by max_ns at most.
#include "server/busy_loop.h"
#include "fs/base/busy_poll.h"
#include "fs/base/check.h"
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#define DISTURBED_NS 50000u // between two looks: another thread has had the processor

static bool has_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) > 1;
}

// The second number of proc(5)'s schedstat: nanoseconds on a run queue, waiting. A kernel that does not keep
// it shows no shortage.
static uint64_t read_delay_ns(int fd)
{
    char text[96];
    uint64_t delay_ns = 0;
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    // NOLINTNEXTLINE(cert-err34-c): the kernel writes it
    return sscanf(text, "%*u %" SCNu64, &delay_ns) == 1 ? delay_ns : 0;
}

// Until there is an event, or for as long as it may pay. Returns for how long.
static uint64_t look(struct busy_poll *busy, int events_fd, int delay_fd)
{
    uint64_t start_ns = uv_hrtime(), now_ns = start_ns;
    if (busy_poll_wants_delay(busy, now_ns))
        busy_poll_delayed(busy, now_ns, read_delay_ns(delay_fd));
    uint64_t window_ns = busy_poll_window_ns(busy, now_ns);
    struct pollfd readable = {.fd = events_fd, .events = POLLIN};
    while (now_ns - start_ns < window_ns && poll(&readable, 1, 0) == 0) {
        uint64_t before_ns = now_ns;
        now_ns = uv_hrtime();
        if (now_ns - before_ns > DISTURBED_NS) {
            busy_poll_disturbed(busy, now_ns);
            break;
        }
    }
    return now_ns - start_ns;
}

static void run(uv_loop_t *loop, uint64_t max_ns, int delay_fd)
{
    struct busy_poll busy = {.max_ns = max_ns};
    for (bool alive = true; alive;) {
        bool waits = uv_backend_timeout(loop) != 0;
        uint64_t looked_ns = waits ? look(&busy, uv_backend_fd(loop), delay_fd) : 0;
        uint64_t idle_ns = uv_metrics_idle_time(loop);
        alive = uv_run(loop, UV_RUN_ONCE);
        if (waits)
            busy_poll_waited(&busy, looked_ns + uv_metrics_idle_time(loop) - idle_ns);
    }
}

void busy_loop_run(uv_loop_t *loop, uint64_t max_ns)
{
    if (max_ns == 0 || !has_processors()) {
        uv_run(loop, UV_RUN_DEFAULT);
        return;
    }
    int delay_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    run(loop, max_ns, delay_fd);
    closep(&delay_fd);
}
