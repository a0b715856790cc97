// SPDX-License-Identifier: Apache-2.0
// The rules of leases (docs/PROTOCOL.md, "Leases") on virtual time: who is asked what, what waits, what may
// be given meanwhile, and what ends by itself. At the end random holders that keep, answer late and change:
// no change is made while another keeps what it makes old.
#include <setjmp.h>
#include <stdarg.h>

#include "fs/base/check.h"
#include "server/debt.h"
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MS 1000u
#define DIR      10u
#define FILE_INO 20u

struct fixture {
    struct recall recall;
    struct lease_holder *a, *b, *c;
    struct recall_wait wait, other;
    char told[1024]; // "HOLDER number ino what[=name]; …"
    unsigned n_gone_on, n_overdue;
    uint64_t now_ms;
};

static struct fixture *fixture_of(void **state)
{
    return *state;
}

static void tell(void *context, struct lease_holder *holder, const struct recall_ask *ask)
{
    struct fixture *fixture = context;
    size_t n = strlen(fixture->told);
    snprintf(fixture->told + n, sizeof(fixture->told) - n, "%s%s %llu %llu %x%s%.*s", n ? "; " : "",
             (const char *)holder->session, (unsigned long long)recall_number(ask),
             (unsigned long long)ask->ino, ask->what, ask->name_length ? "=" : "", (int)ask->name_length,
             ask->name);
}

static void went_on(void *context, struct recall_wait *wait UNUSED)
{
    struct fixture *fixture = context;
    fixture->n_gone_on++;
}

static void overdue(void *context, struct lease_holder *holder UNUSED)
{
    struct fixture *fixture = context;
    fixture->n_overdue++;
}

static const struct recall_ops ops = {.tell = tell, .go_on = went_on, .overdue = overdue};

static int setup(void **state)
{
    static char names[3][2] = {"a", "b", "c"};
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (!fixture)
        return -1;
    recall_init(&fixture->recall, &env_system, &ops, fixture);
    fixture->a = recall_enter(&fixture->recall, names[0], FS_ROOT_INO, true);
    fixture->b = recall_enter(&fixture->recall, names[1], FS_ROOT_INO, true);
    fixture->c = recall_enter(&fixture->recall, names[2], 5, true);
    recall_wait_init(&fixture->wait);
    recall_wait_init(&fixture->other);
    fixture->now_ms = 1;
    *state = fixture;
    return fixture->a && fixture->b && fixture->c ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    recall_wait_end(&fixture->recall, &fixture->wait);
    recall_wait_end(&fixture->recall, &fixture->other);
    recall_free(&fixture->recall);
    free(fixture);
    return 0;
}

static bool attr(struct fixture *f, struct lease_holder *holder, fs_ino ino)
{
    return recall_give_attr(&f->recall, holder, ino, NULL, f->now_ms);
}

static bool name(struct fixture *f, struct lease_holder *holder, fs_ino ino, const char *entry)
{
    return recall_give_name(&f->recall, holder, ino, fs_name_of(entry), NULL, f->now_ms);
}

static bool all_names(struct fixture *f, struct lease_holder *holder, fs_ino ino)
{
    return recall_give_names(&f->recall, holder, ino, NULL, f->now_ms);
}

static int data(struct fixture *f, struct lease_holder *holder, fs_ino ino)
{
    return recall_give_data(&f->recall, holder, ino, &f->other, f->now_ms);
}

static int ask(struct fixture *f, const struct lease_holder *own, struct recall_wait *wait, fs_ino ino,
               uint32_t what, const char *entry)
{
    const struct core_change change = {.ino = ino, .what = what, .name = fs_name_of(entry)};
    return recall_ask(&f->recall, own, wait, &change, 1, f->now_ms);
}

#define ASSERT_TOLD(f, text)                  \
    do {                                      \
        assert_string_equal((f)->told, text); \
        (f)->told[0] = '\0';                  \
    } while (0)

// --- changes ---

static void what_nobody_keeps_changes_at_once(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    assert_int_equal(ask(f, f->a, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), 0); // it is its own
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_DATA, ""), 0);
    assert_int_equal(ask(f, NULL, &f->wait, DIR, CORE_CHANGE_ATTR, ""), 0);
    ASSERT_TOLD(f, "");
}

