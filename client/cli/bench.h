// SPDX-License-Identifier: Apache-2.0
// berth bench, shared by its files: a run in a directory of its own, the meters that its workloads keep, and
// the figures that come of them. The main thread runs one workload after the other; a workload's threads are
// joined before it returns.
#ifndef BERTH_CLIENT_CLI_BENCH_H
#define BERTH_CLIENT_CLI_BENCH_H

#include "fs/base/check.h"
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_SMALL_BYTES  4096u
#define BENCH_RECORD_BYTES 64u

struct bench {
    char a[PATH_MAX], b[PATH_MAX]; // this run's directory through either mount; b "": there is one mount
    char name[32];                 // of that directory
    double seconds;                // that a workload may take
    uint64_t stream_bytes;
    unsigned n_empty, n_small; // files that are there, named by bench_path()
    bool has_stream, stream_changed;
    uint64_t n_stale, n_lost, n_looks; // what the second mount did not see
};

// --- meters (bench_meter.c) ---

#define METER_SAMPLES_MAX 1000000u // later ones are counted and not kept

struct meter {
    double limit_s;
    uint64_t start_ns, step_ns; // of the whole and of the operation under way
    uint64_t end_ns;
    uint64_t count, bytes;
    float *samples_us; // owned
    size_t n_samples;
};

int meter_start(struct meter *meter, double limit_s);
void meter_free(struct meter *meter);
// Time is left and nobody has interrupted: begins an operation.
bool meter_next(struct meter *meter);
void meter_done(struct meter *meter, uint64_t count, uint64_t bytes); // the operation under way
void meter_sample(struct meter *meter, uint64_t ns);                  // one that was timed elsewhere
void meter_end(struct meter *meter);
uint64_t bench_now_ns(void);

// --- workloads (bench_names.c, bench_data.c, bench_between.c) ---

enum bench_kind {
    BENCH_RATE,   // count a second
    BENCH_STREAM, // bytes a second
    BENCH_MIDDLE, // the median sample
    BENCH_COUNT,  // the count
};

struct workload {
    const char *name, *what, *unit;
    enum bench_kind kind;
    bool both; // needs the second mount
    int (*run)(struct bench *bench, struct meter *meter);
};

int bench_create(struct bench *bench, struct meter *meter);
int bench_create_4k(struct bench *bench, struct meter *meter);
int bench_list_cold(struct bench *bench, struct meter *meter);
int bench_list_warm(struct bench *bench, struct meter *meter);
int bench_stat_cold(struct bench *bench, struct meter *meter);
int bench_stat_warm(struct bench *bench, struct meter *meter);
int bench_open_read_cold(struct bench *bench, struct meter *meter);
int bench_open_read_warm(struct bench *bench, struct meter *meter);
int bench_rename(struct bench *bench, struct meter *meter);
int bench_unlink(struct bench *bench, struct meter *meter);

int bench_stream_write(struct bench *bench, struct meter *meter);
int bench_stream_read_cold(struct bench *bench, struct meter *meter);
int bench_stream_read_warm(struct bench *bench, struct meter *meter);
int bench_random_read(struct bench *bench, struct meter *meter);
int bench_random_write(struct bench *bench, struct meter *meter);
int bench_write_fsync(struct bench *bench, struct meter *meter);
int bench_append(struct bench *bench, struct meter *meter);
int bench_lock(struct bench *bench, struct meter *meter);

int bench_lock_handover(struct bench *bench, struct meter *meter);
int bench_append_both(struct bench *bench, struct meter *meter);
int bench_lost_records(struct bench *bench, struct meter *meter);
int bench_see_write(struct bench *bench, struct meter *meter);
int bench_see_create(struct bench *bench, struct meter *meter);
int bench_stale_looks(struct bench *bench, struct meter *meter);

// --- the place (bench_place.c) ---

// Makes the run's directory below `directory`, which `second` (NULL: none) must show too. An error message
// and -1.
int bench_place_make(struct bench *bench, const char *directory, const char *second);
void bench_place_remove(const struct bench *bench);
bool bench_interrupted(void);
void bench_catch_signals(void);
// Ends the process by the signal that came, if one did.
void bench_die_of_signal(void);

// The n-th file of a kind ("empty", "small") below `directory`, which is the run's through either mount.
void bench_path(char path[PATH_MAX], const char *directory, const char *kind, unsigned n);
int bench_open(const char *directory, const char *name, int flags); // a descriptor or -errno

// --- figures (bench_report.c) ---

struct figure {
    const struct workload *workload;
    double value, p50_us, p99_us;
    uint64_t count;
};

void figure_of(struct figure *figure, const struct workload *workload, struct meter *meter);
// The figures of a stored run by name, the caller's; NULL after an error message.
json_t *report_load(const char *path);
void report_head(const json_t *stored); // stored: NULL or what to compare with
void report_row(const struct figure *figure, const json_t *stored);
void report_skipped(const struct workload *workload);
json_t *report_json(const struct figure *figure, const json_t *stored);

#endif
