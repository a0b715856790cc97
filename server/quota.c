// SPDX-License-Identifier: Apache-2.0
// A quota set or read on its file system's shard, for the main thread, which waits: the limits hold, and the
// use is what it is, when the call returns. Both threads.
#include "server/hosted.h"
#include <errno.h>

struct quota_message {
    struct message message;
    struct shard *shard;
    struct place *place;
    const char *path;                 // of the root directory; NULL: the whole file system
    const struct core_limits *limits; // NULL: read only
    struct store_quota quota;
    int result;
    uv_sem_t done;
};

// In a turn. A directory that is not there gets its quota at the attach that makes it.
static int set_and_get(struct core *core, struct quota_message *own)
{
    struct core_root_spec spec = {.path = own->path};
    fs_ino id = 0;
    int result = own->path ? core_resolve_root(core, &spec, &id) : 0;
    if (result == -ENOENT || result == -ENOTDIR)
        return 0;
    if (result == 0 && own->limits)
        result = core_quota_set(core, id, own->limits);
    return result < 0 ? result : core_quota_get(core, id, &own->quota);
}

static int run_turn(struct quota_message *own)
{
    char reason[ATTACH_REASON_SIZE];
    struct hosted *hosted;
    int result = shard_find(own->shard, own->place, &hosted, reason, sizeof(reason));
    if (result == 0)
        result = core_turn_begin(hosted->core);
    if (result < 0)
        return result;
    result = set_and_get(hosted->core, own);
    int committed = core_turn_commit(hosted->core);
    if (own->limits)
        turn_settle(hosted, true);
    return result < 0 ? result : committed;
}

static void run_quota(struct message *message)
{
    struct quota_message *own = CONTAINER_OF(message, struct quota_message, message);
    own->result = run_turn(own);
    uv_sem_post(&own->done);
}

int shard_quota(struct shard *shard, struct place *place, const char *path, const struct core_limits *limits,
                struct store_quota *ret_quota)
{
    struct quota_message own = {.shard = shard, .place = place, .path = path, .limits = limits};
    int result = uv_sem_init(&own.done, 0);
    if (result < 0)
        return result;
    mailbox_post(&shard->mailbox, &own.message, run_quota);
    uv_sem_wait(&own.done);
    uv_sem_destroy(&own.done);
    if (own.result == 0)
        *ret_quota = own.quota;
    return own.result;
}
