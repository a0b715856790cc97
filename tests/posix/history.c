// SPDX-License-Identifier: Apache-2.0
// A ring of the last texts, in static memory: nothing can fail when a difference is told.
#include "tests/posix/history.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 20, TEXT_MAX = 2000 };

static struct {
    const char *program;
    uint64_t seed, step, n;
    char texts[KEPT][TEXT_MAX];
} history;

static char *text_of(uint64_t n)
{
    return history.texts[n % KEPT];
}

void history_start(const char *program, uint64_t seed)
{
    history.program = program;
    history.seed = seed;
}

void history_step(uint64_t step, const char *format, ...)
{
    history.step = step;
    history.n++;
    char *text = text_of(history.n);
    int used = snprintf(text, TEXT_MAX, "%8llu  ", (unsigned long long)step);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, TEXT_MAX - (size_t)used, format, arguments);
    va_end(arguments);
}

void history_note(const char *format, ...)
{
    char *text = text_of(history.n);
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, TEXT_MAX - used, format, arguments);
    va_end(arguments);
}

uint64_t history_current(void)
{
    return history.step;
}

_Noreturn void history_differ(const char *format, ...)
{
    fflush(stdout);
    fprintf(stderr, "%s: DIFFERENCE at seed %llu step %llu: ", history.program,
            (unsigned long long)history.seed, (unsigned long long)history.step);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nthe last operations, this one at the end:\n");
    for (uint64_t i = history.n > KEPT ? history.n - KEPT + 1 : 1; i <= history.n; i++)
        fprintf(stderr, "%s\n", text_of(i));
    exit(1);
}

_Noreturn void history_broken(const char *what)
{
    fprintf(stderr, "%s: seed %llu step %llu: %s: %s\n", history.program, (unsigned long long)history.seed,
            (unsigned long long)history.step, what, strerror(errno));
    exit(2);
}
