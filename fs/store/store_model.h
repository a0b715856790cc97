// SPDX-License-Identifier: Apache-2.0
// The in-memory model: as plain as can be, the measure of the other engines, and what core's tests run on.
#ifndef BERTH_STORE_MODEL_H
#define BERTH_STORE_MODEL_H

#include "fs/store/store.h"

int store_model_open(struct store **ret_store); // empty; all is gone at store_close()

#endif
