// SPDX-License-Identifier: Apache-2.0
// What the commands share: options, creating, listing page by page, deleting.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include "fs/base/env.h"
#include <string.h>

#define DEFAULT_ENDPOINT "http://127.0.0.1:7401"
#define TOKEN_BYTES      16u

// --- options ---

static error_t parse_common(int key, char *argument, struct argp_state *state)
{
    struct common *common = state->input;
    if (key == 'e') {
        if (!endpoint_is_valid(argument))
            argp_error(state, "--endpoint must be http://HOST:PORT or unix:/PATH, not '%s'", argument);
        common->endpoint.name = argument;
    } else if (key == 'p') {
        common->endpoint.profile = argument;
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void add_tag(struct common *common, const char *key, size_t key_length, const char *value)
{
    json_array_append_new(common->tags, json_pack("{s:s%, s:s}", "Key", key, key_length, "Value",
                                                  value)); // null when not UTF-8
}

static error_t parse_tags(int key, char *argument, struct argp_state *state)
{
    struct common *common = state->input;
    size_t before = json_array_size(common->tags);
    if (key == 'n') {
        add_tag(common, "Name", 4, argument);
    } else if (key == 't') {
        const char *equals = strchr(argument, '=');
        if (!equals || equals == argument)
            argp_error(state, "--tag must be KEY=VALUE, not '%s'", argument);
        add_tag(common, argument, (size_t)(equals - argument), equals + 1);
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    if (json_array_size(common->tags) == before)
        argp_error(state, "a tag must be UTF-8 text");
    return 0;
}

static error_t parse_json(int key, char *argument UNUSED, struct argp_state *state)
{
    struct common *common = state->input;
    if (key != 'j')
        return ARGP_ERR_UNKNOWN;
    common->json = true;
    return 0;
}

static const struct argp_option common_options[] = {
    {"endpoint", 'e', "URL", 0,
     "the server's API, http://HOST:PORT or unix:/PATH (BERTH_ENDPOINT, else " DEFAULT_ENDPOINT ")", 0},
    {"profile", 'p', "NAME", 0, "profile of the AWS credentials file", 0},
    {0},
};
static const struct argp_option tag_options[] = {
    {"name", 'n', "NAME", 0, "the tag Name", 0},
    {"tag", 't', "KEY=VALUE", 0, "a tag; may be given more than once", 0},
    {0},
};
static const struct argp_option json_options[] = {{"json", 'j', NULL, 0, "print JSON", 0}, {0}};

const struct argp common_argp = {.options = common_options, .parser = parse_common};
static const struct argp tag_argp = {.options = tag_options, .parser = parse_tags};
static const struct argp json_argp = {.options = json_options, .parser = parse_json};

const struct argp_child common_children[] = {{&common_argp, 0, NULL, 0}, {0}};
const struct argp_child create_children[] = {
    {&tag_argp, 0, NULL, 0}, {&quota_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};
const struct argp_child list_children[] = {{&json_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};

void common_init(struct common *common)
{
    const char *endpoint = getenv("BERTH_ENDPOINT");
    *common = (struct common){.endpoint.name = endpoint && *endpoint ? endpoint : DEFAULT_ENDPOINT,
                              .tags = json_array(),
                              .quota = json_object()};
    if (!endpoint_is_valid(common->endpoint.name)) {
        fprintf(stderr, "berth: BERTH_ENDPOINT must be http://HOST:PORT or unix:/PATH, not '%s'\n",
                common->endpoint.name);
        exit(2);
    }
}

void common_free(struct common *common)
{
    json_decref(common->tags);
    json_decref(common->quota);
}

void common_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    struct common *common = input;
    common->children = argp->children;
    argp_parse(argp, argc, argv, 0, NULL, input);
}

// The option groups work on what the command's own parser works on.
static void hand_down(struct common *common, const struct argp_state *state)
{
    for (size_t i = 0; common->children[i].argp; i++)
        state->child_inputs[i] = common;
}

error_t parse_object(int key, char *argument, struct argp_state *state)
{
    struct common *common = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        hand_down(common, state);
        return 0;
    case ARGP_KEY_ARG: {
        if (common->object)
            argp_error(state, "one id at a time, please");
        const char *slash = strrchr(argument, '/'); // of an ARN
        common->object = slash ? slash + 1 : argument;
        return 0;
    }
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which one? Give its id");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

error_t parse_no_arguments(int key, char *argument, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        hand_down(state->input, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// --- requests ---

json_t *new_token(void)
{
    uint8_t bytes[TOKEN_BYTES];
    char text[2 * TOKEN_BYTES + 1];
    env_random(&env_system, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

int create_object(const struct common *common, const char *what, const char *path, json_t *body,
                  const char *id_name)
{
    const struct endpoint_request request = {
        .what = what, .method = "POST", .path_and_query = path, .body = body};
    json_t *answer = NULL;
    if (endpoint_call(&common->endpoint, &request, &answer) < 0)
        return 1;
    const char *id = json_string_value(json_object_get(answer, id_name));
    if (id)
        puts(id);
    else
        fprintf(stderr, "berth: %s: the answer names no %s\n", what, id_name);
    json_decref(answer);
    return id ? 0 : 1;
}

// Asks for the object that was named, and throws a good answer away.
static int call_object(const struct common *common, const char *what, const char *path, const char *query,
                       struct endpoint_request request)
{
    _cleanup_(freep) char *escaped = endpoint_escape(common->object);
    _cleanup_(freep) char *path_and_query = NULL;
    _cleanup_(freep) char *full_what = NULL;
    if (asprintf(&path_and_query, "%s/%s%s", path, escaped, query) < 0 ||
        asprintf(&full_what, "%s %s", what, common->object) < 0) {
        fprintf(stderr, "berth: out of memory\n");
        exit(1);
    }
    request.what = full_what;
    request.path_and_query = path_and_query;
    json_t *answer = NULL;
    int result = endpoint_call(&common->endpoint, &request, &answer);
    json_decref(answer);
    return result < 0 ? 1 : 0;
}

int put_object(const struct common *common, const char *what, const char *path, json_t *body)
{
    return call_object(common, what, path, "", (struct endpoint_request){.method = "PUT", .body = body});
}

int delete_object(const struct common *common, const char *what, const char *path, const char *query)
{
    return call_object(common, what, path, query, (struct endpoint_request){.method = "DELETE"});
}

// The page at `path`; adds its objects to all. *ret_next is the next page's token, or NULL; the caller's.
static int list_page(const struct common *common, const struct listing *listing, const char *path,
                     json_t *all, char **ret_next)
{
    const struct endpoint_request request = {.what = listing->what, .method = "GET", .path_and_query = path};
    json_t *answer = NULL;
    if (endpoint_call(&common->endpoint, &request, &answer) < 0)
        return -1;
    json_array_extend(all, json_object_get(answer, listing->member));
    const char *next = json_string_value(json_object_get(answer, listing->next));
    *ret_next = next ? endpoint_escape(next) : NULL;
    json_decref(answer);
    return 0;
}

json_t *list_objects(const struct common *common, const struct listing *listing)
{
    json_t *all = json_array();
    char *path = strdup(listing->path), *next = NULL;
    int result = path ? list_page(common, listing, path, all, &next) : -1;
    while (result == 0 && next) {
        free(path);
        char separator = strchr(listing->path, '?') ? '&' : '?';
        if (asprintf(&path, "%s%c%s=%s", listing->path, separator, listing->token, next) < 0)
            path = NULL;
        free(next);
        next = NULL;
        result = path ? list_page(common, listing, path, all, &next) : -1;
    }
    free(path);
    if (result == 0)
        return all;
    json_decref(all);
    return NULL;
}

void print_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(13));
    putchar('\n');
}
