// SPDX-License-Identifier: Apache-2.0
// berth bench: the figures that a user of a shared file system would ask for, measured in a directory of its
// own through one mount or two. Works on any file system. Nothing is left behind, also after Ctrl-C.
#include "client/cli/bench.h"
#include "client/cli/commands.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_DEFAULT 2
#define MIB_DEFAULT     128
#define MIB_MAX         (1024 * 1024)
#define SECONDS_MIN     0.1
#define SECONDS_MAX     3600

static const struct workload workloads[] = {
    {"create", "make an empty file", "files/s", BENCH_RATE, false, bench_create},
    {"create_4k", "make a file and write 4 KiB", "files/s", BENCH_RATE, false, bench_create_4k},
    {"list_cold", "list with attributes, never seen", "entries/s", BENCH_RATE, true, bench_list_cold},
    {"list_warm", "list with attributes, again", "entries/s", BENCH_RATE, false, bench_list_warm},
    {"stat_cold", "stat, never seen", "ops/s", BENCH_RATE, true, bench_stat_cold},
    {"stat_warm", "stat, again", "ops/s", BENCH_RATE, false, bench_stat_warm},
    {"open_read_4k_cold", "open, read 4 KiB, close, never seen", "files/s", BENCH_RATE, true,
     bench_open_read_cold},
    {"open_read_4k_warm", "open, read 4 KiB, close, again", "files/s", BENCH_RATE, false,
     bench_open_read_warm},
    {"rename", "rename within a directory", "ops/s", BENCH_RATE, false, bench_rename},
    {"unlink", "remove an empty file", "files/s", BENCH_RATE, false, bench_unlink},
    {"stream_write", "write 1 MiB at a time, then fsync", "MB/s", BENCH_STREAM, false, bench_stream_write},
    {"stream_read_cold", "read 1 MiB at a time, never seen", "MB/s", BENCH_STREAM, true,
     bench_stream_read_cold},
    {"stream_read_warm", "read 1 MiB at a time, again", "MB/s", BENCH_STREAM, false, bench_stream_read_warm},
    {"random_read_4k", "read 4 KiB anywhere", "ops/s", BENCH_RATE, false, bench_random_read},
    {"random_write_4k", "write 4 KiB anywhere", "ops/s", BENCH_RATE, false, bench_random_write},
    {"write_4k_fdatasync", "write 4 KiB anywhere and force it to the disk", "ops/s", BENCH_RATE, false,
     bench_write_fsync},
    {"append_64b", "append 64 bytes", "ops/s", BENCH_RATE, false, bench_append},
    {"lock_unlock", "fcntl lock that nobody else wants", "pairs/s", BENCH_RATE, false, bench_lock},
    {"lock_handover", "from unlock on one mount to lock on the other", "handovers/s", BENCH_RATE, true,
     bench_lock_handover},
    {"append_both", "append 64 bytes to one file from both mounts", "ops/s", BENCH_RATE, true,
     bench_append_both},
    {"lost_records", "of append_both", "records", BENCH_COUNT, true, bench_lost_records},
    {"see_write", "from the end of a write to seeing it through DIR2", "us", BENCH_MIDDLE, true,
     bench_see_write},
    {"see_create", "from the end of a create to seeing it through DIR2", "us", BENCH_MIDDLE, true,
     bench_see_create},
    {"stale_looks", "looks through DIR2 that did not see what was done", "looks", BENCH_COUNT, true,
     bench_stale_looks},
};

struct options {
    const char *a, *b, *compare, *only;
    double seconds;
    long mib;
    bool json;
};

// --- options ---

static bool is_chosen(const struct options *options, const char *name)
{
    size_t n = strlen(name);
    if (!options->only)
        return true;
    for (const char *at = options->only; (at = strstr(at, name)); at += n) {
        bool begins = at == options->only || at[-1] == ',', ends = at[n] == ',' || at[n] == '\0';
        if (begins && ends)
            return true;
    }
    return false;
}

static bool is_workload(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++) {
        if (strlen(workloads[i].name) == n && memcmp(workloads[i].name, name, n) == 0)
            return true;
    }
    return false;
}

static void check_only(const char *only, const struct argp_state *state)
{
    for (const char *at = only; at;) {
        const char *comma = strchr(at, ',');
        size_t n = comma ? (size_t)(comma - at) : strlen(at);
        if (!is_workload(at, n))
            argp_error(state, "there is no workload \"%.*s\"", (int)n, at);
        at = comma ? comma + 1 : NULL;
    }
}

