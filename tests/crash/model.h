// SPDX-License-Identifier: Apache-2.0
// What a store must hold after each commit: a handful of files with their names and contents. One version of
// the whole a commit; contents are shared between versions.
#ifndef BERTH_CRASH_MODEL_H
#define BERTH_CRASH_MODEL_H

#include "fs/store/store.h"

#define MODEL_FILES    6u // at a time; a place is used again by another inode
#define MODEL_VERSIONS 512u

struct content {
    unsigned refs;
    size_t n;
    uint8_t bytes[];
};

struct model_file {
    fs_ino ino; // 0: nothing here
    unsigned name;
    struct content *content; // size is content->n
};

struct version {
    struct model_file files[MODEL_FILES];
    uint64_t session; // the number kept under session 1, 0: none
};

struct content *content_new(size_t n); // zeros
struct content *content_copy(const struct content *content, size_t n);
struct content *content_ref(struct content *content);
void content_put(struct content *content); // NULL is allowed
void version_copy(struct version *to, const struct version *from);
void version_free(struct version *version);
const struct model_file *version_find(const struct version *version, fs_ino ino); // NULL: not there

#endif
