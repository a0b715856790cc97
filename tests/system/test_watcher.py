# SPDX-License-Identifier: Apache-2.0
"""A mount whose daemon died is taken away by its watcher; nothing else is, and the watcher goes with the daemon."""
import contextlib
import os
import re
import signal
import subprocess
import unittest

import harness
from mountcase import TwoMounts, read_file, write_file
from test_ordinary_user import SCRIPT
from test_restart import stopped

GONE_SECONDS = 10
MIB = 1024 * 1024
OWN_KIB_MAX = 512 if harness.SLOWDOWN == 1 else 8192  # with what a sanitizer remembers
UNIQUE_IDS_SINCE = (6, 8)

# As in test_ordinary_user, but the daemon is killed while a process works in the mount.
KILLED = SCRIPT[:SCRIPT.index("    trap ")] + r"""
    cd "$MOUNTS/m"
    daemon=$(pgrep -u 65534 -x berth)
    kill -KILL "$daemon"
    for i in $(seq 1000); do
        grep -q " $MOUNTS/m " /proc/self/mountinfo || { echo gone; exit 0; }
        sleep 0.01
    done
    echo stays
    fusermount3 -u -z "$MOUNTS/m"
'
"""


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(word) for word in f.read().split()]


def exists(pid):
    """And is no zombie: those of a daemon that was left behind are nobody's to reap here."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def close_dead(fd):
    with contextlib.suppress(OSError):  # what its daemon's end says
        os.close(fd)


def open_files(pid):
    """Without numbers."""
    return {re.sub(r"\d+", "", os.readlink("/proc/%d/fd/%s" % (pid, fd))) for fd in os.listdir("/proc/%d/fd" % pid)}


def thread_states(pid):
    states = []
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, thread)) as f:
            states.append(f.read().rsplit(")")[-1].split()[0])
    return states


def kernel_version():
    return tuple(int(word) for word in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())


def own_kib(pid):
    """What the process has for itself alone."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", f.read(), re.MULTILINE))


