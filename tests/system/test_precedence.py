# SPDX-License-Identifier: Apache-2.0
"""Which error is told when several are due: every call family with paths, descriptors and arguments that are wrong in more
than one way, as root, as the owner and as somebody else. The host's file system, asked the same, is the oracle. `make check`
tries a part of them, always the same; with BERTH_PRECEDENCE=all (`make exercise-precedence`) each is tried."""
import ctypes
import errno
import fcntl
import itertools
import os
import random
import shutil
import stat
import struct
import subprocess
import unittest

import harness
from identity import OTHER, OWNER, ROOT, Identity
from mountcase import TwoMounts, write_file

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_EACCESS, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = -100, 0x200, 0x1000, 0x100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
SHOWN = 20  # differences of a family
ALL = os.environ.get("BERTH_PRECEDENCE") == "all"
TIME_LIMIT_S = 900 if ALL else 60
PART = 30  # one of so many is tried

LONG = "n" * 256
DIRECTORIES = {"own": (0o755, OWNER), "open": (0o777, ROOT), "sticky": (0o1777, ROOT), "ro": (0o555, OWNER),
               "shut": (0o700, ROOT), "blind": (0o644, ROOT)}
NAMES = ("f", "theirs", "e", "full", "l", "ld", "dangling", "loop", "p", "m", LONG, ".", "..")
ENDS = ("", "/", "/x")


def tell(number):
    return errno.errorcode.get(number, number)


# --- the tree, the same everywhere; made by root ---

def make_directory(path, mode, owner):
    os.mkdir(path)
    write_file(path + "/f", b"data")
    write_file(path + "/theirs", b"data")
    for name in ("e", "full", "full/x"):
        os.mkdir(path + "/" + name)
    os.symlink("f", path + "/l")
    os.symlink("full", path + "/ld")
    os.symlink("none", path + "/dangling")
    os.symlink("loop", path + "/loop")
    os.mkfifo(path + "/p")
    for name in ("f", "e", "full", "full/x", "l", "ld", "dangling", "loop", "p"):
        os.lchown(path + "/" + name, *OWNER)
    os.chmod(path + "/theirs", 0o600)
    for name, mode_of in (("f", 0o666), ("p", 0o666), ("full", 0o755), ("e", 0o755)):
        os.chmod(path + "/" + name, mode_of if mode & 0o022 else mode_of & ~0o022)
    os.chown(path, *owner)
    os.chmod(path, mode)


def make_tree(top):
    os.mkdir(top)
    os.chmod(top, 0o755)
    for name, (mode, owner) in DIRECTORIES.items():
        make_directory(top + "/" + name, mode, owner)


