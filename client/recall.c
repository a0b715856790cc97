// SPDX-License-Identifier: Apache-2.0
// See recall.h. Loop's thread. A recall lives until the kernel has let go and no worker is busy with it; the
// server may be answered earlier, when names are dropped by the epoch instead.
#include "client/recall.h"
#include "client/request.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MS              1000000ull // ns
#define NAMES_WAIT_MS   50u        // for a directory's lock, then all names go
#define FORGET_ROOM     64u
#define FORGET_TOGETHER 64u
#define FORGET_WAIT_MS  100u
#define HANDLES_SIZE    (WIRE_INODES_MAX * 2 * sizeof(uint64_t)) // of as many as fit in one kept

struct recall {
    struct list node; // in mount->recalls, the oldest first
    struct mount *mount;
    uint64_t number; // to be answered; 0: nobody asked
    bool is_sweep;   // of everything
    bool unswept;    // and something of it may still be seen
    uint64_t since_ns;
    struct notify_job name, pages;
    bool name_out, pages_out; // a worker has it
    bool name_given_up;       // the epoch did instead
    bool answered;
    uint64_t barrier_id;     // the inode whose attributes go when the name's directory was free; 0: none
    struct dropped *dropped; // inodes whose pages go; owned
    size_t n_dropped;
    size_t n_gaps;             // in front of them in `ranges`
    struct byte_range *ranges; // as the worker drops them; owned
};

struct dropped {
    uint64_t id;
    uint32_t n_kept_reads; // the node's when they were last given to a worker
};

static struct recall *recall_new(struct mount *mount, uint64_t number)
{
    struct recall *recall = calloc(1, sizeof(*recall));
    if (!recall) {
        // The server cuts off who does not answer, and asks again.
        log_error("recall", "error=%s", strerror(ENOMEM));
        return NULL;
    }
    recall->mount = mount;
    recall->number = number;
    recall->since_ns = env_monotonic_ns(&mount->env);
    list_init(&recall->node);
    list_push(&mount->recalls, &recall->node);
    return recall;
}

// --- the end of a recall ---

// A server that is away asks again when it is back.
static void tell_dropped(struct mount *mount, uint64_t number)
{
    uint8_t body[sizeof(number)];
    struct writer writer = writer_on(body, sizeof(body));
    wire_put_dropped_event(&writer, &(struct wire_dropped_event){.number = number});
    (void)rpc_tell(mount->rpc, WIRE_DROPPED, body, sizeof(body));
    mount->n_recalls++;
}

// Others may change what this mount has been dropping.
static void swept(struct recall *recall)
{
    struct mount *mount = recall->mount;
    mount->n_unswept -= recall->unswept;
    recall->unswept = false;
    if (mount->n_unswept == 0)
        rpc_claimed(mount->rpc);
}

static bool drops_again(struct recall *recall);
static void pages_dropped(struct recall *recall);

static void settle(struct recall *recall)
{
    struct mount *mount = recall->mount;
    bool dropped = !recall->pages_out && (!recall->name_out || recall->name_given_up);
    if (dropped && !recall->answered && !drops_again(recall)) {
        pages_dropped(recall);
        recall->answered = true;
        mount->n_sweeps -= recall->is_sweep;
        swept(recall);
        if (recall->number)
            tell_dropped(mount, recall->number);
    }
    if (recall->name_out || recall->pages_out)
        return;
    list_remove(&recall->node);
    free(recall->dropped);
    free(recall->ranges);
    free(recall);
}

// --- pages ---

static void pages_done(struct notify_job *job)
{
    struct recall *recall = CONTAINER_OF(job, struct recall, pages);
    recall->pages_out = false;
    settle(recall);
}

static void submit_pages(struct recall *recall, const struct byte_range *ranges, size_t n_ranges,
                         void (*done)(struct notify_job *job))
{
    recall->pages =
        (struct notify_job){.kind = NOTIFY_PAGES, .ranges = ranges, .n_ranges = n_ranges, .done = done};
    recall->pages_out = true;
    notify_submit(recall->mount->notify, &recall->pages);
}

static struct byte_range whole(uint64_t id)
{
    return (struct byte_range){.id = id, .end = INT64_MAX};
}

// What was read while pages were being dropped may have been taken behind the drop: those inodes again.
static bool drops_again(struct recall *recall)
{
    size_t n = 0;
    for (size_t i = 0; i < recall->n_dropped; i++) {
        struct dropped *dropped = &recall->dropped[i];
        const struct node *node = nodes_get(&recall->mount->nodes, dropped->id);
        if (!node || node->n_kept_reads == dropped->n_kept_reads)
            continue;
        dropped->n_kept_reads = node->n_kept_reads;
        recall->ranges[n++] = whole(dropped->id);
    }
    if (n > 0)
        submit_pages(recall, recall->ranges, n, pages_done);
    return n > 0;
}

