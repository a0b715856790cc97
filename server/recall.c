// SPDX-License-Identifier: Apache-2.0
// See recall.h.
#include "server/recall.h"
#include "server/debt.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_ALL  (LEASE_ATTR | LEASE_NAMES | LEASE_DATA)
#define MERGED_MAX 16u

// NOLINTBEGIN(misc-redundant-expression): that they are is what is asserted
_Static_assert(LEASE_ATTR == CORE_CHANGE_ATTR && LEASE_NAMES == CORE_CHANGE_NAMES &&
                   LEASE_DATA == CORE_CHANGE_DATA,
               "a lease's bits are those of a change");
// NOLINTEND(misc-redundant-expression)

struct recall_item {
    struct list in_wait, in_pending;
    struct recall_wait *wait;
    struct recall_pending *pending; // NULL: in recall->trees
    struct core_change change;
    char name[];
};

struct recall_pending {
    struct table_node node; // key: inode number
    struct list items, readers;
};

struct recall_link {
    struct list in_wait, in_ask;
    struct recall_wait *wait;
};

static bool same_name(struct fs_name a, struct fs_name b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

// Does `what` (of `name`) touch `change`?
static uint32_t common(uint32_t what, struct fs_name name, const struct core_change *change)
{
    uint32_t both = what & change->what & ~CORE_CHANGE_NAME;
    uint32_t names = CORE_CHANGE_NAME | CORE_CHANGE_NAMES;
    bool all = (what & names) && (change->what & CORE_CHANGE_NAMES);
    bool one = (what & change->what & CORE_CHANGE_NAME) && same_name(name, change->name);
    return both | (all || one ? what & names : 0);
}

// --- life ---

void recall_init(struct recall *recall, const struct env *env, const struct recall_ops *ops, void *context)
{
    *recall = (struct recall){.env = env, .ops = ops, .context = context};
    lease_table_init(&recall->leases);
    list_init(&recall->holders);
    list_init(&recall->trees);
}

void recall_free(struct recall *recall)
{
    list_for_each_safe (node, after, &recall->holders)
        recall_leave(recall, LIST_ENTRY(node, struct lease_holder, node));
    fs_assert(recall->pending.count == 0 && list_empty(&recall->trees));
    fs_assert(recall->owed.count == 0);
    table_free(&recall->owed);
    table_free(&recall->pending);
    lease_table_free(&recall->leases);
}

// --- waits ---

void recall_wait_init(struct recall_wait *wait)
{
    *wait = (struct recall_wait){0};
    list_init(&wait->items);
    list_init(&wait->links);
    list_init(&wait->queued);
}

static void go_on(struct recall *recall, struct recall_wait *wait)
{
    if (wait->is_debt)
        debt_paid(recall, wait);
    else
        recall->ops->go_on(recall->context, wait);
}

void recall_go_on(struct recall *recall, struct list *queue)
{
    struct list *node;
    while ((node = list_pop(queue)))
        go_on(recall, LIST_ENTRY(node, struct recall_wait, queued));
}

static bool data_pends(const struct recall_pending *pending)
{
    list_for_each (node, &pending->items) {
        if (LIST_ENTRY(node, struct recall_item, in_pending)->change.what & CORE_CHANGE_DATA)
            return true;
    }
    return false;
}

static void item_free(struct recall *recall, struct recall_item *item)
{
    struct recall_pending *pending = item->pending;
    list_remove(&item->in_wait);
    list_remove(&item->in_pending);
    free(item);
    if (!pending)
        return;
    if (!data_pends(pending))
        recall_go_on(recall, &pending->readers);
    if (!list_empty(&pending->items))
        return;
    table_remove(&recall->pending, &pending->node);
    free(pending);
}

static void link_free(struct recall_link *link)
{
    list_remove(&link->in_wait);
    list_remove(&link->in_ask);
    free(link);
}

void recall_wait_end(struct recall *recall, struct recall_wait *wait)
{
    list_remove(&wait->queued);
    while (!list_empty(&wait->links))
        link_free(LIST_ENTRY(wait->links.next, struct recall_link, in_wait));
    while (!list_empty(&wait->items))
        item_free(recall, LIST_ENTRY(wait->items.next, struct recall_item, in_wait));
}

static struct recall_pending *pending_get(const struct recall *recall, fs_ino ino)
{
    struct table_node *node = table_get(&recall->pending, ino);
    return node ? CONTAINER_OF(node, struct recall_pending, node) : NULL;
}

static struct recall_pending *pending_make(struct recall *recall, fs_ino ino)
{
    struct recall_pending *pending = pending_get(recall, ino);
    if (pending)
        return pending;
    pending = calloc(1, sizeof(*pending));
    if (!pending || table_put(&recall->pending, &pending->node, ino) < 0) {
        free(pending);
        return NULL;
    }
    list_init(&pending->items);
    list_init(&pending->readers);
    return pending;
}

static struct recall_item *item_new(struct recall_wait *wait, const struct core_change *change)
{
    struct recall_item *item = malloc(sizeof(*item) + change->name.length);
    if (!item)
        return NULL;
    item->wait = wait;
    item->pending = NULL;
    item->change = *change;
    memcpy(item->name, change->name.bytes, change->name.length);
    item->change.name.bytes = item->name;
    list_init(&item->in_pending);
    list_init(&item->in_wait);
    list_push(&wait->items, &item->in_wait);
    return item;
}

static int item_add(struct recall *recall, struct recall_wait *wait, const struct core_change *change)
{
    struct core_change of_inode = *change, tree = *change;
    of_inode.what &= ~CORE_CHANGE_TREE;
    tree.what &= CORE_CHANGE_TREE;
    if (of_inode.what) {
        struct recall_item *item = item_new(wait, &of_inode);
        struct recall_pending *pending = item ? pending_make(recall, change->ino) : NULL;
        if (!pending)
            return -ENOMEM;
        item->pending = pending;
        list_push(&pending->items, &item->in_pending);
    }
    if (tree.what) {
        struct recall_item *item = item_new(wait, &tree);
        if (!item)
            return -ENOMEM;
        list_push(&recall->trees, &item->in_pending);
    }
    return 0;
}

// --- asks ---

static struct fs_name name_of(const struct recall_ask *ask)
{
    return (struct fs_name){.bytes = ask->name, .length = ask->name_length};
}

static int link_ask(struct recall_ask *ask, struct recall_wait *wait)
{
    struct recall_link *link = wait ? malloc(sizeof(*link)) : NULL;
    if (!link)
        return wait ? -ENOMEM : 0;
    link->wait = wait;
    list_init(&link->in_wait);
    list_init(&link->in_ask);
    list_push(&wait->links, &link->in_wait);
    list_push(&ask->links, &link->in_ask);
    return 0;
}

static int ask_new(struct lease_holder *holder, struct lease *lease, const struct core_change *change,
                   uint64_t now_ms, struct recall_ask **ret_ask)
{
    size_t name_length = change->what & CORE_CHANGE_NAME ? change->name.length : 0;
    struct recall_ask *ask = calloc(1, sizeof(*ask) + name_length);
    if (!ask || table_put(&holder->numbers, &ask->numbered, holder->last_number + 1) < 0) {
        free(ask);
        return -ENOMEM;
    }
    holder->last_number++;
    ask->holder = holder;
    ask->lease = lease;
    ask->ino = change->ino;
    ask->what = change->what;
    ask->asked_ms = now_ms;
    ask->name_length = name_length;
    if (name_length > 0)
        memcpy(ask->name, change->name.bytes, name_length);
    list_init(&ask->links);
    list_init(&ask->in_holder);
    list_init(&ask->in_lease);
    list_push(&holder->asks, &ask->in_holder);
    if (lease)
        list_push(&lease->asks, &ask->in_lease);
    else
        holder->n_trees++;
    *ret_ask = ask;
    return 0;
}

// The ask is answered, or its answer does not matter any more.
static void ask_end(struct recall *recall, struct recall_ask *ask)
{
    struct lease_holder *holder = ask->holder;
    list_remove(&ask->in_holder);
    list_remove(&ask->in_lease);
    table_remove(&holder->numbers, &ask->numbered);
    holder->n_trees -= ask->lease ? 0 : 1;
    holder->n_background -= ask->background ? 1 : 0;
    while (!list_empty(&ask->links)) {
        struct recall_link *link = LIST_ENTRY(ask->links.next, struct recall_link, in_ask);
        struct recall_wait *wait = link->wait;
        link_free(link);
        if (list_empty(&wait->links))
            go_on(recall, wait);
    }
    free(ask);
}

static int ask_and_tell(struct recall *recall, struct lease_holder *holder, struct lease *lease,
                        const struct core_change *change, struct recall_wait *wait, uint64_t now_ms)
{
    struct recall_ask *ask;
    int result = ask_new(holder, lease, change, now_ms, &ask);
    if (result == 0)
        result = link_ask(ask, wait);
    if (result == 0 && holder->session)
        recall->ops->tell(recall->context, holder, ask);
    return result;
}

// What of the lease the change makes old.
static uint32_t needed(const struct lease *lease, uint32_t what)
{
    uint32_t need = what & lease->bits;
    if ((what & CORE_CHANGE_NAME) && (lease->bits & LEASE_NAMES) && !(need & LEASE_NAMES))
        need |= CORE_CHANGE_NAME;
    return need;
}

static int link_tree_ask(struct lease_holder *holder, struct recall_wait *wait, bool *ret_linked)
{
    list_for_each (node, &holder->asks) {
        struct recall_ask *ask = LIST_ENTRY(node, struct recall_ask, in_holder);
        if (!ask->lease && !ask->granted_since) {
            *ret_linked = true;
            return link_ask(ask, wait);
        }
    }
    *ret_linked = false;
    return 0;
}

// Who has been asked already is not asked twice: one answer is for both, unless something was given since.
static int ask_lease(struct recall *recall, struct lease *lease, const struct core_change *change,
                     struct recall_wait *wait, uint64_t now_ms)
{
    struct core_change rest = *change;
    rest.what = needed(lease, change->what);
    bool linked = false;
    int result = rest.what && lease->holder->n_trees > 0 ? link_tree_ask(lease->holder, wait, &linked) : 0;
    if (linked || result < 0)
        return result;
    list_for_each (node, &lease->asks) {
        struct recall_ask *ask = LIST_ENTRY(node, struct recall_ask, in_lease);
        const struct core_change asked = {.what = ask->what, .name = name_of(ask)};
        uint32_t covered = ask->granted_since ? 0 : common(rest.what, rest.name, &asked);
        if (!covered)
            continue;
        result = link_ask(ask, wait);
        if (result < 0)
            return result;
        rest.what &= ~covered;
    }
    return rest.what ? ask_and_tell(recall, lease->holder, lease, &rest, wait, now_ms) : 0;
}

// Whoever sees but a part of the file system may keep something that leaves it.
static int ask_trees(struct recall *recall, const struct lease_holder *own, const struct core_change *change,
                     struct recall_wait *wait, uint64_t now_ms)
{
    struct core_change tree = {.ino = change->ino, .what = CORE_CHANGE_TREE};
    int result = 0;
    list_for_each (node, &recall->holders) {
        struct lease_holder *holder = LIST_ENTRY(node, struct lease_holder, node);
        bool linked = false;
        if (holder == own || holder->root == FS_ROOT_INO || holder->leases.count == 0 || result < 0)
            continue;
        result = link_tree_ask(holder, wait, &linked);
        if (result == 0 && !linked)
            result = ask_and_tell(recall, holder, NULL, &tree, wait, now_ms);
    }
    return result;
}

static int ask_all(struct recall *recall, const struct lease_holder *own, const struct core_change *change,
                   struct recall_wait *wait, uint64_t now_ms)
{
    int result = change->what & CORE_CHANGE_TREE ? ask_trees(recall, own, change, wait, now_ms) : 0;
    const struct list *leases = lease_list(&recall->leases, change->ino);
    if (!leases)
        return result;
    list_for_each (node, leases) {
        struct lease *lease = LIST_ENTRY(node, struct lease, of_inode);
        if (lease->holder != own && result == 0)
            result = ask_lease(recall, lease, change, wait, now_ms);
    }
    return result;
}

// --- changing ---

// One change for each inode, more where several names of it change.
static size_t merge(const struct core_change *changes, size_t n, struct core_change merged[MERGED_MAX])
{
    size_t n_merged = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        while (at < n_merged &&
               (merged[at].ino != changes[i].ino || (merged[at].what & changes[i].what & CORE_CHANGE_NAME)))
            at++;
        if (at == n_merged) {
            fs_assert(n_merged < MERGED_MAX);
            merged[n_merged++] = changes[i];
            continue;
        }
        merged[at].what |= changes[i].what;
        if (changes[i].what & CORE_CHANGE_NAME)
            merged[at].name = changes[i].name;
    }
    return n_merged;
}

