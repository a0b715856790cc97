#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Random work on several mounts of one server, while server and clients are killed, stopped, restarted and parted at random.
Every promise is judged by a model meanwhile and at the end. Exit 1 when one is broken, which is printed with the seed.

    torture.py [--minutes N] [--seed N] [--clients N] [--logs DIR]

--logs: where the logs and the faults with their times go when a promise is broken.

Needs root, FUSE and network namespaces; nothing leaves the namespaces that it makes. BERTH_BUILD says which build.
"""
import argparse
import collections
import contextlib
import datetime
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import harness  # noqa: E402
import network  # noqa: E402
import work  # noqa: E402

LEASE_S = 3
SHORT_S, LONG_S = (0.1, 1.2), (LEASE_S, 2 * LEASE_S)
REST_S = 3           # for a client between two faults
PAUSE_MEAN_S = 0.8   # between two faults
END_LIMIT_S = 60     # for everything to answer once the faults are over
GONE_LIMIT_S = 5     # for the mount of a daemon that was killed
NOTICE_S = 3         # within which a client that was away for long hears what it lost
STALL_S = 0.5        # this machine itself stood still
FAULTS = {           # kind -> weight
    "server-kill": 4, "server-restart": 2, "server-stop": 2, "network-cut": 1, "network-blink": 1,
    "client-kill": 2, "client-end": 1, "client-pause": 5, "client-freeze": 2, "client-blink": 5, "client-part": 2,
}


def stacks(pid):
    """Of each thread, in the kernel and (with gdb) in user space."""
    said = []
    for task in sorted(os.listdir("/proc/%d/task" % pid)):
        with open("/proc/%d/task/%s/stack" % (pid, task)) as f:
            said.append("thread %s:\n%s" % (task, f.read().rstrip()))
    if shutil.which("gdb"):
        command = ["gdb", "-p", str(pid), "-batch", "-nx", "-ex", "thread apply all bt 20"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            said.append(subprocess.run(command, capture_output=True, text=True, timeout=15, errors="replace").stdout[-8000:])
    return "\n".join(said)


class Client:
    """`berth mount -f` in a namespace of its own. .deaths counts up when it goes and when it is back."""

    def __init__(self, index, namespace, server, access_point, deaths):
        self.index, self.prefix, self.deaths = index, namespace.prefix, deaths
        self.path = harness.new_directory("mount-")
        self.tree = os.path.join(self.path, "tree")
        self.command = [*self.prefix, harness.program("berth"), "mount", "-f", "%s@%s" % (access_point, server.data_address),
                        self.path]
        self.log_path = os.path.join(harness.new_directory("log-"), "berth.log")
        self.process = None
        self.mount(time.monotonic() + harness.MOUNT_SECONDS)

    def mount(self, deadline):
        """Tries until the server can be reached."""
        while not self.try_mount():
            if time.monotonic() > deadline:
                raise AssertionError("client %d cannot mount\n%s" % (self.index, self.log()[-2000:]))
            time.sleep(0.1)

    def try_mount(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, HOME=harness.scratch()))
        try:
            harness.wait_for(lambda: harness.is_mounted(self.path) or self.process.poll() is not None, harness.MOUNT_SECONDS)
        except AssertionError:
            raise AssertionError("client %d neither mounts nor ends; its threads are at\n%s" %
                                 (self.index, stacks(self.process.pid)))
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def die(self, number):
        """The mount goes by itself, however its daemon ends."""
        self.deaths[self.index] += 1
        self.process.send_signal(number)
        try:
            self.process.wait(harness.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError("client %d does not end; its threads are at\n%s" % (self.index, stacks(self.process.pid)))
        harness.wait_for(lambda: not harness.is_mounted(self.path), GONE_LIMIT_S)

    def detach(self):
        if harness.is_mounted(self.path):
            subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL, timeout=harness.STOP_SECONDS)

    def come_back(self, deadline):
        self.mount(deadline)
        self.deaths[self.index] += 1

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(harness.STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.detach()


class Torture:
    def __init__(self, seed, seconds, n_clients, logs=None):
        self.seed, self.seconds = seed, seconds
        self.rng = random.Random(seed)
        self.stack = contextlib.ExitStack()
        self.counts, self.skipped = collections.Counter(), 0
        self.logs, self.timeline = logs, []
        self.deaths = multiprocessing.Array("L", n_clients, lock=False)
        self.away = [[] for _ in range(n_clients)]    # (start, end) when a client could not be heard
        self.dead = [[] for _ in range(n_clients)]    # (start, end) when it was dead
        self.busy = {name: threading.Lock() for name in ["server", "network", *range(n_clients)]}
        self.workers_over, self.faults_over = multiprocessing.Event(), threading.Event()
        self.breaches, self.workers, self.reports = [], [], []
        self.build(n_clients)

    def build(self, n_clients):
        self.network = network.Network(n_clients)
        self.stack.callback(self.network.close)
        self.server = harness.Server(args=("--lease", str(LEASE_S), "--insecure"), prefix=self.network.server.prefix,
                                     address=network.SERVER_ADDRESS)
        self.stack.callback(self.server.kill9)
        # Any peer over TCP is nobody: the access point says as whom it acts.
        access_point = self.server.ap_create(self.server.fs_create(), "--path", "/t", "--uid", "0", "--gid", "0", "--owner",
                                             "0:0", "--perm", "0755")
        self.clients = []
        for i in range(n_clients):
            self.clients.append(Client(i, self.network.clients[i], self.server, access_point, self.deaths))
            self.stack.callback(self.clients[-1].close)
        tree = self.clients[0].tree
        os.mkdir(tree)
        os.mkdir(os.path.join(tree, "many"))
        for i in range(work.FIXED_NAMES):
            work.make_file(os.path.join(tree, "many", "fixed%d" % i))
        for name in ("counter-flock", "counter-fcntl"):
            with open(os.path.join(tree, name), "wb") as f:
                f.write(b"%08d" % 0)
        work.make_file(os.path.join(tree, "log"))

    # --- workers ---

    def start_workers(self):
        directory = harness.new_directory("reports-")
        for client in self.clients:
            others = [(c.index, c.tree) for c in self.clients if c is not client]
            for i, kind in enumerate(work.CREW):
                path = os.path.join(directory, "%d-%d" % (client.index, i))
                worker = kind(client.index, i + client.index, client.tree, others, self.seed, path, self.deaths,
                              self.workers_over)
                process = multiprocessing.Process(target=worker.run, name=worker.name)
                process.start()
                self.workers.append((process, path))
        self.stack.callback(self.end_workers)

    def end_workers(self):
        for process, _ in self.workers:
            if process.is_alive():
                process.kill()

    def collect(self):
        deadline = time.monotonic() + END_LIMIT_S
        for process, path in self.workers:
            process.join(max(0, deadline - time.monotonic()))
            if process.is_alive():
                self.breaches.append("%s hangs: %s" % (process.name, where(process.pid)))
            elif not os.path.exists(path):
                self.breaches.append("%s ended with %s without a report" % (process.name, process.exitcode))
            else:
                with open(path) as f:
                    self.reports.append(json.load(f))

    # --- faults ---

    def stall_meter(self):
        """Times when this machine gave us no processor count as everybody's."""
        last = time.monotonic()
        while not self.workers_over.is_set():
            time.sleep(0.05)
            now = time.monotonic()
            if now - last > STALL_S:
                self.counts["machine stood still"] += 1
                for away in self.away:
                    away.append((last, now))
            last = now

    def inject(self):
        end = time.monotonic() + self.seconds
        threads = [threading.Thread(target=self.stall_meter)]
        threads[0].start()
        while time.monotonic() < end and not self.breaches:
            kind = self.rng.choices(list(FAULTS), FAULTS.values())[0]
            target = self.rng.randrange(len(self.clients)) if kind.startswith("client") else kind.split("-")[0]
            thread = threading.Thread(target=self.fault, args=(kind, target, self.rng.random(), self.rng.random() < 0.5))
            pause = min(self.rng.expovariate(1 / PAUSE_MEAN_S), 5)
            thread.start()
            threads.append(thread)
            time.sleep(pause)
            self.look_at_workers()
        self.faults_over.set()
        for thread in threads[1:]:
            thread.join()
        time.sleep(1)  # some work with everybody well
        self.workers_over.set()
        threads[0].join()

    def look_at_workers(self):
        for process, _ in self.workers:
            if not process.is_alive():
                self.breaches.append("%s ended early" % process.name)

    def fault(self, kind, target, how_long, coin):
        if not self.busy[target].acquire(blocking=False):
            self.skipped += 1
            return
        start = time.time()
        try:
            self.counts[kind] += 1
            getattr(self, kind.replace("-", "_"))(target, how_long, coin)
        except BaseException as error:
            self.breaches.append("%s of %s: %s" % (kind, target, error))
        finally:
            self.timeline.append((start, time.time(), kind, target))
            if target != "server":
                self.faults_over.wait(REST_S)
            self.busy[target].release()

    def server_kill(self, _, how_long, _coin):
        if self.server.process.poll() is not None:
            raise AssertionError("berthd ended by itself\n" + self.server.log()[-2000:])
        self.server.kill9()
        time.sleep(between((0, 2), how_long))
        self.server.start()

    def server_restart(self, _, how_long, _coin):
        self.server.stop()
        time.sleep(between((0, 2), how_long))
        self.server.start()

    def server_stop(self, _, how_long, _coin):
        os.kill(self.server.process.pid, signal.SIGSTOP)
        time.sleep(between((0.1, 2 * LEASE_S), how_long))
        os.kill(self.server.process.pid, signal.SIGCONT)

    def client_gone(self, i, number):
        start = time.monotonic()
        self.clients[i].die(number)
        self.clients[i].come_back(start + END_LIMIT_S)
        self.dead[i].append((start, time.monotonic()))

    def client_kill(self, i, _how_long, _coin):
        self.client_gone(i, signal.SIGKILL)

    def client_end(self, i, _how_long, _coin):
        self.client_gone(i, signal.SIGTERM)

    def outage(self, clients, begin, end, seconds):
        start = time.monotonic()
        begin()
        time.sleep(seconds)
        end()
        for i in clients:
            self.away[i].append((start, time.monotonic()))

    def client_pause(self, i, how_long, _coin, bounds=SHORT_S):
        pid = self.clients[i].process.pid
        self.outage([i], lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT), between(bounds, how_long))

    def client_freeze(self, i, how_long, coin):
        self.client_pause(i, how_long, coin, LONG_S)

    def client_blink(self, i, how_long, near, bounds=SHORT_S):
        self.outage([i], lambda: self.network.cut(i, near), lambda: self.network.join(i), between(bounds, how_long))

    def client_part(self, i, how_long, near):
        self.client_blink(i, how_long, near, LONG_S)

    def network_blink(self, _, how_long, _coin, bounds=SHORT_S):
        self.outage(range(len(self.clients)), self.network.cut_all, self.network.join_all, between(bounds, how_long))

    def network_cut(self, _, how_long, coin):
        self.network_blink(None, how_long, coin, LONG_S)

    # --- judgement ---

    def excused(self, client):
        """(start, end) in which a client may have lost what it held: outages that follow each other closely are one."""
        spans = []
        for start, end in sorted(self.away[client]):
            if spans and start - spans[-1][1] < REST_S - 0.5:
                spans[-1][1] = max(end, spans[-1][1])
                spans[-1][2] += end - start
            else:
                spans.append([start, end, end - start])
        return [(start, end + NOTICE_S) for start, end, away in spans if away > LEASE_S - 1] + \
            [(start, end + 1) for start, end in self.dead[client]]

    def excused_seconds(self):
        seconds = set()
        for client in range(len(self.clients)):
            for start, end in self.excused(client):
                seconds.update((client, second) for second in range(int(start), int(end)))
        return len(seconds)

    def judge_errors(self):
        for report in self.reports:
            excused = self.excused(report["client"])
            for since, at, number, what in report["errors"]:
                self.counts["error " + errno.errorcode[number]] += 1
                if not any(start <= at and end >= since for start, end in excused):
                    self.breaches.append("%s: %s answered %s at %.1f s (open since %.1f s) though its client was never away long"
                                         % (report["name"], what, errno.errorcode[number], at - self.began,
                                            since - self.began))

    def judge(self):
        self.collect()
        self.breaches += [report["breach"] for report in self.reports if report["breach"]]
        self.judge_errors()
        for client in self.clients:
            self.breaches += within(END_LIMIT_S, verify, client.tree, self.reports)
        if "assertion failed" in self.server.log() or "Sanitizer" in self.server.log():
            self.breaches.append("berthd's log:\n" + self.server.log()[-3000:])

    def keep_logs(self):
        os.makedirs(self.logs, exist_ok=True)
        shutil.copy(self.server.log_path, os.path.join(self.logs, "berthd.log"))
        for client in self.clients:
            shutil.copy(client.log_path, os.path.join(self.logs, "berth-%d.log" % client.index))
        with open(os.path.join(self.logs, "faults"), "w") as f:
            print("began at %s" % clock(time.time() - time.monotonic() + self.began), file=f)
            for start, end, kind, target in sorted(self.timeline):
                print("%s to %s %s of %s" % (clock(start), clock(end), kind, target), file=f)

    def run(self):
        self.began = time.monotonic()
        with self.stack:
            self.start_workers()
            self.inject()
            self.judge()
            for client in self.clients:
                client.close()
            self.breaches += ["%s is still mounted" % c.path for c in self.clients if harness.is_mounted(c.path)]
            if self.server.running():
                self.server.stop()
            if self.breaches and self.logs:
                self.keep_logs()
        return not self.breaches

    def summary(self):
        kinds = collections.Counter()
        for report in self.reports:
            kinds[report["kind"]] += report["operations"]
        faults = {kind: self.counts[kind] for kind in FAULTS}
        others = {kind: n for kind, n in self.counts.items() if kind not in FAULTS}
        return "\n".join([
            "torture: seed %d, %d clients, %.0f s" % (self.seed, len(self.clients), self.seconds),
            "faults: %d (%s)" % (sum(faults.values()), ", ".join("%s %d" % pair for pair in faults.items())),
            "operations: %d (%s)" % (sum(kinds.values()), ", ".join("%s %d" % pair for pair in sorted(kinds.items()))),
            "errors are allowed in %.0f of %.0f client-seconds; seen: %s" % (
                self.excused_seconds(), self.seconds * len(self.clients),
                ", ".join("%s %d" % pair for pair in sorted(others.items()))),
            *["BROKEN: " + breach for breach in self.breaches],
            "torture: seed %d: %s" % (self.seed, "%d promises broken" % len(self.breaches) if self.breaches else
                                      "no promise broken")])


