// SPDX-License-Identifier: Apache-2.0
// The SQLite engine: the conformance suite, and what only an engine with a disk below it can get wrong: being
// killed, a full disk, damage, a newer version, descriptors, files left over.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/base/check.h"
#include "fs/store/store_impl.h"
#include "fs/store/store_sqlite.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define LARGE (300u * 1024u)

static char directory[64];
static char mounted[64]; // a small disk, while there is one

static void name_directory(void)
{
    snprintf(directory, sizeof(directory), "/tmp/berth-store-%d", (int)getpid());
}

static int open_fresh(struct store **ret_store)
{
    name_directory();
    store_sqlite_destroy(directory);
    int result = store_sqlite_create(directory);
    return result < 0 ? result : store_sqlite_open(directory, &suite_env, ret_store);
}

static void destroy(void)
{
    store_sqlite_destroy(directory);
}

static int clean_after(void **state)
{
    (void)state;
    if (mounted[0] != 0) {
        umount2(mounted, MNT_DETACH);
        rmdir(mounted);
        mounted[0] = 0;
    } else {
        destroy();
    }
    return 0;
}

static struct store *fresh(void)
{
    struct store *store;
    assert_int_equal(open_fresh(&store), 0);
    return store;
}

static struct store *reopen(struct store *store)
{
    store_close(store);
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    return store;
}

static fs_ino make_file(struct store *store, size_t size)
{
    fs_ino ino;
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    suite_fill(bytes, size, 1);
    assert_int_equal(store_reserve_inos(store, 1, &ino), 0);
    suite_begin(store);
    struct store_inode inode = suite_inode(ino, S_IFREG | 0600, 0);
    assert_int_equal(store_inode_put(store, &inode), 0);
    suite_write(store, ino, 0, bytes, size);
    suite_commit(store);
    free(bytes);
    return ino;
}

static void remove_file(struct store *store, fs_ino ino)
{
    suite_begin(store);
    assert_int_equal(store_inode_remove(store, ino), 0);
    suite_commit(store);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static unsigned count_entries(const char *path, bool hidden)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL)
        n += hidden || entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

static unsigned count_data_files(void)
{
    return count_entries(path_of("data/0"), false);
}

// --- life ---

static void opening_and_creating_refuse(void **state)
{
    (void)state;
    struct store *store = fresh(), *second;
    assert_int_equal(store_sqlite_create(directory), -EEXIST);
    assert_int_equal(store_sqlite_open(directory, &suite_env, &second), -EBUSY);
    store_close(store);
    destroy();
    assert_int_equal(store_sqlite_open(directory, &suite_env, &second), -ENOENT);
    assert_int_equal(store_sqlite_create("/nonexistent/store"), -ENOENT);
    assert_int_equal(store_sqlite_destroy(directory), -ENOENT);
}

static void everything_is_there_after_reopening(void **state)
{
    (void)state;
    struct store *store = fresh();
    fs_ino small = make_file(store, 100), large = make_file(store, LARGE), next;
    struct store_usage usage;
    store = reopen(store);
    assert_int_equal(suite_size(store, small), 100);
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    suite_fill(bytes, LARGE, 1);
    suite_assert_bytes(store, large, 0, bytes, LARGE);
    free(bytes);
    assert_int_equal(store_usage(store, &usage), 0);
    assert_int_equal(usage.inodes, 2);
    assert_int_equal(usage.bytes, 100 + LARGE);
    assert_int_equal(store_reserve_inos(store, 1, &next), 0);
    assert_true(next > large);
    store_close(store);
}

// --- data files ---

static void rollback_leaves_no_file(void **state)
{
    (void)state;
    struct store *store = fresh();
    uint8_t *bytes = calloc(1, LARGE);
    assert_non_null(bytes);
    fs_ino ino = make_file(store, 10);
    suite_begin(store);
    assert_int_equal(store_savepoint(store), 0);
    suite_write(store, ino, 10, bytes, LARGE);
    assert_int_equal(count_data_files(), 1);
    store_savepoint_rollback(store);
    assert_int_equal(count_data_files(), 0);
    suite_write(store, ino, 10, bytes, LARGE);
    store_rollback(store);
    assert_int_equal(count_data_files(), 0);
    store_close(store);
    free(bytes);
}

