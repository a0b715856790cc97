// SPDX-License-Identifier: Apache-2.0
// The threads that tell the kernel what to drop: each job is done once, on the loop's thread, also one that
// is submitted when all is being ended. Jobs without anything to drop, so there is no kernel.
#include <setjmp.h>
#include <stdarg.h>

#include "client/notify.h"
#include "fs/base/check.h"
#include <cmocka.h>

struct probe {
    struct notify_job job, again;
    struct notify *notify;
    unsigned done, again_done;
};

static void on_again(struct notify_job *job)
{
    CONTAINER_OF(job, struct probe, again)->again_done++;
}

static void on_done(struct notify_job *job)
{
    struct probe *probe = CONTAINER_OF(job, struct probe, job);
    probe->done++;
    probe->again = (struct notify_job){.kind = NOTIFY_PAGES, .done = on_again};
    notify_submit(probe->notify, &probe->again);
}

static void close_loop(uv_loop_t *loop, struct probe *probe)
{
    notify_destroy(probe->notify);
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void start(uv_loop_t *loop, struct probe *probe)
{
    *probe = (struct probe){.job = {.kind = NOTIFY_PAGES, .done = on_done}};
    assert_int_equal(uv_loop_init(loop), 0);
    assert_int_equal(notify_create(loop, &probe->notify), 0);
}

static void jobs_are_done_on_the_loop(void **state UNUSED)
{
    uv_loop_t loop;
    struct probe probe;
    start(&loop, &probe);
    notify_submit(probe.notify, &probe.job);
    while (probe.again_done == 0)
        uv_run(&loop, UV_RUN_ONCE);
    close_loop(&loop, &probe);
    assert_int_equal(probe.done, 1);
    assert_int_equal(probe.again_done, 1);
}

static void what_is_submitted_at_the_end_is_done_too(void **state UNUSED)
{
    uv_loop_t loop;
    struct probe probe;
    start(&loop, &probe);
    notify_stop(probe.notify);
    notify_submit(probe.notify, &probe.job);
    close_loop(&loop, &probe);
    assert_int_equal(probe.done, 1);
    assert_int_equal(probe.again_done, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_are_done_on_the_loop),
        cmocka_unit_test(what_is_submitted_at_the_end_is_done_too),
    };
    return cmocka_run_group_tests_name("client_notify", tests, NULL, NULL);
}
