// SPDX-License-Identifier: Apache-2.0
// See scenario.h. Every commit stamps its number on the root directory's mtime, so that a recovered store
// says which version it believes to be.
#include "tests/crash/scenario.h"
#include "fs/base/check.h"
#include "fs/store/sqlite_engine.h"
#include "fs/store/store_sqlite.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_OF_FILE (40u * 1024u) // about and above what lies in the database

static bool fail(char *reason, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, size, format, args);
    va_end(args);
    return false;
}

// --- the store's surroundings ---

static uint64_t ticking_ns(void *context UNUSED)
{
    static uint64_t now;
    return now += 2 * UPKEEP_DELAY_NS;
}

static void no_random(void *context UNUSED, void *out, size_t n)
{
    memset(out, 7, n);
}

static const struct env env = {
    .monotonic_ns = ticking_ns, .realtime_ns = ticking_ns, .random_bytes = no_random};

// --- running ---

struct run {
    struct scenario *scenario;
    struct store *store;
    random_function *random;
    struct version next; // being made
    fs_ino last_ino;
    uint64_t last_cookie, last_session;
    unsigned last_name;
    unsigned touched; // bits of the places that this transaction has changed: each once, so that what is not
                      // undone is always in some version
    int result;       // of the store, sticky
};

static void mark(struct run *run, bool is_sync, fs_ino synced)
{
    struct scenario *scenario = run->scenario;
    fs_assert(scenario->n_marks < ARRAY_LEN(scenario->marks));
    unsigned durable = scenario->n_marks ? scenario->marks[scenario->n_marks - 1].durable : 0;
    unsigned committed = scenario->n_versions - 1;
    scenario->marks[scenario->n_marks++] = (struct mark){.at = disk_log_length(),
                                                         .committed = committed,
                                                         .durable = is_sync ? committed : durable,
                                                         .is_sync = is_sync,
                                                         .synced = synced,
                                                         .last_ino = run->last_ino,
                                                         .last_cookie = run->last_cookie};
}

static bool ok(struct run *run, int result)
{
    if (result < 0 && run->result == 0)
        run->result = result;
    return result >= 0;
}

static bool begin(struct run *run)
{
    return run->result == 0 && ok(run, store_begin(run->store));
}

static struct store_inode inode_of(fs_ino ino, uint64_t size)
{
    return (struct store_inode){.attr = {.ino = ino, .mode = S_IFREG | 0644, .nlink = 1, .size = size},
                                .parent = FS_ROOT_INO};
}

static struct fs_name name_of(unsigned number, char text[16])
{
    return (struct fs_name){text, (uint16_t)snprintf(text, 16, "n%u", number)};
}

static void stamp(struct run *run)
{
    struct store_inode root = {.attr = {.ino = FS_ROOT_INO, .mode = S_IFDIR | 0755, .nlink = 2},
                               .parent = FS_ROOT_INO};
    root.attr.mtime.sec = run->scenario->n_versions;
    ok(run, store_inode_put(run->store, &root));
}

static void commit(struct run *run)
{
    stamp(run);
    if (run->result == 0)
        ok(run, store_commit(run->store));
    if (run->result < 0)
        return;
    fs_assert(run->scenario->n_versions < MODEL_VERSIONS);
    run->scenario->versions[run->scenario->n_versions++] = run->next;
    version_copy(&run->next, &run->scenario->versions[run->scenario->n_versions - 1]);
    mark(run, false, 0);
}

static void set_content(struct model_file *file, struct content *content)
{
    content_put(file->content);
    file->content = content;
}

static void make(struct run *run, struct model_file *file, unsigned name)
{
    char text[16];
    uint64_t cookie;
    fs_ino ino;
    if (!ok(run, store_reserve_inos(run->store, 1, &ino)) ||
        !ok(run, store_reserve_cookies(run->store, 1, &cookie)))
        return;
    run->last_ino = MAX(run->last_ino, ino);
    run->last_cookie = MAX(run->last_cookie, cookie);
    struct store_inode inode = inode_of(ino, 0);
    struct store_dentry dentry = {.ino = ino, .type = S_IFREG, .cookie = cookie};
    ok(run, store_inode_put(run->store, &inode));
    ok(run, store_dentry_put(run->store, FS_ROOT_INO, name_of(name, text), &dentry));
    *file = (struct model_file){.ino = ino, .name = name, .content = content_new(0)};
}