def make_again(top, paths):
    """What a call that succeeded with these paths may have changed."""
    os.chmod(top, 0o755)
    os.chown(top, 0, 0)
    touched = {name for path in paths for name in path.split("/")}
    for name in os.listdir(top):
        if name not in DIRECTORIES or name in touched:
            path = os.path.join(top, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    for name in touched & set(DIRECTORIES):
        make_directory(os.path.join(top, name), *DIRECTORIES[name])


PATHS = [d + "/" + n + e for d in DIRECTORIES for n in NAMES for e in ENDS]
PATHS += ["", "/".join([".."] * 2000), "own", "blind", "own/f/../f", "shut/../own/f", "own/dangling/m", "none/m",
          "own/loop/m", "own/" + LONG + "/m", "own/f/" + LONG, "shut/" + LONG, "none/" + LONG, "m", "m/"]
# For calls with two: one of each kind of mistake.
FEW = ["own/f", "own/e", "own/full", "own/full/", "own/f/", "own/l", "own/l/", "own/ld/", "own/m", "own/m/", "own/p",
       "own/.", "own/..", "own/full/x/..", "own/full/x/y", "own/f/x", "own/dangling", "own/loop/x", "own/" + LONG, "",
       "ro/f", "ro/m", "ro/e", "ro/" + LONG, "shut/f", "shut/m", "blind/f", "sticky/f", "sticky/theirs", "sticky/e",
       "sticky/m", "none/m", "open/theirs", "."]


# --- calls ---

def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def opening(flags):
    def run(path):
        os.close(os.open(path, flags | os.O_NONBLOCK, 0o644))
    return run


def rename2(old, new, flags):
    check(LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def fallocate(fd, mode, offset, length):
    check(LIBC.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


LOOKS = {
    "stat": os.stat, "lstat": os.lstat, "readlink": os.readlink, "listdir": lambda p: sorted(os.listdir(p)),
    "statvfs": os.statvfs,
    **{"access %d" % m: lambda p, m=m: check(LIBC.faccessat(AT_FDCWD, os.fsencode(p), m, AT_EACCESS)) for m in (0, 1, 2, 4, 7)},
    **{"open %#o" % f: opening(f) for f in (
        os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_NOFOLLOW, os.O_RDWR | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY,
        os.O_WRONLY | os.O_DIRECTORY, os.O_PATH, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, os.O_RDONLY | os.O_NOATIME,
        os.O_WRONLY | os.O_NOATIME | os.O_NOFOLLOW, os.O_CREAT | os.O_DIRECTORY)},
    "getxattr": lambda p: os.getxattr(p, "user.none"), "lgetxattr": lambda p: os.getxattr(p, "user.none", follow_symlinks=False),
    "getxattr trusted": lambda p: os.getxattr(p, "trusted.none"), "getxattr unknown": lambda p: os.getxattr(p, "bogus.none"),
    "getxattr long": lambda p: os.getxattr(p, "user." + LONG), "getxattr no name": lambda p: os.getxattr(p, "user."),
    "listxattr": lambda p: [n for n in os.listxattr(p) if n.startswith("user")],
    "chdir": lambda p: os.chdir(p) or os.chdir(".."),
}
CHANGES = {
    **{"open %#o" % f: opening(f) for f in (
        os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW,
        os.O_TRUNC | os.O_DIRECTORY, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, os.O_TMPFILE | os.O_RDWR,
        os.O_TMPFILE | os.O_RDONLY)},
    "mkdir": os.mkdir, "mkfifo": os.mkfifo, "mknod device": lambda p: os.mknod(p, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
    "mknod directory": lambda p: os.mknod(p, 0o600 | stat.S_IFDIR), "mknod nonsense": lambda p: os.mknod(p, 0o600 | 0o30000),
    "symlink": lambda p: os.symlink("t", p), "symlink to nothing": lambda p: os.symlink("", p),
    "symlink too long": lambda p: os.symlink("t" * 4096, p),
    "unlink": os.unlink, "rmdir": os.rmdir,
    **{"truncate %d" % n: lambda p, n=n: os.truncate(p, n) for n in (-1, 0, 9)},
    **{"chmod %#o" % m: lambda p, m=m: os.chmod(p, m) for m in (0o600, 0o7777)},
    **{"%schown %d %d" % ("l" if not f else "", *c): lambda p, c=c, f=f: os.chown(p, *c, follow_symlinks=f)
       for c in ((-1, -1), (1000, -1), (-1, 1000), (-1, 3000), (0, 0)) for f in (True, False)},
    "utime now": os.utime, "utime": lambda p: os.utime(p, ns=(1, 2)),
    "lutime": lambda p: os.utime(p, ns=(1, 2), follow_symlinks=False), "utime nonsense": lambda p: utimensat(p, 10 ** 9),
    "utime one now": lambda p: utimensat(p, (1 << 30) - 1), "utime omit": lambda p: utimensat(p, (1 << 30) - 2),
    **{"setxattr %s %d" % (n[:12], f): lambda p, n=n, f=f: os.setxattr(p, n, b"v", f)
       for n, f in (("user.n", 0), ("user.none", os.XATTR_REPLACE), ("trusted.n", 0), ("trusted.none", os.XATTR_REPLACE),
                    ("security.n", os.XATTR_REPLACE), ("bogus.n", 0), ("user.", 0), ("user." + LONG, 0), ("", 0), ("user.n", 9),
                    ("system.posix_acl_access", 0), ("system.none", 0))},
    "lsetxattr": lambda p: os.setxattr(p, "user.n", b"v", follow_symlinks=False),
    "setxattr large": lambda p: os.setxattr(p, "user.n", bytes(65537)),
    "lsetxattr long": lambda p: os.setxattr(p, "user." + LONG, b"v", follow_symlinks=False),
    **{"removexattr %s" % n[:12]: lambda p, n=n: os.removexattr(p, n)
       for n in ("user.none", "trusted.none", "security.none", "bogus.n", "user.", "system.posix_acl_default")},
    "lremovexattr": lambda p: os.removexattr(p, "user.none", follow_symlinks=False),
}
PAIRS = {
    "link": lambda a, b: os.link(a, b, follow_symlinks=False), "link followed": lambda a, b: os.link(a, b, follow_symlinks=True),
    **{"rename %d" % f: lambda a, b, f=f: rename2(a, b, f) for f in range(8)}, "rename 16": lambda a, b: rename2(a, b, 16),
}


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def utimensat(path, nanoseconds):
    times = (Timespec * 2)(Timespec(1, 1), Timespec(1, nanoseconds))
    check(LIBC.utimensat(AT_FDCWD, os.fsencode(path), times, 0))


# --- descriptors: (how it is opened, below the top directory) ---

DESCRIPTORS = {
    "read": lambda: os.open("open/f", os.O_RDONLY), "write": lambda: os.open("open/f", os.O_WRONLY),
    "both": lambda: os.open("open/f", os.O_RDWR), "append": lambda: os.open("open/f", os.O_RDWR | os.O_APPEND),
    "path": lambda: os.open("open/f", os.O_PATH), "directory": lambda: os.open("open/full", os.O_RDONLY),
    "fifo": lambda: os.open("open/p", os.O_RDONLY | os.O_NONBLOCK), "link": lambda: os.open("open/l", os.O_PATH | os.O_NOFOLLOW),
    "closed": lambda: 1000,
    "nameless": lambda: os.open("open", os.O_TMPFILE | os.O_RDWR),
}


def on_descriptors():
    """name -> (call of one descriptor); none that succeeds changes anything that another call's error depends on."""
    calls = {
        "read": lambda d: os.read(d, 1), "write nothing": lambda d: os.write(d, b""),
        "fsync": os.fsync, "fdatasync": os.fdatasync,
        "fstat": lambda d: None if os.fstat(d) else None, "fchmod": lambda d: os.fchmod(d, 0o666),
        "fchown": lambda d: os.fchown(d, -1, -1), "fchown root": lambda d: os.fchown(d, 0, 0), "fchdir": lambda d: os.fchdir(d),
        "futimens": lambda d: os.utime(d, ns=(1, 2)), "listdir": lambda d: sorted(os.listdir(d)),
        "fstatvfs": lambda d: bool(os.fstatvfs(d)),
        "fgetxattr": lambda d: os.getxattr(d, "user.none"),
        "fsetxattr": lambda d: os.setxattr(d, "user.none", b"", os.XATTR_REPLACE),
        "fsetxattr unknown": lambda d: os.setxattr(d, "bogus.n", b""), "flistxattr": lambda d: len(os.listxattr(d)) * 0,
        "fremovexattr": lambda d: os.removexattr(d, "user.none"), "flock": lambda d: check(LIBC.flock(d, 2 | 4)),
        "flock nonsense": lambda d: check(LIBC.flock(d, 99)), "openat": lambda d: os.close(os.open("x", os.O_RDONLY, dir_fd=d)),
        "openat create": lambda d: os.close(os.open("x", os.O_CREAT | os.O_EXCL, dir_fd=d)),
        "mkdirat": lambda d: os.mkdir("x", dir_fd=d),
        "unlinkat": lambda d: os.unlink("x", dir_fd=d), "linkat empty": lambda d: check(LIBC.linkat(
            d, b"", AT_FDCWD, b"own/full", AT_EMPTY_PATH)),
        "readlinkat": lambda d: os.readlink("", dir_fd=d) and None,
        "syncfs": lambda d: check(LIBC.syncfs(d)),
        "mmap": lambda d: mapped(d, 1), "mmap private": lambda d: mapped(d, 2), "mmap executable": lambda d: mapped(d, 2, 5),
    }
    for n in (-1, 2 ** 40, 4):
        calls["ftruncate %d" % n] = lambda d, n=n: os.ftruncate(d, n) if n != 2 ** 40 else None
    for at in (-1, 0, 3):
        calls["pread %d" % at] = lambda d, at=at: os.pread(d, 1, at)
        calls["pwrite %d" % at] = lambda d, at=at: os.pwrite(d, b"d", at)
        calls["pwrite nothing %d" % at] = lambda d, at=at: os.pwrite(d, b"", at)
    for whence in (0, 1, 2, 3, 4, 9):
        for at in (-1, 0, 3, 5):
            calls["lseek %d %d" % (at, whence)] = lambda d, at=at, whence=whence: sought(d, at, whence)
    for mode in (0, KEEP_SIZE, PUNCH_HOLE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, PUNCH_HOLE | ZERO_RANGE | KEEP_SIZE, 0x80):
        for at, n in ((-1, 1), (0, 0), (0, -1), (0, 4), (1, 2 ** 63 - 1)):
            calls["fallocate %d %d %d" % (mode, at, n)] = lambda d, m=mode, at=at, n=n: fallocate(d, m, at, n)
    for kind in (0, 1, 2, 9):
        for whence in (0, 9):
            calls["setlk %d %d" % (kind, whence)] = lambda d, k=kind, w=whence: locked(d, k, w)
    return calls


def mapped(fd, flags, protection=3):
    LIBC.mmap.restype = ctypes.c_void_p
    address = LIBC.mmap(None, 4096, protection, flags, fd, ctypes.c_long(0))
    if address == 2 ** 64 - 1:
        check(-1)
    check(LIBC.munmap(ctypes.c_void_p(address), 4096))


def sought(fd, at, whence):
    """Places in a directory are each file system's own."""
    return None if whence in (2, 3, 4) and stat.S_ISDIR(os.fstat(fd).st_mode) else os.lseek(fd, at, whence)


def locked(fd, kind, whence):
    fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhlli", kind, whence, 0, 1, 0))


def outcome(function, *arguments):
    """The error's name, or None and what the call returned when that is the same everywhere."""
    try:
        value = function(*arguments)
    except OSError as error:
        return tell(error.errno)
    return value if isinstance(value, (bytes, str, list)) else None


class Precedence(TwoMounts):
    maxDiff = None
    WHO = {"root": (ROOT, ROOT), "owner": (OWNER, OWNER), "other": (OTHER, OTHER)}  # (on the host, on the mount)

    def setUp(self):
        self.home = os.getcwd()
        self.addCleanup(os.chdir, self.home)
        name = self.id().rsplit(".", 1)[-1]
        self.host = os.path.join(harness.new_directory("host-"), name)
        self.ours = os.path.join(self.mount_a.path, name)
        self.made = os.path.join(self.mount_b.path, name)
        self.different, self.tried = {}, 0
        make_tree(self.host)
        make_tree(self.made)
        self.addCleanup(shutil.rmtree, os.path.dirname(self.host))

    def ask(self, top, who, function, *arguments):
        os.chdir(top)
        with Identity(who):
            return outcome(function, *arguments)

    def compare(self, label, who, arguments, expected, got):
        self.tried += 1
        if got != expected:
            self.different.setdefault((label, who), []).append((arguments, expected, got))

    def hold_to_host(self, label, function, *arguments):
        """Looks, and failures: what succeeds on the host in changing something is not tried here."""
        changes = label in CHANGES or label in PAIRS
        for who, (host_uid, our_uid) in self.WHO.items():
            expected = self.ask(self.host, host_uid, function, *arguments)
            if changes and not isinstance(expected, str):
                self.again(self.host, arguments)
                continue
            got = self.ask(self.ours, our_uid, function, *arguments)
            self.compare(label, who, arguments, expected, got)
            if changes and not isinstance(got, str):
                self.again(self.made, arguments)

    def again(self, top, paths):
        os.chdir("/")
        make_again(top, paths)

    def drawn(self, *lists):
        """All combinations, or a part."""
        every = list(itertools.product(*lists))
        return every if ALL else random.Random(1).sample(every, len(every) // PART)

    def no_difference(self):
        lines = ["%s as %s: %d differ" % (label, who, len(found)) + "".join(
            "\n    %s: host %s, mount %s" % (" ".join(repr(a[:40]) for a in arguments), expected, got)
            for arguments, expected, got in found[:SHOWN]) for (label, who), found in self.different.items()]
        self.assertGreater(self.tried, 100)
        if lines:
            self.fail("of %d:\n%s" % (self.tried, "\n".join(lines)))

    def test_paths_looked_at(self):
        for (label, function), path in self.drawn(LOOKS.items(), PATHS):
            self.hold_to_host(label, function, path)
        self.no_difference()

    def test_paths_changed(self):
        for (label, function), path in self.drawn(CHANGES.items(), PATHS):
            self.hold_to_host(label, function, path)
        self.no_difference()

    def test_pairs_of_paths(self):
        for (label, function), old, new in self.drawn(PAIRS.items(), FEW, FEW):
            self.hold_to_host(label, function, old, new)
        self.no_difference()

    def test_descriptors(self):
        for (label, function), (kind, opened) in self.drawn(on_descriptors().items(), DESCRIPTORS.items()):
            for who, (host_uid, our_uid) in self.WHO.items():
                got = [self.on_descriptor(top, uid, opened, function) for top, uid in
                       ((self.host, host_uid), (self.ours, our_uid))]
                self.compare(label + " " + kind, who, (), *got)
        self.no_difference()

    def on_descriptor(self, top, uid, opened, function):
        os.chdir(top)
        with Identity(uid):
            fd = opened()
            try:
                return outcome(function, fd)
            finally:
                if fd != 1000:
                    os.close(fd)


class ReadOnly(Precedence):
    """The host's is a tmpfs that became read-only: a read-only bind mount of something else answers differently."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mount_a = cls.mount(cls.ap, options="ro")

    def setUp(self):
        super().setUp()
        at = harness.new_directory("ro-")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", at], check=True)
        self.addCleanup(subprocess.run, ["umount", at], check=True)
        self.addCleanup(os.chdir, "/")
        self.host = at + "/tree"
        make_tree(self.host)
        subprocess.run(["mount", "-o", "remount,ro", at], check=True)

    test_descriptors = None

    def again(self, top, paths):
        """Nothing changes here: what succeeds opens a pipe."""


class Enforced(Precedence):
    """Of an access point that enforces OWNER: what root and others do there fails as what OWNER does on the host. The kernel
    looks names up, compares what they are, and finds "." and "..", before the server is asked for permission; who may link
    another's file (fs.protected_hardlinks) and open with O_NOATIME it says by itself, of the caller."""
    KERNELS = ("link", "link followed", "open %#o" % os.O_NOATIME, "open %#o" % (os.O_WRONLY | os.O_NOATIME | os.O_NOFOLLOW))
    WHO = {"root": (OWNER, ROOT), "owner": (OWNER, OWNER), "other": (OWNER, OTHER)}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mount_a = cls.mount(cls.server.ap_create(cls.fs, "--uid", "1000", "--gid", "1000"))

    def compare(self, label, who, arguments, expected, got):
        unasked = any(path.startswith(("shut/.", "blind/.")) for path in arguments)
        refused = expected in ("EACCES", "EPERM")
        kernels = label in self.KERNELS and "EPERM" in (expected, got)
        if not unasked and not kernels and not (refused and isinstance(got, str)):
            super().compare(label, who, arguments, expected, got)


if __name__ == "__main__":
    unittest.main()
