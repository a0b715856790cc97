# SPDX-License-Identifier: Apache-2.0
"""The same random operations on a mount (through two clients in turn) and on the host's file system, compared after every
step: results, errors, attributes, contents, listings. The seed is printed with a failure."""
import errno
import os
import random
import shutil
import stat
import unittest

import harness
from mountcase import TwoMounts

STEPS = 2000
TIME_LIMIT_S = 150


class Twin:
    """One operation sequence applied below one top directory. Returns results that can be compared."""

    def __init__(self, pick_top):
        self.pick_top = pick_top
        self.open_files = {}

    def do(self, operation, *arguments):
        try:
            return ("ok", getattr(self, operation)(*arguments))
        except OSError as error:
            return ("error", errno.errorcode[error.errno])

    def at(self, path):
        return os.path.join(self.pick_top(), path)

    def create(self, path, flags, mode, data):
        fd = os.open(self.at(path), os.O_RDWR | os.O_CREAT | flags, mode)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)

    def hold(self, path, slot):
        self.drop(slot)
        self.open_files[slot] = os.open(self.at(path), os.O_RDWR)

    def drop(self, slot):
        if slot in self.open_files:
            os.close(self.open_files.pop(slot))

    def held_write(self, slot, offset, data):
        if slot in self.open_files:
            return os.pwrite(self.open_files[slot], data, offset)
        return None

    def held_read(self, slot, offset, n):
        if slot in self.open_files:
            return os.pread(self.open_files[slot], n, offset), os.fstat(self.open_files[slot]).st_nlink
        return None

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def unlink(self, path):
        os.unlink(self.at(path))

    def rename(self, old, new):
        os.rename(self.at(old), self.at(new))

    def link(self, old, new):
        os.link(self.at(old), self.at(new), follow_symlinks=False)

    def symlink(self, target, path):
        os.symlink(target, self.at(path))

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.at(path), uid, gid, follow_symlinks=False)

    def utime(self, path, a, m):
        os.utime(self.at(path), ns=(a, m), follow_symlinks=False)

    def mkfifo(self, path, mode):
        os.mkfifo(self.at(path), mode)

    def read(self, path):
        if stat.S_ISFIFO(os.stat(self.at(path)).st_mode):
            return "fifo"
        with open(self.at(path), "rb") as f:
            return f.read()

    def listdir(self, path):
        return sorted(os.listdir(self.at(path)))

    def stat(self, path):
        s = os.lstat(self.at(path))
        size = s.st_size if not stat.S_ISDIR(s.st_mode) else None
        target = os.readlink(self.at(path)) if stat.S_ISLNK(s.st_mode) else None
        return stat.filemode(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, size, target


class LikeTheHost(TwoMounts):
    def test_random_operations(self):
        seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
        rng = random.Random(seed)
        host = os.path.join(harness.scratch(), "host")
        os.mkdir(host)
        self.addCleanup(shutil.rmtree, host)
        turn = [0]
        ours = Twin(lambda: (self.a, self.b)[turn[0] % 2])
        theirs = Twin(lambda: host)
        try:
            for step in range(STEPS):
                turn[0] = rng.randrange(2)
                operation = self.pick(rng)
                expected = theirs.do(*operation)
                got = ours.do(*operation)
                self.assertEqual(got, expected, "seed %d step %d %r" % (seed, step, operation[:3]))
                turn[0] += 1
                path = operation[1] if isinstance(operation[1], str) else "d0"
                for look in ("stat", "listdir"):
                    self.assertEqual(ours.do(look, path), theirs.do(look, path),
                                     "seed %d step %d after %r: %s" % (seed, step, operation[:3], look))
        finally:
            for twin in (ours, theirs):
                for slot in list(twin.open_files):
                    twin.drop(slot)

    def pick(self, rng):
        def path():
            depth = rng.choice([1, 1, 2, 2, 3])
            return "/".join(rng.choice(["d0", "d1", "f0", "f1", "f2", "link"]) for _ in range(depth))
        data = bytes([rng.randrange(256)]) * rng.choice([0, 1, 100, 4096, 16384, 16385, 40_000])
        return rng.choice([
            lambda: ("create", path(), rng.choice([0, os.O_TRUNC, os.O_EXCL, os.O_APPEND]), rng.randrange(0o1000), data),
            lambda: ("create", path(), 0, 0o644, data),
            lambda: ("hold", path(), rng.randrange(3)),
            lambda: ("drop", rng.randrange(3)),
            lambda: ("held_write", rng.randrange(3), rng.choice([0, 10, 16380, 50_000]), data),
            lambda: ("held_read", rng.randrange(3), rng.choice([0, 5, 16000]), 40_000),
            lambda: ("mkdir", path(), rng.randrange(0o1000)),
            lambda: ("mkdir", rng.choice(["d0", "d1", "d0/d1"]), 0o755),
            lambda: ("rmdir", path()),
            lambda: ("unlink", path()),
            lambda: ("rename", path(), path()),
            lambda: ("rename", path(), path()),
            lambda: ("link", path(), path()),
            lambda: ("symlink", rng.choice(["f0", "d0", "../f1", "none", "link"]), path()),
            lambda: ("truncate", path(), rng.choice([0, 1, 10_000, 16384, 20_000])),
            lambda: ("chmod", path(), rng.randrange(0o10000)),
            lambda: ("chown", path(), rng.choice([-1, 0, 5]), rng.choice([-1, 0, 6])),
            lambda: ("utime", path(), rng.randrange(10**18), rng.randrange(10**18)),
            lambda: ("mkfifo", path(), 0o600),
            lambda: ("read", path()),
            lambda: ("listdir", path()),
        ])()


if __name__ == "__main__":
    unittest.main()
