# SPDX-License-Identifier: Apache-2.0
"""Quotas through mounts and the command line: what the lists, df and statfs tell is held against a count by walking; limits
hold to the byte, whoever races; nothing crosses from one quota into another.

Each case makes an access point of its own on one file system, seen as self.a and self.b; self.plain shows the whole file
system."""
import errno
import json
import multiprocessing
import os
import random
import stat
import subprocess
import unittest

import harness
from mountcase import read_file, write_file

KIB = 1024
BLOCK = 4096


def recount(top, without=()):
    """(bytes, inodes) of what a walk finds below top, itself included."""
    seen = {}
    for where, directories, files in os.walk(top):
        directories[:] = [name for name in directories if os.path.join(where, name) not in without]
        for name in [""] + directories + files:
            status = os.lstat(os.path.join(where, name) if name else where)
            seen[status.st_ino] = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return sum(seen.values()), len(seen)


class QuotaCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.require_root()
        harness.require_fuse()
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.fs = cls.server.fs_create()
        mount = harness.Mount(cls.server, cls.server.ap_create(cls.fs))
        cls.addClassCleanup(mount.unmount)
        cls.plain = mount.path

    def mount(self, access_point):
        mount = harness.Mount(self.server, access_point)
        self.addCleanup(mount.unmount)
        return mount.path

    def access_point(self, name, bytes_=0, inodes=0):
        return self.server.ap_create(self.fs, "--path", "/" + name, "--owner", "0:0", "--perm", "0755", "--quota-bytes",
                                     str(bytes_), "--quota-inodes", str(inodes))

    def open_quota(self, bytes_=0, inodes=0):
        """Two mounts of a new access point, whose root directory is self.top in the whole."""
        name = self.id().rsplit(".", 1)[-1]
        self.ap = self.access_point(name, bytes_, inodes)
        self.a, self.b = self.mount(self.ap), self.mount(self.ap)
        self.top = os.path.join(self.plain, name)

    def listed(self, access_point):
        every = json.loads(self.server.berth("ap", "list", "--fs", self.fs, "--json").stdout)
        (quota,) = [ap.get("BerthQuota") for ap in every if ap["AccessPointId"] == access_point]
        return quota

    def used(self, access_point=None):
        quota = self.listed(access_point or self.ap)
        return quota["UsedBytes"], quota["UsedInodes"]

    def assert_used(self, bytes_, inodes):
        """Soon: the kernel tells of a close after close(2) has returned, and an unlinked file is charged until then."""
        try:
            harness.wait_for(lambda: self.used() == (bytes_, inodes), 10)
        except AssertionError:
            self.assertEqual(self.used(), (bytes_, inodes))

    def assert_errno(self, number, call, *args):
        with self.assertRaises(OSError) as caught:
            call(*args)
        self.assertEqual(caught.exception.errno, number, caught.exception)

    def assert_agrees(self, mount, without=()):
        """The list, statvfs and df tell what a walk finds."""
        found_bytes, found_inodes = recount(self.top, without)
        self.assert_used(found_bytes, found_inodes)
        quota = self.listed(self.ap)
        seen = os.statvfs(mount)
        self.assertEqual(seen.f_blocks * seen.f_frsize, quota["Bytes"])
        self.assertEqual(seen.f_bavail, (quota["Bytes"] - found_bytes) // seen.f_frsize)
        self.assertEqual((seen.f_files, seen.f_favail), (quota["Inodes"], quota["Inodes"] - found_inodes))
        df = subprocess.run(["df", "--block-size=4096", "--output=size,avail,itotal,iavail", mount], check=True, timeout=20,
                            capture_output=True, text=True).stdout.splitlines()[1].split()
        self.assertEqual([int(word) for word in df], [quota["Bytes"] // BLOCK, (quota["Bytes"] - found_bytes) // BLOCK,
                                                      quota["Inodes"], quota["Inodes"] - found_inodes])


class Limits(QuotaCase):
    def test_bytes_are_exact(self):
        self.open_quota(bytes_=10 * KIB)
        path = os.path.join(self.a, "f")
        write_file(path, b"x" * (10 * KIB - 1))
        self.assert_errno(errno.EDQUOT, write_file, path, b"yy", os.O_APPEND)
        self.assertEqual(read_file(path), b"x" * (10 * KIB - 1))
        self.assert_errno(errno.EDQUOT, os.truncate, path, 10 * KIB + 1)
        write_file(path, b"y", os.O_APPEND)
        self.assert_used(10 * KIB, 2)
        self.assert_errno(errno.EDQUOT, write_file, path, b"z", os.O_APPEND)
        write_file(path, b"z" * 10 * KIB)  # in place
        os.truncate(path, 5)
        write_file(os.path.join(self.b, "g"), b"x" * (10 * KIB - 5))
        self.assert_errno(errno.EDQUOT, os.truncate, path, 6)
        self.assert_used(10 * KIB, 3)

    def test_inodes_are_exact(self):
        self.open_quota(inodes=3)
        os.mkdir(os.path.join(self.a, "d"))
        write_file(os.path.join(self.b, "d", "f"), b"no limit on bytes" * 1000)
        new = os.path.join(self.a, "new")
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("x", path), lambda path: write_file(path, b""),
                     lambda path: os.close(os.open(os.path.dirname(path), os.O_TMPFILE | os.O_WRONLY))):
            self.assert_errno(errno.EDQUOT, make, new)
        self.assertFalse(os.path.lexists(new))
        os.link(os.path.join(self.a, "d", "f"), new)
        os.unlink(new)
        os.unlink(os.path.join(self.a, "d", "f"))
        self.assert_used(0, 2)
        os.symlink("x", new)
        self.assert_used(0, 3)

    def test_a_change_holds_at_once(self):
        self.open_quota(bytes_=KIB)
        path = os.path.join(self.a, "f")
        write_file(path, b"x" * KIB)
        self.assert_errno(errno.EDQUOT, write_file, path, b"y", os.O_APPEND)
        self.server.berth("ap", "quota", self.ap, "--quota-bytes", "2K")
        write_file(path, b"y" * KIB, os.O_APPEND)
        self.server.berth("ap", "quota", self.ap, "--quota-inodes", "2")
        self.assert_errno(errno.EDQUOT, os.mkdir, os.path.join(self.b, "d"))
        self.assertEqual(self.listed(self.ap), {"Bytes": 2 * KIB, "Inodes": 2, "UsedBytes": 2 * KIB, "UsedInodes": 2})
        self.server.berth("ap", "quota", self.ap, "--quota-bytes", "100")  # over it now
        write_file(path, b"z" * KIB)
        os.truncate(path, 200)
        self.assert_errno(errno.EDQUOT, os.truncate, path, 201)
        self.assertEqual(os.statvfs(self.a).f_bavail, 0)
        self.server.berth("ap", "quota", self.ap, "--quota-bytes", "0", "--quota-inodes", "0")
        write_file(path, b"z" * (3 * KIB))
        os.mkdir(os.path.join(self.b, "d"))
        self.assertIsNone(self.listed(self.ap))
        self.assertEqual(os.statvfs(self.a).f_blocks, os.statvfs(self.plain).f_blocks)

    def test_an_unlinked_file_is_charged_while_it_is_open(self):
        self.open_quota(bytes_=KIB)
        path = os.path.join(self.a, "f")
        with open(path, "wb", buffering=0) as f:
            f.write(b"x" * KIB)
            os.unlink(os.path.join(self.b, "f"))
            self.assert_used(KIB, 2)
            self.assert_errno(errno.EDQUOT, write_file, path, b"y")
        os.unlink(path)  # made by the write that failed
        self.assert_used(0, 1)
        write_file(path, b"y" * KIB)

    def test_the_whole_file_system(self):
        fs = self.server.fs_create("--quota-bytes", "1M", "--quota-inodes", "4")
        a = self.mount(self.server.ap_create(fs))
        inner = self.mount(self.server.ap_create(fs, "--path", "/in", "--owner", "0:0", "--perm", "0755", "--quota-bytes",
                                                 "2M"))
        path = os.path.join(a, "f")
        write_file(path, b"x" * (1 << 20))
        self.assert_errno(errno.ENOSPC, write_file, path, b"y", os.O_APPEND)
        self.assert_errno(errno.ENOSPC, write_file, os.path.join(inner, "g"), b"y")
        self.assert_errno(errno.ENOSPC, os.mkdir, os.path.join(inner, "d"))
        (described,) = [f for f in json.loads(self.server.berth("fs", "list", "--json").stdout) if f["FileSystemId"] == fs]
        self.assertEqual(described["BerthQuota"], {"Bytes": 1 << 20, "Inodes": 4, "UsedBytes": 1 << 20, "UsedInodes": 4})
        for mount in (a, inner):
            seen = os.statvfs(mount)
            self.assertEqual((seen.f_blocks, seen.f_bavail, seen.f_files, seen.f_favail), (256, 0, 4, 0))
        self.server.berth("fs", "quota", fs, "--quota-bytes", "0", "--quota-inodes", "0")
        os.mkdir(os.path.join(inner, "d"))
        write_file(path, b"y", os.O_APPEND)


