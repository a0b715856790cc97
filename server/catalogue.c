// SPDX-License-Identifier: Apache-2.0
// File systems and access points as rows. Invariant: each function is one transaction, and what it returned 0
// for is on disk. Ids are drawn at random and never used again; numbers only grow. Called from the main
// thread.
#include "server/catalogue.h"
#include "fs/base/check.h"
#include "server/catalogue_db.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_HEX_DIGITS 17 // what Lambda's FileSystemConfigs accept

struct catalogue {
    sqlite3 *db;
    const struct env *env;
};

int catalogue_open(const char *directory, const struct env *env, struct catalogue **ret_catalogue)
{
    _cleanup_(freep) char *path = NULL;
    if (asprintf(&path, "%s/catalogue.db", directory) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    struct catalogue *catalogue = calloc(1, sizeof(*catalogue));
    if (!catalogue)
        return -ENOMEM;
    int result = catalogue_db_open(path, &catalogue->db);
    if (result < 0) {
        free(catalogue);
        return result;
    }
    catalogue->env = env;
    *ret_catalogue = catalogue;
    return 0;
}

void catalogue_close(struct catalogue *catalogue)
{
    if (!catalogue)
        return;
    int code = sqlite3_close(catalogue->db);
    fs_assert(code == SQLITE_OK);
    free(catalogue);
}

// --- transactions ---

static int begin(struct catalogue *catalogue)
{
    return catalogue_db_run(catalogue->db, "BEGIN IMMEDIATE", "");
}

// Commits when result is 0, else (or when that fails) rolls back; returns the first failure.
static int end(struct catalogue *catalogue, int result)
{
    if (result == 0)
        result = catalogue_db_run(catalogue->db, "COMMIT", "");
    if (result < 0 && !sqlite3_get_autocommit(catalogue->db))
        sqlite3_exec(catalogue->db, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

// --- what both kinds share ---

static void new_id(const struct env *env, const char *prefix, char out[FS_ID_SIZE])
{
    uint8_t bytes[(ID_HEX_DIGITS + 1) / 2];
    char digits[sizeof(bytes) * 2 + 1];
    env_random(env, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(digits + 2 * i, 3, "%02x", bytes[i]);
    snprintf(out, FS_ID_SIZE, "%s%.*s", prefix, ID_HEX_DIGITS, digits);
}

// Sets out to the one text that the query with one text parameter finds. 1: found, 0: not.
static int find_text(struct catalogue *catalogue, const char *sql, const char *key, char out[FS_ID_SIZE])
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "t", key);
    if (result == 0)
        result = catalogue_db_step(catalogue->db, query);
    if (result == 1)
        catalogue_db_text(query, 0, out, FS_ID_SIZE);
    return result;
}

// -EDQUOT when the count that the query (with one text parameter) finds has reached limit.
static int check_count(struct catalogue *catalogue, const char *sql, const char *key, unsigned limit)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "t", key);
    if (result == 0)
        result = catalogue_db_step(catalogue->db, query);
    if (result < 0)
        return result;
    return sqlite3_column_int64(query, 0) >= limit ? -EDQUOT : 0;
}

// -ENOENT when the statement that ran last changed no row.
static int require_change(struct catalogue *catalogue, int result)
{
    if (result < 0)
        return result;
    return sqlite3_changes(catalogue->db) > 0 ? 0 : -ENOENT;
}

// --- tags ---

static int insert_tags(struct catalogue *catalogue, const char *object_id, const struct catalogue_tags *tags)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < tags->n; i++) {
        result = catalogue_db_run(catalogue->db, "INSERT INTO tags(object_id, key, value) VALUES (?, ?, ?)",
                                  "ttt", object_id, tags->tag[i].key, tags->tag[i].value);
    }
    return result;
}

void catalogue_tags_clear(struct catalogue_tags *tags)
{
    free(tags->tag);
    *tags = (struct catalogue_tags){0};
}

