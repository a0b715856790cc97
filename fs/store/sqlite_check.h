// SPDX-License-Identifier: Apache-2.0
// What the files of the check share (sqlite_check*.c). A rule is a query for what is wrong and the statements
// that put it right; in SQL there are for it
//   shown(name)       a name's bytes as one line of printable text
//   name_fits(name)   a blob that may name an entry
//   file_there(id)    a regular data file, or one that the next open makes
//   wrapped_sum(n)    the sum modulo 2^64
//   new_cookie()      a cookie that was never handed out
//   now()             seconds since 1970
// One thread; private to the engine.
#ifndef BERTH_STORE_SQLITE_CHECK_H
#define BERTH_STORE_SQLITE_CHECK_H

#include "fs/store/sqlite_engine.h"
#include "fs/store/store_check.h"

#define FOUND_VALUES 4

struct found {
    struct list node;
    const char *kind; // static
    fs_ino ino;
    char *text; // owned
    bool repaired;
    sqlite3_value *values[FOUND_VALUES]; // owned; NULL past the last
};

struct check {
    struct engine engine;
    const struct store_check *options;
    bool repair;       // in this pass
    bool reindexed;    // the indexes were made anew already
    bool numbers_lost; // `numbers` makes no sense; the bounds are those of the tables
    int64_t log_limit; // online: bytes of the log at which a look makes way
    bool made_way;
    const char *what;  // that is being looked at
    struct list found; // of this pass, in order
    struct list moves; // data files to be put aside after the commit: struct move
    fs_ino lost_found; // 0: not made or found yet
};

// Columns of `find`: the inode or 0, the text, and up to FOUND_VALUES values. `repair`, of one or more
// statements, gets the inode as ?1 and the values as ?2 and on; or `repair_row` does it.
struct rule {
    const char *kind, *find, *repair;
    int (*repair_row)(struct check *check, const struct found *found);
};

int check_rules(struct check *check, const char *what, const struct rule *rules, size_t n);
// Remembers a problem. *ret_found may be NULL; it lives as long as the pass.
PRINTF_LIKE(5, 6)
int check_found(struct check *check, const char *kind, fs_ino ino, struct found **ret_found,
                const char *format, ...);
int check_exec(struct check *check, const char *sql, fs_ino ino, sqlite3_value *const values[FOUND_VALUES]);
// The first column of the first row, with ino as ?1; `otherwise` without a row.
int check_integer(struct check *check, const char *sql, fs_ino ino, int64_t otherwise, int64_t *ret_value);
void check_free_found(struct list *found);

int check_online(struct check *check); // sqlite_check_online.c
bool check_makes_way(struct check *check);
bool check_stopped(const struct check *check);
int check_load_numbers(struct check *check);
void check_tell(struct check *check, bool repaired);
extern int (*const check_parts[])(struct check *check);
extern const size_t check_n_parts;

int check_functions(struct check *check); // sqlite_check_functions.c
int check_numbers_file(struct check *check);
int check_rows(struct check *check); // sqlite_check_rows.c
int check_totals(struct check *check);
int check_tree(struct check *check);  // sqlite_check_tree.c
int check_data(struct check *check);  // sqlite_check_data.c
int check_files(struct check *check); // sqlite_check_files.c
int check_move_files(struct check *check);
void check_free_moves(struct check *check);
// Keeps bytes that have no place any more, as a file of lost+found-data/.
int check_save_bytes(struct check *check, fs_ino ino, const char *what, const void *bytes, size_t n);
int check_move_file(struct check *check, const char *path); // below data/, after the commit

#endif
