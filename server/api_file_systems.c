// SPDX-License-Identifier: Apache-2.0
// CreateFileSystem, DescribeFileSystems, DeleteFileSystem, and the finishing of what a crash interrupted.
//
// Two places must agree, the catalogue and what hosting keeps on disk. Invariant: the catalogue's row is
// written before hosting makes anything and goes after hosting removed everything; in between it says
// CREATING or DELETING, so a restart knows what to finish. A half-made file system was never shown as
// available: it is removed and made again.
//
// A hosting job outlives its request (the peer may be gone) and even the api (a stop does not wait for it).
// Main thread.
#include "fs/base/log.h"
#include "server/api_call.h"
#include <errno.h>
#include <string.h>

#define EMPTY_SIZE 6144u // bytes that EFS shows for an empty file system
#define INODE_SIZE 2048u // and counts for each further inode
#define MIBPS_MAX  3414.0
#define MODE_SIZE  16u

// --- jobs: removing through hosting, which answers later ---

enum job_end { JOB_REMOVES_ROW, JOB_MAKES_AGAIN };

struct hosting_job {
    struct list link;             // on api->hosting_jobs, or alone after the api's end
    struct http_request *request; // NULL: nobody waits
    struct catalogue *catalogue;
    struct hosting *hosting;
    enum job_end end;
    char fs_id[FS_ID_SIZE];
};

static int finish_row(const struct hosting_job *job)
{
    if (job->end == JOB_REMOVES_ROW)
        return catalogue_remove_file_system(job->catalogue, job->fs_id);
    int result = hosting_create(job->hosting, job->fs_id);
    return result < 0 ? result : catalogue_set_state(job->catalogue, job->fs_id, CATALOGUE_AVAILABLE);
}

static void answer_job(const struct hosting_job *job, int result)
{
    if (!job->request)
        return;
    if (result == -EBUSY)
        api_fail(job->request, API_FileSystemInUse, "File system '%s' has clients attached.", job->fs_id);
    else if (result < 0)
        api_fail_errno(job->request, "DeleteFileSystem", result);
    else
        api_reply(job->request, 204, NULL);
}

static void on_hosting_removed(void *context, int result)
{
    struct hosting_job *job = context;
    if (result == -EBUSY) { // nothing was touched
        int restored = catalogue_set_state(job->catalogue, job->fs_id, CATALOGUE_AVAILABLE);
        result = restored < 0 ? restored : result;
    } else if (result == 0) {
        result = finish_row(job);
    }
    if (result == 0)
        log_info(job->end == JOB_REMOVES_ROW ? "file_system_deleted" : "file_system_created", "fs=%s",
                 job->fs_id);
    else if (result != -EBUSY && !job->request)
        log_error("file_system_unfinished", "fs=%s errno=%d", job->fs_id, -result);
    answer_job(job, result);
    list_remove(&job->link);
    free(job);
}

static int start_job(struct api *api, const char *fs_id, enum job_end end, bool force,
                     struct http_request *request)
{
    struct hosting_job *job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    list_init(&job->link);
    job->request = request;
    job->catalogue = api->options.catalogue;
    job->hosting = api->options.hosting;
    job->end = end;
    snprintf(job->fs_id, sizeof(job->fs_id), "%s", fs_id);
    list_push(&api->hosting_jobs, &job->link);
    hosting_delete(job->hosting, job->fs_id, force, on_hosting_removed, job);
    return 0;
}

static bool has_job(const struct api *api, const char *fs_id)
{
    list_for_each (it, &api->hosting_jobs) {
        if (strcmp(LIST_ENTRY(it, struct hosting_job, link)->fs_id, fs_id) == 0)
            return true;
    }
    return false;
}

void api_forget_request(struct api *api, const struct http_request *request)
{
    list_for_each (it, &api->hosting_jobs) {
        struct hosting_job *job = LIST_ENTRY(it, struct hosting_job, link);
        if (job->request == request)
            job->request = NULL;
    }
}

void api_release_jobs(struct api *api)
{
    while (list_pop(&api->hosting_jobs)) {
    }
}

// --- after a crash ---

struct unfinished {
    struct api *api;
    int result;
};

