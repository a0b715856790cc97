# SPDX-License-Identifier: Apache-2.0
"""P6, locks mean something: flock and fcntl locks across two clients.

Each holder is a process of its own that takes orders over a pipe, so every step is ordered by an answer, not by time.
"""
import errno
import fcntl
import multiprocessing
import os
import signal
import struct
import threading
import unittest

import harness
from mountcase import TwoMounts, write_file
from raw_client import api_call

ANSWER_SECONDS = 10
QUIET_SECONDS = 0.3  # how long a blocked lock is watched; a correct server never answers, however long


def lock_struct(kind, start, length):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def holder(path, orders):
    fd = os.open(path, os.O_RDWR)
    other = os.open(path, os.O_RDWR)
    calls = {
        "flock": lambda how: fcntl.flock(fd, how),
        "lock": lambda how, start=0, length=0: fcntl.lockf(fd, how, length, start),
        "close": lambda: os.close(fd),
        "close other": lambda: os.close(other),
        "exit": lambda: os._exit(0),
    }
    while True:
        name, *arguments = orders.recv()
        try:
            calls[name](*arguments)
            orders.send(0)
        except OSError as error:
            orders.send(error.errno)


class Holder:
    def __init__(self, case, path):
        self.orders, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=holder, args=(path, theirs), daemon=True)
        self.process.start()
        theirs.close()
        case.addCleanup(self.kill)

    def send(self, *order):
        self.orders.send(order)

    def answer(self):
        if not self.orders.poll(ANSWER_SECONDS):
            raise AssertionError("no answer within %d s" % ANSWER_SECONDS)
        return self.orders.recv()

    def do(self, *order):
        self.send(*order)
        return self.answer()

    def waits(self):
        return not self.orders.poll(QUIET_SECONDS)

    def kill(self):
        self.process.kill()
        self.process.join()


EX, SH, UN, NB = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN, fcntl.LOCK_NB


