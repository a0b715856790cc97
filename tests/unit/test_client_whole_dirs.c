// SPDX-License-Identifier: Apache-2.0
// Directories known whole, against client/whole_dirs.h: a name that is there is never said not to be,
// whatever order calls are executed and answered in. The model is a directory on a server, changed by this
// client's calls and by others.
#include "client/whole_dirs.h"
#include "fs/base/check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define D 7u

static struct whole_dirs dirs;

static int setup(void **state)
{
    (void)state;
    whole_init(&dirs, &env_system);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    whole_free(&dirs);
    assert_int_equal(dirs.n_names, 0);
    return 0;
}

static struct fs_name numbered(unsigned number)
{
    static char names[4][16];
    static unsigned turn;
    char *name = names[turn++ % 4];
    snprintf(name, sizeof(names[0]), "n%u", number);
    return fs_name_of(name);
}

static bool lacks(const char *name)
{
    return whole_lacks(&dirs, D, fs_name_of(name));
}

static void act(const char *name, bool makes, enum whole_outcome outcome)
{
    struct whole_change change = whole_begin(&dirs, D, fs_name_of(name), makes);
    whole_end(&dirs, &change, outcome, true);
}

static void test_of_what_is_not_known_nothing_is_said(void **state)
{
    (void)state;
    assert_false(lacks("a"));
    whole_made(&dirs, D);
    assert_true(lacks("a"));
    assert_false(whole_lacks(&dirs, D + 1, fs_name_of("a")));
    whole_drop(&dirs, D);
    assert_false(lacks("a"));
    whole_made(&dirs, D);
    whole_drop_all(&dirs);
    assert_false(lacks("a"));
}

static void test_own_calls_keep_it_exact(void **state)
{
    (void)state;
    whole_made(&dirs, D);
    struct whole_change change = whole_begin(&dirs, D, fs_name_of("a"), true);
    assert_false(lacks("a")); // from when it is sent
    whole_end(&dirs, &change, WHOLE_DONE, true);
    assert_false(lacks("a"));
    change = whole_begin(&dirs, D, fs_name_of("a"), false);
    assert_false(lacks("a")); // until it is answered
    whole_end(&dirs, &change, WHOLE_DONE, true);
    assert_true(lacks("a"));
    act("a", true, WHOLE_NOTHING); // was never sent
    assert_true(lacks("a"));
    act("a", true, WHOLE_UNKNOWN);
    assert_false(lacks("a"));
    act("b", true, WHOLE_DONE);
    act("b", false, WHOLE_NOTHING);
    assert_false(lacks("b"));
    act("b", false, WHOLE_UNKNOWN);
    assert_false(lacks("b"));
}

static void test_without_a_lease_a_name_stays_in_doubt(void **state)
{
    (void)state;
    static const struct {
        bool makes;
        enum whole_outcome outcome;
    } ends[] = {{true, WHOLE_DONE}, {true, WHOLE_NOTHING}, {false, WHOLE_DONE}, {false, WHOLE_NOTHING}};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        whole_made(&dirs, D);
        act("a", true, WHOLE_DONE);
        struct whole_change change = whole_begin(&dirs, D, fs_name_of("a"), ends[i].makes);
        whole_end(&dirs, &change, ends[i].outcome, false);
        assert_false(lacks("a"));
        assert_true(lacks("b"));
    }
}

static void test_two_calls_about_one_name(void **state)
{
    (void)state;
    whole_made(&dirs, D);
    act("a", true, WHOLE_DONE);
    struct whole_change removes = whole_begin(&dirs, D, fs_name_of("a"), false);
    struct whole_change makes = whole_begin(&dirs, D, fs_name_of("a"), true);
    whole_end(&dirs, &removes, WHOLE_DONE, true);
    assert_false(lacks("a"));
    whole_end(&dirs, &makes, WHOLE_DONE, true);
    assert_false(lacks("a"));
    act("a", true, WHOLE_NOTHING); // it was there
    act("a", false, WHOLE_DONE);
    assert_true(lacks("a"));
}