// What of the change the wait has no item for.
static struct core_change without_items(const struct recall_wait *wait, struct core_change change)
{
    list_for_each (node, &wait->items) {
        const struct recall_item *item = LIST_ENTRY(node, struct recall_item, in_wait);
        if (item->change.ino == change.ino)
            change.what &= ~common(change.what, change.name, &item->change);
    }
    return change;
}

int recall_ask(struct recall *recall, const struct lease_holder *own, struct recall_wait *wait,
               const struct core_change *changes, size_t n, uint64_t now_ms)
{
    struct core_change merged[MERGED_MAX];
    size_t n_merged = merge(changes, n, merged);
    int result = 0;
    for (size_t i = 0; i < n_merged && result == 0; i++) {
        merged[i] = without_items(wait, merged[i]);
        if (merged[i].what)
            result = ask_all(recall, own, &merged[i], wait, now_ms);
    }
    if (result < 0 || list_empty(&wait->links))
        return result;
    for (size_t i = 0; i < n_merged && result == 0; i++)
        result = merged[i].what ? item_add(recall, wait, &merged[i]) : 0;
    return result < 0 ? result : CORE_WAIT;
}

int recall_tell(struct recall *recall, const struct lease_holder *own, struct debts *debts,
                const struct core_change *changes, size_t n, uint64_t now_ms)
{
    struct core_change merged[MERGED_MAX];
    size_t n_merged = merge(changes, n, merged);
    int result = 0;
    for (size_t i = 0; i < n_merged && result == 0; i++) {
        struct recall_wait *wait = debts ? debt_begin(recall, debts, merged[i].ino) : NULL;
        if (debts && !wait)
            return -ENOMEM;
        result = ask_all(recall, own, &merged[i], wait, now_ms);
        if (wait)
            debt_begun(recall, wait);
    }
    return result;
}