static int load_tags(struct catalogue *catalogue, const char *object_id, struct catalogue_tags *ret_tags)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    static const char sql[] = "SELECT key, value FROM tags WHERE object_id = ? ORDER BY number";
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "t", object_id);
    struct catalogue_tags tags = {0};
    while (result == 0 && (result = catalogue_db_step(catalogue->db, query)) == 1) {
        struct catalogue_tag *grown = reallocarray(tags.tag, tags.n + 1, sizeof(*grown));
        if (!grown) {
            result = -ENOMEM;
            break;
        }
        tags.tag = grown;
        catalogue_db_text(query, 0, grown[tags.n].key, sizeof(grown->key));
        catalogue_db_text(query, 1, grown[tags.n].value, sizeof(grown->value));
        tags.n++;
        result = 0;
    }
    if (result < 0) {
        catalogue_tags_clear(&tags);
        return result;
    }
    *ret_tags = tags;
    return 0;
}

static int require_object(struct catalogue *catalogue, const char *id)
{
    char found_id[FS_ID_SIZE];
    int found =
        find_text(catalogue,
                  "SELECT id FROM (SELECT id FROM file_systems UNION ALL SELECT id FROM access_points)"
                  " WHERE id = ?",
                  id, found_id);
    return found < 0 ? found : found == 1 ? 0 : -ENOENT;
}

static int replace_tags(struct catalogue *catalogue, const char *id, const struct catalogue_tags *tags)
{
    int result = require_object(catalogue, id);
    for (size_t i = 0; result == 0 && i < tags->n; i++) {
        result = catalogue_db_run(catalogue->db,
                                  "INSERT INTO tags(object_id, key, value) VALUES (?, ?, ?)"
                                  " ON CONFLICT (object_id, key) DO UPDATE SET value = excluded.value",
                                  "ttt", id, tags->tag[i].key, tags->tag[i].value);
    }
    if (result < 0)
        return result;
    return check_count(catalogue, "SELECT count(*) FROM tags WHERE object_id = ?", id,
                       CATALOGUE_TAGS_MAX + 1);
}

int catalogue_add_tags(struct catalogue *catalogue, const char *id, const struct catalogue_tags *tags)
{
    int result = begin(catalogue);
    return result < 0 ? result : end(catalogue, replace_tags(catalogue, id, tags));
}

static int delete_tags(struct catalogue *catalogue, const char *id, const struct catalogue_tags *keys)
{
    int result = require_object(catalogue, id);
    for (size_t i = 0; result == 0 && i < keys->n; i++)
        result = catalogue_db_run(catalogue->db, "DELETE FROM tags WHERE object_id = ? AND key = ?", "tt", id,
                                  keys->tag[i].key);
    return result;
}

int catalogue_remove_tags(struct catalogue *catalogue, const char *id, const struct catalogue_tags *keys)
{
    int result = begin(catalogue);
    return result < 0 ? result : end(catalogue, delete_tags(catalogue, id, keys));
}

int catalogue_get_tags(struct catalogue *catalogue, const char *id, struct catalogue_tags *ret_tags)
{
    int result = require_object(catalogue, id);
    return result < 0 ? result : load_tags(catalogue, id, ret_tags);
}

// --- file systems ---

#define FILE_SYSTEM_COLUMNS                                                                         \
    "number, id, creation_token, state, created_ms, encrypted, performance_mode, throughput_mode, " \
    "provisioned_mibps, key, max_bytes, max_inodes"

void file_system_clear(struct file_system *fs)
{
    catalogue_tags_clear(&fs->tags);
}

static int load_key(sqlite3_stmt *row, int column, uint8_t key[SIPHASH_KEY_SIZE])
{
    if (sqlite3_column_bytes(row, column) != SIPHASH_KEY_SIZE)
        return -EUCLEAN;
    memcpy(key, sqlite3_column_blob(row, column), SIPHASH_KEY_SIZE);
    return 0;
}

static struct catalogue_quota load_quota(sqlite3_stmt *row, int column)
{
    return (struct catalogue_quota){.max_bytes = (uint64_t)sqlite3_column_int64(row, column),
                                    .max_inodes = (uint64_t)sqlite3_column_int64(row, column + 1)};
}

