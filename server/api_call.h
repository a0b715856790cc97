// SPDX-License-Identifier: Apache-2.0
// One call of the EFS API, between the router (api.c) and the operations (api_*.c): what was asked, taken
// apart and checked, and how to answer. Only the API's own files include it; main thread.
#ifndef BERTH_SERVER_API_CALL_H
#define BERTH_SERVER_API_CALL_H

#include "fs/base/check.h"
#include "fs/base/list.h"
#include "server/api.h"
#include "server/http.h"
#include <jansson.h>

struct api {
    struct api_options options;
    struct http_server *tcp, *unix_socket;
    struct list hosting_jobs; // file systems being removed
    struct list questions;    // to the shards
    struct list checks;       // of file systems, at most one under way
    unsigned servers_open;
    void (*done)(void *context);
    void *done_context;
};

struct api_call {
    struct api *api;
    struct http_request *request;
    const char *operation;
    char parameter[129]; // what stood for {} in the path, decoded
    json_t *body;        // an object; owned; NULL when the operation takes none
};

// The errors of the API, with the status that each has. X(name, status)
#define API_ERRORS(X)                         \
    X(AccessDeniedException, 403)             \
    X(AccessPointAlreadyExists, 409)          \
    X(AccessPointLimitExceeded, 403)          \
    X(AccessPointNotFound, 404)               \
    X(BadRequest, 400)                        \
    X(BerthCheckInProgress, 409)              \
    X(BerthCheckNotFound, 404)                \
    X(BerthClientNotFound, 404)               \
    X(FileSystemAlreadyExists, 409)           \
    X(FileSystemInUse, 409)                   \
    X(FileSystemLimitExceeded, 403)           \
    X(FileSystemNotFound, 404)                \
    X(IncompleteSignature, 403)               \
    X(IncorrectFileSystemLifeCycleState, 409) \
    X(InternalServerError, 500)               \
    X(InvalidSignatureException, 403)         \
    X(MissingAuthenticationToken, 403)        \
    X(NotImplemented, 501)                    \
    X(RequestEntityTooLarge, 413)             \
    X(UnknownOperationException, 404)         \
    X(UnrecognizedClientException, 403)       \
    X(UnsupportedAvailabilityZone, 400)

enum api_error {
#define API_ERROR_VALUE(name, status) API_##name,
    API_ERRORS(API_ERROR_VALUE)
#undef API_ERROR_VALUE
};

// --- answers (api_reply.c): each ends the call ---

void api_reply(struct http_request *request, unsigned status,
               json_t *body); // takes the reference; NULL: no body
void api_fail(struct http_request *request, enum api_error error, const char *format, ...) PRINTF_LIKE(3, 4);
// The error that names what is there already: member "FileSystemId" or "AccessPointId" beside the message.
void api_fail_existing(struct http_request *request, enum api_error error, const char *member,
                       const char *id);
// For a failure of the machine: logs it, tells the caller no more than that it failed.
void api_fail_errno(struct http_request *request, const char *operation, int result);
// ACCOUNT's ARN of "file-system" or "access-point".
json_t *api_arn(const char *kind, const char *id);

// --- what was asked (api_parse.c): 0, or -EINVAL when it was answered with BadRequest already ---

#define API_ID_MAX 128u // bytes of an id or ARN in a request

// The bare id in an id or ARN; "" in out (which names nothing) for one that is well-formed and longer than
// any of ours.
int api_parse_id(struct api_call *call, const char *text, const char *prefix, const char *arn_kind,
                 char out[FS_ID_SIZE]);
// Query parameter `name`, decoded; *ret_found false without one.
int api_query(struct api_call *call, const char *name, char *out, size_t out_size, bool *ret_found);
// The next value of query parameter `name` at or after *at, still encoded; moves *at past it.
bool api_next_parameter(const char **at, const char *name, const char **ret_value, size_t *ret_length);
// The size of a page and where it starts, from the two query parameters named.
struct api_page {
    size_t limit;
    uint64_t after; // catalogue number
};
int api_parse_page(struct api_call *call, const char *limit_name, const char *token_name,
                   struct api_page *ret_page);
#define API_TOKEN_SIZE 24
void api_page_token(uint64_t number, char out[API_TOKEN_SIZE]);

// Members of a JSON object; null counts as absent.
json_t *api_member(json_t *object, const char *name);
int api_parse_token(struct api_call *call, const char *name, char *out, size_t out_size);
int api_parse_bool(struct api_call *call, const char *name, bool *ret); // absent: untouched
int api_parse_u32(struct api_call *call, json_t *object, const char *name, uint32_t *ret); // required
int api_parse_tags(struct api_call *call, struct catalogue_tags *ret_tags);                // absent: none
json_t *api_tags_json(const struct catalogue_tags *tags);
void api_add_name(json_t *description,
                  const struct catalogue_tags *tags); // the Name tag's value, as EFS shows it

// --- operations ---

typedef void api_operation(struct api_call *call);
api_operation api_create_file_system, api_describe_file_systems, api_delete_file_system;
api_operation api_create_access_point, api_describe_access_points, api_delete_access_point;
api_operation api_put_quota;
api_operation api_list_clients, api_list_locks, api_evict_client;
api_operation api_start_check, api_describe_check;
api_operation api_tag_resource, api_untag_resource, api_list_tags_for_resource;

// --- quotas (api_quota.c): not of EFS; the member is BerthQuota in creates and descriptions ---

// Of call->body; absent: none.
int api_parse_quota(struct api_call *call, struct catalogue_quota *ret_quota);
// Makes the limits hold. path NULL: the whole file system's.
int api_apply_quota(struct api *api, const char *fs_id, const char *path,
                    const struct catalogue_quota *quota);
// Adds limits and use to a description; nothing when there are no limits.
void api_add_quota(struct api *api, json_t *description, const char *fs_id, const char *path,
                   const struct catalogue_quota *quota);

// --- what outlives a call: file systems being removed (api_file_systems.c) ---

int api_finish_interrupted(struct api *api); // at start: what a crash left half made or half removed
void api_forget_request(struct api *api,
                        const struct http_request *request); // it is being answered without us
void api_release_jobs(struct api *api); // those under way finish by themselves, without the api

// --- what operators ask the shards (api_clients.c) ---

void api_forget_question(struct api *api, const struct http_request *request);
void api_release_questions(struct api *api);

// --- checks of file systems (api_check.c) ---

void api_release_checks(struct api *api); // the one under way stops and ends by itself, without the api

// --- beside the API ---

void api_reply_metrics(struct http_request *request);

#endif
