# SPDX-License-Identifier: Apache-2.0
"""P7 and P9 on the wire: what no honest client says gets an error or a closed connection, and the others are served on; and
what sessions promise: a request sent again is answered, not executed."""
import configparser
import errno
import os
import select
import stat
import struct
import time
import unittest
from random import Random as Randomness

import harness
import raw_client as raw
from raw_client import Client, Closed, OPS, Refused, api_call, blob, frame, handle, lock, name, u8, u32, u64

SOMEBODY = {"Uid": 1234, "Gid": 1234}


class Wire(unittest.TestCase):
    SERVER_ARGS = ("--lease", "1")

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(args=cls.SERVER_ARGS)
        cls.addClassCleanup(cls.server.stop)
        cls.unix = "unix:" + os.path.join(cls.server.directory, "data.sock")
        cls.fs = cls.api("POST", "/2015-02-01/file-systems", {"CreationToken": "t"})["FileSystemId"]
        cls.ap = cls.access_point()

    @classmethod
    def api(cls, method, path, body=None):
        return api_call(cls.server, method, path, body)

    @classmethod
    def access_point(cls, **settings):
        cls.n_aps = getattr(cls, "n_aps", 0) + 1
        body = {"ClientToken": "t%d" % cls.n_aps, "FileSystemId": cls.fs, **settings}
        return cls.api("POST", "/2015-02-01/access-points", body)["AccessPointId"]

    def client(self, access_point=None, address=None, **options):
        client = Client(address or self.unix)
        self.addCleanup(client.close)
        client.hello(access_point or self.ap, **options)
        return client

    def bare(self, address=None):
        client = Client(address or self.unix)
        self.addCleanup(client.close)
        return client

    def directory(self, client):
        """A fresh directory of this test's own below the root."""
        return client.make(client.root, self.id().rsplit(".", 1)[-1], stat.S_IFDIR | 0o777).handle

    def refused(self, number, function, *arguments, **options):
        with self.assertRaises(Refused) as caught:
            function(*arguments, **options)
        self.assertEqual(errno.errorcode[caught.exception.status], errno.errorcode[number], caught.exception)
        return caught.exception.reason

    def granted(self, client, ticket):
        """Waits for a lock as a living client does."""
        deadline = time.monotonic() + raw.TIMEOUT_SECONDS
        while ticket not in client.events and time.monotonic() < deadline:
            client.call("ping", slot=100)
            if not client.events and select.select([client.socket], [], [], 0.2)[0]:
                client.events.append(client.event())
        self.assertEqual(client.events, [ticket])

    def serves(self):
        with Client(self.server.data_address) as other:
            other.hello(self.ap)
            other.getattr(other.root)
            other.call("bye")


class Plain(Wire):
    def test_create_write_read_list_remove(self):
        client = self.client()
        directory = self.directory(client)
        entry = client.create(directory, "f", 7)
        self.assertTrue(stat.S_ISREG(entry.attr.mode))
        self.assertEqual(client.write(7, 3, b"hello").size, 8)
        self.assertEqual(client.read(7, 0, 100), b"\0\0\0hello")
        self.assertEqual(client.append(7, b"!"), 8)
        client.fsync(7)
        client.open(directory, 8)
        end, entries = client.readdir(8, attributes=1)
        self.assertTrue(end)
        self.assertEqual([e[3] for e in entries], [b".", b"..", b"f"])
        self.assertEqual(entries[2][0], entry.handle)
        self.assertEqual(entries[2][4].size, 9)
        client.release(7)
        client.unlink(directory, "f")
        self.refused(errno.ENOENT, client.lookup, directory, "f")

    def test_large_reads_and_writes(self):
        client = self.client()
        client.create(self.directory(client), "f", 1)
        data = os.urandom(raw.IO_MAX)
        for i in range(4):
            client.write(1, i * raw.IO_MAX, data)
        for i in range(4):
            client.send(client.request("read", u64(1) + u64(i * raw.IO_MAX) + u32(raw.IO_MAX) + u8(0), slot=1 + i))
        for i in range(4):
            self.assertEqual(client.reply(1 + i)[5:], data)

    def test_listing_in_small_pieces(self):
        client = self.client()
        directory = self.directory(client)
        for i in range(20):
            client.make(directory, "n%d" % i, stat.S_IFREG | 0o644)
        client.open(directory, 1)
        seen, cookie, end = [], 0, False
        while not end:
            end, entries = client.readdir(1, cookie, 100)
            seen += [e[3].decode() for e in entries]
            cookie = entries[-1][1] if entries else cookie
        self.assertEqual(sorted(seen[2:]), sorted("n%d" % i for i in range(20)))
        self.refused(errno.EINVAL, client.readdir, 1, 0, 10)

    def test_many_slots_at_once(self):
        client = self.client()
        client.create(self.directory(client), "f", 1)
        record = b"%063d\n"
        client.send(b"".join(client.request("append", u64(1) + blob(record % slot), slot=slot)
                             for slot in range(1, client.welcome.n_slots + 1)))
        offsets = {struct.unpack_from("<Q", client.reply())[0] for _ in range(client.welcome.n_slots)}
        self.assertEqual(offsets, {64 * i for i in range(client.welcome.n_slots)})


