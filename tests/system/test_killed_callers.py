# SPDX-License-Identifier: Apache-2.0
"""Who is killed amid a call: it is seen dead when the server has answered what it asked for, or after a second."""
import json
import multiprocessing
import os
import signal
import time

import harness
from mountcase import TwoMounts, read_file, write_file

WAIT_SECONDS = 1  # as SEMANTICS has it
TRIES = 10        # to be scheduled in time


class KilledCallers(TwoMounts):
    def in_flight(self):
        return json.loads(os.getxattr(self.mount_a.path, "system.berth.status"))["in_flight"]

    def go_on(self):
        os.kill(self.server.process.pid, signal.SIGCONT)

    def killed_writer(self):
        """A process that was killed while a stopped server had its write, and when. The server is stopped."""
        write_file(self.a + "/f", b"", os.O_TRUNC)
        ours, theirs = multiprocessing.Pipe()

        def write():
            fd = os.open(self.a + "/f", os.O_WRONLY)
            theirs.send(0)
            theirs.recv()
            os.write(fd, b"late")

        child = multiprocessing.Process(target=write, daemon=True)
        child.start()
        self.addCleanup(child.kill)
        ours.recv()
        self.addCleanup(self.go_on)
        os.kill(self.server.process.pid, signal.SIGSTOP)
        ours.send(0)
        harness.wait_for(lambda: self.in_flight() > 0, 20)
        killed = time.monotonic()
        child.kill()
        return child, killed

    def seen_dead_in_time(self):
        """Whether the machine was fast enough to tell."""
        child, killed = self.killed_writer()
        child.join(WAIT_SECONDS / 4)
        alive, early = child.is_alive(), time.monotonic() < killed + WAIT_SECONDS
        self.go_on()
        self.assertTrue(alive or not early, "let go before the server had answered")
        child.join(20)
        dead = time.monotonic()
        self.assertEqual(child.exitcode, -signal.SIGKILL)
        if dead > killed + WAIT_SECONDS:
            return False
        self.assertEqual(read_file(self.b + "/f"), b"late")
        return True

    def test_what_the_dead_have_asked_for_has_been_done(self):
        self.assertTrue(any(self.seen_dead_in_time() for _ in range(TRIES)))

    def test_nobody_waits_long_for_a_slow_server(self):
        child, _ = self.killed_writer()
        child.join(20)
        self.assertEqual(child.exitcode, -signal.SIGKILL)
