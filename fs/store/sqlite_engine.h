// SPDX-License-Identifier: Apache-2.0
// What the files of the SQLite engine share: the engine itself and its parts. Included by sqlite*.c alone.
// Everything here belongs to the owner thread. Layout on disk: docs/STORAGE.md.
#ifndef BERTH_STORE_SQLITE_ENGINE_H
#define BERTH_STORE_SQLITE_ENGINE_H

#include "fs/base/env.h"
#include "fs/base/list.h"
#include "fs/base/table.h"
#include "fs/store/store_impl.h"
#include <pthread.h>
#include <sqlite3.h>

#define INLINE_SIZE_MAX    (16u * 1024u) // bytes of a file that lie in the database; past it a data file
#define PAGE_CACHE_KIB     8192          // of SQLite's own page cache
#define SPILL_KIB          65536         // no page of a smaller transaction is written before its commit
#define RESERVE_SIZE       (16u * 1024u * 1024u) // bytes kept back so that a full disk can still be emptied
#define DATAFILE_OPEN_MAX  128u                  // descriptors of data files that one store keeps open
#define DATAFILES_IN_SHARD 4096u                 // data files in one directory below data/
#define SEGMENT_SIZE       (UINT64_C(1) << 40) // bytes of a file that one data file holds: far below a host's limit
#define SEGMENT_LAST       ((int64_t)(FS_FILE_SIZE_MAX / SEGMENT_SIZE))
#define INTENT_BATCH_MAX   64                   // intents that one upkeep acts on
#define DB_PAGE_SIZE       2048                 // of a new database; older ones have 4096
#define LOG_LONG           (4 * 1024 * 1024)    // bytes that the log grows by until it is checkpointed
#define LOG_MAX            (16 * 1024 * 1024)   // at which writing waits for a checkpoint; fits the reserve
#define LOG_KEPT           16777216             // of its file, once it is empty; as LOG_MAX
#define UPKEEP_DELAY_NS    UINT64_C(1000000000) // an intent waits this long for somebody else's sync of the log
#define VACUUM_PAGES       256                  // pages that one upkeep gives back to a full disk
#define PATH_ROOM          64                   // a data file's path below data/

// --- numbers that are never handed out twice (sqlite_numbers.c) ---

enum number_kind { NUMBER_INO, NUMBER_COOKIE, NUMBER_FILE, NUMBER_KINDS };

struct numbers {
    int fd;
    uint64_t sequence;            // of the newest record on disk
    uint64_t incarnation;         // counts opens
    uint64_t next[NUMBER_KINDS];  // not on disk
    uint64_t bound[NUMBER_KINDS]; // synced: all below may have been handed out
    uint64_t file_floor;          // data files from here on were made since the last recovery
    bool clean;                   // the store was closed after everything had been synced
};

int numbers_create(int dir_fd);
int numbers_load(struct numbers *numbers, int dir_fd);
void numbers_free(struct numbers *numbers);
int numbers_start(struct numbers *numbers); // a new incarnation, after recovery
int numbers_stop(struct numbers *numbers);  // the mark of a clean stop
// Every number below these may have been handed out, too; with `lost`, nothing of the file can be read.
// Outside of a run.
int numbers_raise(struct numbers *numbers, const uint64_t bounds[NUMBER_KINDS], bool lost);
int numbers_take(struct numbers *numbers, enum number_kind kind, uint32_t n, uint64_t *ret_first);

// --- prepared statements (sqlite_db.c) ---

