# SPDX-License-Identifier: Apache-2.0
"""P6 through mounts: a client that is stopped for longer than its lease loses what another asks for, and nothing else; what
it does through what it lost is refused, and newly opened files work."""
import contextlib
import errno
import fcntl
import os
import signal
import time
import unittest

import harness
from mountcase import TwoMounts, read_file
from test_restart import stopped

LEASE_SECONDS = 2


class Fencing(TwoMounts):
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    def open_both(self):
        """The same file through both mounts: (a, b)."""
        a = os.open(self.a + "/f", os.O_RDWR | os.O_CREAT)
        b = os.open(self.b + "/f", os.O_RDWR)
        self.addCleanup(os.close, a)
        self.addCleanup(os.close, b)
        return a, b

    def locked_within(self, fd, seconds):
        """Polls for the lock; how long that took."""
        start = time.monotonic()

        def try_lock():
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
        harness.wait_for(try_lock, seconds)
        return time.monotonic() - start

    def test_frozen_client_does_not_write_after_its_lock_was_given_away(self):
        a, b = self.open_both()
        fcntl.flock(a, fcntl.LOCK_EX)
        with stopped(self.mount_a.pid):
            self.locked_within(b, LEASE_SECONDS + 3)
            os.write(b, b"new")
        with self.assertRaises(OSError) as caught:
            os.write(a, b"late")
        self.assertEqual(caught.exception.errno, errno.EIO)
        with self.assertRaises(OSError) as caught:
            os.read(a, 10)
        self.assertEqual(caught.exception.errno, errno.EIO)
        self.assertEqual(read_file(self.b + "/f"), b"new")
        # Newly opened it works, and sees the lock.
        again = os.open(self.a + "/f", os.O_RDWR)
        self.addCleanup(os.close, again)
        self.assertEqual(os.read(again, 10), b"new")
        with self.assertRaises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(b, fcntl.LOCK_UN)
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_frozen_client_keeps_what_nobody_asked_for(self):
        a, b = self.open_both()
        fcntl.flock(a, fcntl.LOCK_EX)
        os.unlink(self.a + "/f")
        expired = self.server.log().count(" expire ")
        with stopped(self.mount_a.pid):
            harness.wait_for(lambda: self.server.log().count(" expire ") > expired, LEASE_SECONDS + 3)
        os.write(a, b"in time")
        os.lseek(a, 0, os.SEEK_SET)
        self.assertEqual(os.read(a, 10), b"in time")
        with self.assertRaises(BlockingIOError):
            fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_dead_clients_shared_lock_is_freed(self):
        mount = harness.Mount(self.server, self.ap)
        self.addCleanup(mount.unmount)
        path = os.path.join(mount.path, os.path.basename(self.a), "f")
        a, b = self.open_both()
        held = os.open(path, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_SH)
        os.kill(mount.pid, signal.SIGKILL)
        self.assertLess(self.locked_within(b, LEASE_SECONDS + 3), LEASE_SECONDS + 2)
        with contextlib.suppress(OSError):  # its mount is dead
            os.close(held)

    def test_waiter_is_woken_when_the_frozen_holder_expires(self):
        a, b = self.open_both()
        fcntl.flock(a, fcntl.LOCK_EX)
        with stopped(self.mount_a.pid):
            signal.alarm(LEASE_SECONDS + 10)
            self.addCleanup(signal.alarm, 0)
            fcntl.flock(b, fcntl.LOCK_EX)
        os.write(b, b"mine")


del TwoMounts

if __name__ == "__main__":
    unittest.main()