static void a_change_waits_for_every_holder_and_is_not_asked_for_again(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    assert_true(attr(f, f->b, FILE_INO));
    assert_int_equal(ask(f, f->c, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    ASSERT_TOLD(f, "a 1 20 1; b 1 20 1");
    recall_dropped(&f->recall, f->a, 1);
    recall_dropped(&f->recall, f->a, 1);
    recall_dropped(&f->recall, f->b, 7);
    assert_int_equal(f->n_gone_on, 0);
    recall_dropped(&f->recall, f->b, 1);
    assert_int_equal(f->n_gone_on, 1);
    assert_int_equal(ask(f, f->c, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), 0);
    ASSERT_TOLD(f, "");
    // What it had not noted the first time is asked for.
    assert_true(attr(f, f->a, DIR));
    assert_int_equal(ask(f, f->c, &f->wait, DIR, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    ASSERT_TOLD(f, "a 2 10 1");
}

static void one_event_for_one_inode(void **state)
{
    struct fixture *f = fixture_of(state);
    const struct core_change changes[] = {
        {.ino = DIR, .what = CORE_CHANGE_NAME, .name = fs_name_of("x")},
        {.ino = DIR, .what = CORE_CHANGE_NAME, .name = fs_name_of("y")},
        {.ino = FILE_INO, .what = CORE_CHANGE_ATTR, .name = {"", 0}},
        {.ino = DIR, .what = CORE_CHANGE_ATTR, .name = {"", 0}},
    };
    assert_true(attr(f, f->a, DIR) && name(f, f->a, DIR, "z") && attr(f, f->a, FILE_INO));
    assert_int_equal(recall_ask(&f->recall, f->b, &f->wait, changes, ARRAY_LEN(changes), 1), CORE_WAIT);
    ASSERT_TOLD(f, "a 1 10 3=x; a 2 10 2=y; a 3 20 1");
    for (uint64_t number = 1; number <= 3; number++)
        recall_dropped(&f->recall, f->a, number);
    assert_int_equal(recall_ask(&f->recall, f->b, &f->wait, changes, ARRAY_LEN(changes), 1), 0);
}

static void a_name_answered_leaves_the_other_names(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, DIR) && name(f, f->a, DIR, "x"));
    assert_int_equal(ask(f, f->b, &f->wait, DIR, CORE_CHANGE_NAME | CORE_CHANGE_ATTR, "x"), CORE_WAIT);
    recall_dropped(&f->recall, f->a, 1);
    assert_true(lease_has(f->a, DIR, LEASE_NAMES));
    assert_false(lease_has(f->a, DIR, LEASE_ATTR));
    assert_int_equal(ask(f, f->b, &f->other, DIR, CORE_CHANGE_NAMES, ""), CORE_WAIT);
    recall_dropped(&f->recall, f->a, 2);
    assert_false(lease_has(f->a, DIR, LEASE_NAMES));
}

static void nobody_is_given_what_is_about_to_change(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, DIR) && name(f, f->a, DIR, "x"));
    assert_int_equal(ask(f, f->b, &f->wait, DIR, CORE_CHANGE_NAME | CORE_CHANGE_ATTR, "x"), CORE_WAIT);
    assert_false(attr(f, f->c, DIR));
    assert_false(name(f, f->c, DIR, "x"));
    assert_true(name(f, f->c, DIR, "y"));
    recall_dropped(&f->recall, f->a, 1);
    assert_false(attr(f, f->a, DIR)); // although it has answered
    assert_false(name(f, f->a, DIR, "x"));
    assert_true(recall_give_attr(&f->recall, f->b, DIR, &f->wait, 1)); // but who changes it
    recall_wait_end(&f->recall, &f->wait);
    assert_true(attr(f, f->a, DIR));
    assert_true(name(f, f->a, DIR, "x"));
}

