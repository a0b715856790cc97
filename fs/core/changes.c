// SPDX-License-Identifier: Apache-2.0
// See changes.h.
#include "fs/core/core_impl.h"
#include <string.h>

void core_set_ask(struct core *core, core_ask *ask, void *context)
{
    core->ask = ask;
    core->ask_context = context;
}

void changes_begin(struct changes *changes)
{
    changes->n = changes->n_made = 0;
    changes->asked = changes->touched = false;
}

void changes_made(struct changes *changes, fs_ino ino)
{
    fs_assert(changes->n_made < CHANGES_MADE_MAX);
    changes->made[changes->n_made++] = ino;
}

static bool is_made(const struct changes *changes, fs_ino ino)
{
    for (size_t i = 0; i < changes->n_made; i++) {
        if (changes->made[i] == ino)
            return true;
    }
    return false;
}

static bool same_name(struct fs_name a, struct fs_name b)
{
    return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

static void note(struct changes *changes, struct core_change change)
{
    bool named = change.what & CORE_CHANGE_NAME;
    if (is_made(changes, change.ino))
        return;
    for (size_t i = 0; i < changes->n; i++) {
        struct core_change *item = &changes->items[i];
        bool item_named = item->what & CORE_CHANGE_NAME;
        if (item->ino != change.ino || item_named != named || (named && !same_name(item->name, change.name)))
            continue;
        changes->asked &= (item->what | change.what) == item->what;
        item->what |= change.what;
        return;
    }
    fs_assert(changes->n < CHANGES_MAX);
    changes->items[changes->n++] = change;
    changes->asked = false;
}

void changes_note(struct changes *changes, fs_ino ino, uint32_t what)
{
    if (what)
        note(changes, (struct core_change){.ino = ino, .what = what, .name = {"", 0}});
}

void changes_note_name(struct changes *changes, fs_ino directory, struct fs_name name)
{
    note(changes, (struct core_change){.ino = directory, .what = CORE_CHANGE_NAME, .name = name});
}

int changes_ask(struct core *core)
{
    struct changes *changes = &core->changes;
    if (changes->n == 0 || changes->asked)
        return 0;
    fs_assert(!changes->touched);
    changes->asked = true;
    return core->ask ? core->ask(core->ask_context, changes->items, changes->n) : 0;
}

int changes_data(struct core *core, fs_ino ino)
{
    changes_note(&core->changes, ino, CORE_CHANGE_DATA | CORE_CHANGE_ATTR);
    int result = changes_ask(core);
    core->changes.touched |= result == 0;
    return result;
}

uint32_t changes_between(const struct fs_attr *before, const struct fs_attr *after)
{
    bool rights = before->mode != after->mode || before->uid != after->uid || before->gid != after->gid;
    bool same = !rights && before->nlink == after->nlink && before->rdev == after->rdev &&
                before->size == after->size && fs_time_compare(before->mtime, after->mtime) == 0 &&
                fs_time_compare(before->ctime, after->ctime) == 0 &&
                fs_time_compare(before->btime, after->btime) == 0;
    // Whoever found a name in a directory was let in by what it was then.
    uint32_t names = rights && S_ISDIR(after->mode) ? CORE_CHANGE_NAMES : 0;
    return same ? 0 : CORE_CHANGE_ATTR | names;
}
