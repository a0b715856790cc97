# SPDX-License-Identifier: Apache-2.0
"""P7 and the rules of access points: roots, identities, creation at attach."""
import os
import stat
import subprocess
import unittest

import harness
from mountcase import write_file, read_file


class AccessPoints(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.require_root()
        harness.require_fuse()
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.fs = self.server.fs_create()
        self.whole = self.mount(self.server.ap_create(self.fs)).path

    def mount(self, access_point, **options):
        mount = harness.Mount(self.server, access_point, **options)
        self.addCleanup(mount.unmount)
        return mount

    def ap(self, *args):
        return self.server.ap_create(self.fs, *args)

    def as_user(self, uid, gid, directory, function):
        """Runs function in `directory`, in a child with that identity; returns its errno, 0 for success."""
        pid = os.fork()
        if pid == 0:
            status = 125
            try:
                os.chdir(directory)  # as root: the way there need not be open to everybody
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                function()
                status = 0
            except OSError as error:
                status = error.errno
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_root_is_made_at_attach_not_before(self):
        ap = self.ap("--path", "/app/data", "--owner", "1234:2345", "--perm", "0751")
        self.assertEqual(os.listdir(self.whole), [])
        self.mount(ap)
        made = os.stat(self.whole + "/app/data")
        self.assertEqual((made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)), (1234, 2345, 0o751))

    def test_existing_root_keeps_owner_and_mode(self):
        os.mkdir(self.whole + "/app", 0o700)
        os.chown(self.whole + "/app", 7, 8)
        os.chmod(self.whole + "/app", 0o711)
        self.mount(self.ap("--path", "/app", "--owner", "1234:2345", "--perm", "0777"))
        kept = os.stat(self.whole + "/app")
        self.assertEqual((kept.st_uid, kept.st_gid, stat.S_IMODE(kept.st_mode)), (7, 8, 0o711))

    def test_deleted_root_is_made_again(self):
        ap = self.ap("--path", "/app", "--owner", "1:2", "--perm", "0755")
        mount = harness.Mount(self.server, ap)
        mount.unmount()
        os.rmdir(self.whole + "/app")
        self.mount(ap)
        self.assertEqual(os.stat(self.whole + "/app").st_uid, 1)

    def test_missing_root_without_creation_info_refuses(self):
        ap = self.ap("--path", "/nowhere")
        with self.assertRaises(harness.MountFailed) as caught:
            harness.Mount(self.server, ap)
        self.assertIn("/nowhere", str(caught.exception))
        self.assertIn("does not exist", str(caught.exception))
        self.assertEqual(os.listdir(self.whole), [])

    def test_root_through_symlink_or_file_refuses(self):
        os.symlink("/", self.whole + "/link")
        write_file(self.whole + "/file", b"")
        for path in ["/link", "/link/x", "/file", "/file/x"]:
            ap = self.ap("--path", path, "--owner", "0:0", "--perm", "0755")
            with self.assertRaises(harness.MountFailed):
                harness.Mount(self.server, ap)

    def test_identity_is_enforced_whoever_calls(self):
        ap = self.ap("--path", "/app", "--uid", "1000", "--gid", "1001", "--owner", "1000:1001", "--perm", "0700")
        path = self.mount(ap).path
        for uid, gid in [(0, 0), (1000, 1001), (4321, 4321)]:
            name = "by%d" % uid
            self.assertEqual(self.as_user(uid, gid, path, lambda: write_file(name, b"x")), 0)
            self.assertEqual(self.as_user(uid, gid, path, lambda: os.mkdir(name + ".d")), 0)
            for made in (name, name + ".d"):
                seen = os.stat(os.path.join(path, made))
                self.assertEqual((seen.st_uid, seen.st_gid), (1000, 1001))

    def test_root_caller_is_not_root_through_an_enforced_identity(self):
        os.mkdir(self.whole + "/app", 0o755)
        write_file(self.whole + "/app/secret", b"x")
        os.chmod(self.whole + "/app/secret", 0o600)
        path = self.mount(self.ap("--path", "/app", "--uid", "1000", "--gid", "1000")).path
        for attempt in [lambda: read_file(path + "/secret"), lambda: write_file(path + "/new", b""),
                        lambda: os.unlink(path + "/secret"), lambda: os.listdir(path + "/../app/secret")]:
            with self.assertRaises((PermissionError, NotADirectoryError, FileNotFoundError)):
                attempt()
        with self.assertRaises(PermissionError):
            os.chown(path + "/secret", 1000, 1000)
        self.assertFalse(os.access(path + "/secret", os.R_OK))
        self.assertTrue(os.access(path, os.X_OK | os.R_OK))
        self.assertFalse(os.access(path, os.W_OK))

    def test_chown_takes_set_id_bits_and_no_other(self):
        os.chmod(self.whole, 0o777)
        inside = self.mount(self.ap("--uid", "1000", "--gid", "1000", "--gids", "2000")).path
        write_file(inside + "/f", b"")
        os.chmod(inside + "/f", 0o7755)
        os.chown(inside + "/f", 1000, 2000)
        self.assertEqual(stat.S_IMODE(os.stat(self.whole + "/f").st_mode), 0o1755)

    def test_secondary_groups_count(self):
        os.mkdir(self.whole + "/app")
        write_file(self.whole + "/app/shared", b"for the group")
        os.chown(self.whole + "/app/shared", 0, 777)
        os.chmod(self.whole + "/app/shared", 0o640)
        inside = self.mount(self.ap("--path", "/app", "--uid", "1000", "--gid", "1000", "--gids", "776,777")).path
        outside = self.mount(self.ap("--path", "/app", "--uid", "1000", "--gid", "1000", "--gids", "776")).path
        self.assertEqual(read_file(inside + "/shared"), b"for the group")
        with self.assertRaises(PermissionError):
            read_file(outside + "/shared")

    def test_two_access_points_two_roots_two_identities(self):
        mounts = {}
        for uid in (1001, 1002):
            args = ["--path", "/u%d" % uid, "--uid", str(uid), "--gid", str(uid), "--owner", "%d:%d" % (uid, uid),
                    "--perm", "0700"]
            mounts[uid] = self.mount(self.ap(*args)).path
            write_file(mounts[uid] + "/own", b"%d" % uid)
        for uid, path in mounts.items():
            self.assertEqual(os.listdir(path), ["own"])
            self.assertEqual(read_file(path + "/own"), b"%d" % uid)
            self.assertEqual(read_file(self.whole + "/u%d/own" % uid), b"%d" % uid)
            self.assertEqual(os.stat(self.whole + "/u%d/own" % uid).st_uid, uid)

    def test_dotdot_and_symlinks_stay_inside(self):
        write_file(self.whole + "/outside", b"secret")
        os.mkdir(self.whole + "/app")
        os.symlink("../outside", self.whole + "/app/relative")
        os.symlink("/outside", self.whole + "/app/absolute")
        path = self.mount(self.ap("--path", "/app")).path
        for name in ["../outside", "relative", "absolute", "x/../../outside"]:
            with self.assertRaises(FileNotFoundError):
                read_file(os.path.join(path, name))
        self.assertEqual(os.readlink(path + "/relative"), "../outside")
        # The kernel answers ".." of a mount's root itself: it leads to the mountpoint's parent, on the host.
        self.assertEqual(os.stat(path + "/..").st_dev, os.stat(os.path.dirname(path)).st_dev)

    def test_moved_out_is_out(self):
        os.makedirs(self.whole + "/app/d")
        write_file(self.whole + "/app/d/f", b"x")
        path = self.mount(self.ap("--path", "/app")).path
        inside = os.open(path + "/d", os.O_PATH | os.O_DIRECTORY)
        os.rename(self.whole + "/app/d", self.whole + "/moved")
        with self.assertRaises(OSError):
            os.stat("f", dir_fd=inside)
        with self.assertRaises(OSError):
            os.open("g", os.O_CREAT | os.O_WRONLY, dir_fd=inside)
        os.close(inside)
        self.assertEqual(os.listdir(self.whole + "/moved"), ["f"])

    def test_deleted_access_point_refuses_new_and_keeps_attached(self):
        ap = self.ap("--path", "/app", "--owner", "0:0", "--perm", "0755")
        path = self.mount(ap).path
        self.server.berth("ap", "delete", ap)
        write_file(path + "/still", b"works")
        self.assertEqual(read_file(path + "/still"), b"works")
        with self.assertRaises(harness.MountFailed) as caught:
            harness.Mount(self.server, ap)
        self.assertIn(ap, str(caught.exception))

    def test_read_only_mount(self):
        write_file(self.whole + "/f", b"x")
        path = self.mount(self.ap(), options="ro").path
        self.assertEqual(read_file(path + "/f"), b"x")
        for attempt in [lambda: write_file(path + "/new", b""), lambda: os.unlink(path + "/f"),
                        lambda: os.chmod(path + "/f", 0o600), lambda: os.mkdir(path + "/d")]:
            with self.assertRaises(OSError) as caught:
                attempt()
            self.assertEqual(caught.exception.errno, 30)

    def test_tcp_stranger_is_nobody_without_a_key(self):
        os.chmod(self.whole, 0o777)
        path = self.mount(self.ap(), over="tcp", credentials=False).path
        write_file(path + "/f", b"x")
        self.assertEqual((os.stat(path + "/f").st_uid, os.stat(path + "/f").st_gid), (65534, 65534))

    def test_tcp_client_with_the_root_key_is_believed(self):
        path = self.mount(self.ap(), over="tcp", credentials=True).path
        os.chmod(path, 0o777)
        self.assertEqual(self.as_user(4321, 4322, path, lambda: write_file("f", b"x")), 0)
        self.assertEqual((os.stat(path + "/f").st_uid, os.stat(path + "/f").st_gid), (4321, 4322))

    def test_busy_root_cannot_be_removed(self):
        self.mount(self.ap("--path", "/app", "--owner", "0:0", "--perm", "0755"))
        with self.assertRaises(OSError) as caught:
            os.rmdir(self.whole + "/app")
        self.assertEqual(caught.exception.errno, 16)

    def test_file_system_with_clients_is_kept_unless_forced(self):
        result = self.server.berth("fs", "delete", self.fs, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(os.listdir(self.whole), [])
        self.server.berth("fs", "delete", "--force", self.fs)
        with self.assertRaises(OSError):
            os.listdir(self.whole)


if __name__ == "__main__":
    unittest.main()
