// SPDX-License-Identifier: Apache-2.0
// See store_suite.h. Sizes straddle 16 KiB because an engine may keep small files elsewhere than large ones.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/base/check.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LARGE      (300u * 1024u)
#define NAME(text) fs_name_of(text)

// --- helpers ---

static uint64_t ticking_clock(void *context)
{
    (void)context;
    static uint64_t now;
    return now += UINT64_C(1000000000);
}

static void no_random(void *context, void *out, size_t n)
{
    (void)context;
    memset(out, 0, n);
}

const struct env suite_env = {
    .monotonic_ns = ticking_clock, .realtime_ns = ticking_clock, .random_bytes = no_random};

struct store_inode suite_inode(fs_ino ino, uint32_t mode, uint64_t size)
{
    return (struct store_inode){.attr = {.ino = ino, .mode = mode, .nlink = 1, .size = size},
                                .parent = FS_ROOT_INO};
}

void suite_begin(struct store *store)
{
    assert_int_equal(store_begin(store), 0);
}

void suite_commit(struct store *store)
{
    assert_int_equal(store_commit(store), 0);
}

uint64_t suite_size(struct store *store, fs_ino ino)
{
    struct store_inode inode;
    assert_int_equal(store_inode_get(store, ino, &inode), 0);
    return inode.attr.size;
}

static void put_size(struct store *store, fs_ino ino, uint64_t size)
{
    struct store_inode inode;
    assert_int_equal(store_inode_get(store, ino, &inode), 0);
    inode.attr.size = size;
    assert_int_equal(store_inode_put(store, &inode), 0);
}

void suite_write(struct store *store, fs_ino ino, uint64_t offset, const void *bytes, size_t n)
{
    uint64_t size = suite_size(store, ino);
    assert_int_equal(store_data_write(store, ino, size, offset, bytes, n), 0);
    if (offset + n > size)
        put_size(store, ino, offset + n);
}

void suite_resize(struct store *store, fs_ino ino, uint64_t to)
{
    assert_int_equal(store_data_resize(store, ino, suite_size(store, ino), to), 0);
    put_size(store, ino, to);
}

void suite_fill(uint8_t *bytes, size_t n, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(state >> 24) | 1; // never zero, so that a hole shows
    }
}

void suite_assert_bytes(struct store *store, fs_ino ino, uint64_t offset, const void *expected, size_t n)
{
    uint8_t *bytes = malloc(n);
    size_t got = 0;
    assert_non_null(bytes);
    memset(bytes, 0xee, n);
    assert_int_equal(store_data_read(store, ino, suite_size(store, ino), offset, bytes, n, &got), 0);
    assert_int_equal(got, n);
    assert_memory_equal(bytes, expected, n);
    free(bytes);
}

void suite_assert_zeros(struct store *store, fs_ino ino, uint64_t offset, size_t n)
{
    uint8_t *zeros = calloc(1, n);
    assert_non_null(zeros);
    suite_assert_bytes(store, ino, offset, zeros, n);
    free(zeros);
}

void suite_upkeep(struct store *store)
{
    bool more = true;
    assert_int_equal(store_sync(store, 0), 0);
    for (int i = 0; more && i < 10000; i++)
        assert_int_equal(store_upkeep(store, &more), 0);
    assert_false(more);
}

struct fixture {
    const struct suite_engine *engine;
    struct store *store;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture.engine = *state;
    fixture.store = NULL;
    if (fixture.engine->open(&fixture.store) < 0)
        return -1;
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (store_in_transaction(fixture->store))
        store_rollback(fixture->store);
    store_close(fixture->store);
    if (fixture->engine->clean)
        fixture->engine->clean();
    return 0;
}

struct store *suite_store(void **state)
{
    return ((struct fixture *)*state)->store;
}

// A regular file with `size` bytes of the pattern `seed`, committed.
static void make_file(struct store *store, fs_ino ino, size_t size, uint32_t seed)
{
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    suite_fill(bytes, size, seed);
    suite_begin(store);
    struct store_inode inode = suite_inode(ino, S_IFREG | 0644, 0);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_write(store, ino, 0, bytes, size);
    suite_commit(store);
    free(bytes);
}

static void assert_pattern(struct store *store, fs_ino ino, size_t n, uint32_t seed)
{
    uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    suite_fill(bytes, n, seed);
    suite_assert_bytes(store, ino, 0, bytes, n);
    free(bytes);
}

// --- inodes ---

static void assert_inode_equal(const struct store_inode *a, const struct store_inode *b)
{
    assert_int_equal(a->attr.ino, b->attr.ino);
    assert_int_equal(a->attr.mode, b->attr.mode);
    assert_int_equal(a->attr.nlink, b->attr.nlink);
    assert_int_equal(a->attr.uid, b->attr.uid);
    assert_int_equal(a->attr.gid, b->attr.gid);
    assert_int_equal(a->attr.rdev, b->attr.rdev);
    assert_int_equal(a->attr.size, b->attr.size);
    assert_int_equal(fs_time_compare(a->attr.atime, b->attr.atime), 0);
    assert_int_equal(fs_time_compare(a->attr.mtime, b->attr.mtime), 0);
    assert_int_equal(fs_time_compare(a->attr.ctime, b->attr.ctime), 0);
    assert_int_equal(fs_time_compare(a->attr.btime, b->attr.btime), 0);
    assert_int_equal(a->parent, b->parent);
    assert_int_equal(a->flags, b->flags);
}

