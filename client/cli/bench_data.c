// SPDX-License-Identifier: Apache-2.0
// Workloads on data: streams, random blocks, appends, and locks that nobody else wants. One process, an
// operation after the other.
#include "client/cli/bench.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (1024u * 1024u)
#define BLOCK 4096u

static uint8_t chunk[CHUNK];

static int checked(ssize_t n, size_t wanted)
{
    return n < 0 ? -errno : (size_t)n == wanted ? 0 : -EIO;
}

// --- streams ---

static int write_stream(struct bench *bench, struct meter *meter, int fd)
{
    int result = 0;
    for (uint64_t at = 0; result == 0 && at < bench->stream_bytes && !bench_interrupted(); at += CHUNK) {
        meter->step_ns = bench_now_ns();
        memset(chunk, (int)(at / CHUNK), sizeof(chunk));
        result = checked(pwrite(fd, chunk, CHUNK, (off_t)at), CHUNK);
        meter_done(meter, 1, CHUNK);
    }
    return result == 0 && fsync(fd) < 0 ? -errno : result;
}

// Written once, and forced to the disk: that is part of it.
int bench_stream_write(struct bench *bench, struct meter *meter)
{
    _cleanup_(closep) int fd = bench_open(bench->a, "stream", O_CREAT | O_TRUNC | O_RDWR);
    if (fd < 0)
        return fd;
    int result = write_stream(bench, meter, fd);
    bench->has_stream = result == 0 && !bench_interrupted();
    bench->stream_changed = false;
    return result;
}

static int need_stream(struct bench *bench)
{
    struct meter unused;
    if (bench->has_stream)
        return 0;
    int result = meter_start(&unused, 0);
    if (result == 0)
        result = bench_stream_write(bench, &unused);
    meter_free(&unused);
    return result;
}

static int read_stream(struct bench *bench, struct meter *meter, const char *directory)
{
    int result = need_stream(bench);
    _cleanup_(closep) int fd = result == 0 ? bench_open(directory, "stream", O_RDONLY) : result;
    if (fd < 0)
        return fd;
    meter->start_ns = bench_now_ns();
    for (uint64_t at = 0; result == 0 && at < bench->stream_bytes && !bench_interrupted(); at += CHUNK) {
        meter->step_ns = bench_now_ns();
        result = checked(pread(fd, chunk, CHUNK, (off_t)at), CHUNK);
        meter_done(meter, 1, CHUNK);
        bool whole = chunk[0] == (uint8_t)(at / CHUNK) && chunk[CHUNK - 1] == chunk[0];
        if (result == 0 && !whole && !bench->stream_changed)
            result = -EBADMSG;
    }
    return result;
}

int bench_stream_read_cold(struct bench *bench, struct meter *meter)
{
    return read_stream(bench, meter, bench->b);
}

int bench_stream_read_warm(struct bench *bench, struct meter *meter)
{
    struct meter unused;
    int result = meter_start(&unused, 0);
    if (result == 0)
        result = read_stream(bench, &unused, bench->a);
    meter_free(&unused);
    return result == 0 ? read_stream(bench, meter, bench->a) : result;
}

// --- blocks ---

static off_t random_block(const struct bench *bench, uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (off_t)(*state % (bench->stream_bytes / BLOCK)) * BLOCK;
}

static int blocks(struct bench *bench, struct meter *meter, bool writes, bool syncs)
{
    uint32_t state = 1;
    int result = need_stream(bench);
    _cleanup_(closep) int fd =
        result == 0 ? bench_open(bench->a, "stream", writes ? O_WRONLY : O_RDONLY) : result;
    if (fd < 0)
        return fd;
    bench->stream_changed |= writes;
    meter->start_ns = bench_now_ns();
    while (result == 0 && meter_next(meter)) {
        off_t at = random_block(bench, &state);
        ssize_t n = writes ? pwrite(fd, chunk, BLOCK, at) : pread(fd, chunk, BLOCK, at);
        result = checked(n, BLOCK);
        if (result == 0 && syncs && fdatasync(fd) < 0)
            result = -errno;
        meter_done(meter, 1, BLOCK);
    }
    return result;
}

int bench_random_read(struct bench *bench, struct meter *meter)
{
    return blocks(bench, meter, false, false);
}

int bench_random_write(struct bench *bench, struct meter *meter)
{
    return blocks(bench, meter, true, false);
}

int bench_write_fsync(struct bench *bench, struct meter *meter)
{
    return blocks(bench, meter, true, true);
}

// --- appends and locks ---

int bench_append(struct bench *bench, struct meter *meter)
{
    int result = 0;
    _cleanup_(closep) int fd = bench_open(bench->a, "log", O_CREAT | O_WRONLY | O_APPEND);
    if (fd < 0)
        return fd;
    while (result == 0 && meter_next(meter)) {
        result = checked(write(fd, chunk, BENCH_RECORD_BYTES), BENCH_RECORD_BYTES);
        meter_done(meter, 1, BENCH_RECORD_BYTES);
    }
    return result;
}

int bench_lock(struct bench *bench, struct meter *meter)
{
    int result = 0;
    _cleanup_(closep) int fd = bench_open(bench->a, "lock", O_CREAT | O_RDWR);
    if (fd < 0)
        return fd;
    while (result == 0 && meter_next(meter)) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        result = fcntl(fd, F_SETLKW, &lock) < 0 ? -errno : 0;
        lock.l_type = F_UNLCK;
        if (result == 0 && fcntl(fd, F_SETLK, &lock) < 0)
            result = -errno;
        meter_done(meter, 1, 0);
    }
    return result;
}
