# SPDX-License-Identifier: Apache-2.0
"""Programs that copy, pack and compare trees, in step with the same commands on the host."""
import os
import struct
import subprocess
import zipfile

from programcase import ProgramCase, listing, make_tree, require_program, run, write_text

TIME_LIMIT_S = 240

NO_ID = 2**32 - 1
# u::rwx,u:12345:rwx,g::rwx,m::rwx,o::rwx as the kernel has it: tag, permissions, id
ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 7, NO_ID, 2, 7, 12345, 4, 7, NO_ID, 16, 7, NO_ID, 32, 7, NO_ID)


class Copies(ProgramCase):
    def test_tar_and_diff(self):
        make_tree(self.host + "/tree")
        run("tar", "-C", self.host, "--format=posix", "-cf", self.host + "/tree.tar", "tree")
        run("tar", "-C", self.a, "-xpf", self.host + "/tree.tar")
        run("diff", "-r", "--no-dereference", "--exclude=fifo", self.host + "/tree", self.b + "/tree")
        self.assertEqual(listing(self.b + "/tree"), listing(self.host + "/tree"))
        self.assert_same_tree(self.b + "/tree", self.host + "/tree")
        run("rm", "-r", self.a + "/tree")
        self.assertEqual(os.listdir(self.b), [])

    def test_tar_of_holes_from_the_mount(self):
        make_tree(self.a + "/tree")
        for i, (size, offset) in enumerate([(0, 1 << 20), (1, 5 << 20), (100_000, (3 << 20) + 5)]):
            with open(self.a + "/tree/sparse %d" % i, "wb") as f:
                f.write(b"s" * size)
                f.seek(offset)
                f.write(b"end")
                f.truncate(offset + 70_000)
        run("tar", "-C", self.a, "--xattrs", "--sparse", "--format=posix", "-cf", self.b + "/tree.tar", "tree")
        run("tar", "-C", self.host, "--xattrs", "-xpf", self.a + "/tree.tar")
        self.assert_same_tree(self.host + "/tree", self.b + "/tree")
        run("tar", "-C", self.b, "--compare", "-f", self.a + "/tree.tar")

    def test_cp_archive_and_mv(self):
        for top in (self.a, self.host):
            os.mkdir(top + "/into")
        make_tree(self.host + "/tree")
        run("cp", "-a", self.host + "/tree", self.a + "/tree")
        self.assert_same_tree(self.b + "/tree", self.host + "/tree")
        run("cp", "-a", self.b + "/tree", self.a + "/copy")
        self.assert_same_tree(self.b + "/copy", self.host + "/tree")
        for top in (self.b, self.host):
            run("mv", top + "/tree/dir 1", top + "/tree/dir 2/süb1", top + "/into")
            run("mv", "-T", top + "/into/süb1", top + "/tree/renamed")
            run("mv", top + "/tree/dir 0/süb0/file 3", top + "/tree/dir 3/süb0/file 4")
        self.assert_same_tree(self.a + "/tree", self.host + "/tree")
        self.assert_same_tree(self.a + "/into", self.host + "/into")
        run("mv", self.a + "/copy", self.host + "/moved off")  # another file system: copied and removed
        self.assertEqual(sorted(os.listdir(self.b)), ["into", "tree"])
        self.assertEqual(len(listing(self.host + "/moved off")), 5 + 5 * 4 + 5 * 4 * 8 + 1)

    def test_find_du_ls(self):
        make_tree(self.host + "/tree")
        run("cp", "-a", self.host + "/tree", self.a + "/tree")
        for command in (["find", ".", "-type", "f", "-size", "+8k", "-printf", "%P %s\n"],
                        ["find", ".", "-samefile", "dir 0/süb0/hard"], ["find", ".", "-perm", "-111", "!", "-type", "d"],
                        ["find", ".", "-newermt", "2001-09-09 01:46:42", "-type", "f"], ["find", ".", "-empty"],
                        ["grep", "-rlc", "", "."], ["sh", "-c", "find . -type f -print0 | sort -z | xargs -0 cksum"],
                        ["sh", "-c", "ls -lR --time-style=full-iso | grep -v -e ^total -e ^d | tr -s ' '"],
                        ["sh", "-c", "find . -type f -print0 | du -b --files0-from=-"]):
            output = [sorted(run(*command, cwd=top + "/tree").splitlines()) for top in (self.b, self.host)]
            self.assertTrue(output[1], command)
            self.assertEqual(*output, command)


