// SPDX-License-Identifier: Apache-2.0
// The states of an instance, against the Runtime API's rules, as a table of all pairs; the words callers get
// for mounts that fail (Lambda's API model); how an Invoke target is spelled (Lambda's API reference).
#include "fs/base/check.h"
#include "shim/instance_state.h"
#include "shim/invocation.h"
#include "shim/invoke_api.h"
#include "shim/mounts.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// A row a state, a letter an event (next dispatch result init-error deadline exit stop): where it leads, '-'
// refused.
static const char *const table[INSTANCE_STATES] = {
    [INSTANCE_STARTING] = "i--xxxx",  [INSTANCE_IDLE] = "ib--xxx",     [INSTANCE_BUSY] = "--r-xxx",
    [INSTANCE_RETURNING] = "i---xxx", [INSTANCE_STOPPING] = "-----xx",
};

static void test_every_pair_of_state_and_event(void **state UNUSED)
{
    static const char letters[] = "sibrx";
    for (int from = 0; from < INSTANCE_STATES; from++) {
        for (int event = 0; event < INSTANCE_EVENTS; event++) {
            char expected = table[from][event];
            enum instance_state to = (enum instance_state)from;
            int rc = instance_step((enum instance_state)from, (enum instance_event)event, &to);
            assert_int_equal(rc, expected == '-' ? -EPROTO : 0);
            assert_int_equal(letters[to], expected == '-' ? letters[from] : expected);
        }
    }
}

static void test_an_invocation_goes_round(void **state UNUSED)
{
    static const enum instance_event round[] = {INSTANCE_NEXT, INSTANCE_DISPATCH, INSTANCE_RESULT};
    enum instance_state at = INSTANCE_STARTING;
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(instance_step(at, round[i % 3], &at), 0);
    assert_int_equal(at, INSTANCE_RETURNING);
}

static void test_mount_errors_have_lambdas_words(void **state UNUSED)
{
    static const struct {
        enum mount_failure why;
        unsigned status;
        const char *name, *message;
    } rows[] = {
        {MOUNT_REFUSED, 403, "EFSMountFailureException",
         "The function could not mount the EFS file system with access point ARN."},
        {MOUNT_UNREACHABLE, 408, "EFSMountConnectivityException",
         "The function couldn't connect to the Amazon EFS file system with access point ARN. Check your "
         "network "
         "configuration and try again."},
        {MOUNT_TIMED_OUT, 408, "EFSMountTimeoutException",
         "The function could not mount the EFS file system with access point {ARN} due to mount time out."},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct mount_error error;
        mount_error_of(rows[i].why, "ARN", &error);
        assert_int_equal(error.status, rows[i].status);
        assert_string_equal(error.name, rows[i].name);
        assert_string_equal(error.message, rows[i].message);
    }
}

static void test_error_bodies(void **state UNUSED)
{
    _cleanup_(freep) char *user = service_error_json(403, "why");
    _cleanup_(freep) char *service = service_error_json(500, "a \"quoted\" why");
    _cleanup_(freep) char *function =
        function_error_json("Sandbox.Timedout", "id", "Task timed out after 3.00 seconds");
    assert_string_equal(user, "{\"Type\":\"User\",\"Message\":\"why\"}");
    assert_string_equal(service, "{\"Type\":\"Service\",\"Message\":\"a \\\"quoted\\\" why\"}");
    assert_string_equal(function, "{\"errorType\":\"Sandbox.Timedout\",\"errorMessage\":"
                                  "\"RequestId: id Error: Task timed out after 3.00 seconds\"}");
}

static void test_invoke_targets(void **state UNUSED)
{
    static const struct {
        const char *text, *name, *qualifier;
    } rows[] = {
        {"my-function", "my-function", NULL},
        {"my-function:v1", "my-function", "v1"},
        {"my-function:$LATEST", "my-function", "$LATEST"},
        {"123456789012:function:my-function", "my-function", NULL},
        {"arn:aws:lambda:us-west-2:123456789012:function:my-function", "my-function", NULL},
        {"arn:aws:lambda:us-west-2:123456789012:function:my-function:v1", "my-function", "v1"},
        {"", "", NULL},
        {":", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[128];
        snprintf(text, sizeof(text), "%s", rows[i].text);
        struct invoke_target target = invoke_target_parse(text);
        assert_string_equal(target.name, rows[i].name);
        if (rows[i].qualifier)
            assert_string_equal(target.qualifier, rows[i].qualifier);
        else
            assert_null(target.qualifier);
    }
}

static void fixed_random(void *context, void *out, size_t n)
{
    (void)context;
    memset(out, 0xff, n);
}

static void test_request_ids_are_version_4_uuids(void **state UNUSED)
{
    const struct env env = {.random_bytes = fixed_random};
    char id[REQUEST_ID_SIZE];
    request_id_make(&env, id);
    assert_string_equal(id, "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair_of_state_and_event),
        cmocka_unit_test(test_an_invocation_goes_round),
        cmocka_unit_test(test_mount_errors_have_lambdas_words),
        cmocka_unit_test(test_error_bodies),
        cmocka_unit_test(test_invoke_targets),
        cmocka_unit_test(test_request_ids_are_version_4_uuids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
