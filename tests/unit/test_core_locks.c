// SPDX-License-Identifier: Apache-2.0
// The lock table against a model of 64 single bytes, and the cases worth a name. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/core/locks.h"
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES     64
#define OWNERS    4
#define KINDS     2
#define WAITS_MAX 64
#define INO       9
#define END       ((uint64_t)INT64_MAX)

// --- the model: which type each owner holds on each byte, and the waits in the order they came ---

struct wait {
    unsigned owner, kind, type, start, end;
    uint64_t ticket;
};

struct model {
    char held[KINDS][OWNERS][BYTES]; // 0, 'r', 'w'
    struct wait waits[WAITS_MAX];
    unsigned n_waits;
    uint64_t granted[WAITS_MAX], expected[WAITS_MAX]; // tickets of this call: by the table, by the model
    unsigned n_granted, n_expected;
};

static void on_granted(void *context, lock_session session, uint64_t ticket)
{
    struct model *model = context;
    (void)session;
    assert_true(model->n_granted < WAITS_MAX);
    model->granted[model->n_granted++] = ticket;
}

static bool blocks(const struct model *model, unsigned owner, const struct wait *wanted)
{
    for (unsigned at = wanted->start; at <= wanted->end; at++) {
        char held = model->held[wanted->kind][owner][at];
        if (owner != wanted->owner && (held == 'w' || (held == 'r' && wanted->type == FS_LOCK_WRITE)))
            return true;
    }
    return false;
}

static bool blocked(const struct model *model, const struct wait *wanted)
{
    for (unsigned owner = 0; owner < OWNERS; owner++)
        if (blocks(model, owner, wanted))
            return true;
    return false;
}

static void model_apply(struct model *model, const struct wait *what)
{
    static const char marks[] = {[FS_LOCK_READ] = 'r', [FS_LOCK_WRITE] = 'w', [FS_LOCK_UNLOCK] = 0};
    memset(&model->held[what->kind][what->owner][what->start], marks[what->type],
           what->end - what->start + 1);
}

static void model_drop_wait(struct model *model, unsigned index)
{
    model->n_waits--;
    memmove(&model->waits[index], &model->waits[index + 1], (model->n_waits - index) * sizeof(struct wait));
}

static void model_wake(struct model *model)
{
    for (unsigned i = 0; i < model->n_waits;) {
        struct wait wait = model->waits[i];
        if (blocked(model, &wait)) {
            i++;
            continue;
        }
        model_drop_wait(model, i);
        model_apply(model, &wait);
        model->expected[model->n_expected++] = wait.ticket;
        i = 0; // the oldest that can have it comes first
    }
}

// Does a chain of owners who wait for each other lead from what `wanted` waits for back to its owner?
static bool model_deadlock(const struct model *model, const struct wait *wanted)
{
    bool reached[OWNERS] = {false};
    for (unsigned owner = 0; owner < OWNERS; owner++)
        reached[owner] = blocks(model, owner, wanted);
    for (unsigned round = 0; round < OWNERS; round++)
        for (unsigned i = 0; i < model->n_waits; i++)
            for (unsigned owner = 0; owner < OWNERS; owner++)
                if (model->waits[i].kind == wanted->kind && reached[model->waits[i].owner] &&
                    blocks(model, owner, &model->waits[i]))
                    reached[owner] = true;
    return reached[wanted->owner];
}

// An old lock of the other type goes first.
static void model_convert_flock(struct model *model, const struct wait *wanted)
{
    char *held = model->held[FS_LOCK_FLOCK][wanted->owner];
    char mark = wanted->type == FS_LOCK_READ ? 'r' : 'w';
    if (wanted->kind != FS_LOCK_FLOCK || wanted->type == FS_LOCK_UNLOCK || !held[0] || held[0] == mark)
        return;
    memset(held, 0, BYTES);
    model_wake(model);
}