static bool start_unfinished(void *context, const struct file_system *fs)
{
    struct unfinished *unfinished = context;
    if (fs->state == CATALOGUE_AVAILABLE)
        return true;
    log_info("file_system_recovered", "fs=%s was=%s", fs->id,
             fs->state == CATALOGUE_CREATING ? "creating" : "deleting");
    enum job_end end = fs->state == CATALOGUE_CREATING ? JOB_MAKES_AGAIN : JOB_REMOVES_ROW;
    unfinished->result = start_job(unfinished->api, fs->id, end, true, NULL);
    return unfinished->result == 0;
}

int api_finish_interrupted(struct api *api)
{
    struct unfinished unfinished = {.api = api};
    int result = catalogue_list_file_systems(api->options.catalogue, 0, start_unfinished, &unfinished);
    return result < 0 ? result : unfinished.result;
}

// --- descriptions ---

static const char *state_name(enum catalogue_state state)
{
    switch (state) {
    case CATALOGUE_CREATING:
        return "creating";
    case CATALOGUE_AVAILABLE:
        return "available";
    case CATALOGUE_DELETING:
        return "deleting";
    }
    return "error";
}

// Bytes as EFS would meter them, roughly: file sizes, and 2 KiB for an inode. False: unreadable, and logged.
static bool read_size(struct api *api, const struct file_system *fs, uint64_t *ret_bytes)
{
    struct hosting_usage usage = {0};
    int result = hosting_usage(api->options.hosting, fs->id, &usage);
    if (result < 0) {
        char text[128];
        const char *reason = strerror(-result);
        log_error("usage_failed", "fs=%s reason=%s", fs->id,
                  log_text(text, sizeof(text), reason, strlen(reason)));
        return false;
    }
    uint64_t further = usage.inodes > 0 ? usage.inodes - 1 : 0;
    *ret_bytes = EMPTY_SIZE + usage.bytes + further * INODE_SIZE;
    return true;
}

static double seconds(uint64_t ms)
{
    return (double)ms / 1000.0;
}

static json_t *size_json(const struct api *api, uint64_t bytes)
{
    uint64_t now_ms = env_realtime_ns(api->options.env) / 1000000u;
    return json_pack("{s:I, s:f, s:i, s:I}", "Value", (json_int_t)bytes, "Timestamp", seconds(now_ms),
                     "ValueInIA", 0, "ValueInStandard", (json_int_t)bytes);
}

static json_t *description(const struct api *api, const struct file_system *fs, const char *state,
                           uint64_t bytes)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:o, s:f, s:s, s:i, s:o, s:s, s:b, s:s, s:o, s:{s:s}}", "OwnerId",
        CATALOGUE_ACCOUNT_ID, "CreationToken", fs->creation_token, "FileSystemId", fs->id, "FileSystemArn",
        api_arn("file-system", fs->id), "CreationTime", seconds(fs->created_ms), "LifeCycleState", state,
        "NumberOfMountTargets", 0, "SizeInBytes", size_json(api, bytes), "PerformanceMode",
        fs->performance_mode, "Encrypted", (int)fs->encrypted, "ThroughputMode", fs->throughput_mode, "Tags",
        api_tags_json(&fs->tags), "FileSystemProtection", "ReplicationOverwriteProtection", "ENABLED");
    if (fs->provisioned_mibps > 0)
        json_object_set_new(json, "ProvisionedThroughputInMibps", json_real(fs->provisioned_mibps));
    api_add_name(json, &fs->tags);
    return json;
}

static json_t *current_description(struct api *api, const struct file_system *fs)
{
    uint64_t bytes = 0;
    if (fs->state != CATALOGUE_AVAILABLE)
        return description(api, fs, state_name(fs->state), EMPTY_SIZE);
    bool readable = read_size(api, fs, &bytes);
    json_t *json = description(api, fs, readable ? state_name(fs->state) : "error", bytes);
    if (readable)
        api_add_quota(api, json, fs->id, NULL, &fs->quota);
    return json;
}

// --- create ---

static int refuse(struct api_call *call, const char *message)
{
    api_fail(call->request, API_BadRequest, "%s", message);
    return -EINVAL;
}

// Member `name`, one of the n words, the first of them by default.
static int parse_mode(struct api_call *call, const char *name, const char *const *words, size_t n,
                      char out[MODE_SIZE])
{
    json_t *member = api_member(call->body, name);
    const char *text = member ? json_string_value(member) : words[0];
    for (size_t i = 0; text && i < n; i++) {
        if (strcmp(text, words[i]) == 0) {
            snprintf(out, MODE_SIZE, "%s", words[i]);
            return 0;
        }
    }
    api_fail(call->request, API_BadRequest, "%s is not one that there is.", name);
    return -EINVAL;
}

