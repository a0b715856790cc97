// SPDX-License-Identifier: Apache-2.0
// The check of stores: a whole one is clean; each damage, done behind the engine's back, is named by exactly
// these lines; a repair says so, leaves nothing to be found, loses no bytes and gives a store that opens.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
// cmocka wants those first
#include "fs/base/check.h"
#include "fs/store/store_check.h"
#include "fs/store/store_sqlite.h"
#include "tests/unit/store_suite.h"
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>

#define BIG (300u * 1024u)

// The tree of a fresh store; numbers are handed out in this order.
enum { ROOT = 1, DIRECTORY, SMALL, LARGE, LINKED, SUBDIRECTORY, CHARGED, FAR, ORPHAN, LAST = ORPHAN };

static char directory[64];

// --- a store ---

static void put_inode(struct store *store, fs_ino ino, uint32_t mode, uint32_t nlink, fs_ino parent,
                      fs_ino quota)
{
    struct store_inode inode = suite_inode(ino, mode, 0);
    inode.attr.nlink = nlink;
    inode.parent = parent;
    inode.quota = quota;
    inode.flags = ino == SMALL ? STORE_XATTRS : 0;
    assert_int_equal(store_inode_put(store, &inode), 0);
}

static void put_entry(struct store *store, fs_ino parent, const char *name, fs_ino ino, uint32_t type)
{
    struct store_dentry dentry = {.ino = ino, .type = type};
    assert_int_equal(store_reserve_cookies(store, 1, &dentry.cookie), 0);
    assert_int_equal(store_dentry_put(store, parent, fs_name_of(name), &dentry), 0);
}

static void make_inodes(struct store *store)
{
    put_inode(store, ROOT, S_IFDIR | 0755, 3, ROOT, 0);
    put_inode(store, DIRECTORY, S_IFDIR | 0755, 3, ROOT, 0);
    put_inode(store, SMALL, S_IFREG | 0644, 1, DIRECTORY, 0);
    put_inode(store, LARGE, S_IFREG | 0644, 1, ROOT, 0);
    put_inode(store, LINKED, S_IFREG | 0644, 2, ROOT, 0);
    put_inode(store, SUBDIRECTORY, S_IFDIR | 0755, 2, DIRECTORY, SUBDIRECTORY);
    put_inode(store, CHARGED, S_IFREG | 0644, 1, SUBDIRECTORY, SUBDIRECTORY);
    put_inode(store, FAR, S_IFREG | 0644, 1, ROOT, 0);
    put_inode(store, ORPHAN, S_IFREG | 0644, 0, ROOT, 0);
}

static void make_entries(struct store *store)
{
    put_entry(store, ROOT, "directory", DIRECTORY, S_IFDIR);
    put_entry(store, DIRECTORY, "small", SMALL, S_IFREG);
    put_entry(store, ROOT, "large", LARGE, S_IFREG);
    put_entry(store, ROOT, "one", LINKED, S_IFREG);
    put_entry(store, DIRECTORY, "two", LINKED, S_IFREG);
    put_entry(store, DIRECTORY, "sub", SUBDIRECTORY, S_IFDIR);
    put_entry(store, SUBDIRECTORY, "charged", CHARGED, S_IFREG);
    put_entry(store, ROOT, "far", FAR, S_IFREG);
    uint64_t cookie;
    assert_int_equal(store_reserve_cookies(store, 100, &cookie), 0);
}

static void make_bytes(struct store *store)
{
    uint8_t *bytes = malloc(BIG);
    assert_non_null(bytes);
    suite_fill(bytes, BIG, 1);
    suite_write(store, SMALL, 0, bytes, 100);
    suite_write(store, LARGE, 0, bytes, BIG);
    suite_write(store, LINKED, 0, bytes, 10);
    suite_write(store, CHARGED, 0, bytes, 20);
    suite_write(store, FAR, UINT64_C(1) << 40, bytes, 30); // segment 1
    suite_write(store, ORPHAN, 0, bytes, 40);
    free(bytes);
}

static void make_store(void)
{
    struct store *store;
    fs_ino first;
    snprintf(directory, sizeof(directory), "/tmp/berth-check-%d", (int)getpid());
    store_sqlite_destroy(directory);
    assert_int_equal(store_sqlite_create(directory), 0);
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    assert_int_equal(store_reserve_inos(store, LAST - 1, &first), 0);
    assert_int_equal(first, DIRECTORY);
    suite_begin(store);
    make_inodes(store);
    make_entries(store);
    make_bytes(store);
    assert_int_equal(store_xattr_put(store, SMALL, fs_name_of("user.x"), "value", 5), 0);
    assert_int_equal(store_quota_put(store, SUBDIRECTORY, 1000, 0), 0);
    assert_int_equal(store_session_put(store, 7, 0, "good", 4), 0);
    suite_commit(store);
    store_close(store);
}

