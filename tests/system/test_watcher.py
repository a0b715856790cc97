# SPDX-License-Identifier: Apache-2.0
"""A mount whose daemon died is taken away by its watcher; nothing else is, and the watcher goes with the daemon."""
import contextlib
import json
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
OWN_KIB_MAX = 512 * harness.SLOWDOWN
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


def in_flight(path):
    """Requests of the mount that the server has not answered."""
    return json.loads(os.getxattr(path, "system.berth.status"))["in_flight"]


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


def kernel_version():
    return tuple(int(word) for word in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())


def own_kib(pid):
    """What the process has for itself alone."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", f.read(), re.MULTILINE))


class Watcher(TwoMounts):
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

    def test_it_goes_also_while_a_thread_waits_in_the_kernel(self):
        """The thread that drops attributes waits for a directory in which a call waits for a third mount: it outlives the
        daemon's others, and holds /dev/fuse open."""
        mount, pid = self.a_mount()
        silent, silent_pid = self.a_mount()
        [watcher] = children(pid)
        os.mkdir(self.a + "/d")
        write_file(self.a + "/d/shown", b"x")
        name = os.path.join(os.path.basename(self.a), "d")
        self.assertFalse(os.path.exists(os.path.join(silent.path, name, "new")))
        os.stat(os.path.join(mount.path, name, "shown"))
        with stopped(silent_pid):
            creator = subprocess.Popen(["mkdir", os.path.join(mount.path, name, "new")], stderr=subprocess.DEVNULL)
            self.addCleanup(creator.wait)
            self.addCleanup(lambda: harness.is_mounted(mount.path) and subprocess.run(["umount", "-f", "-l", mount.path]))
            harness.wait_for(lambda: in_flight(mount.path) > 0, 5)
            os.chmod(self.a + "/d/shown", 0o600)
            os.kill(pid, signal.SIGKILL)
            self.expect_gone(mount.path, watcher)
            self.assertNotEqual(creator.wait(GONE_SECONDS), 0)

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
        names = [os.readlink("/proc/%d/fd/%s" % (watcher, fd)) for fd in os.listdir("/proc/%d/fd" % watcher)]
        self.assertEqual(sorted(set(re.sub(r"\d+", "", name) for name in names)), ["/dev/null", "pipe:[]"])
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