static int model_set(struct model *model, const struct wait *wanted)
{
    model_convert_flock(model, wanted);
    if (wanted->type == FS_LOCK_UNLOCK || !blocked(model, wanted)) {
        model_apply(model, wanted);
        model_wake(model);
        return 0;
    }
    if (wanted->ticket == 0)
        return -EAGAIN;
    if (wanted->kind == FS_LOCK_FCNTL && model_deadlock(model, wanted))
        return -EDEADLK;
    model->waits[model->n_waits++] = *wanted;
    return 1;
}

static void model_release(struct model *model, unsigned kind, unsigned owner)
{
    for (unsigned i = 0; i < model->n_waits;)
        if (model->waits[i].owner == owner && model->waits[i].kind == kind)
            model_drop_wait(model, i);
        else
            i++;
    memset(model->held[kind][owner], 0, BYTES);
}

// --- random operations on both ---

// Owners 0 and 1 are of session 1, 2 and 3 of session 2; the number of an owner is used in both sessions. The
// last byte of the model is everything from there on.
static lock_session session_of(unsigned owner)
{
    return 1 + owner / 2;
}

static struct fs_lock lock_of(const struct wait *wanted)
{
    return (struct fs_lock){.kind = wanted->kind,
                            .type = wanted->type,
                            .start = wanted->start,
                            .end = wanted->end == BYTES - 1 ? END : wanted->end,
                            .owner = 70 + wanted->owner % 2};
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static struct wait random_wanted(uint64_t *seed, uint64_t ticket)
{
    struct wait wanted = {.owner = next_random(seed) % OWNERS,
                          .kind = next_random(seed) % KINDS,
                          .type = next_random(seed) % 3,
                          .ticket = ticket};
    unsigned a = next_random(seed) % BYTES, b = next_random(seed) % BYTES;
    wanted.start = a < b ? a : b;
    wanted.end = a < b ? b : a;
    if (wanted.kind == FS_LOCK_FLOCK) {
        wanted.start = 0;
        wanted.end = BYTES - 1;
    }
    return wanted;
}

static size_t model_count(const struct model *model)
{
    size_t count = model->n_waits;
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned owner = 0; owner < OWNERS; owner++)
            for (unsigned at = 0; at < BYTES; at++) {
                const char *held = model->held[kind][owner];
                count += held[at] && (at == 0 || held[at - 1] != held[at]);
            }
    return count;
}

static void compare_byte(const struct lock_table *table, const struct model *model, unsigned kind,
                         unsigned owner, unsigned at)
{
    struct wait wanted = {.owner = owner, .kind = kind, .type = FS_LOCK_WRITE, .start = at, .end = at};
    struct fs_lock lock = lock_of(&wanted), got;
    lock_session session;
    lock_get(table, INO, session_of(owner), &lock, &got, &session);
    if (!blocked(model, &wanted)) {
        assert_int_equal(got.type, FS_LOCK_UNLOCK);
        return;
    }
    unsigned holder = (unsigned)(session - 1) * 2 + (unsigned)(got.owner - 70);
    assert_true(blocks(model, holder, &wanted));
    assert_true(got.start <= lock.end && got.end >= lock.start);
    assert_int_equal(got.type, model->held[kind][holder][at] == 'w' ? FS_LOCK_WRITE : FS_LOCK_READ);
}

static void compare(const struct lock_table *table, struct model *model)
{
    assert_int_equal(model->n_granted, model->n_expected);
    assert_memory_equal(model->granted, model->expected, model->n_expected * sizeof(uint64_t));
    model->n_granted = model->n_expected = 0;
    assert_int_equal(lock_count(table), model_count(model));
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned owner = 0; owner < OWNERS; owner++)
            for (unsigned at = 0; at < BYTES; at++)
                compare_byte(table, model, kind, owner, at);
}

