// SPDX-License-Identifier: Apache-2.0
// Checks of file systems while they are served, which EFS has not: PUT /2015-02-01/berth/checks/FS starts
// one, GET tells how far it is and what it found. The check runs off the loop, one at a time, with a
// connection of its own to the database. Main thread, but for what says otherwise. Invariant: a check is in
// api->checks until another of its file system takes its place, or the api has ended; one under way is freed
// by its end alone.
#include "fs/base/log.h"
#include "fs/store/store_check.h"
#include "server/api_call.h"
#include "server/keep.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEMS_MAX 1000u // told of one check

struct fs_check {
    struct list link;
    uv_work_t work;
    char fs_id[FS_ID_SIZE];
    char path[PATH_MAX];
    const struct env *env;
    atomic_bool stop;
    bool running, released; // released: the api has ended
    int result;
    uv_mutex_t mutex;  // of what follows, which the worker writes
    const char *doing; // static
    json_t *problems;  // owned
    bool truncated;
};

// --- on the worker's thread ---

static void on_problem(void *context, const struct store_problem *problem)
{
    struct fs_check *check = context;
    json_t *object = json_pack("{s:s, s:s}", "Kind", problem->kind, "Problem", problem->text);
    if (object && problem->ino > 0)
        json_object_set_new(object, "Inode", json_integer((json_int_t)problem->ino));
    uv_mutex_lock(&check->mutex);
    check->truncated |= json_array_size(check->problems) >= PROBLEMS_MAX;
    if (!check->truncated)
        json_array_append(check->problems, object);
    uv_mutex_unlock(&check->mutex);
    json_decref(object);
}

static void on_progress(void *context, const char *what)
{
    struct fs_check *check = context;
    uv_mutex_lock(&check->mutex);
    check->doing = what;
    uv_mutex_unlock(&check->mutex);
}

static void run(uv_work_t *work)
{
    struct fs_check *check = CONTAINER_OF(work, struct fs_check, work);
    const struct store_check options = {.env = check->env,
                                        .online = true,
                                        .stop = &check->stop,
                                        .session_valid = keep_part_valid,
                                        .problem = on_problem,
                                        .progress = on_progress,
                                        .context = check};
    check->result = store_sqlite_check(check->path, &options);
}

// --- life ---

static void check_free(struct fs_check *check)
{
    uv_mutex_destroy(&check->mutex);
    json_decref(check->problems);
    free(check);
}

static void on_done(uv_work_t *work, int status UNUSED)
{
    struct fs_check *check = CONTAINER_OF(work, struct fs_check, work);
    check->running = false;
    log_info("check", "fs=%s result=%d problems=%zu", check->fs_id, check->result,
             json_array_size(check->problems));
    if (check->released)
        check_free(check);
}

void api_release_checks(struct api *api)
{
    struct list *node;
    while ((node = list_pop(&api->checks))) {
        struct fs_check *check = LIST_ENTRY(node, struct fs_check, link);
        check->released = true;
        atomic_store(&check->stop, true);
        if (!check->running)
            check_free(check);
    }
}

static struct fs_check *check_of(struct api *api, const char *fs_id)
{
    list_for_each (node, &api->checks) {
        struct fs_check *check = LIST_ENTRY(node, struct fs_check, link);
        if (strcmp(check->fs_id, fs_id) == 0)
            return check;
    }
    return NULL;
}

static const struct fs_check *running(struct api *api)
{
    list_for_each (node, &api->checks) {
        const struct fs_check *check = LIST_ENTRY(node, struct fs_check, link);
        if (check->running)
            return check;
    }
    return NULL;
}

static struct fs_check *check_new(const struct api *api, const char *fs_id)
{
    struct fs_check *check = calloc(1, sizeof(*check));
    json_t *problems = json_array();
    if (!check || !problems || hosting_path(api->options.hosting, fs_id, check->path) < 0 ||
        uv_mutex_init(&check->mutex) != 0) {
        json_decref(problems);
        free(check);
        return NULL;
    }
    list_init(&check->link);
    memcpy(check->fs_id, fs_id, sizeof(check->fs_id));
    check->env = api->options.env;
    check->doing = "database";
    check->problems = problems;
    return check;
}

static int start(struct api *api, const char *fs_id)
{
    struct fs_check *before = check_of(api, fs_id), *check = check_new(api, fs_id);
    if (!check)
        return -ENOMEM;
    if (before) {
        list_remove(&before->link);
        check_free(before);
    }
    check->running = true;
    list_push(&api->checks, &check->link);
    fs_assert(uv_queue_work(api->options.loop, &check->work, run, on_done) == 0);
    return 0;
}

// --- the operations ---

static bool names_file_system(struct api_call *call, char fs_id[FS_ID_SIZE])
{
    struct file_system fs;
    if (api_parse_id(call, call->parameter, "fs-", "file-system", fs_id) < 0)
        return false;
    int result = catalogue_get_file_system(call->api->options.catalogue, fs_id, &fs);
    bool available = result == 0 && fs.state == CATALOGUE_AVAILABLE;
    if (result == 0)
        file_system_clear(&fs);
    if (result == 0 && !available)
        api_fail(call->request, API_IncorrectFileSystemLifeCycleState,
                 "File system '%s' is being made or deleted.", call->parameter);
    else if (result == -ENOENT)
        api_fail(call->request, API_FileSystemNotFound, "File system '%s' does not exist.", call->parameter);
    else if (result < 0)
        api_fail_errno(call->request, call->operation, result);
    return available;
}

void api_start_check(struct api_call *call)
{
    char fs_id[FS_ID_SIZE];
    const struct fs_check *other = running(call->api);
    if (!names_file_system(call, fs_id))
        return;
    if (other) {
        api_fail(call->request, API_BerthCheckInProgress, "File system '%s' is being checked: one at a time.",
                 other->fs_id);
        return;
    }
    int result = start(call->api, fs_id);
    if (result < 0)
        api_fail_errno(call->request, call->operation, result);
    else
        api_reply(call->request, 202, json_pack("{s:s}", "FileSystemId", fs_id));
}

static const char *reason_of(int result)
{
    switch (result) {
    case -EBUSY:
        return "so much is written that no look comes to an end: try again when less is";
    case -ENOENT:
        return "its directory or its meta.db is missing";
    case -EPROTONOSUPPORT:
        return "it was written by a newer berthd";
    default:
        return strerror(-result);
    }
}

void api_describe_check(struct api_call *call)
{
    char fs_id[FS_ID_SIZE];
    if (api_parse_id(call, call->parameter, "fs-", "file-system", fs_id) < 0)
        return;
    struct fs_check *check = check_of(call->api, fs_id);
    if (!check) {
        api_fail(call->request, API_BerthCheckNotFound, "File system '%s' has not been checked.",
                 call->parameter);
        return;
    }
    uv_mutex_lock(&check->mutex);
    bool failed = !check->running && check->result < 0;
    json_t *body = json_pack("{s:s, s:s, s:s, s:s?, s:o, s:b}", "FileSystemId", check->fs_id, "State",
                             check->running ? "running"
                             : failed       ? "failed"
                                            : "done",
                             "Doing", check->doing, "Reason", failed ? reason_of(check->result) : NULL,
                             "Problems", json_copy(check->problems), "Truncated", (int)check->truncated);
    uv_mutex_unlock(&check->mutex);
    api_reply(call->request, 200, body);
}
