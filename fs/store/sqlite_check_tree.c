// SPDX-License-Identifier: Apache-2.0
// The tree: entries, links, parents, what cannot be reached, quota numbers of directories. Each rule may
// count on those before it having been repaired; without repairs it only must not stumble. Any one thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_check.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define IS_DIR(inode)    "(" inode ".mode & 61440) = 16384"
#define ENTRY(d)         "printf('entry %s in inode %lld: ', shown(" d ".name), " d ".parent)"
#define DROP_ENTRY       "DELETE FROM dentry WHERE parent IS ?2 AND name IS ?3"
#define HAS_ENTRIES(ino) "EXISTS (SELECT 1 FROM dentry c WHERE c.parent = " ino ")"
#define IS_NAMED(ino)    "EXISTS (SELECT 1 FROM dentry e WHERE e.ino = " ino ")"
#define NO_INODE(ino)    "NOT EXISTS (SELECT 1 FROM inode n WHERE n.ino = " ino ")"
#define HAS_DATA(x)                                                                                          \
    "(EXISTS (SELECT 1 FROM data b WHERE b.ino = " x ") OR EXISTS (SELECT 1 FROM segment s WHERE s.ino = " x \
    "))"
#define INODE_OF(type, mode, size, parent)                                            \
    "INSERT INTO inode SELECT ?1, " type " | " mode ", 1, 0, 0, 0, " size ", " parent \
    ", 0, now(), 0, now(), 0, now(), 0, now(), 0, 0"

// --- inodes that are gone although something of them is there ---

static const struct rule missing_rules[] = {
    {.kind = "root",
     .find = "SELECT 1, 'inode 1: the root directory is missing' WHERE NOT EXISTS (SELECT 1 FROM inode WHERE "
             "ino = 1) "
             "AND (EXISTS (SELECT 1 FROM inode) OR EXISTS (SELECT 1 FROM dentry))",
     .repair = INODE_OF("16384", "493", "0", "1")},
    {.kind = "root",
     .find = "SELECT 1, 'inode 1: the root is no directory' FROM inode i WHERE ino = 1 AND NOT " IS_DIR("i"),
     .repair = "UPDATE inode SET mode = 16384 | (mode & 4095), size = 0 WHERE ino = ?1"},
    {.kind = "missing-inode",
     .find = "SELECT DISTINCT d.parent, printf('inode %lld: is missing, has entries', d.parent) FROM dentry "
             "d WHERE "
             "typeof(d.parent) = 'integer' AND d.parent > 1 AND " NO_INODE("d.parent"),
     .repair = INODE_OF("16384", "448", "0", "coalesce((SELECT parent FROM dentry WHERE ino = ?1), 1)")},
    {.kind = "missing-inode",
     .find =
         "SELECT f.ino, printf('inode %lld: is missing, has data', f.ino), f.size FROM (SELECT ino, "
         "coalesce(length(bytes), 0) AS size FROM data UNION SELECT DISTINCT ino, 0 FROM segment WHERE ino "
         "NOT IN "
         "(SELECT ino FROM data)) f WHERE f.ino > 1 AND " NO_INODE("f.ino") " AND NOT " HAS_ENTRIES("f.ino"),
     .repair =
         INODE_OF("coalesce((SELECT type FROM dentry WHERE ino = ?1 AND type = 40960), 32768)", "384",
                  "max(?2, coalesce((SELECT file_size(file) FROM data WHERE ino = ?1), 0), coalesce((SELECT "
                  "number * 1099511627776 + file_size(file) FROM segment WHERE ino = ?1 ORDER BY number DESC "
                  "LIMIT 1), 0))",
                  "coalesce((SELECT parent FROM dentry WHERE ino = ?1), 1)")},
};

// --- entries ---

