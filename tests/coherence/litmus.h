// SPDX-License-Identifier: Apache-2.0
// What a litmus test is: a change on one mount, and a look on another that tells the old state from the new.
// rounds.c has the processes that run it; the litmus_*.c files have the litmuses. All paths are relative:
// each process works in its own mount's view of one directory.
#ifndef BERTH_TESTS_COHERENCE_LITMUS_H
#define BERTH_TESTS_COHERENCE_LITMUS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { LITMUS_PAGE = 4096 };

enum seen { SEEN_OLD, SEEN_NEW, SEEN_OTHER };

// One process's view. `fd` and `map` are what it keeps across a change; `what` are the words for SEEN_OTHER.
struct side {
    int fd;
    char *map; // LITMUS_MAPPED bytes, or NULL
    char what[200];
};

struct litmus {
    const char *name;
    void (*prepare)(struct side *writer, unsigned round); // makes the old state
    void (*change)(struct side *writer,
                   unsigned round); // makes the new one, in one call where the kernel has one
    enum seen (*look)(struct side *reader, unsigned round);
    void (*hold)(struct side *reader,
                 unsigned round); // opens what the reader keeps across the change, or NULL
    bool between;                 // a look during the change may see neither state
    bool as_user;                 // the reader is no superuser
};

extern const struct litmus litmus_data[], litmus_names[], litmus_lists[], litmus_attributes[], litmus_maps[];

// --- helpers ---

// Ends the process with the words and errno: the writer's own calls must work.
_Noreturn void litmus_die(const char *words, const char *path);
// rc when it is not negative.
int must(int rc, const char *words, const char *path);
// `n` bytes of `byte` as the file's content, through a new open.
void put(const char *path, unsigned char byte, size_t n);
// An empty file under the name, made anew.
void touch(const char *path);
void overwrite(const char *path, unsigned char byte, size_t n, off_t offset);
// Removes a name of whatever kind, if it is there.
void clear(const char *path);

enum seen seen_other(struct side *side, const char *format, ...) __attribute__((format(printf, 2, 3)));
// SEEN_OTHER with errno.
enum seen seen_error(struct side *side, const char *call);
enum seen seen_number(struct side *side, const char *what, long long number, long long old, long long new_);
// Content that must be all of one byte.
enum seen seen_bytes(struct side *side, const char *bytes, ssize_t n, unsigned char old, unsigned char new_);

// Bytes that tell rounds apart.
unsigned char old_byte(unsigned round);
unsigned char new_byte(unsigned round);

#endif
