// SPDX-License-Identifier: Apache-2.0
// Core on SQLite with many of one thing: a directory of 100,000 entries that changes while it is listed, and
// all the hard links that a file may have. Single thread.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/store/store_sqlite.h"
#include "tests/unit/core_world.h"
#include <errno.h>
#include <malloc.h>
#include <unistd.h>

#define N_ENTRIES      100000u // BERTH_TEST_ENTRIES: fewer
#define ENTRIES_A_TURN 1000u
#define ENTRIES_A_LOOK 100u       // of one listing call, as a client's buffer has room for
#define GROWTH_MAX     (4u << 20) // bytes: a tenth of what an inode in memory for each entry would take

static char directory[64];
static unsigned n_entries = N_ENTRIES;

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    assert_non_null(world);
    snprintf(directory, sizeof directory, "/tmp/berth-many-%d", (int)getpid());
    store_sqlite_destroy(directory);
    world->env = (struct env){.context = world, .monotonic_ns = world_tick, .realtime_ns = world_tick};
    assert_int_equal(store_sqlite_create(directory), 0);
    assert_int_equal(store_sqlite_open(directory, &world->env, &world->store), 0);
    assert_int_equal(core_create(world->store, &world->env, &world->core), 0);
    world_begin(world);
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    world_commit(world);
    world_close(world);
    store_sqlite_destroy(directory);
    free(world);
    return 0;
}

static void next_turn(struct world *world)
{
    world_commit(world);
    world_begin(world);
}

static struct fs_name numbered(char name[32], const char *prefix, unsigned i)
{
    snprintf(name, 32, "%s%u", prefix, i);
    return fs_name_of(name);
}

// --- a directory ---

struct look {
    uint8_t *seen; // by number of the entry that stays
    uint64_t cookie;
    unsigned n, n_stay;
};

// Even entries stay; odd ones come, go and move while the directory is listed.
static void make_entries(struct world *world, fs_ino parent)
{
    char name[32];
    for (unsigned i = 0; i < n_entries; i++) {
        world_make(world, parent, numbered(name, i % 2 ? "odd" : "stay", i).bytes, S_IFREG | 0644);
        if (i % ENTRIES_A_TURN == 0)
            next_turn(world);
    }
    next_turn(world);
}

static bool visit(void *context, struct fs_name name, uint64_t cookie, fs_ino ino, uint32_t type,
                  const struct fs_attr *attr)
{
    struct look *look = context;
    unsigned number;
    char text[32] = {0};
    assert_true(cookie > look->cookie && ino != 0 && type != 0 && attr && name.length < sizeof text);
    memcpy(text, name.bytes, name.length);
    look->cookie = cookie;
    if (sscanf(text, "stay%u", &number) == 1) { // NOLINT(cert-err34-c): the test made it
        assert_true(number < n_entries && look->seen[number] == 0);
        look->seen[number] = 1;
        look->n_stay++;
    }
    return ++look->n < ENTRIES_A_LOOK;
}

static void disturb(struct world *world, fs_ino parent, unsigned round)
{
    char name[32], other[32];
    unsigned odd =
        (round * 7919u) % (n_entries / 2) * 2 + 1; // each once: 7919 is prime to the number of odd ones
    assert_int_equal(core_unlink(world->core, &world_root, parent, numbered(name, "odd", odd), &(fs_ino){0}),
                     0);
    world_make(world, parent, numbered(name, "new", round).bytes, S_IFREG | 0644);
    if (round % 2) // to the end, or onto the place of the one before
        assert_int_equal(
            core_rename(world->core, &world_root, parent, fs_name_of(name), parent,
                        round % 4 == 1 ? numbered(other, "moved", round) : numbered(other, "new", round - 1),
                        0),
            0);
    next_turn(world);
}

static void list_all(struct world *world, fs_ino parent, bool disturbed, unsigned *round)
{
    struct look look = {.seen = calloc(n_entries, 1)};
    struct core_file *file = world_file(world, parent, FS_OPEN_READ);
    assert_non_null(look.seen);
    do {
        look.n = 0;
        assert_int_equal(core_readdir(world->core, file, look.cookie, visit, &look), 0);
        if (disturbed)
            disturb(world, parent, (*round)++);
    } while (look.n == ENTRIES_A_LOOK && *round < n_entries / 2);
    assert_int_equal(look.n_stay, n_entries / 2);
    core_release(world->core, file);
    free(look.seen);
    next_turn(world);
}

static void every_entry_that_stays_is_seen_once(void **state)
{
    struct world *world = *state;
    unsigned round = 0;
    fs_ino parent = world_make(world, FS_ROOT_INO, "many", S_IFDIR | 0755);
    make_entries(world, parent);
    list_all(world, parent, true, &round);
    assert_true(round > n_entries / ENTRIES_A_LOOK);
}

static void listing_keeps_nothing(void **state)
{
    struct world *world = *state;
    unsigned round = 0;
    fs_ino parent = world_make(world, FS_ROOT_INO, "many", S_IFDIR | 0755);
    make_entries(world, parent);
    world_commit(world);
    world_restart(world); // making them filled core's cache
    world_begin(world);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    list_all(world, parent, false, &round);
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    assert_true(after < before + GROWTH_MAX);
}

// --- a file ---

static void as_many_links_as_there_may_be(void **state)
{
    struct world *world = *state;
    struct fs_attr attr;
    char name[32];
    fs_ino file = world_make(world, FS_ROOT_INO, "f0", S_IFREG | 0644);
    for (unsigned i = 1; i < FS_LINK_MAX; i++) {
        world_link(world, file, FS_ROOT_INO, numbered(name, "f", i).bytes);
        if (i % ENTRIES_A_TURN == 0)
            next_turn(world);
    }
    assert_int_equal(world_attr(world, file).nlink, 65000);
    assert_int_equal(core_link(world->core, &world_root, file, FS_ROOT_INO, fs_name_of("x"), &attr), -EMLINK);
    assert_int_equal(core_lookup(world->core, &world_root, FS_ROOT_INO, fs_name_of("x"), &attr), -ENOENT);
    assert_int_equal(core_unlink(world->core, &world_root, FS_ROOT_INO, fs_name_of("f0"), &(fs_ino){0}), 0);
    world_link(world, file, FS_ROOT_INO, "x");
    assert_int_equal(world_attr(world, file).nlink, 65000);
}

int main(void)
{
    const char *fewer = getenv("BERTH_TEST_ENTRIES");
    if (fewer)
        n_entries = (unsigned)strtoul(fewer, NULL, 10) / 2 * 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_entry_that_stays_is_seen_once, setup, teardown),
        cmocka_unit_test_setup_teardown(listing_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(as_many_links_as_there_may_be, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
