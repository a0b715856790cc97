// SPDX-License-Identifier: Apache-2.0
// See census.h. The question goes to every shard and is answered there, between two turns; the last answer to
// come back ends the round on the main thread. Invariant: a round is freed by who counts n_asked down to 0.
#include "server/census.h"
#include "fs/base/cursor.h"
#include "fs/base/siphash.h"
#include "server/hosted.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct part {
    struct message message;
    struct round *round;
    struct shard *shard;
};

struct round {
    struct census_question question;
    census_done *done;
    void *context;
    size_t n, n_asked;
    struct census *answers; // owned; n, as the parts
    struct part parts[];
};

static uint64_t client_of(const struct session *session)
{
    uint8_t key[SIPHASH_KEY_SIZE];
    struct writer writer = writer_on(key, sizeof(key));
    write_u64(&writer, session->id_high);
    write_u64(&writer, session->id_low);
    return siphash24(key, "client", sizeof("client"));
}

// --- clients ---

static bool add_client(struct census *census, const struct hosted *hosted, const struct attached *attached)
{
    const struct session *session = attached->session;
    if (census->n_clients == census->room) {
        census->truncated = true;
        return false;
    }
    struct census_client *row = &census->clients[census->n_clients++];
    *row = (struct census_client){.client = client_of(session),
                                  .since_ns = attached->hello_ns,
                                  .number = session->number,
                                  .connected = attached->client != NULL,
                                  .expired = attached->expired,
                                  .read_only = session->identity.read_only,
                                  .n_opens = session->opens.count,
                                  .n_waits = session->waits.count,
                                  .n_leases = attached->holder ? attached->holder->leases.count : 0,
                                  .id_low = session->id_low};
    memcpy(row->fs_id, hosted->id, sizeof(row->fs_id));
    memcpy(row->access_point, session->identity.access_point, sizeof(row->access_point));
    memcpy(row->principal, session->identity.principal, sizeof(row->principal));
    memcpy(row->name, attached->client_name, sizeof(row->name));
    memcpy(row->peer, attached->peer, sizeof(row->peer));
    return true;
}

static int compare_ids(const void *left, const void *right)
{
    const struct census_client *a = left, *b = right;
    return (a->id_low > b->id_low) - (a->id_low < b->id_low);
}

struct counting {
    struct census_client *rows; // of one file system, by id_low
    size_t n;
    struct census_client *last;
};

static bool count_lock(void *context, const struct lock_seen *seen)
{
    struct counting *counting = context;
    if (seen->waits)
        return false;
    struct census_client key = {.id_low = seen->session};
    if (!counting->last || counting->last->id_low != seen->session)
        counting->last = bsearch(&key, counting->rows, counting->n, sizeof(key), compare_ids);
    if (counting->last)
        counting->last->n_locks++;
    return true;
}

static void add_clients(struct census *census, const struct hosted *hosted)
{
    size_t first = census->n_clients;
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        if (!add_client(census, hosted, CONTAINER_OF(node, struct attached, node)))
            break;
    }
    struct counting counting = {.rows = census->clients + first, .n = census->n_clients - first};
    if (counting.n == 0)
        return;
    qsort(counting.rows, counting.n, sizeof(*counting.rows), compare_ids);
    lock_each(hosted->locks, count_lock, &counting);
}

// --- locks ---

struct collecting {
    struct census *census;
    const struct hosted *hosted;
};

