// SPDX-License-Identifier: Apache-2.0
// The lock table in step with a model of 64 single bytes for each owner: random operations, and after each of
// them what is held, who waits, what was granted in which order, and the answers, of deadlocks and bounds
// too. Single thread. BERTH_TEST_SEED replays one seed.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/core/locks.h"
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS     90u
#define STEPS     600u
#define BYTES     64
#define OWNERS    10u // two of each session
#define INODES    2u
#define KINDS     2u
#define WAITS_MAX 40u
#define INO       9u
#define OWNER     70u
#define END       ((uint64_t)INT64_MAX)

// --- the model: which type each owner holds on each byte, and the waits in the order they came ---

struct wanted {
    unsigned owner, ino, kind, type, start, end;
    uint64_t ticket;
    bool undetected; // the wait is part of no deadlock
};

struct model {
    char held[INODES][KINDS][OWNERS][BYTES]; // 0, 'r', 'w'
    struct wanted waits[WAITS_MAX];
    unsigned n_waits, max;
    bool crowded;
    struct wanted expected[WAITS_MAX]; // grants of this call, and those by the table
    uint64_t granted[WAITS_MAX];
    unsigned n_expected, n_granted;
};

static void on_granted(void *context, lock_session session, uint64_t ticket)
{
    struct model *model = context;
    (void)session;
    assert_true(model->n_granted < WAITS_MAX);
    model->granted[model->n_granted++] = ticket;
}

static bool stands_in_the_way(char held, unsigned type)
{
    return held == 'w' || (held == 'r' && type == FS_LOCK_WRITE);
}

static bool blocks(const struct model *model, unsigned owner, const struct wanted *wanted)
{
    const char *held = model->held[wanted->ino][wanted->kind][owner];
    for (unsigned at = wanted->start; at <= wanted->end; at++)
        if (owner != wanted->owner && stands_in_the_way(held[at], wanted->type))
            return true;
    return false;
}

static bool blocked(const struct model *model, const struct wanted *wanted)
{
    for (unsigned owner = 0; owner < OWNERS; owner++)
        if (blocks(model, owner, wanted))
            return true;
    return false;
}

static unsigned count_ranges(const struct model *model)
{
    unsigned count = 0;
    for (unsigned ino = 0; ino < INODES; ino++)
        for (unsigned kind = 0; kind < KINDS; kind++)
            for (unsigned owner = 0; owner < OWNERS; owner++)
                for (unsigned at = 0; at < BYTES; at++) {
                    const char *held = model->held[ino][kind][owner];
                    count += held[at] && (at == 0 || held[at - 1] != held[at]);
                }
    return count;
}

static void apply(struct model *model, const struct wanted *wanted)
{
    static const char marks[] = {[FS_LOCK_READ] = 'r', [FS_LOCK_WRITE] = 'w', [FS_LOCK_UNLOCK] = 0};
    memset(&model->held[wanted->ino][wanted->kind][wanted->owner][wanted->start], marks[wanted->type],
           wanted->end - wanted->start + 1);
}

static void drop_wait(struct model *model, unsigned index)
{
    model->n_waits--;
    memmove(&model->waits[index], &model->waits[index + 1], (model->n_waits - index) * sizeof(struct wanted));
}

static void wake(struct model *model)
{
    for (unsigned i = 0; i < model->n_waits;) {
        struct wanted wait = model->waits[i];
        if (blocked(model, &wait)) {
            i++;
            continue;
        }
        drop_wait(model, i);
        apply(model, &wait);
        model->expected[model->n_expected++] = wait;
        i = 0; // the oldest that can have it comes first
    }
}

// Does a chain of owners who wait for each other lead from what `wanted` waits for back to its owner?
static bool closes_a_cycle(const struct model *model, const struct wanted *wanted)
{
    bool reached[OWNERS] = {false};
    for (unsigned owner = 0; owner < OWNERS; owner++)
        reached[owner] = blocks(model, owner, wanted);
    for (unsigned round = 0; round < OWNERS; round++)
        for (unsigned i = 0; i < model->n_waits; i++)
            for (unsigned owner = 0; owner < OWNERS; owner++)
                if (model->waits[i].kind == wanted->kind && !model->waits[i].undetected &&
                    reached[model->waits[i].owner] && blocks(model, owner, &model->waits[i]))
                    reached[owner] = true;
    return reached[wanted->owner];
}

// An old lock of the other type goes first.
static void convert_flock(struct model *model, const struct wanted *wanted)
{
    char *held = model->held[wanted->ino][FS_LOCK_FLOCK][wanted->owner];
    char mark = wanted->type == FS_LOCK_READ ? 'r' : 'w';
    if (wanted->kind != FS_LOCK_FLOCK || wanted->type == FS_LOCK_UNLOCK || !held[0] || held[0] == mark)
        return;
    memset(held, 0, BYTES);
    wake(model);
}

