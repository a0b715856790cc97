// SPDX-License-Identifier: Apache-2.0
// The check of a store: opening without recovering, passes, rules, reports; see store_check.h. A pass looks
// at everything in one transaction. One that repairs says so only after the commit, and another follows, so
// what a repair leaves behind is found as well. Any one thread.
#include "fs/store/sqlite_check.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define PASSES_MAX     5 // the last one only looks
#define PROGRESS_STEPS 100000
#define INTEGRITY_ROWS "100"

// --- what was found ---

static void free_found(struct found *found)
{
    for (size_t i = 0; i < FOUND_VALUES; i++)
        sqlite3_value_free(found->values[i]);
    free(found->text);
    free(found);
}

void check_free_found(struct list *found)
{
    for (struct list *node; (node = list_pop(found));)
        free_found(LIST_ENTRY(node, struct found, node));
}

int check_found(struct check *check, const char *kind, fs_ino ino, struct found **ret_found,
                const char *format, ...)
{
    struct found *found = calloc(1, sizeof(*found));
    if (!found)
        return -ENOMEM;
    found->kind = kind;
    found->ino = ino;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&found->text, format, args);
    va_end(args);
    if (length < 0) {
        free(found);
        return -ENOMEM;
    }
    list_init(&found->node);
    list_push(&check->found, &found->node);
    if (ret_found)
        *ret_found = found;
    return 0;
}

void check_tell(struct check *check, bool repaired)
{
    list_for_each (node, &check->found) {
        const struct found *found = LIST_ENTRY(node, struct found, node);
        struct store_problem problem = {
            .kind = found->kind, .ino = found->ino, .text = found->text, .repaired = found->repaired};
        if (found->repaired == repaired)
            check->options->problem(check->options->context, &problem);
    }
}

// --- statements ---

bool check_stopped(const struct check *check)
{
    return check->options->stop && atomic_load(check->options->stop);
}

static int sql_error(struct check *check)
{
    if (check->made_way || check_stopped(check))
        return -ECANCELED;
    return db_error(&check->engine, sqlite3_extended_errcode(check->engine.db));
}

int check_exec(struct check *check, const char *sql, fs_ino ino, sqlite3_value *const values[FOUND_VALUES])
{
    while (*sql) {
        sqlite3_stmt *statement = NULL;
        if (sqlite3_prepare_v2(check->engine.db, sql, -1, &statement, &sql) != SQLITE_OK)
            return sql_error(check);
        int n = sqlite3_bind_parameter_count(statement);
        if (n > 0)
            sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
        for (int i = 2; values && i <= n; i++)
            sqlite3_bind_value(statement, i, values[i - 2]);
        int stepped = statement ? sqlite3_step(statement) : SQLITE_DONE;
        int result = stepped == SQLITE_DONE || stepped == SQLITE_ROW ? 0 : sql_error(check);
        sqlite3_finalize(statement);
        if (result < 0)
            return result;
    }
    return 0;
}

int check_integer(struct check *check, const char *sql, fs_ino ino, int64_t otherwise, int64_t *ret_value)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(check->engine.db, sql, -1, &statement, NULL) != SQLITE_OK)
        return sql_error(check);
    if (sqlite3_bind_parameter_count(statement) > 0)
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)ino);
    int stepped = sqlite3_step(statement);
    int64_t value = stepped == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : otherwise;
    int result = stepped == SQLITE_ROW || stepped == SQLITE_DONE ? 0 : sql_error(check);
    sqlite3_finalize(statement);
    if (result == 0)
        *ret_value = value;
    return result;
}

// --- rules ---

static int found_row(struct check *check, const struct rule *rule, sqlite3_stmt *statement)
{
    struct found *found;
    const char *text = (const char *)sqlite3_column_text(statement, 1);
    int result = check_found(check, rule->kind, (fs_ino)sqlite3_column_int64(statement, 0), &found, "%s",
                             text ? text : "?");
    int n = sqlite3_column_count(statement) - 2;
    fs_assert(result < 0 || n <= FOUND_VALUES);
    for (int i = 0; result == 0 && check->repair && i < n; i++) {
        found->values[i] = sqlite3_value_dup(sqlite3_column_value(statement, i + 2));
        if (!found->values[i])
            result = -ENOMEM;
    }
    return result;
}

static int find(struct check *check, const struct rule *rule)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(check->engine.db, rule->find, -1, &statement, NULL) != SQLITE_OK)
        return sql_error(check);
    int stepped, result = 0;
    while (result == 0 && (stepped = sqlite3_step(statement)) == SQLITE_ROW)
        result = found_row(check, rule, statement);
    if (result == 0 && stepped != SQLITE_DONE)
        result = sql_error(check);
    sqlite3_finalize(statement);
    return result;
}

static int check_rule(struct check *check, const struct rule *rule)
{
    struct list *last = check->found.prev;
    int result = find(check, rule);
    for (struct list *node = last->next; result == 0 && check->repair && node != &check->found;
         node = node->next) {
        struct found *found = LIST_ENTRY(node, struct found, node);
        result = rule->repair_row ? rule->repair_row(check, found)
                                  : check_exec(check, rule->repair, found->ino, found->values);
        found->repaired = result == 0;
    }
    return result;
}

