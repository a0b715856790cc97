// SPDX-License-Identifier: Apache-2.0
// What is owed, and by whom: pages that a session has written at once made bytes old that others still keep.
// Until these have dropped them, others may not read the new bytes, nor is the writer told that its pages are
// settled. Pure; one owner thread, that of the file system; called by recall.c and leases.c.
//
// A debtor's debts are the caller's, one an inode; recall->owed lists those of all debtors by inode.
// Invariant: a debt waits for at least one answer; with the last one it is gone, and who queued on it goes
// on.
#ifndef BERTH_SERVER_DEBT_H
#define BERTH_SERVER_DEBT_H

#include "server/recall.h"

// Of one debtor. All zero: none.
struct debts {
    struct table by_inode; // struct debt
};

void debts_free(struct recall *recall, struct debts *debts); // nothing is queued

// The debtor asks whether what it wrote is settled. False: it is not, and `wait` is queued.
bool debts_settled(const struct debts *debts, fs_ino ino, struct recall_wait *wait);
// The inode's bytes are to be told to the holder (NULL: to one that keeps nothing). False: what another than
// `own` has written of it is not settled, and the reader could tell who still keeps the old bytes: `wait` is
// queued. Not of who keeps bytes of it, since he may himself be in the midst of dropping them.
bool debts_allow_read(const struct recall *recall, const struct lease_holder *holder, const struct debts *own,
                      fs_ino ino, struct recall_wait *wait);
// The inode's bytes are to be told as they are, and who kept them over a restart may not know: he is told,
// and `debts` has it until he answers. 0 or -ENOMEM.
int debts_ask_kept(struct recall *recall, const struct lease_holder *own, struct debts *debts, fs_ino ino,
                   uint64_t now_ms);

// --- for recall.c ---

// The wait that is to be linked to the answers, then debt_begun(). NULL: no memory.
struct recall_wait *debt_begin(struct recall *recall, struct debts *debts, fs_ino ino);
void debt_begun(struct recall *recall, struct recall_wait *wait); // without an answer to wait for it is gone
void debt_paid(struct recall *recall, struct recall_wait *wait);  // the last answer has come

#endif
