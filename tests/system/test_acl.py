# SPDX-License-Identifier: Apache-2.0
"""POSIX access lists through mounts, each step done alike on the host's own file system: modes, lists, what they grant."""
import os
import random
import shutil
import stat
import struct
import subprocess
import unittest

import harness
from mountcase import TwoMounts, as_user, outcome

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY_IN_PARTICULAR = 0xFFFFFFFF

OWNER_UID, OWNER_GID = 1000, 2000
CALLERS = {  # uid: (gid, supplementary groups)
    1000: (2005, ()), 1001: (2001, ()), 1002: (2002, (2001,)), 1003: (2003, (2000,)), 1004: (2004, ())}
STEPS = 60


def acl(*entries):
    """The bytes of a list: of (tag, permissions) or (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry, *[NOBODY_IN_PARTICULAR] * (3 - len(entry)))
                                           for entry in entries)


def minimal(user, group, other):
    return acl((USER_OBJ, user), (GROUP_OBJ, group), (OTHER, other))


def random_acl(rng):
    users = sorted(rng.sample(sorted(CALLERS), rng.randrange(3)))
    groups = sorted(rng.sample([2000, 2001, 2002, 2003], rng.randrange(3)))
    entries = [(USER_OBJ, rng.randrange(8)), *[(USER, rng.randrange(8), uid) for uid in users],
               (GROUP_OBJ, rng.randrange(8)), *[(GROUP, rng.randrange(8), gid) for gid in groups]]
    if users or groups or rng.random() < 0.3:
        entries.append((MASK, rng.choice([0, 4, 5, 6, 7, 7, 7])))
    return acl(*entries, (OTHER, rng.randrange(8)))


class AclCase(TwoMounts):
    def setUp(self):
        super().setUp()
        self.host = harness.new_directory("host-")
        self.addCleanup(shutil.rmtree, self.host)
        os.chmod(self.host, 0o755)
        probe = os.path.join(self.host, "probe")
        open(probe, "w").close()
        try:
            os.setxattr(probe, ACCESS, acl((USER_OBJ, 6), (USER, 4, 1), (GROUP_OBJ, 4), (MASK, 4), (OTHER, 4)))
        except OSError as error:
            self.skipTest("host: its file system has no access lists: %s" % error.strerror)
        os.unlink(probe)

    def both(self, function, message=None):
        expected, got = outcome(function, self.host), outcome(function, self.a)
        self.assertEqual(got, expected, message)
        return expected

    def both_as(self, uid, function, message=None):
        gid, groups = CALLERS[uid]
        expected, got = (as_user(uid, lambda: function(top), gid, groups) for top in (self.host, self.a))
        self.assertEqual(got, expected, message)
        return expected

    def make(self, name, mode, uid=OWNER_UID, gid=OWNER_GID):
        for top in (self.host, self.a):
            path = os.path.join(top, name)
            os.mkdir(path) if stat.S_ISDIR(mode) else os.mknod(path, mode)
            os.chown(path, uid, gid)
            os.chmod(path, stat.S_IMODE(mode))


def state(path):
    """What can be seen of a path's permissions."""
    status = os.lstat(path)
    lists = [outcome(os.getxattr, path, name) for name in (ACCESS, DEFAULT)]
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid, sorted(os.listxattr(path)), lists


