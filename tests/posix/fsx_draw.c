// SPDX-License-Identifier: Apache-2.0
// Draws an operation whole, before any result is known; cuts it to what the file's size allows; tells it.
#include "tests/posix/fsx.h"

#include <stdio.h>

enum { GROW_MAX = 512 * 1024 };

static uint32_t draw_length(struct dice *dice, uint32_t limit)
{
    static const uint32_t often[] = {0, 1, 100, 4095, 4096, 4097, 16383, 16384, 16385, 65536};
    uint32_t length = dice_once_in(dice, 2) ? often[dice_below(dice, 10)] : dice_below(dice, limit / 2 + 1);
    return length < limit ? length : limit;
}

void fsx_draw(struct fsx_op *op, struct dice *dice, uint32_t size_limit)
{
    unsigned sum = 0, i = 0;
    for (unsigned k = 0; k < fsx_n_kinds; k++)
        sum += fsx_kinds[k].weight;
    unsigned at = dice_below(dice, sum);
    while (at >= fsx_kinds[i].weight)
        at -= fsx_kinds[i++].weight;
    *op = (struct fsx_op){.kind = &fsx_kinds[i],
                          .through = dice_below(dice, MOUNTS),
                          .choice = dice_below(dice, 1 << 16),
                          .length = draw_length(dice, size_limit),
                          .from = dice_below(dice, DONOR_SIZE),
                          .fill = (uint8_t)dice_next(dice)};
    op->offset = dice_once_in(dice, 3) ? draw_length(dice, size_limit - op->length)
                                       : dice_below(dice, size_limit - op->length + 1);
    if ((op->kind->traits & GROWS) && op->length > GROW_MAX)
        op->length = GROW_MAX;
    op->done = op->length;
}

bool fsx_prepare(struct fsx_op *op, off_t size)
{
    if (op->kind->left_out)
        return false;
    if (op->kind->traits & WITHIN_SIZE) {
        if (op->offset >= size || op->length == 0)
            return false;
        if (op->offset + op->length > size)
            op->length = (uint32_t)size - op->offset;
    }
    if (op->kind->traits & WHOLE_PAGES) { // whole blocks
        op->offset -= op->offset % PAGE;
        op->length -= op->length % PAGE;
    }
    if ((op->kind->traits & GROWS) && size + op->length > FILE_MAX)
        return false;
    if (op->kind->traits & CHANGES_NOTHING)
        op->moves_times = KEEPS_TIMES;
    else if ((op->kind->traits & ALLOCATES) || ((op->kind->traits & TRUNCATES) && op->offset == size))
        op->moves_times = ANY_TIMES;
    else
        op->moves_times = op->length == 0 && !(op->kind->traits & TRUNCATES) ? KEEPS_TIMES : MOVES_TIMES;
    return true;
}

void fsx_tell(const struct fsx_op *op, char *text, size_t n)
{
    snprintf(text, n, "mount %u: %s offset %u (%#x) length %u (%#x) from %u fill %#x choice %#x", op->through,
             op->kind->name, op->offset, op->offset, op->length, op->length, op->from, op->fill, op->choice);
}