static const struct rule entry_rules[] = {
    {.kind = "entry",
     .find = "SELECT 0, " ENTRY(
         "d") " || 'its row makes no sense', d.parent, d.name FROM dentry d WHERE typeof(parent) "
              "<> 'integer' OR typeof(ino) <> 'integer' OR NOT name_fits(name)",
     .repair = DROP_ENTRY},
    {.kind = "dangling",
     .find = "SELECT 0, " ENTRY("d") " || printf('inode %lld is missing', d.ino), d.parent, d.name FROM "
                                     "dentry d WHERE " NO_INODE("d.ino") " AND NOT (" HAS_ENTRIES(
                                         "d.ino") " OR " HAS_DATA("d.ino") ") OR d.ino < 1",
     .repair = DROP_ENTRY},
    {.kind = "entry",
     .find = "SELECT 0, " ENTRY(
         "d") " || 'that is no directory', d.parent, d.name FROM dentry d JOIN inode i ON i.ino = "
              "d.parent WHERE NOT " IS_DIR("i"),
     .repair = DROP_ENTRY},
    {.kind = "entry",
     .find = "SELECT 0, " ENTRY(
         "d") " || 'names the root directory', d.parent, d.name FROM dentry d WHERE d.ino = 1",
     .repair = DROP_ENTRY},
    {.kind = "entry-type",
     .find = "SELECT i.ino, " ENTRY(
         "d") " || printf('type %o, inode %lld has %o', d.type, i.ino, i.mode & 61440), "
              "d.parent, d.name FROM dentry d JOIN inode i ON i.ino = d.ino WHERE d.type IS NOT i.mode & "
              "61440",
     .repair = "UPDATE dentry SET type = (SELECT mode & 61440 FROM inode WHERE ino = ?1) WHERE parent = ?2 "
               "AND name = "
               "?3"},
    {.kind = "cookie",
     .find = "SELECT 0, " ENTRY(
         "d") " || printf('cookie %lld', d.cookie), d.parent, d.name FROM dentry d WHERE NOT "
              "(typeof(cookie) = 'integer' AND cookie >= 16) OR cookie IN (SELECT cookie FROM dentry GROUP "
              "BY cookie "
              "HAVING count(*) > 1) AND (d.parent, d.name) <> (SELECT parent, name FROM dentry f WHERE "
              "f.cookie = "
              "d.cookie ORDER BY parent, name LIMIT 1)",
     .repair = "UPDATE dentry SET cookie = new_cookie() WHERE parent = ?2 AND name = ?3"},
    // The one that its inode knows of stays, else the first.
    {.kind = "second-entry",
     .find = "SELECT i.ino, " ENTRY(
         "d") " || printf('directory %lld has another entry', i.ino), d.parent, d.name FROM "
              "inode i JOIN dentry d ON d.ino = i.ino WHERE " IS_DIR(
                  "i") " AND EXISTS (SELECT 1 FROM dentry o WHERE o.ino "
                       "= d.ino AND ((o.parent = i.parent) > (d.parent = i.parent) OR (o.parent = i.parent) "
                       "= (d.parent = "
                       "i.parent) AND (o.parent, o.name) < (d.parent, d.name)))",
     .repair = DROP_ENTRY},
};

// --- lost and found ---

// A directory of root's own: names tell of what was hidden.
static int lost_found_fits(struct check *check, const char *name, fs_ino *ret_ino, bool *ret_free)
{
    int64_t ino, fits = 0;
    char sql[256];
    snprintf(sql, sizeof(sql), "SELECT ino FROM dentry WHERE parent = 1 AND name = CAST('%s' AS BLOB)", name);
    int result = check_integer(check, sql, 0, 0, &ino);
    if (result == 0 && ino > 0)
        result = check_integer(check,
                               "SELECT 1 FROM inode WHERE ino = ?1 AND mode = 16832 AND uid = 0 AND gid = 0",
                               (fs_ino)ino, 0, &fits);
    if (result < 0)
        return result;
    *ret_ino = fits ? (fs_ino)ino : 0;
    *ret_free = ino == 0;
    return 0;
}

static int make_lost_found(struct check *check, const char *name, fs_ino *ret_ino)
{
    fs_ino ino;
    char sql[256];
    int result = numbers_take(&check->engine.numbers, NUMBER_INO, 1, &ino);
    if (result == 0)
        result = check_exec(
            check,
            "INSERT INTO inode SELECT ?1, 16832, 2, 0, 0, 0, 0, 1, 0, now(), 0, now(), 0, now(), 0, "
            "now(), 0, quota FROM inode WHERE ino = 1; UPDATE inode SET nlink = nlink + 1 WHERE ino = 1",
            ino, NULL);
    snprintf(sql, sizeof(sql), "INSERT INTO dentry VALUES (1, CAST('%s' AS BLOB), ?1, 16384, new_cookie())",
             name);
    if (result == 0)
        result = check_exec(check, sql, ino, NULL);
    if (result == 0)
        *ret_ino = ino;
    return result;
}

static int find_lost_found(struct check *check)
{
    int result = 0;
    for (unsigned i = 0; check->lost_found == 0 && result == 0; i++) {
        char name[32];
        bool is_free;
        snprintf(name, sizeof(name), i == 0 ? "lost+found" : "lost+found.%u", i);
        result = lost_found_fits(check, name, &check->lost_found, &is_free);
        if (result == 0 && check->lost_found == 0 && is_free)
            result = make_lost_found(check, name, &check->lost_found);
    }
    return result;
}