class Watcher(TwoMounts):
    SERVER_ARGS = ("--lease", "2")

    def a_mount(self):
        mount = harness.Mount(self.server, self.ap)
        self.addCleanup(mount.unmount)
        return mount, mount.pid

    def expect_gone(self, path, watcher):
        harness.wait_for(lambda: not harness.is_mounted(path), GONE_SECONDS)
        harness.wait_for(lambda: not exists(watcher), GONE_SECONDS)
        self.assertEqual(os.listdir(path), [])

    def test_dead_daemons_mount_goes(self):
        mount, pid = self.a_mount()
        [watcher] = children(pid)
        os.kill(pid, signal.SIGKILL)
        self.expect_gone(mount.path, watcher)

    def test_it_goes_also_while_it_is_busy(self):
        mount, pid = self.a_mount()
        [watcher] = children(pid)
        write_file(mount.path + "/busy", b"x")
        # Opened by a process of its own, so that a failure leaves no descriptor here.
        child = subprocess.Popen(["sh", "-c", "exec 3<busy; echo; exec sleep 60"], cwd=mount.path, stdout=subprocess.PIPE)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        child.stdout.readline()
        os.kill(pid, signal.SIGKILL)
        self.expect_gone(mount.path, watcher)

    def thread_waits_in_the_kernel(self, meanwhile):
        """A thread drops what is kept, since the server is silent, and waits for a page that a reader waits for: it outlives
        the daemon's others, and holds /dev/fuse open."""
        mount, pid = self.a_mount()
        self.addCleanup(lambda: harness.is_mounted(mount.path) and subprocess.run(["umount", "-f", "-l", mount.path]))
        [watcher] = children(pid)
        write_file(self.a + "/f", b"x" * MIB)
        fd = os.open(os.path.join(mount.path, os.path.basename(self.a), "f"), os.O_RDONLY)
        self.addCleanup(close_dead, fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(fd, 4096, 0)
        with stopped(self.server.process.pid):
            reader = os.fork()
            if reader == 0:
                with contextlib.suppress(OSError):
                    os.pread(fd, 4096, MIB // 2)
                os._exit(0)
            self.addCleanup(os.waitpid, reader, 0)
            self.addCleanup(os.kill, reader, signal.SIGKILL)
            harness.wait_for(lambda: "D" in thread_states(pid), 2 * GONE_SECONDS)  # most of a lease, and a busy machine
            meanwhile(mount.path)
            os.kill(pid, signal.SIGKILL)
            self.expect_gone(mount.path, watcher)
            harness.wait_for(lambda: not exists(pid) and not exists(reader), GONE_SECONDS)

    def test_it_goes_also_while_a_thread_waits_in_the_kernel(self):
        self.thread_waits_in_the_kernel(lambda path: None)

    def test_callers_of_a_detached_mount_go_on(self):
        self.thread_waits_in_the_kernel(lambda path: subprocess.run(["umount", "-l", path], check=True))

    def test_in_the_foreground(self):
        path = harness.new_directory("mount-")
        daemon = subprocess.Popen([harness.program("berth"), "mount", "-f", "%s@%s" % (self.ap, self.server.data_address), path],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(lambda: harness.is_mounted(path) and subprocess.run(["umount", "-l", path]))
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        harness.wait_for(lambda: harness.is_mounted(path), harness.MOUNT_SECONDS)
        os.stat(path)
        [watcher] = children(daemon.pid)
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()
        self.expect_gone(path, watcher)

    def test_orderly_end_leaves_no_watcher(self):
        for end in (lambda mount, pid: mount.unmount(), lambda mount, pid: os.kill(pid, signal.SIGTERM),
                    lambda mount, pid: subprocess.run(["umount", mount.path], check=True)):
            mount, pid = self.a_mount()
            [watcher] = children(pid)
            end(mount, pid)
            harness.wait_for(lambda: not exists(pid), 5)
            self.assertFalse(exists(watcher))

    def test_another_mount_at_the_same_place_stays(self):
        if kernel_version() < UNIQUE_IDS_SINCE:
            self.skipTest("kernel: Linux tells mounts that follow each other apart since 6.8")
        mount, pid = self.a_mount()
        [watcher] = children(pid)
        with contextlib.suppress(ProcessLookupError), stopped(pid):
            subprocess.run(["umount", "-l", mount.path], check=True)
            subprocess.run([harness.program("berth"), "mount", "%s@unix:%s/data.sock" % (self.ap, self.server.directory),
                            mount.path], check=True, stderr=subprocess.PIPE, timeout=harness.MOUNT_SECONDS)
            os.kill(pid, signal.SIGKILL)
            harness.wait_for(lambda: not exists(watcher), 5)
        write_file(mount.path + "/same-place", b"here")
        self.assertEqual(read_file(self.mount_a.path + "/same-place"), b"here")

    def test_signals_meant_for_the_daemon_do_not_end_it(self):
        mount, pid = self.a_mount()
        [watcher] = children(pid)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
            os.kill(watcher, number)
        os.kill(pid, signal.SIGKILL)
        self.expect_gone(mount.path, watcher)

    def test_it_is_small_and_holds_nothing_open(self):
        _, pid = self.a_mount()
        [watcher] = children(pid)
        self.assertLess(own_kib(watcher), OWN_KIB_MAX)
        self.assertEqual(open_files(watcher) - {"/sys/fs/fuse/connections//abort"}, {"/dev/null", "pipe:[]"})
        self.assertEqual(os.readlink("/proc/%d/cwd" % watcher), "/")

    def test_of_an_ordinary_user(self):
        if not os.path.exists("/usr/bin/fusermount3"):
            self.skipTest("no fusermount3 (package fuse3)")
        ap = self.server.ap_create(self.fs, "--path", "/u", "--uid", "1000", "--gid", "1000", "--owner", "1000:1000",
                                   "--perm", "0755")
        environment = dict(os.environ, AP=ap, ADDRESS=self.server.data_address, MOUNTS="/mnt/user",
                           BERTH=harness.program("berth"))
        result = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", KILLED], env=environment,
                                timeout=30, capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "gone\n", ""))


if __name__ == "__main__":
    unittest.main()
