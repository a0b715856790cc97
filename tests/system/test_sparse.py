# SPDX-License-Identifier: Apache-2.0
"""Sparse files and ranges: fallocate, holes, copies within the server, and files far past what one file of a host holds,
in step with the host's own file system where it can keep up."""
import ctypes
import errno
import os
import random
import shutil
import subprocess
import time
import unittest

import harness
from mountcase import TwoMounts, read_file, write_file

KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
PAGE = 4 * KIB
LAST = 2 ** 63 - 1

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, offset, n):
    if libc.fallocate(fd, mode, offset, n) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def data_pages(fd, size):
    """The pages of the file that hold data, as SEEK_DATA and SEEK_HOLE tell."""
    pages, at = set(), 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        hole = os.lseek(fd, data, os.SEEK_HOLE)
        assert at <= data < hole <= size, (at, data, hole, size)
        pages.update(range(data // PAGE, (hole + PAGE - 1) // PAGE))
        at = hole
    return pages


class Sparse(TwoMounts):
    def open(self, path, flags=os.O_RDWR | os.O_CREAT):
        fd = os.open(path, flags, 0o644)
        self.addCleanup(os.close, fd)
        return fd

    def assert_error(self, code, function, *arguments):
        self.assertEqual(error_of(function, *arguments), errno.errorcode[code])


class InStep(Sparse):
    """Random operations on two files of the mount and on two of the host."""
    SIZE = 300 * KIB

    def setUp(self):
        super().setUp()
        self.host = harness.new_directory("sparse-")
        self.addCleanup(shutil.rmtree, self.host)

    def place(self, r):
        return r.choice((r.randrange(self.SIZE), r.randrange(20 * KIB), r.randrange(self.SIZE // PAGE) * PAGE))

    def step(self, r, fds):
        """One operation on files of this side; what it answers."""
        kind, one = r.randrange(12), r.randrange(2)
        offset, n, fd = self.place(r), r.choice((r.randrange(1, 3 * PAGE), r.randrange(1, 100 * KIB))), fds[one]
        mode = r.choice((0, KEEP, ZERO, ZERO | KEEP, PUNCH | KEEP, PUNCH | KEEP, PUNCH, COLLAPSE, INSERT, UNSHARE | PUNCH))
        if kind < 4:
            return os.pwrite(fd, r.randbytes(n), offset)
        if kind < 8:
            return fallocate(fd, mode if mode & (KEEP | ZERO | PUNCH) or mode == 0 else PUNCH | UNSHARE, offset, n)
        if kind < 9:
            return os.ftruncate(fd, r.choice((0, offset, offset)))
        return os.copy_file_range(fd, fds[r.randrange(2)], n, offset, self.place(r))

    def compare(self, seed, ours, theirs, where):
        for fd, host in zip(ours, theirs):
            size = os.fstat(host).st_size
            self.assertEqual(os.fstat(fd).st_size, size, where)
            got, expected = os.pread(fd, size + 1, 0), os.pread(host, size + 1, 0)
            if got != expected:
                first = next(i for i in range(size) if got[i] != expected[i])
                self.fail("%s: byte %d is %d, not %d" % (where, first, got[first], expected[first]))
            full = {i for i in range((size + PAGE - 1) // PAGE) if expected[i * PAGE:(i + 1) * PAGE].strip(b"\0")}
            self.assertLessEqual(full, data_pages(fd, size), where)

    def test_random_operations(self):
        seed = int(os.environ.get("BERTH_TEST_SEED", time.time_ns() % 10 ** 6))
        r = random.Random(seed)
        ours = [[self.open(os.path.join(top, name)) for name in "fg"] for top in (self.a, self.b)]
        theirs = [self.open(os.path.join(self.host, name)) for name in "fg"]
        for step in range(600):
            state = r.getstate()
            expected = self.answer(r, theirs)
            after = r.getstate()
            r.setstate(state)
            os.fstat(ours[step % 2][0]), os.fstat(ours[step % 2][1])  # the kernel takes sizes from what it last heard
            where = "BERTH_TEST_SEED=%d step %d" % (seed, step)
            self.assertEqual(self.answer(r, ours[step % 2]), expected, where)
            r.setstate(after)
            if step % 5 == 0:
                self.compare(seed, ours[(step + 1) % 2], theirs, where)

    def answer(self, r, fds):
        try:
            return self.step(r, fds)
        except OSError as error:
            return errno.errorcode[error.errno]


class Ranges(Sparse):
    def test_holes_are_holes_and_give_their_blocks_back(self):
        fd = self.open(os.path.join(self.a, "f"))
        os.pwrite(fd, os.urandom(8 * MIB), 0)
        self.assertGreaterEqual(os.fstat(fd).st_blocks * 512, 8 * MIB)
        fallocate(fd, PUNCH | KEEP, 2 * MIB, 4 * MIB)
        self.assertEqual(os.fstat(fd).st_size, 8 * MIB)
        self.assertLess(os.fstat(fd).st_blocks * 512, 5 * MIB)
        self.assertEqual(os.lseek(fd, 3 * MIB, os.SEEK_DATA), 6 * MIB)
        self.assertEqual(os.lseek(fd, MIB, os.SEEK_HOLE), 2 * MIB)
        self.assertEqual(os.lseek(fd, 7 * MIB, os.SEEK_HOLE), 8 * MIB)
        fallocate(fd, PUNCH | KEEP, 0, 9 * MIB)
        self.assert_error(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
        self.assert_error(errno.ENXIO, os.lseek, fd, 8 * MIB, os.SEEK_HOLE)
        self.assertLess(os.fstat(fd).st_blocks * 512, 64 * KIB)
        self.assertEqual(os.pread(fd, 8 * MIB, 0), bytes(8 * MIB))

    def test_room_past_the_end_is_taken_and_kept(self):
        fd = self.open(os.path.join(self.a, "f"))
        fallocate(fd, KEEP, 0, 4 * MIB)
        self.assertEqual(os.fstat(fd).st_size, 0)
        self.assertGreaterEqual(os.stat(os.path.join(self.b, "f")).st_blocks * 512, 4 * MIB)
        os.pwrite(fd, b"x" * 100, 0)
        self.assertGreaterEqual(os.fstat(fd).st_blocks * 512, 4 * MIB)
        fallocate(fd, 0, 0, 2 * MIB)
        self.assertEqual(os.pread(fd, 3 * MIB, 0), b"x" * 100 + bytes(2 * MIB - 100))
        os.ftruncate(fd, 0)
        self.assertEqual(os.fstat(fd).st_blocks, 0)
        fallocate(fd, KEEP, LAST - 10, 10)
        self.assertEqual(os.fstat(fd).st_size, 0)

    def test_more_than_the_disk_holds(self):
        fd = self.open(os.path.join(self.a, "f"))
        os.pwrite(fd, b"kept", 0)
        started = time.monotonic()
        for mode in (0, KEEP, ZERO):
            self.assert_error(errno.ENOSPC, fallocate, fd, mode, 0, 1 << 49)
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(os.fstat(fd).st_size, 4)
        self.assertLess(os.fstat(fd).st_blocks * 512, 64 * KIB)

    def test_wrong_files_and_modes(self):
        fd = self.open(os.path.join(self.a, "f"))
        reader = self.open(os.path.join(self.a, "f"), os.O_RDONLY)
        directory = self.open(self.a, os.O_RDONLY)
        appender = self.open(os.path.join(self.a, "f"), os.O_WRONLY | os.O_APPEND)
        for mode in (COLLAPSE, INSERT, UNSHARE, PUNCH, PUNCH | ZERO | KEEP):
            self.assert_error(errno.EOPNOTSUPP, fallocate, fd, mode, 0, PAGE)
        self.assert_error(errno.EINVAL, fallocate, fd, 0, 0, 0)
        self.assert_error(errno.EBADF, fallocate, reader, 0, 0, 1)
        self.assert_error(errno.EFBIG, fallocate, fd, 0, LAST, 1)
        os.pwrite(fd, bytes(100), 0)
        self.assert_error(errno.EBADF, os.copy_file_range, fd, reader, 1, 0, 0)
        self.assert_error(errno.EBADF, os.copy_file_range, fd, appender, 1, 0)
        self.assert_error(errno.EISDIR, os.copy_file_range, directory, fd, 1, 0, 0)
        self.assert_error(errno.EINVAL, os.copy_file_range, fd, fd, 10, 0, 9)

    def test_copies_stay_in_the_server(self):
        os.mkdir(os.path.join(self.a, "d"))
        content = os.urandom(100 * MIB)
        write_file(os.path.join(self.a, "f"), content)
        source, copy = self.open(os.path.join(self.a, "f"), os.O_RDONLY), self.open(os.path.join(self.a, "d/g"))
        read_before = self.bytes_moved()
        done = 0
        while done < len(content):
            n = os.copy_file_range(source, copy, len(content) - done)
            self.assertTrue(0 < n <= 64 * MIB)
            done += n
        self.assertLess(self.bytes_moved() - read_before, MIB)
        self.assertEqual(read_file(os.path.join(self.b, "d/g")), content)

    def bytes_moved(self):
        """By the mount's daemon: all that comes from or goes to the server passes through it."""
        with open("/proc/%d/io" % self.mount_a.pid) as f:
            values = dict(line.split(": ") for line in f)
        return int(values["rchar"]) + int(values["wchar"])

    def test_cp(self):
        source = os.path.join(self.a, "f")
        fd = self.open(source)
        for at in (0, 3 * MIB + 5, 40 * MIB):
            os.pwrite(fd, os.urandom(200 * KIB), at)
        os.ftruncate(fd, 64 * MIB)
        for option in ("--sparse=always", "--reflink=auto", "--sparse=auto"):
            copy = os.path.join(self.a, "copy" + option)
            subprocess.run(["cp", option, source, copy], check=True, timeout=30)
            self.assertEqual(read_file(os.path.join(self.b, "copy" + option)), read_file(source))
            self.assertLess(os.stat(copy).st_blocks * 512, 4 * MIB, option)


class Far(Sparse):
    OFFSETS = (TIB - 3, TIB, 16 * TIB - 1, 2 ** 62, LAST - 5)

    def test_bytes_at_any_offset(self):
        for i, at in enumerate(self.OFFSETS):
            path = os.path.join(self.a, "f%d" % i)
            fd = self.open(path)
            self.assertEqual(os.pwrite(fd, b"12345", at), 5)
            self.assertEqual(os.fstat(fd).st_size, at + 5)
            self.assertLess(os.fstat(fd).st_blocks, 64)
            other = self.open(os.path.join(self.b, "f%d" % i))
            self.assertEqual(os.pread(other, 8, at - 3), bytes(3) + b"12345")
            self.assertTrue(at - PAGE < os.lseek(other, 0, os.SEEK_DATA) <= at)
            os.ftruncate(other, at + 2)
            os.ftruncate(other, at + 5)
            self.assertEqual(os.pread(fd, 5, at), b"12\0\0\0")
            fallocate(fd, PUNCH | KEEP, at + 1, 4)
            self.assertEqual(os.pread(other, 5, at), b"1\0\0\0\0")
            near = os.copy_file_range(fd, other, 5, at, 0)
            self.assertEqual((near, os.pread(fd, 5, 0)), (5, b"1\0\0\0\0"))
            os.ftruncate(fd, 10)
            self.assertEqual(os.pread(fd, 100, 0), b"1" + bytes(9))

    def test_the_last_byte(self):
        fd = self.open(os.path.join(self.a, "f"))
        self.assertEqual(os.pwrite(fd, b"x", LAST - 1), 1)
        self.assertEqual(os.fstat(fd).st_size, LAST)
        self.assert_error(errno.EFBIG, fallocate, fd, 0, LAST, 1)
        self.assert_error(errno.EFBIG, os.copy_file_range, fd, self.open(os.path.join(self.a, "g")), 1, LAST - 1, LAST)
        self.assertEqual(os.pread(fd, 1, LAST - 1), b"x")

    def test_far_costs_what_near_costs(self):
        def seconds(at):
            fd = self.open(os.path.join(self.a, "at%d" % at))
            times = []
            for i in range(200):
                started = time.perf_counter()
                os.pwrite(fd, b"x" * 100, at + i * 100)
                times.append(time.perf_counter() - started)
            return sorted(times)[len(times) // 4]
        near = min(seconds(20 * KIB), seconds(40 * KIB))
        self.assertLess(seconds(2 ** 62), 5 * near + 0.001)

    def test_disk_gets_its_room_back(self):
        path = os.path.join(self.a, "f")
        fd = self.open(path)
        for k in range(8):
            os.pwrite(fd, os.urandom(MIB), k * TIB)
        self.assertGreaterEqual(os.fstat(fd).st_blocks * 512, 8 * MIB)
        fallocate(fd, PUNCH | KEEP, TIB, 3 * TIB)
        self.assertLess(os.fstat(fd).st_blocks * 512, 6 * MIB)
        os.ftruncate(fd, TIB + 5)
        self.assertLess(os.fstat(fd).st_blocks * 512, 2 * MIB)
        os.ftruncate(fd, 0)
        self.assertEqual(os.fstat(fd).st_blocks, 0)


class Restarted(unittest.TestCase):
    """What was synced is there after a clean stop and after a kill."""

    def setUp(self):
        harness.require_root()
        harness.require_fuse()
        self.server = harness.Server()
        self.addCleanup(self.server.stop)
        self.mount = harness.Mount(self.server, self.server.ap_create(self.server.fs_create()))
        self.addCleanup(self.mount.unmount)

    def make(self, fd, content):
        os.pwrite(fd, content, 0)
        fallocate(fd, PUNCH | KEEP, MIB, MIB)
        for at in Far.OFFSETS:
            os.pwrite(fd, b"far", at)
        os.copy_file_range(fd, fd, MIB, 0, 3 * TIB - 1000)
        os.fsync(fd)

    def check(self, fd, content):
        self.assertEqual(os.fstat(fd).st_size, LAST - 2)
        self.assertEqual(os.pread(fd, len(content), 0), content[:MIB] + bytes(MIB) + content[2 * MIB:])
        self.assertEqual(os.pread(fd, MIB, 3 * TIB - 1000), content[:MIB])
        for at in Far.OFFSETS:
            self.assertEqual(os.pread(fd, 3, at), b"far")
        self.assertEqual(os.lseek(fd, MIB + 5, os.SEEK_DATA), 2 * MIB)

    def test_restart_and_kill(self):
        content = os.urandom(3 * MIB)
        fd = os.open(os.path.join(self.mount.path, "f"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self.make(fd, content)
            self.server.restart()
            self.check(fd, content)
            self.server.kill9()
            self.server.start()
            self.check(fd, content)
        finally:
            os.close(fd)


if __name__ == "__main__":
    unittest.main()