static int load_file_system(struct catalogue *catalogue, sqlite3_stmt *row, struct file_system *ret)
{
    struct file_system fs = {
        .number = (uint64_t)sqlite3_column_int64(row, 0),
        .state = (enum catalogue_state)sqlite3_column_int(row, 3),
        .created_ms = (uint64_t)sqlite3_column_int64(row, 4),
        .encrypted = sqlite3_column_int(row, 5) != 0,
        .provisioned_mibps = sqlite3_column_double(row, 8),
        .quota = load_quota(row, 10),
    };
    catalogue_db_text(row, 1, fs.id, sizeof(fs.id));
    catalogue_db_text(row, 2, fs.creation_token, sizeof(fs.creation_token));
    catalogue_db_text(row, 6, fs.performance_mode, sizeof(fs.performance_mode));
    catalogue_db_text(row, 7, fs.throughput_mode, sizeof(fs.throughput_mode));
    int result = load_key(row, 9, fs.key);
    if (result == 0)
        result = load_tags(catalogue, fs.id, &fs.tags);
    if (result < 0)
        return result;
    *ret = fs;
    return 0;
}

// In a transaction: -EEXIST (with the owner's id in fs->id) or -EDQUOT when fs cannot be added.
static int check_new_file_system(struct catalogue *catalogue, struct file_system *fs)
{
    int found = find_text(catalogue, "SELECT id FROM file_systems WHERE creation_token = ?",
                          fs->creation_token, fs->id);
    if (found != 0)
        return found < 0 ? found : -EEXIST;
    return check_count(catalogue, "SELECT count(*) FROM file_systems WHERE id <> ?", "",
                       CATALOGUE_FILE_SYSTEMS_MAX);
}

static int insert_file_system(struct catalogue *catalogue, struct file_system *fs)
{
    int result = catalogue_db_run(catalogue->db,
                                  "INSERT INTO file_systems(id, creation_token, state, created_ms, "
                                  "encrypted, performance_mode, throughput_mode,"
                                  " provisioned_mibps, key, max_bytes, max_inodes) "
                                  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                                  "ttiiittdbii", fs->id, fs->creation_token, (int64_t)fs->state,
                                  (int64_t)fs->created_ms, (int64_t)fs->encrypted, fs->performance_mode,
                                  fs->throughput_mode, fs->provisioned_mibps, fs->key, SIPHASH_KEY_SIZE,
                                  (int64_t)fs->quota.max_bytes, (int64_t)fs->quota.max_inodes);
    fs->number = (uint64_t)sqlite3_last_insert_rowid(catalogue->db);
    return result < 0 ? result : insert_tags(catalogue, fs->id, &fs->tags);
}

int catalogue_add_file_system(struct catalogue *catalogue, struct file_system *fs)
{
    struct file_system added = *fs;
    added.created_ms = env_realtime_ns(catalogue->env) / 1000000u;
    env_random(catalogue->env, added.key, sizeof(added.key));
    int result = begin(catalogue);
    if (result < 0)
        return result;
    result = check_new_file_system(catalogue, &added);
    if (result == -EEXIST)
        memcpy(fs->id, added.id, sizeof(fs->id));
    if (result == 0) {
        new_id(catalogue->env, "fs-", added.id);
        result = insert_file_system(catalogue, &added);
    }
    result = end(catalogue, result);
    if (result == 0)
        *fs = added;
    return result;
}

int catalogue_set_state(struct catalogue *catalogue, const char *fs_id, enum catalogue_state state)
{
    return require_change(catalogue,
                          catalogue_db_run(catalogue->db, "UPDATE file_systems SET state = ? WHERE id = ?",
                                           "it", (int64_t)state, fs_id));
}

static int remove_with_tags(struct catalogue *catalogue, const char *fs_id)
{
    static const char *const statements[] = {
        "DELETE FROM tags WHERE object_id IN (SELECT id FROM access_points WHERE file_system_id = ?)",
        "DELETE FROM tags WHERE object_id = ?",
        "DELETE FROM access_points WHERE file_system_id = ?",
    };
    int result = 0;
    for (size_t i = 0; result == 0 && i < ARRAY_LEN(statements); i++)
        result = catalogue_db_run(catalogue->db, statements[i], "t", fs_id);
    return result;
}

