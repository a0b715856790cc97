// SPDX-License-Identifier: Apache-2.0
// See percent.h.
#include "shim/percent.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t percent_decode(const char *text, size_t size, bool plus_is_space, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        int high = text[i] == '%' && size - i > 2 ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0) {
            out[length++] = (char)(high * 16 + low);
            i += 2;
        } else {
            out[length++] = plus_is_space && text[i] == '+' ? ' ' : text[i];
        }
    }
    out[length] = '\0';
    return length;
}
