// SPDX-License-Identifier: Apache-2.0
// berth ap create, list, delete. quota is in quota.c.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>

#define ACCESS_POINTS API "/access-points"

// --- create ---

struct create {
    struct common common;
    const char *fs, *token, *path, *permissions;
    json_t *uid, *gid, *gids, *owner_uid, *owner_gid;
};

// The number at *text, which ends with `end`; moves *text past it. NULL for anything else than 0 to 2^32 - 1.
static json_t *take_id(const char **text, char end)
{
    char *stop;
    errno = 0;
    unsigned long long value = strtoull(*text, &stop, 10);
    if (errno || **text < '0' || **text > '9' || value > UINT32_MAX || *stop != end)
        return NULL;
    *text = stop + (end != '\0');
    return json_integer((json_int_t)value);
}

static json_t *parse_id(const char *argument, const char *option, struct argp_state *state)
{
    json_t *id = take_id(&argument, '\0');
    if (!id)
        argp_error(state, "%s must be a number from 0 to 4294967295", option);
    return id;
}

static json_t *parse_ids(const char *argument, struct argp_state *state)
{
    json_t *ids = json_array();
    for (bool last = false; !last;) {
        last = !strchr(argument, ',');
        if (json_array_append_new(ids, take_id(&argument, last ? '\0' : ',')) < 0)
            argp_error(state, "--gids must be numbers with commas between");
    }
    return ids;
}

static void parse_owner(struct create *create, const char *argument, struct argp_state *state)
{
    create->owner_uid = take_id(&argument, ':');
    create->owner_gid = create->owner_uid ? take_id(&argument, '\0') : NULL;
    if (!create->owner_gid)
        argp_error(state, "--owner must be UID:GID, two numbers");
}

static void check_create(const struct create *create, struct argp_state *state)
{
    if (!create->fs)
        argp_error(state, "--fs is missing: the file system's id");
    if (!create->uid != !create->gid || (create->gids && !create->uid))
        argp_error(state, "--uid and --gid go together, and --gids with them");
    if (!create->owner_uid != !create->permissions)
        argp_error(state, "--owner and --perm go together");
}

enum { KEY_FS = 256, KEY_PATH, KEY_UID, KEY_GID, KEY_GIDS, KEY_OWNER, KEY_PERM, KEY_TOKEN };

static error_t parse_create(int key, char *argument, struct argp_state *state)
{
    struct create *create = state->input;
    switch (key) {
    case KEY_FS:
        create->fs = argument;
        return 0;
    case KEY_PATH:
        create->path = argument;
        return 0;
    case KEY_UID:
        create->uid = parse_id(argument, "--uid", state);
        return 0;
    case KEY_GID:
        create->gid = parse_id(argument, "--gid", state);
        return 0;
    case KEY_GIDS:
        create->gids = parse_ids(argument, state);
        return 0;
    case KEY_OWNER:
        parse_owner(create, argument, state);
        return 0;
    case KEY_PERM:
        create->permissions = argument;
        return 0;
    case KEY_TOKEN:
        create->token = argument;
        return 0;
    case ARGP_KEY_END:
        check_create(create, state);
        return 0;
    default:
        return parse_no_arguments(key, argument, state);
    }
}

static const struct argp_option create_options[] = {
    {"fs", KEY_FS, "FS", 0, "the file system (required)", 0},
    {"path", KEY_PATH, "PATH", 0, "the directory that clients see as their root; / when not given", 0},
    {"uid", KEY_UID, "UID", 0, "everything is done as this user, whoever asks", 0},
    {"gid", KEY_GID, "GID", 0, "and this group", 0},
    {"gids", KEY_GIDS, "GID,GID", 0, "and these further groups", 0},
    {"owner", KEY_OWNER, "UID:GID", 0, "makes the root directory when it is missing, for this owner", 0},
    {"perm", KEY_PERM, "MODE", 0, "and with this mode, such as 0750", 0},
    {"token", KEY_TOKEN, "TOKEN", 0, "creating again with the same token fails, and names what it made", 0},
    {0},
};

// Takes what the options made. NULL: some text was not UTF-8.
static json_t *create_body(const struct create *create)
{
    json_t *creation_info = NULL, *user = NULL, *root = json_object();
    if (create->owner_uid)
        creation_info = json_pack("{s:o, s:o, s:s}", "OwnerUid", create->owner_uid, "OwnerGid",
                                  create->owner_gid, "Permissions", create->permissions);
    if (create->uid)
        user = json_pack("{s:o, s:o, s:o*}", "Uid", create->uid, "Gid", create->gid, "SecondaryGids",
                         create->gids);
    bool ok = !create->path || json_object_set_new(root, "Path", json_string(create->path)) == 0;
    ok = ok && (!create->owner_uid || json_object_set_new(root, "CreationInfo", creation_info) == 0);
    json_t *body = json_pack("{s:o, s:s, s:O, s:O, s:o, s:o*}", "ClientToken",
                             create->token ? json_string(create->token) : new_token(), "FileSystemId",
                             create->fs, "Tags", create->common.tags, "BerthQuota", create->common.quota,
                             "RootDirectory", root, "PosixUser", user);
    if (ok)
        return body;
    json_decref(body);
    return NULL;
}