static double seconds_of(const char *text, const struct argp_state *state)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= SECONDS_MIN && value <= SECONDS_MAX))
        argp_error(state, "--seconds is from %g to %d", SECONDS_MIN, SECONDS_MAX);
    return value;
}

static long mib_of(const char *text, const struct argp_state *state)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end || value < 1 || value > MIB_MAX)
        argp_error(state, "--size is from 1 to %d", MIB_MAX);
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 's':
        options->seconds = seconds_of(argument, state);
        return 0;
    case 'm':
        options->mib = mib_of(argument, state);
        return 0;
    case 'o':
        check_only(argument, state);
        options->only = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'c':
        options->compare = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_usage(state);
        *(state->arg_num == 0 ? &options->a : &options->b) = argument;
        return 0;
    case ARGP_KEY_END:
        if (!options->a)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_list[] = {
    {"seconds", 's', "N", 0, "how long a workload may take (2)", 0},
    {"size", 'm', "MIB", 0, "size of the file that streams are made of (128)", 0},
    {"only", 'o', "NAME,...", 0, "these workloads alone", 0},
    {"json", 'j', NULL, 0, "figures as JSON, to be kept for --compare", 0},
    {"compare", 'c', "FILE", 0, "beside those of a run with --json", 0},
    {0}};

// --- running ---

static void show_progress(size_t n, const char *name)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K[%zu/%zu] %s", n, ARRAY_LEN(workloads), name);
    else
        fprintf(stderr, "[%zu/%zu] %s\n", n, ARRAY_LEN(workloads), name);
    fflush(stderr);
}

static void clear_progress(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

// 0, or -1 after an error message.
static int run_one(struct bench *bench, const struct workload *workload, struct figure *figure)
{
    struct meter meter;
    int result = meter_start(&meter, bench->seconds);
    if (result == 0)
        result = workload->run(bench, &meter);
    if (meter.end_ns == 0)
        meter_end(&meter);
    clear_progress();
    if (result == 0)
        figure_of(figure, workload, &meter);
    else if (!bench_interrupted())
        fprintf(stderr, "berth: bench: %s: %s\n", workload->name, strerror(-result));
    meter_free(&meter);
    return result < 0 || bench_interrupted() ? -1 : 0;
}

static int run_all(struct bench *bench, const struct options *options, const json_t *stored, json_t *figures)
{
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++) {
        const struct workload *workload = &workloads[i];
        struct figure figure;
        if (!is_chosen(options, workload->name))
            continue;
        if (workload->both && !bench->b[0]) {
            if (!options->json)
                report_skipped(workload);
            continue;
        }
        show_progress(i + 1, workload->name);
        if (run_one(bench, workload, &figure) < 0)
            return -1;
        if (options->json)
            json_array_append_new(figures, report_json(&figure, stored));
        else
            report_row(&figure, stored);
    }
    return 0;
}

static void print_run(const struct options *options, json_t *figures)
{
    char date[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm))
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_t *run = json_pack("{s: i, s: s, s: s, s: s?, s: f, s: I, s: O}", "version", 1, "date", date,
                            "directory", options->a, "second", options->b, "seconds", options->seconds,
                            "size_mib", (json_int_t)options->mib, "figures", figures);
    print_json(run);
    json_decref(run);
}

static int bench_in_place(const struct options *options, const json_t *stored)
{
    struct bench bench = {.seconds = options->seconds, .stream_bytes = (uint64_t)options->mib * 1024 * 1024};
    json_t *figures = json_array();
    bench_catch_signals();
    int result = bench_place_make(&bench, options->a, options->b);
    if (result == 0 && !options->json)
        report_head(stored);
    if (result == 0)
        result = run_all(&bench, options, stored, figures);
    bench_place_remove(&bench);
    if (result == 0 && options->json)
        print_run(options, figures);
    json_decref(figures);
    bench_die_of_signal();
    return result < 0 ? 1 : 0;
}

int bench_run(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_list,
        .parser = parse,
        .args_doc = "DIR [DIR2]",
        .doc =
            "Measure the file system at DIR. DIR2 is the same directory seen through a second mount; "
            "\"cold\" "
            "workloads look through it at what it has not seen yet.\vEach workload is a line: its value, and "
            "the middle and 99th percentile of what one operation took, in microseconds."};
    struct options options = {.seconds = SECONDS_DEFAULT, .mib = MIB_DEFAULT};
    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return 2;
    json_t *stored = options.compare ? report_load(options.compare) : NULL;
    if (options.compare && !stored)
        return 1;
    int code = bench_in_place(&options, stored);
    json_decref(stored);
    return code;
}