static void all_names_are_not_given_while_one_is_about_to_change(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(all_names(f, f->a, DIR));
    assert_true(lease_has(f->a, DIR, LEASE_NAMES));
    assert_int_equal(ask(f, f->b, &f->wait, DIR, CORE_CHANGE_NAME, "x"), CORE_WAIT);
    ASSERT_TOLD(f, "a 1 10 2=x");
    assert_false(all_names(f, f->c, DIR));
    assert_false(all_names(f, f->a, DIR));
    assert_true(recall_give_names(&f->recall, f->b, DIR, &f->wait, 1)); // but who changes it
    recall_dropped(&f->recall, f->a, 1);
    assert_false(all_names(f, f->a, DIR)); // it has answered, and the change is not made yet
    recall_wait_end(&f->recall, &f->wait);
    assert_true(all_names(f, f->a, DIR));
    assert_int_equal(ask(f, f->c, &f->wait, DIR, CORE_CHANGE_NAMES, ""), CORE_WAIT);
    assert_false(all_names(f, f->b, DIR));
}

static void a_change_given_up_leaves_the_ask(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    recall_wait_end(&f->recall, &f->wait);
    assert_true(attr(f, f->c, FILE_INO));
    assert_false(attr(f, f->a, FILE_INO)); // its answer would take this one along
    recall_dropped(&f->recall, f->a, 1);
    assert_int_equal(f->n_gone_on, 0);
    assert_true(attr(f, f->a, FILE_INO));
}

static void two_changes_share_an_answer_unless_bytes_were_given_since(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_int_equal(data(f, f->a, FILE_INO), 1);
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_DATA, ""), CORE_WAIT);
    assert_int_equal(ask(f, f->c, &f->other, FILE_INO, CORE_CHANGE_DATA, ""), CORE_WAIT);
    ASSERT_TOLD(f, "a 1 20 8");
    recall_wait_end(&f->recall, &f->other);
    assert_int_equal(data(f, f->a, FILE_INO), 1);
    assert_int_equal(ask(f, f->c, &f->other, FILE_INO, CORE_CHANGE_DATA, ""), CORE_WAIT);
    ASSERT_TOLD(f, "a 2 20 8");
    recall_dropped(&f->recall, f->a, 1);
    assert_int_equal(f->n_gone_on, 1);
    assert_true(lease_has(f->a, FILE_INO, LEASE_DATA)); // the second ask is for that
    recall_dropped(&f->recall, f->a, 2);
    assert_int_equal(f->n_gone_on, 2);
    assert_false(lease_has(f->a, FILE_INO, LEASE_DATA));
}

static void bytes_to_be_kept_wait_unless_their_holder_has_not_answered(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_int_equal(data(f, f->a, FILE_INO), 1);
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_DATA, ""), CORE_WAIT);
    assert_int_equal(data(f, NULL, FILE_INO), 0);
    assert_int_equal(data(f, f->a, FILE_INO), 1);
    assert_int_equal(data(f, f->c, FILE_INO), CORE_WAIT);
    recall_dropped(&f->recall, f->a, 1);
    assert_int_equal(f->n_gone_on, 1); // the change alone
    recall_wait_end(&f->recall, &f->wait);
    assert_int_equal(f->n_gone_on, 2);
    assert_int_equal(data(f, f->c, FILE_INO), 1);
}

static void what_leaves_a_root_takes_all_of_who_sees_but_that(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO) && attr(f, f->c, FILE_INO) && name(f, f->c, DIR, "x"));
    assert_int_equal(ask(f, f->b, &f->wait, 30, CORE_CHANGE_TREE | CORE_CHANGE_ATTR, ""), CORE_WAIT);
    ASSERT_TOLD(f, "c 1 30 10");
    assert_false(attr(f, f->c, 40));
    assert_true(attr(f, f->a, 40));
    assert_int_equal(data(f, f->c, 40), 1);
    recall_dropped(&f->recall, f->c, 1);
    assert_int_equal(f->n_gone_on, 1);
    assert_false(lease_has(f->c, FILE_INO, LEASE_ATTR) || lease_has(f->c, DIR, LEASE_NAMES));
    assert_true(lease_has(f->c, 40, LEASE_DATA)); // it came after the ask
    recall_wait_end(&f->recall, &f->wait);
    assert_true(attr(f, f->c, FILE_INO));
}

// --- holders ---

static void forgetting_answers(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO) && attr(f, f->a, DIR));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    recall_forget(&f->recall, f->a, FILE_INO);
    recall_forget(&f->recall, f->a, 99);
    assert_int_equal(f->n_gone_on, 1);
    assert_int_equal(f->a->leases.count, 1);
}

