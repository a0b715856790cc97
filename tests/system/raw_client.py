# SPDX-License-Identifier: Apache-2.0
"""The wire protocol, spoken raw over a socket: for tests that say what no honest client would.

Bytes are made here by docs/PROTOCOL.md, never by the code under test; call numbers are read from messages.def. Every wait has
a timeout.
"""
import collections
import errno
import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import struct

TIMEOUT_SECONDS = 10
HEADER = struct.Struct("<IHHII")
MAGIC = 0x68747242
WITH_CRED = 1
ENFORCED, CALLER, FIXED = 0, 1, 2
READ, WRITE, APPEND, TRUNC, CREATE, EXCL, DIRECTORY = 1, 2, 4, 8, 16, 32, 64
EXEC, SYNC, NOATIME = 0x80, 0x100, 0x200
LOCK_READ, LOCK_WRITE, LOCK_UNLOCK = 0, 1, 2
FCNTL, FLOCK = 0, 1
END = 2 ** 63 - 1
LEASE_ATTR, LEASE_NAME, LEASE_DATA, LEASE_NAMES, LEASE_OPEN = 1, 2, 4, 8, 16
DROP_ATTR, DROP_NAME, DROP_NAMES, DROP_DATA, DROP_TREE = 1, 2, 4, 8, 16
IO_MAX = 1024 * 1024
FRAME_MAX = IO_MAX + 8192


def _numbers():
    path = os.path.join(os.path.dirname(__file__), "../../fs/wire/messages.def")
    with open(path) as f:
        return {name: int(number) for name, number in re.findall(r"(?:CALL|EVENT)\([A-Z_]+, (\w+), (\d+)", f.read())}


OPS = _numbers()


class Refused(Exception):
    """A reply with an error."""

    def __init__(self, status, reason):
        super().__init__("%s %s" % (errno.errorcode.get(status, status), reason))
        self.status, self.reason = status, reason


class Closed(Exception):
    """The server closed the connection."""


# --- fields ---

def u8(n):
    return struct.pack("<B", n)


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def blob(data):
    return u32(len(data)) + data


def text(data):
    data = data if isinstance(data, bytes) else data.encode()
    return struct.pack("<H", len(data)) + data


name = text


def handle(pair):
    return struct.pack("<QQ", *pair)


def cred(uid, gid, groups=()):
    return struct.pack("<III", uid, gid, len(groups)) + b"".join(u32(g) for g in groups)


def lock(kind, type_, start, end, owner, pid=0):
    return struct.pack("<BBQQQI", kind, type_, start, end, owner, pid)


def make_body(parent, entry, mode, rdev=0, target=b"", umask=0):
    return handle(parent) + name(entry) + u32(mode) + u32(umask) + u32(rdev) + blob(target)


def lookup_body(parent, entry, hold=0):
    return handle(parent) + name(entry) + u64(hold)


def open_body(of, open_id, flags, first=0):
    return handle(of) + u64(open_id) + u32(flags) + u32(first)


def read_body(open_id, offset, n, keep=0):
    return u64(open_id) + u64(offset) + u32(n) + u8(keep)


def write_body(open_id, offset, data, pages=0):
    return u64(open_id) + u64(offset) + u8(pages) + blob(data)


def setattr_body(of, mask, mode=0, uid=0, gid=0, size=0, open_id=0):
    return handle(of) + u64(open_id) + u32(mask) + u32(mode) + u32(uid) + u32(gid) + u64(size) + bytes(24)


class Attr:
    FORMAT = struct.Struct("<QIIIIIQQqIqIqIqI")

    SIZE = FORMAT.size

    def __init__(self, data):
        (self.ino, self.mode, self.nlink, self.uid, self.gid, self.rdev, self.size, self.blocks, *self.times) = \
            self.FORMAT.unpack_from(data)



class Entry:
    SIZE = 16 + Attr.SIZE

    def __init__(self, data):
        self.handle = struct.unpack_from("<QQ", data)
        self.attr = Attr(data[16:self.SIZE])


Invalidate = collections.namedtuple("Invalidate", "number ino what name")


def frame(op, slot=0, seq=0, status=0, body=b"", length=None):
    return HEADER.pack(HEADER.size + len(body) if length is None else length, op, slot, seq, status) + body