// The server is about to be told. An answer that it gave before it hears of that is older, and is not kept.
static void pages_dropped(struct recall *recall)
{
    struct mount *mount = recall->mount;
    for (size_t i = 0; i < recall->n_dropped; i++) {
        struct node *node = nodes_get(&mount->nodes, recall->dropped[i].id);
        if (!node)
            continue;
        node->lease &= (uint8_t)~WIRE_LEASE_DATA;
        if (node->n_dropping > 0)
            node->n_dropping--;
        if (recall->number || recall->is_sweep)
            requests_read_again(mount, node->id.key);
    }
}

// What is left are pages that are being read. Nobody can see them, and their reads may wait until all is
// claimed.
static void gaps_done(struct notify_job *job)
{
    struct recall *recall = CONTAINER_OF(job, struct recall, pages);
    swept(recall);
    submit_pages(recall, recall->ranges + recall->n_gaps, recall->n_dropped, pages_done);
}

static void drop_pages(struct recall *recall)
{
    struct mount *mount = recall->mount;
    for (size_t i = 0; i < recall->n_dropped; i++) {
        struct dropped *dropped = &recall->dropped[i];
        struct node *node = nodes_get(&mount->nodes, dropped->id);
        first_bytes_drop_node(&mount->first_bytes, node);
        dropped->n_kept_reads = node->n_kept_reads;
        node->n_dropping++;
        requests_settle(mount, node);
        recall->ranges[recall->n_gaps + i] = whole(dropped->id);
    }
    requests_hurry_reads(mount);
    if (recall->n_gaps > 0)
        submit_pages(recall, recall->ranges, recall->n_gaps, gaps_done);
    else
        submit_pages(recall, recall->ranges, recall->n_dropped, pages_done);
}

static bool drop_pages_of(struct recall *recall, const struct node *node)
{
    recall->dropped = malloc(sizeof(*recall->dropped));
    recall->ranges = malloc(sizeof(*recall->ranges));
    if (!recall->dropped || !recall->ranges)
        return false;
    recall->dropped[0].id = node->id.key;
    recall->n_dropped = 1;
    drop_pages(recall);
    return true;
}

void recall_pages(struct mount *mount, struct node *node)
{
    if (node->n_dropping > 0)
        return; // and it is seen that this was read meanwhile
    struct recall *recall = recall_new(mount, 0);
    if (recall && !drop_pages_of(recall, node))
        settle(recall);
}

static void own_done(struct notify_job *job)
{
    struct own_drop *drop = CONTAINER_OF(job, struct own_drop, job);
    drop->then(drop);
}

void recall_own(struct mount *mount, struct own_drop *drop, struct node *node)
{
    requests_settle(mount, node);
    drop->range = whole(node->id.key);
    drop->job =
        (struct notify_job){.kind = NOTIFY_PAGES, .ranges = &drop->range, .n_ranges = 1, .done = own_done};
    notify_submit(mount->notify, &drop->job);
}

// --- names and attributes ---

static void drop_barrier(const struct recall *recall)
{
    if (recall->barrier_id)
        notify_attributes(recall->mount->notify, recall->barrier_id);
}

static void name_done(struct notify_job *job)
{
    struct recall *recall = CONTAINER_OF(job, struct recall, name);
    recall->name_out = false;
    drop_barrier(recall);
    settle(recall);
}

static void submit_name(struct recall *recall, uint64_t directory_id, wire_bytes name)
{
    recall->name = (struct notify_job){.kind = NOTIFY_NAME, .node_id = directory_id, .done = name_done};
    memcpy(recall->name.name, name.bytes, name.length);
    recall->name_out = true;
    notify_submit(recall->mount->notify, &recall->name);
}

// Somebody holds the directory's lock, and it may be a call of this mount that waits for others: all names of
// the mount are asked for again instead.
static void give_up_name(struct recall *recall)
{
    recall->name_given_up = true;
    recall_all_names(recall->mount);
    drop_barrier(recall);
    settle(recall);
}

void recall_all_names(struct mount *mount)
{
    if (mount_knows_epochs(mount))
        notify_epoch(mount->notify);
}

// Nobody was looking a name up when it was answered last, or may still be taking it in.
static void drop_name(struct recall *recall, struct node *node, wire_bytes name)
{
    if (!mount_knows_epochs(recall->mount))
        return; // no name was ever kept
    if (node->n_busy > 0)
        recall_all_names(recall->mount);
    else
        submit_name(recall, node->id.key, name);
}