// Name, SQL. Each is prepared on first use.
#define STATEMENTS(X)                                                                                        \
    X(BEGIN, "BEGIN")                                                                                        \
    X(COMMIT, "COMMIT")                                                                                      \
    X(ROLLBACK, "ROLLBACK")                                                                                  \
    X(SAVEPOINT, "SAVEPOINT operation")                                                                      \
    X(SAVEPOINT_RELEASE, "RELEASE operation")                                                                \
    X(SAVEPOINT_ROLLBACK, "ROLLBACK TO operation")                                                           \
    X(USAGE_GET, "SELECT inodes, bytes FROM usage WHERE id = 1")                                             \
    X(USAGE_PUT, "UPDATE usage SET inodes = ?1, bytes = ?2 WHERE id = 1")                                    \
    X(INODE_GET, "SELECT " INODE_COLUMNS ", d.file, length(d.bytes) FROM inode i LEFT JOIN data d "          \
                 "ON d.ino = i.ino WHERE i.ino = ?1")                                                        \
    X(INODE_SIZE, "SELECT mode, size, flags, quota FROM inode WHERE ino = ?1")                               \
    X(INODE_INSERT,                                                                                          \
      "INSERT INTO inode VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)")           \
    X(INODE_UPDATE,                                                                                          \
      "UPDATE inode SET mode=?2, nlink=?3, uid=?4, gid=?5, rdev=?6, size=?7, parent=?8, flags=?9, "          \
      "atime=?10, atime_ns=?11, mtime=?12, mtime_ns=?13, ctime=?14, ctime_ns=?15, btime=?16, "               \
      "btime_ns=?17, quota=?18 WHERE ino=?1")                                                                \
    X(INODE_DELETE, "DELETE FROM inode WHERE ino = ?1")                                                      \
    X(ORPHANS, "SELECT ino FROM inode WHERE nlink = 0 AND ino > ?1 ORDER BY ino LIMIT ?2")                   \
    X(DENTRY_GET, "SELECT ino, type, cookie FROM dentry WHERE parent = ?1 AND name = ?2")                    \
    X(DENTRY_INSERT, "INSERT INTO dentry (parent, name, ino, type, cookie) VALUES (?1, ?2, ?3, ?4, ?5) "     \
                     "ON CONFLICT (parent, name) DO NOTHING")                                                \
    X(DENTRY_UPDATE, "UPDATE dentry SET ino = ?3, type = ?4 WHERE parent = ?1 AND name = ?2")                \
    X(DENTRY_DELETE, "DELETE FROM dentry WHERE parent = ?1 AND name = ?2")                                   \
    X(DENTRY_ANY, "SELECT 1 FROM dentry WHERE parent = ?1 LIMIT 1")                                          \
    X(DENTRY_PARENTS, "SELECT DISTINCT parent FROM dentry WHERE ino = ?1 ORDER BY parent LIMIT ?2")          \
    X(DENTRY_LIST,                                                                                           \
      "SELECT d.ino, d.type, d.cookie, d.name FROM dentry d WHERE d.parent = ?1 AND d.cookie > ?2 "          \
      "ORDER BY d.cookie")                                                                                   \
    X(DENTRY_LIST_INODES,                                                                                    \
      "SELECT d.ino, d.type, d.cookie, d.name, " INODE_COLUMNS ", " INODE_FILE " FROM dentry d "             \
      "LEFT JOIN inode i ON i.ino = d.ino WHERE d.parent = ?1 AND d.cookie > ?2 ORDER BY d.cookie")          \
    X(DATA_GET, "SELECT file, bytes FROM data WHERE ino = ?1")                                               \
    X(DATA_PUT, "INSERT INTO data (ino, file, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (ino) DO UPDATE "       \
                "SET file = ?2, bytes = ?3")                                                                 \
    X(DATA_DELETE, "DELETE FROM data WHERE ino = ?1")                                                        \
    X(DATA_FILE_USED, "SELECT 1 FROM data WHERE file = ?1 UNION ALL SELECT 1 FROM intent WHERE file = ?1 "   \
                      "UNION ALL SELECT 1 FROM segment WHERE file = ?1")                                     \
    X(DATA_FILES_FROM, "SELECT file FROM data WHERE file >= ?1 UNION ALL SELECT file FROM segment "          \
                       "WHERE file >= ?1")                                                                   \
    X(SEGMENT_NEXT, "SELECT number, file FROM segment WHERE ino = ?1 AND number >= ?2 ORDER BY number "      \
                    "LIMIT 1")                                                                               \
    X(SEGMENT_PUT, "INSERT INTO segment (ino, number, file) VALUES (?1, ?2, ?3) ON CONFLICT (ino, number) "  \
                   "DO UPDATE SET file = ?3")                                                                \
    X(SEGMENT_DELETE, "DELETE FROM segment WHERE ino = ?1 AND number = ?2")                                  \
    X(INTENT_PUT, "INSERT INTO intent (seq, file, size) VALUES (?1, ?2, ?3) ON CONFLICT (file) DO UPDATE "   \
                  "SET seq = ?1, size = ?3")                                                                 \
    X(INTENT_GET, "SELECT seq FROM intent WHERE file = ?1")                                                  \
    X(INTENT_DELETE, "DELETE FROM intent WHERE file = ?1")                                                   \
    X(INTENT_LIST, "SELECT file, size FROM intent WHERE seq <= ?1 ORDER BY seq LIMIT ?2")                    \
    X(XATTR_GET, "SELECT value FROM xattr WHERE ino = ?1 AND name = ?2")                                     \
    X(XATTR_PUT,                                                                                             \
      "INSERT INTO xattr (ino, name, value) VALUES (?1, ?2, ?3) ON CONFLICT (ino, name) DO UPDATE "          \
      "SET value = ?3")                                                                                      \
    X(XATTR_DELETE, "DELETE FROM xattr WHERE ino = ?1 AND name = ?2")                                        \
    X(XATTR_DELETE_ALL, "DELETE FROM xattr WHERE ino = ?1")                                                  \
    X(XATTR_LIST, "SELECT name, length(value) FROM xattr WHERE ino = ?1 ORDER BY name")                      \
    X(SESSION_PUT, "INSERT INTO session (id, part, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (id, part) DO "    \
                   "UPDATE SET bytes = ?3")                                                                  \
    X(SESSION_DELETE, "DELETE FROM session WHERE id = ?1")                                                   \
    X(SESSION_LIST, "SELECT id, part, bytes FROM session ORDER BY id, part")                                 \
    X(QUOTA_GET, "SELECT max_bytes, max_inodes, bytes, inodes FROM quota WHERE id = ?1")                     \
    X(QUOTA_PUT, "INSERT INTO quota (id, max_bytes, max_inodes, bytes, inodes) VALUES (?1, ?2, ?3, ?4, ?5) " \
                 "ON CONFLICT (id) DO UPDATE SET max_bytes = ?2, max_inodes = ?3, bytes = ?4, inodes = ?5")  \
    X(QUOTA_DELETE, "DELETE FROM quota WHERE id = ?1")                                                       \
    X(FREE_PAGES, "PRAGMA freelist_count")                                                                   \
    X(INTENT_LAST, "SELECT coalesce(max(seq), 0) FROM intent")                                               \
    X(NUMBERS_USED, "SELECT (SELECT coalesce(max(ino), 0) FROM inode), max((SELECT coalesce(max(file), 0) "  \
                    "FROM data WHERE file >= 1), (SELECT coalesce(max(file), 0) FROM segment))")

