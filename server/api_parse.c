// SPDX-License-Identifier: Apache-2.0
// What a caller sent, checked by the rules of EFS's API model (lengths, patterns, ranges). Invariant: a
// function that returned -EINVAL has answered the request; one that returned 0 has not. Main thread.
#include "server/api_call.h"
#include "server/sigv4.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>

#define PAGE_LIMIT_MAX 100u // as EFS; a larger wish gets this
#define ID_DIGITS_MIN  8u
#define ID_DIGITS_MAX  40u

// Answers BadRequest.
static int refuse(struct api_call *call, const char *what, const char *why)
{
    api_fail(call->request, API_BadRequest, "%s %s.", what, why);
    return -EINVAL;
}

// --- ids ---

// What follows "arn:aws…:elasticfilesystem:REGION:ACCOUNT:KIND/", or text itself when it is no ARN, or NULL.
static const char *skip_arn(const char *text, const char *kind)
{
    if (strncmp(text, "arn:", 4) != 0)
        return text;
    const char *slash = strchr(text, '/');
    if (!slash || strncmp(text, "arn:aws", 7) != 0)
        return NULL;
    const char *at = text + 7 + strspn(text + 7, "abcdefghijklmnopqrstuvwxyz-");
    static const char service[] = ":elasticfilesystem:";
    if (strncmp(at, service, sizeof(service) - 1) != 0)
        return NULL;
    at += sizeof(service) - 1;
    size_t places = strspn(at, "0123456789abcdefghijklmnopqrstuvwxyz-:"); // region and account, then the kind
    size_t kind_length = strlen(kind);
    if (at + places != slash || places < kind_length + 2 ||
        memcmp(slash - kind_length, kind, kind_length) != 0 || slash[-(ptrdiff_t)kind_length - 1] != ':')
        return NULL;
    return slash + 1;
}

int api_parse_id(struct api_call *call, const char *text, const char *prefix, const char *arn_kind,
                 char out[FS_ID_SIZE])
{
    const char *id = strlen(text) <= API_ID_MAX ? skip_arn(text, arn_kind) : NULL;
    size_t prefix_length = strlen(prefix);
    bool fits = id && strncmp(id, prefix, prefix_length) == 0;
    size_t digits = fits ? strspn(id + prefix_length, "0123456789abcdef") : 0;
    if (!fits || id[prefix_length + digits] != '\0' || digits < ID_DIGITS_MIN || digits > ID_DIGITS_MAX) {
        api_fail(call->request, API_BadRequest,
                 "The id must be %s and 8 to 40 hexadecimal digits, or an ARN of it.", prefix);
        return -EINVAL;
    }
    size_t length = prefix_length + digits < FS_ID_SIZE ? prefix_length + digits : 0;
    memcpy(out, id, length);
    out[length] = '\0';
    return 0;
}

// --- the query string ---

bool api_next_parameter(const char **at, const char *name, const char **ret_value, size_t *ret_length)
{
    size_t name_length = strlen(name);
    while (*at && **at) {
        const char *parameter = *at;
        size_t length = strcspn(parameter, "&");
        *at += length + (parameter[length] == '&');
        if (length > name_length && parameter[name_length] == '=' &&
            memcmp(parameter, name, name_length) == 0) {
            *ret_value = parameter + name_length + 1;
            *ret_length = length - name_length - 1;
            return true;
        }
    }
    return false;
}

int api_query(struct api_call *call, const char *name, char *out, size_t out_size, bool *ret_found)
{
    const char *at = http_query(call->request), *value;
    size_t length;
    bool found = false;
    while (api_next_parameter(&at, name, &value, &length)) {
        if (found)
            return refuse(call, name, "is given twice");
        if (percent_decode(value, length, out, out_size) < 0)
            return refuse(call, name, "is too long or badly encoded");
        if (out[0] == '\0')
            return refuse(call, name, "is empty");
        found = true;
    }
    *ret_found = found;
    return 0;
}

static bool parse_decimal(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || !isdigit((unsigned char)text[0]))
        return false;
    *ret = value;
    return true;
}

void api_page_token(uint64_t number, char out[API_TOKEN_SIZE])
{
    snprintf(out, API_TOKEN_SIZE, "p%llu", (unsigned long long)number);
}

int api_parse_page(struct api_call *call, const char *limit_name, const char *token_name,
                   struct api_page *ret_page)
{
    char limit_text[32], token[API_ID_MAX + 1];
    bool has_limit = false, has_token = false;
    struct api_page page = {.limit = PAGE_LIMIT_MAX};
    if (api_query(call, limit_name, limit_text, sizeof(limit_text), &has_limit) < 0 ||
        api_query(call, token_name, token, sizeof(token), &has_token) < 0)
        return -EINVAL;
    if (has_limit) {
        uint64_t limit;
        if (!parse_decimal(limit_text, &limit) || limit == 0)
            return refuse(call, limit_name, "must be a number of at least 1");
        page.limit = MIN(limit, PAGE_LIMIT_MAX);
    }
    if (has_token && (token[0] != 'p' || !parse_decimal(token + 1, &page.after) || page.after > INT64_MAX))
        return refuse(call, token_name, "is not one that this server gave");
    *ret_page = page;
    return 0;
}

