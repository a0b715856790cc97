# SPDX-License-Identifier: Apache-2.0
"""What the mount's daemon answers from what it keeps, without asking the server: counted by a proxy on the way, and compared
with what the other mount shows. That what it keeps is never old is shown by the litmuses (test_coherence.py) and their twins."""
import ctypes
import os
import time
import unittest

from coherencecase import ThroughProxy
from mountcase import read_file, write_file

LOOKUP, GETATTR, FORGET = 16, 17, 44
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

    def test_after_own_writes_to_a_large_file(self):
        """Whose blocks are not counted with every write."""
        for size in (1, 1000, 100_000, 200_000, 3_000_000):
            with open(self.b + "/f", "ab") as f:
                f.write(b"x" * size)
            self.same("/f")
            with open(self.b + "/f", "r+b") as f:
                f.write(b"y")
            self.same("/f")

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


class Forgotten(Kept):
    def test_many_are_told_of_together(self):
        for i in range(300):
            write_file(self.b + "/%d" % i, b"")
        before = self.asked(FORGET)
        began = time.monotonic()
        for i in range(300):
            os.unlink(self.b + "/%d" % i)
        # One for 64, and one each time that the oldest has waited for long.
        self.assertLessEqual(self.asked(FORGET) - before, 300 / 64 + (time.monotonic() - began) / 0.1 + 1)