class Domains(QuotaCase):
    def test_nothing_crosses_and_mv_copies(self):
        self.open_quota(bytes_=100 * KIB, inodes=50)
        outside = os.path.join(self.plain, "outside")
        os.mkdir(outside)
        write_file(os.path.join(outside, "f"), b"f" * 1000)
        os.mkdir(os.path.join(self.top, "d"))
        write_file(os.path.join(self.top, "d", "g"), b"g" * 2000)
        self.assert_errno(errno.EXDEV, os.rename, os.path.join(outside, "f"), os.path.join(self.top, "f"))
        self.assert_errno(errno.EXDEV, os.link, os.path.join(outside, "f"), os.path.join(self.top, "f"))
        self.assert_errno(errno.EXDEV, os.rename, os.path.join(self.top, "d"), os.path.join(outside, "d"))
        self.assert_errno(errno.EXDEV, os.link, os.path.join(self.top, "d", "g"), os.path.join(outside, "g"))
        os.rename(os.path.join(self.top, "d", "g"), os.path.join(self.top, "g"))
        self.assert_used(2000, 3)
        subprocess.run(["mv", os.path.join(outside, "f"), self.top], check=True, timeout=20)
        self.assertEqual(read_file(os.path.join(self.a, "f")), b"f" * 1000)
        self.assert_used(3000, 4)
        subprocess.run(["mv", os.path.join(self.top, "g"), os.path.join(self.top, "d"), outside], check=True, timeout=20)
        self.assertEqual(sorted(os.listdir(outside)), ["d", "g"])
        self.assert_used(1000, 2)

    def test_an_existing_directory_is_charged_with_what_it_holds(self):
        self.top = os.path.join(self.plain, "existing")
        inner = os.path.join(self.top, "d", "inner")
        os.makedirs(inner)
        for at, size in ((self.top, 10), (os.path.join(self.top, "d"), 200), (inner, 3000)):
            write_file(os.path.join(at, "f"), b"x" * size)
        os.link(os.path.join(self.top, "f"), os.path.join(self.top, "d", "same"))
        self.ap = self.access_point("existing/d/inner", bytes_=64 * KIB, inodes=100)
        inner_ap, inner_top = self.ap, inner
        self.assert_used(3000, 2)
        self.ap = self.access_point("existing", bytes_=64 * KIB, inodes=100)
        self.assert_used(210, 4)
        self.a = self.mount(self.ap)
        write_file(os.path.join(self.a, "d", "more"), b"x" * 5000)
        write_file(os.path.join(self.a, "d", "inner", "more"), b"x" * 60000)
        self.assert_agrees(self.a, without=(inner,))
        self.ap, self.top = inner_ap, inner_top
        self.assert_agrees(self.mount(inner_ap))

    def test_one_root_has_one_quota(self):
        self.open_quota(bytes_=KIB)
        refused = self.server.berth("ap", "create", "--fs", self.fs, "--path", "/test_one_root_has_one_quota",
                                    "--quota-bytes", "2K", check=False)
        self.assertEqual((refused.returncode, refused.stdout, refused.stderr.count("\n")), (1, "", 1))
        self.assertIn(self.ap, refused.stderr)
        second = self.access_point("test_one_root_has_one_quota", bytes_=KIB)
        self.server.berth("ap", "quota", second, "--quota-bytes", "3K")
        self.assertEqual(self.listed(self.ap)["Bytes"], 3 * KIB)
        write_file(os.path.join(self.a, "f"), b"x" * 3 * KIB)
        self.assertEqual(self.used(second), self.used())
        for access_point in (self.ap, second):
            self.server.berth("ap", "delete", access_point)
        self.assert_errno(errno.EDQUOT, write_file, os.path.join(self.a, "f"), b"y", os.O_APPEND)
        self.mount(self.server.ap_create(self.fs, "--path", "/test_one_root_has_one_quota"))
        write_file(os.path.join(self.a, "f"), b"y", os.O_APPEND)


