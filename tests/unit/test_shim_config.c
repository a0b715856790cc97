// SPDX-License-Identifier: Apache-2.0
// The configuration file: what Lambda's CreateFunction takes and refuses (limits of its API model), with one
// line that names file, function and member.
#include "fs/base/check.h"
#include "shim/function.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ARN "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"

static char directory[64];
static char file[80];
static struct config_context context = {.region = "eu-west-1", .default_max_instances = 8};

static int set_up(void **state UNUSED)
{
    snprintf(directory, sizeof(directory), "/tmp/berth-config-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(file, sizeof(file), "%s/f.json", directory);
    char path[96];
    snprintf(path, sizeof(path), "%s/code", directory);
    if (mkdir(path, 0755) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/boot", directory);
    if (mkdir(path, 0755) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/boot/bootstrap", directory);
    FILE *bootstrap = fopen(path, "w");
    return bootstrap && fclose(bootstrap) == 0 ? chmod(path, 0755) : -1;
}

static int tear_down(void **state UNUSED)
{
    static const char *const names[] = {"boot/bootstrap", "boot", "code", "f.json", ""};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[96];
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        remove(path);
    }
    return 0;
}

static int load(const char *json, struct functions *functions, char error[CONFIG_ERROR_SIZE])
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_true(fputs(json, out) >= 0);
    assert_int_equal(fclose(out), 0);
    error[0] = '\0';
    return config_load(file, &context, functions, error, CONFIG_ERROR_SIZE);
}

// A Python function with more members.
static int load_with(const char *members, struct functions *functions, char error[CONFIG_ERROR_SIZE])
{
    static const char format[] = "[{\"FunctionName\":\"F\",\"Runtime\":\"python3.11\",\"Handler\":\"a.b\","
                                 "\"Code\":{\"Directory\":\"code\"}%s%s}]";
    _cleanup_(freep) char *json = NULL;
    assert_true(asprintf(&json, format, *members ? "," : "", members) > 0);
    return load(json, functions, error);
}

static void test_defaults_are_lambdas(void **state UNUSED)
{
    struct functions functions;
    char error[CONFIG_ERROR_SIZE], code[96];
    assert_int_equal(load_with("", &functions, error), 0);
    assert_int_equal(functions.count, 1);
    const struct function *function = &functions.items[0];
    assert_string_equal(function->name, "F");
    assert_string_equal(function->arn, "arn:aws:lambda:eu-west-1:000000000000:function:F");
    assert_int_equal(function->timeout_seconds, 3);
    assert_int_equal(function->memory_mib, 128);
    assert_int_equal(function->tmp_mib, 512);
    assert_int_equal(function->max_instances, 8);
    assert_null(function->access_point_arn);
    assert_null(function->layer_dir);
    snprintf(code, sizeof(code), "%s/code", directory); // relative to the file
    assert_string_equal(function->code_dir, code);
    functions_free(&functions);
}

static void test_all_members(void **state UNUSED)
{
    struct functions functions;
    char error[CONFIG_ERROR_SIZE];
    int rc = load_with(
        "\"Timeout\":900,\"MemorySize\":10240,\"EphemeralStorage\":{\"Size\":1024},"
        "\"Environment\":{\"Variables\":{\"PATH\":\"/x\",\"ab\":\"\"}},"
        "\"FileSystemConfigs\":[{\"Arn\":\"" ARN "\",\"LocalMountPath\":\"/mnt/a-b_c.d\"}],"
        "\"Layers\":[\"boot\"],\"ReservedConcurrentExecutions\":0,\"Role\":\"r\",\"Description\":\"d\"",
        &functions, error);
    assert_string_equal(error, "");
    assert_int_equal(rc, 0);
    const struct function *function = &functions.items[0];
    assert_int_equal(function->timeout_seconds, 900);
    assert_int_equal(function->memory_mib, 10240);
    assert_int_equal(function->tmp_mib, 1024);
    assert_int_equal(function->max_instances, 0);
    assert_string_equal(function->access_point_id, "fsap-0123456789abcdef0");
    assert_string_equal(function->mount_path, "/mnt/a-b_c.d");
    assert_string_equal(json_string_value(json_object_get(function->variables, "PATH")), "/x");
    assert_non_null(function->layer_dir);
    functions_free(&functions);
}

static void test_provided_runs_the_bootstrap(void **state UNUSED)
{
    struct functions functions;
    char error[CONFIG_ERROR_SIZE];
    static const char *const runtimes[] = {"provided.al2023", "nodejs20.x"}; // with a bootstrap of its own
    for (size_t i = 0; i < ARRAY_LEN(runtimes); i++) {
        char json[160];
        snprintf(json, sizeof(json),
                 "[{\"FunctionName\":\"F\",\"Runtime\":\"%s\",\"Code\":{\"Directory\":\"boot\"}}]",
                 runtimes[i]);
        assert_int_equal(load(json, &functions, error), 0);
        assert_int_equal(functions.items[0].runtime, FUNCTION_PROVIDED);
        functions_free(&functions);
    }
}

static void assert_refused(const char *error, const char *function, const char *member)
{
    char start[160];
    snprintf(start, sizeof(start), "%s: %s%s%s", file, function, member ? ": " : "", member ? member : "");
    assert_memory_equal(error, start, strlen(start));
    assert_null(strchr(error, '\n'));
}

static void test_members_out_of_bounds(void **state UNUSED)
{
    static const struct {
        const char *members, *named;
    } rows[] = {
        {"\"Timeout\":0", "Timeout"},
        {"\"Timeout\":901", "Timeout"},
        {"\"Timeout\":\"3\"", "Timeout"},
        {"\"Timeout\":1.5", "Timeout"},
        {"\"MemorySize\":127", "MemorySize"},
        {"\"MemorySize\":10241", "MemorySize"},
        {"\"ReservedConcurrentExecutions\":-1", "ReservedConcurrentExecutions"},
        {"\"ReservedConcurrentExecutions\":1001", "ReservedConcurrentExecutions"},
        {"\"EphemeralStorage\":{\"Size\":511}", "Size"},
        {"\"EphemeralStorage\":512", "EphemeralStorage"},
        {"\"Environment\":[]", "Environment"},
        {"\"Environment\":{\"Vars\":{}}", "Environment"},
        {"\"Environment\":{\"Variables\":{\"1a\":\"x\"}}", "Environment.Variables"},
        {"\"Environment\":{\"Variables\":{\"a\":\"x\"}}", "Environment.Variables"},
        {"\"Environment\":{\"Variables\":{\"a=b\":\"x\"}}", "Environment.Variables"},
        {"\"Environment\":{\"Variables\":{\"ab\":1}}", "Environment.Variables"},
        {"\"Environment\":{\"Variables\":{\"AWS_REGION\":\"x\"}}", "Environment.Variables"},
        {"\"Environment\":{\"Variables\":{\"_HANDLER\":\"x\"}}", "Environment.Variables"},
        {"\"Layers\":[\"code\",\"code\"]", "Layers"},
        {"\"Layers\":[7]", "Layers"},
        {"\"Layers\":[\"missing\"]", "Layers"},
        {"\"FileSystemConfigs\":{}", "FileSystemConfigs"},
        {"\"FileSystemConfigs\":[{},{}]", "FileSystemConfigs"},
        {"\"FileSystemConfigs\":[{\"Arn\":\"" ARN "\"}]", "FileSystemConfigs"},
        {"\"FileSystemConfigs\":[{\"Arn\":\"x\",\"LocalMountPath\":\"/mnt/a\"}]", "FileSystemConfigs"},
        {"\"FileSystemConfigs\":[{\"Arn\":\"" ARN "1\",\"LocalMountPath\":\"/mnt/a\"}]", "FileSystemConfigs"},
        {"\"Runtime2\":1", "unknown member \"Runtime2\""},
        {"\"Timeout\":3,\"Timeout\":3", NULL}, // twice
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct functions functions = {.count = 77};
        char error[CONFIG_ERROR_SIZE];
        assert_int_equal(load_with(rows[i].members, &functions, error), -EINVAL);
        assert_refused(error, rows[i].named ? "F" : "line", rows[i].named);
        assert_int_equal(functions.count, 77); // untouched
    }
}

// ^/mnt/[a-zA-Z0-9-_.]+$ and at most 160 characters; besides, no name that is not one.
static void test_mount_paths(void **state UNUSED)
{
    char longest[161 + 1];
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "/mnt/", 5);
    longest[161] = '\0';
    const char *const bad[] = {"/mnt",    "/mnt/",  "/mnt/a/b", "mnt/a",     "/tmp/a",
                               "/mnt/..", "/mnt/.", "/mnt/a b", "/mnt/a\\n", longest};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char members[400], error[CONFIG_ERROR_SIZE];
        struct functions functions;
        snprintf(members, sizeof(members),
                 "\"FileSystemConfigs\":[{\"Arn\":\"%s\",\"LocalMountPath\":\"%s\"}]", ARN, bad[i]);
        assert_int_equal(load_with(members, &functions, error), -EINVAL);
        assert_non_null(strstr(error, "F: "));
        assert_non_null(strstr(error, "LocalMountPath"));
    }
    longest[160] = '\0';
    char members[400], error[CONFIG_ERROR_SIZE];
    struct functions functions;
    snprintf(members, sizeof(members), "\"FileSystemConfigs\":[{\"Arn\":\"%s\",\"LocalMountPath\":\"%s\"}]",
             ARN, longest);
    assert_int_equal(load_with(members, &functions, error), 0);
    functions_free(&functions);
}

