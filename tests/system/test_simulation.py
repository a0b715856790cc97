# SPDX-License-Identifier: Apache-2.0
"""P3, P6 and P8 in the simulation: many clients and a server on virtual time, with crashes, power losses, partitions, frozen
and killed clients, clock jumps, slow and failing disks. `make sim SEEDS=N SEED=S` runs more, and replays one."""
import os
import re
import subprocess
import unittest

import harness

SEEDS, SEEDS_OF_BUGS = 2000, 1000
SIM = os.path.join(harness.BUILD, "tests", "sim")


def simulate(*args):
    """Runs seeds; returns (exit status, the lines about seeds)."""
    result = subprocess.run([SIM, "--jobs", str(os.cpu_count()), *args], capture_output=True, text=True,
                            timeout=55 * harness.SLOWDOWN)
    return result.returncode, [line for line in result.stderr.splitlines() if line.startswith("seed ")]


class Simulation(unittest.TestCase):
    def test_no_seed_breaks_a_promise(self):
        status, said = simulate("--seeds", str(SEEDS))
        self.assertEqual((status, said), (0, []), "replay one: make sim SEEDS=1 SEED=N")


class SeededBugs(unittest.TestCase):
    """Each of the bugs in tests/sim/bugs.c is found, which shows that the simulation can see."""


def bugs():
    with open(os.path.join(harness.ROOT, "tests", "sim", "bugs.c")) as f:
        names = re.findall(r"^    BUG_([A-Z_]+),", f.read(), re.M)
    return names[1:]  # the first is none


def add_case(number, name):
    def test(self):
        status, said = simulate("--seeds", str(SEEDS_OF_BUGS), "--bug", str(number), "--stop")
        self.assertEqual(status, 1, said)
    setattr(SeededBugs, "test_" + name.lower(), test)


for number, name in enumerate(bugs(), 1):
    add_case(number, name)

if __name__ == "__main__":
    unittest.main()
