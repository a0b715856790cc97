// SPDX-License-Identifier: Apache-2.0
// The commands of `berth fs`, `berth ap`, `berth clients`, `berth locks`, `berth evict` and `berth bench`.
// Each takes its own arguments (argv[0] is how it was called, for usage messages) and returns the program's
// exit code: 0, 1 failed, 2 wrong usage.
#ifndef BERTH_CLIENT_CLI_COMMANDS_H
#define BERTH_CLIENT_CLI_COMMANDS_H

#include "client/cli/endpoint.h"
#include <argp.h>

#define API "/2015-02-01"

int fs_create(int argc, char **argv);
int fs_list(int argc, char **argv);
int fs_delete(int argc, char **argv);
int fs_quota(int argc, char **argv);
int fs_check(int argc, char **argv);
int ap_create(int argc, char **argv);
int ap_list(int argc, char **argv);
int ap_delete(int argc, char **argv);
int ap_quota(int argc, char **argv);
int clients_list(int argc, char **argv);
int locks_list(int argc, char **argv);
int clients_evict(int argc, char **argv);
int bench_run(int argc, char **argv);

// --- what they share (common.c) ---

// Options every command takes. The first member of each command's own options, and argp's input.
struct common {
    struct endpoint endpoint;
    const struct argp_child *children; // the command's
    json_t *tags;                      // of the creates: --name and --tag
    json_t *quota;                     // of the creates and quotas: the limits that were given
    bool json;                         // of the lists
    const char *object;                // of the deletes and quotas: the id
};

extern const struct argp common_argp;             // --endpoint, --profile
extern const struct argp_child common_children[]; // it alone
extern const struct argp_child create_children[]; // and --name, --tag, --quota-…
extern const struct argp_child list_children[];   // and --json

void common_init(struct common *common);
void common_free(struct common *common);
// argp_parse(); input starts with a struct common. The option groups that are argp's children get it too.
void common_parse(const struct argp *argp, int argc, char **argv, void *input);

// argp parser of a command whose one argument is an id (or an ARN, of which the id is taken).
error_t parse_object(int key, char *argument, struct argp_state *state);
error_t parse_no_arguments(int key, char *argument, struct argp_state *state);

// A random token for a create that the user gave none for.
json_t *new_token(void);

// Creates at path with body and prints the member `id_name` of the answer. Exit code.
int create_object(const struct common *common, const char *what, const char *path, json_t *body,
                  const char *id_name);
int put_object(const struct common *common, const char *what, const char *path, json_t *body);
int delete_object(const struct common *common, const char *what, const char *path, const char *query);
// All pages of the list `member` at path (which may have a query), as one array, or NULL after an error
// message. The page after is asked for by query parameter `token`, given in answer member `next`.
struct listing {
    const char *what, *path, *member, *token, *next;
};
json_t *list_objects(const struct common *common, const struct listing *listing);
void print_json(const json_t *json);

// --- quotas (quota.c) ---

extern const struct argp quota_argp; // --quota-bytes, --quota-inodes
json_t *quota_cell(const json_t *object, const char *used, const char *limit); // for a list

// --- tables (table.c) ---

// Rows of cells (strings), the first row the heads, printed in aligned columns.
void print_table(const json_t *rows);

#endif