static void write_at(struct run *run, struct model_file *file, size_t offset, size_t n)
{
    if (run->result < 0)
        return;
    size_t size = file->content->n;
    struct content *content = content_copy(file->content, MAX(size, offset + n));
    uint8_t seed = (uint8_t)run->random(255);
    for (size_t i = 0; i < n; i++)
        content->bytes[offset + i] = (uint8_t)(seed + i * 7) | 1;
    ok(run, store_data_write(run->store, file->ino, size, offset, content->bytes + offset, n));
    struct store_inode inode = inode_of(file->ino, content->n);
    ok(run, store_inode_put(run->store, &inode));
    set_content(file, content);
}

static void resize(struct run *run, struct model_file *file, size_t to)
{
    if (run->result < 0)
        return;
    ok(run, store_data_resize(run->store, file->ino, file->content->n, to));
    struct store_inode inode = inode_of(file->ino, to);
    ok(run, store_inode_put(run->store, &inode));
    set_content(file, content_copy(file->content, to));
}

static void take_away(struct run *run, struct model_file *file)
{
    if (run->result < 0)
        return;
    char text[16];
    ok(run, store_dentry_remove(run->store, FS_ROOT_INO, name_of(file->name, text)));
    ok(run, store_inode_remove(run->store, file->ino));
    set_content(file, NULL);
    *file = (struct model_file){0};
}

// rename over: `from` takes `over`'s name.
static void move_over(struct run *run, struct model_file *from, struct model_file *over)
{
    if (run->result < 0)
        return;
    char text[16];
    ok(run, store_dentry_remove(run->store, FS_ROOT_INO, name_of(from->name, text)));
    ok(run, store_dentry_replace(run->store, FS_ROOT_INO, name_of(over->name, text), from->ino, S_IFREG));
    ok(run, store_inode_remove(run->store, over->ino));
    from->name = over->name;
    set_content(over, NULL);
    *over = (struct model_file){0};
}

static void put_session(struct run *run)
{
    uint64_t number = ++run->last_session;
    ok(run, store_session_put(run->store, 1, 0, &number, sizeof(number)));
    run->next.session = number;
}

// --- steps ---

// One that this transaction has not changed; NULL when chance finds none.
static struct model_file *some_file(struct run *run)
{
    unsigned place = (unsigned)run->random(MODEL_FILES);
    if (run->touched & 1u << place)
        return NULL;
    run->touched |= 1u << place;
    return &run->next.files[place];
}

static void change(struct run *run)
{
    struct model_file *file = some_file(run), *other = some_file(run);
    if (!file)
        return;
    if (!file->ino) {
        make(run, file, ++run->last_name);
        if (run->result == 0 && run->random(2))
            write_at(run, file, 0, 1 + run->random(run->random(2) ? 600 : SIZE_MAX_OF_FILE));
        return;
    }
    size_t size = file->content->n;
    switch (run->random(8)) {
    case 0:
        take_away(run, file);
        break;
    case 1:
        if (other && other->ino)
            move_over(run, file, other);
        break;
    case 2:
        resize(run, file, run->random(SIZE_MAX_OF_FILE));
        break;
    case 3:
        resize(run, file, 0);
        break;
    case 4:
        put_session(run);
        break;
    case 5: // in place
        if (size > 0) {
            size_t offset = run->random(size);
            write_at(run, file, offset, 1 + run->random(size - offset));
        }
        break;
    default: // append
        if (size < SIZE_MAX_OF_FILE)
            write_at(run, file, size, 1 + run->random(SIZE_MAX_OF_FILE - size));
        break;
    }
}

static void change_and_commit(struct run *run)
{
    if (!begin(run))
        return;
    unsigned n = 1 + (unsigned)run->random(3);
    run->touched = 0;
    for (unsigned i = 0; i < n && run->result == 0; i++)
        change(run);
    if (run->result == 0)
        commit(run);
    else if (store_in_transaction(run->store))
        store_rollback(run->store);
}

// An overwrite in place is not undone: what is there now is made known by a commit of its own.
static void look_at_contents(struct run *run)
{
    for (unsigned i = 0; i < MODEL_FILES; i++) {
        struct model_file *file = &run->next.files[i];
        size_t got;
        if (!file->ino || file->content->n == 0)
            continue;
        struct content *now = content_new(file->content->n);
        ok(run, store_data_read(run->store, file->ino, now->n, 0, now->bytes, now->n, &got));
        set_content(file, now);
    }
}