// --- giving ---

// Does the change make any of what is wanted old? Of all names, each does.
static bool touches(const struct core_change *want, const struct core_change *change)
{
    bool any_name = (want->what & CORE_CHANGE_NAMES) && (change->what & CORE_CHANGE_NAME);
    return any_name || common(want->what, want->name, change) != 0;
}

static bool item_blocks(const struct recall_item *item, const struct core_change *want,
                        const struct recall_wait *own)
{
    return item->wait != own && touches(want, &item->change);
}

static bool change_pends(const struct recall *recall, const struct core_change *want,
                         const struct recall_wait *own)
{
    const struct recall_pending *pending = pending_get(recall, want->ino);
    if (!pending)
        return false;
    list_for_each (node, &pending->items) {
        if (item_blocks(LIST_ENTRY(node, struct recall_item, in_pending), want, own))
            return true;
    }
    return false;
}

static bool tree_pends(const struct recall *recall, const struct lease_holder *holder,
                       const struct recall_wait *own)
{
    if (holder->root == FS_ROOT_INO)
        return false;
    list_for_each (node, &recall->trees) {
        if (LIST_ENTRY(node, struct recall_item, in_pending)->wait != own)
            return true;
    }
    return false;
}

// It has been asked for this, and its answer would take what were given now.
static bool is_asked(const struct lease_holder *holder, const struct core_change *want)
{
    const struct lease *lease = lease_get(holder, want->ino);
    if (holder->n_trees > 0)
        return true;
    if (!lease)
        return false;
    list_for_each (node, &lease->asks) {
        const struct recall_ask *ask = LIST_ENTRY(node, struct recall_ask, in_lease);
        if (touches(want, &(struct core_change){.what = ask->what, .name = name_of(ask)}))
            return true;
    }
    return false;
}

