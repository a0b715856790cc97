// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648), standard alphabet. Pure.
#ifndef BERTH_SHIM_BASE64_H
#define BERTH_SHIM_BASE64_H

#include <stddef.h>

// malloc'd, NUL-terminated.
char *base64_encode(const void *bytes, size_t size);
// malloc'd bytes, or NULL: not base64. Padding is required.
void *base64_decode(const char *text, size_t size, size_t *ret_size);

#endif