static void write_segments(struct store *store, fs_ino ino)
{
    for (uint64_t k = 0; k < 5; k++)
        suite_write(store, ino, k << 41, "data", 4);
}

static void later_segments_come_and_go(void **state)
{
    (void)state;
    struct store *store = fresh();
    fs_ino ino = make_file(store, 0);
    suite_begin(store);
    write_segments(store, ino);
    assert_int_equal(count_data_files(), 4); // the first bytes lie in the database
    store_rollback(store);
    assert_int_equal(count_data_files(), 0);
    suite_begin(store);
    write_segments(store, ino);
    suite_commit(store);
    store = reopen(store);
    assert_int_equal(store_sync(store, ino), 0);
    suite_begin(store);
    assert_int_equal(
        store_data_zero(store, ino, suite_size(store, ino), UINT64_C(1) << 41, UINT64_C(1) << 41, false), 0);
    suite_commit(store);
    assert_int_equal(count_data_files(), 4);
    suite_upkeep(store);
    assert_int_equal(count_data_files(), 3);
    suite_begin(store);
    suite_resize(store, ino, (UINT64_C(2) << 41) + 2);
    suite_commit(store);
    suite_upkeep(store);
    assert_int_equal(count_data_files(), 1);
    suite_assert_bytes(store, ino, UINT64_C(2) << 41, "da", 2);
    remove_file(store, ino);
    suite_upkeep(store);
    assert_int_equal(count_data_files(), 0);
    store_close(store);
}

static void file_goes_only_after_the_log_is_synced(void **state)
{
    (void)state;
    struct store *store = fresh();
    bool more = false;
    fs_ino ino = make_file(store, LARGE);
    remove_file(store, ino);
    assert_int_equal(count_data_files(), 1);
    assert_int_equal(store_upkeep(store, &more), 0); // nobody has synced the log yet
    assert_int_equal(count_data_files(), 1);
    assert_int_equal(store_sync(store, 12345), 0);
    assert_int_equal(store_upkeep(store, &more), 0);
    assert_false(more);
    assert_int_equal(count_data_files(), 0);
    ino = make_file(store, LARGE);
    remove_file(store, ino);
    uint64_t deadline = env_monotonic_ns(&env_system) + UINT64_C(60000000000);
    while (count_data_files() > 0 && env_monotonic_ns(&env_system) < deadline)
        assert_int_equal(store_upkeep(store, &more), 0); // syncs by itself after a while, on another thread
    assert_int_equal(count_data_files(), 0);
    store_close(store);
}

static void long_log_is_checkpointed(void **state)
{
    (void)state;
    struct store *store = fresh();
    uint8_t bytes[16384];
    fs_ino ino = make_file(store, sizeof(bytes));
    struct stat status;
    for (unsigned i = 0; i < 6000; i++) { // 120 MiB through the log
        bool more;
        suite_fill(bytes, sizeof(bytes), i);
        suite_begin(store);
        suite_write(store, ino, 0, bytes, sizeof(bytes));
        suite_commit(store);
        assert_int_equal(store_upkeep(store, &more), 0);
    }
    assert_int_equal(stat(path_of("meta.db-wal"), &status), 0);
    assert_in_range(status.st_size, 1, 17 * 1024 * 1024);
    suite_assert_bytes(store, ino, 0, bytes, sizeof(bytes));
    store = reopen(store);
    suite_assert_bytes(store, ino, 0, bytes, sizeof(bytes));
    assert_int_equal(stat(path_of("meta.db"), &status), 0);
    assert_in_range(status.st_size, 1, 1024 * 1024);
    store_close(store);
}