class Malformed(Wire):
    """Each closes this connection only, with a logged reason."""

    def check_closed(self, client):
        self.assertTrue(client.closed())
        self.serves()

    def test_before_hello(self):
        client = Client(self.unix)
        body = client.hello_body(self.ap)
        client.close()
        table = {
            "length 0": frame(OPS["hello"], length=0),
            "length below a header": frame(OPS["hello"], length=15),
            "length past the limit": frame(OPS["hello"], length=raw.FRAME_MAX + 1),
            "length 2^32 - 1": frame(OPS["hello"], length=2 ** 32 - 1),
            "a hello past its own limit": frame(OPS["hello"], body=bytes(8192)),
            "trailing byte": frame(OPS["hello"], body=body + b"\0"),
            "truncated body": frame(OPS["hello"], body=body[:-1]),
            "empty body": frame(OPS["hello"]),
            "slot": frame(OPS["hello"], slot=1, body=body),
            "seq": frame(OPS["hello"], seq=1, body=body),
            "credentials": frame(OPS["hello"], status=1, body=raw.cred(0, 0) + body),
            "another call": frame(OPS["lookup"], slot=1, seq=1),
            "an event": frame(OPS["greeting"]),
            "unknown": frame(999),
            "a request behind hello": frame(OPS["hello"], body=body) + frame(OPS["ping"], 1, 1),
            "text with NUL": frame(OPS["hello"], body=body.replace(b"raw client", b"raw\0client")),
            "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        }
        for what, data in table.items():
            with self.subTest(what):
                client = self.bare()
                client.send(data)
                self.check_closed(client)

    def test_after_hello(self):
        root = (1, 0)
        table = {
            "length 0": frame(OPS["ping"], 1, 1, length=0),
            "length past the limit": frame(OPS["ping"], 1, 1, length=raw.FRAME_MAX + 1),
            "slot 0": frame(OPS["ping"], 0, 1),
            "slot past the last": frame(OPS["ping"], 129, 1),
            "slot 65535": frame(OPS["ping"], 65535, 1),
            "seq 0": frame(OPS["ping"], 1, 0),
            "seq 2 first": frame(OPS["ping"], 1, 2),
            "status bits": frame(OPS["ping"], 1, 1, 2),
            "hello again": frame(OPS["hello"], 1, 1),
            "ping with a body": frame(OPS["ping"], 1, 1, body=b"x"),
            "no credentials": frame(OPS["getattr"], 1, 1, body=handle(root) + u64(0)),
            "too many groups": frame(OPS["getattr"], 1, 1, 1, struct.pack("<III", 0, 0, 1025) + bytes(5000)),
            "groups past the end": frame(OPS["getattr"], 1, 1, 1, struct.pack("<III", 0, 0, 100)),
            "groups 2^32 - 1": frame(OPS["getattr"], 1, 1, 1, struct.pack("<III", 0, 0, 2 ** 32 - 1)),
            "truncated": frame(OPS["getattr"], 1, 1, 1, raw.cred(0, 0) + b"1234"),
            "name with /": frame(OPS["lookup"], 1, 1, 1, raw.cred(0, 0) + handle(root) + name("a/b") + u64(0)),
            "name with NUL": frame(OPS["lookup"], 1, 1, 1, raw.cred(0, 0) + handle(root) + name(b"a\0b") + u64(0)),
            "empty name": frame(OPS["lookup"], 1, 1, 1, raw.cred(0, 0) + handle(root) + name("") + u64(0)),
            "name of 256": frame(OPS["lookup"], 1, 1, 1, raw.cred(0, 0) + handle(root) + name("x" * 256) + u64(0)),
            "unlink ..": frame(OPS["unlink"], 1, 1, 1, raw.cred(0, 0) + handle(root) + name("..")),
            "bytes past the end": frame(OPS["write"], 1, 1, 1, raw.cred(0, 0) + u64(1) + u64(0) + u8(0) + u32(2 ** 32 - 1)),
            "slot used twice": frame(OPS["ping"], 1, 1) * 2,
            "lock upside down": frame(OPS["setlk"], 1, 1, 1,
                                      raw.cred(0, 0) + u64(1) + lock(0, 0, 5, 4, 1) + u64(0) + u8(0)),
        }
        for what, data in table.items():
            with self.subTest(what):
                client = self.client()
                client.send(data)
                self.check_closed(client)

    def test_peer_gone_amid_a_frame(self):
        for data in (b"\x10", frame(OPS["write"], 1, 1, 1, length=raw.FRAME_MAX)[:16],
                     frame(OPS["write"], 1, 1, 1, bytes(100))[:50]):
            client = self.client()
            client.send(data)
            client.close()
        self.serves()

    def test_reasons_are_logged(self):
        self.client().send(frame(OPS["ping"], 1, 2))
        harness.wait_for(lambda: "a gap in a slot's sequence numbers" in self.server.log(), 10)

    def test_more_requests_than_slots(self):
        client = self.client()
        client.send(b"".join(frame(OPS["ping"], 1, i + 1) for i in range(400)))
        self.check_closed(client)


class Random(Wire):
    """Whatever comes, the server answers or closes, and goes on. A failure names the seed that repeats it."""
    SEED = int(os.environ.get("BERTH_SEED", "7"))

    def mutate(self, random, request):
        data = bytearray(request)
        for _ in range(random.choice((0, 1, 1, 2, 8))):
            data[random.randrange(16, len(data)) if len(data) > 16 else 8] = random.choice((0, 1, 2, 0x7f, 0x80, 0xff))
        return bytes(data)

    def bodies(self, random, client):
        """Well-formed bodies of random calls on few names, opens and offsets, so that they meet."""
        some = random.choice((client.root, self.dir, self.file, (1, 2)))
        open_id, entry = random.randrange(0, 6), name(random.choice("abc"))
        a_lock = lock(random.randrange(2), random.randrange(3), 0, random.choice((5, raw.END)), random.randrange(3))
        data = blob(random.randbytes(random.choice((0, 1, 100, 20_000))))
        at = u64(random.choice((0, 5, 100_000, 2 ** 40, 2 ** 63 - 5, 2 ** 64 - 1)))
        times = struct.pack("<qIqI", 1, 2, 3, 4)
        attribute = name(random.choice(("user.a", "trusted.a", "system.posix_acl_access", "other", "", "n" * 300)))
        return {
            "ping": b"", "lookup": handle(some) + entry + u64(open_id), "getattr": handle(some) + u64(open_id),
            "setattr": handle(some) + u64(open_id) + u32(random.randrange(512)) + u32(0o644) + u32(1) * 2 + at + times,
            "access": handle(some) + u32(random.randrange(8)), "readlink": handle(some),
            "make": handle(some) + entry + u32(random.choice((0o40755, 0o100644, 0o120777, 0o10644))) + u32(0o22) + u32(0) +
            blob(random.choice((b"", b"target"))),
            "link": handle(some) + handle(self.dir) + entry, "unlink": handle(some) + entry, "rmdir": handle(some) + entry,
            "rename": handle(some) + entry + handle(self.dir) + name(random.choice("abc")) + u32(random.randrange(3)),
            "open": raw.open_body(some, open_id, random.randrange(512), random.randrange(20000)),
            "create": handle(some) + entry + u64(open_id) + u32(0o644) + u32(0o22) + u32(random.randrange(512)),
            "reopen": handle(some) + u64(open_id) + u32(random.randrange(512)), "release": u64(open_id),
            "read": u64(open_id) + at + u32(random.choice((0, 1, 5000, raw.IO_MAX))) + u8(random.randrange(2)),
            "write": u64(open_id) + at + u8(random.randrange(2)) + data,
            "append": u64(open_id) + data, "fsync": u64(open_id),
            "fallocate": u64(open_id) + u32(random.choice((0, 1, 2, 3, 16, 17, 18, 64))) + at +
            u64(random.choice((0, 9, 70_000))),
            "seek": u64(open_id) + at + u8(random.randrange(2)),
            "copy_range": u64(random.choice((open_id, 1))) + at + u64(open_id) + u64(random.choice((0, 9, 70_000))) + at,
            "readdir": u64(open_id) + at + u32(random.choice((0, 50, 5000))) + u8(random.randrange(2)),
            "statfs": handle(some), "getlk": u64(open_id) + a_lock,
            "setlk": u64(open_id) + a_lock + u64(random.randrange(4)) + u8(random.randrange(2)),
            "cancel": u64(random.randrange(4)),
            "getxattr": handle(some) + u64(open_id) + attribute + u32(random.choice((0, 5, 70_000))),
            "setxattr": handle(some) + u64(open_id) + attribute + u32(random.randrange(5)) + data,
            "listxattr": handle(some) + u64(open_id) + u32(random.choice((0, 5, 70_000))),
            "removexattr": handle(some) + u64(open_id) + attribute,
        }

    def burst(self, random, client):
        """Up to 20 random requests at once, each on a slot of its own; False when the server closed the connection."""
        slots = random.sample(range(1, 129), random.randrange(1, 20))
        requests = []
        for slot in slots:
            op, body = random.choice(list(self.bodies(random, client).items()))
            request = client.request(op, body, slot)
            requests.append(self.mutate(random, request) if random.random() < 0.1 else request)
        try:
            client.send(b"".join(requests))
            waiting = set(slots)
            while waiting:
                waiting.discard(client.receive()[1])
            return True
        except (Closed, ConnectionError):
            return False

    def test_random_calls(self):
        random = Randomness(self.SEED)
        keeper = self.client()
        self.dir = self.directory(keeper)
        self.file = keeper.create(self.dir, "a", 1).handle
        clients = [self.client() for _ in range(3)]
        for _ in range(int(os.environ.get("BERTH_ROUNDS", "600"))):
            n = random.randrange(3)
            if not self.burst(random, clients[n]):
                clients[n].close()
                clients[n] = self.client(session=random.choice(((0, 0), clients[n].welcome.session)))
                clients[n].seqs = {} if not clients[n].welcome.resumed else self.abandoned(clients[n])
        self.assertTrue(self.server.running(), "seed %d\n%s" % (self.SEED, self.server.log()[-3000:]))
        keeper.getattr(keeper.root)
        self.serves()

    def abandoned(self, client):
        """A resumed session whose numbers are not known any more is given up for a new one."""
        client.close()
        client.__init__(self.unix)
        client.hello(self.ap)
        return {}


    # --- the same while connections are lost, sessions resumed and revoked, and the server killed ---

    def again(self, random, client):
        """Another connection for this client: mostly of its session, with claims when there are any."""
        client.close()
        seqs, session = client.seqs, client.welcome.session
        client.__init__(self.unix)
        client.hello(self.ap, session=session if random.random() < 0.9 else (random.getrandbits(64), session[1]),
                     read_only=int(random.random() < 0.05))
        client.seqs = dict(seqs) if client.welcome.resumed else {}
        if client.welcome.claims:
            bodies = self.bodies(random, client)
            for slot, op in enumerate(random.choices(("reopen", "setlk", "release", "cancel", "ping"), k=5), 1):
                body = bodies[op][:-1] + b"\1" if op == "setlk" else bodies[op]
                client.send(client.request(op, body, slot))
            client.send(client.request("reclaimed", b"", 6))

    def lose_some(self, random, client):
        """Sends what it does not stay to see answered, and sends it again."""
        before = dict(client.seqs)
        bodies = self.bodies(random, client)
        slots = random.sample(range(1, 129), 10)
        requests = [client.request(*random.choice(list(bodies.items())), slot) for slot in slots]
        client.send(b"".join(requests))
        if random.random() < 0.5:
            client.receive()
        self.again(random, client)
        if client.welcome.resumed:
            client.send(b"".join(requests[:random.randrange(11)]))
        client.seqs = {**client.seqs, **({} if client.welcome.resumed else before)}

    def end_some(self, random):
        chance = random.random()
        if chance < 0.4:
            self.server.kill9()
            self.server.start()
        elif chance < 0.9:
            attached = self.api("GET", "/2015-02-01/berth/clients")["Clients"]
            if attached:
                self.api("DELETE", "/2015-02-01/berth/clients/%s" % random.choice(attached)["ClientId"])

    def step(self, random, client):
        try:
            chance = random.random()
            if chance < 0.03:
                self.end_some(random)
            elif chance < 0.15:
                self.lose_some(random, client)
            elif chance < 0.16:
                client.send(client.request("bye", b"", 1))
            elif not self.burst(random, client):
                self.again(random, client)
        except (Closed, OSError):
            self.assertIsNone(self.server.process.poll(), "seed %d\n%s" % (self.SEED, self.server.log()[-6000:]))
            self.again(random, client)

    def test_random_calls_while_sessions_end(self):
        random = Randomness(self.SEED)
        keeper = self.client()
        self.dir = self.directory(keeper)
        self.file = keeper.create(self.dir, "a", 1).handle
        clients = [self.client() for _ in range(4)]
        for client in clients:
            client.socket.settimeout(3)
        for _ in range(int(os.environ.get("BERTH_ROUNDS", "300"))):
            client = random.choice(clients)
            client.socket.settimeout(3)
            self.step(random, client)
        self.assertIsNone(self.server.process.poll(), "seed %d\n%s" % (self.SEED, self.server.log()[-6000:]))
        self.serves()


class Refusals(Wire):
    """Each is answered, and the connection goes on."""

    def setUp(self):
        self.c = self.client()
        self.dir = self.directory(self.c)
        self.f = self.c.create(self.dir, "f", 1).handle

    def tearDown(self):
        self.c.getattr(self.c.root)

    def test_unknown_call(self):
        for number in (0, 1, 15, 47, 64, 65, 65535):
            self.refused(errno.ENOSYS, self.c.call, number)

    def test_forged_handles(self):
        ino, mac = self.f
        for forged in ((ino, mac ^ 1), (ino, 0), (ino + 1, mac), (0, 0), (2 ** 64 - 1, 2 ** 64 - 1), (self.dir[0], mac)):
            self.refused(errno.ESTALE, self.c.getattr, forged)
            self.refused(errno.ESTALE, self.c.open, forged, 9)
            self.refused(errno.ESTALE, self.c.call, "reopen", handle(forged) + u64(9) + u32(1))
            self.refused(errno.ESTALE, self.c.lookup, forged, "x")
            self.refused(errno.ESTALE, self.c.rename, self.dir, "f", forged, "x")

    def test_handle_of_another_access_point(self):
        other = self.client(self.access_point(RootDirectory={"Path": "/"}))
        self.assertNotEqual(other.root, self.c.root)
        self.refused(errno.ESTALE, self.c.getattr, other.root)

    def test_removed_inode(self):
        self.c.unlink(self.dir, "f")
        self.assertEqual(self.c.getattr(self.f, 1).nlink, 0)
        self.c.release(1)
        self.refused(errno.ENOENT, self.c.getattr, self.f)

    def test_held_inode(self):
        self.c.release(1)
        self.assertEqual(self.c.lookup(self.dir, "f", hold=9).handle, self.f)
        self.refused(errno.ENOENT, self.c.lookup, self.dir, "none", 10)
        self.refused(errno.ESTALE, self.c.read, 10, 0, 1)
        self.c.unlink(self.dir, "f")
        self.assertEqual(self.c.getattr(self.f).nlink, 0)
        for call in ((self.c.read, 9, 0, 1), (self.c.write, 9, 0, b"x"), (self.c.getattr, self.f, 9),
                     (self.c.call, "getlk", u64(9) + lock(0, 1, 0, 4, 1)),
                     (self.c.call, "setlk", u64(9) + lock(0, 1, 0, 4, 1) + u64(0) + u8(0))):
            self.refused(errno.EBADF, *call)
        # The lookup is sent again, and finds another.
        other = self.c.create(self.dir, "f", 1).handle
        self.assertEqual(self.c.lookup(self.dir, "f", hold=9).handle, other)
        self.refused(errno.ENOENT, self.c.getattr, self.f)
        self.refused(errno.EEXIST, self.c.lookup, self.dir, "f", 1)
        self.c.open(other, 2)
        self.c.release(9)
        self.c.release(1)
        self.c.unlink(self.dir, "f")
        self.c.release(2)
        self.refused(errno.ENOENT, self.c.getattr, other)

    def test_files_without_a_name(self):
        self.refused(errno.EINVAL, self.c.tmpfile, self.dir, 2, 0o644, raw.READ)
        self.refused(errno.EINVAL, self.c.tmpfile, self.dir, 2, 1 << 20)
        self.refused(errno.EINVAL, self.c.tmpfile, self.dir, 0)
        self.refused(errno.EEXIST, self.c.tmpfile, self.dir, 1)
        self.refused(errno.ENOTDIR, self.c.tmpfile, self.f, 2)
        never = self.c.tmpfile(self.dir, 2, 0o644, raw.WRITE | raw.EXCL).handle
        self.refused(errno.ENOENT, self.c.link, never, self.dir, "x")
        once = self.c.tmpfile(self.dir, 3).handle
        self.assertEqual(self.c.link(once, self.dir, "x").attr.nlink, 1)
        self.c.unlink(self.dir, "x")
        self.refused(errno.ENOENT, self.c.link, once, self.dir, "x")
        self.c.unlink(self.dir, "f")
        self.refused(errno.ENOENT, self.c.link, self.f, self.dir, "x")

    def test_opens(self):
        self.refused(errno.EINVAL, self.c.open, self.f, 0)
        self.refused(errno.EINVAL, self.c.open, self.f, 2, 1 << 10)
        self.refused(errno.EINVAL, self.c.open, self.f, 2, raw.CREATE | raw.READ)
        self.refused(errno.EEXIST, self.c.open, self.dir, 1)
        self.refused(errno.ESTALE, self.c.read, 77, 0, 1)
        self.refused(errno.EINVAL, self.c.read, 1, 0, raw.IO_MAX + 1)
        self.refused(errno.EINVAL, self.c.call, "readdir", u64(1) + u64(0) + u32(raw.IO_MAX + 1) + u8(0))
        self.refused(errno.EINVAL, self.c.getattr, self.dir, 1)
        self.refused(errno.EFBIG, self.c.write, 1, 2 ** 63, b"x")
        self.refused(errno.EFBIG, self.c.write, 1, 2 ** 64 - 1, b"xyz")
        self.c.release(77)

    def test_masks_and_modes(self):
        setattr_tail = u32(0) * 3 + u64(0) + struct.pack("<qIqI", 0, 0, 0, 0)
        self.refused(errno.EINVAL, self.c.call, "setattr", handle(self.f) + u64(0) + u32(1 << 9) + setattr_tail)
        self.refused(errno.EINVAL, self.c.call, "setattr", handle(self.f) + u64(0) + u32(16 | 64) + setattr_tail)
        self.refused(errno.EFBIG, self.c.call, "setattr", handle(self.f) + u64(0) + u32(8) + u32(0) * 3 + u64(2 ** 63) +
                     struct.pack("<qIqI", 0, 0, 0, 0))
        self.refused(errno.EINVAL, self.c.call, "access", handle(self.f) + u32(8))
        self.refused(errno.EINVAL, self.c.rename, self.dir, "f", self.dir, "g", 8)
        self.refused(errno.EINVAL, self.c.rename, self.dir, "f", self.dir, "g", 3)
        self.refused(errno.EINVAL, self.c.make, self.dir, "x", 0o644)
        self.refused(errno.EINVAL, self.c.make, self.dir, "x", stat.S_IFREG | 1 << 20)
        self.refused(errno.EINVAL, self.c.make, self.dir, "x", stat.S_IFREG | 0o644, 0, b"target")
        self.refused(errno.EINVAL, self.c.make, self.dir, "x", stat.S_IFLNK | 0o777)
        self.refused(errno.EINVAL, self.c.make, self.dir, "x", stat.S_IFLNK | 0o777, 0, b"a\0b")
        self.refused(errno.ENAMETOOLONG, self.c.make, self.dir, "x", stat.S_IFLNK | 0o777, 0, b"a" * 4096)

    def test_locks(self):
        self.refused(errno.EINVAL, self.c.setlk, 1, lock(raw.FLOCK, 1, 1, 2, 1))
        self.refused(errno.EINVAL, self.c.setlk, 1, lock(raw.FLOCK, 1, 0, raw.END, 1), 0, 3)
        self.refused(errno.ESTALE, self.c.setlk, 99, lock(raw.FLOCK, 1, 0, raw.END, 1))
        self.c.open(self.f, 2, raw.READ)
        self.refused(errno.EBADF, self.c.setlk, 2, lock(raw.FCNTL, raw.LOCK_WRITE, 0, 5, 1))
        self.assertFalse(self.c.cancel(12345))


class Root(Wire):
    """Nobody climbs out, and identity is enforced whoever calls."""

    def setUp(self):
        self.top = self.client()
        self.name = self.id().rsplit(".", 1)[-1]
        self.sub_ap = self.access_point(PosixUser=SOMEBODY, RootDirectory={
            "Path": "/" + self.name, "CreationInfo": {"OwnerUid": 1234, "OwnerGid": 1234, "Permissions": "0750"}})
        self.sub = self.client(self.sub_ap)

    def test_root_is_made_as_told_and_enforced(self):
        attr = self.sub.welcome.root.attr
        self.assertEqual((attr.uid, attr.gid, stat.S_IMODE(attr.mode)), (1234, 1234, 0o750))
        self.assertEqual(self.sub.welcome.identity, raw.ENFORCED)
        self.assertEqual(self.sub.create(self.sub.root, "f", 1).attr.uid, 1234)

    def test_credentials_are_not_even_heard(self):
        self.sub.credentials = raw.cred(0, 0)
        self.sub.send(self.sub.request("getattr", handle(self.sub.root) + u64(0)))
        self.assertTrue(self.sub.closed())

    def test_dot_dot(self):
        self.assertEqual(self.sub.lookup(self.sub.root, "..").handle, self.sub.root)
        below = self.sub.make(self.sub.root, "d", stat.S_IFDIR | 0o755).handle
        self.assertEqual(self.sub.lookup(below, "..").handle, self.sub.root)
        self.sub.open(self.sub.root, 1)
        _, entries = self.sub.readdir(1, attributes=1)
        self.assertEqual([e[0][0] for e in entries[:2]], [self.sub.root[0]] * 2)
        self.assertEqual([e[0][1] for e in entries[:2]], [0, 0])

    def test_moved_out_is_out(self):
        inside = self.sub.make(self.sub.root, "d", stat.S_IFDIR | 0o777).handle
        held = self.sub.create(inside, "held", 1).handle
        loose = self.sub.make(inside, "loose", stat.S_IFREG | 0o666).handle
        top_sub = self.top.lookup(self.top.root, self.name).handle
        self.top.rename(top_sub, "d", self.top.root, self.name + "-out")
        self.refused(errno.ESTALE, self.sub.getattr, inside)
        self.refused(errno.ESTALE, self.sub.getattr, loose)
        self.refused(errno.ESTALE, self.sub.lookup, inside, "loose")
        self.sub.write(1, 0, b"still mine")
        self.assertEqual(self.sub.getattr(held, 1).size, 10)

    def test_attached_root_is_busy(self):
        self.refused(errno.EBUSY, self.top.rmdir, self.top.root, self.name)
        self.refused(errno.EBUSY, self.top.rename, self.top.root, self.name, self.top.root, "x")
        other = self.top.make(self.top.root, self.name + "-dir", stat.S_IFDIR | 0o755)
        self.assertTrue(other)
        self.refused(errno.EBUSY, self.top.rename, self.top.root, self.name + "-dir", self.top.root, self.name)
        everything, self.top.credentials = self.top.credentials, raw.cred(4321, 4321)
        self.refused(errno.EACCES, self.top.rmdir, self.top.root, self.name)  # as Linux says of a mountpoint
        self.refused(errno.EACCES, self.top.rename, self.top.root, self.name, self.top.root, "x")
        self.top.credentials = everything
        self.sub.call("bye")
        self.assertTrue(self.sub.closed())
        self.top.rmdir(self.top.root, self.name)

    def test_listing_without_search_shows_names_alone(self):
        listed = self.top.make(self.top.lookup(self.top.root, self.name).handle, "listed", stat.S_IFDIR | 0o744).handle
        self.top.make(listed, "f", stat.S_IFREG | 0o644)
        self.sub.open(self.sub.lookup(self.sub.root, "listed").handle, 1)
        _, entries = self.sub.readdir(1, attributes=1)
        self.assertEqual([(e[0][1], e[3], e[4]) for e in entries[2:]], [(0, b"f", None)])

    def test_read_only(self):
        client = self.client(self.sub_ap, read_only=1)
        self.assertEqual(client.welcome.read_only, 1)
        self.refused(errno.EROFS, client.create, client.root, "f", 1)
        self.refused(errno.EROFS, client.make, client.root, "d", stat.S_IFDIR | 0o755)
        entry = self.sub.create(self.sub.root, "f", 1)
        self.refused(errno.EROFS, client.open, entry.handle, 1, raw.READ | raw.WRITE)
        client.open(entry.handle, 1)
        self.refused(errno.EROFS, client.unlink, client.root, "f")


class Attach(Wire):
    def key(self):
        parser = configparser.ConfigParser()
        parser.read(self.server.credentials()["AWS_SHARED_CREDENTIALS_FILE"])
        return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]

    def refused_hello(self, number, access_point, address=None, **options):
        client = self.bare(address)
        reason = self.refused(number, client.hello, access_point, **options)
        self.assertTrue(client.closed())
        self.serves()
        return reason

    def test_unknown_access_point(self):
        for ap in ("fsap-00000000000000000", "", "x", "../x", "f" * 512):
            self.assertIn("does not exist", self.refused_hello(errno.ENOENT, ap))

    def test_missing_root(self):
        ap = self.access_point(RootDirectory={"Path": "/not/there"})
        reason = self.refused_hello(errno.ENOENT, ap)
        self.assertEqual(reason, "access point %s has root directory /not/there, which does not exist; create it or give the "
                         "access point creation info (--owner/--perm)" % ap)

    def test_root_is_a_file(self):
        client = self.client()
        client.make(client.root, "file", stat.S_IFREG | 0o644)
        self.assertIn("not a directory", self.refused_hello(errno.ENOTDIR, self.access_point(RootDirectory={"Path": "/file"})))

    def test_enforced_user_must_be_able_to_enter(self):
        ap = self.access_point(PosixUser=SOMEBODY, RootDirectory={
            "Path": "/closed", "CreationInfo": {"OwnerUid": 0, "OwnerGid": 0, "Permissions": "0700"}})
        self.assertIn("may not enter", self.refused_hello(errno.EACCES, ap))

    def test_existing_root_keeps_owner_and_mode(self):
        client = self.client()
        client.make(client.root, "kept", stat.S_IFDIR | 0o711)
        ap = self.access_point(RootDirectory={
            "Path": "/kept", "CreationInfo": {"OwnerUid": 5, "OwnerGid": 5, "Permissions": "0777"}})
        attr = self.client(ap).welcome.root.attr
        self.assertEqual((attr.uid, attr.gid, stat.S_IMODE(attr.mode)), (0, 0, 0o711))

    def test_deleted_access_point_leaves_the_attached_alone(self):
        ap = self.access_point()
        client = self.client(ap)
        self.api("DELETE", "/2015-02-01/access-points/" + ap)
        client.getattr(client.root)
        self.refused_hello(errno.ENOENT, ap)

    def test_versions(self):
        for version in (0, 2, 65535):
            self.refused_hello(errno.EPROTO, self.ap, version=version)

    def test_identity_of_peers(self):
        harness.require_root()
        tcp = self.server.data_address
        key, secret = self.key()
        self.assertEqual(self.client().welcome.identity, raw.CALLER)
        stranger = self.client(address=tcp)
        self.assertEqual(stranger.welcome.identity, raw.FIXED)
        self.refused(errno.EACCES, stranger.make, stranger.root, "d", stat.S_IFDIR | 0o755)
        self.assertEqual(self.client(address=tcp, key=key, secret=secret).welcome.identity, raw.CALLER)

    def test_wrong_proofs(self):
        key, secret = self.key()
        tcp = self.server.data_address
        table = {
            "secret": {"key": key, "secret": secret + "x"},
            "key": {"key": key[:-1] + "_", "secret": secret},
            "no proof": {"key": key, "proof": b""},
            "proof without a key": {"proof": bytes(32)},
            "short proof": {"key": key, "proof": bytes(31)},
            "long key": {"key": "A" * 512, "secret": "x"},
        }
        for what, options in table.items():
            with self.subTest(what):
                self.refused_hello(errno.EACCES, self.ap, tcp, **options)

    def test_proof_of_another_connection(self):
        key, secret = self.key()
        tcp = self.server.data_address
        old = self.bare(tcp)
        body = old.hello_body(self.ap, key=key, secret=secret)
        client = self.bare(tcp)
        client.send(frame(OPS["hello"], body=body))
        _, _, _, status, _ = client.receive()
        self.assertEqual(status, errno.EACCES)


