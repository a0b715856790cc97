// SPDX-License-Identifier: Apache-2.0
// Workloads between two mounts: a lock that both want, appends by both, and when one sees what the other has
// done. Two threads, one on each mount, take turns by what the file system tells them, or by a semaphore when
// it is the file system that is asked. Each joins before its workload returns.
#include "client/cli/bench.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEEN_WITHIN_NS UINT64_C(90000000000) // or the second mount does not see it at all

// The same function on both mounts at once; the first error of either.
static int on_both(void *(*run)(void *side), void *a, void *b)
{
    pthread_t thread;
    int result = -pthread_create(&thread, NULL, run, b);
    if (result < 0)
        return result;
    run(a);
    pthread_join(thread, NULL);
    return 0;
}

// --- a lock that both want ---

struct handover {
    atomic_uint_fast64_t released_ns; // when the last holder let go
    atomic_int last;                  // which side that was
    uint64_t end_ns;
};

struct lock_side {
    struct handover *handover;
    int number, fd;
    struct meter meter; // its samples: the lock came from the other side
    int result;
};

static void *lock_run(void *context)
{
    struct lock_side *side = context;
    struct handover *handover = side->handover;
    while (side->result == 0 && !bench_interrupted() && bench_now_ns() < handover->end_ns) {
        if (flock(side->fd, LOCK_EX) < 0) {
            side->result = -errno;
            break;
        }
        uint64_t now = bench_now_ns();
        if (atomic_load(&handover->last) == 1 - side->number) {
            meter_sample(&side->meter, now - atomic_load(&handover->released_ns));
            side->meter.count++;
        }
        atomic_store(&handover->last, side->number);
        atomic_store(&handover->released_ns, bench_now_ns());
        if (flock(side->fd, LOCK_UN) < 0)
            side->result = -errno;
    }
    return NULL;
}

static void add_samples(struct meter *meter, const struct meter *other)
{
    size_t n = MIN(other->n_samples, METER_SAMPLES_MAX - meter->n_samples);
    memcpy(meter->samples_us + meter->n_samples, other->samples_us, n * sizeof(*meter->samples_us));
    meter->n_samples += n;
    meter->count += other->count;
}

int bench_lock_handover(struct bench *bench, struct meter *meter)
{
    struct handover handover = {.last = -1, .end_ns = meter->start_ns + (uint64_t)(meter->limit_s * 1e9)};
    struct lock_side a = {.handover = &handover, .number = 0, .fd = -1}, b = a;
    b.number = 1;
    a.fd = bench_open(bench->a, "handover", O_CREAT | O_RDWR);
    b.fd = a.fd >= 0 ? bench_open(bench->b, "handover", O_RDWR) : a.fd;
    int result = MIN(b.fd, 0);
    if (result == 0)
        result = meter_start(&a.meter, 0);
    if (result == 0)
        result = meter_start(&b.meter, 0);
    if (result == 0)
        result = on_both(lock_run, &a, &b);
    if (result == 0) {
        result = a.result < 0 ? a.result : b.result;
        add_samples(meter, &a.meter);
        add_samples(meter, &b.meter);
    }
    meter_free(&a.meter);
    meter_free(&b.meter);
    closep(&a.fd);
    closep(&b.fd);
    return result;
}

// --- appends by both ---

struct append_side {
    const struct meter *limits;
    int fd;
    char letter;
    uint64_t n;
    int result;
};

static void *append_run(void *context)
{
    struct append_side *side = context;
    char record[BENCH_RECORD_BYTES];
    uint64_t end_ns = side->limits->start_ns + (uint64_t)(side->limits->limit_s * 1e9);
    memset(record, side->letter, sizeof(record));
    while (side->result == 0 && !bench_interrupted() && bench_now_ns() < end_ns) {
        ssize_t n = write(side->fd, record, sizeof(record));
        side->result = n < 0 ? -errno : n == sizeof(record) ? 0 : -EIO;
        side->n += side->result == 0;
    }
    return NULL;
}

static bool is_record(const char record[BENCH_RECORD_BYTES])
{
    return (record[0] == 'a' || record[0] == 'b') && memcmp(record, record + 1, BENCH_RECORD_BYTES - 1) == 0;
}

