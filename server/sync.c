// SPDX-License-Identifier: Apache-2.0
// What must be on stable storage before a reply leaves: the file of an fsync or of a write through an O_SYNC
// descriptor, or in strict mode everything. The waiting happens off the loop. Invariant: a job counts in
// hosted->n_jobs from its start until its requests are finished.
#include "fs/base/log.h"
#include "server/hosted.h"
#include "server/metrics.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sync_job {
    uv_work_t work;
    struct hosted *hosted;
    struct store_sync *sync;
    struct request *request; // NULL: of all in hosted->covered
};

static void run(uv_work_t *work)
{
    store_sync_run(CONTAINER_OF(work, struct sync_job, work)->sync);
}

// Prepares and starts; on failure nothing is under way.
static int start(struct hosted *hosted, fs_ino ino, struct request *request, uv_after_work_cb done)
{
    struct sync_job *job = calloc(1, sizeof(*job));
    if (!job)
        return -ENOMEM;
    job->hosted = hosted;
    job->request = request;
    int result = core_sync_prepare(hosted->core, ino, &job->sync);
    if (result < 0) {
        free(job);
        return result;
    }
    fs_assert(uv_queue_work(&hosted->shard->loop, &job->work, run, done) == 0);
    hosted->n_jobs++;
    METRICS_ADD(syncs, 1);
    return 0;
}

static int finish(struct sync_job *job)
{
    int result = core_sync_finish(job->hosted->core, job->sync);
    if (result < 0)
        log_error("sync-failed", "fs=%s error=%s read_only=until-restart", job->hosted->id,
                  strerror(-result));
    return result;
}

// --- one file ---

static void finish_file(struct request *request, int result)
{
    if (result < 0)
        request_fail(request, result);
    request_finish(request);
}

static void file_done(uv_work_t *work, int status UNUSED)
{
    struct sync_job *job = CONTAINER_OF(work, struct sync_job, work);
    struct hosted *hosted = job->hosted;
    finish_file(job->request, finish(job));
    free(job);
    hosted_flush(hosted);
    hosted_job_done(hosted);
}

void sync_file(struct request *request)
{
    int result = start(request->attached->hosted, request->sync_ino, request, file_done);
    if (result < 0)
        finish_file(request, result);
}

// --- everything ---

static void finish_covered(struct hosted *hosted, int result)
{
    struct list *node;
    while ((node = list_pop(&hosted->covered))) {
        struct request *request = LIST_ENTRY(node, struct request, node);
        if (result < 0 && request->slot && request->reply)
            request_fail(request, result);
        request_finish(request);
    }
    hosted->syncing = false;
}

static void all_done(uv_work_t *work, int status UNUSED)
{
    struct sync_job *job = CONTAINER_OF(work, struct sync_job, work);
    struct hosted *hosted = job->hosted;
    finish_covered(hosted, finish(job));
    free(job);
    sync_held(hosted);
    hosted_flush(hosted);
    hosted_job_done(hosted);
}

void sync_held(struct hosted *hosted)
{
    while (!hosted->syncing && !list_empty(&hosted->held)) {
        struct list *node;
        while ((node = list_pop(&hosted->held)))
            list_push(&hosted->covered, node);
        hosted->syncing = true;
        hosted->dirty = false;
        int result = start(hosted, 0, NULL, all_done);
        if (result < 0)
            finish_covered(hosted, result);
    }
}