int catalogue_remove_file_system(struct catalogue *catalogue, const char *fs_id)
{
    int result = begin(catalogue);
    if (result < 0)
        return result;
    result = remove_with_tags(catalogue, fs_id);
    if (result == 0)
        result = require_change(
            catalogue, catalogue_db_run(catalogue->db, "DELETE FROM file_systems WHERE id = ?", "t", fs_id));
    return end(catalogue, result);
}

int catalogue_get_file_system(struct catalogue *catalogue, const char *fs_id, struct file_system *ret)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    static const char sql[] = "SELECT " FILE_SYSTEM_COLUMNS " FROM file_systems WHERE id = ?";
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "t", fs_id);
    if (result == 0)
        result = catalogue_db_step(catalogue->db, query);
    if (result != 1)
        return result < 0 ? result : -ENOENT;
    return load_file_system(catalogue, query, ret);
}

int catalogue_list_file_systems(struct catalogue *catalogue, uint64_t after,
                                bool (*visit)(void *context, const struct file_system *fs), void *context)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    static const char sql[] =
        "SELECT " FILE_SYSTEM_COLUMNS " FROM file_systems WHERE number > ? ORDER BY number";
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "i", (int64_t)after);
    while (result == 0 && (result = catalogue_db_step(catalogue->db, query)) == 1) {
        struct file_system fs;
        result = load_file_system(catalogue, query, &fs);
        if (result < 0)
            return result;
        bool more = visit(context, &fs);
        file_system_clear(&fs);
        if (!more)
            return 0;
    }
    return result;
}

// --- access points ---

#define ACCESS_POINT_COLUMNS                                                                        \
    "number, id, file_system_id, client_token, key, uid, gid, groups, path, owner_uid, owner_gid, " \
    "permissions, max_bytes, max_inodes"

void access_point_clear(struct access_point *ap)
{
    catalogue_tags_clear(&ap->tags);
}

static size_t encode_groups(const struct access_point *ap, uint8_t out[FS_AP_GROUPS_MAX * 4])
{
    for (uint32_t i = 0; i < ap->n_groups; i++) {
        for (unsigned byte = 0; byte < 4; byte++)
            out[4 * i + byte] = (uint8_t)(ap->groups[i] >> (8 * byte));
    }
    return 4 * (size_t)ap->n_groups;
}

static int decode_groups(sqlite3_stmt *row, int column, struct access_point *ap)
{
    const uint8_t *bytes = sqlite3_column_blob(row, column);
    int n = sqlite3_column_bytes(row, column);
    if (n % 4 != 0 || n > (int)FS_AP_GROUPS_MAX * 4)
        return -EUCLEAN;
    ap->n_groups = (uint32_t)n / 4;
    for (uint32_t i = 0; i < ap->n_groups; i++) {
        for (unsigned byte = 0; byte < 4; byte++)
            ap->groups[i] |= (uint32_t)bytes[4 * i + byte] << (8 * byte);
    }
    return 0;
}

static int load_access_point(struct catalogue *catalogue, sqlite3_stmt *row, struct access_point *ret)
{
    struct access_point ap = {
        .number = (uint64_t)sqlite3_column_int64(row, 0),
        .has_user = sqlite3_column_type(row, 5) != SQLITE_NULL,
        .uid = (uint32_t)sqlite3_column_int64(row, 5),
        .gid = (uint32_t)sqlite3_column_int64(row, 6),
        .has_creation_info = sqlite3_column_type(row, 9) != SQLITE_NULL,
        .owner_uid = (uint32_t)sqlite3_column_int64(row, 9),
        .owner_gid = (uint32_t)sqlite3_column_int64(row, 10),
        .permissions = (uint32_t)sqlite3_column_int64(row, 11),
        .quota = load_quota(row, 12),
    };
    catalogue_db_text(row, 1, ap.id, sizeof(ap.id));
    catalogue_db_text(row, 2, ap.file_system_id, sizeof(ap.file_system_id));
    catalogue_db_text(row, 3, ap.client_token, sizeof(ap.client_token));
    catalogue_db_text(row, 8, ap.path, sizeof(ap.path));
    int result = load_key(row, 4, ap.key);
    if (result == 0)
        result = decode_groups(row, 7, &ap);
    if (result == 0)
        result = load_tags(catalogue, ap.id, &ap.tags);
    if (result < 0)
        return result;
    *ret = ap;
    return 0;
}