static void silence_ends_leases_and_begins_a_generation(void **state)
{
    struct fixture *f = fixture_of(state);
    uint64_t generation = f->a->generation;
    assert_false(recall_expire(&f->recall, f->a)); // there is nothing to end
    assert_int_equal(f->a->generation, generation);
    assert_true(attr(f, f->a, FILE_INO));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    assert_true(recall_expire(&f->recall, f->a));
    assert_int_equal(f->n_gone_on, 1);
    assert_int_not_equal(f->a->generation, generation);
    assert_false(attr(f, f->a, DIR));
    assert_int_equal(data(f, f->a, DIR), 0);
    recall_cleared(&f->recall, f->a, generation);
    assert_false(attr(f, f->a, DIR));
    recall_cleared(&f->recall, f->a, f->a->generation);
    assert_true(attr(f, f->a, DIR));
    recall_cleared(&f->recall, f->a, f->a->generation); // nothing is older
    assert_true(lease_has(f->a, DIR, LEASE_ATTR));
}

static void tick(struct fixture *f, uint64_t ms, uint64_t paused_ms)
{
    f->now_ms += ms;
    recall_tick(&f->recall, f->now_ms, paused_ms, LEASE_MS);
}

static void who_does_not_answer_holds_up_two_leases_at_most(void **state)
{
    struct fixture *f = fixture_of(state);
    uint64_t generation = f->a->generation;
    assert_true(attr(f, f->a, FILE_INO) && attr(f, f->a, DIR));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    tick(f, LEASE_MS - 1, 0);
    assert_int_equal(f->n_overdue, 0);
    tick(f, 1, 0);
    assert_int_equal(f->n_overdue, 1);
    assert_int_not_equal(f->a->generation, generation);
    assert_int_equal(f->n_gone_on, 0);
    tick(f, LEASE_MS - 1, 0);
    assert_int_equal(f->n_gone_on, 0);
    tick(f, 1, 0);
    assert_int_equal(f->n_gone_on, 1);
    assert_int_equal(f->n_overdue, 1);
    assert_int_equal(f->a->leases.count, 0);
}

static void the_overdue_may_clear_sooner(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    tick(f, LEASE_MS, 0);
    recall_cleared(&f->recall, f->a, f->a->generation);
    assert_int_equal(f->n_gone_on, 1);
    assert_true(attr(f, f->a, DIR));
    tick(f, LEASE_MS, 0);
    assert_true(lease_has(f->a, DIR, LEASE_ATTR)); // that end was of the older ones
}

static void be_overdue(struct fixture *f)
{
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    tick(f, LEASE_MS, 0);
    recall_cleared(&f->recall, f->a, f->a->generation);
    recall_wait_end(&f->recall, &f->wait);
    recall_wait_init(&f->wait);
}

// Else it could hold up each change for a lease time.
static void who_is_overdue_again_is_given_nothing_for_long(void **state)
{
    struct fixture *f = fixture_of(state);
    unsigned n = 0;
    for (; attr(f, f->a, FILE_INO); n++)
        be_overdue(f);
    assert_int_equal(n, 2);
    assert_int_equal(data(f, f->a, FILE_INO), 0);
    tick(f, RECALL_REST_LEASES * LEASE_MS, 0);
    assert_false(attr(f, f->a, FILE_INO));
    tick(f, LEASE_MS, 0);
    assert_true(attr(f, f->a, FILE_INO));
    be_overdue(f);
    assert_false(attr(f, f->a, FILE_INO));
}

static void who_is_overdue_now_and_then_is_given_all(void **state)
{
    struct fixture *f = fixture_of(state);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(attr(f, f->a, FILE_INO));
        be_overdue(f);
        tick(f, 2 * RECALL_REST_LEASES * LEASE_MS, 0);
    }
}

static void the_servers_own_pause_makes_nobody_overdue(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    tick(f, 5 * LEASE_MS, 5 * LEASE_MS);
    assert_int_equal(f->n_overdue, 0);
}

static void leases_outlive_a_session_that_ends_without_a_word(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    recall_linger(f->a, f->now_ms + LEASE_MS);
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    ASSERT_TOLD(f, ""); // there is nobody to tell
    tick(f, LEASE_MS - 1, 0);
    assert_int_equal(f->n_gone_on, 0);
    tick(f, 1, 0);
    assert_int_equal(f->n_gone_on, 1);
    recall_linger(f->c, 99); // it had none: nothing stays
    f->a = f->c = NULL;
}

