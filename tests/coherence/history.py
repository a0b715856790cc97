#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Random operations from several mounts on few objects, recorded with the times at which they began and ended, and a check that
some order explains what was seen: each takes effect at one moment between its beginning and its end (linearizability).

    history.py [--minutes M] [--seconds S] [--seed N] [--mounts K]     a server and mounts of its own

Objects are judged one by one, which is enough: a whole history is linearizable when each object's is. An object is a file's
content (slots of eight bytes) or a directory of four names. An epoch has fresh objects and is judged when it is over.
"""
import argparse
import errno
import json
import os
import random
import signal
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

EPOCH_SECONDS = 5
SLOT, SLOTS = 8, 6
NAMES = "abcd"
FILES, DIRECTORIES = 3, 2
TOLD = 12  # operations that are shown around one that nothing explains


# --- what an object answers; a state is never changed in place ---

class FileModel:
    """Its bytes. A read tells a length and bytes, each of one moment of the read: the kernel asks for them one after the other,
    and keeps an older length when a change comes in between."""
    START = b""
    LENGTH, BYTES = 0, 1

    @staticmethod
    def facets(op):
        """How many things a look tells, each of which may be of another moment; 0: `op` is no look."""
        return {"size": 1, "read": 2}.get(op[0], 0)

    @staticmethod
    def shows(state, op, result, facet):
        if facet == FileModel.BYTES:
            return state[:len(result)].ljust(len(result), b"\0") == result
        return len(state) == (len(result) if op[0] == "read" else result)

    @staticmethod
    def overlapped(op):
        """The facets that tell nothing when a change of the object overlaps the look."""
        return {FileModel.LENGTH} if op[0] == "read" else set()

    @staticmethod
    def notes(_state, _op, _result):
        """What a change under way may have noticed of this state, and apply asks for: any hashable, or None."""
        return None

    @staticmethod
    def apply(state, op, _result, _noticed):
        """The states after `op` if it could answer so: none, one, or several."""
        kind, argument, value = op
        at = argument * SLOT
        if kind == "write":
            return [state[:at].ljust(at, b"\0") + value + state[at + SLOT:]]
        if kind == "append":
            return [state + value]
        return [state[:at].ljust(at, b"\0")]


class NamesModel:
    """The inode of each name, 0 for none. A listing tells of each name whether it was there at one moment of the listing."""
    START = (0,) * len(NAMES)

    @staticmethod
    def facets(op):
        return {"look": 1, "list": len(NAMES)}.get(op[0], 0)

    @staticmethod
    def shows(state, op, result, facet):
        if op[0] == "list":
            return (NAMES[facet] in result) == bool(state[facet])
        return result == (state[op[1]] or "ENOENT")

    @staticmethod
    def overlapped(_op):
        return set()

    @staticmethod
    def notes(state, op, result):
        """The inode that a move may have found under its first name."""
        return state[op[1]] or None if op[0] in ("rename", "exchange") and result is None else None

    @staticmethod
    def apply(state, op, result, noticed):
        kind, a, b = op
        after = list(state)
        if kind == "create":
            if state[a]:
                return [state] if result == "EEXIST" else []
            after[a] = result
            return [tuple(after)] if isinstance(result, int) and result not in state else []
        if result is not None:
            return [state] if result == "ENOENT" and not (state[a] and (kind != "exchange" or state[b])) else []
        # The kernel looks a move's names up one after the other. When other calls have moved the inode of the first to the
        # second in between, it finds two names of one inode, and nothing to do.
        states = [state] if kind != "unlink" and state[b] in noticed else []
        if state[a] and (kind != "exchange" or state[b]):
            after[a] = state[b] if kind == "exchange" else 0
            if kind != "unlink":
                after[b] = state[a]
            states.append(tuple(after))
        return states


MODELS = {"file": FileModel, "names": NamesModel}


# --- the check ---

class Search:
    """Lowe's just-in-time linearization of records (begin, end, client, op, result): an operation takes effect at the latest
    when it ends, others that are under way before it if that helps. A configuration is a state, those under way that have
    taken effect, and what looks under way have seen: as much as they could, since seeing changes nothing."""

    def __init__(self, records, model):
        self.records, self.model = records, model
        self.facets = [model.facets(record[3]) for record in records]
        self.under_way = set()
        self.configurations = {(model.START, frozenset())}

    def unexplained(self):
        """None, or the index of the first record at whose end no configuration is left."""
        events = sorted([(record[0], 0, i) for i, record in enumerate(self.records)] +
                        [(record[1], 1, i) for i, record in enumerate(self.records)])
        for _, ended, i in events:
            if not ended:
                self.under_way.add(i)
                self.overlap()
                self.configurations = {self.seeing(state, effects) for state, effects in self.configurations}
                continue
            self.configurations = self.after_end(i)
            if not self.configurations:
                return i
            self.under_way.discard(i)
        return None

    def overlap(self):
        """What looks under way cannot tell, since a change is under way too, they are taken to have seen."""
        if all(self.facets[i] for i in self.under_way):
            return
        told = {(i, facet) for i in self.under_way if self.facets[i] for facet in self.model.overlapped(self.records[i][3])}
        self.configurations = {(state, effects | told) for state, effects in self.configurations}

    def seeing(self, state, effects):
        seen = []
        for i in self.under_way:
            op, result = self.records[i][3:5]
            if self.facets[i]:
                seen += [(i, facet) for facet in range(self.facets[i]) if self.model.shows(state, op, result, facet)]
            elif (note := self.model.notes(state, op, result)) is not None:
                seen.append((i, "noticed", note))
        return state, effects.union(seen)

    def after_end(self, i):
        own = {(i, facet) for facet in range(max(1, self.facets[i]))}
        changes = [j for j in self.under_way if not self.facets[j]]
        reached, seen, todo = set(), set(), list(self.configurations)
        while todo:
            state, effects = todo.pop()
            if own <= effects:
                reached.add((state, frozenset(effect for effect in effects if effect[0] != i)))
                continue
            for j in changes:
                for after in self.after(j, state, effects):
                    configuration = self.seeing(after, effects | {(j, 0)})
                    if configuration not in seen:
                        seen.add(configuration)
                        todo.append(configuration)
        return reached

    def after(self, j, state, effects):
        if (j, 0) in effects:
            return []
        noticed = {effect[2] for effect in effects if effect[:2] == (j, "noticed")}
        return self.model.apply(state, *self.records[j][3:5], noticed)


def unexplained(records, model):
    return Search(records, model).unexplained()


def show(value):
    """A file's bytes as who wrote each slot and as which operation of his: [2:17 . 1:3]."""
    if isinstance(value, bytes):
        slots = [struct.unpack_from("<II", value.ljust(at + SLOT, b"\0"), at) for at in range(0, len(value), SLOT)]
        return "[%s]" % " ".join("%d:%d" % (who - 1, serial) if who else "." for who, serial in slots)
    return repr(value)


