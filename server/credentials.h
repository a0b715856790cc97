// SPDX-License-Identifier: Apache-2.0
// The keys that may sign: today the root key of DIR/credentials (an AWS shared-credentials file, mode 0600),
// made at the first start. Read once at start; main thread only.
#ifndef BERTH_SERVER_CREDENTIALS_H
#define BERTH_SERVER_CREDENTIALS_H

#include "fs/base/env.h"
#include <stdbool.h>
#include <stdint.h>

struct credentials;

int credentials_open(const char *directory, const struct env *env, struct credentials **ret_credentials);
void credentials_close(struct credentials *credentials); // wipes the secrets; NULL is allowed

// The secret of an access key (lives as long as `credentials`), or NULL.
const char *credentials_secret(const struct credentials *credentials, const char *access_key, size_t length);

// HMAC-SHA256.
#define HMAC_SIZE 32
void hmac_sha256(const void *key, size_t key_length, const void *bytes, size_t n, uint8_t out[HMAC_SIZE]);
bool bytes_equal_constant_time(const void *a, const void *b, size_t n);

#endif
