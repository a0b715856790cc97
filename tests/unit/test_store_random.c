// SPDX-License-Identifier: Apache-2.0
// Drives the model and the SQLite engine in step with seeded random operations, with rollbacks, savepoints,
// upkeep, syncs and reopening, and compares every answer; now and then it copies the engine's directory, in
// the middle of a transaction too, which is what a kill at that instant leaves, and compares what opens from
// the copy with the last committed state. BERTH_TEST_SEED replays one seed.
//
// Half of the files hold their bytes around the end of the engine's first segment (1 TiB): below, positions
// in a file count from where its bytes begin.
//
// One difference is allowed by the contract: a rollback need not undo overwrites within the size. After one,
// bytes that differ must lie in ranges that were overwritten, and the model then takes the engine's.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/base/check.h"
#include "fs/store/store_model.h"
#include "fs/store/store_sqlite.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_INOS       10u
#define FIRST_INO    100u
#define N_QUOTAS     4u // 0 among them, which charges nothing
#define N_NAMES      8u
#define SIZE_MAX_    50000u
#define TRANSACTIONS 600u
#define SEEDS        6u
#define HIGH_BASE    ((UINT64_C(1) << 40) - SIZE_MAX_ / 2)

struct pair {
    struct store *model, *sqlite;
    char directory[64], copy[72];
    uint64_t random;
    uint64_t cookie;
    bool in_savepoint;
    uint8_t overwritten[N_INOS][SIZE_MAX_]; // by the open transaction
};

static struct pair *pair; // the one under test

static uint32_t random_below(uint32_t n)
{
    pair->random = pair->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(pair->random >> 33) % n;
}

static fs_ino random_ino(void)
{
    return FIRST_INO + random_below(N_INOS);
}

// Where a file's bytes begin, and its size when they end at `position`.
static uint64_t base_of(fs_ino ino)
{
    return ino % 2 ? HIGH_BASE : 0;
}

static uint64_t size_at(fs_ino ino, uint64_t position)
{
    return position > 0 ? base_of(ino) + position : 0;
}

static uint64_t end_of(const struct store_inode *inode)
{
    return inode->attr.size > 0 ? inode->attr.size - base_of(inode->attr.ino) : 0;
}

// --- comparing ---

static bool inode_of(struct store *store, fs_ino ino, struct store_inode *ret_inode)
{
    int result = store_inode_get(store, ino, ret_inode);
    assert_true(result == 0 || result == -ENOENT);
    ret_inode->attr.blocks = 0; // engines count them as they store them
    return result == 0;
}

static size_t content_of(struct store *store, fs_ino ino, uint64_t size, uint8_t *bytes)
{
    size_t got = 0;
    assert_int_equal(store_data_read(store, ino, size, base_of(ino), bytes, SIZE_MAX_, &got), 0);
    assert_int_equal(got, size > 0 ? size - base_of(ino) : 0);
    return got;
}

