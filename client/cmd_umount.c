// SPDX-License-Identifier: Apache-2.0
// `berth umount`: the mount goes, and its daemon after it has said goodbye to the server. With -f the mount
// goes also when calls on it wait for a server that does not answer; it is never looked at with stat.
#include "client/commands.h"
#include "client/mountinfo.h"
#include "client/mountstatus.h"
#include "fs/base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FAREWELL_MAX_MS 3000

static int usage(FILE *out, int code)
{
    fputs("Usage: berth umount [-f] MOUNTPOINT\n"
          "Takes a mount away.\n"
          "  -f  also when calls on it wait for a server that does not answer; they fail\n",
          out);
    return code;
}

// A user's mount belongs to fusermount3, which is set-uid. Its message goes to *said.
static int run_fusermount(const char *path, bool force, char *said, size_t size)
{
    int output[2];
    if (pipe2(output, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        dup2(output[1], STDERR_FILENO);
        execlp("fusermount3", "fusermount3", "-u", force ? "-z" : "--", path, (char *)NULL);
        dprintf(STDERR_FILENO, "fusermount3: %s", strerror(errno));
        _exit(127);
    }
    close(output[1]);
    ssize_t n = child > 0 ? read(output[0], said, size - 1) : 0;
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    close(output[0]);
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int detach(const char *path, bool force, const char *shown)
{
    char said[256] = "";
    int result =
        umount2(path, force ? MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW : UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
    if (result == -EBUSY)
        return complain(
            "%s is busy: a process works in it or has a file open there (berth umount -f takes it away)",
            shown);
    if (result == -EPERM && geteuid() != 0)
        result = run_fusermount(path, force, said, sizeof(said));
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
    int code = detach(path, force, shown);
    if (code == 0)
        await_end(daemon);
    closep(&daemon);
    return code;
}
