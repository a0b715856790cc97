// SPDX-License-Identifier: Apache-2.0
// Seeded bugs, to show that the simulation sees: calls between files of the product are led through here (the
// linker's --wrap), and one of them goes wrong when `--bug N` asks for it. The product's code knows nothing
// of it.
#include "server/hosted.h"
#include "server/keep.h"
#include "tests/sim/cache.h"
#include "tests/sim/world.h"
#include <errno.h>

enum bug {
    BUG_NONE,
    BUG_REPLY_NOT_KEPT,     // after a crash, what was sent again is executed again
    BUG_NO_GRACE,           // changes and locks are served before all have claimed
    BUG_LATE_CLAIMS,        // a lock is claimed that another had meanwhile
    BUG_LOCKS_OF_THE_DEAD,  // a revoked session's locks stay
    BUG_RUN_AGAIN,          // what was sent again on the same server is executed again
    BUG_GRANT_TOLD_ONCE,    // a grant that got lost with its connection is not told again
    BUG_ORPHANS_NOT_HELD,   // unlinked open files go before their holders are back
    BUG_SLOTS_FORGOTTEN,    // after a restart every slot starts from its last kept reply
    BUG_CANCEL_ALWAYS_WINS, // a cancelled wait is told "not granted" although it was
    BUG_SILENCE_IS_HEARD,   // a silent client never expires
    BUG_COMMIT_LOST,        // acknowledged, and not kept
    BUG_LOCK_TWICE,         // an exclusive lock is granted although another holds it
    BUG_NOBODY_WAITS,       // a change is made as soon as holders of leases were told
    BUG_ONE_ANSWER_IS_ALL,  // … as soon as one of them has answered
    BUG_GIVEN_MEANWHILE,    // what a change waits for is given to others
    BUG_LEASE_FORGOTTEN,    // of what was given
    BUG_KEPT_FORGOTTEN,     // of what was kept over a restart
    BUG_SETTLED_AT_ONCE,    // although somebody keeps what written pages made old
    BUG_OWN_CHANGES_KEPT,   // what a client removed or moved itself it goes on keeping, given or not
    BUG_CLAIMED_TOO_EARLY,  // while what was kept before a power loss can still be seen
};

// Each wrapped function: its declaration under both names.
#define WRAP(type, name, ...)        \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

WRAP(void, keep_reply, struct hosted *hosted, const struct request *request)
{
    if (sim_bug != BUG_REPLY_NOT_KEPT)
        __real_keep_reply(hosted, request);
}

WRAP(bool, grace_parks, const struct attached *attached, const struct frame *frame)
{
    return sim_bug != BUG_NO_GRACE && __real_grace_parks(attached, frame);
}

WRAP(int, grace_check_claim, const struct attached *attached, fs_ino ino)
{
    return sim_bug == BUG_LATE_CLAIMS ? 0 : __real_grace_check_claim(attached, ino);
}

WRAP(void, lock_release_session, struct lock_table *table, lock_session session)
{
    if (sim_bug != BUG_LOCKS_OF_THE_DEAD)
        __real_lock_release_session(table, session);
}

WRAP(enum session_verdict, session_admit, struct session *session, const struct wire_header *header,
     uint64_t connection, struct out **ret_kept, const char **ret_why)
{
    enum session_verdict verdict = __real_session_admit(session, header, connection, ret_kept, ret_why);
    if (sim_bug != BUG_RUN_AGAIN || verdict != SESSION_REPLAY)
        return verdict;
    struct session_slot *slot = &session->slots[header->slot];
    out_unref(slot->kept);
    slot->kept = NULL;
    slot->running = true;
    return SESSION_RUN;
}

WRAP(void, attached_tell_grants_again, struct attached *attached)
{
    if (sim_bug != BUG_GRANT_TOLD_ONCE)
        __real_attached_tell_grants_again(attached);
}

WRAP(void, grace_start, struct hosted *hosted, uint64_t opening_ms)
{
    __real_grace_start(hosted, opening_ms);
    if (sim_bug != BUG_ORPHANS_NOT_HELD)
        return;
    core_hold_orphans(hosted->core, false);
    hosted->reap_due = true;
}

WRAP(void, session_loosen, struct session *session)
{
    if (sim_bug != BUG_SLOTS_FORGOTTEN)
        __real_session_loosen(session);
}

