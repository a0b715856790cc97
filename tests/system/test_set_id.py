# SPDX-License-Identifier: Apache-2.0
"""What calls make of set-id and sticky bits, and which times they mark: each on files of several owners and modes, as root,
as the owner and as another, on a plain mount and on one that enforces the owner, as on the host's file system."""
import ctypes
import itertools
import os
import shutil
import time
import unittest

import harness
from identity import OTHER, OWNER, ROOT, Identity
from mountcase import TwoMounts, outcome

LIBC = ctypes.CDLL(None, use_errno=True)
GROUP = 2000  # OWNER's second
OWNERS = ((OWNER[0], GROUP), (OWNER[0], 5), (0, OWNER[1]))
MODES = (0o7777, 0o7767)
OLD_NS = 10 ** 18
TIME_LIMIT_S = 120
CLOCK_REALTIME_COARSE = 5  # by which Linux marks times


def fallocate(fd, mode, length):
    if LIBC.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def through(flags, call):
    """A call of a path: `call` of a descriptor of it."""
    def run(path):
        fd = os.open(path, flags)
        try:
            call(fd)
        finally:
            os.close(fd)
    return run


def copy_range(path):
    source = os.open(os.path.dirname(path) + "/source", os.O_RDONLY)
    try:
        through(os.O_RDWR, lambda fd: os.copy_file_range(source, fd, 3, 0, 0))(path)
    finally:
        os.close(source)


OF_FILES = {
    **{"fallocate %d %d" % (mode, n): through(os.O_RDWR, lambda fd, mode=mode, n=n: fallocate(fd, mode, n))
       for mode, n in ((0, 2), (0, 100_000), (1, 100_000), (3, 2), (16, 2))},
    "write": through(os.O_RDWR, lambda fd: os.write(fd, b"x")), "write nothing": through(os.O_RDWR, lambda fd: os.write(fd, b"")),
    "append": through(os.O_RDWR | os.O_APPEND, lambda fd: os.write(fd, b"x")), "copy_file_range": copy_range,
    "ftruncate": through(os.O_RDWR, lambda fd: os.ftruncate(fd, 4)), "truncate": lambda path: os.truncate(path, 9),
    "open O_TRUNC": through(os.O_RDWR | os.O_TRUNC, lambda fd: None),
}
OF_ALL = {
    "chown nothing": lambda path: os.chown(path, -1, -1), "lchown nothing": lambda path: os.lchown(path, -1, -1),
    "fchown nothing": through(os.O_RDONLY, lambda fd: os.fchown(fd, -1, -1)),
    "chown the same": lambda path: os.chown(path, *OWNER), "chown group": lambda path: os.chown(path, -1, GROUP),
    "chmod": lambda path: os.chmod(path, 0o7777), "chmod less": lambda path: os.chmod(path, 0o1777),
    "setxattr": lambda path: os.setxattr(path, "user.new", b"x"),
    "setxattr the same": lambda path: os.setxattr(path, "user.a", b"x"),
    "setxattr to nothing": lambda path: os.setxattr(path, "user.a", b""),
    "setxattr that fails": lambda path: os.setxattr(path, "user.none", b"x", os.XATTR_REPLACE),
    "removexattr": lambda path: os.removexattr(path, "user.a"),
    "removexattr that fails": lambda path: os.removexattr(path, "user.b"),
    "utime": os.utime,
}


def make(path, is_directory, owner, mode):
    if is_directory:
        os.mkdir(path)
    else:
        with open(path, "wb") as f:
            f.write(b"data")
    os.setxattr(path, "user.a", b"x")
    os.chown(path, *owner)
    os.chmod(path, mode)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return os.stat(path)


def remove(path):
    os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


class SetId(TwoMounts):
    AS = {"root": (ROOT, ROOT), "owner": (OWNER, OWNER), "other": (OTHER, OTHER)}  # (on the host, on the mount)

    def setUp(self):
        super().setUp()
        self.host = harness.new_directory("host-")
        self.addCleanup(shutil.rmtree, self.host)
        for top in (self.host, self.a):
            os.chmod(top, 0o777)
            with open(top + "/source", "wb") as f:
                f.write(b"source")
        self.called_through = self.a

    def what_it_does(self, path, called, who, call, before):
        """(error or None, mode, is ctime marked, is mtime marked)"""
        with Identity(who, (GROUP,) if who == OWNER else ()):
            result = outcome(call, called)
        after = os.stat(path)
        remove(path)
        return (result, oct(after.st_mode), after.st_ctime_ns != before.st_ctime_ns, after.st_mtime_ns != before.st_mtime_ns)

    def hold_to_host(self, calls, is_directory):
        different = []
        for (label, call), owner, mode, (who, (on_host, on_mount)) in itertools.product(
                calls.items(), OWNERS, MODES, self.AS.items()):
            ours, theirs = self.a + "/f", self.host + "/f"
            before = [make(path, is_directory, owner, mode) for path in (ours, theirs)]
            while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= before[1].st_ctime_ns:
                time.sleep(0.0005)
            expected = self.what_it_does(theirs, theirs, on_host, call, before[1])
            got = self.what_it_does(ours, self.called_through + "/f", on_mount, call, before[0])
            if got != expected:
                different.append("%s of %s %#o as %s: host %s, mount %s" % (label, owner, mode, who, expected, got))
        if different:
            self.fail("%d differ:\n%s" % (len(different), "\n".join(different[:30])))

    def test_files(self):
        self.hold_to_host({**OF_FILES, **OF_ALL}, False)

    def test_directories(self):
        self.hold_to_host(OF_ALL, True)


class Enforced(SetId):
    """Made through the plain mount, called through one that enforces OWNER."""
    AS = {"root": (OWNER, ROOT), "owner": (OWNER, OWNER), "other": (OWNER, OTHER)}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        uid, gid = map(str, OWNER)
        cls.enforced = cls.mount(cls.server.ap_create(cls.fs, "--uid", uid, "--gid", gid, "--gids", str(GROUP)))

    def setUp(self):
        super().setUp()
        self.called_through = os.path.join(self.enforced.path, os.path.basename(self.a))


del TwoMounts

if __name__ == "__main__":
    unittest.main()
