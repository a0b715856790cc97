// SPDX-License-Identifier: Apache-2.0
// What the clients do, and what they must see: registers and names (any order of the calls must explain the
// answers), a counter that is changed under a lock (no update is lost), appends (each there once, whole),
// files that are unlinked while open. What a client keeps (cache.h) it answers itself. Each client runs a few
// jobs at a time; a job is a chain of calls.
#include "tests/sim/work.h"
#include "tests/sim/cache.h"
#include "tests/sim/client.h"
#include "tests/sim/history.h"
#include "tests/sim/sim.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_AT_ONCE 3u // of one client
#define REGISTERS    CACHE_REGISTERS
#define NAMES        CACHE_NAMES
#define LOOK_MAX_MS  60u // after a change, at what it left
#define COUNTERS     2u
#define COUNT_MAX    4096u
#define APPENDS_MAX  4096u
#define BODY_ROOM    256u

enum job_kind {
    JOB_READ,
    JOB_WRITE,
    JOB_MAKE,
    JOB_REMOVE,
    JOB_LOOK,
    JOB_MOVE,
    JOB_COUNT,
    JOB_APPEND,
    JOB_UNLINKED,
    JOB_KINDS, // those that are drawn
    JOB_FINAL_COUNTER,
    JOB_FINAL_LOG,
};

struct job {
    enum job_kind kind;
    unsigned client, life, object;
    struct sim_open open;
    char name[24];
    struct history_op *op;
    uint64_t value;
    struct cache_look look; // reads and looks
    bool pages;             // writes: as written back from a mapping
};

static struct {
    bool on, final;
    unsigned busy[NETWORK_CLIENTS]; // jobs of the client's present life
    struct history registers[REGISTERS], names;
    uint64_t last_value, last_name;
    bool counted[COUNTERS][COUNT_MAX]; // an acknowledged update started from this value
    unsigned n_counted[COUNTERS];
    uint64_t n_records; // appended so far; record i says i
    bool acknowledged[APPENDS_MAX];
    uint64_t places[APPENDS_MAX];
} work;

static void begin_job(unsigned client);

static struct job *job_of(struct sim_open *open)
{
    return CONTAINER_OF(open, struct job, open);
}

// --- calls ---

// SEND(job, name, NAME, handler, fields…)
#define SEND(job, name, NAME, done, ...)                                                                \
    do {                                                                                                \
        uint8_t body_bytes[BODY_ROOM];                                                                  \
        struct writer body_writer = writer_on(body_bytes, sizeof(body_bytes));                          \
        wire_put_##name##_request(&body_writer, &(struct wire_##name##_request){__VA_ARGS__});          \
        fs_assert(!body_writer.failed);                                                                 \
        client_call(job, (job)->client, WIRE_##NAME, body_bytes, sizeof(body_bytes) - body_writer.left, \
                    done);                                                                              \
    } while (0)

static struct fs_name name_of(const struct job *job)
{
    return (struct fs_name){job->name, strlen(job->name)};
}

static void end_job(struct job *job)
{
    unsigned client = job->client;
    work.busy[client]--;
    free(job);
    begin_job(client);
}

// --- opens ---

static void released(struct job *job, int result UNUSED, struct reader *body UNUSED)
{
    end_job(job);
}

static void release(struct job *job)
{
    client_released(&job->open);
    SEND(job, release, RELEASE, released, .open_id = job->open.id);
}

static void opened(struct job *job, int result, struct reader *body);

static void open_file(struct job *job, const char *format, unsigned object)
{
    snprintf(job->name, sizeof(job->name), format, object);
    job->open =
        (struct sim_open){.id = client_new_open_id(job->client), .flags = FS_OPEN_READ | FS_OPEN_WRITE};
    list_init(&job->open.node);
    SEND(job, create, CREATE, opened, .parent = client_root(job->client), .name = name_of(job),
         .open_id = job->open.id, .mode = 0666, .flags = job->open.flags);
}

// --- registers ---

