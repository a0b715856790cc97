#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sits between mounts and a server and understands frames, so that it can take the mechanism of coherence away.

    wire_proxy.py HOST:PORT        listens on a port of its own, which it prints; then takes commands, a JSON line each:
    {"set": {...}}   invalidate: "pass" | "lose" (swallowed) | "forge" (swallowed, and acknowledged in the client's stead)
                     delay_ms: of what the server says   frozen: nothing goes either way   refuse: no new connections
    {"cut": true}    ends all connections
    {"count": true}  frames so far, by direction and number: {"client 16": 5, "server 16": 5}
Each is answered with a line. Class Proxy starts and commands one. Bytes are taken apart by docs/PROTOCOL.md.
"""
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = struct.Struct("<IHHII")
INVALIDATE, DROPPED = 65, 66
CHUNK = 1 << 18
HELD_MAX = 8 << 20  # bytes waiting for one receiver; then its sender is not read


class Proxy:
    """A proxy in a process of its own: nothing in this one can hold it up."""

    def __init__(self, target):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), target], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.data_address = self.process.stdout.readline().strip()

    def _ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def set(self, **modes):
        self._ask(set=modes)

    def cut(self):
        self._ask(cut=True)

    def calls(self):
        """Frames that clients have sent so far."""
        return sum(n for key, n in self._ask(count=True).items() if key.startswith("client "))

    def calls_of(self, *numbers):
        """The same, of these calls alone."""
        counts = self._ask(count=True)
        return sum(counts.get("client %d" % number, 0) for number in numbers)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Flow:
    """One direction of a connection: whole frames, each with the time at which it may leave."""

    def __init__(self, side, source, drain):
        self.side, self.source, self.drain = side, source, drain
        self.got, self.due, self.leaving, self.ended = b"", [], b"", False
        self.other = None

    def held(self):
        return len(self.got) + len(self.leaving) + sum(len(frame) for _, frame in self.due)


class Relay:
    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.modes = {"invalidate": "pass", "delay_ms": 0, "frozen": False, "refuse": False}
        self.counts, self.flows = {}, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.commands = b""

    def run(self):
        print("%s:%d" % self.listener.getsockname(), flush=True)
        os.set_blocking(0, False)
        while self.turn():
            pass

    # --- a turn: whatever is ready, once ---

    def turn(self):
        wanted = {0: ("command", None, selectors.EVENT_READ)}
        if not self.modes["frozen"]:
            wanted[self.listener.fileno()] = ("accept", None, selectors.EVENT_READ)
            for flow in self.flows:
                if not flow.ended and flow.held() < HELD_MAX:
                    self.want(wanted, flow.source, selectors.EVENT_READ, flow)
                if flow.leaving:
                    self.want(wanted, flow.drain, selectors.EVENT_WRITE, flow)
        with selectors.DefaultSelector() as selector:
            for descriptor, (what, flows, events) in wanted.items():
                selector.register(descriptor, events, (what, flows))
            ready = selector.select(self.patience())
        for key, _ in ready:
            what, _ = key.data
            if what == "command" and not self.command():
                return False
            if what == "accept":
                self.accept()
        if not self.modes["frozen"]:
            self.carry()
        return True

    @staticmethod
    def want(wanted, sock, event, flow):
        _, flows, events = wanted.get(sock.fileno(), ("flow", [], 0))
        wanted[sock.fileno()] = ("flow", [*flows, flow], events | event)

    def patience(self):
        """Seconds until the next frame is due; None: none waits."""
        times = [] if self.modes["frozen"] else [flow.due[0][0] for flow in self.flows if flow.due]
        return max(0, min(times) - time.monotonic()) if times else None

    def command(self):
        data = os.read(0, CHUNK)
        self.commands += data
        *lines, self.commands = self.commands.split(b"\n")
        for line in lines:
            asked = json.loads(line)
            self.modes.update(asked.get("set", {}))
            if asked.get("cut"):
                for flow in self.flows[::2]:
                    self.end(flow)
            print(json.dumps(self.counts if asked.get("count") else {}), flush=True)
        return bool(data)

    def accept(self):
        client, _ = self.listener.accept()
        if self.modes["refuse"]:
            client.close()
            return
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up, down = Flow("client", client, server), Flow("server", server, client)
        up.other, down.other = down, up
        self.flows += [up, down]

    def carry(self):
        for flow in list(self.flows):
            if flow not in self.flows:
                continue
            try:
                self.receive(flow)
                self.leave(flow)
            except OSError:
                self.end(flow)
                continue
            if flow.ended and not flow.due and not flow.leaving:
                self.end(flow)

    def receive(self, flow):
        if flow.ended or flow.held() >= HELD_MAX:
            return
        try:
            data = flow.source.recv(CHUNK)
        except BlockingIOError:
            return
        flow.ended = not data
        flow.got += data
        while len(flow.got) >= HEADER.size:
            length = HEADER.unpack_from(flow.got)[0]
            if len(flow.got) < length:
                break
            frame, flow.got = flow.got[:length], flow.got[length:]
            self.frame(flow, frame)

    def frame(self, flow, frame):
        _, op, slot, _, _ = HEADER.unpack_from(frame)
        key = "%s %d" % (flow.side, op)
        self.counts[key] = self.counts.get(key, 0) + 1
        if flow.side == "server" and op == INVALIDATE and slot == 0 and self.modes["invalidate"] != "pass":
            if self.modes["invalidate"] == "forge":
                number = frame[HEADER.size:HEADER.size + 8]
                flow.other.due.append((0, HEADER.pack(HEADER.size + 8, DROPPED, 0, 0, 0) + number))
            return
        delay = self.modes["delay_ms"] / 1000 if flow.side == "server" else 0
        flow.due.append((time.monotonic() + delay if delay else 0, frame))

    @staticmethod
    def leave(flow):
        now = time.monotonic()
        n = 0
        while n < len(flow.due) and flow.due[n][0] <= now:
            n += 1
        flow.leaving += b"".join(frame for _, frame in flow.due[:n])
        del flow.due[:n]
        if flow.leaving:
            try:
                flow.leaving = flow.leaving[flow.drain.send(flow.leaving):]
            except BlockingIOError:
                pass

    def end(self, flow):
        for gone in (flow, flow.other):
            if gone in self.flows:
                self.flows.remove(gone)
            gone.source.close()


if __name__ == "__main__":
    Relay(sys.argv[1]).run()