static void test_files_that_are_no_list_of_functions(void **state UNUSED)
{
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "7",
        "[7]",
        "[{}]",
        "[{\"FunctionName\":7}]",
        "[{\"FunctionName\":\"\"}]",
        "[{\"FunctionName\":\"a b\"}]",
        "[{\"FunctionName\":\"a/b\"}]",
        "[{\"FunctionName\":\"f\"}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python3.11\",\"Handler\":\"a.b\",\"Code\":{\"ZipFile\":\"x\"}"
        "}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python3.11\",\"Handler\":\"a.b\",\"Code\":{\"Directory\":"
        "\"no\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python3.11\",\"Handler\":\"a.b\",\"Code\":{\"Directory\":\"f."
        "json\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python3.11\",\"Handler\":\"ab\",\"Code\":{\"Directory\":"
        "\"code\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python3.11\",\"Code\":{\"Directory\":\"code\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python2.7\",\"Handler\":\"a.b\",\"Code\":{\"Directory\":"
        "\"code\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"python3.1/"
        "x\",\"Handler\":\"a.b\",\"Code\":{\"Directory\":\"code\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"nodejs20.x\",\"Handler\":\"a.b\",\"Code\":{\"Directory\":"
        "\"code\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"provided\",\"Code\":{\"Directory\":\"code\"}}]",
        "[{\"FunctionName\":\"f\",\"Runtime\":\"provided\",\"Code\":{\"Directory\":\"boot\"}},"
        "{\"FunctionName\":\"f\",\"Runtime\":\"provided\",\"Code\":{\"Directory\":\"boot\"}}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct functions functions;
        char error[CONFIG_ERROR_SIZE];
        assert_int_equal(load(bad[i], &functions, error), -EINVAL);
        assert_memory_equal(error, file, strlen(file));
        assert_null(strchr(error, '\n'));
    }
}