static void register_done(struct job *job, int result, struct reader *body)
{
    struct wire_read_reply read = {0};
    bool reads = job->kind == JOB_READ;
    if (result == 0 && reads && wire_get_read_reply(body, &read) == 0) {
        job->op->value = 0;
        if (read.data.length == sizeof(job->op->value))
            memcpy(&job->op->value, read.data.bytes, sizeof(job->op->value));
    }
    bool given = (read.lease & WIRE_LEASE_DATA) && !client_answer_is_old();
    if (reads)
        cache_read_ends(job->client, job->object, job->look, given, job->op->value);
    else
        cache_write_ends(job->client, job->object, job->pages);
    if (result == 0)
        history_end(job->op, 0);
    release(job);
}

// The write is done when it is settled.
static void pages_written(struct job *job, int result, struct reader *body)
{
    if (result == 0)
        SEND(job, settle, SETTLE, register_done, .open_id = job->open.id);
    else
        register_done(job, result, body);
}

static void read_of_kept(unsigned client, unsigned object)
{
    uint64_t value;
    struct history_op *op = cache_register(client, object, &value)
                                ? history_begin(&work.registers[object], HISTORY_READ, client, work.final)
                                : NULL;
    if (!op)
        return;
    op->value = value;
    history_end(op, 0);
}

void work_look_at_kept(unsigned client)
{
    for (unsigned object = 0; object < REGISTERS; object++)
        read_of_kept(client, object);
}

static void read_kept(struct job *job)
{
    read_of_kept(job->client, job->object);
    end_job(job);
}

static void use_register(struct job *job)
{
    if (job->kind == JOB_READ && !cache_may_read(job->client, job->object)) {
        release(job);
        return;
    }
    job->op = history_begin(&work.registers[job->object],
                            job->kind == JOB_READ ? HISTORY_READ : HISTORY_WRITE, job->client, work.final);
    if (!job->op) {
        release(job);
        return;
    }
    if (job->kind == JOB_READ) {
        job->look = cache_read_begins(job->client, job->object, job->open.handle);
        SEND(job, read, READ, register_done, .open_id = job->open.id, .n = sizeof(job->value),
             .keep = job->look.keep);
        return;
    }
    job->value = job->op->value = ++work.last_value;
    job->pages = world_chance(30) && cache_may_write_pages(job->client, job->object);
    cache_write_begins(job->client, job->object, job->pages);
    SEND(job, write, WRITE, job->pages ? pages_written : register_done, .open_id = job->open.id,
         .pages = job->pages, .data = {.bytes = (const uint8_t *)&job->value, .length = sizeof(job->value)});
}

// --- names ---

static void look_done(struct job *job, int result, struct reader *body)
{
    struct wire_lookup_reply reply = {0};
    if (result == 0 && wire_get_lookup_reply(body, &reply) == 0 && !reply.entry.there)
        result = -ENOENT;
    bool given = (reply.lease & WIRE_LEASE_NAME) && !client_answer_is_old();
    cache_look_ends(job->client, job->object, job->look, given, result == 0);
    if (result == 0 || result == -ENOENT)
        history_end(job->op, result);
    end_job(job);
}

static void look_at_kept(struct job *job, bool there)
{
    job->op->a = job->object;
    history_end(job->op, there ? 0 : -ENOENT);
    end_job(job);
}

static uint8_t lease_of_change(const struct job *job, struct reader *body)
{
    struct wire_rmdir_reply removed = {0};
    struct wire_rename_reply moved = {0};
    if (job->kind == JOB_REMOVE && wire_get_rmdir_reply(body, &removed) == 0)
        return removed.lease;
    return job->kind == JOB_MOVE && wire_get_rename_reply(body, &moved) == 0 ? moved.lease : 0;
}

static void use_name(struct job *job);

static void look_too(struct job *job, unsigned name)
{
    job->kind = JOB_LOOK;
    job->object = name;
    client_after(job, job->client, world_between(1, LOOK_MAX_MS) * SIM_MS, use_name);
}

