// SPDX-License-Identifier: Apache-2.0
// The catalogue against what its header promises; each test has a directory of its own, and reopening proves
// what is kept.
#include "fs/base/check.h"
#include "server/catalogue.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    char directory[64];
    struct catalogue *catalogue;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->directory, "/tmp/berth-catalogue-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(catalogue_open(f->directory, &env_system, &f->catalogue), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"catalogue.db", "catalogue.db-wal", "catalogue.db-shm"};
    struct fixture *f = *state;
    catalogue_close(f->catalogue);
    int directory = open(f->directory, O_RDONLY | O_DIRECTORY);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlinkat(directory, names[i], 0);
    close(directory);
    int removed = rmdir(f->directory);
    free(f);
    return removed;
}

static void reopen(struct fixture *f)
{
    catalogue_close(f->catalogue);
    f->catalogue = NULL;
    assert_int_equal(catalogue_open(f->directory, &env_system, &f->catalogue), 0);
}

static struct catalogue_tag two_tags[] = {{"Name", "first \xc3\xa9"}, {"team", ""}};

static struct file_system sample_fs(const char *token)
{
    struct file_system fs = {.state = CATALOGUE_CREATING, .encrypted = true, .provisioned_mibps = 12.5};
    strcpy(fs.creation_token, token);
    strcpy(fs.performance_mode, "maxIO");
    strcpy(fs.throughput_mode, "provisioned");
    return fs;
}

static struct access_point sample_ap(const char *fs_id, const char *token)
{
    struct access_point ap = {.path = "/a/b"};
    strcpy(ap.file_system_id, fs_id);
    strcpy(ap.client_token, token);
    return ap;
}

static void add_fs(struct fixture *f, const char *token, struct file_system *ret)
{
    *ret = sample_fs(token);
    assert_int_equal(catalogue_add_file_system(f->catalogue, ret), 0);
}

static void check_id(const char *id, const char *prefix)
{
    assert_memory_equal(id, prefix, strlen(prefix));
    assert_int_equal(strlen(id), strlen(prefix) + 17);
    assert_int_equal(strspn(id + strlen(prefix), "0123456789abcdef"), 17);
}

static void test_file_system_is_kept(void **state)
{
    struct fixture *f = *state;
    struct file_system fs = sample_fs("token"), got;
    fs.tags = (struct catalogue_tags){.n = 2, .tag = two_tags};
    assert_int_equal(catalogue_add_file_system(f->catalogue, &fs), 0);
    check_id(fs.id, "fs-");
    reopen(f);
    assert_int_equal(catalogue_get_file_system(f->catalogue, fs.id, &got), 0);
    assert_string_equal(got.id, fs.id);
    assert_string_equal(got.creation_token, "token");
    assert_string_equal(got.performance_mode, "maxIO");
    assert_string_equal(got.throughput_mode, "provisioned");
    assert_true(got.encrypted);
    assert_true(got.provisioned_mibps == 12.5);
    assert_int_equal(got.state, CATALOGUE_CREATING);
    assert_true(got.created_ms == fs.created_ms && got.created_ms > 1600000000000u);
    assert_memory_equal(got.key, fs.key, SIPHASH_KEY_SIZE);
    assert_int_equal(got.tags.n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(got.tags.tag[i].key, two_tags[i].key);
        assert_string_equal(got.tags.tag[i].value, two_tags[i].value);
    }
    file_system_clear(&got);
}

static void test_state_is_kept(void **state)
{
    struct fixture *f = *state;
    struct file_system fs, got;
    add_fs(f, "token", &fs);
    assert_int_equal(catalogue_set_state(f->catalogue, fs.id, CATALOGUE_AVAILABLE), 0);
    reopen(f);
    assert_int_equal(catalogue_get_file_system(f->catalogue, fs.id, &got), 0);
    assert_int_equal(got.state, CATALOGUE_AVAILABLE);
    file_system_clear(&got);
    assert_int_equal(catalogue_set_state(f->catalogue, "fs-00000000000000000", CATALOGUE_DELETING), -ENOENT);
}

