// SPDX-License-Identifier: Apache-2.0
// The control API: EFS REST 2015-02-01, /metrics and /healthz, over HTTP on a TCP address (SigV4-signed) and
// on DIR/api.sock (peer must be root or the server's own user). libmicrohttpd driven from the main thread's
// loop.
#ifndef BERTH_SERVER_API_H
#define BERTH_SERVER_API_H

#include "server/catalogue.h"
#include "server/credentials.h"
#include "server/hosting.h"

struct api;

struct api_options {
    uv_loop_t *loop;
    struct catalogue *catalogue;
    const struct credentials *credentials;
    struct hosting *hosting;
    const struct env *env;
    int tcp_fd; // listening sockets, bound by the caller; owned by the api from success on
    int unix_fd;
};

int api_start(const struct api_options *options, struct api **ret_api);
// Answers nothing new, lets requests under way finish for at most a second, then calls done; the api is then
// freed.
void api_stop(struct api *api, void (*done)(void *context), void *context);

#endif