static void name_done(struct job *job, int result, struct reader *body)
{
    bool moves = job->kind == JOB_MOVE;
    bool keeps = result == 0 && (moves || job->kind == JOB_REMOVE);
    bool given = keeps && (lease_of_change(job, body) & WIRE_LEASE_NAME) && !client_answer_is_old();
    unsigned kept = moves ? job->op->b : job->op->a;
    cache_change_ends(job->client, job->look, given, keeps ? kept : CACHE_NAMES, moves);
    if (result == 0 || result == -ENOENT || result == -EEXIST)
        history_end(job->op, result);
    if (keeps && !work.final)
        look_too(job, kept);
    else
        end_job(job);
}

static void use_name(struct job *job)
{
    static const enum history_kind kinds[] = {[JOB_MAKE] = HISTORY_MAKE,
                                              [JOB_REMOVE] = HISTORY_REMOVE,
                                              [JOB_LOOK] = HISTORY_LOOK,
                                              [JOB_MOVE] = HISTORY_MOVE};
    char other[24];
    wire_handle root = client_root(job->client);
    job->op = history_begin(&work.names, kinds[job->kind], job->client, work.final);
    if (!job->op) {
        end_job(job);
        return;
    }
    bool there;
    if (job->kind == JOB_LOOK && !work.final && cache_name(job->client, job->object, &there)) {
        look_at_kept(job, there);
        return;
    }
    job->op->a = job->object;
    if (job->kind == JOB_MOVE && world_chance(50))
        job->op->kind = HISTORY_REPLACE;
    job->op->b = (job->object + 1 + (unsigned)world_random(NAMES - 1)) % NAMES;
    snprintf(job->name, sizeof(job->name), "name%u", job->op->a);
    snprintf(other, sizeof(other), "name%u", job->op->b);
    if (job->kind == JOB_LOOK)
        job->look = cache_look_begins(job->client);
    else
        job->look = cache_change_begins(job->client);
    if (job->kind == JOB_MAKE)
        SEND(job, make, MAKE, name_done, .parent = root, .name = name_of(job), .mode = S_IFDIR | 0777);
    else if (job->kind == JOB_REMOVE)
        SEND(job, rmdir, RMDIR, name_done, .parent = root, .name = name_of(job));
    else if (job->kind == JOB_LOOK)
        SEND(job, lookup, LOOKUP, look_done, .parent = root, .name = name_of(job));
    else
        SEND(job, rename, RENAME, name_done, .parent = root, .name = name_of(job), .new_parent = root,
             .new_name = {other, strlen(other)},
             .flags = job->op->kind == HISTORY_MOVE ? FS_RENAME_NOREPLACE : 0);
}

// --- counters under a lock ---

static void unlocked(struct job *job, int result UNUSED, struct reader *body UNUSED)
{
    release(job);
}

static void unlock(struct job *job)
{
    struct fs_lock lock = job->open.lock;
    lock.type = FS_LOCK_UNLOCK;
    job->open.locked = false;
    if (job->open.given_up)
        release(job);
    else
        SEND(job, setlk, SETLK, unlocked, .open_id = job->open.id, .lock = lock);
}

static void counted(struct job *job, int result, struct reader *body UNUSED)
{
    if (result == 0) {
        if (job->value >= COUNT_MAX || work.counted[job->object][job->value])
            world_violation("an update of counter %u was lost: two went on from %" PRIu64, job->object,
                            job->value);
        else
            work.counted[job->object][job->value] = true;
        work.n_counted[job->object]++;
    }
    unlock(job);
}

static void count_up(struct job *job)
{
    uint64_t next = job->value + 1;
    if (job->open.given_up) {
        unlock(job);
        return;
    }
    SEND(job, write, WRITE, counted, .open_id = job->open.id,
         .data = {.bytes = (const uint8_t *)&next, .length = sizeof(next)});
}