static void random_release(struct lock_table *table, struct model *model, uint64_t *seed)
{
    unsigned owner = next_random(seed) % OWNERS, kind = next_random(seed) % KINDS;
    if (next_random(seed) % 2) {
        lock_release_owner(table, INO, session_of(owner), kind, 70 + owner % 2);
        model_release(model, kind, owner);
    } else {
        lock_release_session(table, session_of(owner));
        for (kind = 0; kind < KINDS; kind++) {
            model_release(model, kind, owner / 2 * 2);
            model_release(model, kind, owner / 2 * 2 + 1);
        }
    }
    model_wake(model);
}

static void random_cancel(struct lock_table *table, struct model *model, uint64_t *seed)
{
    if (model->n_waits == 0) {
        assert_int_equal(lock_cancel(table, 1, 1), -ENOENT);
        return;
    }
    unsigned index = next_random(seed) % model->n_waits;
    struct wait wait = model->waits[index];
    assert_int_equal(lock_cancel(table, session_of(wait.owner) + 1, wait.ticket), -ENOENT);
    assert_int_equal(lock_cancel(table, session_of(wait.owner), wait.ticket), 0);
    assert_int_equal(lock_cancel(table, session_of(wait.owner), wait.ticket), -ENOENT);
    model_drop_wait(model, index);
}

static void random_operations(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < 40; run++) {
        struct model model = {0};
        struct lock_table *table;
        uint64_t seed = run;
        assert_int_equal(lock_table_create(10000, on_granted, &model, &table), 0);
        for (uint64_t step = 1; step <= 300; step++) {
            unsigned choice = next_random(&seed) % 20;
            if (choice == 0) {
                random_release(table, &model, &seed);
            } else if (choice == 1) {
                random_cancel(table, &model, &seed);
            } else {
                bool waits = model.n_waits < 20 && next_random(&seed) % 2;
                struct wait wanted = random_wanted(&seed, waits ? step : 0);
                struct fs_lock lock = lock_of(&wanted);
                int expected = model_set(&model, &wanted);
                assert_int_equal(lock_set(table, INO, session_of(wanted.owner), &lock, wanted.ticket),
                                 expected);
            }
            compare(table, &model);
        }
        lock_table_destroy(table);
    }
}

// --- cases ---

struct grants {
    uint64_t tickets[16];
    unsigned n;
};

static void count_grant(void *context, lock_session session, uint64_t ticket)
{
    struct grants *grants = context;
    (void)session;
    grants->tickets[grants->n++] = ticket;
}

static struct lock_table *table_of(size_t max, struct grants *grants)
{
    struct lock_table *table;
    *grants = (struct grants){.n = 0};
    assert_int_equal(lock_table_create(max, count_grant, grants, &table), 0);
    return table;
}

// Of owner 1 of the session: sessions are the owners here.
static int ask(struct lock_table *table, fs_ino ino, lock_session who, enum fs_lock_type type, uint64_t start,
               uint64_t end, uint64_t ticket)
{
    struct fs_lock lock = {.kind = FS_LOCK_FCNTL, .type = type, .start = start, .end = end, .owner = 1};
    return lock_set(table, ino, who, &lock, ticket);
}

static void cycles_are_deadlocks(void **state)
{
    (void)state;
    struct grants grants;
    for (uint64_t n = 2; n <= 3; n++) { // each holds inode i and wants the next one's
        struct lock_table *table = table_of(100, &grants);
        for (uint64_t i = 1; i <= n; i++)
            assert_int_equal(ask(table, i, i, FS_LOCK_WRITE, 0, 9, 0), 0);
        for (uint64_t i = 1; i < n; i++)
            assert_int_equal(ask(table, i + 1, i, FS_LOCK_READ, 5, 5, i), 1);
        assert_int_equal(ask(table, 1, n, FS_LOCK_READ, 0, 0, n), -EDEADLK);
        assert_int_equal(ask(table, 1, n, FS_LOCK_READ, 0, 0, 0),
                         -EAGAIN); // who does not wait closes nothing
        assert_int_equal(ask(table, 1, n, FS_LOCK_READ, 10, 10, n), 0);
        assert_int_equal(grants.n, 0);
        lock_table_destroy(table);
    }
}