class Welcome:
    FIXED = "<HQQBBQBHIBBQQH"

    def __init__(self, body):
        (self.version, self.session_high, self.session_low, self.resumed, self.claims, self.incarnation, self.log_continuous,
         self.n_slots, self.lease_ms, self.identity, self.read_only, self.time_ns, self.generation, n) = \
            struct.unpack_from(self.FIXED, body)
        at = struct.calcsize(self.FIXED)
        self.file_system = body[at:at + n].decode()
        self.root = Entry(body[at + n:])
        self.session = (self.session_high, self.session_low)


class Client:
    """One connection. `address`: "HOST:PORT" or "unix:PATH"."""

    def __init__(self, address):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            target = address[5:]
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
            target = (host.strip("[]"), int(port))
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.connect(target)
        self.seqs = {}
        self.events = []
        self.invalidates = []  # that came and were not looked at
        self.lease = None      # of the last reply that has one
        self.credentials = None
        op, _, _, _, body = self.receive()
        assert op == OPS["greeting"], op
        self.magic, self.version_min, self.version_max, n = struct.unpack_from("<IHHI", body)
        self.nonce = body[12:12 + n]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # --- frames ---

    def send(self, data):
        self.socket.sendall(data)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            try:
                part = self.socket.recv(n - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise Closed()
            data += part
        return data

    def receive(self):
        """(op, slot, seq, status, body) of the next frame."""
        length, op, slot, seq, status = HEADER.unpack(self._exactly(HEADER.size))
        return op, slot, seq, status, self._exactly(length - HEADER.size)

    def closed(self):
        """Waits for the server to close the connection; replies that come before are dropped."""
        try:
            while True:
                self.receive()
        except Closed:
            return True
        except socket.timeout:
            return False

    # --- session ---

    def hello_body(self, access_point, session=(0, 0), key="", secret="", version=1, read_only=0, proof=None,
                   client_name="raw client", want_leases=0):
        if proof is None:
            proof = b""
            if key:
                signed = (b"berth-hello-1" + self.nonce + struct.pack("<H", 0) + text(access_point) +
                          struct.pack("<QQHB", *session, version, read_only))
                proof = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        return (struct.pack("<H", version) + text(access_point) + struct.pack("<QQ", *session) + text(key) + blob(proof) +
                text(client_name) + u8(read_only) + u8(want_leases))

    def hello(self, access_point, **options):
        self.send(frame(OPS["hello"], body=self.hello_body(access_point, **options)))
        op, slot, _, status, body = self.receive()
        assert (op, slot) == (OPS["hello"], 0), (op, slot)
        if status:
            raise Refused(status, body[2:].decode())
        self.welcome = Welcome(body)
        self.root = self.welcome.root.handle
        if self.welcome.identity == CALLER:
            self.credentials = cred(0, 0)
        return self.welcome

    def request(self, op, body=b"", slot=1, seq=None):
        """The bytes of a request, the next one of its slot unless seq says otherwise."""
        if seq is None:
            seq = self.seqs[slot] = self.seqs.get(slot, 0) + 1
        number = OPS[op] if isinstance(op, str) else op
        with_cred = self.credentials is not None and op not in ("ping", "bye", "reclaimed")
        return frame(number, slot, seq, WITH_CRED if with_cred else 0, (self.credentials if with_cred else b"") + body)

    def _took(self, op, body):
        if op == OPS["granted"]:
            self.events.append(struct.unpack("<Q", body)[0])
        elif op == OPS["invalidate"]:
            number, ino, what, n = struct.unpack_from("<QQBI", body)
            assert len(body) == 21 + n, body
            self.invalidates.append(Invalidate(number, ino, what, body[21:]))
        return op in (OPS["granted"], OPS["invalidate"])

    def reply(self, slot=None):
        """The body of the next reply (on this slot); events that come before are kept in self.events."""
        while True:
            op, got_slot, _, status, body = self.receive()
            if got_slot == 0 and self._took(op, body):
                continue
            assert slot is None or got_slot == slot, (got_slot, slot)
            if status:
                raise Refused(status, body[2:].decode())
            return body

    def call(self, op, body=b"", slot=1, seq=None):
        self.send(self.request(op, body, slot, seq))
        return self.reply(slot)

    def event(self):
        """The next granted ticket."""
        while not self.events:
            op, _, _, _, body = self.receive()
            assert self._took(op, body), op
        return self.events.pop(0)

    # --- leases ---

    def invalidate(self):
        """The next thing that is to be dropped."""
        while not self.invalidates:
            op, _, _, _, body = self.receive()
            assert self._took(op, body), op
        return self.invalidates.pop(0)

    def drop(self, *invalidates):
        for event in invalidates:
            self.send(frame(OPS["dropped"], body=u64(event.number)))

    def cleared(self, generation=None):
        self.send(frame(OPS["cleared"], body=u64(self.welcome.generation if generation is None else generation)))

    def kept(self, *handles):
        self.send(frame(OPS["kept"], body=blob(b"".join(handle(h) for h in handles))))

    def forget(self, *inodes):
        self.call("forget", blob(b"".join(u64(ino) for ino in inodes)))

    def settle(self, open_id):
        self.call("settle", u64(open_id))

    def leased(self, body):
        """The reply's body in front of its lease."""
        self.lease = body[-1]
        return body[:-1]

    # --- calls ---

    def lookup(self, parent, entry, hold=0):
        body = self.leased(self.call("lookup", lookup_body(parent, entry, hold)))
        return Entry(body[1:]) if body[0] else None

    def getattr(self, of, open_id=0):
        return Attr(self.leased(self.call("getattr", handle(of) + u64(open_id))))

    def make(self, parent, entry, mode, rdev=0, target=b"", umask=0):
        return Entry(self.leased(self.call("make", make_body(parent, entry, mode, rdev, target, umask))))

    def create(self, parent, entry, open_id, mode=0o644, flags=READ | WRITE, umask=0):
        return Entry(self.leased(self.call("create", handle(parent) + name(entry) + u64(open_id) + u32(mode) + u32(umask) +
                                           u32(flags))))

    def tmpfile(self, parent, open_id, mode=0o644, flags=READ | WRITE, umask=0):
        return Entry(self.leased(self.call("tmpfile", handle(parent) + u64(open_id) + u32(mode) + u32(umask) + u32(flags))))

    def open(self, of, open_id, flags=READ, first=0):
        body = self.call("open", open_body(of, open_id, flags, first))
        self.lease, self.first = body[Attr.SIZE], body[Attr.SIZE + 5:]
        return Attr(body)

    def release(self, open_id):
        self.call("release", u64(open_id))

    def read(self, open_id, offset, n, keep=0):
        body = self.call("read", read_body(open_id, offset, n, keep))
        self.lease = body[0]
        return body[5:]

    def write(self, open_id, offset, data, pages=0):
        return Attr(self.call("write", write_body(open_id, offset, data, pages)))

    def append(self, open_id, data):
        return struct.unpack_from("<Q", self.call("append", u64(open_id) + blob(data)))[0]

    def fsync(self, open_id):
        self.call("fsync", u64(open_id))

    def unlink(self, parent, entry):
        self.call("unlink", handle(parent) + name(entry))

    def link(self, of, parent, entry):
        return Entry(self.leased(self.call("link", handle(of) + handle(parent) + name(entry))))

    def rmdir(self, parent, entry):
        self.call("rmdir", handle(parent) + name(entry))

    def rename(self, parent, entry, new_parent, new_entry, flags=0):
        self.call("rename", handle(parent) + name(entry) + handle(new_parent) + name(new_entry) + u32(flags))

    def readdir(self, open_id, cookie=0, n=4096, attributes=0):
        """(end, [(handle, cookie, type, name, attr)])"""
        body = self.call("readdir", u64(open_id) + u64(cookie) + u32(n) + u8(attributes))
        at, entries = 6, []
        self.page_lease = body[1]
        while at < len(body):
            ino, mac, after, type_, length = struct.unpack_from("<QQQIH", body, at)
            at += 30
            entry, has_attr = body[at:at + length], body[at + length]
            self.lease = body[at + length + 1] if has_attr else 0
            at += length + 1 + has_attr
            attr = Attr(body[at:at + Attr.SIZE]) if has_attr else None
            at += Attr.SIZE if has_attr else 0
            entries.append(((ino, mac), after, type_, entry, attr))
        return bool(body[0]), entries

    def setlk(self, open_id, lock_bytes, ticket=0, reclaim=0):
        return self.call("setlk", u64(open_id) + lock_bytes + u64(ticket) + u8(reclaim)) == b"\1"

    def cancel(self, ticket):
        return self.call("cancel", u64(ticket)) == b"\1"


# --- the control API, over its unix socket ---

class ApiConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def api_call(server, method, path, body=None):
    """A call of the control API over the server's unix socket; its JSON answer, or None."""
    connection = ApiConnection(os.path.join(server.directory, "api.sock"))
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    assert answer.status in (200, 201, 204), (answer.status, data)
    return json.loads(data) if data else None
