# SPDX-License-Identifier: Apache-2.0
"""Files without a name (O_TMPFILE), which get one by linkat; and the birth time that statx tells."""
import ctypes
import errno
import os
import subprocess
import time
import unittest

import harness
from mountcase import TwoMounts, read_file, write_file

AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_FDCWD = 0x1000, 0x400, -100
LIBC = ctypes.CDLL(None, use_errno=True)


def linkat(directory, name, path, flags):
    if LIBC.linkat(directory, os.fsencode(name), AT_FDCWD, os.fsencode(path), flags) != 0:
        raise OSError(ctypes.get_errno(), "linkat")


def name_it(fd, path):
    linkat(fd, "", path, AT_EMPTY_PATH)


def name_it_through_proc(fd, path):
    linkat(AT_FDCWD, "/proc/self/fd/%d" % fd, path, AT_SYMLINK_FOLLOW)


class Nameless(TwoMounts):
    def make(self, flags=0, mode=0o640):
        fd = os.open(self.a, os.O_RDWR | os.O_TMPFILE | flags, mode)
        self.addCleanup(os.close, fd)
        return fd

    def refused(self, error, function, *arguments):
        with self.assertRaises(OSError) as caught:
            function(*arguments)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[error])

    def test_it_has_no_name_until_it_gets_one(self):
        for name, link in (("empty", name_it), ("proc", name_it_through_proc)):
            fd = self.make()
            self.assertEqual(os.fstat(fd).st_nlink, 0)
            os.write(fd, b"whole " + name.encode())
            self.assertNotIn(name, os.listdir(self.b))
            link(fd, os.path.join(self.a, name))
            self.assertEqual(os.fstat(fd).st_nlink, 1)
            self.assertEqual(read_file(os.path.join(self.b, name)), b"whole " + name.encode())
            self.assertEqual(os.stat(os.path.join(self.b, name)).st_mode & 0o7777, 0o640)
            self.refused(errno.EEXIST, link, fd, os.path.join(self.a, name))
            os.unlink(os.path.join(self.b, name))
            self.refused(errno.ENOENT, link, fd, os.path.join(self.a, "again"))

    def test_exclusive_never_gets_one(self):
        fd = self.make(os.O_EXCL)
        self.refused(errno.ENOENT, name_it, fd, os.path.join(self.a, "x"))
        self.refused(errno.ENOENT, name_it_through_proc, fd, os.path.join(self.a, "x"))
        self.assertEqual(os.listdir(self.b), [])

    def test_an_unlinked_file_gets_none(self):
        write_file(os.path.join(self.a, "f"), b"x")
        fd = os.open(os.path.join(self.a, "f"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.unlink(os.path.join(self.a, "f"))
        self.refused(errno.ENOENT, name_it, fd, os.path.join(self.a, "g"))

    def test_it_outlives_a_restart(self):
        fd = self.make()
        os.write(fd, b"before")
        self.server.restart()
        os.write(fd, b" and after")
        name_it(fd, os.path.join(self.a, "kept"))
        self.assertEqual(read_file(os.path.join(self.b, "kept")), b"before and after")

    def test_it_goes_with_its_last_open(self):
        def inodes():
            s = os.statvfs(self.a)
            return s.f_files - s.f_ffree
        before = inodes()
        fd = os.open(self.a, os.O_WRONLY | os.O_TMPFILE, 0o600)
        self.assertEqual(inodes(), before + 1)
        os.close(fd)
        harness.wait_for(lambda: inodes() == before, 20)

    def test_permissions_are_the_directorys(self):
        os.chmod(self.a, 0o755)
        pid = os.fork()
        if pid == 0:
            os.setresgid(1234, 1234, 1234)
            os.setresuid(1234, 1234, 1234)
            try:
                os.open(self.a, os.O_RDWR | os.O_TMPFILE, 0o600)
            except OSError as error:
                os._exit(error.errno)
            os._exit(0)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), errno.EACCES)
        self.refused(errno.EROFS, os.open, self.mount(self.ap, options="ro").path, os.O_RDWR | os.O_TMPFILE)


def birth(path):
    """(seconds, as `stat` prints it)"""
    out = subprocess.run(["stat", "-c", "%W %w", path], capture_output=True, text=True, check=True, timeout=20).stdout
    seconds, text = out.strip().split(" ", 1)
    return int(seconds), text


class Birth(TwoMounts):
    def test_it_stays(self):
        before = int(time.time())
        path = os.path.join(self.a, "f")
        write_file(path, b"x")
        born = birth(path)
        self.assertTrue(before <= born[0] <= time.time(), born)
        os.chmod(path, 0o600)
        os.utime(path, (5, 5))
        write_file(path, b"more", os.O_APPEND)
        os.link(path, path + "2")
        os.rename(path, path + "3")
        for name in ("f2", "f3"):
            self.assertEqual(birth(os.path.join(self.a, name)), born)
            self.assertEqual(birth(os.path.join(self.b, name)), born)
        self.server.restart()
        self.assertEqual(birth(os.path.join(self.b, "f3")), born)

    def test_every_type_tells_all(self):
        """What statx tells beside it is what stat tells on the other client."""
        os.mkdir(os.path.join(self.a, "d"), 0o2750)
        os.symlink("target", os.path.join(self.a, "l"))
        os.mkfifo(os.path.join(self.a, "p"), 0o604)
        os.mknod(os.path.join(self.a, "n"), 0o020660, os.makedev(0x123, 0x45678))
        write_file(os.path.join(self.a, "f"), b"x" * 5000)
        os.chown(os.path.join(self.a, "f"), 70000, 80000)
        for name in os.listdir(self.a):
            out = subprocess.run(["stat", "-c", "%W|%f|%h|%u|%g|%s|%b|%i|%t|%T|%.9X|%.9Y|%.9Z", os.path.join(self.a, name)],
                                 capture_output=True, text=True, check=True, timeout=20).stdout.strip().split("|")
            s = os.lstat(os.path.join(self.b, name))
            self.assertGreater(int(out[0]), 0)
            times = ["%d.%09d" % divmod(ns, 10 ** 9) for ns in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)]
            self.assertEqual(out[1:], ["%x" % s.st_mode, *(str(v) for v in (s.st_nlink, s.st_uid, s.st_gid, s.st_size,
                             s.st_blocks, s.st_ino)), "%x" % os.major(s.st_rdev), "%x" % os.minor(s.st_rdev), *times])


if __name__ == "__main__":
    unittest.main()
