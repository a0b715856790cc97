// SPDX-License-Identifier: Apache-2.0
// Litmuses of listings, and of what a directory's own attributes say of its entries. The directory is `d`;
// `n` comes or goes.
#include "tests/coherence/litmus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OTHERS = 8, LONG_AGO = 1000 };

static char *other(int i)
{
    static char path[32];
    snprintf(path, sizeof(path), "d/other%d", i);
    return path;
}

static void directory(void)
{
    if (mkdir("d", 0755) < 0)
        return;
    for (int i = 0; i < OTHERS; i++)
        touch(other(i));
}

static void without(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    directory();
    clear("d/n");
}

static void with_file(struct side *writer, unsigned round)
{
    without(writer, round);
    touch("d/n");
}

static void with_directory(struct side *writer, unsigned round)
{
    without(writer, round);
    must(mkdir("d/n", 0755), "mkdir", "d/n");
}

static void next_to_it(struct side *writer, unsigned round)
{
    without(writer, round);
    clear("n");
    touch("n");
}

static void long_ago(struct side *writer, unsigned round)
{
    without(writer, round);
    struct timespec times[2] = {{.tv_sec = LONG_AGO}, {.tv_sec = LONG_AGO}};
    must(utimensat(AT_FDCWD, "d", times, 0), "utimens", "d");
}

static void empty_file_in_it(struct side *writer, unsigned round)
{
    with_file(writer, round);
    writer->fd = must(open("d/n", O_WRONLY), "open", "d/n");
}

static void one_below(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    mkdir("d", 0755);
    mkdir("d/full", 0755);
    put("d/full/last", 1, 1);
}

// --- looks ---

// The listing has all the others once, and `n` at most once: whether it is there.
static enum seen listed(struct side *side, DIR *stream, enum seen absent, enum seen present)
{
    int found = 0, others = 0;
    if (!stream)
        return seen_error(side, "opendir");
    errno = 0;
    for (struct dirent *entry; (entry = readdir(stream));) {
        found += strcmp(entry->d_name, "n") == 0;
        others += strncmp(entry->d_name, "other", 5) == 0;
    }
    if (errno)
        return seen_error(side, "readdir");
    if (others != OTHERS || found > 1)
        return seen_other(side, "%d of %d others, n %d times", others, OTHERS, found);
    return found ? present : absent;
}

static enum seen list(struct side *side, enum seen absent, enum seen present)
{
    DIR *stream = opendir("d");
    enum seen seen = listed(side, stream, absent, present);
    if (stream)
        closedir(stream);
    return seen;
}

static enum seen list_has(struct side *side, unsigned round)
{
    (void)round;
    return list(side, SEEN_OLD, SEEN_NEW);
}

static enum seen list_lacks(struct side *side, unsigned round)
{
    (void)round;
    return list(side, SEEN_NEW, SEEN_OLD);
}

// Through a descriptor that was opened before the change: rewound, it tells what is there now.
static enum seen list_held_has(struct side *side, unsigned round)
{
    (void)round;
    int fd = side->fd < 0 ? -1 : dup(side->fd);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream)
        rewinddir(stream);
    enum seen seen = listed(side, stream, SEEN_OLD, SEEN_NEW);
    if (stream)
        closedir(stream);
    return seen;
}

static enum seen list_sizes(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    long long size = -1;
    DIR *stream = opendir("d");
    if (!stream)
        return seen_error(side, "opendir");
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            strcmp(entry->d_name, "n") == 0)
            size = st.st_size;
    }
    closedir(stream);
    return seen_number(side, "size", size, 0, 5);
}

static enum seen links(struct side *side, long long old, long long new_)
{
    struct stat st;
    if (stat("d", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "links", st.st_nlink, old, new_);
}

static enum seen one_link_more(struct side *side, unsigned round)
{
    (void)round;
    return links(side, 2, 3);
}

static enum seen one_link_less(struct side *side, unsigned round)
{
    (void)round;
    return links(side, 3, 2);
}

static enum seen mtime_moved(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (stat("d", &st) < 0)
        return seen_error(side, "stat");
    return st.st_mtim.tv_sec == LONG_AGO ? SEEN_OLD : SEEN_NEW;
}

static enum seen emptied(struct side *side, unsigned round)
{
    (void)round;
    int found = 0;
    DIR *stream = opendir("d/full");
    if (!stream)
        return seen_error(side, "opendir");
    while (readdir(stream))
        found++;
    closedir(stream);
    return seen_number(side, "entries", found, 3, 2);
}

static void hold_directory(struct side *reader, unsigned round)
{
    (void)round;
    reader->fd = open("d", O_RDONLY | O_DIRECTORY);
}

// --- changes ---

static void create(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    touch("d/n");
}

static void make(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(mkdir("d/n", 0755), "mkdir", "d/n");
}

static void remove_file(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(unlink("d/n"), "unlink", "d/n");
}

static void remove_directory(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(rmdir("d/n"), "rmdir", "d/n");
}

static void move_in(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(rename("n", "d/n"), "rename", "d/n");
}

static void move_out(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    clear("n");
    must(rename("d/n", "n"), "rename", "n");
}

static void link_in(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(link("n", "d/n"), "link", "d/n");
}

static void write_some(struct side *writer, unsigned round)
{
    (void)round;
    if (write(writer->fd, "bytes", 5) != 5)
        litmus_die("write", "d/n");
}

static void remove_last(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(unlink("d/full/last"), "unlink", "d/full/last");
}

const struct litmus litmus_lists[] = {
    {.name = "create_then_list", .prepare = without, .change = create, .look = list_has},
    {.name = "create_then_list_held",
     .prepare = without,
     .hold = hold_directory,
     .change = create,
     .look = list_held_has},
    {.name = "mkdir_then_list", .prepare = without, .change = make, .look = list_has},
    {.name = "link_then_list", .prepare = next_to_it, .change = link_in, .look = list_has},
    {.name = "rename_in_then_list", .prepare = next_to_it, .change = move_in, .look = list_has},
    {.name = "rename_out_then_list", .prepare = with_file, .change = move_out, .look = list_lacks},
    {.name = "unlink_then_list", .prepare = with_file, .change = remove_file, .look = list_lacks},
    {.name = "rmdir_then_list", .prepare = with_directory, .change = remove_directory, .look = list_lacks},
    {.name = "unlink_last_then_list", .prepare = one_below, .change = remove_last, .look = emptied},
    {.name = "write_then_list_sizes", .prepare = empty_file_in_it, .change = write_some, .look = list_sizes},
    {.name = "mkdir_then_links", .prepare = without, .change = make, .look = one_link_more},
    {.name = "rmdir_then_links",
     .prepare = with_directory,
     .change = remove_directory,
     .look = one_link_less},
    {.name = "create_then_directory_mtime", .prepare = long_ago, .change = create, .look = mtime_moved},
    {0},
};