class Agreement(QuotaCase):
    BYTES, INODES = 512 * KIB, 40

    def step(self, chance):
        """One random call through either mount; what it answers is not the point."""
        mount = chance.choice((self.a, self.b))

        def path():
            return os.path.join(mount, *chance.sample(("d0", "d1", "d2"), chance.randrange(2)),
                                "n%d" % chance.randrange(12))
        try:
            kind = chance.randrange(10)
            if kind < 3:
                write_file(path(), b"x" * chance.randrange(60 * KIB), chance.choice((0, os.O_APPEND, os.O_TRUNC)))
            elif kind == 3:
                os.truncate(path(), chance.randrange(90 * KIB))
            elif kind == 4:
                os.unlink(path())
            elif kind == 5:
                os.rename(path(), path())
            elif kind == 6:
                os.link(path(), path())
            elif kind == 7:
                os.mkdir(os.path.join(mount, "d%d" % chance.randrange(3)))
            elif kind == 8:
                os.symlink("target", path())
            else:
                os.rmdir(os.path.join(mount, "d%d" % chance.randrange(3)))
        except OSError as error:
            self.refused[error.errno] = self.refused.get(error.errno, 0) + 1

    def test_lists_and_df_agree_with_a_walk(self):
        seed = int(os.environ.get("BERTH_TEST_SEED", random.randrange(1 << 32)))
        self.refused = {}
        self.open_quota(self.BYTES, self.INODES)
        with self.subTest(BERTH_TEST_SEED=seed):
            self.play(random.Random(seed))

    def play(self, chance):
        for turn in range(12):
            for _ in range(60):
                self.step(chance)
            if turn % 4 == 3:
                self.server.kill9()
                self.server.start()
            self.assert_agrees(chance.choice((self.a, self.b)))
        self.assertGreater(self.refused.get(errno.EDQUOT, 0), 5)


