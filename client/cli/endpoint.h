// SPDX-License-Identifier: Apache-2.0
// The server's API as berth-api reaches it: over TCP, signed, or over its unix socket.
#ifndef BERTH_CLIENT_CLI_ENDPOINT_H
#define BERTH_CLIENT_CLI_ENDPOINT_H

#include "client/aws_profile.h"
#include <jansson.h>
#include <stdbool.h>

struct endpoint {
    const char *name; // as the user gave it: http://H:P or unix:/PATH
    const char *profile;
};

// Whether the name has one of the two forms.
bool endpoint_is_valid(const char *name);

// One request. 0 with the answer's JSON in *ret_answer (NULL for none; the caller's), or -1 after one line on
// stderr that begins with `berth: WHAT: `. path_and_query is percent-encoded, its parameters in order of
// their names.
struct endpoint_request {
    const char *what;
    const char *method;
    const char *path_and_query;
    json_t *body; // NULL: none; not taken
};
int endpoint_call(const struct endpoint *endpoint, const struct endpoint_request *request,
                  json_t **ret_answer);

// Text percent-encoded for a path or a query; the caller frees it. Ends the program without memory.
char *endpoint_escape(const char *text);

#endif
