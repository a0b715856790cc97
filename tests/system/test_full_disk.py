# SPDX-License-Identifier: Apache-2.0
"""A full disk gives ENOSPC to the caller, loses nothing already acknowledged, and still lets files be removed."""
import errno
import os
import subprocess
import unittest

import harness
from mountcase import read_file, write_file

DISK_MIB = 48


class FullDisk(unittest.TestCase):
    def setUp(self):
        harness.require_root()
        harness.require_fuse()
        disk = os.path.join(harness.scratch(), "disk")
        os.makedirs(disk, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % DISK_MIB, "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        self.server = harness.Server(directory=os.path.join(disk, "data"))
        self.addCleanup(self.server.stop)
        self.ap = self.server.ap_create(self.server.fs_create())
        self.mount = harness.Mount(self.server, self.ap)
        self.addCleanup(self.mount.unmount)

    def fill(self, size):
        """Writes files of this size until the disk is full; returns what was acknowledged."""
        kept = {}
        for i in range(200_000):
            path = os.path.join(self.mount.path, "f%d-%d" % (size, i))
            data = (b"%d." % i) * (size // 8 + 1)
            try:
                fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
                return kept
            try:
                written = os.write(fd, data)
                self.assertEqual(written, len(data))
                kept[path] = data
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
                return kept
            finally:
                os.close(fd)
        raise AssertionError("the disk never filled")

    def test_enospc_then_everything_kept_and_removable(self):
        kept = self.fill(1_000_000)
        kept.update(self.fill(3000))
        self.assertGreater(len(kept), 20)
        for path, data in kept.items():
            self.assertEqual(read_file(path), data)
        self.mount.unmount()
        self.server.restart()
        self.mount = harness.Mount(self.server, self.ap)
        self.addCleanup(self.mount.unmount)
        here = {os.path.join(self.mount.path, os.path.basename(path)): data for path, data in kept.items()}
        for path, data in here.items():
            self.assertEqual(read_file(path), data)
        for path in here:
            os.unlink(path)
        for name in os.listdir(self.mount.path):
            os.unlink(os.path.join(self.mount.path, name))
        harness.wait_for(lambda: self.can_write(20_000_000), 20)

    def can_write(self, size):
        try:
            write_file(self.mount.path + "/again", bytes(size), os.O_TRUNC)
            return True
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
            return False


if __name__ == "__main__":
    unittest.main()
