// SPDX-License-Identifier: Apache-2.0
// The Lambda Runtime API of one instance: which path and method means what.
#ifndef BERTH_SHIM_RUNTIME_API_H
#define BERTH_SHIM_RUNTIME_API_H

#include "shim/http_server.h"

// The handler of an instance's server; context is its struct instance.
void runtime_api_handle(void *context, struct http_request *request);

// Answers {"errorMessage", "errorType"}.
void runtime_api_error(struct http_request *request, unsigned status, const char *type, const char *message);

#endif