// 1: an access point with this root, whose id goes to ap->id, has another quota.
static int find_other_quota(struct catalogue *catalogue, struct access_point *ap)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    static const char sql[] = "SELECT id FROM access_points WHERE file_system_id = ? AND path = ? AND "
                              "(max_bytes <> ? OR max_inodes <> ?) ORDER BY number LIMIT 1";
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "ttii", ap->file_system_id, ap->path,
                                      (int64_t)ap->quota.max_bytes, (int64_t)ap->quota.max_inodes);
    if (result == 0)
        result = catalogue_db_step(catalogue->db, query);
    if (result == 1)
        catalogue_db_text(query, 0, ap->id, sizeof(ap->id));
    return result;
}

// In a transaction: -ENOENT, -EEXIST or -ENOTUNIQ (with the other's id in ap->id) or -EDQUOT when ap cannot
// be added.
static int check_new_access_point(struct catalogue *catalogue, struct access_point *ap)
{
    char fs_id[FS_ID_SIZE];
    int found =
        find_text(catalogue, "SELECT id FROM access_points WHERE client_token = ?", ap->client_token, ap->id);
    if (found != 0)
        return found < 0 ? found : -EEXIST;
    found = find_text(catalogue, "SELECT id FROM file_systems WHERE id = ?", ap->file_system_id, fs_id);
    if (found != 1)
        return found < 0 ? found : -ENOENT;
    found = find_other_quota(catalogue, ap);
    if (found != 0)
        return found < 0 ? found : -ENOTUNIQ;
    return check_count(catalogue, "SELECT count(*) FROM access_points WHERE file_system_id = ?",
                       ap->file_system_id, CATALOGUE_ACCESS_POINTS_MAX);
}

static int insert_user(struct catalogue *catalogue, const struct access_point *ap)
{
    if (!ap->has_user)
        return 0;
    return catalogue_db_run(catalogue->db, "UPDATE access_points SET uid = ?, gid = ? WHERE id = ?", "iit",
                            (int64_t)ap->uid, (int64_t)ap->gid, ap->id);
}

static int insert_creation_info(struct catalogue *catalogue, const struct access_point *ap)
{
    if (!ap->has_creation_info)
        return 0;
    return catalogue_db_run(
        catalogue->db, "UPDATE access_points SET owner_uid = ?, owner_gid = ?, permissions = ? WHERE id = ?",
        "iiit", (int64_t)ap->owner_uid, (int64_t)ap->owner_gid, (int64_t)ap->permissions, ap->id);
}

static int insert_access_point(struct catalogue *catalogue, struct access_point *ap)
{
    uint8_t groups[FS_AP_GROUPS_MAX * 4];
    fs_assert(ap->n_groups <= FS_AP_GROUPS_MAX);
    int n = (int)encode_groups(ap, groups);
    int result =
        catalogue_db_run(catalogue->db,
                         "INSERT INTO access_points(id, file_system_id, client_token, key, groups, "
                         "path, max_bytes, max_inodes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                         "tttbbtii", ap->id, ap->file_system_id, ap->client_token, ap->key, SIPHASH_KEY_SIZE,
                         groups, n, ap->path, (int64_t)ap->quota.max_bytes, (int64_t)ap->quota.max_inodes);
    ap->number = (uint64_t)sqlite3_last_insert_rowid(catalogue->db);
    if (result == 0)
        result = insert_user(catalogue, ap);
    if (result == 0)
        result = insert_creation_info(catalogue, ap);
    return result < 0 ? result : insert_tags(catalogue, ap->id, &ap->tags);
}