// How many whole records the file has, read through the second mount.
static int count_records(const struct bench *bench, uint64_t *ret_n)
{
    char record[BENCH_RECORD_BYTES];
    _cleanup_(closep) int fd = bench_open(bench->b, "both", O_RDONLY);
    if (fd < 0)
        return fd;
    FILE *stream = fdopen(dup(fd), "r");
    if (!stream)
        return -errno;
    *ret_n = 0;
    while (fread(record, sizeof(record), 1, stream) == 1)
        *ret_n += is_record(record);
    fclose(stream);
    return 0;
}

int bench_append_both(struct bench *bench, struct meter *meter)
{
    struct append_side a = {.limits = meter, .fd = -1, .letter = 'a'}, b = a;
    uint64_t n = 0;
    b.letter = 'b';
    a.fd = bench_open(bench->a, "both", O_CREAT | O_WRONLY | O_APPEND);
    b.fd = a.fd >= 0 ? bench_open(bench->b, "both", O_WRONLY | O_APPEND) : a.fd;
    int result = b.fd < 0 ? b.fd : on_both(append_run, &a, &b);
    meter_end(meter);
    if (result == 0)
        result = a.result < 0 ? a.result : b.result;
    if (result == 0)
        result = count_records(bench, &n);
    meter->count = a.n + b.n;
    bench->n_lost += meter->count > n ? meter->count - n : 0;
    closep(&a.fd);
    closep(&b.fd);
    return result;
}

int bench_lost_records(struct bench *bench, struct meter *meter)
{
    meter->count = bench->n_lost;
    return 0;
}

// --- seeing ---

// Looks again and again until it sees; the time that took since the change had returned. The first look
// should do: others are stale.
static int wait_to_see(struct bench *bench, struct meter *meter, const void *what,
                       int (*look)(const void *what))
{
    uint64_t done_ns = bench_now_ns();
    bench->n_looks++;
    for (int seen = look(what);; seen = look(what)) {
        if (seen < 0)
            return seen;
        if (seen > 0)
            break;
        bench->n_stale++;
        if (bench_interrupted())
            return -EINTR;
        if (bench_now_ns() - done_ns > SEEN_WITHIN_NS)
            return -ETIMEDOUT;
    }
    meter_sample(meter, bench_now_ns() - done_ns);
    meter->count++;
    return 0;
}

struct seen_number {
    int fd;
    uint64_t number;
};

static int sees_number(const void *context)
{
    const struct seen_number *what = context;
    uint64_t found = 0;
    ssize_t n = pread(what->fd, &found, sizeof(found), 0);
    return n < 0 ? -errno : n == sizeof(found) && found == what->number;
}

int bench_see_write(struct bench *bench, struct meter *meter)
{
    _cleanup_(closep) int fd = bench_open(bench->a, "number", O_CREAT | O_RDWR);
    _cleanup_(closep) int other_fd = fd >= 0 ? bench_open(bench->b, "number", O_RDONLY) : fd;
    if (other_fd < 0)
        return other_fd;
    struct seen_number what = {.fd = other_fd};
    int result = 0;
    while (result == 0 && meter_next(meter)) {
        what.number++;
        ssize_t n = pwrite(fd, &what.number, sizeof(what.number), 0);
        result = n < 0 ? -errno : n == sizeof(what.number) ? 0 : -EIO;
        if (result == 0)
            result = wait_to_see(bench, meter, &what, sees_number);
    }
    return result;
}

static int sees_name(const void *path)
{
    struct stat status;
    if (stat(path, &status) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

// The second mount has looked before, and knows that the name is not there.
int bench_see_create(struct bench *bench, struct meter *meter)
{
    char path[PATH_MAX + 32], seen[PATH_MAX + 32];
    int result = 0;
    for (unsigned i = 0; result == 0 && meter_next(meter); i++) {
        snprintf(path, sizeof(path), "%s/seen%u", bench->a, i);
        snprintf(seen, sizeof(seen), "%s/seen%u", bench->b, i);
        if (sees_name(seen) != 0)
            return -EEXIST;
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        result = fd < 0 || close(fd) < 0 ? -errno : 0;
        if (result == 0)
            result = wait_to_see(bench, meter, seen, sees_name);
    }
    return result;
}

int bench_stale_looks(struct bench *bench, struct meter *meter)
{
    meter->count = bench->n_stale;
    return 0;
}
