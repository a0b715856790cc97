# SPDX-License-Identifier: Apache-2.0
"""P6 against a model: processes on two mounts take, ask for, wait for and give up fcntl, OFD and flock locks, close, are
signalled and killed, in an order that a seed decides (printed; BERTH_TEST_SEED replays one). After each step the answers,
and what the server says is held and waited for, are those of a model that knows bytes and owners and nothing else."""
import ctypes
import errno
import fcntl
import multiprocessing
import os
import re
import signal
import struct
import time
import unittest
import urllib.request
from random import Random as Randomness

import harness
from mountcase import TwoMounts
from raw_client import api_call

SEEDS = [int(os.environ["BERTH_TEST_SEED"])] if "BERTH_TEST_SEED" in os.environ else [1, 2, 3, 4, 5, 6]
STEPS = 500
WORKERS = 8
SLOTS = 4     # descriptors of a worker
FILES = 2
BYTES = 12    # the last one stands for all to the end
SECONDS = 20  # for a step
OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
COMMANDS = {"fcntl": (fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW), "ofd": (OFD_GETLK, OFD_SETLK, OFD_SETLKW)}
TYPES = {"r": fcntl.F_RDLCK, "w": fcntl.F_WRLCK, "": fcntl.F_UNLCK}
FLOCKS = {"r": fcntl.LOCK_SH, "w": fcntl.LOCK_EX, "": fcntl.LOCK_UN}
FLOCK_STRUCT = "hhqqi4x"


# --- a worker: one process, one thing at a time ---

class Caller:
    """Calls libc itself: Python's own functions call again after EINTR."""

    def __init__(self, paths):
        self.paths, self.fds = paths, {}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def _result(self, result):
        return ctypes.get_errno() if result < 0 else 0

    def open(self, slot, file):
        self.fds[slot] = os.open(self.paths[file], os.O_RDWR)
        return 0

    def dup(self, slot, new):
        self.fds[new] = os.dup(self.fds[slot])
        return 0

    def close(self, slot):
        os.close(self.fds.pop(slot))
        return 0

    def flock(self, slot, mark, waits):
        return self._result(self.libc.flock(self.fds[slot], FLOCKS[mark] | (0 if waits else fcntl.LOCK_NB)))

    def _range(self, slot, command, mark, first, last):
        length = 0 if last == BYTES - 1 else last - first + 1
        lock = ctypes.create_string_buffer(struct.pack(FLOCK_STRUCT, TYPES[mark], os.SEEK_SET, first, length, 0), 32)
        return self._result(self.libc.fcntl(self.fds[slot], command, lock)), struct.unpack(FLOCK_STRUCT, lock.raw)

    def set(self, slot, kind, mark, first, last, waits):
        return self._range(slot, COMMANDS[kind][2 if waits else 1], mark, first, last)[0]

    def get(self, slot, kind, mark, first, last):
        result, (type_, _, start, length, pid) = self._range(slot, COMMANDS[kind][0], mark, first, last)
        return result or (type_, start, length, pid)


def work(paths, orders):
    for number, interrupts in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, interrupts)
    caller = Caller(paths)
    while True:
        name, *arguments = orders.recv()
        orders.send(getattr(caller, name)(*arguments))


