// SPDX-License-Identifier: Apache-2.0
// Walks two trees in step and tells their first difference: names, attributes, contents, and which names are
// of one inode.
#include "tests/posix/fsstress.h"
#include "tests/posix/history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINKED_MAX = 4096, NAMES_MAX = 8192 };

struct names {
    unsigned n;
    char *list[NAMES_MAX];
};

struct linked {
    unsigned n;
    uint64_t inodes[LINKED_MAX][2];
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_read(struct names *names, int directory)
{
    names->n = 0;
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_NOATIME);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL)
        return -errno;
    struct dirent *entry;
    while ((entry = readdir(stream)) != NULL && names->n < NAMES_MAX)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            names->list[names->n++] = strdup(entry->d_name);
    closedir(stream);
    qsort(names->list, names->n, sizeof(names->list[0]), by_name);
    return 0;
}

static void names_free(struct names *names)
{
    for (unsigned i = 0; names != NULL && i < names->n; i++)
        free(names->list[i]);
    free(names);
}

// Names of one inode on the mount are names of one inode on the host.
static bool links_match(struct linked *linked, uint64_t ours, uint64_t theirs)
{
    for (unsigned i = 0; i < linked->n; i++)
        if (linked->inodes[i][0] == ours || linked->inodes[i][1] == theirs)
            return linked->inodes[i][0] == ours && linked->inodes[i][1] == theirs;
    if (linked->n < LINKED_MAX) {
        linked->inodes[linked->n][0] = ours;
        linked->inodes[linked->n++][1] = theirs;
    }
    return true;
}

static const char *directories_differ(int ours, int theirs, const char *path, struct linked *linked);

static const char *targets_differ(const int tops[2], const char *name)
{
    char targets[2][PATH_MAX];
    for (int i = 0; i < 2; i++) {
        ssize_t n = readlinkat(tops[i], name, targets[i], PATH_MAX - 1);
        targets[i][n < 0 ? 0 : n] = 0;
    }
    if (strcmp(targets[0], targets[1]) == 0)
        return NULL;
    return difference("symlink %.300s: to %.300s on the mount, to %.300s on the host", name, targets[0],
                      targets[1]);
}

static const char *entry_differs(const int tops[2], const char *name, const char *path, struct linked *linked)
{
    struct statx stats[2];
    for (int i = 0; i < 2; i++)
        if (look_at(tops[i], name, AT_SYMLINK_NOFOLLOW, &stats[i]) < 0)
            return difference("%s: listed, but stat says %s", path, strerrorname_np(errno));
    const char *differs = stat_differs(&stats[0], &stats[1], path);
    if (differs != NULL)
        return differs;
    if (!S_ISDIR(stats[0].stx_mode) && stats[0].stx_nlink > 1 &&
        !links_match(linked, stats[0].stx_ino, stats[1].stx_ino))
        return difference("%s: a link of another file", path);
    if (S_ISLNK(stats[0].stx_mode))
        return targets_differ(tops, name);
    differs = content_differs(content_at(tops[0], name), content_at(tops[1], name), path);
    if (differs != NULL || !S_ISDIR(stats[0].stx_mode))
        return differs;
    int inner[2] = {openat(tops[0], name, O_PATH), openat(tops[1], name, O_PATH)};
    differs = directories_differ(inner[0], inner[1], path, linked);
    close(inner[0]);
    close(inner[1]);
    return differs;
}

static const char *directories_differ(int ours, int theirs, const char *path, struct linked *linked)
{
    struct names *names[2] = {malloc(sizeof(**names)), malloc(sizeof(**names))};
    const int tops[2] = {ours, theirs};
    if (names[0] == NULL || names[1] == NULL)
        history_broken("memory");
    int errors[2] = {names_read(names[0], ours), names_read(names[1], theirs)};
    const char *differs = NULL;
    if (errors[0] != 0 || errors[1] != 0 || names[0]->n != names[1]->n)
        differs = difference("%s: %u entries (error %d) on the mount, %u (error %d) on the host", path,
                             names[0]->n, errors[0], names[1]->n, errors[1]);
    for (unsigned i = 0; differs == NULL && i < names[0]->n; i++) {
        char inner[2000];
        snprintf(inner, sizeof(inner), "%.1700s/%.255s", path, names[0]->list[i]);
        if (strcmp(names[0]->list[i], names[1]->list[i]) != 0)
            differs = difference("%s: is %s on the host", inner, names[1]->list[i]);
        else
            differs = entry_differs(tops, names[0]->list[i], inner, linked);
    }
    names_free(names[0]);
    names_free(names[1]);
    return differs;
}

const char *trees_differ(int ours, int theirs)
{
    static struct linked linked;
    linked.n = 0;
    return directories_differ(ours, theirs, ".", &linked);
}
