// SPDX-License-Identifier: Apache-2.0
// berth fs check: has a served file system checked, tells how far it is, and what was found.
#include "fs/base/check.h"
#include "client/cli/commands.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECKS      API "/berth/checks/"
#define ASK_MS      200
#define TELL_EVERY  5 // answers, where there is no terminal
#define STATUS_LEFT 4

static void tell(const json_t *answer, unsigned n_answers)
{
    const char *doing = json_string_value(json_object_get(answer, "Doing"));
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s", doing ? doing : "");
    else if (n_answers % TELL_EVERY == 0)
        fprintf(stderr, "%s\n", doing ? doing : "");
}

static bool is_running(const json_t *answer)
{
    const char *state = json_string_value(json_object_get(answer, "State"));
    return state && strcmp(state, "running") == 0;
}

// Until it is over: the last answer, or NULL after an error message.
static json_t *wait_for_end(const struct common *common, const char *path)
{
    const struct endpoint_request request = {.what = "fs check", .method = "GET", .path_and_query = path};
    const struct timespec pause = {.tv_nsec = ASK_MS * 1000000L};
    for (unsigned n = 1;; n++) {
        json_t *answer = NULL;
        if (endpoint_call(&common->endpoint, &request, &answer) < 0)
            return NULL;
        if (!is_running(answer))
            return answer;
        tell(answer, n);
        json_decref(answer);
        nanosleep(&pause, NULL);
    }
}

static void print_problems(const struct common *common, const json_t *problems)
{
    size_t i;
    const json_t *problem;
    if (common->json) {
        print_json(problems);
        return;
    }
    json_array_foreach(problems, i, problem)
        printf("%s %s\n", common->object, json_string_value(json_object_get(problem, "Problem")));
}

static int report(const struct common *common, const json_t *answer)
{
    const json_t *problems = json_object_get(answer, "Problems");
    const char *reason = json_string_value(json_object_get(answer, "Reason"));
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    print_problems(common, problems);
    if (json_is_true(json_object_get(answer, "Truncated")))
        fprintf(stderr, "berth: fs check: there are more than are shown\n");
    if (reason)
        fprintf(stderr, "berth: fs check: %s cannot be checked: %s\n", common->object, reason);
    return reason ? 1 : json_array_size(problems) > 0 ? STATUS_LEFT : 0;
}

static int check(const struct common *common)
{
    _cleanup_(freep) char *escaped = endpoint_escape(common->object);
    _cleanup_(freep) char *path = NULL;
    if (asprintf(&path, CHECKS "%s", escaped) < 0) {
        path = NULL;
        fprintf(stderr, "berth: out of memory\n");
        return 1;
    }
    json_t *body = json_object(), *answer = NULL;
    const struct endpoint_request request = {
        .what = "fs check", .method = "PUT", .path_and_query = path, .body = body};
    int result = endpoint_call(&common->endpoint, &request, &answer);
    json_decref(body);
    json_decref(answer);
    answer = result == 0 ? wait_for_end(common, path) : NULL;
    int code = answer ? report(common, answer) : 1;
    json_decref(answer);
    return code;
}

int fs_check(int argc, char **argv)
{
    static const struct argp argp = {.parser = parse_object,
                                     .children = list_children,
                                     .args_doc = "FS",
                                     .doc = "Check a file system while it is served, and print what is "
                                            "wrong. `berthd fsck' repairs, while no "
                                            "server runs."};
    struct common common;
    common_init(&common);
    common_parse(&argp, argc, argv, &common);
    int code = check(&common);
    common_free(&common);
    return code;
}
