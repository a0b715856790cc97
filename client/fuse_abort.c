// SPDX-License-Identifier: Apache-2.0
// See fuse_abort.h. https://docs.kernel.org/filesystems/fuse/fuse.html#control-filesystem
#include "client/fuse_abort.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int fuse_abort_open(unsigned fuse_number)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", fuse_number);
    return open(path, O_WRONLY | O_CLOEXEC);
}

void fuse_abort(int fd)
{
    if (fd >= 0 && write(fd, "1", 1) < 0)
        log_warn("abort", "error=%s", strerror(errno));
}