int catalogue_add_access_point(struct catalogue *catalogue, struct access_point *ap)
{
    struct access_point added = *ap;
    env_random(catalogue->env, added.key, sizeof(added.key));
    int result = begin(catalogue);
    if (result < 0)
        return result;
    result = check_new_access_point(catalogue, &added);
    if (result == -EEXIST || result == -ENOTUNIQ)
        memcpy(ap->id, added.id, sizeof(ap->id));
    if (result == 0) {
        new_id(catalogue->env, "fsap-", added.id);
        result = insert_access_point(catalogue, &added);
    }
    result = end(catalogue, result);
    if (result == 0)
        *ap = added;
    return result;
}

int catalogue_remove_access_point(struct catalogue *catalogue, const char *ap_id)
{
    int result = begin(catalogue);
    if (result < 0)
        return result;
    result = catalogue_db_run(catalogue->db, "DELETE FROM tags WHERE object_id = ?", "t", ap_id);
    if (result == 0)
        result = require_change(
            catalogue, catalogue_db_run(catalogue->db, "DELETE FROM access_points WHERE id = ?", "t", ap_id));
    return end(catalogue, result);
}

int catalogue_get_access_point(struct catalogue *catalogue, const char *ap_id, struct access_point *ret)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    static const char sql[] = "SELECT " ACCESS_POINT_COLUMNS " FROM access_points WHERE id = ?";
    int result = catalogue_db_prepare(catalogue->db, &query, sql, "t", ap_id);
    if (result == 0)
        result = catalogue_db_step(catalogue->db, query);
    if (result != 1)
        return result < 0 ? result : -ENOENT;
    return load_access_point(catalogue, query, ret);
}

static int prepare_access_points(struct catalogue *catalogue, const char *fs_id, uint64_t after,
                                 sqlite3_stmt **ret)
{
    if (fs_id) {
        return catalogue_db_prepare(
            catalogue->db, ret,
            "SELECT " ACCESS_POINT_COLUMNS
            " FROM access_points WHERE file_system_id = ? AND number > ? ORDER BY number",
            "ti", fs_id, (int64_t)after);
    }
    return catalogue_db_prepare(catalogue->db, ret,
                                "SELECT " ACCESS_POINT_COLUMNS
                                " FROM access_points WHERE number > ? ORDER BY number",
                                "i", (int64_t)after);
}

int catalogue_list_access_points(struct catalogue *catalogue, const char *fs_id, uint64_t after,
                                 bool (*visit)(void *context, const struct access_point *ap), void *context)
{
    _cleanup_(catalogue_db_finalize) sqlite3_stmt *query = NULL;
    int result = prepare_access_points(catalogue, fs_id, after, &query);
    while (result == 0 && (result = catalogue_db_step(catalogue->db, query)) == 1) {
        struct access_point ap;
        result = load_access_point(catalogue, query, &ap);
        if (result < 0)
            return result;
        bool more = visit(context, &ap);
        access_point_clear(&ap);
        if (!more)
            return 0;
    }
    return result;
}

// --- quotas ---

int catalogue_set_quota(struct catalogue *catalogue, const char *id, const struct catalogue_quota *quota)
{
    static const char *const statements[] = {
        "UPDATE file_systems SET max_bytes = ?, max_inodes = ? WHERE id = ?",
        "UPDATE access_points SET max_bytes = ?, max_inodes = ? WHERE (file_system_id, path) IN "
        "(SELECT file_system_id, path FROM access_points WHERE id = ?)",
    };
    int result = -ENOENT;
    for (size_t i = 0; result == -ENOENT && i < ARRAY_LEN(statements); i++) {
        result = catalogue_db_run(catalogue->db, statements[i], "iit", (int64_t)quota->max_bytes,
                                  (int64_t)quota->max_inodes, id);
        result = require_change(catalogue, result);
    }
    return result;
}
