// SPDX-License-Identifier: Apache-2.0
// Litmuses of attributes and of what they permit. Where permission counts the reader is no superuser, and the
// bits are such that the owner of an enforced identity is refused by them too.
#include "tests/coherence/litmus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static const char attribute[] = "user.litmus";

// --- old states ---

static void file_0644(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    if (access("f", F_OK) < 0)
        touch("f");
    must(chmod("f", 0644), "chmod", "f");
}

static void file_0000(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    must(chmod("f", 0), "chmod", "f");
}

static void file_100(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    must(truncate("f", 100), "truncate", "f");
}

static void one_name(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    clear("g");
}

static void old_owner(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    must(chown("f", 5000 + 2 * round, 5000), "chown", "f");
}

static void old_time(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    struct timespec times[2] = {{.tv_sec = 2 * round + 1}, {.tv_sec = 2 * round + 1}};
    must(utimensat(AT_FDCWD, "f", times, 0), "utimens", "f");
}

static void old_attribute(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    char value = (char)old_byte(round);
    must(setxattr("f", attribute, &value, 1, 0), "setxattr", "f");
}

static void no_attribute(struct side *writer, unsigned round)
{
    file_0644(writer, round);
    if (removexattr("f", attribute) < 0 && errno != ENODATA)
        litmus_die("removexattr", "f");
}

static void below(mode_t mode)
{
    if (mkdir("d", 0755) == 0) {
        must(mkdir("d/inner", 0755), "mkdir", "d/inner");
        put("d/f", 1, 1);
        put("d/inner/f", 1, 1);
    }
    must(chmod("d", mode), "chmod", "d");
}

static void parent_open(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    below(0755);
}

static void parent_closed(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    below(0755);
    must(chmod("d", 0), "chmod", "d");
}

// --- looks ---

static enum seen refused_is(struct side *side, int rc, enum seen refused, enum seen allowed)
{
    if (rc >= 0)
        return allowed;
    return errno == EACCES ? refused : seen_error(side, "the call");
}

static enum seen stat_below(struct side *side, const char *path, enum seen refused, enum seen allowed)
{
    struct stat st;
    return refused_is(side, stat(path, &st), refused, allowed);
}

static enum seen child_goes(struct side *side, unsigned round)
{
    (void)round;
    return stat_below(side, "d/f", SEEN_NEW, SEEN_OLD);
}

static enum seen grandchild_goes(struct side *side, unsigned round)
{
    (void)round;
    return stat_below(side, "d/inner/f", SEEN_NEW, SEEN_OLD);
}

static enum seen child_comes(struct side *side, unsigned round)
{
    (void)round;
    return stat_below(side, "d/f", SEEN_OLD, SEEN_NEW);
}

static enum seen absence_is_hidden(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (stat("d/absent", &st) == 0)
        return seen_other(side, "what is not there was found");
    if (errno == ENOENT)
        return SEEN_OLD;
    return errno == EACCES ? SEEN_NEW : seen_error(side, "stat");
}

static void hold_listed(struct side *reader, unsigned round)
{
    (void)reader, (void)round;
    DIR *directory = opendir("d");
    if (!directory)
        litmus_die("opendir", "d");
    while (readdir(directory))
        ;
    closedir(directory);
}

// Under a name that nobody has looked for.
static enum seen any_absence_is_hidden(struct side *side, unsigned round)
{
    static unsigned number;
    struct stat st;
    char path[64];
    snprintf(path, sizeof(path), "d/absent%u.%u", round, number++);
    if (stat(path, &st) == 0)
        return seen_other(side, "what is not there was found");
    if (errno == ENOENT)
        return SEEN_OLD;
    return errno == EACCES ? SEEN_NEW : seen_error(side, "stat");
}

static enum seen opens(struct side *side, const char *path, int flags, enum seen refused, enum seen allowed)
{
    int fd = open(path, flags);
    enum seen seen = refused_is(side, fd, refused, allowed);
    if (fd >= 0)
        close(fd);
    return seen;
}

static enum seen listing_goes(struct side *side, unsigned round)
{
    (void)round;
    return opens(side, "d", O_RDONLY | O_DIRECTORY, SEEN_NEW, SEEN_OLD);
}

static enum seen open_goes(struct side *side, unsigned round)
{
    (void)round;
    return opens(side, "f", O_RDONLY, SEEN_NEW, SEEN_OLD);
}

static enum seen open_comes(struct side *side, unsigned round)
{
    (void)round;
    return opens(side, "f", O_RDONLY, SEEN_OLD, SEEN_NEW);
}

static enum seen access_goes(struct side *side, unsigned round)
{
    (void)round;
    return refused_is(side, access("f", R_OK), SEEN_NEW, SEEN_OLD);
}