static void change_and_roll_back(struct run *run)
{
    struct version before;
    if (!begin(run))
        return;
    version_copy(&before, &run->next);
    run->touched = 0;
    change(run);
    store_rollback(run->store);
    version_free(&run->next);
    run->next = before;
    look_at_contents(run);
    if (begin(run))
        commit(run);
}

static void sync_some(struct run *run)
{
    fs_ino ino = run->random(3) ? run->next.files[run->random(MODEL_FILES)].ino : 0;
    if (ok(run, store_sync(run->store, ino)))
        mark(run, true, ino);
}

static void upkeep(struct run *run)
{
    bool more;
    if (run->result < 0)
        return;
    ok(run, store_upkeep(run->store, &more));
    // The worker's calls come where the seed has them, not where the machine's scheduler does.
    ok(run, worker_wait(engine_of(run->store)));
    ok(run, store_upkeep(run->store, &more));
}

static void checkpoint(struct run *run)
{
    if (run->result < 0)
        return;
    ok(run, worker_ask(engine_of(run->store)));
    ok(run, worker_wait(engine_of(run->store)));
}

static void step(struct run *run)
{
    switch (run->random(12)) {
    case 0:
    case 1:
        sync_some(run);
        break;
    case 2:
        upkeep(run);
        break;
    case 3:
        checkpoint(run);
        break;
    case 4:
        change_and_roll_back(run);
        break;
    default:
        change_and_commit(run);
        break;
    }
}

// The orders that matter most, one after the other.
enum short_kind { SHORT_MOVE_OUT, SHORT_CUT, SHORT_REMOVE, SHORT_MOVE_OVER };

static void make_and_write(struct run *run, struct model_file *file, size_t n)
{
    if (!begin(run))
        return;
    make(run, file, ++run->last_name);
    write_at(run, file, 0, n);
    commit(run);
}

static void do_the_main_thing(struct run *run, enum short_kind kind)
{
    struct model_file *file = &run->next.files[0], *other = &run->next.files[1];
    if (!begin(run))
        return;
    if (kind == SHORT_MOVE_OUT) // from the database to a data file
        write_at(run, file, 500, 20000);
    else if (kind == SHORT_CUT) // fewer bytes, then more
        resize(run, file, 5000);
    else if (kind == SHORT_REMOVE)
        take_away(run, file);
    else
        move_over(run, other, file);
    commit(run);
}

static void append_to(struct run *run, struct model_file *file, size_t n)
{
    if (!begin(run))
        return;
    write_at(run, file, file->content->n, n);
    commit(run);
}

static void sync_ino(struct run *run, fs_ino ino)
{
    if (run->result == 0 && ok(run, store_sync(run->store, ino)))
        mark(run, true, ino);
}

static void short_steps(struct run *run, enum short_kind kind)
{
    struct model_file *file = &run->next.files[0], *other = &run->next.files[1];
    make_and_write(run, file, kind == SHORT_MOVE_OUT ? 500 : 20000);
    make_and_write(run, other, 100);
    sync_ino(run, file->ino);
    do_the_main_thing(run, kind);
    if (kind == SHORT_MOVE_OUT || kind == SHORT_CUT)
        append_to(run, file, 9000);
    upkeep(run);
    sync_ino(run, other->ino); // somebody else's sync makes the log durable
    upkeep(run);
    if (begin(run)) {
        put_session(run);
        commit(run);
    }
    checkpoint(run);
}

static int open_new(struct run *run, const char *directory)
{
    int result = store_sqlite_create(directory);
    if (result == 0)
        result = store_sqlite_open(directory, &env, &run->store);
    if (result == 0)
        result = store_begin(run->store);
    if (result < 0)
        return result;
    run->scenario->n_versions = 0;
    stamp(run);
    run->scenario->n_versions = 1;
    return run->result ? run->result : store_commit(run->store);
}

