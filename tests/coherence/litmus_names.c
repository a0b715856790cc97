// SPDX-License-Identifier: Apache-2.0
// Litmuses of names: what appears under a name that was looked for in vain, what goes, what takes another's
// place. Names that appear are new in each round, so that their absence is what the reader knows of them.
#include "tests/coherence/litmus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *fresh(unsigned round)
{
    static char name[32];
    snprintf(name, sizeof(name), "n%u", round);
    return name;
}

// --- looks ---

static enum seen appears(struct side *side, unsigned round)
{
    struct stat st;
    if (lstat(fresh(round), &st) == 0)
        return SEEN_NEW;
    return errno == ENOENT ? SEEN_OLD : seen_error(side, "lstat");
}

static enum seen appears_to_open(struct side *side, unsigned round)
{
    int fd = open(fresh(round), O_RDONLY);
    if (fd < 0)
        return errno == ENOENT ? SEEN_OLD : seen_error(side, "open");
    close(fd);
    return SEEN_NEW;
}

static enum seen goes(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (lstat("f", &st) == 0)
        return SEEN_OLD;
    return errno == ENOENT ? SEEN_NEW : seen_error(side, "lstat");
}

static enum seen goes_to_open(struct side *side, unsigned round)
{
    (void)round;
    int fd = open("f", O_RDONLY);
    if (fd < 0)
        return errno == ENOENT ? SEEN_NEW : seen_error(side, "open");
    close(fd);
    return SEEN_OLD;
}

static enum seen moves(struct side *side, unsigned round)
{
    enum seen left = goes(side, round), came = appears(side, round);
    if (left == SEEN_OTHER || came == SEEN_OTHER)
        return SEEN_OTHER;
    return left == came
               ? left
               : seen_other(side, "%s", came == SEEN_NEW ? "under both names" : "under neither name");
}

static enum seen links_held(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (fstat(side->fd, &st) < 0)
        return seen_error(side, "fstat");
    return seen_number(side, "links", st.st_nlink, 1, 0);
}