static void test_a_token_is_taken_once(void **state)
{
    struct fixture *f = *state;
    struct file_system fs, other;
    add_fs(f, "token", &fs);
    other = sample_fs("token");
    assert_int_equal(catalogue_add_file_system(f->catalogue, &other), -EEXIST);
    assert_string_equal(other.id, fs.id);
    assert_int_equal(catalogue_remove_file_system(f->catalogue, fs.id), 0);
    other = sample_fs("token");
    assert_int_equal(catalogue_add_file_system(f->catalogue, &other), 0);
    assert_true(other.number > fs.number);
    assert_string_not_equal(other.id, fs.id);
}

static void test_access_point_is_kept(void **state)
{
    struct fixture *f = *state;
    struct file_system fs;
    add_fs(f, "token", &fs);
    struct access_point ap = sample_ap(fs.id, "ap-token"), got;
    ap.has_user = ap.has_creation_info = true;
    ap.uid = 0;
    ap.gid = UINT32_MAX;
    ap.n_groups = FS_AP_GROUPS_MAX;
    for (uint32_t i = 0; i < FS_AP_GROUPS_MAX; i++)
        ap.groups[i] = UINT32_MAX - i * 0x01020304u;
    ap.owner_uid = 7;
    ap.owner_gid = 8;
    ap.permissions = 01750;
    ap.tags = (struct catalogue_tags){.n = 2, .tag = two_tags};
    assert_int_equal(catalogue_add_access_point(f->catalogue, &ap), 0);
    check_id(ap.id, "fsap-");
    reopen(f);
    assert_int_equal(catalogue_get_access_point(f->catalogue, ap.id, &got), 0);
    assert_string_equal(got.file_system_id, fs.id);
    assert_string_equal(got.client_token, "ap-token");
    assert_string_equal(got.path, "/a/b");
    assert_true(got.has_user && got.has_creation_info);
    assert_true(got.uid == 0 && got.gid == UINT32_MAX && got.n_groups == FS_AP_GROUPS_MAX);
    assert_memory_equal(got.groups, ap.groups, sizeof(ap.groups));
    assert_true(got.owner_uid == 7 && got.owner_gid == 8 && got.permissions == 01750);
    assert_memory_equal(got.key, ap.key, SIPHASH_KEY_SIZE);
    assert_int_equal(got.tags.n, 2);
    access_point_clear(&got);
}

static void test_access_point_without_user_and_creation_info(void **state)
{
    struct fixture *f = *state;
    struct file_system fs;
    add_fs(f, "token", &fs);
    struct access_point ap = sample_ap(fs.id, "t"), got;
    assert_int_equal(catalogue_add_access_point(f->catalogue, &ap), 0);
    assert_int_equal(catalogue_get_access_point(f->catalogue, ap.id, &got), 0);
    assert_false(got.has_user || got.has_creation_info);
    assert_int_equal(got.n_groups, 0);
    access_point_clear(&got);
}

static void test_access_point_refusals(void **state)
{
    struct fixture *f = *state;
    struct file_system fs;
    add_fs(f, "token", &fs);
    struct access_point ap = sample_ap(fs.id, "t"), again = sample_ap(fs.id, "t"), got;
    struct access_point nowhere = sample_ap("fs-00000000000000000", "u");
    assert_int_equal(catalogue_add_access_point(f->catalogue, &ap), 0);
    assert_int_equal(catalogue_add_access_point(f->catalogue, &again), -EEXIST);
    assert_string_equal(again.id, ap.id);
    assert_int_equal(catalogue_add_access_point(f->catalogue, &nowhere), -ENOENT);
    assert_int_equal(catalogue_remove_access_point(f->catalogue, ap.id), 0);
    assert_int_equal(catalogue_remove_access_point(f->catalogue, ap.id), -ENOENT);
    assert_int_equal(catalogue_get_access_point(f->catalogue, ap.id, &got), -ENOENT);
}

