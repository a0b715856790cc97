// SPDX-License-Identifier: Apache-2.0
// Figures of berth bench: made of what a meter kept, printed as a table's row, as JSON, and beside those of a
// stored run, whose file is not trusted.
#include "client/cli/bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- figures ---

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double value_of(const struct workload *workload, const struct meter *meter, double median_us)
{
    double seconds = (double)MAX(meter->end_ns - meter->start_ns, 1u) / 1e9;
    switch (workload->kind) {
    case BENCH_RATE:
        return (double)meter->count / seconds;
    case BENCH_STREAM:
        return (double)meter->bytes / 1e6 / seconds;
    case BENCH_MIDDLE:
        return median_us;
    case BENCH_COUNT:
    default:
        return (double)meter->count;
    }
}

void figure_of(struct figure *figure, const struct workload *workload, struct meter *meter)
{
    size_t n = meter->n_samples;
    qsort(meter->samples_us, n, sizeof(*meter->samples_us), ascending);
    *figure = (struct figure){.workload = workload, .count = meter->count};
    if (n > 0) {
        figure->p50_us = (double)meter->samples_us[n / 2];
        figure->p99_us = (double)meter->samples_us[n * 99 / 100];
    }
    figure->value = value_of(workload, meter, figure->p50_us);
}

static bool less_is_better(const struct workload *workload)
{
    return workload->kind == BENCH_MIDDLE || workload->kind == BENCH_COUNT;
}

// --- stored runs ---

static json_t *refuse(const char *path, const char *why, json_t *root)
{
    fprintf(stderr, "berth: bench: %s: %s\n", path, why);
    json_decref(root);
    return NULL;
}

json_t *report_load(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error), *by_name = json_object(), *figure;
    size_t i;
    if (!root || !by_name) {
        json_decref(by_name);
        return refuse(path, error.text, root);
    }
    const json_t *figures = json_object_get(root, "figures");
    json_array_foreach(figures, i, figure)
    {
        const char *name = json_string_value(json_object_get(figure, "name"));
        json_t *value = json_object_get(figure, "value");
        if (name && json_is_number(value))
            json_object_set(by_name, name, value);
    }
    if (json_object_size(by_name) == 0) {
        json_decref(by_name);
        return refuse(path, "no figures of a run with --json", root);
    }
    json_decref(root);
    return by_name;
}

// By how much it is better (worse: negative), in percent of the stored value; NAN: nothing to compare with.
static double better_by(const struct figure *figure, const json_t *stored, double *ret_then)
{
    const json_t *then = stored ? json_object_get(stored, figure->workload->name) : NULL;
    *ret_then = then ? json_number_value(then) : NAN;
    if (!then || *ret_then == 0)
        return NAN;
    double change = (figure->value - *ret_then) / *ret_then * 100;
    return less_is_better(figure->workload) ? -change : change;
}

// --- the table ---

static const char *number(double value, char text[24])
{
    if (isnan(value))
        return "-";
    snprintf(text, 24, "%.*f", value < 100 && value != trunc(value) ? 1 : 0, value);
    return text;
}

void report_head(const json_t *stored)
{
    printf("%-20s %12s %-11s %10s %10s", "WORKLOAD", "VALUE", "UNIT", "P50 US", "P99 US");
    printf(stored ? " %12s %10s\n" : "\n", "STORED", "BETTER");
    fflush(stdout);
}

static void print_comparison(const struct figure *figure, const json_t *stored)
{
    char text[24];
    double then, change = better_by(figure, stored, &then);
    printf(" %12s", number(then, text));
    if (isnan(change))
        printf(" %10s", "-");
    else
        printf(" %+9.0f%%", change);
}

void report_row(const struct figure *figure, const json_t *stored)
{
    const struct workload *workload = figure->workload;
    char value[24], p50[24], p99[24];
    bool timed = workload->kind != BENCH_COUNT && figure->p50_us > 0;
    printf("%-20s %12s %-11s %10s %10s", workload->name, number(figure->value, value), workload->unit,
           timed ? number(figure->p50_us, p50) : "-", timed ? number(figure->p99_us, p99) : "-");
    if (stored)
        print_comparison(figure, stored);
    putchar('\n');
    fflush(stdout);
}

void report_skipped(const struct workload *workload)
{
    printf("%-20s %12s %-11s\n", workload->name, "-", "needs DIR2");
    fflush(stdout);
}

// --- JSON ---

json_t *report_json(const struct figure *figure, const json_t *stored)
{
    const struct workload *workload = figure->workload;
    json_t *object = json_pack("{s: s, s: s, s: f, s: s, s: b, s: f, s: f, s: I}", "name", workload->name,
                               "what", workload->what, "value", figure->value, "unit", workload->unit,
                               "less_is_better", less_is_better(workload), "p50_us", figure->p50_us, "p99_us",
                               figure->p99_us, "count", (json_int_t)figure->count);
    double then, change = better_by(figure, stored, &then);
    if (object && !isnan(then))
        json_object_set_new(object, "stored_value", json_real(then));
    if (object && !isnan(change))
        json_object_set_new(object, "better_percent", json_real(change));
    return object;
}