// Links, parent and quota numbers follow by their own rules.
static int put_into_lost_found(struct check *check, fs_ino ino)
{
    char sql[256];
    int64_t taken = 1;
    int result = find_lost_found(check);
    for (unsigned i = 0; result == 0 && taken; i++) {
        char name[48];
        snprintf(name, sizeof(name), i == 0 ? "%" PRIu64 : "%" PRIu64 ".%u", ino, i);
        snprintf(sql, sizeof(sql), "SELECT 1 FROM dentry WHERE parent = ?1 AND name = CAST('%s' AS BLOB)",
                 name);
        result = check_integer(check, sql, check->lost_found, 0, &taken);
        snprintf(sql, sizeof(sql),
                 "INSERT INTO dentry SELECT %" PRIu64
                 ", CAST('%s' AS BLOB), ino, mode & 61440, new_cookie() FROM inode "
                 "WHERE ino = ?1",
                 check->lost_found, name);
    }
    if (result == 0)
        result = check_exec(check, sql, ino, NULL);
    snprintf(
        sql, sizeof(sql),
        "UPDATE inode SET parent = %" PRIu64
        ", nlink = max(nlink, 1) WHERE ino = ?1; UPDATE inode SET quota = "
        "(SELECT quota FROM inode WHERE ino = 1) WHERE ino = ?1 AND quota <> ino AND (mode & 61440) <> 16384",
        check->lost_found);
    if (result == 0)
        result = check_exec(check, sql, ino, NULL);
    return result;
}

static int put_found(struct check *check, const struct found *found)
{
    return put_into_lost_found(check, found->ino);
}

static const struct rule unreachable_rules[] = {
    {.kind = "unreachable",
     .find = "SELECT i.ino, printf('inode %lld: a directory without an entry', i.ino) FROM inode i "
             "WHERE " IS_DIR("i") " AND i.ino <> 1 AND NOT " IS_NAMED(
                 "i.ino") " AND (i.nlink <> 0 OR " HAS_ENTRIES("i.ino") ")",
     .repair_row = put_found},
    {.kind = "unreachable",
     .find = "SELECT i.ino, printf('inode %lld: %lld links, no entry', i.ino, i.nlink) FROM inode i WHERE "
             "NOT " IS_DIR("i") " AND i.nlink <> 0 AND NOT " IS_NAMED("i.ino"),
     .repair_row = put_found},
};

// --- directories that lie below themselves ---

// All others lie below the root or below a directory without an entry.
#define ENCLOSED                                                                                            \
    "WITH RECURSIVE outside (ino) AS (SELECT i.ino FROM inode i WHERE " IS_DIR(                             \
        "i") " AND (i.ino = 1 OR NOT " IS_NAMED("i.ino") ") UNION SELECT d.ino FROM outside CROSS JOIN "    \
                                                         "dentry d ON d.parent = outside.ino WHERE d.type " \
                                                         "= 16384) "                                        \
                                                         "SELECT i.ino, count(*) OVER () FROM inode i "     \
                                                         "WHERE " IS_DIR(                                   \
                                                             "i") " AND i.ino NOT IN (SELECT ino FROM "     \
                                                                  "outside) ORDER BY i.ino"

// One directory of a circle: that many steps up from inside of it no path is left but the circle.
static int find_circle(struct check *check, fs_ino *ret_ino)
{
    int64_t at, n;
    int result = check_integer(check, ENCLOSED " LIMIT 1", 0, 0, &at);
    if (result < 0 || at == 0) {
        if (result == 0)
            *ret_ino = 0;
        return result;
    }
    result = check_integer(check, "SELECT count(*) FROM (" ENCLOSED ")", 0, 0, &n);
    for (int64_t i = 0; result == 0 && i < n && at != 0; i++)
        result = check_integer(check, "SELECT parent FROM dentry WHERE ino = ?1 AND type = 16384", (fs_ino)at,
                               0, &at);
    if (result == 0)
        *ret_ino = (fs_ino)at;
    return result;
}

static int check_circles(struct check *check)
{
    int result = 0;
    fs_ino ino = 0;
    check->what = "circles";
    do {
        struct found *found;
        result = find_circle(check, &ino);
        if (result < 0 || ino == 0)
            return result;
        result = check_found(check, "circle", ino, &found,
                             "inode %" PRIu64 ": a directory that lies below itself", ino);
        if (result == 0 && check->repair)
            result = check_exec(check, "DELETE FROM dentry WHERE ino = ?1", ino, NULL);
        if (result == 0 && check->repair)
            result = put_into_lost_found(check, ino);
        if (result == 0)
            found->repaired = check->repair;
    } while (result == 0 && check->repair); // without repairs the next look would find the same one
    return result;
}

