# SPDX-License-Identifier: Apache-2.0
"""P4, one truth, when a client with warm caches cannot be told: cut off, frozen, slow, restarted, or the server restarted. A
change waits for it no longer than its lease; from then on it shows nothing old, and all is fresh when it is back."""
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import harness
from coherencecase import ThroughProxy, end_of_program, start_program
from mountcase import TwoMounts, outcome, read_file, write_file
from test_restart import stopped

LEASE_SECONDS = 2
SLACK_SECONDS = 15     # for a change, beyond the lease: the machine may be busy
TIME_LIMIT_S = 120
ROUNDS, ROUNDS_OF_FEW = 60, 10
CUTS, CRASHES = 20, 4  # during one litmus: it must get done on a busy machine too


class World:
    """A state of many kinds, through one mount's view of a directory: what of it looks as before the change."""

    def __init__(self, path):
        self.path = path

    def at(self, name):
        return os.path.join(self.path, name)

    def prepare(self):
        os.makedirs(self.at("d"), exist_ok=True)
        for name in ("fresh", "renamed", "d/new", "replacement"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.at(name))
        write_file(self.at("content"), b"old", os.O_TRUNC)
        for name in ("gone", "moved", "mode", "d/old"):
            write_file(self.at(name), b"", os.O_TRUNC)
        os.chmod(self.at("mode"), 0o600)

    def change(self):
        write_file(self.at("content"), b"and new")
        os.unlink(self.at("gone"))
        write_file(self.at("fresh"), b"")
        os.rename(self.at("moved"), self.at("renamed"))
        os.chmod(self.at("mode"), 0o640)
        write_file(self.at("d/new"), b"")
        os.unlink(self.at("d/old"))

    ALL = {"content", "size", "gone", "fresh", "moved", "renamed", "mode", "list"}

    def old(self):
        """Of ALL what is as before the change. Every look is by path."""
        looks = {"content": read_file(self.at("content")) == b"old", "size": os.stat(self.at("content")).st_size == 3,
                 "gone": os.path.lexists(self.at("gone")), "fresh": not os.path.lexists(self.at("fresh")),
                 "moved": os.path.lexists(self.at("moved")), "renamed": not os.path.lexists(self.at("renamed")),
                 "mode": os.stat(self.at("mode")).st_mode & 0o777 == 0o600, "list": os.listdir(self.at("d")) == ["old"]}
        return {name for name, is_old in looks.items() if is_old}


@contextlib.contextmanager
def looking(world):
    """A process that looks all the time, since looks may hang. Yields a function: what a look that began after a time saw as
    old, if any did."""
    with tempfile.TemporaryFile("w+", dir=harness.scratch()) as log:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                look_all_the_time(world, log.fileno())
            os._exit(1)
        try:
            yield lambda since: stale_since(log, since)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def look_all_the_time(world, log):
    while True:
        begun = time.monotonic_ns()
        os.write(log, b"%d %s\n" % (begun, " ".join(sorted(world.old())).encode()))
        time.sleep(0.001)


def stale_since(log, since):
    log.seek(0)
    for line in log.read().splitlines():
        begun, *old = line.split()
        if int(begun) > since and old:
            return old
    return None


class AwayCase:
    """What the reader (self.b) may show while it cannot be told."""

    def setUp(self):
        super().setUp()
        self.writer, self.reader = World(self.a), World(self.b)
        self.addCleanup(self.back)

    def back(self):
        """Undoes what kept the client away."""

    def warm(self):
        self.writer.prepare()
        for _ in range(2):
            self.assertEqual(self.reader.old(), World.ALL)

    def change_in_time(self):
        start = time.monotonic()
        self.writer.change()
        self.assertLess(time.monotonic() - start, LEASE_SECONDS + SLACK_SECONDS)
        return time.monotonic_ns()

    def fresh(self):
        self.assertEqual(self.reader.old(), set())

    def change_while(self, away, watch_seconds=1.0):
        """Warm caches, the client goes away, the change is made; then nothing old is shown, away or back."""
        self.warm()
        with looking(self.reader) as stale:
            harness.wait_for(lambda: stale(0), SLACK_SECONDS)
            away()
            changed = self.change_in_time()
            time.sleep(watch_seconds)  # in which the looks go on: it can only find more
            self.assertIsNone(stale(changed), "a look that began after the change had returned")
            self.back()
        self.fresh()


