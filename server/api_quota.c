// SPDX-License-Identifier: Apache-2.0
// Quotas of file systems and access points, which EFS has not: the member BerthQuota of creates and
// descriptions, and PUT /2015-02-01/berth/quota/ID. The catalogue says what the limits are; hosting holds
// them and counts. Main thread.
#include "fs/base/log.h"
#include "fs/core/core.h"
#include "server/api_call.h"
#include <errno.h>
#include <string.h>

// --- what was asked ---

// Absent: untouched.
static int parse_limit(struct api_call *call, json_t *object, const char *name, uint64_t *ret)
{
    json_t *member = api_member(object, name);
    if (!member)
        return 0;
    json_int_t value = json_integer_value(member);
    if (!json_is_integer(member) || value < 0) {
        api_fail(call->request, API_BadRequest, "%s of a quota must be a whole number from 0 (none) to %lld.",
                 name, (long long)INT64_MAX);
        return -EINVAL;
    }
    *ret = (uint64_t)value;
    return 0;
}

static int parse_limits(struct api_call *call, json_t *object, struct catalogue_quota *quota)
{
    struct catalogue_quota parsed = *quota;
    if (parse_limit(call, object, "Bytes", &parsed.max_bytes) < 0 ||
        parse_limit(call, object, "Inodes", &parsed.max_inodes) < 0)
        return -EINVAL;
    *quota = parsed;
    return 0;
}

int api_parse_quota(struct api_call *call, struct catalogue_quota *ret_quota)
{
    json_t *member = api_member(call->body, "BerthQuota");
    if (!member)
        return 0;
    if (json_is_object(member))
        return parse_limits(call, member, ret_quota);
    api_fail(call->request, API_BadRequest, "BerthQuota must be an object with Bytes, Inodes or both.");
    return -EINVAL;
}

// --- limits and use ---

int api_apply_quota(struct api *api, const char *fs_id, const char *path, const struct catalogue_quota *quota)
{
    struct core_limits limits = {.max_bytes = quota->max_bytes, .max_inodes = quota->max_inodes};
    struct store_quota use;
    return hosting_quota(api->options.hosting, fs_id, path, &limits, &use);
}

static json_t *quota_json(const struct catalogue_quota *quota, const struct store_quota *use)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "Bytes", (json_int_t)quota->max_bytes, "Inodes",
                     (json_int_t)quota->max_inodes, "UsedBytes", (json_int_t)use->bytes, "UsedInodes",
                     (json_int_t)use->inodes);
}

void api_add_quota(struct api *api, json_t *description, const char *fs_id, const char *path,
                   const struct catalogue_quota *quota)
{
    struct store_quota use = {0};
    if (quota->max_bytes == 0 && quota->max_inodes == 0)
        return;
    int result = hosting_quota(api->options.hosting, fs_id, path, NULL, &use);
    if (result < 0)
        log_error("quota_failed", "fs=%s reason=%s", fs_id, strerror(-result));
    else
        json_object_set_new(description, "BerthQuota", quota_json(quota, &use));
}

// --- change ---

// Whose quota, and what it is now.
struct subject {
    char id[FS_ID_SIZE], fs_id[FS_ID_SIZE];
    char path[FS_AP_PATH_MAX + 1]; // "": the whole file system
    bool available;
    struct catalogue_quota quota;
};

static int load_access_point(struct catalogue *catalogue, struct subject *subject)
{
    struct access_point ap;
    int result = catalogue_get_access_point(catalogue, subject->id, &ap);
    if (result < 0)
        return result;
    memcpy(subject->fs_id, ap.file_system_id, sizeof(subject->fs_id));
    memcpy(subject->path, ap.path, sizeof(subject->path));
    subject->quota = ap.quota;
    access_point_clear(&ap);
    return 0;
}

static int load_file_system(struct catalogue *catalogue, bool is_subject, struct subject *subject)
{
    struct file_system fs;
    int result = catalogue_get_file_system(catalogue, subject->fs_id, &fs);
    if (result < 0)
        return result;
    subject->available = fs.state == CATALOGUE_AVAILABLE;
    if (is_subject)
        subject->quota = fs.quota;
    file_system_clear(&fs);
    return 0;
}

// 0, or the request was answered.
static int find_subject(struct api_call *call, struct subject *subject)
{
    struct catalogue *catalogue = call->api->options.catalogue;
    bool ap = strstr(call->parameter, "fsap-") != NULL;
    if (api_parse_id(call, call->parameter, ap ? "fsap-" : "fs-", ap ? "access-point" : "file-system",
                     subject->id) < 0)
        return -EINVAL;
    memcpy(subject->fs_id, subject->id, sizeof(subject->fs_id));
    int result = ap ? load_access_point(catalogue, subject) : 0;
    if (result == 0)
        result = load_file_system(catalogue, !ap, subject);
    if (result == -ENOENT)
        api_fail(call->request, ap ? API_AccessPointNotFound : API_FileSystemNotFound,
                 "%s '%s' does not exist.", ap ? "Access point" : "File system", call->parameter);
    else if (result < 0)
        api_fail_errno(call->request, call->operation, result);
    else if (!subject->available)
        api_fail(call->request, API_IncorrectFileSystemLifeCycleState, "File system '%s' is not available.",
                 subject->fs_id);
    return result == 0 && !subject->available ? -EINVAL : result;
}

// What the body does not name stays. Should the server end between the two steps, the next attach makes up
// for it.
void api_put_quota(struct api_call *call)
{
    struct subject subject = {0};
    if (find_subject(call, &subject) < 0 || parse_limits(call, call->body, &subject.quota) < 0)
        return;
    const char *path = subject.path[0] ? subject.path : NULL;
    int result = catalogue_set_quota(call->api->options.catalogue, subject.id, &subject.quota);
    if (result == 0)
        result = api_apply_quota(call->api, subject.fs_id, path, &subject.quota);
    if (result < 0) {
        api_fail_errno(call->request, call->operation, result);
        return;
    }
    log_info("quota_set", "id=%s bytes=%llu inodes=%llu", subject.id,
             (unsigned long long)subject.quota.max_bytes, (unsigned long long)subject.quota.max_inodes);
    json_t *body = json_object();
    api_add_quota(call->api, body, subject.fs_id, path, &subject.quota);
    api_reply(call->request, 200, body);
}
