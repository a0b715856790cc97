# SPDX-License-Identifier: Apache-2.0
"""`berthd fsck` and `berth fs check`: stores left by `kill -9`, and those at work, are clean, damage is named and repaired,
refusals and exit statuses."""
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import unittest

import harness
from mountcase import TwoMounts

SECONDS = 30
ROUNDS = 8


def fsck(directory, *arguments):
    return subprocess.run([harness.program("berthd"), "fsck", "--data", directory, *arguments], capture_output=True,
                          text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)


def store_of(server, fs):
    return os.path.join(server.directory, "fs", fs)


class Command(unittest.TestCase):
    """A stopped server with two file systems, damaged anew in each test."""

    @classmethod
    def setUpClass(cls):
        cls.original = harness.Server()
        cls.addClassCleanup(cls.original.stop)
        cls.fs, cls.other = sorted(cls.original.fs_create() for _ in range(2))
        cls.ap = cls.original.ap_create(cls.fs)
        cls.original.stop()

    def setUp(self):
        self.directory = os.path.join(harness.new_directory("fsck-"), "data")
        shutil.copytree(self.original.directory, self.directory, ignore=lambda where, names: [
            name for name in names if stat.S_ISSOCK(os.lstat(os.path.join(where, name)).st_mode)])

    def check(self, *arguments, status=0, says=()):
        result = fsck(self.directory, *arguments)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertEqual(result.stdout.splitlines(), list(says))
        return result

    def refused(self, *arguments, status, says):
        result = self.check(*arguments, status=status)
        self.assertRegex(result.stderr, says)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)

    def sql(self, path, *statements):
        with sqlite3.connect(os.path.join(self.directory, path)) as db:
            for statement in statements:
                db.execute(statement)
        db.close()

    def test_clean(self):
        result = self.check()
        self.assertEqual(result.stderr, "berthd: 2 file systems checked: 0 problems repaired, 0 left\n")
        self.check("--repair")
        self.check(self.fs)
        self.check("--json")

    def test_damage_and_repair(self):
        self.sql("fs/%s/meta.db" % self.fs, "INSERT OR REPLACE INTO usage VALUES (1, 7, 7)")
        line = "%s usage: 7 inodes and 7 bytes, counted 0 and 0" % self.fs
        self.check(status=4, says=[line])
        self.check(self.other)
        self.check(self.other, "--repair")
        self.check(status=4, says=[line])
        found = json.loads(self.check("--json", status=4, says=self.check("--json", status=4, says=[
            json.dumps({"FileSystemId": self.fs, "Kind": "usage", "Problem": line[len(self.fs) + 1:], "Repaired": False},
                       separators=(",", ":"))]).stdout.splitlines()).stdout)
        self.assertEqual(found["Kind"], "usage")
        self.check("--repair", self.fs, status=1, says=[line + " (repaired)"])
        self.check()

    def test_catalogue(self):
        os.rename(os.path.join(self.directory, "fs", self.other), os.path.join(self.directory, "fs", "fs-0"))
        self.sql("catalogue.db", "UPDATE access_points SET file_system_id = 'fs-1'")
        lines = ["catalogue fs/\"fs-0\": no file system has this directory",
                 "catalogue access point %s: of no file system" % self.ap]
        missing = "%s fs/%s: the file system's directory or its meta.db is missing" % (self.other, self.other)
        self.check(status=4, says=lines + [missing])
        self.check("--repair", status=4, says=[line + " (repaired)" for line in lines] + [missing])
        self.check(status=4, says=[missing])
        os.rename(os.path.join(self.directory, "lost+found", "fs-0"), os.path.join(self.directory, "fs", self.other))
        self.check()

    def test_damaged_databases(self):
        with open(os.path.join(self.directory, "fs", self.fs, "meta.db"), "r+b") as f:
            f.write(b"x" * 100)
        line = "%s meta.db: not a database of this kind, or damaged" % self.fs
        self.assertEqual(self.check("--repair", status=4, says=[line]).stdout, line + "\n")
        with open(os.path.join(self.directory, "catalogue.db"), "r+b") as f:
            f.write(b"x" * 100)
        self.check("--repair", status=4, says=["catalogue catalogue.db: damaged: restore it from a copy"])

    def test_refusals(self):
        server = harness.Server(directory=self.directory)
        self.addCleanup(server.stop)
        self.refused(status=8, says=r"\Aberthd: data directory .* in use by another berthd \(pid %d\)" % server.process.pid)
        self.refused("--repair", status=8, says="in use by another berthd")
        server.stop()
        self.refused("fs-0123456789abcdef0", status=2, says="there is no such file system")
        self.sql("fs/%s/meta.db" % self.fs, "PRAGMA user_version = 99")
        result = self.check(status=8)
        self.assertIn("%s was written by a newer berthd" % self.fs, result.stderr)
        self.directory = os.path.join(self.directory, "nothing")
        self.refused(status=8, says=r"there is no catalogue\.db")
        self.assertFalse(os.path.exists(self.directory), "something was made")

    def test_usage(self):
        self.assertEqual(fsck(self.directory, "--nonsense").returncode, 2)
        result = subprocess.run([harness.program("berthd"), "--data", self.directory, "--repair"], capture_output=True, text=True,
                                timeout=SECONDS)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--repair and --json belong to fsck", result.stderr)


