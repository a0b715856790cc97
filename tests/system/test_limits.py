# SPDX-License-Identifier: Apache-2.0
"""Limits and the finer points of open, write, rename and times: each probe runs on the host's file system and on a mount, and
must answer the same on both."""
import ctypes
import errno
import fcntl
import os
import random
import resource
import shutil
import signal
import stat
import struct
import time
import unittest

import harness
from mountcase import TwoMounts, read_file, write_file

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_STATX_FORCE_SYNC, STATX_ATIME = 0x100, 0x2000, 0x20
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
DAY = 86400
LONG_AGO = 1_000_000_000  # seconds: in 2001


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def in_child(function, *arguments):
    """The outcome in a process of its own, as text; or the signal that ended it."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(w, repr(outcome(function, *arguments)).encode())
        finally:
            os._exit(0)
    os.close(w)
    with open(r, "rb") as f:
        said = f.read().decode()
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def opened(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))
    return "ok"


def entries(fd):
    """What getdents64(2) gives: how many bytes, or its error."""
    return outcome(getdents, fd)


def getdents(fd):
    size = LIBC.getdents64(fd, ctypes.create_string_buffer(4096), 4096)
    if size < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    return size


def rename2(old, new, flags):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")
    return "ok"


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def utimens(path, access, modification):
    times = (Timespec * 2)(Timespec(*access), Timespec(*modification))
    if LIBC.utimensat(AT_FDCWD, os.fsencode(path), times, 0) != 0:
        raise OSError(ctypes.get_errno(), "utimensat")


class InStep(TwoMounts):
    def setUp(self):
        super().setUp()
        self.host = harness.new_directory("host-")
        self.addCleanup(shutil.rmtree, self.host)

    def both(self, probe, *arguments):
        """The probe's outcome on a mount, which must be the host's."""
        expected = outcome(probe, self.host, *arguments)
        self.assertEqual(outcome(probe, self.a, *arguments), expected, (probe.__name__, arguments))
        return expected


class Names(InStep):
    def test_any_bytes_but_two(self):
        seed = int.from_bytes(os.urandom(4), "little")
        rng = random.Random(seed)
        names = {bytes(rng.choice([b for b in range(1, 256) if b != ord("/")]) for _ in range(rng.choice([1, 2, 254, 255])))
                 for _ in range(60)} - {b".", b".."} | {b"\xff" * 255, b"\xc3(", b"\n", b" ", b"-", b"\\", b"..."}
        for name in names:
            write_file(os.path.join(os.fsencode(self.a), name), name)
        self.assertEqual(set(os.listdir(os.fsencode(self.b))), names, "seed %d" % seed)
        for name in names:
            self.assertEqual(read_file(os.path.join(os.fsencode(self.b), name)), name, "seed %d" % seed)

    def test_too_long(self):
        for length in (255, 256, 4000):
            for probe in (lambda top, name: opened(top + "/" + name, os.O_CREAT | os.O_WRONLY),
                          lambda top, name: os.mkdir(top + "/d" + name[1:]),
                          lambda top, name: os.path.exists(top + "/" + name),
                          lambda top, name: os.stat(top + "/" + name).st_size,
                          lambda top, name: os.symlink("x", top + "/l" + name[1:]),
                          lambda top, name: os.link(top + "/" + name, top + "/h" + name[1:]),
                          lambda top, name: os.rename(top + "/" + name, top + "/r" + name[1:]),
                          lambda top, name: os.unlink(top + "/r" + name[1:]),
                          lambda top, name: os.rmdir(top + "/d" + name[1:])):
                got = self.both(probe, "n" * length)
                if length > 255 and got is not False:
                    self.assertEqual(got, "ENAMETOOLONG")

    def test_symlink_targets(self):
        for length in (0, 1, 59, 60, 4094, 4095, 4096):
            def probe(top):
                os.symlink("t" * length, top + "/l%d" % length)
                return len(os.readlink(top + "/l%d" % length)), os.lstat(top + "/l%d" % length).st_size
            self.both(probe)

    def test_links_of_a_file(self):
        def probe(top):
            write_file(top + "/f", b"x")
            for i in range(300):
                os.link(top + "/f", top + "/f%d" % i)
            return os.stat(top + "/f299").st_nlink
        self.assertEqual(self.both(probe), 301)


class Opening(InStep):
    def test_flags(self):
        for top in (self.host, self.a):
            write_file(top + "/f", b"text")
            os.mkdir(top + "/d")
            os.symlink("f", top + "/l")
            os.symlink("none", top + "/dangling")
            os.symlink("d", top + "/ld")
            os.symlink("loop", top + "/loop")
            os.mkfifo(top + "/p")
        modes = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)
        extras = (0, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_SYNC, os.O_DSYNC,
                  os.O_DIRECTORY | os.O_NOFOLLOW, os.O_CREAT | os.O_DIRECTORY, os.O_PATH, os.O_PATH | os.O_NOFOLLOW,
                  os.O_DIRECT, os.O_NOATIME)
        for name in ("f", "d", "l", "ld", "dangling", "loop", "p", "f/x", "none/x", "none", "f/", "d/", "none/"):
            for mode in modes:
                for extra in extras:
                    self.both(lambda top: opened(top + "/" + name, mode | extra | os.O_NONBLOCK))
                    self.both(lambda top: sorted(os.listdir(top)))
                    for top in (self.host, self.a):
                        for made in ("none", "new"):
                            if os.path.lexists(top + "/" + made):
                                os.unlink(top + "/" + made)

    def test_append_ignores_the_offset(self):
        def probe(top):
            write_file(top + "/f", b"0123456789")
            fd = os.open(top + "/f", os.O_RDWR | os.O_APPEND)
            try:
                results = os.pwrite(fd, b"abc", 2), os.lseek(fd, 0, os.SEEK_CUR), os.write(fd, b"d"), \
                    os.lseek(fd, 0, os.SEEK_CUR), os.pread(fd, 100, 0)
                fcntl.fcntl(fd, fcntl.F_SETFL, 0)
                return results, os.pwrite(fd, b"xy", 2), os.pread(fd, 100, 0)
            finally:
                os.close(fd)
        self.both(probe)

    def test_direct_asks_for_no_alignment(self):
        fd = os.open(self.a + "/f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        self.addCleanup(os.close, fd)
        self.assertEqual(os.pwrite(fd, b"unaligned", 3), 9)
        self.assertEqual(os.pread(fd, 5, 4), b"nalig")
        self.assertEqual(read_file(self.b + "/f"), b"\0\0\0unaligned")

    def test_the_size_a_process_may_write(self):
        def limited(top, offset, flags, ignore):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN if ignore else signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
            fd = os.open(top + "/f", os.O_WRONLY | os.O_CREAT | flags, 0o644)
            n = os.pwrite(fd, b"x" * 3000, offset)
            return n, os.fstat(fd).st_size
        for offset in (0, 7000, 7001, 9999, 10000, 10001):
            for flags in (0, os.O_APPEND):
                for ignore in (False, True):
                    self.both(lambda top: in_child(limited, top, offset, flags, ignore))
                    self.both(lambda top: os.stat(top + "/f").st_size)
        def grown(top):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
            os.truncate(top + "/f", 10001)
        self.assertEqual(self.both(lambda top: in_child(grown, top)), "'EFBIG'")


class Renaming(InStep):
    def test_flags(self):
        kinds = ("f", "g", "d", "full", "none")
        for flags in range(8):
            for old in kinds:
                for new in kinds:
                    def probe(top):
                        shutil.rmtree(top)
                        os.makedirs(top + "/full/x")
                        os.mkdir(top + "/d")
                        write_file(top + "/f", b"f")
                        write_file(top + "/g", b"gg")
                        result = outcome(rename2, top + "/" + old, top + "/" + new, flags)
                        return result, sorted((name, *self.look(top + "/" + name)) for name in os.listdir(top))
                    self.both(probe)

    @staticmethod
    def look(path):
        s = os.lstat(path)
        return stat.filemode(s.st_mode), s.st_rdev, s.st_nlink, s.st_size if stat.S_ISREG(s.st_mode) else None

    def test_anybody_may_leave_a_whiteout(self):
        def probe(top):
            os.mkdir(top + "/theirs")
            os.chown(top + "/theirs", 1234, 1234)
            def act():
                os.setresgid(1234, 1234, 1234)
                os.setresuid(1234, 1234, 1234)
                write_file(top + "/theirs/f", b"")
                rename2(top + "/theirs/f", top + "/theirs/g", WHITEOUT)
                os.mknod(top + "/theirs/w", stat.S_IFCHR | 0o600, 0)
                return outcome(os.mknod, top + "/theirs/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
            return in_child(act), sorted((name, *self.look(top + "/theirs/" + name)) for name in os.listdir(top + "/theirs"))
        self.both(probe)


class Removed(InStep):
    """A directory that goes while a process works in it."""

    def elsewhere(self, top):
        return self.b if top == self.a else top

    def test_working_directory(self):
        """Removed, or replaced by a rename, by this client or by another."""
        def inside(top, remove):
            os.mkdir(top + "/d")
            os.chdir(top + "/d")
            before = os.stat(".")
            remove(top)
            s = os.stat(".")
            same = [getattr(s, name) == getattr(before, name) for name in ("st_ino", "st_mode", "st_uid", "st_gid")]
            found = [outcome(*act) for act in ((os.listdir, "."), (os.getcwd,), (os.stat, "x"), (os.mkdir, "x"),
                     (opened, "x", os.O_CREAT | os.O_WRONLY), (os.symlink, "x", "y"), (os.access, ".", os.W_OK),
                     (os.rename, "../f", "x"), (os.link, "../f", "x"), (os.chdir, "."), (os.rmdir, "../d"))]
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            found.append((os.listdir(fd), entries(fd), os.fstat(fd).st_nlink, outcome(os.stat, "../f")[stat.ST_SIZE]))
            os.close(fd)
            os.chdir("..")
            listed = sorted(os.listdir("."))
            if os.path.exists("d"):
                os.rmdir("d")
            return same, s.st_nlink, found, listed

        def replace(top):
            os.mkdir(top + "/e")
            os.rename(top + "/e", top + "/d")
        for top in (self.host, self.a):
            write_file(top + "/f", b"text")
        for remove in (lambda top: os.rmdir(top + "/d"), lambda top: os.rmdir(self.elsewhere(top) + "/d"), replace,
                       lambda top: replace(self.elsewhere(top))):
            self.both(lambda top: in_child(inside, top, remove))

    def test_open_directory(self):
        """The same of one that is open, and not where the process is."""
        def inside(top, remove):
            os.mkdir(top + "/d")
            fd = os.open(top + "/d", os.O_RDONLY | os.O_DIRECTORY)
            remove(top)
            found = [entries(fd), os.fstat(fd).st_nlink, os.stat(".", dir_fd=fd).st_nlink]
            found += [outcome(lambda: act(fd)) for act in (
                lambda fd: os.stat("x", dir_fd=fd), lambda fd: os.mkdir("x", dir_fd=fd), os.fsync,
                lambda fd: os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)), lambda fd: os.fchmod(fd, 0o700),
                lambda fd: os.link("f", "d/x", src_dir_fd=fd, dst_dir_fd=fd))]
            os.close(fd)
            return found
        for remove in (lambda top: os.rmdir(top + "/d"), lambda top: os.rmdir(self.elsewhere(top) + "/d")):
            self.both(inside, remove)

    def test_moved_by_another_client(self):
        def inside():
            os.mkdir(self.a + "/d")
            os.chdir(self.a + "/d")
            os.rename(self.b + "/d", self.b + "/e")
            opened("x", os.O_CREAT | os.O_WRONLY)
            os.stat(self.a + "/e")
            return os.getcwd() == self.a + "/e", os.listdir(self.b + "/e"), os.listdir(".")
        self.assertEqual(in_child(inside), "(True, ['x'], ['x'])")

    def test_a_path_descriptor_is_no_opener(self):
        write_file(self.a + "/f", b"text")
        fd = os.open(self.a + "/f", os.O_PATH)
        self.addCleanup(os.close, fd)
        with open(self.b + "/f", "rb"):
            os.unlink(self.b + "/f")
            self.assertEqual((os.fstat(fd).st_nlink, os.fstat(fd).st_size, read_file("/proc/self/fd/%d" % fd)), (0, 4, b"text"))
        harness.wait_for(lambda: outcome(os.fstat, fd) == "ESTALE", 20)

    def test_an_enforced_identity_too(self):
        own = ("--uid", "1000", "--gid", "1000", "--path", "/own", "--owner", "1000:1000", "--perm", "0700")
        access_point = self.server.ap_create(self.fs, *own)
        mount = self.mount(access_point)
        def inside():
            os.mkdir(mount.path + "/d")
            os.chdir(mount.path + "/d")
            os.rmdir(by.path + "/d")
            os.chdir(".")
            return os.stat(".").st_nlink, os.listdir("."), outcome(os.mkdir, "x")
        for by in (mount, self.mount(access_point)):
            self.assertEqual(in_child(inside), "(0, [], 'ENOENT')")



def atime(path):
    """(seconds, nanoseconds) as the server has it: what a client keeps of it may be older."""
    statx = bytearray(256)
    buffer = (ctypes.c_char * len(statx)).from_buffer(statx)
    if LIBC.statx(AT_FDCWD, os.fsencode(path), AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW, STATX_ATIME, buffer) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return struct.unpack_from("<qI", statx, 64)


class Times(InStep):
    def moved(self, path, act):
        """Which of atime, mtime, ctime an act moves."""
        before, read_before = os.lstat(path), atime(path)
        act()
        after, read_after = os.lstat(path), atime(path)
        return ["st_atime_ns"] * (read_before != read_after) + \
            [name for name in ("st_mtime_ns", "st_ctime_ns") if getattr(before, name) != getattr(after, name)]

    def test_utimens(self):
        exact = (LONG_AGO, 123456789)
        for access in (exact, (0, UTIME_NOW), (0, UTIME_OMIT), (-5, 1), (0, 0), (1, 10 ** 9)):
            for modification in (exact, (0, UTIME_NOW), (0, UTIME_OMIT), (2 ** 33, 999999999)):
                def probe(top):
                    path = top + "/f"
                    write_file(path, b"")
                    os.utime(path, (3, 3))
                    before = time.time() - 1
                    utimens(path, access, modification)
                    s = os.stat(path)
                    return ["now" if before < ns / 1e9 < time.time() + 1 else ns for ns in (s.st_atime_ns, s.st_mtime_ns)]
                self.both(probe)

    def test_who_may_set_them(self):
        for mode in (0o600, 0o606):
            for access, modification in (((1, 0), (1, 0)), ((0, UTIME_NOW), (0, UTIME_NOW)), ((0, UTIME_OMIT), (0, UTIME_OMIT)),
                                         ((0, UTIME_NOW), (0, UTIME_OMIT))):
                def probe(top):
                    write_file(top + "/f", b"")
                    os.chmod(top + "/f", mode)
                    os.chmod(top, 0o755)
                    def act():
                        os.setresuid(1234, 1234, 1234)
                        utimens(top + "/f", access, modification)
                    return in_child(act)
                self.both(probe)

    def test_reading_is_relatime(self):
        now = int(time.time())
        cases = {"read since": (now - 10, now - 20), "changed since": (now - 20, now - 10), "same": (now - 10, now - 10),
                 "a day ago": (now - DAY - 10, now - DAY - 20), "nearly a day ago": (now - DAY + 60, now - 2 * DAY)}
        for case, (access, modification) in cases.items():
            def probe(top):
                path = top + "/f"
                write_file(path, b"text")
                os.utime(path, (access, modification))
                results = []
                for flags in (os.O_NOATIME, 0):
                    # ctime is now, and counts too: only a second read shows what the first made of it
                    for _ in range(2):
                        fd = os.open(path, os.O_RDONLY | flags)
                        results.append(self.moved(path, lambda: os.read(fd, 10)))
                        os.close(fd)
                return results
            self.both(probe)

    def test_a_read_only_mount_leaves_no_trace(self):
        path = self.mount(self.ap, options="ro").path + "/" + os.path.basename(self.a)
        write_file(self.a + "/f", b"text")
        os.symlink("f", self.a + "/l")
        for name in ("f", "l", "."):
            os.utime(self.a + "/" + name, (LONG_AGO, LONG_AGO), follow_symlinks=False)
        for name, act in (("f", read_file), ("l", os.readlink), (".", os.listdir)):
            self.assertEqual(self.moved(self.a + "/" + name, lambda: act(path + "/" + name)), [])
            self.assertEqual(self.moved(self.a + "/" + name, lambda: act(self.b + "/" + name)), ["st_atime_ns"])

    def test_reading_what_is_no_file(self):
        def directory(top):
            os.mkdir(top + "/d")
            os.utime(top + "/d", (LONG_AGO, LONG_AGO))
            return self.moved(top + "/d", lambda: os.listdir(top + "/d")), self.moved(top + "/d", lambda: os.listdir(top + "/d"))
        self.both(directory)
        def link(top):
            os.symlink("x", top + "/l")
            os.utime(top + "/l", (LONG_AGO, LONG_AGO), follow_symlinks=False)
            return self.moved(top + "/l", lambda: os.readlink(top + "/l")), \
                self.moved(top + "/l", lambda: os.readlink(top + "/l"))
        self.both(link)


if __name__ == "__main__":
    unittest.main()