def clock(seconds):
    """As the logs show time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds")


def between(bounds, share):
    return bounds[0] + (bounds[1] - bounds[0]) * share


def where(pid):
    try:
        with open("/proc/%d/stack" % pid) as stack:
            return stack.read()
    except OSError as error:
        return str(error)


# --- the end: every promise, through one mount ---

def within(seconds, function, *arguments):
    """The breaches that function(…) finds, in a process that may hang."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def tell():
        try:
            theirs.send(function(*arguments))
        except BaseException as error:
            theirs.send(["looking at the end: %r" % error])
    child = multiprocessing.Process(target=tell)
    child.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(seconds) else ["the end's look hangs: " + where(child.pid)]
    except EOFError:
        found = ["the end's look ended without a word"]
    child.join(1)
    if child.is_alive():
        child.kill()
    return found


def verify(tree, reports):
    found = []
    by_kind = collections.defaultdict(list)
    for report in reports:
        by_kind[report["kind"]].append(report)
    found += verify_log(work.whole(os.path.join(tree, "log")), by_kind["Appender"])
    for how in ("flock", "fcntl"):
        final = int(work.whole(os.path.join(tree, "counter-" + how)))
        found += verify_counter(how, final, [r for r in by_kind["Counter"] if r["how"] == how])
    for report in by_kind["Namer"]:
        for name, states in report["directories"]:
            seen = work.observe(os.path.join(tree, name))
            if seen not in states:
                found.append("%s shows %r, expected one of %r" % (name, seen, states))
    for report in by_kind["Keeper"]:
        found += verify_files(tree, report)
    names = [name for name in os.listdir(os.path.join(tree, "many")) if name.startswith("fixed")]
    if len(names) != work.FIXED_NAMES or len(set(names)) != work.FIXED_NAMES:
        found.append("a listing has %d names of %d" % (len(names), work.FIXED_NAMES))
    return ["%s: %s" % (tree, text) for text in found]


