// SPDX-License-Identifier: Apache-2.0
// Litmuses of content and size: writes, appends, truncation, and what else changes bytes. The file is `f`, of
// one page of the round's old byte, or `big`.
#include "tests/coherence/litmus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BIG = 256 * 1024, BIG_AT = 100 * 1024, SMALL = 10 };

static void old_page(struct side *writer, unsigned round)
{
    put("f", old_byte(round), LITMUS_PAGE);
    writer->fd = must(open("f", O_RDWR), "open", "f");
}

static void old_page_long_ago(struct side *writer, unsigned round)
{
    old_page(writer, round);
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    must(futimens(writer->fd, times), "utimens", "f");
}

static void old_big(struct side *writer, unsigned round)
{
    put("f", old_byte(round), BIG);
    writer->fd = must(open("f", O_RDWR), "open", "f");
}

static void hold_f(struct side *reader, unsigned round)
{
    (void)round;
    reader->fd = open("f", O_RDONLY);
}

// --- looks ---

static enum seen page_of(struct side *side, int fd, unsigned round)
{
    char bytes[LITMUS_PAGE];
    if (fd < 0)
        return seen_error(side, "open");
    return seen_bytes(side, bytes, pread(fd, bytes, sizeof(bytes), 0), old_byte(round), new_byte(round));
}

static enum seen read_held(struct side *side, unsigned round)
{
    return page_of(side, side->fd, round);
}

static enum seen read_with(struct side *side, unsigned round, int flags)
{
    int fd = open("f", O_RDONLY | flags);
    enum seen seen = page_of(side, fd, round);
    close(fd);
    return seen;
}

static enum seen read_opened(struct side *side, unsigned round)
{
    return read_with(side, round, 0);
}

static enum seen read_direct(struct side *side, unsigned round)
{
    return read_with(side, round, O_DIRECT);
}

static enum seen read_big(struct side *side, unsigned round)
{
    static char bytes[BIG];
    ssize_t n = pread(side->fd, bytes, sizeof(bytes), 0);
    if (n != BIG)
        return n < 0 ? seen_error(side, "read") : seen_other(side, "read %zd of %d", n, BIG);
    return seen_bytes(side, bytes + BIG_AT, LITMUS_PAGE + SMALL, old_byte(round), new_byte(round));
}

static enum seen size_is(struct side *side, long long old, long long new_)
{
    struct stat st;
    if (stat("f", &st) < 0)
        return seen_error(side, "stat");
    return seen_number(side, "size", st.st_size, old, new_);
}

static enum seen size_held(struct side *side, long long old, long long new_)
{
    struct stat st;
    if (fstat(side->fd, &st) < 0)
        return seen_error(side, "fstat");
    return seen_number(side, "size", st.st_size, old, new_);
}

static enum seen size_grew(struct side *side, unsigned round)
{
    (void)round;
    return size_is(side, LITMUS_PAGE, LITMUS_PAGE + SMALL);
}

static enum seen size_grew_held(struct side *side, unsigned round)
{
    (void)round;
    return size_held(side, LITMUS_PAGE, LITMUS_PAGE + SMALL);
}

static enum seen size_cut(struct side *side, unsigned round)
{
    (void)round;
    return size_is(side, LITMUS_PAGE, SMALL);
}

static enum seen size_emptied(struct side *side, unsigned round)
{
    (void)round;
    return size_is(side, LITMUS_PAGE, 0);
}

static enum seen size_by_seek(struct side *side, unsigned round)
{
    (void)round;
    off_t end = lseek(side->fd, 0, SEEK_END);
    return end < 0 ? seen_error(side, "lseek")
                   : seen_number(side, "end", end, LITMUS_PAGE, LITMUS_PAGE + SMALL);
}

static enum seen mtime_moved(struct side *side, unsigned round)
{
    (void)round;
    struct stat st;
    if (stat("f", &st) < 0)
        return seen_error(side, "stat");
    return st.st_mtim.tv_sec == 1000 ? SEEN_OLD : SEEN_NEW;
}

// How much one read gets, and whether it is all of the old byte but for zeros or new bytes past the old end.
static enum seen length_read(struct side *side, unsigned round, ssize_t new_length, unsigned char tail)
{
    char bytes[3 * LITMUS_PAGE];
    ssize_t n = pread(side->fd, bytes, sizeof(bytes), 0);
    if (n < 0)
        return seen_error(side, "read");
    for (ssize_t i = 0; i < n; i++) {
        unsigned char want = i < LITMUS_PAGE ? old_byte(round) : tail;
        if ((unsigned char)bytes[i] != want)
            return seen_other(side, "of %zd bytes byte %zd is %#x", n, i, (unsigned char)bytes[i]);
    }
    return seen_number(side, "length", n, LITMUS_PAGE, new_length);
}

static enum seen read_cut(struct side *side, unsigned round)
{
    return length_read(side, round, SMALL, 0);
}

static enum seen read_extended(struct side *side, unsigned round)
{
    return length_read(side, round, 2 * LITMUS_PAGE + SMALL, 0);
}

static enum seen read_grown(struct side *side, unsigned round)
{
    return length_read(side, round, LITMUS_PAGE + SMALL, new_byte(round));
}

static enum seen read_punched(struct side *side, unsigned round)
{
    char bytes[LITMUS_PAGE];
    return seen_bytes(side, bytes, pread(side->fd, bytes, sizeof(bytes), 0), old_byte(round), 0);
}

// --- changes ---

