// SPDX-License-Identifier: Apache-2.0
// Litmuses of mappings: what is stored through one is read elsewhere once msync, munmap or close has
// returned, and a mapping made before or after a change shows it. The file is `f`, of two pages.
#include "tests/coherence/litmus.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LENGTH = 2 * LITMUS_PAGE };

static sigjmp_buf fault;

static void on_fault(int number)
{
    siglongjmp(fault, number);
}

static void two_pages(struct side *writer, unsigned round)
{
    put("f", old_byte(round), LENGTH);
    writer->fd = must(open("f", O_RDWR), "open", "f");
}

static void two_pages_mapped(struct side *writer, unsigned round)
{
    two_pages(writer, round);
    writer->map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, writer->fd, 0);
    if (writer->map == MAP_FAILED)
        litmus_die("mmap", "f");
    if (writer->map[0] != (char)old_byte(round))
        litmus_die("another byte mapped of", "f");
}

static void hold_f(struct side *reader, unsigned round)
{
    (void)round;
    reader->fd = open("f", O_RDONLY);
}

static void hold_map(struct side *reader, int flags, int protection)
{
    reader->fd = open("f", flags);
    char *map = reader->fd < 0 ? MAP_FAILED : mmap(NULL, LENGTH, protection, MAP_SHARED, reader->fd, 0);
    reader->map = map == MAP_FAILED ? NULL : map;
}

static void hold_map_to_read(struct side *reader, unsigned round)
{
    (void)round;
    hold_map(reader, O_RDONLY, PROT_READ);
}

static void hold_map_to_write(struct side *reader, unsigned round)
{
    (void)round;
    hold_map(reader, O_RDWR, PROT_READ | PROT_WRITE);
}

// --- looks ---

static enum seen read_page(struct side *side, unsigned round)
{
    char bytes[LITMUS_PAGE];
    return seen_bytes(side, bytes, pread(side->fd, bytes, sizeof(bytes), 0), old_byte(round),
                      new_byte(round));
}

// The second page's first byte; SEEN_NEW too where there is no second page, when it was cut off.
static enum seen mapped(struct side *side, const char *map, unsigned round, bool may_fault)
{
    struct sigaction catch = {.sa_handler = on_fault}, before;
    sigaction(SIGBUS, &catch, &before);
    enum seen seen;
    if (sigsetjmp(fault, 1) != 0)
        seen = may_fault ? SEEN_NEW : seen_other(side, "SIGBUS");
    else
        seen = seen_number(side, "byte", *(const volatile unsigned char *)(map + LITMUS_PAGE),
                           old_byte(round), may_fault ? -1 : new_byte(round));
    sigaction(SIGBUS, &before, NULL);
    return seen;
}

static enum seen map_anew(struct side *side, unsigned round, int flags, bool may_fault)
{
    int fd = open("f", O_RDONLY);
    if (fd < 0)
        return seen_error(side, "open");
    char *map = mmap(NULL, LENGTH, PROT_READ, flags, fd, 0);
    enum seen seen = map == MAP_FAILED ? seen_error(side, "mmap") : mapped(side, map, round, may_fault);
    if (map != MAP_FAILED)
        munmap(map, LENGTH);
    close(fd);
    return seen;
}

static enum seen map_shared(struct side *side, unsigned round)
{
    return map_anew(side, round, MAP_SHARED, false);
}

static enum seen map_private(struct side *side, unsigned round)
{
    return map_anew(side, round, MAP_PRIVATE, false);
}

static enum seen map_cut(struct side *side, unsigned round)
{
    return map_anew(side, round, MAP_SHARED, true);
}

static enum seen map_held(struct side *side, unsigned round)
{
    return side->map ? mapped(side, side->map, round, false) : seen_error(side, "mmap");
}

static enum seen map_held_cut(struct side *side, unsigned round)
{
    return side->map ? mapped(side, side->map, round, true) : seen_error(side, "mmap");
}

// --- changes ---

static void store(struct side *writer, unsigned round)
{
    memset(writer->map, new_byte(round), LITMUS_PAGE);
}

static void store_and_sync(struct side *writer, unsigned round)
{
    store(writer, round);
    must(msync(writer->map, LENGTH, MS_SYNC), "msync", "f");
}

static void store_and_unmap(struct side *writer, unsigned round)
{
    store(writer, round);
    must(munmap(writer->map, LENGTH), "munmap", "f");
    writer->map = NULL;
}

static void store_unmap_and_close(struct side *writer, unsigned round)
{
    store_and_unmap(writer, round);
    must(close(writer->fd), "close", "f");
    writer->fd = -1;
}

static void write_both(struct side *writer, unsigned round)
{
    char bytes[LENGTH];
    memset(bytes, new_byte(round), sizeof(bytes));
    if (pwrite(writer->fd, bytes, sizeof(bytes), 0) != LENGTH)
        litmus_die("write", "f");
}

static void cut(struct side *writer, unsigned round)
{
    (void)round;
    must(ftruncate(writer->fd, LITMUS_PAGE), "ftruncate", "f");
}

const struct litmus litmus_maps[] = {
    {.name = "msync_then_read",
     .prepare = two_pages_mapped,
     .hold = hold_f,
     .change = store_and_sync,
     .look = read_page,
     .between = true},
    {.name = "munmap_then_read",
     .prepare = two_pages_mapped,
     .hold = hold_f,
     .change = store_and_unmap,
     .look = read_page,
     .between = true},
    {.name = "munmap_close_then_read",
     .prepare = two_pages_mapped,
     .hold = hold_f,
     .change = store_unmap_and_close,
     .look = read_page,
     .between = true},
    {.name = "write_then_map_shared", .prepare = two_pages, .change = write_both, .look = map_shared},
    {.name = "write_then_map_private", .prepare = two_pages, .change = write_both, .look = map_private},
    {.name = "truncate_then_map", .prepare = two_pages, .change = cut, .look = map_cut},
    {.name = "write_then_map_held",
     .prepare = two_pages,
     .hold = hold_map_to_read,
     .change = write_both,
     .look = map_held},
    {.name = "write_then_map_held_to_write",
     .prepare = two_pages,
     .hold = hold_map_to_write,
     .change = write_both,
     .look = map_held},
    {.name = "truncate_then_map_held",
     .prepare = two_pages,
     .hold = hold_map_to_read,
     .change = cut,
     .look = map_held_cut},
    {0},
};