static void test_what_another_changed_is_asked_for(void **state)
{
    (void)state;
    whole_made(&dirs, D);
    whole_doubt(&dirs, D, fs_name_of("a"));
    assert_false(lacks("a"));
    assert_true(lacks("b"));
    whole_doubt(&dirs, D, fs_name_of("a")); // made, and removed
    act("a", true, WHOLE_DONE);
    act("a", false, WHOLE_DONE);
    assert_false(lacks("a"));
    for (unsigned i = 0; i < WHOLE_UNKNOWN_MAX; i++)
        whole_doubt(&dirs, D, fs_name_of("c"));
    assert_false(lacks("b")); // too many: given up
}

static void test_a_call_that_was_sent_before_it_was_known(void **state)
{
    (void)state;
    struct whole_change change = whole_begin(&dirs, D, fs_name_of("a"), true);
    whole_made(&dirs, D);
    whole_end(&dirs, &change, WHOLE_DONE, true);
    assert_false(lacks("a"));
    whole_made(&dirs, D);
    change = whole_begin(&dirs, D, fs_name_of("a"), true);
    whole_made(&dirs, D);
    whole_end(&dirs, &change, WHOLE_UNKNOWN, true);
    assert_false(lacks("a"));
}

static void test_a_removal_of_what_cannot_be_there(void **state)
{
    (void)state;
    whole_made(&dirs, D);
    act("a", false, WHOLE_DONE);
    assert_false(lacks("b"));
}

static bool page(uint64_t open_id, uint64_t cookie, const char *name, uint64_t next, bool is_last)
{
    if (!whole_page(&dirs, D, open_id, cookie))
        return false;
    whole_page_name(&dirs, D, fs_name_of(name));
    whole_page_end(&dirs, D, next, is_last);
    return true;
}

static void test_a_listing(void **state)
{
    (void)state;
    assert_false(page(1, 5, "x", 6, true)); // not from the start
    assert_true(page(1, 0, "a", 5, false));
    assert_false(lacks("b"));
    assert_true(page(1, 5, "b", 9, true));
    assert_true(lacks("c"));
    assert_false(lacks("a"));
    assert_false(lacks("b"));
    assert_false(page(2, 0, "a", 5, false)); // it is known: nothing to be learnt
    assert_true(lacks("c"));
}

static void test_listings_that_do_not_count(void **state)
{
    (void)state;
    assert_true(page(1, 0, "a", 5, false));
    assert_false(page(1, 4, "b", 9, true)); // a gap
    assert_true(page(1, 0, "a", 5, false));
    assert_false(page(2, 5, "b", 9, true)); // through another open
    assert_true(page(1, 0, "a", 5, false));
    whole_doubt(&dirs, D, fs_name_of("c"));
    assert_false(page(1, 5, "b", 9, true));
    assert_true(page(1, 0, "a", 5, false));
    struct whole_change change = whole_begin(&dirs, D, fs_name_of("c"), true);
    assert_false(page(1, 5, "b", 9, true));
    assert_true(page(1, 0, "a", 5, false));
    whole_end(&dirs, &change, WHOLE_DONE, true);
    assert_false(page(1, 5, "b", 9, true));
    assert_true(page(1, 0, "a", 5, false));
    whole_drop(&dirs, D);
    assert_false(page(1, 5, "b", 9, true));
    assert_false(lacks("z"));
}

static void test_bounds(void **state)
{
    (void)state;
    whole_made(&dirs, 1);
    for (unsigned i = 0; i < WHOLE_NAMES_PER_DIR; i++)
        (void)whole_begin(&dirs, 1, numbered(i), true);
    assert_true(whole_lacks(&dirs, 1, fs_name_of("x")));
    assert_int_equal(dirs.n_names, WHOLE_NAMES_PER_DIR);
    for (unsigned i = 0; i < WHOLE_NAMES_PER_DIR; i++)
        assert_false(whole_lacks(&dirs, 1, numbered(i)));
    for (unsigned id = 2; id <= 5; id++) {
        whole_made(&dirs, id);
        for (unsigned i = 0; i < WHOLE_NAMES_PER_DIR; i++)
            (void)whole_begin(&dirs, id, numbered(i), true);
    }
    assert_int_equal(dirs.n_names, WHOLE_NAMES_MAX);
    assert_false(whole_lacks(&dirs, 1, fs_name_of("x"))); // the least recently used
    assert_true(whole_lacks(&dirs, 2, fs_name_of("x")));
    (void)whole_begin(&dirs, 2, fs_name_of("x"), true);
    assert_false(whole_lacks(&dirs, 2, fs_name_of("y")));
    assert_int_equal(dirs.n_names, WHOLE_NAMES_MAX - WHOLE_NAMES_PER_DIR);
    for (unsigned id = 10; id < 10 + WHOLE_DIRS_MAX; id++)
        whole_made(&dirs, id);
    assert_int_equal(dirs.by_id.count, WHOLE_DIRS_MAX);
    assert_true(whole_lacks(&dirs, 10, fs_name_of("x")));
}