bool scenario_run(struct scenario *scenario, const char *directory, enum disk_lie lie, unsigned steps,
                  bool short_one, random_function *random, char *reason, size_t size)
{
    struct run run = {.scenario = scenario, .random = random};
    *scenario = (struct scenario){.n_versions = 1};
    int result = open_new(&run, directory);
    if (result < 0)
        return fail(reason, size, "a new store: %s", strerror(-result));
    fs_assert(store_sync(run.store, 0) == 0);
    disk_record(directory, lie);
    mark(&run, true, 0);
    if (short_one)
        short_steps(&run, (enum short_kind)steps);
    else
        for (unsigned i = 0; i < steps && run.result == 0; i++)
            step(&run);
    if (run.result < 0 && store_in_transaction(run.store))
        store_rollback(run.store);
    // After a failed sync nobody knows what is on the disk, and nobody may say so.
    bool lied = disk_sync_failed() && store_sync(run.store, 0) == 0;
    disk_stop();
    version_free(&run.next);
    store_close(run.store);
    if (lied)
        return fail(reason, size, "a sync failed, and a later one says that all is safe");
    scenario->result = run.result;
    return true;
}

void scenario_free(struct scenario *scenario)
{
    for (unsigned i = 0; i < scenario->n_versions; i++)
        version_free(&scenario->versions[i]);
}

// --- judging ---

struct judge {
    const struct scenario *scenario;
    struct store *store;
    size_t at;
    bool process_died;
    unsigned committed, durable, found;
    struct mark last; // in force at the crash
    char *reason;
    size_t size;
};

static void find_promises(struct judge *judge)
{
    for (unsigned i = 0; i < judge->scenario->n_marks && judge->scenario->marks[i].at <= judge->at; i++)
        judge->last = judge->scenario->marks[i];
    judge->committed = judge->last.committed;
    judge->durable = judge->process_died ? judge->last.committed : judge->last.durable;
}

// Since which version the contents of the file have been safe.
static unsigned safe_since(const struct judge *judge, fs_ino ino)
{
    unsigned safe = 0;
    if (judge->process_died)
        return judge->found;
    for (unsigned i = 0; i < judge->scenario->n_marks && judge->scenario->marks[i].at <= judge->at; i++) {
        const struct mark *mark = &judge->scenario->marks[i];
        if (mark->is_sync && (mark->synced == 0 || mark->synced == ino))
            safe = mark->committed;
    }
    return MIN(safe, judge->found);
}

// May this byte be what it is? It may be as in any version since the file was safe; and zero where these
// differ.
static bool byte_is_possible(const struct judge *judge, fs_ino ino, unsigned since, size_t at, uint8_t byte)
{
    const struct model_file *first = version_find(&judge->scenario->versions[since], ino);
    bool differs = false;
    unsigned last = MIN(judge->committed + 1, judge->scenario->n_versions - 1);
    for (unsigned i = since; i <= last; i++) {
        const struct model_file *file = version_find(&judge->scenario->versions[i], ino);
        bool there = file && at < file->content->n;
        bool was_there = first && at < first->content->n;
        if (there && file->content->bytes[at] == byte)
            return true;
        differs |= there != was_there || (there && file->content->bytes[at] != first->content->bytes[at]);
    }
    return differs && byte == 0;
}

static bool judge_content(const struct judge *judge, const struct model_file *file)
{
    size_t n = file->content->n, got = 0;
    uint8_t *bytes = malloc(n + 1);
    unsigned since = safe_since(judge, file->ino);
    fs_assert(bytes);
    int result = store_data_read(judge->store, file->ino, n, 0, bytes, n, &got);
    bool good = result == 0 && got == n;
    if (!good)
        fail(judge->reason, judge->size, "inode %" PRIu64 " cannot be read: %s", file->ino,
             strerror(-result));
    for (size_t at = 0; good && at < n; at++) {
        good = byte_is_possible(judge, file->ino, since, at, bytes[at]);
        if (!good)
            fail(judge->reason, judge->size,
                 "inode %" PRIu64 " has %02x at %zu of %zu; versions %u to %u never had", file->ino,
                 bytes[at], at, n, since, judge->committed + 1);
    }
    free(bytes);
    return good;
}

static bool judge_file(const struct judge *judge, const struct model_file *file)
{
    char text[16];
    struct store_inode inode;
    struct store_dentry dentry;
    if (store_inode_get(judge->store, file->ino, &inode) != 0)
        return fail(judge->reason, judge->size, "inode %" PRIu64 " is gone", file->ino);
    if (inode.attr.size != file->content->n)
        return fail(judge->reason, judge->size, "inode %" PRIu64 " has %" PRIu64 " bytes, not %zu", file->ino,
                    inode.attr.size, file->content->n);
    if (store_dentry_get(judge->store, FS_ROOT_INO, name_of(file->name, text), &dentry) != 0 ||
        dentry.ino != file->ino)
        return fail(judge->reason, judge->size, "inode %" PRIu64 " is not at its name", file->ino);
    return judge_content(judge, file);
}

