// SPDX-License-Identifier: Apache-2.0
// The check of a store that this process serves. Each part of it looks at one moment, through a
// transaction that only reads: the server goes on, but its log grows meanwhile, so a look that takes the log
// past a bound makes way and begins again. Files are of no transaction: what is said of them must be true
// twice, at two moments. Any one thread.
#include "fs/base/check.h"
#include "fs/store/sqlite_check.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_GROWTH_MAX (INT64_C(256) * 1024 * 1024) // what a look may make the log grow by
#define BUSY_MS        5000
#define TRIES          5 // of a part that made way

static int64_t log_size(const struct check *check)
{
    struct stat status;
    bool there = fstatat(check->engine.dir_fd, "meta.db-wal", &status, AT_SYMLINK_NOFOLLOW) == 0;
    return there ? (int64_t)status.st_size : 0;
}

bool check_makes_way(struct check *check)
{
    check->made_way = check->made_way || (check->log_limit > 0 && log_size(check) > check->log_limit);
    return check->made_way;
}

// Numbers are handed out before they are used, so those that are read after the moment began cover it.
static int look_once(struct check *check, int (*part)(struct check *check))
{
    int64_t unused;
    check->made_way = false;
    check->log_limit = log_size(check) + LOG_GROWTH_MAX;
    int result = check_exec(check, "BEGIN", 0, NULL);
    if (result == 0)
        result = check_integer(check, "SELECT ino FROM inode LIMIT 1", 0, 0, &unused);
    if (result == 0)
        result = check_load_numbers(check);
    if (result == 0)
        result = part(check);
    check->log_limit = 0;
    if (!sqlite3_get_autocommit(check->engine.db))
        check_exec(check, "ROLLBACK", 0, NULL);
    return result;
}

// Back to what had been found before.
static void forget_after(struct check *check, struct list *last)
{
    struct list rest;
    list_init(&rest);
    while (check->found.prev != last) {
        struct list *node = check->found.prev;
        list_remove(node);
        list_push(&rest, node);
    }
    check_free_found(&rest);
}

static int look(struct check *check, int (*part)(struct check *check))
{
    struct list *last = check->found.prev;
    for (int i = 0; i < TRIES; i++) {
        int result = look_once(check, part);
        if (!check->made_way || check_stopped(check))
            return result;
        forget_after(check, last);
    }
    return -EBUSY;
}

static bool is_of_files(const struct found *found)
{
    return strcmp(found->kind, "missing-file") == 0 || strcmp(found->kind, "stray-file") == 0;
}

static bool is_among(struct list *list, const struct found *found)
{
    list_for_each (node, list) {
        if (strcmp(LIST_ENTRY(node, struct found, node)->text, found->text) == 0)
            return true;
    }
    return false;
}

static bool has_of_files(struct list *list)
{
    list_for_each (node, list) {
        if (is_of_files(LIST_ENTRY(node, struct found, node)))
            return true;
    }
    return false;
}

static void move_all(struct list *from, struct list *to)
{
    for (struct list *node; (node = list_pop(from));)
        list_push(to, node);
}

// Leaves in check->found all of `first` but what is said of files and was not found again.
static void keep_confirmed(struct check *check, struct list *first)
{
    struct list again, dropped;
    list_init(&again);
    list_init(&dropped);
    move_all(&check->found, &again);
    for (struct list *node; (node = list_pop(first));) {
        const struct found *found = LIST_ENTRY(node, struct found, node);
        bool stays = !is_of_files(found) || is_among(&again, found);
        list_push(stays ? &check->found : &dropped, node);
    }
    check_free_found(&again);
    check_free_found(&dropped);
}

static int confirm(struct check *check)
{
    struct list first;
    if (!has_of_files(&check->found))
        return 0;
    list_init(&first);
    move_all(&check->found, &first);
    int result = look(check, check_data);
    if (result == 0)
        result = look(check, check_files);
    keep_confirmed(check, &first);
    return result;
}

int check_online(struct check *check)
{
    sqlite3_busy_timeout(check->engine.db, BUSY_MS);
    int result = check_exec(check, "PRAGMA query_only = ON", 0, NULL);
    for (size_t i = 0; i < check_n_parts && result == 0; i++)
        result = look(check, check_parts[i]);
    if (result == 0)
        result = confirm(check);
    if (result == -EUCLEAN)
        result = list_empty(&check->found)
                     ? check_found(check, "database", 0, NULL, "meta.db: cannot be read")
                     : 0;
    check_tell(check, false);
    check_free_found(&check->found);
    return result;
}