static enum seen mode_is(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (stat("f", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "mode", st.st_mode & 07777, 0644, 0);
}

// A read takes the access time from the kernel, which asks its daemon then.
static void hold_and_read(struct side *reader, unsigned round)
{
    (void)round;
    reader->fd = must(open("f", O_RDWR), "open", "f");
}

static int read_and_stat(struct side *side, struct stat *ret_stat)
{
    char byte;
    return pread(side->fd, &byte, 1, 0) < 0 ? -1 : fstat(side->fd, ret_stat);
}

static enum seen read_mode_is(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (read_and_stat(side, &st) < 0)
        return seen_error(side, "read or fstat");
    return seen_number(side, "mode", st.st_mode & 07777, 0644, 0);
}

static enum seen read_size_is(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (read_and_stat(side, &st) < 0)
        return seen_error(side, "read or fstat");
    return seen_number(side, "size", st.st_size, 100, 200);
}

static enum seen read_links_are(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (read_and_stat(side, &st) < 0)
        return seen_error(side, "read or fstat");
    return seen_number(side, "links", (long long)st.st_nlink, 1, 2);
}

static enum seen owner_is(struct side *side, unsigned round)
{
    struct stat st;
    if (stat("f", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "owner", st.st_uid, 5000 + 2 * round, 5001 + 2 * round);
}

static enum seen time_is(struct side *side, unsigned round)
{
    struct stat st;
    if (stat("f", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "time", st.st_mtim.tv_sec, 2 * round + 1, 2 * round + 2);
}

static enum seen attribute_is(struct side *side, unsigned round)
{
    char value = 0;
    if (getxattr("f", attribute, &value, 1) < 0)
        return seen_error(side, "getxattr");
    return seen_number(side, "value", (unsigned char)value, old_byte(round), new_byte(round));
}

static enum seen attribute_comes(struct side *side, unsigned round)
{
    (void)round;
    char names[100];
    ssize_t n = listxattr("f", names, sizeof(names));
    if (n < 0)
        return seen_error(side, "listxattr");
    return memmem(names, (size_t)n, attribute, sizeof(attribute)) ? SEEN_NEW : SEEN_OLD;
}

// --- changes ---

static void close_file(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(chmod("f", 0), "chmod", "f");
}

static void open_file(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(chmod("f", 0644), "chmod", "f");
}

static void grow(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(truncate("f", 200), "truncate", "f");
}

static void give_name(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(link("f", "g"), "link", "f");
}

static void close_parent(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(chmod("d", 0), "chmod", "d");
}

static void open_parent(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(chmod("d", 0755), "chmod", "d");
}

static void new_owner(struct side *writer, unsigned round)
{
    (void)writer;
    must(chown("f", 5001 + 2 * round, 5000), "chown", "f");
}

static void new_time(struct side *writer, unsigned round)
{
    (void)writer;
    struct timespec times[2] = {{.tv_sec = 2 * round + 2}, {.tv_sec = 2 * round + 2}};
    must(utimensat(AT_FDCWD, "f", times, 0), "utimens", "f");
}

static void new_attribute(struct side *writer, unsigned round)
{
    (void)writer;
    char value = (char)new_byte(round);
    must(setxattr("f", attribute, &value, 1, 0), "setxattr", "f");
}

const struct litmus litmus_attributes[] = {
    {.name = "chmod_then_stat", .prepare = file_0644, .change = close_file, .look = mode_is},
    {.name = "chmod_then_read_and_stat",
     .prepare = file_0644,
     .hold = hold_and_read,
     .change = close_file,
     .look = read_mode_is},
    {.name = "truncate_then_read_and_stat",
     .prepare = file_100,
     .hold = hold_and_read,
     .change = grow,
     .look = read_size_is},
    {.name = "link_then_read_and_stat",
     .prepare = one_name,
     .hold = hold_and_read,
     .change = give_name,
     .look = read_links_are},
    {.name = "chown_then_stat", .prepare = old_owner, .change = new_owner, .look = owner_is},
    {.name = "utimes_then_stat", .prepare = old_time, .change = new_time, .look = time_is},
    {.name = "setxattr_then_getxattr",
     .prepare = old_attribute,
     .change = new_attribute,
     .look = attribute_is},
    {.name = "setxattr_then_listxattr",
     .prepare = no_attribute,
     .change = new_attribute,
     .look = attribute_comes},
    {.name = "chmod_then_open",
     .prepare = file_0644,
     .change = close_file,
     .look = open_goes,
     .as_user = true},
    {.name = "chmod_then_open_allowed",
     .prepare = file_0000,
     .change = open_file,
     .look = open_comes,
     .as_user = true},
    {.name = "chmod_then_access",
     .prepare = file_0644,
     .change = close_file,
     .look = access_goes,
     .as_user = true},
    {.name = "chmod_parent_then_child",
     .prepare = parent_open,
     .change = close_parent,
     .look = child_goes,
     .as_user = true},
    {.name = "chmod_parent_then_grandchild",
     .prepare = parent_open,
     .change = close_parent,
     .look = grandchild_goes,
     .as_user = true},
    {.name = "chmod_parent_then_child_allowed",
     .prepare = parent_closed,
     .change = open_parent,
     .look = child_comes,
     .as_user = true},
    {.name = "chmod_parent_then_absence",
     .prepare = parent_open,
     .change = close_parent,
     .look = absence_is_hidden,
     .as_user = true},
    {.name = "chmod_listed_parent_then_absence",
     .prepare = parent_open,
     .hold = hold_listed,
     .change = close_parent,
     .look = any_absence_is_hidden,
     .as_user = true},
    {.name = "chmod_parent_then_list",
     .prepare = parent_open,
     .change = close_parent,
     .look = listing_goes,
     .as_user = true},
    {0},
};
