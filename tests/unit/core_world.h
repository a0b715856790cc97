// SPDX-License-Identifier: Apache-2.0
// What the tests of core share: a core on the model store behind fault injection, a clock that ticks with
// every look, and a dump of everything that can be seen. Header only; single thread.
#ifndef BERTH_TESTS_CORE_WORLD_H
#define BERTH_TESTS_CORE_WORLD_H

#include "fs/core/core.h"
#include "fs/store/store_fault.h"
#include "fs/store/store_model.h"
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    struct store *store;
    struct core *core;
    struct env env;
    uint64_t now_ns;
};

static const struct fs_cred world_root = {.uid = 0, .gid = 0};

static inline uint64_t world_tick(void *context)
{
    struct world *world = context;
    return world->now_ns += 1000;
}

static inline void world_open(struct world *world)
{
    struct store *model;
    *world = (struct world){.now_ns = 1000000000};
    world->env = (struct env){.context = world, .monotonic_ns = world_tick, .realtime_ns = world_tick};
    assert_int_equal(store_model_open(&model), 0);
    assert_int_equal(store_fault_open(model, &world->store), 0);
    assert_int_equal(core_create(world->store, &world->env, &world->core), 0);
}

static inline void world_close(struct world *world)
{
    core_destroy(world->core);
    store_close(world->store);
}

// Another core on the same store: its cache is empty.
static inline void world_restart(struct world *world)
{
    core_destroy(world->core);
    assert_int_equal(core_create(world->store, &world->env, &world->core), 0);
}

static inline void world_begin(struct world *world)
{
    assert_int_equal(core_turn_begin(world->core), 0);
}

static inline void world_commit(struct world *world)
{
    assert_int_equal(core_turn_commit(world->core), 0);
}

// --- inside a turn, as root ---

static inline fs_ino world_make(struct world *world, fs_ino parent, const char *name, uint32_t mode)
{
    struct fs_attr attr;
    struct core_make make = {.mode = mode, .target = fs_name_of("target")};
    assert_int_equal(core_make(world->core, &world_root, parent, fs_name_of(name), &make, &attr), 0);
    return attr.ino;
}

static inline void world_link(struct world *world, fs_ino ino, fs_ino parent, const char *name)
{
    struct fs_attr attr;
    assert_int_equal(core_link(world->core, &world_root, ino, parent, fs_name_of(name), &attr), 0);
}

static inline struct fs_attr world_attr(struct world *world, fs_ino ino)
{
    struct fs_attr attr;
    assert_int_equal(core_getattr(world->core, ino, &attr), 0);
    return attr;
}

static inline struct core_file *world_file(struct world *world, fs_ino ino, uint32_t flags)
{
    struct core_file *file;
    struct fs_attr attr;
    assert_int_equal(core_open(world->core, &world_root, ino, flags, &file, &attr), 0);
    return file;
}

static inline void world_write(struct world *world, struct core_file *file, const char *text)
{
    struct fs_attr attr;
    uint64_t offset;
    assert_int_equal(core_append(world->core, &world_root, file, text, strlen(text), &offset, &attr), 0);
}

// --- the dump: the tree with cookies, attributes and bytes, as text (to be freed); inside a turn ---

struct world_dump {
    struct world *world;
    FILE *out;
    fs_ino directories[64]; // still to be listed
    size_t n_directories;
};

static inline bool world_dump_xattr(void *context, struct fs_name name, size_t value_length)
{
    FILE *out = context;
    fprintf(out, " %.*s=%zu", (int)name.length, name.bytes, value_length);
    return true;
}

static inline void world_dump_attr(struct world_dump *dump, fs_ino ino)
{
    struct fs_attr a;
    int result = core_getattr(dump->world->core, ino, &a);
    if (result != 0) {
        fprintf(dump->out, " error %d\n", result);
        return;
    }
    fprintf(dump->out, " ino %" PRIu64 " mode %o nlink %u %u:%u rdev %u size %" PRIu64 " blocks %" PRIu64,
            a.ino, a.mode, a.nlink, a.uid, a.gid, a.rdev, a.size, a.blocks);
    const struct fs_time times[] = {a.atime, a.mtime, a.ctime, a.btime};
    for (size_t i = 0; i < 4; i++)
        fprintf(dump->out, " %" PRId64 ".%09u", times[i].sec, times[i].nsec);
    char bytes[8192];
    size_t n;
    if (S_ISREG(a.mode) || S_ISLNK(a.mode)) {
        assert_int_equal(store_data_read(dump->world->store, ino, a.size, 0, bytes, sizeof bytes, &n), 0);
        fputs(" \"", dump->out);
        for (size_t i = 0; i < n; i++)
            fputc(bytes[i] ? bytes[i] : '0', dump->out);
        fputc('"', dump->out);
    }
    assert_int_equal(store_xattr_list(dump->world->store, ino, world_dump_xattr, dump->out), 0);
    fputc('\n', dump->out);
}

static inline bool world_dump_entry(void *context, struct fs_name name, uint64_t cookie, fs_ino ino,
                                    uint32_t type, const struct fs_attr *attr)
{
    struct world_dump *dump = context;
    assert_non_null(attr);
    fprintf(dump->out, "  %.*s cookie %" PRIu64 " ino %" PRIu64 " type %o nlink %u size %" PRIu64 "\n",
            (int)name.length, name.bytes, cookie, ino, type, attr->nlink, attr->size);
    if (S_ISDIR(type) && cookie > 2 && dump->n_directories < 64)
        dump->directories[dump->n_directories++] = ino;
    return true;
}

// The inodes 1..last are looked at one by one too, for those without a name.
static inline char *world_dump(struct world *world, fs_ino last)
{
    char *text;
    size_t size;
    struct world_dump dump = {.world = world, .directories = {FS_ROOT_INO}, .n_directories = 1};
    dump.out = open_memstream(&text, &size);
    assert_non_null(dump.out);
    while (dump.n_directories > 0) {
        fs_ino ino = dump.directories[--dump.n_directories];
        struct core_file *file = world_file(world, ino, FS_OPEN_READ | FS_OPEN_NOATIME);
        fprintf(dump.out, "directory %" PRIu64 "\n", ino);
        assert_int_equal(core_readdir(world->core, file, 0, world_dump_entry, &dump), 0);
        core_release(world->core, file);
    }
    for (fs_ino ino = 1; ino <= last; ino++)
        world_dump_attr(&dump, ino);
    fclose(dump.out);
    return text;
}

#endif
