# SPDX-License-Identifier: Apache-2.0
"""P1 and P2: `kill -9` of the server while two clients write and sync; after a restart everything acknowledged is there.

A writer puts a line on a pipe after each acknowledgement; what the pipe holds must be on the file system. An operation
that the crash left without an answer may have happened or not (EIO), but never by half.
"""
import errno
import multiprocessing
import os
import random
import threading
import unittest

import harness
from mountcase import TwoMounts, read_file

ROUNDS = 6


def body_of(name, size):
    return (name.encode() + b"|") * (size // (len(name) + 1) + 1)


def write_files(directory, worker, first, acknowledged):
    """Creates, writes, syncs and renames files for ever; tells what was acknowledged."""
    i = first
    sizes = [10, 4000, 16384, 16385, 70_000, 300_000]
    while True:
        name = "w%d-%06d" % (worker, i)
        size = sizes[i % len(sizes)]
        path = os.path.join(directory, name)
        i += 1
        try:
            fd = os.open(path + ".tmp", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            os.write(fd, body_of(name, size)[:size])
            if i % 2:
                os.fsync(fd)
            os.close(fd)
            os.rename(path + ".tmp", path)
            acknowledged.send(("made", name, size))
            if i % 3 == 0:
                os.unlink(path)
                acknowledged.send(("gone", name, 0))
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOENT, errno.EEXIST):
                raise
            acknowledged.send(("unsure", name, size))


class KilledServer(TwoMounts):
    def test_everything_acknowledged_survives_kill_9(self):
        seed = int.from_bytes(os.urandom(4), "little")
        rng = random.Random(seed)
        workers, pipes = [], []
        for w in range(4):
            ours, theirs = multiprocessing.Pipe(duplex=False)
            directory = (self.a, self.b)[w % 2]
            workers.append(multiprocessing.Process(target=write_files, args=(directory, w, 0, theirs), daemon=True))
            pipes.append(ours)
            workers[-1].start()
            theirs.close()
        told = []
        collectors = [threading.Thread(target=self.collect, args=(pipe, told), daemon=True) for pipe in pipes]
        for collector in collectors:
            collector.start()
        for _ in range(ROUNDS):
            target = len(told) + rng.randrange(20, 120)
            harness.wait_for(lambda: len(told) >= target, 30)
            self.server.kill9()
            self.server.restart()
        for worker in workers:
            self.assertTrue(worker.is_alive(), "a writer failed (seed %d)" % seed)
            worker.kill()
            worker.join()
        for collector in collectors:
            collector.join(10)
        self.assert_all_there(told, seed)

    def collect(self, pipe, told):
        try:
            while True:
                told.append(pipe.recv())
        except EOFError:
            pass

    def assert_all_there(self, told, seed):
        last = {}
        for what, name, size in told:
            if what == "unsure" or last.get(name, ("",))[0] != "unsure":
                last[name] = (what, size)
        made = 0
        for name, (what, size) in last.items():
            path = os.path.join(self.b, name)
            if what == "made" and name not in self.last_of_each(told):
                self.assertEqual(read_file(path), body_of(name, size)[:size], "%s (seed %d)" % (name, seed))
                made += 1
            elif what == "gone":
                self.assertFalse(os.path.exists(path), "%s came back (seed %d)" % (name, seed))
        self.assertGreater(made, 100)
        for name in os.listdir(self.b):
            if not name.endswith(".tmp"):
                whole = read_file(os.path.join(self.b, name))
                self.assertEqual(whole, body_of(name, len(whole))[:len(whole)])

    def last_of_each(self, told):
        """The last file of each writer: it may have been unlinked without the answer having been told."""
        last = {}
        for _, name, _ in told:
            last[name[:2]] = name
        return set(last.values())


class StrictServer(KilledServer):
    SERVER_ARGS = ("--durability", "strict")


if __name__ == "__main__":
    unittest.main()
