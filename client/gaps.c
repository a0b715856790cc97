// SPDX-License-Identifier: Apache-2.0
// See gaps.h. Pure; any thread.
#include "client/gaps.h"
#include "fs/base/check.h"
#include <stdlib.h>

#define PAGE 4096u // or a multiple: then a page is dropped later

static int compare(const void *left, const void *right)
{
    const struct byte_range *a = left, *b = right;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return (a->start > b->start) - (a->start < b->start);
}

static const struct byte_range *first_of(const struct byte_range *reads, size_t n, uint64_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (reads[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return reads + low;
}

size_t gaps_between(struct byte_range *reads, size_t n_reads, const uint64_t *ids, size_t n_ids,
                    struct byte_range *gaps)
{
    size_t n = 0;
    if (n_reads > 0)
        qsort(reads, n_reads, sizeof(*reads), compare);
    for (size_t i = 0; i < n_ids; i++) {
        uint64_t at = 0;
        const struct byte_range *read = first_of(reads, n_reads, ids[i]);
        for (; read < reads + n_reads && read->id == ids[i]; read++) {
            uint64_t start = read->start / PAGE * PAGE, end = read->end / PAGE * PAGE + PAGE - 1;
            if (start > at)
                gaps[n++] = (struct byte_range){.id = ids[i], .start = at, .end = start - 1};
            at = MAX(at, end + 1);
        }
        if (at < INT64_MAX)
            gaps[n++] = (struct byte_range){.id = ids[i], .start = at, .end = INT64_MAX};
    }
    return n;
}
