// SPDX-License-Identifier: Apache-2.0
// Taking back what holders of leases keep, before it changes: who is asked what, what waits for the answers,
// and what nobody may be given meanwhile. Pure: it is told the time, and tells through recall_ops what is to
// be sent and what may go on. One owner thread, that of the file system.
//
// A change that has to wait becomes `items` of its wait: as long as they are there nobody gets a lease on
// what they name. An answered item stays until the change is made or given up; it is not asked for again.
// Invariant: a wait goes on when its last unanswered ask is answered, and then once.
#ifndef BERTH_SERVER_RECALL_H
#define BERTH_SERVER_RECALL_H

#include "fs/base/env.h"
#include "fs/core/core.h"
#include "server/lease.h"

#define RECALL_BACKGROUND  64u // leases asked back at a time to make room
#define RECALL_REST_LEASES 30u // lease times without leases for who is overdue twice within as many again

struct recall_wait {
    struct list items;  // struct recall_item
    struct list links;  // struct recall_link: what it still waits for
    struct list queued; // behind a pending change, or a debt
    bool is_debt;       // it is the wait of a debt itself
};

struct recall_ask {
    struct table_node numbered; // in its holder; key: its number
    struct list in_holder, in_lease;
    struct lease_holder *holder;
    struct lease *lease; // NULL: everything
    struct list links;
    fs_ino ino;
    uint32_t what; // CORE_CHANGE_*
    uint64_t asked_ms;
    bool granted_since, background;
    size_t name_length;
    char name[];
};

struct recall_ops {
    void (*tell)(void *context, struct lease_holder *holder, const struct recall_ask *ask);
    void (*go_on)(void *context, struct recall_wait *wait);
    void (*overdue)(void *context, struct lease_holder *holder);
};

struct recall {
    struct lease_table leases;
    struct list holders;
    struct table pending; // struct recall_pending, by inode
    struct list trees;    // items of directories that change their parent
    struct table owed;    // of debt.c
    const struct env *env;
    const struct recall_ops *ops;
    void *context;
};

struct debts; // debt.h

void recall_init(struct recall *recall, const struct env *env, const struct recall_ops *ops, void *context);
void recall_free(struct recall *recall); // and those holders whose sessions have ended
static inline uint64_t recall_number(const struct recall_ask *ask)
{
    return ask->numbered.key;
}

// --- holders ---

// `cleared`: its client keeps nothing. NULL: no memory.
struct lease_holder *recall_enter(struct recall *recall, void *session, fs_ino root, bool cleared);
void recall_leave(struct recall *recall, struct lease_holder *holder); // its client keeps nothing any more
void recall_linger(struct lease_holder *holder, uint64_t ends_ms);     // its session ends without a word
// Its leases have ended by themselves. False: it had none.
bool recall_expire(struct recall *recall, struct lease_holder *holder);
void recall_cleared(struct recall *recall, struct lease_holder *holder, uint64_t generation);
void recall_forget(struct recall *recall, struct lease_holder *holder, fs_ino ino);
void recall_dropped(struct recall *recall, struct lease_holder *holder, uint64_t number);
void recall_tell_again(struct recall *recall, struct lease_holder *holder); // what it has not answered
// Ends what has come to its end. An ask that is lease_ms old is overdue: its holder's leases end another
// lease_ms later. paused_ms: of late the server itself was stopped for so long.
void recall_tick(struct recall *recall, uint64_t now_ms, uint64_t paused_ms, uint64_t lease_ms);

// --- giving ---

// May the holder (NULL: none) keep the inode's attributes, or that the directory has or has not this name?
// `own`: the wait of the request that asks; what it waited for itself is in nobody's way.
bool recall_give_attr(struct recall *recall, struct lease_holder *holder, fs_ino ino,
                      const struct recall_wait *own, uint64_t now_ms);
bool recall_give_name(struct recall *recall, struct lease_holder *holder, fs_ino directory,
                      struct fs_name name, const struct recall_wait *own, uint64_t now_ms);
// And that the directory has the names that it has now, and no others?
bool recall_give_names(struct recall *recall, struct lease_holder *holder, fs_ino directory,
                       const struct recall_wait *own, uint64_t now_ms);
// Bytes: 0: they may be read and not kept; 1: and kept; CORE_WAIT: `wait` is queued behind a change.
int recall_give_data(struct recall *recall, struct lease_holder *holder, fs_ino ino, struct recall_wait *wait,
                     uint64_t now_ms);
// After a restart: the holder says that it keeps the inode's bytes. False: no room, or no memory.
bool recall_keep(struct recall *recall, struct lease_holder *holder, fs_ino ino);

// --- changing ---

void recall_wait_init(struct recall_wait *wait);
void recall_wait_end(struct recall *recall, struct recall_wait *wait);
// 0: the changes may be made. CORE_WAIT: `wait` will go on. -ENOMEM. Of `own` (NULL: none) nothing is asked.
int recall_ask(struct recall *recall, const struct lease_holder *own, struct recall_wait *wait,
               const struct core_change *changes, size_t n, uint64_t now_ms);
// They are made at once, whoever keeps what; who does is told. With `debts` (else NULL) it is owed until it
// is answered. 0 or -ENOMEM.
int recall_tell(struct recall *recall, const struct lease_holder *own, struct debts *debts,
                const struct core_change *changes, size_t n, uint64_t now_ms);
void recall_go_on(struct recall *recall,
                  struct list *queue); // what has waited there: struct recall_wait.queued

#endif
