#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the exercisers one after the other, each for MINUTES, on two mounts of a server of their own and a directory of the
host in step: fsx, fsstress, and fsstress once more with one mount of an access point that enforces a user. Exit 1 when one
sees a difference, which it prints with its seed and step.

    exercise.py [--minutes N] [--seed N] [--kill] [--only fsx|fsstress|enforced] [WORDS FOR THE EXERCISER]

--kill: berthd is killed with SIGKILL and started again at random moments meanwhile. BERTH_BUILD says which build.
"""
import argparse
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
import harness  # noqa: E402

RUNS = ("fsx", "fsstress", "enforced")
ENFORCED = ("--uid", "1000", "--gid", "1000", "--gids", "2000")  # as fsstress --enforced expects
UP_SECONDS = (0.2, 2.0)  # between a start of the server and its kill
GRACE_SECONDS = 60       # for an exerciser to end after its time, however busy the machine


class Kills:
    """Kills the server and starts it again at random moments until the block ends."""

    def __init__(self, server, seed):
        self.server, self.rng, self.n = server, random.Random(seed), 0
        self.over, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.over.wait(self.rng.uniform(*UP_SECONDS)):
                self.server.kill9()
                self.server.start()
                self.n += 1
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        if self.error:
            raise self.error


def where(pid):
    """What a process that does not end waits for."""
    try:
        with open("/proc/%d/stack" % pid) as stack:
            return stack.read()
    except OSError as error:
        return str(error)


def run(program, directories, seed, seconds, words=(), output=None, going=lambda: True):
    """Runs an exerciser on (mount, mount, host directory); returns its exit status, and fails when it does not end. When
    going() is false it is ended."""
    command = [os.path.join(harness.BUILD, "posix", program), "--seed", str(seed), "--seconds", str(seconds), *words,
               *directories]
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT if output else None)
    try:
        harness.wait_for(lambda: process.poll() is not None or not going(), seconds + GRACE_SECONDS)
        return process.poll()
    except AssertionError:
        raise AssertionError("%s --seed %d hangs: %s" % (program, seed, where(process.pid)))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def run_with_kills(server, program, directories, seed, seconds, words=(), output=None):
    """Returns the exit status and how often the server was killed."""
    with Kills(server, seed) as kills:
        words = words if program == "fsx" else ["--restarts", *words]
        status = run(program, directories, seed, seconds, words, output, kills.thread.is_alive)
    return status, kills.n


def exercise(server, name, mounts, options):
    """One of RUNS. mounts: two, and one of the access point that enforces a user."""
    program, words, pair = name, list(options.words), mounts[:2]
    if name == "enforced":
        program, words, pair = "fsstress", ["--enforced", *options.words], [mounts[2], mounts[1]]
    directories = [mount.path for mount in pair] + [harness.new_directory("host-")]
    start = time.monotonic()
    if options.kill:
        status, kills = run_with_kills(server, program, directories, options.seed, options.minutes * 60, words)
        print("%s: the server was killed %d times" % (name, kills), flush=True)
    else:
        status = run(program, directories, options.seed, options.minutes * 60, words)
    print("%s: exit %d after %.0f s" % (name, status, time.monotonic() - start), flush=True)
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--only", choices=RUNS)
    options, options.words = parser.parse_known_args()
    harness.require_root()
    harness.require_fuse()
    server, mounts = harness.Server(), []
    try:
        fs = server.fs_create()
        access_point, enforcing = server.ap_create(fs), server.ap_create(fs, *ENFORCED)
        for each in (access_point, access_point, enforcing):
            mounts.append(harness.Mount(server, each))
        statuses = [exercise(server, name, mounts, options) for name in RUNS if options.only in (None, name)]
    finally:
        for mount in mounts:
            mount.unmount()
        server.stop()
    sys.exit(1 if any(statuses) else 0)


if __name__ == "__main__":
    main()