static int model_set(struct model *model, const struct wanted *wanted)
{
    convert_flock(model, wanted);
    unsigned ranges = count_ranges(model), used = ranges + 2 * model->n_waits;
    if (wanted->type == FS_LOCK_UNLOCK || !blocked(model, wanted)) {
        struct model after = *model;
        apply(&after, wanted);
        unsigned ranges_after = count_ranges(&after);
        if (ranges_after > ranges && used + ranges_after - ranges > model->max)
            return -ENOLCK;
        *model = after;
        wake(model);
        return 0;
    }
    if (wanted->ticket == 0)
        return -EAGAIN;
    if (used + 2 > model->max)
        return -ENOLCK;
    if (wanted->kind == FS_LOCK_FCNTL && !wanted->undetected && closes_a_cycle(model, wanted))
        return -EDEADLK;
    model->waits[model->n_waits++] = *wanted;
    return 1;
}

static void model_release(struct model *model, unsigned ino, unsigned kind, unsigned owner)
{
    for (unsigned i = 0; i < model->n_waits;) {
        const struct wanted *wait = &model->waits[i];
        if (wait->owner == owner && wait->kind == kind && wait->ino == ino)
            drop_wait(model, i);
        else
            i++;
    }
    memset(model->held[ino][kind][owner], 0, BYTES);
}

// --- names: an owner's number is used in every session; the model's last byte is all from there on ---

static lock_session session_of(unsigned owner)
{
    return 1 + owner / 2;
}

static struct fs_lock lock_of(const struct wanted *wanted)
{
    return (struct fs_lock){.kind = wanted->kind,
                            .type = wanted->type,
                            .start = wanted->start,
                            .end = wanted->end == BYTES - 1 ? END : wanted->end,
                            .owner = OWNER + wanted->owner % 2};
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

// Every second seed has it all on one inode and of one kind, where waiters crowd.
static struct wanted random_wanted(const struct model *model, uint64_t *seed, uint64_t ticket)
{
    static const unsigned types[] = {FS_LOCK_READ,  FS_LOCK_READ,   FS_LOCK_WRITE,
                                     FS_LOCK_WRITE, FS_LOCK_UNLOCK, FS_LOCK_UNLOCK};
    struct wanted wanted = {.owner = next_random(seed) % OWNERS,
                            .ino = model->crowded ? 0 : next_random(seed) % INODES,
                            .kind = model->crowded ? FS_LOCK_FCNTL : next_random(seed) % KINDS,
                            .type = types[next_random(seed) % 6],
                            .ticket = ticket,
                            .undetected = next_random(seed) % 4 == 0};
    unsigned span = next_random(seed) % 5 ? 10 : BYTES; // many short ranges, and some that cover them
    if (wanted.type == FS_LOCK_UNLOCK)
        span = next_random(seed) % 2 ? BYTES : 24;
    unsigned a = next_random(seed) % BYTES, b = a + next_random(seed) % span;
    wanted.start = a;
    wanted.end = b < BYTES ? b : BYTES - 1;
    if (wanted.kind == FS_LOCK_FLOCK) {
        wanted.start = 0;
        wanted.end = BYTES - 1;
    }
    return wanted;
}

// --- comparison ---

// Grants of one kind on one inode come in the model's order; between those there is none.
static void compare_grants(struct model *model)
{
    assert_int_equal(model->n_granted, model->n_expected);
    unsigned last[INODES][KINDS] = {{0}};
    for (unsigned i = 0; i < model->n_granted; i++) {
        unsigned at = 0;
        while (at < model->n_expected && model->expected[at].ticket != model->granted[i])
            at++;
        assert_true(at < model->n_expected);
        unsigned *before = &last[model->expected[at].ino][model->expected[at].kind];
        assert_true(at + 1 > *before);
        *before = at + 1;
    }
    model->n_granted = model->n_expected = 0;
}

// The lowest byte at which a range in the way of `wanted` begins; BYTES when there is none.
static unsigned lowest_in_the_way(const struct model *model, const struct wanted *wanted)
{
    unsigned lowest = BYTES;
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        const char *held = model->held[wanted->ino][wanted->kind][owner];
        for (unsigned at = wanted->start; owner != wanted->owner && at <= wanted->end; at++) {
            if (!stands_in_the_way(held[at], wanted->type))
                continue;
            while (at > 0 && held[at - 1] == held[at])
                at--;
            lowest = at < lowest ? at : lowest;
            break;
        }
    }
    return lowest;
}

