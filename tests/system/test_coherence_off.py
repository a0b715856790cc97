# SPDX-License-Identifier: Apache-2.0
"""The twins of the coherence tests: the same with the mechanism off, which must fail. A proxy swallows what the server tells
the reader's mount to drop and says in its stead that it was dropped; then what the reader shows is old, and the litmuses and
the judge of histories must see it. And what is kept is kept: warm looks ask nobody, and with `-o nolease` every look asks."""
import os
import unittest

import harness
from coherencecase import ThroughProxy, history, litmus_names, run_program
from mountcase import read_file

ROUNDS = 12
EPOCHS, EPOCH_SECONDS = 5, 2
LOOKS = 50

# What the server is asked for each time, so that nothing old can be shown: reads past the cache, listings, extended
# attributes, whether an open is allowed that was not before, and opens to write.
ASKED_EACH_TIME = {"write_then_read_direct", "write_then_map_shared", "setxattr_then_getxattr", "setxattr_then_listxattr",
                   "chmod_then_open_allowed", "chmod_parent_then_list", "unlink_last_then_list", "write_then_list_sizes",
                   *(name for name in litmus_names("lists") if name.endswith(("_list", "_list_held")))}


class Off(ThroughProxy):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy.set(invalidate="forge")

    def check(self, litmus):
        status, said = run_program("rounds", litmus, ROUNDS, self.a, self.b)
        self.assertEqual(status, 1, "nothing old was seen: " + said)

    def test_history(self):
        """One epoch after the other, until the judge has seen it."""
        for number in range(EPOCHS):
            directories = [os.path.join(directory, "epoch%d" % number) for directory in (self.a, self.b)]
            os.mkdir(directories[0])
            _, breaches = history.judge(history.record_epoch(directories, str(number), EPOCH_SECONDS, harness.scratch()))
            if breaches:
                return
        self.fail("the judge has seen nothing")


def litmus_test(name):
    def test(self):
        self.check(name)
    return test


for litmus_name in litmus_names():
    if litmus_name not in ASKED_EACH_TIME:
        setattr(Off, "test_" + litmus_name, litmus_test(litmus_name))


class Asking(ThroughProxy):
    """How often a mount asks the server, counted on the way."""

    def asked(self, path):
        """Calls while what was looked at before is looked at again and again, by path, all that a program would ask."""
        def look():
            os.stat(path)
            os.path.lexists(path + ".absent")
        look()
        look()
        before = self.proxy.calls()
        for _ in range(LOOKS):
            look()
        return self.proxy.calls() - before

    def test_warm_looks_ask_nobody(self):
        os.close(os.open(self.a + "/f", os.O_CREAT | os.O_WRONLY))
        self.assertLess(self.asked(self.b + "/f"), 5)  # a heartbeat may be among them

    def test_warm_files_are_opened_and_read_without_asking(self):
        with open(self.a + "/f", "wb") as f:
            f.write(b"x" * 10_000)
        for _ in range(2):
            read_file(self.b + "/f")
        before = self.proxy.calls()
        for _ in range(LOOKS):
            self.assertEqual(len(read_file(self.b + "/f")), 10_000)
        self.assertLess(self.proxy.calls() - before, 5)

    def test_a_small_file_comes_with_its_open(self):
        for number in range(LOOKS):
            with open(self.a + "/%d" % number, "wb") as f:
                f.write(b"x" * 10_000)
            read_file(self.a + "/%d" % number)  # which marks it
        before = self.proxy.calls()
        for number in range(LOOKS):
            fd = os.open(self.b + "/%d" % number, os.O_RDONLY)
            self.assertEqual(len(os.read(fd, 20_000)), 10_000)
            os.close(fd)
        self.assertLess(self.proxy.calls() - before, 2 * LOOKS + 5)  # a lookup and an open

    def test_without_leases_every_look_asks(self):
        os.close(os.open(self.a + "/f", os.O_CREAT | os.O_WRONLY))
        mount = self.mount_through_proxy(options="nolease")
        self.assertGreaterEqual(self.asked(os.path.join(mount.path, os.path.basename(self.a), "f")), 2 * LOOKS)

    def test_warm_bytes_are_not_read_again(self):
        with open(self.a + "/f", "wb") as f:
            f.write(b"x" * 100_000)
        with open(self.b + "/f", "rb", buffering=0) as f:
            for _ in range(2):
                os.pread(f.fileno(), 100_000, 0)
            before = self.proxy.calls()
            for _ in range(LOOKS):
                self.assertEqual(len(os.pread(f.fileno(), 100_000, 0)), 100_000)
            self.assertLess(self.proxy.calls() - before, 5)


del ThroughProxy

if __name__ == "__main__":
    unittest.main()
