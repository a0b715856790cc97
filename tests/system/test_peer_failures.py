# SPDX-License-Identifier: Apache-2.0
"""What other shared file systems are known to fail at, one test each, named for the failure."""
import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import sys
import time
import unittest

import harness
from mountcase import TwoMounts, read_file, write_file
from test_restart import in_child, stopped

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "torture"))
import network  # noqa: E402

LEASE_SECONDS = 2
SLACK_SECONDS = 2      # of a busy machine
ANSWER_SECONDS = 5     # within which what must not hang has ended
LONG_LEASE_SECONDS = 90


def try_lock(lock, fd):
    try:
        lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


class LostConnection(unittest.TestCase):
    """Two clients in network namespaces: what is cut is not told, packets just do not arrive."""

    @classmethod
    def setUpClass(cls):
        harness.require_root()
        harness.require_fuse()
        cls.network = network.Network(2)
        cls.addClassCleanup(cls.network.close)
        cls.server = harness.Server(args=("--lease", str(LEASE_SECONDS), "--insecure"), prefix=cls.network.server.prefix,
                                    address=network.SERVER_ADDRESS)
        cls.addClassCleanup(cls.server.stop)
        cls.ap = cls.server.ap_create(cls.server.fs_create(), "--path", "/t", "--uid", "0", "--gid", "0", "--owner", "0:0",
                                      "--perm", "0755")

    def mount(self, i):
        mount = harness.Mount(self.server, self.ap, over="tcp", prefix=self.network.clients[i].prefix)
        self.addCleanup(mount.unmount)
        self.addCleanup(self.network.join, i)
        return mount

    def test_sshfs_hangs_for_ever_on_a_lost_connection(self):
        mount = self.mount(0)
        write_file(mount.path + "/f", b"kept")
        self.network.cut(0, near=False)
        killed, waiting = (in_child(lambda: os._exit(read_file(mount.path + "/f") != b"kept")) for _ in range(2))
        for child in (killed, waiting):
            self.addCleanup(child.kill)
            child.join(0.5)
            self.assertTrue(child.is_alive(), "the call did not wait")
        killed.kill()
        killed.join(ANSWER_SECONDS)
        self.assertEqual(killed.exitcode, -signal.SIGKILL)
        self.network.join(0)
        waiting.join(harness.START_SECONDS)
        self.assertEqual(waiting.exitcode, 0)

    def test_sshfs_cannot_be_unmounted_after_a_lost_connection(self):
        mount = self.mount(0)
        self.network.cut(0, near=False)
        child = in_child(lambda: os.listdir(mount.path))
        self.addCleanup(child.kill)
        child.join(0.5)
        self.assertTrue(child.is_alive(), "the call did not wait")
        child.kill()
        child.join(ANSWER_SECONDS)
        start = time.monotonic()
        mount.unmount()
        self.assertLess(time.monotonic() - start, ANSWER_SECONDS)
        self.assertFalse(harness.is_mounted(mount.path))

    def test_glusterfs_keeps_stale_locks_after_a_disconnect(self):
        one, two = self.mount(0), self.mount(1)
        write_file(one.path + "/g", b"")
        with open(one.path + "/g", "r+b") as held, open(two.path + "/g", "r+b") as other:
            for seconds, within in ((0.5, SLACK_SECONDS), (LEASE_SECONDS + 1, SLACK_SECONDS)):
                with self.subTest(away=seconds):
                    for lock in (fcntl.flock, fcntl.lockf):
                        lock(held, fcntl.LOCK_EX)
                    self.network.cut(0, near=False)
                    time.sleep(seconds)  # how long it is away is what is tested
                    self.network.join(0)
                    for lock in (fcntl.flock, fcntl.lockf):
                        lock(held, fcntl.LOCK_UN)
                        harness.wait_for(lambda lock=lock: try_lock(lock, other), within)
                        lock(other, fcntl.LOCK_UN)

    def test_glusterfs_keeps_the_locks_of_a_client_that_does_not_come_back(self):
        one, two = self.mount(0), self.mount(1)
        write_file(one.path + "/h", b"")
        ours, theirs = multiprocessing.Pipe()

        def hold():
            with open(one.path + "/h", "r+b") as held:
                for lock in (fcntl.flock, fcntl.lockf):
                    lock(held, fcntl.LOCK_EX)
                theirs.send(0)
                signal.pause()
        holder = in_child(hold)
        self.addCleanup(holder.kill)
        ours.recv()
        self.network.cut(0, near=False)
        with open(two.path + "/h", "r+b") as other:
            for lock in (fcntl.flock, fcntl.lockf):
                harness.wait_for(lambda lock=lock: try_lock(lock, other), LEASE_SECONDS + SLACK_SECONDS)


