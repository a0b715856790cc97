// SPDX-License-Identifier: Apache-2.0
// What catalogue.c needs of SQLite: the database opened, checked and brought to this version, statements with
// their values bound, errors as negative errno. Nobody else includes it.
#ifndef BERTH_SERVER_CATALOGUE_DB_H
#define BERTH_SERVER_CATALOGUE_DB_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

int catalogue_db_open(const char *path, sqlite3 **ret_db);

// The negative errno for the last failure on db, which `code` names; logs what SQLite said.
int catalogue_db_error(sqlite3 *db, int code);

// Prepares sql and binds its parameters in order, each as its letter in `types` says: t text (const char *),
// i integer (int64_t), d double, b bytes (const void *, int). Text and bytes must live as long as the
// statement.
int catalogue_db_prepare(sqlite3 *db, sqlite3_stmt **ret_statement, const char *sql, const char *types, ...);

// Prepares, runs to the end and finalises a statement that returns no rows.
int catalogue_db_run(sqlite3 *db, const char *sql, const char *types, ...);

// 1: a row, 0: no more, or negative errno.
int catalogue_db_step(sqlite3 *db, sqlite3_stmt *statement);

static inline void catalogue_db_finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

// Column as text, cut to fit; "" for NULL.
void catalogue_db_text(sqlite3_stmt *statement, int column, char *out, size_t out_size);

#endif