// Few names, so that all that can happen to one does; calls are executed and answered at any time.
enum { NAMES = 12, CALLS = 6 };
struct call {
    bool used, executed, makes;
    unsigned name;
    enum whole_outcome outcome;
    bool is_leased;
    struct whole_change change;
};
static bool there[NAMES];
static unsigned n_pending[NAMES]; // changes by others that have been told, and are not made yet
static struct call calls[CALLS];

static void execute(struct call *call)
{
    call->executed = true;
    bool fails = rand() % 8 == 0 || (!call->makes && !there[call->name]);
    call->outcome = fails ? WHOLE_UNKNOWN : call->makes && there[call->name] ? WHOLE_NOTHING : WHOLE_DONE;
    if (!fails)
        there[call->name] = call->makes;
    call->is_leased = n_pending[call->name] == 0;
}

static void step(struct call *call)
{
    if (!call->used && rand() % 3 == 0) {
        *call = (struct call){.used = true, .makes = rand() % 2, .name = (unsigned)rand() % NAMES};
        call->change = whole_begin(&dirs, D, numbered(call->name), call->makes);
    } else if (call->used && !call->executed) {
        execute(call);
    } else if (call->used) {
        whole_end(&dirs, &call->change, call->outcome, call->is_leased);
        call->used = false;
    }
}

static void list_all(void)
{
    for (unsigned i = 0; i < NAMES; i++) {
        if (n_pending[i] > 0)
            return; // no lease is given
    }
    if (!whole_page(&dirs, D, 1, 0))
        return;
    for (unsigned i = 0; i < NAMES; i++) {
        if (there[i])
            whole_page_name(&dirs, D, numbered(i));
    }
    whole_page_end(&dirs, D, 1, true);
}

static void tell_of_others(void)
{
    unsigned name = (unsigned)rand() % NAMES;
    whole_doubt(&dirs, D, numbered(name));
    n_pending[name] = 1 + (unsigned)rand() % 3; // several may share what was told of one
}

static void change_by_another(void)
{
    unsigned name = (unsigned)rand() % NAMES;
    if (n_pending[name] == 0)
        return;
    n_pending[name]--;
    there[name] = rand() % 2;
}

// While a call is under way, its client may see what was there before.
static bool is_being_made(unsigned name)
{
    for (size_t i = 0; i < CALLS; i++) {
        if (calls[i].used && calls[i].makes && calls[i].name == name)
            return true;
    }
    return false;
}

static void test_any_order(void **state)
{
    (void)state;
    size_t n_known = 0;
    srand(2);
    for (unsigned i = 0; i < 500000; i++) {
        int chance = rand() % 400;
        if (chance == 0)
            whole_drop(&dirs, D);
        else if (chance < 2)
            tell_of_others();
        else if (chance < 60)
            change_by_another();
        else if (chance < 80)
            list_all();
        else
            step(&calls[rand() % CALLS]);
        for (unsigned name = 0; name < NAMES; name++) {
            bool known = whole_lacks(&dirs, D, numbered(name));
            n_known += known;
            assert_false(known && there[name] && !is_being_made(name));
        }
    }
    assert_true(n_known > 100000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_of_what_is_not_known_nothing_is_said),
        TEST(test_own_calls_keep_it_exact),
        TEST(test_without_a_lease_a_name_stays_in_doubt),
        TEST(test_two_calls_about_one_name),
        TEST(test_what_another_changed_is_asked_for),
        TEST(test_a_call_that_was_sent_before_it_was_known),
        TEST(test_a_removal_of_what_cannot_be_there),
        TEST(test_a_listing),
        TEST(test_listings_that_do_not_count),
        TEST(test_bounds),
        TEST(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
