# SPDX-License-Identifier: Apache-2.0
"""P1 and P2 of the store, on a disk that loses power: `make crash SEEDS=N SEED=S` runs more, and replays."""
import os
import re
import subprocess
import unittest

import harness

TIME_LIMIT_S = 180  # a busy machine, and thousands of crashes
CRASHSIM = os.path.join(harness.BUILD, "tests", "crashsim")


def crash(*args):
    """Returns (exit status, crashes and failing calls tried, what was said of broken promises)."""
    result = subprocess.run([CRASHSIM, *args], capture_output=True, text=True, timeout=(TIME_LIMIT_S - 10) * harness.SLOWDOWN)
    tried = re.search(r"(\d+) crashes, (\d+) failing calls", result.stdout)
    said = [line for line in result.stderr.splitlines() if line.startswith(("short", "seed"))]
    return result.returncode, int(tried.group(1)) + int(tried.group(2)), said


class Crashes(unittest.TestCase):
    def holds(self, at_least, *args):
        status, tried, said = crash(*args)
        self.assertEqual((status, said), (0, []))
        self.assertGreaterEqual(tried, at_least)

    def test_at_every_position_of_short_scenarios(self):
        self.holds(500, "--only", "short", "--draws", "4")

    def test_of_long_scenarios_by_chance(self):
        self.holds(800, "--only", "long", "--seeds", "40", "--states", "20")

    def test_with_every_call_failing_in_turn(self):
        self.holds(300, "--only", "faults")


class Lies(unittest.TestCase):
    """A disk, or a store, that skips a sync is found out."""


def add_case(number, name):
    def test(self):
        status, _, said = crash("--lie", str(number), "--stop", "--draws", "1", "--seeds", "40")
        self.assertEqual(status, 1, said)
    setattr(Lies, "test_" + name.lower(), test)


with open(os.path.join(harness.ROOT, "tests", "crash", "disk.h")) as header:
    for number, name in enumerate(re.findall(r"^    DISK_(\w+_NOT_\w+),", header.read(), re.M), 1):
        add_case(number, name)

if __name__ == "__main__":
    unittest.main()
