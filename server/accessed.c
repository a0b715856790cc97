// SPDX-License-Identifier: Apache-2.0
// Files whose bytes came with their open and have been read by now: the access time is marked at the
// beginning of the next turn, before any request that came later can look. On the shard's thread.
#include "server/hosted.h"
#include <stdlib.h>

struct accessed {
    struct list node; // in hosted->accessed
    fs_ino ino;
    uint32_t flags; // of the open
};

bool accessed_frame(struct attached *attached, struct reader body)
{
    struct hosted *hosted = attached->hosted;
    struct wire_accessed_event event;
    if (wire_get_accessed_event(&body, &event) < 0)
        return false;
    const struct session_open *open = session_open_get(attached->session, event.open_id);
    struct accessed *accessed =
        open && !attached->session->identity.read_only ? malloc(sizeof(*accessed)) : NULL;
    if (!accessed)
        return true; // nothing to mark; without memory it is as if the disk were full
    accessed->ino = core_file_ino(open->file);
    accessed->flags = core_file_flags(open->file);
    list_init(&accessed->node);
    list_push(&hosted->accessed, &accessed->node);
    shard_work(hosted->shard);
    return true;
}

bool accessed_mark(struct hosted *hosted)
{
    struct list *node;
    bool any = false;
    core_set_quiet(hosted->core, false);
    while ((node = list_pop(&hosted->accessed))) {
        struct accessed *accessed = LIST_ENTRY(node, struct accessed, node);
        core_mark_read(hosted->core, accessed->ino, accessed->flags);
        free(accessed);
        any = true;
    }
    return any;
}

void accessed_free(struct hosted *hosted)
{
    struct list *node;
    while ((node = list_pop(&hosted->accessed)))
        free(LIST_ENTRY(node, struct accessed, node));
}