// An inode that the kernel has named to us is there to be told; one that it was only shown may still be in
// the hands of the lookup, which holds the directory's lock until it has taken it in.
static void drop_attributes(struct recall *recall, struct node *node)
{
    struct mount *mount = recall->mount;
    const struct node *directory = nodes_get(&mount->nodes, node->shown_in);
    notify_attributes(mount->notify, node->id.key);
    // Who changes the directory has it for himself: every lookup that was answered before has ended.
    if (node->known || !directory || directory->n_exclusive > 0 || recall->name_out)
        return;
    recall->barrier_id = node->id.key;
    submit_name(recall, node->shown_in, (wire_bytes){.bytes = ""});
}

void recall_changed(struct mount *mount, fs_ino ino)
{
    struct node *node = nodes_get(&mount->nodes, nodes_id_of(&mount->nodes, ino));
    if (node)
        attr_drop(&node->attr, ++mount->attr_clock);
}

// --- everything ---

static void drop_attributes_of_all(struct mount *mount)
{
    const struct table *nodes = &mount->nodes.by_id;
    uint64_t tick = ++mount->attr_clock;
    kept_opens_drop_all(&mount->kept_opens);
    notify_attributes(mount->notify, NODE_ROOT);
    mount->nodes.root.lease &= WIRE_LEASE_DATA;
    attr_drop(&mount->nodes.root.attr, tick);
    whole_drop_all(&mount->whole);
    for (struct table_node *entry = table_first(nodes); entry; entry = table_next(nodes, entry)) {
        struct node *node = CONTAINER_OF(entry, struct node, id);
        if (node->lease & (WIRE_LEASE_ATTR | WIRE_LEASE_NAME))
            notify_attributes(mount->notify, entry->key);
        node->lease &= WIRE_LEASE_DATA;
        attr_drop(&node->attr, tick);
    }
}

static int gather_pages(struct recall *recall)
{
    const struct table *nodes = &recall->mount->nodes.by_id;
    recall->dropped = malloc(MAX(nodes->count, 1) * sizeof(*recall->dropped));
    if (!recall->dropped)
        return -ENOMEM;
    for (struct table_node *entry = table_first(nodes); entry; entry = table_next(nodes, entry)) {
        const struct node *node = CONTAINER_OF(entry, struct node, id);
        if (node->lease & WIRE_LEASE_DATA || node->n_dropping > 0)
            recall->dropped[recall->n_dropped++].id = entry->key;
    }
    return 0;
}

static size_t count_reads(const struct mount *mount)
{
    size_t n = 0;
    list_for_each (at, &mount->requests)
        n += LIST_ENTRY(at, struct request, node)->keep;
    return n;
}

// A page that is being read is not there yet, and its read may wait for a server that is away: what lies
// between goes first.
static int gather_gaps(struct recall *recall)
{
    size_t n = 0, n_reads = count_reads(recall->mount), room = n_reads + recall->n_dropped;
    struct byte_range *reads = malloc(MAX(n_reads, 1) * sizeof(*reads));
    uint64_t *ids = malloc(recall->n_dropped * sizeof(*ids));
    recall->ranges = malloc((room + recall->n_dropped) * sizeof(*recall->ranges));
    if (!reads || !ids || !recall->ranges) {
        free(reads);
        free(ids);
        return -ENOMEM;
    }
    list_for_each (at, &recall->mount->requests) {
        const struct request *request = LIST_ENTRY(at, struct request, node);
        if (request->keep && request->size > 0)
            reads[n++] = (struct byte_range){
                .id = request->node_id, .start = request->offset, .end = request->offset + request->size - 1};
    }
    for (size_t i = 0; i < recall->n_dropped; i++)
        ids[i] = recall->dropped[i].id;
    recall->n_gaps = gaps_between(reads, n, ids, recall->n_dropped, recall->ranges);
    free(reads);
    free(ids);
    return 0;
}

// A mount that cannot drop what it keeps is worse than none.
static void sweep(struct mount *mount, uint64_t number)
{
    recall_all_names(mount);
    drop_attributes_of_all(mount);
    struct recall *recall = recall_new(mount, number);
    if (!recall || gather_pages(recall) < 0 || (recall->n_dropped > 0 && gather_gaps(recall) < 0)) {
        mount_fail(mount, "no memory to drop what the kernel keeps");
        return;
    }
    recall->is_sweep = recall->unswept = true;
    mount->n_sweeps++;
    mount->n_unswept++;
    if (recall->n_dropped > 0)
        drop_pages(recall);
    else
        settle(recall);
}