static void compare_get(const struct lock_table *table, const struct model *model,
                        const struct wanted *wanted)
{
    struct fs_lock lock = lock_of(wanted), got;
    lock_session session;
    lock_get(table, INO + wanted->ino, session_of(wanted->owner), &lock, &got, &session);
    unsigned lowest = lowest_in_the_way(model, wanted);
    if (lowest == BYTES) {
        assert_int_equal(got.type, FS_LOCK_UNLOCK);
        return;
    }
    unsigned owner = (unsigned)(session - 1) * 2 + (unsigned)(got.owner - OWNER), end = lowest;
    assert_int_equal(got.start, lowest);
    assert_true(owner < OWNERS && owner != wanted->owner);
    const char *held = model->held[wanted->ino][wanted->kind][owner];
    assert_int_equal(held[lowest], got.type == FS_LOCK_WRITE ? 'w' : 'r');
    assert_true(lowest == 0 || held[lowest - 1] != held[lowest]);
    while (end + 1 < BYTES && held[end + 1] == held[lowest])
        end++;
    assert_int_equal(got.end, end == BYTES - 1 ? END : end);
}

static void compare_all(const struct lock_table *table, const struct model *model)
{
    for (unsigned ino = 0; ino < INODES; ino++)
        for (unsigned kind = 0; kind < KINDS; kind++)
            for (unsigned owner = 0; owner < OWNERS; owner++)
                for (unsigned at = 0; at < BYTES; at++) {
                    struct wanted wanted = {owner, ino, kind, FS_LOCK_WRITE, at, at, 0, false};
                    compare_get(table, model, &wanted);
                }
}

// --- random operations on both ---

static void random_release(struct lock_table *table, struct model *model, uint64_t *seed)
{
    unsigned owner = next_random(seed) % OWNERS, kind = next_random(seed) % KINDS;
    unsigned ino = next_random(seed) % INODES;
    if (next_random(seed) % 2) {
        lock_release_owner(table, INO + ino, session_of(owner), kind, OWNER + owner % 2);
        model_release(model, ino, kind, owner);
    } else {
        lock_release_session(table, session_of(owner));
        for (unsigned i = 0; i < INODES * KINDS * 2; i++)
            model_release(model, i % INODES, i / INODES % KINDS, owner / 2 * 2 + i / INODES / KINDS);
    }
    wake(model);
}

static void random_cancel(struct lock_table *table, struct model *model, uint64_t *seed)
{
    if (model->n_waits == 0) {
        assert_int_equal(lock_cancel(table, 1, 1), -ENOENT);
        return;
    }
    unsigned index = next_random(seed) % model->n_waits;
    struct wanted wait = model->waits[index];
    assert_int_equal(lock_cancel(table, session_of(wait.owner) + 1, wait.ticket), -ENOENT);
    assert_int_equal(lock_cancel(table, session_of(wait.owner), wait.ticket), 0);
    assert_int_equal(lock_cancel(table, session_of(wait.owner), wait.ticket), -ENOENT);
    drop_wait(model, index);
}

static void random_set(struct lock_table *table, struct model *model, uint64_t *seed, uint64_t step)
{
    bool waits = model->n_waits < WAITS_MAX && next_random(seed) % 4;
    struct wanted wanted = random_wanted(model, seed, waits ? step : 0);
    struct fs_lock lock = lock_of(&wanted);
    int expected = model_set(model, &wanted);
    int (*set)(struct lock_table *, fs_ino, lock_session, const struct fs_lock *, uint64_t) =
        wanted.undetected ? lock_set_undetected : lock_set;
    assert_int_equal(set(table, INO + wanted.ino, session_of(wanted.owner), &lock, wanted.ticket), expected);
}

static void run_seed(uint64_t seed)
{
    static const unsigned bounds[] = {1000, 30, 12};
    struct model model = {.max = bounds[seed % 3], .crowded = seed / 3 % 2};
    struct lock_table *table;
    printf("seed %llu\n", (unsigned long long)seed);
    assert_int_equal(lock_table_create(model.max, on_granted, &model, &table), 0);
    for (uint64_t step = 1; step <= STEPS; step++) {
        unsigned choice = next_random(&seed) % 40;
        if (choice == 0)
            random_release(table, &model, &seed);
        else if (choice <= 2)
            random_cancel(table, &model, &seed);
        else
            random_set(table, &model, &seed, step);
        compare_grants(&model);
        assert_int_equal(lock_count(table), count_ranges(&model) + model.n_waits);
        assert_true(lock_count(table) <= model.max);
        struct wanted query = random_wanted(&model, &seed, 0);
        query.type = next_random(&seed) % 2;
        compare_get(table, &model, &query);
        if (step % 8 == 0)
            compare_all(table, &model);
    }
    lock_table_destroy(table);
}

static void random_operations(void **state)
{
    const char *chosen = getenv("BERTH_TEST_SEED");
    (void)state;
    if (chosen)
        run_seed(strtoull(chosen, NULL, 10));
    for (uint64_t seed = 1; !chosen && seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
