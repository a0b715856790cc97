// SPDX-License-Identifier: Apache-2.0
// See debt.h.
#include "server/debt.h"
#include <errno.h>
#include <stdlib.h>

struct debt {
    struct table_node node; // in debts->by_inode; key: inode number
    struct list of_inode;
    struct owed *owed;
    struct debts *debts;
    struct recall_wait wait; // is_debt
    struct list settlers;    // struct recall_wait.queued
};

// The debts of all debtors for one inode.
struct owed {
    struct table_node node; // in recall->owed; key: inode number
    struct list debts;
};

static struct debt *get(const struct debts *debts, fs_ino ino)
{
    struct table_node *node = table_get(&debts->by_inode, ino);
    return node ? CONTAINER_OF(node, struct debt, node) : NULL;
}

static struct owed *owed_get(const struct recall *recall, fs_ino ino)
{
    struct table_node *node = table_get(&recall->owed, ino);
    return node ? CONTAINER_OF(node, struct owed, node) : NULL;
}

static struct owed *owed_make(struct recall *recall, fs_ino ino)
{
    struct owed *owed = owed_get(recall, ino);
    if (owed)
        return owed;
    owed = calloc(1, sizeof(*owed));
    if (!owed || table_put(&recall->owed, &owed->node, ino) < 0) {
        free(owed);
        return NULL;
    }
    list_init(&owed->debts);
    return owed;
}

static void owed_put(struct recall *recall, struct owed *owed)
{
    if (!list_empty(&owed->debts))
        return;
    table_remove(&recall->owed, &owed->node);
    free(owed);
}

static struct debt *make(struct recall *recall, struct debts *debts, fs_ino ino)
{
    struct owed *owed = owed_make(recall, ino);
    struct debt *debt = owed ? calloc(1, sizeof(*debt)) : NULL;
    if (!debt || table_put(&debts->by_inode, &debt->node, ino) < 0) {
        free(debt);
        if (owed)
            owed_put(recall, owed);
        return NULL;
    }
    debt->owed = owed;
    debt->debts = debts;
    list_init(&debt->of_inode);
    list_push(&owed->debts, &debt->of_inode);
    list_init(&debt->settlers);
    recall_wait_init(&debt->wait);
    debt->wait.is_debt = true;
    return debt;
}

static void end(struct recall *recall, struct debt *debt)
{
    table_remove(&debt->debts->by_inode, &debt->node);
    list_remove(&debt->of_inode);
    owed_put(recall, debt->owed);
    recall_wait_end(recall, &debt->wait);
    recall_go_on(recall, &debt->settlers);
    free(debt);
}

struct recall_wait *debt_begin(struct recall *recall, struct debts *debts, fs_ino ino)
{
    struct debt *debt = get(debts, ino);
    if (!debt)
        debt = make(recall, debts, ino);
    return debt ? &debt->wait : NULL;
}

void debt_begun(struct recall *recall, struct recall_wait *wait)
{
    if (list_empty(&wait->links))
        end(recall, CONTAINER_OF(wait, struct debt, wait));
}

void debt_paid(struct recall *recall, struct recall_wait *wait)
{
    end(recall, CONTAINER_OF(wait, struct debt, wait));
}

void debts_free(struct recall *recall, struct debts *debts)
{
    for (struct table_node *node = table_first(&debts->by_inode), *after; node; node = after) {
        after = table_next(&debts->by_inode, node);
        end(recall, CONTAINER_OF(node, struct debt, node));
    }
    table_free(&debts->by_inode);
}

bool debts_settled(const struct debts *debts, fs_ino ino, struct recall_wait *wait)
{
    struct debt *debt = get(debts, ino);
    if (debt)
        list_push(&debt->settlers, &wait->queued);
    return debt == NULL;
}

bool debts_allow_read(const struct recall *recall, const struct lease_holder *holder, const struct debts *own,
                      fs_ino ino, struct recall_wait *wait)
{
    const struct owed *owed = owed_get(recall, ino);
    if (!owed || (holder && lease_has(holder, ino, LEASE_DATA)))
        return true;
    list_for_each (node, &owed->debts) {
        struct debt *debt = LIST_ENTRY(node, struct debt, of_inode);
        if (debt->debts == own)
            continue;
        list_push(&debt->settlers, &wait->queued);
        return false;
    }
    return true;
}

int debts_ask_kept(struct recall *recall, const struct lease_holder *own, struct debts *debts, fs_ino ino,
                   uint64_t now_ms)
{
    const struct core_change change = {.ino = ino, .what = CORE_CHANGE_DATA, .name = {"", 0}};
    const struct list *leases = lease_list(&recall->leases, ino);
    bool any = false;
    if (!leases)
        return 0;
    list_for_each (node, leases) {
        const struct lease *lease = LIST_ENTRY(node, struct lease, of_inode);
        any |= lease->kept && lease->holder != own;
    }
    int result = any ? recall_tell(recall, own, debts, &change, 1, now_ms) : 0;
    if (!any || result < 0)
        return result;
    list_for_each (node, leases) {
        struct lease *lease = LIST_ENTRY(node, struct lease, of_inode);
        lease->kept &= lease->holder == own;
    }
    return 0;
}