static void count_read(struct job *job, int result, struct reader *body)
{
    struct wire_read_reply read;
    if (result < 0 || wire_get_read_reply(body, &read) < 0) {
        unlock(job);
        return;
    }
    job->value = 0;
    if (read.data.length == sizeof(job->value))
        memcpy(&job->value, read.data.bytes, sizeof(job->value));
    client_after(job, job->client, world_between(0, world_chance(10) ? 5 * SIM_SECOND : 20 * SIM_MS),
                 count_up);
}

static void lock_taken(struct job *job)
{
    world_trace("client %u holds counter %u", job->client, job->object);
    job->open.ticket = 0;
    job->open.queued = job->open.cancelled = job->open.granted = false;
    job->open.locked = true;
    SEND(job, read, READ, count_read, .open_id = job->open.id, .n = sizeof(job->value));
}

static void lock_asked(struct job *job, int result, struct reader *body);

static void ask_for_lock(struct job *job)
{
    SEND(job, setlk, SETLK, lock_asked, .open_id = job->open.id, .lock = job->open.lock,
         .ticket = job->open.ticket);
}

static void stop_waiting(struct job *job)
{
    job->open.ticket = 0;
    job->open.queued = false;
    release(job);
}

// The file stays open to the end, without a lock.
static void keep_open(struct job *job)
{
    job->open.ticket = 0;
    job->open.queued = false;
    work.busy[job->client]--;
    begin_job(job->client);
}

static void cancelled(struct job *job, int result, struct reader *body)
{
    struct wire_cancel_reply reply;
    if (result == 0 && wire_get_cancel_reply(body, &reply) == 0 && reply.granted && !job->open.given_up)
        lock_taken(job);
    else if (world_chance(50))
        stop_waiting(job);
    else
        keep_open(job);
}

struct patience {
    unsigned client, life;
    uint64_t ticket;
};

static void lose_patience(void *context)
{
    struct patience *patience = context;
    struct sim_open *open = client_life(patience->client) == patience->life
                                ? client_wait(patience->client, patience->ticket)
                                : NULL;
    if (open && open->queued && !open->asking && !open->cancelled) {
        struct job *job = job_of(open);
        open->cancelled = true;
        SEND(job, cancel, CANCEL, cancelled, .ticket = open->ticket);
    }
    free(patience);
}

static void lock_asked(struct job *job, int result, struct reader *body)
{
    struct wire_setlk_reply reply;
    job->open.asking = false;
    if (result < 0 || wire_get_setlk_reply(body, &reply) < 0) {
        stop_waiting(job);
    } else if (!reply.queued || job->open.granted) {
        lock_taken(job);
    } else if (!job->open.queued) {
        job->open.queued = true;
        struct patience *patience = malloc(sizeof(*patience));
        fs_assert(patience);
        *patience = (struct patience){job->client, job->life, job->open.ticket};
        world_after(world_chance(15) ? world_random(SIM_SECOND) : 3600 * (uint64_t)SIM_SECOND, lose_patience,
                    patience);
    }
}

void work_ask_again(struct sim_open *open)
{
    open->asking = true;
    open->granted = false;
    ask_for_lock(job_of(open));
}

void work_granted(struct sim_open *open)
{
    open->granted = true;
    if (open->queued && !open->asking && !open->cancelled)
        lock_taken(job_of(open));
}

void work_wait_fenced(struct sim_open *open)
{
    if (open->queued && !open->asking && !open->cancelled)
        stop_waiting(job_of(open));
}

static void use_counter(struct job *job)
{
    job->open.lock = (struct fs_lock){
        .kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = job->open.id};
    job->open.ticket = client_new_ticket(job->client);
    ask_for_lock(job);
}

// --- appends ---

static void appended(struct job *job, int result, struct reader *body)
{
    struct wire_append_reply reply;
    if (result == 0 && wire_get_append_reply(body, &reply) == 0) {
        work.acknowledged[job->value] = true;
        work.places[job->value] = reply.offset;
    }
    release(job);
}

