# SPDX-License-Identifier: Apache-2.0
"""Direct writes within one file do not wait for each other in the kernel, and all of them arrive. While the server is stopped
the kernel tells how many of a mount's requests are under way."""
import os
import platform
import signal
import subprocess
import threading
import unittest

import harness

WRITERS = 8
BLOCK = 4096
WAIT_SECONDS = 10


class ParallelWrites(unittest.TestCase):
    def setUp(self):
        harness.require_root()
        harness.require_fuse()
        if tuple(int(n) for n in platform.release().split(".")[:2]) < (6, 2):
            self.skipTest("kernel: parallel direct writes need Linux 6.2")
        self.server = harness.Server()
        self.addCleanup(self.server.stop)
        # Without leases every open is for direct I/O.
        self.mount = harness.Mount(self.server, self.server.ap_create(self.server.fs_create()), options="nolease")
        self.addCleanup(self.mount.unmount)
        self.control = harness.new_directory("fusectl-")
        subprocess.run(["mount", "-t", "fusectl", "none", self.control], check=True)
        self.addCleanup(subprocess.run, ["umount", self.control], check=True)
        self.path = os.path.join(self.mount.path, "file")

    def waiting(self):
        with open(os.path.join(self.control, str(self.device), "waiting")) as f:
            return int(f.read())

    def write_while_stopped(self, fd):
        self.device = os.minor(os.fstat(fd).st_dev)
        writers = [threading.Thread(target=os.pwrite, args=(fd, bytes([65 + i]) * BLOCK, i * BLOCK)) for i in range(WRITERS)]
        self.server.process.send_signal(signal.SIGSTOP)
        try:
            for writer in writers:
                writer.start()
            harness.wait_for(lambda: self.waiting() >= WRITERS, WAIT_SECONDS)
        finally:
            self.server.process.send_signal(signal.SIGCONT)
            for writer in writers:
                writer.join()
        self.assertEqual(os.pread(fd, 2 * WRITERS * BLOCK, 0), b"".join(bytes([65 + i]) * BLOCK for i in range(WRITERS)))

    def created(self):
        fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        self.addCleanup(os.close, fd)
        os.pwrite(fd, bytes(WRITERS * BLOCK), 0)
        return fd

    def test_through_a_descriptor_that_made_the_file(self):
        self.write_while_stopped(self.created())

    def test_through_a_descriptor_of_a_file_that_was_there(self):
        self.created()
        fd = os.open(self.path, os.O_RDWR)
        self.addCleanup(os.close, fd)
        self.write_while_stopped(fd)


if __name__ == "__main__":
    unittest.main()
