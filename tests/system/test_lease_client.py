# SPDX-License-Identifier: Apache-2.0
"""Leases, by docs/PROTOCOL.md: what a mount owes to its server, tried with a server that does what is rare: restarts, loses
frames and holds answers back at the moments that matter.
"""
import os
import subprocess
import sys
import threading
import unittest

import harness
import raw_client as raw
from raw_client import u64
from stub_server import READ_BODY, SIZE, SLOTS, WRITE_BODY, Stub

PAGE = 4096
X, Y = 2, 3
# In a process of its own: the fault would wait for the server with Python's lock held.
STORE = """
import mmap, sys
with open(sys.argv[1], "r+b") as f, mmap.mmap(f.fileno(), %d) as pages:
    pages[0] = 99
    print("stored", flush=True)
    sys.stdin.read()
""" % PAGE
FAR = SIZE // 2  # past what is read ahead


def is_number(number):
    return lambda heard: heard.body == u64(number)


class LeaseCase(unittest.TestCase):
    LEASE_MS = 60000

    def setUp(self):
        harness.require_root()
        harness.require_fuse()
        self.server = Stub("x", "y", lease_ms=self.LEASE_MS)
        self.addCleanup(self.server.close)
        self.mount = harness.Mount(self.server, "fsap-" + "0" * 17)
        self.addCleanup(self.mount.unmount)
        self.fuse = "/sys/fs/fuse/connections/%d" % os.minor(os.stat(self.mount.path).st_dev)
        self.x, self.y = os.path.join(self.mount.path, "x"), os.path.join(self.mount.path, "y")

    def open(self, path, flags=os.O_RDONLY):
        fd = os.open(path, flags)
        self.addCleanup(os.close, fd)
        return fd

    def start(self, function, *arguments):
        """In a thread that has ended when the test has."""
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.let_go)

    def let_go(self):
        with self.server.lock:
            self.server.hold = set()
        self.server.release()

    def read_held(self, fd, offset):
        """A read of a page that the server does not answer."""
        mark = self.server.mark()
        self.server.hold = {"read"}
        self.start(os.pread, fd, 1, offset)
        self.assertIsNotNone(self.server.wait_heard("read", lambda read: READ_BODY.unpack_from(read.body)[1] <= offset, mark))


