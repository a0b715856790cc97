# SPDX-License-Identifier: Apache-2.0
"""Opens that nobody uses any more and that a client keeps, and files that come with their open: what is answered without the
server, and that nobody can tell but by the time it takes."""
import fcntl
import json
import os
import socket
import unittest

import harness
from identity import Identity, OTHER, OWNER
from mountcase import TwoMounts, outcome, read_file, write_file

ROUNDS = 30


class KeptCase(TwoMounts):
    def setUp(self):
        super().setUp()
        os.chmod(self.a, 0o777)
        self.mount_b = harness.Mount(self.server, self.ap)  # which has nothing open yet
        self.addCleanup(self.mount_b.unmount)
        self.b = os.path.join(self.mount_b.path, os.path.basename(self.a))
        self.f, self.g = self.a + "/f", self.b + "/f"

    def row(self, mount):
        """What the server says of the mount's client."""
        name = "%s:%d:%s" % (socket.gethostname(), mount.pid, mount.path)
        (row,) = [row for row in json.loads(self.server.berth("clients", "--json").stdout) if row["Name"] == name]
        return row

    def kept(self):
        status = json.loads(self.server.berth("status", "--json", self.mount_b.path).stdout)
        return status["kept_opens"]

    def keep(self, path):
        """Reads a file; then its open is kept."""
        read_file(path)
        harness.wait_for(lambda: self.kept() == 1, 10)

    def assert_closed(self):
        self.assertEqual(self.row(self.mount_b)["Opens"], 0)

    def wait_closed(self):
        harness.wait_for(lambda: self.row(self.mount_b)["Opens"] == 0, 10)