// Asks for what was given longest ago, unless that is under way.
static void make_room(struct recall *recall, struct lease_holder *holder, uint64_t now_ms)
{
    unsigned n = 0;
    if (holder->n_background > 0)
        return;
    list_for_each (node, &holder->order) {
        struct lease *lease = LIST_ENTRY(node, struct lease, in_order);
        const struct core_change all = {.ino = lease->node.key, .what = lease->bits};
        struct recall_ask *ask;
        if (!list_empty(&lease->asks) || !lease->bits)
            continue;
        if (n++ == RECALL_BACKGROUND || ask_new(holder, lease, &all, now_ms, &ask) < 0)
            return;
        ask->background = true;
        holder->n_background++;
        recall->ops->tell(recall->context, holder, ask);
    }
}

static bool may_keep(const struct lease_holder *holder, uint64_t now_ms)
{
    return holder && holder->cleared && now_ms >= holder->rests_until_ms;
}

static bool give(struct recall *recall, struct lease_holder *holder, const struct core_change *want,
                 uint32_t bits, const struct recall_wait *own, uint64_t now_ms)
{
    if (!may_keep(holder, now_ms) || is_asked(holder, want) || tree_pends(recall, holder, own) ||
        change_pends(recall, want, own))
        return false;
    if (lease_add(&recall->leases, holder, want->ino, bits, false))
        return true;
    make_room(recall, holder, now_ms);
    return false;
}

