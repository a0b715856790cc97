// SPDX-License-Identifier: Apache-2.0
// The control API's front: two HTTP servers, who may ask, which operation was meant. Invariant: no operation
// runs for a request that was not signed with a known key, or that came over the unix socket from somebody
// else than root and the server's own user. Main thread.
#include "server/api.h"
#include "fs/base/log.h"
#include "server/api_call.h"
#include "server/sigv4.h"
#include <errno.h>
#include <string.h>

#define SERVICE         "elasticfilesystem"
#define VERSION         "/2015-02-01"
#define BODY_MAX        (1024u * 1024) // bytes; no request of the API comes near it
#define HEAD_MAX        32768u         // bytes of a connection's request line, headers and state
#define IDLE_SECONDS    60u
#define CONNECTIONS_MAX 256u // on each of the two sockets
#define HEADERS_MAX     64u
#define STOP_GRACE_MS   1000u

// --- the operations: all of them, built or not ---

struct route {
    const char *method;
    const char *path; // after VERSION; {} stands for one segment
    const char *operation;
    bool has_body;
    api_operation *run; // NULL: not built
};

// The first that fits is taken: what is spelled out comes before {}.
static const struct route routes[] = {
    {"POST", "/file-systems", "CreateFileSystem", true, api_create_file_system},
    {"GET", "/file-systems", "DescribeFileSystems", false, api_describe_file_systems},
    {"GET", "/file-systems/replication-configurations", "DescribeReplicationConfigurations", false, NULL},
    {"PUT", "/file-systems/{}", "UpdateFileSystem", true, NULL},
    {"DELETE", "/file-systems/{}", "DeleteFileSystem", false, api_delete_file_system},
    {"PUT", "/file-systems/{}/protection", "UpdateFileSystemProtection", true, NULL},
    {"PUT", "/file-systems/{}/policy", "PutFileSystemPolicy", true, NULL},
    {"GET", "/file-systems/{}/policy", "DescribeFileSystemPolicy", false, NULL},
    {"DELETE", "/file-systems/{}/policy", "DeleteFileSystemPolicy", false, NULL},
    {"PUT", "/file-systems/{}/backup-policy", "PutBackupPolicy", true, NULL},
    {"GET", "/file-systems/{}/backup-policy", "DescribeBackupPolicy", false, NULL},
    {"PUT", "/file-systems/{}/lifecycle-configuration", "PutLifecycleConfiguration", true, NULL},
    {"GET", "/file-systems/{}/lifecycle-configuration", "DescribeLifecycleConfiguration", false, NULL},
    {"POST", "/file-systems/{}/replication-configuration", "CreateReplicationConfiguration", true, NULL},
    {"DELETE", "/file-systems/{}/replication-configuration", "DeleteReplicationConfiguration", false, NULL},
    {"POST", "/access-points", "CreateAccessPoint", true, api_create_access_point},
    {"GET", "/access-points", "DescribeAccessPoints", false, api_describe_access_points},
    {"DELETE", "/access-points/{}", "DeleteAccessPoint", false, api_delete_access_point},
    {"POST", "/mount-targets", "CreateMountTarget", true, NULL},
    {"GET", "/mount-targets", "DescribeMountTargets", false, NULL},
    {"DELETE", "/mount-targets/{}", "DeleteMountTarget", false, NULL},
    {"GET", "/mount-targets/{}/security-groups", "DescribeMountTargetSecurityGroups", false, NULL},
    {"PUT", "/mount-targets/{}/security-groups", "ModifyMountTargetSecurityGroups", true, NULL},
    {"POST", "/resource-tags/{}", "TagResource", true, api_tag_resource},
    {"DELETE", "/resource-tags/{}", "UntagResource", false, api_untag_resource},
    {"GET", "/resource-tags/{}", "ListTagsForResource", false, api_list_tags_for_resource},
    {"POST", "/create-tags/{}", "CreateTags", true, NULL},
    {"POST", "/delete-tags/{}", "DeleteTags", true, NULL},
    {"GET", "/tags/{}", "DescribeTags", false, NULL},
    {"GET", "/berth/clients", "BerthListClients", false, api_list_clients},
    {"DELETE", "/berth/clients/{}", "BerthEvictClient", false, api_evict_client},
    {"GET", "/berth/locks", "BerthListLocks", false, api_list_locks},
    {"PUT", "/berth/quota/{}", "BerthPutQuota", true, api_put_quota},
    {"PUT", "/berth/checks/{}", "BerthStartCheck", true, api_start_check},
    {"GET", "/berth/checks/{}", "BerthDescribeCheck", false, api_describe_check},
    {"PUT", "/account-preferences", "PutAccountPreferences", true, NULL},
    {"GET", "/account-preferences", "DescribeAccountPreferences", false, NULL},
};

