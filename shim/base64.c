// SPDX-License-Identifier: Apache-2.0
// See base64.h.
#include "shim/base64.h"
#include "fs/base/check.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *bytes, size_t size)
{
    const uint8_t *in = bytes;
    char *out = malloc((size + 2) / 3 * 4 + 1), *at = out;
    fs_assert(out);
    for (size_t i = 0; i < size; i += 3) {
        size_t have = MIN(size - i, (size_t)3);
        uint32_t word = (uint32_t)in[i] << 16;
        word |= have > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        word |= have > 2 ? in[i + 2] : 0;
        *at++ = alphabet[word >> 18];
        *at++ = alphabet[word >> 12 & 63];
        *at++ = have > 1 ? alphabet[word >> 6 & 63] : '=';
        *at++ = have > 2 ? alphabet[word & 63] : '=';
    }
    *at = '\0';
    return out;
}

static int value_of(char c)
{
    const char *found = c ? strchr(alphabet, c) : NULL;
    return found ? (int)(found - alphabet) : -1;
}

void *base64_decode(const char *text, size_t size, size_t *ret_size)
{
    if (size % 4 != 0)
        return NULL;
    size_t padding =
        size == 0 ? 0 : (text[size - 1] == '=') + (text[size - 1] == '=' && text[size - 2] == '=');
    uint8_t *out = malloc(size / 4 * 3 + 1), *at = out;
    fs_assert(out);
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word = 0;
        for (size_t j = 0; j < 4; j++) {
            int value = i + j >= size - padding ? 0 : value_of(text[i + j]);
            if (value < 0) {
                free(out);
                return NULL;
            }
            word = word << 6 | (uint32_t)value;
        }
        *at++ = (uint8_t)(word >> 16);
        *at++ = (uint8_t)(word >> 8);
        *at++ = (uint8_t)word;
    }
    *ret_size = size / 4 * 3 - padding;
    return out;
}