static enum seen links_of_two(struct side *side, unsigned round, long long old, long long new_)
{
    (void)round;
    struct stat st;
    if (stat("f", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "links", st.st_nlink, old, new_);
}

static enum seen second_link(struct side *side, unsigned round)
{
    return links_of_two(side, round, 1, 2);
}

static enum seen one_link_left(struct side *side, unsigned round)
{
    return links_of_two(side, round, 2, 1);
}

static enum seen content(struct side *side, unsigned round)
{
    char bytes[LITMUS_PAGE];
    int fd = open("f", O_RDONLY);
    if (fd < 0)
        return seen_error(side, "open");
    enum seen seen =
        seen_bytes(side, bytes, pread(fd, bytes, sizeof(bytes), 0), old_byte(round), new_byte(round));
    close(fd);
    return seen;
}

static enum seen content_below(struct side *side, unsigned round)
{
    char bytes[8];
    int fd = open("d/f", O_RDONLY);
    if (fd < 0)
        return seen_error(side, "open");
    enum seen seen =
        seen_bytes(side, bytes, pread(fd, bytes, sizeof(bytes), 0), old_byte(round), new_byte(round));
    close(fd);
    return seen;
}

static enum seen target_is(struct side *side, unsigned round)
{
    char target[64], old[32], new_[32];
    ssize_t n = readlink("l", target, sizeof(target) - 1);
    if (n < 0)
        return seen_error(side, "readlink");
    target[n] = '\0';
    snprintf(old, sizeof(old), "old%u", round);
    snprintf(new_, sizeof(new_), "new%u", round);
    if (strcmp(target, new_) == 0)
        return SEEN_NEW;
    return strcmp(target, old) == 0 ? SEEN_OLD : seen_other(side, "target %s in round %u", target, round);
}

static enum seen followed(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (stat("l", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "size", st.st_size, 1, 2);
}

static enum seen kind_is(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (lstat("f", &st) < 0)
        return seen_error(side, "lstat");
    return seen_number(side, "kind", st.st_mode & S_IFMT, S_IFREG, S_IFDIR);
}

// --- old states ---

static void nothing(struct side *writer, unsigned round)
{
    (void)writer;
    if (access("f", F_OK) < 0)
        touch("f");
    if (round > 0)
        clear(fresh(round - 1)); // the round before made it
}

static void one_file(struct side *writer, unsigned round)
{
    nothing(writer, round);
    clear("f");
    put("f", old_byte(round), 8);
}

static void one_directory(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(mkdir("f", 0755), "mkdir", "f");
}

static void file_and_next(struct side *writer, unsigned round)
{
    (void)writer;
    put("f", old_byte(round), 8);
    put("next", new_byte(round), 8);
}

static void two_names(struct side *writer, unsigned round)
{
    one_file(writer, round);
    clear("g");
    must(link("f", "g"), "link", "g");
}

static void two_directories(struct side *writer, unsigned round)
{
    (void)writer;
    mkdir("d", 0755);
    mkdir("e", 0755);
    put("d/f", old_byte(round), 8);
    put("e/f", new_byte(round), 8);
}

static void symlink_and_next(struct side *writer, unsigned round)
{
    (void)writer;
    char target[32];
    clear("l");
    clear("next");
    snprintf(target, sizeof(target), "old%u", round);
    must(symlink(target, "l"), "symlink", "l");
    snprintf(target, sizeof(target), "new%u", round);
    must(symlink(target, "next"), "symlink", "next");
}

static void symlink_to_small(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    put("small", 1, 1);
    put("large", 1, 2);
    clear("l");
    clear("next");
    must(symlink("small", "l"), "symlink", "l");
    must(symlink("large", "next"), "symlink", "next");
}

static void file_and_directory(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    clear("f");
    clear("next");
    touch("f");
    must(mkdir("next", 0755), "mkdir", "next");
}

static void file_elsewhere(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    if (mkdir("elsewhere", 0755) < 0 && errno != EEXIST)
        litmus_die("mkdir", "elsewhere");
    touch("elsewhere/f");
}

static void hold_f(struct side *reader, unsigned round)
{
    (void)round;
    reader->fd = open("f", O_RDONLY);
}

// Who has listed a directory knows what is not there.
static void list(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        litmus_die("opendir", path);
    while (readdir(directory))
        ;
    closedir(directory);
}

static void hold_list(struct side *reader, unsigned round)
{
    (void)reader, (void)round;
    list(".");
}

static const char *own_directory(unsigned round)
{
    static char name[32];
    snprintf(name, sizeof(name), "own%u", round);
    return name;
}

// So does who has made it. Of two readers, only one has.
static void hold_own_directory(struct side *reader, unsigned round)
{
    (void)reader;
    if (mkdir(own_directory(round), 0777) < 0 && errno != EEXIST)
        litmus_die("mkdir", own_directory(round));
    list(own_directory(round));
}

static enum seen appears_in_own(struct side *side, unsigned round)
{
    struct stat st;
    char path[64];
    snprintf(path, sizeof(path), "%s/n", own_directory(round));
    if (lstat(path, &st) == 0)
        return SEEN_NEW;
    return errno == ENOENT ? SEEN_OLD : seen_error(side, "lstat");
}

// --- changes ---

static void make_in_own(struct side *writer, unsigned round)
{
    (void)writer;
    char path[64];
    snprintf(path, sizeof(path), "%s/n", own_directory(round));
    touch(path);
}

static void move_in(struct side *writer, unsigned round)
{
    (void)writer;
    must(rename("elsewhere/f", fresh(round)), "rename", fresh(round));
}

static void make_file(struct side *writer, unsigned round)
{
    (void)writer;
    touch(fresh(round));
}

static void make_directory(struct side *writer, unsigned round)
{
    (void)writer;
    must(mkdir(fresh(round), 0755), "mkdir", fresh(round));
}

static void make_symlink(struct side *writer, unsigned round)
{
    (void)writer;
    must(symlink("nowhere", fresh(round)), "symlink", fresh(round));
}

static void make_fifo(struct side *writer, unsigned round)
{
    (void)writer;
    must(mkfifo(fresh(round), 0644), "mkfifo", fresh(round));
}

static void make_link(struct side *writer, unsigned round)
{
    (void)writer;
    must(link("f", fresh(round)), "link", fresh(round));
}

static void name_the_nameless(struct side *writer, unsigned round)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", writer->fd);
    must(linkat(AT_FDCWD, path, AT_FDCWD, fresh(round), AT_SYMLINK_FOLLOW), "linkat", fresh(round));
}

static void nameless(struct side *writer, unsigned round)
{
    nothing(writer, round);
    writer->fd = must(open(".", O_TMPFILE | O_RDWR, 0644), "open", "O_TMPFILE");
}

static void move_file(struct side *writer, unsigned round)
{
    (void)writer;
    must(rename("f", fresh(round)), "rename", fresh(round));
}

static void remove_file(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(unlink("f"), "unlink", "f");
}

static void remove_other_name(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(unlink("g"), "unlink", "g");
}

static void remove_directory(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(rmdir("f"), "rmdir", "f");
}

static void rename_over(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(rename("next", "f"), "rename", "f");
}

static void rename_link_over(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(rename("next", "l"), "rename", "l");
}

static void exchange(const char *one, const char *other)
{
    must(renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE), "exchange", one);
}

