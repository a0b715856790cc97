# SPDX-License-Identifier: Apache-2.0
"""P2 for O_SYNC, O_DSYNC and RWF_DSYNC: what they acknowledge was forced to the disk, as the server's counter of syncs tells."""
import ctypes
import fcntl
import os
import re
import unittest
import urllib.request

import raw_client as raw
from mountcase import TwoMounts, write_file
from raw_client import Client, handle, u32, u64

LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE = 1, 2
MIB = 1 << 20


def syncs(server):
    with urllib.request.urlopen("http://%s/metrics" % server.api_address, timeout=20) as reply:
        return int(re.search(r"^berth_syncs_total (\d+)$", reply.read().decode(), re.M).group(1))


def fallocate(fd, mode, offset, length):
    if LIBC.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


class SyncedWrites(TwoMounts):
    def open(self, flags, name="f"):
        fd = os.open(os.path.join(self.a, name), os.O_RDWR | os.O_CREAT | flags, 0o644)
        self.addCleanup(os.close, fd)
        return fd

    def assert_syncs(self, function, *arguments, some=True):
        before = syncs(self.server)
        function(*arguments)
        self.assertEqual(syncs(self.server) > before, some, function)

    def changes(self, fd):
        write_file(os.path.join(self.a, "from"), bytes(100))
        source = self.open(0, "from")
        return [(os.write, fd, b"x"), (os.pwrite, fd, b"y" * 100_000, 5), (os.copy_file_range, source, fd, 10, 0, 3),
                (fallocate, fd, 0, 0, 200_000), (fallocate, fd, KEEP_SIZE | PUNCH_HOLE, 0, 4096)]

    def test_each_write_of_such_a_descriptor(self):
        for flag in (os.O_SYNC, os.O_DSYNC, os.O_SYNC | os.O_APPEND):
            for change in self.changes(self.open(flag))[:None if not flag & os.O_APPEND else 1]:
                self.assert_syncs(*change)

    def test_and_of_no_other(self):
        for change in self.changes(self.open(0)):
            self.assert_syncs(*change, some=False)
        fd = self.open(os.O_SYNC)
        self.assert_syncs(os.read, fd, 10, some=False)
        self.assert_syncs(os.ftruncate, fd, 5, some=False)

    def test_a_large_write(self):
        before = syncs(self.server)
        self.assertEqual(os.write(self.open(os.O_SYNC), bytes(3 * MIB)), 3 * MIB)
        self.assertGreaterEqual(syncs(self.server) - before, 3)  # it goes in pieces

    def test_single_writes_that_ask_for_it(self):
        fd = self.open(0)
        appender = self.open(os.O_APPEND)
        for flags in (os.RWF_DSYNC, os.RWF_SYNC):
            self.assert_syncs(os.pwritev, fd, [b"x" * 10], 0, flags)
            self.assert_syncs(os.pwritev, appender, [b"x" * 10], 0, flags)
            self.assert_syncs(os.pwritev, self.open(os.O_DSYNC), [b"x" * 10], 0, flags)
        self.assertEqual(os.fstat(fd).st_size, 30)

    def test_f_setfl_does_not_take_it_away(self):
        fd = self.open(os.O_SYNC)
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        self.assert_syncs(os.write, fd, b"x")

    def test_asked_again_after_a_restart(self):
        """The first server may have been killed between its commit and its sync."""
        ap = self.server.ap_create(self.server.fs_create())
        address = "unix:" + os.path.join(self.server.directory, "data.sock")
        client = Client(address)
        client.hello(ap)
        file = client.create(client.root, "f", 1, flags=raw.READ | raw.WRITE | raw.SYNC).handle
        request = client.request("append", u64(1) + raw.blob(b"record"), 5)
        client.send(request)
        first = client.receive()
        client.close()
        self.server.kill9()
        self.server.start()
        again = Client(address)
        self.addCleanup(again.close)
        again.hello(ap, session=client.welcome.session)
        again.seqs = dict(client.seqs)
        again.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE | raw.SYNC))
        again.call("reclaimed")
        again.send(request)
        self.assertEqual(again.receive(), first)
        self.assertEqual(again.getattr(file).size, 6)
        self.assertEqual(syncs(self.server), 1)


del TwoMounts

if __name__ == "__main__":
    unittest.main()
