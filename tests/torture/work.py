# SPDX-License-Identifier: Apache-2.0
"""What the torture's processes do on a mount, each with a model of what it must see. A worker keeps what was acknowledged and
what it does not know, tells every error with its time, and stops at the first breach of a promise.

Outcomes of a call: done; refused with an error that the model expects; or unknown (EIO, ESTALE, ENOTCONN, or anything while the
mount is away). Whether an unknown one was allowed, torture.py decides, which knows what it did to whom at what time.
"""
import contextlib
import errno
import fcntl
import json
import os
import random
import signal
import time
import traceback

LOST = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ECONNABORTED)
RECORD_SIZE = 48
FIXED_NAMES = 300


class Unknown(Exception):
    """The call's outcome is not known. away: the client died, so that what it sent may still take effect later."""

    def __init__(self, away):
        super().__init__("unknown outcome")
        self.away = away


class Breach(Exception):
    """A promise is broken."""


def record(name, n):
    return ("%s %d " % (name, n)).ljust(RECORD_SIZE - 1, ".").encode() + b"\n"


def content(name, serial):
    return b"%s %d\n" % (name.encode(), serial) * (1 + serial * 7919 % 4000)


class Worker:
    """run() in a process of its own; the report is a JSON file at .report_path."""

    def __init__(self, client, number, tree, others, seed, report_path, deaths, over):
        """others: (client, tree) of the rest. deaths: of each client, odd while it is dead and not mounted again."""
        self.client, self.number, self.tree, self.others = client, number, tree, others
        self.name = "%s-%d-%d" % (type(self).__name__.lower(), client, number)
        self.rng = random.Random("%s %s" % (seed, self.name))
        self.report_path, self.deaths, self.over = report_path, deaths, over
        self.errors, self.operations, self.breach = [], 0, None
        self.opened_at = None  # of the descriptor in use
        self.set_up()

    def run(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        try:
            while not self.over.is_set():
                with contextlib.suppress(Unknown):
                    self.step()
                time.sleep(self.rng.uniform(0, 0.02))
        except Breach as breach:
            self.breach = "%s: %s" % (self.name, breach)
        except BaseException:
            self.breach = "%s: %s" % (self.name, traceback.format_exc())
        report = {"name": self.name, "kind": type(self).__name__, "client": self.client, "operations": self.operations,
                  "errors": self.errors, "breach": self.breach, **self.told()}
        with open(self.report_path + ".new", "w") as f:
            json.dump(report, f)
        os.rename(self.report_path + ".new", self.report_path)

    def call(self, function, *arguments, expected=()):
        """What it returns, or the errno when it is one of `expected`; Unknown when it was lost; Breach otherwise."""
        deaths, start = self.deaths[self.client], time.monotonic()
        self.operations += 1
        try:
            return function(*arguments)
        except OSError as error:
            away = deaths % 2 == 1 or self.deaths[self.client] != deaths
            if error.errno in expected and not away:
                return error.errno
            if not away and error.errno not in LOST:
                raise Breach("%s%r: %s" % (getattr(function, "__name__", function), arguments, error))
            since = start if self.opened_at is None else self.opened_at
            self.errors.append((since, time.monotonic(), error.errno, function.__name__))
            time.sleep(self.rng.uniform(0.02, 0.2))
            raise Unknown(away)

    @contextlib.contextmanager
    def opened(self, path, flags, mode=0o644):
        deaths = self.deaths[self.client]
        fd = self.call(os.open, path, flags, mode)
        self.opened_at = time.monotonic()
        try:
            yield fd
        finally:
            since, self.opened_at = self.opened_at, None
            try:
                os.close(fd)
            except OSError as error:
                if error.errno not in LOST and deaths == self.deaths[self.client]:
                    raise Breach("close %s: %s" % (path, error))
                self.errors.append((since, time.monotonic(), error.errno, "close"))

    def expect(self, truth, text, *words):
        if not truth:
            raise Breach(text % words)

    def path(self, *words):
        return os.path.join(self.tree, *words)

    def set_up(self):
        pass

    def told(self):
        return {}


class Appender(Worker):
    """P5: records to one log that all share."""

    def set_up(self):
        self.n, self.acknowledged, self.unknown = 0, [], []

    def step(self):
        with self.opened(self.path("log"), os.O_WRONLY | os.O_APPEND) as fd:
            for _ in range(self.rng.randrange(1, 20)):
                self.n += 1
                try:
                    written = self.call(os.write, fd, record(self.name, self.n))
                except Unknown:
                    self.unknown.append(self.n)
                    raise
                self.expect(written == RECORD_SIZE, "append wrote %d", written)
                self.acknowledged.append(self.n)

    def told(self):
        return {"acknowledged": self.acknowledged, "unknown": self.unknown}


class Counter(Worker):
    """P6: read v, write v + 1 below a lock; now and then only looks twice below a shared one."""

    def set_up(self):
        self.how = ("flock", "fcntl")[self.number % 2]
        self.lock = {"flock": fcntl.flock, "fcntl": fcntl.lockf}[self.how]
        self.acknowledged, self.unknown = [], []

    def read(self, fd):
        data = self.call(os.pread, fd, 20, 0)
        self.expect(len(data) == 8, "counter is %r", data)
        return int(data)

    def step(self):
        with self.opened(self.path("counter-" + self.how), os.O_RDWR) as fd:
            shared = self.rng.random() < 0.2
            self.call(self.lock, fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            value = self.read(fd)
            if shared:
                self.same(fd, value)
            else:
                self.increment(fd, value)
            self.call(self.lock, fd, fcntl.LOCK_UN)

    def same(self, fd, value):
        time.sleep(self.rng.uniform(0, 0.02))
        again = self.read(fd)
        self.expect(value == again, "below a shared lock the counter went from %d to %d", value, again)

    def increment(self, fd, value):
        try:
            self.call(os.pwrite, fd, b"%08d" % (value + 1), 0)
        except Unknown:
            self.unknown.append(value)
            raise
        self.acknowledged.append(value)
        if self.rng.random() < 0.3:
            again = self.read(fd)
            self.expect(again == value + 1, "below the lock the counter went from %d to %d", value + 1, again)

    def told(self):
        return {"how": self.how, "acknowledged": self.acknowledged, "unknown": self.unknown}


class Namer(Worker):
    """P1 and P3: names in a directory that only this worker changes. After a call of unknown outcome the directory is one of
    two; when the client died, its last call may take effect later, and a new directory is used."""

    NAMES = ["n%d" % i for i in range(8)]

    def set_up(self):
        self.generation, self.past, self.serial = 0, [], 0
        self.model, self.before, self.directory = {}, None, None

    def fresh(self):
        self.generation += 1
        name = "%s.%d" % (self.name, self.generation)
        self.model, self.before = {}, None
        self.call(os.mkdir, self.path(name))
        self.directory = name

    def leave(self):
        states = [self.shown(self.model)] + ([] if self.before is None else [self.shown(self.before)])
        self.past.append((self.directory, states))
        self.directory = None

    @staticmethod
    def shown(model):
        """What a listing shows of it: kind and number of links."""
        ids = list(model.values())
        return {name: [what[0], ids.count(what) if what[0] == "f" else 0] for name, what in model.items()}

    def step(self):
        if self.directory is None:
            return self.fresh()
        if self.before is not None:
            self.look(self.tree)
        for _ in range(self.rng.randrange(1, 12)):
            self.change()
        self.look(self.rng.choice([self.tree, *[tree for _, tree in self.others]]))

    def look(self, tree):
        try:
            seen = self.call(observe, os.path.join(tree, self.directory)) if tree == self.tree else \
                observe_other(os.path.join(tree, self.directory))
        except Unknown as unknown:
            if unknown.away and self.before is not None:
                self.leave()
            raise
        if seen is None:
            return
        states = [m for m in (self.model, self.before) if m is not None]
        for state in states:
            if seen == self.shown(state):
                self.model, self.before = state, None
                return
        raise Breach("%s shows %r, expected %s" % (self.directory, seen, " or ".join(repr(self.shown(s)) for s in states)))

    def change(self):
        a, b = self.rng.choice(self.NAMES), self.rng.choice(self.NAMES)
        name, function, arguments, problem, after = self.draw(a, b)
        deaths = self.deaths[self.client]
        self.before = self.model
        try:
            got = self.call(function, *arguments, expected=(problem,) if problem else ())
        except Unknown as unknown:
            if not problem:
                self.model = after
            if unknown.away or deaths != self.deaths[self.client]:
                self.leave()
            raise
        self.before = None
        if problem:
            self.expect(got == problem, "%s %s %s went well, expected %s", name, a, b, errno.errorcode[problem])
        else:
            self.model = after

    def draw(self, a, b):
        """(what, function, arguments, the errno that it must answer or 0, the model after it)"""
        model, at = dict(self.model), self.path(self.directory, a)
        to, have = self.path(self.directory, b), model.get(a)
        what = self.rng.choice(["create", "mkdir", "symlink", "unlink", "rmdir", "rename", "rename", "link"])
        self.serial += 1
        problem = errno.EEXIST if have else 0
        if what in ("create", "mkdir", "symlink"):
            model[a] = {"create": ("f", self.serial), "mkdir": ("d", self.serial), "symlink": ("l", self.serial)}[what]
            return (what, *{"create": (make_file, (at,)), "mkdir": (os.mkdir, (at,)),
                            "symlink": (os.symlink, ("to", at))}[what], problem, model)
        problem = 0 if have else errno.ENOENT
        if what in ("unlink", "rmdir"):
            if have and (have[0] == "d") != (what == "rmdir"):
                problem = errno.ENOTDIR if what == "rmdir" else errno.EISDIR
            model.pop(a, None)
            return what, {"unlink": os.unlink, "rmdir": os.rmdir}[what], (at,), problem, model
        there = model.get(b)
        if what == "link":
            problem = problem or (errno.EEXIST if there else errno.EPERM if have[0] == "d" else 0)
            model[b] = have
            if have and have[0] == "l":  # a second name of a symlink tells nothing
                return self.draw(a, b)
            return what, os.link, (at, to), problem, model
        if have and there and a != b and (have[0] == "d") != (there[0] == "d"):
            problem = errno.ENOTDIR if have[0] == "d" else errno.EISDIR
        if have and have != there:
            model[b] = model.pop(a)
        return what, os.rename, (at, to), problem, model

    def told(self):
        if self.directory is not None:
            self.leave()
        return {"directories": self.past}


def make_file(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def observe(directory):
    seen = {}
    for name in os.listdir(directory):
        there = os.lstat(os.path.join(directory, name))
        kind = {0o040000: "d", 0o120000: "l", 0o100000: "f"}[there.st_mode & 0o170000]
        seen[name] = [kind, there.st_nlink if kind == "f" else 0]
    return seen


def observe_other(directory):
    """Through another client, whose troubles are not ours."""
    with contextlib.suppress(OSError):
        return observe(directory)
    return None


class Keeper(Worker):
    """P2: files written and fsynced, read back through any client; and P8: an unlinked file that goes on."""

    FILES = 4

    def set_up(self):
        self.serial, self.files = 0, {}  # name -> the serials that it may hold; 0: there is none
        self.late = {}                   # name -> serials that a client was renaming to it when it died

    def step(self):
        draw = self.rng.random()
        if draw < 0.45:
            self.write()
        elif draw < 0.85:
            self.read()
        else:
            self.nameless()

    def write(self):
        """A new file, renamed over the old one once it is whole."""
        self.serial += 1
        slot, serial = self.rng.randrange(self.FILES), self.serial
        name, temporary = "%s.f%d" % (self.name, slot), "%s.t%d" % (self.name, serial)
        data = content(self.name, serial)
        with self.opened(self.path(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            for at in range(0, len(data), 40_000):
                part = data[at:at + 40_000]
                written = self.call(os.write, fd, part)
                self.expect(written == len(part), "write wrote %d of %d", written, len(part))
            self.call(os.fsync, fd)
        deaths = self.deaths[self.client]
        self.files[name] = self.files.get(name, [0]) + [serial]
        try:
            self.call(os.rename, self.path(temporary), self.path(name))
        except Unknown as unknown:
            if unknown.away or deaths != self.deaths[self.client]:
                self.late.setdefault(name, []).append(serial)
            raise
        self.files[name] = [serial, *self.late.get(name, [])]

    def read(self):
        if not self.files:
            return
        name = self.rng.choice(sorted(self.files))
        other = self.rng.choice([None, *self.others])
        if other is None:
            data = self.call(whole, self.path(name), expected=(errno.ENOENT,))
        else:
            data = self.whole_other(*other, name)
        if data is not None:
            self.judge(name, data)

    def whole_other(self, client, tree, name):
        """None: that client has troubles of its own, or is away and so shows no file."""
        deaths = self.deaths[client]
        try:
            return whole(os.path.join(tree, name))
        except OSError as error:
            return errno.ENOENT if error.errno == errno.ENOENT and self.deaths[client] == deaths and deaths % 2 == 0 else None

    def judge(self, name, data):
        allowed = self.files[name]
        if data == errno.ENOENT:
            self.expect(0 in allowed, "%s is gone", name)
        else:
            self.expect(any(serial and data == content(self.name, serial) for serial in allowed),
                        "%s holds %d bytes %r, none of %r", name, len(data), data[:60], allowed)

    def nameless(self):
        path = self.path("%s.u%d" % (self.name, self.serial))
        self.serial += 1
        with self.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            self.call(os.unlink, path)
            data = b""
            for i in range(self.rng.randrange(2, 12)):
                part = b"%d " % i * 500
                self.call(os.pwrite, fd, part, len(data))
                data += part
                time.sleep(self.rng.uniform(0, 0.2))
                got = self.call(os.pread, fd, 1 << 20, 0)
                self.expect(got == data, "an unlinked open file holds %d bytes, not %d", len(got), len(data))

    def told(self):
        return {"files": self.files}


def whole(path):
    with open(path, "rb", buffering=0) as f:
        return f.readall()


class Lister(Worker):
    """A listing neither repeats nor skips what is there throughout, while names around it come and go."""

    def set_up(self):
        self.serial = 0

    def step(self):
        if self.number % 2:
            self.serial += 1
            path = self.path("many", "%s.%d" % (self.name, self.serial))
            self.call(make_file, path)
            self.call(os.unlink, path)
            return
        names = [name for name in self.call(slow_listing, self.path("many"), self.rng) if name.startswith("fixed")]
        self.expect(len(names) == len(set(names)), "a listing repeats %d names", len(names) - len(set(names)))
        self.expect(len(names) == FIXED_NAMES, "a listing has %d names of %d", len(names), FIXED_NAMES)


def slow_listing(path, rng):
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            names.append(entry.name)
            if rng.random() < 0.005:
                time.sleep(0.1)
    return names


CREW = (Appender, Counter, Counter, Namer, Keeper, Lister)  # of each client