static void test_removing_a_file_system_takes_its_access_points(void **state)
{
    struct fixture *f = *state;
    struct file_system fs, kept, got_fs;
    add_fs(f, "a", &fs);
    add_fs(f, "b", &kept);
    struct access_point gone = sample_ap(fs.id, "1"), stays = sample_ap(kept.id, "2"), got;
    gone.tags = stays.tags = (struct catalogue_tags){.n = 2, .tag = two_tags};
    assert_int_equal(catalogue_add_access_point(f->catalogue, &gone), 0);
    assert_int_equal(catalogue_add_access_point(f->catalogue, &stays), 0);
    assert_int_equal(catalogue_remove_file_system(f->catalogue, fs.id), 0);
    assert_int_equal(catalogue_remove_file_system(f->catalogue, fs.id), -ENOENT);
    assert_int_equal(catalogue_get_file_system(f->catalogue, fs.id, &got_fs), -ENOENT);
    assert_int_equal(catalogue_get_access_point(f->catalogue, gone.id, &got), -ENOENT);
    assert_int_equal(catalogue_get_access_point(f->catalogue, stays.id, &got), 0);
    assert_int_equal(got.tags.n, 2);
    access_point_clear(&got);
}

struct listing {
    size_t n, stop_at;
    uint64_t number[8];
    char id[8][FS_ID_SIZE];
};

static bool note_fs(void *context, const struct file_system *fs)
{
    struct listing *listing = context;
    listing->number[listing->n] = fs->number;
    strcpy(listing->id[listing->n], fs->id);
    return ++listing->n != listing->stop_at;
}

static bool note_ap(void *context, const struct access_point *ap)
{
    struct listing *listing = context;
    strcpy(listing->id[listing->n], ap->id);
    return ++listing->n != listing->stop_at;
}

static void test_listing_goes_on_after_what_was_removed(void **state)
{
    struct fixture *f = *state;
    struct file_system fs[4];
    static const char *const tokens[] = {"d", "c", "b", "a"};
    for (size_t i = 0; i < 4; i++)
        add_fs(f, tokens[i], &fs[i]);
    struct listing first = {.stop_at = 2}, rest = {.stop_at = 8};
    assert_int_equal(catalogue_list_file_systems(f->catalogue, 0, note_fs, &first), 0);
    assert_int_equal(first.n, 2);
    assert_string_equal(first.id[0], fs[0].id);
    assert_int_equal(catalogue_remove_file_system(f->catalogue, fs[1].id), 0);
    assert_int_equal(catalogue_list_file_systems(f->catalogue, first.number[1], note_fs, &rest), 0);
    assert_int_equal(rest.n, 2);
    assert_string_equal(rest.id[0], fs[2].id);
    assert_string_equal(rest.id[1], fs[3].id);
}

static void test_listing_access_points(void **state)
{
    struct fixture *f = *state;
    struct file_system a, b;
    add_fs(f, "a", &a);
    add_fs(f, "b", &b);
    struct access_point ap[3] = {sample_ap(a.id, "1"), sample_ap(b.id, "2"), sample_ap(a.id, "3")};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(catalogue_add_access_point(f->catalogue, &ap[i]), 0);
    struct listing of_a = {.stop_at = 8}, all = {.stop_at = 8}, after = {.stop_at = 8};
    assert_int_equal(catalogue_list_access_points(f->catalogue, a.id, 0, note_ap, &of_a), 0);
    assert_int_equal(of_a.n, 2);
    assert_string_equal(of_a.id[1], ap[2].id);
    assert_int_equal(catalogue_list_access_points(f->catalogue, NULL, 0, note_ap, &all), 0);
    assert_int_equal(all.n, 3);
    assert_int_equal(catalogue_list_access_points(f->catalogue, a.id, ap[0].number, note_ap, &after), 0);
    assert_int_equal(after.n, 1);
    assert_string_equal(after.id[0], ap[2].id);
}

static void test_the_limit_on_file_systems(void **state)
{
    struct fixture *f = *state;
    struct file_system fs;
    char token[16];
    for (unsigned i = 0; i < CATALOGUE_FILE_SYSTEMS_MAX; i++) {
        snprintf(token, sizeof(token), "t%u", i);
        add_fs(f, token, &fs);
    }
    struct file_system one_more = sample_fs("more");
    assert_int_equal(catalogue_add_file_system(f->catalogue, &one_more), -EDQUOT);
    assert_int_equal(catalogue_remove_file_system(f->catalogue, fs.id), 0);
    assert_int_equal(catalogue_add_file_system(f->catalogue, &one_more), 0);
}

