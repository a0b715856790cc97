// SPDX-License-Identifier: Apache-2.0
// See history.h. The search is Wing and Gong's with Lowe's memory: from a set of calls that have taken effect
// and the state they lead to, every call that may be next is tried; a set and state seen before is not tried
// again.
#include "tests/sim/history.h"
#include "fs/base/check.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_SIZE (1u << 16) // a power of two
#define STEPS_MAX 2000000u   // more is given up as explained: the search is exponential at worst

struct search {
    const struct history *history;
    uint64_t all, must; // bits of the calls; of those whose answers are known
    size_t steps;
    struct seen {
        uint64_t done, state;
        bool used;
    } * seen; // owned, SEEN_SIZE
};

struct history_op *history_begin(struct history *history, enum history_kind kind, unsigned client, bool last)
{
    if (history->n >= HISTORY_OPS - (last ? 0 : HISTORY_LAST))
        return NULL;
    struct history_op *op = &history->ops[history->n++];
    *op = (struct history_op){
        .kind = kind, .client = client, .unknown = true, .begun_us = world_now_us(), .ended_us = UINT64_MAX};
    return op;
}

void history_end(struct history_op *op, int result)
{
    op->result = result;
    op->unknown = false;
    op->ended_us = world_now_us();
}

// --- objects ---

// Would the object in *state give this answer? Then *state is what it becomes. Names are bits of the state.
static bool apply(const struct history_op *op, uint64_t *state)
{
    uint64_t a = UINT64_C(1) << op->a, b = UINT64_C(1) << op->b;
    int result = 0;
    switch (op->kind) {
    case HISTORY_READ:
        return op->unknown || *state == op->value;
    case HISTORY_WRITE:
        *state = op->value;
        return true;
    case HISTORY_MAKE:
        result = *state & a ? -EEXIST : 0;
        *state |= a;
        break;
    case HISTORY_REMOVE:
        result = *state & a ? 0 : -ENOENT;
        *state &= ~a;
        break;
    case HISTORY_LOOK:
        result = *state & a ? 0 : -ENOENT;
        break;
    case HISTORY_MOVE:
    case HISTORY_REPLACE:
        result = !(*state & a) ? -ENOENT : op->kind == HISTORY_MOVE && (*state & b) ? -EEXIST : 0;
        if (result == 0)
            *state = (*state & ~a) | b;
        break;
    }
    return op->unknown || result == op->result;
}

// --- search ---

static bool seen_before(struct search *search, uint64_t done, uint64_t state)
{
    uint64_t hash = (done * 0x9e3779b97f4a7c15u) ^ (state * 0xc2b2ae3d27d4eb4fu);
    struct seen *seen = &search->seen[(hash >> 32) & (SEEN_SIZE - 1)];
    if (seen->used && seen->done == done && seen->state == state)
        return true;
    *seen = (struct seen){.done = done, .state = state, .used = true};
    return false;
}

// May this call be next? Only if no other that is not done ended before it began.
static bool may_be_next(const struct search *search, uint64_t done, size_t i)
{
    const struct history *history = search->history;
    for (size_t other = 0; other < history->n; other++) {
        if (!(done >> other & 1) && history->ops[other].ended_us < history->ops[i].begun_us)
            return false;
    }
    return true;
}

static bool explain(struct search *search, uint64_t done, uint64_t state)
{
    if ((done & search->must) == search->must || search->steps++ > STEPS_MAX)
        return true;
    if (seen_before(search, done, state))
        return false;
    for (size_t i = 0; i < search->history->n; i++) {
        uint64_t after = state;
        const struct history_op *op = &search->history->ops[i];
        if (op->unknown && (op->kind == HISTORY_READ || op->kind == HISTORY_LOOK))
            continue; // tells nothing
        if (!(done >> i & 1) && may_be_next(search, done, i) && apply(&search->history->ops[i], &after) &&
            explain(search, done | UINT64_C(1) << i, after))
            return true;
    }
    return false;
}

bool history_explained(const struct history *history, uint64_t state)
{
    struct search search = {.history = history, .seen = calloc(SEEN_SIZE, sizeof(*search.seen))};
    fs_assert(search.seen);
    for (size_t i = 0; i < history->n; i++)
        search.must |= history->ops[i].unknown ? 0 : UINT64_C(1) << i;
    bool explained = explain(&search, 0, state);
    free(search.seen);
    return explained;
}

void history_print(const struct history *history)
{
    static const char *const kinds[] = {"read", "write", "make", "remove", "look", "move", "replace"};
    for (size_t i = 0; i < history->n; i++) {
        const struct history_op *op = &history->ops[i];
        fprintf(stderr, "  %10.6f .. %10.6f client %u %-6s %u %u value %" PRIu64 " %s\n",
                (double)op->begun_us / SIM_SECOND,
                op->ended_us == UINT64_MAX ? 0.0 : (double)op->ended_us / SIM_SECOND, op->client,
                kinds[op->kind], op->a, op->b, op->value, op->unknown ? "?" : strerror(-op->result));
    }
}