static void test_no_function_is_a_list_too(void **state UNUSED)
{
    struct functions functions;
    char error[CONFIG_ERROR_SIZE];
    assert_int_equal(load("[]", &functions, error), 0);
    assert_int_equal(functions.count, 0);
    functions_free(&functions);
}

static void test_code_must_be_readable_by_the_sandbox(void **state UNUSED)
{
    struct functions functions;
    char error[CONFIG_ERROR_SIZE], code[96];
    snprintf(code, sizeof(code), "%s/code", directory);
    assert_int_equal(chmod(code, 0700), 0);
    context.code_as_other_user = true;
    assert_int_equal(load_with("", &functions, error), -EINVAL);
    context.code_as_other_user = false;
    assert_int_equal(chmod(code, 0755), 0);
    assert_refused(error, "F", "Code.Directory");
    assert_non_null(strstr(error, "chmod o+rx"));
}

static void test_without_a_sandbox_the_path_must_be_a_mount(void **state UNUSED)
{
    struct functions functions;
    char error[CONFIG_ERROR_SIZE];
    context.host_paths = true;
    int rc =
        load_with("\"FileSystemConfigs\":[{\"Arn\":\"" ARN "\",\"LocalMountPath\":\"/mnt/berth-not-there\"}]",
                  &functions, error);
    context.host_paths = false;
    assert_int_equal(rc, -EINVAL);
    assert_refused(error, "F", "FileSystemConfigs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_lambdas),
        cmocka_unit_test(test_all_members),
        cmocka_unit_test(test_provided_runs_the_bootstrap),
        cmocka_unit_test(test_members_out_of_bounds),
        cmocka_unit_test(test_mount_paths),
        cmocka_unit_test(test_files_that_are_no_list_of_functions),
        cmocka_unit_test(test_no_function_is_a_list_too),
        cmocka_unit_test(test_code_must_be_readable_by_the_sandbox),
        cmocka_unit_test(test_without_a_sandbox_the_path_must_be_a_mount),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