class Names(Kept):
    """Directories of which the daemon knows all names."""

    def asked(self, *_):
        return self.proxy.calls_of(LOOKUP)

    def work_in(self, directory):
        """Names made, moved and removed: none that is not there is asked for, only what is to be replaced, since the kernel makes
        sure of that."""
        before = self.asked()
        for i in range(30):
            path = os.path.join(directory, str(i))
            self.assertFalse(os.path.lexists(path))
            self.assertFalse(os.path.lexists(path + "absent"))
            write_file(path, b"x")
            os.rename(path, path + "moved")
            self.assertFalse(os.path.lexists(path + "never"))
            self.assertFalse(os.path.lexists(path))
            write_file(path, b"y")
            os.rename(path, path + "moved")  # which is there
            os.unlink(path + "moved")
            self.assertFalse(os.path.lexists(path + "moved"))
        self.assertEqual(self.asked(), before + 30)

    def test_of_a_directory_made_here(self):
        os.mkdir(self.b + "/d")
        self.work_in(self.b + "/d")
        os.mkdir(self.b + "/d/e")
        self.work_in(self.b + "/d/e")

    def test_of_a_directory_listed_here(self):
        for i in range(3000):
            write_file(self.a + "/f%d" % i, b"")
        self.assertEqual(len(os.listdir(self.b)), 3000)
        self.work_in(self.b)
        for i in range(0, 3000, 100):
            self.assertTrue(os.path.exists(self.b + "/f%d" % i))

    def test_of_a_directory_that_is_not_known_they_are_asked_for(self):
        os.mkdir(self.a + "/d")
        os.stat(self.b + "/d")
        before = self.asked()
        for i in range(10):
            self.assertFalse(os.path.exists(self.b + "/d/%d" % i))
        self.assertEqual(self.asked(), before + 10)

    def test_without_leases_every_look_asks(self):
        mount = self.mount_through_proxy(options="nolease")
        directory = os.path.join(mount.path, os.path.basename(self.a), "d")
        os.mkdir(directory)
        self.assertEqual(os.listdir(directory), [])
        before = self.asked()
        for i in range(10):
            self.assertFalse(os.path.exists(directory + "/%d" % i))
        self.assertGreaterEqual(self.asked(), before + 10)

    def whole(self, name):
        """A directory of both mounts that this one has made."""
        os.mkdir(os.path.join(self.b, name))
        write_file(os.path.join(self.b, name, "f"), b"x")
        return os.path.join(self.a, name), os.path.join(self.b, name)

    def test_what_another_makes_and_removes(self):
        there, here = self.whole("d")
        acts = [lambda: write_file(there + "/g", b""), lambda: os.unlink(there + "/f"), lambda: os.mkdir(there + "/f"),
                lambda: os.rename(there + "/g", there + "/h"), lambda: os.link(there + "/h", there + "/g"),
                lambda: os.rename(there + "/g", there + "/f/g"), lambda: os.rename(there + "/f/g", there + "/i"),
                lambda: os.symlink("x", there + "/s"), lambda: os.rmdir(there + "/f"),
                lambda: os.rename(there + "/s", there + "/f")]
        for act in acts:
            act()
            for name in "fghis":
                self.assertEqual(os.path.lexists(os.path.join(here, name)), os.path.lexists(os.path.join(there, name)), name)

    def test_what_both_do_by_turns(self):
        there, here = self.whole("d")
        for i in range(40):
            one, other = (there, here) if i % 2 else (here, there)
            write_file(one + "/x", b"")
            self.assertTrue(os.path.exists(other + "/x"))
            os.rename(other + "/x", other + "/y%d" % i)
            self.assertFalse(os.path.exists(one + "/x"))
            self.assertTrue(os.path.exists(one + "/y%d" % i))
            os.unlink(one + "/y%d" % i)
            self.assertFalse(os.path.exists(other + "/y%d" % i))

    def test_own_calls_that_change_less_than_they_say(self):
        _, here = self.whole("d")
        os.link(here + "/f", here + "/g")
        os.rename(here + "/f", here + "/g")  # two names of one inode stay
        self.assertEqual(sorted(os.listdir(here)), ["f", "g"])
        self.assertTrue(os.path.exists(here + "/f"))
        write_file(here + "/h", b"")
        os.rename(here + "/f", here + "/h")  # which was there
        os.unlink(here + "/h")
        self.assertEqual([os.path.exists(os.path.join(here, name)) for name in "fgh"], [False, True, False])
        write_file(here + "/w", b"")
        libc = ctypes.CDLL(None, use_errno=True)
        for flags, left in ((2, ["g", "w"]), (4, ["g", "w", "x"])):  # exchange, whiteout
            new = "g" if flags == 2 else "x"
            paths = [os.fsencode(os.path.join(here, name)) for name in ("w", new)]
            self.assertEqual(libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags), 0)
            self.assertEqual([name for name in "fghwx" if os.path.lexists(os.path.join(here, name))], left)
        for refused in (lambda: os.mkdir(here + "/g"), lambda: os.rename(here + "/none", here + "/z"),
                        lambda: os.link(here, here + "/z"), lambda: os.unlink(here + "/none")):
            self.assertRaises(OSError, refused)
        self.assertFalse(os.path.exists(here + "/z"))

    def test_a_directory_that_is_replaced_or_moved(self):
        _, here = self.whole("d")
        os.mkdir(self.b + "/empty")
        self.assertFalse(os.path.exists(self.b + "/empty/f"))
        os.rename(here, self.b + "/empty")
        self.assertTrue(os.path.exists(self.b + "/empty/f"))
        self.assertFalse(os.path.exists(here + "/f"))
        os.mkdir(here)
        self.assertFalse(os.path.exists(here + "/f"))
        os.rename(self.a + "/empty", self.a + "/d")
        self.assertTrue(os.path.exists(here + "/f"))

    def test_over_a_restart_of_the_server(self):
        there, here = self.whole("d")
        self.server.kill9()
        self.server.start()
        write_file(there + "/g", b"")
        self.assertFalse(os.path.exists(here + "/another"))  # a name is kept again
        self.assertTrue(os.path.exists(here + "/g"))
        self.assertFalse(os.path.exists(here + "/h"))
        write_file(there + "/h", b"")
        self.assertTrue(os.path.exists(here + "/h"))

    def test_enforced_identity_may_not_search(self):
        own = ("--uid", "1000", "--gid", "1000", "--path", "/own", "--owner", "1000:1000", "--perm", "0755")
        mount = self.mount(self.server.ap_create(self.fs, *own))
        directory = mount.path + "/d"
        os.mkdir(directory)
        self.assertFalse(os.path.exists(directory + "/a"))
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, fd)
        os.chmod(directory, 0)
        self.assertRaises(PermissionError, os.stat, "b", dir_fd=fd)
        self.assertRaises(PermissionError, os.stat, directory + "/b")
        os.chmod(directory, 0o700)
        self.assertRaises(FileNotFoundError, os.stat, directory + "/c")
        os.mkdir(mount.path + "/closed", 0)
        self.assertRaises(PermissionError, os.stat, mount.path + "/closed/a")


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

    def test_over_a_lapse(self):
        """The server is away for longer than a lease, while the other changes things by way of it."""
        there, here = self.a + "/d", self.b + "/d"
        os.mkdir(here)
        self.proxy.set(frozen=True)
        write_file(there + "/g", b"")  # waits until the lease has run out
        self.proxy.set(frozen=False)
        self.assertFalse(os.path.exists(here + "/another"))  # a name is kept again
        self.assertTrue(os.path.exists(here + "/g"))


del Kept, ThroughProxy

if __name__ == "__main__":
    unittest.main()
