// SPDX-License-Identifier: Apache-2.0
// The SQL functions of the check's rules (sqlite_check.h), and its look at `numbers`, from which one of them
// takes. Any one thread.
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/sqlite_check.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define SHOWN_SIZE  1100u               // a name of 255 bytes, each escaped
#define LOST_MARGIN (UINT64_C(1) << 32) // numbers that may have been handed out past those in use

// --- functions ---

static void shown(sqlite3_context *context, int n, sqlite3_value **values)
{
    char text[SHOWN_SIZE];
    (void)n;
    const void *bytes = sqlite3_value_blob(values[0]);
    int length = sqlite3_value_bytes(values[0]);
    log_text(text, sizeof(text), bytes ? bytes : "", (size_t)length);
    sqlite3_result_text(context, text, -1, SQLITE_TRANSIENT);
}

static void name_fits(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    const void *bytes = sqlite3_value_blob(values[0]);
    struct fs_name name = {.bytes = bytes ? bytes : "", .length = (size_t)sqlite3_value_bytes(values[0])};
    sqlite3_result_int(context, sqlite3_value_type(values[0]) == SQLITE_BLOB && fs_name_check(name) == 0);
}

static void file_there(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    const struct check *check = sqlite3_user_data(context);
    const struct engine *engine = &check->engine;
    uint64_t file = (uint64_t)sqlite3_value_int64(values[0]);
    char path[PATH_ROOM];
    struct stat status;
    datafile_path(file, path);
    bool there = fstatat(engine->data_fd, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
    bool made_at_open = !there && !engine->numbers.clean && file >= engine->numbers.file_floor;
    sqlite3_result_int(context, made_at_open || (there && S_ISREG(status.st_mode)));
}

static void wrapped_sum_step(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    uint64_t *sum = sqlite3_aggregate_context(context, sizeof(*sum));
    if (sum)
        *sum += (uint64_t)sqlite3_value_int64(values[0]);
}

static void wrapped_sum_end(sqlite3_context *context)
{
    const uint64_t *sum = sqlite3_aggregate_context(context, 0);
    sqlite3_result_int64(context, sum ? (sqlite3_int64)*sum : 0);
}

static void new_cookie(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    (void)values;
    struct check *check = sqlite3_user_data(context);
    uint64_t cookie;
    if (numbers_take(&check->engine.numbers, NUMBER_COOKIE, 1, &cookie) < 0)
        sqlite3_result_error_code(context, SQLITE_IOERR);
    else
        sqlite3_result_int64(context, (sqlite3_int64)cookie);
}

static void now(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    (void)values;
    const struct check *check = sqlite3_user_data(context);
    sqlite3_result_int64(context, (sqlite3_int64)(env_realtime_ns(check->options->env) / 1000000000u));
}

int check_functions(struct check *check)
{
    static const struct {
        const char *name;
        int n;
        void (*call)(sqlite3_context *, int, sqlite3_value **);
    } functions[] = {{"shown", 1, shown},
                     {"name_fits", 1, name_fits},
                     {"file_there", 1, file_there},
                     {"new_cookie", 0, new_cookie},
                     {"now", 0, now}};
    sqlite3 *db = check->engine.db;
    int result = SQLITE_OK;
    for (size_t i = 0; i < ARRAY_LEN(functions) && result == SQLITE_OK; i++)
        result = sqlite3_create_function_v2(db, functions[i].name, functions[i].n, SQLITE_UTF8, check,
                                            functions[i].call, NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_create_function_v2(db, "wrapped_sum", 1, SQLITE_UTF8, check, NULL, wrapped_sum_step,
                                            wrapped_sum_end, NULL);
    return result == SQLITE_OK ? 0 : db_error(&check->engine, result);
}

// --- numbers ---

static int used_numbers(struct check *check, uint64_t ret_last[NUMBER_KINDS])
{
    static const char *const queries[NUMBER_KINDS] = {
        [NUMBER_INO] =
            "SELECT max((SELECT coalesce(max(ino), 0) FROM inode WHERE typeof(ino) = 'integer'), (SELECT "
            "coalesce(max(ino), 0) FROM data), (SELECT coalesce(max(ino), 0) FROM dentry WHERE "
            "typeof(ino) = 'integer'), (SELECT coalesce(max(parent), 0) FROM dentry WHERE typeof(parent) = "
            "'integer'), (SELECT coalesce(max(ino), 0) FROM segment WHERE typeof(ino) = 'integer'))",
        [NUMBER_COOKIE] = "SELECT coalesce(max(cookie), 0) FROM dentry WHERE typeof(cookie) = 'integer'",
        [NUMBER_FILE] =
            "SELECT max((SELECT coalesce(max(file), 0) FROM data WHERE file >= 1 AND typeof(file) = "
            "'integer'), "
            "(SELECT coalesce(max(file), 0) FROM segment WHERE typeof(file) = 'integer'), (SELECT "
            "coalesce(max(file), 0) FROM intent WHERE typeof(file) = 'integer'))"};
    for (int kind = 0; kind < NUMBER_KINDS; kind++) {
        int64_t last;
        int result = check_integer(check, queries[kind], 0, 0, &last);
        if (result < 0)
            return result;
        ret_last[kind] = (uint64_t)MAX(last, 0);
    }
    return 0;
}

static int rebuild_numbers(struct check *check, uint64_t bounds[NUMBER_KINDS], struct found *found)
{
    struct numbers *numbers = &check->engine.numbers;
    if (!check->repair)
        return 0;
    for (int kind = 0; kind < NUMBER_KINDS && check->numbers_lost; kind++)
        bounds[kind] += LOST_MARGIN;
    if (numbers->fd < 0)
        numbers->fd =
            openat(check->engine.dir_fd, "numbers", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (numbers->fd < 0)
        return -errno;
    int result = numbers_raise(numbers, bounds, check->numbers_lost);
    if (result == 0 && fsync(check->engine.dir_fd) < 0)
        result = -errno;
    found->repaired = result == 0;
    check->numbers_lost = check->numbers_lost && result < 0;
    return result;
}

int check_numbers_file(struct check *check)
{
    static const char *const names[NUMBER_KINDS] = {
        [NUMBER_INO] = "inode number", [NUMBER_COOKIE] = "cookie", [NUMBER_FILE] = "data file"};
    uint64_t bounds[NUMBER_KINDS];
    struct found *found;
    check->what = "numbers";
    int result = used_numbers(check, bounds);
    if (result < 0)
        return result;
    for (int kind = 0; kind < NUMBER_KINDS; kind++)
        bounds[kind]++;
    if (check->numbers_lost) {
        check->engine.numbers.clean = true; // what the tables name must be there
        result = check_found(check, "numbers", 0, &found, "numbers: neither record can be read");
        return result < 0 ? result : rebuild_numbers(check, bounds, found);
    }
    for (int kind = 0; kind < NUMBER_KINDS && result == 0; kind++) {
        if (bounds[kind] <= check->engine.numbers.bound[kind])
            continue;
        result = check_found(check, "numbers", 0, &found,
                             "numbers: %s %" PRIu64 " is in use and was not handed out", names[kind],
                             bounds[kind] - 1);
        if (result == 0)
            result = rebuild_numbers(check, bounds, found);
    }
    return result;
}
