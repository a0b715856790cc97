// SPDX-License-Identifier: Apache-2.0
// Aligned columns on stdout. Invariant: a cell cannot break its line; control characters print as '?'.
#include "client/cli/commands.h"
#include "fs/base/check.h"
#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX 16u

// Columns that text takes on a terminal, taking each character for one.
static int width(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static const char *cell(const json_t *rows, size_t row, size_t column)
{
    const char *text = json_string_value(json_array_get(json_array_get(rows, row), column));
    return text ? text : "";
}

static void print_cell(const char *text, int padded_to)
{
    for (const char *at = text; *at; at++)
        putchar((unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at);
    for (int n = width(text); n < padded_to; n++)
        putchar(' ');
}

void print_table(const json_t *rows)
{
    size_t n_columns = json_array_size(json_array_get(rows, 0));
    int widths[COLUMNS_MAX] = {0};
    fs_assert(n_columns > 0 && n_columns <= COLUMNS_MAX);
    for (size_t row = 0; row < json_array_size(rows); row++) {
        for (size_t column = 0; column < n_columns; column++)
            widths[column] = MAX(widths[column], width(cell(rows, row, column)));
    }
    for (size_t row = 0; row < json_array_size(rows); row++) {
        for (size_t column = 0; column + 1 < n_columns; column++)
            print_cell(cell(rows, row, column), widths[column] + 2);
        print_cell(cell(rows, row, n_columns - 1), 0);
        putchar('\n');
    }
}