static void a_word_ends_them_at_once(void **state)
{
    struct fixture *f = fixture_of(state);
    assert_true(attr(f, f->a, FILE_INO));
    assert_int_equal(ask(f, f->b, &f->wait, FILE_INO, CORE_CHANGE_ATTR, ""), CORE_WAIT);
    recall_leave(&f->recall, f->a);
    assert_int_equal(f->n_gone_on, 1);
}

static void room_is_made_by_asking_for_the_oldest(void **state)
{
    struct fixture *f = fixture_of(state);
    f->recall.leases.per_holder_max = 3;
    assert_true(attr(f, f->a, 1) && attr(f, f->a, 2) && name(f, f->a, 3, "x"));
    assert_true(attr(f, f->a, 1)); // now given most recently
    assert_false(attr(f, f->a, 4));
    assert_false(attr(f, f->a, 5)); // one asking is under way
    ASSERT_TOLD(f, "a 1 2 1; a 2 3 4; a 3 1 1");
    assert_int_equal(data(f, f->a, 6), 1); // bytes all the same, within reason
    assert_int_equal(data(f, f->a, 7), 1);
    assert_int_equal(data(f, f->a, 8), 1);
    assert_int_equal(data(f, f->a, 9), 0);
    for (uint64_t number = 1; number <= 3; number++)
        recall_dropped(&f->recall, f->a, number);
    recall_forget(&f->recall, f->a, 6);
    assert_true(attr(f, f->a, 4));
}

static void all_together_have_a_bound_too(void **state)
{
    struct fixture *f = fixture_of(state);
    f->recall.leases.max = 2;
    assert_true(attr(f, f->a, 1) && attr(f, f->b, 1));
    assert_false(attr(f, f->c, 1));
    ASSERT_TOLD(f, ""); // it has none to give back
    assert_false(attr(f, f->a, 2));
    ASSERT_TOLD(f, "a 1 1 1");
    assert_int_equal(data(f, f->a, 3), 1);
    assert_int_equal(data(f, f->b, 4), 1);
    assert_int_equal(data(f, f->c, 5), 0);
    assert_false(recall_keep(&f->recall, f->c, 6));
}

// --- written pages ---

static void written_pages_are_owed_until_they_are_dropped(void **state)
{
    struct fixture *f = fixture_of(state);
    const struct core_change change = {.ino = FILE_INO, .what = CORE_CHANGE_DATA, .name = {"", 0}};
    struct debts debts = {0};
    assert_int_equal(recall_tell(&f->recall, f->b, &debts, &change, 1, 1), 0);
    assert_true(debts_settled(&debts, FILE_INO, &f->wait));
    assert_int_equal(data(f, f->a, FILE_INO), 1);
    assert_int_equal(recall_tell(&f->recall, f->b, &debts, &change, 1, 1), 0);
    ASSERT_TOLD(f, "a 1 20 8");
    assert_false(debts_settled(&debts, FILE_INO, &f->wait));
    assert_true(debts_settled(&debts, DIR, &f->other));
    assert_int_equal(data(f, f->c, FILE_INO), 1); // what is there is new
    recall_dropped(&f->recall, f->a, 1);
    assert_int_equal(f->n_gone_on, 1);
    assert_true(debts_settled(&debts, FILE_INO, &f->wait));
    assert_int_equal(recall_tell(&f->recall, f->b, &debts, &change, 1, 1), 0); // c keeps it now
    debts_free(&f->recall, &debts);
}