static void inode_comes_back_as_put(void **state)
{
    struct store *store = suite_store(state);
    struct store_inode extreme = {
        .attr = {.ino = INT64_MAX,
                 .mode = S_IFSOCK | 07777,
                 .nlink = FS_LINK_MAX,
                 .uid = UINT32_MAX,
                 .gid = UINT32_MAX - 1,
                 .rdev = UINT32_MAX,
                 .size = FS_FILE_SIZE_MAX,
                 .atime = {.sec = INT64_MIN, .nsec = 0},
                 .mtime = {.sec = INT64_MAX, .nsec = 999999999},
                 .ctime = {.sec = -1, .nsec = 1},
                 .btime = {.sec = 0, .nsec = 2}},
        .parent = 77,
        .flags = UINT32_MAX,
    };
    struct store_inode got;
    assert_int_equal(store_inode_get(store, INT64_MAX, &got), -ENOENT);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &extreme), 0);
    assert_int_equal(store_inode_get(store, INT64_MAX, &got), 0);
    assert_inode_equal(&got, &extreme);
    suite_commit(store);
    assert_int_equal(store_inode_get(store, INT64_MAX, &got), 0);
    assert_inode_equal(&got, &extreme);
    struct store_inode other = suite_inode(INT64_MAX, S_IFDIR | 0700, 5);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &other), 0);
    suite_commit(store);
    assert_int_equal(store_inode_get(store, INT64_MAX, &got), 0);
    assert_inode_equal(&got, &other);
}

static void inode_numbers_that_cannot_be_are_not_there(void **state)
{
    struct store_inode got;
    struct store_dentry dentry;
    assert_int_equal(store_inode_get(suite_store(state), 0, &got), -ENOENT);
    assert_int_equal(store_inode_get(suite_store(state), UINT64_MAX, &got), -ENOENT);
    assert_int_equal(store_dentry_get(suite_store(state), UINT64_MAX, fs_name_of("x"), &dentry), -ENOENT);
}

static void removed_inode_is_gone_with_its_data(void **state)
{
    struct store *store = suite_store(state);
    const size_t sizes[] = {100, LARGE};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        make_file(store, 10, sizes[i], 1);
        struct store_inode got;
        suite_begin(store);
        assert_int_equal(store_inode_remove(store, 10), 0);
        assert_int_equal(store_inode_get(store, 10, &got), -ENOENT);
        assert_int_equal(store_inode_remove(store, 10), -ENOENT);
        struct store_inode again = suite_inode(10, S_IFREG | 0600, sizes[i]);
        assert_int_equal(store_inode_put(store, &again), 0);
        suite_assert_zeros(store, 10, 0, sizes[i]);
        suite_commit(store);
        suite_upkeep(store);
        suite_assert_zeros(store, 10, 0, sizes[i]);
    }
}

static void reserved_numbers_never_come_twice(void **state)
{
    struct store *store = suite_store(state);
    uint64_t last_ino = 1, last_cookie = 15, first;
    const uint32_t counts[] = {1, 1, 65536, 7, 65536, 65536, 1};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        if (i % 2 == 0)
            suite_begin(store);
        assert_int_equal(store_reserve_inos(store, counts[i], &first), 0);
        assert_true(first > last_ino);
        last_ino = first + counts[i] - 1;
        assert_int_equal(store_reserve_cookies(store, counts[i], &first), 0);
        assert_true(first > last_cookie);
        last_cookie = first + counts[i] - 1;
        if (i % 2 == 0)
            store_rollback(store);
    }
    assert_true(last_cookie < UINT64_C(1) << 62);
}

static void orphans_ascend(void **state)
{
    struct store *store = suite_store(state);
    suite_begin(store);
    for (fs_ino ino = 20; ino > 10; ino--) {
        struct store_inode inode = suite_inode(ino, ino % 2 ? S_IFDIR | 0700u : S_IFREG | 0600u, 0);
        inode.attr.nlink = ino % 3 == 0 ? 0 : 1;
        assert_int_equal(store_inode_put(store, &inode), 0);
    }
    fs_ino inos[10];
    assert_int_equal(store_orphans(store, 0, inos, 10), 3); // 12 15 18
    assert_int_equal(inos[0], 12);
    assert_int_equal(inos[2], 18);
    suite_commit(store);
    assert_int_equal(store_orphans(store, 12, inos, 1), 1);
    assert_int_equal(inos[0], 15);
    assert_int_equal(store_orphans(store, 18, inos, 10), 0);
    suite_begin(store);
    struct store_inode linked = suite_inode(15, S_IFDIR | 0700, 0);
    assert_int_equal(store_inode_put(store, &linked), 0);
    assert_int_equal(store_inode_remove(store, 12), 0);
    suite_commit(store);
    assert_int_equal(store_orphans(store, 0, inos, 10), 1);
    assert_int_equal(inos[0], 18);
}

// --- entries ---

static void entry_is_found_by_its_exact_bytes(void **state)
{
    struct store *store = suite_store(state);
    const struct store_dentry put = {.ino = 5, .type = S_IFREG, .cookie = 16};
    struct store_dentry got;
    const struct fs_name name = {.bytes = "a\xff\x80 b", .length = 5};
    suite_begin(store);
    assert_int_equal(store_dentry_get(store, 1, name, &got), -ENOENT);
    assert_int_equal(store_dentry_put(store, 1, name, &put), 0);
    const struct store_dentry second = {.ino = 6, .type = S_IFDIR, .cookie = 17};
    assert_int_equal(store_dentry_put(store, 1, name, &second), -EEXIST);
    suite_commit(store);
    assert_int_equal(store_dentry_get(store, 1, name, &got), 0);
    assert_int_equal(got.ino, 5);
    assert_int_equal(got.type, S_IFREG);
    assert_int_equal(got.cookie, 16);
    assert_int_equal(store_dentry_get(store, 2, name, &got), -ENOENT);
    assert_int_equal(store_dentry_get(store, 1, (struct fs_name){name.bytes, 4}, &got), -ENOENT);
    assert_int_equal(store_dentry_get(store, 1, (struct fs_name){"A\xff\x80 b", 5}, &got), -ENOENT);
}