class Kept(KeptCase):
    def test_an_open_is_kept_and_used_again(self):
        write_file(self.f, b"data")
        self.keep(self.g)
        for _ in range(3):
            with open(self.g, "rb", buffering=0) as f:
                self.assertEqual((self.kept(), self.row(self.mount_b)["Opens"]), (0, 1))
                self.assertEqual(f.read(), b"data")
            harness.wait_for(lambda: self.kept() == 1, 10)

    def test_what_is_unlinked_elsewhere_is_closed(self):
        write_file(self.f, b"x")
        self.keep(self.g)
        os.unlink(self.f)
        self.assert_closed()

    def test_what_is_unlinked_here_is_closed(self):
        write_file(self.f, b"x")
        self.keep(self.g)
        os.unlink(self.g)
        self.assert_closed()

    def test_what_is_replaced_here_is_closed_whatever_it_was_called_before(self):
        for name in ("f", "other"):
            write_file(os.path.join(self.a, name), b"x")
        os.mkdir(self.b + "/d")
        os.rename(self.g, self.b + "/d/g")
        self.keep(self.b + "/d/g")
        os.rename(self.b + "/other", self.b + "/d/g")
        self.assert_closed()

    def test_one_of_two_names_does_not_hide_the_other(self):
        write_file(self.f, b"x")
        os.link(self.f, self.a + "/second")
        os.stat(self.b + "/second")
        self.keep(self.g)
        os.unlink(self.b + "/second")
        self.assertEqual(read_file(self.g), b"x")
        os.unlink(self.g)
        self.wait_closed()

    def test_who_may_not_read_it_does_not(self):
        write_file(self.f, b"x")
        os.chmod(self.f, 0o640)
        os.chown(self.f, *OWNER)
        self.keep(self.g)
        for who, groups, want in ((OWNER, (), b"x"), (OTHER, (), "EACCES"), (OTHER, OWNER[1:], b"x"), (OTHER, (), "EACCES")):
            with Identity(who, groups):
                self.assertEqual(outcome(read_file, self.g), want)

    def test_our_own_chmod_is_heeded(self):
        with Identity(OWNER):
            write_file(self.f, b"x")
            self.keep_as_owner()
            os.chmod(self.g, 0)
            self.assertEqual(outcome(read_file, self.g), "EACCES")
            os.chmod(self.g, 0o400)
            self.assertEqual(outcome(read_file, self.g), b"x")

    def test_a_chmod_while_it_is_open_is_heeded(self):
        with Identity(OWNER):
            write_file(self.f, b"x")
            with open(self.g, "rb", buffering=0) as f:
                os.chmod(self.f, 0)
                self.assertEqual(f.read(), b"x")
            self.assertEqual(outcome(read_file, self.g), "EACCES")
            os.chmod(self.f, 0o400)
            with open(self.g, "rb", buffering=0) as f:
                os.chmod(self.g, 0)
                self.assertEqual(f.read(), b"x")
            self.assertEqual(outcome(read_file, self.g), "EACCES")

    def keep_as_owner(self):
        for _ in range(2):
            self.assertEqual(read_file(self.g), b"x")

    def test_a_parent_that_is_closed_is_heeded(self):
        os.mkdir(self.a + "/d")
        os.chmod(self.a + "/d", 0o755)
        write_file(self.a + "/d/f", b"x")
        with Identity(OTHER):
            for _ in range(2):
                self.assertEqual(read_file(self.b + "/d/f"), b"x")
        os.chmod(self.a + "/d", 0o700)
        with Identity(OTHER):
            self.assertEqual(outcome(read_file, self.b + "/d/f"), "EACCES")

    def test_what_marks_the_file_is_marked_again(self):
        """relatime, held against the rule: what was changed since it was read is marked by the next read."""
        write_file(self.f, b"x")
        os.mkdir(self.b + "/d")
        changes = [lambda: os.chmod(self.g, 0o600), lambda: os.link(self.g, self.b + "/l"), lambda: os.unlink(self.b + "/l"),
                   lambda: os.rename(self.g, self.b + "/d/f"), lambda: os.rename(self.b + "/d/f", self.g),
                   lambda: os.setxattr(self.g, "user.x", b"1"), lambda: os.removexattr(self.g, "user.x"),
                   lambda: write_file(self.g, b"y"), lambda: os.truncate(self.g, 1),
                   lambda: os.chmod(self.f, 0o644), lambda: write_file(self.f, b"z"),
                   lambda: os.rename(self.f, self.a + "/h"), lambda: os.rename(self.a + "/h", self.f)]
        for number, change in enumerate(changes):
            for _ in range(2):
                path = self.g if os.path.exists(self.g) else next(
                    path for path in (self.b + "/d/f", self.b + "/h") if os.path.exists(path))
                read_file(path)
            os.stat(path)
            change()
            path = next(path for path in (self.g, self.b + "/d/f", self.b + "/h") if os.path.exists(path))
            before = os.stat(path)
            self.assertGreaterEqual(before.st_ctime_ns, before.st_atime_ns, number)
            read_file(path)
            self.assertGreater(os.stat(path).st_atime_ns, before.st_ctime_ns, number)

    def test_what_changes_while_it_is_open_is_marked_again(self):
        changes = [lambda: os.chmod(self.g, 0o600), lambda: os.rename(self.g, self.b + "/h"),
                   lambda: os.rename(self.b + "/h", self.g), lambda: write_file(self.g, b"y"), lambda: os.chmod(self.f, 0o644),
                   lambda: write_file(self.g, b"w", os.O_TRUNC), lambda: write_file(self.f, b"z")]
        write_file(self.f, b"x")
        for number, change in enumerate(changes):
            path = next(path for path in (self.g, self.b + "/h") if os.path.exists(path))
            read_file(path)
            with open(path, "rb", buffering=0) as f:
                f.read()
                change()
            path = next(path for path in (self.g, self.b + "/h") if os.path.exists(path))
            changed = os.stat(path).st_ctime_ns
            read_file(path)
            self.assertGreater(os.stat(path).st_atime_ns, changed, number)

    def test_one_that_is_opened_and_not_read_is_not_marked(self):
        write_file(self.f, b"x")
        before = os.stat(self.f).st_atime_ns
        for _ in range(3):
            os.close(os.open(self.g, os.O_RDONLY))
        self.assertEqual(os.stat(self.g).st_atime_ns, before)
        read_file(self.g)
        self.assertGreater(os.stat(self.g).st_atime_ns, before)

    def test_who_locks_is_not_kept(self):
        write_file(self.f, b"x")
        with open(self.g, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH)
        self.wait_closed()
        with open(self.f, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_who_writes_or_goes_past_the_cache_is_not_kept(self):
        write_file(self.f, b"x")
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECT, os.O_RDONLY | os.O_SYNC):
            os.close(os.open(self.g, flags))
            self.wait_closed()

    def test_nothing_is_kept_without_leases(self):
        mount = harness.Mount(self.server, self.ap, options="nolease")
        self.addCleanup(mount.unmount)
        write_file(self.f, b"x")
        self.assertEqual(read_file(os.path.join(mount.path, os.path.relpath(self.f, self.mount_a.path))), b"x")
        harness.wait_for(lambda: self.row(mount)["Opens"] == 0, 10)


class ByServer(KeptCase):
    """Where the server alone judges permissions."""
    AP_ARGS = ("--uid", "1000", "--gid", "1000", "--path", "/own", "--owner", "1000:1000", "--perm", "0755")

    def test_whoever_changes_the_mode_and_whether_it_is_open_then(self):
        write_file(self.f, b"x")
        for path in (self.f, self.g):
            for held in (False, True):
                for _ in range(2):
                    self.assertEqual(read_file(self.g), b"x")
                fd = os.open(self.g, os.O_RDONLY) if held else None
                os.chmod(path, 0)
                if held:
                    os.close(fd)
                self.assertEqual(outcome(read_file, self.g), "EACCES", (path, held))
                os.chmod(path, 0o600)

    def test_a_parent_that_is_closed(self):
        os.mkdir(self.a + "/d")
        write_file(self.a + "/d/f", b"x")
        for top in (self.a, self.b):
            for _ in range(2):
                self.assertEqual(read_file(self.b + "/d/f"), b"x")
            os.chmod(top + "/d", 0)
            self.assertEqual(outcome(read_file, self.b + "/d/f"), "EACCES")
            os.chmod(top + "/d", 0o700)