static void append_record(struct job *job)
{
    if (work.n_records == APPENDS_MAX) {
        release(job);
        return;
    }
    job->value = work.n_records++;
    SEND(job, append, APPEND, appended, .open_id = job->open.id,
         .data = {.bytes = (const uint8_t *)&job->value, .length = sizeof(job->value)});
}

// --- unlinked while open ---

static void unlinked_read(struct job *job, int result, struct reader *body)
{
    struct wire_read_reply read;
    bool same = result == 0 && wire_get_read_reply(body, &read) == 0 &&
                read.data.length == sizeof(job->value) &&
                memcmp(read.data.bytes, &job->value, sizeof(job->value)) == 0;
    if (!same && !job->open.given_up && result != -EIO)
        world_violation("a file that client %u has open and unlinked reads otherwise than written: %s",
                        job->client, strerror(-result));
    release(job);
}

static void read_unlinked(struct job *job)
{
    SEND(job, read, READ, unlinked_read, .open_id = job->open.id, .n = sizeof(job->value));
}

static void unlinked(struct job *job, int result, struct reader *body UNUSED)
{
    if (result < 0)
        release(job);
    else
        client_after(job, job->client, world_between(0, 3 * SIM_SECOND), read_unlinked);
}

static void unlinked_written(struct job *job, int result, struct reader *body UNUSED)
{
    if (result < 0)
        release(job);
    else
        SEND(job, unlink, UNLINK, unlinked, .parent = client_root(job->client), .name = name_of(job));
}

static void use_unlinked(struct job *job)
{
    job->value = ++work.last_value;
    SEND(job, write, WRITE, unlinked_written, .open_id = job->open.id,
         .data = {.bytes = (const uint8_t *)&job->value, .length = sizeof(job->value)});
}

// --- jobs ---

static void final_counter(struct job *job, int result, struct reader *body);
static void final_log(struct job *job, int result, struct reader *body);

static void opened(struct job *job, int result, struct reader *body)
{
    struct wire_create_reply reply;
    if (result < 0 || wire_get_create_reply(body, &reply) < 0) {
        end_job(job);
        return;
    }
    job->open.handle = reply.entry.handle;
    client_opened(job->client, &job->open);
    if (job->kind == JOB_COUNT)
        use_counter(job);
    else if (job->kind == JOB_APPEND)
        append_record(job);
    else if (job->kind == JOB_UNLINKED)
        use_unlinked(job);
    else if (job->kind == JOB_FINAL_COUNTER)
        SEND(job, read, READ, final_counter, .open_id = job->open.id, .n = sizeof(job->value));
    else if (job->kind == JOB_FINAL_LOG)
        SEND(job, read, READ, final_log, .open_id = job->open.id, .n = APPENDS_MAX * sizeof(uint64_t));
    else
        use_register(job);
}

static void start_job(struct job *job)
{
    if (!client_has_root(job->client)) {
        end_job(job);
        return;
    }
    uint64_t value;
    if (job->kind == JOB_READ || job->kind == JOB_WRITE)
        job->object = (unsigned)world_random(REGISTERS);
    if (job->kind == JOB_READ && cache_register(job->client, job->object, &value))
        read_kept(job);
    else if (job->kind == JOB_READ || job->kind == JOB_WRITE)
        open_file(job, "register%u", job->object);
    else if (job->kind == JOB_COUNT)
        open_file(job, "counter%u", job->object = (unsigned)world_random(COUNTERS));
    else if (job->kind == JOB_APPEND)
        open_file(job, "log%u", 0);
    else if (job->kind == JOB_UNLINKED)
        open_file(job, "unlinked%u", (unsigned)++work.last_name);
    else {
        job->object = (unsigned)world_random(NAMES);
        use_name(job);
    }
}

static void begin_job(unsigned client)
{
    if (!work.on)
        return;
    struct job *job = calloc(1, sizeof(*job));
    fs_assert(job);
    job->kind = (enum job_kind)world_random(JOB_KINDS);
    job->client = client;
    job->life = client_life(client);
    list_init(&job->open.node);
    work.busy[client]++;
    client_after(job, client, world_between(0, world_chance(10) ? 2 * SIM_SECOND : 100 * SIM_MS), start_job);
}