def fill(path, mount, sizes, result):
    """Appends to a file of its own until not even the smallest size fits."""
    fd = os.open(os.path.join(mount, path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    total = 0
    for size in sizes:
        try:
            while True:
                total += os.write(fd, b"x" * size)
        except OSError as error:
            if error.errno != errno.EDQUOT:
                raise
    os.close(fd)
    result.put(total)


def make_many(path, mount, result):
    n = 0
    try:
        while True:
            os.close(os.open(os.path.join(mount, "%s%d" % (path, n)), os.O_CREAT | os.O_EXCL, 0o644))
            n += 1
    except OSError as error:
        result.put(n if error.errno == errno.EDQUOT else -error.errno)


class Races(QuotaCase):
    LIMIT = 2000 * KIB + 7

    def race(self, target, arguments, look):
        """Two processes on each mount; look() until they have ended. What each put."""
        results = multiprocessing.Queue()
        processes = [multiprocessing.Process(target=target, args=("p%d" % i, mount, *arguments, results))
                     for i, mount in enumerate((self.a, self.b, self.a, self.b))]
        for process in processes:
            process.start()
        try:
            while any(process.is_alive() for process in processes):
                look()
            return [results.get(timeout=20) for _ in processes]
        finally:
            for process in processes:
                process.kill()
                process.join()

    def test_filling_stops_at_the_byte(self):
        self.open_quota(bytes_=self.LIMIT)
        totals = self.race(fill, ((5000, 61, 1),), lambda: self.assertLessEqual(self.used()[0], self.LIMIT))
        self.assertEqual(sum(totals), self.LIMIT)
        self.assert_used(self.LIMIT, 5)
        self.assertEqual(recount(self.top), (self.LIMIT, 5))

    def test_making_stops_at_the_inode(self):
        self.open_quota(inodes=101)
        made = self.race(make_many, (), lambda: self.assertLessEqual(self.used()[1], 101))
        self.assertEqual(sum(made), 100)
        self.assertEqual(recount(self.top), (0, 101))


if __name__ == "__main__":
    unittest.main()
