// SPDX-License-Identifier: Apache-2.0
// Numbers that a seed determines (splitmix64). An exerciser draws everything from its dice before it looks at
// any result, so that a seed and a step number always mean the same operation.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// 0 to n - 1.
static inline unsigned dice_below(struct dice *dice, unsigned n)
{
    return (unsigned)(dice_next(dice) % n);
}

// True once in n times.
static inline bool dice_once_in(struct dice *dice, unsigned n)
{
    return dice_below(dice, n) == 0;
}
