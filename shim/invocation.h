// SPDX-License-Identifier: Apache-2.0
// One call of a function, from the request that asks for it to its outcome. Owned by whoever holds it (a
// pool's queue, then an instance) until invocation_finish(), which tells the caller exactly once and frees
// it. Loop thread.
#ifndef BERTH_SHIM_INVOCATION_H
#define BERTH_SHIM_INVOCATION_H

#include "fs/base/env.h"
#include "fs/base/list.h"
#include "shim/function.h"

#define REQUEST_ID_SIZE 37 // a UUID and its NUL

enum outcome_kind {
    OUTCOME_OK,             // body is what the function returned
    OUTCOME_FUNCTION_ERROR, // body is {"errorMessage", "errorType", ...}
    OUTCOME_TIMED_OUT,      // likewise
    OUTCOME_REFUSED,        // the function did not run: Lambda's own error, with its status and name
};

struct outcome {
    enum outcome_kind kind;
    const void *body;
    size_t body_size;
    unsigned status;        // OUTCOME_REFUSED: of the HTTP answer
    const char *error_name; // OUTCOME_REFUSED: such as TooManyRequestsException
    const void *log;        // the last of what was printed
    size_t log_size;
};

struct invocation {
    struct list link; // in its pool's queue
    const struct function *function;
    char id[REQUEST_ID_SIZE];
    char trace_id[80];
    char *client_context; // JSON, or NULL
    char *payload;
    size_t payload_size;
    uint64_t queued_ms; // loop time
    void (*done)(void *context, const struct outcome *outcome);
    void *context;
};

// Takes payload over. NULL: no memory (the payload is freed).
struct invocation *invocation_new(const struct env *env, const struct function *function, char *payload,
                                  size_t payload_size);
void invocation_finish(struct invocation *invocation, const struct outcome *outcome);
// Frees it without telling anybody: it was never handed on.
void invocation_discard(struct invocation *invocation);
// Finishes with {"Type", "Message"}, as Lambda's own errors look. Type is "User" below 500, else "Service".
void invocation_refuse(struct invocation *invocation, unsigned status, const char *error_name,
                       const char *message);

void request_id_make(const struct env *env, char out[REQUEST_ID_SIZE]);

// The JSON bodies, malloc'd.
char *function_error_json(const char *error_type, const char *request_id, const char *message);
char *service_error_json(unsigned status, const char *message);

#endif