class Rsync(ProgramCase):
    def rsync(self, source, target):
        return run("rsync", "-aHAX" if self.keeps("user.probe", b"1") else "-aH", "--delete", "--itemize-changes",
                   "--modify-window=-1", source + "/", target)  # -1: nanoseconds count

    def keeps(self, attribute, value):
        try:
            os.setxattr(self.a, attribute, value)
        except OSError:
            return False
        os.removexattr(self.a, attribute)
        return True

    def test_there_and_back(self):
        require_program("rsync")
        make_tree(self.host + "/tree")
        self.rsync(self.host + "/tree", self.a + "/tree")
        self.assert_same_tree(self.b + "/tree", self.host + "/tree")
        run("rm", "-r", self.host + "/tree/dir 0")
        write_text(self.host + "/tree/dir 1/new", "new")
        os.chmod(self.host + "/tree/dir 2/süb0/file 1", 0o600)
        changed = self.rsync(self.host + "/tree", self.b + "/tree")
        self.assertIn("*deleting   dir 0/süb0/file 1", changed)
        self.assertNotIn("dir 3/", changed)
        self.assert_same_tree(self.a + "/tree", self.host + "/tree")
        self.rsync(self.a + "/tree", self.host + "/back")
        self.assert_same_tree(self.host + "/back", self.host + "/tree")
        self.assertEqual(self.rsync(self.b + "/tree", self.host + "/back"), "")

    def test_in_place_and_checksums(self):
        require_program("rsync")
        data = os.urandom(2_000_000)
        for top in (self.host, self.a):
            os.mkdir(top + "/tree")
        for top, content in ((self.host, data), (self.a, data[:700_000] + b"other" + data[700_000:])):
            with open(top + "/tree/big", "wb") as f:
                f.write(content)
        run("rsync", "-ac", "--inplace", "--no-whole-file", self.host + "/tree/", self.a + "/tree")
        self.assert_same_tree(self.b + "/tree", self.host + "/tree")

    def copied(self, options, *show):
        """The tree copied by rsync, cp and tar is what `show` says of it on the host."""
        run("rsync", "-aH", *options, self.host + "/tree/", self.a + "/tree")
        run("cp", "-a", self.b + "/tree", self.a + "/copy")
        run("tar", "--xattrs", "--acls", "--format=posix", "-C", self.a, "-cf", self.host + "/tree.tar", "tree")
        os.mkdir(self.b + "/unpacked")
        run("tar", "--xattrs", "--xattrs-include=*", "--acls", "-C", self.b + "/unpacked", "-xpf", self.host + "/tree.tar")
        expected = sorted(run(*show, cwd=self.host + "/tree").split("\n\n"))
        self.assertTrue([part for part in expected if "12345" in part])
        for copy in ("tree", "copy", "unpacked/tree"):
            self.assertEqual(sorted(run(*show, cwd=os.path.join(self.b, copy)).split("\n\n")), expected, copy)

    def test_attributes(self):
        require_program("rsync", "getfattr", "setfattr")
        make_tree(self.host + "/tree")
        run("setfattr", "-n", "user.origin", "-v", "12345", self.host + "/tree/dir 0/süb0/file 5")
        run("setfattr", "-n", "user.origin", "-v", "directory", self.host + "/tree/dir 1")
        run("setfattr", "-n", "trusted.long", "-v", "long" * 500, self.host + "/tree/dir 1/süb0/file 2")
        self.copied(["-X"], "getfattr", "-R", "-d", "-m", "-", ".")

    def test_acls(self):
        require_program("rsync", "setfacl", "getfacl")
        if not self.keeps("system.posix_acl_access", ACL):
            self.skipTest("acl: the mount keeps no POSIX ACLs")
        make_tree(self.host + "/tree")
        run("setfacl", "-m", "u:12345:rw,g:54321:r", self.host + "/tree/dir 0/süb0/file 2")
        run("setfacl", "-d", "-m", "u:12345:rwx", self.host + "/tree/dir 1")
        self.copied(["-A"], "getfacl", "-R", "-n", ".")


