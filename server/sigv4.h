// SPDX-License-Identifier: Apache-2.0
// AWS Signature Version 4, checking side, in the Authorization header only. Pure: everything asked for is a
// parameter.
#ifndef BERTH_SERVER_SIGV4_H
#define BERTH_SERVER_SIGV4_H

#include "server/credentials.h"
#include <stddef.h>
#include <stdint.h>

#define SIGV4_SKEW_MAX_S 900u // how far the signer's clock may be from ours, as AWS

struct sigv4_header {
    const char *name, *value;
};

// A request as it came over the wire. Nothing is owned.
struct sigv4_request {
    const char *method;
    const char *path;                   // still percent-encoded, without the query
    const char *query;                  // what follows '?', still percent-encoded; NULL: none
    const struct sigv4_header *headers; // in the order in which they came
    size_t n_headers;
    const void *body;
    size_t body_size;
};

enum sigv4_verdict {
    SIGV4_VALID,
    SIGV4_UNSIGNED,    // no Authorization header
    SIGV4_INCOMPLETE,  // not of the form, or a part of it is missing
    SIGV4_UNKNOWN_KEY, // the access key is nobody's
    SIGV4_WRONG_SCOPE, // signed for another service or day
    SIGV4_SKEWED,      // signed too long ago, or in the future
    SIGV4_MISMATCH,    // the signature is not that of this request
    SIGV4_NO_MEMORY,
};

enum sigv4_verdict sigv4_verify(const struct sigv4_request *request, const struct credentials *credentials,
                                const char *service, uint64_t now_s);

// Decodes %XX of n bytes into out, NUL-terminated. -EINVAL: a broken escape or a NUL; -ENAMETOOLONG.
int percent_decode(const char *text, size_t n, char *out, size_t out_size);

#endif
