// SPDX-License-Identifier: Apache-2.0
// berth clients, locks, evict: who is attached, who holds and waits for what, and cutting a client off.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define CLIENTS API "/berth/clients"
#define LOCKS   API "/berth/locks"

struct list {
    struct common common;
    const char *fs;
};

static error_t parse_list(int key, char *argument, struct argp_state *state)
{
    struct list *list = state->input;
    if (key != 'f')
        return parse_no_arguments(key, argument, state);
    list->fs = argument;
    return 0;
}

static const struct argp_option fs_options[] = {{"fs", 'f', "FS", 0, "only those of this file system", 0},
                                                {0}};

// --- cells ---

static const char *string_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "-";
}

static json_t *number_of(const json_t *object, const char *name)
{
    return json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(object, name)));
}

static json_t *since_of(const json_t *client)
{
    char text[32] = "-";
    time_t seconds = (time_t)json_number_value(json_object_get(client, "Since"));
    struct tm tm;
    if (seconds && gmtime_r(&seconds, &tm))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static const char *state_of(const json_t *client)
{
    if (json_is_true(json_object_get(client, "Expired")))
        return "expired";
    return json_is_true(json_object_get(client, "Connected")) ? "connected" : "away";
}

static json_t *client_row(const json_t *client)
{
    return json_pack("[s, s, s, s, s, o, s, o, o, o]", string_of(client, "ClientId"),
                     string_of(client, "FileSystemId"), string_of(client, "AccessPointId"),
                     string_of(client, "Name"), string_of(client, "Peer"), since_of(client), state_of(client),
                     number_of(client, "Opens"), number_of(client, "Locks"), number_of(client, "Waits"));
}

// "first-last", both counted; "-end" to the end of any file.
static json_t *range_of(const json_t *lock)
{
    json_int_t start = json_integer_value(json_object_get(lock, "Start"));
    const json_t *end = json_object_get(lock, "End");
    if (json_is_null(end))
        return json_sprintf("%" JSON_INTEGER_FORMAT "-end", start);
    return json_sprintf("%" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT, start, json_integer_value(end));
}

static json_t *lock_row(const json_t *lock)
{
    return json_pack("[s, o, s, s, o, s, s, s, o]", string_of(lock, "FileSystemId"), number_of(lock, "Inode"),
                     string_of(lock, "Kind"), string_of(lock, "Type"), range_of(lock),
                     json_is_true(json_object_get(lock, "Waits")) ? "waits" : "holds",
                     string_of(lock, "ClientId"), string_of(lock, "Name"), number_of(lock, "Pid"));
}

// --- lists ---

struct view {
    const char *what, *path, *member;
    json_t *(*row)(const json_t *object);
};

// Owns heads.
static void print_rows(const struct view *view, const json_t *all, json_t *heads)
{
    json_t *rows = json_pack("[o]", heads);
    for (size_t i = 0; i < json_array_size(all); i++)
        json_array_append_new(rows, view->row(json_array_get(all, i)));
    print_table(rows);
    json_decref(rows);
}

static int show(const struct list *list, const struct view *view, json_t *heads)
{
    _cleanup_(freep) char *escaped = endpoint_escape(list->fs ? list->fs : "");
    _cleanup_(freep) char *path = NULL;
    if (asprintf(&path, "%s%s%s", view->path, list->fs ? "?FileSystemId=" : "", escaped) < 0) {
        path = NULL;
        json_decref(heads);
        fprintf(stderr, "berth: out of memory\n");
        return 1;
    }
    const struct endpoint_request request = {.what = view->what, .method = "GET", .path_and_query = path};
    json_t *answer = NULL;
    int result = endpoint_call(&list->common.endpoint, &request, &answer);
    const json_t *all = json_object_get(answer, view->member);
    if (result == 0 && list->common.json)
        print_json(all);
    else if (result == 0)
        print_rows(view, all, json_incref(heads));
    if (json_is_true(json_object_get(answer, "Truncated")))
        fprintf(stderr, "berth: %s: there are more than are shown\n", view->what);
    json_decref(heads);
    json_decref(answer);
    return result < 0 ? 1 : 0;
}

int clients_list(int argc, char **argv)
{
    static const struct argp argp = {.options = fs_options,
                                     .parser = parse_list,
                                     .children = list_children,
                                     .doc = "List who is attached, from where, and how much they hold."};
    static const struct view view = {"clients", CLIENTS, "Clients", client_row};
    struct list list = {0};
    common_init(&list.common);
    common_parse(&argp, argc, argv, &list);
    int code = show(&list, &view,
                    json_pack("[s, s, s, s, s, s, s, s, s, s]", "ID", "FILE SYSTEM", "ACCESS POINT",
                              "HOST:PID:MOUNTPOINT", "PEER", "SINCE", "STATE", "OPENS", "LOCKS", "WAITS"));
    common_free(&list.common);
    return code;
}

int locks_list(int argc, char **argv)
{
    static const struct argp argp = {.options = fs_options,
                                     .parser = parse_list,
                                     .children = list_children,
                                     .doc = "List what is locked and what is waited for, with the client."};
    static const struct view view = {"locks", LOCKS, "Locks", lock_row};
    struct list list = {0};
    common_init(&list.common);
    common_parse(&argp, argc, argv, &list);
    int code = show(&list, &view,
                    json_pack("[s, s, s, s, s, s, s, s, s]", "FILE SYSTEM", "INODE", "KIND", "TYPE", "RANGE",
                              "STATE", "CLIENT", "HOST:PID:MOUNTPOINT", "PID"));
    common_free(&list.common);
    return code;
}

// --- evict ---

int clients_evict(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse_object,
        .children = common_children,
        .args_doc = "CLIENT",
        .doc = "Cut a client off: what it has locked is free at once, what it has open answers EIO, and what "
               "it opens from then on works. `berth clients' shows the ids."};
    struct common common;
    common_init(&common);
    common_parse(&argp, argc, argv, &common);
    int code = delete_object(&common, "evict", CLIENTS, "");
    common_free(&common);
    return code;
}