static void entry_names_are_checked(void **state)
{
    struct store *store = suite_store(state);
    char longest[FS_NAME_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    const struct store_dentry put = {.ino = 5, .type = S_IFREG, .cookie = 16};
    struct store_dentry got;
    suite_begin(store);
    assert_int_equal(store_dentry_put(store, 1, (struct fs_name){longest, FS_NAME_MAX}, &put), 0);
    assert_int_equal(store_dentry_put(store, 1, (struct fs_name){longest, FS_NAME_MAX + 1}, &put),
                     -ENAMETOOLONG);
    assert_int_equal(store_dentry_put(store, 1, (struct fs_name){"", 0}, &put), -EINVAL);
    assert_int_equal(store_dentry_put(store, 1, (struct fs_name){"a/b", 3}, &put), -EINVAL);
    assert_int_equal(store_dentry_put(store, 1, (struct fs_name){"a\0b", 3}, &put), -EINVAL);
    assert_int_equal(store_dentry_get(store, 1, fs_name_of("."), &got), -EINVAL);
    assert_int_equal(store_dentry_remove(store, 1, fs_name_of("..")), -EINVAL);
    assert_int_equal(store_dentry_get(store, 1, (struct fs_name){longest, FS_NAME_MAX}, &got), 0);
    suite_commit(store);
}

static void replaced_entry_keeps_its_cookie(void **state)
{
    struct store *store = suite_store(state);
    const struct store_dentry put = {.ino = 5, .type = S_IFREG, .cookie = 99};
    struct store_dentry got;
    suite_begin(store);
    assert_int_equal(store_dentry_replace(store, 1, fs_name_of("n"), 7, S_IFDIR), -ENOENT);
    assert_int_equal(store_dentry_put(store, 1, fs_name_of("n"), &put), 0);
    assert_int_equal(store_dentry_replace(store, 1, fs_name_of("n"), 7, S_IFDIR), 0);
    assert_int_equal(store_dentry_get(store, 1, fs_name_of("n"), &got), 0);
    assert_int_equal(got.ino, 7);
    assert_int_equal(got.type, S_IFDIR);
    assert_int_equal(got.cookie, 99);
    assert_int_equal(store_dentry_remove(store, 1, fs_name_of("n")), 0);
    assert_int_equal(store_dentry_remove(store, 1, fs_name_of("n")), -ENOENT);
    assert_int_equal(store_dentry_get(store, 1, fs_name_of("n"), &got), -ENOENT);
    suite_commit(store);
}

struct listing {
    char text[256];
    size_t stop_after;
    size_t n;
};

static bool collect(void *context, struct fs_name name, const struct store_dentry *dentry,
                    const struct store_inode *inode)
{
    struct listing *listing = context;
    size_t used = strlen(listing->text);
    snprintf(listing->text + used, sizeof(listing->text) - used, "%.*s=%d%s ", (int)name.length, name.bytes,
             (int)dentry->ino, inode ? (inode->attr.ino == dentry->ino ? "+" : "!") : "");
    return ++listing->n != listing->stop_after;
}

static void listing_goes_by_cookie(void **state)
{
    struct store *store = suite_store(state);
    suite_begin(store);
    struct store_inode inode = suite_inode(31, S_IFREG | 0600, 0);
    assert_int_equal(store_inode_put(store, &inode), 0);
    const char *names[] = {"c", "a", "d", "b"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        const struct store_dentry put = {.ino = 30 + i, .type = S_IFREG, .cookie = 16 + i};
        assert_int_equal(store_dentry_put(store, 2, fs_name_of(names[i]), &put), 0);
    }
    const struct store_dentry elsewhere = {.ino = 30, .type = S_IFREG, .cookie = 50};
    assert_int_equal(store_dentry_put(store, 3, fs_name_of("z"), &elsewhere), 0);
    suite_commit(store);
    struct listing all = {0}, some = {.stop_after = 2}, rest = {0}, none = {0};
    assert_int_equal(store_dentry_list(store, 2, 0, false, collect, &all), 0);
    assert_string_equal(all.text, "c=30 a=31 d=32 b=33 ");
    assert_int_equal(store_dentry_list(store, 2, 0, true, collect, &some), 0);
    assert_string_equal(some.text, "c=30 a=31+ ");
    assert_int_equal(store_dentry_list(store, 2, 17, true, collect, &rest), 0);
    assert_string_equal(rest.text, "d=32 b=33 ");
    assert_int_equal(store_dentry_list(store, 2, 19, false, collect, &none), 0);
    assert_string_equal(none.text, "");
}

static void parents_are_directories_that_link(void **state)
{
    struct store *store = suite_store(state);
    fs_ino parents[4];
    bool any = true;
    assert_int_equal(store_dentry_any(store, 2, &any), 0);
    assert_false(any);
    suite_begin(store);
    const struct store_dentry links[] = {
        {5, S_IFREG, 16}, {5, S_IFREG, 17}, {5, S_IFREG, 18}, {6, S_IFREG, 19}};
    assert_int_equal(store_dentry_put(store, 2, fs_name_of("one"), &links[0]), 0);
    assert_int_equal(store_dentry_put(store, 2, fs_name_of("two"), &links[1]), 0);
    assert_int_equal(store_dentry_put(store, 3, fs_name_of("one"), &links[2]), 0);
    assert_int_equal(store_dentry_put(store, 4, fs_name_of("one"), &links[3]), 0);
    suite_commit(store);
    assert_int_equal(store_dentry_parents(store, 5, parents, 4), 2);
    assert_int_equal(parents[0] + parents[1], 5);
    assert_int_equal(store_dentry_parents(store, 5, parents, 1), 1);
    assert_int_equal(store_dentry_parents(store, 7, parents, 4), 0);
    assert_int_equal(store_dentry_any(store, 2, &any), 0);
    assert_true(any);
}

// --- data ---

static const size_t file_sizes[] = {1, 4096, 16383, 16384, 16385, LARGE};

static void written_bytes_come_back(void **state)
{
    struct store *store = suite_store(state);
    for (unsigned i = 0; i < ARRAY_LEN(file_sizes); i++) {
        make_file(store, 10 + i, file_sizes[i], i);
        assert_pattern(store, 10 + i, file_sizes[i], i);
    }
    for (unsigned i = 0; i < ARRAY_LEN(file_sizes); i++)
        assert_pattern(store, 10 + i, file_sizes[i], i);
}

static void reading_ends_at_the_size(void **state)
{
    struct store *store = suite_store(state);
    uint8_t bytes[64];
    size_t got = 99;
    make_file(store, 10, 50, 1);
    assert_int_equal(store_data_read(store, 10, 50, 40, bytes, 64, &got), 0);
    assert_int_equal(got, 10);
    assert_int_equal(store_data_read(store, 10, 50, 50, bytes, 64, &got), 0);
    assert_int_equal(got, 0);
    assert_int_equal(store_data_read(store, 10, 50, UINT64_MAX, bytes, 64, &got), 0);
    assert_int_equal(got, 0);
}

static void holes_read_as_zeros(void **state)
{
    struct store *store = suite_store(state);
    const uint64_t offsets[] = {5000, 20000, 1u << 20, UINT64_C(1) << 40};
    uint8_t bytes[100];
    suite_fill(bytes, sizeof(bytes), 3);
    for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
        make_file(store, 10 + i, 10, 1);
        suite_begin(store);
        suite_write(store, 10 + i, offsets[i], bytes, sizeof(bytes));
        suite_commit(store);
        assert_pattern(store, 10 + i, 10, 1);
        suite_assert_zeros(store, 10 + i, 10, 4000);
        suite_assert_zeros(store, 10 + i, offsets[i] - 900, 900);
        suite_assert_bytes(store, 10 + i, offsets[i], bytes, sizeof(bytes));
    }
}

