// SPDX-License-Identifier: Apache-2.0
// The VFS below the database: a transaction leaves with one write, nothing that is committed waits in memory
// (what another reader of the bare files sees is compared), and a write that fails undoes its transaction.
// The writes are counted where SQLite makes them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/base/check.h"
#include "fs/store/sqlite_vfs.h"
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 256

static struct vfs_test {
    char directory[64];
    sqlite3 *db;
    unsigned n_writes;
    unsigned fail_at; // the write that fails, counted down; 0: none
} test;

typedef ssize_t pwrite_function(int fd, const void *bytes, size_t n, off_t offset);

static ssize_t counted_pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    test.n_writes++;
    if (test.fail_at > 0 && --test.fail_at == 0) {
        errno = EIO;
        return -1;
    }
    return pwrite(fd, bytes, n, offset);
}

static void set_pwrite(pwrite_function *function)
{
    sqlite3_vfs *unix_vfs = sqlite3_vfs_find("unix");
    assert_non_null(unix_vfs);
    const char *const names[] = {"pwrite", "pwrite64"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unix_vfs->xSetSystemCall(unix_vfs, names[i], (sqlite3_syscall_ptr)function);
}

static const char *path_of(const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", test.directory, name);
    return path;
}

static int run(const char *sql)
{
    return sqlite3_exec(test.db, sql, NULL, NULL, NULL);
}

static void must(const char *sql)
{
    if (run(sql) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(test.db));
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void open_database(void)
{
    char path[PATH_SIZE];
    vfs_register();
    assert_int_equal(
        sqlite3_open_v2(path_of("db", path), &test.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, VFS_NAME),
        SQLITE_OK);
    must("PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
         "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10");
}

static int begin(void **state)
{
    (void)state;
    test = (struct vfs_test){.directory = "/tmp/berth-vfs-XXXXXX"};
    assert_non_null(mkdtemp(test.directory));
    open_database();
    must("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, filler BLOB)");
    must("WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500) "
         "INSERT INTO t SELECT i, 0, zeroblob(400) FROM c");
    set_pwrite(counted_pwrite);
    return 0;
}

static int end(void **state)
{
    (void)state;
    char command[PATH_SIZE];
    set_pwrite(NULL);
    sqlite3_close(test.db);
    snprintf(command, sizeof(command), "rm -r '%s'", test.directory);
    return system(command);
}

static void copy(const char *from, const char *to)
{
    char bytes[64 * 1024], path[PATH_SIZE];
    int in = open(path_of(from, path), O_RDONLY | O_CLOEXEC);
    int out = open(path_of(to, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n;
    while ((n = read(in, bytes, sizeof(bytes))) > 0)
        assert_int_equal(write(out, bytes, (size_t)n), n);
    assert_int_equal(n, 0);
    close(in);
    close(out);
}

// What is in the files, as SQLite's own VFS reads them after a crash.
static int64_t sum_in_files(void)
{
    char path[PATH_SIZE];
    sqlite3 *db;
    copy("db", "copy");
    copy("db-wal", "copy-wal");
    assert_int_equal(sqlite3_open_v2(path_of("copy", path), &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
    int64_t sum = number(db, "SELECT sum(n) FROM t");
    assert_int_equal(number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
                     1);
    sqlite3_close(db);
    return sum;
}

// --- tests ---

static void a_transaction_is_one_write(void **state)
{
    (void)state;
    must("PRAGMA cache_size = 1000");
    must("UPDATE t SET n = 1 WHERE id % 50 = 0");
    for (unsigned i = 0; i < 3; i++) {
        test.n_writes = 0;
        must("UPDATE t SET n = n + 1 WHERE id % 50 = 0");
        assert_int_equal(test.n_writes, 1);
    }
    must("PRAGMA wal_checkpoint(TRUNCATE)");
    must("UPDATE t SET n = n + 1 WHERE id = 1");
    test.n_writes = 0;
    must("UPDATE t SET n = n + 1 WHERE id = 1");
    assert_int_equal(test.n_writes, 1);
}

// Small and large ones, with parts undone, over several logs. Every second one is past the cache, which
// writes pages before the commit; SQLite before 3.46 may lose its checksums when a savepoint is undone after
// that.
static void what_is_committed_is_in_the_file(void **state)
{
    (void)state;
    srandom(7);
    for (unsigned round = 0; round < 120; round++) {
        bool spills = round % 2;
        must(spills ? "PRAGMA cache_size = 10" : "PRAGMA cache_size = 1000");
        must("BEGIN");
        for (unsigned steps = (unsigned)random() % 4; steps > 0; steps--) {
            char sql[200];
            bool undone = !spills && random() % 3 == 0;
            must("SAVEPOINT s");
            snprintf(sql, sizeof(sql),
                     "UPDATE t SET n = n + %ld, filler = randomblob(400) WHERE id %% %ld = 0", random() % 100,
                     1 + random() % 40);
            must(sql);
            must(undone ? "ROLLBACK TO s" : "SELECT 1");
            must("RELEASE s");
        }
        must(random() % 8 == 0 ? "ROLLBACK" : "COMMIT");
        assert_int_equal(sum_in_files(), number(test.db, "SELECT sum(n) FROM t"));
        if (random() % 16 == 0)
            must("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

static void a_write_that_fails_undoes_its_transaction(void **state)
{
    (void)state;
    unsigned n_failed = 0;
    for (unsigned round = 0; round < 60; round++) {
        int64_t before = number(test.db, "SELECT sum(n) FROM t");
        test.fail_at = 1 + round % 12;
        bool many = round % 2;
        int result = run(many ? "UPDATE t SET n = n + 1" : "UPDATE t SET n = n + 1 WHERE id = 7");
        bool failed = test.fail_at == 0;
        test.fail_at = 0;
        assert_int_equal(result, failed ? SQLITE_IOERR : SQLITE_OK);
        int64_t after = failed ? before : before + (many ? 500 : 1);
        assert_int_equal(number(test.db, "SELECT sum(n) FROM t"), after);
        assert_int_equal(sum_in_files(), after);
        n_failed += failed;
    }
    assert_true(n_failed > 5);
}

// A second connection of the process sees each commit, and its checkpoint is seen.
static void connections_of_one_process_share_it(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    sqlite3 *other;
    assert_int_equal(sqlite3_open_v2(path_of("db", path), &other, SQLITE_OPEN_READWRITE, VFS_NAME),
                     SQLITE_OK);
    for (int i = 1; i <= 20; i++) {
        must("UPDATE t SET n = n + 1");
        assert_int_equal(number(other, "SELECT sum(n) FROM t"), 500 * i);
        assert_int_equal(
            sqlite3_wal_checkpoint_v2(
                other, NULL, i % 2 ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART, NULL, NULL),
            SQLITE_OK);
        assert_int_equal(sum_in_files(), 500 * i);
    }
    sqlite3_close(other);
    assert_int_not_equal(access(path_of("db-shm", path), F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_transaction_is_one_write, begin, end),
        cmocka_unit_test_setup_teardown(what_is_committed_is_in_the_file, begin, end),
        cmocka_unit_test_setup_teardown(a_write_that_fails_undoes_its_transaction, begin, end),
        cmocka_unit_test_setup_teardown(connections_of_one_process_share_it, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
