# SPDX-License-Identifier: Apache-2.0
"""P4, one truth: when a call returns on one client, every other client sees its effect. No waiting, no retry: each
look follows its change at once, with descriptors and directory streams held open across it."""
import errno
import mmap
import os
import stat
import unittest

from mountcase import TwoMounts, read_file, write_file

ROUNDS = 100


class OneTruth(TwoMounts):
    def both(self, name):
        return os.path.join(self.a, name), os.path.join(self.b, name)

    def assert_absent(self, path):
        with self.assertRaises(FileNotFoundError):
            os.lstat(path)

    def test_write_then_read(self):
        a, b = self.both("f")
        write_file(a, b"")
        with open(b, "rb", buffering=0) as held:
            for i in range(ROUNDS):
                data = (b"%d " % i) * (i + 1)
                write_file(a, data, os.O_TRUNC)
                self.assertEqual(os.fstat(held.fileno()).st_size, len(data))
                self.assertEqual(os.pread(held.fileno(), 1 << 16, 0), data)

    def test_overwrite_of_same_size(self):
        a, b = self.both("f")
        write_file(a, b"x" * 8192)
        with open(b, "rb", buffering=0) as held:
            for i in range(ROUNDS):
                data = bytes([i]) * 8192
                fd = os.open(a, os.O_WRONLY)
                os.pwrite(fd, data, 0)
                self.assertEqual(os.pread(held.fileno(), 8192, 0), data)
                os.close(fd)

    def test_create_after_cached_absence(self):
        for i in range(ROUNDS):
            a, b = self.both("n%d" % i)
            self.assert_absent(b)
            self.assert_absent(b)
            write_file(a, b"here")
            self.assertEqual(read_file(b), b"here")

    def test_unlink_then_lookup(self):
        for i in range(ROUNDS):
            a, b = self.both("n%d" % i)
            write_file(a, b"x")
            os.stat(b)
            os.unlink(a)
            self.assert_absent(b)

    def test_rename_over(self):
        for i in range(ROUNDS):
            a, b = self.both("target")
            write_file(a + ".new", b"%d" % i)
            os.rename(a + ".new", a)
            self.assertEqual(read_file(b), b"%d" % i)
            self.assert_absent(b + ".new")

    def test_attributes(self):
        a, b = self.both("f")
        write_file(a, b"x")
        for i in range(ROUNDS):
            mode = 0o600 | (i % 0o100)
            os.chmod(a, mode)
            os.utime(a, ns=(i * 1_000_000_007, i * 2_000_000_011))
            os.chown(a, i, i + 1)
            seen = os.stat(b)
            self.assertEqual(stat.S_IMODE(seen.st_mode), mode)
            self.assertEqual((seen.st_atime_ns, seen.st_mtime_ns), (i * 1_000_000_007, i * 2_000_000_011))
            self.assertEqual((seen.st_uid, seen.st_gid), (i, i + 1))

    def test_truncate(self):
        a, b = self.both("f")
        with open(a, "wb", buffering=0) as writer, open(b, "wb", buffering=0):
            for size in [0, 5, 4096, 100_000, 3, 20_000, 1 << 30, 7]:
                writer.truncate(size)
                self.assertEqual(os.stat(b).st_size, size)
        self.assertEqual(read_file(b), bytes(7))

    def test_hard_links(self):
        a, b = self.both("f")
        write_file(a, b"x")
        os.link(a, a + "2")
        self.assertEqual(os.stat(b).st_nlink, 2)
        self.assertEqual(os.stat(b).st_ino, os.stat(b + "2").st_ino)
        os.unlink(a)
        self.assertEqual(os.stat(b + "2").st_nlink, 1)

    def test_symlink_replaced(self):
        a, b = self.both("link")
        for i in range(ROUNDS):
            os.symlink("target%d" % i, a + ".new")
            os.rename(a + ".new", a)
            self.assertEqual(os.readlink(b), "target%d" % i)

    def test_listing_follows_changes(self):
        names = set()
        for i in range(ROUNDS):
            name = "n%d" % i
            os.mkdir(os.path.join(self.a, name))
            names.add(name)
            if i % 3 == 2:
                os.rmdir(os.path.join(self.b, "n%d" % (i - 1)))
                names.remove("n%d" % (i - 1))
            self.assertEqual(set(os.listdir(self.b)), names)
            self.assertEqual(set(os.listdir(self.a)), names)

    def test_listing_is_steady_while_entries_come_and_go(self):
        stay = {"stay%d" % i for i in range(500)}
        for i in range(500):
            write_file(os.path.join(self.a, "go%d" % i), b"")
            write_file(os.path.join(self.a, "stay%d" % i), b"")
        seen = []
        with os.scandir(self.b) as entries:
            for i, entry in enumerate(entries):
                seen.append(entry.name)
                if i < 500:
                    os.unlink(os.path.join(self.a, "go%d" % i))
                    write_file(os.path.join(self.a, "new%d" % i), b"")
        kept = [name for name in seen if name.startswith("stay")]
        self.assertEqual(len(kept), len(set(kept)), "an entry was listed twice")
        self.assertEqual(set(kept), stay)
        self.assertEqual(len(seen), len(set(seen)))

    def test_unlinked_file_lives_for_its_opener_elsewhere(self):
        a, b = self.both("f")
        write_file(a, b"still here")
        with open(b, "r+b", buffering=0) as held:
            os.unlink(a)
            self.assert_absent(b)
            self.assertEqual(held.read(), b"still here")
            held.write(b", and writable")
            self.assertEqual(os.pread(held.fileno(), 100, 0), b"still here, and writable")
            self.assertEqual(os.fstat(held.fileno()).st_nlink, 0)

    def test_file_that_was_replaced_lives_for_its_openers_everywhere(self):
        a, b = self.both("f")
        write_file(a, b"old")
        write_file(a + ".new", b"new")
        with open(a, "r+b", buffering=0) as here, open(b, "r+b", buffering=0) as there, \
                open(b + ".new", "rb", buffering=0) as new:
            os.rename(a + ".new", a)
            for restarted in (False, True):
                self.assertEqual((read_file(a), read_file(b), os.pread(new.fileno(), 9, 0)), (b"new", b"new", b"new"))
                self.assertEqual((os.pread(here.fileno(), 9, 0), os.pread(there.fileno(), 9, 0)), (b"old", b"old"))
                self.assertEqual([os.fstat(f.fileno()).st_nlink for f in (here, there, new)], [0, 0, 1])
                if not restarted:
                    self.server.kill9()
                    self.server.restart()
            os.pwrite(there.fileno(), b"OLD", 0)
            self.assertEqual((os.pread(here.fileno(), 9, 0), read_file(a)), (b"OLD", b"new"))

    def test_directories_that_cannot_be_renamed(self):
        """Over one that is not empty, or below itself, also while the other client works in it."""
        os.makedirs(self.a + "/top/middle/bottom")
        os.mkdir(self.a + "/other")
        home = os.getcwd()
        self.addCleanup(os.chdir, home)
        os.chdir(self.b + "/top/middle")
        for old, new, expected in (("other", "top", errno.ENOTEMPTY), ("top", "top/middle/bottom/top", errno.EINVAL),
                                   ("top", "top/middle", errno.EINVAL), ("top/middle", "top", errno.ENOTEMPTY)):
            with self.assertRaises(OSError) as caught:
                os.rename(self.a + "/" + old, self.a + "/" + new)
            self.assertEqual(caught.exception.errno, expected, (old, new))
        os.rename(self.a + "/top", self.a + "/other/top")
        self.assertEqual(os.listdir("."), ["bottom"])
        os.mkdir("made")
        self.assertEqual(sorted(os.listdir(self.a + "/other/top/middle")), ["bottom", "made"])

    def test_append_after_unlink_and_recreate(self):
        for i in range(ROUNDS):
            a, b = self.both("content")
            fd = os.open(a, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(fd, b"one")
            os.close(fd)
            os.unlink(b)
            fd = os.open(a, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(fd, b"two")
            os.close(fd)
            self.assertEqual(read_file(b), b"two")
            os.unlink(b)

    def test_exclusive_create_has_one_winner(self):
        for i in range(ROUNDS):
            a, b = self.both("lock%d" % i)
            first, second = (a, b) if i % 2 else (b, a)
            os.close(os.open(first, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with self.assertRaises(FileExistsError):
                os.open(second, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)

    def test_directory_moved_while_another_client_sits_inside(self):
        a, b = self.both("d")
        os.makedirs(os.path.join(a, "inner"))
        inside = os.open(os.path.join(b, "inner"), os.O_RDONLY | os.O_DIRECTORY)
        os.rename(a, a + "2")
        write_file(os.path.join(a + "2", "inner", "f"), b"x")
        self.assertEqual(os.listdir(inside), ["f"])
        os.close(os.open("g", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=inside))
        self.assertEqual(sorted(os.listdir(os.path.join(a + "2", "inner"))), ["f", "g"])
        os.close(inside)

    def test_shared_mapping_after_msync(self):
        a, b = self.both("f")
        write_file(a, bytes(8192))
        fd = os.open(a, os.O_RDWR)
        try:
            mapping = mmap.mmap(fd, 8192, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            self.assertEqual(error.errno, errno.ENODEV)
            os.close(fd)
            self.skipTest("this kernel has no shared mappings on direct I/O")
        for i in range(10):
            mapping[4000:4010] = b"%010d" % i
            mapping.flush()
            self.assertEqual(read_file(b)[4000:4010], b"%010d" % i)
        mapping.close()
        os.close(fd)


if __name__ == "__main__":
    unittest.main()