WRAP(bool, session_granted, const struct session *session, uint64_t ticket)
{
    return sim_bug != BUG_CANCEL_ALWAYS_WINS && __real_session_granted(session, ticket);
}

WRAP(void, attached_tick, struct hosted *hosted)
{
    for (struct table_node *node = table_first(&hosted->sessions); node && sim_bug == BUG_SILENCE_IS_HEARD;
         node = table_next(&hosted->sessions, node))
        attached_heard(CONTAINER_OF(node, struct attached, node));
    __real_attached_tick(hosted);
}

WRAP(int, core_turn_commit, struct core *core)
{
    bool lost = sim_bug == BUG_COMMIT_LOST && world_chance(2);
    if (lost)
        core_turn_doom(core, -EIO);
    int result = __real_core_turn_commit(core);
    return lost ? 0 : result;
}

WRAP(int, lock_set, struct lock_table *table, fs_ino ino, lock_session session, const struct fs_lock *lock,
     uint64_t ticket)
{
    int result = __real_lock_set(table, ino, session, lock, ticket);
    return sim_bug == BUG_LOCK_TWICE && result == 1 && world_chance(10) ? 0 : result;
}

WRAP(int, recall_ask, struct recall *recall, const struct lease_holder *own, struct recall_wait *wait,
     const struct core_change *changes, size_t n, uint64_t now_ms)
{
    int result = __real_recall_ask(recall, own, wait, changes, n, now_ms);
    if (sim_bug != BUG_NOBODY_WAITS || result != CORE_WAIT)
        return result;
    recall_wait_end(recall, wait);
    return 0;
}

WRAP(void, recall_dropped, struct recall *recall, struct lease_holder *holder, uint64_t number)
{
    __real_recall_dropped(recall, holder, number);
    if (sim_bug != BUG_ONE_ANSWER_IS_ALL)
        return;
    list_for_each (node, &recall->holders) {
        struct lease_holder *other = LIST_ENTRY(node, struct lease_holder, node);
        while (!list_empty(&other->asks))
            __real_recall_dropped(recall, other,
                                  recall_number(LIST_ENTRY(other->asks.next, struct recall_ask, in_holder)));
    }
}

static bool given_by_mistake(struct recall *recall, struct lease_holder *holder, fs_ino ino, uint32_t bits)
{
    return sim_bug == BUG_GIVEN_MEANWHILE && holder && holder->cleared &&
           lease_add(&recall->leases, holder, ino, bits, true);
}

static void forget_by_mistake(struct recall *recall, struct lease_holder *holder, fs_ino ino)
{
    if (sim_bug == BUG_LEASE_FORGOTTEN && world_chance(30))
        recall_forget(recall, holder, ino);
}

WRAP(bool, recall_give_name, struct recall *recall, struct lease_holder *holder, fs_ino directory,
     struct fs_name name, const struct recall_wait *own, uint64_t now_ms)
{
    bool given = __real_recall_give_name(recall, holder, directory, name, own, now_ms);
    if (given)
        forget_by_mistake(recall, holder, directory);
    return given || given_by_mistake(recall, holder, directory, LEASE_NAMES);
}

WRAP(int, recall_give_data, struct recall *recall, struct lease_holder *holder, fs_ino ino,
     struct recall_wait *wait, uint64_t now_ms)
{
    int result = __real_recall_give_data(recall, holder, ino, wait, now_ms);
    if (result == 1)
        forget_by_mistake(recall, holder, ino);
    if (result != CORE_WAIT || !given_by_mistake(recall, holder, ino, LEASE_DATA))
        return result;
    recall_wait_end(recall, wait);
    return 1;
}

WRAP(bool, recall_keep, struct recall *recall, struct lease_holder *holder, fs_ino ino)
{
    return sim_bug == BUG_KEPT_FORGOTTEN || __real_recall_keep(recall, holder, ino);
}

WRAP(bool, debts_settled, const struct debts *debts, fs_ino ino, struct recall_wait *wait)
{
    return sim_bug == BUG_SETTLED_AT_ONCE || __real_debts_settled(debts, ino, wait);
}

WRAP(void, cache_change_ends, unsigned client, struct cache_look look, bool given, unsigned kept, bool there)
{
    __real_cache_change_ends(client, look, given || sim_bug == BUG_OWN_CHANGES_KEPT, kept, there);
}

WRAP(bool, cache_has_dropped, unsigned client)
{
    return sim_bug == BUG_CLAIMED_TOO_EARLY || __real_cache_has_dropped(client);
}