int ap_create(int argc, char **argv)
{
    static const struct argp argp = {.options = create_options,
                                     .parser = parse_create,
                                     .children = create_children,
                                     .doc = "Create an access point and print its id."};
    struct create create = {0};
    common_init(&create.common);
    common_parse(&argp, argc, argv, &create);
    json_t *body = create_body(&create);
    int code = 2;
    if (body)
        code = create_object(&create.common, "ap create", ACCESS_POINTS, body, "AccessPointId");
    else
        fprintf(stderr, "berth: ap create: what is given must be UTF-8 text\n");
    json_decref(body);
    common_free(&create.common);
    return code;
}

// --- list ---

struct list {
    struct common common;
    const char *fs;
};

static error_t parse_list(int key, char *argument, struct argp_state *state)
{
    struct list *list = state->input;
    if (key != KEY_FS)
        return parse_no_arguments(key, argument, state);
    list->fs = argument;
    return 0;
}

static const char *string_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "-";
}

// "uid:gid" of two members, or "-" without the object.
static json_t *ids_of(const json_t *object, const char *uid, const char *gid)
{
    if (!object)
        return json_string("-");
    return json_sprintf("%" JSON_INTEGER_FORMAT ":%" JSON_INTEGER_FORMAT,
                        json_integer_value(json_object_get(object, uid)),
                        json_integer_value(json_object_get(object, gid)));
}

static json_t *row_of(const json_t *ap)
{
    const json_t *root = json_object_get(ap, "RootDirectory"), *info = json_object_get(root, "CreationInfo");
    return json_pack(
        "[s, s, s, o, o, s, o, o, s]", string_of(ap, "AccessPointId"), string_of(ap, "FileSystemId"),
        string_of(root, "Path"), ids_of(json_object_get(ap, "PosixUser"), "Uid", "Gid"),
        ids_of(info, "OwnerUid", "OwnerGid"), string_of(info, "Permissions"),
        quota_cell(ap, "UsedBytes", "Bytes"), quota_cell(ap, "UsedInodes", "Inodes"), string_of(ap, "Name"));
}

static void print_list(const struct common *common, const json_t *all)
{
    if (common->json) {
        print_json(all);
        return;
    }
    json_t *rows = json_pack("[[s, s, s, s, s, s, s, s, s]]", "ID", "FILE SYSTEM", "PATH", "USER", "OWNER",
                             "MODE", "QUOTA BYTES", "QUOTA INODES", "NAME");
    for (size_t i = 0; i < json_array_size(all); i++)
        json_array_append_new(rows, row_of(json_array_get(all, i)));
    print_table(rows);
    json_decref(rows);
}

int ap_list(int argc, char **argv)
{
    static const struct argp_option options[] = {{"fs", KEY_FS, "FS", 0, "only those of this file system", 0},
                                                 {0}};
    static const struct argp argp = {.options = options,
                                     .parser = parse_list,
                                     .children = list_children,
                                     .doc = "List the access points."};
    struct list list = {0};
    common_init(&list.common);
    common_parse(&argp, argc, argv, &list);
    _cleanup_(freep) char *escaped = endpoint_escape(list.fs ? list.fs : "");
    _cleanup_(freep) char *path = NULL;
    if (asprintf(&path, ACCESS_POINTS "%s%s", list.fs ? "?FileSystemId=" : "", escaped) < 0) {
        path = NULL;
        fprintf(stderr, "berth: out of memory\n");
        return 1;
    }
    const struct listing listing = {
        .what = "ap list", .path = path, .member = "AccessPoints", .token = "NextToken", .next = "NextToken"};
    json_t *all = list_objects(&list.common, &listing);
    if (all)
        print_list(&list.common, all);
    int code = all ? 0 : 1;
    json_decref(all);
    common_free(&list.common);
    return code;
}

// --- delete ---

int ap_delete(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse_object,
        .children = common_children,
        .args_doc = "FSAP",
        .doc = "Delete an access point. Clients attached through it go on; none can attach "
               "any more, and its directory stays."};
    struct common common;
    common_init(&common);
    common_parse(&argp, argc, argv, &common);
    int code = delete_object(&common, "ap delete", ACCESS_POINTS, "");
    common_free(&common);
    return code;
}