def verify_log(data, reports):
    found, seen = [], collections.defaultdict(list)
    for at in range(0, len(data), work.RECORD_SIZE):
        words = data[at:at + work.RECORD_SIZE].decode(errors="replace").split(" ")
        record = data[at:at + work.RECORD_SIZE]
        if len(words) != 3 or record != work.record(words[0], int(words[1])):
            found.append("the log holds %r at %d" % (record, at))
            break
        seen[words[0]].append(int(words[1]))
    for report in reports:
        got, acknowledged, unknown = seen.pop(report["name"], []), report["acknowledged"], set(report["unknown"])
        if [n for n in got if n not in unknown] != acknowledged:
            found.append("of %s's %d acknowledged records %d are in the log, or not in order" %
                         (report["name"], len(acknowledged), len(set(got) & set(acknowledged))))
        if len(got) != len(set(got)):
            found.append("%s's records are there twice: %r" % (report["name"], sorted(n for n in got if got.count(n) > 1)))
    return found + ["records of nobody: %s" % name for name in seen]


def verify_counter(how, final, reports):
    acknowledged = sorted(v for r in reports for v in r["acknowledged"])
    known = set(acknowledged) | {v for r in reports for v in r["unknown"]}
    found = ["two increments by %s start from %d" % (how, a) for a, b in zip(acknowledged, acknowledged[1:]) if a == b]
    if final < len(acknowledged):
        found.append("%s counted to %d with %d acknowledged increments" % (how, final, len(acknowledged)))
    if not set(range(final)) <= known or any(v >= final for v in acknowledged):
        found.append("%s counted to %d, and not by increments that were made" % (how, final))
    return found


def verify_files(tree, report):
    found = []
    for name, serials in report["files"].items():
        allowed = [work.content(report["name"], serial) for serial in serials if serial]
        try:
            data = work.whole(os.path.join(tree, name))
        except FileNotFoundError:
            data = None
        if data not in allowed and not (data is None and 0 in serials):
            found.append("%s holds %r, not one of %r" % (name, data and data[:60], serials))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "little"))
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--logs")
    options = parser.parse_args()
    harness.require_root()
    harness.require_fuse()
    torture = Torture(options.seed, options.minutes * 60, options.clients, options.logs)
    whole = torture.run()
    print(torture.summary(), flush=True)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