static int remove_store(void **state UNUSED)
{
    store_sqlite_destroy(directory);
    return 0;
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static sqlite3 *open_database(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of("meta.db"), &db), SQLITE_OK);
    return db;
}

static void sql(const char *text)
{
    sqlite3 *db = open_database();
    char *error = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", text, error);
    sqlite3_close(db);
}

static int64_t ask(const char *text)
{
    sqlite3 *db = open_database();
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

// --- checking ---

struct report {
    char text[4096]; // lines
    unsigned n, n_repaired;
};

static void on_problem(void *context, const struct store_problem *problem)
{
    struct report *report = context;
    size_t length = strlen(report->text);
    snprintf(report->text + length, sizeof(report->text) - length, "%s\n", problem->text);
    assert_null(strchr(problem->text, '\n'));
    report->n++;
    report->n_repaired += problem->repaired;
}

static void on_progress(void *context UNUSED, const char *what)
{
    assert_non_null(what);
}

static bool session_valid(uint32_t part UNUSED, const void *bytes, size_t n)
{
    return n == 4 && memcmp(bytes, "good", 4) == 0;
}

static int check(bool repair, struct report *report)
{
    struct store_check options = {.env = &suite_env,
                                  .repair = repair,
                                  .session_valid = session_valid,
                                  .problem = on_problem,
                                  .progress = on_progress,
                                  .context = report};
    *report = (struct report){.n = 0};
    return store_sqlite_check(directory, &options);
}

static void expect(bool repair, const char *lines)
{
    struct report report;
    assert_int_equal(check(repair, &report), 0);
    assert_string_equal(report.text, lines);
    assert_int_equal(report.n_repaired, repair ? report.n : 0);
}

static void repair(const char *lines)
{
    expect(false, lines);
    expect(false, lines); // and changed nothing
    struct report report;
    assert_int_equal(check(true, &report), 0);
    if (report.n_repaired != report.n || strncmp(report.text, lines, strcspn(lines, "\n")) != 0)
        fail_msg("%u of %u repaired:\n%s", report.n_repaired, report.n, report.text);
    expect(false, "");
    struct store *store;
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    store_close(store);
    expect(true, "");
}

static void whole_stores_are_clean(void **state UNUSED)
{
    struct report report;
    snprintf(directory, sizeof(directory), "/tmp/berth-check-%d", (int)getpid());
    store_sqlite_destroy(directory);
    assert_int_equal(check(false, &report), -ENOENT);
    assert_int_equal(store_sqlite_create(directory), 0);
    expect(false, "");
    store_sqlite_destroy(directory);
    make_store();
    expect(false, "");
    expect(true, "");
    struct store *store;
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    assert_int_equal(check(false, &report), -EBUSY);
    store_close(store);
    sql("PRAGMA user_version = 99");
    assert_int_equal(check(true, &report), -EPROTONOSUPPORT);
}

// --- damage ---

static const struct {
    const char *damage, *lines;
    const char *after; // 1 when the repair did it right
} damages[] = {
    {"UPDATE inode SET nlink = 5 WHERE ino = 5", "inode 5: 5 links, 2 entries\n",
     "SELECT nlink = 2 FROM inode WHERE ino = 5"},
    {"UPDATE inode SET nlink = 0 WHERE ino = 3", "inode 3: 0 links, 1 entries\n",
     "SELECT nlink = 1 FROM inode WHERE ino = 3"},
    {"UPDATE inode SET nlink = 9 WHERE ino = 1", "inode 1: 9 links, 3 with its subdirectories\n",
     "SELECT nlink = 3 FROM inode WHERE ino = 1"},
    {"UPDATE inode SET nlink = 0 WHERE ino = 6", "inode 6: 0 links, 2 with its subdirectories\n",
     "SELECT nlink = 2 FROM inode WHERE ino = 6"},
    {"UPDATE inode SET parent = 1 WHERE ino = 3", "inode 3: parent 1, its entry is in 2\n",
     "SELECT parent = 2 FROM inode WHERE ino = 3"},
    {"UPDATE inode SET parent = 6 WHERE ino = 2", "inode 2: parent 6, its entry is in 1\n",
     "SELECT parent = 1 FROM inode WHERE ino = 2"},
    {"UPDATE inode SET parent = 2 WHERE ino = 1", "inode 1: parent 2 of the root directory\n",
     "SELECT parent = 1 FROM inode WHERE ino = 1"},
    {"UPDATE inode SET mtime_ns = 1000000000 WHERE ino = 3", "inode 3: its row makes no sense\n",
     "SELECT mtime_ns = 0 AND size = 100 FROM inode WHERE ino = 3"},
    {"UPDATE inode SET mode = 4095, uid = 'x' WHERE ino = 2",
     "inode 2: its row makes no sense\nentry \"small\" in inode 2: that is no directory\n"
     "entry \"two\" in inode 2: that is no directory\nentry \"sub\" in inode 2: that is no directory\n"
     "entry \"directory\" in inode 1: type 40000, inode 2 has 0\ninode 2: 3 links, 1 entries\n",
     "SELECT mode = 16768 AND uid = 0 AND (SELECT count(*) FROM dentry WHERE parent = 2) = 3 FROM inode "
     "WHERE ino = "
     "2"},
    {"UPDATE dentry SET type = 40960 WHERE ino = 3",
     "entry \"small\" in inode 2: type 120000, inode 3 has 100000\n",
     "SELECT type = 32768 FROM dentry WHERE ino = 3"},
    {"UPDATE dentry SET cookie = 3 WHERE ino = 3", "entry \"small\" in inode 2: cookie 3\n",
     "SELECT cookie >= 16 FROM dentry WHERE ino = 3"},
    {"UPDATE dentry SET cookie = (SELECT cookie FROM dentry WHERE ino = 4) WHERE ino = 3",
     "entry \"small\" in inode 2: cookie 18\n", "SELECT count(DISTINCT cookie) = 8 FROM dentry"},
    {"UPDATE dentry SET cookie = 5000000 WHERE ino = 3",
     "numbers: cookie 5000000 is in use and was not handed out\n", "SELECT 1"},
    {"UPDATE dentry SET name = CAST('a/b' AS BLOB) WHERE ino = 3",
     "entry \"a/b\" in inode 2: its row makes no sense\n",
     "SELECT parent > 9 AND name = CAST('3' AS BLOB) FROM dentry WHERE ino = 3"},
    {"UPDATE inode SET ino = 7000000 WHERE ino = 9",
     "numbers: inode number 7000000 is in use and was not handed out\n"
     "inode 9: is missing, has data\n",
     "SELECT 1"},
    {"INSERT INTO dentry VALUES (2, CAST('gone' AS BLOB), 9, 32768, 99);"
     "DELETE FROM inode WHERE ino = 9; DELETE FROM data WHERE ino = 9; "
     "UPDATE usage SET inodes = inodes - 1, bytes = bytes - 40",
     "entry \"gone\" in inode 2: inode 9 is missing\n", "SELECT count(*) = 8 FROM dentry"},
    {"INSERT INTO dentry VALUES (2, CAST('up' AS BLOB), 1, 16384, 99)",
     "entry \"up\" in inode 2: names the root directory\ninode 2: 3 links, 4 with its subdirectories\n",
     "SELECT count(*) = 8 FROM dentry"},
    {"INSERT INTO dentry VALUES (1, CAST('again' AS BLOB), 6, 16384, 99)",
     "entry \"again\" in inode 1: directory 6 has another entry\ninode 1: 3 links, 4 with its "
     "subdirectories\n",
     "SELECT parent = 2 FROM dentry WHERE ino = 6"},
    {"INSERT INTO dentry VALUES (4, CAST('in' AS BLOB), 5, 32768, 99)",
     "entry \"in\" in inode 4: that is no directory\ninode 5: 2 links, 3 entries\n",
     "SELECT count(*) = 8 FROM dentry"},
    {"DELETE FROM dentry WHERE ino = 3", "inode 3: 1 links, no entry\n",
     "SELECT parent = 10 FROM dentry WHERE ino = 3 AND name = CAST('3' AS BLOB)"},
    {"DELETE FROM dentry WHERE ino = 2",
     "inode 2: a directory without an entry\ninode 1: 3 links, 2 with its subdirectories\n",
     "SELECT mode = 16832 AND uid = 0 AND gid = 0 AND nlink = 3 FROM inode WHERE ino = (SELECT parent "
     "FROM dentry "
     "WHERE ino = 2)"},
    {"UPDATE dentry SET parent = 6 WHERE ino = 2; UPDATE inode SET parent = 6 WHERE ino = 2; UPDATE "
     "inode SET nlink = "
     "2 WHERE ino = 1; UPDATE inode SET nlink = 3 WHERE ino = 6",
     "inode 2: a directory that lies below itself\n", "SELECT count(*) = 9 FROM dentry"},
    {"DELETE FROM inode WHERE ino = 1",
     "inode 1: the root directory is missing\nusage: 9 inodes and 1099511935176 "
     "bytes, counted 8 and 1099511935176\n",
     "SELECT mode = 16877 AND nlink = 3 FROM inode WHERE ino = 1"},
    {"DELETE FROM inode WHERE ino = 2",
     "inode 2: is missing, has entries\nusage: 9 inodes and 1099511935176 bytes, counted 8 and "
     "1099511935176\n",
     "SELECT parent = 1 FROM dentry WHERE ino = 2 AND name = CAST('directory' AS BLOB)"},
    {"DELETE FROM inode WHERE ino = 4",
     "inode 4: is missing, has data\nusage: 9 inodes and 1099511935176 bytes, counted 8 and "
     "1099511627976\n",
     "SELECT size = 307200 AND mode = 33152 AND nlink = 1 FROM inode WHERE ino = 4"},
    {"UPDATE inode SET quota = 6 WHERE ino = 2; UPDATE quota SET inodes = 3",
     "inode 2: charged to quota 6, lies in 0\n", "SELECT quota = 0 FROM inode WHERE ino = 2"},
    {"UPDATE usage SET inodes = 99",
     "usage: 99 inodes and 1099511935176 bytes, counted 9 and 1099511935176\n",
     "SELECT inodes = 9 FROM usage"},
    {"DELETE FROM usage", "usage: 0 inodes and 0 bytes, counted 9 and 1099511935176\n",
     "SELECT inodes = 9 AND id = 1 FROM usage"},
    {"UPDATE quota SET bytes = 5", "quota 6: 2 inodes and 5 bytes, counted 2 and 20\n",
     "SELECT bytes = 20 AND max_bytes = 1000 FROM quota"},
    {"INSERT INTO quota VALUES (4, 0, 0, 0, 7)", "quota 4: 7 inodes and 0 bytes, counted 0 and 0\n",
     "SELECT count(*) = 1 FROM quota"},
    {"UPDATE inode SET flags = 0 WHERE ino = 3", "inode 3: its flags do not tell of its attributes\n",
     "SELECT flags = 256 FROM inode WHERE ino = 3"},
    {"UPDATE inode SET flags = 1280 WHERE ino = 3", "inode 3: its flags do not tell of its attributes\n",
     "SELECT flags = 256 FROM inode WHERE ino = 3"},
    {"INSERT INTO xattr VALUES (4444, CAST('user.y' AS BLOB), CAST('v' AS BLOB))",
     "inode 4444: is missing, has attribute \"user.y\"\n", "SELECT count(*) = 1 FROM xattr"},
    {"INSERT INTO session VALUES (8, 0, CAST('bad' AS BLOB)), (8, 1, CAST('good' AS BLOB))",
     "session 8: makes no sense\n", "SELECT count(*) = 1 FROM session"},
    {"INSERT INTO session VALUES (9, 1, CAST('good' AS BLOB))", "session 9: makes no sense\n",
     "SELECT count(*) = 1 FROM session"},
    {"UPDATE inode SET size = 60 WHERE ino = 3; UPDATE usage SET bytes = bytes - 40",
     "inode 3: 100 bytes, size 60\n", "SELECT length(bytes) = 60 FROM data WHERE ino = 3"},
    {"INSERT INTO data VALUES (2, NULL, CAST('x' AS BLOB))", "inode 2: has data and is no file\n",
     "SELECT count(*) = 0 FROM data WHERE ino = 2"},
    {"UPDATE data SET bytes = 'text' WHERE ino = 3", "inode 3: where its bytes lie makes no sense\n",
     "SELECT 1"},
    {"INSERT INTO intent SELECT 50, file, -1 FROM data WHERE ino = 4",
     "intent 50: would remove data file 1, which is in use\n", "SELECT count(*) = 0 FROM intent"},
    {"INSERT INTO intent SELECT 50, file, 10 FROM data WHERE ino = 4",
     "intent 50: would cut data file 1 to 10 of its 307200 bytes\n", "SELECT count(*) = 0 FROM intent"},
    {"INSERT INTO intent VALUES (50, 2, -7)", "intent 50: makes no sense\n",
     "SELECT count(*) = 0 FROM intent"},
    {"UPDATE segment SET file = 1",
     "inode 8: segment 1: inode 4 has its data file 1\ndata file \"0/2\": no inode has it\n",
     "SELECT count(*) = 0 FROM segment"},
    {"DELETE FROM data WHERE ino = 4", "data file \"0/1\": no inode has it\n", "SELECT 1"},
    {"INSERT INTO segment VALUES (8, 3, 999999)",
     "numbers: data file 999999 is in use and was not handed out\ninode 8: segment 3 begins past its "
     "size "
     "1099511627806\ninode 8: segment 3: data file f423f is missing\n",
     "SELECT count(*) = 1 FROM segment"},
};

static void damage_in_tables(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        make_store();
        sql(damages[i].damage);
        repair(damages[i].lines);
        if (ask(damages[i].after) != 1)
            fail_msg("after %s: not %s", damages[i].damage, damages[i].after);
    }
}