static void bytes_kept_over_a_restart_are_asked_for_when_others_look(void **state)
{
    struct fixture *f = fixture_of(state);
    struct debts debts = {0};
    assert_true(recall_keep(&f->recall, f->a, FILE_INO));
    assert_int_equal(data(f, f->c, FILE_INO), 1); // read since: it is as it should be
    assert_int_equal(debts_ask_kept(&f->recall, f->a, &debts, FILE_INO, 1), 0);
    assert_int_equal(debts_ask_kept(&f->recall, f->b, &debts, DIR, 1), 0);
    ASSERT_TOLD(f, "");
    assert_int_equal(debts_ask_kept(&f->recall, f->b, &debts, FILE_INO, 1), 0);
    ASSERT_TOLD(f, "a 1 20 8; c 1 20 8");
    assert_int_equal(debts_ask_kept(&f->recall, f->b, &debts, FILE_INO, 1), 0);
    ASSERT_TOLD(f, "");
    assert_false(debts_settled(&debts, FILE_INO, &f->wait));
    recall_dropped(&f->recall, f->a, 1);
    assert_int_equal(f->n_gone_on, 0);
    recall_dropped(&f->recall, f->c, 1);
    assert_int_equal(f->n_gone_on, 1);
    debts_free(&f->recall, &debts);
}

// --- at random ---

#define N_CLIENTS 4
#define N_INODES  3
#define N_NAMES   2
#define QUEUE_MAX 64
#define STEPS     200000

// What a client keeps, and what is on its way to it, as an honest one sees it.
struct message {
    bool ask;
    uint64_t number;
    struct core_change change; // of a grant: what is kept
};

struct client {
    struct lease_holder *holder;
    struct message queue[QUEUE_MAX];
    size_t n_queue;
    uint32_t kept[N_INODES];        // LEASE_ATTR, LEASE_DATA
    bool names[N_INODES][N_NAMES];  // kept
    uint64_t unanswered[QUEUE_MAX]; // dropped, but for reads that are under way
    fs_ino unanswered_ino[QUEUE_MAX];
    size_t n_unanswered;
    struct recall_wait wait;
    bool waits, ready;
    struct core_change change; // that waits
};

static struct client clients[N_CLIENTS];
static uint64_t random_state;

static uint64_t below(uint64_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % limit;
}

static void push(struct client *client, const struct message *message)
{
    assert_true(client->n_queue < QUEUE_MAX);
    client->queue[client->n_queue++] = *message;
}

static void send_ask(void *context UNUSED, struct lease_holder *holder, const struct recall_ask *asked)
{
    const struct message message = {
        .ask = true,
        .number = recall_number(asked),
        .change = {
            .ino = asked->ino,
            .what = asked->what,
            .name = {asked->name_length ? (asked->name[0] == 'a' ? "a" : "b") : "", asked->name_length}}};
    push(holder->session, &message);
}

static void set_ready(void *context UNUSED, struct recall_wait *wait)
{
    CONTAINER_OF(wait, struct client, wait)->ready = true;
}

static void no_overdue(void *context UNUSED, struct lease_holder *holder UNUSED)
{
}

static const struct recall_ops random_ops = {.tell = send_ask, .go_on = set_ready, .overdue = no_overdue};

static size_t name_index(const struct core_change *change)
{
    return change->name.length && change->name.bytes[0] == 'b' ? 1 : 0;
}

static void drop_kept(struct client *client, const struct core_change *change)
{
    client->kept[change->ino] &= ~change->what;
    for (size_t i = 0; i < N_NAMES; i++) {
        if ((change->what & CORE_CHANGE_NAMES) ||
            ((change->what & CORE_CHANGE_NAME) && i == name_index(change)))
            client->names[change->ino][i] = false;
    }
}

static bool reads_under_way(const struct client *client, fs_ino ino)
{
    for (size_t i = 0; i < client->n_queue; i++) {
        const struct message *message = &client->queue[i];
        if (!message->ask && message->change.ino == ino && (message->change.what & LEASE_DATA))
            return true;
    }
    return false;
}

// Answers what it can: bytes that were asked for before must have come, and been dropped.
static void answer(struct recall *recall, struct client *client)
{
    for (size_t i = 0; i < client->n_unanswered;) {
        fs_ino ino = client->unanswered_ino[i];
        if (reads_under_way(client, ino)) {
            i++;
            continue;
        }
        uint64_t number = client->unanswered[i];
        client->n_unanswered--;
        memmove(&client->unanswered[i], &client->unanswered[i + 1],
                (client->n_unanswered - i) * sizeof(number));
        memmove(&client->unanswered_ino[i], &client->unanswered_ino[i + 1],
                (client->n_unanswered - i) * sizeof(ino));
        recall_dropped(recall, client->holder, number);
    }
}

