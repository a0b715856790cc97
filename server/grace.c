// SPDX-License-Identifier: Apache-2.0
// After a restart: those who were here before come back and claim what they held; until all have, or a lease
// time from the start is over, nobody changes anything, nor gets a lock, nor is told that a change was made.
// On the shard's thread. Invariant: n_unclaimed counts the sessions whose claim is not CLAIM_DONE.
#include "fs/base/log.h"
#include "server/hosted.h"
#include <errno.h>
#include <stdlib.h>

#define RELOCKED_MAX 65536u // inodes; past that nobody may claim late

// --- which requests wait ---

// The body of a request, behind its credentials.
static struct reader body_of(const struct frame *frame)
{
    uint32_t groups[FS_GROUPS_MAX];
    struct fs_cred cred;
    struct reader body = reader_on(frame->body, frame->body_length);
    if ((frame->header.status & WIRE_WITH_CRED) && wire_get_cred(&body, &cred, groups) < 0)
        return reader_on(NULL, 0);
    return body;
}

static bool is_claim(const struct frame *frame)
{
    struct wire_setlk_request request;
    struct reader body = body_of(frame);
    return wire_get_setlk_request(&body, &request) == 0 && request.how == WIRE_SETLK_RECLAIM;
}

static bool truncates(const struct frame *frame)
{
    struct wire_open_request request;
    struct reader body = body_of(frame);
    return wire_get_open_request(&body, &request) == 0 && (request.flags & FS_OPEN_TRUNC);
}

bool grace_parks(const struct attached *attached, const struct frame *frame)
{
    bool claiming = attached->claim != CLAIM_DONE;
    if (!claiming && !attached->hosted->grace)
        return false;
    switch (frame->header.op) {
    case WIRE_PING:
    case WIRE_BYE:
    case WIRE_REOPEN:
    case WIRE_RELEASE:
    case WIRE_RECLAIMED:
    case WIRE_CANCEL:
        return false;
    case WIRE_SETLK:
        return !claiming || !is_claim(frame);
    case WIRE_GETLK:
    case WIRE_FSYNC:
    case WIRE_SETTLE: // those who are missing may still keep what written pages have made old
        return true;
    case WIRE_READ: // who is missing could go on showing what was there before
        return claiming || attached->hosted->unsettled_before;
    case WIRE_OPEN:
        return claiming || truncates(frame);
    default:
        return claiming || op_changes(frame->header.op);
    }
}

static void unpark(struct hosted *hosted)
{
    list_for_each (node, &hosted->shard->clients) {
        struct client *client = LIST_ENTRY(node, struct client, node);
        if (client->attached && client->attached->hosted == hosted)
            client_unpark(client);
    }
    shard_work(hosted->shard);
}

// --- its beginning and end ---

static bool anybody_awaited(const struct hosted *hosted)
{
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        const struct attached *attached = CONTAINER_OF(node, struct attached, node);
        if (attached->claim != CLAIM_DONE && !attached->expired)
            return true;
    }
    return false;
}

static void forget_relocked(struct hosted *hosted)
{
    for (struct table_node *node = table_first(&hosted->relocked), *next; node; node = next) {
        next = table_next(&hosted->relocked, node);
        table_remove(&hosted->relocked, node);
        free(node);
    }
}

void grace_free(struct hosted *hosted)
{
    forget_relocked(hosted);
    table_free(&hosted->relocked);
}

static void end_if_due(struct hosted *hosted)
{
    if (hosted->closing)
        return;
    // After a pause of the server the next tick says how much longer.
    bool time_is_up = uv_now(&hosted->shard->loop) >= hosted->grace_until_ms && hosted_paused_ms(hosted) == 0;
    if (hosted->grace && (time_is_up || !anybody_awaited(hosted))) {
        hosted->grace = false;
        log_info("grace-over", "fs=%s unclaimed=%zu", hosted->id, hosted->n_unclaimed);
        core_hold_orphans(hosted->core, false);
        hosted->upkeep_due = true;
        unpark(hosted);
    }
    if (hosted->n_unclaimed == 0 && !hosted->reap_due) {
        forget_relocked(hosted);
        hosted->reap_due = true;
    }
}

void grace_start(struct hosted *hosted, uint64_t opening_ms)
{
    const struct shard *shard = hosted->shard;
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        CONTAINER_OF(node, struct attached, node)->claim = CLAIM_AWAITED;
        hosted->n_unclaimed++;
    }
    // Nobody could come back before it was open, and a server that stood still until then has heard of
    // nobody.
    hosted->grace_until_ms = uv_now(&shard->loop) + opening_ms + shard->options->lease_ms;
    hosted->grace = hosted->n_unclaimed > 0;
    core_hold_orphans(hosted->core, hosted->grace);
    if (hosted->grace)
        log_info("grace", "fs=%s sessions=%zu", hosted->id, hosted->n_unclaimed);
    end_if_due(hosted);
}

void grace_tick(struct hosted *hosted)
{
    if (hosted->grace)
        end_if_due(hosted);
}

void grace_claimed(struct attached *attached)
{
    struct hosted *hosted = attached->hosted;
    if (attached->claim == CLAIM_DONE)
        return;
    attached->claim = CLAIM_DONE;
    attached->missed = attached->missed_before = false;
    fs_assert(hosted->n_unclaimed > 0);
    hosted->n_unclaimed--;
    if (attached->client && !hosted->closing)
        client_unpark(attached->client);
    end_if_due(hosted);
}

// --- claims that come late ---

// Should the server stop again, its memory of what was locked is gone: then they may claim no lock at all.
static void tell_missed(struct hosted *hosted)
{
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        struct attached *attached = CONTAINER_OF(node, struct attached, node);
        if (attached->claim == CLAIM_DONE)
            continue;
        attached->missed = true;
        attached_keep(attached);
    }
    hosted->missed_told = true;
}

void grace_locked(struct hosted *hosted, fs_ino ino)
{
    if (hosted->n_unclaimed > 0 && !hosted->missed_told)
        tell_missed(hosted);
    if (hosted->n_unclaimed == 0 || hosted->relocked.count > RELOCKED_MAX ||
        table_get(&hosted->relocked, ino))
        return;
    struct table_node *node = calloc(1, sizeof(*node));
    if (!node || table_put(&hosted->relocked, node, ino) < 0) {
        free(node);
        log_warn("late-claims", "fs=%s error=no memory to remember who locked since", hosted->id);
    }
}

int grace_check_claim(const struct attached *attached, fs_ino ino)
{
    const struct hosted *hosted = attached->hosted;
    bool locked =
        attached->missed_before || hosted->relocked.count > RELOCKED_MAX || table_get(&hosted->relocked, ino);
    return locked ? -EAGAIN : 0;
}
