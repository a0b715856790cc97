// SPDX-License-Identifier: Apache-2.0
// Who is attached, what is locked, and cutting a client off, which EFS has not: GET /2015-02-01/berth/clients
// and /berth/locks, DELETE /berth/clients/ID. The shards know; they answer later. Main thread. Invariant: a
// question is freed when it is answered; until then it is in api->questions, or the api has ended.
#include "fs/base/log.h"
#include "server/api_call.h"
#include "server/census.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct question {
    struct list link;
    struct http_request *request; // NULL: nobody waits
    const char *operation;
    enum census_kind kind;
    char client[24]; // as it was asked for
};

void api_forget_question(struct api *api, const struct http_request *request)
{
    list_for_each (it, &api->questions) {
        struct question *question = LIST_ENTRY(it, struct question, link);
        if (question->request == request)
            question->request = NULL;
    }
}

void api_release_questions(struct api *api)
{
    while (list_pop(&api->questions)) {
    }
}

// --- answers ---

static json_t *id_json(uint64_t id)
{
    return json_sprintf("%016" PRIx64, id);
}

// What a peer chose has been made printable; "" is nothing.
static json_t *text_json(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *client_json(const struct census_client *client)
{
    json_t *since = client->since_ns ? json_real((double)client->since_ns / 1e9) : json_null();
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I}",
                     "ClientId", id_json(client->client), "FileSystemId", client->fs_id, "AccessPointId",
                     client->access_point, "Name", text_json(client->name), "Peer", text_json(client->peer),
                     "AccessKeyId", text_json(client->principal), "Since", since, "Connected",
                     (int)client->connected, "Expired", (int)client->expired, "ReadOnly",
                     (int)client->read_only, "Opens", (json_int_t)client->n_opens, "Locks",
                     (json_int_t)client->n_locks, "Waits", (json_int_t)client->n_waits, "Leases",
                     (json_int_t)client->n_leases, "LogSession", (json_int_t)client->number);
}

static json_t *lock_json(const struct census_lock *lock)
{
    const struct fs_lock *what = &lock->lock;
    bool to_the_end = what->end == (uint64_t)INT64_MAX;
    return json_pack("{s:s, s:I, s:s, s:s, s:I, s:o, s:b, s:o, s:o, s:I, s:o}", "FileSystemId", lock->fs_id,
                     "Inode", (json_int_t)lock->ino, "Kind", what->kind == FS_LOCK_FLOCK ? "flock" : "fcntl",
                     "Type", what->type == FS_LOCK_WRITE ? "write" : "read", "Start", (json_int_t)what->start,
                     "End", to_the_end ? json_null() : json_integer((json_int_t)what->end), "Waits",
                     (int)lock->waits, "ClientId", id_json(lock->client), "Name", text_json(lock->name),
                     "Pid", (json_int_t)what->pid, "Owner", id_json(what->owner));
}

static void add_rows(json_t *list, const struct census *answer)
{
    for (size_t i = 0; i < answer->n_clients; i++)
        json_array_append_new(list, client_json(&answer->clients[i]));
    for (size_t i = 0; i < answer->n_locks; i++)
        json_array_append_new(list, lock_json(&answer->locks[i]));
}

static void answer_list(const struct question *question, const struct census *answers, size_t n)
{
    bool truncated = false;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        add_rows(list, &answers[i]);
        truncated |= answers[i].truncated;
    }
    const char *member = question->kind == CENSUS_CLIENTS ? "Clients" : "Locks";
    api_reply(question->request, 200, json_pack("{s:o, s:b}", member, list, "Truncated", (int)truncated));
}

static void answer_evict(const struct question *question, bool evicted)
{
    if (evicted)
        api_reply(question->request, 204, NULL);
    else
        api_fail(question->request, API_BerthClientNotFound, "Client '%s' is not attached.",
                 question->client);
}

static void on_answers(void *context, const struct census *answers, size_t n)
{
    struct question *question = context;
    bool evicted = false;
    int error = 0;
    for (size_t i = 0; i < n; i++) {
        evicted |= answers[i].evicted;
        error = answers[i].error < 0 ? answers[i].error : error;
    }
    list_remove(&question->link);
    if (question->request && error < 0)
        api_fail_errno(question->request, question->operation, error);
    else if (question->request && question->kind == CENSUS_EVICT)
        answer_evict(question, evicted);
    else if (question->request)
        answer_list(question, answers, n);
    free(question);
}

// --- questions ---

static void ask(struct api_call *call, const struct census_question *what)
{
    struct question *question = calloc(1, sizeof(*question));
    int result = -ENOMEM;
    if (question) {
        *question =
            (struct question){.request = call->request, .operation = call->operation, .kind = what->kind};
        snprintf(question->client, sizeof(question->client), "%016" PRIx64, what->client);
        list_push(&call->api->questions, &question->link);
        result = hosting_ask(call->api->options.hosting, what, on_answers, question);
    }
    if (result == 0)
        return;
    if (question)
        list_remove(&question->link);
    free(question);
    api_fail_errno(call->request, call->operation, result);
}

static void ask_list(struct api_call *call, enum census_kind kind)
{
    struct census_question question = {.kind = kind};
    char text[API_ID_MAX + 1];
    bool found = false;
    if (api_query(call, "FileSystemId", text, sizeof(text), &found) < 0)
        return;
    if (found && api_parse_id(call, text, "fs-", "file-system", question.fs_id) < 0)
        return;
    struct file_system fs;
    int result = found ? catalogue_get_file_system(call->api->options.catalogue, question.fs_id, &fs) : 0;
    if (result == -ENOENT) {
        api_fail(call->request, API_FileSystemNotFound, "File system '%s' does not exist.", text);
        return;
    }
    if (result < 0) {
        api_fail_errno(call->request, call->operation, result);
        return;
    }
    if (found)
        file_system_clear(&fs);
    ask(call, &question);
}

void api_list_clients(struct api_call *call)
{
    ask_list(call, CENSUS_CLIENTS);
}

void api_list_locks(struct api_call *call)
{
    ask_list(call, CENSUS_LOCKS);
}

void api_evict_client(struct api_call *call)
{
    struct census_question question = {.kind = CENSUS_EVICT};
    const char *text = call->parameter;
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        api_fail(call->request, API_BadRequest, "A client's id is 16 digits of 0 to 9 and a to f.");
        return;
    }
    question.client = strtoull(text, NULL, 16);
    ask(call, &question);
}