class Worker:
    def __init__(self, number, mount, paths):
        self.number, self.mount = number, mount
        self.orders, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=work, args=(paths, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.slots = {}      # slot: Description
        self.waiting = None  # the Wait that it is in

    @property
    def pid(self):
        return self.process.pid

    def answer(self):
        if not self.orders.poll(SECONDS):
            raise AssertionError("worker %d: no answer" % self.number)
        return self.orders.recv()

    def end(self):
        self.process.kill()
        self.process.join()
        self.orders.close()
        self.waiting = None


# --- the model ---

class Description:
    """An open file description; it owns OFD and flock locks."""

    def __init__(self, worker, file):
        self.worker, self.file = worker, file


class Wait:
    def __init__(self, worker, space, owner, mark, first, last):
        self.worker, self.space, self.owner = worker, space, owner
        self.mark, self.first, self.last = mark, first, last
        self.undetected = False  # part of no deadlock


class Space:
    """The locks of one kind on one file: what each owner holds on each byte. An owner is a Worker for fcntl, else a
    Description; fcntl and OFD locks are of one space."""

    def __init__(self, kind):
        self.kind, self.held, self.waits = kind, {}, []

    def holders(self, wanted):
        """Owners in the way, as {owner: first byte of its lowest range in the way}."""
        found = {}
        for owner, marks in self.held.items():
            at = [i for i in range(wanted.first, wanted.last + 1)
                  if marks[i] == "w" or (marks[i] and wanted.mark == "w")]
            if owner is not wanted.owner and at:
                found[owner] = self.range_at(owner, at[0])
        return found

    def range_at(self, owner, at):
        marks = self.held[owner]
        first = last = at
        while first > 0 and marks[first - 1] == marks[at]:
            first -= 1
        while last + 1 < BYTES and marks[last + 1] == marks[at]:
            last += 1
        return marks[at], first, last

    def ranges(self, owner):
        at = 0
        while at < BYTES:
            mark, first, last = self.range_at(owner, at)
            if mark:
                yield mark, first, last
            at = last + 1

    def apply(self, wanted):
        marks = self.held.setdefault(wanted.owner, [""] * BYTES)
        marks[wanted.first:wanted.last + 1] = [wanted.mark] * (wanted.last + 1 - wanted.first)
        if not any(marks):
            del self.held[wanted.owner]

    def wake(self):
        """Grants from the oldest on; a grant can free what its owner held, so from the start again."""
        for wait in self.waits:
            if not self.holders(wait):
                self.waits.remove(wait)
                self.apply(wait)
                return [wait] + self.wake()
        return []


class Model:
    def __init__(self):
        self.spaces = {(file, kind): Space(kind) for file in range(FILES) for kind in ("fcntl", "flock")}

    def closes_a_cycle(self, wanted):
        reached, todo = set(), list(wanted.space.holders(wanted))
        while todo:
            owner = todo.pop()
            if owner is wanted.owner:
                return True
            if owner not in reached:
                reached.add(owner)
                todo += [holder for (_, kind), space in self.spaces.items() if kind == "fcntl"
                         for wait in space.waits if wait.owner is owner and not wait.undetected for holder in space.holders(wait)]
        return False

    def set(self, wanted, waits):
        """(answer, or None when it waits; what is granted to others)"""
        space, granted = wanted.space, []
        if space.kind == "flock" and wanted.mark and space.held.get(wanted.owner, [wanted.mark])[0] != wanted.mark:
            del space.held[wanted.owner]  # a conversion first lets go
            granted = space.wake()
        if not wanted.mark or not space.holders(wanted):
            space.apply(wanted)
            return 0, granted + space.wake()
        if not waits:
            return errno.EAGAIN, granted
        wanted.undetected = space.kind == "fcntl" and self.closes_a_cycle(wanted)
        if wanted.undetected and isinstance(wanted.owner, Worker):  # an OFD lock's owner is not who waits
            return errno.EDEADLK, granted
        space.waits.append(wanted)
        return None, granted

    def drop(self, space, owner):
        space.held.pop(owner, None)
        return space.wake()

    def rows(self):
        """What the server should tell: (file, kind, mark, first, last, waits, mount, pid)."""
        rows = []
        for (file, kind), space in self.spaces.items():
            for owner in space.held:
                worker = owner if isinstance(owner, Worker) else owner.worker
                rows += [(file, kind, *found, False, worker.mount, worker.pid) for found in space.ranges(owner)]
            rows += [(file, kind, wait.mark, wait.first, wait.last, True, wait.worker.mount, wait.worker.pid)
                     for wait in space.waits]
        return sorted(rows)


# --- both in step ---

class Script:
    def __init__(self, case, seed):
        self.case, self.random, self.model = case, Randomness(seed), Model()
        self.paths = [[os.path.join(root, "f%d" % file) for file in range(FILES)] for root in (case.a, case.b)]
        for path in self.paths[0]:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR))
        self.inodes = {os.stat(path).st_ino: file for file, path in enumerate(self.paths[0])}
        self.workers = [self.new_worker(number) for number in range(WORKERS)]
        self.said = []

    def new_worker(self, number):
        return Worker(number, number % 2, self.paths[number % 2])

    def say(self, *words):
        self.said.append(" ".join(str(word) for word in words))

    # --- what the server knows ---

    def server_rows(self):
        answer = api_call(self.case.server, "GET", "/2015-02-01/berth/locks?FileSystemId=" + self.case.fs)
        mounts = {self.case.mount_a.path: 0, self.case.mount_b.path: 1}
        return sorted((self.inodes[row["Inode"]], row["Kind"], row["Type"][0], row["Start"],
                       BYTES - 1 if row["End"] is None else row["End"], row["Waits"],
                       mounts[row["Name"].split(":", 2)[2]], row["Pid"])
                      for row in answer["Locks"] if row["Inode"] in self.inodes)

    def agree(self):
        """Descriptions are released, and requests arrive, a little after the call."""
        wanted, until = self.model.rows(), time.monotonic() + SECONDS
        while (rows := self.server_rows()) != wanted:
            self.quiet()
            if time.monotonic() > until:
                self.case.assertEqual(rows, wanted)
            time.sleep(0.001)

    def requests(self, operation):
        with urllib.request.urlopen("http://%s/metrics" % self.case.server.api_address, timeout=10) as answer:
            found = re.search(r'berth_requests_total\{op="%s"\} (\d+)' % operation, answer.read().decode())
        return int(found.group(1)) if found else 0

    def quiet(self):
        for worker in self.workers:
            if worker.waiting and worker.orders.poll():
                raise AssertionError("worker %d does not wait: %r" % (worker.number, worker.orders.recv()))

    def hear(self, granted):
        for wait in granted:
            self.say("  granted to", wait.worker.number)
            wait.worker.waiting = None
            self.case.assertEqual(wait.worker.answer(), 0)

    # --- steps ---

    def do(self, worker, *order):
        self.say("worker", worker.number, *order)
        worker.orders.send(order)

    def space_of(self, slot_of, kind):
        return self.model.spaces[slot_of.file, "flock" if kind == "flock" else "fcntl"]

    def wanted(self, worker, slot, kind):
        description, mark = worker.slots[slot], self.random.choice(["r", "w", "w", "", ""])
        first = self.random.randrange(BYTES if mark else BYTES // 2)
        last = min(BYTES - 1, first + self.random.choice([0, 1, 2, 4] if mark else [2, 5, BYTES]))
        if kind == "flock":
            first, last = 0, BYTES - 1
        return Wait(worker, self.space_of(description, kind), worker if kind == "fcntl" else description,
                    mark, first, last)

    def step_lock(self, worker):
        slot, kind = self.random.choice(sorted(worker.slots)), self.random.choice(["fcntl", "fcntl", "ofd", "flock"])
        self.lock(worker, slot, kind, self.wanted(worker, slot, kind), self.random.random() < 0.6)

    def step_unlock(self):
        """Somebody who stands in a waiter's way, and does not wait, lets go of a part of what he has there."""
        waits = [worker.waiting for worker in self.workers if worker.waiting]
        wait = self.random.choice(waits) if waits else None
        owners = [owner for owner in wait.space.holders(wait)
                  if not (owner if isinstance(owner, Worker) else owner.worker).waiting] if wait else []
        if not owners:
            return False
        owner = owners[0]
        worker = owner if isinstance(owner, Worker) else owner.worker
        file = next(file for (file, _), space in self.model.spaces.items() if space is wait.space)
        slot = next(slot for slot, at in worker.slots.items() if at is owner or (owner is worker and at.file == file))
        kind = "flock" if wait.space.kind == "flock" else "fcntl" if owner is worker else "ofd"
        first, last = (0, BYTES - 1) if kind == "flock" else (wait.first, self.random.choice([wait.first, wait.last, BYTES - 1]))
        self.lock(worker, slot, kind, Wait(worker, wait.space, owner, "", first, last), False)
        return True

    def lock(self, worker, slot, kind, wanted, waits):
        if kind == "flock":
            self.do(worker, "flock", slot, wanted.mark, waits)
        else:
            self.do(worker, "set", slot, kind, wanted.mark, wanted.first, wanted.last, waits)
        answer, granted = self.model.set(wanted, waits)
        if answer is None:
            worker.waiting = wanted
        else:
            self.expect(worker, answer)
        self.hear(granted)

    def expect(self, worker, answer):
        got = worker.answer()
        self.case.assertEqual(errno.errorcode.get(got, got), errno.errorcode.get(answer, answer))

    def step_get(self, worker):
        slot, kind = self.random.choice(sorted(worker.slots)), self.random.choice(["fcntl", "ofd"])
        wanted = self.wanted(worker, slot, kind)
        wanted.mark = wanted.mark or "w"
        self.do(worker, "get", slot, kind, wanted.mark, wanted.first, wanted.last)
        got, holders = worker.answer(), wanted.space.holders(wanted)
        if not holders:
            self.case.assertEqual(got[0], fcntl.F_UNLCK)
            return
        lowest = min(first for _, first, _ in holders.values())
        expected = []
        for owner, (mark, first, last) in holders.items():
            holder = owner if isinstance(owner, Worker) else owner.worker
            pid = -1 if kind == "ofd" else holder.pid if holder.mount == worker.mount else 0
            if first == lowest:
                expected.append((TYPES[mark], first, 0 if last == BYTES - 1 else last - first + 1, pid))
        self.case.assertIn(got, expected)

    def step_open(self, worker):
        slot, file = self.random.randrange(SLOTS), self.random.randrange(FILES)
        if slot in worker.slots:
            return self.step_close(worker, slot)
        if worker.slots and self.random.random() < 0.3:
            of = self.random.choice(sorted(worker.slots))
            self.do(worker, "dup", of, slot)
            worker.slots[slot] = worker.slots[of]
        else:
            self.do(worker, "open", slot, file)
            worker.slots[slot] = Description(worker, file)
        return self.expect(worker, 0)

    def close_in_model(self, worker, slot):
        """The process's fcntl locks on the file go with any descriptor, a description's with its last."""
        description = worker.slots.pop(slot)
        granted = self.model.drop(self.space_of(description, "fcntl"), worker)
        if description not in worker.slots.values():
            for kind in ("fcntl", "flock"):
                granted += self.model.drop(self.space_of(description, kind), description)
        return granted

    def step_close(self, worker, slot):
        self.do(worker, "close", slot)
        self.expect(worker, 0)
        self.hear(self.close_in_model(worker, slot))

    def step_signal(self, worker, restart):
        wait, counts = worker.waiting, [self.requests("cancel"), self.requests("setlk")]
        self.say("worker", worker.number, "signalled", "with SA_RESTART" if restart else "")
        os.kill(worker.pid, signal.SIGUSR2 if restart else signal.SIGUSR1)
        wait.space.waits.remove(wait)
        if not restart:
            worker.waiting = None
            self.expect(worker, errno.EINTR)
            return
        # The call starts again: behind those who waited meanwhile.
        answer, granted = self.model.set(wait, True)
        self.case.assertEqual((answer, granted), (None, []))
        cancels, sets = counts[0] + 1, counts[1] + 1 + wait.undetected  # refused first, and asked again
        harness.wait_for(lambda: [self.requests("cancel"), self.requests("setlk")] == [cancels, sets], SECONDS)

    def step_kill(self, worker):
        """Several descriptions that hold something are released in an order of the kernel's own."""
        held = {owner for space in self.model.spaces.values() for owner in space.held if owner in worker.slots.values()}
        if len(held) > 1:
            return
        self.say("worker", worker.number, "killed")
        if worker.waiting:
            worker.waiting.space.waits.remove(worker.waiting)
        worker.end()
        granted = []
        for space in self.model.spaces.values():
            granted += self.model.drop(space, worker)
        for slot in sorted(worker.slots):
            granted += self.close_in_model(worker, slot)
        self.workers[worker.number] = self.new_worker(worker.number)
        self.hear(granted)

    def step(self):
        worker, chance = self.random.choice(self.workers), self.random.random()
        if self.random.random() < 0.4 and self.step_unlock():
            pass
        elif worker.waiting:
            if chance < 0.8:
                return
            self.step_kill(worker) if chance < 0.84 else self.step_signal(worker, chance < 0.92)
        elif chance < 0.01:
            self.step_kill(worker)
        elif not worker.slots or chance < 0.1:
            self.step_open(worker)
        elif chance < 0.2:
            self.step_get(worker)
        else:
            self.step_lock(worker)
        self.agree()
        self.quiet()

    def end(self):
        for worker in self.workers:
            worker.end()
        self.model = Model()
        self.agree()


class LockModel(TwoMounts):
    def run_seed(self, seed):
        script = Script(self, seed)
        try:
            for _ in range(STEPS):
                script.step()
            script.end()
        except BaseException:
            print("seed %d:\n%s" % (seed, "\n".join(script.said[-60:])))
            raise
        finally:
            for worker in script.workers:
                if worker.process.is_alive():
                    worker.end()

    def test_processes_on_two_mounts_are_in_step_with_the_model(self):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                print("seed %d" % seed, flush=True)
                self.run_seed(seed)


del TwoMounts

if __name__ == "__main__":
    unittest.main()
