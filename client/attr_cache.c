// SPDX-License-Identifier: Apache-2.0
// See attr_cache.h. Pure; owner thread.
#include "client/attr_cache.h"
#include "fs/base/check.h"
#include <sys/stat.h>

#define NS_PER_S        1000000000ll
#define SECONDS_MAX     (INT64_MAX / NS_PER_S - 1)
#define KERNEL_TICK_MS  20   // its clock for timeouts moves on by this at most
#define CLOCKS_DIFFER_S 3600 // by less, we hope; else an access time of a day ago is shown for longer

void attr_drop(struct attr_kept *kept, uint64_t tick)
{
    kept->changed_at = tick;
    kept->is_kept = false;
    kept->is_lost_to_kernel = true;
}

void attr_change(struct attr_kept *kept, uint64_t tick)
{
    attr_drop(kept, tick);
    fs_assert(kept->n_changing < ATTR_CHANGING_MAX);
    kept->n_changing++;
}

// An inode that the kernel has forgotten and asked for again knows nothing of calls that were under way.
bool attr_changed(struct attr_kept *kept, uint64_t sent, uint64_t tick)
{
    bool alone = kept->changed_at == sent && kept->n_changing == 1;
    if (kept->n_changing > 0)
        kept->n_changing--;
    attr_drop(kept, tick);
    return alone;
}

static bool to_ns(struct fs_time time, int64_t *ret_ns)
{
    if (time.sec < -SECONDS_MAX || time.sec > SECONDS_MAX)
        return false;
    *ret_ns = time.sec * NS_PER_S + time.nsec;
    return true;
}

static struct fs_time of_ns(int64_t ns)
{
    int64_t nsec = (ns % NS_PER_S + NS_PER_S) % NS_PER_S;
    return (struct fs_time){.sec = (ns - nsec) / NS_PER_S, .nsec = (uint32_t)nsec};
}

void attr_was_read(struct attr_kept *kept, int64_t server_s, uint64_t tick)
{
    bool tells = fs_reading_tells(of_ns(kept->atime_ns), of_ns(kept->mtime_ns), of_ns(kept->ctime_ns),
                                  server_s + CLOCKS_DIFFER_S);
    if (!kept->is_kept || tells)
        attr_drop(kept, tick);
    kept->is_lost_to_kernel = true; // it forgets the access time after each read
}

static bool put(struct attr_kept *kept, const struct fs_attr *attr)
{
    if (!to_ns(attr->atime, &kept->atime_ns) || !to_ns(attr->mtime, &kept->mtime_ns) ||
        !to_ns(attr->ctime, &kept->ctime_ns) || !to_ns(attr->btime, &kept->btime_ns))
        return false;
    kept->size = attr->size;
    kept->blocks = attr->blocks;
    kept->mode = attr->mode;
    kept->nlink = attr->nlink;
    kept->uid = attr->uid;
    kept->gid = attr->gid;
    kept->rdev = attr->rdev;
    return true;
}

static void get(const struct attr_kept *kept, fs_ino ino, struct fs_attr *ret_attr)
{
    *ret_attr = (struct fs_attr){
        .ino = ino,
        .mode = kept->mode,
        .nlink = kept->nlink,
        .uid = kept->uid,
        .gid = kept->gid,
        .rdev = kept->rdev,
        .size = kept->size,
        .blocks = kept->blocks,
        .atime = of_ns(kept->atime_ns),
        .mtime = of_ns(kept->mtime_ns),
        .ctime = of_ns(kept->ctime_ns),
        .btime = of_ns(kept->btime_ns),
    };
}

void attr_keep(struct attr_kept *kept, const struct fs_attr *attr, uint64_t sent)
{
    if (kept->n_changing > 0 || kept->changed_at > sent)
        return;
    kept->is_seen = put(kept, attr);
    kept->is_kept = kept->is_seen && attr->nlink > 0 && attr->blocks != FS_BLOCKS_UNKNOWN;
}

void attr_saw(struct attr_kept *kept, const struct fs_attr *attr)
{
    if (!kept->is_kept)
        kept->is_seen = put(kept, attr);
}

bool attr_get(const struct attr_kept *kept, fs_ino ino, struct fs_attr *ret_attr)
{
    if (!kept->is_kept || kept->n_changing > 0)
        return false;
    get(kept, ino, ret_attr);
    return true;
}

bool attr_get_seen(const struct attr_kept *kept, fs_ino ino, struct fs_attr *ret_attr)
{
    if (!kept->is_seen || !S_ISDIR(kept->mode))
        return false;
    get(kept, ino, ret_attr);
    return true;
}

void attr_told(struct attr_kept *kept, uint32_t until_ms)
{
    kept->is_lost_to_kernel = false;
    kept->told_until_ms = until_ms;
}

bool attr_is_wanted(const struct attr_kept *kept, uint32_t now_ms)
{
    return kept->is_lost_to_kernel || (int32_t)(now_ms + KERNEL_TICK_MS - kept->told_until_ms) >= 0;
}