static void exchange_files(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    exchange("next", "f");
}

static void exchange_directories(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    exchange("d", "e");
}

static void remove_and_make(struct side *writer, unsigned round)
{
    (void)writer;
    must(unlink("f"), "unlink", "f");
    put("f", new_byte(round), 8);
}

static void remove_and_link(struct side *writer, unsigned round)
{
    (void)writer;
    char target[32];
    snprintf(target, sizeof(target), "new%u", round);
    must(unlink("l"), "unlink", "l");
    must(symlink(target, "l"), "symlink", "l");
}

const struct litmus litmus_names[] = {
    {.name = "create_then_lookup", .prepare = nothing, .change = make_file, .look = appears},
    {.name = "list_create_then_lookup",
     .prepare = nothing,
     .hold = hold_list,
     .change = make_file,
     .look = appears},
    {.name = "list_create_then_open",
     .prepare = nothing,
     .hold = hold_list,
     .change = make_file,
     .look = appears_to_open},
    {.name = "list_move_in_then_lookup",
     .prepare = file_elsewhere,
     .hold = hold_list,
     .change = move_in,
     .look = appears},
    {.name = "mkdir_create_then_lookup",
     .prepare = nothing,
     .hold = hold_own_directory,
     .change = make_in_own,
     .look = appears_in_own},
    {.name = "create_then_open", .prepare = nothing, .change = make_file, .look = appears_to_open},
    {.name = "mkdir_then_lookup", .prepare = nothing, .change = make_directory, .look = appears},
    {.name = "symlink_then_lookup", .prepare = nothing, .change = make_symlink, .look = appears},
    {.name = "mkfifo_then_lookup", .prepare = nothing, .change = make_fifo, .look = appears},
    {.name = "link_then_lookup", .prepare = nothing, .change = make_link, .look = appears},
    {.name = "tmpfile_link_then_lookup", .prepare = nameless, .change = name_the_nameless, .look = appears},
    {.name = "unlink_then_lookup", .prepare = one_file, .change = remove_file, .look = goes},
    {.name = "unlink_then_open", .prepare = one_file, .change = remove_file, .look = goes_to_open},
    {.name = "unlink_then_links_held",
     .prepare = one_file,
     .hold = hold_f,
     .change = remove_file,
     .look = links_held},
    {.name = "rmdir_then_lookup", .prepare = one_directory, .change = remove_directory, .look = goes},
    {.name = "rename_then_lookup", .prepare = one_file, .change = move_file, .look = moves, .between = true},
    {.name = "rename_over_then_read", .prepare = file_and_next, .change = rename_over, .look = content},
    {.name = "rename_over_then_links_held",
     .prepare = file_and_next,
     .hold = hold_f,
     .change = rename_over,
     .look = links_held},
    {.name = "exchange_then_read", .prepare = file_and_next, .change = exchange_files, .look = content},
    {.name = "exchange_directories_then_read",
     .prepare = two_directories,
     .change = exchange_directories,
     .look = content_below},
    {.name = "exchange_kinds_then_lookup",
     .prepare = file_and_directory,
     .change = exchange_files,
     .look = kind_is},
    {.name = "unlink_create_then_read",
     .prepare = one_file,
     .change = remove_and_make,
     .look = content,
     .between = true},
    {.name = "link_then_links", .prepare = one_file, .change = make_link, .look = second_link},
    {.name = "unlink_then_links", .prepare = two_names, .change = remove_other_name, .look = one_link_left},
    {.name = "symlink_replaced_then_readlink",
     .prepare = symlink_and_next,
     .change = rename_link_over,
     .look = target_is},
    {.name = "symlink_remade_then_readlink",
     .prepare = symlink_and_next,
     .change = remove_and_link,
     .look = target_is,
     .between = true},
    {.name = "symlink_replaced_then_follow",
     .prepare = symlink_to_small,
     .change = rename_link_over,
     .look = followed},
    {0},
};
