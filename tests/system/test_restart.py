# SPDX-License-Identifier: Apache-2.0
"""P8, mounts outlive servers: calls wait while the server is away and then complete; waiting calls can be killed, and
unmounting always works."""
import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import unittest

import harness
from mountcase import TwoMounts, read_file, write_file


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_child(function, *arguments):
    child = multiprocessing.Process(target=function, args=arguments, daemon=True)
    child.start()
    return child


def hold_then_write(path, orders):
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    orders.send(0)
    orders.recv()
    try:
        os.write(fd, b"late")
        orders.send(0)
    except OSError as error:
        orders.send(error.errno)


class Restart(TwoMounts):
    def tearDown(self):
        if not self.server.running():
            self.server.restart()

    def away(self, function):
        """Runs function in a child while the server is away, then brings the server back; returns the exit code."""
        self.server.stop()
        child = in_child(function)
        child.join(0.5)
        self.assertTrue(child.is_alive(), "the call did not wait for the server")
        self.server.restart()
        child.join(20)
        return child.exitcode

    def umount(self, *arguments):
        return subprocess.run([harness.program("berth"), "umount", *arguments], timeout=10, capture_output=True, text=True)

    def test_calls_wait_and_complete(self):
        write_file(self.a + "/f", b"before")
        self.assertEqual(self.away(lambda: os._exit(read_file(self.a + "/f") != b"before")), 0)
        self.assertEqual(self.away(lambda: write_file(self.a + "/g", b"after")), 0)
        self.assertEqual(read_file(self.b + "/g"), b"after")

    def test_open_files_go_on(self):
        with open(self.a + "/f", "w+b", buffering=0) as held:
            held.write(b"one ")
            self.server.restart()
            held.write(b"two ")
            self.server.kill9()
            self.server.restart()
            held.write(b"three")
            self.assertEqual(os.pread(held.fileno(), 100, 0), b"one two three")
        self.assertEqual(read_file(self.b + "/f"), b"one two three")

    def test_unlinked_open_file_goes_on(self):
        with open(self.a + "/f", "w+b", buffering=0) as held:
            held.write(b"x" * 50_000)
            os.unlink(self.b + "/f")
            self.server.kill9()
            self.server.restart()
            self.assertEqual(os.pread(held.fileno(), 60_000, 0), b"x" * 50_000)
            held.write(b"y")
            self.assertEqual(os.fstat(held.fileno()).st_size, 50_001)

    def test_an_open_granted_to_a_group_goes_on(self):
        """The claim brings the supplementary groups that the open was granted to."""
        write_file(self.a + "/f", b"")
        os.chown(self.a + "/f", 0, 4321)
        os.chmod(self.a + "/f", 0o060)
        os.chmod(self.a, 0o755)
        ours, theirs = multiprocessing.Pipe()

        def member():
            os.setgroups([1111, 4321])
            os.setresgid(1234, 1234, 1234)
            os.setresuid(1234, 1234, 1234)
            hold_then_write(self.a + "/f", theirs)
        child = in_child(member)
        self.addCleanup(child.kill)
        self.assertEqual(ours.recv(), 0)
        self.server.kill9()
        self.server.restart()
        ours.send("write")
        self.assertEqual(ours.recv(), 0)
        self.assertEqual(read_file(self.b + "/f"), b"late")

    def test_held_lock_stays_held(self):
        write_file(self.a + "/f", b"")
        with open(self.a + "/f", "r+b") as held, open(self.b + "/f", "r+b") as other:
            fcntl.flock(held, fcntl.LOCK_EX)
            fcntl.lockf(held, fcntl.LOCK_EX, 10, 5)
            self.server.kill9()
            self.server.restart()
            os.stat(self.a + "/f")  # answered only when this client has claimed what it held
            with self.assertRaises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            with self.assertRaises(BlockingIOError):
                fcntl.lockf(other, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 9)
            fcntl.flock(held, fcntl.LOCK_UN)
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def test_lock_taken_by_another_meanwhile_is_eio(self):
        write_file(self.a + "/f", b"")
        ours, theirs = multiprocessing.Pipe()
        # In a process of its own: starting a server closes what it inherits, and a stopped daemon answers no close.
        holder = in_child(hold_then_write, self.a + "/f", theirs)
        self.addCleanup(holder.kill)
        self.assertEqual(ours.recv(), 0)
        with stopped(self.mount_a.pid):
            self.server.kill9()
            self.server.restart()
            with open(self.b + "/f", "r+b", buffering=0) as other:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.write(b"other")
                os.kill(self.mount_a.pid, signal.SIGCONT)
                ours.send("write")
                self.assertEqual(ours.recv(), errno.EIO)
        self.assertEqual(read_file(self.a + "/f"), b"other")

    def test_waiting_lock_is_granted_after_restart(self):
        write_file(self.a + "/f", b"")
        with open(self.a + "/f", "r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)

            def wait():
                with open(self.b + "/f", "r+b") as other:
                    fcntl.flock(other, fcntl.LOCK_EX)
            child = in_child(wait)
            child.join(0.3)
            # Who comes back first may take the lock: here it is the one who held it.
            with stopped(self.mount_b.pid):
                self.server.kill9()
                self.server.restart()
                os.stat(self.a + "/f")
            os.stat(self.b + "/f")
            child.join(0.3)
            self.assertTrue(child.is_alive(), "the lock was granted twice")
            fcntl.flock(held, fcntl.LOCK_UN)
            child.join(10)
            self.assertEqual(child.exitcode, 0)

    def test_listing_goes_on(self):
        names = {"n%d" % i for i in range(3000)}
        for name in names:
            write_file(os.path.join(self.a, name), b"")
        seen = []
        with os.scandir(self.b) as entries:
            for i, entry in enumerate(entries):
                seen.append(entry.name)
                if i == 10:
                    self.server.kill9()
                    self.server.restart()
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(set(seen), names)

    def test_waiting_call_can_be_killed(self):
        write_file(self.a + "/f", b"x")
        self.server.stop()
        child = in_child(lambda: read_file(self.a + "/f"))
        child.join(0.3)
        self.assertTrue(child.is_alive())
        child.kill()
        child.join(5)
        self.assertEqual(child.exitcode, -signal.SIGKILL)

    def test_interrupted_non_repeatable_call_is_never_half_done(self):
        self.server.stop()
        child = in_child(lambda: os.mkdir(self.a + "/d"))
        child.join(0.3)
        child.kill()
        child.join(5)
        self.assertEqual(child.exitcode, -signal.SIGKILL)
        self.server.restart()
        self.assertEqual(os.listdir(self.b), os.listdir(self.a))

    def test_unmount_works_while_the_server_is_away(self):
        mount = harness.Mount(self.server, self.ap)
        self.server.stop()
        result = self.umount(mount.path)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse(harness.is_mounted(mount.path))

    def test_forced_unmount_frees_waiting_calls(self):
        mount = harness.Mount(self.server, self.ap)
        write_file(mount.path + "/forced", b"x")
        self.server.stop()
        child = in_child(lambda: read_file(mount.path + "/forced"))
        child.join(0.3)
        self.assertTrue(child.is_alive())
        result = self.umount("-f", mount.path)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        child.join(5)
        self.assertFalse(child.is_alive())
        self.assertFalse(harness.is_mounted(mount.path))

    def test_soft_mount_times_out(self):
        mount = self.mount(self.ap, options="soft,timeo=1")
        self.server.stop()
        with self.assertRaises(TimeoutError):
            os.listdir(mount.path)
        self.server.restart()
        harness.wait_for(lambda: self.answers(mount.path), 10)

    def answers(self, path):
        try:
            os.listdir(path)
            return True
        except TimeoutError:
            return False

    def test_signals_leave_no_dead_mount(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            mount = harness.Mount(self.server, self.ap)
            os.kill(mount.pid, number)
            harness.wait_for(lambda: not harness.is_mounted(mount.path), 5)
            self.assertEqual(os.listdir(mount.path), [])


if __name__ == "__main__":
    unittest.main()