def work(directory, seed):
    """Changes names, links, sizes and attributes for ever, below `directory`."""
    rng = random.Random(seed)
    os.makedirs(directory, exist_ok=True)
    while True:
        paths = [os.path.join(directory, "%s%d" % (rng.choice("fdl"), rng.randrange(12))) for _ in range(2)]
        try:
            step(rng, *paths)
        except OSError:
            pass


def step(rng, path, other):
    act = rng.randrange(10)
    if act < 3:
        with open(path, "ab", buffering=0) as f:
            f.write(bytes(rng.choice((5, 3000, 20_000, 200_000))))
    elif act == 3:
        os.truncate(path, rng.choice((0, 10, 17_000, 1 << 41)))
    elif act == 4:
        os.rename(path, other)
    elif act == 5:
        os.link(path, other)
    elif act == 6:
        os.unlink(path)
    elif act == 7:
        os.mkdir(path) if rng.randrange(2) else os.rmdir(path)
    elif act == 8:
        os.setxattr(path, "user.a", bytes(rng.randrange(100))) if rng.randrange(2) else os.removexattr(path, "user.a")
    else:
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"far", (1 << 40) + 5)
        os.close(fd)


@contextlib.contextmanager
def working(directories, seed):
    """Processes at work in them, two to a name space."""
    workers = []
    for i, directory in enumerate(directories):
        worker = os.fork()
        if worker == 0:
            try:
                work(os.path.join(directory, "w%d" % (i // 2)), seed + i)
            finally:
                os._exit(1)
        workers.append(worker)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)


class Served(TwoMounts):
    """`berth fs check`."""

    def check(self, *arguments, status=0, says=()):
        result = self.server.berth("fs", "check", *arguments, check=False)
        self.assertEqual((result.returncode, result.stdout.splitlines()), (status, list(says)), result.stderr)
        return result

    def test_nothing_is_found_amid_work(self):
        seed = int.from_bytes(os.urandom(4), "little")
        with working((self.a, self.b, self.a, self.b), seed):
            for _ in range(ROUNDS):
                self.check(self.fs)

    def test_damage_is_found_and_left(self):
        fs = self.server.fs_create()
        ap = self.server.ap_create(fs)
        self.check(fs)  # nobody has opened it
        mount = harness.Mount(self.server, ap)
        self.addCleanup(mount.unmount)
        with open(mount.path + "/large", "wb") as f:
            f.write(bytes(100_000))
        data = store_of(self.server, fs) + "/data"
        [shard] = os.listdir(data)
        [name] = os.listdir(os.path.join(data, shard))
        with open(os.path.join(data, shard, "x"), "wb"):
            pass
        stray = '%s data file "%s/x": no name of a data file' % (fs, shard)
        self.check(fs, status=4, says=[stray])
        os.rename(os.path.join(data, shard, "x"), os.path.join(data, "y"))
        self.check(fs, status=4, says=['%s data file "y": no directory of data files' % fs])
        os.unlink(os.path.join(data, "y"))
        found = json.loads(self.server.berth("fs", "check", "--json", fs).stdout)
        self.assertEqual(found, [])
        self.assertEqual(os.listdir(mount.path), ["large"])

    def test_damaged_tables_are_found(self):
        fs = self.server.fs_create()
        with sqlite3.connect(store_of(self.server, fs) + "/meta.db") as db:
            db.execute("UPDATE usage SET bytes = 7")
        db.close()
        [line] = self.server.berth("fs", "check", fs, check=False).stdout.splitlines()
        self.assertRegex(line, r"\A%s usage: 0 inodes and 7 bytes, counted 0 and 0" % fs)

    def test_a_server_that_stops_does_not_wait_for_it(self):
        self.server.berth("fs", "check", self.fs)
        seed = int.from_bytes(os.urandom(4), "little")
        with working((self.a, self.b), seed):
            checks = [subprocess.Popen([harness.program("berth"), "fs", "check", self.fs], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=dict(
                                           os.environ, BERTH_ENDPOINT="unix:%s/api.sock" % self.server.directory))
                      for _ in range(4)]
            self.server.restart()
            for check in checks:
                check.wait(SECONDS)
        self.check(self.fs)

    def test_refusals(self):
        result = self.check("fs-0123456789abcdef0", status=1)
        self.assertIn("does not exist", result.stderr)


class Killed(TwoMounts):
    """What `kill -9` leaves, before anybody recovered it, and after."""

    def test_stores_left_by_kill_9_are_clean(self):
        seed = int.from_bytes(os.urandom(4), "little")
        rng = random.Random(seed)
        with working((self.a, self.b, self.a, self.b), seed):
            for _ in range(ROUNDS):
                self.round(rng, seed)

    def round(self, rng, seed):
        timer = threading.Event()
        timer.wait(rng.uniform(0.02, 0.4))  # any moment is right
        self.server.kill9()
        self.clean(seed)
        if rng.randrange(2):
            self.clean(seed, "--repair")
        self.server.restart()

    def clean(self, seed, *arguments):
        result = fsck(self.server.directory, *arguments)
        self.assertEqual((result.returncode, result.stdout), (0, ""), "seed %d: %s" % (seed, result.stderr))


if __name__ == "__main__":
    unittest.main()
