// SPDX-License-Identifier: Apache-2.0
// See watcher.h. What is taken away is the mount that was there when the daemon said that it had mounted, and
// no later one at the same place.
#include "client/watcher.h"
#include "client/detach.h"
#include "client/mountinfo.h"
#include "fs/base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MOUNTED       'm'
#define DISMISS       'd'

#define MNT_ID_UNIQUE 0x00004000u // STATX_MNT_ID_UNIQUE, younger than our C library's headers

// Which mount it is: its number is given out again, its id (Linux 6.8) never is.
struct identity {
    unsigned fuse_number;
    uint64_t id; // 0: this kernel does not tell
};

// False: no mount of ours is there. Asks the kernel alone.
static bool identify(const char *mountpoint, struct identity *ret_identity)
{
    struct mountinfo info;
    struct statx it;
    if (!mountinfo_find(mountpoint, &info) || !info.is_berth)
        return false;
    ret_identity->fuse_number = info.fuse_number;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    bool told = statx(AT_FDCWD, mountpoint, flags, MNT_ID_UNIQUE, &it) == 0 && (it.stx_mask & MNT_ID_UNIQUE);
    ret_identity->id = told ? it.stx_mnt_id : 0;
    return true;
}

static void take_away(const char *mountpoint, const struct identity *mounted)
{
    struct identity there;
    char said[256];
    if (identify(mountpoint, &there) && there.fuse_number == mounted->fuse_number && there.id == mounted->id)
        detach(mountpoint, true, said, sizeof(said));
}

static void watch(int fd, const char *mountpoint)
{
    struct identity mounted;
    bool is_mounted = false;
    char word;
    ssize_t n;
    while ((n = read(fd, &word, 1)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0 && word == DISMISS)
            return;
        if (n > 0 && word == MOUNTED)
            is_mounted = identify(mountpoint, &mounted);
    }
    if (is_mounted)
        take_away(mountpoint, &mounted);
}

// A process of its own, which no signal meant for the daemon or its terminal reaches, and which holds nothing
// open.
static int settle(int fd, const char *mountpoint, struct watcher_title title)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    setsid();
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
    prctl(PR_SET_NAME, "berth-watcher");
    memset(title.words, 0, title.size);
    snprintf(title.words, title.size, "watcher of %s", mountpoint);
    int null = open("/dev/null", O_RDWR);
    for (int standard = 0; standard <= 2; standard++)
        dup2(null, standard);
    fd = dup2(fd, 3);
    close_range(4, ~0u, 0);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return chdir("/") < 0 ? -errno : fd;
}

int watcher_start(const char *mountpoint, struct watcher_title title, struct watcher *ret_watcher)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        int fd = settle(ends[0], mountpoint, title);
        if (fd >= 0)
            watch(fd, mountpoint);
        _exit(0);
    }
    int result = child < 0 ? -errno : 0;
    close(ends[0]);
    if (result < 0)
        close(ends[1]);
    else
        *ret_watcher = (struct watcher){.fd = ends[1], .pid = child};
    return result;
}

static void tell(const struct watcher *watcher, char word)
{
    ssize_t n = watcher->fd >= 0 ? write(watcher->fd, &word, 1) : 0;
    (void)n; // a watcher that somebody killed is missed when the daemon dies, not before
}

void watcher_mounted(struct watcher *watcher)
{
    tell(watcher, MOUNTED);
}

void watcher_dismiss(struct watcher *watcher)
{
    if (watcher->fd < 0)
        return;
    tell(watcher, DISMISS);
    closep(&watcher->fd);
    while (waitpid(watcher->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
