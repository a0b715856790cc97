// SPDX-License-Identifier: Apache-2.0
// What a fuzz target gives. The first function is libFuzzer's, so that a target also builds with
// `clang -fsanitize=fuzzer`; driver.c runs targets without it.
#ifndef BERTH_TESTS_FUZZ_H
#define BERTH_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

// Judges one input; aborts when the code under test breaks a rule. Returns 0.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Valid input number i, to start mutations from: its length, or 0 when there are only i.
size_t fuzz_seed(size_t i, uint8_t *out, size_t out_size);

#endif