static void check_tags(struct fixture *f, const char *id, size_t n, const char *const *keys_and_values)
{
    struct catalogue_tags tags;
    assert_int_equal(catalogue_get_tags(f->catalogue, id, &tags), 0);
    assert_int_equal(tags.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(tags.tag[i].key, keys_and_values[2 * i]);
        assert_string_equal(tags.tag[i].value, keys_and_values[2 * i + 1]);
    }
    catalogue_tags_clear(&tags);
}

static void test_tags_change(void **state)
{
    struct fixture *f = *state;
    struct file_system fs;
    add_fs(f, "a", &fs);
    struct access_point ap = sample_ap(fs.id, "1");
    assert_int_equal(catalogue_add_access_point(f->catalogue, &ap), 0);
    struct catalogue_tag changed[] = {{"team", "red"}, {"x", "y"}}, gone[] = {{"Name", ""}, {"nothing", ""}};
    const struct catalogue_tags two = {2, two_tags}, change = {2, changed}, keys = {2, gone};
    assert_int_equal(catalogue_add_tags(f->catalogue, ap.id, &two), 0);
    assert_int_equal(catalogue_add_tags(f->catalogue, ap.id, &change), 0);
    reopen(f);
    check_tags(f, ap.id, 3, (const char *[]){"Name", "first \xc3\xa9", "team", "red", "x", "y"});
    assert_int_equal(catalogue_remove_tags(f->catalogue, ap.id, &keys), 0);
    check_tags(f, ap.id, 2, (const char *[]){"team", "red", "x", "y"});
    check_tags(f, fs.id, 0, NULL);
    struct catalogue_tags none;
    static const char nowhere[] = "fs-00000000000000000";
    assert_int_equal(catalogue_add_tags(f->catalogue, nowhere, &two), -ENOENT);
    assert_int_equal(catalogue_remove_tags(f->catalogue, nowhere, &two), -ENOENT);
    assert_int_equal(catalogue_get_tags(f->catalogue, nowhere, &none), -ENOENT);
}

static void test_the_limit_on_tags(void **state)
{
    struct fixture *f = *state;
    struct file_system fs;
    add_fs(f, "a", &fs);
    struct catalogue_tag *tags = calloc(CATALOGUE_TAGS_MAX + 1, sizeof(*tags));
    for (unsigned i = 0; i <= CATALOGUE_TAGS_MAX; i++)
        snprintf(tags[i].key, sizeof(tags[i].key), "k%u", i);
    const struct catalogue_tags most = {CATALOGUE_TAGS_MAX, tags}, last = {1, tags + CATALOGUE_TAGS_MAX};
    assert_int_equal(catalogue_add_tags(f->catalogue, fs.id, &most), 0);
    assert_int_equal(catalogue_add_tags(f->catalogue, fs.id, &last), -EDQUOT);
    assert_int_equal(catalogue_add_tags(f->catalogue, fs.id, &most), 0); // the same keys
    struct catalogue_tags got;
    assert_int_equal(catalogue_get_tags(f->catalogue, fs.id, &got), 0);
    assert_int_equal(got.n, CATALOGUE_TAGS_MAX);
    catalogue_tags_clear(&got);
    free(tags);
}

// --- opening what is not ours ---

static char *database_path(const struct fixture *f)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/catalogue.db", f->directory);
    return path;
}

static int open_again(struct fixture *f)
{
    struct catalogue *untouched = (struct catalogue *)f;
    int result = catalogue_open(f->directory, &env_system, &untouched);
    assert_ptr_equal(untouched, f);
    return result;
}