// With `forgiving`, the model takes over what was overwritten and not undone; it must be in a transaction.
static void compare_file(struct store *engine, fs_ino ino, bool forgiving)
{
    static uint8_t ours[SIZE_MAX_], theirs[SIZE_MAX_];
    struct store_inode a, b;
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    bool there = inode_of(pair->model, ino, &a);
    assert_int_equal(there, inode_of(engine, ino, &b));
    if (!there)
        return;
    assert_memory_equal(&a, &b, sizeof(a));
    size_t n = content_of(pair->model, ino, a.attr.size, ours);
    content_of(engine, ino, a.attr.size, theirs);
    if (!forgiving) {
        assert_memory_equal(ours, theirs, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (ours[i] != theirs[i])
            assert_true(pair->overwritten[ino - FIRST_INO][i]);
    if (n > 0)
        assert_int_equal(store_data_write(pair->model, ino, a.attr.size, base_of(ino), theirs, n), 0);
}

struct listing {
    char text[4096];
};

static bool collect(void *context, struct fs_name name, const struct store_dentry *dentry,
                    const struct store_inode *inode)
{
    struct listing *listing = context;
    size_t used = strlen(listing->text);
    snprintf(listing->text + used, sizeof(listing->text) - used, "%.*s %d %o %d %d\n", (int)name.length,
             name.bytes, (int)dentry->ino, dentry->type, (int)dentry->cookie,
             inode ? (int)inode->attr.size : -1);
    return true;
}

static void compare_directory(struct store *engine, fs_ino parent)
{
    struct listing ours = {{0}}, theirs = {{0}};
    fs_ino our_parents[N_INOS], their_parents[N_INOS];
    bool our_any, their_any;
    assert_int_equal(store_dentry_list(pair->model, parent, 0, true, collect, &ours), 0);
    assert_int_equal(store_dentry_list(engine, parent, 0, true, collect, &theirs), 0);
    assert_string_equal(ours.text, theirs.text);
    assert_int_equal(store_dentry_any(pair->model, parent, &our_any), 0);
    assert_int_equal(store_dentry_any(engine, parent, &their_any), 0);
    assert_int_equal(our_any, their_any);
    int n = store_dentry_parents(pair->model, parent, our_parents, N_INOS);
    assert_int_equal(n, store_dentry_parents(engine, parent, their_parents, N_INOS));
    if (n > 0)
        assert_memory_equal(our_parents, their_parents, (size_t)n * sizeof(fs_ino));
}

// The model counts anew at every look.
static void compare_quota(struct store *engine, fs_ino id)
{
    struct store_quota a, b;
    assert_int_equal(store_quota_get(pair->model, id, &a), 0);
    assert_int_equal(store_quota_get(engine, id, &b), 0);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void compare_all(struct store *engine, bool forgiving)
{
    for (fs_ino ino = FIRST_INO; ino < FIRST_INO + N_INOS; ino++) {
        compare_file(engine, ino, forgiving);
        compare_directory(engine, ino);
    }
    fs_ino ours[N_INOS], theirs[N_INOS];
    int n = store_orphans(pair->model, 0, ours, N_INOS);
    assert_int_equal(n, store_orphans(engine, 0, theirs, N_INOS));
    if (n > 0)
        assert_memory_equal(ours, theirs, (size_t)n * sizeof(fs_ino));
    struct store_usage a, b;
    assert_int_equal(store_usage(pair->model, &a), 0);
    assert_int_equal(store_usage(engine, &b), 0);
    assert_int_equal(a.inodes, b.inodes);
    assert_int_equal(a.bytes, b.bytes);
    for (fs_ino id = 0; id < N_QUOTAS; id++)
        compare_quota(engine, id);
}

// --- steps inside a transaction ---

static void both_put(const struct store_inode *inode)
{
    assert_int_equal(store_inode_put(pair->model, inode), 0);
    assert_int_equal(store_inode_put(pair->sqlite, inode), 0);
}

static void step_put(void)
{
    struct store_inode inode;
    memset(&inode, 0, sizeof(inode));
    fs_ino ino = random_ino();
    if (!inode_of(pair->model, ino, &inode))
        inode = suite_inode(ino, S_IFREG | 0644, 0);
    inode.attr.nlink = random_below(3);
    inode.quota = random_below(N_QUOTAS);
    inode.attr.uid = random_below(UINT32_MAX);
    inode.attr.mtime.nsec = random_below(1000000000);
    both_put(&inode);
}

static void step_remove(void)
{
    fs_ino ino = random_ino();
    assert_int_equal(store_inode_remove(pair->model, ino), store_inode_remove(pair->sqlite, ino));
}

static void step_write(void)
{
    static uint8_t bytes[SIZE_MAX_];
    struct store_inode inode;
    if (!inode_of(pair->model, random_ino(), &inode))
        return;
    fs_ino ino = inode.attr.ino;
    uint64_t size = end_of(&inode), base = base_of(ino);
    uint32_t kind = random_below(4);
    uint64_t offset = kind == 0   ? size
                      : kind == 1 ? random_below(SIZE_MAX_)
                                  : random_below((uint32_t)size + 1);
    size_t n = 1 + random_below(random_below(3) == 0 ? 30000 : 300);
    if (offset + n > SIZE_MAX_)
        return;
    suite_fill(bytes, n, random_below(UINT32_MAX));
    assert_int_equal(store_data_write(pair->model, ino, inode.attr.size, base + offset, bytes, n), 0);
    assert_int_equal(store_data_write(pair->sqlite, ino, inode.attr.size, base + offset, bytes, n), 0);
    memset(pair->overwritten[ino - FIRST_INO] + offset, 1, n);
    inode.attr.size = size_at(ino, MAX(size, offset + n));
    both_put(&inode);
}

static void step_resize(void)
{
    struct store_inode inode;
    if (!inode_of(pair->model, random_ino(), &inode))
        return;
    uint64_t to = size_at(inode.attr.ino, random_below(4) == 0 ? 0 : random_below(SIZE_MAX_));
    assert_int_equal(store_data_resize(pair->model, inode.attr.ino, inode.attr.size, to), 0);
    assert_int_equal(store_data_resize(pair->sqlite, inode.attr.ino, inode.attr.size, to), 0);
    inode.attr.size = to;
    both_put(&inode);
}

static void step_zero(void)
{
    struct store_inode inode;
    if (!inode_of(pair->model, random_ino(), &inode))
        return;
    fs_ino ino = inode.attr.ino;
    uint64_t offset = random_below(4) == 0 ? 0 : random_below(SIZE_MAX_);
    uint64_t n = random_below(3) == 0 ? SIZE_MAX_ - offset : random_below((uint32_t)(SIZE_MAX_ - offset));
    uint64_t start = random_below(8) == 0 ? 0 : base_of(ino) + offset, end = base_of(ino) + offset + n;
    bool keep_room = start >= base_of(ino) && random_below(2); // else it would be a tebibyte
    assert_int_equal(store_data_zero(pair->model, ino, inode.attr.size, start, end - start, keep_room), 0);
    assert_int_equal(store_data_zero(pair->sqlite, ino, inode.attr.size, start, end - start, keep_room), 0);
    if (start <= base_of(ino))
        offset = 0, n = end - base_of(ino);
    memset(pair->overwritten[ino - FIRST_INO] + offset, 1, n);
}

static void step_allocate(void)
{
    struct store_inode inode;
    if (!inode_of(pair->model, random_ino(), &inode))
        return;
    fs_ino ino = inode.attr.ino;
    uint64_t offset = random_below(SIZE_MAX_ - 1), n = 1 + random_below((uint32_t)(SIZE_MAX_ - offset - 1));
    uint64_t from = inode.attr.size, to = from;
    if (random_below(2) == 0)
        to = MAX(from, base_of(ino) + offset + n);
    assert_int_equal(store_data_allocate(pair->model, ino, from, to, base_of(ino) + offset, n), 0);
    assert_int_equal(store_data_allocate(pair->sqlite, ino, from, to, base_of(ino) + offset, n), 0);
    inode.attr.size = to;
    both_put(&inode);
}

static void step_copy(void)
{
    struct store_inode from, to;
    if (!inode_of(pair->model, random_ino(), &from) || !inode_of(pair->model, random_ino(), &to))
        return;
    fs_ino ino = to.attr.ino;
    uint32_t start = random_below((uint32_t)end_of(&from) + 1);
    uint32_t n = random_below((uint32_t)end_of(&from) - start + 1), offset = random_below(SIZE_MAX_ - n);
    bool overlap = from.attr.ino == ino && start < offset + n && offset < start + n;
    if (n == 0 || overlap)
        return;
    const struct store_copy copy = {.from_ino = from.attr.ino,
                                    .from_size = from.attr.size,
                                    .from_offset = base_of(from.attr.ino) + start,
                                    .ino = ino,
                                    .size = to.attr.size,
                                    .offset = base_of(ino) + offset,
                                    .n = n};
    assert_int_equal(store_data_copy(pair->model, &copy), 0);
    assert_int_equal(store_data_copy(pair->sqlite, &copy), 0);
    memset(pair->overwritten[ino - FIRST_INO] + offset, 1, n);
    to.attr.size = size_at(ino, MAX(end_of(&to), (uint64_t)offset + n));
    both_put(&to);
}

// What is passed over on the way to data is zeros; data ends after it has begun, and at the size at the
// latest.
static void step_seek(void)
{
    static uint8_t bytes[SIZE_MAX_];
    struct store_inode inode;
    if (!inode_of(pair->model, random_ino(), &inode) || inode.attr.size == 0)
        return;
    fs_ino ino = inode.attr.ino;
    uint64_t size = inode.attr.size, end = end_of(&inode), start = random_below((uint32_t)end);
    uint64_t base = base_of(ino), data = 0, hole = 0;
    content_of(pair->sqlite, ino, size, bytes);
    int result = store_data_seek(pair->sqlite, ino, size, base + start, false, &data);
    assert_true(result == 0 || result == -ENXIO);
    uint64_t zeros_to = result == 0 ? data - base : end;
    assert_true(zeros_to >= start && zeros_to <= end);
    for (uint64_t i = start; i < zeros_to; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(store_data_seek(pair->sqlite, ino, size, base + start, true, &hole), 0);
    assert_true(hole >= base + start && hole <= size);
    if (result == 0 && zeros_to > start)
        assert_int_equal(hole, base + start);
    if (result < 0)
        return;
    assert_int_equal(store_data_seek(pair->sqlite, ino, size, data, true, &hole), 0);
    assert_true(hole > data && hole <= size);
    assert_int_equal(store_data_seek(pair->sqlite, ino, size, size, true, &hole), -ENXIO);
}

static void step_entry(void)
{
    char text[8];
    snprintf(text, sizeof(text), "n%u", random_below(N_NAMES));
    struct fs_name name = fs_name_of(text);
    fs_ino parent = random_ino(), ino = random_ino();
    const struct store_dentry put = {.ino = ino, .type = S_IFREG, .cookie = pair->cookie};
    switch (random_below(3)) {
    case 0:
        pair->cookie++;
        assert_int_equal(store_dentry_put(pair->model, parent, name, &put),
                         store_dentry_put(pair->sqlite, parent, name, &put));
        break;
    case 1:
        assert_int_equal(store_dentry_remove(pair->model, parent, name),
                         store_dentry_remove(pair->sqlite, parent, name));
        break;
    default:
        assert_int_equal(store_dentry_replace(pair->model, parent, name, ino, S_IFDIR),
                         store_dentry_replace(pair->sqlite, parent, name, ino, S_IFDIR));
    }
}

static void step_quota(void)
{
    fs_ino id = random_below(N_QUOTAS);
    uint64_t max_bytes = random_below(3), max_inodes = random_below(3);
    assert_int_equal(store_quota_put(pair->model, id, max_bytes, max_inodes), 0);
    assert_int_equal(store_quota_put(pair->sqlite, id, max_bytes, max_inodes), 0);
}

// --- transactions ---

static void both_begin(void)
{
    suite_begin(pair->model);
    suite_begin(pair->sqlite);
    memset(pair->overwritten, 0, sizeof(pair->overwritten));
}

static void both_commit(void)
{
    suite_commit(pair->model);
    suite_commit(pair->sqlite);
}

static void make_copy(void)
{
    char command[256];
    store_sqlite_destroy(pair->copy);
    snprintf(command, sizeof(command), "cp -r --sparse=always %s %s", pair->directory, pair->copy);
    assert_int_equal(system(command), 0);
}

static int count_files(const char *path)
{
    int n = 0;
    DIR *shard = opendir(path);
    struct dirent *entry;
    while (shard && (entry = readdir(shard)) != NULL)
        n += entry->d_name[0] != '.';
    if (shard)
        closedir(shard);
    return n;
}

// Recovery has left the data files that the database names, and no other.
static void check_files(void)
{
    char path[96];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof(path), "%s/meta.db", pair->copy);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT (SELECT count(file) FROM data) + (SELECT count(*) FROM segment)", -1,
                           &statement, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(path, sizeof(path), "%s/data/0", pair->copy);
    assert_int_equal(count_files(path), sqlite3_column_int(statement, 0));
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static void check_copy(void)
{
    struct store *copy;
    assert_int_equal(store_sqlite_open(pair->copy, &suite_env, &copy), 0);
    suite_begin(pair->model);
    compare_all(copy, true);
    store_rollback(pair->model); // the engine itself may have kept other bytes
    store_close(copy);
    check_files();
}

static void both_rollback(bool copied)
{
    store_rollback(pair->model);
    store_rollback(pair->sqlite);
    if (copied)
        check_copy();
    suite_begin(pair->model);
    compare_all(pair->sqlite, true);
    suite_commit(pair->model);
}

static void step_savepoint(void)
{
    if (!pair->in_savepoint) {
        assert_int_equal(store_savepoint(pair->model), 0);
        assert_int_equal(store_savepoint(pair->sqlite), 0);
    } else if (random_below(2) == 0) {
        assert_int_equal(store_savepoint_release(pair->model), 0);
        assert_int_equal(store_savepoint_release(pair->sqlite), 0);
    } else {
        store_savepoint_rollback(pair->model);
        store_savepoint_rollback(pair->sqlite);
        compare_all(pair->sqlite, true);
    }
    pair->in_savepoint = !pair->in_savepoint;
}

static void one_step(void)
{
    static void (*const steps[])(void) = {step_put,   step_put,       step_remove, step_write,    step_write,
                                          step_write, step_write,     step_resize, step_resize,   step_entry,
                                          step_entry, step_savepoint, step_zero,   step_allocate, step_copy,
                                          step_copy,  step_seek,      step_quota};
    steps[random_below(ARRAY_LEN(steps))]();
}

static void one_transaction(void)
{
    both_begin();
    for (uint32_t n = random_below(12); n > 0; n--)
        one_step();
    bool copied = random_below(40) == 0;
    if (copied)
        make_copy();
    if (pair->in_savepoint)
        step_savepoint();
    if (copied || random_below(4) == 0)
        both_rollback(copied);
    else
        both_commit();
}

static void reopen(void)
{
    store_close(pair->sqlite);
    assert_int_equal(store_sqlite_open(pair->directory, &suite_env, &pair->sqlite), 0);
}

static void between_transactions(void)
{
    bool more;
    switch (random_below(30)) {
    case 0:
        reopen();
        break;
    case 1:
    case 2:
        suite_upkeep(pair->sqlite);
        break;
    case 3:
        assert_int_equal(store_upkeep(pair->sqlite, &more), 0);
        break;
    case 4:
        assert_int_equal(store_sync(pair->sqlite, random_ino()), 0);
        break;
    case 5:
        compare_all(pair->sqlite, false);
        break;
    }
}

static void run_seed(uint64_t seed)
{
    printf("seed %llu\n", (unsigned long long)seed);
    memset(pair, 0, sizeof(*pair));
    pair->random = seed;
    pair->cookie = 16;
    snprintf(pair->directory, sizeof(pair->directory), "/tmp/berth-random-%d", (int)getpid());
    snprintf(pair->copy, sizeof(pair->copy), "%s.copy", pair->directory);
    store_sqlite_destroy(pair->directory);
    store_sqlite_destroy(pair->copy);
    assert_int_equal(store_model_open(&pair->model), 0);
    assert_int_equal(store_sqlite_create(pair->directory), 0);
    assert_int_equal(store_sqlite_open(pair->directory, &suite_env, &pair->sqlite), 0);
    fs_ino first;
    assert_int_equal(store_reserve_inos(pair->sqlite, FIRST_INO + N_INOS, &first), 0);
    for (uint32_t i = 0; i < TRANSACTIONS; i++) {
        one_transaction();
        between_transactions();
    }
    compare_all(pair->sqlite, false);
    reopen();
    compare_all(pair->sqlite, false);
    store_close(pair->sqlite);
    store_close(pair->model);
}

static void engine_and_model_agree(void **state)
{
    (void)state;
    pair = calloc(1, sizeof(*pair));
    assert_non_null(pair);
    const char *chosen = getenv("BERTH_TEST_SEED");
    if (chosen)
        run_seed(strtoull(chosen, NULL, 10));
    for (uint64_t seed = 1; !chosen && seed <= SEEDS; seed++)
        run_seed(seed);
}

static int clean_after(void **state)
{
    (void)state;
    store_sqlite_destroy(pair->directory);
    store_sqlite_destroy(pair->copy);
    free(pair);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(engine_and_model_agree, clean_after)};
    return cmocka_run_group_tests_name("store random", tests, NULL, NULL);
}