// --- what the server says ---

static bool is_under_way(const struct mount *mount, uint64_t number)
{
    list_for_each (at, &mount->recalls) {
        const struct recall *recall = LIST_ENTRY(at, struct recall, node);
        if (recall->number == number && !recall->answered)
            return true;
    }
    return false;
}

// What the daemon keeps itself. A directory whose attributes alone change may have been removed.
static void drop_kept(struct mount *mount, struct node *node, const struct wire_invalidate_event *event)
{
    if (event->what & WIRE_DROP_ATTR)
        attr_drop(&node->attr, ++mount->attr_clock);
    if (event->what & WIRE_DROP_NAME && !(event->what & WIRE_DROP_NAMES))
        whole_doubt(&mount->whole, node->id.key,
                    (struct fs_name){.bytes = event->name.bytes, .length = event->name.length});
    else
        whole_drop(&mount->whole, node->id.key);
}

static void drop(struct mount *mount, struct node *node, const struct wire_invalidate_event *event)
{
    drop_kept(mount, node, event);
    struct recall *recall = recall_new(mount, event->number);
    if (!recall)
        return;
    if (event->what & WIRE_DROP_NAME && node->known)
        drop_name(recall, node, event->name);
    if (event->what & WIRE_DROP_NAMES) {
        recall_all_names(mount);
        node->lease &= (uint8_t)~WIRE_LEASE_NAME;
    }
    if (event->what & WIRE_DROP_ATTR) {
        // Told before the answer is: who removes the file finds it closed.
        kept_opens_drop(&mount->kept_opens, node);
        kept_opens_tell(&mount->kept_opens, env_monotonic_ns(&mount->env));
        drop_attributes(recall, node);
        node->lease &= (uint8_t)~WIRE_LEASE_ATTR;
    }
    if (event->what & WIRE_DROP_DATA)
        recall->answered =
            !drop_pages_of(recall, node); // without memory there is no answer: see recall_new()
    settle(recall);
}

void recall_invalidate(struct mount *mount, const struct wire_invalidate_event *event)
{
    struct node *node = nodes_get(&mount->nodes, nodes_id_of(&mount->nodes, event->ino));
    if (event->name.length > FS_NAME_MAX || is_under_way(mount, event->number))
        return;
    if (event->what & WIRE_DROP_TREE && mount->init_done)
        sweep(mount, event->number);
    else if (node && mount->init_done)
        drop(mount, node, event);
    else
        tell_dropped(mount, event->number); // the kernel has forgotten it, or knows nothing yet
}

// Numbers are of a session and a run of the server, and begin anew with the next: what is being dropped is
// asked for again, or nobody waits for it.
static void forget_numbers(struct mount *mount)
{
    list_for_each (node, &mount->recalls)
        LIST_ENTRY(node, struct recall, node)->number = 0;
}

void recall_welcome(struct mount *mount, const struct wire_hello_reply *reply, bool first)
{
    struct lease *lease = &mount->lease;
    if (!first && lease->generation == reply->lease_generation) {
        lease->owes_cleared = lease->clears; // what was told may have been lost with the connection
        kept_opens_welcome(&mount->kept_opens, true);
        return;
    }
    forget_numbers(mount);
    lease->generation = reply->lease_generation;
    lease->owes_cleared = lease->clears = false;
    if (first || !mount->init_done) {
        lease->trusted = lease->generation != 0;
    } else if (reply->resumed && reply->claims && lease->generation != 0) {
        // The server restarted, and nothing has changed since: what is kept can be claimed.
        recall_all_names(mount);
        drop_attributes_of_all(mount);
    } else {
        lease->trusted = false;
        lease->owes_cleared = lease->clears = lease->generation != 0;
        sweep(mount, 0);
    }
    kept_opens_welcome(&mount->kept_opens, reply->resumed && !reply->claims);
}

static void tell_kept(struct mount *mount, const uint8_t *handles, size_t n)
{
    uint8_t body[sizeof(uint32_t) + HANDLES_SIZE];
    struct writer writer = writer_on(body, sizeof(body));
    struct wire_kept_event kept = {.handles = {.bytes = handles, .length = (uint32_t)n}};
    wire_put_kept_event(&writer, &kept);
    (void)rpc_tell(mount->rpc, WIRE_KEPT, body, sizeof(body) - writer.left);
}