class Archives(ProgramCase):
    def test_debian_package(self):
        require_program("dpkg-deb")
        make_tree(self.host + "/package/usr/share/berth-test")
        os.unlink(self.host + "/package/usr/share/berth-test/fifo")
        write_text(self.host + "/package/DEBIAN/control", "Package: berth-test\nVersion: 1\nArchitecture: all\n"
                   "Maintainer: nobody <nobody@localhost>\nDescription: a test\n")
        os.chmod(self.host + "/package/DEBIAN", 0o755)
        run("cp", "-a", self.host + "/package", self.a + "/package")
        for top in (self.host, self.a):
            run("dpkg-deb", "-Zgzip", "-b", top + "/package", top + "/made.deb")
        run("dpkg-deb", "-x", self.host + "/made.deb", self.a + "/from host")
        run("dpkg-deb", "-x", self.b + "/made.deb", self.a + "/from mount")
        run("dpkg-deb", "-R", self.b + "/made.deb", self.host + "/unpacked")
        run("dpkg-deb", "-x", self.host + "/made.deb", self.host + "/expected")
        self.assert_same_tree(self.b + "/from host", self.host + "/expected")
        self.assert_same_tree(self.b + "/from mount", self.host + "/expected")
        self.assertEqual(run("dpkg-deb", "-c", self.b + "/made.deb"), run("dpkg-deb", "-c", self.host + "/made.deb"))

    def test_zip_and_unzip(self):
        require_program("zip", "unzip")
        make_tree(self.host + "/tree")
        os.unlink(self.host + "/tree/fifo")
        run("cp", "-a", self.host + "/tree", self.a + "/tree")
        run("zip", "-qry", self.a + "/made.zip", "tree", cwd=self.b)
        run("unzip", "-tqq", self.b + "/made.zip")
        for top in (self.a, self.host):
            os.mkdir(top + "/out")
            run("unzip", "-q", self.b + "/made.zip", cwd=top + "/out")
        for top in (self.b, self.host):
            run("find", top + "/out", "-type", "l", "-exec", "touch", "-h", "-d", "@1", "{}", "+")  # unzip dates no links
        self.assert_same_tree(self.a + "/out", self.host + "/out")
        run("diff", "-r", self.a + "/out/tree", self.host + "/tree")

    def test_python_zipfile(self):
        make_tree(self.host + "/tree")
        os.unlink(self.host + "/tree/fifo")
        with zipfile.ZipFile(self.a + "/made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in run("find", ".", "-type", "f", "-o", "-type", "l", cwd=self.host + "/tree").splitlines():
                archive.write(self.host + "/tree/" + path, path, compresslevel=1)
        with zipfile.ZipFile(self.b + "/made.zip", "a") as archive:
            archive.writestr("added", "later")
            self.assertIsNone(archive.testzip())
        with zipfile.ZipFile(self.a + "/made.zip") as archive:
            archive.extractall(self.a + "/out")
        self.assertEqual(open(self.b + "/out/added").read(), "later")
        result = subprocess.run(["diff", "-r", self.b + "/out", self.host + "/tree"], capture_output=True, text=True)
        self.assertEqual(result.stdout, "Only in %s/out: added\n" % self.b)
