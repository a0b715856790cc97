#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""post_at_once.py URL PID: posts 1,000 messages to a MessageWall from eight threads and checks that the wall then holds
exactly those, each once and whole. Messages differ in length, so that a torn or overwritten one cannot look like another.
Looks at berth-fn (PID) for how many sandboxes and mounts really did it. Exit 1 when anything is not as it should be."""
import collections
import glob
import random
import sys
import threading
import urllib.request

MESSAGES, THREADS, MOUNTS = 1000, 8, 2
TIMEOUT_S = 60


def ask(url, method, body=None):
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return answer.read().decode()


def post_all(url, messages, problems):
    for message in messages:
        try:
            if message not in ask(url, "POST", message.encode()).splitlines():
                problems.append("the answer to its own POST lacked %r" % message[:20])
        except OSError as error:
            problems.append("POST of %r: %s" % (message[:20], error))


def children(pid):
    """How many children of each name the process has."""
    found = collections.Counter()
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as f:
                name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue  # it ended meanwhile
        if rest.split()[1] == pid:
            found[name] += 1
    return found


def main():
    url, pid = sys.argv[1:3]
    rng = random.Random(1)
    messages = ["%04d:%s" % (i, chr(97 + i % 26) * rng.randrange(1, 200)) for i in range(MESSAGES)]
    problems = []
    threads = [threading.Thread(target=post_all, args=(url, messages[t::THREADS], problems)) for t in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running = children(pid)
    wall = collections.Counter(ask(url, "GET").splitlines())
    missing = [m for m in messages if wall[m] == 0]
    twice = [m for m in messages if wall[m] > 1]
    foreign = [line for line in wall if line not in set(messages)]
    print("%d instances over %d mounts" % (running["bwrap"], running["berth"]))
    print("%d messages posted; on the wall: %d lines, %d missing, %d more than once, %d torn or foreign"
          % (MESSAGES, sum(wall.values()), len(missing), len(twice), len(foreign)))
    for problem in problems[:10]:
        print(problem)
    as_meant = running["bwrap"] == THREADS and running["berth"] == MOUNTS
    return 1 if missing or twice or foreign or problems or not as_meant else 0


if __name__ == "__main__":
    sys.exit(main())