static int parse_throughput(struct api_call *call, struct file_system *fs)
{
    static const char *const modes[] = {"bursting", "provisioned", "elastic"};
    if (parse_mode(call, "ThroughputMode", modes, ARRAY_LEN(modes), fs->throughput_mode) < 0)
        return -EINVAL;
    json_t *member = api_member(call->body, "ProvisionedThroughputInMibps");
    bool provisioned = strcmp(fs->throughput_mode, "provisioned") == 0;
    if (provisioned != (member != NULL))
        return refuse(
            call,
            "ProvisionedThroughputInMibps goes with the throughput mode provisioned, and only with it.");
    fs->provisioned_mibps = json_number_value(member);
    if (provisioned &&
        !(json_is_number(member) && fs->provisioned_mibps >= 1 && fs->provisioned_mibps <= MIBPS_MAX))
        return refuse(call, "ProvisionedThroughputInMibps must be a number from 1 to 3414.");
    return 0;
}

// What can be asked of EFS and not of Berth is refused, not silently left out.
static int refuse_what_is_not_built(struct api_call *call)
{
    bool backup = false;
    if (api_parse_bool(call, "Backup", &backup) < 0)
        return -EINVAL;
    if (backup)
        return refuse(call, "Backup: this server makes no backups.");
    if (api_member(call->body, "KmsKeyId"))
        return refuse(call, "KmsKeyId: this server has no key management.");
    if (!api_member(call->body, "AvailabilityZoneName"))
        return 0;
    api_fail(call->request, API_UnsupportedAvailabilityZone, "This server has no availability zones.");
    return -EINVAL;
}

static int parse_file_system(struct api_call *call, struct file_system *fs)
{
    static const char *const modes[] = {"generalPurpose", "maxIO"};
    if (api_parse_token(call, "CreationToken", fs->creation_token, sizeof(fs->creation_token)) < 0 ||
        parse_mode(call, "PerformanceMode", modes, ARRAY_LEN(modes), fs->performance_mode) < 0 ||
        parse_throughput(call, fs) < 0 || api_parse_bool(call, "Encrypted", &fs->encrypted) < 0 ||
        api_parse_quota(call, &fs->quota) < 0 || refuse_what_is_not_built(call) < 0)
        return -EINVAL;
    return api_parse_tags(call, &fs->tags);
}

// Makes what the row CREATING promises. On failure a job cleans up, now or after the next start.
static int make(struct api *api, const struct file_system *fs)
{
    int result = hosting_create(api->options.hosting, fs->id);
    if (result == 0)
        result = catalogue_set_state(api->options.catalogue, fs->id, CATALOGUE_AVAILABLE);
    if (result < 0 && catalogue_set_state(api->options.catalogue, fs->id, CATALOGUE_DELETING) == 0)
        start_job(api, fs->id, JOB_REMOVES_ROW, true, NULL);
    return result;
}

void api_create_file_system(struct api_call *call)
{
    struct file_system fs = {.state = CATALOGUE_CREATING};
    if (parse_file_system(call, &fs) < 0)
        return;
    int result = catalogue_add_file_system(call->api->options.catalogue, &fs);
    if (result == -EEXIST) {
        api_fail_existing(call->request, API_FileSystemAlreadyExists, "FileSystemId", fs.id);
    } else if (result == -EDQUOT) {
        api_fail(call->request, API_FileSystemLimitExceeded,
                 "There are %u file systems, the most there may be.", CATALOGUE_FILE_SYSTEMS_MAX);
    } else {
        result = result < 0 ? result : make(call->api, &fs);
        if (result < 0) {
            api_fail_errno(call->request, call->operation, result);
        } else {
            log_info("file_system_created", "fs=%s", fs.id);
            api_reply(call->request, 201, description(call->api, &fs, "creating", EMPTY_SIZE));
        }
    }
    file_system_clear(&fs);
}

// --- describe ---

struct listing {
    struct api *api;
    json_t *list;
    const char *token; // NULL: any creation token
    size_t limit;
    uint64_t last;
    bool more;
};

static bool add_to_list(void *context, const struct file_system *fs)
{
    struct listing *listing = context;
    if (listing->token && strcmp(listing->token, fs->creation_token) != 0)
        return true;
    if (json_array_size(listing->list) == listing->limit) {
        listing->more = true;
        return false;
    }
    json_array_append_new(listing->list, current_description(listing->api, fs));
    listing->last = fs->number;
    return true;
}

