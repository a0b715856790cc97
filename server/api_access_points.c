// SPDX-License-Identifier: Apache-2.0
// CreateAccessPoint, DescribeAccessPoints, DeleteAccessPoint. An access point is a row of the catalogue: its
// root directory is made when a client attaches. Main thread.
#include "fs/base/log.h"
#include "server/api_call.h"
#include <errno.h>
#include <string.h>

#define PATH_DEPTH_MAX 4u // components, as EFS

static json_t *user_json(const struct access_point *ap)
{
    json_t *user = json_pack("{s:I, s:I}", "Uid", (json_int_t)ap->uid, "Gid", (json_int_t)ap->gid);
    if (ap->n_groups == 0)
        return user;
    json_t *groups = json_array();
    for (uint32_t i = 0; i < ap->n_groups; i++)
        json_array_append_new(groups, json_integer(ap->groups[i]));
    json_object_set_new(user, "SecondaryGids", groups);
    return user;
}

static json_t *root_json(const struct access_point *ap)
{
    json_t *root = json_pack("{s:s}", "Path", ap->path);
    if (!ap->has_creation_info)
        return root;
    char permissions[8];
    snprintf(permissions, sizeof(permissions), ap->permissions > 0777 ? "%04o" : "%03o", ap->permissions);
    json_object_set_new(root, "CreationInfo",
                        json_pack("{s:I, s:I, s:s}", "OwnerUid", (json_int_t)ap->owner_uid, "OwnerGid",
                                  (json_int_t)ap->owner_gid, "Permissions", permissions));
    return root;
}

static json_t *description(struct api *api, const struct access_point *ap, const char *state)
{
    json_t *json =
        json_pack("{s:s, s:o, s:s, s:o, s:s, s:o, s:s, s:s}", "ClientToken", ap->client_token, "Tags",
                  api_tags_json(&ap->tags), "AccessPointId", ap->id, "AccessPointArn",
                  api_arn("access-point", ap->id), "FileSystemId", ap->file_system_id, "RootDirectory",
                  root_json(ap), "OwnerId", CATALOGUE_ACCOUNT_ID, "LifeCycleState", state);
    if (ap->has_user)
        json_object_set_new(json, "PosixUser", user_json(ap));
    api_add_name(json, &ap->tags);
    api_add_quota(api, json, ap->file_system_id, ap->path, &ap->quota);
    return json;
}

// --- create ---

static int refuse(struct api_call *call, const char *message)
{
    api_fail(call->request, API_BadRequest, "%s", message);
    return -EINVAL;
}

static int parse_groups(struct api_call *call, json_t *user, struct access_point *ap)
{
    json_t *list = api_member(user, "SecondaryGids");
    size_t n = json_array_size(list);
    if ((list && !json_is_array(list)) || n > FS_AP_GROUPS_MAX)
        return refuse(call, "SecondaryGids must be a list of at most 16 group ids.");
    for (size_t i = 0; i < n; i++) {
        json_t *gid = json_array_get(list, i);
        json_int_t value = json_integer_value(gid);
        if (!json_is_integer(gid) || value < 0 || value > UINT32_MAX)
            return refuse(call, "Each of SecondaryGids must be a whole number from 0 to 4294967295.");
        ap->groups[i] = (uint32_t)value;
    }
    ap->n_groups = (uint32_t)n;
    return 0;
}

static int parse_user(struct api_call *call, struct access_point *ap)
{
    json_t *user = api_member(call->body, "PosixUser");
    if (!user)
        return 0;
    if (!json_is_object(user))
        return refuse(call, "PosixUser must be an object with Uid and Gid.");
    ap->has_user = true;
    if (api_parse_u32(call, user, "Uid", &ap->uid) < 0 || api_parse_u32(call, user, "Gid", &ap->gid) < 0)
        return -EINVAL;
    return parse_groups(call, user, ap);
}

// "/" or one to four components, none of which begins with '.' or has a character of $#<>;`|&?{}^*.
static bool is_root_path(const char *path)
{
    if (strcmp(path, "/") == 0)
        return true;
    unsigned depth = 0;
    while (*path == '/') {
        size_t length = strcspn(path + 1, "/");
        if (length == 0 || path[1] == '.' || strcspn(path + 1, "$#<>;`|&?{}^*\n") < length)
            return false;
        path += 1 + length;
        depth++;
    }
    return *path == '\0' && depth > 0 && depth <= PATH_DEPTH_MAX;
}

