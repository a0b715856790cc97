// SPDX-License-Identifier: Apache-2.0
// The in-memory model under the conformance suite.
#include "fs/store/store_model.h"
#include "tests/unit/store_suite.h"

int main(void)
{
    const struct suite_engine engine = {.name = "store model", .open = store_model_open};
    return store_suite_run(&engine);
}