static int list_one(struct api_call *call, const char *text, struct listing *listing)
{
    char id[FS_ID_SIZE];
    struct file_system fs;
    if (api_parse_id(call, text, "fs-", "file-system", id) < 0)
        return -EINVAL;
    int result = catalogue_get_file_system(call->api->options.catalogue, id, &fs);
    if (result == -ENOENT) {
        api_fail(call->request, API_FileSystemNotFound, "File system '%s' does not exist.", text);
    } else if (result < 0) {
        api_fail_errno(call->request, call->operation, result);
    } else {
        add_to_list(listing, &fs);
        file_system_clear(&fs);
    }
    return result;
}

static int list_page(struct api_call *call, uint64_t after, struct listing *listing)
{
    int result = catalogue_list_file_systems(call->api->options.catalogue, after, add_to_list, listing);
    if (result < 0)
        api_fail_errno(call->request, call->operation, result);
    return result;
}

void api_describe_file_systems(struct api_call *call)
{
    char id[API_ID_MAX + 1], token[CATALOGUE_TOKEN_MAX * 4 + 1], marker[API_ID_MAX + 1];
    bool has_id, has_token, has_marker;
    struct api_page page;
    if (api_parse_page(call, "MaxItems", "Marker", &page) < 0 ||
        api_query(call, "Marker", marker, sizeof(marker), &has_marker) < 0 ||
        api_query(call, "FileSystemId", id, sizeof(id), &has_id) < 0 ||
        api_query(call, "CreationToken", token, sizeof(token), &has_token) < 0)
        return;
    struct listing listing = {
        .api = call->api, .list = json_array(), .token = has_token ? token : NULL, .limit = page.limit};
    int result = has_id ? list_one(call, id, &listing) : list_page(call, page.after, &listing);
    if (result < 0) {
        json_decref(listing.list);
        return;
    }
    json_t *body = json_pack("{s:o}", "FileSystems", listing.list);
    if (has_marker)
        json_object_set_new(body, "Marker", json_string(marker));
    if (listing.more) {
        char next[API_TOKEN_SIZE];
        api_page_token(listing.last, next);
        json_object_set_new(body, "NextMarker", json_string(next));
    }
    api_reply(call->request, 200, body);
}

// --- delete ---

// Nothing is written when clients are attached: only a client that attaches between this look and hosting's
// own makes hosting refuse, and then the row is put back.
static int mark_for_deletion(struct api *api, const struct file_system *fs, bool force)
{
    struct hosting_usage usage = {0};
    int result = force ? 0 : hosting_usage(api->options.hosting, fs->id, &usage);
    if (result < 0 && result != -ENOENT)
        return result;
    if (usage.sessions > 0)
        return -EBUSY;
    return catalogue_set_state(api->options.catalogue, fs->id, CATALOGUE_DELETING);
}

static int start_delete(struct api_call *call, const char *id, bool force)
{
    struct api *api = call->api;
    struct file_system fs;
    int result = catalogue_get_file_system(api->options.catalogue, id, &fs);
    if (result < 0)
        return result;
    // DELETING without a job: an earlier attempt failed, this one goes on.
    if (has_job(api, id))
        result = -EBUSY;
    else if (fs.state == CATALOGUE_AVAILABLE)
        result = mark_for_deletion(api, &fs, force);
    file_system_clear(&fs);
    return result < 0 ? result : start_job(api, id, JOB_REMOVES_ROW, force, call->request);
}

void api_delete_file_system(struct api_call *call)
{
    char id[FS_ID_SIZE], force[8];
    bool has_force;
    if (api_parse_id(call, call->parameter, "fs-", "file-system", id) < 0 ||
        api_query(call, "force", force, sizeof(force), &has_force) < 0)
        return;
    if (has_force && strcmp(force, "true") != 0) {
        refuse(call, "force must be true.");
        return;
    }
    int result = start_delete(call, id, has_force);
    if (result == -ENOENT)
        api_fail(call->request, API_FileSystemNotFound, "File system '%s' does not exist.", call->parameter);
    else if (result == -EBUSY)
        api_fail(call->request, API_FileSystemInUse, "File system '%s' has clients attached.",
                 call->parameter);
    else if (result < 0)
        api_fail_errno(call->request, call->operation, result);
}