#define INODE_COLUMNS                                                                                \
    "i.ino, i.mode, i.nlink, i.uid, i.gid, i.rdev, i.size, i.parent, i.flags, i.atime, i.atime_ns, " \
    "i.mtime, "                                                                                      \
    "i.mtime_ns, i.ctime, i.ctime_ns, i.btime, i.btime_ns, i.quota"
#define INODE_N_COLUMNS 18
// Listings do not look up where small files lie: the data file of an inode that may have one worth asking for
// its blocks, and how many bytes may lie inline.
#define INODE_FILE                                                                                           \
    "CASE WHEN i.size > 16384 THEN (SELECT file FROM data WHERE data.ino = i.ino) END, CASE WHEN i.size <= " \
    "16384 THEN i.size END"

#define STATEMENT_ID(id, sql) ST_##id,
enum statement_id { STATEMENTS(STATEMENT_ID) ST_COUNT };

// --- the engine ---

struct usage_counts {
    uint64_t inodes, bytes;
};

// A data file that this transaction made or made longer.
struct grown_file {
    fs_ino ino;
    uint64_t segment, file;
    bool created;
};

struct grown_files {
    struct grown_file *files; // owned
    size_t n, capacity;
    size_t at_savepoint; // n then
};

struct datafiles {
    struct table by_id;
    struct list lru; // oldest first
    size_t n_open;
};

// A thread with a connection of its own: syncs the log and checkpoints it (sqlite_worker.c). Started when
// first needed.
struct worker {
    pthread_t thread;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t moved; // `wanted`, `quit` or `finished` has changed
    bool started, wanted, quit, finished;
    int log_fd;                 // the job's own, while it is wanted or running
    int result;                 // of the finished job
    uint64_t intents_committed; // on disk when the job succeeds
    const char *directory;
};