// Whether path (a last slash counts for nothing) fits pattern; then *ret_parameter is what stands for {},
// still encoded.
static bool fits(const char *pattern, const char *path, const char **ret_parameter, size_t *ret_length)
{
    while (*pattern) {
        if (pattern[0] == '{') {
            *ret_parameter = path;
            *ret_length = strcspn(path, "/");
            if (*ret_length == 0)
                return false;
            path += *ret_length;
            pattern += 2;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0' || strcmp(path, "/") == 0;
}

static const struct route *find_route(const char *method, const char *path, const char **ret_parameter,
                                      size_t *ret_length)
{
    if (strncmp(path, VERSION, sizeof(VERSION) - 1) != 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        *ret_parameter = "";
        *ret_length = 0;
        if (strcmp(routes[i].method, method) == 0 &&
            fits(routes[i].path, path + sizeof(VERSION) - 1, ret_parameter, ret_length))
            return &routes[i];
    }
    return NULL;
}

static int read_body(struct http_request *request, json_t **ret_body)
{
    size_t size;
    const char *bytes = http_body(request, &size);
    json_error_t error;
    json_t *body = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(body)) {
        *ret_body = body;
        return 0;
    }
    api_fail(request, API_BadRequest, "The body is no JSON object: %s.",
             body ? "it is something else" : error.text);
    json_decref(body);
    return -EINVAL;
}

static void run_operation(struct api *api, struct http_request *request)
{
    const char *parameter;
    size_t length;
    const struct route *route = find_route(http_method(request), http_path(request), &parameter, &length);
    if (!route) {
        api_fail(request, API_UnknownOperationException, "There is no such operation.");
        return;
    }
    if (!route->run) {
        api_fail(request, API_NotImplemented, "%s is not built.", route->operation);
        return;
    }
    struct api_call call = {.api = api, .request = request, .operation = route->operation};
    if (percent_decode(parameter, length, call.parameter, sizeof(call.parameter)) < 0) {
        api_fail(request, API_BadRequest, "The id in the path is too long or badly encoded.");
        return;
    }
    if (route->has_body && read_body(request, &call.body) < 0)
        return;
    route->run(&call);
    json_decref(call.body);
}

// --- who asks ---

struct headers {
    size_t n;
    bool too_many;
    struct sigv4_header header[HEADERS_MAX];
};

static void add_header(void *context, const struct http_header *header)
{
    struct headers *headers = context;
    if (headers->n == HEADERS_MAX)
        headers->too_many = true;
    else
        headers->header[headers->n++] = (struct sigv4_header){header->name, header->value};
}

static void refuse(struct http_request *request, enum sigv4_verdict verdict)
{
    switch (verdict) {
    case SIGV4_UNSIGNED:
        api_fail(request, API_MissingAuthenticationToken, "The request is not signed.");
        break;
    case SIGV4_INCOMPLETE:
        api_fail(request, API_IncompleteSignature,
                 "Authorization must be AWS4-HMAC-SHA256 with Credential, SignedHeaders and Signature, and "
                 "X-Amz-Date "
                 "must be there.");
        break;
    case SIGV4_UNKNOWN_KEY:
        api_fail(request, API_UnrecognizedClientException, "The access key is not known here.");
        break;
    case SIGV4_WRONG_SCOPE:
        api_fail(request, API_InvalidSignatureException,
                 "The credential must be scoped to the service " SERVICE " and to the day of X-Amz-Date.");
        break;
    case SIGV4_SKEWED:
        api_fail(request, API_InvalidSignatureException,
                 "The request was signed more than %u minutes ago or in the future; compare the clocks.",
                 SIGV4_SKEW_MAX_S / 60);
        break;
    case SIGV4_NO_MEMORY:
        api_fail_errno(request, "signature", -ENOMEM);
        break;
    default:
        api_fail(request, API_InvalidSignatureException,
                 "The signature is not the one that this request has with the secret of its access key.");
        break;
    }
}

static bool check_signature(struct api *api, struct http_request *request)
{
    struct headers headers = {0};
    http_each_header(request, add_header, &headers);
    struct sigv4_request signed_request = {
        .method = http_method(request),
        .path = http_path(request),
        .query = http_query(request),
        .headers = headers.header,
        .n_headers = headers.n,
    };
    signed_request.body = http_body(request, &signed_request.body_size);
    uint64_t now_s = env_realtime_ns(api->options.env) / 1000000000u;
    enum sigv4_verdict verdict =
        headers.too_many ? SIGV4_INCOMPLETE
                         : sigv4_verify(&signed_request, api->options.credentials, SERVICE, now_s);
    if (verdict == SIGV4_VALID)
        return true;
    refuse(request, verdict);
    return false;
}

static bool check_peer(struct http_request *request)
{
    uid_t uid = 0;
    int result = http_peer_uid(request, &uid);
    if (result == 0 && (uid == 0 || uid == geteuid()))
        return true;
    api_fail(request, API_AccessDeniedException,
             "Over this socket only root and the server's own user may ask.");
    return false;
}

// --- requests ---

static bool is_get(const struct http_request *request)
{
    return strcmp(http_method(request), "GET") == 0 || strcmp(http_method(request), "HEAD") == 0;
}

static bool answer_unsigned_path(struct http_request *request)
{
    static const struct http_reply healthy = {
        .status = 200, .content_type = "text/plain", .body = "ok\n", .body_size = 3};
    if (!is_get(request))
        return false;
    if (strcmp(http_path(request), "/healthz") == 0)
        http_reply(request, &healthy);
    else if (strcmp(http_path(request), "/metrics") == 0)
        api_reply_metrics(request);
    else
        return false;
    return true;
}

// The body is complete or was dropped; a body that was dropped cannot be checked, so that is said first.
static void on_request(struct api *api, struct http_request *request, bool trusted_socket)
{
    if (http_body_too_large(request)) {
        api_fail(request, API_RequestEntityTooLarge, "The body may have at most %u bytes.", BODY_MAX);
        return;
    }
    if (answer_unsigned_path(request))
        return;
    if (trusted_socket ? check_peer(request) : check_signature(api, request))
        run_operation(api, request);
}

static void on_tcp_request(void *context, struct http_request *request)
{
    on_request(context, request, false);
}

static void on_unix_request(void *context, struct http_request *request)
{
    on_request(context, request, true);
}

// --- start and stop ---

static void on_server_stopped(void *context)
{
    struct api *api = context;
    if (--api->servers_open > 0)
        return;
    api_release_jobs(api);
    api_release_questions(api);
    api_release_checks(api);
    void (*done)(void *) = api->done;
    void *done_context = api->done_context;
    free(api);
    if (done)
        done(done_context);
}

static void on_forgotten(void *context, struct http_request *request)
{
    api_forget_request(context, request);
    api_forget_question(context, request);
}

static void stop_server(struct api *api, struct http_server *server, uint64_t grace_ms)
{
    const struct http_stop stop = {
        .grace_ms = grace_ms, .forgotten = on_forgotten, .done = on_server_stopped, .context = api};
    http_server_stop(server, &stop);
}

static int start_servers(struct api *api)
{
    struct http_options http = {
        .loop = api->options.loop,
        .listen_fd = api->options.tcp_fd,
        .body_max = BODY_MAX,
        .head_max = HEAD_MAX,
        .idle_seconds = IDLE_SECONDS,
        .connections_max = CONNECTIONS_MAX,
        .handler = on_tcp_request,
        .context = api,
    };
    int result = http_server_start(&http, &api->tcp);
    if (result < 0)
        return result;
    api->servers_open++;
    http.listen_fd = api->options.unix_fd;
    http.handler = on_unix_request;
    result = http_server_start(&http, &api->unix_socket);
    if (result < 0)
        return result;
    api->servers_open++;
    return 0;
}

int api_start(const struct api_options *options, struct api **ret_api)
{
    struct api *api = calloc(1, sizeof(*api));
    if (!api)
        return -ENOMEM;
    api->options = *options;
    list_init(&api->hosting_jobs);
    list_init(&api->questions);
    list_init(&api->checks);
    int result = api_finish_interrupted(api);
    if (result == 0)
        result = start_servers(api);
    if (result < 0 && api->tcp) {
        stop_server(api, api->tcp, 0);
        return result;
    }
    if (result < 0) {
        api_release_jobs(api);
        free(api);
        return result;
    }
    close(options->tcp_fd); // the servers have duplicates
    close(options->unix_fd);
    *ret_api = api;
    return 0;
}

void api_stop(struct api *api, void (*done)(void *context), void *context)
{
    api->done = done;
    api->done_context = context;
    stop_server(api, api->tcp, STOP_GRACE_MS);
    stop_server(api, api->unix_socket, STOP_GRACE_MS);
}
