// SPDX-License-Identifier: Apache-2.0
// What clients asked of one object and what they were told, and whether some order explains it: each call
// takes effect at one moment between its beginning and its end (linearizability). Objects are small: a
// register, a counter that is only changed under a lock, a set of names.
//
// A call whose answer is unknown may have taken effect at any moment since it began, or never.
#ifndef BERTH_SIM_HISTORY_H
#define BERTH_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_OPS  62u // of one object in one run; one bit each
#define HISTORY_LAST 4u  // of these, kept for the last look

enum history_kind {
    HISTORY_READ,    // `value` is what was read
    HISTORY_WRITE,   // `value` is what was written
    HISTORY_MAKE,    // of name `a`: result 0 or -EEXIST
    HISTORY_REMOVE,  // of name `a`: result 0 or -ENOENT
    HISTORY_LOOK,    // at name `a`: result 0 or -ENOENT
    HISTORY_MOVE,    // from name `a` to `b`, which must not be there: result 0, -ENOENT or -EEXIST
    HISTORY_REPLACE, // the same, whether it is there or not: result 0 or -ENOENT
};

struct history_op {
    enum history_kind kind;
    unsigned client, a, b;
    uint64_t value;
    int result;
    bool unknown; // no answer, or none that tells
    uint64_t begun_us, ended_us;
};

struct history {
    struct history_op ops[HISTORY_OPS];
    size_t n;
};

// A new one that has begun, answered as unknown until told otherwise; NULL when the history is full.
struct history_op *history_begin(struct history *history, enum history_kind kind, unsigned client, bool last);
void history_end(struct history_op *op, int result);

// state: of the object at the start. False: no order explains what was seen.
bool history_explained(const struct history *history, uint64_t state);
void history_print(const struct history *history);

#endif