static void intents_survive_a_restart(void **state)
{
    (void)state;
    struct store *store = fresh();
    fs_ino cut = make_file(store, LARGE), gone = make_file(store, LARGE);
    suite_begin(store);
    suite_resize(store, cut, 1000);
    suite_commit(store);
    remove_file(store, gone);
    struct stat status;
    assert_int_equal(stat(path_of("data/0/1"), &status), 0);
    assert_int_equal(status.st_size, LARGE);
    store = reopen(store);
    assert_int_equal(stat(path_of("data/0/1"), &status), 0);
    assert_int_equal(status.st_size, 1000);
    assert_int_equal(count_data_files(), 1);
    suite_begin(store);
    suite_resize(store, cut, LARGE);
    suite_commit(store);
    suite_assert_zeros(store, cut, 1000, LARGE - 1000);
    store_close(store);
}

static void open_descriptors_are_bounded(void **state)
{
    (void)state;
    enum { FILES = 300, BOUND = 128 };
    struct store *store = fresh();
    fs_ino inos[FILES];
    uint8_t byte;
    unsigned before = count_entries("/proc/self/fd", false);
    for (unsigned i = 0; i < FILES; i++) {
        inos[i] = make_file(store, 20000 + i);
        assert_true(count_entries("/proc/self/fd", false) <= before + BOUND);
    }
    suite_fill(&byte, 1, 1);
    for (unsigned i = 0; i < FILES; i++) {
        assert_int_equal(suite_size(store, inos[i]), 20000 + i);
        suite_assert_bytes(store, inos[i], 0, &byte, 1);
    }
    assert_true(count_entries("/proc/self/fd", false) <= before + BOUND);
    store_close(store);
}

// --- syncs ---

static void failed_sync_makes_it_read_only(void **state)
{
    (void)state;
    struct store *store = fresh();
    struct store_sync *sync;
    fs_ino ino = make_file(store, LARGE), other;
    assert_int_equal(store_sync_prepare(store, ino, &sync), 0);
    store_sync_run(sync);
    sync->result = -EIO; // what a failed fdatasync leaves
    assert_int_equal(store_sync_finish(store, sync), -EIO);
    suite_begin(store);
    struct store_inode inode = suite_inode(ino, S_IFREG | 0600, LARGE);
    assert_int_equal(store_inode_put(store, &inode), -EROFS);
    assert_int_equal(store_data_write(store, ino, LARGE, 0, "x", 1), -EROFS);
    assert_int_equal(store_dentry_remove(store, 1, fs_name_of("x")), -EROFS);
    store_rollback(store);
    assert_int_equal(store_reserve_inos(store, 1, &other), -EROFS);
    assert_int_equal(store_sync_prepare(store, ino, &sync), -EIO);
    assert_int_equal(suite_size(store, ino), LARGE);
    store = reopen(store);
    remove_file(store, ino);
    store_close(store);
}

// --- damage ---

static void run_sql(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of("meta.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void overwrite(const char *name, off_t offset, size_t n)
{
    int fd = open(path_of(name), O_RDWR);
    char *junk = malloc(n);
    assert_true(fd >= 0 && junk);
    memset(junk, 0x5a, n);
    assert_int_equal(pwrite(fd, junk, n, offset), n);
    free(junk);
    close(fd);
}

static void assert_refused(int error)
{
    struct store *store = NULL;
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), error);
    assert_null(store);
    destroy();
}

static void newer_version_is_refused(void **state)
{
    (void)state;
    store_close(fresh());
    run_sql("PRAGMA user_version = 99");
    assert_refused(-EPROTONOSUPPORT);
}

static int run_first_column(void *context, int n, char **values, char **names)
{
    (void)n;
    (void)names;
    return sqlite3_exec(context, values[0], NULL, NULL, NULL) != SQLITE_OK;
}

