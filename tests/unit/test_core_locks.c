// SPDX-License-Identifier: Apache-2.0
// The lock table: cases worth a name, and what a million ranges cost. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/core/locks.h"
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INO 9
#define END ((uint64_t)INT64_MAX)

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

// --- many ---

#define MANY 1000000u

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double told(const char *what, double since)
{
    double now = cpu_seconds();
    printf("%-62s %5.2f s of CPU\n", what, now - since);
    return now;
}

// A number below MANY for each i, all different, in no order.
static uint64_t scattered(uint64_t i)
{
    return i * 611953u % MANY; // a prime that does not divide MANY
}

// Every second byte of one file, by two owners in turn: no range touches another of its owner.
static void a_million_ranges_in_one_file(void **state)
{
    (void)state;
    struct grants grants;
    struct lock_table *table = table_of(MANY, &grants);
    double since = cpu_seconds();
    for (uint64_t i = 0; i < MANY; i++) {
        uint64_t at = scattered(i);
        assert_int_equal(ask(table, INO, 1 + at % 2, FS_LOCK_WRITE, 2 * at, 2 * at, 0), 0);
    }
    since = told("1,000,000 ranges of one file taken", since);
    assert_int_equal(lock_count(table), MANY);
    assert_int_equal(ask(table, INO, 3, FS_LOCK_WRITE, 1, 1, 0), -ENOLCK);
    assert_int_equal(ask(table, INO + 1, 1, FS_LOCK_READ, 0, 0, 0), -ENOLCK);
    for (uint64_t at = 0; at < MANY; at++)
        assert_int_equal(ask(table, INO, 1 + (at + 1) % 2, FS_LOCK_READ, 2 * at, END, 0), -EAGAIN);
    since = told("1,000,000 times refused, each time to the end of the file", since);
    for (uint64_t i = 0; i < MANY; i++) {
        uint64_t at = scattered(i);
        assert_int_equal(ask(table, INO, 1 + at % 2, FS_LOCK_UNLOCK, 2 * at, 2 * at, 0), 0);
    }
    told("1,000,000 ranges given back", since);
    assert_int_equal(lock_count(table), 0);
    lock_table_destroy(table);
}

struct queue {
    uint64_t last; // ticket that was granted
};

static void next_in_queue(void *context, lock_session session, uint64_t ticket)
{
    struct queue *queue = context;
    (void)session;
    assert_int_equal(ticket, queue->last + 1);
    queue->last = ticket;
}

// For a whole file, half of the time while its holder and every waiter hold something else, so that each
// waiter is searched for deadlocks.
static void many_waiters_for_one_file(void **state)
{
    enum { WAITERS = 200000 };
    (void)state;
    struct queue queue = {0};
    struct lock_table *table;
    assert_int_equal(lock_table_create(MANY, next_in_queue, &queue, &table), 0);
    double since = cpu_seconds();
    assert_int_equal(ask(table, INO, 1, FS_LOCK_WRITE, 0, END, 0), 0);
    for (uint64_t i = 1; i <= WAITERS; i++) {
        if (i % 2)
            assert_int_equal(ask(table, INO + 1, 1 + i, FS_LOCK_WRITE, i, i, 0), 0);
        assert_int_equal(ask(table, INO, 1 + i, FS_LOCK_WRITE, 0, END, i), 1);
    }
    since = told("200,000 waiters queued for one file", since);
    for (uint64_t i = 1; i <= WAITERS; i++) {
        assert_int_equal(ask(table, INO, i, FS_LOCK_UNLOCK, 0, END, 0), 0);
        assert_true(queue.last >= i);
    }
    told("200,000 waiters granted one after the other", since);
    assert_int_equal(queue.last, WAITERS);
    lock_release_session(table, WAITERS + 1);
    lock_table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cycles_are_deadlocks),
        cmocka_unit_test(upgrade_by_two_readers_is_a_deadlock),
        cmocka_unit_test(no_false_deadlock),
        cmocka_unit_test(ends_of_the_range),
        cmocka_unit_test(bound_holds),
        cmocka_unit_test(a_million_ranges_in_one_file),
        cmocka_unit_test(many_waiters_for_one_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
