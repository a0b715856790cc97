// SPDX-License-Identifier: Apache-2.0
// What the operation that is running changes, as somebody else could see it: noted where inodes and entries
// are written, and asked about before it is kept (see core_ask in core.h). Included by core_impl.h; owner
// thread. Invariant: no byte of a file that was there before is touched, and no savepoint released, with a
// change that was not asked about.
#ifndef BERTH_CORE_CHANGES_H
#define BERTH_CORE_CHANGES_H

#include "fs/core/core.h"

#define CHANGES_MAX      16u // more than any operation makes
#define CHANGES_MADE_MAX 8u  // inodes that one operation makes: a path of ROOT_DEPTH_MAX, a whiteout

struct changes {
    struct core_change items[CHANGES_MAX];
    size_t n;
    fs_ino made[CHANGES_MADE_MAX]; // by this operation: nobody knows them, so their changes are none
    size_t n_made;
    bool asked;   // about all of `items`
    bool touched; // data has been: what comes now may not be refused any more
};

void changes_begin(struct changes *changes); // an operation starts to write
void changes_made(struct changes *changes, fs_ino ino);
void changes_note(struct changes *changes, fs_ino ino, uint32_t what); // CORE_CHANGE_* but NAME
void changes_note_name(struct changes *changes, fs_ino directory, struct fs_name name);
int changes_ask(struct core *core);              // 0, CORE_WAIT or an error
int changes_data(struct core *core, fs_ino ino); // the same, before its bytes are touched
// What of `before` and `after` others see; atime is nobody's business.
uint32_t changes_between(const struct fs_attr *before, const struct fs_attr *after);

#endif