static void assert_large_is_whole(const char *name)
{
    uint8_t *expected = malloc(BIG), *bytes = malloc(BIG);
    assert_true(expected && bytes);
    suite_fill(expected, BIG, 1);
    int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, bytes, BIG), BIG);
    close(fd);
    assert_memory_equal(bytes, expected, BIG);
    free(expected);
    free(bytes);
}

static void files_of_nobody_are_put_aside(void **state UNUSED)
{
    make_store();
    sql("DELETE FROM data WHERE ino = 4");
    repair("data file \"0/1\": no inode has it\n");
    assert_large_is_whole("lost+found-data/1");
    make_store();
    close(open(path_of("data/0/x"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(open(path_of("data/strange"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    struct report report;
    assert_int_equal(check(false, &report), 0);
    assert_int_equal(report.n, 2);
    assert_non_null(strstr(report.text, "data file \"0/x\": no name of a data file\n"));
    assert_non_null(strstr(report.text, "data file \"strange\": no directory of data files\n"));
    assert_int_equal(check(true, &report), 0);
    assert_int_equal(report.n_repaired, 2);
    expect(false, "");
    assert_int_equal(access(path_of("lost+found-data/strange"), F_OK), 0);
}

static void missing_files_are_told_and_read_as_zeros(void **state UNUSED)
{
    make_store();
    assert_int_equal(unlink(path_of("data/0/1")), 0);
    repair("inode 4: data file 1 is missing\n");
    struct store *store;
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    suite_assert_zeros(store, LARGE, 0, BIG);
    store_close(store);
}

static void lost_numbers_are_made_anew_above_all_in_use(void **state UNUSED)
{
    make_store();
    int fd = open(path_of("numbers"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
    repair("numbers: neither record can be read\n");
    struct store *store;
    fs_ino next;
    assert_int_equal(store_sqlite_open(directory, &suite_env, &store), 0);
    assert_int_equal(store_reserve_inos(store, 1, &next), 0);
    assert_true(next > LAST);
    store_close(store);
    make_store();
    assert_int_equal(unlink(path_of("numbers")), 0);
    repair("numbers: neither record can be read\n");
}

static void taken_names_are_not_used(void **state UNUSED)
{
    make_store();
    sql("UPDATE dentry SET name = CAST('lost+found' AS BLOB) WHERE ino = 2; DELETE FROM dentry WHERE ino = "
        "3");
    repair("inode 3: 1 links, no entry\n");
    assert_int_equal(
        ask("SELECT count(*) FROM dentry WHERE parent = 1 AND name = CAST('lost+found.1' AS BLOB)"), 1);
    sql("DELETE FROM dentry WHERE ino = 4");
    repair("inode 4: 1 links, no entry\n");
    assert_int_equal(ask("SELECT a.parent = b.parent FROM dentry a, dentry b WHERE a.ino = 3 AND b.ino = 4"),
                     1);
}

static void a_damaged_database_is_no_failure(void **state UNUSED)
{
    make_store();
    int fd = open(path_of("meta.db"), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, "nonsense", 8, 0) == 8);
    close(fd);
    expect(false, "meta.db: not a database of this kind, or damaged\n");
    struct report report;
    assert_int_equal(check(true, &report), 0);
    assert_int_equal(report.n - report.n_repaired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(whole_stores_are_clean, remove_store),
        cmocka_unit_test_teardown(damage_in_tables, remove_store),
        cmocka_unit_test_teardown(files_of_nobody_are_put_aside, remove_store),
        cmocka_unit_test_teardown(missing_files_are_told_and_read_as_zeros, remove_store),
        cmocka_unit_test_teardown(lost_numbers_are_made_anew_above_all_in_use, remove_store),
        cmocka_unit_test_teardown(taken_names_are_not_used, remove_store),
        cmocka_unit_test_teardown(a_damaged_database_is_no_failure, remove_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