class Locks(TwoMounts):
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    def test_juicefs_frozen_client_writes_after_its_locks_were_given_away(self):
        """Its write was under way when it froze."""
        write_file(self.a + "/f", b"")
        ours, theirs = multiprocessing.Pipe()

        def write_late():
            fd = os.open(self.a + "/f", os.O_WRONLY)
            fcntl.flock(fd, fcntl.LOCK_EX)
            theirs.send(0)
            theirs.recv()
            try:
                theirs.send(os.write(fd, b"late"))
            except OSError as error:
                theirs.send(-error.errno)
        writer = in_child(write_late)
        self.addCleanup(writer.kill)
        ours.recv()
        with open(self.b + "/f", "r+b", buffering=0) as other:
            with stopped(self.mount_a.pid):
                ours.send("write")
                harness.wait_for(lambda: try_lock(fcntl.flock, other), LEASE_SECONDS + SLACK_SECONDS)
                other.write(b"new")
            self.assertEqual(ours.recv(), -errno.EIO)
        self.assertEqual(read_file(self.b + "/f"), b"new")

    def test_juicefs_never_frees_a_dead_clients_shared_locks(self):
        mount = harness.Mount(self.server, self.ap)
        self.addCleanup(mount.unmount)
        write_file(self.b + "/f", b"")
        held = os.open(os.path.join(mount.path, os.path.basename(self.b), "f"), os.O_RDONLY)
        for lock in (fcntl.flock, fcntl.lockf):
            lock(held, fcntl.LOCK_SH)
        with open(self.b + "/f", "r+b") as other:
            for lock in (fcntl.flock, fcntl.lockf):
                self.assertFalse(try_lock(lock, other))
            os.kill(mount.pid, signal.SIGKILL)
            for lock in (fcntl.flock, fcntl.lockf):
                harness.wait_for(lambda lock=lock: try_lock(lock, other), LEASE_SECONDS + SLACK_SECONDS)
        with contextlib.suppress(OSError):  # its mount is gone
            os.close(held)

    def test_juicefs_reports_false_deadlocks(self):
        """Whoever takes ranges in one order waits for others and never for himself, however many wait on whichever client."""
        write_file(self.a + "/f", b"")
        results = multiprocessing.Queue()

        def take_in_order(directory):
            try:
                with open(directory + "/f", "r+b") as f:
                    for i in range(60):
                        for byte in range(4):
                            how = fcntl.LOCK_SH if (i + byte) % 3 == 0 else fcntl.LOCK_EX
                            fcntl.lockf(f, how, 1, byte)
                        fcntl.lockf(f, fcntl.LOCK_UN)
                results.put(0)
            except OSError as error:
                results.put(error.errno)
        for directory in (self.a, self.b, self.a, self.b):
            self.addCleanup(in_child(lambda directory=directory: take_in_order(directory)).kill)
        self.assertEqual([results.get(timeout=harness.START_SECONDS) for _ in range(4)], [0] * 4)


class Restart(TwoMounts):
    SERVER_ARGS = ("--lease", str(LONG_LEASE_SECONDS))

    def test_nfs_ganesha_blocks_everybody_after_a_restart_and_loses_state(self):
        write_file(self.a + "/f", b"")
        with open(self.a + "/f", "r+b", buffering=0) as held, open(self.b + "/f", "r+b", buffering=0) as other, \
                open(self.b + "/gone", "w+b", buffering=0) as nameless:
            for lock in (fcntl.flock, fcntl.lockf):
                lock(held, fcntl.LOCK_EX)
            nameless.write(b"kept")
            os.unlink(self.a + "/gone")
            self.server.kill9()
            self.server.start()
            start = time.monotonic()
            held.write(b"one")
            write_file(self.b + "/new", b"two")
            self.assertLess(time.monotonic() - start, ANSWER_SECONDS)
            for lock in (fcntl.flock, fcntl.lockf):
                self.assertFalse(try_lock(lock, other))
                lock(held, fcntl.LOCK_UN)
                self.assertTrue(try_lock(lock, other))
            self.assertEqual(os.pread(nameless.fileno(), 10, 0), b"kept")


class Daemon(TwoMounts):
    def test_efs_client_orphans_its_mounts_when_its_proxy_dies(self):
        mount = harness.Mount(self.server, self.ap)
        self.addCleanup(mount.unmount)
        write_file(mount.path + "/orphan", b"kept")
        os.kill(mount.pid, signal.SIGKILL)
        harness.wait_for(lambda: not harness.is_mounted(mount.path), ANSWER_SECONDS)
        self.assertEqual(os.listdir(mount.path), [])
        again = harness.Mount(self.server, self.ap, path=mount.path)
        self.assertEqual(read_file(again.path + "/orphan"), b"kept")


del TwoMounts

if __name__ == "__main__":
    unittest.main()
