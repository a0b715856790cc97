# SPDX-License-Identifier: Apache-2.0
"""What the mount's daemon answers from what it keeps, without asking the server: counted by a proxy on the way, and compared
with what the other mount shows. That what it keeps is never old is shown by the litmuses (test_coherence.py) and their twins."""
import ctypes
import os
import time
import unittest

from coherencecase import ThroughProxy
from mountcase import read_file, write_file

LOOKUP, GETATTR = 16, 17
AT_FDCWD, AT_STATX_FORCE_SYNC, STATX_ALL = -100, 0x2000, 0xfff
LEASE_S = 5


def force_sync(path):
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).statx(AT_FDCWD, os.fsencode(path), AT_STATX_FORCE_SYNC, STATX_ALL, buffer) < 0:
        raise OSError(ctypes.get_errno(), path)


class Kept(ThroughProxy):
    def asked(self, *calls):
        return self.proxy.calls_of(*(calls or (LOOKUP, GETATTR)))

    def same(self, name):
        """The attributes of self.b/name, which the other mount shows too."""
        here, there = os.stat(self.b + name), os.stat(self.a + name)
        for field in ("st_mode", "st_nlink", "st_uid", "st_size", "st_blocks", "st_mtime_ns", "st_ctime_ns", "st_ino"):
            self.assertEqual(getattr(here, field), getattr(there, field), field)
        return here


class Attributes(Kept):
    def test_after_own_writes(self):
        write_file(self.b + "/f", b"x" * 100)
        before = self.asked(GETATTR)
        for n in range(1, 20):
            with open(self.b + "/f", "ab", buffering=0) as f:
                f.write(b"y")
                self.assertEqual(os.fstat(f.fileno()).st_size, 100 + n)
            self.assertEqual(self.same("/f").st_size, 100 + n)
        self.assertEqual(self.asked(GETATTR), before)

    def test_after_own_other_changes(self):
        write_file(self.b + "/f", b"x" * 100)
        os.stat(self.b + "/f")
        before = self.asked(GETATTR)
        os.truncate(self.b + "/f", 50)
        self.assertEqual(self.same("/f").st_size, 50)
        os.chmod(self.b + "/f", 0o600)
        self.assertEqual(self.same("/f").st_mode & 0o777, 0o600)
        fd = os.open(self.b + "/f", os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.posix_fallocate(fd, 0, 4096)
        self.assertEqual(self.same("/f").st_size, 4096)
        os.link(self.b + "/f", self.b + "/g")
        self.assertEqual(self.same("/f").st_nlink, 2)
        self.assertEqual(self.asked(GETATTR), before)

    def test_what_own_changes_of_names_do_to_files(self):
        """Calls that do not say which inodes' attributes they change."""
        write_file(self.b + "/f", b"x")
        for name in "ghijk":
            os.link(self.b + "/f", self.b + "/" + name)
        write_file(self.b + "/other", b"y")
        os.link(self.b + "/other", self.b + "/another")
        fd, other = os.open(self.b + "/f", os.O_RDWR), os.open(self.b + "/other", os.O_RDWR)
        self.addCleanup(os.close, fd)
        self.addCleanup(os.close, other)
        self.assertEqual(self.same("/f").st_nlink, 6)
        os.unlink(self.b + "/k")
        self.assertEqual((self.same("/f").st_nlink, os.fstat(fd).st_nlink), (5, 5))
        os.rename(self.b + "/f", self.b + "/g")  # two names of one inode
        self.assertEqual((self.same("/f").st_nlink, os.fstat(fd).st_nlink), (5, 5))
        os.rename(self.b + "/other", self.b + "/j")
        self.assertEqual((self.same("/f").st_nlink, os.fstat(fd).st_nlink), (4, 4))
        self.assertEqual(self.same("/j").st_ctime_ns, os.fstat(other).st_ctime_ns)
        os.rename(self.a + "/j", self.a + "/i")
        self.assertEqual((self.same("/f").st_nlink, os.fstat(fd).st_nlink), (3, 3))
        for name in "fgh":
            os.unlink((self.a if name == "g" else self.b) + "/" + name)
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        os.ftruncate(fd, 10)
        self.assertEqual(os.fstat(fd).st_size, 10)

    def test_directories_after_own_changes(self):
        """Whose attributes the kernel wants for each name that it is asked to look up."""
        for path in (self.b, self.b + "/d"):
            os.makedirs(path, exist_ok=True)
        before = self.asked(GETATTR)
        acts = [lambda: write_file(self.b + "/f", b"x"), lambda: os.mkdir(self.b + "/e"),
                lambda: os.link(self.b + "/f", self.b + "/g"), lambda: os.symlink("f", self.b + "/s"),
                lambda: os.rename(self.b + "/f", self.b + "/h"), lambda: os.rename(self.b + "/h", self.b + "/d/h"),
                lambda: os.rename(self.b + "/e", self.b + "/d/e"), lambda: os.unlink(self.b + "/g"),
                lambda: os.rmdir(self.b + "/d/e")]
        for act in acts:
            act()
            self.same("")
            self.same("/d")
        self.assertEqual(self.asked(GETATTR), before)

    def test_after_own_reads(self):
        write_file(self.a + "/f", b"x" * 100)
        fd = os.open(self.b + "/f", os.O_RDWR)  # past the kernel's pages
        self.addCleanup(os.close, fd)
        os.pread(fd, 10, 0)  # marks the access time
        marked = os.fstat(fd).st_atime_ns
        self.assertGreater(marked, os.fstat(fd).st_mtime_ns)
        before = self.asked(GETATTR)
        for _ in range(20):
            os.pread(fd, 10, 0)
            self.assertEqual(os.fstat(fd).st_atime_ns, marked)
        self.assertEqual(self.asked(GETATTR), before)
        os.pwrite(fd, b"y", 0)
        os.fstat(fd)
        os.pread(fd, 10, 0)
        self.assertGreater(os.fstat(fd).st_atime_ns, marked)

    def test_force_sync_asks(self):
        write_file(self.a + "/f", b"x" * 100)
        os.stat(self.b + "/f")
        before = self.asked(GETATTR)
        force_sync(self.b + "/f")
        force_sync(self.b + "/f")
        self.assertEqual(self.asked(GETATTR), before + 2)

    def test_without_leases_every_look_asks(self):
        mount = self.mount_through_proxy(options="nolease")
        path = os.path.join(mount.path, os.path.basename(self.a), "f")
        write_file(path, b"x" * 100)
        self.assertEqual(read_file(path), b"x" * 100)
        before = self.asked()
        for _ in range(20):
            os.stat(path)
        self.assertGreaterEqual(self.asked(), before + 20)


class AfterTimeouts(Kept):
    SERVER_ARGS = ("--lease", str(LEASE_S))

    def test_after_the_kernel_has_forgotten_them(self):
        """Looked at all the time, for longer than anything may be kept without a renewal."""
        write_file(self.b + "/f", b"x" * 100)
        fd = os.open(self.b + "/f", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        os.fstat(fd)
        before, until = self.asked(GETATTR), time.monotonic() + 1.3 * LEASE_S
        while time.monotonic() < until:
            self.assertEqual(os.fstat(fd).st_size, 100)
        self.assertEqual(self.asked(GETATTR), before)
        os.truncate(self.a + "/f", 7)
        self.assertEqual(os.fstat(fd).st_size, 7)


del Kept, ThroughProxy

if __name__ == "__main__":
    unittest.main()