static void take_message(struct recall *recall, struct client *client)
{
    if (client->n_queue == 0)
        return;
    struct message message = client->queue[0];
    client->n_queue--;
    memmove(client->queue, client->queue + 1, client->n_queue * sizeof(message));
    if (message.ask) {
        drop_kept(client, &message.change);
        client->unanswered[client->n_unanswered] = message.number;
        client->unanswered_ino[client->n_unanswered++] = message.change.ino;
        answer(recall, client);
        return;
    }
    if (message.change.what & CORE_CHANGE_NAME) {
        client->names[message.change.ino][name_index(&message.change)] = true;
        return;
    }
    if (message.change.what & CORE_CHANGE_NAMES) {
        for (size_t i = 0; i < N_NAMES; i++)
            client->names[message.change.ino][i] = true;
        return;
    }
    client->kept[message.change.ino] |= message.change.what;
    for (size_t i = 0; i < client->n_unanswered; i++) {
        if (client->unanswered_ino[i] == message.change.ino)
            client->kept[message.change.ino] &= ~LEASE_DATA; // it comes in the midst of a drop
    }
    answer(recall, client);
}

static bool keeps(const struct client *client, const struct core_change *change)
{
    bool kept = client->kept[change->ino] & change->what;
    for (size_t i = 0; i < N_NAMES; i++)
        kept |=
            client->names[change->ino][i] && ((change->what & CORE_CHANGE_NAMES) ||
                                              ((change->what & CORE_CHANGE_NAME) && i == name_index(change)));
    bool dropping = false;
    for (size_t i = 0; i < client->n_unanswered; i++)
        dropping |= client->unanswered_ino[i] == change->ino;
    for (size_t i = 0; i < client->n_queue; i++) {
        const struct message *message = &client->queue[i];
        dropping |= message->ask && message->change.ino == change->ino && (message->change.what & LEASE_DATA);
        // Bytes that come in the midst of a drop are not kept.
        uint32_t what = message->change.what & ~(dropping ? LEASE_DATA : 0);
        bool same_name = (message->change.what & change->what & CORE_CHANGE_NAME) &&
                         name_index(&message->change) == name_index(change);
        bool all_names = ((message->change.what & CORE_CHANGE_NAME) && (change->what & CORE_CHANGE_NAMES)) ||
                         ((message->change.what & CORE_CHANGE_NAMES) && (change->what & CORE_CHANGE_NAME));
        kept |= !message->ask && message->change.ino == change->ino &&
                ((what & change->what & ~CORE_CHANGE_NAME) || same_name || all_names);
    }
    return kept;
}

static void try_change(struct recall *recall, struct client *client)
{
    client->ready = false;
    int result = recall_ask(recall, client->holder, &client->wait, &client->change, 1, 1);
    client->waits = result == CORE_WAIT;
    if (client->waits)
        return;
    assert_int_equal(result, 0);
    for (size_t i = 0; i < N_CLIENTS; i++)
        assert_true(&clients[i] == client || !keeps(&clients[i], &client->change));
    recall_wait_end(recall, &client->wait);
}

static void begin_change(struct recall *recall, struct client *client)
{
    static const uint32_t whats[] = {CORE_CHANGE_ATTR, CORE_CHANGE_DATA | CORE_CHANGE_ATTR,
                                     CORE_CHANGE_NAME | CORE_CHANGE_ATTR,
                                     CORE_CHANGE_NAMES | CORE_CHANGE_ATTR};
    if (client->waits)
        return;
    client->change = (struct core_change){.ino = below(N_INODES), .what = whats[below(ARRAY_LEN(whats))]};
    client->change.name = fs_name_of(client->change.what & CORE_CHANGE_NAME ? (below(2) ? "b" : "a") : "");
    try_change(recall, client);
}