struct engine {
    struct store store; // first
    const struct env *env;
    char *directory; // owned
    int dir_fd, data_fd, wal_fd;

    sqlite3 *db;
    sqlite3_stmt *statements[ST_COUNT];
    int page_size; // of this database
    int log_pages; // in the log after the last commit
    int log_asked; // log_pages when a checkpoint was last asked for
    int broken; // SQLite gave the transaction up by itself: the error that every call answers until rollback
    bool read_only;   // a sync failed
    bool scarce;      // the reserve has been given back: nothing may grow
    bool files_dirty; // a data file was written since the last sync of everything

    struct worker worker;
    struct usage_counts usage, usage_at_begin, usage_at_savepoint;
    int changes_at_begin;    // rows that SQLite had changed then
    bool savepoint_is_begin; // nothing had been changed before the savepoint

    struct numbers numbers;
    fs_ino unsynced_ino_floor; // inodes from here on were made after the last sync was prepared

    struct datafiles open_files;
    struct grown_files grown;

    // Intents have ascending numbers: those up to `committed` are committed, those up to `synced` are on disk
    // too.
    uint64_t intent_last, intent_committed, intent_synced;
    bool intents_left;        // there may be intents at all
    uint64_t intent_since_ns; // when upkeep first saw one that is not on disk yet; 0: none
};

static inline struct engine *engine_of(struct store *store)
{
    return (struct engine *)store;
}

// --- life (sqlite.c) ---

int engine_init(struct engine *engine, const char *directory, const struct env *env); // of all zeros
int engine_open_directories(struct engine *engine, bool alone); // alone: -EBUSY when somebody has it open
void engine_free_members(struct engine *engine);

// --- database (sqlite_db.c) ---

int db_create(const char *directory);
int db_open(
    struct engine *engine); // opens, checks version and schema, recovers the log, opens the log's descriptor
void db_close(struct engine *engine); // NULL members are allowed
// A statement, reset and ready for binding; NULL after an error, which *ret_result tells.
sqlite3_stmt *db_statement(struct engine *engine, enum statement_id id, int *ret_result);
// Steps once. 1: a row; 0: done; or an error. After a row the caller calls db_done() when it has read it.
int db_step(struct engine *engine, sqlite3_stmt *statement);
void db_done(sqlite3_stmt *statement);
// Steps a statement that gives no rows, and resets it.
int db_run(struct engine *engine, sqlite3_stmt *statement);
int db_run_id(struct engine *engine, enum statement_id id);
int db_error(struct engine *engine, int sqlite_result);
int db_errno(sqlite3 *db, int sqlite_result); // any thread that owns db
int db_connect(const char *directory, int open_flags,
               sqlite3 **ret_db);                   // any thread; *ret_db to be closed in any case
int db_checkpoint(struct engine *engine, int mode); // SQLITE_CHECKPOINT_*
// Gives some of the database's unused pages back to the disk. *ret_more: there are more.
int db_shrink(struct engine *engine, bool *ret_more);
// An integer column within [low, high]; otherwise sets *damaged.
int64_t db_integer(sqlite3_stmt *statement, int column, int64_t low, int64_t high, bool *damaged);
// 0, or why nothing may be written now.
int engine_writable(const struct engine *engine);
// numbers_take(); a failed sync of the numbers makes the store read-only like any other.
int engine_take(struct engine *engine, enum number_kind kind, uint32_t n, uint64_t *ret_first);

// --- inodes and entries (sqlite_inode.c, sqlite_quota.c, sqlite_dentry.c) ---

int engine_inode_get(struct store *store, fs_ino ino, struct store_inode *ret_inode);
int engine_inode_put(struct store *store, const struct store_inode *inode);
int engine_inode_remove(struct store *store, fs_ino ino);
int inode_orphans(struct store *store, fs_ino after, fs_ino *ret_inos, size_t max);
// Reads INODE_COLUMNS and INODE_FILE from column `first` on. -EUCLEAN.
int inode_from_row(struct engine *engine, sqlite3_stmt *statement, int first, struct store_inode *ret_inode);
// What an inode counts for, and its flags.
struct inode_charge {
    uint32_t mode, flags;
    uint64_t size;
    fs_ino quota;
};
int inode_charge(struct engine *engine, fs_ino ino, struct inode_charge *ret_charge); // -ENOENT

