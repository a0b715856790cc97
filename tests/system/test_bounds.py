# SPDX-License-Identifier: Apache-2.0
"""P9, bounds: whoever sends too much, too slowly, too little or nothing costs the server a bounded amount of memory, which
comes back, and nobody else notices. Each case prints the memory that it saw (run this file by itself to see it)."""
import errno
import os
import resource
import select
import socket
import threading
import time
import unittest

import harness
import raw_client as raw
from raw_client import Client, Closed, OPS, blob, frame, handle, lock, name, u32, u64, u8
from test_wire import Wire

MIB = 1024 * 1024
LEASE_SECONDS = 2
IDLE_SESSIONS = int(os.environ.get("BERTH_SESSIONS", "10000"))
IDLE_SESSION_MAX = 32 * 1024
WAITS_MAX = 1024
WHOLE = lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1)


# Sanitizers remember something of every byte, and AddressSanitizer keeps what was freed for a while: little of it, where
# memory is measured. What they take is in the figures.
SHADOW = 1 if harness.SLOWDOWN == 1 else 24
os.environ["ASAN_OPTIONS"] = ":".join(
    filter(None, [os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=4:thread_local_quarantine_size_kb=64"]))


class Bounds(Wire):
    """Each case has a server of its own."""
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        super(Bounds, type(self)).setUpClass()
        self.addCleanup(type(self).doClassCleanups)

    def rss(self):
        with open("/proc/%d/status" % self.server.process.pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))

    def told(self, what, *values):
        print("%-45s %s" % (what, "  ".join("%s %.1f MiB" % (label, n / MIB) for label, n in values)))

    def memory_comes_back(self, before, room):
        """Not all of it need go to the system: what stays must be little, and the same when it happens again."""
        try:
            harness.wait_for(lambda: self.rss() - before < room * SHADOW, 10)
        except AssertionError:
            self.fail("%d MiB before, %d MiB after" % (before // MIB, self.rss() // MIB))

    def others_are_served(self, client):
        start = time.monotonic()
        client.getattr(client.root)
        self.serves()
        self.assertLess(time.monotonic() - start, 5)


def raise_descriptors(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        raise unittest.SkipTest("descriptors: %d are needed, %d allowed (ulimit -Hn)" % (wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class Connections(Bounds):
    def setUp(self):
        raise_descriptors(20000)
        super().setUp()

    def test_idle_sessions(self):
        keeper = self.client()
        before, start = self.rss(), time.monotonic()
        sessions = []
        self.addCleanup(lambda: [s.close() for s in sessions])
        for _ in range(IDLE_SESSIONS):
            sessions.append(Client(self.unix))
            sessions[-1].hello(self.ap)
        with_all, seconds = self.rss(), time.monotonic() - start
        each = (with_all - before) / IDLE_SESSIONS
        self.others_are_served(keeper)
        start = time.monotonic()
        for i in range(100):
            keeper.make(keeper.root, "d%d" % i, 0o40755)
            keeper.rename(keeper.root, "d%d" % i, keeper.root, "e%d" % i)
            keeper.rmdir(keeper.root, "e%d" % i)
        directories_ms = (time.monotonic() - start) * 10
        print("%d idle sessions: %.1f KiB each, attached in %.1f s; mkdir+rename+rmdir %.2f ms" % (
            IDLE_SESSIONS, each / 1024, seconds, directories_ms))
        self.assertLess(each, SHADOW * IDLE_SESSION_MAX)
        for session in sessions:
            session.send(session.request("bye", b""))
        for session in sessions:
            self.assertTrue(session.closed())
            session.close()
        self.memory_comes_back(before, 24 * MIB)

    def test_a_crowd_that_never_says_hello(self):
        keeper = self.client()
        before = self.rss()
        limit = 16384
        crowd = []
        self.addCleanup(lambda: [s.close() for s in crowd])
        for i in range(limit + 300):
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].connect(self.unix[5:])
            if i % 3 == 0:
                crowd[-1].send(frame(OPS["hello"], length=4096)[:1 + i % 30])
        # The crowd has every place. Whoever says hello gets in all the same.
        self.others_are_served(keeper)
        self.told("%d connections without hello" % len(crowd), ("before", before), ("with them", self.rss()))
        self.assertLess(self.rss() - before, SHADOW * 64 * MIB)
        for one in crowd:
            one.close()
        self.memory_comes_back(before, 32 * MIB)


class Descriptors(Bounds):
    def test_few_descriptors(self):
        """Sessions go on when no connection can be taken any more, and it is over when they leave."""
        keeper = self.client()
        pid = self.server.process.pid
        used = len(os.listdir("/proc/%d/fd" % pid))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(30)]
        for one in crowd:
            one.connect(self.unix[5:])
        harness.wait_for(lambda: "no file descriptor is left" in self.server.log(), 10)
        keeper.create(keeper.root, "f", 1)
        keeper.write(1, 0, b"small")
        self.assertEqual(keeper.read(1, 0, 10), b"small")
        keeper.setlk(1, WHOLE)
        for one in crowd:
            one.close()

        def serves():
            try:
                self.serves()
                return True
            except (Closed, OSError):
                return False
        harness.wait_for(serves, 10)
        keeper.write(1, 0, bytes(MIB))

    def test_connections_leave_descriptors_for_files(self):
        self.server.stop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            self.server.start()  # raises its soft limit: take the hard one down for it too
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.others_are_served(self.client())


class Slow(Bounds):
    def test_who_never_reads(self):
        keeper, deaf = self.client(), self.client()
        keeper.create(keeper.root, "big", 1)
        for at in range(8):
            keeper.write(1, at * MIB, bytes(MIB))
        deaf.open(keeper.lookup(keeper.root, "big").handle, 1)
        before = self.rss()
        for slot in range(1, 41):  # what the socket holds without being read
            deaf.send(deaf.request("read", u64(1) + u64(0) + u32(MIB) + u8(0), slot))
        self.assertTrue(select.select([deaf.socket], [], [], 10)[0])
        self.others_are_served(keeper)
        for _ in range(20):
            self.assertLess(self.rss() - before, SHADOW * 16 * MIB)
            keeper.getattr(keeper.root)
            time.sleep(0.02)
        self.told("40 replies of 1 MiB not read", ("before", before), ("with them", self.rss()))
        got = {deaf.receive()[1] for _ in range(40)}
        self.assertEqual(got, set(range(1, 41)))
        deaf.close()
        self.memory_comes_back(before, 8 * MIB)

    def test_who_writes_a_byte_at_a_time(self):
        keeper = self.client()
        slow = [self.client() for _ in range(50)]
        before = self.rss()
        header = frame(OPS["write"], 1, 1, 1, length=raw.FRAME_MAX)[:16]
        for round_ in range(24):
            for client in slow:
                client.send(header[round_:round_ + 1] or b"x")
            keeper.getattr(keeper.root)
        self.others_are_served(keeper)
        self.told("50 frames of 1 MiB begun", ("before", before), ("with them", self.rss()))
        self.assertLess(self.rss() - before, SHADOW * 8 * MIB)  # room is asked for, not used
        for client in slow:
            client.close()
        self.memory_comes_back(before, 8 * MIB)

    def test_maximal_frames_without_pause(self):
        keeper, loud = self.client(), self.client()
        loud.create(loud.root, "f", 1)
        before, peak = self.rss(), 0
        body = u64(1) + u64(0) + u8(0) + blob(bytes(MIB))
        for slot in range(1, 65):
            loud.send(loud.request("write", body, slot))
            peak = max(peak, self.rss())
        for _ in range(64):
            self.assertEqual(loud.receive()[3], 0)
        self.others_are_served(keeper)
        self.told("64 writes of 1 MiB at once", ("before", before), ("peak", peak))
        self.assertLess(peak - before, SHADOW * 48 * MIB)
        self.memory_comes_back(before, 32 * MIB)


class Restarted(Bounds):
    def back(self, client):
        client.close()
        again = self.client(session=client.welcome.session)
        again.seqs = dict(client.seqs)
        return again


class Grace(Restarted):
    SERVER_ARGS = ("--lease", str(30 * harness.SLOWDOWN))

    def push(self, client, data, patience=0.5):
        """Sends what the server takes; how much that is."""
        client.socket.setblocking(False)
        sent, view = 0, memoryview(data)
        while sent < len(data) and select.select([], [client.socket], [], patience)[1]:
            sent += client.socket.send(view[sent:sent + 65536])
        client.socket.setblocking(True)
        client.socket.settimeout(raw.TIMEOUT_SECONDS)
        return sent

    def test_writes_that_wait_for_the_end_of_grace(self):
        absent, writer, reader = self.client(), self.client(), self.client()
        file = writer.create(writer.root, "f", 1).handle
        absent.close()
        self.server.kill9()
        self.server.start()
        writer, reader = self.back(writer), self.back(reader)
        writer.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
        writer.call("reclaimed")
        reader.call("reclaimed")
        before = self.rss()
        data = b"".join(writer.request("write", u64(1) + u64(slot * MIB) + u8(0) + blob(bytes(MIB)), slot)
                        for slot in range(2, 129))
        sent = self.push(writer, data)
        held = self.rss() - before
        self.told("writes of 1 MiB parked", ("sent", sent), ("held", held))
        self.assertLess(sent, 12 * MIB)
        self.assertLess(held, SHADOW * 12 * MIB)
        reader.getattr(reader.root)
        self.back(absent).call("reclaimed")
        sender = threading.Thread(target=writer.socket.sendall, args=(data[sent:],))
        sender.start()
        answered = [writer.receive()[3] for _ in range(127)]
        sender.join()
        self.assertEqual(answered, [0] * 127)
        self.memory_comes_back(before, 40 * MIB)

    def test_writes_of_many_clients_that_wait(self):
        """Each alone might have 8 MiB waiting; together they have 512 MiB, and one request each."""
        with open("/proc/meminfo") as f:
            available = next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
        if available < 2048 * MIB:
            raise unittest.SkipTest("memory: 2 GiB are needed, %d MiB available" % (available // MIB))
        absent, reader = self.client(), self.client()
        file = absent.create(absent.root, "f", 1).handle
        writers = [self.client() for _ in range(85)]
        absent.close()
        self.server.kill9()
        self.server.start()
        reader, writers = self.back(reader), [self.back(writer) for writer in writers]
        reader.call("reclaimed")
        for writer in writers:
            writer.call("reopen", handle(file) + u64(1) + u32(raw.READ | raw.WRITE))
            writer.call("reclaimed")
        before = self.rss()
        body = u64(1) + u64(0) + u8(0) + blob(bytes(MIB))
        rests = [b"".join(writer.request("write", body, slot) for slot in range(2, 12)) for writer in writers]
        sent, more = 0, 1
        while more:  # a busy machine may make the server look full
            more = 0
            for i, writer in enumerate(writers):
                n = self.push(writer, rests[i], 0.01)
                rests[i] = rests[i][n:]
                more += n
            sent += more
        self.told("writes of 1 MiB parked by 85", ("sent", sent), ("held", self.rss() - before))
        self.assertGreater(sent, 512 * MIB)
        self.assertLess(sent, (512 + 48) * MIB)
        reader.getattr(reader.root)
        self.back(absent).call("reclaimed")
        for writer, rest in zip(writers, rests):
            writer.send(rest)
            self.assertEqual([writer.receive()[3] for _ in range(10)], [0] * 10)
        self.memory_comes_back(before, 64 * MIB)


class Mute(Restarted):
    def test_who_never_says_that_it_has_claimed(self):
        mute, other = self.client(), self.client()
        mute.create(mute.root, "f", 1)
        self.server.kill9()
        self.server.start()
        mute, other = self.back(mute), self.back(other)
        other.call("reclaimed")
        deadline = time.monotonic() + LEASE_SECONDS + 3
        other.send(other.request("make", handle(other.root) + name("d") + u32(0o40755) + u32(0) * 2 + blob(b""), 3))
        other.socket.settimeout(0.2)
        while True:  # alive, and silent about its claims: grace ends all the same
            mute.call("ping", slot=9)
            try:
                self.assertEqual(other.receive()[3], 0)
                break
            except TimeoutError:
                self.assertLess(time.monotonic(), deadline)
        other.socket.settimeout(raw.TIMEOUT_SECONDS)
        self.others_are_served(other)


class Tables(Bounds):
    def in_bulk(self, client, n, request):
        """n requests, 100 at a time; the statuses that came."""
        statuses = {}
        for start in range(0, n, 100):
            part = range(start, min(n, start + 100))
            client.send(b"".join(client.request(*request(i), 1 + i - start) for i in part))
            for _ in part:
                op, _, _, status, _ = client.receive()
                while op == OPS["granted"]:
                    op, _, _, status, _ = client.receive()
                statuses[status] = statuses.get(status, 0) + 1
        return statuses

    def test_opens_up_to_the_limit(self):
        client, keeper = self.client(), self.client()
        file = client.create(client.root, "f", 1).handle
        before = self.rss()
        statuses = self.in_bulk(client, 65536, lambda i: ("open", raw.open_body(file, 2 + i, raw.READ)))
        self.told("65,536 opens", ("before", before), ("with them", self.rss()))
        self.assertEqual(statuses, {0: 65535, errno.EMFILE: 1})
        self.others_are_served(keeper)
        self.assertLess(self.rss() - before, SHADOW * 24 * MIB)
        self.assertEqual(client.call("bye", slot=128), b"")
        self.assertTrue(client.closed())
        self.memory_comes_back(before, 12 * MIB)
        keeper.unlink(keeper.root, "f")

    def test_waits_up_to_the_limit(self):
        holder, client = self.client(), self.client()
        file = holder.create(holder.root, "f", 1).handle
        holder.setlk(1, WHOLE)
        client.open(file, 1, raw.READ | raw.WRITE)
        statuses = self.in_bulk(client, 300, lambda i: ("setlk", u64(1) + lock(raw.FCNTL, raw.LOCK_WRITE, i, i, i) + u64(1 + i) +
                                                        u8(0)))
        self.assertEqual(set(statuses), {0})  # record locks do not mind a flock
        holder.setlk(1, lock(raw.FCNTL, raw.LOCK_WRITE, 1000, 100_000, 1))
        statuses = self.in_bulk(client, WAITS_MAX + 44, lambda i: (
            "setlk", u64(1) + lock(raw.FCNTL, raw.LOCK_WRITE, 1000 + i, 1000 + i, i % 1000) + u64(1 + i) + u8(0)))
        self.assertEqual(statuses, {0: WAITS_MAX, errno.ENOLCK: 44})
        self.others_are_served(holder)
        client.close()
        holder.setlk(1, lock(raw.FCNTL, raw.LOCK_UNLOCK, 0, raw.END, 1))

    def test_owners_of_one_open(self):
        client = self.client()
        client.create(client.root, "f", 1)
        statuses = self.in_bulk(client, 1100, lambda i: ("setlk", u64(1) + lock(raw.FCNTL, raw.LOCK_WRITE, i, i, i) + u64(0) +
                                                         u8(0)))
        self.assertEqual(statuses, {0: 1024, errno.ENOLCK: 76})
        client.release(1)


class Renames(Bounds):
    def test_directories_renamed_while_others_look_far_below(self):
        """Every rename of a directory makes the server ask anew where everything lies."""
        ap = self.access_point(RootDirectory={"Path": "/sub", "CreationInfo": {"OwnerUid": 0, "OwnerGid": 0,
                                                                               "Permissions": "0755"}})
        deep, storm = self.client(ap), self.client()
        at = deep.root
        for i in range(200):
            at = deep.make(at, "d%d" % i, 0o40755).handle
        storm.make(storm.root, "a", 0o40755)
        names, stop, waits = ["a", "b"], time.monotonic() + 1.5, []
        while time.monotonic() < stop:
            body = handle(storm.root) + name(names[0]) + handle(storm.root) + name(names[1]) + u32(0)
            storm.send(storm.request("rename", body))
            names.reverse()
            start = time.monotonic()
            deep.getattr(at)
            waits.append(time.monotonic() - start)
            storm.reply()
        waits.sort()
        print("getattr 200 directories down beside renames: n=%d p50=%.3f ms p99=%.3f ms" % (
            len(waits), waits[len(waits) // 2] * 1000, waits[len(waits) * 99 // 100] * 1000))
        self.assertLess(waits[len(waits) * 99 // 100], 0.4)


del Wire

if __name__ == "__main__":
    unittest.main()