def explain(records, i):
    """The records around the one that nothing explains."""
    order = sorted(range(len(records)), key=lambda j: records[j][1])
    at = order.index(i)
    start = min(record[0] for record in records)
    lines = ["%s %10.6f .. %10.6f client %d %s -> %s" % (
                 "*" if j == i else " ", (records[j][0] - start) / 1e9, (records[j][1] - start) / 1e9, records[j][2],
                 " ".join(show(part) for part in records[j][3]), show(records[j][4]))
             for j in order[max(0, at - TOLD):at + 3]]
    return "\n".join(["nothing explains *:", *lines])


# --- the workers ---

def told(function, *arguments):
    """What it returns, or the name of an error. ESTALE is one that nothing explains."""
    try:
        return function(*arguments)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EEXIST, errno.ESTALE):
            raise
        return errno.errorcode[error.errno]


class FileWork:
    """Operations on one file, through descriptors held and new."""

    def __init__(self, path, rng):
        self.path, self.rng = path, rng
        self.fd = os.open(path, os.O_RDWR)
        self.append_fd = os.open(path, os.O_WRONLY | os.O_APPEND)

    def draw(self, value):
        kind = self.rng.choices(("read", "size", "write", "append", "cut"), (40, 25, 20, 5, 10))[0]
        return (kind, self.rng.randrange(SLOTS), value)

    def act(self, op):
        kind, argument, value = op
        return getattr(self, kind)(argument, value)

    def fresh(self, flags, function):
        fd = os.open(self.path, flags)
        try:
            return function(fd)
        finally:
            os.close(fd)

    def read(self, _argument, _value):
        if self.rng.random() < 0.5:
            return os.pread(self.fd, 4096, 0)
        return self.fresh(os.O_RDONLY, lambda fd: os.pread(fd, 4096, 0))

    def size(self, _argument, _value):
        return (os.stat(self.path) if self.rng.random() < 0.5 else os.fstat(self.fd)).st_size

    def write(self, slot, value):
        if self.rng.random() < 0.5:
            os.pwrite(self.fd, value, slot * SLOT)
        else:
            self.fresh(os.O_WRONLY, lambda fd: os.pwrite(fd, value, slot * SLOT))

    def append(self, _argument, value):
        os.write(self.append_fd, value)

    def cut(self, slots, _value):
        if slots == 0:
            self.fresh(os.O_WRONLY | os.O_TRUNC, lambda fd: None)
        elif self.rng.random() < 0.5:
            os.truncate(self.path, slots * SLOT)
        else:
            os.ftruncate(self.fd, slots * SLOT)

    def close(self):
        os.close(self.fd)
        os.close(self.append_fd)


