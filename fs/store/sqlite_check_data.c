// SPDX-License-Identifier: Apache-2.0
// Where bytes lie: rows of data, segments and intents, and that the data files they name are there. Bytes
// that a repair takes away are put aside first. Any one thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_check.h"

#define INLINE_MAX "16384"         // INLINE_SIZE_MAX
#define SEGMENT    "1099511627776" // SEGMENT_SIZE
#define SEGMENTS   "8388607"       // SEGMENT_LAST
#define IS_FILE    "(i.mode & 61440) IN (32768, 40960)"
#define ID(column) "(typeof(" column ") = 'integer' AND " column " >= 1)"

_Static_assert(INLINE_SIZE_MAX == 16384 && SEGMENT_SIZE == 1099511627776 && SEGMENT_LAST == 8388607,
               "what the rules say");

// The value is the bytes.
static int save_inline(struct check *check, const struct found *found)
{
    sqlite3_value *bytes = found->values[0];
    if (sqlite3_value_type(bytes) == SQLITE_NULL)
        return 0;
    return check_save_bytes(check, found->ino, "bytes", sqlite3_value_blob(bytes),
                            (size_t)sqlite3_value_bytes(bytes));
}

static int drop_row(struct check *check, const struct found *found)
{
    int result = save_inline(check, found);
    return result < 0 ? result : check_exec(check, "DELETE FROM data WHERE ino = ?1", found->ino, NULL);
}

static int drop_bytes(struct check *check, const struct found *found)
{
    int result = save_inline(check, found);
    return result < 0 ? result
                      : check_exec(check, "UPDATE data SET bytes = NULL WHERE ino = ?1", found->ino, NULL);
}

static int cut_bytes(struct check *check, const struct found *found)
{
    int result = save_inline(check, found);
    return result < 0 ? result
                      : check_exec(check,
                                   "UPDATE data SET bytes = substr(bytes, 1, min(" INLINE_MAX
                                   ", (SELECT size FROM inode i WHERE i.ino = data.ino))) WHERE ino = ?1",
                                   found->ino, NULL);
}

static const struct rule data_rules[] = {
    {.kind = "data",
     .find = "SELECT ino, printf('inode %lld: where its bytes lie makes no sense', ino), bytes FROM data "
             "WHERE NOT (file "
             "IS NULL AND typeof(bytes) = 'blob' OR " ID("file") ")",
     .repair_row = drop_row},
    {.kind = "data",
     .find = "SELECT ino, printf('inode %lld: its bytes lie in two places', ino), bytes FROM data WHERE file "
             "IS NOT NULL "
             "AND bytes IS NOT NULL",
     .repair_row = drop_bytes},
    {.kind = "data",
     .find = "SELECT d.ino, printf('inode %lld: has data and is no file', d.ino), d.bytes FROM data d JOIN "
             "inode i ON "
             "i.ino = d.ino WHERE NOT " IS_FILE,
     .repair_row = drop_row},
    {.kind = "size",
     .find =
         "SELECT d.ino, printf('inode %lld: %lld bytes, size %lld', d.ino, length(d.bytes), i.size), d.bytes "
         "FROM data "
         "d JOIN inode i ON i.ino = d.ino WHERE " IS_FILE
         " AND d.file IS NULL AND length(d.bytes) > min(i.size, " INLINE_MAX ")",
     .repair_row = cut_bytes},
    {.kind = "segment",
     .find = "SELECT s.ino, printf('inode %lld: segment %lld: its row makes no sense', s.ino, s.number), "
             "s.number FROM "
             "segment s WHERE NOT (" ID("number") " AND number <= " SEGMENTS " AND " ID("file") ")",
     .repair = "DELETE FROM segment WHERE ino IS ?1 AND number IS ?2"},
    {.kind = "segment",
     .find = "SELECT s.ino, printf('inode %lld: segment %lld begins past its size %lld', s.ino, s.number, "
             "i.size), s.number "
             "FROM segment s JOIN inode i ON i.ino = s.ino WHERE s.number * " SEGMENT
             " >= i.size OR (i.mode & 61440) <> 32768",
     .repair = "DELETE FROM segment WHERE ino = ?1 AND number = ?2"},
    {.kind = "shared-file",
     .find = "SELECT s.ino, printf('inode %lld: segment %lld: inode %lld has its data file %x', s.ino, "
             "s.number, d.ino, "
             "s.file), s.number FROM segment s JOIN data d ON d.file = s.file",
     .repair = "DELETE FROM segment WHERE ino = ?1 AND number = ?2"},
    {.kind = "missing-file",
     .find = "SELECT ino, printf('inode %lld: data file %x is missing', ino, file), file FROM data WHERE " ID(
         "file") " AND NOT file_there(file)",
     .repair = "DELETE FROM data WHERE ino = ?1; DELETE FROM intent WHERE file = ?2"},
    {.kind = "missing-file",
     .find = "SELECT ino, printf('inode %lld: segment %lld: data file %x is missing', ino, number, file), "
             "file FROM "
             "segment WHERE " ID("file") " AND NOT file_there(file)",
     .repair = "DELETE FROM segment WHERE ino = ?1 AND file = ?2; DELETE FROM intent WHERE file = ?2"},
};

// --- intents ---

#define PLACES                                                                      \
    "(SELECT d.file, min(i.size, " SEGMENT                                          \
    ") AS size FROM data d JOIN inode i ON i.ino = d.ino WHERE d.file IS NOT NULL " \
    "UNION ALL SELECT s.file, min(i.size - s.number * " SEGMENT ", " SEGMENT        \
    ") FROM segment s JOIN inode i ON i.ino = s.ino) p"
#define DROP_INTENT "DELETE FROM intent WHERE seq = ?2"

static const struct rule intent_rules[] = {
    {.kind = "intent",
     .find = "SELECT 0, printf('intent %lld: makes no sense', seq), seq FROM intent WHERE NOT (" ID(
         "file") " AND "
                 "typeof(size) = 'integer' AND size >= -1 AND seq >= 1)",
     .repair = DROP_INTENT},
    {.kind = "intent",
     .find = "SELECT 0, printf('intent %lld: would remove data file %x, which is in use', n.seq, n.file), "
             "n.seq FROM intent "
             "n WHERE n.size = -1 AND n.file IN (SELECT file FROM data UNION ALL SELECT file FROM segment)",
     .repair = DROP_INTENT},
    {.kind = "intent",
     .find = "SELECT 0, printf('intent %lld: would cut data file %x, which nobody has', n.seq, n.file), "
             "n.seq FROM intent n "
             "WHERE n.size >= 0 AND n.file NOT IN (SELECT file FROM data WHERE file IS NOT NULL UNION ALL "
             "SELECT file FROM "
             "segment)",
     .repair = DROP_INTENT},
    {.kind = "intent",
     .find = "SELECT 0, printf('intent %lld: would cut data file %x to %lld of its %lld bytes', n.seq, "
             "n.file, n.size, "
             "p.size), n.seq FROM intent n JOIN " PLACES
             " ON p.file = n.file WHERE n.size >= 0 AND n.size < p.size",
     .repair = DROP_INTENT},
};

int check_data(struct check *check)
{
    int result = check_rules(check, "data", data_rules, ARRAY_LEN(data_rules));
    return result < 0 ? result : check_rules(check, "intents", intent_rules, ARRAY_LEN(intent_rules));
}