static void write_at(struct side *writer, unsigned round, size_t n, off_t offset)
{
    char bytes[2 * LITMUS_PAGE];
    memset(bytes, new_byte(round), sizeof(bytes));
    if (pwrite(writer->fd, bytes, n, offset) != (ssize_t)n)
        litmus_die("write", "f");
}

static void write_page(struct side *writer, unsigned round)
{
    write_at(writer, round, LITMUS_PAGE, 0);
}

static void write_in_big(struct side *writer, unsigned round)
{
    write_at(writer, round, LITMUS_PAGE + SMALL, BIG_AT);
}

static void write_past_end(struct side *writer, unsigned round)
{
    write_at(writer, round, SMALL, LITMUS_PAGE);
}

static void open_write_close(struct side *writer, unsigned round)
{
    (void)writer;
    overwrite("f", new_byte(round), LITMUS_PAGE, 0);
}

static void append_some(struct side *writer, unsigned round)
{
    (void)writer;
    char bytes[SMALL];
    memset(bytes, new_byte(round), sizeof(bytes));
    int fd = must(open("f", O_WRONLY | O_APPEND), "open", "f");
    if (write(fd, bytes, sizeof(bytes)) != SMALL)
        litmus_die("append", "f");
    must(close(fd), "close", "f");
}

static void cut(struct side *writer, unsigned round)
{
    (void)round;
    must(ftruncate(writer->fd, SMALL), "ftruncate", "f");
}

static void cut_by_path(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(truncate("f", SMALL), "truncate", "f");
}

static void extend(struct side *writer, unsigned round)
{
    (void)round;
    must(ftruncate(writer->fd, 2 * LITMUS_PAGE + SMALL), "ftruncate", "f");
}

static void open_truncating(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(close(must(open("f", O_WRONLY | O_TRUNC), "open", "f")), "close", "f");
}

static void punch(struct side *writer, unsigned round)
{
    (void)round;
    must(fallocate(writer->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LITMUS_PAGE), "punch", "f");
}

static void copy_over(struct side *writer, unsigned round)
{
    (void)round;
    int from = must(open("source", O_RDONLY), "open", "source");
    off_t in = 0, out = 0;
    if (copy_file_range(from, &in, writer->fd, &out, LITMUS_PAGE, 0) != LITMUS_PAGE)
        litmus_die("copy_file_range", "f");
    must(close(from), "close", "source");
}

static void old_page_and_source(struct side *writer, unsigned round)
{
    put("source", new_byte(round), LITMUS_PAGE);
    old_page(writer, round);
}

// The file is changed under another of its names than the one that is looked at.
static void old_page_linked(struct side *writer, unsigned round)
{
    old_page(writer, round);
    clear("g");
    must(link("f", "g"), "link", "g");
}

static void write_other_name(struct side *writer, unsigned round)
{
    (void)writer;
    overwrite("g", new_byte(round), LITMUS_PAGE, 0);
}

static void cut_other_name(struct side *writer, unsigned round)
{
    (void)writer, (void)round;
    must(truncate("g", SMALL), "truncate", "g");
}

const struct litmus litmus_data[] = {
    {.name = "write_then_read_held",
     .prepare = old_page,
     .hold = hold_f,
     .change = write_page,
     .look = read_held},
    {.name = "write_then_read_opened", .prepare = old_page, .change = write_page, .look = read_opened},
    {.name = "write_then_read_direct", .prepare = old_page, .change = write_page, .look = read_direct},
    {.name = "write_close_then_read", .prepare = old_page, .change = open_write_close, .look = read_opened},
    {.name = "write_in_big_then_read",
     .prepare = old_big,
     .hold = hold_f,
     .change = write_in_big,
     .look = read_big,
     .between = true},
    {.name = "write_then_stat", .prepare = old_page, .change = write_past_end, .look = size_grew},
    {.name = "write_then_fstat",
     .prepare = old_page,
     .hold = hold_f,
     .change = write_past_end,
     .look = size_grew_held},
    {.name = "write_then_seek_end",
     .prepare = old_page,
     .hold = hold_f,
     .change = write_past_end,
     .look = size_by_seek},
    {.name = "write_then_mtime", .prepare = old_page_long_ago, .change = write_page, .look = mtime_moved},
    {.name = "write_past_end_then_read",
     .prepare = old_page,
     .hold = hold_f,
     .change = write_past_end,
     .look = read_grown,
     .between = true},
    {.name = "append_then_stat", .prepare = old_page, .change = append_some, .look = size_grew},
    {.name = "append_then_read",
     .prepare = old_page,
     .hold = hold_f,
     .change = append_some,
     .look = read_grown,
     .between = true},
    {.name = "truncate_then_stat", .prepare = old_page, .change = cut_by_path, .look = size_cut},
    {.name = "truncate_then_read",
     .prepare = old_page,
     .hold = hold_f,
     .change = cut,
     .look = read_cut,
     .between = true},
    {.name = "extend_then_read",
     .prepare = old_page,
     .hold = hold_f,
     .change = extend,
     .look = read_extended,
     .between = true},
    {.name = "open_truncating_then_stat",
     .prepare = old_page,
     .change = open_truncating,
     .look = size_emptied},
    {.name = "punch_then_read", .prepare = old_page, .hold = hold_f, .change = punch, .look = read_punched},
    {.name = "copy_range_then_read",
     .prepare = old_page_and_source,
     .hold = hold_f,
     .change = copy_over,
     .look = read_held},
    {.name = "write_other_name_then_read",
     .prepare = old_page_linked,
     .change = write_other_name,
     .look = read_opened},
    {.name = "truncate_other_name_then_stat",
     .prepare = old_page_linked,
     .change = cut_other_name,
     .look = size_cut},
    {0},
};
