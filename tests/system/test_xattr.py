# SPDX-License-Identifier: Apache-2.0
"""Extended attributes through mounts, each step done alike on the host's own file system: results and errors compared."""
import os
import random
import shutil
import stat
import subprocess
import unittest

import harness
from mountcase import TwoMounts, as_user, outcome

SOME_UID, OTHER_UID = 1234, 5678
LARGEST = 65536
STEPS = 600


class Xattrs(TwoMounts):
    def setUp(self):
        super().setUp()
        self.host = harness.new_directory("host-")
        self.addCleanup(shutil.rmtree, self.host)
        os.chmod(self.host, 0o755)
        try:
            os.setxattr(self.host, "user.probe", b"")
            os.removexattr(self.host, "user.probe")
        except OSError as error:
            self.skipTest("host: its file system has no user attributes: %s" % error.strerror)

    def both(self, function):
        """The outcome of function(top) on the host, having compared that with the one on the mount."""
        expected, got = outcome(function, self.host), outcome(function, self.a)
        self.assertEqual(got, expected)
        return expected

    def both_as(self, uid, function):
        expected, got = as_user(uid, lambda: function(self.host)), as_user(uid, lambda: function(self.a))
        self.assertEqual(got, expected)
        return expected

    def make(self, name, mode, uid=0):
        for top in (self.host, self.a):
            path = os.path.join(top, name)
            if stat.S_ISDIR(mode):
                os.mkdir(path)
            elif stat.S_ISLNK(mode):
                os.symlink("nowhere", path)
            else:
                os.mknod(path, mode)
            os.chown(path, uid, uid, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode))

    def test_get_set_list_remove(self):
        self.make("f", stat.S_IFREG | 0o644)
        f = lambda top: os.path.join(top, "f")
        self.both(lambda top: os.getxattr(f(top), "user.a"))
        self.both(lambda top: os.listxattr(f(top)))
        self.both(lambda top: os.setxattr(f(top), "user.a", b"one"))
        self.both(lambda top: os.setxattr(f(top), "user.empty", b""))
        self.both(lambda top: os.setxattr(f(top), "user.a/\xff", b"\0bytes\0"))
        for name in ("user.a", "user.empty", "user.a/\xff", "user.none"):
            self.both(lambda top: os.getxattr(f(top), name))
        self.assertEqual(self.both(lambda top: sorted(os.listxattr(f(top)))), ["user.a", "user.a/\xff", "user.empty"])
        self.both(lambda top: os.removexattr(f(top), "user.empty"))
        self.both(lambda top: os.removexattr(f(top), "user.empty"))
        self.both(lambda top: sorted(os.listxattr(f(top))))
        with open(f(self.a)) as opened:
            self.assertEqual(os.getxattr(opened.fileno(), "user.a"), b"one")
            os.setxattr(opened.fileno(), "user.b", b"through an open")
            os.unlink(f(self.a))
            self.assertEqual(os.getxattr(opened.fileno(), "user.b"), b"through an open")

    def test_flags(self):
        self.make("f", stat.S_IFREG | 0o644)
        f = lambda top: os.path.join(top, "f")
        for flags in (os.XATTR_REPLACE, os.XATTR_CREATE | os.XATTR_REPLACE, os.XATTR_CREATE, os.XATTR_CREATE,
                      os.XATTR_REPLACE, os.XATTR_CREATE | os.XATTR_REPLACE, 0, 64):
            self.both(lambda top: os.setxattr(f(top), "user.a", b"v%d" % flags, flags))
            self.both(lambda top: os.getxattr(f(top), "user.a"))

    def test_limits(self):
        self.make("f", stat.S_IFREG | 0o644)
        f = lambda top: os.path.join(top, "f")
        for length in (249, 250, 251, 300):
            self.both(lambda top: os.setxattr(f(top), "user." + "n" * length, b"x"))
            self.both(lambda top: os.getxattr(f(top), "user." + "n" * length))
            self.both(lambda top: os.removexattr(f(top), "user." + "n" * length))
        self.both(lambda top: os.setxattr(f(top), "user.big", bytes(LARGEST + 1)))
        for name in ("", "user.", "user", "nothing", "nothing.a", "system.a", "system.berth.status"):
            self.assertEqual(outcome(os.setxattr, f(self.a), name, b"x"), outcome(os.setxattr, f(self.host), name, b"x"), name)
            self.both(lambda top: os.removexattr(f(top), name))
        value = os.urandom(LARGEST)  # ext4 has less room
        os.setxattr(f(self.a), "user.big", value)
        self.assertEqual(os.getxattr(f(self.b), "user.big"), value)
        self.assertEqual(outcome(os.setxattr, f(self.a), "user.big2", value), "ENOSPC")
        os.setxattr(f(self.a), "user.big", b"small again")
        os.setxattr(f(self.a), "user.big2", value)

    def test_types(self):
        for name, kind in (("f", stat.S_IFREG), ("d", stat.S_IFDIR), ("p", stat.S_IFIFO), ("s", stat.S_IFSOCK),
                           ("l", stat.S_IFLNK), ("c", stat.S_IFCHR)):
            self.make(name, kind | 0o666)
            for attribute in ("user.a", "trusted.a", "security.a"):
                at = lambda top: os.path.join(top, name)
                with self.subTest(type=name, attribute=attribute):
                    self.both(lambda top: os.setxattr(at(top), attribute, b"1", follow_symlinks=False))
                    self.both(lambda top: os.getxattr(at(top), attribute, follow_symlinks=False))
                    self.both(lambda top: sorted(os.listxattr(at(top), follow_symlinks=False)))
                    self.both(lambda top: os.removexattr(at(top), attribute, follow_symlinks=False))

    def test_other_users(self):
        self.make("f", stat.S_IFREG | 0o640, SOME_UID)
        self.make("open", stat.S_IFREG | 0o666, SOME_UID)
        self.make("sticky", stat.S_IFDIR | 0o1777, SOME_UID)
        for top in (self.host, self.a):
            for name in ("f", "open", "sticky"):
                for attribute in ("user.a", "trusted.a", "security.a"):
                    os.setxattr(os.path.join(top, name), attribute, b"root's")
        for uid in (SOME_UID, OTHER_UID):
            for name in ("f", "open", "sticky"):
                at = lambda top: os.path.join(top, name)
                for attribute in ("user.a", "trusted.a", "security.a", "user.none", "trusted.none", "security.none"):
                    with self.subTest(uid=uid, name=name, attribute=attribute):
                        self.both_as(uid, lambda top: os.getxattr(at(top), attribute))
                        self.both_as(uid, lambda top: os.setxattr(at(top), attribute, b"mine"))
                        self.both_as(uid, lambda top: sorted(os.listxattr(at(top))))
                        self.both_as(uid, lambda top: os.removexattr(at(top), attribute))

    def test_ctime(self):
        path = os.path.join(self.a, "f")
        open(path, "w").close()
        before = os.stat(path)
        os.setxattr(path, "user.a", b"1")
        middle = os.stat(path)
        self.assertGreater(middle.st_ctime_ns, before.st_ctime_ns)
        self.assertEqual(middle.st_mtime_ns, before.st_mtime_ns)
        os.removexattr(path, "user.a")
        self.assertGreater(os.stat(path).st_ctime_ns, middle.st_ctime_ns)

    def test_capabilities_go(self):
        # struct vfs_cap_data, revision 2: CAP_NET_RAW permitted.
        capability = bytes.fromhex("01000002" "00200000" "00000000" "00000000" "00000000")
        self.make("f", stat.S_IFREG | 0o755)
        f = lambda top: os.path.join(top, "f")

        def write(top):
            with open(f(top), "ab") as opened:
                opened.write(b"more")
        for change in (write, lambda top: os.truncate(f(top), 2), lambda top: open(f(top), "w").close(),
                       lambda top: os.chown(f(top), 5, 5), lambda top: os.chmod(f(top), 0o700)):
            self.both(lambda top: os.setxattr(f(top), "security.capability", capability))
            self.both(lambda top: os.getxattr(f(top), "security.capability"))
            self.both(change)
            self.both(lambda top: os.getxattr(f(top), "security.capability"))

    def test_in_step(self):
        seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
        rng = random.Random(seed)
        for name in ("f", "g"):
            self.make(name, stat.S_IFREG | 0o644)
        self.make("d", stat.S_IFDIR | 0o755)
        for step in range(STEPS):
            name = rng.choice("fgd")
            attribute = rng.choice(["user.a", "user.b", "user.ab", "trusted.a", "security.a"])
            value = bytes([rng.randrange(256)]) * rng.choice([0, 1, 30, 200])
            flags = rng.choice([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])
            kind, operation = rng.choice([
                ("set", lambda path: os.setxattr(path, attribute, value, flags)),
                ("set", lambda path: os.setxattr(path, attribute, value, flags)),
                ("remove", lambda path: os.removexattr(path, attribute)),
                ("get", lambda path: os.getxattr(path, attribute))])
            tops = (self.host, rng.choice([self.a, self.b]))
            results = [outcome(operation, os.path.join(top, name)) for top in tops]
            self.assertEqual(results[1], results[0], "seed %d step %d %s %s %s" % (seed, step, kind, name, attribute))
            other = self.b if tops[1] == self.a else self.a
            seen = [{key: os.getxattr(os.path.join(top, name), key) for key in os.listxattr(os.path.join(top, name))}
                    for top in (self.host, other)]
            self.assertEqual(seen[1], seen[0], "seed %d step %d after %s" % (seed, step, kind))

    def test_zz_restart_keeps_them(self):
        path = os.path.join(self.a, "f")
        open(path, "w").close()
        os.setxattr(path, "user.a", b"kept")
        os.setxattr(path, "trusted.a", b"kept, too")
        self.server.kill9()
        self.server.start()
        self.assertEqual(os.getxattr(path, "user.a"), b"kept")
        self.assertEqual(sorted(os.listxattr(os.path.join(self.b, "f"))), ["trusted.a", "user.a"])

    def test_copies_keep_them(self):
        source, copy = os.path.join(self.host, "f"), os.path.join(self.a, "copy")
        open(source, "w").close()
        os.setxattr(source, "user.a", b"travels")
        subprocess.run(["cp", "--preserve=xattr", source, copy], check=True)
        self.assertEqual(os.getxattr(copy, "user.a"), b"travels")


