// SPDX-License-Identifier: Apache-2.0
// Lambda's Invoke API: POST /2015-03-31/functions/{name or ARN}/invocations. Signatures are not looked at.
#ifndef BERTH_SHIM_INVOKE_API_H
#define BERTH_SHIM_INVOKE_API_H

#include "shim/fleet.h"
#include "shim/http_server.h"

#define INVOKE_PREFIX "/2015-03-31/functions/"

struct invoke_api {
    struct fleet *fleet;
    const struct functions *functions;
    const struct env *env;
};

// The function's name in "NAME", "NAME:QUALIFIER", "ACCOUNT:function:NAME" or a full ARN with or without
// qualifier. `text` is written to. NULL qualifier: none given.
struct invoke_target {
    const char *name;
    const char *qualifier;
};
struct invoke_target invoke_target_parse(char *text);

// A request whose path starts with INVOKE_PREFIX.
void invoke_api_handle(struct invoke_api *api, struct http_request *request);

#endif