// --- members of the body ---

json_t *api_member(json_t *object, const char *name)
{
    json_t *member = json_object_get(object, name);
    return json_is_null(member) ? NULL : member;
}

static size_t count_characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80; // jansson let only valid UTF-8 in
    return n;
}

int api_parse_token(struct api_call *call, const char *name, char *out, size_t out_size)
{
    json_t *member = api_member(call->body, name);
    const char *text = json_string_value(member);
    if (!text)
        return refuse(call, name, member ? "must be a string" : "is required");
    if (!*text || count_characters(text) > CATALOGUE_TOKEN_MAX || strchr(text, '\n'))
        return refuse(call, name, "must be one line of 1 to 64 characters");
    snprintf(out, out_size, "%s", text);
    return 0;
}

int api_parse_bool(struct api_call *call, const char *name, bool *ret)
{
    json_t *member = api_member(call->body, name);
    if (!member)
        return 0;
    if (!json_is_boolean(member))
        return refuse(call, name, "must be true or false");
    *ret = json_is_true(member);
    return 0;
}

int api_parse_u32(struct api_call *call, json_t *object, const char *name, uint32_t *ret)
{
    json_t *member = api_member(object, name);
    if (!member)
        return refuse(call, name, "is required");
    json_int_t value = json_integer_value(member);
    if (!json_is_integer(member) || value < 0 || value > UINT32_MAX)
        return refuse(call, name, "must be a whole number from 0 to 4294967295");
    *ret = (uint32_t)value;
    return 0;
}

// --- tags ---

// EFS takes letters, digits, spaces and _.:/=+-@ of any script; beyond ASCII nothing is looked up here, only
// control characters are refused.
static bool is_tag_text(const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80 && !isalnum(c) && !strchr(" _.:/=+-@", c))
            return false;
        if (c == 0xc2 && (unsigned char)text[1] < 0xa0) // U+0080 to U+009F
            return false;
    }
    return true;
}

static int parse_tag(struct api_call *call, json_t *tag, struct catalogue_tag *ret)
{
    const char *key = json_string_value(api_member(tag, "Key"));
    const char *value = json_string_value(api_member(tag, "Value"));
    if (!key || !value)
        return refuse(call, "A tag", "must have a Key and a Value, both strings");
    if (!*key || count_characters(key) > CATALOGUE_TAG_KEY_MAX || !is_tag_text(key) ||
        strncasecmp(key, "aws:", 4) == 0)
        return refuse(call, "A tag's Key",
                      "must have 1 to 128 letters, digits, spaces or _.:/=+-@, and not begin with aws:");
    if (count_characters(value) > CATALOGUE_TAG_VALUE_MAX || !is_tag_text(value))
        return refuse(call, "A tag's Value", "must have at most 256 letters, digits, spaces or _.:/=+-@");
    snprintf(ret->key, sizeof(ret->key), "%s", key);
    snprintf(ret->value, sizeof(ret->value), "%s", value);
    return 0;
}

static int check_unique(struct api_call *call, const struct catalogue_tag *tags, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (strcmp(tags[i].key, tags[n - 1].key) == 0)
            return refuse(call, "A tag's Key", "is given twice");
    }
    return 0;
}

int api_parse_tags(struct api_call *call, struct catalogue_tags *ret_tags)
{
    json_t *list = api_member(call->body, "Tags");
    size_t n = json_array_size(list);
    if (list && !json_is_array(list))
        return refuse(call, "Tags", "must be a list");
    if (n > CATALOGUE_TAGS_MAX)
        return refuse(call, "Tags", "may hold at most 50 tags");
    if (n == 0)
        return 0;
    _cleanup_(freep) struct catalogue_tag *tags = calloc(n, sizeof(*tags));
    if (!tags) {
        api_fail_errno(call->request, call->operation, -ENOMEM);
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (parse_tag(call, json_array_get(list, i), &tags[i]) < 0 || check_unique(call, tags, i + 1) < 0)
            return -EINVAL;
    }
    *ret_tags = (struct catalogue_tags){.n = n, .tag = tags};
    tags = NULL;
    return 0;
}

json_t *api_tags_json(const struct catalogue_tags *tags)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tags->n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "Key", tags->tag[i].key, "Value", tags->tag[i].value));
    return list;
}

void api_add_name(json_t *description, const struct catalogue_tags *tags)
{
    for (size_t i = 0; i < tags->n; i++) {
        if (strcmp(tags->tag[i].key, "Name") == 0)
            json_object_set_new(description, "Name", json_string(tags->tag[i].value));
    }
}