static void upgrade_by_two_readers_is_a_deadlock(void **state)
{
    (void)state;
    struct grants grants;
    struct lock_table *table = table_of(100, &grants);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_READ, 0, END, 0), 0);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_READ, 0, END, 0), 0);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 0, END, 1), 1);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_WRITE, 0, END, 2), -EDEADLK);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_UNLOCK, 0, END, 0), 0);
    assert_int_equal(grants.n, 1);
    assert_int_equal(lock_count(table), 1);
    lock_table_destroy(table);
}

// A reader that waits for a writer is not waited for by those who share what it holds.
static void no_false_deadlock(void **state)
{
    (void)state;
    struct grants grants;
    struct lock_table *table = table_of(100, &grants);
    assert_int_equal(ask(table, 1, 1, FS_LOCK_READ, 0, 9, 0), 0);
    assert_int_equal(ask(table, 2, 2, FS_LOCK_WRITE, 0, 9, 0), 0);
    assert_int_equal(ask(table, 2, 1, FS_LOCK_READ, 0, 9, 1), 1);
    assert_int_equal(ask(table, 1, 2, FS_LOCK_READ, 0, 9, 2), 0);
    assert_int_equal(ask(table, 1, 3, FS_LOCK_WRITE, 0, 9, 3), 1); // waits for 1 and 2, nobody for 3
    lock_release_session(table, 2);
    assert_int_equal(grants.n, 1);
    assert_int_equal(grants.tickets[0], 1);
    assert_int_equal(lock_cancel(table, 3, 3), 0);
    lock_table_destroy(table);
}

static void ends_of_the_range(void **state)
{
    (void)state;
    struct grants grants;
    struct lock_table *table = table_of(100, &grants);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 5, 4, 0), -EINVAL);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 0, END + 1, 0), -EINVAL);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 0, END, 0), 0);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, 0, 0, 0), 0);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, END, END, 0), 0);
    assert_int_equal(lock_count(table), 1);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_WRITE, 0, 0, 0), 0);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_WRITE, END, END, 0), 0);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_READ, 1, 1, 0), -EAGAIN);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_READ, END - 1, END - 1, 0), -EAGAIN);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, 10, 20, 0), 0); // splits
    assert_int_equal(lock_count(table), 4);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 10, 20, 0), 0); // merges
    assert_int_equal(lock_count(table), 3);
    lock_table_destroy(table);
}

// Neither setting, waiting nor unlocking piece by piece gets past the bound; giving up all always works.
static void bound_holds(void **state)
{
    (void)state;
    struct grants grants;
    struct lock_table *table = table_of(4, &grants);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 0, END, 0), 0);
    for (uint64_t at = 1; at < 7; at += 2)
        assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, at, at, 0), 0);
    assert_int_equal(lock_count(table), 4);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, 9, 9, 0), -ENOLCK);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_WRITE, 1, 1, 0), -ENOLCK);
    assert_int_equal(ask(table, INO, 2, FS_LOCK_WRITE, 0, 0, 1), -ENOLCK);
    assert_int_equal(lock_count(table), 4);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, 6, 8, 0), 0); // shortens, splits nothing
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, 0, 0, 0), 0);
    assert_int_equal(ask(table, INO, 1, FS_LOCK_READ, 20, 29, 0), -ENOLCK); // would make two more of three
    assert_int_equal(ask(table, INO, 1, FS_LOCK_UNLOCK, 0, END, 0), 0);
    assert_int_equal(lock_count(table), 0);
    lock_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(cycles_are_deadlocks),
        cmocka_unit_test(upgrade_by_two_readers_is_a_deadlock),
        cmocka_unit_test(no_false_deadlock),
        cmocka_unit_test(ends_of_the_range),
        cmocka_unit_test(bound_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