static bool take_session(void *context, uint64_t id UNUSED, uint32_t part UNUSED, const void *bytes, size_t n)
{
    fs_assert(n == sizeof(uint64_t));
    memcpy(context, bytes, n);
    return false;
}

static bool judge_version(const struct judge *judge)
{
    const struct version *version = &judge->scenario->versions[judge->found];
    struct store_usage usage;
    uint64_t n_inodes = 1, n_bytes = 0, session = 0;
    for (unsigned i = 0; i < MODEL_FILES; i++) {
        if (!version->files[i].ino)
            continue;
        if (!judge_file(judge, &version->files[i]))
            return false;
        n_inodes++;
        n_bytes += version->files[i].content->n;
    }
    if (store_usage(judge->store, &usage) != 0 || usage.inodes != n_inodes || usage.bytes != n_bytes)
        return fail(judge->reason, judge->size,
                    "the totals are %" PRIu64 " inodes, %" PRIu64 " bytes, not %" PRIu64 ", %" PRIu64,
                    usage.inodes, usage.bytes, n_inodes, n_bytes);
    if (store_session_list(judge->store, take_session, &session) != 0 || session != version->session)
        return fail(judge->reason, judge->size, "the session is at %" PRIu64 ", not %" PRIu64, session,
                    version->session);
    return true;
}

static bool judge_numbers(const struct judge *judge)
{
    fs_ino ino = 0;
    uint64_t cookie = 0;
    if (store_reserve_inos(judge->store, 1, &ino) != 0 ||
        store_reserve_cookies(judge->store, 1, &cookie) != 0)
        return fail(judge->reason, judge->size, "no numbers are to be had");
    if (ino <= judge->last.last_ino || cookie <= judge->last.last_cookie)
        return fail(judge->reason, judge->size, "inode %" PRIu64 " or cookie %" PRIu64 " is handed out again",
                    ino, cookie);
    return true;
}

// What grows after recovery has no old bytes in it.
static bool judge_growth(const struct judge *judge)
{
    const struct version *version = &judge->scenario->versions[judge->found];
    for (unsigned i = 0; i < MODEL_FILES; i++) {
        const struct model_file *file = &version->files[i];
        uint8_t bytes[4096] = {1};
        size_t got, n = file->ino ? file->content->n : 0;
        if (!file->ino)
            continue;
        struct store_inode inode = inode_of(file->ino, n + sizeof(bytes));
        if (store_begin(judge->store) != 0 ||
            store_data_resize(judge->store, file->ino, n, n + sizeof(bytes)) != 0 ||
            store_inode_put(judge->store, &inode) != 0 || store_commit(judge->store) != 0 ||
            store_data_read(judge->store, file->ino, n + sizeof(bytes), n, bytes, sizeof(bytes), &got) != 0)
            return fail(judge->reason, judge->size, "inode %" PRIu64 " cannot grow", file->ino);
        for (size_t at = 0; at < sizeof(bytes); at++) {
            if (bytes[at])
                return fail(judge->reason, judge->size, "old bytes come back in inode %" PRIu64, file->ino);
        }
    }
    return true;
}

static bool judge_store(struct judge *judge)
{
    struct store_inode root;
    if (store_inode_get(judge->store, FS_ROOT_INO, &root) != 0)
        return fail(judge->reason, judge->size, "the root is gone");
    judge->found = (unsigned)root.attr.mtime.sec;
    if (judge->found < judge->durable)
        return fail(judge->reason, judge->size, "commit %u was %s, and %u is found", judge->durable,
                    judge->process_died ? "acknowledged" : "synced", judge->found);
    if (judge->found > judge->committed + 1 || judge->found >= judge->scenario->n_versions)
        return fail(judge->reason, judge->size, "commit %u is found before it was made", judge->found);
    return judge_version(judge) && judge_numbers(judge) && judge_growth(judge);
}

bool scenario_judge(const struct scenario *scenario, const char *directory, size_t at, bool process_died,
                    char *reason, size_t size)
{
    struct judge judge = {
        .scenario = scenario, .at = at, .process_died = process_died, .reason = reason, .size = size};
    find_promises(&judge);
    int result = store_sqlite_open(directory, &env, &judge.store);
    if (result < 0)
        return fail(reason, size, "the store does not open: %s", strerror(-result));
    bool good = judge_store(&judge);
    store_close(judge.store);
    return good;
}
