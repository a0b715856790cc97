// SPDX-License-Identifier: Apache-2.0
// See invocation.h.
#include "shim/invocation.h"
#include "fs/base/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void request_id_make(const struct env *env, char out[REQUEST_ID_SIZE])
{
    uint8_t r[16];
    env_random(env, r, sizeof(r));
    r[6] = (r[6] & 0x0f) | 0x40; // version 4
    r[8] = (r[8] & 0x3f) | 0x80;
    snprintf(out, REQUEST_ID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
             r[15]);
}

static void trace_id_make(const struct env *env, char *out, size_t out_size)
{
    uint64_t r[3];
    env_random(env, r, sizeof(r));
    snprintf(out, out_size, "Root=1-%08x-%016llx%08x;Parent=%016llx;Sampled=0",
             (unsigned)(env_realtime_ns(env) / 1000000000u), (unsigned long long)r[0], (unsigned)r[1],
             (unsigned long long)r[2]);
}

struct invocation *invocation_new(const struct env *env, const struct function *function, char *payload,
                                  size_t payload_size)
{
    struct invocation *invocation = calloc(1, sizeof(*invocation));
    if (!invocation) {
        free(payload);
        return NULL;
    }
    list_init(&invocation->link);
    invocation->function = function;
    invocation->payload = payload;
    invocation->payload_size = payload_size;
    request_id_make(env, invocation->id);
    trace_id_make(env, invocation->trace_id, sizeof(invocation->trace_id));
    return invocation;
}

void invocation_discard(struct invocation *invocation)
{
    free(invocation->client_context);
    free(invocation->payload);
    free(invocation);
}

void invocation_finish(struct invocation *invocation, const struct outcome *outcome)
{
    list_remove(&invocation->link);
    invocation->done(invocation->context, outcome);
    invocation_discard(invocation);
}

void invocation_refuse(struct invocation *invocation, unsigned status, const char *error_name,
                       const char *message)
{
    _cleanup_(freep) char *body = service_error_json(status, message);
    const struct outcome outcome = {.kind = OUTCOME_REFUSED,
                                    .body = body,
                                    .body_size = strlen(body),
                                    .status = status,
                                    .error_name = error_name};
    invocation_finish(invocation, &outcome);
}

static char *dump(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    fs_assert(text); // strings of our own, and no memory is fatal here
    json_decref(object);
    return text;
}

char *function_error_json(const char *error_type, const char *request_id, const char *message)
{
    char text[512];
    if (request_id)
        snprintf(text, sizeof(text), "RequestId: %s Error: %s", request_id, message);
    else
        snprintf(text, sizeof(text), "%s", message);
    return dump(json_pack("{s:s, s:s}", "errorType", error_type, "errorMessage", text));
}

char *service_error_json(unsigned status, const char *message)
{
    return dump(json_pack("{s:s, s:s}", "Type", status < 500 ? "User" : "Service", "Message", message));
}
