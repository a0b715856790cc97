// SPDX-License-Identifier: Apache-2.0
// Rules of single rows (inodes, extended attributes, sessions) and of the totals kept beside them. Any one
// thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_check.h"

#define IN(column, low, high) "(typeof(" column ") = 'integer' AND " column " BETWEEN " low " AND " high ")"
#define U32(column)           IN(column, "0", "4294967295")
#define NS(column)                                                                      \
    "(typeof(" column ") = 'integer' AND typeof(" column "_ns) = 'integer' AND " column \
    "_ns BETWEEN 0 AND 999999999)"
#define POSITIVE(column)     "(typeof(" column ") = 'integer' AND " column " >= 1)"
#define NOT_NEGATIVE(column) "(typeof(" column ") = 'integer' AND " column " >= 0)"
#define TYPES                "(4096, 8192, 16384, 24576, 32768, 40960, 49152)"
#define CLAMP(column)        column " = CASE WHEN " U32(column) " THEN " column " ELSE 0 END, "
#define CLAMP_TIME(column)                                                                       \
    column " = CASE WHEN typeof(" column ") = 'integer' THEN " column " ELSE now() END, " column \
           "_ns = CASE WHEN typeof(" column "_ns) = 'integer' AND " column                       \
           "_ns BETWEEN 0 AND 999999999 THEN " column "_ns ELSE 0 END"

// clang-format off
#define INODE_FITS                                                                                   \
    IN("mode", "0", "65535") " AND (mode & 61440) IN " TYPES " AND " U32("nlink") " AND " U32("uid") \
    " AND " U32("gid") " AND " U32("rdev") " AND " NOT_NEGATIVE("size") " AND "                       \
    NOT_NEGATIVE("parent") " AND " U32("flags") " AND " NOT_NEGATIVE("quota") " AND " NS("atime")     \
    " AND " NS("mtime") " AND " NS("ctime") " AND " NS("btime")
// clang-format on

// A type that makes no sense becomes that of an entry, or a regular file with no right for anybody but root.
static const struct rule inode_rules[] = {
    {.kind = "inode",
     .find = "SELECT ino, printf('inode %lld: its row makes no sense', ino) FROM inode WHERE ino < 1 OR NOT "
             "(" INODE_FITS ")",
     .repair = "UPDATE inode SET mode = CASE WHEN " IN(
         "mode", "0",
         "65535") " AND (mode & 61440) IN " TYPES " THEN mode ELSE 384 + coalesce((SELECT type FROM dentry d "
                  "WHERE d.ino = inode.ino AND d.type IN " TYPES "), 32768) END, " CLAMP("nlink") CLAMP("uid")
                      CLAMP("gid") CLAMP("rdev") CLAMP("flags") "size = CASE WHEN " NOT_NEGATIVE(
                          "size") " THEN size ELSE coalesce((SELECT length(bytes) FROM data d WHERE "
                                  "d.ino = inode.ino), 0) END, parent = CASE WHEN " NOT_NEGATIVE(
                                      "parent") " THEN parent ELSE 1 END, quota = "
                                                "CASE WHEN " NOT_NEGATIVE(
                                                    "quota") " THEN quota ELSE 0 "
                                                             "END, " CLAMP_TIME("atime") ", " CLAMP_TIME(
                                                                 "mti"
                                                                 "me") ", " CLAMP_TIME("ctime") ","
                                                                                                " " CLAMP_TIME(
                                                                                                    "btime") " WHERE ino = ?1 AND "
                                                                                                             "ino >= 1; "
                                                                                                             "DELETE FROM inode "
                                                                                                             "WHERE ino = ?1 AND "
                                                                                                             "ino < 1"},
};

static int save_value(struct check *check, const struct found *found)
{
    sqlite3_value *value = found->values[1];
    const void *bytes = sqlite3_value_blob(value);
    int result = check_save_bytes(check, found->ino, "xattr", bytes, (size_t)sqlite3_value_bytes(value));
    return result < 0 ? result
                      : check_exec(check, "DELETE FROM xattr WHERE ino IS ?1 AND name IS ?2", found->ino,
                                   found->values);
}

#define MEANT(name, bit)                                                                    \
    "(CASE WHEN EXISTS (SELECT 1 FROM xattr x WHERE x.ino = i.ino AND x.name = CAST('" name \
    "' AS BLOB)) THEN " bit " ELSE 0 END)"

// What core keeps in an inode's flags of certain attributes: 512, 1024, 2048.
static const struct rule xattr_rules[] = {
    {.kind = "xattr",
     .find = "SELECT ino, printf('inode %lld: attribute %s: its row makes no sense', ino, shown(name)), "
             "name, value "
             "FROM xattr WHERE typeof(name) <> 'blob' OR length(name) NOT BETWEEN 1 AND 255 OR typeof(value) "
             "<> 'blob' "
             "OR length(value) > 65536",
     .repair_row = save_value},
    {.kind = "xattr",
     .find = "SELECT x.ino, printf('inode %lld: is missing, has attribute %s', x.ino, shown(x.name)), "
             "x.name, x.value "
             "FROM xattr x WHERE NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = x.ino) AND NOT EXISTS "
             "(SELECT 1 FROM "
             "data d WHERE d.ino = x.ino) AND NOT EXISTS (SELECT 1 FROM dentry d WHERE d.parent = x.ino)",
     .repair_row = save_value},
    {.kind = "xattr-flags",
     .find =
         "SELECT * FROM (SELECT i.ino, printf('inode %lld: its flags do not tell of its attributes', i.ino), "
         "(i.flags & ~3584) | (CASE WHEN EXISTS (SELECT 1 FROM xattr x WHERE x.ino = i.ino) THEN 256 ELSE 0 "
         "END) | " MEANT("security.capability", "512") " | " MEANT(
             "system.posix_acl_access",
             "1024") " | " MEANT("system.posix_acl_default",
                                 "2048") " AS meant, i.flags AS flags FROM inode i WHERE (i.flags & 3840) <> "
                                         "0 OR i.ino IN (SELECT ino FROM xattr)) "
                                         "WHERE flags <> meant",
     .repair = "UPDATE inode SET flags = ?2 WHERE ino = ?1"},
};