// --- links and parents ---

#define N_ENTRIES "(SELECT count(*) FROM dentry d WHERE d.ino = i.ino)"
#define N_LINKS   "(2 + (SELECT count(*) FROM dentry d WHERE d.parent = i.ino AND d.type = 16384))"

static const struct rule link_rules[] = {
    {.kind = "links",
     .find = "SELECT i.ino, printf('inode %lld: %lld links, %lld entries', i.ino, i.nlink, " N_ENTRIES
             "), " N_ENTRIES " FROM inode i WHERE NOT " IS_DIR("i") " AND i.nlink <> " N_ENTRIES
                                                                    " AND " IS_NAMED("i.ino"),
     .repair = "UPDATE inode SET nlink = ?2 WHERE ino = ?1"},
    {.kind = "links",
     .find = "SELECT i.ino, printf('inode %lld: %lld links, %lld with its subdirectories', i.ino, "
             "i.nlink, " N_LINKS "), " N_LINKS " FROM inode i WHERE " IS_DIR(
                 "i") " AND i.nlink <> " N_LINKS " AND (i.ino = 1 OR " IS_NAMED("i.ino") ")",
     .repair = "UPDATE inode SET nlink = ?2 WHERE ino = ?1"},
    {.kind = "parent",
     .find = "SELECT i.ino, printf('inode %lld: parent %lld, its entry is in %lld', i.ino, i.parent, "
             "d.parent), d.parent "
             "FROM inode i JOIN dentry d ON d.ino = i.ino WHERE i.parent <> d.parent AND i.ino <> 1 "
             "AND " N_ENTRIES " = 1",
     .repair = "UPDATE inode SET parent = ?2 WHERE ino = ?1"},
    {.kind = "parent",
     .find = "SELECT 1, printf('inode 1: parent %lld of the root directory', parent) FROM inode WHERE ino = "
             "1 AND parent "
             "<> 1",
     .repair = "UPDATE inode SET parent = 1 WHERE ino = ?1"},
    // A directory is charged as its parent is, unless it is a quota's own; its files with a single link go
    // with it.
    {.kind = "quota-of",
     .find =
         "WITH RECURSIVE under (ino, has, meant) AS (SELECT ino, quota, CASE WHEN quota = 1 THEN 1 ELSE 0 "
         "END FROM "
         "inode WHERE ino = 1 UNION SELECT i.ino, i.quota, CASE WHEN i.quota = i.ino THEN i.ino ELSE "
         "u.meant END "
         "FROM under u CROSS JOIN dentry d ON d.parent = u.ino AND d.type = 16384 JOIN inode i ON i.ino "
         "= d.ino) "
         "SELECT ino, printf('inode %lld: charged to quota %lld, lies in %lld', ino, has, meant), "
         "meant, has FROM under "
         "WHERE has <> meant",
     .repair = "UPDATE inode SET quota = ?2 WHERE ino = ?1; UPDATE inode SET quota = ?2 WHERE quota = ?3 AND "
               "nlink = 1 "
               "AND (mode & 61440) <> 16384 AND ino IN (SELECT ino FROM dentry WHERE parent = ?1)"},
};

// --- all ---

static void file_size(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    const struct check *check = sqlite3_user_data(context);
    struct stat status;
    char path[PATH_ROOM];
    datafile_path((uint64_t)sqlite3_value_int64(values[0]), path);
    bool there = fstatat(check->engine.data_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
    sqlite3_result_int64(context, there ? (sqlite3_int64)status.st_size : 0);
}

int check_tree(struct check *check)
{
    sqlite3 *db = check->engine.db;
    if (sqlite3_create_function_v2(db, "file_size", 1, SQLITE_UTF8, check, file_size, NULL, NULL, NULL) !=
        SQLITE_OK)
        return db_error(&check->engine, sqlite3_extended_errcode(db));
    int result = check_rules(check, "missing inodes", missing_rules, ARRAY_LEN(missing_rules));
    if (result == 0)
        result = check_rules(check, "entries", entry_rules, ARRAY_LEN(entry_rules));
    if (result == 0)
        result = check_rules(check, "reachability", unreachable_rules, ARRAY_LEN(unreachable_rules));
    if (result == 0)
        result = check_circles(check);
    return result < 0 ? result : check_rules(check, "links", link_rules, ARRAY_LEN(link_rules));
}
