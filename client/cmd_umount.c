// SPDX-License-Identifier: Apache-2.0
// `berth umount`: the mount goes, and its daemon after it has said goodbye to the server. With -f the mount
// goes also when calls on it wait for a server that does not answer; it is never looked at with stat.
#include "client/commands.h"
#include "client/detach.h"
#include "client/mountinfo.h"
#include "client/mountstatus.h"
#include "fs/base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define FAREWELL_MAX_MS 3000

static int usage(FILE *out, int code)
{
    fputs("Usage: berth umount [-f] MOUNTPOINT\n"
          "Takes a mount away.\n"
          "  -f  also when calls on it wait for a server that does not answer; they fail\n",
          out);
    return code;
}

static int take_away(const char *path, bool force, const char *shown)
{
    char said[256];
    int result = detach(path, force, said, sizeof(said));
    if (result == -EBUSY)
        return complain(
            "%s is busy: a process works in it or has a file open there (berth umount -f takes it away)",
            shown);
    if (result < 0)
        return complain("cannot unmount %s: %s", shown, said[0] ? said : strerror(-result));
    return 0;
}

// Frees every call that waits, whoever owns the mount.
static void abort_connection(unsigned number)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", number);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; // not mounted here; umount2(MNT_FORCE) does the same for root
    ssize_t n = write(fd, "1", 1);
    (void)n;
    close(fd);
}

// A descriptor that says when the daemon has ended, or -1.
static int watch_daemon(const char *path)
{
    char text[MOUNTSTATUS_SIZE], pid[32];
    if (mountstatus_read(path, text, sizeof(text)) < 0 || !mountstatus_get(text, "pid", pid, sizeof(pid)))
        return -1;
    return (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid, NULL, 10), 0);
}

static void await_end(int daemon)
{
    struct pollfd wait = {.fd = daemon, .events = POLLIN};
    if (daemon >= 0)
        poll(&wait, 1, FAREWELL_MAX_MS);
}

int cmd_umount(int argc, char **argv)
{
    bool force = false;
    int flag;
    if (wants_help(argc, argv))
        return usage(stdout, 0);
    optind = 1;
    opterr = 0;
    while ((flag = getopt(argc, argv, "f")) >= 0) {
        if (flag == '?')
            return usage(stderr, 2);
        force = true;
    }
    if (argc - optind != 1)
        return usage(stderr, 2);
    const char *shown = argv[optind];
    char path[PATH_MAX];
    struct mountinfo info;
    int result = mountpoint_resolve(shown, path);
    if (result < 0)
        return complain_no_mount(shown, result);
    if (!mountinfo_find(path, &info) || !info.is_berth)
        return complain_no_mount(shown, 0);
    int daemon = force ? -1 : watch_daemon(path);
    if (force)
        abort_connection(info.fuse_number);
    int code = take_away(path, force, shown);
    if (code == 0)
        await_end(daemon);
    closep(&daemon);
    return code;
}