class LeaseClient(LeaseCase):
    def test_a_number_of_before_a_restart_says_nothing_of_one_after_it(self):
        fd = self.open(self.x)
        os.pread(fd, 1, 0)
        os.stat(self.y)
        self.read_held(fd, FAR)
        self.server.invalidate(1, X, raw.DROP_DATA)  # waits for that read
        mark = self.server.mark()
        self.server.restart()
        self.assertIsNotNone(self.server.wait_heard("reclaimed", since=mark))
        self.assertIsNotNone(self.server.wait_heard("read", since=mark))
        self.server.mode = 0o600
        self.server.invalidate(1, Y, raw.DROP_ATTR)
        self.assertIsNotNone(self.server.wait_heard("dropped", is_number(1), mark))
        self.assertEqual(os.stat(self.y).st_mode & 0o777, 0o600)

    def test_what_is_cleared_is_told_again_when_it_was_lost(self):
        self.server.generation, self.server.resumed = 2, 1
        self.server.cut()
        self.assertIsNotNone(self.server.wait_heard("cleared", is_number(2)))
        mark = self.server.mark()
        self.server.cut()
        self.assertIsNotNone(self.server.wait_heard("cleared", is_number(2), mark))
        fd = self.open(self.x)
        os.pread(fd, 1, 0)
        mark = self.server.mark()
        os.pread(fd, 1, 0)
        self.assertEqual([heard.op for heard in self.server.heard[mark:]], [])  # it keeps again

    def waiting(self):
        """Requests that the kernel waits for."""
        with open(os.path.join(self.fuse, "waiting")) as f:
            return int(f.read())

    def fill_slots(self):
        """With writes that are not answered, and some more."""
        fds = [self.open(self.y, os.O_WRONLY) for _ in range(SLOTS + 8)]
        self.server.hold = {"write"}
        for fd in fds:
            self.start(os.pwrite, fd, b"b", 0)
        harness.wait_for(lambda: self.waiting() >= len(fds), 10)

    def test_bytes_are_dropped_though_every_slot_waits_for_others(self):
        fd = self.open(self.x)
        os.pread(fd, 1, 0)
        self.fill_slots()
        self.start(os.pread, fd, 1, FAR)
        harness.wait_for(lambda: self.waiting() > SLOTS + 8, 10)
        self.server.invalidate(1, X, raw.DROP_DATA)
        self.assertIsNotNone(self.server.wait_heard("dropped", is_number(1)))

    def test_pages_are_written_back_though_every_slot_waits_for_others(self):
        with subprocess.Popen([sys.executable, "-c", STORE, self.x], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as store:
            self.assertEqual(store.stdout.readline(), b"stored\n")
            mark = self.server.mark()
            self.fill_slots()
            self.server.invalidate(1, X, raw.DROP_DATA)
            written = self.server.wait_heard("write", lambda write: WRITE_BODY.unpack_from(write.body)[2] == 1, mark)
            self.let_go()
            store.stdin.close()
        self.assertIsNotNone(written)


class Opens(LeaseCase):
    """What is kept of opens: small files that come with them, and the opens themselves."""

    def setUp(self):
        super().setUp()
        self.server.open_lease = raw.LEASE_DATA | raw.LEASE_OPEN
        self.server.size = PAGE

    def read_x(self):
        with open(self.x, "rb", buffering=0) as f:
            return f.read(1)

    def ops(self, since):
        return [heard.op for heard in self.server.heard[since:]]

    def keep_x(self):
        """Reads it; then its open is kept. Its id."""
        self.read_x()
        mark = self.server.mark()
        self.read_x()
        self.assertNotIn("open", self.ops(mark))
        return max(self.server.opens)

    def test_who_has_let_go_says_so_before_it_answers(self):
        kept = self.keep_x()
        mark = self.server.mark()
        self.server.invalidate(1, X, raw.DROP_ATTR)
        self.assertIsNotNone(self.server.wait_heard("dropped", is_number(1), mark))
        self.assertEqual(self.ops(mark)[:2], ["closed", "dropped"])
        self.assertEqual(self.server.heard[mark].body, raw.blob(u64(kept)))
        self.read_x()
        self.assertIn("open", self.ops(mark))

    def test_what_may_have_been_lost_with_the_connection_is_said_again(self):
        kept = self.keep_x()
        self.server.invalidate(1, X, raw.DROP_ATTR)
        self.assertIsNotNone(self.server.wait_heard("closed"))
        for again in (True, False):
            mark = self.server.mark()
            self.server.resumed = 1
            self.server.cut()
            self.assertIsNotNone(self.server.wait_heard("hello", since=mark))
            os.statvfs(self.mount.path)
            self.assertEqual([heard.body for heard in self.server.heard[mark:] if heard.op == "closed"],
                             [raw.blob(u64(kept))] if again else [])
            os.statvfs(self.mount.path)

    def test_a_server_that_has_restarted_is_not_told(self):
        self.keep_x()
        mark = self.server.mark()
        self.server.restart()
        self.assertIsNotNone(self.server.wait_heard("reclaimed", since=mark))
        self.read_x()
        self.assertEqual([op for op in self.ops(mark) if op in ("reopen", "closed", "release")], [])
        self.assertIn("open", self.ops(mark))

    def test_an_open_that_is_given_without_attributes_is_released(self):
        self.server.open_attr = 0
        self.read_x()
        self.assertIsNotNone(self.server.wait_heard("release"))

    def test_bytes_of_an_open_that_was_answered_before_a_drop_are_not_used(self):
        os.stat(self.x)
        self.server.first, self.server.hold = b"o" * PAGE, {"open"}
        mark = self.server.mark()
        seen = []
        self.start(lambda: seen.append(self.read_x()))
        self.assertIsNotNone(self.server.wait_heard("open", since=mark))
        self.server.invalidate(1, X, raw.DROP_DATA | raw.DROP_ATTR)
        self.assertIsNotNone(self.server.wait_heard("dropped", is_number(1), mark))
        self.let_go()
        harness.wait_for(lambda: seen, 10)
        self.assertEqual(seen, [b"a"])

    def test_bytes_are_used_once_and_the_file_is_marked(self):
        self.server.first, self.server.open_lease = b"o" * PAGE, raw.LEASE_OPEN
        mark = self.server.mark()
        with open(self.x, "rb", buffering=0) as f:
            self.assertNotIn("accessed", self.ops(mark))
            self.assertEqual(f.read(1), b"o")
            told = self.server.wait_heard("accessed", since=mark)
            self.assertEqual(told.body, u64(max(self.server.opens)))
            self.assertNotIn("read", self.ops(mark))
            self.server.invalidate(1, X, raw.DROP_DATA)
            self.assertIsNotNone(self.server.wait_heard("dropped", is_number(1), mark))
            self.assertEqual(os.pread(f.fileno(), 1, 0), b"a")
        self.assertEqual(self.ops(mark).count("accessed"), 1)

    def test_bytes_go_when_they_are_dropped_before_they_are_read(self):
        self.server.first = b"o" * PAGE
        for what in (raw.DROP_DATA, raw.DROP_TREE):
            with open(self.x, "rb", buffering=0) as f:
                mark = self.server.mark()
                self.server.invalidate(what, X, what)
                self.assertIsNotNone(self.server.wait_heard("dropped", is_number(what), mark))
                self.assertEqual(f.read(1), b"a")


del LeaseCase