static void file_that_only_grew_is_zeros(void **state)
{
    struct store *store = suite_store(state);
    struct store_inode inode = suite_inode(10, S_IFREG | 0600, 0);
    suite_begin(store);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_resize(store, 10, FS_FILE_SIZE_MAX);
    suite_commit(store);
    suite_assert_zeros(store, 10, 0, 100);
    suite_assert_zeros(store, 10, FS_FILE_SIZE_MAX - 100, 100);
    suite_begin(store);
    suite_resize(store, 10, 100000);
    suite_write(store, 10, 50000, "x", 1);
    suite_commit(store);
    suite_assert_zeros(store, 10, 0, 50000);
    suite_assert_bytes(store, 10, 50000, "x", 1);
    suite_assert_zeros(store, 10, 50001, 49999);
}

static void appending_crosses_every_size(void **state)
{
    struct store *store = suite_store(state);
    uint8_t record[1000];
    make_file(store, 10, 1, 0);
    for (unsigned i = 0; i < 60; i++) {
        suite_fill(record, sizeof(record), i);
        suite_begin(store);
        suite_write(store, 10, 1 + i * sizeof(record), record, sizeof(record));
        suite_commit(store);
    }
    for (unsigned i = 0; i < 60; i++) {
        suite_fill(record, sizeof(record), i);
        suite_assert_bytes(store, 10, 1 + i * sizeof(record), record, sizeof(record));
    }
}

static void cut_and_grow(struct store *store, size_t size, uint64_t to, bool one_transaction, bool upkeep)
{
    make_file(store, 10, size, 7);
    suite_begin(store);
    suite_resize(store, 10, to);
    if (!one_transaction) {
        suite_commit(store);
        if (upkeep)
            suite_upkeep(store);
        suite_begin(store);
    }
    suite_resize(store, 10, size + 100);
    suite_commit(store);
    assert_pattern(store, 10, to, 7);
    suite_assert_zeros(store, 10, to, size + 100 - to);
    suite_upkeep(store);
    assert_pattern(store, 10, to, 7);
    suite_assert_zeros(store, 10, to, size + 100 - to);
    suite_begin(store);
    assert_int_equal(store_inode_remove(store, 10), 0);
    suite_commit(store);
}

static void cut_bytes_never_come_back(void **state)
{
    struct store *store = suite_store(state);
    for (unsigned i = 0; i < ARRAY_LEN(file_sizes); i++)
        for (unsigned how = 0; how < 3; how++) {
            cut_and_grow(store, file_sizes[i], 0, how == 0, how == 2);
            cut_and_grow(store, file_sizes[i], file_sizes[i] / 2, how == 0, how == 2);
        }
}

static void write_after_cut_sees_zeros_between(void **state)
{
    struct store *store = suite_store(state);
    for (unsigned commit_between = 0; commit_between < 2; commit_between++) {
        make_file(store, 10, LARGE, 4);
        suite_begin(store);
        suite_resize(store, 10, 1000);
        if (commit_between) {
            suite_commit(store);
            suite_begin(store);
        }
        suite_write(store, 10, 200000, "end", 3);
        suite_commit(store);
        suite_upkeep(store);
        assert_pattern(store, 10, 1000, 4);
        suite_assert_zeros(store, 10, 1000, 199000);
        suite_assert_bytes(store, 10, 200000, "end", 3);
        assert_int_equal(suite_size(store, 10), 200003);
        suite_begin(store);
        assert_int_equal(store_inode_remove(store, 10), 0);
        suite_commit(store);
    }
}