class EnforcedIdentity(TwoMounts):
    AP_ARGS = ("--uid", str(SOME_UID), "--gid", str(SOME_UID), "--path", "/home", "--owner",
               "%d:%d" % (SOME_UID, SOME_UID), "--perm", "0755")

    def test_the_server_decides(self):
        path = os.path.join(self.a, "f")
        open(path, "w").close()
        os.setxattr(path, "user.a", b"1")
        self.assertEqual(os.getxattr(os.path.join(self.b, "f"), "user.a"), b"1")
        # The caller is root, but acts as somebody else.
        self.assertEqual(outcome(os.setxattr, path, "trusted.a", b"1"), "EPERM")
        self.assertEqual(outcome(os.getxattr, path, "trusted.a"), "ENODATA")
        self.assertEqual(outcome(os.setxattr, path, "security.a", b"1"), "EPERM")
        self.assertEqual(os.listxattr(path), ["user.a"])
        os.chmod(path, 0o444)
        self.assertEqual(outcome(os.setxattr, path, "user.a", b"2"), "EACCES")
        os.chmod(path, 0)
        self.assertEqual(outcome(os.getxattr, path, "user.a"), "EACCES")
        self.assertEqual(os.listxattr(path), ["user.a"])


if __name__ == "__main__":
    unittest.main()