class Room(KeptCase):
    """What is removed is free when the call returns, though somebody has it open but to keep."""
    AP_ARGS = ("--path", "/quota", "--owner", "0:0", "--perm", "0755", "--quota-bytes", "1000000")

    def check(self, remove):
        write_file(self.f, b"")
        empty = os.statvfs(self.b).f_bfree
        for _ in range(ROUNDS):
            write_file(self.f, b"x" * 700_000)
            self.keep(self.g)
            remove()
            self.assertEqual(os.statvfs(self.b).f_bfree, empty)
            write_file(self.b + "/next", b"x" * 700_000)
            os.unlink(self.a + "/next")

    def test_removed_elsewhere(self):
        self.check(lambda: os.unlink(self.f))

    def test_removed_here(self):
        self.check(lambda: os.unlink(self.g))

    def replace(self, top):
        write_file(top + "/new", b"")
        os.rename(top + "/new", top + "/f")

    def test_replaced_elsewhere(self):
        self.check(lambda: self.replace(self.a))

    def test_replaced_here(self):
        self.check(lambda: self.replace(self.b))


class FirstBytes(KeptCase):
    """A file that is open, and was not read yet."""

    def lengths(self):
        return (1, 100, 4096, 5000, 16384, 16385, 70000)

    def test_they_are_the_files(self):
        for length in self.lengths():
            data = os.urandom(length)
            write_file(self.f, data, os.O_TRUNC)
            self.assertEqual(read_file(self.g), data)
            with open(self.g, "rb", buffering=0) as f:
                self.assertEqual(f.read(), data)

    def test_read_in_parts(self):
        data = os.urandom(16000)
        write_file(self.f, data)
        with open(self.g, "rb", buffering=0) as f:
            self.assertEqual(os.pread(f.fileno(), 10, 15990), data[15990:])
            self.assertEqual(os.pread(f.fileno(), 5000, 0), data[:5000])
            self.assertEqual(os.pread(f.fileno(), 20000, 3), data[3:])
            self.assertEqual(os.pread(f.fileno(), 10, 16000), b"")

    def changed_before_it_is_read(self, change, want):
        for number in range(ROUNDS):
            write_file(self.f, b"%08d" % number, os.O_TRUNC)
            with open(self.g, "rb", buffering=0) as f:
                change(number)
                self.assertEqual(f.read(), want(number))

    def test_a_write_elsewhere_is_seen(self):
        self.changed_before_it_is_read(lambda n: write_file(self.f, b"new%05d" % n), lambda n: b"new%05d" % n)

    def test_a_write_here_is_seen(self):
        self.changed_before_it_is_read(lambda n: write_file(self.g, b"new%05d" % n), lambda n: b"new%05d" % n)

    def test_truncation_elsewhere_is_seen(self):
        self.changed_before_it_is_read(lambda n: os.truncate(self.f, 3), lambda n: (b"%08d" % n)[:3])

    def test_truncation_here_is_seen(self):
        self.changed_before_it_is_read(lambda n: os.truncate(self.g, 3), lambda n: (b"%08d" % n)[:3])

    def test_an_open_that_truncates_is_seen(self):
        for path in (self.f, self.g):
            self.changed_before_it_is_read(lambda n, path=path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)), lambda n: b"")

    def test_what_is_replaced_is_read_on(self):
        def replace(number):
            write_file(self.a + "/new", b"new")
            os.rename(self.a + "/new", self.f)
        self.changed_before_it_is_read(replace, lambda n: b"%08d" % n)

    def test_many_that_are_not_read(self):
        """More than the client has room for."""
        data = {"%d" % n: os.urandom(16384) for n in range(600)}
        for name, part in data.items():
            write_file(os.path.join(self.a, name), part)
        files = {name: os.open(os.path.join(self.b, name), os.O_RDONLY) for name in data}
        try:
            for name, fd in files.items():
                self.assertEqual(os.read(fd, 20000), data[name])
        finally:
            for fd in files.values():
                os.close(fd)


class Restarts(KeptCase):
    def test_a_server_that_is_killed_knows_nothing_of_them(self):
        write_file(self.f, b"data")
        self.keep(self.g)
        for restart in (self.server.kill9, self.server.stop):
            restart()
            self.server.start()
            self.assertEqual(read_file(self.g), b"data")
            self.assertEqual(json.loads(self.server.berth("status", "--json", self.mount_b.path).stdout)["lost_opens"], 0)
            os.truncate(self.f, 2)
            self.assertEqual(read_file(self.g), b"da")
            harness.wait_for(lambda: self.kept() == 1, 10)
            write_file(self.f, b"data")

    def test_evicted_with_a_kept_open(self):
        write_file(self.f, b"data")
        self.keep(self.g)
        self.server.berth("evict", self.row(self.mount_b)["ClientId"])
        self.assertEqual(read_file(self.g), b"data")
        with open(self.g, "rb", buffering=0) as f:
            self.assertEqual(f.read(), b"data")


del KeptCase, TwoMounts

if __name__ == "__main__":
    unittest.main()
