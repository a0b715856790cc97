// SPDX-License-Identifier: Apache-2.0
// See walks.h.
#include "client/walks.h"

#define NS_PER_MS 1000000ull

void walks_failed(struct walks *walks, pid_t tid, uint64_t now_ns)
{
    walks->failed[walks->n_failed++ % WALKS_MAX] = (struct walk){.tid = tid, .failed_ns = now_ns};
}

bool walks_again(const struct walks *walks, pid_t tid, uint64_t now_ns)
{
    for (size_t i = 0; i < WALKS_MAX; i++) {
        const struct walk *walk = &walks->failed[i];
        if (walk->failed_ns != 0 && walk->tid == tid && now_ns < walk->failed_ns + WALK_AGAIN_MS * NS_PER_MS)
            return true;
    }
    return false;
}

static uint64_t take_oldest(struct walks *walks)
{
    uint64_t open_id = walks->holds[walks->first].open_id;
    walks->first = (walks->first + 1) % WALK_HOLDS;
    walks->n_holds--;
    return open_id;
}

uint64_t walks_hold(struct walks *walks, uint64_t open_id, uint64_t now_ns)
{
    uint64_t oldest = walks->n_holds == WALK_HOLDS ? take_oldest(walks) : 0;
    walks->holds[(walks->first + walks->n_holds++) % WALK_HOLDS] =
        (struct walk_hold){.open_id = open_id, .since_ns = now_ns};
    return oldest;
}

uint64_t walks_take_due(struct walks *walks, uint64_t now_ns, uint64_t *ret_due_ns)
{
    *ret_due_ns = UINT64_MAX;
    if (walks->n_holds == 0)
        return 0;
    uint64_t due_ns = walks->holds[walks->first].since_ns + WALK_HOLD_MS * NS_PER_MS;
    if (now_ns >= due_ns)
        return take_oldest(walks);
    *ret_due_ns = due_ns;
    return 0;
}
