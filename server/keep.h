// SPDX-License-Identifier: Apache-2.0
// What of the sessions outlives the server: each session's record and, in the transaction of their effect,
// the last replies on its slots. On the file system's shard. Private to the data plane.
#ifndef BERTH_SERVER_KEEP_H
#define BERTH_SERVER_KEEP_H

#include "server/hosted.h"

// These write inside the turn; negative errno of the store.
int keep_session(struct hosted *hosted, const struct attached *attached);
// Dooms the turn when the store refuses: an effect whose reply is not kept must not be.
void keep_reply(struct hosted *hosted, const struct request *request);
// The session is gone: its record goes with this turn, or with the next one that commits. Until then nothing
// that was given to others may be told to them: a restart would find the session, and it would claim. The
// same holds for records that have changed.
void keep_forget(struct hosted *hosted, const struct session *session);
// Whether all that is owed is in the turn. A store that refuses dooms a turn that has written, no other: what
// only looks goes on when nothing can be written any more.
bool keep_before_commit(struct hosted *hosted);
void keep_after_commit(struct hosted *hosted); // it succeeded, with all that was owed
static inline bool keep_owes(const struct hosted *hosted)
{
    return hosted->forgotten.count > 0 || !list_empty(&hosted->changed);
}
void keep_free(struct hosted *hosted);

// At the start, outside of a turn: makes the sessions that were there before. -EUCLEAN when a record makes no
// sense. When the log is not continuous they are there only to be told from strangers: `lost`.
int keep_load(struct hosted *hosted);

// Would keep_load() take this part of a session? Any thread.
bool keep_part_valid(uint32_t part, const void *bytes, size_t n);

#endif