static void rolled_back_cut_keeps_the_bytes(void **state)
{
    struct store *store = suite_store(state);
    for (unsigned i = 0; i < ARRAY_LEN(file_sizes); i++) {
        make_file(store, 10, file_sizes[i], 9);
        suite_begin(store);
        suite_resize(store, 10, file_sizes[i] / 2);
        suite_resize(store, 10, file_sizes[i] + 10);
        store_rollback(store);
        assert_pattern(store, 10, file_sizes[i], 9);
        suite_begin(store);
        suite_resize(store, 10, 0);
        store_rollback(store);
        assert_pattern(store, 10, file_sizes[i], 9);
        suite_begin(store);
        assert_int_equal(store_inode_remove(store, 10), 0);
        store_rollback(store);
        suite_upkeep(store);
        assert_pattern(store, 10, file_sizes[i], 9);
        suite_begin(store);
        assert_int_equal(store_inode_remove(store, 10), 0);
        suite_commit(store);
    }
}

static void rolled_back_growth_reads_as_zeros_later(void **state)
{
    struct store *store = suite_store(state);
    uint8_t *more = malloc(LARGE);
    assert_non_null(more);
    suite_fill(more, LARGE, 5);
    for (unsigned i = 0; i < ARRAY_LEN(file_sizes); i++)
        for (unsigned in_savepoint = 0; in_savepoint < 2; in_savepoint++) {
            size_t size = file_sizes[i];
            make_file(store, 10, size, 9);
            suite_begin(store);
            if (in_savepoint)
                assert_int_equal(store_savepoint(store), 0);
            suite_write(store, 10, size, more, LARGE);
            if (in_savepoint)
                store_savepoint_rollback(store);
            else {
                store_rollback(store);
                suite_begin(store);
            }
            assert_int_equal(suite_size(store, 10), size);
            suite_resize(store, 10, size + LARGE);
            suite_commit(store);
            assert_pattern(store, 10, size, 9);
            suite_assert_zeros(store, 10, size, LARGE);
            suite_begin(store);
            assert_int_equal(store_inode_remove(store, 10), 0);
            suite_commit(store);
        }
    free(more);
}

static void data_past_the_largest_size_is_refused(void **state)
{
    struct store *store = suite_store(state);
    make_file(store, 10, 10, 1);
    suite_begin(store);
    assert_int_equal(store_data_write(store, 10, 10, FS_FILE_SIZE_MAX, "x", 1), -EFBIG);
    assert_int_equal(store_data_write(store, 10, 10, UINT64_MAX, "xy", 2), -EFBIG);
    assert_int_equal(store_data_resize(store, 10, 10, UINT64_C(1) << 63), -EFBIG);
    suite_commit(store);
    assert_pattern(store, 10, 10, 1);
}

// --- transactions ---

static void rollback_undoes_everything(void **state)
{
    struct store *store = suite_store(state);
    struct store_inode inode = suite_inode(40, S_IFREG | 0600, 0), got;
    const struct store_dentry put = {.ino = 40, .type = S_IFREG, .cookie = 16};
    struct store_dentry dentry;
    make_file(store, 41, 100, 1);
    suite_begin(store);
    assert_int_equal(store_dentry_put(store, 1, fs_name_of("old"), &put), 0);
    suite_commit(store);
    suite_begin(store);
    assert_true(store_in_transaction(store));
    assert_int_equal(store_inode_put(store, &inode), 0);
    assert_int_equal(store_inode_remove(store, 41), 0);
    assert_int_equal(store_dentry_remove(store, 1, fs_name_of("old")), 0);
    assert_int_equal(store_dentry_put(store, 1, fs_name_of("new"), &put), 0);
    store_rollback(store);
    assert_false(store_in_transaction(store));
    assert_int_equal(store_inode_get(store, 40, &got), -ENOENT);
    assert_pattern(store, 41, 100, 1);
    assert_int_equal(store_dentry_get(store, 1, fs_name_of("old"), &dentry), 0);
    assert_int_equal(store_dentry_get(store, 1, fs_name_of("new"), &dentry), -ENOENT);
}

static void savepoint_rollback_undoes_its_own_part(void **state)
{
    struct store *store = suite_store(state);
    struct store_inode got;
    suite_begin(store);
    for (fs_ino ino = 50; ino < 54; ino++) {
        struct store_inode inode = suite_inode(ino, S_IFREG | 0600, 0);
        assert_int_equal(store_savepoint(store), 0);
        assert_int_equal(store_inode_put(store, &inode), 0);
        if (ino % 2)
            store_savepoint_rollback(store);
        else
            assert_int_equal(store_savepoint_release(store), 0);
    }
    suite_commit(store);
    assert_int_equal(store_inode_get(store, 50, &got), 0);
    assert_int_equal(store_inode_get(store, 51, &got), -ENOENT);
    assert_int_equal(store_inode_get(store, 52, &got), 0);
    assert_int_equal(store_inode_get(store, 53, &got), -ENOENT);
    suite_begin(store);
    assert_int_equal(store_savepoint(store), 0);
    assert_int_equal(store_inode_remove(store, 50), 0);
    assert_int_equal(store_savepoint_release(store), 0);
    store_rollback(store);
    assert_int_equal(store_inode_get(store, 50, &got), 0);
}

// --- space and durability ---

static void usage_counts_inodes_and_bytes(void **state)
{
    struct store *store = suite_store(state);
    struct store_usage usage;
    make_file(store, 10, 1000, 1);
    make_file(store, 11, LARGE, 1);
    suite_begin(store);
    struct store_inode directory = suite_inode(12, S_IFDIR | 0700, 4096);
    assert_int_equal(store_inode_put(store, &directory), 0);
    suite_commit(store);
    assert_int_equal(store_usage(store, &usage), 0);
    assert_int_equal(usage.inodes, 3);
    assert_int_equal(usage.bytes, 1000 + LARGE);
    assert_true(usage.free_bytes <= usage.total_bytes && usage.total_bytes > 0);
    suite_begin(store);
    suite_resize(store, 10, 10);
    assert_int_equal(store_savepoint(store), 0);
    assert_int_equal(store_inode_remove(store, 11), 0);
    store_savepoint_rollback(store);
    suite_commit(store);
    suite_begin(store);
    assert_int_equal(store_inode_remove(store, 10), 0);
    store_rollback(store);
    assert_int_equal(store_usage(store, &usage), 0);
    assert_int_equal(usage.inodes, 3);
    assert_int_equal(usage.bytes, 10 + LARGE);
}