class CutOff(AwayCase, ThroughProxy):
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    def back(self):
        self.proxy.set(frozen=False, refuse=False, delay_ms=0, invalidate="pass")

    def test_that_does_not_hear_what_it_is_told_to_drop(self):
        """All else comes and goes, so that its lease is renewed."""
        self.change_while(lambda: self.proxy.set(invalidate="lose"))

    def test_in_silence(self):
        self.change_while(lambda: self.proxy.set(frozen=True))

    def test_with_its_connection_closed(self):
        def away():
            self.proxy.set(refuse=True)
            self.proxy.cut()
        self.change_while(away)

    def test_for_longer_than_the_lease_before_the_change(self):
        def away():
            self.proxy.set(frozen=True)
            time.sleep(1.5 * LEASE_SECONDS)
        self.change_while(away)

    def test_connections_that_break_all_the_time(self):
        self.litmuses_while(self.proxy.cut, CUTS, 0.05)

    def test_slow_connection(self):
        self.proxy.set(delay_ms=5)
        self.litmuses_while(lambda: None, 0, 1, ROUNDS_OF_FEW)

    def test_server_killed_all_the_time(self):
        def crash():
            self.server.kill9()
            self.server.start()
        self.litmuses_while(crash, CRASHES, 0.5)

    def litmuses_while(self, disturb, times, pause_seconds, rounds=ROUNDS):
        for litmus in ("write_then_read_held", "write_then_stat", "create_then_lookup", "unlink_then_open", "create_then_list",
                       "chmod_then_stat"):
            os.mkdir(os.path.join(self.a, litmus))
            program = start_program("rounds", litmus, rounds, os.path.join(self.a, litmus), os.path.join(self.b, litmus))
            for _ in range(times):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(pause_seconds)
                    break
                disturb()
            status, said = end_of_program(program)
            self.assertEqual(status, 0, "%s: %s" % (litmus, said))

    def test_server_restarted(self):
        for stop in (self.server.stop, self.server.kill9):
            self.warm()
            stop()
            self.server.start()
            self.change_in_time()
            self.fresh()

    def test_server_restarted_while_cut_off(self):
        def away():
            self.proxy.set(frozen=True)
            self.server.kill9()
            self.server.start()
        self.change_while(away)

    def test_server_away_for_longer_than_the_lease(self):
        self.warm()
        self.server.stop()
        time.sleep(1.5 * LEASE_SECONDS)
        self.server.start()
        self.change_in_time()
        self.fresh()

    def test_other_client_made_the_change_before_it_was_back(self):
        """The client comes back on a new connection with what it has cached, after a change that it was not told of."""
        for _ in range(3):
            self.warm()
            self.proxy.set(refuse=True)
            self.proxy.cut()
            self.change_in_time()
            self.proxy.set(refuse=False)
            self.fresh()


class Frozen(AwayCase, TwoMounts):
    """The reader's daemon is stopped: it can neither drop nor renew anything, and the kernel alone must forget in time."""
    SERVER_ARGS = ("--lease", str(LEASE_SECONDS))

    def test_daemon_stopped(self):
        with contextlib.ExitStack() as thawed:
            self.back = thawed.close
            self.change_while(lambda: thawed.enter_context(stopped(self.mount_b.pid)))

    def test_daemon_stopped_and_going_on_before_the_lease_is_over(self):
        for _ in range(3):
            self.warm()
            with stopped(self.mount_b.pid):
                time.sleep(0.2)
            self.change_in_time()
            self.fresh()

    def test_daemon_killed_and_mounted_again(self):
        mount = harness.Mount(self.server, self.ap)
        self.addCleanup(mount.unmount)
        self.reader = World(os.path.join(mount.path, os.path.basename(self.a)))
        self.warm()
        os.kill(mount.pid, signal.SIGKILL)
        harness.wait_for(lambda: not harness.is_mounted(mount.path), SLACK_SECONDS)
        again = harness.Mount(self.server, self.ap)
        self.addCleanup(again.unmount)
        self.reader = World(os.path.join(again.path, os.path.basename(self.a)))
        self.assertEqual(self.reader.old(), World.ALL)
        self.change_in_time()
        self.fresh()

    def test_many_changes_while_one_is_stopped(self):
        """The lease is waited for once, not by each change anew."""
        self.warm()
        with stopped(self.mount_b.pid):
            start = time.monotonic()
            for _ in range(3):
                self.writer.change()
                self.writer.prepare()
            self.assertLess(time.monotonic() - start, LEASE_SECONDS + SLACK_SECONDS)
        self.assertEqual(self.reader.old(), World.ALL)


def waits_for_a_page(pid):
    with open("/proc/%d/wchan" % pid) as f:
        return f.read() == "folio_wait_bit_common"