class NamesWork:
    """Operations on the names of one directory."""

    def __init__(self, path, rng):
        self.path, self.rng = path, rng
        self.renameat2 = renameat2_of_libc()

    def draw(self, _value):
        kinds = (("look", 50), ("list", 10), ("create", 16), ("unlink", 10), ("rename", 8), ("exchange", 4))
        kind = self.rng.choices([k for k, _ in kinds], [weight for _, weight in kinds])[0]
        return (kind, *self.rng.sample(range(len(NAMES)), 2))

    def name(self, i):
        return os.path.join(self.path, NAMES[i])

    def act(self, op):
        kind, a, b = op
        return told(getattr(self, kind), a, b)

    def look(self, a, _b):
        return os.lstat(self.name(a)).st_ino

    def list(self, _a, _b):
        return sorted(os.listdir(self.path))

    def create(self, a, _b):
        fd = os.open(self.name(a), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)

    def unlink(self, a, _b):
        os.unlink(self.name(a))

    def rename(self, a, b):
        os.rename(self.name(a), self.name(b))

    def exchange(self, a, b):
        self.renameat2(self.name(a), self.name(b))

    def close(self):
        pass


def renameat2_of_libc():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)

    def exchange(one, other):
        if libc.renameat2(-100, one.encode(), -100, other.encode(), 2) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return exchange


WORK = {"file": FileWork, "names": NamesWork}


def worker(number, root, objects, seed, until, report):
    """Draws operations until the time is over; writes records as they are to be judged."""
    rng = random.Random("%s %d" % (seed, number))
    works = [(name, WORK[kind](os.path.join(root, name), rng)) for name, kind in objects]
    records, serial = {name: [] for name, _ in objects}, 0
    while time.monotonic() < until:
        # One object for a while, so that its caches are warm in several mounts.
        name, work = works[int(time.monotonic() * 4) % len(works)] if rng.random() < 0.8 else rng.choice(works)
        serial += 1
        op = work.draw(struct.pack("<II", number + 1, serial))
        begin = time.monotonic_ns()
        result = work.act(op)
        records[name].append((begin, time.monotonic_ns(), number, op, result))
    for _, work in works:
        work.close()
    with open(report, "w") as f:
        json.dump(records, f, default=lambda value: "b" + value.hex())


def from_json(value):
    """JSON's lists and the bytes in it as they were."""
    if isinstance(value, str) and value.startswith("b"):
        return bytes.fromhex(value[1:])
    return value


def read_report(path):
    with open(path) as f:
        return {name: [(begin, end, client, tuple(from_json(part) for part in op), from_json(result))
                       for begin, end, client, op, result in records] for name, records in json.load(f).items()}


# --- an epoch ---

def record_epoch(roots, seed, seconds, folder):
    """{object: records} of all workers, one in each of `roots`, the mounts' views of one fresh directory."""
    objects = [("file%d" % i, "file") for i in range(FILES)] + [("names%d" % i, "names") for i in range(DIRECTORIES)]
    for name, kind in objects:
        path = os.path.join(roots[0], name)
        if kind == "names":
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    until = time.monotonic() + seconds
    reports = [os.path.join(folder, "history-%d.json" % i) for i in range(len(roots))]
    children = [start(worker, i, root, objects, seed, until, reports[i]) for i, root in enumerate(roots)]
    failed = [i for i, child in enumerate(children) if os.waitpid(child, 0)[1] != 0]
    if failed:
        raise AssertionError("workers %s failed" % failed)
    merged = {name: [] for name, _ in objects}
    for path in reports:
        for name, records in read_report(path).items():
            merged[name] += records
        os.unlink(path)
    return merged


def start(function, *arguments):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        function(*arguments)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def model_of(name):
    return MODELS[name.rstrip("0123456789")]


def judge(histories):
    """(operations, what nothing explains)"""
    breaches = []
    for name, records in sorted(histories.items()):
        bad = unexplained(records, model_of(name))
        if bad is not None:
            breaches.append("%s: %s" % (name, explain(records, bad)))
    return sum(len(records) for records in histories.values()), breaches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--mounts", type=int, default=4)
    args = parser.parse_args()
    sys.path.insert(0, os.path.join(HERE, "../system"))
    import harness
    server = harness.Server()
    mounts = []
    try:
        ap = server.ap_create(server.fs_create())
        for _ in range(args.mounts):
            mounts.append(harness.Mount(server, ap))
        return run_epochs([mount.path for mount in mounts], args.seed, (args.minutes or 0) * 60 or args.seconds,
                          harness.scratch())
    finally:
        for mount in mounts:
            mount.unmount()
        server.stop()


def run_epochs(paths, seed, seconds, folder):
    end, epoch = time.monotonic() + seconds, 0
    print("seed %d" % seed, flush=True)
    while time.monotonic() < end:
        name = "epoch%d" % epoch
        os.mkdir(os.path.join(paths[0], name))
        histories = record_epoch([os.path.join(path, name) for path in paths], "%d %d" % (seed, epoch), EPOCH_SECONDS, folder)
        n, breaches = judge(histories)
        print("epoch %d: %d operations, %d objects of %d not linearizable" % (epoch, n, len(breaches), len(histories)),
              flush=True)
        for breach in breaches:
            print(breach)
        if breaches:
            return 1
        epoch += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