// --- sessions ---

static int forget_session(struct check *check, const struct found *found)
{
    return check_exec(check, "DELETE FROM session WHERE id IS ?2", 0, found->values);
}

static const struct rule session_rules[] = {
    {.kind = "session",
     .find = "SELECT DISTINCT 0, printf('session %llx: makes no sense', id), id FROM session s WHERE "
             "typeof(id) <> "
             "'integer' OR id < 1 OR NOT " IN("part", "0",
                                              "1023") " OR typeof(bytes) <> 'blob' OR length(bytes) NOT "
                                                      "BETWEEN 1 AND 8192 OR NOT EXISTS (SELECT 1 FROM "
                                                      "session r WHERE r.id = s.id AND r.part = 0) OR NOT "
                                                      "session_valid(part, bytes)",
     .repair_row = forget_session},
};

static void session_valid(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    const struct check *check = sqlite3_user_data(context);
    const void *bytes = sqlite3_value_blob(values[1]);
    size_t length = (size_t)sqlite3_value_bytes(values[1]);
    sqlite3_result_int(context, bytes && check->options->session_valid(
                                             (uint32_t)sqlite3_value_int64(values[0]), bytes, length));
}

int check_rows(struct check *check)
{
    int result = check_rules(check, "inodes", inode_rules, ARRAY_LEN(inode_rules));
    if (result == 0)
        result = check_rules(check, "attributes", xattr_rules, ARRAY_LEN(xattr_rules));
    if (result == 0 && sqlite3_create_function_v2(check->engine.db, "session_valid", 2, SQLITE_UTF8, check,
                                                  session_valid, NULL, NULL, NULL) != SQLITE_OK)
        return db_error(&check->engine, sqlite3_extended_errcode(check->engine.db));
    return result < 0 ? result : check_rules(check, "sessions", session_rules, ARRAY_LEN(session_rules));
}

// --- totals ---

#define COUNTED_BYTES "wrapped_sum(CASE WHEN (mode & 61440) = 32768 THEN size ELSE 0 END)"

static const struct rule total_rules[] = {
    {.kind = "usage",
     .find = "SELECT 0, printf('usage: %lld inodes and %lld bytes, counted %lld and %lld', u.inodes, "
             "u.bytes, w.n, "
             "w.b), w.n, w.b FROM (SELECT count(*) AS n, " COUNTED_BYTES
             " AS b FROM inode) w LEFT JOIN usage u ON u.id = 1 WHERE u.inodes IS NOT w.n OR u.bytes IS NOT "
             "w.b OR "
             "(SELECT count(*) FROM usage) <> 1",
     .repair = "DELETE FROM usage; INSERT INTO usage SELECT ?1 + 1, ?2, ?3"},
    {.kind = "quota",
     .find =
         "SELECT 0, printf('quota %lld: its row makes no sense', id), id FROM quota WHERE id < 0 OR NOT "
         "(" NOT_NEGATIVE("max_bytes") " AND " NOT_NEGATIVE(
             "max_inodes") " AND typeof(bytes) = 'integer' AND " NOT_NEGATIVE("inodes") ") OR (max_bytes = 0 "
                                                                                        "AND max_inodes = 0 "
                                                                                        "AND bytes = 0 AND "
                                                                                        "inodes = 0)",
     .repair = "DELETE FROM quota WHERE ?1 = 0 AND id = ?2 AND (id < 0 OR (max_bytes = 0 AND max_inodes = 0 "
               "AND bytes = 0 AND "
               "inodes = 0)); UPDATE quota SET max_bytes = CASE WHEN " NOT_NEGATIVE(
                   "max_bytes") " THEN max_bytes ELSE 0 "
                                "END, max_inodes = CASE WHEN " NOT_NEGATIVE(
                                    "max_inodes") " THEN max_inodes ELSE 0 END, bytes = 0, inodes "
                                                  "= 0 WHERE ?1 = 0 AND id = ?2"},
    {.kind = "quota",
     .find = "SELECT w.id, printf('quota %lld: %lld inodes and %lld bytes, counted %lld and %lld', w.id, "
             "coalesce(q.inodes, 0), coalesce(q.bytes, 0), w.n, w.b), w.n, w.b FROM (SELECT quota AS id, "
             "count(*) AS "
             "n, " COUNTED_BYTES
             " AS b FROM inode WHERE quota <> 0 GROUP BY quota UNION ALL SELECT id, 0, 0 FROM quota "
             "WHERE id = 0 OR id NOT IN (SELECT quota FROM inode)) w LEFT JOIN quota q ON q.id = w.id WHERE "
             "coalesce(q.inodes, 0) <> w.n OR coalesce(q.bytes, 0) <> w.b",
     .repair =
         "INSERT INTO quota VALUES (?1, 0, 0, ?3, ?2) ON CONFLICT (id) DO UPDATE SET bytes = ?3, inodes = "
         "?2; "
         "DELETE FROM quota WHERE id = ?1 AND max_bytes = 0 AND max_inodes = 0 AND bytes = 0 AND inodes = 0"},
};

int check_totals(struct check *check)
{
    return check_rules(check, "totals", total_rules, ARRAY_LEN(total_rules));
}