static int parse_permissions(struct api_call *call, json_t *info, uint32_t *ret)
{
    const char *text = json_string_value(api_member(info, "Permissions"));
    size_t length = text ? strlen(text) : 0;
    if (length < 3 || length > 4 || strspn(text, "01234567") != length)
        return refuse(call, "Permissions must be a string of 3 or 4 octal digits, such as \"0755\".");
    *ret = (uint32_t)strtoul(text, NULL, 8);
    return 0;
}

static int parse_creation_info(struct api_call *call, json_t *root, struct access_point *ap)
{
    json_t *info = api_member(root, "CreationInfo");
    if (!info)
        return 0;
    if (!json_is_object(info))
        return refuse(call, "CreationInfo must be an object with OwnerUid, OwnerGid and Permissions.");
    ap->has_creation_info = true;
    if (api_parse_u32(call, info, "OwnerUid", &ap->owner_uid) < 0 ||
        api_parse_u32(call, info, "OwnerGid", &ap->owner_gid) < 0)
        return -EINVAL;
    return parse_permissions(call, info, &ap->permissions);
}

static int parse_root(struct api_call *call, struct access_point *ap)
{
    json_t *root = api_member(call->body, "RootDirectory");
    memcpy(ap->path, "/", 2);
    if (!root)
        return 0;
    if (!json_is_object(root))
        return refuse(call, "RootDirectory must be an object.");
    json_t *path = api_member(root, "Path");
    if (path) {
        const char *text = json_string_value(path);
        if (!text || strlen(text) > FS_AP_PATH_MAX || !is_root_path(text))
            return refuse(
                call, "Path must be / or up to four names, each after a /, that do not begin with a dot and "
                      "have none of $#<>;`|&?{}^*, in at most 100 bytes.");
        memcpy(ap->path, text, strlen(text) + 1);
    }
    return parse_creation_info(call, root, ap);
}

// The file system that the access point is to be of: there, and available.
static int parse_file_system(struct api_call *call, struct access_point *ap)
{
    const char *text = json_string_value(api_member(call->body, "FileSystemId"));
    struct file_system fs;
    if (!text)
        return refuse(call, "FileSystemId is required, a string.");
    if (api_parse_id(call, text, "fs-", "file-system", ap->file_system_id) < 0)
        return -EINVAL;
    int result = catalogue_get_file_system(call->api->options.catalogue, ap->file_system_id, &fs);
    if (result == -ENOENT)
        api_fail(call->request, API_FileSystemNotFound, "File system '%s' does not exist.", text);
    else if (result < 0)
        api_fail_errno(call->request, call->operation, result);
    if (result < 0)
        return -EINVAL;
    bool available = fs.state == CATALOGUE_AVAILABLE;
    file_system_clear(&fs);
    if (available)
        return 0;
    api_fail(call->request, API_IncorrectFileSystemLifeCycleState, "File system '%s' is not available.",
             text);
    return -EINVAL;
}

static int parse_access_point(struct api_call *call, struct access_point *ap)
{
    if (api_parse_token(call, "ClientToken", ap->client_token, sizeof(ap->client_token)) < 0 ||
        parse_user(call, ap) < 0 || parse_root(call, ap) < 0 || api_parse_quota(call, &ap->quota) < 0 ||
        parse_file_system(call, ap) < 0)
        return -EINVAL;
    return api_parse_tags(call, &ap->tags);
}

// A root directory that exists becomes a quota root now. Where that fails it does so at the first attach.
static void charge_existing(struct api *api, const struct access_point *ap)
{
    if (ap->quota.max_bytes == 0 && ap->quota.max_inodes == 0)
        return;
    int result = api_apply_quota(api, ap->file_system_id, ap->path, &ap->quota);
    if (result < 0)
        log_warn("quota_failed", "ap=%s reason=%s", ap->id, strerror(-result));
}

void api_create_access_point(struct api_call *call)
{
    struct access_point ap = {0};
    if (parse_access_point(call, &ap) < 0)
        return;
    int result = catalogue_add_access_point(call->api->options.catalogue, &ap);
    if (result == -EEXIST) {
        api_fail_existing(call->request, API_AccessPointAlreadyExists, "AccessPointId", ap.id);
    } else if (result == -EDQUOT) {
        api_fail(call->request, API_AccessPointLimitExceeded,
                 "File system '%s' has %u access points, the most it may.", ap.file_system_id,
                 CATALOGUE_ACCESS_POINTS_MAX);
    } else if (result == -ENOTUNIQ) {
        api_fail(
            call->request, API_BadRequest,
            "Access point '%s' has the same root directory with another quota: give this one the same, or "
            "change that one's.",
            ap.id);
    } else if (result < 0) {
        api_fail_errno(call->request, call->operation, result);
    } else {
        char path[2 * FS_AP_PATH_MAX];
        log_info("access_point_created", "ap=%s fs=%s path=%s", ap.id, ap.file_system_id,
                 log_text(path, sizeof(path), ap.path, strlen(ap.path)));
        charge_existing(call->api, &ap);
        api_reply(call->request, 200, description(call->api, &ap, "creating"));
    }
    access_point_clear(&ap);
}

