// SPDX-License-Identifier: Apache-2.0
// Percent-encoding of URLs. Pure.
#ifndef BERTH_SHIM_PERCENT_H
#define BERTH_SHIM_PERCENT_H

#include <stdbool.h>
#include <stddef.h>

// Undoes %XX, and '+' as a space when asked; what is no escape stays as it is. `out` has room for size + 1
// bytes and ends in a NUL; returns the length without it. The result may hold any byte, NUL too.
size_t percent_decode(const char *text, size_t size, bool plus_is_space, char *out);

#endif