static void put_charged(struct store *store, fs_ino ino, uint32_t mode, uint64_t size, fs_ino quota)
{
    struct store_inode inode = suite_inode(ino, mode, size);
    inode.quota = quota;
    assert_int_equal(store_inode_put(store, &inode), 0);
}

static void assert_quota(struct store *store, fs_ino id, uint64_t bytes, uint64_t inodes)
{
    struct store_quota quota;
    assert_int_equal(store_quota_get(store, id, &quota), 0);
    assert_int_equal(quota.bytes, bytes);
    assert_int_equal(quota.inodes, inodes);
}

static void quota_counts_what_names_it(void **state)
{
    struct store *store = suite_store(state);
    assert_quota(store, 10, 0, 0);
    suite_begin(store);
    put_charged(store, 10, S_IFDIR | 0755, 4096, 10);
    put_charged(store, 11, S_IFREG | 0644, 1000, 10);
    put_charged(store, 12, S_IFLNK | 0777, 5, 10);
    put_charged(store, 13, S_IFREG | 0644, 70, 0);
    assert_quota(store, 10, 1000, 3);
    suite_commit(store);
    assert_quota(store, 10, 1000, 3);
    suite_begin(store);
    put_charged(store, 13, S_IFREG | 0644, 70, 10); // taken in
    assert_quota(store, 10, 1070, 4);
    put_charged(store, 11, S_IFREG | 0644, 900, 20); // handed over, and shorter
    suite_commit(store);
    assert_quota(store, 10, 70, 3);
    assert_quota(store, 20, 900, 1);
    suite_begin(store);
    assert_int_equal(store_inode_remove(store, 11), 0);
    assert_int_equal(store_inode_remove(store, 12), 0);
    suite_commit(store);
    assert_quota(store, 10, 70, 2);
    assert_quota(store, 20, 0, 0);
}

static void rollbacks_undo_what_a_quota_counts(void **state)
{
    struct store *store = suite_store(state);
    suite_begin(store);
    put_charged(store, 11, S_IFREG | 0644, 1000, 10);
    suite_commit(store);
    suite_begin(store);
    put_charged(store, 11, S_IFREG | 0644, 500, 10);
    assert_int_equal(store_savepoint(store), 0);
    put_charged(store, 12, S_IFREG | 0644, 7, 10);
    assert_int_equal(store_inode_remove(store, 11), 0);
    assert_quota(store, 10, 7, 1);
    store_savepoint_rollback(store);
    assert_quota(store, 10, 500, 1);
    store_rollback(store);
    assert_quota(store, 10, 1000, 1);
}

static void quota_keeps_its_limits(void **state)
{
    struct store *store = suite_store(state);
    struct store_quota quota;
    suite_begin(store);
    assert_int_equal(store_quota_put(store, 0, 9, 8), 0);
    assert_int_equal(store_quota_put(store, 10, INT64_MAX, 7), 0);
    put_charged(store, 11, S_IFREG | 0644, 3, 10);
    suite_commit(store);
    suite_begin(store);
    assert_int_equal(store_savepoint(store), 0);
    assert_int_equal(store_quota_put(store, 10, 1, 0), 0);
    store_savepoint_rollback(store);
    assert_int_equal(store_quota_put(store, 0, 0, 0), 0);
    store_rollback(store);
    assert_int_equal(store_quota_get(store, 0, &quota), 0);
    assert_true(quota.max_bytes == 9 && quota.max_inodes == 8);
    assert_int_equal(store_quota_get(store, 10, &quota), 0);
    assert_true(quota.max_bytes == INT64_MAX && quota.max_inodes == 7);
    assert_quota(store, 10, 3, 1);
}

struct listed_parts {
    size_t n;
    uint64_t ids[8];
    uint32_t parts[8];
    char bytes[8][16];
};

static bool list_part(void *context, uint64_t id, uint32_t part, const void *bytes, size_t n)
{
    struct listed_parts *listed = context;
    assert_true(listed->n < ARRAY_LEN(listed->ids) && n < sizeof(listed->bytes[0]));
    listed->ids[listed->n] = id;
    listed->parts[listed->n] = part;
    memcpy(listed->bytes[listed->n], bytes, n);
    listed->bytes[listed->n++][n] = '\0';
    return true;
}

static void assert_parts(struct store *store, const char *expected)
{
    struct listed_parts listed = {0};
    char text[256] = "";
    assert_int_equal(store_session_list(store, list_part, &listed), 0);
    for (size_t i = 0; i < listed.n; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%llu.%u=%s ",
                 (unsigned long long)listed.ids[i], listed.parts[i], listed.bytes[i]);
    assert_string_equal(text, expected);
}

static void put_part(struct store *store, uint64_t id, uint32_t part, const char *text)
{
    assert_int_equal(store_session_put(store, id, part, text, strlen(text)), 0);
}

static void sessions_keep_their_parts(void **state)
{
    struct store *store = suite_store(state);
    assert_parts(store, "");
    suite_begin(store);
    put_part(store, 70, 0, "seventy");
    put_part(store, 7, 3, "old");
    put_part(store, 7, 3, "third");
    put_part(store, 7, 0, "seven");
    put_part(store, INT64_MAX, STORE_SESSION_PARTS - 1, "last");
    assert_int_equal(store_session_remove(store, 8), -ENOENT);
    suite_commit(store);
    assert_parts(store, "7.0=seven 7.3=third 70.0=seventy 9223372036854775807.1023=last ");
    suite_begin(store);
    assert_int_equal(store_session_remove(store, 7), 0);
    assert_parts(store, "70.0=seventy 9223372036854775807.1023=last ");
    suite_commit(store);
    assert_parts(store, "70.0=seventy 9223372036854775807.1023=last ");
}