void recall_claim(struct mount *mount)
{
    const struct table *nodes = &mount->nodes.by_id;
    uint8_t handles[HANDLES_SIZE];
    struct writer writer = writer_on(handles, sizeof(handles));
    for (struct table_node *entry = table_first(nodes); entry; entry = table_next(nodes, entry)) {
        const struct node *node = CONTAINER_OF(entry, struct node, id);
        if (!(node->lease & WIRE_LEASE_DATA))
            continue;
        write_u64(&writer, node->handle.ino);
        write_u64(&writer, node->handle.mac);
        if (writer.left > 0)
            continue;
        tell_kept(mount, handles, sizeof(handles));
        writer = writer_on(handles, sizeof(handles));
    }
    if (writer.left < sizeof(handles))
        tell_kept(mount, handles, sizeof(handles) - writer.left);
}

// --- time ---

static void tell_cleared(struct mount *mount)
{
    uint8_t body[sizeof(uint64_t)];
    struct writer writer = writer_on(body, sizeof(body));
    wire_put_cleared_event(&writer, &(struct wire_cleared_event){.generation = mount->lease.generation});
    mount->lease.owes_cleared = rpc_tell(mount->rpc, WIRE_CLEARED, body, sizeof(body)) < 0;
}

static void forget_done(struct request *request, struct reader *body)
{
    (void)body;
    lease_forget_done(&request->mount->lease);
}

static void forget_failed(struct request *request, int error)
{
    (void)error;
    lease_forget_done(&request->mount->lease);
}

static void tell_forgotten(struct mount *mount)
{
    uint8_t inodes[WIRE_INODES_MAX * sizeof(uint64_t)];
    struct writer writer = writer_on(inodes, sizeof(inodes));
    size_t n = lease_forget_next(&mount->lease, &writer);
    struct request *request =
        n > 0 ? request_new(mount, NULL, WIRE_FORGET, FORGET_ROOM + sizeof(inodes), forget_done) : NULL;
    if (!request) {
        if (n > 0)
            lease_forget_done(&mount->lease);
        return;
    }
    request->failed = forget_failed;
    struct wire_forget_request message = {
        .inodes = {.bytes = inodes, .length = (uint32_t)(n * sizeof(uint64_t))}};
    wire_put_forget_request(&request->body, &message);
    request_send(request);
}

// Several together: nobody waits for it but who would change what we have forgotten, and is answered at once.
static uint64_t tick_forgotten(struct mount *mount, uint64_t now)
{
    const struct lease *lease = &mount->lease;
    if (lease->forgotten.count == 0 || mount->forgotten_since_ns == 0)
        mount->forgotten_since_ns = now;
    if (lease->forgotten.count == 0 || !rpc_is_up(mount->rpc))
        return UINT64_MAX;
    uint64_t due = mount->forgotten_since_ns + FORGET_WAIT_MS * MS;
    if (lease->forgotten.count < FORGET_TOGETHER && now < due)
        return due;
    tell_forgotten(mount);
    return UINT64_MAX;
}

// When the names that wait for a lock have waited too long.
static uint64_t tick_names(struct mount *mount, uint64_t now)
{
    list_for_each_safe (at, after, &mount->recalls) {
        struct recall *recall = LIST_ENTRY(at, struct recall, node);
        if (!recall->name_out || recall->name_given_up)
            continue;
        if (now < recall->since_ns + NAMES_WAIT_MS * MS)
            return recall->since_ns + NAMES_WAIT_MS * MS;
        give_up_name(recall);
    }
    return UINT64_MAX;
}

static void tick_lease(struct mount *mount, uint64_t now)
{
    struct lease *lease = &mount->lease;
    lease_renew(lease, rpc_answered_ns(mount->rpc), mount->lease_ms);
    if (now >= lease_lapse_ns(lease)) {
        log_warn("lapse", "why=%s", "the server has not answered for two thirds of the lease");
        lease->trusted = false;
        sweep(mount, 0);
    }
    if ((lease->trusted && !lease->owes_cleared) || mount->n_sweeps > 0 || lease->generation == 0)
        return;
    if (lease->owes_cleared)
        tell_cleared(mount);
    lease->trusted = !lease->owes_cleared && now < lease_would_lapse_ns(lease);
}

uint64_t recall_tick(struct mount *mount)
{
    if (!mount->init_done)
        return UINT64_MAX;
    uint64_t now = env_monotonic_ns(&mount->env);
    tick_lease(mount, now);
    const uint64_t dues[] = {tick_forgotten(mount, now), tick_names(mount, now),
                             lease_lapse_ns(&mount->lease)};
    uint64_t due = UINT64_MAX;
    for (size_t i = 0; i < ARRAY_LEN(dues); i++)
        due = MIN(due, dues[i]);
    return due;
}