// The same schema in the same order, which VACUUM does not keep.
static void make_anew_with_pages_of(unsigned size)
{
    char path[128], sql[200];
    sqlite3 *from, *to;
    snprintf(path, sizeof(path), "%s/new.db", directory);
    assert_int_equal(sqlite3_open(path_of("meta.db"), &from), SQLITE_OK);
    assert_int_equal(sqlite3_open(path, &to), SQLITE_OK);
    snprintf(sql, sizeof(sql),
             "PRAGMA page_size = %u; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL", size);
    assert_int_equal(sqlite3_exec(to, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(from,
                                  "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL UNION ALL SELECT "
                                  "'PRAGMA application_id = ' || application_id FROM pragma_application_id "
                                  "UNION ALL SELECT 'PRAGMA user_version = ' || user_version FROM "
                                  "pragma_user_version",
                                  run_first_column, to, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(to, "INSERT INTO usage VALUES (1, 0, 0)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(from);
    sqlite3_close(to);
    assert_int_equal(rename(path, path_of("meta.db")), 0);
}

// Databases were made with pages of 4096 bytes once.
static void larger_pages_are_served(void **state)
{
    (void)state;
    store_close(fresh());
    make_anew_with_pages_of(4096);
    struct store *store;
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    fs_ino small = make_file(store, 5000), large = make_file(store, LARGE);
    store = reopen(store);
    assert_int_equal(suite_size(store, small), 5000);
    assert_int_equal(suite_size(store, large), LARGE);
    store_close(store);
    struct stat status;
    assert_int_equal(stat(path_of("meta.db"), &status), 0);
    assert_int_equal(status.st_size % 4096, 0);
}

static void damaged_store_is_refused(void **state)
{
    (void)state;
    store_close(fresh());
    overwrite("meta.db", 0, 4096);
    assert_refused(-EUCLEAN);
    store_close(fresh());
    assert_int_equal(truncate(path_of("meta.db"), 0), 0);
    assert_refused(-EUCLEAN);
    store_close(fresh());
    overwrite("meta.db", 4096, 40960); // every table
    assert_refused(-EUCLEAN);
    store_close(fresh());
    overwrite("numbers", 0, 8192);
    assert_refused(-EUCLEAN);
    store_close(fresh());
    assert_int_equal(unlink(path_of("numbers")), 0);
    assert_refused(-EUCLEAN);
    store_close(fresh());
    assert_int_equal(rmdir(path_of("data")), 0);
    assert_refused(-EUCLEAN);
    store_close(fresh());
    run_sql("CREATE TRIGGER evil AFTER INSERT ON inode BEGIN DELETE FROM dentry; END");
    assert_refused(-EUCLEAN);
    store_close(fresh());
    run_sql("DELETE FROM usage");
    assert_refused(-EUCLEAN);
    struct store *store = fresh();
    make_file(store, 10);
    store_close(store);
    run_sql("UPDATE inode SET ino = 4000000000000");
    assert_refused(-EUCLEAN);
}

static void one_torn_number_record_is_survived(void **state)
{
    (void)state;
    struct store *store = fresh();
    fs_ino before = make_file(store, 10), after;
    store_close(store);
    overwrite("numbers", 0, 8); // the slot that is not the newest, or is: the other one is whole
    if (store_sqlite_open(directory, &suite_env, &store) == 0) {
        assert_int_equal(store_reserve_inos(store, 1, &after), 0);
        assert_true(after > before);
        store_close(store);
    }
}

static bool never(void *context, struct fs_name name, const struct store_dentry *dentry,
                  const struct store_inode *inode)
{
    (void)name;
    (void)dentry;
    (void)inode;
    ++*(int *)context;
    return true;
}

static void assert_row_is_damage(const char *sql)
{
    struct store *store = fresh();
    fs_ino ino = make_file(store, 10);
    const struct store_dentry put = {.ino = ino, .type = S_IFREG, .cookie = 16};
    suite_begin(store);
    assert_int_equal(store_dentry_put(store, 1, fs_name_of("name"), &put), 0);
    suite_commit(store);
    store_close(store);
    run_sql(sql);
    int opened = store_sqlite_open(directory, &suite_env, &store);
    if (opened == -EUCLEAN) {
        destroy();
        return;
    }
    assert_int_equal(opened, 0);
    struct store_inode inode;
    struct store_dentry dentry;
    uint8_t bytes[10];
    size_t got;
    int visits = 0;
    int results[] = {store_inode_get(store, ino, &inode),
                     store_dentry_get(store, 1, fs_name_of("name"), &dentry),
                     store_data_read(store, ino, 10, 0, bytes, 10, &got),
                     store_dentry_list(store, 1, 0, true, never, &visits)};
    bool noticed = false;
    for (size_t i = 0; i < ARRAY_LEN(results); i++)
        noticed = noticed || results[i] == -EUCLEAN;
    if (!noticed)
        print_error("%s: not noticed\n", sql);
    assert_true(noticed);
    store_close(store);
    destroy();
}

static void damaged_rows_are_noticed(void **state)
{
    (void)state;
    const char *const sqls[] = {
        "UPDATE inode SET mode = 0",
        "UPDATE inode SET mode = 1 << 20",
        "UPDATE inode SET nlink = -1",
        "UPDATE inode SET size = -1",
        "UPDATE inode SET uid = 1 << 32",
        "UPDATE inode SET mtime_ns = 1000000000",
        "UPDATE inode SET parent = 'text'",
        "UPDATE dentry SET ino = 0",
        "UPDATE dentry SET type = 12345",
        "UPDATE dentry SET cookie = -1",
        "UPDATE dentry SET name = x'612f62'",
        "UPDATE dentry SET name = ''",
        "UPDATE dentry SET name = 'text'",
        "UPDATE dentry SET name = zeroblob(256)",
        "UPDATE data SET bytes = zeroblob(16385)",
        "UPDATE data SET bytes = NULL",
        "UPDATE data SET bytes = 7",
        "UPDATE data SET file = 0",
        "UPDATE data SET file = -5",
        "UPDATE data SET file = 'x'",
        "INSERT INTO segment SELECT ino, 1, -5 FROM inode; UPDATE inode SET size = 1 << 42",
        "INSERT INTO segment SELECT ino, 1, 'x' FROM inode; UPDATE inode SET size = 1 << 42",
        "INSERT INTO segment SELECT ino, 1 << 30, 1 FROM inode; UPDATE inode SET size = 1 << 42",
    };
    for (size_t i = 0; i < ARRAY_LEN(sqls); i++)
        assert_row_is_damage(sqls[i]);
}

static void missing_data_file_is_damage(void **state)
{
    (void)state;
    struct store *store = fresh();
    fs_ino ino = make_file(store, LARGE);
    store_close(store);
    assert_int_equal(unlink(path_of("data/0/1")), 0);
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    uint8_t byte;
    size_t got;
    struct store_inode inode;
    assert_int_equal(store_data_read(store, ino, LARGE, 0, &byte, 1, &got), -EUCLEAN);
    assert_int_equal(store_inode_get(store, ino, &inode), 0);
    remove_file(store, ino);
    suite_upkeep(store);
    store_close(store);
}

// --- being killed ---

#define JOURNAL_INO 2u
#define ROUNDS      12u

// Transaction k appends k to the journal and makes file k, of a size that k gives.
static size_t size_of_file(uint64_t k)
{
    return (size_t)(k % 5 == 0 ? LARGE : k * 37 % 20000 + 1);
}

static void child_transaction(struct store *store, uint64_t k, uint8_t *bytes)
{
    fs_ino ino;
    struct store_inode journal, inode;
    char name[32];
    fs_assert(store_begin(store) == 0);
    fs_assert(store_reserve_inos(store, 1, &ino) == 0);
    fs_assert(store_inode_get(store, JOURNAL_INO, &journal) == 0);
    uint64_t record[2] = {k, ino};
    fs_assert(store_data_write(store, JOURNAL_INO, journal.attr.size, journal.attr.size, record, 16) == 0);
    journal.attr.size += 16;
    fs_assert(store_inode_put(store, &journal) == 0);
    inode = suite_inode(ino, S_IFREG | 0600, size_of_file(k));
    suite_fill(bytes, size_of_file(k), (uint32_t)k);
    fs_assert(store_data_write(store, ino, 0, 0, bytes, size_of_file(k)) == 0);
    fs_assert(store_inode_put(store, &inode) == 0);
    snprintf(name, sizeof(name), "f%llu", (unsigned long long)k);
    const struct store_dentry dentry = {.ino = ino, .type = S_IFREG, .cookie = 100 + k};
    fs_assert(store_dentry_put(store, 1, fs_name_of(name), &dentry) == 0);
    fs_assert(store_commit(store) == 0);
}

__attribute__((noreturn)) static void child_works(int pipe_fd, uint64_t k)
{
    struct store *store;
    uint8_t *bytes = malloc(LARGE);
    fs_assert(bytes && store_sqlite_open(directory, &suite_env, &store) == 0);
    for (;; k++) {
        bool more;
        child_transaction(store, k, bytes);
        fs_assert(write(pipe_fd, &k, sizeof(k)) == sizeof(k));
        fs_assert(store_upkeep(store, &more) == 0);
        if (k % 7 == 0)
            fs_assert(store_sync(store, 0) == 0);
    }
}

// Lets a child work until it has acknowledged `acks` transactions, kills it, and says the last one
// acknowledged.
static uint64_t kill_a_child(uint64_t k, unsigned acks)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(fds[0]);
        child_works(fds[1], k);
    }
    close(fds[1]);
    uint64_t last = k - 1;
    for (unsigned i = 0; i < acks; i++)
        assert_int_equal(read(fds[0], &last, sizeof(last)), sizeof(last));
    assert_int_equal(kill(child, SIGKILL), 0);
    uint64_t late;
    while (read(fds[0], &late, sizeof(late)) == sizeof(late))
        last = late;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return last;
}

// The journal and what hangs off it is what some number of whole transactions leaves; returns that number.
static uint64_t check_after_kill(struct store *store, fs_ino *last_ino)
{
    uint64_t n = suite_size(store, JOURNAL_INO) / 16;
    assert_int_equal(suite_size(store, JOURNAL_INO) % 16, 0);
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    for (uint64_t k = 1; k <= n; k++) {
        uint64_t record[2];
        size_t got;
        char name[32];
        struct store_dentry dentry;
        assert_int_equal(store_data_read(store, JOURNAL_INO, n * 16, (k - 1) * 16, record, 16, &got), 0);
        assert_int_equal(record[0], k);
        assert_true(k == 1 || record[1] > *last_ino); // never twice
        *last_ino = record[1];
        snprintf(name, sizeof(name), "f%llu", (unsigned long long)k);
        assert_int_equal(store_dentry_get(store, 1, fs_name_of(name), &dentry), 0);
        assert_int_equal(dentry.ino, record[1]);
        assert_int_equal(suite_size(store, dentry.ino), size_of_file(k));
        suite_fill(bytes, size_of_file(k), (uint32_t)k);
        suite_assert_bytes(store, dentry.ino, 0, bytes, size_of_file(k));
    }
    free(bytes);
    struct store_usage usage;
    assert_int_equal(store_usage(store, &usage), 0);
    assert_int_equal(usage.inodes, n + 1);
    return n;
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
    (void)state;
    struct store *store = fresh();
    assert_int_equal(make_file(store, 0), JOURNAL_INO);
    store_close(store);
    uint64_t k = 1, large_files = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t acknowledged = kill_a_child(k, 1 + round * 5 % 17);
        fs_ino last_ino = 0, next;
        assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
        uint64_t there = check_after_kill(store, &last_ino);
        assert_true(there == acknowledged || there == acknowledged + 1);
        assert_int_equal(store_reserve_inos(store, 1, &next), 0);
        assert_true(next > last_ino);
        k = there + 1;
        store_close(store);
    }
    for (uint64_t i = 1; i < k; i++)
        large_files += size_of_file(i) > 16384;
    // The journal may have left the database too; nothing else may be there.
    assert_true(count_data_files() <= large_files + 1);
}

// --- a full disk ---

static bool mount_small_disk(void)
{
    name_directory();
    return geteuid() == 0 && mkdir(directory, 0700) == 0 &&
           mount("tmpfs", directory, "tmpfs", 0, "size=64m,mode=0700") == 0;
}

static int try_file(struct store *store, fs_ino ino, const uint8_t *bytes, size_t n)
{
    struct store_inode inode = suite_inode(ino, S_IFREG | 0600, n);
    suite_begin(store);
    int result = store_savepoint(store);
    if (result == 0)
        result = store_inode_put(store, &inode);
    if (result == 0)
        result = store_data_write(store, ino, 0, 0, bytes, n);
    if (result == 0)
        result = store_savepoint_release(store);
    else
        store_savepoint_rollback(store);
    int committed = store_commit(store);
    if (committed < 0)
        store_rollback(store);
    return result < 0 ? result : committed;
}

static void fill_and_empty(struct store *store, const uint8_t *bytes, size_t n)
{
    enum { MOST = 20000 };
    fs_ino first;
    assert_int_equal(store_reserve_inos(store, MOST, &first), 0);
    unsigned made = 0;
    int result = 0;
    while (made < MOST && (result = try_file(store, first + made, bytes, n)) == 0) {
        bool more;
        assert_int_equal(store_upkeep(store, &more), 0);
        made++;
    }
    assert_int_equal(result, -ENOSPC);
    assert_int_equal(try_file(store, first + made, bytes, 1),
                     -ENOSPC); // nor does a small one eat the reserve
    for (unsigned i = 0; i < made; i++)
        suite_assert_bytes(store, first + i, 0, bytes, n);
    for (unsigned i = 0; i < made; i++) {
        bool more;
        remove_file(store, first + i);
        assert_int_equal(store_upkeep(store, &more), 0);
    }
    suite_upkeep(store);
    assert_int_equal(try_file(store, first, bytes, n), 0);
    remove_file(store, first);
}

static void full_disk_can_be_emptied(void **state)
{
    (void)state;
    if (!mount_small_disk()) {
        rmdir(directory);
        print_message("skipped: needs root to mount a small tmpfs\n");
        skip();
    }
    memcpy(mounted, directory, sizeof(mounted));
    strcat(directory, "/s");
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    suite_fill(bytes, LARGE, 1);
    struct store *store = NULL;
    assert_int_equal(store_sqlite_create(directory), 0);
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    fill_and_empty(store, bytes, LARGE);
    fill_and_empty(store, bytes, 10000);
    store = reopen(store);
    store_close(store);
    free(bytes);
}

#define TEST(function) cmocka_unit_test_teardown(function, clean_after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opening_and_creating_refuse),
        TEST(everything_is_there_after_reopening),
        TEST(rollback_leaves_no_file),
        TEST(later_segments_come_and_go),
        TEST(file_goes_only_after_the_log_is_synced),
        TEST(long_log_is_checkpointed),
        TEST(intents_survive_a_restart),
        TEST(open_descriptors_are_bounded),
        TEST(failed_sync_makes_it_read_only),
        TEST(newer_version_is_refused),
        TEST(larger_pages_are_served),
        TEST(damaged_store_is_refused),
        TEST(one_torn_number_record_is_survived),
        TEST(damaged_rows_are_noticed),
        TEST(missing_data_file_is_damage),
        TEST(what_was_acknowledged_survives_a_kill),
        TEST(full_disk_can_be_emptied),
    };
    const struct suite_engine engine = {.name = "store sqlite", .open = open_fresh, .clean = destroy};
    return store_suite_run(&engine) + cmocka_run_group_tests_name("store sqlite, on disk", tests, NULL, NULL);
}