int quota_get(struct store *store, fs_ino id, struct store_quota *ret_quota);
int quota_put(struct store *store, fs_ino id, uint64_t max_bytes, uint64_t max_inodes);
// Adds to what is charged, modulo 2^64. Quota 0 charges nothing.
int quota_charge(struct engine *engine, fs_ino id, uint64_t bytes, uint64_t inodes);

int dentry_get(struct store *store, fs_ino parent, struct fs_name name, struct store_dentry *ret_dentry);
int dentry_put(struct store *store, fs_ino parent, struct fs_name name, const struct store_dentry *dentry);
int dentry_replace(struct store *store, fs_ino parent, struct fs_name name, fs_ino ino, uint32_t type);
int dentry_remove(struct store *store, fs_ino parent, struct fs_name name);
int dentry_list(struct store *store, fs_ino parent, uint64_t after, bool inodes, store_visit_dentry *visit,
                void *context);
int xattr_get(struct store *store, fs_ino ino, struct fs_name name, void *value, size_t size, size_t *ret_n);
int xattr_put(struct store *store, fs_ino ino, struct fs_name name, const void *value, size_t n);
int xattr_remove(struct store *store, fs_ino ino, struct fs_name name);
int xattr_list(struct store *store, fs_ino ino, store_visit_xattr *visit, void *context);
int xattr_remove_all(struct engine *engine, fs_ino ino);
int session_put(struct store *store, uint64_t id, uint32_t part, const void *bytes, size_t n);
int session_remove(struct store *store, uint64_t id);
int session_list(struct store *store, store_visit_session *visit, void *context);
int dentry_any(struct store *store, fs_ino parent, bool *ret_any);
int dentry_parents(struct store *store, fs_ino ino, fs_ino *ret_parents, size_t max);

struct datafile;

// --- where data lies (sqlite_place.c) ---

struct inline_bytes {
    size_t length;
    uint8_t bytes[INLINE_SIZE_MAX];
};

static inline uint64_t segment_of(uint64_t offset)
{
    return offset / SEGMENT_SIZE;
}

// How much of `size` lies in the segment.
static inline uint64_t segment_bytes(uint64_t size, uint64_t segment)
{
    uint64_t start = segment * SEGMENT_SIZE;
    return size <= start ? 0 : MIN(size - start, SEGMENT_SIZE);
}

// How much of n bytes at offset lies in the offset's segment.
static inline uint64_t segment_step(uint64_t offset, uint64_t n)
{
    return MIN(n, SEGMENT_SIZE - offset % SEGMENT_SIZE);
}

// The segment's data file, or 0 and, in the first segment, inline bytes, of which `size` is the bound.
int place_load(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t size,
               struct inline_bytes *inline_bytes, uint64_t *ret_file);
int place_file(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t *ret_file); // 0 when it has none
int place_save_file(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t file);
int place_save_inline(struct engine *engine, fs_ino ino, const struct inline_bytes *inline_bytes);
// The first segment from `segment` (at least 1) on that has a data file. -ENOENT.
int place_next(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t *ret_segment,
               uint64_t *ret_file);
// These forget places, and remove their data files as intents.
int place_drop_segment(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t file);
int place_drop_from(struct engine *engine, fs_ino ino, uint64_t segment); // at least 1
int place_drop_all(struct engine *engine, fs_ino ino, uint64_t size);
int place_later_blocks(struct engine *engine, fs_ino ino, uint64_t *ret_blocks); // of segments 1 and on

// --- reading, writing, resizing (sqlite_data.c) ---

int data_read(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, void *bytes, size_t n,
              size_t *ret_n);
int data_write(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, const void *bytes, size_t n);
int data_resize(struct store *store, fs_ino ino, uint64_t from, uint64_t to);
// What must be done before `size` grows: what lies past it will never come to lie inside.
int data_settle(struct engine *engine, fs_ino ino, uint64_t size);
// The segment's data file, made when there is none; a rollback cuts it back to the size.
int data_open(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t local_size,
              struct datafile **ret_file);

