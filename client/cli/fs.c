// SPDX-License-Identifier: Apache-2.0
// berth fs create, list, delete. quota is in quota.c.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define FILE_SYSTEMS API "/file-systems"

// --- create ---

struct create {
    struct common common;
    const char *token;
};

static error_t parse_create(int key, char *argument, struct argp_state *state)
{
    struct create *create = state->input;
    if (key != 'T')
        return parse_no_arguments(key, argument, state);
    create->token = argument;
    return 0;
}

int fs_create(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"token", 'T', "TOKEN", 0, "creating again with the same token fails, and names what it made", 0},
        {0}};
    static const struct argp argp = {.options = options,
                                     .parser = parse_create,
                                     .children = create_children,
                                     .doc = "Create a file system and print its id."};
    struct create create = {0};
    common_init(&create.common);
    common_parse(&argp, argc, argv, &create);
    json_t *body =
        json_pack("{s:o, s:O, s:O}", "CreationToken", create.token ? json_string(create.token) : new_token(),
                  "Tags", create.common.tags, "BerthQuota", create.common.quota);
    int code = 2;
    if (body)
        code = create_object(&create.common, "fs create", FILE_SYSTEMS, body, "FileSystemId");
    else
        fprintf(stderr, "berth: fs create: the token must be UTF-8 text\n");
    json_decref(body);
    common_free(&create.common);
    return code;
}

// --- list ---

static const char *string_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "-";
}

static json_t *row_of(const json_t *fs)
{
    char created[32] = "-";
    time_t seconds = (time_t)json_number_value(json_object_get(fs, "CreationTime"));
    struct tm tm;
    if (gmtime_r(&seconds, &tm))
        strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_int_t size = json_integer_value(json_object_get(json_object_get(fs, "SizeInBytes"), "Value"));
    return json_pack("[s, s, o, o, o, s, s]", string_of(fs, "FileSystemId"), string_of(fs, "LifeCycleState"),
                     json_sprintf("%" JSON_INTEGER_FORMAT, size), quota_cell(fs, "UsedBytes", "Bytes"),
                     quota_cell(fs, "UsedInodes", "Inodes"), created, string_of(fs, "Name"));
}

int fs_list(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse_no_arguments, .children = list_children, .doc = "List the file systems."};
    static const struct listing listing = {.what = "fs list",
                                           .path = FILE_SYSTEMS,
                                           .member = "FileSystems",
                                           .token = "Marker",
                                           .next = "NextMarker"};
    struct common common;
    common_init(&common);
    common_parse(&argp, argc, argv, &common);
    json_t *all = list_objects(&common, &listing);
    if (all && common.json) {
        print_json(all);
    } else if (all) {
        json_t *rows = json_pack("[[s, s, s, s, s, s, s]]", "ID", "STATE", "BYTES", "QUOTA BYTES",
                                 "QUOTA INODES", "CREATED", "NAME");
        for (size_t i = 0; i < json_array_size(all); i++)
            json_array_append_new(rows, row_of(json_array_get(all, i)));
        print_table(rows);
        json_decref(rows);
    }
    int code = all ? 0 : 1;
    json_decref(all);
    common_free(&common);
    return code;
}

// --- delete ---

struct delete
{
    struct common common;
    bool force;
};

static error_t parse_delete(int key, char *argument, struct argp_state *state)
{
    struct delete *delete = state->input;
    if (key != 'f')
        return parse_object(key, argument, state);
    delete->force = true;
    return 0;
}

int fs_delete(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"force", 'f', NULL, 0, "also when clients are attached: they are cut off", 0}, {0}};
    static const struct argp argp = {.options = options,
                                     .parser = parse_delete,
                                     .children = common_children,
                                     .args_doc = "FS",
                                     .doc = "Delete a file system, its access points and all that is in it."};
    struct delete delete = {0};
    common_init(&delete.common);
    common_parse(&argp, argc, argv, &delete);
    int code = delete_object(&delete.common, "fs delete", FILE_SYSTEMS, delete.force ? "?force=true" : "");
    common_free(&delete.common);
    return code;
}