class Sessions(Wire):
    def resume(self, client, **options):
        again = self.bare()
        again.hello(self.ap, session=client.welcome.session, **options)
        again.seqs = client.seqs
        return again

    def test_sent_again_is_answered_not_executed(self):
        client = self.client()
        directory = self.directory(client)
        client.create(directory, "f", 1)
        request = client.request("append", u64(1) + blob(b"once"))
        client.send(request)
        client.close()
        again = self.resume(client)
        self.assertEqual(again.welcome.resumed, 1)
        again.send(request)
        first = again.reply()
        again.send(request)
        self.assertEqual(again.reply(), first)
        self.assertEqual(again.read(1, 0, 100), b"once")

    def test_reads_sent_again_are_read_again(self):
        client = self.client()
        client.create(self.directory(client), "f", 1)
        client.write(1, 0, b"x" * 100_000)
        request = client.request("read", u64(1) + u64(0) + u32(100_000) + u8(0))
        client.send(request)
        client.reply()
        again = self.resume(client)
        again.send(request)
        self.assertEqual(again.reply()[5:], b"x" * 100_000)

    def test_newer_connection_closes_the_older(self):
        client = self.client()
        again = self.resume(client)
        self.assertTrue(client.closed())
        again.getattr(again.root)

    def test_another_call_under_an_old_number(self):
        client = self.client()
        client.getattr(client.root)
        client.send(client.request("lookup", raw.lookup_body(client.root, "x"), seq=1))
        self.assertTrue(client.closed())

    def test_strangers_do_not_resume(self):
        client = self.client()
        high, low = client.welcome.session
        for session in ((high ^ 1, low), (high, low ^ 1), (low, high)):
            self.assertEqual(self.client(session=session).welcome.resumed, 0)
        self.assertEqual(self.client(session=(high, low), address=self.server.data_address).welcome.resumed, 0)
        self.assertEqual(self.client(session=(high, low), read_only=1).welcome.resumed, 0)
        self.assertEqual(self.client(self.access_point(), session=(high, low)).welcome.resumed, 0)
        client.getattr(client.root)

    def test_session_ends_a_lease_time_after_its_connection(self):
        client = self.client()
        directory = self.directory(client)
        client.create(directory, "f", 1)
        client.setlk(1, lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1))
        other = self.client()
        other.open(other.lookup(directory, "f").handle, 1, raw.READ | raw.WRITE)
        self.refused(errno.EAGAIN, other.setlk, 1, lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1))
        self.assertTrue(other.setlk(1, lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1), ticket=5))
        client.close()
        self.granted(other, 5)
        self.assertEqual(self.resume(client).welcome.resumed, 0)

    def test_unlinked_open_file_lives_through_a_lost_connection(self):
        client = self.client()
        directory = self.directory(client)
        client.create(directory, "f", 1)
        client.write(1, 0, b"kept")
        client.unlink(directory, "f")
        client.close()
        again = self.resume(client)
        self.assertEqual(again.read(1, 0, 10), b"kept")

    def test_bye(self):
        client = self.client()
        client.call("bye")
        self.assertTrue(client.closed())
        self.assertEqual(self.resume(client).welcome.resumed, 0)