// --- ranges (sqlite_ranges.c) ---

int data_allocate(struct store *store, fs_ino ino, uint64_t from, uint64_t to, uint64_t offset, uint64_t n);
int data_zero(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, uint64_t n, bool keep_room);
int data_seek(struct store *store, fs_ino ino, uint64_t size, uint64_t offset, bool hole,
              uint64_t *ret_offset);
int data_copy(struct store *store, const struct store_copy *copy);

// --- data files (sqlite_file.c) ---

struct datafile {
    struct table_node node; // key: the file's id
    struct list lru;
    int fd;
    bool entry_synced; // its directory entry is known to be on disk
};

void datafiles_init(struct datafiles *files);
void datafiles_free(struct datafiles *files); // closes all
// Valid until the next call of either. A file that is missing is -EUCLEAN.
int datafile_get(struct engine *engine, uint64_t file, struct datafile **ret_file);
int datafile_create(struct engine *engine, uint64_t file, struct datafile **ret_file);
void datafile_path(uint64_t file, char path[PATH_ROOM]);   // below data/
int datafile_unlink(struct engine *engine, uint64_t file); // 0 when it is not there
int datafile_read(const struct datafile *file, uint64_t offset, void *bytes, size_t n); // past its end: zeros
int datafile_write(const struct datafile *file, uint64_t offset, const void *bytes, size_t n);
int datafile_copy(const struct datafile *from, int to_fd,
                  uint64_t size); // the first `size` bytes, holes kept
int datafile_copy_range(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t n); // every byte
// The part of [start, end) that comes first: *ret_end is where it ends, *ret_data tells what it is. Past the
// file's end is a hole.
int datafile_extent(const struct datafile *file, uint64_t start, uint64_t end, uint64_t *ret_end,
                    bool *ret_data);
int datafile_blocks(struct engine *engine, uint64_t file, uint64_t *ret_blocks); // of 512 bytes
// Cut to `size` if it is longer, and synced then: what was cut off must not come back with a power loss, when
// the file has grown over it.
int datafile_cut(struct engine *engine, struct datafile *file, uint64_t size);
int datafile_sync(struct engine *engine, struct datafile *file); // with its directory entry
int shard_open(struct engine *engine, uint64_t file); // the directory's descriptor; the caller closes it

// Files that this transaction made or grew.
int grown_add(struct engine *engine, fs_ino ino, uint64_t segment, uint64_t file, bool created);
void grown_undo(struct engine *engine, size_t down_to, bool cut); // after SQLite has rolled back

// --- intents (sqlite_intent.c) ---

#define INTENT_UNLINK (-1)

// Once the log that holds this intent is on disk: cut the file to `size`, or (INTENT_UNLINK) remove it.
int intent_add(struct engine *engine, uint64_t file, int64_t size);
// -ENOENT: none. Otherwise *ret_committed tells whether it was there when the transaction began.
int intent_get(struct engine *engine, uint64_t file, bool *ret_committed);
int intent_drop(struct engine *engine, uint64_t file);
int intent_act(struct engine *engine,
               bool *ret_more); // a batch of those that are on disk; outside a transaction

// --- recovery (sqlite_recover.c) ---

int engine_recover(struct engine *engine); // after db_open() and numbers_load()

// --- durability and upkeep (sqlite_sync.c, sqlite_upkeep.c) ---

int sync_prepare(struct store *store, fs_ino ino, struct store_sync **ret_sync);
int sync_finish(struct store *store, struct store_sync *sync);
int log_sync(struct engine *engine);   // now, on this thread
int log_follow(struct engine *engine); // makes sure that wal_fd is the log
void log_is_synced(struct engine *engine, uint64_t intents_committed);
int sync_failed(struct engine *engine, int result); // read-only from here on; returns result

void worker_init(struct worker *worker, const char *directory);
void worker_stop(struct worker *worker);
int worker_ask(struct engine *engine);     // one job at a time: 0 when one is under way, too
int worker_collect(struct engine *engine); // its result, if it has finished
int worker_wait(struct engine *engine);    // the same, after it has finished
int engine_upkeep(struct store *store, bool *ret_more);

int reserve_make(struct engine *engine); // -ENOSPC: the disk is too full for it
void reserve_give_back(struct engine *engine);

#endif
