#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Posts 1,000 messages to a MessageWall from eight threads and checks that the wall then holds exactly those, each once and
whole. Messages differ in length, so that a torn or overwritten one cannot look like another. Exit 1 when one is missing."""
import collections
import random
import sys
import threading
import urllib.request

MESSAGES, THREADS = 1000, 8
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


def main():
    url = sys.argv[1]
    rng = random.Random(1)
    messages = ["%04d:%s" % (i, chr(97 + i % 26) * rng.randrange(1, 200)) for i in range(MESSAGES)]
    problems = []
    threads = [threading.Thread(target=post_all, args=(url, messages[t::THREADS], problems)) for t in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = collections.Counter(ask(url, "GET").splitlines())
    missing = [m for m in messages if wall[m] == 0]
    twice = [m for m in messages if wall[m] > 1]
    foreign = [line for line in wall if line not in set(messages)]
    print("%d messages posted; on the wall: %d lines, %d missing, %d more than once, %d torn or foreign"
          % (MESSAGES, sum(wall.values()), len(missing), len(twice), len(foreign)))
    for problem in problems[:10]:
        print(problem)
    return 1 if missing or twice or foreign or problems else 0


if __name__ == "__main__":
    sys.exit(main())
