// SPDX-License-Identifier: Apache-2.0
// A run of a store on the recording disk, with the model's versions beside it and, by log position, what had
// been promised when.
#ifndef BERTH_CRASH_SCENARIO_H
#define BERTH_CRASH_SCENARIO_H

#include "tests/crash/disk.h"
#include "tests/crash/model.h"

struct scenario {
    struct version versions[MODEL_VERSIONS];
    unsigned n_versions; // versions[0] is what was there at the start
    // What had been promised from a log position on, in ascending order.
    struct mark {
        size_t at;
        unsigned committed; // versions[committed] was acknowledged
        unsigned durable;   // and versions[durable] as synced
        bool is_sync;
        fs_ino synced;   // is_sync: the file whose contents are safe since, 0: all
        fs_ino last_ino; // the highest handed out
        uint64_t last_cookie;
    } marks[4 * MODEL_VERSIONS];
    unsigned n_marks;
    int result; // of the store call that ended it early, or 0
};

typedef uint64_t random_function(uint64_t n);

// Runs `steps` steps in a new store at `directory`, or until a call of the store fails. short_one: few and
// fixed, `steps` says which, so that every crash can be tried. False, with a reason: the store broke a
// promise meanwhile.
bool scenario_run(struct scenario *scenario, const char *directory, enum disk_lie lie, unsigned steps,
                  bool short_one, random_function *random, char *reason, size_t size);
void scenario_free(struct scenario *scenario);
// Opens what a crash at log position `at` left in `directory`, and judges it. process_died: and nothing else
// did.
bool scenario_judge(const struct scenario *scenario, const char *directory, size_t at, bool process_died,
                    char *reason, size_t size);

#endif
