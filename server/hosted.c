// SPDX-License-Identifier: Apache-2.0
// The life of an open file system: opened at the first attach, ticked by its shard, closed at the end. On the
// shard's thread. Invariant: it is closed only when no job is under way off the loop and no request waits.
#include "fs/base/log.h"
#include "fs/store/store_sqlite.h"
#include "server/keep.h"
#include "server/run_marker.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- opening ---

static int directory_of(const struct shard *shard, const char *id, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/fs/%s", shard->options->data_directory, id);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static uint64_t since_ms(const struct hosted *hosted, uint64_t start_ns)
{
    return (env_monotonic_ns(hosted->shard->options->env) - start_ns) / 1000000u;
}

int hosted_start(struct hosted *hosted, struct store *store, uint64_t start_ns)
{
    const struct shard *shard = hosted->shard;
    hosted->store = store;
    int result = core_create(store, shard->options->env, &hosted->core);
    if (result == 0)
        leases_start(hosted);
    if (result == 0)
        result = lock_table_create(shard->options->max_locks, attached_granted, hosted, &hosted->locks);
    if (result == 0)
        result = keep_load(hosted);
    if (result < 0)
        return result;
    grace_start(hosted, since_ms(hosted, start_ns));
    hosted_pay(hosted);
    return 0;
}

// All that was acknowledged is on disk.
static void mark_clean(const struct hosted *hosted)
{
    char path[PATH_MAX];
    if (directory_of(hosted->shard, hosted->id, path) == 0)
        run_marker_end(path);
}

static void close_parts(struct hosted *hosted, const char *why)
{
    bool safe = hosted->marked && store_sync(hosted->store, 0) == 0;
    struct table_node *node;
    while ((node = table_first(&hosted->sessions)))
        attached_leave(CONTAINER_OF(node, struct attached, node), why);
    debts_free(&hosted->recall, &hosted->kept_debts);
    recall_free(&hosted->recall);
    leases_count(hosted);
    grace_free(hosted);
    accessed_free(hosted);
    lock_table_destroy(hosted->locks);
    core_destroy(hosted->core);
    store_close(hosted->store);
    if (safe)
        mark_clean(hosted);
    table_free(&hosted->sessions);
    keep_free(hosted);
}

static void explain(const char *id, int error, char *reason, size_t size)
{
    if (error == -EPROTONOSUPPORT)
        snprintf(reason, size, "file system %s was written by a newer berthd: serve it with that version",
                 id);
    else if (error == -EUCLEAN)
        snprintf(reason, size, "file system %s is damaged: restore it from a copy", id);
    else if (error == -ENOENT)
        snprintf(reason, size, "file system %s has no files in the data directory", id);
    else
        snprintf(reason, size, "file system %s cannot be opened: %s", id, strerror(-error));
}

void hosted_init(struct hosted *hosted, struct shard *shard, struct place *place, bool log_continuous)
{
    hosted->shard = shard;
    hosted->place = place;
    hosted->log_continuous = log_continuous;
    memcpy(hosted->id, place->fs_id, sizeof(hosted->id));
    list_init(&hosted->node);
    list_init(&hosted->ready);
    list_init(&hosted->unsent);
    list_init(&hosted->fresh);
    list_init(&hosted->accessed);
    list_init(&hosted->turn);
    list_init(&hosted->resumed);
    leases_init(hosted);
    list_init(&hosted->held);
    list_init(&hosted->covered);
    list_init(&hosted->changed);
    hosted->upkeep_due = hosted->usage_due = true;
    // What a run before committed may not be on disk.
    hosted->dirty = true;
    hosted->ticked_ms = uv_now(&shard->loop);
}

// From here on the next opening asks about this run. Not as long as the store does not know yet what the run
// before has lost.
static int mark_open(struct hosted *hosted, const char *path)
{
    int result = keep_owes(hosted) ? 0 : run_marker_begin(path);
    hosted->marked = result == 0 && !keep_owes(hosted);
    return result;
}

int hosted_open(struct shard *shard, struct place *place, struct hosted **ret_hosted, char *reason,
                size_t reason_size)
{
    struct hosted *hosted = calloc(1, sizeof(*hosted));
    if (!hosted)
        return -ENOMEM;
    char path[PATH_MAX];
    struct run_marker before = {0};
    uint64_t start_ns = env_monotonic_ns(shard->options->env);
    int result = directory_of(shard, place->fs_id, path);
    if (result == 0)
        run_marker_read(path, &before);
    hosted_init(hosted, shard, place, before.log_continuous);
    struct store *store;
    if (result == 0)
        result = store_sqlite_open(path, shard->options->env, &store);
    if (result == 0)
        result = hosted_start(hosted, store, start_ns);
    if (result == 0)
        result = mark_open(hosted, path);
    if (result < 0) {
        explain(hosted->id, result, reason, reason_size);
        log_error("open-failed", "fs=%s error=%s reason=%s", hosted->id, strerror(-result), reason);
        close_parts(hosted, "the file system cannot be opened");
        free(hosted);
        return result;
    }
    log_info(before.clean ? "open" : "recovery", "fs=%s shard=%u ms=%llu log_continuous=%d", hosted->id,
             shard->number, (unsigned long long)since_ms(hosted, start_ns), hosted->log_continuous);
    hosted_count(hosted);
    *ret_hosted = hosted;
    return 0;
}

// --- closing ---

static void close_now(struct hosted *hosted)
{
    fs_assert(list_empty(&hosted->held) && list_empty(&hosted->covered) && list_empty(&hosted->turn));
    close_parts(hosted, hosted->closing_why);
    log_info("close", "fs=%s", hosted->id);
    hosted->closed(hosted, hosted->closed_context);
    free(hosted);
}

void hosted_close(struct hosted *hosted, const char *why,
                  void (*closed)(struct hosted *hosted, void *context), void *context)
{
    hosted->closing = true;
    hosted->closing_why = why;
    hosted->closed = closed;
    hosted->closed_context = context;
    if (hosted->n_jobs == 0)
        close_now(hosted);
}

void hosted_job_done(struct hosted *hosted)
{
    fs_assert(hosted->n_jobs > 0);
    hosted->n_jobs--;
    if (hosted->closing && hosted->n_jobs == 0)
        close_now(hosted);
}

int hosted_commit(struct hosted *hosted)
{
    bool paid = keep_before_commit(hosted);
    int result = core_turn_commit(hosted->core);
    if (result == 0 && paid)
        keep_after_commit(hosted);
    return result;
}

void hosted_pay(struct hosted *hosted)
{
    int result = keep_owes(hosted) ? core_turn_begin(hosted->core) : 0;
    if (result == 0 && keep_owes(hosted))
        result = hosted_commit(hosted);
    if (result < 0)
        log_warn("session-record", "fs=%s error=%s", hosted->id, strerror(-result));
}

// --- the clock ---

// A bounded number of orphans that nobody has claimed.
static void reap(struct hosted *hosted)
{
    bool more = false;
    int result = core_turn_begin(hosted->core);
    if (result == 0) {
        result = core_reap_orphans(hosted->core, &more);
        int committed = hosted_commit(hosted);
        if (result == 0)
            result = committed;
    }
    if (result < 0)
        log_warn("reap", "fs=%s error=%s", hosted->id, strerror(-result));
    if (result == 0 && !more)
        hosted->reap_due = false;
    hosted->upkeep_due = true;
    turn_settle(hosted, true);
}

void hosted_count(struct hosted *hosted)
{
    struct store_usage usage;
    int result = core_usage(hosted->core, &usage);
    if (result < 0) {
        log_warn("usage", "fs=%s error=%s", hosted->id, strerror(-result));
        return;
    }
    atomic_store(&hosted->place->bytes, usage.bytes);
    atomic_store(&hosted->place->inodes, usage.inodes);
    atomic_store(&hosted->place->known, true);
    hosted->usage_due = false;
}

uint64_t hosted_paused_ms(const struct hosted *hosted)
{
    uint64_t gap_ms = uv_now(&hosted->shard->loop) - hosted->ticked_ms;
    return gap_ms > SHARD_TICK_MS ? gap_ms - SHARD_TICK_MS : 0;
}

void hosted_tick(struct hosted *hosted)
{
    if (hosted->closing)
        return;
    hosted->grace_until_ms += hosted_paused_ms(hosted);
    attached_tick(hosted);
    leases_count(hosted);
    grace_tick(hosted);
    if (hosted->reap_due)
        reap(hosted);
    if (hosted->usage_due)
        hosted_count(hosted);
    hosted->upkeep_due = true;
}

bool hosted_upkeep(struct hosted *hosted)
{
    if (!hosted->upkeep_due || hosted->closing)
        return false;
    bool more = false;
    int result = core_upkeep(hosted->core, &more);
    if (result < 0)
        log_warn("upkeep", "fs=%s error=%s", hosted->id, strerror(-result));
    hosted->upkeep_due = result == 0 && more;
    return hosted->upkeep_due;
}