static void rollbacks_undo_parts_of_sessions(void **state)
{
    struct store *store = suite_store(state);
    suite_begin(store);
    put_part(store, 7, 0, "seven");
    put_part(store, 7, 1, "one");
    suite_commit(store);
    suite_begin(store);
    put_part(store, 7, 2, "two");
    assert_int_equal(store_savepoint(store), 0);
    put_part(store, 7, 1, "uno");
    put_part(store, 9, 0, "nine");
    assert_int_equal(store_session_remove(store, 7), 0);
    assert_parts(store, "9.0=nine ");
    store_savepoint_rollback(store);
    assert_parts(store, "7.0=seven 7.1=one 7.2=two ");
    store_rollback(store);
    assert_parts(store, "7.0=seven 7.1=one ");
}

// --- extended attributes ---

struct listed_xattrs {
    char text[1024];
    size_t n, max;
};

static bool list_xattr(void *context, struct fs_name name, size_t value_length)
{
    struct listed_xattrs *listed = context;
    size_t used = strlen(listed->text);
    snprintf(listed->text + used, sizeof(listed->text) - used, "%.*s=%zu ", (int)name.length, name.bytes,
             value_length);
    return ++listed->n < listed->max;
}

static void assert_xattrs(struct store *store, fs_ino ino, const char *expected)
{
    struct listed_xattrs listed = {.max = SIZE_MAX};
    assert_int_equal(store_xattr_list(store, ino, list_xattr, &listed), 0);
    assert_string_equal(listed.text, expected);
}

static void assert_xattr(struct store *store, fs_ino ino, const char *name, const char *expected)
{
    char value[64];
    size_t n = 99;
    assert_int_equal(store_xattr_get(store, ino, fs_name_of(name), value, sizeof(value), &n), 0);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(value, expected, n);
}

static void put_xattr(struct store *store, fs_ino ino, const char *name, const char *value)
{
    assert_int_equal(store_xattr_put(store, ino, fs_name_of(name), value, strlen(value)), 0);
}

static void make_xattr_file(struct store *store, fs_ino ino)
{
    struct store_inode inode = suite_inode(ino, S_IFREG | 0644, 0);
    inode.flags = STORE_XATTRS;
    assert_int_equal(store_inode_put(store, &inode), 0);
}

static void xattrs_come_back_as_put(void **state)
{
    struct store *store = suite_store(state);
    size_t n = 99;
    char value[4] = "----";
    suite_begin(store);
    make_xattr_file(store, 80);
    make_xattr_file(store, 81);
    put_xattr(store, 80, "user.b", "old");
    put_xattr(store, 80, "user.b", "bee");
    put_xattr(store, 80, "user.a", "");
    put_xattr(store, 80, "user", "shorter name");
    put_xattr(store, 80, "user.\xff/", "any byte");
    put_xattr(store, 81, "user.b", "another");
    suite_commit(store);
    assert_xattr(store, 80, "user.b", "bee");
    assert_xattr(store, 80, "user.a", "");
    assert_xattr(store, 81, "user.b", "another");
    assert_xattrs(store, 80, "user=12 user.a=0 user.b=3 user.\xff/=8 ");
    assert_xattrs(store, 82, "");
    struct listed_xattrs two = {.max = 2};
    assert_int_equal(store_xattr_list(store, 80, list_xattr, &two), 0);
    assert_string_equal(two.text, "user=12 user.a=0 ");
    // What does not fit is cut; its length is told.
    assert_int_equal(store_xattr_get(store, 80, NAME("user"), value, 2, &n), 0);
    assert_int_equal(n, 12);
    assert_memory_equal(value, "sh--", 4);
    assert_int_equal(store_xattr_get(store, 80, NAME("user"), NULL, 0, &n), 0);
    n = 99;
    assert_int_equal(store_xattr_get(store, 80, NAME("user.c"), value, 4, &n), -ENODATA);
    assert_int_equal(store_xattr_get(store, 0, NAME("user"), value, 4, &n), -ENODATA);
    assert_int_equal(n, 99);
    suite_begin(store);
    assert_int_equal(store_xattr_remove(store, 80, NAME("user.c")), -ENODATA);
    assert_int_equal(store_xattr_remove(store, 80, NAME("user.a")), 0);
    assert_int_equal(store_xattr_remove(store, 80, NAME("user.a")), -ENODATA);
    suite_commit(store);
    assert_xattrs(store, 80, "user=12 user.b=3 user.\xff/=8 ");
}

static void xattrs_at_their_largest(void **state)
{
    struct store *store = suite_store(state);
    static uint8_t value[FS_XATTR_VALUE_MAX], back[FS_XATTR_VALUE_MAX];
    char name[FS_XATTR_NAME_MAX];
    size_t n;
    memset(name, 'n', sizeof(name));
    suite_fill(value, sizeof(value), 5);
    suite_begin(store);
    make_xattr_file(store, 80);
    struct fs_name longest = {name, sizeof(name)};
    assert_int_equal(store_xattr_put(store, 80, longest, value, sizeof(value)), 0);
    suite_commit(store);
    assert_int_equal(store_xattr_get(store, 80, longest, back, sizeof(back), &n), 0);
    assert_int_equal(n, sizeof(back));
    assert_memory_equal(back, value, sizeof(back));
}