// --- describe ---

struct listing {
    struct api *api;
    json_t *list;
    size_t limit;
    uint64_t last;
    bool more;
};

static bool add_to_list(void *context, const struct access_point *ap)
{
    struct listing *listing = context;
    if (json_array_size(listing->list) == listing->limit) {
        listing->more = true;
        return false;
    }
    json_array_append_new(listing->list, description(listing->api, ap, "available"));
    listing->last = ap->number;
    return true;
}

static void describe_one(struct api_call *call, const char *text)
{
    char id[FS_ID_SIZE];
    struct access_point ap;
    if (api_parse_id(call, text, "fsap-", "access-point", id) < 0)
        return;
    int result = catalogue_get_access_point(call->api->options.catalogue, id, &ap);
    if (result == -ENOENT) {
        api_fail(call->request, API_AccessPointNotFound, "Access point '%s' does not exist.", text);
    } else if (result < 0) {
        api_fail_errno(call->request, call->operation, result);
    } else {
        api_reply(call->request, 200,
                  json_pack("{s:[o]}", "AccessPoints", description(call->api, &ap, "available")));
        access_point_clear(&ap);
    }
}

// 0 when the file system named exists; else the request was answered.
static int check_file_system(struct api_call *call, const char *text, char id[FS_ID_SIZE])
{
    struct file_system fs;
    if (api_parse_id(call, text, "fs-", "file-system", id) < 0)
        return -EINVAL;
    int result = catalogue_get_file_system(call->api->options.catalogue, id, &fs);
    if (result == 0)
        file_system_clear(&fs);
    else if (result == -ENOENT)
        api_fail(call->request, API_FileSystemNotFound, "File system '%s' does not exist.", text);
    else
        api_fail_errno(call->request, call->operation, result);
    return result;
}

static void describe_page(struct api_call *call, const char *fs_id, const struct api_page *page)
{
    struct listing listing = {.api = call->api, .list = json_array(), .limit = page->limit};
    int result =
        catalogue_list_access_points(call->api->options.catalogue, fs_id, page->after, add_to_list, &listing);
    if (result < 0) {
        json_decref(listing.list);
        api_fail_errno(call->request, call->operation, result);
        return;
    }
    json_t *body = json_pack("{s:o}", "AccessPoints", listing.list);
    if (listing.more) {
        char token[API_TOKEN_SIZE];
        api_page_token(listing.last, token);
        json_object_set_new(body, "NextToken", json_string(token));
    }
    api_reply(call->request, 200, body);
}

void api_describe_access_points(struct api_call *call)
{
    char ap_text[API_ID_MAX + 1], fs_text[API_ID_MAX + 1], fs_id[FS_ID_SIZE];
    bool has_ap, has_fs;
    struct api_page page;
    if (api_parse_page(call, "MaxResults", "NextToken", &page) < 0 ||
        api_query(call, "AccessPointId", ap_text, sizeof(ap_text), &has_ap) < 0 ||
        api_query(call, "FileSystemId", fs_text, sizeof(fs_text), &has_fs) < 0)
        return;
    if (has_ap && has_fs)
        refuse(call, "AccessPointId and FileSystemId exclude each other.");
    else if (has_ap)
        describe_one(call, ap_text);
    else if (!has_fs || check_file_system(call, fs_text, fs_id) == 0)
        describe_page(call, has_fs ? fs_id : NULL, &page);
}

// --- delete ---

void api_delete_access_point(struct api_call *call)
{
    char id[FS_ID_SIZE];
    if (api_parse_id(call, call->parameter, "fsap-", "access-point", id) < 0)
        return;
    int result = catalogue_remove_access_point(call->api->options.catalogue, id);
    if (result == -ENOENT) {
        api_fail(call->request, API_AccessPointNotFound, "Access point '%s' does not exist.",
                 call->parameter);
    } else if (result < 0) {
        api_fail_errno(call->request, call->operation, result);
    } else {
        log_info("access_point_deleted", "ap=%s", id);
        api_reply(call->request, 204, NULL);
    }
}
