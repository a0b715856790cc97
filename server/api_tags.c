// SPDX-License-Identifier: Apache-2.0
// TagResource, UntagResource, ListTagsForResource: the tags of a file system or an access point. Main thread.
#include "server/api_call.h"
#include "server/sigv4.h"
#include <errno.h>
#include <string.h>

static bool is_access_point(const char *text)
{
    return strstr(text, "fsap-") != NULL;
}

static int parse_resource(struct api_call *call, char id[FS_ID_SIZE])
{
    bool ap = is_access_point(call->parameter);
    return api_parse_id(call, call->parameter, ap ? "fsap-" : "fs-", ap ? "access-point" : "file-system", id);
}

static void fail(struct api_call *call, int result)
{
    bool ap = is_access_point(call->parameter);
    if (result == -ENOENT)
        api_fail(call->request, ap ? API_AccessPointNotFound : API_FileSystemNotFound,
                 "%s '%s' does not exist.", ap ? "Access point" : "File system", call->parameter);
    else if (result == -EDQUOT)
        api_fail(call->request, API_BadRequest, "'%s' would have more than %u tags.", call->parameter,
                 CATALOGUE_TAGS_MAX);
    else
        api_fail_errno(call->request, call->operation, result);
}

static int refuse(struct api_call *call, const char *message)
{
    api_fail(call->request, API_BadRequest, "%s", message);
    return -EINVAL;
}

void api_tag_resource(struct api_call *call)
{
    char id[FS_ID_SIZE];
    struct catalogue_tags tags = {0};
    if (parse_resource(call, id) < 0 || api_parse_tags(call, &tags) < 0)
        return;
    if (!api_member(call->body, "Tags")) {
        refuse(call, "Tags is required.");
        return;
    }
    int result = catalogue_add_tags(call->api->options.catalogue, id, &tags);
    if (result < 0)
        fail(call, result);
    else
        api_reply(call->request, 200, NULL);
    catalogue_tags_clear(&tags);
}

// The keys that the query names, as tags without values.
static int parse_keys(struct api_call *call, struct catalogue_tags *ret_keys)
{
    const char *at = http_query(call->request), *encoded;
    size_t length, n = 0;
    _cleanup_(freep) struct catalogue_tag *keys = calloc(CATALOGUE_TAGS_MAX, sizeof(*keys));
    if (!keys) {
        api_fail_errno(call->request, call->operation, -ENOMEM);
        return -EINVAL;
    }
    for (; api_next_parameter(&at, "tagKeys", &encoded, &length); n++) {
        if (n == CATALOGUE_TAGS_MAX)
            return refuse(call, "tagKeys may be given at most 50 times.");
        if (percent_decode(encoded, length, keys[n].key, sizeof(keys[n].key)) < 0)
            return refuse(call, "One of tagKeys is too long or badly encoded.");
    }
    if (n == 0)
        return refuse(call, "tagKeys is required.");
    *ret_keys = (struct catalogue_tags){.n = n, .tag = keys};
    keys = NULL;
    return 0;
}

void api_untag_resource(struct api_call *call)
{
    char id[FS_ID_SIZE];
    struct catalogue_tags keys;
    if (parse_resource(call, id) < 0 || parse_keys(call, &keys) < 0)
        return;
    int result = catalogue_remove_tags(call->api->options.catalogue, id, &keys);
    if (result < 0)
        fail(call, result);
    else
        api_reply(call->request, 200, NULL);
    catalogue_tags_clear(&keys);
}

// The page of tags: its token counts them, since an object has no more than one page of them by default.
static json_t *page_of(const struct catalogue_tags *tags, const struct api_page *page)
{
    size_t start = MIN(page->after, tags->n), n = MIN(page->limit, tags->n - start);
    const struct catalogue_tags shown = {.n = n, .tag = tags->tag + start};
    json_t *body = json_pack("{s:o}", "Tags", api_tags_json(&shown));
    if (start + n < tags->n) {
        char token[API_TOKEN_SIZE];
        api_page_token(start + n, token);
        json_object_set_new(body, "NextToken", json_string(token));
    }
    return body;
}

void api_list_tags_for_resource(struct api_call *call)
{
    char id[FS_ID_SIZE];
    struct api_page page;
    struct catalogue_tags tags;
    if (parse_resource(call, id) < 0 || api_parse_page(call, "MaxResults", "NextToken", &page) < 0)
        return;
    int result = catalogue_get_tags(call->api->options.catalogue, id, &tags);
    if (result < 0) {
        fail(call, result);
        return;
    }
    api_reply(call->request, 200, page_of(&tags, &page));
    catalogue_tags_clear(&tags);
}