static void xattrs_go_with_their_inode(void **state)
{
    struct store *store = suite_store(state);
    suite_begin(store);
    make_xattr_file(store, 80);
    make_xattr_file(store, 81);
    put_xattr(store, 80, "user.a", "1");
    put_xattr(store, 80, "user.b", "2");
    put_xattr(store, 81, "user.a", "3");
    suite_commit(store);
    suite_begin(store);
    assert_int_equal(store_savepoint(store), 0);
    assert_int_equal(store_inode_remove(store, 80), 0);
    assert_xattrs(store, 80, "");
    store_savepoint_rollback(store);
    assert_xattr(store, 80, "user.b", "2");
    assert_int_equal(store_inode_remove(store, 80), 0);
    suite_commit(store);
    assert_xattrs(store, 80, "");
    assert_xattrs(store, 81, "user.a=1 ");
}

static void rollbacks_undo_xattrs(void **state)
{
    struct store *store = suite_store(state);
    suite_begin(store);
    make_xattr_file(store, 80);
    put_xattr(store, 80, "user.a", "1");
    put_xattr(store, 80, "user.b", "2");
    suite_commit(store);
    suite_begin(store);
    put_xattr(store, 80, "user.c", "3");
    assert_int_equal(store_savepoint(store), 0);
    put_xattr(store, 80, "user.a", "changed");
    put_xattr(store, 80, "user.d", "4");
    assert_int_equal(store_xattr_remove(store, 80, NAME("user.b")), 0);
    assert_xattrs(store, 80, "user.a=7 user.c=1 user.d=1 ");
    store_savepoint_rollback(store);
    assert_xattrs(store, 80, "user.a=1 user.b=1 user.c=1 ");
    assert_xattr(store, 80, "user.a", "1");
    store_rollback(store);
    assert_xattrs(store, 80, "user.a=1 user.b=1 ");
}

static void syncs_overlap(void **state)
{
    struct store *store = suite_store(state);
    struct store_sync *one, *two, *three;
    make_file(store, 10, 100, 1);
    make_file(store, 11, LARGE, 1);
    assert_int_equal(store_sync_prepare(store, 10, &one), 0);
    suite_begin(store);
    assert_int_equal(store_sync_prepare(store, 11, &two), 0);
    assert_int_equal(store_sync_prepare(store, 0, &three), 0);
    suite_write(store, 11, LARGE, "more", 4);
    store_sync_run(two);
    store_sync_run(one);
    suite_commit(store);
    store_sync_run(three);
    assert_int_equal(store_sync_finish(store, three), 0);
    assert_int_equal(store_sync_finish(store, one), 0);
    assert_int_equal(store_sync_finish(store, two), 0);
    assert_int_equal(store_sync(store, 12345), 0);
    assert_int_equal(store_sync(store, 11), 0);
    suite_assert_bytes(store, 11, LARGE, "more", 4);
}

static void symlink_target_is_data(void **state)
{
    struct store *store = suite_store(state);
    char target[FS_SYMLINK_MAX];
    memset(target, 't', sizeof(target));
    suite_begin(store);
    struct store_inode inode = suite_inode(60, S_IFLNK | 0777, 0);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_write(store, 60, 0, target, sizeof(target));
    suite_commit(store);
    suite_assert_bytes(store, 60, 0, target, sizeof(target));
    suite_begin(store);
    assert_int_equal(store_inode_remove(store, 60), 0);
    suite_commit(store);
}

// --- the suite ---

typedef void suite_test(void **state);
#define TEST(function)      \
    {                       \
#function, function \
    }

static const struct {
    const char *name;
    suite_test *run;
} tests[] = {
    TEST(inode_comes_back_as_put),
    TEST(inode_numbers_that_cannot_be_are_not_there),
    TEST(removed_inode_is_gone_with_its_data),
    TEST(reserved_numbers_never_come_twice),
    TEST(orphans_ascend),
    TEST(entry_is_found_by_its_exact_bytes),
    TEST(entry_names_are_checked),
    TEST(replaced_entry_keeps_its_cookie),
    TEST(listing_goes_by_cookie),
    TEST(parents_are_directories_that_link),
    TEST(written_bytes_come_back),
    TEST(reading_ends_at_the_size),
    TEST(holes_read_as_zeros),
    TEST(file_that_only_grew_is_zeros),
    TEST(appending_crosses_every_size),
    TEST(cut_bytes_never_come_back),
    TEST(write_after_cut_sees_zeros_between),
    TEST(rolled_back_cut_keeps_the_bytes),
    TEST(rolled_back_growth_reads_as_zeros_later),
    TEST(data_past_the_largest_size_is_refused),
    TEST(rollback_undoes_everything),
    TEST(savepoint_rollback_undoes_its_own_part),
    TEST(usage_counts_inodes_and_bytes),
    TEST(quota_counts_what_names_it),
    TEST(rollbacks_undo_what_a_quota_counts),
    TEST(quota_keeps_its_limits),
    TEST(sessions_keep_their_parts),
    TEST(rollbacks_undo_parts_of_sessions),
    TEST(xattrs_come_back_as_put),
    TEST(xattrs_at_their_largest),
    TEST(xattrs_go_with_their_inode),
    TEST(rollbacks_undo_xattrs),
    TEST(syncs_overlap),
    TEST(symlink_target_is_data),
    TEST(far_bytes_come_back),
    TEST(far_bytes_cut_off_never_come_back),
    TEST(rolled_back_far_growth_reads_as_zeros_later),
    TEST(zeroed_ranges_are_zeros),
    TEST(zeroing_far_ranges_forgets_them),
    TEST(allocating_changes_no_byte),
    TEST(copies_are_equal),
    TEST(copied_holes_are_holes),
    TEST(ranges_past_the_largest_size_are_refused),
};

int store_suite_run(const struct suite_engine *engine)
{
    struct CMUnitTest group[ARRAY_LEN(tests)];
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        group[i] = (struct CMUnitTest){.name = tests[i].name,
                                       .test_func = tests[i].run,
                                       .setup_func = set_up,
                                       .teardown_func = tear_down,
                                       .initial_state = (void *)(uintptr_t)engine};
    return _cmocka_run_group_tests(engine->name, group, ARRAY_LEN(group), NULL, NULL);
}