bool recall_give_attr(struct recall *recall, struct lease_holder *holder, fs_ino ino,
                      const struct recall_wait *own, uint64_t now_ms)
{
    const struct core_change want = {.ino = ino, .what = CORE_CHANGE_ATTR};
    return give(recall, holder, &want, LEASE_ATTR, own, now_ms);
}

bool recall_give_name(struct recall *recall, struct lease_holder *holder, fs_ino directory,
                      struct fs_name name, const struct recall_wait *own, uint64_t now_ms)
{
    const struct core_change want = {.ino = directory, .what = CORE_CHANGE_NAME, .name = name};
    return give(recall, holder, &want, LEASE_NAMES, own, now_ms);
}

bool recall_give_names(struct recall *recall, struct lease_holder *holder, fs_ino directory,
                       const struct recall_wait *own, uint64_t now_ms)
{
    const struct core_change want = {.ino = directory, .what = CORE_CHANGE_NAMES};
    return give(recall, holder, &want, LEASE_NAMES, own, now_ms);
}

// Given before the answer to an ask: a change that comes later needs an answer of its own.
static void note_given(struct lease_holder *holder, struct lease *lease)
{
    list_for_each (node, &lease->asks) {
        struct recall_ask *ask = LIST_ENTRY(node, struct recall_ask, in_lease);
        ask->granted_since |= (ask->what & CORE_CHANGE_DATA) != 0;
    }
    if (holder->n_trees == 0)
        return;
    list_for_each (node, &holder->asks) {
        struct recall_ask *ask = LIST_ENTRY(node, struct recall_ask, in_holder);
        ask->granted_since |= !ask->lease;
    }
    lease->read_number = holder->last_number;
}