class Lists(AclCase):
    def test_what_is_taken(self):
        self.make("f", stat.S_IFREG | 0o640)
        self.make("d", stat.S_IFDIR | 0o750)
        named = [(USER_OBJ, 7), (USER, 5, 1001), (GROUP_OBJ, 5), (GROUP, 1, 2001), (MASK, 7), (OTHER, 0)]
        lists = {
            "full": acl(*named), "minimal": minimal(7, 5, 1),
            "mask alone": acl((USER_OBJ, 7), (GROUP_OBJ, 5), (MASK, 1), (OTHER, 0)),
            "no entries": acl(), "no bytes": b"", "no mask": acl(*named[:4], named[5]), "no other": acl(*named[:5]),
            "no owner": acl(*named[1:]), "no group": acl(*named[:2], *named[3:]), "two owners": acl(named[0], *named),
            "two masks": acl(*named[:5], (MASK, 1), named[5]), "disorder": acl(named[0], named[3], *named[1:3], *named[4:]),
            "unknown tag": acl(*named, (64, 1)), "two tags": acl((3, 7), *named[1:]),
            "much permission": acl((USER_OBJ, 8), *named[1:]),
            "no user": acl(named[0], (USER, 5), *named[2:]), "half an entry": acl(*named)[:-4], "no header": b"\2\0\0",
            "version 1": b"\1" + acl(*named)[1:], "same user twice": acl(*named[:2], *named[1:]),
        }
        for name in ("f", "d"):
            for kind in (ACCESS, DEFAULT):
                for label, value in lists.items():
                    at = lambda top: os.path.join(top, name)
                    with self.subTest(name=name, kind=kind, value=label):
                        self.both(lambda top: os.setxattr(at(top), kind, value))
                        self.both(lambda top: state(at(top)))
                self.both(lambda top: os.setxattr(at(top), kind, acl(*named), os.XATTR_CREATE))
                self.both(lambda top: os.removexattr(at(top), kind))
                self.both(lambda top: os.removexattr(at(top), kind))
                self.both(lambda top: state(at(top)))
        for top in (self.host, self.a):
            os.symlink("f", os.path.join(top, "l"))
        for kind in (ACCESS, DEFAULT):
            self.both(lambda top: os.setxattr(os.path.join(top, "l"), kind, acl(*named), follow_symlinks=False))
            self.both(lambda top: os.getxattr(os.path.join(top, "l"), kind, follow_symlinks=False))

    def test_removing_none_changes_no_time(self):
        self.make("d", stat.S_IFDIR | 0o750)
        for top in (self.host, self.a):
            path = os.path.join(top, "d")
            for kind in (ACCESS, DEFAULT):
                before = os.stat(path).st_ctime_ns
                os.removexattr(path, kind)
                self.assertEqual(os.stat(path).st_ctime_ns, before, (path, kind))
                os.setxattr(path, kind, acl((USER_OBJ, 7), (USER, 5, 1001), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0)))
                before = os.stat(path).st_ctime_ns
                os.removexattr(path, kind)
                self.assertGreater(os.stat(path).st_ctime_ns, before, (path, kind))

    def test_only_the_owner_sets(self):
        self.make("f", stat.S_IFREG | 0o666)
        value = acl((USER_OBJ, 6), (USER, 6, 1001), (GROUP_OBJ, 6), (MASK, 6), (OTHER, 6))
        at = lambda top: os.path.join(top, "f")
        for uid in CALLERS:
            self.both_as(uid, lambda top: os.setxattr(at(top), ACCESS, value))
            self.both_as(uid, lambda top: os.getxattr(at(top), ACCESS))
            self.both_as(uid, lambda top: os.removexattr(at(top), ACCESS))

    def test_setgid_goes_when_a_stranger_to_the_group_sets(self):
        value = acl((USER_OBJ, 7), (USER, 7, 1001), (GROUP_OBJ, 7), (MASK, 7), (OTHER, 5))
        for name, gid in (("mine", 2005), ("not-mine", 2000)):
            self.make(name, stat.S_IFREG | 0o2755, 1000, gid)
            at = lambda top: os.path.join(top, name)
            self.both(lambda top: state(at(top)))
            self.both_as(1000, lambda top: os.setxattr(at(top), ACCESS, value))
            self.both(lambda top: state(at(top)))

    def test_mask_and_mode_move_together(self):
        self.make("f", stat.S_IFREG | 0o640)
        at = lambda top: os.path.join(top, "f")
        value = acl((USER_OBJ, 6), (USER, 7, 1001), (GROUP_OBJ, 4), (MASK, 7), (OTHER, 0))
        self.both(lambda top: os.setxattr(at(top), ACCESS, value))
        for mode in (0o777, 0o604, 0o000, 0o640, 0o7777, 0o610):
            self.both(lambda top: os.chmod(at(top), mode))
            self.both(lambda top: state(at(top)))
        self.both(lambda top: os.removexattr(at(top), ACCESS))
        self.both(lambda top: state(at(top)))

    def test_new_inodes_inherit(self):
        defaults = [None, minimal(7, 5, 0), minimal(6, 0, 4),
                    acl((USER_OBJ, 7), (USER, 7, 1001), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 4)),
                    acl((USER_OBJ, 6), (GROUP_OBJ, 6), (GROUP, 2, 2001), (MASK, 6), (OTHER, 0))]
        for i, value in enumerate(defaults):
            self.make("d%d" % i, stat.S_IFDIR | 0o2777)
            at = lambda top, name: os.path.join(top, "d%d" % i, name)
            if value is not None:
                self.both(lambda top: os.setxattr(at(top, ""), DEFAULT, value))
            for umask in (0o000, 0o022, 0o077, 0o777):
                before = os.umask(umask)
                self.addCleanup(os.umask, before)
                for mode in (0o777, 0o640, 0o000):
                    name = "%o-%o" % (umask, mode)
                    self.both(lambda top: os.close(os.open(at(top, "f" + name), os.O_CREAT | os.O_WRONLY, mode)))
                    self.both(lambda top: os.mkdir(at(top, "d" + name), mode))
                    self.both(lambda top: os.mkdir(at(top, "d" + name + "/below"), mode))
                    self.both(lambda top: os.mknod(at(top, "p" + name), stat.S_IFIFO | mode))
                    self.both(lambda top: os.symlink("nowhere", at(top, "l" + name)))
                    for kind in ("f%s", "d%s", "d%s/below", "p%s"):
                        self.both(lambda top: state(at(top, kind % name)), (i, kind % name))
                os.umask(before)

    def test_nameless_files_inherit(self):
        self.make("d", stat.S_IFDIR | 0o777)
        d = lambda top: os.path.join(top, "d")
        value = acl((USER_OBJ, 7), (USER, 4, 1001), (GROUP_OBJ, 5), (MASK, 5), (OTHER, 4))
        self.both(lambda top: os.setxattr(d(top), DEFAULT, value))

        def nameless(top):
            fd = os.open(d(top), os.O_TMPFILE | os.O_RDWR, 0o666)
            try:
                return oct(os.fstat(fd).st_mode), os.getxattr(fd, ACCESS)
            finally:
                os.close(fd)
        self.both(nameless)

    def test_in_step(self):
        seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
        rng = random.Random(seed)
        self.make("f", stat.S_IFREG | 0o640)
        self.make("d", stat.S_IFDIR | 0o755)
        self.make("d/sub", stat.S_IFDIR | 0o755)
        names = ["f", "d", "d/sub"]
        for step in range(STEPS):
            label = "seed %d step %d" % (seed, step)
            self.both(self.pick(rng, names, step), label)
            for name in names:
                self.both(lambda top: state(os.path.join(top, name)), "%s: %s" % (label, name))
            uid = rng.choice(sorted(CALLERS))
            self.both_as(uid, lambda top: [[os.access(os.path.join(top, name), may) for may in range(8)] for name in names],
                         "%s: what %d may on %r" % (label, uid, names))

    def pick(self, rng, names, step):
        name, value, mode = rng.choice(names), random_acl(rng), rng.randrange(0o10000)
        umask, child = rng.choice([0, 0o22, 0o77]), "d/%d" % step
        at = lambda top: os.path.join(top, name)

        def make(top):
            before = os.umask(umask)
            try:
                (os.mkdir if step % 2 else os.mknod)(os.path.join(top, child), mode & 0o777)
                names.append(child) if child not in names and len(names) < 8 else None
            finally:
                os.umask(before)
        return rng.choice([
            lambda top: os.setxattr(at(top), ACCESS, value), lambda top: os.setxattr(at(top), ACCESS, value),
            lambda top: os.setxattr(at(top), DEFAULT, value), lambda top: os.chmod(at(top), mode), make,
            lambda top: os.removexattr(at(top), (ACCESS, DEFAULT)[step % 2]),
            lambda top: os.chown(at(top), (1000, 1001)[step % 2], (2000, 2001)[step // 2 % 2])])

    def test_programs_agree(self):
        self.make("d", stat.S_IFDIR | 0o750)
        self.make("d/f", stat.S_IFREG | 0o640)
        for arguments in (["-m", "u:1001:rwx,g:2001:r-x,m::r-x"], ["-R", "-m", "u:1002:rX,d:u:1003:rwx,d:o::-"],
                          ["-x", "u:1001"], ["-k"], ["-b"]):
            for name in ("d", "d/f"):
                if "-k" not in arguments or name == "d":
                    results = [subprocess.run(["setfacl", *arguments, os.path.join(top, name)], capture_output=True, text=True)
                               for top in (self.host, self.a)]
                    self.assertEqual(results[1].returncode, results[0].returncode, results[1].stderr)
                shown = [subprocess.run(["getfacl", "-nR", "."], cwd=top, capture_output=True, text=True, check=True).stdout
                         for top in (self.host, self.a)]
                self.assertEqual(shown[1], shown[0])
        subprocess.run(["setfacl", "-m", "u:1001:r--,d:g:2002:-w-", os.path.join(self.host, "d")], check=True)
        subprocess.run(["cp", "-a", os.path.join(self.host, "d"), os.path.join(self.a, "copy")], check=True)
        self.assertEqual(state(os.path.join(self.a, "copy")), state(os.path.join(self.host, "d")))

    def test_other_clients_see_changes_at_once(self):
        path, other = os.path.join(self.a, "f"), os.path.join(self.b, "f")
        os.close(os.open(path, os.O_CREAT, 0o600))
        for step in range(20):
            value = acl((USER_OBJ, 6), (USER, 4 * (step % 2), 1001), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0))
            os.setxattr(path, ACCESS, value)
            self.assertEqual(os.getxattr(other, ACCESS), value)
            may = as_user(1001, lambda: os.access(other, os.R_OK))
            self.assertEqual(may, repr(step % 2 == 1))

    def test_zz_restart_keeps_them(self):
        path = os.path.join(self.a, "d")
        os.mkdir(path)
        value = acl((USER_OBJ, 7), (USER, 7, 1001), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0))
        os.setxattr(path, ACCESS, value)
        os.setxattr(path, DEFAULT, value)
        self.server.kill9()
        self.server.start()
        before = state(path)
        self.assertEqual(before[4], [value, value])
        self.assertEqual(as_user(1001, lambda: os.mkdir(os.path.join(path, "sub"))), "None")
        self.assertEqual(as_user(1004, lambda: os.mkdir(os.path.join(path, "other"))), "'EACCES'")
        self.assertEqual(state(os.path.join(path, "sub"))[3], [ACCESS, DEFAULT])


class EnforcedIdentity(AclCase):
    """The server decides alone: what the access point's user may is what the host grants that user."""
    UID, GID, GROUPS = 1002, 2002, (2001,)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        user = ["--uid", str(cls.UID), "--gid", str(cls.GID), "--gids", ",".join(map(str, cls.GROUPS))]
        cls.enforced = cls.mount(cls.server.ap_create(cls.fs, *user))

    def test_the_server_decides(self):
        seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
        rng = random.Random(seed)
        enforced = os.path.join(self.enforced.path, os.path.basename(self.a))
        operations = {
            "read": lambda top: os.close(os.open(os.path.join(top, "d/f"), os.O_RDONLY)),
            "write": lambda top: os.close(os.open(os.path.join(top, "d/f"), os.O_WRONLY)),
            "look": lambda top: os.stat(os.path.join(top, "d/f")).st_mode,
            "list": lambda top: os.listdir(os.path.join(top, "d")),
            "make and remove": lambda top: (os.mkdir(os.path.join(top, "d/new")), os.rmdir(os.path.join(top, "d/new"))),
            "rename": lambda top: (os.rename(os.path.join(top, "d/f"), os.path.join(top, "d/g")),
                                   os.rename(os.path.join(top, "d/g"), os.path.join(top, "d/f"))),
            "mknod and unlink": lambda top: (os.mknod(os.path.join(top, "d/h")), os.unlink(os.path.join(top, "d/h"))),
            "times": lambda top: os.utime(os.path.join(top, "d/f")),
            "truncate": lambda top: os.truncate(os.path.join(top, "d/f"), 0),
            "attribute": lambda top: os.setxattr(os.path.join(top, "d/f"), "user.a", b"1"),
            "access": lambda top: [os.access(os.path.join(top, "d/f"), may) for may in range(8)],
        }
        self.make("d", stat.S_IFDIR | 0o755)
        self.make("d/f", stat.S_IFREG | 0o644)
        for step in range(20):
            name, value = rng.choice(["d", "d/f"]), random_acl(rng)
            self.both(lambda top: os.setxattr(os.path.join(top, name), ACCESS, value))
            expected = as_user(self.UID, lambda: {key: outcome(run, self.host) for key, run in operations.items()},
                               self.GID, self.GROUPS)
            got = repr({key: outcome(run, enforced) for key, run in operations.items()})
            self.assertEqual(got, expected, "seed %d step %d" % (seed, step))

    def test_it_sets_what_it_owns(self):
        enforced = os.path.join(self.enforced.path, os.path.basename(self.a))
        os.chmod(self.a, 0o777)
        path = os.path.join(enforced, "mine")
        os.mkdir(path)
        value = acl((USER_OBJ, 7), (USER, 5, 1001), (GROUP_OBJ, 5), (MASK, 5), (OTHER, 0))
        for kind in (ACCESS, DEFAULT):
            os.setxattr(path, kind, value)
            self.assertEqual(os.getxattr(os.path.join(self.b, "mine"), kind), value)
        os.mkdir(os.path.join(self.a, "root's"))
        self.assertEqual(outcome(os.setxattr, os.path.join(enforced, "root's"), ACCESS, value), "EPERM")
        before = os.umask(0o077)
        try:
            os.mkdir(os.path.join(path, "below"), 0o777)
        finally:
            os.umask(before)
        self.assertEqual(state(os.path.join(path, "below")),
                         ("drwxr-x---", self.UID, self.GID, [ACCESS, DEFAULT], [value, value]))


if __name__ == "__main__":
    unittest.main()
