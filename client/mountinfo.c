// SPDX-License-Identifier: Apache-2.0
// See mountinfo.h. Any thread.
#include "client/mountinfo.h"
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_WORDS 32

// \040 and its like, in place.
static void unescape(char *text)
{
    char *out = text;
    for (const char *in = text; *in;) {
        if (in[0] == '\\' && strspn(in + 1, "01234567") >= 3) {
            *out++ = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out++ = *in++;
        }
    }
    *out = '\0';
}

// `id parent major:minor root mountpoint options optional... - fstype source superoptions`. False: malformed,
// or of another mountpoint.
static bool parse_line(char *line, const char *path, struct mountinfo *info)
{
    char *words[LINE_WORDS], *rest = line, *word;
    size_t n = 0, dash = 0;
    while (n < LINE_WORDS && (word = strsep(&rest, " \n")) && *word) {
        if (n >= 6 && dash == 0 && strcmp(word, "-") == 0)
            dash = n;
        words[n++] = word;
    }
    unsigned major, minor;
    if (dash == 0 || n < dash + 3 ||
        sscanf(words[2], "%u:%u", &major, &minor) != 2) // NOLINT(cert-err34-c): the kernel's
        return false;
    unescape(words[4]);
    if (strcmp(words[4], path) != 0)
        return false;
    unescape(words[dash + 2]);
    snprintf(info->fstype, sizeof(info->fstype), "%s", words[dash + 1]);
    snprintf(info->source, sizeof(info->source), "%s", words[dash + 2]);
    info->fuse_number = major << 20 | minor;
    info->is_berth = strcmp(info->fstype, "fuse.berth") == 0;
    return true;
}

bool mountinfo_find_in(FILE *file, const char *path, struct mountinfo *ret_info)
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    while (getline(&line, &size, file) >= 0)
        found |= parse_line(line, path, ret_info); // the last one is on top
    free(line);
    return found;
}

bool mountinfo_find(const char *path, struct mountinfo *ret_info)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file)
        return false;
    bool found = mountinfo_find_in(file, path, ret_info);
    fclose(file);
    return found;
}

// The parent is resolved, the last component only if nothing is mounted at it.
static int join(const char *path, char joined[PATH_MAX])
{
    char copy[PATH_MAX], base_copy[PATH_MAX], parent[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    snprintf(base_copy, sizeof(base_copy), "%s", path);
    const char *base = basename(base_copy);
    if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0 || strcmp(base, "/") == 0)
        return realpath(path, joined) ? 0 : -errno;
    if (!realpath(dirname(copy), parent))
        return -errno;
    int n = snprintf(joined, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, base);
    return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int mountpoint_resolve(const char *path, char ret_path[PATH_MAX])
{
    char joined[PATH_MAX];
    struct mountinfo info;
    if (strlen(path) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (path[0] == '\0')
        return -ENOENT;
    int result = join(path, joined);
    if (result < 0)
        return result;
    if (mountinfo_find(joined, &info)) {
        strcpy(ret_path, joined);
        return 0;
    }
    return realpath(joined, ret_path) ? 0 : -errno;
}