// A page is with the asker's kernel whatever the answer, and dropping it again costs more than a lease: of
// bytes there may be as many more.
static bool may_exceed(const struct recall *recall, const struct lease_holder *holder)
{
    const struct lease_table *leases = &recall->leases;
    return holder->leases.count < 2 * leases->per_holder_max && leases->n < 2 * leases->max;
}

// Who has not answered yet may be in the midst of dropping, and its kernel wait for these very bytes: it gets
// them at once.
int recall_give_data(struct recall *recall, struct lease_holder *holder, fs_ino ino, struct recall_wait *wait,
                     uint64_t now_ms)
{
    const struct core_change want = {.ino = ino, .what = CORE_CHANGE_DATA};
    if (!may_keep(holder, now_ms))
        return 0;
    if (!lease_has(holder, ino, LEASE_DATA) && change_pends(recall, &want, NULL)) {
        list_push(&pending_get(recall, ino)->readers, &wait->queued);
        return CORE_WAIT;
    }
    if (lease_full(&recall->leases, holder))
        make_room(recall, holder, now_ms);
    if (!lease_add(&recall->leases, holder, ino, LEASE_DATA, may_exceed(recall, holder)))
        return 0;
    note_given(holder, lease_get(holder, ino));
    return 1;
}

bool recall_keep(struct recall *recall, struct lease_holder *holder, fs_ino ino)
{
    if (!lease_add(&recall->leases, holder, ino, LEASE_DATA, may_exceed(recall, holder)))
        return false;
    lease_get(holder, ino)->kept = true;
    return true;
}

// --- holders ---

static uint64_t draw_generation(const struct recall *recall, uint64_t before)
{
    uint64_t generation;
    do
        env_random(recall->env, &generation, sizeof(generation));
    while (generation == 0 || generation == before);
    return generation;
}

struct lease_holder *recall_enter(struct recall *recall, void *session, fs_ino root, bool cleared)
{
    struct lease_holder *holder = lease_holder_new();
    if (!holder)
        return NULL;
    holder->session = session;
    holder->root = root;
    holder->cleared = cleared;
    holder->generation = draw_generation(recall, 0);
    list_push(&recall->holders, &holder->node);
    return holder;
}

static bool has_nothing(const struct lease_holder *holder)
{
    return holder->leases.count == 0 && list_empty(&holder->asks);
}

// Nothing of it counts any more.
static void clear(struct recall *recall, struct lease_holder *holder)
{
    while (!list_empty(&holder->asks))
        ask_end(recall, LIST_ENTRY(holder->asks.next, struct recall_ask, in_holder));
    while (!list_empty(&holder->order))
        lease_take(&recall->leases, LIST_ENTRY(holder->order.next, struct lease, in_order), LEASE_ALL);
    holder->ends_ms = 0;
}

void recall_leave(struct recall *recall, struct lease_holder *holder)
{
    clear(recall, holder);
    lease_holder_free(holder);
}

void recall_linger(struct lease_holder *holder, uint64_t ends_ms)
{
    holder->session = NULL;
    holder->ends_ms = holder->ends_ms ? MIN(holder->ends_ms, ends_ms) : ends_ms;
    if (has_nothing(holder))
        lease_holder_free(holder);
}

static void begin_generation(struct recall *recall, struct lease_holder *holder)
{
    holder->generation = draw_generation(recall, holder->generation);
    holder->cleared = false;
}

bool recall_expire(struct recall *recall, struct lease_holder *holder)
{
    if (has_nothing(holder))
        return false;
    clear(recall, holder);
    begin_generation(recall, holder);
    return true;
}

