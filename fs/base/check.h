// SPDX-License-Identifier: Apache-2.0
// Small words every file uses: assertions, container_of, array length, cleanup attributes. Header only.
//
// fs_assert() is for our own mistakes and stays on in release builds. What a peer, a file or a user controls
// never reaches it: that is checked at the edge and answered with an error.
#ifndef BERTH_BASE_CHECK_H
#define BERTH_BASE_CHECK_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/param.h> // MIN, MAX; libuv brings it too
#include <unistd.h>

#define fs_assert(condition)                                            \
    do {                                                                \
        if (__builtin_expect(!(condition), 0))                          \
            fs_assert_failed(#condition, __FILE__, __LINE__, __func__); \
    } while (0)

__attribute__((noreturn, cold)) static inline void fs_assert_failed(const char *condition, const char *file,
                                                                    int line, const char *function)
{
    fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, condition);
    abort();
}

#define ARRAY_LEN(array)                      (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member)   ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define UNUSED                                __attribute__((unused))
#define PRINTF_LIKE(format_index, args_index) __attribute__((format(printf, format_index, args_index)))

// Released at the end of the enclosing scope: `_cleanup_(freep) char *text = ...`.
#define _cleanup_(function) __attribute__((cleanup(function)))

static inline void freep(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}

static inline void closep(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#endif
