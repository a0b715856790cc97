# SPDX-License-Identifier: Apache-2.0
"""What operators see and do: `berth clients` and `berth locks` tell who is attached, holds and waits, `berth evict` cuts a
client off: what it held is free at once, its old descriptors answer EIO, what it opens anew works."""
import errno
import fcntl
import json
import os
import socket
import unittest
import urllib.error
import urllib.request

import harness
import raw_client as raw
from mountcase import TwoMounts, read_file
from test_locks import EX, NB, SH, Holder

ID = r"[0-9a-f]{16}"


class Admin(TwoMounts):
    def setUp(self):
        super().setUp()
        with open(self.a + "/f", "wb") as f:
            f.write(b"x" * 100)
        self.ino = os.stat(self.a + "/f").st_ino

    def listed(self, what, *options):
        return json.loads(self.server.berth(what, "--json", *options).stdout)

    def client_of(self, mount):
        """The row of a mount's client."""
        name = "%s:%d:%s" % (socket.gethostname(), mount.pid, mount.path)
        (row,) = [row for row in self.listed("clients") if row["Name"] == name]
        return row

    def locks(self):
        return [row for row in self.listed("locks") if row["Inode"] == self.ino]

    def evict(self, mount):
        client = self.client_of(mount)["ClientId"]
        self.assertEqual(self.server.berth("evict", client).stdout, "")
        return client

    def test_clients_are_told_with_what_they_hold(self):
        before = self.client_of(self.mount_a)
        self.assertRegex(before["ClientId"], ID)
        self.assertEqual((before["FileSystemId"], before["AccessPointId"]), (self.fs, self.ap))
        self.assertEqual((before["Connected"], before["Expired"], before["ReadOnly"]), (True, False, False))
        self.assertIn("uid", before["Peer"])
        self.assertLess(abs(before["Since"] - os.stat(self.server.log_path).st_mtime), 600)
        a, b = Holder(self, self.a + "/f"), Holder(self, self.a + "/f")
        self.assertEqual(a.do("lock", EX, 10, 10), 0)
        self.assertEqual(a.do("lock", EX, 30, 10), 0)
        b.send("lock", EX, 15, 1)
        harness.wait_for(lambda: self.client_of(self.mount_a)["Waits"] == before["Waits"] + 1, 10)
        row = self.client_of(self.mount_a)
        self.assertEqual([row[key] - before[key] for key in ("Opens", "Locks", "Waits")], [4, 2, 1])
        other = self.client_of(self.mount_b)
        self.assertNotEqual(other["ClientId"], row["ClientId"])
        self.assertEqual(other["Waits"], 0)
        a.do("lock", fcntl.LOCK_UN)
        self.assertEqual(b.answer(), 0)

    def test_address_and_key_of_a_tcp_client(self):
        mount = harness.Mount(self.server, self.ap, over="tcp", credentials=True)
        self.addCleanup(mount.unmount)
        row = self.client_of(mount)
        self.assertRegex(row["Peer"], r"^127\.0\.0\.1:\d+$")
        self.assertTrue(row["AccessKeyId"])
        self.assertIsNone(self.client_of(self.mount_a)["AccessKeyId"])
        mount.unmount()
        harness.wait_for(lambda: row["ClientId"] not in [r["ClientId"] for r in self.listed("clients")], 10)

    def test_locks_tell_who_holds_and_who_waits(self):
        a, b = Holder(self, self.a + "/f"), Holder(self, self.b + "/f")
        self.assertEqual(a.do("lock", EX, 10, 10), 0)
        self.assertEqual(a.do("flock", SH), 0)
        self.assertEqual(b.do("lock", SH, 50), 0)
        b.send("flock", EX)
        harness.wait_for(lambda: len(self.locks()) == 4, 10)
        ids = [self.client_of(mount)["ClientId"] for mount in (self.mount_a, self.mount_b)]
        rows = [(row["Kind"], row["Type"], row["Start"], row["End"], row["Waits"], ids.index(row["ClientId"]), row["Pid"])
                for row in self.locks()]
        self.assertEqual(rows, [("fcntl", "write", 10, 19, False, 0, a.process.pid),
                                ("fcntl", "read", 50, None, False, 1, b.process.pid),
                                ("flock", "read", 0, None, False, 0, a.process.pid),
                                ("flock", "write", 0, None, True, 1, b.process.pid)])
        table = self.server.berth("locks", "--fs", self.fs).stdout
        self.assertRegex(table, r"(?m)^%s +%d +fcntl +write +10-19 +holds +%s " % (self.fs, self.ino, ids[0]))
        self.assertRegex(table, r"(?m)^%s +%d +flock +write +0-end +waits +%s " % (self.fs, self.ino, ids[1]))
        self.assertEqual(a.do("flock", fcntl.LOCK_UN), 0)
        self.assertEqual(b.answer(), 0)

    def test_evicting_the_holder_lets_the_waiter_in_and_refuses_late_writes(self):
        held = os.open(self.a + "/f", os.O_RDWR)
        self.addCleanup(os.close, held)
        fcntl.flock(held, EX)
        b = Holder(self, self.b + "/f")
        b.send("flock", EX)
        self.assertTrue(b.waits())
        old = self.evict(self.mount_a)
        self.assertEqual(b.answer(), 0)
        for call in (lambda: os.pwrite(held, b"late", 0), lambda: os.pread(held, 1, 0), lambda: fcntl.flock(held, EX | NB)):
            with self.assertRaises(OSError) as caught:
                call()
            self.assertEqual(errno.errorcode[caught.exception.errno], "EIO")
        self.assertEqual(read_file(self.b + "/f"), b"x" * 100)
        again = os.open(self.a + "/f", os.O_RDWR)
        self.addCleanup(os.close, again)
        with self.assertRaises(BlockingIOError):
            fcntl.flock(again, EX | NB)
        self.assertEqual(b.do("flock", fcntl.LOCK_UN), 0)
        fcntl.flock(again, EX | NB)
        os.pwrite(again, b"new", 0)
        self.assertEqual(read_file(self.b + "/f")[:4], b"newx")
        new = self.client_of(self.mount_a)
        self.assertNotEqual(new["ClientId"], old)
        self.assertIn(" evict ", self.server.log())
        result = self.server.berth("evict", old, check=False)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(result.stderr, "^berth: evict %s: .*not attached" % old)

    def test_evicted_waiter_is_told_and_waits_no_more(self):
        a, b = Holder(self, self.a + "/f"), Holder(self, self.b + "/f")
        self.assertEqual(a.do("lock", EX), 0)
        b.send("lock", EX)
        harness.wait_for(lambda: len(self.locks()) == 2, 10)
        self.evict(self.mount_b)
        self.assertEqual(errno.errorcode[b.answer()], "EIO")
        self.assertEqual([row["Waits"] for row in self.locks()], [False])
        self.assertEqual(a.do("lock", fcntl.LOCK_UN), 0)

    def test_unlinked_file_of_an_evicted_client_goes(self):
        def size():
            (row,) = [row for row in json.loads(self.server.berth("fs", "list", "--json").stdout)
                      if row["FileSystemId"] == self.fs]
            return row["SizeInBytes"]["Value"]
        path = self.a + "/gone"
        before = size()
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, fd)
        os.write(fd, b"x" * 1000000)
        os.unlink(path)
        harness.wait_for(lambda: size() >= before + 1000000, 10)
        self.evict(self.mount_a)
        harness.wait_for(lambda: size() < before + 1000000, 10)

    def test_file_systems_are_told_apart(self):
        other_fs = self.server.fs_create()
        mount = harness.Mount(self.server, self.server.ap_create(other_fs))
        self.addCleanup(mount.unmount)
        everybody = {row["FileSystemId"] for row in self.listed("clients")}
        self.assertLessEqual({self.fs, other_fs}, everybody)
        self.assertEqual([row["FileSystemId"] for row in self.listed("clients", "--fs", other_fs)], [other_fs])
        self.assertEqual(self.listed("locks", "--fs", other_fs), [])
        result = self.server.berth("clients", "--fs", "fs-00000000000000000", check=False)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("does not exist", result.stderr)

    def test_a_hostile_name_cannot_break_the_table(self):
        client = raw.Client("unix:" + os.path.join(self.server.directory, "data.sock"))
        self.addCleanup(client.close)
        client.hello(self.ap, client_name=b"\x1b[2J\n\xff\x01 evil:\"\\" + b"y" * 490)
        (row,) = [row for row in self.listed("clients") if "evil" in (row["Name"] or "")]
        self.assertRegex(row["Name"], r"^[ -~]{1,140}$")
        table = self.server.berth("clients").stdout
        self.assertRegex(table, r"^[ -~\n]*$")
        self.assertEqual(len(table.splitlines()), 1 + len(self.listed("clients")))

    def test_many_locks_are_cut_off_at_ten_thousand(self):
        client = raw.Client("unix:" + os.path.join(self.server.directory, "data.sock"))
        self.addCleanup(client.close)
        client.hello(self.ap)
        client.create(client.root, "many", 1)
        for at in range(0, 10100, 100):
            requests = [client.request("setlk", raw.u64(1) + raw.lock(raw.FCNTL, raw.LOCK_WRITE, 2 * n, 2 * n, 7) +
                                       raw.u64(0) + b"\0", slot=1 + n % 100) for n in range(at, at + 100)]
            client.send(b"".join(requests))
            for _ in requests:
                self.assertEqual(client.reply(), b"\0")
        result = self.server.berth("locks", "--json", "--fs", self.fs)
        self.assertEqual(len(json.loads(result.stdout)), 10000)
        self.assertIn("more than are shown", result.stderr)
        (row,) = [row for row in self.listed("clients") if row["Locks"] >= 10100]
        self.assertEqual(row["Name"], "raw client")

    def test_only_who_may_use_the_api_may_ask(self):
        for method, path in (("GET", "clients"), ("GET", "locks"), ("DELETE", "clients/" + "0" * 16)):
            request = urllib.request.Request("http://%s/2015-02-01/berth/%s" % (self.server.api_address, path),
                                             method=method)
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            self.assertEqual(caught.exception.code, 403)
            caught.exception.close()

    def test_wrong_ids_are_refused(self):
        for wrong in ("0", "0" * 15, "0" * 17, "G" * 16, "-000000000000001"):
            result = self.server.berth("evict", "--", wrong, check=False)
            self.assertEqual((result.returncode, len(result.stderr.splitlines())), (1, 1), result.stderr)
        result = self.server.berth("evict", "0" * 16, check=False)
        self.assertIn("not attached", result.stderr)


class AfterARestart(TwoMounts):
    def test_clients_keep_their_ids(self):
        def ids():
            return {row["Name"]: row["ClientId"] for row in json.loads(self.server.berth("clients", "--json").stdout)}
        before = ids()
        self.assertEqual(len(before), 2)
        self.server.restart()
        os.listdir(self.a)
        os.listdir(self.b)
        self.assertEqual(ids(), before)


del TwoMounts

if __name__ == "__main__":
    unittest.main()