class PowerLost(TwoMounts):
    """The server's host loses power: what clients keep is of before, and nobody has claimed it."""
    FILES, PAGES = 20, 64

    def setUp(self):
        super().setUp()
        self.names = [str(i) for i in range(self.FILES)]
        for name in self.names:
            write_file(os.path.join(self.a, name), b"a" * 4096 * self.PAGES)
            fd = os.open(os.path.join(self.a, name), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        self.held = [open(os.path.join(self.b, name), "rb", buffering=0) for name in self.names]
        for f in self.held:
            self.addCleanup(f.close)

    def look(self):
        return {os.pread(f.fileno(), 1, 4096 * (self.PAGES - 1)) for f in self.held}

    def test_nobody_changes_what_is_still_to_be_seen(self):
        for byte in b"bcdef":
            self.assertEqual(len(self.look()), 1)
            self.server.lose_power()
            self.server.start()
            for name in self.names:
                with open(os.path.join(self.a, name), "r+b", buffering=0) as f:
                    os.pwrite(f.fileno(), bytes([byte]), 4096 * (self.PAGES - 1))
                    os.fsync(f.fileno())
            self.assertEqual(self.look(), {bytes([byte])})

    def test_pages_that_are_being_read(self):
        """They are locked, and their reads wait until all is claimed."""
        path = os.path.join(self.a, "read")
        write_file(path, b"x" * 4096 * self.PAGES)
        with open(path, "rb", buffering=0) as f:
            os.fsync(f.fileno())
        with open(os.path.join(self.b, "read"), "rb", buffering=0) as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            self.assertEqual(os.pread(f.fileno(), 1, 0), b"x")
            os.kill(self.server.process.pid, signal.SIGSTOP)
            self.addCleanup(self.server.process.send_signal, signal.SIGCONT)
            reader = subprocess.Popen([sys.executable, "-c", "import os; print(os.pread(%d, 1, 4096 * 9))" % f.fileno()],
                                      pass_fds=(f.fileno(),), stdout=subprocess.PIPE, text=True)
            self.addCleanup(reader.stdout.close)
            self.addCleanup(reader.kill)
            harness.wait_for(lambda: waits_for_a_page(reader.pid), SLACK_SECONDS)
            self.server.lose_power()
            self.server.start()
            self.assertEqual(reader.communicate(timeout=SLACK_SECONDS)[0], "b'x'\n")


class MovedOut(TwoMounts):
    """What is moved out of an access point's root is out, whatever its client had cached of it."""
    ROUNDS = 100

    def setUp(self):
        super().setUp()
        path = "/" + os.path.basename(self.a) + "/root"
        os.mkdir(self.a + "/root")
        self.inner = harness.Mount(self.server, self.server.ap_create(self.fs, "--path", path))
        self.addCleanup(self.inner.unmount)

    def moved_out_and_back(self, name):
        os.rename(os.path.join(self.a, "root", name), os.path.join(self.a, "out"))
        yield
        os.rename(os.path.join(self.a, "out"), os.path.join(self.a, "root", name))

    def look(self, path):
        return outcome(read_file, os.path.join(self.inner.path, path))

    def test_file(self):
        write_file(self.a + "/root/f", b"x")
        for _ in range(self.ROUNDS):
            self.assertEqual((self.look("f"), self.look("f")), (b"x", b"x"))
            for _ in self.moved_out_and_back("f"):
                self.assertEqual(self.look("f"), "ENOENT")

    def test_directory_with_a_process_in_it(self):
        os.makedirs(self.a + "/root/d/inner")
        write_file(self.a + "/root/d/inner/f", b"x")
        for _ in range(self.ROUNDS):
            inside = os.open(os.path.join(self.inner.path, "d/inner"), os.O_PATH)
            try:
                for _ in range(2):
                    self.assertEqual(self.look("d/inner/f"), b"x")
                    self.assertEqual(os.stat("f", dir_fd=inside).st_size, 1)
                for _ in self.moved_out_and_back("d"):
                    self.assertEqual(self.look("d/inner/f"), "ENOENT")
                    self.assertEqual(outcome(os.stat, "f", dir_fd=inside), "ESTALE")
                    self.assertEqual(outcome(os.open, "f", os.O_RDONLY, dir_fd=inside), "ESTALE")
            finally:
                os.close(inside)

    def test_open_file_goes_on(self):
        write_file(self.a + "/root/f", b"x")
        for _ in range(self.ROUNDS):
            with open(os.path.join(self.inner.path, "f"), "rb", buffering=0) as held:
                self.assertEqual(os.pread(held.fileno(), 10, 0), b"x")
                for _ in self.moved_out_and_back("f"):
                    self.assertEqual(os.pread(held.fileno(), 10, 0), b"x")
                    write_file(self.a + "/out", b"y")
                    self.assertEqual(os.pread(held.fileno(), 10, 0), b"y")
                    write_file(self.a + "/out", b"x")


del TwoMounts, ThroughProxy, AwayCase

if __name__ == "__main__":
    unittest.main()