class Locks(Wire):
    def setUp(self):
        self.one, self.two = self.client(), self.client()
        self.dir = self.directory(self.one)
        f = self.one.create(self.dir, "f", 1).handle
        self.two.open(f, 1, raw.READ | raw.WRITE)
        self.whole = lock(raw.FLOCK, raw.LOCK_WRITE, 0, raw.END, 1)
        self.unlock = lock(raw.FLOCK, raw.LOCK_UNLOCK, 0, raw.END, 1)

    def test_wait_and_grant(self):
        self.assertFalse(self.one.setlk(1, self.whole))
        self.assertTrue(self.two.setlk(1, self.whole, ticket=9))
        self.one.setlk(1, self.unlock)
        self.assertEqual(self.two.event(), 9)
        self.refused(errno.EAGAIN, self.one.setlk, 1, self.whole)

    def test_cancel(self):
        self.one.setlk(1, self.whole)
        self.two.setlk(1, self.whole, ticket=9)
        self.assertFalse(self.two.cancel(9))
        self.one.setlk(1, self.unlock)
        self.one.setlk(1, self.whole)
        self.two.setlk(1, self.whole, ticket=10)
        self.one.setlk(1, self.unlock)
        self.assertEqual(self.two.event(), 10)
        self.assertTrue(self.two.cancel(10))

    def test_grant_while_disconnected_is_told_on_resuming(self):
        self.one.setlk(1, self.whole)
        self.two.setlk(1, self.whole, ticket=11)
        self.two.close()
        self.one.setlk(1, self.unlock)
        again = self.bare()
        again.hello(self.ap, session=self.two.welcome.session)
        self.assertEqual(again.event(), 11)

    def test_release_drops_locks_and_waits(self):
        self.one.setlk(1, self.whole)
        self.two.setlk(1, self.whole, ticket=12)
        self.one.release(1)
        self.assertEqual(self.two.event(), 12)
        self.two.release(1)
        self.one.open(self.one.lookup(self.dir, "f").handle, 2, raw.READ | raw.WRITE)
        self.assertFalse(self.one.setlk(2, self.whole))

    def test_getlk_hides_other_clients_pids(self):
        mine = lock(raw.FCNTL, raw.LOCK_WRITE, 10, 19, 1, 4711)
        self.one.setlk(1, mine)
        ask = u64(1) + lock(raw.FCNTL, raw.LOCK_WRITE, 0, 100, 2, 1)
        kind, type_, start, end, _, pid = struct.unpack("<BBQQQI", self.two.call("getlk", ask))
        self.assertEqual((kind, type_, start, end, pid), (raw.FCNTL, raw.LOCK_WRITE, 10, 19, 0))
        self.assertEqual(struct.unpack("<BBQQQI", self.one.call("getlk", ask))[5], 4711)


class Strict(Sessions):
    """The same sessions when every reply waits for the disk."""
    SERVER_ARGS = ("--lease", "1", "--durability", "strict")


if __name__ == "__main__":
    unittest.main()
