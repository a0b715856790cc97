// SPDX-License-Identifier: Apache-2.0
// /metrics: the server's counters in Prometheus' text format. Main thread; counters are read without stopping
// anybody.
#include "server/api_call.h"
#include "server/metrics.h"
#include <inttypes.h>
#include <string.h>

static void put_counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    fprintf(out, "# HELP berth_%s_total %s\n# TYPE berth_%s_total counter\nberth_%s_total %" PRIu64 "\n",
            name, help, name, name, value);
}

static void put_requests(FILE *out)
{
    fputs("# HELP berth_requests_total Requests of clients, by operation.\n# TYPE berth_requests_total "
          "counter\n",
          out);
    for (uint16_t op = 0; op < WIRE_OP_LIMIT; op++) {
        uint64_t n = atomic_load_explicit(&metrics.requests[op], memory_order_relaxed);
        if (n > 0)
            fprintf(out, "berth_requests_total{op=\"%s\"} %" PRIu64 "\n", wire_op_name(op), n);
    }
}

static void put_all(FILE *out)
{
#define PUT(name, help) \
    put_counter(out, #name, help, atomic_load_explicit(&metrics.name, memory_order_relaxed));
    METRICS_COUNTERS(PUT)
#undef PUT
    put_requests(out);
    fprintf(out,
            "# HELP berth_sessions Sessions attached now.\n# TYPE berth_sessions gauge\nberth_sessions "
            "%" PRIdFAST64 "\n",
            atomic_load_explicit(&metrics.sessions, memory_order_relaxed));
    fprintf(
        out,
        "# HELP berth_leases What clients may keep, inodes of all.\n# TYPE berth_leases gauge\nberth_leases "
        "%" PRIdFAST64 "\n",
        atomic_load_explicit(&metrics.leases, memory_order_relaxed));
}

void api_reply_metrics(struct http_request *request)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out)
        put_all(out);
    bool whole = out && fclose(out) == 0;
    const struct http_reply reply = {
        .status = whole ? 200 : 500,
        .content_type = "text/plain; version=0.0.4; charset=utf-8",
        .body = whole ? text : "",
        .body_size = whole ? size : 0,
    };
    http_reply(request, &reply);
    free(text);
}
