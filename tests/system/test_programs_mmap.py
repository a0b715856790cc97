# SPDX-License-Identifier: Apache-2.0
"""Files of a mount mapped into memory: what a mapping shows, and when what it stores is seen by the other client."""
import mmap
import os
import random
import signal
import subprocess
import sys

from mountcase import read_file, write_file
from programcase import ProgramCase, run

PAGE = mmap.PAGESIZE
SIZE = 20 * PAGE + 100


class Mapped(ProgramCase):
    def setUp(self):
        super().setUp()
        self.data = random.Random(7).randbytes(SIZE)
        for top in (self.a, self.host):
            write_file(top + "/file", self.data)

    def map(self, path, flags, protection, mode=os.O_RDWR):
        fd = os.open(path, mode)
        try:
            mapping = mmap.mmap(fd, SIZE, flags=flags, prot=protection)
        except OSError as error:
            self.skipTest("mmap: this kernel maps no direct I/O: %s" % error.strerror)
        finally:
            os.close(fd)
        self.addCleanup(mapping.close)
        return mapping

    def test_private_read(self):
        for mode in (os.O_RDONLY, os.O_RDWR):
            mapping = self.map(self.b + "/file", mmap.MAP_PRIVATE, mmap.PROT_READ, mode)
            self.assertEqual(mapping[:], self.data)
            self.assertEqual(mapping.find(self.data[70_000:70_020]), 70_000)

    def test_private_write_stays_private(self):
        mapping = self.map(self.b + "/file", mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        mapping[PAGE - 10:PAGE + 10] = b"p" * 20
        mapping.flush()
        self.assertEqual(mapping[:], self.data[:PAGE - 10] + b"p" * 20 + self.data[PAGE + 10:])
        mapping.close()
        self.assertEqual(read_file(self.a + "/file"), self.data)
        self.assertEqual(read_file(self.b + "/file"), self.data)

    def test_shared_read(self):
        mapping = self.map(self.b + "/file", mmap.MAP_SHARED, mmap.PROT_READ, os.O_RDONLY)
        self.assertEqual(mapping[:], self.data)

    def test_msync_is_seen_by_the_other_client(self):
        mapping = self.map(self.b + "/file", mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        expected = bytearray(self.data)
        rng = random.Random(11)
        for _ in range(30):
            at, n = rng.randrange(SIZE - 5000), rng.randrange(1, 5000)
            mapping[at:at + n] = expected[at:at + n] = rng.randbytes(n)
            mapping.flush()
            self.assertEqual(read_file(self.a + "/file"), expected)
        self.assertEqual(os.stat(self.a + "/file").st_size, SIZE)  # the last page is stored without what lies past the end

    def test_munmap_is_seen_by_the_other_client(self):
        mapping = self.map(self.b + "/file", mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        mapping[0:5] = b"first"
        mapping[SIZE - 4:SIZE] = b"last"
        mapping.close()
        self.assertEqual(read_file(self.a + "/file"), b"first" + self.data[5:-4] + b"last")

    def test_mapping_outlives_its_descriptor_and_name(self):
        mapping = self.map(self.b + "/file", mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        os.rename(self.a + "/file", self.a + "/renamed")
        mapping[0:7] = b"renamed"
        mapping.flush()
        self.assertEqual(read_file(self.a + "/renamed"), b"renamed" + self.data[7:])
        os.unlink(self.a + "/renamed")
        self.assertEqual(mapping[:], b"renamed" + self.data[7:])
        mapping[100:103] = b"abc"
        mapping.flush()

    def test_processes_share_one_mapping(self):
        mapping = self.map(self.b + "/file", mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        run(sys.executable, "-c", "import mmap, sys; f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0); "
            "m[10:15] = b'child'", self.b + "/file")
        self.assertEqual(mapping[10:15], b"child")

    def test_read_and_write_beside_a_mapping(self):
        """On one mount, a mapping and read/write calls show one file."""
        mapping = self.map(self.b + "/file", mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.assertEqual(mapping[:], self.data)
        with open(self.b + "/file", "r+b", buffering=0) as f:
            f.seek(PAGE)
            f.write(b"written")
            self.assertEqual(mapping[PAGE:PAGE + 7], b"written")
            mapping[3 * PAGE:3 * PAGE + 6] = b"stored"
            f.seek(3 * PAGE)
            self.assertEqual(f.read(6), b"stored")

    def test_past_the_end(self):
        """Beyond the last page of the file there is nothing: SIGBUS, on the mount as on the host."""
        program = ("import mmap, sys; f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0); f.truncate(%d); "
                   "print(m[%d], flush=True); m[%d]" % (PAGE, PAGE - 1, 2 * PAGE))
        ends = [subprocess.run([sys.executable, "-c", program, top + "/file"], capture_output=True, text=True)
                for top in (self.host, self.b)]
        self.assertEqual(ends[0].returncode, -signal.SIGBUS)
        self.assertEqual((ends[1].returncode, ends[1].stdout), (ends[0].returncode, ends[0].stdout))

    def test_copy_by_mapping(self):
        """Both sides mapped, as linkers and some copy programs do."""
        size = 3_000_000
        data = os.urandom(size)
        write_file(self.a + "/source", data)
        with open(self.b + "/source", "rb") as source, open(self.b + "/target", "w+b") as target:
            target.truncate(size)
            try:
                into = mmap.mmap(target.fileno(), size)
            except OSError as error:
                self.skipTest("mmap: this kernel maps no direct I/O: %s" % error.strerror)
            with into, mmap.mmap(source.fileno(), size, prot=mmap.PROT_READ) as source_map:
                into[:] = source_map[:]
        self.assertEqual(read_file(self.a + "/target"), data)
