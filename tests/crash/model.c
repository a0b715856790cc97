// SPDX-License-Identifier: Apache-2.0
// See model.h.
#include "tests/crash/model.h"
#include "fs/base/check.h"
#include <stdlib.h>
#include <string.h>

struct content *content_new(size_t n)
{
    struct content *content = calloc(1, sizeof(*content) + n);
    fs_assert(content);
    content->refs = 1;
    content->n = n;
    return content;
}

struct content *content_copy(const struct content *content, size_t n)
{
    struct content *copy = content_new(n);
    memcpy(copy->bytes, content->bytes, MIN(n, content->n));
    return copy;
}

struct content *content_ref(struct content *content)
{
    content->refs++;
    return content;
}

void content_put(struct content *content)
{
    if (content && --content->refs == 0)
        free(content);
}

void version_copy(struct version *to, const struct version *from)
{
    *to = *from;
    for (unsigned i = 0; i < MODEL_FILES; i++) {
        if (to->files[i].ino)
            content_ref(to->files[i].content);
    }
}

void version_free(struct version *version)
{
    for (unsigned i = 0; i < MODEL_FILES; i++)
        content_put(version->files[i].content);
}

const struct model_file *version_find(const struct version *version, fs_ino ino)
{
    for (unsigned i = 0; i < MODEL_FILES; i++) {
        if (version->files[i].ino == ino)
            return &version->files[i];
    }
    return NULL;
}