// --- the end ---

static void final_log(struct job *job, int result, struct reader *body)
{
    struct wire_read_reply read;
    if (result < 0 || wire_get_read_reply(body, &read) < 0) {
        world_violation("the log cannot be read: %s", strerror(-result));
        return;
    }
    bool seen[APPENDS_MAX] = {false};
    for (size_t at = 0; at + sizeof(uint64_t) <= read.data.length; at += sizeof(uint64_t)) {
        uint64_t record;
        memcpy(&record, (const uint8_t *)read.data.bytes + at, sizeof(record));
        if (record >= work.n_records || seen[record])
            world_violation("record %" PRIu64 " is in the log twice, or was never appended", record);
        else if (work.acknowledged[record] && work.places[record] != at)
            world_violation("record %" PRIu64 " was said to be elsewhere", record);
        else
            seen[record] = true;
    }
    for (uint64_t record = 0; record < work.n_records; record++) {
        if (work.acknowledged[record] && !seen[record])
            world_violation("record %" PRIu64 " was acknowledged and is not in the log", record);
    }
    release(job);
}

static void final_counter(struct job *job, int result, struct reader *body)
{
    struct wire_read_reply read;
    uint64_t value = 0;
    if (result == 0 && wire_get_read_reply(body, &read) == 0 && read.data.length == sizeof(value))
        memcpy(&value, read.data.bytes, sizeof(value));
    if (result < 0 || value < work.n_counted[job->object])
        world_violation("counter %u ends at %" PRIu64 " after %u acknowledged updates", job->object, value,
                        work.n_counted[job->object]);
    release(job);
}

static void add_final_job(enum job_kind kind, unsigned object)
{
    struct job *job = calloc(1, sizeof(*job));
    fs_assert(job);
    *job = (struct job){.kind = kind, .object = object, .life = client_life(0)};
    list_init(&job->open.node);
    work.busy[0]++;
    if (kind == JOB_READ)
        open_file(job, "register%u", object);
    else if (kind == JOB_FINAL_COUNTER)
        open_file(job, "counter%u", object);
    else if (kind == JOB_FINAL_LOG)
        open_file(job, "log%u", 0);
    else
        use_name(job);
}

void work_look_at_all(void)
{
    work.final = true;
    for (unsigned i = 0; i < REGISTERS; i++)
        add_final_job(JOB_READ, i);
    for (unsigned i = 0; i < NAMES; i++)
        add_final_job(JOB_LOOK, i);
    for (unsigned i = 0; i < COUNTERS; i++)
        add_final_job(JOB_FINAL_COUNTER, i);
    add_final_job(JOB_FINAL_LOG, 0);
}

static void check_history(const char *what, unsigned number, const struct history *history)
{
    if (history_explained(history, 0))
        return;
    world_violation("no order explains what was seen of %s %u", what, number);
    if (world_is_verbose())
        history_print(history);
}

void work_check(void)
{
    // A killed client's session keeps its locks until somebody wants them.
    if (server_locks() > 0 && !clients_were_killed())
        world_violation("%zu locks are held that nobody has", server_locks());
    for (unsigned i = 0; i < REGISTERS; i++)
        check_history("register", i, &work.registers[i]);
    check_history("names", 0, &work.names);
}

// --- beginning and end ---

void work_begin(void)
{
    memset(&work, 0, sizeof(work));
}

void work_client_starts(unsigned client)
{
    work.busy[client] = 0;
    for (unsigned i = 0; i < JOBS_AT_ONCE; i++)
        begin_job(client);
}

void work_start(void)
{
    work.on = true;
    for (unsigned client = 0; client < client_count(); client++)
        work_client_starts(client);
}

void work_stop(void)
{
    work.on = false;
}

bool work_is_idle(void)
{
    for (unsigned client = 0; client < client_count(); client++) {
        if (work.busy[client] > 0)
            return false;
    }
    return true;
}
