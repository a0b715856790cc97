#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A large directory through two mounts: filled by several processes, listed on both while a third process creates, removes
and renames in it, walked with telldir and seekdir, emptied. Prints what it took, and the memory of server and clients.

    bigdir.py [--entries N] [--processes N]        starts a server and mounts of its own; BERTH_BUILD says which build
"""
import argparse
import ctypes
import os
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import harness  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
SAMPLES = 200  # positions that seekdir goes back to
CHURN = 50     # entries that come and go at a time


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16), ("type", ctypes.c_uint8),
                ("name", ctypes.c_char * 256)]


LIBC.opendir.restype = ctypes.c_void_p
LIBC.readdir.argtypes = LIBC.telldir.argtypes = LIBC.closedir.argtypes = [ctypes.c_void_p]
LIBC.readdir.restype = ctypes.POINTER(Dirent)
LIBC.telldir.restype = ctypes.c_long
LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Directory:
    """opendir(3), with its positions."""

    def __init__(self, path):
        self.stream = LIBC.opendir(os.fsencode(path))
        if not self.stream:
            raise OSError(ctypes.get_errno(), path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        LIBC.closedir(self.stream)

    def next(self):
        """A name, or None at the end."""
        ctypes.set_errno(0)
        entry = LIBC.readdir(self.stream)
        if not entry:
            if ctypes.get_errno():
                raise OSError(ctypes.get_errno(), "readdir")
            return None
        return entry.contents.name

    def tell(self):
        return LIBC.telldir(self.stream)

    def seek(self, position):
        LIBC.seekdir(self.stream, position)


def in_processes(jobs):
    """Runs each job in a process of its own, and fails when one does."""
    pids = []
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                job()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise AssertionError("a worker failed: %r" % statuses)


def fill(directories, n, processes):
    def part(worker):
        top = directories[worker % len(directories)]
        for i in range(worker, n, processes):
            os.mknod("%s/stay-%d" % (top, i), 0o100644)
    in_processes([lambda worker=worker: part(worker) for worker in range(processes)])


def empty(directories, n, processes):
    def part(worker):
        top = directories[worker % len(directories)]
        for i in range(worker, n, processes):
            os.unlink("%s/stay-%d" % (top, i))
    in_processes([lambda worker=worker: part(worker) for worker in range(processes)])


class Churn:
    """A process that creates, renames and removes entries of its own until the block ends."""

    def __init__(self, directory):
        self.directory, self.turns = directory, 0

    def __enter__(self):
        r, w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.run(w)
        os.close(w)
        os.read(r, 1)  # it has begun
        self.said = r
        return self

    def run(self, w):
        status, going = 1, [True]
        try:
            signal.signal(signal.SIGTERM, lambda *_: going.clear())
            names = []
            while going or names:
                if going:
                    names.append("%s/churn-%d" % (self.directory, self.turns))
                    os.mknod(names[-1], 0o100600)
                    if self.turns % 3 == 0:
                        os.rename(names[-1], names[-1] + "-moved")
                        names[-1] += "-moved"
                    self.turns += 1
                if len(names) > CHURN or not going:
                    os.unlink(names.pop(0))
                if self.turns == 1:
                    os.write(w, b"x")
            os.write(w, str(self.turns).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGTERM)
        self.turns = int(os.read(self.said, 20))
        os.close(self.said)
        if os.waitpid(self.pid, 0)[1] != 0:
            raise AssertionError("the process that changes the directory failed")


def check_listing(directory, n):
    """Every entry that stays is there exactly once. Returns how many others were seen."""
    seen, others = bytearray(n), 0
    with os.scandir(directory) as entries:
        for entry in entries:
            word, _, number = entry.name.partition("-")
            if word != "stay":
                others += 1
            elif seen[int(number)]:
                raise AssertionError("%s is listed twice" % entry.name)
            else:
                seen[int(number)] = 1
    if sum(seen) != n:
        raise AssertionError("%d of %d entries are not listed, among them stay-%d" % (n - sum(seen), n, seen.index(0)))
    return others


def check_positions(directory, n):
    """What telldir said leads seekdir to the same entries, in any order, also when others have come and gone."""
    step, marks = max(1, n // SAMPLES), []
    with Directory(directory) as stream:
        position, name, count = stream.tell(), stream.next(), 0
        while name is not None:
            if count % step == 0 and name.startswith(b"stay-"):
                marks.append((position, name))
            position, name, count = stream.tell(), stream.next(), count + 1
        if len(marks) < min(n, SAMPLES) // 2:
            raise AssertionError("only %d entries of %d were met" % (len(marks), n))
        for position, name in reversed(marks):
            stream.seek(position)
            found = stream.next()
            while found is not None and found.startswith(b"churn-"):  # made or moved there since
                found = stream.next()
            if found != name:
                raise AssertionError("position %d was at %r and is at %r" % (position, name, found))
    return len(marks)


def resident_kib(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(next(line.split()[1] for line in f if line.startswith("VmRSS:")))


def exercise(directories, n, processes, say, memory):
    """directories: the same one, as two mounts show it."""
    def step(what, function, *arguments):
        start = time.monotonic()
        result = function(*arguments)
        say("%-34s %7.1f s  %s" % (what, time.monotonic() - start, memory()))
        return result
    step("before", lambda: None)
    step("%d entries made" % n, fill, directories, n, processes)
    with Churn(directories[1]) as churn:
        for directory in directories:
            step("listed while it changes", check_listing, directory, n)
        step("telldir and seekdir", check_positions, directories[0], n)
    say("changes meanwhile: %d" % churn.turns)
    step("listed on both at once", in_processes, [lambda d=d: check_listing(d, n) for d in directories])
    step("emptied", empty, directories, n, processes)
    for directory in directories:
        left = os.listdir(directory)
        if left:
            raise AssertionError("%d entries are left, among them %s" % (len(left), left[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    harness.require_root()
    harness.require_fuse()
    server, mounts = harness.Server(), []
    try:
        access_point = server.ap_create(server.fs_create())
        for _ in range(2):
            mounts.append(harness.Mount(server, access_point))
        pids = {"server": server.process.pid, "client a": mounts[0].pid, "client b": mounts[1].pid}
        os.mkdir(mounts[0].path + "/many")
        exercise([mount.path + "/many" for mount in mounts], options.entries, options.processes,
                 lambda text: print(text, flush=True),
                 lambda: "  ".join("%s %d KiB" % (name, resident_kib(pid)) for name, pid in pids.items()))
    finally:
        for mount in mounts:
            mount.unmount()
        server.stop()


if __name__ == "__main__":
    main()
