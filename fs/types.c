// SPDX-License-Identifier: Apache-2.0
// What the shared words can be asked: is a name valid, which time is earlier,
// does a read mark it. Pure; any thread.
#include "fs/types.h"
#include <errno.h>
#include <string.h>

#define NS_PER_SEC       1000000000u
#define RELATIME_SECONDS 86400

int fs_name_check(struct fs_name name)
{
    if (name.length == 0)
        return -EINVAL;
    if (name.length > FS_NAME_MAX)
        return -ENAMETOOLONG;
    if (memchr(name.bytes, '/', name.length) || memchr(name.bytes, '\0', name.length))
        return -EINVAL;
    if (name.bytes[0] == '.' && (name.length == 1 || (name.length == 2 && name.bytes[1] == '.')))
        return -EINVAL;
    return 0;
}

struct fs_time fs_time_from_ns(uint64_t ns)
{
    return (struct fs_time){.sec = (int64_t)(ns / NS_PER_SEC), .nsec = (uint32_t)(ns % NS_PER_SEC)};
}

int fs_time_compare(struct fs_time a, struct fs_time b)
{
    if (a.sec != b.sec)
        return a.sec < b.sec ? -1 : 1;
    return (a.nsec > b.nsec) - (a.nsec < b.nsec);
}

bool fs_reading_tells(struct fs_time atime, struct fs_time mtime, struct fs_time ctime, int64_t second)
{
    return fs_time_compare(atime, mtime) <= 0 || fs_time_compare(atime, ctime) <= 0 ||
           second - atime.sec >= RELATIME_SECONDS;
}