static void alter(struct fixture *f, const char *sql)
{
    catalogue_close(f->catalogue);
    f->catalogue = NULL;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(database_path(f), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_a_newer_version_is_refused(void **state)
{
    struct fixture *f = *state;
    alter(f, "PRAGMA user_version=3");
    assert_int_equal(open_again(f), -EPROTONOSUPPORT);
}

static void test_another_programs_database_is_refused(void **state)
{
    struct fixture *f = *state;
    alter(f, "PRAGMA application_id=7");
    assert_int_equal(open_again(f), -EUCLEAN);
}

static void test_garbage_is_refused(void **state)
{
    struct fixture *f = *state;
    catalogue_close(f->catalogue);
    f->catalogue = NULL;
    int fd = open(database_path(f), O_WRONLY | O_TRUNC);
    char garbage[8192];
    memset(garbage, 'x', sizeof(garbage));
    assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
    close(fd);
    assert_int_equal(open_again(f), -EUCLEAN);
}

static void test_a_missing_directory_is_named_by_its_errno(void **state)
{
    (void)state;
    struct catalogue *catalogue;
    assert_int_equal(catalogue_open("/nonexistent/berth", &env_system, &catalogue), -ENOENT);
}

static void assert_ap_quota(struct fixture *f, const char *id, uint64_t max_bytes, uint64_t max_inodes)
{
    struct access_point ap;
    assert_int_equal(catalogue_get_access_point(f->catalogue, id, &ap), 0);
    assert_true(ap.quota.max_bytes == max_bytes && ap.quota.max_inodes == max_inodes);
    access_point_clear(&ap);
}

static void test_quotas_are_kept_by_root(void **state)
{
    struct fixture *f = *state;
    struct file_system fs = sample_fs("token"), other, got;
    fs.quota = (struct catalogue_quota){.max_bytes = INT64_MAX, .max_inodes = 7};
    assert_int_equal(catalogue_add_file_system(f->catalogue, &fs), 0);
    add_fs(f, "other", &other);
    struct access_point first = sample_ap(fs.id, "1"), second = sample_ap(fs.id, "2"),
                        elsewhere = sample_ap(fs.id, "3"), apart = sample_ap(other.id, "4");
    first.quota.max_bytes = elsewhere.quota.max_inodes = apart.quota.max_bytes = 5;
    strcpy(elsewhere.path, "/a");
    assert_int_equal(catalogue_add_access_point(f->catalogue, &first), 0);
    assert_int_equal(catalogue_add_access_point(f->catalogue, &second), -ENOTUNIQ);
    assert_string_equal(second.id, first.id);
    second.quota.max_bytes = 5;
    assert_int_equal(catalogue_add_access_point(f->catalogue, &second), 0);
    assert_int_equal(catalogue_add_access_point(f->catalogue, &elsewhere), 0);
    assert_int_equal(catalogue_add_access_point(f->catalogue, &apart), 0);
    struct catalogue_quota quota = {.max_bytes = 1, .max_inodes = 2};
    assert_int_equal(catalogue_set_quota(f->catalogue, second.id, &quota), 0);
    assert_int_equal(catalogue_set_quota(f->catalogue, other.id, &quota), 0);
    assert_int_equal(catalogue_set_quota(f->catalogue, "fsap-00000000000000000", &quota), -ENOENT);
    reopen(f);
    assert_ap_quota(f, first.id, 1, 2);
    assert_ap_quota(f, second.id, 1, 2);
    assert_ap_quota(f, elsewhere.id, 0, 5);
    assert_ap_quota(f, apart.id, 5, 0);
    assert_int_equal(catalogue_get_file_system(f->catalogue, fs.id, &got), 0);
    assert_true(got.quota.max_bytes == INT64_MAX && got.quota.max_inodes == 7);
    file_system_clear(&got);
    assert_int_equal(catalogue_get_file_system(f->catalogue, other.id, &got), 0);
    assert_true(got.quota.max_bytes == 1 && got.quota.max_inodes == 2);
    file_system_clear(&got);
}

static void test_only_the_owner_may_read_it(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    assert_int_equal(stat(database_path(f), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file_system_is_kept),
        TEST(test_state_is_kept),
        TEST(test_a_token_is_taken_once),
        TEST(test_access_point_is_kept),
        TEST(test_access_point_without_user_and_creation_info),
        TEST(test_access_point_refusals),
        TEST(test_removing_a_file_system_takes_its_access_points),
        TEST(test_listing_goes_on_after_what_was_removed),
        TEST(test_listing_access_points),
        TEST(test_the_limit_on_file_systems),
        TEST(test_quotas_are_kept_by_root),
        TEST(test_tags_change),
        TEST(test_the_limit_on_tags),
        TEST(test_a_newer_version_is_refused),
        TEST(test_another_programs_database_is_refused),
        TEST(test_garbage_is_refused),
        TEST(test_a_missing_directory_is_named_by_its_errno),
        TEST(test_only_the_owner_may_read_it),
    };
    return cmocka_run_group_tests_name("server_catalogue", tests, NULL, NULL);
}
