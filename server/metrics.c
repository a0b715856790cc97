// SPDX-License-Identifier: Apache-2.0
// The counters themselves; metrics.h says who touches them.
#include "server/metrics.h"

struct metrics metrics;