void recall_cleared(struct recall *recall, struct lease_holder *holder, uint64_t generation)
{
    if (holder->cleared || generation != holder->generation)
        return;
    clear(recall, holder);
    holder->cleared = true;
}

void recall_forget(struct recall *recall, struct lease_holder *holder, fs_ino ino)
{
    struct lease *lease = lease_get(holder, ino);
    if (!lease)
        return;
    while (!list_empty(&lease->asks))
        ask_end(recall, LIST_ENTRY(lease->asks.next, struct recall_ask, in_lease));
    lease_take(&recall->leases, lease, LEASE_ALL);
}

// Bytes that were read since the ask may have come too late to be dropped.
static void drop_all(struct recall *recall, struct lease_holder *holder, uint64_t number)
{
    list_for_each_safe (node, after, &holder->order) {
        struct lease *lease = LIST_ENTRY(node, struct lease, in_order);
        bool read_since = lease->read_number >= number;
        lease_take(&recall->leases, lease, read_since ? LEASE_ATTR | LEASE_NAMES : LEASE_ALL);
    }
}

void recall_dropped(struct recall *recall, struct lease_holder *holder, uint64_t number)
{
    struct table_node *node = table_get(&holder->numbers, number);
    if (!node)
        return;
    struct recall_ask *ask = CONTAINER_OF(node, struct recall_ask, numbered);
    struct lease *lease = ask->lease;
    uint32_t bits = ask->what & LEASE_ALL;
    ask_end(recall, ask);
    if (!lease) {
        drop_all(recall, holder, number);
        return;
    }
    // What another ask is for, that one's answer drops.
    list_for_each (it, &lease->asks)
        bits &= ~LIST_ENTRY(it, struct recall_ask, in_lease)->what;
    lease_take(&recall->leases, lease, bits);
}

void recall_tell_again(struct recall *recall, struct lease_holder *holder)
{
    list_for_each (node, &holder->asks)
        recall->ops->tell(recall->context, holder, LIST_ENTRY(node, struct recall_ask, in_holder));
}

// --- the clock ---

static void shift(struct lease_holder *holder, uint64_t paused_ms)
{
    list_for_each (node, &holder->asks)
        LIST_ENTRY(node, struct recall_ask, in_holder)->asked_ms += paused_ms;
}

// Once can be the network's fault. Who does it again would hold up change after change.
static void note_overdue(struct lease_holder *holder, uint64_t now_ms, uint64_t lease_ms)
{
    uint64_t rest_ms = RECALL_REST_LEASES * lease_ms;
    if (holder->overdue_ms && now_ms < holder->overdue_ms + 2 * rest_ms)
        holder->rests_until_ms = holder->ends_ms + rest_ms;
    holder->overdue_ms = now_ms;
}

static void look_at(struct recall *recall, struct lease_holder *holder, uint64_t now_ms, uint64_t lease_ms)
{
    if (holder->ends_ms && now_ms >= holder->ends_ms) {
        clear(recall, holder);
        if (!holder->session)
            lease_holder_free(holder);
        return;
    }
    if (list_empty(&holder->asks) || holder->ends_ms)
        return;
    const struct recall_ask *oldest = LIST_ENTRY(holder->asks.next, struct recall_ask, in_holder);
    if (now_ms < oldest->asked_ms + lease_ms)
        return;
    begin_generation(recall, holder);
    holder->ends_ms = now_ms + lease_ms;
    note_overdue(holder, now_ms, lease_ms);
    recall->ops->overdue(recall->context, holder);
}

void recall_tick(struct recall *recall, uint64_t now_ms, uint64_t paused_ms, uint64_t lease_ms)
{
    list_for_each_safe (node, after, &recall->holders) {
        struct lease_holder *holder = LIST_ENTRY(node, struct lease_holder, node);
        if (paused_ms)
            shift(holder, paused_ms);
        look_at(recall, holder, now_ms, lease_ms);
    }
}
