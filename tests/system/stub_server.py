# SPDX-License-Identifier: Apache-2.0
"""A server that says what no honest one would be caught at: it holds answers back, restarts and loses frames at will. For tests
of the client. It serves one mount and a root directory of a few files, whose bytes are all the same; every answer lets the
client keep what it can. Bytes are made by docs/PROTOCOL.md.
"""
import contextlib
import errno
import itertools
import os
import socket
import stat
import struct
import threading

import harness
import raw_client as raw
from raw_client import HEADER, OPS, blob, frame, u8, u32, u64

ROOT_INO, SIZE, SLOTS = 1, 1 << 20, 32
OPS_BY_NUMBER = {number: op for op, number in OPS.items()}
READ_BODY, WRITE_BODY = struct.Struct("<QQIB"), struct.Struct("<QQBI")


class Heard:
    """A frame of the client's."""

    def __init__(self, connection, op, slot, seq, body):
        self.connection, self.op, self.slot, self.seq, self.body = connection, op, slot, seq, body


class Stub:
    """`files`: their names; numbers from 2 on. Its attributes may be changed while it runs: `hold`, the calls that are not
    answered (see release()), `claims` and `resumed` for the next hello."""

    def __init__(self, *files, lease_ms=60000):
        self.directory = harness.new_directory("stub-")
        self.lease_ms = lease_ms
        self.numbers = {name.encode(): 2 + at for at, name in enumerate(files)}
        self.byte, self.mode = b"a", 0o644
        self.open_attr, self.open_lease, self.first = raw.LEASE_ATTR, 0, b""  # of what an open answers
        self.size = SIZE
        self.hold, self.heard, self.held = set(), [], []
        self.opens = {}  # by id: inode number
        self.generation, self.incarnation, self.resumed, self.claims = 1, 1, 0, 0
        self.lock = threading.Condition()
        self.connection = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.directory, "data.sock"))
        self.listener.listen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self):
        with self.lock:
            self.hold = set()
        self.release()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        self.thread.join(10)
        self.listener.close()

    # --- what tests do ---

    def wait_heard(self, op, matches=lambda heard: True, since=0, seconds=10):
        """The first such frame from the since-th on; None: it did not come in time."""
        def found():
            return next((heard for heard in self.heard[since:] if heard.op == op and matches(heard)), None)
        with self.lock:
            self.lock.wait_for(found, seconds)
            return found()

    def mark(self):
        """For `since`."""
        with self.lock:
            return len(self.heard)

    def cut(self):
        with contextlib.suppress(OSError, AttributeError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def restart(self):
        """The session is resumed, all that was in memory is gone."""
        with self.lock:
            self.held = []
            self.generation += 1
            self.incarnation += 1
            self.resumed = self.claims = 1
        self.cut()

    def invalidate(self, number, ino, what, entry=b""):
        self.connection.sendall(frame(OPS["invalidate"], body=u64(number) + u64(ino) + u8(what) + blob(entry)))

    def release(self):
        """Answers what was held back."""
        with self.lock:
            held, self.held = self.held, []
        for heard in held:
            with contextlib.suppress(OSError):
                self.answer(heard)

    # --- connections ---

    def run(self):
        for number in itertools.count():
            try:
                self.connection, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, raw.Closed):
                self.serve(self.connection, number)
            self.connection.close()

    def serve(self, connection, number):
        greeting = struct.pack("<IHH", raw.MAGIC, 1, 1) + blob(bytes(16))
        connection.sendall(frame(OPS["greeting"], body=greeting))
        while True:
            length, op, slot, seq, _ = HEADER.unpack(self.exactly(connection, HEADER.size))
            heard = Heard(connection, OPS_BY_NUMBER[op], slot, seq, self.exactly(connection, length - HEADER.size))
            with self.lock:
                self.heard.append(heard)
                held = heard.op in self.hold
                if held:
                    self.held.append(heard)
                self.lock.notify_all()
            if not held:
                self.answer(heard)

    @staticmethod
    def exactly(connection, n):
        data = b""
        while len(data) < n:
            part = connection.recv(n - len(data))
            if not part:
                raise raw.Closed()
            data += part
        return data

    # --- answers ---

    def answer(self, heard):
        if heard.slot == 0 and heard.op != "hello":
            return
        try:
            body = getattr(self, "do_" + heard.op)(heard.body)
            status = 0
        except OSError as error:
            body, status = raw.text(""), error.errno
        heard.connection.sendall(frame(OPS[heard.op], heard.slot, heard.seq, status, body))

    def attr(self, ino):
        mode = stat.S_IFDIR | 0o755 if ino == ROOT_INO else stat.S_IFREG | self.mode
        return raw.Attr.FORMAT.pack(ino, mode, 1, 0, 0, 0, self.size, 8, *[1] * 8)

    def entry(self, ino):
        return raw.handle((ino, ino)) + self.attr(ino)

    def do_hello(self, _):
        return (struct.pack(raw.Welcome.FIXED, 1, 7, 7, self.resumed, self.claims, self.incarnation, 1, SLOTS, self.lease_ms,
                            raw.FIXED, 0, 1, self.generation, 2) + b"fs" + self.entry(ROOT_INO))

    def do_lookup(self, body):
        (length,) = struct.unpack_from("<H", body, 16)
        name = body[18:18 + length]
        if name not in self.numbers:
            raise OSError(errno.ENOENT, "")
        return u8(1) + self.entry(self.numbers[name]) + u8(raw.LEASE_ATTR | raw.LEASE_NAME)

    def do_getattr(self, body):
        return self.attr(struct.unpack_from("<Q", body)[0]) + u8(raw.LEASE_ATTR)

    def do_open(self, body):
        ino, _, open_id = struct.unpack_from("<QQQ", body)
        self.opens[open_id] = ino
        return self.attr(ino) + u8(self.open_attr | self.open_lease) + blob(self.first)

    def do_read(self, body):
        _, offset, n, keep = READ_BODY.unpack_from(body)
        return u8(raw.LEASE_DATA if keep else 0) + blob(self.byte * max(0, min(n, self.size - offset)))

    def do_write(self, body):
        return self.attr(self.opens[struct.unpack_from("<Q", body)[0]])

    def do_ping(self, _):
        return u64(1)

    def do_getxattr(self, _):
        raise OSError(errno.ENODATA, "")

    def do_statfs(self, _):
        return u64(4096) * 6 + u32(255)

    def do_nothing(self, _):
        return b""

    do_bye = do_access = do_release = do_forget = do_reopen = do_reclaimed = do_settle = do_fsync = do_nothing