class Locks(TwoMounts):
    def setUp(self):
        super().setUp()
        write_file(self.a + "/f", b"x" * 100)

    def pair(self):
        return Holder(self, self.a + "/f"), Holder(self, self.b + "/f")

    def test_exclusive_flock_excludes_across_clients(self):
        a, b = self.pair()
        self.assertEqual(a.do("flock", EX), 0)
        self.assertEqual(b.do("flock", EX | NB), errno.EWOULDBLOCK)
        self.assertEqual(b.do("flock", SH | NB), errno.EWOULDBLOCK)
        self.assertEqual(a.do("flock", UN), 0)
        self.assertEqual(b.do("flock", EX | NB), 0)

    def test_shared_flock_shares(self):
        a, b = self.pair()
        self.assertEqual([a.do("flock", SH), b.do("flock", SH | NB)], [0, 0])
        self.assertEqual(a.do("flock", EX | NB), errno.EWOULDBLOCK)

    def test_waiter_is_woken(self):
        for kind, take, drop in [("flock", (EX,), (UN,)), ("lock", (EX,), (UN,))]:
            a, b = self.pair()
            self.assertEqual(a.do(kind, *take), 0)
            b.send(kind, *take)
            self.assertTrue(b.waits())
            self.assertEqual(a.do(kind, *drop), 0)
            self.assertEqual(b.answer(), 0)
            self.assertEqual(a.do(kind, EX | NB) in (errno.EAGAIN, errno.EACCES), True)

    def test_ranges_are_apart(self):
        a, b = self.pair()
        self.assertEqual(a.do("lock", EX, 0, 10), 0)
        self.assertEqual(b.do("lock", EX | NB, 10, 10), 0)
        self.assertIn(b.do("lock", EX | NB, 9, 1), (errno.EAGAIN, errno.EACCES))
        self.assertEqual(a.do("lock", UN, 5, 5), 0)
        self.assertEqual(b.do("lock", EX | NB, 5, 5), 0)
        self.assertIn(b.do("lock", SH | NB, 4, 1), (errno.EAGAIN, errno.EACCES))

    def test_lock_to_the_end_covers_growth(self):
        a, b = self.pair()
        self.assertEqual(a.do("lock", EX, 50, 0), 0)
        self.assertIn(b.do("lock", EX | NB, 1 << 40, 1), (errno.EAGAIN, errno.EACCES))
        self.assertEqual(b.do("lock", EX | NB, 0, 50), 0)

    def test_flock_and_fcntl_do_not_see_each_other(self):
        a, b = self.pair()
        self.assertEqual(a.do("flock", EX), 0)
        self.assertEqual(b.do("lock", EX | NB), 0)

    def test_getlk_names_the_range(self):
        a, b = self.pair()
        self.assertEqual(a.do("lock", EX, 10, 5), 0)
        fd = os.open(self.b + "/f", os.O_RDWR)
        kind, _, start, length, pid = struct.unpack(
            "hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, lock_struct(fcntl.F_WRLCK, 0, 0)))
        self.assertEqual((kind, start, length, pid), (fcntl.F_WRLCK, 10, 5, 0))
        fd_a = os.open(self.a + "/f", os.O_RDWR)
        kind, _, start, length, pid = struct.unpack(
            "hhqqi4x", fcntl.fcntl(fd_a, fcntl.F_GETLK, lock_struct(fcntl.F_RDLCK, 0, 0)))
        self.assertEqual((kind, start, length, pid), (fcntl.F_WRLCK, 10, 5, a.process.pid))
        os.close(fd)
        os.close(fd_a)

    def test_any_close_drops_the_process_fcntl_locks(self):
        a, b = self.pair()
        self.assertEqual(a.do("lock", EX), 0)
        self.assertEqual(a.do("close other"), 0)
        self.assertEqual(b.do("lock", EX | NB), 0)

    def test_close_drops_flock(self):
        a, b = self.pair()
        self.assertEqual(a.do("flock", EX), 0)
        self.assertEqual(a.do("close other"), 0)
        self.assertEqual(b.do("flock", EX | NB), errno.EWOULDBLOCK)
        self.assertEqual(a.do("close"), 0)
        b.send("flock", EX)  # RELEASE is asynchronous in the kernel, so the waiting form
        self.assertEqual(b.answer(), 0)

    def test_killed_holder_lets_go(self):
        for kind in ("flock", "lock"):
            a, b = self.pair()
            self.assertEqual(a.do(kind, EX), 0)
            b.send(kind, EX)
            self.assertTrue(b.waits())
            a.kill()
            self.assertEqual(b.answer(), 0)
            b.kill()

    def test_killed_waiter_leaves_the_queue(self):
        for kind in ("flock", "lock"):
            a, b = self.pair()
            c = Holder(self, self.b + "/f")
            self.assertEqual(a.do(kind, EX), 0)
            b.send(kind, EX)
            self.assertTrue(b.waits())
            c.send(kind, EX)
            self.assertTrue(c.waits())
            b.kill()
            self.assertEqual(a.do(kind, UN), 0)
            self.assertEqual(c.answer(), 0)
            a.kill()
            c.kill()

    def test_signal_interrupts_a_wait(self):
        a, _ = self.pair()
        self.assertEqual(a.do("flock", EX), 0)
        fd = os.open(self.b + "/f", os.O_RDWR)
        pid = os.fork()
        if pid == 0:
            class Interrupted(Exception):
                pass

            def interrupt(_signal, _frame):
                raise Interrupted
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            try:
                fcntl.flock(fd, EX)
            except Interrupted:
                os._exit(7)
            os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 7)
        self.assertEqual(a.do("flock", UN), 0)
        fcntl.flock(fd, EX | NB)
        os.close(fd)

    def test_deadlock_is_detected_across_clients(self):
        a, b = self.pair()
        self.assertEqual(a.do("lock", EX, 0, 1), 0)
        self.assertEqual(b.do("lock", EX, 1, 1), 0)
        a.send("lock", EX, 1, 1)
        self.assertTrue(a.waits())
        self.assertEqual(b.do("lock", EX, 0, 1), errno.EDEADLK)
        self.assertEqual(b.do("lock", UN, 1, 1), 0)
        self.assertEqual(a.answer(), 0)

    def test_waiters_are_granted_in_order(self):
        a, first = self.pair()
        self.assertEqual(a.do("lock", EX), 0)
        queue = [first] + [Holder(self, (self.a if i % 2 else self.b) + "/f") for i in range(3)]
        for waiter in queue:
            waiter.send("lock", EX)
            self.assertTrue(waiter.waits())
        self.assertEqual(a.do("lock", UN), 0)
        for i, waiter in enumerate(queue):
            self.assertEqual(waiter.answer(), 0)
            for later in queue[i + 1:]:
                self.assertFalse(later.orders.poll(0))
            self.assertEqual(waiter.do("lock", UN), 0)

    def test_counter_under_lock_loses_no_update(self):
        write_file(self.a + "/counter", b"%020d" % 0)
        rounds = 200

        def count(path):
            fd = os.open(path, os.O_RDWR)
            for _ in range(rounds):
                fcntl.lockf(fd, EX)
                value = int(os.pread(fd, 20, 0))
                os.pwrite(fd, b"%020d" % (value + 1), 0)
                fcntl.lockf(fd, UN)

        workers = [multiprocessing.Process(target=count, args=((self.a, self.b)[i % 2] + "/counter",)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        with open(self.b + "/counter", "rb") as f:
            self.assertEqual(int(f.read()), 4 * rounds)


class Many(TwoMounts):
    def test_hundreds_wait_on_one_mount_and_each_has_it_alone(self):
        n_waiters, had, inside = 600, [], [0]
        path = self.a + "/f"
        write_file(path, b"")
        holder = os.open(self.b + "/f", os.O_RDWR)
        self.addCleanup(os.close, holder)
        fcntl.flock(holder, EX)

        def wait(number):
            fd = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(fd, EX)
                inside[0] += 1
                had.append((number, inside[0]))
                inside[0] -= 1
            finally:
                os.close(fd)
        threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(n_waiters)]
        for thread in threads:
            thread.start()
        locks = "/2015-02-01/berth/locks?FileSystemId=" + self.fs
        harness.wait_for(lambda: len(api_call(self.server, "GET", locks)["Locks"]) == 1 + n_waiters, 30)
        self.assertEqual(had, [])
        fcntl.flock(holder, UN)
        for thread in threads:
            thread.join(30)
        self.assertEqual(sorted(had), [(number, 1) for number in range(n_waiters)])


class Bound(TwoMounts):
    SERVER_ARGS = ("--max-locks", "4")

    def test_past_the_bound_is_enolck_and_giving_up_works(self):
        write_file(self.a + "/f", b"")
        a, b = Holder(self, self.a + "/f"), Holder(self, self.b + "/f")
        self.assertEqual([a.do("lock", EX | NB, 2 * n, 1) for n in range(3)], [0, 0, 0])
        self.assertEqual(b.do("lock", EX, 0, 1), errno.ENOLCK)  # a wait counts as two
        self.assertEqual(b.do("lock", EX | NB, 0, 1), errno.EAGAIN)
        self.assertEqual(b.do("lock", EX | NB, 10, 1), 0)
        self.assertEqual([holder.do("lock", SH | NB, 20, 1) for holder in (a, b)], [errno.ENOLCK] * 2)
        self.assertEqual(a.do("flock", EX | NB), errno.ENOLCK)
        self.assertEqual(a.do("lock", EX | NB, 0, 5), 0)  # three become one
        self.assertEqual(a.do("lock", UN, 2, 1), 0)       # and two
        self.assertEqual(a.do("lock", UN), 0)
        self.assertEqual([b.do("lock", EX | NB, 2 * n, 1) for n in range(3)], [0, 0, 0])


if __name__ == "__main__":
    unittest.main()