int check_rules(struct check *check, const char *what, const struct rule *rules, size_t n)
{
    int result = 0;
    check->what = what;
    for (size_t i = 0; i < n && result == 0; i++)
        result = check_rule(check, &rules[i]);
    return result;
}

// --- SQLite's own check ---

static int integrity(struct check *check)
{
    struct list *last = check->found.prev;
    static const struct rule rule = {
        .kind = "database",
        .find =
            "SELECT 0, 'meta.db: ' || shown(integrity_check) FROM pragma_integrity_check(" INTEGRITY_ROWS ") "
            "WHERE integrity_check <> 'ok'"};
    check->what = "database";
    int result = find(check, &rule);
    if (result < 0 || last->next == &check->found)
        return result;
    if (!check->repair || check->reindexed)
        return -EUCLEAN; // what the tables say means nothing
    check->reindexed = true;
    result = check_exec(check, "REINDEX", 0, NULL);
    for (struct list *node = last->next; result == 0 && node != &check->found; node = node->next)
        LIST_ENTRY(node, struct found, node)->repaired = true;
    return result;
}

// --- passes ---

int (*const check_parts[])(struct check *) = {integrity,  check_numbers_file, check_rows,  check_tree,
                                              check_data, check_files,        check_totals};
const size_t check_n_parts = ARRAY_LEN(check_parts);

static int look(struct check *check)
{
    int result = 0;
    for (size_t i = 0; i < ARRAY_LEN(check_parts) && result == 0; i++)
        result = check_parts[i](check);
    return result;
}

static int keep(struct check *check)
{
    int result = db_run_id(&check->engine, ST_COMMIT);
    if (result == 0)
        result = log_sync(&check->engine);
    if (result == 0)
        result = db_checkpoint(&check->engine, SQLITE_CHECKPOINT_TRUNCATE);
    return result == 0 ? check_move_files(check) : result;
}

// *ret_repaired: something was, so look again. A database that cannot be read is a problem, no failure.
static int run_pass(struct check *check, bool *ret_repaired)
{
    bool repaired = false;
    int result = db_run_id(&check->engine, ST_BEGIN);
    if (result == 0)
        result = look(check);
    list_for_each (node, &check->found)
        repaired = repaired || LIST_ENTRY(node, struct found, node)->repaired;
    if (result == 0 && repaired)
        result = keep(check);
    if (check->engine.db && !sqlite3_get_autocommit(check->engine.db))
        db_run_id(&check->engine, ST_ROLLBACK);
    if (result < 0) {
        repaired = false;
        list_for_each (node, &check->found)
            LIST_ENTRY(node, struct found, node)->repaired = false;
    }
    if (result == -EUCLEAN)
        result = list_empty(&check->found)
                     ? check_found(check, "database", 0, NULL, "meta.db: cannot be read")
                     : 0;
    check_tell(check, repaired);
    check_free_found(&check->found);
    check_free_moves(check);
    check->lost_found = 0;
    *ret_repaired = repaired;
    return result;
}

static int run_passes(struct check *check)
{
    bool again = true;
    int result = 0;
    for (int i = 1; i <= PASSES_MAX && again && result == 0; i++) {
        check->repair = check->options->repair && i < PASSES_MAX;
        result = run_pass(check, &again);
    }
    return result;
}

// --- opening ---

static int on_progress(void *context)
{
    struct check *check = context;
    check->options->progress(check->options->context, check->what);
    return check_stopped(check) || (check->options->online && check_makes_way(check));
}

// A directory that is no store any more.
static int tell_damaged(struct check *check)
{
    struct engine *engine = &check->engine;
    const char *text = engine->dir_fd < 0    ? "cannot be opened"
                       : engine->data_fd < 0 ? "data: no directory"
                                             : "meta.db: not a database of this kind, or damaged";
    int result = check_found(check, "database", 0, NULL, "%s", text);
    if (result == 0)
        check_tell(check, false);
    check_free_found(&check->found);
    return result;
}

int check_load_numbers(struct check *check)
{
    struct engine *engine = &check->engine;
    numbers_free(&engine->numbers);
    int result = numbers_load(&engine->numbers, engine->dir_fd);
    check->numbers_lost = result == -EUCLEAN;
    return check->numbers_lost ? 0 : result;
}

static int open_and_check(struct check *check)
{
    struct engine *engine = &check->engine;
    int result = engine_open_directories(engine, !check->options->online);
    if (result == 0)
        result = db_open(engine);
    if (result == 0) {
        sqlite3_progress_handler(engine->db, PROGRESS_STEPS, on_progress, check);
        result = check_load_numbers(check);
    }
    if (result == -EUCLEAN)
        return tell_damaged(check);
    if (result == 0)
        result = check_functions(check);
    if (result < 0)
        return result;
    return check->options->online ? check_online(check) : run_passes(check);
}

int store_sqlite_check(const char *directory, const struct store_check *options)
{
    fs_assert(!options->online || !options->repair);
    struct check *check = calloc(1, sizeof(*check));
    if (!check)
        return -ENOMEM;
    check->options = options;
    check->what = "database";
    list_init(&check->found);
    list_init(&check->moves);
    int result = engine_init(&check->engine, directory, options->env);
    if (result == 0)
        result = open_and_check(check);
    engine_free_members(&check->engine);
    free(check);
    return result;
}
