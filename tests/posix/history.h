// SPDX-License-Identifier: Apache-2.0
// What an exerciser did last, and how it ends: history_differ prints the seed, the step, its operation, the
// difference and the operations before it, and exits with 1. History is kept in text, and written only then.
// Single-threaded.
#pragma once

#include <stdint.h>

void history_start(const char *program, uint64_t seed);
void history_step(uint64_t step, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Adds to the current step's text what became of it.
void history_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t history_current(void); // the step's number

_Noreturn void history_differ(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The exerciser itself cannot go on (no memory, no host file): exit 2.
_Noreturn void history_broken(const char *what);