static void want(struct recall *recall, struct client *client)
{
    struct message message = {.change = {.ino = below(N_INODES), .name = {"", 0}}};
    uint64_t kind = below(4);
    if (kind == 3) {
        message.change.what = CORE_CHANGE_NAMES;
        if (!recall_give_names(recall, client->holder, message.change.ino, NULL, 1))
            return;
    } else if (kind == 0) {
        message.change.what = LEASE_ATTR;
        if (!recall_give_attr(recall, client->holder, message.change.ino, NULL, 1))
            return;
    } else if (kind == 1) {
        message.change.what = CORE_CHANGE_NAME;
        message.change.name = fs_name_of(below(2) ? "b" : "a");
        if (!recall_give_name(recall, client->holder, message.change.ino, message.change.name, NULL, 1))
            return;
    } else {
        struct recall_wait wait;
        recall_wait_init(&wait);
        message.change.what = LEASE_DATA;
        int result = recall_give_data(recall, client->holder, message.change.ino, &wait, 1);
        recall_wait_end(recall, &wait); // who would have to wait asks again some time
        if (result != 1)
            return;
    }
    push(client, &message);
}

static void start_over(struct recall *recall, struct client *client)
{
    if (client->waits)
        return;
    client->n_queue = client->n_unanswered = 0;
    memset(client->kept, 0, sizeof(client->kept));
    memset(client->names, 0, sizeof(client->names));
    if (recall_expire(recall, client->holder))
        recall_cleared(recall, client->holder, client->holder->generation);
}

static void step(struct recall *recall, struct client *client)
{
    uint64_t kind = below(100);
    if (client->waits && client->ready)
        try_change(recall, client);
    else if (kind < 40 && client->n_queue < QUEUE_MAX / 2)
        want(recall, client);
    else if (kind < 80)
        take_message(recall, client);
    else if (kind < 99)
        begin_change(recall, client);
    else
        start_over(recall, client);
}

static void no_change_is_made_while_another_keeps_it(void **state UNUSED)
{
    struct recall recall;
    recall_init(&recall, &env_system, &random_ops, NULL);
    recall.leases.per_holder_max = 2; // so that room is asked for as well
    random_state = 88172645463325252u;
    for (size_t i = 0; i < N_CLIENTS; i++) {
        clients[i] = (struct client){.holder = recall_enter(&recall, &clients[i], FS_ROOT_INO, true)};
        recall_wait_init(&clients[i].wait);
    }
    for (size_t i = 0; i < STEPS; i++)
        step(&recall, &clients[below(N_CLIENTS)]);
    // Everything comes to an end when all answer.
    for (size_t i = 0; i < 1000; i++) {
        for (size_t j = 0; j < N_CLIENTS; j++) {
            take_message(&recall, &clients[j]);
            if (clients[j].waits && clients[j].ready)
                try_change(&recall, &clients[j]);
        }
    }
    for (size_t i = 0; i < N_CLIENTS; i++) {
        assert_false(clients[i].waits);
        recall_leave(&recall, clients[i].holder);
    }
    recall_free(&recall);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_keeps_changes_at_once),
        TEST(a_change_waits_for_every_holder_and_is_not_asked_for_again),
        TEST(one_event_for_one_inode),
        TEST(a_name_answered_leaves_the_other_names),
        TEST(nobody_is_given_what_is_about_to_change),
        TEST(all_names_are_not_given_while_one_is_about_to_change),
        TEST(a_change_given_up_leaves_the_ask),
        TEST(two_changes_share_an_answer_unless_bytes_were_given_since),
        TEST(bytes_to_be_kept_wait_unless_their_holder_has_not_answered),
        TEST(what_leaves_a_root_takes_all_of_who_sees_but_that),
        TEST(forgetting_answers),
        TEST(silence_ends_leases_and_begins_a_generation),
        TEST(who_does_not_answer_holds_up_two_leases_at_most),
        TEST(the_overdue_may_clear_sooner),
        TEST(who_is_overdue_again_is_given_nothing_for_long),
        TEST(who_is_overdue_now_and_then_is_given_all),
        TEST(the_servers_own_pause_makes_nobody_overdue),
        TEST(leases_outlive_a_session_that_ends_without_a_word),
        TEST(a_word_ends_them_at_once),
        TEST(room_is_made_by_asking_for_the_oldest),
        TEST(all_together_have_a_bound_too),
        TEST(written_pages_are_owed_until_they_are_dropped),
        TEST(bytes_kept_over_a_restart_are_asked_for_when_others_look),
        cmocka_unit_test(no_change_is_made_while_another_keeps_it),
    };
#undef TEST
    return cmocka_run_group_tests_name("server_recall", tests, NULL, NULL);
}
