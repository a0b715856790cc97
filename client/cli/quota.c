// SPDX-License-Identifier: Apache-2.0
// Quotas on the command line: the options of the creates, berth fs quota, berth ap quota, the columns of the
// lists.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#define QUOTA API "/berth/quota"

// Digits, and one of K, M, G, T for powers of 1024. False for anything else, and past INT64_MAX.
static bool parse_amount(const char *text, json_int_t *ret)
{
    static const char suffixes[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || !isdigit((unsigned char)text[0]))
        return false;
    const char *suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if ((*end && (!suffix || end[1])) || value > (unsigned long long)INT64_MAX >> shift)
        return false;
    *ret = (json_int_t)(value << shift);
    return true;
}

enum { KEY_BYTES = 512, KEY_INODES };

static error_t parse_limit(int key, char *argument, struct argp_state *state)
{
    struct common *common = state->input;
    json_int_t amount = 0;
    if (key != KEY_BYTES && key != KEY_INODES)
        return ARGP_ERR_UNKNOWN;
    if (!parse_amount(argument, &amount))
        argp_error(state, "--quota-%s must be a number, K, M, G or T behind it or not, such as 512M",
                   key == KEY_BYTES ? "bytes" : "inodes");
    json_object_set_new(common->quota, key == KEY_BYTES ? "Bytes" : "Inodes", json_integer(amount));
    return 0;
}

static const struct argp_option limit_options[] = {
    {"quota-bytes", KEY_BYTES, "N", 0, "at most so many bytes in files (K, M, G, T: times 1024); 0: no limit",
     0},
    {"quota-inodes", KEY_INODES, "N", 0, "at most so many files, directories and others; 0: no limit", 0},
    {0},
};

const struct argp quota_argp = {.options = limit_options, .parser = parse_limit};

// --- change ---

static error_t parse_change(int key, char *argument, struct argp_state *state)
{
    const struct common *common = state->input;
    if (key == ARGP_KEY_SUCCESS && json_object_size(common->quota) == 0)
        argp_error(state, "--quota-bytes or --quota-inodes is missing: the new limit, 0 for none");
    return parse_object(key, argument, state);
}

static int change(int argc, char **argv, const char *what, const struct argp *argp)
{
    struct common common;
    common_init(&common);
    common_parse(argp, argc, argv, &common);
    int code = put_object(&common, what, QUOTA, common.quota);
    common_free(&common);
    return code;
}

static const struct argp_child change_children[] = {
    {&quota_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};

int fs_quota(int argc, char **argv)
{
    static const struct argp argp = {.parser = parse_change,
                                     .children = change_children,
                                     .args_doc = "FS",
                                     .doc =
                                         "Change how much a file system may hold. What is not given stays."};
    return change(argc, argv, "fs quota", &argp);
}

int ap_quota(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse_change,
        .children = change_children,
        .args_doc = "FSAP",
        .doc =
            "Change how much the root directory of an access point may hold. What is not given stays; access "
            "points with the same root directory have the same quota."};
    return change(argc, argv, "ap quota", &argp);
}

// --- lists ---

// "used/limit", or "-".
json_t *quota_cell(const json_t *object, const char *used, const char *limit)
{
    const json_t *quota = json_object_get(object, "BerthQuota");
    json_int_t max = json_integer_value(json_object_get(quota, limit));
    if (max == 0)
        return json_string("-");
    return json_sprintf("%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
                        json_integer_value(json_object_get(quota, used)), max);
}