static bool add_lock(void *context, const struct lock_seen *seen)
{
    const struct collecting *collecting = context;
    struct census *census = collecting->census;
    if (census->n_locks == census->room) {
        census->truncated = true;
        return false;
    }
    const struct attached *attached = attached_get(collecting->hosted, seen->session);
    fs_assert(attached);
    struct census_lock *row = &census->locks[census->n_locks++];
    *row = (struct census_lock){
        .client = client_of(attached->session), .ino = seen->ino, .lock = *seen->lock, .waits = seen->waits};
    memcpy(row->fs_id, collecting->hosted->id, sizeof(row->fs_id));
    memcpy(row->name, attached->client_name, sizeof(row->name));
    return true;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

// By inode and kind: what is held before who waits for it, from the lowest range.
static int compare_locks(const void *left, const void *right)
{
    const struct census_lock *a = left, *b = right;
    int result = compare_u64(a->ino, b->ino);
    result = result ? result : (int)a->lock.kind - (int)b->lock.kind;
    result = result ? result : (int)a->waits - (int)b->waits;
    result = result ? result : compare_u64(a->lock.start, b->lock.start);
    return result ? result : compare_u64(a->client, b->client);
}

static void add_locks(struct census *census, const struct hosted *hosted)
{
    size_t first = census->n_locks;
    struct collecting collecting = {.census = census, .hosted = hosted};
    lock_each(hosted->locks, add_lock, &collecting);
    if (census->n_locks > first)
        qsort(census->locks + first, census->n_locks - first, sizeof(*census->locks), compare_locks);
}

// --- cutting off ---

static void evict(struct census *census, const struct hosted *hosted, uint64_t client)
{
    for (struct table_node *node = table_first(&hosted->sessions); node;
         node = table_next(&hosted->sessions, node)) {
        struct attached *attached = CONTAINER_OF(node, struct attached, node);
        if (client_of(attached->session) != client)
            continue;
        attached_end(attached, "evict", "an operator cut it off");
        census->evicted = true;
        return;
    }
}

// --- the round ---

static bool make_room(struct census *census, enum census_kind kind)
{
    census->room = CENSUS_ROWS_MAX;
    if (kind == CENSUS_CLIENTS)
        census->clients = calloc(census->room, sizeof(*census->clients));
    else if (kind == CENSUS_LOCKS)
        census->locks = calloc(census->room, sizeof(*census->locks));
    return kind == CENSUS_EVICT || census->clients || census->locks;
}

static void on_answer(struct message *message)
{
    struct round *round = CONTAINER_OF(message, struct part, message)->round;
    if (--round->n_asked > 0)
        return;
    round->done(round->context, round->answers, round->n);
    for (size_t i = 0; i < round->n; i++) {
        free(round->answers[i].clients);
        free(round->answers[i].locks);
    }
    free(round->answers);
    free(round);
}

static void run_question(struct message *message)
{
    struct part *part = CONTAINER_OF(message, struct part, message);
    const struct census_question *question = &part->round->question;
    struct census *census = &part->round->answers[part - part->round->parts];
    struct shard *shard = part->shard;
    if (!make_room(census, question->kind))
        census->error = -ENOMEM;
    list_for_each (node, &shard->hosted) {
        const struct hosted *hosted = LIST_ENTRY(node, struct hosted, node);
        bool asked = !question->fs_id[0] || strcmp(question->fs_id, hosted->id) == 0;
        if (!asked || hosted->closing || census->error)
            continue;
        if (question->kind == CENSUS_CLIENTS)
            add_clients(census, hosted);
        else if (question->kind == CENSUS_LOCKS)
            add_locks(census, hosted);
        else
            evict(census, hosted, question->client);
    }
    if (census->evicted)
        shard_work(shard);
    mailbox_post(shard->main, message, on_answer);
}

int census_ask(struct shard *shards, unsigned n_shards, const struct census_question *question,
               census_done *done, void *context)
{
    struct round *round = calloc(1, sizeof(*round) + n_shards * sizeof(*round->parts));
    struct census *answers = calloc(n_shards, sizeof(*answers));
    if (!round || !answers) {
        free(round);
        free(answers);
        return -ENOMEM;
    }
    round->question = *question;
    round->done = done;
    round->context = context;
    round->n = round->n_asked = n_shards;
    round->answers = answers;
    for (unsigned i = 0; i < n_shards; i++) {
        round->parts[i].round = round;
        round->parts[i].shard = &shards[i];
        mailbox_post(&shards[i].mailbox, &round->parts[i].message, run_question);
    }
    return 0;
}
